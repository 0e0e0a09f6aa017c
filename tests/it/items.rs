//! Writing items: every rule about what an item may be, and what each write does to the state.
//!
//! A refused write names the item's position and leaves no trace: count, size, ETag and version
//! stay. Accepted writes count what they inserted and updated, and the count and size that an index
//! reports equal a recount of everything in it.

use std::ops::ControlFlow;

use sealvec::{
    Database, Description, Include, Index, IndexConfig, Item, MAX_DIMENSION, Metric, Options,
    Permissions, Precision, Record, Update,
};
use serde_json::{Value, json};

use crate::support::{
    NAME, ROOT, index_key, memory, memory_with, refused, root, small, user, user_id, user_key,
};

const EUCLIDEAN: IndexConfig = IndexConfig::new(Metric::Euclidean);

fn state(index: &Index<'_>) -> Description {
    index.describe().unwrap()
}

fn fetch(index: &Index<'_>, id: &str) -> Option<Record> {
    index.get(&[id], Include::ALL).unwrap().value.remove(0).item
}

/// Count and size, by looking at everything.
#[track_caller]
fn assert_counts_are_true(index: &Index<'_>) {
    let (mut count, mut bytes) = (0, 0);
    let width = state(index).precision.bytes();
    index
        .for_each(Include::ALL, |entry| {
            count += 1;
            bytes += entry.id.len() + entry.vector.unwrap().len() * width;
            bytes += entry.contents.map_or(0, <[u8]>::len);
            bytes += entry.metadata.map_or(0, str::len);
            ControlFlow::Continue(())
        })
        .unwrap();
    let described = state(index);
    assert_eq!((described.item_count, described.total_size_bytes), (count, bytes as u64));
    assert_eq!(*index.count().unwrap(), count);
}

/// An object of that many levels, the innermost empty.
fn nested(levels: usize) -> Value {
    // Without `json!`, which would copy what it is given.
    let object = |value| Value::Object([("n".to_owned(), value)].into_iter().collect());
    let mut value = json!({});
    for level in 2..levels {
        value = if level % 2 == 0 { object(value) } else { Value::Array(vec![value]) };
    }
    object(value)
}

#[test]
fn each_bad_item_is_named_and_leaves_no_trace() {
    let options = small().max_contents(100).max_metadata(100);
    let (_db, index) = memory_with(options, IndexConfig::new(Metric::Cosine).dimension(2));
    let good = || Item::new("good", [1.0, 0.0]);
    index.upsert(&[good()]).unwrap();
    let before = state(&index);
    let item = |id: &str| Item::new(id, [1.0, 1.0]);
    let vector = |vector: &[f32]| Item::new("x", vector);
    let bad = [
        (item(""), "its id is empty"),
        (item(&"x".repeat(513)), "its id is longer than 512 bytes"),
        (item(&"\u{e9}".repeat(257)), "its id is longer than 512 bytes"),
        (item("."), "its id is"),
        (item(".."), "its id is"),
        (item("a\0b"), "its id has a control character"),
        (item("a\nb"), "its id has a control character"),
        (item("\u{7f}"), "its id has a control character"),
        (item("\u{85}"), "its id has a control character"),
        (vector(&[]), "its vector has 0 components, the index takes 2"),
        (vector(&[1.0]), "its vector has 1 components, the index takes 2"),
        (vector(&[1.0; 3]), "its vector has 3 components, the index takes 2"),
        (vector(&[1.0, f32::NAN]), "component 1 (counted from 0) is NaN or infinite"),
        (vector(&[f32::INFINITY, 1.0]), "component 0 (counted from 0) is NaN or infinite"),
        (vector(&[f32::NEG_INFINITY, 1.0]), "NaN or infinite"),
        (vector(&[f32::MAX, 1.0]), "1e37"),
        (vector(&[0.0, 0.0]), "cosine"),
        (vector(&[-0.0, 0.0]), "cosine"),
        (vector(&[1e-16, 0.0]), "cosine"),
        (item("x").contents([0; 101]), "its contents are 101 bytes, over 100"),
        (item("x").metadata(json!([1])), "its metadata is not a JSON object"),
        (item("x").metadata(json!("text")), "its metadata is not a JSON object"),
        (item("x").metadata(Value::Null), "its metadata is not a JSON object"),
        (item("x").metadata(json!({"n": "x".repeat(93)})), "its metadata is 101 bytes"),
        (item("x").metadata(nested(65)), "nested deeper than 64"),
    ];
    for (bad, words) in bad {
        for position in [0, 1, 40] {
            let mut batch: Vec<Item> =
                (0..41).map(|n| Item::new(format!("n{n}"), [1.0, 0.5])).collect();
            batch[position] = bad.clone();
            let place = format!("item {position}:");
            refused(index.upsert(&batch), "invalid_argument", &[&place, words]);
        }
        // An item that a later one would replace is judged too.
        if let Err(error) = index.upsert(&[bad.clone(), good()]) {
            assert!(error.to_string().starts_with("item 0:"), "{error}");
        } else {
            panic!("{words}: accepted");
        }
        assert_eq!(state(&index), before);
    }
    assert_eq!(*index.for_each(Include::ALL, |_| ControlFlow::Continue(())).unwrap(), 1);
}

