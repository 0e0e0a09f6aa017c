//! Databases and indexes from their making to their end: opening, closing, refusing what is not
//! ours, reading while another writes, deleting an index without a trace, copying.
//!
//! A directory that is refused is compared byte by byte before and after.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{DB, Options as RawOptions};
use sealvec::{
    BatchQuery, Cursor, Database, Durability, Error, Include, Index, IndexConfig, IndexKey, Item,
    KeyContext, MAX_DIMENSION, Metric, Options, Permissions, Query, UserId, UserKey,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::support::{
    NAME, ROOT, code, copy_directory, files, index_key, memory, open_raw, put_raw, records,
    refused, root, small, user, user_id, user_key,
};

const EUCLIDEAN: IndexConfig = IndexConfig::new(Metric::Euclidean);

assert_impl_all!(Database: Clone, Send, Sync, Unpin);
assert_impl_all!(Index<'static>: Clone, Send, Sync, Unpin);
assert_impl_all!(KeyContext: Send, Sync);
assert_impl_all!(Query<'static>: Send, Sync);
assert_impl_all!(BatchQuery<'static>: Send, Sync);
assert_impl_all!(Error: Clone, Send, Sync, std::error::Error);
assert_not_impl_any!(IndexKey: Clone, Copy, serde::Serialize, std::fmt::Display, PartialEq, AsRef<[u8]>);
assert_not_impl_any!(UserKey: Clone, Copy, serde::Serialize, std::fmt::Display, PartialEq, AsRef<[u8]>);
assert_not_impl_any!(KeyContext: Clone, Copy, serde::Serialize, std::fmt::Display, PartialEq);
assert_not_impl_any!(UserId: serde::Serialize, std::fmt::Display);

const fn outlives_everything<T: 'static>() {}
const _: () = outlives_everything::<Database>();
const _: () = outlives_everything::<Index<'static>>();

/// A database in a directory of its own, with one index of two items.
fn filled(path: &Path) -> Database {
    let db = Database::open(path, small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), EUCLIDEAN).unwrap();
    let items = [Item::new("a", [1.0]).contents("text"), Item::new("b", [2.0])];
    load(&db).upsert(&items).unwrap();
    db
}

fn load(db: &Database) -> Index<'static> {
    db.load_index(NAME, root(ROOT)).unwrap()
}

/// Everything an index answers, for comparison.
fn content(index: &Index<'_>) -> String {
    let ids = index.list_ids(1000, None).unwrap().value.ids;
    let items = index.get(&ids, Include::ALL).unwrap().value.into_iter().map(|found| {
        let item = found.item.unwrap();
        (found.id, item.vector, item.contents, item.metadata, item.version)
    });
    format!("{:?} {:?}", items.collect::<Vec<_>>(), index.describe().unwrap().etag)
}

#[test]
fn a_database_can_be_closed_and_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er/db");
    let db = filled(&path);
    let (index, clone) = (load(&db), db.clone());
    let before = content(&index);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    db.close().unwrap();
    // Every handle knows.
    let key = root(ROOT);
    assert_eq!(index.describe().unwrap_err(), Error::Closed);
    assert_eq!(index.upsert(&[]).unwrap_err(), Error::Closed);
    assert_eq!(index.grant(user_id(1), &user_key(1), Permissions::READ), Err(Error::Closed));
    assert_eq!(index.users().unwrap_err(), Error::Closed);
    assert_eq!(clone.list_indexes(&key).unwrap_err(), Error::Closed);
    assert_eq!(clone.open_index(NAME).unwrap_err(), Error::Closed);
    assert_eq!(clone.load_index(NAME, root(ROOT)).unwrap_err(), Error::Closed);
    assert_eq!(clone.delete_index(NAME, &key), Err(Error::Closed));
    assert_eq!(clone.create_index("x", &index_key(1), EUCLIDEAN).unwrap_err(), Error::Closed);
    assert_eq!(clone.flush(), Err(Error::Closed));
    assert_eq!(clone.checkpoint(directory.path().join("copy")), Err(Error::Closed));
    // Closing twice is closing.
    clone.close().unwrap();
    for _ in 0..3 {
        let db = Database::open(&path, small().create(false)).unwrap();
        assert_eq!(content(&load(&db)), before);
        // Dropping the last handle closes too, and an index is a handle.
    }
    // An open gives the directory to its owner alone, whatever it was.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Database::open(&path, small()).unwrap().close().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_index_keeps_its_database_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let index = load(&filled(&path));
    assert_eq!(*index.count().unwrap(), 2);
    assert_eq!(code(&Database::open(&path, small())), "busy");
    drop(index);
    assert_eq!(code(&Database::open(&path, small())), "ok");
}

#[test]
fn only_one_writes_and_any_number_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = filled(&path);
    let before = content(&load(&db));
    let busy = Database::open(&path, small()).unwrap_err();
    assert_eq!((&busy, busy.is_retryable()), (&Error::Busy, true));
    let readers: Vec<Database> =
        (0..3).map(|_| Database::open_read_only(&path, small()).unwrap()).collect();
    load(&db).upsert(&[Item::new("c", [3.0])]).unwrap();
    for reader in &readers {
        let index = load(reader);
        // It does not follow.
        assert_eq!(content(&index), before);
        assert_eq!(index.query(&[0.0]).run().unwrap().len(), 2);
        assert_eq!(reader.list_indexes(&root(ROOT)).unwrap(), [NAME]);
        assert_eq!(index.upsert(&[Item::new("d", [1.0])]).unwrap_err(), Error::ReadOnly);
        assert_eq!(index.delete(&["a"]).unwrap_err(), Error::ReadOnly);
        let key = user_key(1);
        assert_eq!(index.grant(user_id(1), &key, Permissions::READ), Err(Error::ReadOnly));
        assert_eq!(reader.delete_index(NAME, &root(ROOT)), Err(Error::ReadOnly));
        let made = reader.create_index("x", &index_key(1), EUCLIDEAN);
        assert_eq!(made.unwrap_err(), Error::ReadOnly);
        reader.flush().unwrap();
    }
    let reader = Database::open_read_only(&path, small()).unwrap();
    assert_eq!(*load(&reader).count().unwrap(), 3);
    assert_eq!(*load(&db).count().unwrap(), 3);
}

