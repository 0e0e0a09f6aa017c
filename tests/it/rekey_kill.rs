//! Killed while keys change: each state opens with one index key, holds all data, and is gone on
//! with.
//!
//! The process is a child of this one (see `children`), and is killed after some of its lines or in
//! the middle of a write. Every time the database is opened again everything is verified.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use sealvec::{Database, Durability, ETag, Index, Item, Operation, Permissions, ReencryptOptions};

use crate::children::{Ended, Moment, Task, say};
use crate::data_keys::{config, contents, item, options, reencrypt, sound};
use crate::support::{NAME, ROOT, code, index_key, root, user, user_id, user_key};
use crate::tree::Random;

const ITEMS: usize = 600;
const USERS: u8 = 3;
/// So many processes are killed.
const KILLS: u32 = 32;
/// Rotations that a process makes at most.
const TURNS: u8 = 8;

fn create(path: &Path) {
    let db = Database::open(path, options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), config()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    for id in 1..=USERS {
        index.grant(user_id(id), &user_key(id), Permissions::READ_WRITE).unwrap();
    }
    index.upsert(&(0..ITEMS).map(|n| item(n, 0)).collect::<Vec<_>>()).unwrap();
    drop(index);
    db.close().unwrap();
}

/// Checks a database that was left: with its index key and as each user.
fn check(path: &Path, key: u8, expected: &(BTreeMap<String, String>, ETag)) -> Database {
    let db = Database::open(path, options()).unwrap();
    let index = db.load_index(NAME, root(key)).unwrap();
    sound(&index);
    assert!(contents(&index) == expected.0);
    for id in 1..=USERS {
        let own = db.load_index(NAME, user(id, id)).unwrap();
        let state = own.describe().unwrap();
        assert_eq!((state.etag, state.item_count), (expected.1, ITEMS as u64));
        let vector = item(7, 0).vector().to_vec();
        assert_eq!(own.query(&vector).top_k(1).run().unwrap()[0].id, "00007");
    }
    db
}

fn state(path: &Path) -> (BTreeMap<String, String>, ETag) {
    let db = Database::open(path, options()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let state = (contents(&index), index.describe().unwrap().etag);
    drop(index);
    db.close().unwrap();
    state
}

fn count(index: &Index<'_>, operation: Operation) -> u64 {
    let mut all = 0;
    let walked = index.for_each_commit(.., |commit| {
        all += u64::from(commit.operation == operation);
        ControlFlow::Continue(())
    });
    walked.unwrap();
    all
}

#[test]
fn a_rotation_of_the_index_key_that_is_killed_leaves_one_key_in_force() {
    const TEST: &str =
        "rekey_kill::a_rotation_of_the_index_key_that_is_killed_leaves_one_key_in_force";
    if let Some(Task { path, seed, .. }) = Task::given() {
        let db = Database::open(path, options()).unwrap();
        say("open");
        let first = u8::try_from(seed).unwrap();
        for key in first..first + TURNS {
            db.rotate_index_key(NAME, &root(key), &index_key(key + 1)).unwrap();
            say(&(key + 1).to_string());
        }
        return db.close().unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut random, mut kills, mut untold, mut rotations) = (Random(51), 0, 0, 0);
    for life in 0..12 {
        let path = directory.path().join(format!("db {life}"));
        create(&path);
        let expected = state(&path);
        let (mut key, mut rounds) = (ROOT, 0);
        while kills < KILLS && rounds < 12 && key < 100 {
            rounds += 1;
            let kill = Moment::random(&mut random, usize::from(TURNS), 12_000);
            let task =
                Task { path: path.clone(), durability: Durability::Synced, seed: u64::from(key) };
            let Ended { said, killed } = task.run(TEST, Some(kill));
            kills += u32::from(killed);
            let told = said.iter().rev().find_map(|line| line.parse().ok()).unwrap_or(key);
            rotations += u32::from(told - key);
            let db = Database::open(&path, options()).unwrap();
            // What was told of is in force; at most one more rotation is.
            let opens = |key: u8| db.load_index(NAME, root(key)).is_ok();
            let next = opens(told + 1);
            assert_ne!(opens(told), next, "one of the two");
            untold += u32::from(next);
            if told > key {
                assert_eq!(code(&db.load_index(NAME, root(told - 1))), "wrong_key");
            }
            key = if next { told + 1 } else { told };
            assert!(db.purge_owed().unwrap().is_empty(), "opening has purged what was owed");
            db.close().unwrap();
            let db = check(&path, key, &expected);
            let made = count(&db.load_index(NAME, root(key)).unwrap(), Operation::RotateIndexKey);
            assert_eq!(made, u64::from(key - ROOT));
            db.close().unwrap();
        }
    }
    println!("index keys: {kills} kills, {rotations} rotations told of, {untold} not");
    assert!(kills >= KILLS / 2 && rotations > 0);
}

#[test]
fn a_change_of_the_data_keys_that_is_killed_is_gone_on_with() {
    const TEST: &str = "rekey_kill::a_change_of_the_data_keys_that_is_killed_is_gone_on_with";
    if let Some(Task { path, durability, .. }) = Task::given() {
        let db = Database::open(path, options().durability(durability)).unwrap();
        let index = db.load_index(NAME, root(ROOT)).unwrap();
        say("open");
        for _ in 0..TURNS {
            // Four are in use if earlier processes did not come to the end.
            match db.rotate_data_keys(NAME, &root(ROOT)) {
                Ok(_) => say("rotated"),
                Err(error) => assert_eq!(error.code(), "invalid_argument"),
            }
            let report = index.reencrypt(ReencryptOptions::new(), |progress| {
                say(&format!("sealed {}", progress.items));
                ControlFlow::Continue(())
            });
            say(&format!("retired {}", report.unwrap().retired));
        }
        drop(index);
        return db.close().unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    create(&path);
    let expected = state(&path);
    let (mut random, mut kills, mut resumed, mut finished) = (Random(53), 0, 0, 0);
    for round in 0..KILLS + 8 {
        if kills >= KILLS {
            break;
        }
        let kill = Moment::random(&mut random, 40, 20_000);
        let synced = round % 2 == 0;
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        let task = Task { path: path.clone(), durability, seed: 0 };
        let Ended { said, killed } = task.run(TEST, Some(kill));
        kills += u32::from(killed);
        finished += said.iter().filter(|line| line.starts_with("retired")).count();
        let db = check(&path, ROOT, &expected);
        // Every now and then this process goes on with it.
        if round % 4 == 3 {
            let index = db.load_index(NAME, root(ROOT)).unwrap();
            let report = reencrypt(&index);
            resumed += u32::from(report.retired > 0 && report.items < ITEMS as u64);
            assert_eq!((reencrypt(&index).items, reencrypt(&index).retired), (0, 0));
            let one: Item = item(7, 0);
            assert_eq!(index.query(one.vector()).top_k(1).run().unwrap()[0].id, "00007");
        }
        db.close().unwrap();
        drop(check(&path, ROOT, &expected));
    }
    println!("data keys: {kills} kills, {finished} told of an end, {resumed} gone on with");
    assert!(kills >= KILLS / 2 && finished > 0 && resumed > 0);
    let db = Database::open(&path, options()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    reencrypt(&index);
    let rotated = count(&index, Operation::RotateDataKeys);
    assert!(rotated > 3, "{rotated}");
    assert!(db.purge_owed().unwrap().is_empty());
    drop(index);
    db.close().unwrap();
    drop(check(&path, ROOT, &expected));
}