#[test]
fn bad_ids_and_updates_are_refused_everywhere() {
    let (_db, index) = memory_with(small().max_contents(10), EUCLIDEAN);
    index.upsert(&[Item::new("a", [1.0])]).unwrap();
    let before = state(&index);
    for bad in ["", ".", "..", "\t", &"x".repeat(513)] {
        let place = &["item 1: its id"];
        refused(index.get(&["a", bad], Include::NONE), "invalid_argument", place);
        refused(index.delete(&["a", bad]), "invalid_argument", place);
        refused(index.update(bad, Update::new().contents("x")), "invalid_argument", &["its id"]);
    }
    let updates = [
        (Update::new(), "neither contents nor metadata"),
        (Update::new().contents([0; 11]), "its contents are 11 bytes, over 10"),
        (Update::new().metadata(json!(1)), "not a JSON object"),
        (Update::new().metadata(nested(65)), "nested deeper than 64"),
    ];
    for (update, words) in updates {
        refused(index.update("a", update), "invalid_argument", &[words]);
    }
    refused(index.update("b", Update::new().contents("x")), "item_not_found", &["upsert"]);
    assert_eq!(state(&index), before);
}

#[test]
fn all_that_the_rules_allow_is_kept_as_given() {
    let (_db, index) = memory_with(small().max_contents(100).max_metadata(100), EUCLIDEAN);
    let long = "\u{1f980}".repeat(128);
    let ids = [" ", "a b", "...", "/", "x", "caf\u{e9}", "\u{1f980}", "\u{2028}", "%2e", &long];
    assert_eq!(long.len(), 512);
    let items: Vec<Item> = ids.iter().map(|id| Item::new(*id, [0.0, -0.0])).collect();
    index.upsert(&items).unwrap();
    for id in ids {
        let vector = fetch(&index, id).unwrap().vector.unwrap();
        assert_eq!(vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), [0, 1 << 31], "{id}");
    }
    // Normalised differently, so another id.
    assert!(fetch(&index, "cafe\u{301}").is_none());
    let largest = json!({"n": "x".repeat(92)});
    let deepest = nested(64);
    let least = f32::from_bits(1);
    let items = [
        Item::new("contents", [least, 3e18]).contents([0; 100]),
        Item::new("metadata", [1.0, 1.0]).metadata(largest.clone()),
        Item::new("deep", [1.0, 1.0]).metadata(json!({})),
    ];
    index.upsert(&items).unwrap();
    assert_eq!(fetch(&index, "contents").unwrap().vector, Some(vec![least, 3e18]));
    assert_eq!(fetch(&index, "contents").unwrap().contents, Some(vec![0; 100]));
    assert_eq!(fetch(&index, "metadata").unwrap().metadata, Some(largest));
    assert_eq!(fetch(&index, "deep").unwrap().metadata, Some(json!({})));
    assert_counts_are_true(&index);
    let (_db, index) = memory(EUCLIDEAN);
    index.upsert(&[Item::new("deep", [1.0]).metadata(deepest.clone())]).unwrap();
    assert_eq!(fetch(&index, "deep").unwrap().metadata, Some(deepest));
}

