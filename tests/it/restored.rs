//! Records put back: an attacker who kept old records cannot turn back a change of rights.
//!
//! A database goes through a grant and a change of it; then the records of the time before are put
//! back on disk one kind at a time, as somebody with an old copy of the files could.

use std::path::Path;

use sealvec::{
    Database, Error, Fault, Index, IndexConfig, Item, Metric, Permissions, Result, Update,
};

use crate::support::{
    NAME, ROOT, Stored, index_key, open_raw, put_raw, records, root, small, user, user_id, user_key,
};

const HEAD: u8 = 0x10;
const WRAP: u8 = 0x13;

type Change = fn(&Index<'_>) -> Result<()>;

fn open(path: &Path) -> (Database, Index<'static>) {
    let db = Database::open(path, small()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    (db, index)
}

/// Grants user 1 reading and writing, keeps the records, makes the change and puts `kinds` back.
fn history(path: &Path, change: Change, kinds: &[u8]) {
    let db = Database::open(path, small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    index.upsert(&[Item::new("a", [1.0])]).unwrap();
    index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    drop((db, index));
    let before = records(&open_raw(path));
    let (db, index) = open(path);
    change(&index).unwrap();
    drop((db, index));
    let raw = open_raw(path);
    let of_root: Vec<Stored> = records(&raw);
    for record in before.iter().filter(|record| kinds.contains(&record.kind())) {
        // The root's own wraps are as they were.
        if of_root.iter().all(|now| now != record) {
            put_raw(&raw, record.family, &record.key, &record.value);
        }
    }
}

const CHANGES: [(&str, Change); 5] = [
    ("revoked", |index| index.revoke(user_id(1)).map(drop)),
    ("granted less", |index| index.grant(user_id(1), &user_key(1), Permissions::READ).map(drop)),
    ("granted the same anew", |index| {
        index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).map(drop)
    }),
    ("granted under a new key", |index| {
        index.grant(user_id(1), &user_key(2), Permissions::READ_WRITE).map(drop)
    }),
    ("granted to another", |index| {
        index.revoke(user_id(1))?;
        index.grant(user_id(2), &user_key(2), Permissions::READ_WRITE).map(drop)
    }),
];

#[test]
fn a_wrap_that_is_put_back_opens_nothing() {
    for (name, change) in CHANGES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        history(&path, change, &[WRAP]);
        let (db, index) = open(&path);
        let caller = user(1, 1);
        let old = index.with_key(&caller);
        assert_eq!(old.describe().unwrap_err(), Error::WrongKey, "{name}");
        assert_eq!(old.count().unwrap_err(), Error::WrongKey, "{name}");
        assert_eq!(old.upsert(&[]).unwrap_err(), Error::WrongKey, "{name}");
        let update = Update::new().contents("x");
        assert_eq!(old.update("a", update).unwrap_err(), Error::WrongKey, "{name}");
        assert_eq!(old.delete(&["a"]).unwrap_err(), Error::WrongKey, "{name}");
        assert_eq!(old.users().unwrap_err(), Error::WrongKey, "{name}");
        assert_eq!(db.delete_index(NAME, &caller), Err(Error::WrongKey), "{name}");
        assert!(db.list_indexes(&caller).unwrap().is_empty(), "{name}");
        // The others are as they were, and the next grant makes it good.
        assert_eq!(*index.count().unwrap(), 1);
        index.grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
        assert_eq!(*old.count().unwrap(), 1);
    }
}

#[test]
fn a_head_that_is_put_back_is_refused_for_everybody() {
    for (name, change) in CHANGES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        history(&path, change, &[WRAP, HEAD]);
        let db = Database::open(&path, small()).unwrap();
        for caller in [root(ROOT), user(1, 1)] {
            let fault = db.load_index(NAME, caller).unwrap_err();
            assert_eq!(fault, Error::Integrity(Fault::Commit), "{name}");
        }
    }
}

/// The control: with the grant still standing, what is put back is what is there.
#[test]
fn putting_back_what_is_current_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    history(&path, |index| index.upsert(&[Item::new("b", [1.0])]).map(drop), &[WRAP]);
    let (_db, index) = open(&path);
    assert_eq!(*index.with_key(&user(1, 1)).count().unwrap(), 2);
}
