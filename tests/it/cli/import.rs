//! Import and export: what is stored, what is skipped, and that bad input stores nothing.

use std::fs;

use serde_json::{Value, json};

use super::{Cli, npy, npy_with};

fn counts(report: &Value) -> [u64; 4] {
    ["inserted", "updated", "skipped", "item_count"].map(|name| report[name].as_u64().unwrap())
}

#[test]
fn what_is_there_is_skipped_or_replaced() {
    let cli = Cli::with_notes();
    let before = cli.state();
    assert_eq!(before.0, 3);
    cli.write("v.npy", npy(&[&[9.0, 9.0], &[8.0, 8.0], &[7.0, 7.0]]));
    cli.write("i.jsonl", "{\"id\": \"a\"}\n{\"id\": \"d\"}\n{\"id\": \"b\"}\n");
    let import = "import notes --vectors v.npy --items i.jsonl --output json";

    let report = cli.owner(import).json();
    assert_eq!(counts(&report), [1, 0, 2, 4]);
    let after = cli.state();
    assert_eq!((report["etag"].as_str(), after.0), (Some(after.1.as_str()), 4));
    assert_eq!(cli.owner("get notes a --output json").json()["vector"], json!([1.0, 0.0]));

    // Again: nothing to do, nothing done.
    assert_eq!(counts(&cli.owner(import).json()), [0, 0, 3, 4]);
    assert_eq!(cli.state(), after);

    let report = cli.owner(&format!("{import} --overwrite --buffered")).json();
    assert_eq!(counts(&report), [0, 2, 1, 4]);
    let a = cli.owner("get notes a --output json").json();
    assert_eq!((&a["vector"], &a["contents"]), (&json!([9.0, 9.0]), &Value::Null));
    let text = cli.owner("import notes --vectors v.npy --items i.jsonl --output text").ok();
    assert!(text.starts_with("inserted 0, updated 0, skipped 3; 4 items, etag "), "{text}");
}

#[test]
fn of_an_id_that_comes_twice_the_first_is_kept_or_the_last() {
    let cli = Cli::new();
    cli.owner("create notes --metric euclidean").ok();
    // Far enough apart to be looked at separately.
    let rows: Vec<[f32; 1]> = (0..2502_u16).map(|n| [f32::from(n)]).collect();
    let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
    let id = |n: usize| match n {
        0 | 3 | 1200 | 2501 => "x".to_owned(),
        _ => n.to_string(),
    };
    let lines: Vec<String> = (0..2502).map(|n| format!("{{\"id\":\"{}\"}}", id(n))).collect();
    cli.write("v.npy", npy(&rows));
    cli.write("i.jsonl", lines.join("\n"));
    let import = "import notes --vectors v.npy --items i.jsonl --output json";
    let vector = || cli.owner("get notes x --output json").json()["vector"].clone();
    assert_eq!(counts(&cli.owner(import).json()), [2499, 0, 3, 2499]);
    assert_eq!(vector(), json!([0.0]));
    let report = cli.owner(&format!("{import} --overwrite")).json();
    assert_eq!((counts(&report), vector()), ([0, 1, 2501, 2499], json!([2501.0])));
    let before = cli.state();
    cli.owner(&format!("{import} --overwrite")).json();
    assert_eq!(cli.state(), before);
    cli.owner("verify notes").ok();
}

#[test]
fn without_items_the_ids_are_row_numbers() {
    let cli = Cli::new();
    cli.owner("create notes --metric cosine").ok();
    // 1.0 and 2.0 as float16.
    cli.write("v.npy", npy_with("<f2", "(2, 1)", &[0, 0x3c, 0, 0x40]));
    let report = cli.owner("import notes --vectors v.npy --output json").json();
    assert_eq!(counts(&report), [2, 0, 0, 2]);
    let found = cli.owner("get notes 1 0 --output json").lines();
    assert_eq!((&found[0]["vector"], &found[1]["vector"]), (&json!([2.0]), &json!([1.0])));
}