#[test]
fn metadata_comes_back_as_given_to_the_last_bit() {
    let (_db, index) = memory(EUCLIDEAN);
    let mut bits = 1u64;
    let numbers: Vec<f64> = std::iter::repeat_with(|| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(bits)
    })
    .filter(|number| number.is_finite())
    .take(2000)
    .collect();
    let given = json!({
        "numbers": numbers, "max": f64::MAX, "least": f64::from_bits(1), "negative": -0.0,
        "whole": [u64::MAX, i64::MIN, 0, -1], "text": "\u{0}\u{1f980}\"\\\u{2028}", "": null,
    });
    index.upsert(&[Item::new("a", [1.0]).metadata(given.clone())]).unwrap();
    let size = state(&index).total_size_bytes;
    let unchanged = |index| fetch(index, "a").unwrap().metadata.as_ref() == Some(&given);
    assert!(unchanged(&index));
    // Kept through a change of something else.
    index.update("a", Update::new().contents("")).unwrap();
    assert!(unchanged(&index));
    assert_eq!(state(&index).total_size_bytes, size);
    assert_counts_are_true(&index);
}

#[test]
fn nesting_beyond_any_stack_is_an_error() {
    // The value itself is dropped recursively, so it needs a stack of its own.
    let work = || {
        let (_db, index) = memory(EUCLIDEAN);
        let item = Item::new("a", [1.0]).metadata(nested(10_000));
        refused(index.upsert(&[item]), "invalid_argument", &["item 0:", "deeper than 64"]);
        let update = Update::new().metadata(nested(10_000));
        refused(index.update("a", update), "invalid_argument", &["deeper than 64"]);
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn contents_of_every_size_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path().join("db"), small().max_contents(2 << 20)).unwrap();
    db.create_index(NAME, &index_key(ROOT), EUCLIDEAN).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let part = 64 << 10;
    let sizes =
        [0, 1, 2, part - 100, part - 17, part - 1, part, part + 1, 2 * part, 1 << 20, 2 << 20];
    let bytes = |size: usize| -> Vec<u8> {
        (0..size).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
    };
    for size in sizes {
        index.upsert(&[Item::new(format!("{size}"), [1.0]).contents(bytes(size))]).unwrap();
        assert_counts_are_true(&index);
    }
    refused(
        index.upsert(&[Item::new("over", [1.0]).contents(vec![0; (2 << 20) + 1])]),
        "invalid_argument",
        &["item 0: its contents are 2097153 bytes, over 2097152"],
    );
    for size in sizes {
        assert_eq!(fetch(&index, &size.to_string()).unwrap().contents, Some(bytes(size)));
    }
    // Shrunk and grown in place: parts that are not needed go, and size follows.
    for size in [2 << 20, 0, part + 1, part, 3 * part, 1] {
        index.update("0", Update::new().contents(bytes(size))).unwrap();
        assert_eq!(fetch(&index, "0").unwrap().contents, Some(bytes(size)));
        assert_counts_are_true(&index);
    }
    let ids: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    assert_eq!(index.delete(&ids).unwrap().total_size_bytes, 0);
    db.close().unwrap();
    // Nothing of them is left in the tables that are alive.
    let raw = crate::support::open_raw(&directory.path().join("db"));
    assert!(crate::support::records(&raw).iter().all(|record| record.family == "catalog"));
}

#[test]
fn empty_contents_are_not_no_contents() {
    let (_db, index) = memory(EUCLIDEAN);
    index.upsert(&[Item::new("empty", [1.0]).contents(""), Item::new("none", [1.0])]).unwrap();
    assert_eq!(fetch(&index, "empty").unwrap().contents, Some(Vec::new()));
    assert_eq!(fetch(&index, "none").unwrap().contents, None);
    index.update("none", Update::new().contents("")).unwrap();
    index.update("empty", Update::new().remove_contents()).unwrap();
    assert_eq!(fetch(&index, "empty").unwrap().contents, None);
    assert_eq!(fetch(&index, "none").unwrap().contents, Some(Vec::new()));
}

