//! A database whose storage failed writes nothing more, says so, and is whole when opened again.
//!
//! The failures are those of the engine in memory; `tests/faults` has RocksDB's own.

use std::time::Duration;

use crate::config::{IndexConfig, Options};
use crate::crypto::{IndexKey, KeyContext, UserKey};
use crate::database::Database;
use crate::error::{Error, Fault, Result};
use crate::id::{Permissions, UserId};
use crate::index::{Include, Index, Item, Update};
use crate::purge::{PurgeOptions, PurgeScope};
use crate::store::Durability;
use crate::store::poison::Poison;
use crate::store::tampering::Tampering;
use crate::vector::Metric;

const NAME: &str = "index";

fn key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

fn open(store: &Tampering, durability: Durability) -> Database {
    let options = Options::new().threads(1).durability(durability);
    Database::with_test_engine(Box::new(Poison::new(store.clone())), options).unwrap()
}

fn world(durability: Durability) -> (Tampering, Database, Index<'static>) {
    let store = Tampering::new();
    let db = open(&store, durability);
    db.create_index(NAME, &key(), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, KeyContext::root(key())).unwrap();
    index.upsert(&[Item::new("a", [1.0]), Item::new("b", [2.0])]).unwrap();
    let user = UserKey::from_bytes(&[1; 32]).unwrap();
    index.grant(UserId([1; 16]), &user, Permissions::READ_WRITE).unwrap();
    // Now a purge is owed.
    index.update("b", Update::new().contents("x")).unwrap();
    (store, db, index)
}

fn upsert(index: &Index<'_>) -> Result<()> {
    index.upsert(&[Item::new("c", [3.0])]).map(drop)
}

type Write = fn(&Database, &Index<'_>) -> Result<()>;

/// Everything that writes.
const WRITES: [(&str, Write); 12] = [
    ("upsert", |_, index| upsert(index)),
    ("update", |_, index| index.update("a", Update::new().contents("x")).map(drop)),
    ("delete", |_, index| index.delete(&["a"]).map(drop)),
    ("bulk_upsert", |_, index| {
        let items = [Item::new("d", [3.0])];
        index.bulk_upsert(items, |_| std::ops::ControlFlow::Continue(())).map(drop)
    }),
    ("grant", |_, index| {
        let user = UserKey::from_bytes(&[2; 32])?;
        index.grant(UserId([2; 16]), &user, Permissions::READ).map(drop)
    }),
    ("revoke", |_, index| index.revoke(UserId([1; 16])).map(drop)),
    ("purge", |_, index| index.purge(PurgeScope::Payload, PurgeOptions::new()).map(drop)),
    ("purge_owed", |db, _| db.purge_owed().map(drop)),
    ("flush", |db, _| db.flush()),
    ("create_index", |db, _| {
        db.create_index("other", &key(), IndexConfig::new(Metric::Euclidean)).map(drop)
    }),
    ("checkpoint", |db, _| db.checkpoint("/nowhere/checkpoint")),
    ("delete_index", |db, _| db.delete_index(NAME, &KeyContext::root(key()))),
];

#[test]
fn after_a_failed_commit_every_write_is_refused_until_it_is_opened_again() {
    let failures =
        [Error::Io("fsync failed".into()), Error::NoSpace, Error::Integrity(Fault::Storage)];
    for failure in failures {
        for durability in [Durability::Synced, Durability::Buffered] {
            for (name, write) in WRITES {
                let (store, db, index) = world(durability);
                let before = index.describe().unwrap();
                store.fail_next(std::slice::from_ref(&failure));
                assert_eq!(upsert(&index), Err(failure.clone()), "the first says what it was");
                let refused = write(&db, &index).unwrap_err();
                assert_eq!(refused.code(), "poisoned", "{name}: {refused}");
                assert!(refused.to_string().contains(&failure.to_string()), "{refused}");
                // Reads go on, and see nothing of it.
                assert_eq!(index.describe().unwrap().version, before.version);
                assert_eq!(index.query(&[1.0]).run().unwrap().len(), 2);
                assert!(index.get(&["c"], Include::ALL).unwrap()[0].item.is_none());
                drop(index);
                assert_eq!(db.close().map_err(|error| error.code()), Err("poisoned"));

                let db = open(&store, durability);
                let index = db.load_index(NAME, KeyContext::root(key())).unwrap();
                assert_eq!(index.describe().unwrap().version, before.version, "{name}");
                if name != "checkpoint" {
                    write(&db, &index).unwrap();
                }
            }
        }
    }
}

#[test]
fn what_is_no_failure_of_storage_poisons_nothing() {
    let (store, db, index) = world(Durability::Synced);
    store.fail_next(&[Error::Conflict]);
    let _ = upsert(&index);
    index.update("missing", Update::new().contents("x")).unwrap_err();
    index.update("a", Update::new().contents("x")).unwrap();
    store.fail_next_purges(&[Error::NoSpace, Error::PurgeIncomplete("held".into())]);
    let patient = PurgeOptions::new().deadline(Duration::from_millis(1));
    index.purge(PurgeScope::Payload, patient).unwrap_err();
    index.purge(PurgeScope::Payload, patient).unwrap_err();
    db.checkpoint("/nowhere/checkpoint").unwrap_err();
    index.purge(PurgeScope::Payload, PurgeOptions::new()).unwrap();
    upsert(&index).unwrap();
    db.close().unwrap();
}

#[test]
fn an_error_in_the_background_poisons() {
    let (store, db, index) = world(Durability::Buffered);
    store.fail_in_background();
    for (name, write) in WRITES {
        let refused = write(&db, &index).unwrap_err();
        assert_eq!(refused.code(), "poisoned", "{name}: {refused}");
    }
    assert_eq!(*index.count().unwrap(), 2);
}
