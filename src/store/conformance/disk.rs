//! What only an engine on disk can be asked for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{LIMITS, append, commit, delete, everything, expecting, purge, put};
use crate::error::{Error, Result};
use crate::store::rocksdb::{Access, RocksDb, place};
use crate::store::{Batch, Change, Durability, Engine, Family, Purge};

const PATIENCE: Duration = Duration::from_secs(9);

fn open(path: &Path, access: Access) -> Result<RocksDb> {
    RocksDb::open(path, access, 1 << 20, LIMITS)
}

pub(super) fn create(path: &Path) -> RocksDb {
    let engine = open(path, Access::Create).unwrap();
    place::finish_creation(path).unwrap();
    engine
}

fn fill(engine: &RocksDb, durability: Durability) {
    for family in Family::ALL {
        let changes = (0..50).map(|n| put(family, &[n], &[n; 200])).collect();
        engine.commit(Batch { changes, expect: None }, durability).unwrap();
    }
    commit(engine, vec![Change::DeletePrefix(vec![7]), delete(Family::Items, &[8])]);
    let more = vec![append(Family::Nodes, &[9], b"more"), append(Family::Nodes, &[77], b"new")];
    engine.commit(Batch { changes: more, expect: None }, durability).unwrap();
}

#[test]
fn opening_again_finds_what_was_committed() {
    for durability in [Durability::Synced, Durability::Buffered] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let engine = create(&path);
        fill(&engine, durability);
        let before = everything(&engine);
        drop(engine);
        for access in [Access::Existing, Access::Create, Access::ReadOnly] {
            assert!(
                everything(&open(&path, access).unwrap()) == before,
                "{durability:?} {access:?}"
            );
        }
    }
}

#[test]
fn flushes_and_compactions_count_as_written() {
    let directory = tempfile::tempdir().unwrap();
    let engine = create(&directory.path().join("db"));
    let before = engine.bytes_written();
    commit(&engine, vec![put(Family::Payload, b"key", &[1; 100_000])]);
    let logged = engine.bytes_written();
    purge(&engine, b"key", PATIENCE).unwrap();
    let purged = engine.bytes_written();
    assert!((100_000..101_000).contains(&(logged - before)));
    assert!(purged - logged >= 200_000, "{logged} to {purged}");
}

#[test]
fn read_only_refuses_every_write_and_needs_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let writer = create(&path);
    fill(&writer, Durability::Synced);
    let reader = open(&path, Access::ReadOnly).unwrap();
    let before = everything(&reader);
    assert!(before == everything(&writer));
    let change = || vec![put(Family::Catalog, b"new", b"value")];
    let plain = Batch { changes: change(), expect: None };
    assert_eq!(reader.commit(plain, Durability::Synced), Err(Error::ReadOnly));
    let conditional = expecting(b"absent", None, change());
    assert_eq!(reader.commit(conditional, Durability::Synced), Err(Error::ReadOnly));
    assert_eq!(purge(&reader, &[1], PATIENCE), Err(Error::ReadOnly));
    assert_eq!(reader.flush(), Ok(()));
    commit(&writer, change());
    assert!(everything(&reader) == before, "what is written afterwards is not seen");
}

#[test]
fn a_second_writer_is_busy_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let first = create(&path);
    assert_eq!(open(&path, Access::Existing).err(), Some(Error::Busy));
    assert_eq!(open(&path, Access::Create).err(), Some(Error::Busy));
    commit(&first, vec![put(Family::Items, b"k", b"v")]);
    drop(first);
    let second = open(&path, Access::Existing).unwrap();
    assert_eq!(second.snapshot().get(Family::Items, b"k"), Ok(Some(b"v".to_vec())));
}

#[test]
fn a_checkpoint_opens_and_is_the_store_as_of_then() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("db"), directory.path().join("copy"));
    let engine = create(&path);
    fill(&engine, Durability::Buffered);
    let before = everything(&engine);
    engine.checkpoint(&copy).unwrap();
    commit(&engine, vec![Change::DeletePrefix(vec![1]), put(Family::Items, b"later", b"v")]);
    let copied = open(&copy, Access::Existing).unwrap();
    assert!(everything(&copied) == before);
    commit(&copied, vec![put(Family::Items, b"only in the copy", b"v")]);
    assert_eq!(engine.snapshot().get(Family::Items, b"only in the copy"), Ok(None));
    let refused = engine.checkpoint(&copy).unwrap_err();
    assert_eq!(refused.code(), "invalid_argument");
}

#[test]
fn a_missing_database_is_made_only_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    for access in [Access::Existing, Access::ReadOnly] {
        let missing = Error::DatabaseNotFound(path.display().to_string());
        assert_eq!(open(&path, access).err(), Some(missing));
        assert!(!path.exists(), "nothing was made");
    }
}

#[test]
fn a_directory_that_is_not_ours_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("letter.txt"), "dear reader").unwrap();
    fs::write(directory.path().join("CURRENT"), "not RocksDB's").unwrap();
    for access in [Access::Create, Access::Existing, Access::ReadOnly] {
        let refused = open(directory.path(), access).err().unwrap();
        assert_eq!(refused.code(), "invalid_argument", "{access:?}");
    }
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["CURRENT", "letter.txt"]);
    let file = open(&directory.path().join("letter.txt"), Access::Create).err().unwrap();
    assert_eq!(file.code(), "invalid_argument");
}

#[cfg(unix)]
#[test]
fn directories_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("db"), directory.path().join("copy"));
    create(&path).checkpoint(&copy).unwrap();
    for path in [path, copy] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