#[test]
fn who_only_reads_does_not_say_that_a_commit_is_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    filled(&path).close().unwrap();
    let options = small().durability(Durability::Buffered);
    let db = Database::open_read_only(&path, options).unwrap();
    let index = load(&db);
    let before = index.describe().unwrap();
    assert!(!before.version.durable);
    assert_eq!(index.delete(&["a"]).unwrap_err(), Error::ReadOnly);
    assert_eq!(index.describe().unwrap(), before);
}

#[test]
fn what_is_not_there_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let (missing, empty) = (directory.path().join("missing"), directory.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    for path in [&missing, &empty] {
        for result in
            [Database::open(path, small().create(false)), Database::open_read_only(path, small())]
        {
            refused(result, "database_not_found", &[&path.display().to_string()]);
        }
    }
    assert!(!missing.exists());
    assert!(files(&empty).is_empty());
    // An empty directory can become a database.
    filled(&empty).close().unwrap();
    assert_eq!(fs::metadata(&empty).unwrap().permissions().mode() & 0o777, 0o700);
    let (db, _index) = memory(EUCLIDEAN);
    for name in ["other", "Index", "index ", "\u{1f980}"] {
        assert_eq!(db.open_index(name).unwrap_err(), Error::IndexNotFound);
        assert_eq!(db.load_index(name, root(ROOT)).unwrap_err(), Error::IndexNotFound);
        assert_eq!(db.delete_index(name, &root(ROOT)), Err(Error::IndexNotFound));
    }
}

#[test]
fn a_directory_that_is_not_ours_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("text")).unwrap();
    fs::write(at("text").join("notes.txt"), "hello").unwrap();
    fs::create_dir(at("current")).unwrap();
    fs::write(at("current").join("CURRENT"), "MANIFEST-000001\n").unwrap();
    fs::write(at("file"), "hello").unwrap();
    drop(DB::open_default(at("foreign")).unwrap());
    let mut raw = RawOptions::default();
    raw.create_if_missing(true);
    raw.create_missing_column_families(true);
    let db = DB::open_cf(&raw, at("families"), ["default", "catalog", "users"]).unwrap();
    put_raw(&db, "catalog", b"key", b"value");
    drop(db);
    let before = files(directory.path());
    assert!(before.len() > 12);
    for name in ["text", "current", "file", "foreign", "families"] {
        let path = at(name);
        for result in [
            Database::open(&path, small()),
            Database::open(&path, small().create(false)),
            Database::open_read_only(&path, small()),
        ] {
            refused(result, "invalid_argument", &["not a sealvec database"]);
        }
    }
    assert_eq!(files(directory.path()), before);
}

