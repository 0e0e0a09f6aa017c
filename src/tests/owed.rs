//! What commits owe, and how a purge takes it back, on an engine that counts purges and can fail.

use std::time::Duration;

use crate::config::{IndexConfig, Options};
use crate::crypto::{IndexKey, KeyContext, UserKey};
use crate::database::Database;
use crate::error::Error;
use crate::id::{IndexId, Permissions, UserId};
use crate::index::{Index, Item};
use crate::purge::{PurgeOptions, PurgeScope};
use crate::store::Family;
use crate::store::key;
use crate::store::owed::{Owed, Parts};
use crate::store::tampering::Tampering;
use crate::vector::Metric;

const NAME: &str = "index";

fn root() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(&[7; 32]).unwrap())
}

fn index(db: &Database) -> Index<'static> {
    db.load_index(NAME, root()).unwrap()
}

fn made(store: &Tampering) -> (Database, IndexId) {
    let db = store.open();
    let key = IndexKey::from_bytes(&[7; 32]).unwrap();
    let id = db.create_index(NAME, &key, IndexConfig::new(Metric::Euclidean)).unwrap().id();
    (db, id)
}

fn item(n: u8) -> Item {
    Item::new(n.to_string(), [f32::from(n), 1.0]).contents("text")
}

fn owed(store: &Tampering, id: IndexId) -> Owed {
    Owed::read(store.get(Family::Catalog, &key::purge_owed(id)).as_deref())
}

fn purge(index: &Index<'_>, scope: PurgeScope) {
    index.purge(scope, PurgeOptions::new()).unwrap();
}

#[test]
fn commits_owe_what_they_replace_or_delete_since_the_oldest_time() {
    let store = Tampering::new();
    let (db, id) = made(&store);
    let index = index(&db);
    let alice = UserId::from_bytes(&[1; 16]).unwrap();
    let key = || UserKey::from_bytes(&[2; 32]).unwrap();
    assert_eq!(owed(&store, id), Owed::NOTHING, "an index that is made");
    index.upsert(&[item(1), item(2)]).unwrap();
    assert_eq!(owed(&store, id), Owed::NOTHING, "the first items");
    index.grant(alice, &key(), Permissions::READ).unwrap();
    assert_eq!(owed(&store, id), Owed::NOTHING, "a first grant");
    let last = |parts: Parts| {
        let owed = owed(&store, id);
        assert_eq!(owed.parts(), parts);
        owed.debts().map(|(_, debt)| (debt.since, debt.last)).last().unwrap()
    };
    index.upsert(&[item(1)]).unwrap();
    let (since, first) = last(Parts::RECORDS);
    index.delete(&["2"]).unwrap();
    assert_eq!(last(Parts::RECORDS), (since, first + 1));
    index.grant(alice, &key(), Permissions::READ_WRITE).unwrap();
    last(Parts::RIGHTS.with(Parts::RECORDS));
    assert!(owed(&store, id).debts().all(|(_, debt)| !debt.at_once));
    // A call that changes nothing owes nothing.
    purge(&index, PurgeScope::Records);
    assert_eq!(owed(&store, id), Owed::NOTHING);
    index.delete(&["2"]).unwrap();
    assert_eq!(owed(&store, id), Owed::NOTHING);
}