/// Values are searched for byte by byte, because they are stored uncompressed.
#[test]
fn after_a_purge_no_file_holds_a_deleted_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let engine = create(&path);
    let marker = |number: u8| -> Vec<u8> {
        crate::crypto::random::<31>().unwrap().into_iter().chain([number]).collect()
    };
    let (deleted, overwritten, ranged, live) = (marker(1), marker(2), marker(3), marker(4));
    let f = Family::Payload;
    commit(&engine, vec![put(f, &[1, 1], &deleted), put(f, &[1, 2], &overwritten)]);
    commit(&engine, vec![put(f, &[2, 1], &ranged), put(f, &[1, 3], &live)]);
    purge(&engine, &[1], PATIENCE).unwrap();
    let held = |value: &[u8]| {
        let files =
            fs::read_dir(&path).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        files.filter(|bytes| bytes.windows(value.len()).any(|window| window == value)).count()
    };
    for value in [&deleted, &overwritten, &ranged, &live] {
        assert!(held(value) > 0, "the search finds what is there");
    }
    commit(&engine, vec![delete(f, &[1, 1]), put(f, &[1, 2], b"")]);
    commit(&engine, vec![Change::DeletePrefix(vec![2])]);
    purge(&engine, &[1], PATIENCE).unwrap();
    purge(&engine, &[2], PATIENCE).unwrap();
    for value in [&deleted, &overwritten, &ranged] {
        assert_eq!(held(value), 0);
    }
    assert!(held(&live) > 0);
}

/// What was appended is in the files as it is, until something rewrites the value.
#[test]
fn after_a_purge_no_file_holds_what_was_appended_to_a_rewritten_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let engine = create(&path);
    let marker = || crate::crypto::random::<32>().unwrap();
    let (gone, gone_alone, live) = (marker(), marker(), marker());
    let f = Family::Nodes;
    commit(&engine, vec![put(f, &[1, 1], b"base"), put(f, &[1, 2], b"base")]);
    // One half of it in a table, the other in the log.
    purge(&engine, &[1], PATIENCE).unwrap();
    commit(&engine, vec![append(f, &[1, 1], &gone), append(f, &[1, 3], &gone_alone)]);
    commit(&engine, vec![append(f, &[1, 2], &live)]);
    let held = |value: &[u8]| {
        let files =
            fs::read_dir(&path).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        files.filter(|bytes| bytes.windows(value.len()).any(|window| window == value)).count()
    };
    for value in [&gone, &gone_alone, &live] {
        assert!(held(value) > 0, "the search finds what is there");
    }
    commit(&engine, vec![put(f, &[1, 1], b"rewritten"), delete(f, &[1, 3])]);
    purge(&engine, &[1], PATIENCE).unwrap();
    assert_eq!((held(&gone), held(&gone_alone)), (0, 0));
    assert!(held(&live) > 0);
    drop(engine);
    let engine = open(&path, Access::Existing).unwrap();
    let live = [b"base", &live[..]].concat();
    assert_eq!(engine.snapshot().get(f, &[1, 2]), Ok(Some(live)));
}

/// The number of files that hold a value.
fn holding(path: &Path, value: &[u8]) -> usize {
    let files = fs::read_dir(path).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.filter(|bytes| bytes.windows(value.len()).any(|window| window == value)).count()
}

#[test]
fn a_purge_waits_for_a_snapshot_an_iterator_and_no_later_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let engine = create(&path);
    let value = crate::crypto::random::<32>().unwrap();
    let f = Family::Items;
    commit(&engine, vec![put(f, &[1, 1], &value), put(f, &[1, 2], &[2; 32])]);
    let before = engine.snapshot();
    commit(&engine, vec![delete(f, &[1, 1])]);
    let short = Duration::from_millis(20);
    let said = purge(&engine, &[1], short).unwrap_err().to_string();
    assert!(said.contains("still running"), "{said}");
    assert!(before.get(f, &[1, 1]).unwrap().is_some());
    drop(before);
    // An iterator that began after the deletion keeps the table from before the purge.
    let after = engine.snapshot();
    let mut inside = None;
    let mut visit = |_: &[u8], _: &[u8]| {
        inside = Some(purge(&engine, &[1], short));
        std::ops::ControlFlow::Continue(())
    };
    after.scan(f, &[1], &[1], &mut visit).unwrap();
    let said = inside.unwrap().unwrap_err().to_string();
    assert!(said.contains("superseded files"), "{said}");
    // The snapshot itself does not.
    purge(&engine, &[1], PATIENCE).unwrap();
    assert_eq!(holding(&path, &value), 0);
    drop(after);
}

#[test]
fn a_family_that_is_not_purged_does_not_keep_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let engine = create(&path);
    let value = crate::crypto::random::<32>().unwrap();
    commit(&engine, vec![put(Family::Items, &[1, 1], &value)]);
    commit(&engine, vec![put(Family::Payload, &[1, 1], &[3; 40]), delete(Family::Items, &[1, 1])]);
    assert_eq!(holding(&path, &value), 1);
    let only = Purge {
        prefixes: &[&[1]],
        families: &[Family::Items],
        patience: PATIENCE,
        stop: &|| false,
    };
    assert!(engine.purge(&only).unwrap().files_removed > 0);
    assert_eq!((holding(&path, &value), holding(&path, &[3; 40])), (0, 1));
    // Told to stop while it waits, it does.
    let snapshot = engine.snapshot();
    commit(&engine, vec![put(Family::Items, &[1, 1], b"")]);
    assert_eq!(engine.purge(&Purge { stop: &|| true, ..only }), Err(Error::Closed));
    drop(snapshot);
}
