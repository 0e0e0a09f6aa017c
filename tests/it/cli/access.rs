//! Keys, users, databases: who gets in, and the exit code of whoever does not.

use std::fs;
use std::process::{Command, Stdio};

use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, Options};

use super::{ALICE, BOB, Cli, Run, npy};

#[test]
fn keygen_makes_a_key_once_and_for_its_owner_only() {
    let cli = Cli::new();
    let key = fs::read_to_string(cli.path("index.key")).unwrap();
    assert_eq!(key.len(), 65);
    let (digits, end) = key.split_at(64);
    assert!(digits.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)));
    assert_eq!(end, "\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(cli.path("index.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(cli.run("keygen --out index.key").fails(5).contains("exists"));
    assert_eq!(fs::read_to_string(cli.path("index.key")).unwrap(), key);
    cli.run("keygen --out other.key").ok();
    assert_ne!(fs::read_to_string(cli.path("other.key")).unwrap(), key);
    cli.run("keygen --out no/such/folder.key").fails(1);
}

#[test]
fn a_key_comes_from_a_file_a_descriptor_or_a_variable() {
    let cli = Cli::with_notes();
    let key = fs::read_to_string(cli.path("index.key")).unwrap();
    let stats = cli.owner("stats notes").ok();
    let mut from_stdin = cli.command("--db db --key-fd 0 stats notes");
    let file = fs::File::open(cli.path("index.key")).unwrap();
    let output = from_stdin.stdin(Stdio::from(file)).output().unwrap();
    assert_eq!(Run::from(output).ok(), stats);
    for key in [&key[..], &key[..64], &key.to_uppercase()] {
        let mut command = cli.command("stats notes --db db --key-env THE_KEY");
        let run: Run = command.env("THE_KEY", key).output().unwrap().into();
        assert_eq!(run.ok(), stats);
    }
    #[cfg(unix)]
    {
        let script = "exec \"$0\" --db db --key-fd 7 stats notes 7<index.key";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_sealvec")]).current_dir(cli.path("."));
        assert_eq!(Run::from(shell.output().unwrap()).ok(), stats);
    }
    let mut command = cli.command("--key-file index.key stats notes");
    let run: Run = command.env("SEALVEC_DB", "db").output().unwrap().into();
    assert_eq!(run.ok(), stats);

    cli.run("--key-file index.key stats notes").fails(2);
    cli.run("--db db stats notes").fails(3);
    cli.run("--db db --key-file nowhere.key stats notes").fails(3);
    cli.run("--db db --key-fd 77 stats notes").fails(3);
    cli.run("--db db --key-env SEALVEC_NO_SUCH_KEY stats notes").fails(3);
    cli.owner("--key-env THE_KEY stats notes").fails(2);
    cli.owner("--key-file index.key stats notes").fails(2);
    for bad in [&key[..63], &format!("{key}0"), "", &"x".repeat(64), &"0".repeat(64)] {
        cli.write("bad.key", bad);
        let said = cli.run("--db db --key-file bad.key stats notes").fails(2);
        assert!(!said.contains(&key[..16]), "{said}");
    }
    #[cfg(unix)]
    for (mode, code) in [(0o640, 3), (0o604, 3), (0o660, 3), (0o400, 0)] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(cli.path("index.key"), fs::Permissions::from_mode(mode)).unwrap();
        let run = cli.owner("stats notes");
        assert_eq!((run.code, run.err.contains("chmod 600")), (code, code == 3), "{mode:o}");
    }
    cli.run("keygen --out other.key").ok();
    cli.run("--db db --key-file other.key stats notes").fails(3);
    cli.user(ALICE, "index.key", "stats notes").fails(3);
}

