//! Deletes by predicate: Ahnlich's `DelPred` and `GetPred`, and what a superset of them pins.
//!
//! Predicates are filters here. An index of metadata finds what they select, and changes nothing
//! about it: a negation also selects items without the field.

use sealvec::{DeleteOptions, Error, Filter, Item};
use serde_json::{Value, json};

use super::{Case, On, World};

const PLAIN: DeleteOptions = DeleteOptions::new();

fn planet(id: &str, planet: &str) -> Item {
    Item::new(id, [1.0, 0.0]).metadata(json!({"planet": planet}))
}

fn put(world: &mut World, items: &[Item]) {
    world.call(|index| index.upsert(items)).unwrap();
}

fn gone(world: &mut World, filter: &Filter) -> u64 {
    world.call(|index| index.delete_where(filter, &PLAIN)).unwrap().deleted
}

pub(super) const CASES: &[Case] = &[
    Case {
        id: "ahnlich A6",
        says: "a delete by predicate in a store that is not there is not found",
        on: On::Both,
        steps: |world| {
            world.create();
            let left = world.drop_index();
            let filter = Filter::eq("planet", "mars");
            assert_eq!(left.delete_where(&filter, &PLAIN).unwrap_err(), Error::IndexNotFound);
        },
    },
    Case {
        id: "ahnlich A7",
        says: "a delete by predicate in an empty store deletes 0",
        on: On::Both,
        steps: |world| {
            world.create();
            assert_eq!(gone(world, &Filter::eq("planet", "mars")), 0);
        },
    },
    Case {
        id: "ahnlich A8",
        says: "not equal deletes the other one",
        on: On::Both,
        steps: |world| {
            world.create();
            put(world, &[planet("jupiter", "jupiter"), planet("mars", "mars")]);
            assert_eq!(gone(world, &Filter::ne("planet", "mars")), 1);
            world.holds(&["mars"]);
        },
    },
    Case {
        id: "ahnlich A9",
        says: "equal deletes the one, and the store is empty",
        on: On::Both,
        steps: |world| {
            world.create();
            put(world, &[planet("mars", "mars")]);
            assert_eq!(gone(world, &Filter::eq("planet", "mars")), 1);
            world.holds(&[]);
        },
    },
    Case {
        id: "ahnlich A13",
        says: "in a list that nothing is in selects nothing; not equal selects the other",
        on: On::Both,
        steps: |world| {
            world.create();
            let medal =
                |medal: &str| Item::new(medal, [1.0, 0.0]).metadata(json!({"medal": medal}));
            put(world, &[medal("silver"), medal("bronze")]);
            assert_eq!(gone(world, &Filter::is_in("medal", ["gold"])), 0);
            assert_eq!(gone(world, &Filter::ne("medal", "silver")), 1);
            world.holds(&["silver"]);
        },
    },
    Case {
        id: "superset 16",
        says: "not equal selects what lacks the field",
        on: On::Both,
        steps: |world| {
            world.create();
            put(world, &[planet("mars", "mars"), Item::new("none", [1.0, 0.0])]);
            put(world, &[Item::new("other", [1.0, 0.0]).metadata(json!({"moon": "io"}))]);
            assert_eq!(gone(world, &Filter::ne("planet", "mars")), 2);
            world.holds(&["mars"]);
        },
    },
    Case {
        id: "superset 17",
        says: "what was overwritten is not selected by what it was",
        on: On::Both,
        steps: |world| {
            world.create();
            put(world, &[planet("a", "mars")]);
            put(world, &[planet("a", "jupiter")]);
            assert_eq!(gone(world, &Filter::eq("planet", "mars")), 0);
            world.holds(&["a"]);
        },
    },
    Case {
        id: "superset 18",
        says: "what is no filter, or an empty one, is refused and deletes nothing",
        on: On::Both,
        steps: |world| {
            world.create();
            put(world, &[planet("a", "mars")]);
            let incomplete =
                [json!({"$and": []}), json!({"$or": []}), json!({"planet": {"$like": "m"}})];
            for filter in incomplete {
                let error = Filter::from_json(&filter).unwrap_err();
                assert_eq!(error.code(), "invalid_argument", "{filter}");
            }
            let empty = Filter::from_json(&Value::Object(serde_json::Map::new())).unwrap();
            world.refuses("invalid_argument", |index| index.delete_where(&empty, &PLAIN));
            world.holds(&["a"]);
        },
    },
];
