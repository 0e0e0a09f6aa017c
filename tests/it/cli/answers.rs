//! What get, delete, list, stats and query answer.

use std::fs;
use std::process::Stdio;

use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, Options};
use serde_json::{Value, json};

use super::{ALICE, BOB, Cli, npy, npy_with};

/// An index of the numbers 0 to 9, on a line.
fn numbers() -> Cli {
    let cli = Cli::new();
    cli.owner("create notes --metric euclidean --dimension 1").ok();
    let rows: Vec<[f32; 1]> = (0u8..10).map(|x| [x.into()]).collect();
    cli.write("rows.npy", npy(&rows.iter().map(|row| &row[..]).collect::<Vec<_>>()));
    cli.owner("import notes --vectors rows.npy").ok();
    cli
}

#[test]
fn get_shows_everything_or_that_there_is_nothing() {
    let cli = Cli::with_notes();
    let mut found = cli.owner("get notes b nope a c a --output json").lines();
    for line in &mut found {
        assert!(line.as_object_mut().unwrap().remove("version_token").unwrap().is_string());
    }
    let wanted = [
        json!({"id": "b", "found": true, "contents": {"base64": "/wA="}, "metadata": null,
               "vector": [0.0, 2.5]}),
        json!({"id": "nope", "found": false, "contents": null, "metadata": null, "vector": null}),
        json!({"id": "a", "found": true, "contents": "text \u{1b}[31m\nmore",
               "metadata": {"n": [1, "x"]}, "vector": [1.0, 0.0]}),
        json!({"id": "c", "found": true, "contents": null, "metadata": null,
               "vector": [-0.1, -4.0]}),
    ];
    assert_eq!(found[..4], wanted);
    assert_eq!(found[4], wanted[2]);
    let text = cli.owner("get notes a b nope").ok();
    assert!(text.contains("text  [31m more") && text.contains("(2 bytes)"), "{text}");
    assert!(text.contains("not found") && !text.contains('\u{1b}'), "{text}");
    cli.owner("get notes ..").fails(2);
}

#[test]
fn ids_that_look_like_options() {
    let cli = Cli::new();
    cli.owner("create --metric euclidean -- -notes").ok();
    cli.write("v.npy", npy(&[&[1.0], &[2.0]]));
    cli.write("i.jsonl", "{\"id\": \"-a\"}\n{\"id\": \"--output\"}\n");
    cli.owner("import --vectors v.npy --items i.jsonl -- -notes").ok();
    assert_eq!(cli.owner("list -- -notes").ok(), "--output\n-a\n");
    let found = cli.owner("get --output json -- -notes -a --output").lines();
    assert!(found.iter().all(|found| found["found"] == true));
    let hits = cli.owner("query --output json --like=-a --top-k 1 -- -notes").json();
    assert_eq!(hits["hits"][0]["id"], "-a");
    let report = cli.owner("delete --output json -- -notes -a --output").json();
    assert_eq!(report["deleted"], 2);
    cli.owner("drop --yes -- -notes").ok();
}

#[test]
fn list_goes_through_all_ids_or_a_page() {
    let cli = numbers();
    let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(cli.owner("list notes").ok().lines().collect::<Vec<_>>(), all);
    let answer = cli.owner("list notes --output json").json();
    let token = &answer["version_token"];
    assert_eq!(answer, json!({"ids": all, "next": null, "version_token": token}));

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for expected in [4, 4, 2] {
        let page = cli.owner(&format!("list notes --limit 4 --output json {cursor}")).json();
        let ids = page["ids"].as_array().unwrap();
        assert_eq!(ids.len(), expected);
        seen.extend(ids.iter().map(|id| id.as_str().unwrap().to_owned()));
        cursor = page["next"].as_str().map(|next| format!("--cursor {next}")).unwrap_or_default();
    }
    assert_eq!((seen, cursor.as_str()), (all, ""));

    let run = cli.owner("list notes --limit 2");
    assert_eq!((run.code, &run.out[..]), (0, &b"0\n1\n"[..]));
    let cursor = run.err.split_whitespace().last().unwrap();
    let rest = cli.owner(&format!("list notes --cursor {cursor}")).ok();
    assert_eq!(rest.lines().next(), Some("2"));
}

