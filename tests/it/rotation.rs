//! Rotation of the index key: who gets in afterwards, and that nothing else is different.
//!
//! That a kill leaves the old key or the new one, and that no file keeps what was under the old, is
//! in `purge/owed.rs`.

use std::ops::ControlFlow;

use sealvec::{
    Database, Include, IndexConfig, Item, MIN_RETENTION, Metric, Operation, Permissions,
};

use crate::support::{
    NAME, ROOT, code, copy_directory, index_key, memory, refused, root, small, user, user_id,
    user_key,
};

const NEW: u8 = 70;

fn config() -> IndexConfig {
    IndexConfig::new(Metric::Euclidean)
}

fn item(n: u8) -> Item {
    Item::new(n.to_string(), [f32::from(n), 1.0]).contents("text")
}

fn rotate(db: &Database, old: u8, new: u8) {
    db.rotate_index_key(NAME, &root(old), &index_key(new)).unwrap();
}

/// Everything a reader gets to see, but for the state of the chain.
fn seen(db: &Database, key: &sealvec::KeyContext) -> String {
    let index = db.open_index(NAME).unwrap();
    let index = index.with_key(key);
    let all = index.get(&["1", "2", "3"], Include::ALL).unwrap().value;
    let near = index.query(&[2.0, 1.0]).top_k(3).run().unwrap().value;
    let etag = index.describe().unwrap().etag;
    index.verify_tree().unwrap();
    format!("{all:?} {near:?} {etag:?}")
}

#[test]
fn the_new_key_opens_what_the_old_one_did_and_users_notice_nothing() {
    let (db, index) = memory(config());
    let rights = [Permissions::READ_WRITE, Permissions::READ, Permissions::WRITE];
    for (id, rights) in (1..).zip(rights) {
        index.grant(user_id(id), &user_key(id), rights).unwrap();
    }
    index.grant(user_id(4), &user_key(4), Permissions::READ_WRITE).unwrap();
    index.revoke(user_id(4)).unwrap();
    let alice = db.load_index(NAME, user(1, 1)).unwrap();
    alice.upsert(&[item(1), item(2), item(3)]).unwrap();
    let users = index.users().unwrap().value;
    let before = seen(&db, &root(ROOT));

    rotate(&db, ROOT, NEW);

    assert_eq!(seen(&db, &root(NEW)), before);
    assert_eq!(seen(&db, &user(2, 2)), before);
    let renewed = db.load_index(NAME, root(NEW)).unwrap();
    assert_eq!(renewed.users().unwrap().value, users);
    for id in [1, 3] {
        let open = db.load_index(NAME, user(id, id)).unwrap();
        open.upsert(&[item(3 + id)]).unwrap();
    }
    alice.delete(&["4"]).unwrap();
    refused(db.load_index(NAME, user(2, 2)).unwrap().delete(&["1"]), "permission_denied", &[]);

    let stranger = db.load_index(NAME, root(99)).unwrap_err();
    for refusal in [
        index.describe().map(drop),
        index.grant(user_id(5), &user_key(5), Permissions::READ).map(drop),
        db.load_index(NAME, root(ROOT)).map(drop),
        db.load_index(NAME, user(4, 4)).map(drop),
        db.rotate_index_key(NAME, &root(ROOT), &index_key(72)).map(drop),
        db.delete_index(NAME, &root(ROOT)),
    ] {
        assert_eq!(refusal, Err(stranger.clone()), "as for any other wrong key");
    }
    assert!(db.list_indexes(&root(ROOT)).unwrap().is_empty());
    assert_eq!(db.list_indexes(&root(NEW)).unwrap(), [NAME]);
}

#[test]
fn a_rotation_that_is_refused_changes_nothing() {
    let (db, index) = memory(config());
    index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    let before = index.describe().unwrap();
    for (old, new, expected) in [
        (root(99), NEW, "wrong_key"),
        (user(1, 2), NEW, "wrong_key"),
        (user(1, 1), NEW, "permission_denied"),
        (root(ROOT), ROOT, "invalid_argument"),
        // The key of a user.
        (root(ROOT), 1, "invalid_argument"),
    ] {
        let result = db.rotate_index_key(NAME, &old, &index_key(new));
        assert_eq!(code(&result), expected);
        assert_eq!(index.describe().unwrap(), before);
    }
    let nowhere = db.rotate_index_key("other", &root(ROOT), &index_key(NEW));
    assert_eq!(code(&nowhere), "index_not_found");
    rotate(&db, ROOT, NEW);
    assert_eq!(code(&index.describe()), "wrong_key", "the control");
}