#[test]
fn users_do_what_they_were_granted_until_revoked() {
    let cli = Cli::with_notes();
    cli.run("keygen --out alice.key").ok();
    cli.run("keygen --out bob.key").ok();
    let grant = |id: &str, file: &str, rights: &str| {
        let user = format!("--user-id {id} --user-key-file {file} --permissions {rights}");
        cli.owner(&format!("users grant notes {user} --output json"))
    };
    let granted = grant(ALICE, "alice.key", "read").json();
    assert_eq!((&granted["user_id"], &granted["permissions"]), (&ALICE.into(), &"read".into()));
    grant(BOB, "bob.key", "write").ok();

    let alice = |line: &str| cli.user(ALICE, "alice.key", line);
    let before = cli.state();
    alice("query notes --like a").ok();
    let after = format!("--db db --key-file alice.key get notes a --user-id {ALICE}");
    cli.run(&after).ok();
    cli.run(&format!("--user-id {ALICE} {after}")).fails(2);
    let said = alice("delete notes a b").fails(3);
    assert!(said.contains("write right"), "{said}");
    let said = alice("import notes --vectors notes.npy").fails(3);
    assert!(said.contains("write right"), "{said}");
    assert_eq!(cli.state(), before);

    // The user before the command acts; the one after it is the one to be granted rights.
    let more = format!("--user-id {ALICE} --user-key-file alice.key --permissions read,write");
    alice(&format!("users grant notes {more}")).fails(3);
    alice(&format!("users revoke notes --user-id {BOB}")).fails(3);
    alice("users list notes").fails(3);
    alice("drop notes --yes").fails(3);
    alice("create mine --metric cosine").fails(2);

    // Bob may write and not read, so he cannot skip what is there.
    let bob = |line: &str| cli.user(BOB, "bob.key", line);
    bob("list notes").fails(3);
    bob("import notes --vectors notes.npy").fails(3);
    let report = bob("import notes --vectors notes.npy --overwrite --output json").json();
    assert_eq!(report["item_count"], 6);

    let users = cli.owner("users list notes --output json").lines();
    assert_eq!(users.len(), 2);
    assert_eq!((&users[0]["user_id"], &users[0]["permissions"]), (&ALICE.into(), &"read".into()));
    let text = cli.owner("users list notes").ok();
    assert_eq!(text, format!("{ALICE}  read\n{BOB}  write\n"));
    assert_eq!(alice("stats notes --output json").json()["permissions"], "read");
    assert_eq!(alice("indexes").ok(), "notes\n");

    let revoke = format!("users revoke notes --user-id {ALICE} --output json");
    assert_eq!(cli.owner(&revoke).json()["revoked"], true);
    assert_eq!(cli.owner(&revoke).json()["revoked"], false);
    alice("query notes --like a").fails(3);
    assert_eq!(alice("indexes --output json").json()["indexes"], serde_json::json!([]));

    for bad in ["--permissions root", "--permissions read,", "--permissions READ"] {
        let user = format!("--user-id {BOB} --user-key-file bob.key {bad}");
        cli.owner(&format!("users grant notes {user}")).fails(2);
    }
    grant("b0b", "bob.key", "read").fails(2);
    grant(BOB, "nowhere.key", "read").fails(3);
}

#[test]
fn databases_and_indexes_that_are_not_there_or_in_the_way() {
    let cli = Cli::new();
    for reading in ["stats notes", "list notes", "get notes a", "indexes", "query notes --like a"] {
        cli.owner(reading).fails(4);
    }
    for writing in ["delete notes a", "drop notes --yes", "import notes --vectors v.npy"] {
        cli.owner(writing).fails(4);
    }
    assert!(!cli.path("db").exists());

    cli.owner("create notes --metric cosine --dimension 2 --precision f16").ok();
    cli.owner("create notes --metric cosine").fails(5);
    cli.owner("create more --metric inner-product").ok();
    assert_eq!(cli.owner("indexes").ok(), "more\nnotes\n");
    let names = serde_json::json!({"indexes": ["more", "notes"]});
    assert_eq!(cli.owner("indexes --output json").json(), names);
    cli.owner("stats nothing").fails(4);
    cli.owner("create wide --metric cosine --dimension 65536").fails(2);
    cli.owner("create flat --metric cosine --dimension 0").fails(2);
    cli.owner("create odd --metric Cosine").fails(2);

    cli.owner("drop notes").fails(2);
    cli.owner("stats notes").ok();
    cli.owner("drop notes --yes").ok();
    cli.owner("stats notes").fails(4);
    cli.owner("drop notes --yes").fails(4);

    fs::create_dir(cli.path("folder")).unwrap();
    cli.write("folder/file", "mine");
    cli.run("--db folder --key-file index.key create notes --metric cosine").fails(2);
    cli.run("--db folder --key-file index.key stats notes").fails(2);
    cli.run("--db index.key --key-file index.key stats notes").fails(2);
    assert_eq!(fs::read_dir(cli.path("folder")).unwrap().count(), 1);
}

