//! No (key, nonce) pair ever seals twice: not over a long life of an index, and not when a commit
//! fails and the same write is made again, at the same sequence, for the same ids.
//!
//! Every seal of the library goes through `aead`, whose recorder sees the pairs of this thread; the
//! database has one thread.

use std::collections::HashMap;

use serde_json::json;

use crate::config::IndexConfig;
use crate::crypto::aead::{Cipher, WHOLE, part_nonce, recorder};
use crate::crypto::{IndexKey, KeyContext, UserKey};
use crate::error::{Error, Result};
use crate::id::{Permissions, UserId};
use crate::index::{Include, Index, Item, Update};
use crate::store::Family;
use crate::store::tampering::Tampering;
use crate::vector::{Metric, Precision};

const SEALS: usize = 20_000;

fn root() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(&[7; 32]).unwrap())
}

fn items(round: u16, ids: std::ops::Range<u16>) -> Vec<Item> {
    let item = |id: u16| {
        let item = Item::new(format!("id {id}"), [f32::from(id) + 1.0, f32::from(round)]);
        match id % 4 {
            0 => item,
            // Longer than a stored value may be, so sealed in parts.
            1 => item.contents(vec![u8::try_from(round % 256).unwrap(); 9000]),
            2 => item.contents("").metadata(json!({"round": round})),
            _ => item.contents("short").metadata(json!({})),
        }
    };
    ids.map(item).collect()
}

/// Runs `write` with the next commits failing, and then again until it succeeds.
fn with_failures<T>(engine: &Tampering, index: &Index<'_>, write: impl Fn() -> Result<T>) -> T {
    let errors = [Error::Io("test".into()), Error::Conflict, Error::NoSpace];
    let before = index.describe().unwrap().version;
    engine.fail_next(&errors);
    for error in errors.iter().rev() {
        assert_eq!(write().err().as_ref(), Some(error));
        assert_eq!(index.describe().unwrap().version, before, "a failed commit changes nothing");
    }
    let done = write().unwrap();
    assert_eq!(index.describe().unwrap().version.sequence, before.sequence + 1);
    done
}

#[test]
fn the_recorder_sees_a_repeated_pair() {
    recorder::start();
    let cipher = Cipher::new(&zeroize::Zeroizing::new([1; 32]));
    cipher.seal(&WHOLE, b"", b"one");
    cipher.seal(&WHOLE, b"", b"another");
    cipher.seal(&part_nonce(1, 0, true), b"", b"another");
    assert_eq!(recorder::stop(), (3, 2));
}

#[test]
fn no_key_and_nonce_seal_twice() {
    recorder::start();
    let engine = Tampering::new();
    let db = engine.open_with_small_nodes();
    let users: Vec<(UserId, [u8; 32])> =
        (1..6).map(|n| (UserId::from_bytes(&[n; 16]).unwrap(), [n; 32])).collect();
    // Two indexes under one key, with the same ids in both.
    let configs = [
        IndexConfig::new(Metric::Euclidean),
        IndexConfig::new(Metric::InnerProduct).precision(Precision::F16),
    ];
    let indexes = [("one", &configs[0]), ("two", &configs[1])].map(|(name, config)| {
        let key = IndexKey::from_bytes(&[7; 32]).unwrap();
        engine.fail_next(&[Error::NoSpace]);
        assert_eq!(db.create_index(name, &key, config.clone()).err(), Some(Error::NoSpace));
        db.create_index(name, &key, config.clone()).unwrap();
        db.load_index(name, root()).unwrap()
    });
    for round in 1..=16 {
        for index in &indexes {
            live_a_round(&engine, index, round, &users);
        }
    }
    let (seals, distinct) = recorder::stop();
    println!("{seals} seals, {distinct} distinct pairs of key and nonce");
    assert!(seals >= SEALS, "{seals}");
    // Nodes were among them: split, dissolved, and sealed anew with every write.
    for index in &indexes {
        let report = index.verify_tree().unwrap();
        assert!(report.height >= 3 && report.leaves > 8 && report.spilled > 0, "{report:?}");
    }
    assert!(engine.under(Family::Nodes, &[]).len() > 20);
    assert_eq!(seals, distinct);
}

fn live_a_round(engine: &Tampering, index: &Index<'_>, round: u16, users: &[(UserId, [u8; 32])]) {
    // Inserts, overwrites of the same ids with the same content, and the same again after failures.
    index.upsert(&items(round, 0..60)).unwrap();
    index.upsert(&items(round, 0..30)).unwrap();
    with_failures(engine, index, || index.upsert(&items(round, 20..50)));
    for id in 0..10u16 {
        let id = format!("id {id}");
        index.update(&id, Update::new().contents("updated")).unwrap();
    }
    with_failures(engine, index, || index.update("id 3", Update::new().contents("updated")));
    with_failures(engine, index, || index.delete(&["id 4", "id 5"]));
    index.delete(&["id 6", "id 7", "never there"]).unwrap();
    // The same item with the same content comes back.
    index.upsert(&items(round, 4..8)).unwrap();

    let mut expected = HashMap::new();
    for (number, (user, bytes)) in users.iter().enumerate() {
        let key = || UserKey::from_bytes(bytes).unwrap();
        let rights = [Permissions::READ, Permissions::WRITE, Permissions::READ_WRITE]
            [(number + usize::from(round)) % 3];
        index.grant(*user, &key(), rights).unwrap();
        index.grant(*user, &key(), rights).unwrap();
        with_failures(engine, index, || index.grant(*user, &key(), rights));
        expected.insert(*user, rights);
        let caller = KeyContext::user(*user, key());
        let written = index.with_key(&caller).upsert(&items(round, 10..12));
        assert_eq!(written.is_ok(), rights.write());
        if number == 0 {
            with_failures(engine, index, || index.revoke(*user));
            expected.remove(user);
        }
    }
    let found = index.users().unwrap();
    assert_eq!(found.iter().map(|u| (u.id, u.permissions)).collect::<HashMap<_, _>>(), expected);

    // Cursors are sealed too, with the last id: the same page twice is the same plaintext.
    for _ in 0..5 {
        assert!(index.list_ids(10, None).unwrap().next.is_some());
    }
    assert_eq!(index.get(&["id 1"], Include::ALL).unwrap().len(), 1);
}
