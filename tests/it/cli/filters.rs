//! `--where`, `count`, `--order-by` and declared attributes.

use serde_json::{Value, json};

use super::{Cli, Run, npy};

/// Three items with metadata, in an index with declared attributes.
fn filled() -> Cli {
    let cli = Cli::with_notes();
    cli.owner("create words --metric euclidean --attribute year=range --attribute text=off").ok();
    cli.write("w.npy", npy(&[&[0.0, 0.0], &[1.0, 0.0], &[2.0, 0.0], &[3.0, 0.0]]));
    let lines = [
        r#"{"id":"a","metadata":{"pos":"noun","year":1999,"text":"x"}}"#,
        r#"{"id":"b","metadata":{"pos":"verb","year":2024,"text":"y"}}"#,
        r#"{"id":"c","metadata":{"pos":"noun","year":2012,"text":"y"}}"#,
        r#"{"id":"d"}"#,
    ];
    cli.write("w.jsonl", lines.join("\n"));
    cli.owner("import words --vectors w.npy --items w.jsonl").ok();
    cli
}

/// A command that ends with a filter.
fn asked(cli: &Cli, command: &str, filter: &str) -> Run {
    cli.owner(&format!("{command} {filter}"))
}

const NOUN: &str = r#"{"pos":"noun"}"#;

#[test]
fn count_and_list_and_query_take_a_filter() {
    let cli = filled();
    assert_eq!(cli.owner("count words").ok(), "4\n");
    assert_eq!(asked(&cli, "count words --where", NOUN).ok(), "2\n");
    let json = asked(&cli, "count words --output json --where", r#"{"text":"y"}"#).json();
    assert_eq!(json["count"], 2);
    assert!(json["version_token"].is_string());
    assert_eq!(asked(&cli, "list words --where", NOUN).ok(), "a\nc\n");
    assert_eq!(cli.owner("list words --order-by year:desc").ok(), "b\nc\na\nd\n");
    let page = asked(&cli, "list words --order-by year --limit 1 --output json --where", NOUN);
    let page = page.json();
    assert_eq!(page["ids"], json!(["a"]));
    let next =
        format!("list words --order-by year --cursor {} --where", page["next"].as_str().unwrap());
    assert_eq!(asked(&cli, &next, NOUN).ok(), "c\n");
    let other = asked(&cli, &next, r#"{"pos":"verb"}"#).fails(2);
    assert!(other.contains("not a cursor"), "{other}");
    let hits =
        asked(&cli, "query words --like b --output json --where", r#"{"year":{"$lt":2020}}"#);
    let hits: Value = hits.json();
    let ids: Vec<&str> =
        hits["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "c"]);
    cli.owner("verify words").ok();
}

#[test]
fn a_filter_that_is_none_exits_2_and_names_the_place() {
    let cli = filled();
    for command in ["query words --like a", "list words", "count words", "delete words"] {
        for (bad, place) in [
            (r#"{"year":{"$gtt":1}}"#, "year.$gtt"),
            (r#"{"$and":[]}"#, "$and"),
            ("[1]", "object"),
            ("{", "JSON"),
        ] {
            let said = asked(&cli, &format!("{command} --where"), bad).fails(2);
            assert!(said.contains(place), "{command} {bad}: {said}");
        }
    }
    assert_eq!(cli.owner("count words").ok(), "4\n");
    for bad in ["--attribute year", "--attribute year=most", "--attribute a..b=range"] {
        cli.owner(&format!("create more --metric cosine {bad}")).fails(2);
    }
}

#[test]
fn delete_takes_a_filter_or_ids() {
    let cli = filled();
    let old = r#"{"year":{"$lt":2015}}"#;
    let dry = asked(&cli, "delete words --dry-run --output json --where", old).json();
    assert_eq!((&dry["deleted"], &dry["item_count"]), (&json!(2), &json!(2)));
    assert_eq!(cli.owner("count words").ok(), "4\n");
    asked(&cli, "delete words a --where", old).fails(2);
    cli.owner("delete words").fails(2);
    asked(&cli, "delete words --where", "{}").fails(2);
    let one = asked(&cli, "delete words --limit 1 --output json --where", old).json();
    assert_eq!((&one["deleted"], &one["remaining"]), (&json!(1), &json!(1)));
    let rest = asked(&cli, "delete words --output json --where", old).json();
    assert_eq!((&rest["deleted"], &rest["item_count"]), (&json!(1), &json!(2)));
    assert_eq!(cli.owner("list words").ok(), "b\nd\n");
}
