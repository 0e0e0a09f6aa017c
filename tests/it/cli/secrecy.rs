//! What the program says when it fails: never a key, an id, contents, metadata or a vector.
//!
//! Every failing command runs against an index of canaries, with canaries as keys, in arguments and
//! in input files; both streams are searched. The control: where it succeeds it does show them.

use std::fs;

use super::{ALICE, BOB, Cli, npy};

/// As a file holds it: the hexadecimal of `CANARY-index-key-CANARY-indexkey`.
const KEYS: [(&str, &[u8; 32]); 4] = [
    ("index.key", b"CANARY-index-key-CANARY-indexkey"),
    ("alice.key", b"CANARY-alice-key-CANARY-alicekey"),
    ("bob.key", b"CANARY-bobs-key--CANARY-bobs-key"),
    ("wrong.key", b"CANARY-wrong-key-CANARY-wrongkey"),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn needles() -> Vec<String> {
    // Of the vectors, and of the canaries as text and in hexadecimal.
    let mut all = vec!["CANARY".to_owned(), hex(b"CANARY"), hex(b"CANARY").to_uppercase()];
    all.extend(["1234.5".to_owned(), "-9.8765".to_owned()]);
    all
}

fn leaks(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    needles().into_iter().filter(|needle| text.contains(needle.as_str())).collect()
}

/// With an index of canaries, and what the commands below name.
fn world() -> Cli {
    let cli = Cli::new();
    fs::remove_file(cli.path("index.key")).unwrap();
    for (name, key) in KEYS {
        cli.write(name, hex(key));
    }
    // Keys that are none, in the shape of a slip of the hand.
    cli.write("short.key", &hex(KEYS[0].1)[..40]);
    cli.write("long.key", hex(KEYS[0].1).repeat(2));
    cli.write("text.key", "CANARY-not-hexadecimal");
    cli.write("raw.key", &KEYS[0].1[..31]);
    cli.write("rows.npy", npy(&[&[1234.5, -9.8765], &[1.0, 2.0]]));
    cli.write("nan.npy", npy(&[&[1234.5, f32::NAN], &[1.0, 2.0]]));
    cli.write("wide.npy", npy(&[&[1234.5, -9.8765, 3.0]]));
    cli.write("cut.npy", &npy(&[&[1234.5, -9.8765], &[1.0, 2.0]])[..80]);
    let item =
        r#"{"id":"CANARY-1","contents":"CANARY text","metadata":{"CANARY-field":"CANARY value"}}"#;
    let rest = r#"{"id":"CANARY-2","contents":"CANARY text"}"#;
    cli.write("items.jsonl", format!("{item}\n{rest}\n"));
    for (name, second) in [
        ("broken.jsonl", r#"{"id":"CANARY-2","contents":"CANARY"#),
        ("field.jsonl", r#"{"id":"CANARY-2","CANARY":1}"#),
        ("list.jsonl", r#"{"id":"CANARY-2","metadata":["CANARY"]}"#),
        ("base64.jsonl", r#"{"id":"CANARY-2","contents":{"base64":"CANARY!"}}"#),
        ("number.jsonl", r#"{"id":"CANARY-2","metadata":{"CANARY":1e999}}"#),
        ("bad-id.jsonl", r#"{"id":"CANARY\n"}"#),
    ] {
        cli.write(name, format!("{item}\n{second}\n"));
    }
    cli.owner("create notes --metric euclidean").ok();
    cli.owner("import notes --vectors rows.npy --items items.jsonl").ok();
    for (id, key, rights) in [(ALICE, "alice.key", "read"), (BOB, "bob.key", "write")] {
        let grant = format!("users grant notes --user-id {id} --user-key-file {key}");
        cli.owner(&format!("{grant} --permissions {rights}")).ok();
    }
    cli
}

/// As the owner.
const BY_OWNER: [&str; 35] = [
    "create notes --metric euclidean",
    "create notes --metric CANARY",
    "import notes --vectors rows.npy --items broken.jsonl --overwrite",
    "import notes --vectors rows.npy --items field.jsonl --overwrite",
    "import notes --vectors rows.npy --items list.jsonl --overwrite",
    "import notes --vectors rows.npy --items base64.jsonl --overwrite",
    "import notes --vectors rows.npy --items number.jsonl --overwrite",
    "import notes --vectors rows.npy --items bad-id.jsonl --overwrite",
    "import notes --vectors nan.npy --items items.jsonl --overwrite",
    "import notes --vectors wide.npy --overwrite",
    "import notes --vectors cut.npy --overwrite",
    "import notes --vectors items.jsonl --overwrite",
    "query notes --vectors wide.npy",
    "query notes --vectors nan.npy",
    "query notes --vectors cut.npy",
    "query notes --like CANARY-missing",
    "query notes --like CANARY-1 --output ids-npy",
    "query notes --like CANARY-1 --where {\"field\":{\"$no\":\"CANARY\"}}",
    "query notes --like CANARY-1 --where CANARY",
    "list notes --where {\"$no\":\"CANARY\"}",
    "list notes --cursor CANARY",
    "list notes --order-by a..b:up",
    "count notes --where [\"CANARY\"]",
    "delete notes CANARY-missing --missing error",
    "delete notes CANARY-1 --if-match CANARY",
    "delete notes CANARY-1 --if-match 0000000000000000000000000000000000000000000000000000000000000000",
    "users grant notes --user-id CANARY --user-key-file alice.key --permissions read",
    "users grant notes --user-id a11ce000000000000000000000000001 --user-key-file text.key --permissions read",
    "users grant notes --user-id a11ce000000000000000000000000001 --user-key-file index.key --permissions read",
    "users grant notes --user-id a11ce000000000000000000000000001 --user-key-file alice.key --permissions CANARY",
    "stats notes --min-version CANARY",
    "stats nowhere",
    "export notes --vectors rows.npy --items items.jsonl",
    "keygen --out index.key",
    "drop notes",
];

/// As somebody who has not the right, or not the key.
const BY_OTHERS: [&str; 11] = [
    "get notes CANARY-1",
    "query notes --like CANARY-1",
    "list notes",
    "count notes",
    "history notes",
    "verify notes",
    "import notes --vectors rows.npy --items items.jsonl --overwrite",
    "delete notes CANARY-1",
    "optimize notes",
    "users list notes",
    "drop notes --yes",
];

#[test]
fn nothing_secret_is_said_by_a_command_that_fails() {
    let cli = world();
    let mut failed = 0;
    let mut search = |line: &str, run: super::Run| {
        assert!(run.code != 0, "{line} does not fail");
        // What is asked for on the command line may be shown as it was given; nothing else.
        let said = [&run.out[..], run.err.as_bytes()].concat();
        let asked = line.replace("--db db", "");
        let said = String::from_utf8_lossy(&said).into_owned();
        let said = asked
            .split_whitespace()
            .filter(|word| word.contains("CANARY"))
            .fold(said, |said, word| said.replace(&format!("'{word}'"), "''"));
        assert_eq!(leaks(said.as_bytes()), [""; 0], "{line}: {said}");
        failed += 1;
    };
    for line in BY_OWNER {
        search(line, cli.owner(line));
    }
    for line in BY_OTHERS {
        // Alice may only read, Bob only write, and the others have no right at all.
        let reads = BY_OTHERS.iter().take(6).any(|other| *other == line);
        let alice = !reads;
        let bob = reads || line.starts_with("users") || line.starts_with("drop");
        if alice {
            search(line, cli.user(ALICE, "alice.key", line));
        }
        if bob {
            search(line, cli.user(BOB, "bob.key", line));
        }
        search(line, cli.user(ALICE, "wrong.key", line));
        search(line, cli.run(&format!("--db db --key-file wrong.key {line}")));
        for key in ["short.key", "long.key", "text.key", "raw.key"] {
            search(line, cli.run(&format!("--db db --key-file {key} {line}")));
        }
        let mut command = cli.command(&format!("--db db --key-env THE_KEY {line}"));
        search(line, command.env("THE_KEY", "CANARY").output().unwrap().into());
    }
    // Damaged, and full of canaries still.
    let raw = crate::support::open_raw(&cli.path("db"));
    for record in crate::support::records(&raw) {
        if record.kind() == 0x20 || record.kind() == 0x50 {
            let mut value = record.value.clone();
            *value.last_mut().unwrap() ^= 1;
            crate::support::put_raw(&raw, record.family, &record.key, &value);
        }
    }
    drop(raw);
    for line in [
        "get notes CANARY-1",
        "verify notes",
        "query notes --like CANARY-1",
        "export notes --vectors a.npy --items a.jsonl",
    ] {
        search(line, cli.owner(line));
    }
    println!("failing commands: {failed}");
}

#[test]
fn what_a_command_shows_is_found() {
    let cli = world();
    for line in ["get notes CANARY-1", "list notes", "get notes CANARY-1 --output json"] {
        let run = cli.owner(line);
        assert_eq!(run.code, 0);
        assert!(!leaks(&run.out).is_empty(), "{line}");
    }
    for name in ["index.key", "alice.key"] {
        assert!(!leaks(&fs::read(cli.path(name)).unwrap()).is_empty(), "{name}");
    }
    assert!(!leaks(b"a vector of [1234.5, 2.0]").is_empty());
}
