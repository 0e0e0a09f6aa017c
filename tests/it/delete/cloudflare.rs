//! Cloudflare Workers KV, as its simulator's tests and its documents have it: what may be a key, and
//! what deleting and listing make of keys.

use sealvec::{DeleteOptions, DeleteOutcome, Include, Selector};

use super::{Case, On, item};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "cloudflare D1",
        says: "after a delete, a get finds nothing",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["key"]);
            assert_eq!(world.delete(&["key"]), (1, 0));
            let found = world.index().get(&["key"], Include::ALL).unwrap();
            assert_eq!(found[0].item, None);
            world.holds(&[]);
        },
    },
    Case {
        id: "cloudflare D2",
        says: "deleting what is not there is no error",
        on: On::Both,
        steps: |world| {
            world.create();
            assert_eq!(world.delete(&["key"]), (0, 1));
            world.put(&["key"]);
            world.delete(&["key"]);
            assert_eq!(world.delete(&["key"]), (0, 1));
        },
    },
    Case {
        id: "cloudflare D3",
        says: "keys and prefixes have upper and lower case",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["key", "KEY", "kEy/1"]);
            assert_eq!(world.delete(&["Key"]), (0, 1));
            assert_eq!(world.delete(&["key"]), (1, 0));
            let options = DeleteOptions::new();
            let report = world.call(|index| index.delete_with(Selector::prefix("KE"), &options));
            assert_eq!(report.unwrap().outcomes, [("KEY".to_owned(), DeleteOutcome::Deleted)]);
            world.holds(&["kEy/1"]);
        },
    },
    Case {
        id: "cloudflare D4",
        says: "pages of a list are sorted and add up; what comes before the cursor is not shown",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["b", "d", "a\u{e9}", "a", "c", "B"]);
            let sorted = ["B", "a", "a\u{e9}", "b", "c", "d"];
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let page = world.index().list_ids(2, cursor.as_ref()).unwrap().value;
                seen.extend(page.ids);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
                // Before the cursor on every page.
                world.put(&[&format!("A{}", seen.len())]);
            }
            assert_eq!(seen, sorted);
        },
    },
    Case {
        id: "cloudflare D6",
        says: "a prefix with \\ _ % or * is meant byte for byte",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a%b", "aXb", "a_b", "a\\b", "a*b", "ab"]);
            for (prefix, id) in [("a%", "a%b"), ("a_", "a_b"), ("a\\", "a\\b"), ("a*", "a*b")] {
                let options = DeleteOptions::new();
                let report =
                    world.call(|index| index.delete_with(Selector::prefix(prefix), &options));
                let deleted = [(id.to_owned(), DeleteOutcome::Deleted)];
                assert_eq!(report.unwrap().outcomes, deleted);
            }
            world.holds(&["aXb", "ab"]);
        },
    },
    Case {
        id: "cloudflare D7",
        says: "a key has 512 bytes, not characters, and no more",
        on: On::Both,
        steps: |world| {
            world.create();
            let longest = "\u{1f980}".repeat(128);
            assert_eq!(longest.len(), 512);
            world.put(&[&longest]);
            let longer = format!("{}ab", "\u{e9}".repeat(256));
            for bad in [format!("{longest}x"), "x".repeat(513), longer] {
                world.refuses("invalid_argument", |index| index.delete(&[&bad]));
                world.refuses("invalid_argument", |index| index.upsert(&[item(&bad)]));
            }
            assert_eq!(world.delete(&[&longest]), (1, 0));
        },
    },
    Case {
        id: "cloudflare D8",
        says: "dots are in keys; . and .. are none",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a.b", "...", ".a"]);
            for bad in [".", "..", ""] {
                world.refuses("invalid_argument", |index| index.delete(&[bad]));
                world.refuses("invalid_argument", |index| index.upsert(&[item(bad)]));
            }
            assert_eq!(world.delete(&["...", "a.b"]), (2, 0));
            world.holds(&[".a"]);
        },
    },
    Case {
        id: "cloudflare D9",
        says: "keys with / % : ! # ? are kept as they are and deleted by the same bytes",
        on: On::Both,
        steps: |world| {
            world.create();
            let ids = ["!", "%2e", "%2e%2e", "a#b", "a/b", "a:b", "a?b=c", "http://x/%20"];
            world.put(&ids);
            world.holds(&ids);
            assert_eq!(world.delete(&["a%2Fb", "a%3Ab", "%2E"]), (0, 3));
            assert_eq!(world.delete(&ids), (8, 0));
            world.holds(&[]);
        },
    },
    Case {
        id: "cloudflare D10",
        says: "of many keys, those that were there count once, those that were not are told apart",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a", "b", "c"]);
            let ids = ["c", "x", "a", "c", "y", "x", "a"];
            let report = world.call(|index| index.delete(&ids)).unwrap();
            assert_eq!((report.deleted, report.missing, report.item_count), (2, 2, 1));
            let outcomes = [
                ("c", DeleteOutcome::Deleted),
                ("x", DeleteOutcome::Missing),
                ("a", DeleteOutcome::Deleted),
                ("y", DeleteOutcome::Missing),
            ];
            assert_eq!(report.outcomes, outcomes.map(|(id, outcome)| (id.to_owned(), outcome)));
            world.holds(&["b"]);
        },
    },
];
