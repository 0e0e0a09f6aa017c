//! Other keys for an index: what opens it afterwards, and what the commands say.

use super::{ALICE, Cli};

#[test]
fn another_index_key_opens_the_index_and_the_old_one_does_not() {
    let cli = Cli::with_notes();
    cli.run("keygen --out new.key").ok();
    cli.run("keygen --out alice.key").ok();
    let user = format!("--user-id {ALICE} --user-key-file alice.key --permissions read,write");
    cli.owner(&format!("users grant notes {user}")).ok();
    let before = cli.owner("get notes a b c").ok();

    cli.owner("rotate-index-key notes --new-key-file nowhere.key").fails(3);
    cli.owner("rotate-index-key notes --new-key-file index.key").fails(2);
    cli.owner("rotate-index-key notes --new-key-file alice.key").fails(2);
    cli.owner("rotate-index-key notes").fails(2);
    cli.owner("rotate-index-key nowhere --new-key-file new.key").fails(4);
    cli.run("--db db --key-file new.key rotate-index-key notes --new-key-file index.key").fails(3);
    let said =
        cli.user(ALICE, "alice.key", "rotate-index-key notes --new-key-file new.key").fails(2);
    assert!(said.contains("--user-id"), "{said}");
    cli.owner("stats notes").ok();

    let said = cli.owner("rotate-index-key notes --new-key-file new.key").ok();
    assert_eq!(said, "the index has its new key\n");
    cli.owner("stats notes").fails(3);
    let new = |line: &str| cli.run(&format!("--db db --key-file new.key {line}"));
    assert_eq!(new("get notes a b c").ok(), before);
    assert_eq!(cli.user(ALICE, "alice.key", "get notes a b c").ok(), before);
    assert!(new("history notes").ok().contains("rotate-index-key"));
    let back = new("rotate-index-key notes --new-key-file index.key --output json").json();
    let token = back["version_token"].as_str().unwrap();
    cli.owner(&format!("stats notes --min-version {token}")).ok();
    new("stats notes").fails(3);
}

#[test]
fn another_data_key_and_everything_under_it() {
    let cli = Cli::with_notes();
    let before = cli.owner("get notes a b c").ok();
    let state = cli.state();
    assert_eq!(cli.owner("reencrypt notes --output json").json()["items"], 0);

    let said = cli.owner("rotate-data-keys notes").ok();
    assert!(said.contains("reencrypt"), "{said}");
    for _ in 0..2 {
        cli.owner("rotate-data-keys notes --output json").json()["version_token"].as_str().unwrap();
    }
    let said = cli.owner("rotate-data-keys notes").fails(2);
    assert!(said.contains("reencrypt"), "{said}");
    cli.owner("rotate-data-keys nowhere").fails(4);
    cli.owner("reencrypt notes --rate 0").fails(2);
    cli.run("keygen --out other.key").ok();
    for command in ["rotate-data-keys notes", "reencrypt notes"] {
        cli.run(&format!("--db db --key-file other.key {command}")).fails(3);
        cli.user(ALICE, "index.key", command).fails(2);
    }

    let report = cli.owner("reencrypt notes --rate 1000 --output json").json();
    assert_eq!((&report["items"], &report["retired"]), (&3.into(), &3.into()));
    assert_eq!(cli.owner("get notes a b c").ok(), before);
    assert_eq!(cli.state(), state);
    cli.owner("verify notes").ok();
    let said = cli.owner("reencrypt notes").ok();
    assert_eq!(said, "sealed 0 items again; 0 data keys are out of use\n");
}
