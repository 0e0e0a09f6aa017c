//! The rules of every change: when the ETag moves, what a call may name, what an index may require.

use std::ops::ControlFlow;

use sealvec::{
    DeleteOptions, DeleteOutcome, Durability, IfMatch, Index, Item, Missing, Permissions, Selector,
    Update, WriteOptions,
};

use super::{EUCLIDEAN, World, item};
use crate::support::{root, small, user, user_id, user_key};

/// A step, and whether it changes items.
type Step = (&'static str, bool, fn(&mut World));

const STEPS: [Step; 18] = [
    ("upsert", true, |world| assert_eq!(world.put(&["a", "b", "c"]).inserted, 3)),
    ("upsert of the same", true, |world| assert_eq!(world.put(&["a"]).updated, 1)),
    ("upsert of nothing", false, |world| assert_eq!(world.put(&[]).item_count, 3)),
    ("update", true, |world| {
        world.call(|index| index.update("a", Update::new().contents("x"))).unwrap();
    }),
    ("update to what it is", true, |world| {
        world.call(|index| index.update("a", Update::new().contents("x"))).unwrap();
    }),
    ("update of what is not there", false, |world| {
        let update = Update::new().contents("x");
        world.refuses("item_not_found", |index| index.update("absent", update));
    }),
    ("dry run", false, |world| {
        let dry = DeleteOptions::new().dry_run(true);
        assert_eq!(world.call(|index| index.delete_with(&["a"], &dry)).unwrap().deleted, 1);
    }),
    ("delete of what is not there", false, |world| assert_eq!(world.delete(&["x"]), (0, 1))),
    ("delete of nothing", false, |world| assert_eq!(world.delete(&[]), (0, 0))),
    ("delete", true, |world| assert_eq!(world.delete(&["a", "x"]), (1, 1))),
    ("batch of nothing", false, |world| {
        let options = WriteOptions::new();
        let report = world.call(|i| i.write_batch(&[], &["x", "x"], &options)).unwrap();
        assert_eq!((report.deleted, report.missing), (0, 1));
    }),
    ("batch of puts", true, |world| {
        let options = WriteOptions::new();
        let report = world.call(|i| i.write_batch::<&str>(&[item("d")], &[], &options)).unwrap();
        assert_eq!((report.inserted, report.updated, report.deleted), (1, 0, 0));
    }),
    ("batch of deletes", true, |world| {
        let options = WriteOptions::new();
        let report = world.call(|i| i.write_batch(&[], &["d", "x", "d"], &options)).unwrap();
        assert_eq!((report.inserted, report.deleted, report.missing), (0, 1, 1));
    }),
    ("batch", true, |world| {
        let options = WriteOptions::new();
        let report = world.call(|i| i.write_batch(&[item("b")], &["c"], &options)).unwrap();
        assert_eq!((report.updated, report.deleted, report.item_count), (1, 1, 1));
    }),
    ("grant", false, |world| {
        world.index().grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    }),
    ("revoke", false, |world| assert!(*world.index().revoke(user_id(1)).unwrap())),
    ("optimize", false, |world| {
        world.index().optimize(|_| ControlFlow::Continue(())).unwrap();
    }),
    ("reopen", false, World::reopen),
];

#[test]
fn the_etag_changes_with_the_items_and_with_nothing_else() {
    for on_disk in [false, true] {
        let mut world = World::new(on_disk);
        world.create();
        for (name, changes, step) in STEPS {
            let before = world.etag();
            step(&mut world);
            assert_eq!(world.etag() != before, changes, "{name}");
        }
    }
}

#[test]
fn an_index_that_requires_a_condition_takes_no_change_without_one() {
    let mut world = World::new(false);
    world.create_with(EUCLIDEAN.require_if_match(true));
    let any = WriteOptions::new().if_match(IfMatch::Any);
    let none = WriteOptions::new();
    let change = || Update::new().contents("x");
    world.call(|index| index.upsert_with(&[item("a")], &any)).unwrap();
    // Those that would change nothing too.
    let deletes = DeleteOptions::new();
    let required = "invalid_argument";
    let refusals = [
        world.refuses(required, |index| index.upsert(&[item("b")])),
        world.refuses(required, |index| index.upsert(&[])),
        world.refuses(required, |index| index.upsert_with(&[item("b")], &none)),
        world.refuses(required, |index| index.update("a", change())),
        world.refuses(required, |index| index.update_with("a", change(), &none)),
        world.refuses(required, |index| index.delete(&["a"])),
        world.refuses(required, |index| index.delete::<&str>(&[])),
        world.refuses(required, |index| index.delete_with(Selector::all(), &deletes)),
        world.refuses(required, |index| index.delete_with(&["a"], &deletes.dry_run(true))),
        world.refuses(required, |index| index.write_batch(&[item("b")], &["a"], &none)),
        world.refuses(required, |index| index.write_batch::<&str>(&[], &[], &none)),
        world.refuses(required, |index| {
            index.bulk_upsert([item("b")], |_| ControlFlow::Continue(()))
        }),
        world.refuses(required, |index| index.bulk_upsert([], |_| ControlFlow::Continue(()))),
    ];
    for error in refusals {
        assert!(error.to_string().contains("this index requires `if_match`"), "{error}");
    }
    // Any will do, and so will the right one. Maintenance and grants change no items.
    let any_delete = DeleteOptions::new().if_match(IfMatch::Any);
    world.call(|index| index.update_with("a", change(), &any)).unwrap();
    world.call(|index| index.write_batch(&[item("b")], &["x"], &any)).unwrap();
    world.call(|index| index.delete_with(&["b"], &any_delete)).unwrap();
    let now = WriteOptions::new().if_match(world.etag());
    world.call(|index| index.upsert_with(&[item("c")], &now)).unwrap();
    world.index().grant(user_id(3), &user_key(3), Permissions::WRITE).unwrap();
    world.index().optimize(|_| ControlFlow::Continue(())).unwrap();
    // Users are held to it as the root is.
    world.refuses(required, |index| index.with_key(&user(3, 3)).delete(&["a"]));
    world.call(|i| i.with_key(&user(3, 3)).delete_with(&["a"], &any_delete)).unwrap();
    world.holds(&["c"]);
}

#[test]
fn one_call_names_so_many_ids_and_bytes_and_no_more() {
    let mut world = World::new(false);
    world.create();
    world.put(&["a"]);
    let options = WriteOptions::new();
    let mut both = |ids: &[String], words: &str| {
        let errors = [
            world.refuses("too_large", |index| index.delete(ids)),
            world.refuses("too_large", |index| index.write_batch(&[item("b")], ids, &options)),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.contains(words) && text.ends_with("nothing was written"), "{text}");
        }
    };
    // 10,000 ids, the repeated ones counted; 3 MiB, which are 6,144 of the longest.
    both(&vec!["a".to_owned(); 10_001], "10001 ids, and one call deletes 10000");
    let mut long: Vec<String> = (0..6144).map(|n| format!("{n:0>512}")).collect();
    long.push("a".to_owned());
    both(&long, "3145729 bytes of ids, and one call deletes 3145728");
    // Up to there they are taken.
    long.pop();
    let report = world.call(|index| index.delete(&long)).unwrap();
    assert_eq!((report.deleted, report.missing), (0, 6144));
    let most = vec!["a"; 10_000];
    assert_eq!(world.delete(&most), (1, 0));
}

