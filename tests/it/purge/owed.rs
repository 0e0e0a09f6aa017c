//! What is owed a purge is purged without a key: on request, in time, and after a kill.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sealvec::{Database, IndexConfig, Metric, PurgeScope};

use super::witness::{ITEM, NODE, SIGNATURE, WRAP, Witness};
use super::{LONG, Operation, Visit, World, item, options};
use crate::support::{NAME, ROOT, index_key, refused, root, user_id};

/// Looks until there are no traces, for some time.
fn until_gone(world: &mut World, kinds: &[u8]) {
    let start = Instant::now();
    loop {
        let traces = world.traces();
        if kinds.iter().all(|kind| traces[kind].1 == 0) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{traces:02x?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_owed_is_purged_without_a_key_and_once() {
    let world = World::new();
    world.purge(PurgeScope::Payload);
    world.db.purge_owed().unwrap();
    assert!(world.db.purge_owed().unwrap().is_empty());
    Operation::Delete.run(&world.index());
    let head = world.index().describe().unwrap().version.sequence;
    let mut world = world.reopen();
    assert!(world.traces()[&ITEM].1 >= 20, "opening purges nothing that can wait");
    let [receipt] = &world.db.purge_owed().unwrap()[..] else { panic!("one index owes") };
    assert_eq!((receipt.scope, receipt.up_to), (PurgeScope::Records, Some(head)));
    assert!(receipt.statement().contains("cannot be read"));
    assert_eq!((world.traces()[&ITEM].1, world.traces()[&NODE].1), (0, 0));
    assert!(world.db.purge_owed().unwrap().is_empty());
}

#[test]
fn what_is_owed_is_purged_in_time_while_the_database_is_open() {
    let mut world = World::new();
    world.purge(PurgeScope::Payload);
    let World { directory, path, db, witness } = world;
    db.close().unwrap();
    let bound = Duration::from_millis(200);
    let db = Database::open(&path, options().purge_after(bound)).unwrap();
    world = World { directory, path, db, witness };
    for operation in [Operation::Delete, Operation::GrantAgain] {
        operation.run(&world.index());
        world.look();
        until_gone(&mut world, &[ITEM, NODE]);
    }
    until_gone(&mut world, &[WRAP]);
    // It ends with the database, at once.
    let start = Instant::now();
    world.db.clone().close().unwrap();
    assert!(Database::open(&world.path, options()).is_ok());
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn opening_purges_what_is_due() {
    let mut world = World::new();
    world.purge(PurgeScope::Payload);
    Operation::Delete.run(&world.index());
    assert!(world.traces()[&ITEM].1 > 0);
    for (bound, left) in [(Duration::from_secs(86_400), true), (Duration::ZERO, false)] {
        let World { directory, path, db, witness } = world;
        db.close().unwrap();
        drop(Database::open(&path, options().purge_after(bound)).unwrap());
        let db = Database::open(&path, options()).unwrap();
        world = World { directory, path, db, witness };
        assert_eq!(world.traces()[&ITEM].1 > 0, left, "{bound:?}");
    }
}

#[test]
fn a_last_handle_that_is_dropped_ends_the_thread() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let options = options().purge_after(Duration::from_millis(1));
        let db = Database::open(directory.path().join("db"), options).unwrap();
        if db.open_index(NAME).is_err() {
            db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Cosine)).unwrap();
        }
        let index = db.load_index(NAME, root(ROOT)).unwrap();
        index.upsert(&[item(1)]).unwrap();
        // The lock is free when the last of them is gone, or soon: the thread may be at work.
        drop((db, index));
        let start = Instant::now();
        while let Err(error) = Database::open(directory.path().join("db"), super::options()) {
            assert!(start.elapsed() < Duration::from_secs(20), "{error}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

const NEW_ROOT: u8 = 71;
/// Whose directory the process is to delete an index in: it is killed while it does.
const VICTIM: &str = "SEALVEC_TEST_PURGE_VICTIM";

/// Does nothing unless `a_kill_between_...` runs it, in a process of its own.
#[test]
fn victim_that_is_killed_while_it_waits_to_purge() {
    let Some(path) = env::var_os(VICTIM) else { return };
    let db = Database::open(Path::new(&path), options()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let _visit = Visit::begin(index.clone());
    match env::var(format!("{VICTIM}_CALL")).unwrap().as_str() {
        "revoke" => drop(index.revoke(user_id(super::USER))),
        "rotate" => drop(db.rotate_index_key(NAME, &root(ROOT), &index_key(NEW_ROOT))),
        _ => drop(db.delete_index(NAME, &root(ROOT))),
    }
    // The visit holds the purge up for seconds: the kill comes before.
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_kill_between_a_deletion_and_its_purge_loses_nothing() {
    for call in ["delete_index", "revoke", "rotate"] {
        let world = World::new();
        world.purge(PurgeScope::Payload);
        let World { directory: _directory, path, db, witness } = world;
        db.close().unwrap();
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["purge::owed::victim_that_is_killed_while_it_waits_to_purge", "--exact"])
            .env(VICTIM, &path)
            .env(format!("{VICTIM}_CALL"), call)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        loop {
            let reader = Database::open_read_only(&path, options());
            let key = root(if call == "rotate" { NEW_ROOT } else { ROOT });
            let index = reader.and_then(|db| db.load_index(NAME, key));
            let done = match &index {
                Ok(index) if call == "revoke" => index.users().is_ok_and(|users| users.is_empty()),
                Ok(_) => call == "rotate",
                Err(error) => call == "delete_index" && error.code() == "index_not_found",
            };
            if done {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{index:?}");
            thread::sleep(Duration::from_millis(5));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        let kind = if call == "delete_index" { ITEM } else { WRAP };
        let mut witness: Witness = witness;
        witness.look(&path);
        let (all, found) = witness.traces(&path)[&kind];
        assert!(all > 1 && found == all, "the control: {found} of {all} are there, {call}");
        if call == "rotate" {
            let signatures = witness.traces(&path)[&SIGNATURE];
            assert_eq!(signatures, (2, 2), "made by the old key");
        }
        // Opening does it, whatever the options, and without a key.
        let db = Database::open(&path, options()).unwrap();
        witness.look(&path);
        for (kind, (all, found)) in witness.traces(&path) {
            assert_eq!(found, 0, "of {all} records of kind {kind:02x}, {call}");
        }
        assert!(witness.finds_what_is_stored(&path));
        assert!(db.purge_owed().unwrap().is_empty(), "{call}");
    }
}

#[test]
fn what_could_not_be_purged_is_said_and_stays_owed() {
    let mut world = World::new();
    world.purge(PurgeScope::Payload);
    let visit = Visit::begin(world.index());
    let error = world.index().revoke(user_id(super::USER)).unwrap_err();
    refused::<()>(Err(error), "purge_incomplete", &["taken back", "still running", "purge_owed"]);
    assert!(world.index().users().unwrap().is_empty());
    assert_eq!(world.traces()[&WRAP].1, 2);
    visit.end();
    assert_eq!(world.db.purge_owed().unwrap().len(), 1);
    assert_eq!(world.traces()[&WRAP], (2, 0));
}

#[test]
fn receipts_name_the_checkpoints_that_are_there() {
    let world = World::new();
    let at = |name: &str| world.directory.path().join(name);
    let purge = || {
        let receipt = world.index().purge(PurgeScope::Records, LONG).unwrap();
        receipt.value.checkpoints.into_iter().map(|copy| copy.path).collect::<Vec<_>>()
    };
    assert!(purge().is_empty());
    world.db.checkpoint(at("one")).unwrap();
    world.db.checkpoint(at("two")).unwrap();
    refused(world.db.checkpoint(at("two")), "invalid_argument", &["exists"]);
    assert_eq!(purge(), [at("one"), at("two")]);
    fs::remove_dir_all(at("one")).unwrap();
    assert_eq!(purge(), [at("two")]);
    // Who makes another in its place is another.
    fs::create_dir(at("one")).unwrap();
    assert_eq!(purge(), [at("two")]);
    fs::remove_dir(at("one")).unwrap();
    // A copy is not a copy of itself; it does not know the later ones.
    world.db.checkpoint(at("three")).unwrap();
    let two = Database::open(at("two"), options()).unwrap();
    let receipt = two.load_index(NAME, root(ROOT)).unwrap();
    let receipt = receipt.purge(PurgeScope::Records, LONG).unwrap();
    assert!(receipt.checkpoints.is_empty(), "{receipt:?}");
    assert_eq!(purge(), [at("two"), at("three")]);
    let times = world.index().purge(PurgeScope::Records, LONG).unwrap().value.checkpoints;
    assert!(times[0].time > 0 && times[0].time <= times[1].time);
}