#[test]
fn stats_say_what_the_index_is() {
    let cli = Cli::new();
    cli.owner("create notes --metric inner-product --precision f16").ok();
    let empty = cli.owner("stats notes --output json").json();
    assert_eq!((&empty["dimension"], &empty["item_count"]), (&Value::Null, &json!(0)));
    cli.write("v.npy", npy(&[&[1.0, 2.0]]));
    cli.owner("import notes --vectors v.npy").ok();
    let stats = cli.owner("stats notes --output json").json();
    let wanted = json!({
        "name": "notes", "dimension": 2, "metric": "inner-product", "precision": "f16",
        "item_count": 1, "total_size_bytes": 5, "permissions": "root",
        "etag": stats["etag"], "version_token": stats["version_token"],
    });
    assert_eq!(stats, wanted);
    assert_eq!(stats["etag"].as_str().unwrap().len(), 64);
    assert_ne!(stats["etag"], empty["etag"]);
    let text = cli.owner("stats notes").ok();
    assert!(text.contains("items          1\n"), "{text}");
}

#[test]
fn history_shows_who_did_what_newest_first() {
    let cli = Cli::with_notes();
    cli.run("keygen --out alice.key").ok();
    let grant = format!("users grant notes --user-id {ALICE} --user-key-file alice.key");
    cli.owner(&format!("{grant} --permissions read,write")).ok();
    cli.user(ALICE, "alice.key", "delete notes a").ok();
    let lines = cli.owner("history notes --output json").lines();
    let operations: Vec<&str> =
        lines.iter().map(|line| line["operation"].as_str().unwrap()).collect();
    assert_eq!(operations[..2], ["delete", "grant"]);
    assert_eq!(operations.last(), Some(&"create"));
    let stats = cli.owner("stats notes --output json").json();
    let latest = json!({
        "sequence": lines.len(), "operation": "delete", "principal": ALICE, "grant_table": 2,
        "inserted": 0, "updated": 0, "deleted": 1, "item_count": 2, "trace": null,
        "total_size_bytes": stats["total_size_bytes"], "etag": stats["etag"],
        "time_ms": lines[0]["time_ms"], "hash": lines[0]["hash"],
    });
    assert_eq!(lines[0], latest);
    assert_eq!(lines[1]["principal"], "root");
    let token = stats["version_token"].as_str().unwrap();
    assert!(token.contains(lines[0]["hash"].as_str().unwrap()));

    let alice = |line: &str| cli.user(ALICE, "alice.key", line);
    assert_eq!(alice("history notes --limit 1 --output json").json(), latest);
    let part = alice("history notes --from 2 --to 2 --output json").json();
    assert_eq!(part["sequence"], 2);
    assert_eq!(alice("history notes --from 900").ok(), "");
    let text = alice("history notes --limit 1").ok();
    assert!(text.contains("delete") && text.contains("+0 ~0 -1") && text.contains(ALICE), "{text}");
    assert!(!cli.owner("history notes").ok().contains("text"), "no contents");

    cli.run("keygen --out bob.key").ok();
    let grant = format!("users grant notes --user-id {BOB} --user-key-file bob.key");
    cli.owner(&format!("{grant} --permissions write")).ok();
    cli.user(BOB, "bob.key", "history notes").fails(3);
}

