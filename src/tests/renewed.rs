//! What a rotation of the keys costs, counted in the records it makes.

use std::collections::BTreeMap;

use crate::store::key::{self, Kind};
use crate::store::tampering::Tampering;
use crate::store::{Engine, Family};
use crate::{
    Database, Index, IndexConfig, IndexKey, KeyContext, Metric, Permissions, UserId, UserKey,
};

const NAME: &str = "notes";

fn index_key(seed: u8) -> IndexKey {
    IndexKey::from_bytes(&[seed; 32]).unwrap()
}

fn grant(index: &Index<'_>, user: u8) {
    let key = UserKey::from_bytes(&[user; 32]).unwrap();
    index.grant(UserId([user; 16]), &key, Permissions::READ_WRITE).unwrap();
}

/// An index with so many users and grant tables.
fn world(users: u8, tables: u64) -> (Tampering, Database, Index<'static>) {
    let store = Tampering::new();
    let db = store.open();
    db.create_index(NAME, &index_key(200), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, KeyContext::root(index_key(200))).unwrap();
    (1..=users).for_each(|user| grant(&index, user));
    (u64::from(users) + 1..tables).for_each(|_| grant(&index, 1));
    (store, db, index)
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn catalog(store: &Tampering, index: &Index<'_>) -> Records {
    store.under(Family::Catalog, &index.id().0).into_iter().collect()
}

/// How many records of each kind are new or other than before.
fn made(before: &Records, after: &Records) -> BTreeMap<Kind, usize> {
    let mut made = BTreeMap::new();
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    for (key, _) in changed {
        *made.entry(Kind::of(key).unwrap()).or_default() += 1;
    }
    made
}

#[test]
fn another_index_key_costs_wraps_by_the_users_and_signatures_by_the_tables() {
    for (users, tables) in [(1, 3), (1, 60), (30, 40), (30, 200)] {
        let (store, db, index) = world(users, tables);
        // The tables are not even read, but for the one in force.
        for number in 1..tables {
            let place = key::table(index.id(), number, 0);
            let mut damaged = store.get(Family::Catalog, &place).unwrap();
            *damaged.last_mut().unwrap() ^= 1;
            store.put(Family::Catalog, &place, &damaged);
        }
        let before = catalog(&store, &index);
        db.rotate_index_key(NAME, &KeyContext::root(index_key(200)), &index_key(201)).unwrap();
        let made = made(&before, &catalog(&store, &index));
        let (users, tables) = (usize::from(users), usize::try_from(tables).unwrap());
        assert_eq!(made[&Kind::Wrap], 2 * users + 2);
        assert_eq!(made[&Kind::Roster], users);
        assert_eq!(made[&Kind::TableSignature], tables + 1);
        assert_eq!((made[&Kind::Table], made[&Kind::Commit]), (1, 1));
        assert_eq!(made.len(), 6, "and the head: {made:?}");
    }
}

#[test]
fn another_data_key_costs_wraps_by_the_users_and_one_table() {
    let (store, db, index) = world(20, 100);
    let before = catalog(&store, &index);
    db.rotate_data_keys(NAME, &KeyContext::root(index_key(200))).unwrap();
    let made = made(&before, &catalog(&store, &index));
    assert_eq!((made[&Kind::Wrap], made[&Kind::Roster]), (42, 20));
    assert_eq!((made[&Kind::Table], made[&Kind::TableSignature]), (1, 1));
}

/// What somebody else signed is not signed for him.
#[test]
fn a_signature_that_does_not_hold_stays_as_it_is() {
    let (store, db, index) = world(2, 5);
    let places = [2, 3].map(|number| key::table_signature(index.id(), number));
    let [two, three] = places.clone().map(|place| store.get(Family::Catalog, &place).unwrap());
    // Neither opens where the other was.
    store.put(Family::Catalog, &places[0], &three);
    store.put(Family::Catalog, &places[1], &two);
    db.rotate_index_key(NAME, &KeyContext::root(index_key(200)), &index_key(201)).unwrap();
    assert_eq!(store.get(Family::Catalog, &places[0]), Some(three));
    assert_eq!(store.get(Family::Catalog, &places[1]), Some(two));
    let renewed = db.load_index(NAME, KeyContext::root(index_key(201))).unwrap();
    let history = renewed.for_each_commit(.., |_| std::ops::ControlFlow::Continue(()));
    assert_eq!(history.unwrap_err().code(), "integrity");
    drop(store.snapshot());
}