#[test]
fn one_process_writes_while_others_read() {
    let cli = Cli::new();
    cli.write("index.key", "07".repeat(32));
    let key = || IndexKey::from_bytes(&[7; 32]).unwrap();
    let db = Database::open(cli.path("db"), Options::new()).unwrap();
    db.create_index("notes", &key(), IndexConfig::new(Metric::Cosine)).unwrap();
    let index = db.load_index("notes", KeyContext::root(key())).unwrap();
    index.upsert(&[Item::new("a", [1.0, 0.0])]).unwrap();
    cli.write("v.npy", npy(&[&[1.0, 2.0]]));
    for writing in ["delete notes a", "import notes --vectors v.npy", "drop notes --yes"] {
        cli.owner(writing).fails(5);
    }
    cli.owner("create more --metric cosine").fails(5);
    assert_eq!(cli.owner("list notes").ok(), "a\n");
    db.close().unwrap();
    cli.owner("delete notes a").ok();
}

#[test]
fn readers_open_while_a_writer_compacts() {
    let cli = Cli::with_notes();
    // The files of the runs so far are enough for a compaction to begin.
    let db = Database::open(cli.path("db"), Options::new()).unwrap();
    for _ in 0..10 {
        assert_eq!(cli.owner("list notes").ok(), "a\nb\nc\n");
        cli.owner("delete notes a").fails(5);
    }
    db.close().unwrap();
}

#[test]
fn a_newer_format_is_refused_by_readers_and_writers() {
    let cli = Cli::with_notes();
    let families = ["default", "catalog", "items", "nodes", "attributes", "payload"];
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), cli.path("db"), families).unwrap();
    let record = [&b"sealvec"[..], &[99], &[7; 32]].concat();
    db.put_cf(db.cf_handle("catalog").unwrap(), [0; 17], record).unwrap();
    drop(db);
    for command in ["stats notes", "delete notes a", "create more --metric cosine"] {
        let said = cli.owner(command).fails(6);
        assert!(said.contains("version 99"), "{said}");
    }
}

#[test]
fn a_command_line_that_is_not_one() {
    let cli = Cli::with_notes();
    for bad in [
        "",
        "nonsense",
        "stats",
        "stats notes extra",
        "stats notes --output yaml",
        "--db db stats notes",
        "query notes",
        "query notes --like a --vectors notes.npy",
        "query notes --like a --top-k 0",
        "query notes --like a --top-k 2 --top-k 3",
        "query notes --like a --include secrets",
        "get notes",
        "list notes --limit 0",
        "list notes --cursor xyz",
        "list notes --cursor 00",
        "history notes --limit 0",
        "history notes --from 3 --to 2",
        "history notes --from -1",
        "import notes --vectors notes.npy --top-k 1",
        "--block-cache lots stats notes",
        "--threads 5000 stats notes",
        "--user-id alice stats notes",
    ] {
        let run = cli.owner(bad);
        assert_eq!(run.code, 2, "{bad}: {}", run.err);
        assert_eq!(run.out, b"", "{bad}");
    }
    let help = cli.run("--help").ok();
    assert!(help.contains("Exit codes:") && help.contains("sealvec keygen"));
    let commands = [
        "keygen",
        "create",
        "import",
        "export",
        "query",
        "get",
        "delete",
        "list",
        "verify",
        "history",
        "optimize",
        "purge",
        "rotate-index-key",
        "rotate-data-keys",
        "reencrypt",
        "drop",
    ];
    for command in commands {
        assert!(cli.run(&format!("{command} --help")).ok().contains("Usage: sealvec"));
    }
    cli.owner("--threads 1 --block-cache 1M query notes --like a").ok();
}