#[test]
fn the_last_of_several_items_with_one_id_wins() {
    let (_db, index) = memory(EUCLIDEAN);
    let report = index
        .upsert(&[
            Item::new("a", [1.0]).contents("first").metadata(json!({"n": 1})),
            Item::new("b", [2.0]),
            Item::new("a", [3.0]).contents("last"),
        ])
        .unwrap();
    assert_eq!((report.inserted, report.updated, report.item_count), (2, 0, 2));
    let a = fetch(&index, "a").unwrap();
    assert_eq!((a.vector, a.contents, a.metadata), (Some(vec![3.0]), Some(b"last".to_vec()), None));
    let report = index
        .upsert(&[Item::new("a", [4.0]), Item::new("c", [5.0]), Item::new("a", [6.0])])
        .unwrap();
    assert_eq!((report.inserted, report.updated, report.item_count), (1, 1, 3));
    // An upsert replaces whole items.
    let a = fetch(&index, "a").unwrap();
    assert_eq!((a.vector, a.contents, a.version), (Some(vec![6.0]), None, report.version.sequence));
    assert_counts_are_true(&index);
}

#[test]
fn an_update_changes_what_it_names_and_keeps_the_rest() {
    let (_db, index) = memory(EUCLIDEAN.precision(Precision::F16));
    let item = Item::new("a", [0.1, 2.0]).contents("text").metadata(json!({"x": 0.1}));
    index.upsert(&[item]).unwrap();
    let given = fetch(&index, "a").unwrap();
    let steps = [
        (Update::new().contents("new"), Some("new"), given.metadata.clone()),
        (Update::new().metadata(json!({"y": [1]})), Some("new"), Some(json!({"y": [1]}))),
        (Update::new().remove_contents(), None, Some(json!({"y": [1]}))),
        (Update::new().contents("x").remove_metadata(), Some("x"), None),
        // What is gone already can be removed.
        (Update::new().remove_metadata(), Some("x"), None),
        (Update::new().contents("y").metadata(json!({})), Some("y"), Some(json!({}))),
        // The last word counts.
        (Update::new().contents("y").remove_contents(), None, Some(json!({}))),
    ];
    for (update, contents, metadata) in steps {
        let before = state(&index);
        let report = index.update("a", update).unwrap();
        assert_eq!((report.inserted, report.updated, report.item_count), (0, 1, 1));
        let found = fetch(&index, "a").unwrap();
        assert_eq!(found.vector, given.vector);
        assert_eq!(found.contents.as_deref(), contents.map(str::as_bytes));
        assert_eq!(found.metadata, metadata);
        assert_eq!(found.version, report.version.sequence);
        assert_eq!(report.version.sequence, before.version.sequence + 1);
        assert_ne!(report.etag, before.etag);
        assert_counts_are_true(&index);
    }
}

#[test]
fn the_first_upsert_fixes_the_dimension() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = Database::open(&path, small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), EUCLIDEAN).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let too_long = vec![1.0; MAX_DIMENSION + 1];
    for bad in [vec![], too_long] {
        let words: &[&str] = &["item 0:", "an index takes 1 to 65535"];
        refused(index.upsert(&[Item::new("a", bad)]), "invalid_argument", words);
    }
    let mixed = [Item::new("a", [1.0; 2]), Item::new("b", [1.0; 3])];
    refused(index.upsert(&mixed), "invalid_argument", &["item 1:"]);
    assert_eq!(state(&index).dimension, None);
    // No dimension, no items: any query finds nothing.
    assert!(index.query(&[1.0]).run().unwrap().is_empty());
    index.grant(user_id(3), &user_key(3), Permissions::WRITE).unwrap();
    index.with_key(&user(3, 3)).upsert(&[Item::new("a", [1.0, 2.0, 3.0])]).unwrap();
    index.delete(&["a"]).unwrap();
    let fixed = |index: &Index<'_>| {
        assert_eq!(state(index).dimension, Some(3));
        refused(index.upsert(&[Item::new("a", [1.0; 2])]), "invalid_argument", &["takes 3"]);
        refused(index.query(&[1.0; 2]).run(), "invalid_argument", &["query 0:", "takes 3"]);
    };
    fixed(&index);
    index.revoke(user_id(3)).unwrap();
    db.close().unwrap();
    let db = Database::open(&path, small()).unwrap();
    fixed(&db.load_index(NAME, root(ROOT)).unwrap());
}