#[test]
fn bad_input_stores_nothing() {
    let cli = Cli::with_notes();
    let before = cli.state();
    let vector = [5.0, 6.0];
    let vectors = npy(&[&vector[..]; 5]);
    let line = |n: usize| format!("{{\"id\": \"new{n}\"}}");
    let lines: Vec<String> = (0..5).map(line).collect();
    let with = |bad: &str| [&lines[..4], &[bad.to_owned()]].concat().join("\n");
    cli.write("good.npy", &vectors);
    cli.write("good.jsonl", lines.join("\n"));

    let mut poisoned = vectors.clone();
    let place = poisoned.len() - 4;
    poisoned[place..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut long = vectors.clone();
    long[place..].copy_from_slice(&f32::MAX.to_le_bytes());
    for (bytes, said) in [
        (vectors[..vectors.len() - 1].to_vec(), "truncated"),
        ([&vectors[..], &[0]].concat(), "after its data"),
        (poisoned, "row 4 (counted from 0): component 1 is NaN"),
        (long, "row 4 (counted from 0): its vector"),
        (npy(&[&[1.0, 2.0, 3.0][..]; 5]), "has 3 columns, the index takes 2"),
        (npy_with(">f4", "(5, 2)", &[0; 40]), "'>f4'"),
        (npy_with("<f4", "(10,)", &[0; 40]), "1 dimensions"),
        (npy(&[&vector[..]; 6]), "has 5 lines for 6 vectors"),
        (npy(&[&vector[..]; 4]), "has more lines than the 4 vectors"),
        (b"{}".to_vec(), "not a whole npy file"),
    ] {
        cli.write("bad.npy", bytes);
        let run = cli.owner("import notes --vectors bad.npy --items good.jsonl");
        let found = run.fails(2);
        assert!(found.contains(said), "{said}: {found}");
        assert_eq!(cli.state(), before, "{said}");
    }
    let deep = format!(
        "{{\"id\": \"x\", \"metadata\": {{\"a\": {}1{}}}}}",
        "[".repeat(64),
        "]".repeat(64)
    );
    let large = format!("{{\"id\": \"x\", \"metadata\": {{\"a\": \"{}\"}}}}", "y".repeat(70_000));
    let long = format!("{{\"id\": \"{}\"}}", "y".repeat(513));
    for (bad, said) in [
        ("{\"id\": \"x\"", "line 5: ends in the middle"),
        ("{\"id\": \"\"}", "line 5: its id is empty"),
        ("{\"id\": \"\\u0007\"}", "line 5: its id has a control character"),
        ("{\"id\": \"..\"}", "line 5: its id"),
        (&long, "line 5: its id is longer"),
        ("{\"id\": \"x\", \"more\": 1}", "line 5: has a field other"),
        ("{\"id\": \"x\", \"contents\": 1}", "line 5: \"contents\""),
        ("{\"id\": \"x\", \"metadata\": 1}", "line 5: \"metadata\""),
        (&deep, "line 5: its metadata is nested"),
        (&large, "line 5: its metadata is"),
    ] {
        cli.write("bad.jsonl", with(bad));
        let run = cli.owner("import notes --vectors good.npy --items bad.jsonl");
        let found = run.fails(2);
        assert!(found.contains(said), "{said}: {found}");
        assert_eq!(cli.state(), before, "{said}");
    }
    cli.owner("import notes --vectors nowhere.npy").fails(2);
    cli.owner("import notes --vectors good.npy --items nowhere.jsonl").fails(2);
    assert_eq!(cli.state(), before);
    cli.owner("import notes --vectors good.npy --items good.jsonl").ok();
}

#[test]
fn what_is_exported_is_what_is_imported() {
    for precision in ["f32", "f16"] {
        let cli = Cli::with_notes();
        cli.owner(&format!("create copy --metric euclidean --precision {precision}")).ok();
        cli.owner("import copy --vectors notes.npy --items notes.jsonl").ok();
        cli.owner("export copy --vectors out.npy --items out.jsonl").ok();
        cli.owner(&format!("create again --metric euclidean --precision {precision}")).ok();
        cli.owner("import again --vectors out.npy --items out.jsonl").ok();
        let get = |name: &str| {
            let mut items = cli.owner(&format!("get {name} a b c --output json")).lines();
            for item in &mut items {
                item.as_object_mut().unwrap().remove("version_token").unwrap();
            }
            items
        };
        assert_eq!(get("again"), get("copy"));
        let size = |name: &str| {
            let stats = cli.owner(&format!("stats {name} --output json")).json();
            stats["total_size_bytes"].as_u64().unwrap()
        };
        assert_eq!(size("again"), size("copy"));
        let lines = fs::read_to_string(cli.path("out.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 3);
        #[cfg(unix)]
        for file in ["out.npy", "out.jsonl"] {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(cli.path(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}

#[test]
fn export_overwrites_nothing_and_leaves_no_halves() {
    let cli = Cli::with_notes();
    cli.write("mine", "mine");
    cli.owner("export notes --vectors mine --items out.jsonl").fails(5);
    cli.owner("export notes --vectors out.npy --items mine").fails(5);
    cli.owner("export notes --vectors out --items out").fails(2);
    cli.owner("export notes --vectors no/out.npy --items out.jsonl").fails(1);
    assert_eq!(fs::read_to_string(cli.path("mine")).unwrap(), "mine");
    let mut names: Vec<String> = fs::read_dir(cli.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["db", "index.key", "mine", "notes.jsonl", "notes.npy"]);
}

#[test]
fn an_index_without_items_goes_round_too() {
    let cli = Cli::new();
    cli.owner("create notes --metric cosine").ok();
    cli.owner("export notes --vectors out.npy --items out.jsonl").ok();
    let report = cli.owner("import notes --vectors out.npy --items out.jsonl --output json").json();
    assert_eq!(counts(&report), [0; 4]);
}