#[test]
fn a_folded_history_ends_in_its_sums() {
    let cli = Cli::new();
    cli.write("index.key", "07".repeat(32));
    let key = || IndexKey::from_bytes(&[7; 32]).unwrap();
    let db = Database::open(cli.path("db"), Options::new()).unwrap();
    let config = IndexConfig::new(Metric::Cosine).retention(16);
    db.create_index("notes", &key(), config).unwrap();
    let index = db.load_index("notes", KeyContext::root(key())).unwrap();
    for _ in 0..31 {
        index.upsert(&[Item::new("a", [1.0, 0.0])]).unwrap();
    }
    db.close().unwrap();
    let lines = cli.owner("history notes --output json").lines();
    assert_eq!((lines.len(), &lines[15]["sequence"]), (17, &json!(17)));
    let folded = &lines[16]["folded"];
    assert_eq!(folded["operations"], json!({"create": 1, "upsert": 15}));
    assert_eq!((&folded["through"], &folded["inserted"]), (&json!(16), &json!(1)));
    assert_eq!((&folded["updated"], &folded["item_count"]), (&json!(14), &json!(1)));
    assert_eq!(folded["hash"].as_str().unwrap().len(), 64);
    let text = cli.owner("history notes").ok();
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("1 to 16, folded: 1 create, 15 upsert; +1 ~14 -0"), "{last}");
    // Sums of what was not asked for are not shown.
    assert_eq!(cli.owner("history notes --limit 16 --output json").lines().len(), 16);
    assert_eq!(cli.owner("history notes --from 17 --output json").lines().len(), 16);
}

#[test]
fn verify_reports_the_tree_and_fails_on_a_damaged_one() {
    let cli = Cli::new();
    cli.owner("create notes --metric euclidean").ok();
    let rows: Vec<[f32; 2]> = (0u8..=255).map(|n| [n.into(), (n % 16).into()]).collect();
    cli.write("rows.npy", npy(&rows.iter().map(|row| &row[..]).collect::<Vec<_>>()));
    cli.owner("import notes --vectors rows.npy").ok();
    let report = cli.owner("verify notes --output json").json();
    assert_eq!((&report["height"], &report["items"]), (&json!(2), &json!(256)));

    // A reader may ask; who may only write, or has the wrong key, may not.
    for (id, rights, code) in [(ALICE, "read", 0), (BOB, "write", 3)] {
        cli.run(&format!("keygen --out {id}.key")).ok();
        let grant = format!("users grant notes --user-id {id} --user-key-file {id}.key");
        cli.owner(&format!("{grant} --permissions {rights}")).ok();
        let run = cli.user(id, &format!("{id}.key"), "verify notes --output json");
        assert_eq!(run.code, code, "{}", run.err);
    }
    cli.user(ALICE, &format!("{BOB}.key"), "verify notes").fails(3);
    cli.owner("verify nowhere").fails(4);

    let path = cli.path("db");
    let raw = crate::support::open_raw(&path);
    let mut nodes =
        crate::support::records(&raw).into_iter().filter(|record| record.kind() == 0x30);
    let leaf = nodes.next_back().unwrap();
    crate::support::delete_raw(&raw, leaf.family, &leaf.key);
    drop(raw);
    let run = cli.owner("verify notes");
    assert_eq!(run.code, 6);
    assert!(run.err.contains("node of the partition tree"), "{}", run.err);
    assert_eq!(cli.owner("stats notes --output json").json()["item_count"], 256);
}

#[test]
fn optimize_rebuilds_what_was_written_since() {
    let cli = Cli::new();
    cli.owner("create notes --metric euclidean").ok();
    assert_eq!(cli.owner("optimize notes").ok(), "rebuilt 0 branches of the tree\n");
    let rows: Vec<[f32; 2]> = (0u8..=255).map(|n| [n.into(), (n % 16).into()]).collect();
    cli.write("rows.npy", npy(&rows.iter().map(|row| &row[..]).collect::<Vec<_>>()));
    cli.owner("import notes --vectors rows.npy").ok();
    let before = cli.state();
    cli.run("keygen --out reader.key").ok();
    cli.run("keygen --out writer.key").ok();
    for (id, key, rights) in [(ALICE, "reader.key", "read"), (BOB, "writer.key", "write")] {
        let grant = format!("users grant notes --user-id {id} --user-key-file {key}");
        cli.owner(&format!("{grant} --permissions {rights}")).ok();
    }
    cli.user(ALICE, "reader.key", "optimize notes").fails(3);
    let report = cli.user(BOB, "writer.key", "optimize notes --output json").json();
    assert_eq!(report["rebuilt"], 1);
    let stats = cli.owner("stats notes --output json").json();
    // The part after the last dot says what the asking process knows of the disk.
    let commit = |found: &Value| {
        let token = found["version_token"].as_str().unwrap();
        token.rsplit_once('.').unwrap().0.to_owned()
    };
    assert_eq!(commit(&report), commit(&stats));
    assert_eq!(cli.state(), before);
    let again = cli.owner("optimize notes --output json").json();
    assert_eq!((&again["rebuilt"], commit(&again)), (&json!(0), commit(&stats)));
    cli.owner("verify notes").ok();
    cli.owner("optimize nowhere").fails(4);
}

