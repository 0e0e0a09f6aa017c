//! `--min-version`, with every command that opens an index; and the full check.

use std::fs;

use super::{ALICE, Cli, npy};
use crate::support::copy_directory;

/// Every command that opens an index, with arguments that would do.
const COMMANDS: [&str; 18] = [
    "stats notes",
    "query notes --like a",
    "get notes a",
    "list notes",
    "count notes",
    "export notes --vectors out.npy --items out.jsonl",
    "verify notes",
    "history notes",
    "users list notes",
    "import notes --vectors notes.npy --items notes.jsonl --overwrite",
    "delete notes a",
    "optimize notes",
    "purge notes",
    "users grant notes --user-id a11ce000000000000000000000000001 --user-key-file alice.key \
     --permissions read",
    "users revoke notes --user-id a11ce000000000000000000000000001",
    "rotate-data-keys notes",
    "reencrypt notes",
    "drop notes --yes",
];

fn token(cli: &Cli) -> String {
    let stats = cli.owner("stats notes --output json").json();
    stats["version_token"].as_str().unwrap().to_owned()
}

fn restore(cli: &Cli, from: &str) {
    fs::remove_dir_all(cli.path("db")).unwrap();
    copy_directory(&cli.path(from), &cli.path("db"));
}

#[test]
fn every_command_refuses_an_older_index_and_another_history() {
    let cli = Cli::with_notes();
    cli.run("keygen --out alice.key").ok();
    copy_directory(&cli.path("db"), &cli.path("copy"));
    cli.owner("delete notes c").ok();
    let seen = token(&cli);
    copy_directory(&cli.path("db"), &cli.path("newer"));
    for (state, words) in [("copy", "older than"), ("forked", "history")] {
        restore(&cli, "copy");
        if state == "forked" {
            cli.owner("delete notes b").ok();
        }
        let before = cli.state();
        // It would make the others fail where they go ahead.
        let rotate = "rotate-index-key notes --new-key-file alice.key";
        for command in COMMANDS.into_iter().chain([rotate]) {
            for line in [
                format!("--min-version {seen} {command}"),
                format!("{command} --min-version {seen}"),
            ] {
                let said = cli.owner(&line).fails(7);
                assert!(said.contains(words), "{state}, {command}: {said}");
            }
        }
        assert_eq!(cli.state(), before, "nothing was changed");
        assert!(!cli.path("out.npy").exists());
    }
    // And with the state that was seen, all of them go ahead.
    restore(&cli, "newer");
    for command in COMMANDS {
        let run = cli.owner(&format!("{command} --min-version {seen}"));
        assert_eq!(run.code, 0, "{command}: {}", run.err);
    }
}

/// Commands that answer with lines of JSON, and whether they commit.
const ANSWERS: [(&str, bool); 17] = [
    ("stats notes", false),
    ("query notes --like a", false),
    ("query notes --vectors notes.npy", false),
    ("get notes a missing", false),
    ("list notes", false),
    ("list notes --limit 1", false),
    ("list notes --where {\"n\":1}", false),
    ("count notes", false),
    ("verify notes", false),
    ("users list notes", false),
    // The same items once more.
    ("import notes --vectors notes.npy --items notes.jsonl --overwrite", false),
    ("delete notes b --dry-run", false),
    ("delete notes b", true),
    ("optimize notes", false),
    ("purge notes", false),
    (
        "users grant notes --user-id a11ce000000000000000000000000001 --user-key-file alice.key \
         --permissions read",
        true,
    ),
    ("users revoke notes --user-id a11ce000000000000000000000000001", true),
];

/// As a token says it, but for its last part: whether the asking process knows it to be on the disk.
fn commit(token: &str) -> &str {
    token.rsplit_once('.').unwrap().0
}