#[test]
fn a_database_of_another_format_is_refused_by_name_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    filled(&path).close().unwrap();
    let write = |value: &[u8]| {
        let raw = open_raw(&path);
        put_raw(&raw, "catalog", &[0; 17], value);
        drop(raw);
    };
    let with = |version: u8| [b"sealvec", &[version][..], &[9; 32]].concat();
    // The one before, and the one that will be next.
    for found in [7, 9] {
        write(&with(found));
        let before = files(&path);
        for open in [Database::open, Database::open_read_only] {
            let error = open(&path, small()).unwrap_err();
            let expected =
                Error::UnsupportedFormat { what: "database", found: found.into(), supported: 8 };
            assert_eq!(error, expected);
            let words = format!("database has format version {found}");
            assert!(error.to_string().contains(&words), "{error}");
            assert_eq!(error.code(), "unsupported_format");
        }
        assert_eq!(files(&path), before);
    }
    let long = [&with(8)[..], &[0]].concat();
    for damaged in [&b""[..], b"seal", b"sealvec", b"SEALVEC\x08", &with(8)[..39], &long] {
        write(damaged);
        let before = files(&path);
        for open in [Database::open, Database::open_read_only] {
            assert_eq!(code(&open(&path, small())), "integrity", "{damaged:?}");
        }
        assert_eq!(files(&path), before);
    }
}

#[test]
fn names_and_dimensions_are_checked_at_creation() {
    let (db, index) = memory(EUCLIDEAN);
    let key = index_key(1);
    for bad in ["", ".", "..", "a\nb", &"x".repeat(513)] {
        let words: &[&str] = &["the index name"];
        refused(db.create_index(bad, &key, EUCLIDEAN), "invalid_argument", words);
        refused(db.open_index(bad), "invalid_argument", words);
        refused(db.load_index(bad, root(1)), "invalid_argument", words);
        refused(db.delete_index(bad, &root(1)), "invalid_argument", words);
    }
    for bad in [0, MAX_DIMENSION + 1, usize::MAX] {
        let made = db.create_index("x", &key, EUCLIDEAN.dimension(bad));
        refused(made, "invalid_argument", &["1 to 65535"]);
    }
    let longest = "\u{e9}".repeat(256);
    db.create_index(&longest, &key, EUCLIDEAN.dimension(MAX_DIMENSION)).unwrap();
    assert_eq!(db.load_index(&longest, root(1)).unwrap().describe().unwrap().name, longest);
    // The same name under whatever key, with whatever config.
    for seed in [ROOT, 1] {
        let made = db.create_index(NAME, &index_key(seed), EUCLIDEAN.dimension(3));
        assert_eq!(made.unwrap_err(), Error::AlreadyExists);
    }
    assert_eq!(index.describe().unwrap().dimension, None);
    for bad in [
        small().threads(1025),
        small().max_contents((1 << 30) + 1),
        small().max_metadata(1),
        small().max_metadata((16 << 20) + 1),
        small().max_value(4095),
        small().max_value((1 << 20) + 1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        assert_eq!(code(&Database::open(&path, bad.clone())), "invalid_argument");
        assert_eq!(code(&Database::open_read_only(&path, bad.clone())), "invalid_argument");
        assert_eq!(code(&Database::in_memory_with(bad)), "invalid_argument");
        assert!(!path.exists());
    }
}

#[test]
fn each_key_lists_its_own_indexes() {
    let (db, index) = memory(EUCLIDEAN);
    for (name, seed) in [("zebra", ROOT), ("apple", 8), ("Berg", 8)] {
        db.create_index(name, &index_key(seed), EUCLIDEAN).unwrap();
    }
    let apple = db.load_index("apple", root(8)).unwrap();
    for index in [&index, &apple] {
        index.grant(user_id(1), &user_key(1), Permissions::WRITE).unwrap();
    }
    assert_eq!(db.list_indexes(&root(ROOT)).unwrap(), [NAME, "zebra"]);
    assert_eq!(db.list_indexes(&root(8)).unwrap(), ["Berg", "apple"]);
    assert_eq!(db.list_indexes(&user(1, 1)).unwrap(), ["apple", NAME]);
    apple.revoke(user_id(1)).unwrap();
    assert_eq!(db.list_indexes(&user(1, 1)).unwrap(), [NAME]);
    assert!(db.list_indexes(&user(1, 2)).unwrap().is_empty());
}

#[test]
fn a_deleted_index_leaves_no_record_and_no_other_index_notices() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = filled(&path);
    db.close().unwrap();
    // The first index's id: the one in the keys that are not the database's.
    let raw = open_raw(&path);
    let of_index = |record: &crate::support::Stored| record.key[..16] != [0; 16];
    let id = records(&raw).into_iter().find(of_index).unwrap().key[..16].to_vec();
    drop(raw);
    let db = Database::open(&path, small().max_value(4096)).unwrap();
    let index = load(&db);
    let large =
        Item::new("large", [1.0]).contents(vec![5; 20_000]).metadata(serde_json::json!({"a": 1}));
    index.upsert(&[large]).unwrap();
    index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    let bound = db.load_index(NAME, user(1, 1)).unwrap();
    db.create_index("other", &index_key(ROOT), EUCLIDEAN).unwrap();
    let other = db.load_index("other", root(ROOT)).unwrap();
    other.upsert(&[Item::new("a", [1.0])]).unwrap();
    other.grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
    let before = content(&other);

    db.delete_index(NAME, &root(ROOT)).unwrap();
    for gone in [&index, &bound] {
        assert_eq!(gone.describe().unwrap_err(), Error::IndexNotFound);
        assert_eq!(gone.upsert(&[Item::new("a", [1.0])]).unwrap_err(), Error::IndexNotFound);
    }
    assert_eq!(db.open_index(NAME).unwrap_err(), Error::IndexNotFound);
    assert_eq!(db.delete_index(NAME, &root(ROOT)), Err(Error::IndexNotFound));
    assert_eq!(db.list_indexes(&root(ROOT)).unwrap(), ["other"]);
    assert_eq!(content(&other), before);
    assert_eq!(*other.with_key(&user(1, 1)).count().unwrap(), 1);
    db.close().unwrap();

    let raw = open_raw(&path);
    let left = records(&raw);
    assert!(left.iter().all(|record| !record.key.starts_with(&id)));
    assert!(left.iter().any(|record| record.family == "payload"), "the other index is there");
    // One name record is left, and it names another index.
    let names: Vec<_> = left.iter().filter(|record| record.kind() == 1).collect();
    assert!(names.len() == 1 && !names[0].value.ends_with(&id));
    drop(raw);
    // No table and no write-ahead log holds the id, not even in what is superseded, but for the
    // key (kind 02) of the note that it was owed a purge, which is gone too. (The manifest does: it
    // names the first and last keys of tables that were.)
    for (name, bytes) in files(&path) {
        let mut places = bytes.windows(17).filter(|window| window[1..] == id);
        let note = places.all(|window| window[0] == 2);
        assert!(note || name.display().to_string().starts_with("MANIFEST"), "{name:?}");
    }

    let db = Database::open(&path, small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), EUCLIDEAN).unwrap();
    assert_eq!(*load(&db).count().unwrap(), 0);
    assert!(load(&db).users().unwrap().is_empty());
    assert_eq!(db.load_index(NAME, user(1, 1)).unwrap_err(), Error::WrongKey);
    // The old handles were of the old index.
    assert_eq!(index.describe().unwrap_err(), Error::Closed);
    load(&db).upsert(&[Item::new("a", [1.0, 2.0])]).unwrap();
    assert_eq!(*load(&db).count().unwrap(), 1);
}