#[test]
fn purge_answers_with_a_receipt() {
    let cli = Cli::with_notes();
    cli.owner("delete notes a").ok();
    let (before, db) = (cli.state(), cli.path("db"));
    Database::open(&db, Options::new()).unwrap().checkpoint(cli.path("copy")).unwrap();
    cli.run("keygen --out reader.key").ok();
    let grant = format!("users grant notes --user-id {ALICE} --user-key-file reader.key");
    cli.owner(&format!("{grant} --permissions read")).ok();
    cli.user(ALICE, "reader.key", "purge notes").fails(3);
    let receipt = cli.owner("purge notes --output json").json();
    let names: Vec<&str> = receipt.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "bytes_rewritten checkpoints files_removed index payload_remains scope \
                    statement time took_ms up_to version_token";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!((&receipt["scope"], &receipt["payload_remains"]), (&json!("records"), &json!(true)));
    assert_eq!(receipt["up_to"], 4, "created, imported, deleted, granted");
    let copy = cli.path("copy").display().to_string();
    assert_eq!(receipt["checkpoints"][0]["path"], copy);
    let said = cli.owner("purge notes --payload --deadline 5").ok();
    for part in ["scope            payload", &copy, "No file of the database holds anything"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(cli.state(), before);
    cli.owner("purge nowhere").fails(4);
    cli.owner("purge notes --deadline soon").fails(2);
}

#[test]
fn queries_answer_in_order() {
    let cli = numbers();
    // More queries than run in one pass.
    let rows: Vec<[f32; 1]> = (0u8..70).map(|x| [f32::from(x % 10) + 0.1]).collect();
    cli.write("q.npy", npy(&rows.iter().map(|row| &row[..]).collect::<Vec<_>>()));
    let answers = cli.owner("query notes --vectors q.npy --top-k 2 --output json").lines();
    assert_eq!(answers.len(), 70);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["query"], number);
        assert_eq!(answer["hits"].as_array().unwrap().len(), 2);
        assert_eq!(answer["hits"][0]["id"], (number % 10).to_string());
        assert_eq!(answer["hits"][0].as_object().unwrap().len(), 2);
    }
    let first = cli.owner("query notes --vectors q.npy --top-k 1 --output json").ok();
    let first = first.lines().next().unwrap();
    let rest =
        first.strip_prefix(r#"{"query":0,"hits":[{"id":"0","distance":0.1}],"version_token":""#);
    assert!(rest.is_some_and(|rest| rest.ends_with("\"}")), "{first}");

    cli.owner("query notes --vectors q.npy --top-k 2 --output ids-npy --out hits.npy").ok();
    let file = fs::read(cli.path("hits.npy")).unwrap();
    let data = &file[file.len() - 70 * 2 * 8..];
    assert!(String::from_utf8_lossy(&file[..128]).contains("'<i8'"));
    assert!(String::from_utf8_lossy(&file[..128]).contains("(70, 2)"));
    let ids: Vec<i64> = data.as_chunks().0.iter().map(|id| i64::from_le_bytes(*id)).collect();
    assert_eq!(ids[..6], [0, 1, 1, 2, 2, 3]);
    cli.owner("query notes --vectors q.npy --output ids-npy --out hits.npy").fails(5);
    assert_eq!(fs::read(cli.path("hits.npy")).unwrap(), file);

    // Fewer hits than asked for, to stdout.
    let run = cli.owner("query notes --like 9 --top-k 12 --output ids-npy");
    let data = &run.out[run.out.len() - 12 * 8..];
    let ids: Vec<i64> = data.as_chunks().0.iter().map(|id| i64::from_le_bytes(*id)).collect();
    assert_eq!(ids, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1, -1]);

    cli.owner("query notes --like 99").fails(4);
    cli.write("none.npy", npy_with("<f4", "(0, 1)", &[]));
    assert_eq!(cli.owner("query notes --vectors none.npy --output json").ok(), "");
}