#[test]
fn no_ids_are_nothing_to_do_for_whoever_may() {
    let mut world = World::new(false);
    world.create();
    world.put(&["a"]);
    world.index().grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
    world.index().grant(user_id(3), &user_key(3), Permissions::WRITE).unwrap();
    let none: [&str; 0] = [];
    world.refuses("permission_denied", |index| index.with_key(&user(2, 2)).delete(&none));
    world.refuses("wrong_key", |index| index.with_key(&root(99)).delete(&none));
    let strict = DeleteOptions::new().missing(Missing::Error);
    for report in [
        world.call(|index| index.delete(&none)),
        world.call(|index| index.with_key(&user(3, 3)).delete(&none)),
        world.call(|index| index.delete_with(&none, &strict)),
        world.call(|index| index.delete_with(Selector::versions::<&str>(&[]), &strict)),
    ] {
        let report = report.unwrap();
        world.agrees(&report);
        assert_eq!((report.deleted, report.missing, report.remaining), (0, 0, 0));
        assert!(report.outcomes.is_empty());
    }
    world.holds(&["a"]);
    let left = world.drop_index();
    assert_eq!(left.delete(&none).unwrap_err().code(), "index_not_found");
}

#[test]
fn no_condition_is_dropped_because_an_id_comes_twice() {
    let mut world = World::new(false);
    world.create();
    let version = world.put(&["a"]).version.sequence;
    let options = DeleteOptions::new();
    let contradicting = [("a", version), ("b", 1), ("a", version + 1)];
    let error = world.refuses("invalid_argument", |index| {
        index.delete_with(Selector::versions(&contradicting), &options)
    });
    assert!(error.to_string().starts_with("item 2: its id was given before"), "{error}");
    for pair in [
        [item("a").if_absent(), item("a")],
        [item("a"), item("a").if_absent()],
        [item("a").if_version(version), item("a").if_version(version + 1)],
    ] {
        let error = world.refuses("invalid_argument", |index| index.upsert(&pair));
        assert!(error.to_string().starts_with("item 1: its id was given before"), "{error}");
        let batch = WriteOptions::new();
        world.refuses("invalid_argument", |i| i.write_batch::<&str>(&pair, &[], &batch));
    }
    // Said twice alike, they are one.
    let twice = [item("a").if_version(version), item("a").if_version(version)];
    let report = world.call(|index| index.upsert(&twice)).unwrap();
    assert_eq!((report.inserted, report.updated), (0, 1));
    let version = report.version.sequence;
    let twice = [("a", version), ("a", version)];
    let report = world.call(|i| i.delete_with(Selector::versions(&twice), &options)).unwrap();
    assert_eq!((report.deleted, report.outcomes.len()), (1, 1));
}