#[test]
fn a_handle_of_a_deleted_index_does_not_see_the_next_of_its_name() {
    let (db, index) = memory(EUCLIDEAN);
    db.delete_index(NAME, &root(ROOT)).unwrap();
    db.create_index(NAME, &index_key(ROOT), EUCLIDEAN).unwrap();
    assert_eq!(index.describe().unwrap_err(), Error::IndexNotFound);
    assert_eq!(load(&db).describe().unwrap().item_count, 0);
}

#[test]
fn a_checkpoint_is_a_database_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("db"), directory.path().join("copy"));
    let db = filled(&path);
    let before = content(&load(&db));
    db.checkpoint(&copy).unwrap();
    load(&db).delete(&["a"]).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o700);
    for taken in [&copy, &path, &directory.path().to_path_buf()] {
        refused(db.checkpoint(taken), "invalid_argument", &["exists"]);
    }
    let twin = Database::open(&copy, small()).unwrap();
    assert_eq!(content(&load(&twin)), before);
    load(&twin).upsert(&[Item::new("c", [3.0])]).unwrap();
    assert_eq!((*load(&twin).count().unwrap(), *load(&db).count().unwrap()), (3, 1));
    let (memory, _index) = memory(EUCLIDEAN);
    refused(memory.checkpoint(directory.path().join("new")), "invalid_argument", &["in-memory"]);
    // Whoever only reads gets a copy or an error.
    let reader = Database::open_read_only(&path, small()).unwrap();
    let copied = directory.path().join("copied");
    match reader.checkpoint(&copied) {
        Ok(()) => drop(Database::open(&copied, small()).unwrap()),
        Err(error) => assert_eq!(error.code(), "io"),
    }
    // A copy of the files of a closed database is one too.
    twin.close().unwrap();
    let third = directory.path().join("third");
    copy_directory(&copy, &third);
    assert_eq!(*load(&Database::open(&third, small()).unwrap()).count().unwrap(), 3);
}

