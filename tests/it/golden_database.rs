//! A database that an earlier build wrote still opens, with every byte of its content.
//!
//! `tests/fixtures/v8/db` is a checkpoint, made once and checked in; `etags.txt` beside it holds the
//! ETags of its indexes, which are hashes of stored bytes. Tests work on a copy.
//!
//! `SEALVEC_BLESS=1 cargo test --release --test it golden_database` makes it anew. Keys and salts
//! are random, so every byte changes: do it only when a format version rises, and keep the old
//! fixture beside the new one as long as old versions are to be read.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sealvec::{
    Database, Include, Index, IndexConfig, Item, Metric, Permissions, Precision, Tuning, Update,
};
use serde_json::json;

use crate::support::{
    ROOT, code, copy_directory, files, index_key, root, small, user, user_id, user_key,
};

const TEXTS: &str = "texts";
const HALVES: &str = "halves";
/// An index whose tree has branches.
const GROVE: &str = "grove";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v8")
}

/// Three values of at most 4,096 bytes.
fn long() -> Vec<u8> {
    (0..9000_u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

fn items() -> [Item; 5] {
    [
        Item::new("a", [0.5, 0.25, -1.0]).contents("the first text").metadata(json!({
            "n": 1, "float": 0.1, "nested": {"list": [true, null, "\u{e9}"]},
        })),
        Item::new("b/long", [1.0, 0.0, 0.0]).contents(long()),
        Item::new("c \u{1f980}", [0.0, 1.0, 0.0]).metadata(json!({})),
        Item::new("d", [0.0, 0.0, -3.5]).contents(""),
        Item::new("e", [1e-10, 3e18, 1.0]),
    ]
}

fn grove() -> Vec<Item> {
    let at = |n: u8| [f32::from(n % 8), f32::from(n / 8)];
    (0..60).map(|n| Item::new(n.to_string(), at(n))).collect()
}

/// Makes the fixture: every kind of record, a deleted item, a revoked user, an updated item.
fn bless() {
    let fixture = fixture();
    let _ = fs::remove_dir_all(&fixture);
    fs::create_dir_all(&fixture).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 8);
    let db = Database::open(&path, small().max_value(4096).tuning(tuning)).unwrap();
    db.create_index(TEXTS, &index_key(ROOT), IndexConfig::new(Metric::Cosine)).unwrap();
    let texts = db.load_index(TEXTS, root(ROOT)).unwrap();
    texts.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    texts.grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
    texts.upsert(&[Item::new("gone", [1.0; 3]), Item::new("a", [1.0; 3])]).unwrap();
    texts.with_key(&user(1, 1)).upsert(&items()).unwrap();
    texts.update("a", Update::new().contents("the first text")).unwrap();
    texts.with_key(&user(1, 1)).delete(&["gone"]).unwrap();
    texts.revoke(user_id(2)).unwrap();
    let config = IndexConfig::new(Metric::Euclidean).precision(Precision::F16).dimension(2);
    db.create_index(HALVES, &index_key(ROOT), config).unwrap();
    let halves = db.load_index(HALVES, root(ROOT)).unwrap();
    halves.upsert(&[Item::new("half", [0.1, 65504.0])]).unwrap();
    db.create_index(GROVE, &index_key(ROOT), IndexConfig::new(Metric::InnerProduct)).unwrap();
    let trees = db.load_index(GROVE, root(ROOT)).unwrap();
    for some in grove().chunks(6) {
        trees.upsert(some).unwrap();
    }
    trees.delete(&["7"]).unwrap();
    let mut etags = String::new();
    for index in [&texts, &halves, &trees] {
        let found = index.describe().unwrap();
        writeln!(etags, "{} {}", index.name(), found.etag).unwrap();
    }
    fs::write(fixture.join("etags.txt"), etags).unwrap();
    let copy = directory.path().join("copy");
    db.checkpoint(&copy).unwrap();
    fs::create_dir_all(fixture.join("db")).unwrap();
    for (name, bytes) in files(&copy) {
        // The checkpoint has everything in tables; its log is empty.
        if name.extension().is_none_or(|extension| extension != "log") || !bytes.is_empty() {
            fs::write(fixture.join("db").join(name), bytes).unwrap();
        }
    }
}

fn open_copy(directory: &Path) -> Database {
    let path = directory.join("db");
    copy_directory(&fixture().join("db"), &path);
    Database::open(&path, small()).unwrap()
}

/// The ETags as they were when the fixture was made.
fn check_etag(index: &Index<'_>) {
    let etags = fs::read_to_string(fixture().join("etags.txt")).unwrap();
    let line = format!("{} {}", index.name(), index.describe().unwrap().etag);
    assert!(etags.lines().any(|known| known == line), "{line}");
}

#[test]
fn an_old_database_opens_with_all_its_content() {
    if std::env::var_os("SEALVEC_BLESS").is_some() {
        bless();
    }
    let bytes: usize = files(&fixture()).values().map(Vec::len).sum();
    assert!(bytes < 300_000, "it is part of every clone: {bytes}");
    let directory = tempfile::tempdir().unwrap();
    let db = open_copy(directory.path());
    assert_eq!(db.list_indexes(&root(ROOT)).unwrap(), [GROVE, HALVES, TEXTS]);
    assert_eq!(db.list_indexes(&user(1, 1)).unwrap(), [TEXTS]);
    assert!(db.list_indexes(&user(2, 2)).unwrap().is_empty());

    let texts = db.load_index(TEXTS, user(1, 1)).unwrap();
    check_etag(&texts);
    let found = texts.describe().unwrap();
    assert_eq!((found.dimension, found.metric), (Some(3), Metric::Cosine));
    assert_eq!((found.precision, found.permissions), (Precision::F32, Permissions::READ_WRITE));
    assert_eq!((found.item_count, found.version.sequence, found.version.table), (5, 8, 4));
    let ids = ["a", "b/long", "c \u{1f980}", "d", "e", "gone"];
    assert_eq!(texts.list_ids(10, None).unwrap().ids, ids[..5]);
    let mut stored: Vec<_> =
        texts.get(&ids, Include::ALL).unwrap().into_iter().map(|found| found.item).collect();
    assert_eq!(stored.pop(), Some(None));
    let stored: Vec<_> = stored.into_iter().map(Option::unwrap).collect();
    let versions: Vec<u64> = stored.iter().map(|record| record.version).collect();
    assert_eq!(versions, [6, 5, 5, 5, 5]);
    // Item has no getters: make the items anew from what came back.
    for ((record, id), item) in stored.into_iter().zip(ids).zip(items()) {
        let mut copy = Item::new(id, record.vector.unwrap());
        if let Some(contents) = record.contents {
            copy = copy.contents(contents);
        }
        if let Some(metadata) = record.metadata {
            copy = copy.metadata(metadata);
        }
        assert!(copy == item, "{id}");
    }
    let hits = texts.query(&[0.0, 0.0, -1.0]).top_k(2).run().unwrap();
    assert_eq!((hits[0].id.as_str(), hits[1].id.as_str()), ("d", "a"));
    assert_eq!(code(&texts.with_key(&user(2, 2)).count()), "wrong_key");
    crate::history::agrees(&texts, 8);

    let halves = db.load_index(HALVES, root(ROOT)).unwrap();
    check_etag(&halves);
    let found = halves.get(&["half"], Include::ALL).unwrap().value.remove(0).item.unwrap();
    assert_eq!(found.vector, Some(vec![0.099_975_586, 65504.0]));
    assert_eq!(halves.describe().unwrap().precision, Precision::F16);
    let trees = db.load_index(GROVE, root(ROOT)).unwrap();
    check_etag(&trees);
    let report = trees.verify_tree().unwrap();
    assert!(report.items == 59 && report.height >= 3, "{report:?}");
    assert!(report.leaves > 8 && report.spilled > 0, "{report:?}");
    let hits = trees.query(&[1.0, 1.0]).top_k(3).run().unwrap();
    assert_eq!((hits[0].id.as_str(), hits[0].distance), ("55", -13.0));
    for index in [&texts, &halves] {
        assert_eq!(index.verify_tree().unwrap().leaves, 1);
    }
    let users = texts.with_key(&root(ROOT)).users().unwrap();
    assert_eq!(users.iter().map(|user| user.id).collect::<Vec<_>>(), [user_id(1)]);
}

#[test]
fn an_old_database_can_be_written() {
    if std::env::var_os("SEALVEC_BLESS").is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let db = open_copy(directory.path());
    let texts = db.load_index(TEXTS, user(1, 1)).unwrap();
    let report = texts.upsert(&[Item::new("new", [1.0; 3])]).unwrap();
    assert_eq!((report.item_count, report.version.sequence), (6, 9));
    texts.update("b/long", Update::new().contents("short")).unwrap();
    assert_eq!(texts.delete(&["a", "d", "gone"]).unwrap().deleted, 2);
    assert_eq!(texts.verify_tree().unwrap().items, 4);
    let trees = db.load_index(GROVE, root(ROOT)).unwrap();
    trees.upsert(&grove()[..20]).unwrap();
    trees.delete(&["30", "31", "32", "40"]).unwrap();
    assert_eq!(trees.verify_tree().unwrap().items, 56);
    let own = texts.with_key(&root(ROOT)).grant(user_id(3), &user_key(3), Permissions::READ);
    own.unwrap();
    db.delete_index(HALVES, &root(ROOT)).unwrap();
    assert_eq!(*db.load_index(TEXTS, user(3, 3)).unwrap().count().unwrap(), 4);
}