#[test]
fn queries_include_what_was_asked_for() {
    let cli = Cli::with_notes();
    let query = "query notes --like a --top-k 2 --include contents,metadata,vector";
    let answer = cli.owner(&format!("{query} --output json")).json();
    let wanted = json!({"id": "a", "distance": 0.0, "contents": "text \u{1b}[31m\nmore",
                        "metadata": {"n": [1, "x"]}, "vector": [1.0, 0.0]});
    assert_eq!(answer["hits"][0], wanted);
    assert_eq!(answer["hits"][1]["contents"], json!({"base64": "/wA="}));
    assert_eq!(answer["hits"][1]["metadata"], Value::Null);
    let text = cli.owner(query).ok();
    assert!(text.starts_with("query 0\n    1      0.000000  a  text  [31m more"), "{text}");

    let said = cli.owner("query notes --like a --output ids-npy").err;
    assert!(said.contains("whole number"), "{said}");
    cli.owner("query notes --like a --output ids-npy --out hits.npy").fails(2);
    assert!(!cli.path("hits.npy").exists());
    cli.owner("query notes --like a --output json --out hits.json").ok();
    assert_eq!(fs::read_to_string(cli.path("hits.json")).unwrap().lines().count(), 1);
}

#[test]
fn a_bad_query_file_gives_no_answer_at_all() {
    let cli = Cli::new();
    cli.owner("create notes --metric cosine --dimension 1").ok();
    let mut rows = vec![&[1.0][..]; 100];
    rows[99] = &[0.0];
    cli.write("zero.npy", npy(&rows));
    let said = cli.owner("query notes --vectors zero.npy --output json").fails(2);
    assert!(said.contains("zero.npy: row 99 (counted from 0)"), "{said}");
    rows[99] = &[f32::INFINITY];
    cli.write("infinite.npy", npy(&rows));
    cli.owner("query notes --vectors infinite.npy").fails(2);
    cli.write("wide.npy", npy(&[&[1.0, 2.0]]));
    cli.owner("query notes --vectors wide.npy").fails(2);
    cli.owner("query notes --vectors nowhere.npy").fails(2);
    cli.owner("query notes --vectors db").fails(2);
}

#[test]
fn nobody_reading_the_answer_is_no_error() {
    let cli = Cli::with_notes();
    let line = format!("--db db --key-file index.key get notes {}", "a ".repeat(3000));
    let mut command = cli.command(&line);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let run: super::Run = child.wait_with_output().unwrap().into();
    assert_eq!((run.code, run.err.as_str()), (0, ""));
}

#[test]
fn a_query_is_exact_or_as_hard_as_asked() {
    let cli = Cli::with_notes();
    let usual = cli.owner("query notes --like a --top-k 3 --output json").lines();
    assert_eq!(usual[0]["hits"][0]["id"], "a");
    for options in ["--exact", "--effort 1", "--effort 1024"] {
        let found = cli.owner(&format!("query notes --like a --top-k 3 --output json {options}"));
        assert_eq!(found.lines(), usual, "{options}");
    }
    for options in ["--effort 0", "--effort 1025", "--exact --effort 16"] {
        cli.owner(&format!("query notes --like a {options}")).fails(2);
    }
}