#[test]
fn a_token_says_whether_its_commit_is_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = filled(&path);
    let index = load(&db);
    assert!(index.describe().unwrap().version.durable);
    let buffered = index.with_durability(Durability::Buffered);
    let report = buffered.upsert(&[Item::new("c", [1.0])]).unwrap();
    assert!(!report.version.durable);
    assert!(!index.count().unwrap().version.durable);
    db.flush().unwrap();
    let found = index.count().unwrap().version;
    assert!(found.durable);
    assert_eq!((found.sequence, found.hash), (report.version.sequence, report.version.hash));
    // A synced commit takes everything before it along.
    assert!(!buffered.delete(&["c"]).unwrap().version.durable);
    assert!(index.upsert(&[Item::new("c", [1.0])]).unwrap().version.durable);
    assert!(index.count().unwrap().version.durable);
    assert!(!buffered.delete(&["c"]).unwrap().version.durable);
    let before = content(&index);
    db.close().unwrap();
    let db = Database::open(&path, small()).unwrap();
    assert_eq!(content(&load(&db)), before);
    assert!(load(&db).count().unwrap().version.durable);
}

#[test]
fn two_databases_know_nothing_of_each_other() {
    let (one, first) = memory(EUCLIDEAN);
    let (two, second) = memory(EUCLIDEAN);
    first.upsert(&[Item::new("a", [1.0])]).unwrap();
    first.grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
    assert_eq!(*second.count().unwrap(), 0);
    assert_eq!(second.with_key(&user(1, 1)).count().unwrap_err(), Error::WrongKey);
    one.delete_index(NAME, &root(ROOT)).unwrap();
    assert_eq!(*second.count().unwrap(), 0);
    two.close().unwrap();
    assert!(one.list_indexes(&root(ROOT)).unwrap().is_empty());
}

#[test]
fn many_threads_on_one_index_end_in_true_counts() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().threads(2).durability(Durability::Buffered);
    let on_disk = Database::open(directory.path().join("db"), options).unwrap();
    for db in [on_disk, Database::in_memory().unwrap()] {
        db.create_index(NAME, &index_key(ROOT), EUCLIDEAN).unwrap();
        let index = load(&db);
        index.upsert(&[Item::new("always", [0.0]).contents("here")]).unwrap();
        let (inserted, deleted) = (AtomicU64::new(1), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let (index, inserted, deleted) = (index.clone(), &inserted, &deleted);
                scope.spawn(move || {
                    for round in 0..15 {
                        let id = |n| format!("{}", (round * 7 + n) % 20);
                        let item = |n| Item::new(id(n), [f32::from(thread)]).contents(id(n));
                        let report = index.upsert(&[item(0), item(3)]).unwrap();
                        inserted.fetch_add(report.inserted, Ordering::Relaxed);
                        let report = index.delete(&[id(3), id(5)]).unwrap();
                        deleted.fetch_add(report.deleted, Ordering::Relaxed);
                        let hits = index.query(&[-1.0]).top_k(100).include(Include::ALL).run();
                        let hits = hits.unwrap();
                        // One commit or another, never a mixture.
                        assert!(hits.iter().any(|hit| hit.id == "always"));
                        for hit in hits.iter().filter(|hit| hit.id != "always") {
                            assert_eq!(hit.contents.as_deref(), Some(hit.id.as_bytes()));
                        }
                        index.list_ids(100, None::<&Cursor>).unwrap();
                    }
                });
            }
        });
        let left = inserted.into_inner() - deleted.into_inner();
        let found = index.describe().unwrap();
        assert_eq!(found.item_count, left);
        let ids = index.list_ids(100, None).unwrap().value.ids;
        assert_eq!(ids.len() as u64, left);
        let contents = |id: &str| if id == "always" { 4 } else { id.len() };
        let bytes: usize = ids.iter().map(|id| id.len() + 4 + contents(id)).sum();
        assert_eq!(found.total_size_bytes, bytes as u64);
        db.close().unwrap();
    }
}