#[test]
fn each_purge_goes_over_its_families_and_an_open_over_none_that_can_wait() {
    let store = Tampering::new();
    let (db, _) = made(&store);
    let small = [Family::Catalog, Family::Items, Family::Nodes, Family::Attributes];
    index(&db).upsert(&[item(1), item(2)]).unwrap();
    index(&db).delete(&["1"]).unwrap();
    assert!(store.purges().is_empty());
    db.close().unwrap();
    let db = store.open();
    assert!(store.purges().is_empty());
    purge(&index(&db), PurgeScope::Records);
    purge(&index(&db), PurgeScope::Payload);
    assert_eq!(store.purges(), [small.to_vec(), Family::ALL.to_vec()]);
    index(&db).delete(&["2"]).unwrap();
    assert_eq!(db.purge_owed().unwrap().len(), 1);
    assert_eq!(store.purges(), [small.to_vec()]);
    index(&db).upsert(&[item(1)]).unwrap();
    index(&db).delete(&["1"]).unwrap();
    db.close().unwrap();
    // What is due is purged by the open itself.
    let db = store.open_with(Options::new().threads(1).purge_after(Duration::ZERO));
    assert!(!store.purges().is_empty());
    db.close().unwrap();
    // Of what an interrupted call removed, so is all, whatever the options.
    let db = store.open();
    store.fail_next_purges(&[Error::Closed]);
    assert_eq!(db.delete_index(NAME, &root()).unwrap_err().code(), "purge_incomplete");
    store.purges();
    db.close().unwrap();
    let db = store.open();
    assert_eq!(store.purges(), [Family::ALL.to_vec()]);
    assert!(db.purge_owed().unwrap().is_empty());
}

#[test]
fn a_call_whose_purge_fails_says_what_is_done_and_that_it_is_owed() {
    let store = Tampering::new();
    let (db, id) = made(&store);
    let alice = UserId::from_bytes(&[1; 16]).unwrap();
    let key = UserKey::from_bytes(&[2; 32]).unwrap();
    index(&db).grant(alice, &key, Permissions::READ).unwrap();
    store.fail_next_purges(&[Error::NoSpace]);
    let Err(Error::PurgeIncomplete(said)) = index(&db).revoke(alice) else { panic!("it fails") };
    assert!(said.contains("taken back") && said.contains("no space"), "{said}");
    assert!(index(&db).users().unwrap().is_empty());
    assert!(owed(&store, id).debts().all(|(part, debt)| part == Parts::RIGHTS && debt.at_once));
    store.fail_next_purges(&[Error::PurgeIncomplete("why".to_owned())]);
    let failed = index(&db).purge(PurgeScope::Records, PurgeOptions::new());
    assert_eq!(failed, Err(Error::PurgeIncomplete("why".to_owned())));
    assert_eq!(owed(&store, id).parts(), Parts::RIGHTS);
    store.fail_next_purges(&[Error::NoSpace]);
    let Err(Error::PurgeIncomplete(said)) = db.delete_index(NAME, &root()) else {
        panic!("it fails")
    };
    assert!(said.contains("the index is deleted"), "{said}");
    assert_eq!(db.open_index(NAME).unwrap_err(), Error::IndexNotFound);
    assert_eq!(owed(&store, id).parts(), Parts::ALL);
    assert_eq!(db.purge_owed().unwrap().len(), 1);
    assert_eq!(owed(&store, id), Owed::NOTHING);
}

#[test]
fn what_is_owed_while_a_purge_runs_stays_owed() {
    let store = Tampering::new();
    let (db, id) = made(&store);
    index(&db).upsert(&[item(1), item(2), item(3)]).unwrap();
    index(&db).delete(&["1"]).unwrap();
    let other = index(&db);
    store.during_next_purge(move || {
        other.delete(&["2"]).unwrap();
    });
    purge(&index(&db), PurgeScope::Records);
    assert_eq!(owed(&store, id).parts(), Parts::RECORDS);
    purge(&index(&db), PurgeScope::Records);
    assert_eq!(owed(&store, id), Owed::NOTHING);
}

#[test]
fn a_record_that_does_not_read_is_everything_at_once() {
    let store = Tampering::new();
    let (db, id) = made(&store);
    let place = key::purge_owed(id);
    store.put(Family::Catalog, &place, b"?");
    index(&db).upsert(&[item(1)]).unwrap();
    index(&db).delete(&["1"]).unwrap();
    assert_eq!(owed(&store, id).parts(), Parts::ALL);
    store.put(Family::Catalog, &place, b"?");
    db.close().unwrap();
    let db = store.open();
    assert_eq!(store.purges(), [Family::ALL.to_vec()]);
    assert!(store.get(Family::Catalog, &place).is_none());
    // A key that names no index is damage.
    store.put(Family::Catalog, &key::purges_owed(), b"?");
    assert_eq!(db.purge_owed().unwrap_err().code(), "integrity");
}