#[test]
fn a_limit_takes_the_first_and_says_what_remains() {
    let mut world = World::new(false);
    world.configure(small().max_delete(4));
    world.create();
    let items: Vec<Item> = ["d", "b", "e", "a", "c", "x1", "x2"].map(item).into();
    world.call(|index| index.upsert(&items)).unwrap();
    // More than one call takes, and no limit that says so.
    let error = world
        .refuses("too_large", |index| index.delete_with(Selector::all(), &DeleteOptions::new()));
    assert!(error.to_string().contains("7 items are selected"), "{error}");
    let limited = |limit| DeleteOptions::new().limit(limit);
    let outcome = |ids: &[&str], outcome| -> Vec<(String, DeleteOutcome)> {
        ids.iter().map(|id| ((*id).to_owned(), outcome)).collect()
    };
    // Of ids, the first that were given and are there.
    let report = world.call(|i| i.delete_with(&["no", "e", "d", "b"], &limited(2))).unwrap();
    assert_eq!((report.deleted, report.missing, report.remaining), (2, 1, 1));
    let told = [
        outcome(&["no"], DeleteOutcome::Missing),
        outcome(&["e", "d"], DeleteOutcome::Deleted),
        outcome(&["b"], DeleteOutcome::Remaining),
    ];
    assert_eq!(report.outcomes, told.concat());
    world.agrees(&report);
    let nothing = world.call(|index| index.delete_with(&["b"], &limited(0))).unwrap();
    assert_eq!((nothing.deleted, nothing.remaining), (0, 1));
    // Of others, the least; a limit over what one call takes is that.
    let report = world.call(|i| i.delete_with(Selector::prefix("x"), &limited(1))).unwrap();
    assert_eq!((report.deleted, report.remaining), (1, 1));
    assert_eq!(report.outcomes, outcome(&["x1"], DeleteOutcome::Deleted));
    world.put(&["y1", "y2", "y3"]);
    let report = world.call(|i| i.delete_with(Selector::all(), &limited(100))).unwrap();
    assert_eq!((report.deleted, report.remaining, report.item_count), (4, 3, 3));
    assert_eq!(report.outcomes, outcome(&["a", "b", "c", "x2"], DeleteOutcome::Deleted));
    let report = world.call(|i| i.delete_with(Selector::all(), &limited(4))).unwrap();
    assert_eq!((report.deleted, report.remaining, report.item_count), (3, 0, 0));
    world.refuses("invalid_argument", |i| i.delete_with(Selector::prefix(""), &limited(1)));
}

#[test]
fn a_call_may_say_itself_when_it_returns() {
    let mut world = World::new(true);
    world.create();
    world.put(&["a", "b", "c"]);
    let buffered = DeleteOptions::new().durability(Durability::Buffered);
    assert!(!world.call(|index| index.delete_with(&["a"], &buffered)).unwrap().version.durable);
    let synced = DeleteOptions::new().durability(Durability::Synced);
    let lazy = world.index().with_durability(Durability::Buffered);
    assert!(world.call(|_| lazy.delete_with(&["b"], &synced)).unwrap().version.durable);
    assert!(!world.call(|_| lazy.delete(&["c"])).unwrap().version.durable);
    world.reopen();
    world.holds(&[]);
}

#[test]
fn create_only_refuses_what_is_there_in_every_call_that_puts() {
    let mut world = World::new(false);
    world.create();
    world.put(&["a", "b"]);
    let create = || WriteOptions::new().if_none_match(true);
    for id in ["a", "new"] {
        let before = world.call(Index::describe).unwrap();
        let both = [item("new"), item(id)];
        let items = if id == "new" { &both[..1] } else { &both[..] };
        let tried = world.call(|index| index.write_batch(items, &["b"], &create()));
        match id {
            "a" => {
                let error = tried.unwrap_err();
                assert_eq!(error.code(), "precondition_failed");
                let after = world.call(Index::describe).unwrap();
                assert_eq!(after.version, before.version, "all or nothing");
            }
            _ => assert_eq!(tried.unwrap().item_count, 2),
        }
    }
    let update = Update::new().contents("x");
    let error = world.call(|index| index.update_with("a", update, &create())).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
}
