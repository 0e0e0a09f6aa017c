//! Ahnlich's tests of its server: deleting keys, stores that are missing, persistence.
//!
//! Its stores are indexes here and its keys ids. Where it checks the dimension of a key, an id that
//! cannot exist is what is checked here.

use sealvec::{Database, Error, Include, Item};

use super::{Case, EUCLIDEAN, On, item};
use crate::support::{NAME, ROOT, code, index_key, root, small};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "ahnlich A1",
        says: "a store that is not there is not found, even to delete no keys",
        on: On::Both,
        steps: |world| {
            assert_eq!(world.db().open_index(NAME).unwrap_err(), Error::IndexNotFound);
            world.create();
            let left = world.drop_index();
            assert_eq!(left.delete::<&str>(&[]).unwrap_err(), Error::IndexNotFound);
            assert_eq!(left.delete(&["a"]).unwrap_err(), Error::IndexNotFound);
        },
    },
    Case {
        id: "ahnlich A2",
        says: "a key that is not there is no error and counts as 0",
        on: On::Both,
        steps: |world| {
            world.create();
            assert_eq!(world.delete(&["absent"]), (0, 1));
        },
    },
    Case {
        id: "ahnlich A3",
        says: "two entries are inserted, none updated, and the store has two",
        on: On::Both,
        steps: |world| {
            world.create();
            let report = world.put(&["first", "second"]);
            assert_eq!((report.inserted, report.updated, report.item_count), (2, 0, 2));
            world.holds(&["first", "second"]);
        },
    },
    Case {
        id: "ahnlich A4",
        says: "one key that cannot be in the store refuses all of them",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["first", "second"]);
            for bad in ["", "..", "a\u{0}b", &"x".repeat(513)] {
                let error =
                    world.refuses("invalid_argument", |index| index.delete(&["first", bad]));
                assert!(error.to_string().starts_with("item 1: its id"), "{error}");
            }
            world.holds(&["first", "second"]);
        },
    },
    Case {
        id: "ahnlich A5",
        says: "a key that is there goes and counts as 1",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["first", "second"]);
            assert_eq!(world.delete(&["first"]), (1, 0));
            world.holds(&["second"]);
        },
    },
    Case {
        id: "ahnlich A10",
        says: "what was deleted stays so over a restart, and deleting nothing writes nothing",
        on: On::Disk,
        steps: |world| {
            world.create();
            world.put(&["gone", "stays"]);
            assert_eq!(world.delete(&["gone"]), (1, 0));
            world.reopen();
            let again = world.db().create_index(NAME, &index_key(ROOT), EUCLIDEAN);
            assert_eq!(again.unwrap_err(), Error::AlreadyExists);
            // That neither writes is for the rules of every call to check.
            assert_eq!(world.delete(&[]), (0, 0));
            assert_eq!(world.delete(&["gone"]), (0, 1));
            world.holds(&["stays"]);
        },
    },
    Case {
        id: "ahnlich A11",
        says: "setting: a missing store, an insert, a wrong dimension, new and old together",
        on: On::Both,
        steps: |world| {
            world.create();
            let left = world.drop_index();
            assert_eq!(left.upsert(&[item("a")]).unwrap_err(), Error::IndexNotFound);
            world.create();
            let report = world.put(&["a"]);
            assert_eq!((report.inserted, report.updated), (1, 0));
            let wrong = [item("b"), Item::new("c", [1.0; 3])];
            let error = world.refuses("invalid_argument", |index| index.upsert(&wrong));
            assert!(error.to_string().contains("3 components, the index takes 2"), "{error}");
            let report = world.put(&["a", "b"]);
            assert_eq!((report.inserted, report.updated), (1, 1));
        },
    },
    Case {
        id: "ahnlich A12",
        says: "getting: a missing store even for no keys, a bad key, order as asked",
        on: On::Both,
        steps: |world| {
            world.create();
            let left = world.drop_index();
            let none = left.get::<&str>(&[], Include::ALL);
            assert_eq!(none.unwrap_err(), Error::IndexNotFound);
            world.create();
            world.put(&["a", "b", "c"]);
            world.delete(&["b"]);
            world.refuses("invalid_argument", |index| index.get(&["a", ""], Include::NONE));
            let found = world.index().get(&["c", "b", "a"], Include::NONE).unwrap().value;
            let found: Vec<_> = found.iter().map(|f| (f.id.as_str(), f.item.is_some())).collect();
            assert_eq!(found, [("c", true), ("b", false), ("a", true)]);
        },
    },
    Case {
        id: "ahnlich A14",
        says: "a store that exists is not made again and keeps its dimension",
        on: On::Both,
        steps: |world| {
            world.create_with(EUCLIDEAN.dimension(2));
            world.put(&["a"]);
            let again = world.db().create_index(NAME, &index_key(ROOT), EUCLIDEAN.dimension(5));
            assert_eq!(again.unwrap_err(), Error::AlreadyExists);
            assert_eq!(world.index().describe().unwrap().dimension, Some(2));
            world.holds(&["a"]);
        },
    },
    Case {
        id: "ahnlich A15",
        says: "dropping a store: missing, there, missing again",
        on: On::Both,
        steps: |world| {
            let drop = |db: &Database| db.delete_index(NAME, &root(ROOT));
            assert_eq!(drop(world.db()), Err(Error::IndexNotFound));
            world.create();
            world.put(&["a"]);
            world.drop_index();
            assert_eq!(drop(world.db()), Err(Error::IndexNotFound));
        },
    },
];

#[test]
fn a_missing_database_is_not_made_by_asking_to_delete() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let opened = Database::open(&path, small().create(false));
    assert_eq!(code(&opened), "database_not_found");
    assert!(!path.exists());
}