#[test]
fn every_answer_has_the_version_token_of_its_state() {
    let cli = Cli::with_notes();
    cli.run("keygen --out alice.key").ok();
    let grant = format!("users grant notes --user-id {ALICE} --user-key-file alice.key");
    cli.owner(&format!("{grant} --permissions read")).ok();
    for (command, commits) in ANSWERS {
        let before = token(&cli);
        let lines = cli.owner(&format!("{command} --output json")).lines();
        assert!(!lines.is_empty(), "{command}");
        let after = token(&cli);
        assert_eq!(commit(&before) != commit(&after), commits, "{command}");
        for line in lines {
            let told =
                line["version_token"].as_str().unwrap_or_else(|| panic!("{command}: {line}"));
            assert_eq!(commit(told), commit(&after), "{command}");
            cli.owner(&format!("count notes --min-version {told}")).ok();
        }
    }
}

#[test]
fn a_version_token_goes_with_one_index_and_has_one_form() {
    let cli = Cli::with_notes();
    let seen = token(&cli);
    for command in ["indexes", "create more --metric cosine", "keygen --out more.key"] {
        let said = cli.owner(&format!("{command} --min-version {seen}")).fails(2);
        assert!(said.contains("--min-version"), "{said}");
    }
    for bad in ["1", "x", &seen.to_uppercase(), &seen[1..]] {
        let run = cli.owner(&format!("stats notes --min-version {bad}"));
        assert_eq!((run.code, run.out.len()), (2, 0), "{bad}: {}", run.err);
    }
}

#[test]
fn verify_says_what_is_not_sound_and_by_class() {
    let cli = Cli::new();
    cli.owner("create notes --metric euclidean").ok();
    let empty = cli.owner("verify notes --output json").json();
    assert_eq!((&empty["sound"], &empty["items"]), (&true.into(), &0.into()));
    let rows: Vec<[f32; 2]> = (0u8..=255).map(|n| [n.into(), (n % 16).into()]).collect();
    cli.write("rows.npy", npy(&rows.iter().map(|row| &row[..]).collect::<Vec<_>>()));
    cli.owner("import notes --vectors rows.npy").ok();
    cli.run("keygen --out alice.key").ok();
    let grant = format!("users grant notes --user-id {ALICE} --user-key-file alice.key");
    cli.owner(&format!("{grant} --permissions read")).ok();
    let report = cli.owner("verify notes --output json").json();
    for (field, value) in [
        ("items", 256),
        ("payload_values", 256),
        ("height", 2),
        ("branches", 1),
        // Of the import there are two: the tree, and what is in it.
        ("commits", 4),
        ("tables", 2),
        ("wraps", 3),
        ("roster_records", 1),
    ] {
        assert_eq!(report[field], value, "{field}");
    }
    assert_eq!((&report["sound"], &report["by_root"]), (&true.into(), &true.into()));
    assert_eq!(report["version_token"], token(&cli));
    let by_alice = cli.user(ALICE, "alice.key", "verify notes --output json").json();
    assert_eq!((&by_alice["sound"], &by_alice["by_root"]), (&true.into(), &false.into()));
    assert!(cli.owner("verify notes").ok().contains("256\n"));

    // One value changed, one record more.
    let raw = crate::support::open_raw(&cli.path("db"));
    let stored = crate::support::records(&raw);
    let mut vectors = stored.into_iter().filter(|record| record.kind() == 0x50);
    let (mut value, other) = (vectors.next().unwrap(), vectors.next().unwrap());
    *value.value.last_mut().unwrap() ^= 1;
    crate::support::put_raw(&raw, value.family, &value.key, &value.value);
    let stray = [&other.key[..], &[0]].concat();
    crate::support::put_raw(&raw, other.family, &stray, &other.value);
    drop(raw);
    let run = cli.owner("verify notes --output json");
    assert_eq!(run.code, 6);
    assert!(run.err.contains("2 x a sealed value"), "{}", run.err);
    let report: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
    assert_eq!(report["sound"], false);
    assert_eq!(report["faults"], serde_json::json!([{ "fault": "payload", "count": 2 }]));
    assert_eq!(report["findings"].as_array().unwrap().len(), 2);
}