#[test]
fn the_least_and_the_most_dimensions_work() {
    for precision in [Precision::F32, Precision::F16] {
        for dimension in [1, MAX_DIMENSION] {
            let config = IndexConfig::new(Metric::Cosine).precision(precision);
            let (_db, index) = memory_with(Options::new().threads(2), config);
            let mut vector = vec![0.5; dimension];
            index.upsert(&[Item::new("a", vector.clone())]).unwrap();
            vector[0] = -0.5;
            index.upsert(&[Item::new("b", vector.clone())]).unwrap();
            assert_eq!(fetch(&index, "b").unwrap().vector, Some(vector.clone()));
            let hits = index.query(&vector).run().unwrap();
            assert_eq!((hits[0].id.as_str(), hits.len()), ("b", 2));
            assert_counts_are_true(&index);
        }
    }
}

#[test]
fn f16_rounds_and_refuses_what_it_cannot_hold() {
    let (_db, index) = memory(EUCLIDEAN.precision(Precision::F16));
    index.upsert(&[Item::new("a", [0.1, 65504.0, -1.0, 1e-9])]).unwrap();
    let stored = fetch(&index, "a").unwrap().vector.unwrap();
    assert_eq!(stored, [0.099_975_586, 65504.0, -1.0, 0.0]);
    let hit = index.query(&stored).include(Include::ALL).run().unwrap().value.remove(0);
    assert_eq!((hit.distance, hit.vector), (0.0, Some(stored)));
    for (bad, component) in
        [([1.0, 1.0, 65520.0, 1.0], "component 2"), ([-1e9, 1.0, 1.0, 1.0], "0")]
    {
        let words: &[&str] = &["item 0:", component, "f16"];
        refused(index.upsert(&[Item::new("b", bad)]), "invalid_argument", words);
    }
    // Under cosine, what counts is what is left after rounding.
    let (_db, index) = memory(IndexConfig::new(Metric::Cosine).precision(Precision::F16));
    refused(index.upsert(&[Item::new("a", [1e-9, 0.0])]), "invalid_argument", &["cosine"]);
}

#[test]
fn a_write_that_changes_nothing_leaves_the_state_as_it_is() {
    let (_db, index) = memory(EUCLIDEAN);
    index.upsert(&[Item::new("a", [1.0])]).unwrap();
    let before = state(&index);
    let report = index.upsert(&[]).unwrap();
    assert_eq!((report.inserted, report.updated, report.item_count), (0, 0, 1));
    assert_eq!((report.etag, report.version), (before.etag, before.version));
    for ids in [&["x", "y", "x"][..], &[]] {
        let report = index.delete(ids).unwrap();
        assert_eq!((report.deleted, report.item_count), (0, 1));
        assert_eq!(report.missing, ids.len().min(2) as u64);
        assert_eq!((report.etag, report.version), (before.etag, before.version));
        assert_eq!(report.total_size_bytes, before.total_size_bytes);
    }
    assert_eq!(state(&index), before);
}

#[test]
fn the_etag_changes_exactly_when_items_do() {
    let (_db, index) = memory(EUCLIDEAN);
    let mut tags = vec![state(&index).etag];
    let mut changed = |index: &Index<'_>| {
        let tag = state(index).etag;
        assert!(!tags.contains(&tag));
        tags.push(tag);
    };
    index.upsert(&[Item::new("a", [1.0])]).unwrap();
    changed(&index);
    // The same again is a write, with a version of its own.
    index.upsert(&[Item::new("a", [1.0])]).unwrap();
    changed(&index);
    index.update("a", Update::new().contents("x")).unwrap();
    changed(&index);
    index.delete(&["a"]).unwrap();
    changed(&index);
    let before = state(&index);
    index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    let granted = state(&index);
    assert_eq!(granted.etag, before.etag);
    assert_eq!(granted.version.sequence, before.version.sequence + 1);
    assert_eq!(granted.version.table, before.version.table + 1);
    assert_eq!(index.with_key(&user(1, 1)).describe().unwrap().etag, before.etag);
    assert!(*index.revoke(user_id(1)).unwrap());
    assert_eq!(state(&index).etag, before.etag);
    assert!(!*index.revoke(user_id(1)).unwrap());
    assert_eq!(state(&index).version.sequence, before.version.sequence + 2);
    index.upsert(&[Item::new("a", [1.0])]).unwrap();
    changed(&index);
}
