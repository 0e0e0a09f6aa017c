//! The CloudFront KeyValueStore, and the tests of its emulators: every change states the version it
//! is based on, and answers with the count, the size and the version after it.
//!
//! Its stale condition is a conflict; here it is `precondition_failed`, because a conflict is
//! another commit that came in between and can be tried again as it is.

use sealvec::{DeleteOptions, IfMatch, Item, Missing, Selector, Update, WriteOptions};

use super::{Case, EUCLIDEAN, On, item};
use crate::support::small;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "cloudfront C1",
        says: "an empty store has no items and an ETag",
        on: On::Both,
        steps: |world| {
            world.create();
            let found = world.index().describe().unwrap();
            assert_eq!((found.item_count, found.total_size_bytes), (0, 0));
            assert_eq!(found.etag.to_string().len(), 64);
            assert_ne!(found.etag.as_bytes(), &[0; 32]);
        },
    },
    Case {
        id: "cloudfront C2",
        says: "a put under the current ETag makes one item and another ETag",
        on: On::Both,
        steps: |world| {
            world.create();
            let options = WriteOptions::new().if_match(world.etag());
            let before = world.etag();
            let put = world.call(|index| index.upsert_with(&[item("greeting")], &options)).unwrap();
            assert_eq!(put.item_count, 1);
            assert_ne!(put.etag, before);
            assert_eq!(put.etag, world.etag());
        },
    },
    Case {
        id: "cloudfront C3",
        says: "a list has what was put",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["greeting"]);
            world.holds(&["greeting"]);
        },
    },
    Case {
        id: "cloudfront C4",
        says: "one update puts the second key and deletes the first",
        on: On::Both,
        steps: |world| {
            world.create();
            let options = WriteOptions::new().if_match(world.put(&["greeting"]).etag);
            let (puts, deletes) = ([item("second")], ["greeting"]);
            let report = world.call(|index| index.write_batch(&puts, &deletes, &options)).unwrap();
            let counts = (report.inserted, report.deleted, report.missing, report.item_count);
            assert_eq!(counts, (1, 1, 0, 1));
            assert_eq!(report.etag, world.etag());
            world.holds(&["second"]);
        },
    },
    Case {
        id: "cloudfront C5",
        says: "deleting the last leaves no items and no bytes",
        on: On::Both,
        steps: |world| {
            world.create();
            let options = DeleteOptions::new().if_match(world.put(&["greeting"]).etag);
            let report = world.call(|index| index.delete_with(&["greeting"], &options)).unwrap();
            assert_eq!((report.item_count, report.total_size_bytes), (0, 0));
            world.agrees(&report);
            world.holds(&[]);
        },
    },
    Case {
        id: "cloudfront C6",
        says: "every change under an old ETag is refused and changes nothing",
        on: On::Both,
        steps: |world| {
            world.create();
            let old = world.put(&["a", "b"]).etag;
            world.put(&["b"]);
            let with = WriteOptions::new().if_match(old);
            let deleting = DeleteOptions::new().if_match(old);
            let stale = "precondition_failed";
            world.refuses(stale, |index| index.delete_with(&["a"], &deleting));
            world.refuses(stale, |index| index.delete_with(&["absent"], &deleting));
            world.refuses(stale, |index| index.delete_with(Selector::ids::<&str>(&[]), &deleting));
            world.refuses(stale, |index| index.delete_with(Selector::all(), &deleting));
            world.refuses(stale, |index| index.delete_with(&["a"], &deleting.dry_run(true)));
            world.refuses(stale, |index| index.upsert_with(&[item("c")], &with));
            world.refuses(stale, |index| index.upsert_with(&[], &with));
            world
                .refuses(stale, |index| index.update_with("a", Update::new().contents("x"), &with));
            world.refuses(stale, |index| index.write_batch(&[item("c")], &["a"], &with));
            world.refuses(stale, |index| index.write_batch::<&str>(&[], &[], &with));
            world.holds(&["a", "b"]);
        },
    },
    Case {
        id: "cloudfront C7",
        says: "a key of 513 bytes is refused, to put and to delete",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            let long = "x".repeat(513);
            world.refuses("invalid_argument", |index| index.upsert(&[item("b"), item(&long)]));
            world.refuses("invalid_argument", |index| index.delete(&["a", &long]));
            world.holds(&["a"]);
        },
    },
    Case {
        id: "cloudfront C8",
        says: "a missing key under the right ETag is not found, if the call says so",
        on: On::Both,
        steps: |world| {
            world.create();
            let options = DeleteOptions::new().if_match(world.put(&["a"]).etag);
            let strict = options.missing(Missing::Error);
            world.refuses("item_not_found", |index| index.delete_with(&["absent"], &strict));
            world.refuses("item_not_found", |index| index.delete_with(&["a", "absent"], &strict));
            // The ETag is still the right one: once for a lenient call, once for the real one.
            let lenient = world.call(|index| index.delete_with(&["absent"], &options)).unwrap();
            assert_eq!((lenient.deleted, lenient.missing), (0, 1));
            let there = world.call(|index| index.delete_with(&["a"], &strict)).unwrap();
            assert_eq!((there.deleted, there.missing), (1, 0));
        },
    },
    Case {
        id: "cloudfront C9",
        says: "where a condition is required, a call without one is refused and never unchecked",
        on: On::Both,
        steps: |world| {
            world.create_with(EUCLIDEAN.require_if_match(true));
            let any = WriteOptions::new().if_match(IfMatch::Any);
            world.call(|index| index.upsert_with(&[item("a")], &any)).unwrap();
            let error = world.refuses("invalid_argument", |index| index.delete(&["a"]));
            assert!(error.to_string().contains("if_match"), "{error}");
            world.holds(&["a"]);
            let options = DeleteOptions::new().if_match(world.etag());
            let report = world.call(|index| index.delete_with(&["a"], &options)).unwrap();
            assert_eq!(report.deleted, 1);
        },
    },
    Case {
        id: "cloudfront C10",
        says: "51 keys where one call takes 50 are too many, and none goes",
        on: On::Both,
        steps: |world| {
            world.configure(small().max_delete(50));
            world.create();
            let ids: Vec<String> = (0..51).map(|n| format!("k{n:02}")).collect();
            let items: Vec<Item> = ids.iter().map(|id| item(id)).collect();
            world.call(|index| index.upsert(&items)).unwrap();
            let error = world.refuses("too_large", |index| index.delete(&ids));
            assert!(error.to_string().starts_with("51 ids, and one call deletes 50"), "{error}");
            let options = WriteOptions::new();
            world.refuses("too_large", |index| index.write_batch(&[item("x")], &ids, &options));
            let report = world.call(|index| index.delete(&ids[..50])).unwrap();
            assert_eq!((report.deleted, report.item_count), (50, 1));
        },
    },
    Case {
        id: "cloudfront C11",
        says: "one key both put and deleted in a batch is refused, wherever it stands",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            let options = WriteOptions::new();
            for id in ["a", "new"] {
                let (puts, deletes) = ([item("b"), item(id)], ["c", id]);
                let error = world.refuses("invalid_argument", |index| {
                    index.write_batch(&puts, &deletes, &options)
                });
                assert!(error.to_string().starts_with("delete 1:"), "{error}");
            }
            world.holds(&["a"]);
        },
    },
];