#[test]
fn any_number_of_users_and_of_rotations() {
    for users in [0_u8, 1, 100] {
        let (db, index) = memory(config());
        for id in 1..=users {
            index.grant(user_id(id), &user_key(100 + id), Permissions::READ_WRITE).unwrap();
        }
        index.upsert(&[item(0)]).unwrap();
        let mut key = ROOT;
        for next in 20..23 {
            rotate(&db, key, next);
            assert_eq!(code(&db.load_index(NAME, root(key))), "wrong_key");
            key = next;
        }
        for id in 1..=users {
            let own = db.load_index(NAME, user(id, 100 + id)).unwrap();
            own.upsert(&[item(id)]).unwrap();
        }
        let renewed = db.load_index(NAME, root(key)).unwrap();
        assert_eq!(renewed.users().unwrap().len(), usize::from(users));
        assert_eq!(*renewed.count().unwrap(), u64::from(users) + 1);
        renewed.verify_tree().unwrap();
        // And back: a key may be used again.
        rotate(&db, key, ROOT);
        index.describe().unwrap();
    }
}

#[test]
fn the_history_is_verified_across_rotations_and_folds() {
    let (db, index) = memory(config().retention(MIN_RETENTION));
    index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    let alice = db.load_index(NAME, user(1, 1)).unwrap();
    let (mut key, mut rotations, mut folded_rotations) = (ROOT, 0_u64, 0);
    for round in 0..60_u8 {
        alice.upsert(&[item(round)]).unwrap();
        if round % 5 == 4 {
            let next = 100 + round;
            rotate(&db, key, next);
            key = next;
            rotations += 1;
        }
        let mut found = Vec::new();
        let folded = alice.for_each_commit(.., |commit| {
            found.push((commit.version.sequence, commit.operation, commit.principal));
            ControlFlow::Continue(())
        });
        let folded = folded.unwrap().value;
        let through = folded.as_ref().map_or(0, |folded| folded.through);
        let head = alice.describe().unwrap().version.sequence;
        assert_eq!(found.len() as u64, head - through);
        let operations = folded.map(|folded| folded.operations).unwrap_or_default();
        folded_rotations = operations.get(&Operation::RotateIndexKey).copied().unwrap_or(0);
        let kept = found.iter().filter(|(_, operation, _)| *operation == Operation::RotateIndexKey);
        assert!(kept.clone().all(|(_, _, principal)| principal.is_none()), "the root's");
        assert_eq!(kept.count() as u64 + folded_rotations, rotations);
    }
    assert!(folded_rotations > 0 && folded_rotations < rotations);
}

/// What docs/security.md says of copies: the old key goes on opening one that was made before.
#[test]
fn a_copy_from_before_opens_with_the_old_key_and_the_files_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let (live, copy) = (directory.path().join("live"), directory.path().join("copy"));
    let db = Database::open(&live, small()).unwrap();
    let index = db.create_index(NAME, &index_key(ROOT), config()).unwrap();
    index.with_key(&root(ROOT)).upsert(&[item(1), item(2), item(3)]).unwrap();
    db.close().unwrap();
    copy_directory(&live, &copy);

    let db = Database::open(&live, small()).unwrap();
    let before = seen(&db, &root(ROOT));
    rotate(&db, ROOT, NEW);
    db.close().unwrap();

    for (path, good, bad) in [(&live, NEW, ROOT), (&copy, ROOT, NEW)] {
        let db = Database::open(path, small()).unwrap();
        assert_eq!(code(&db.load_index(NAME, root(bad))), "wrong_key");
        assert_eq!(seen(&db, &root(good)), before);
        db.close().unwrap();
    }
}
