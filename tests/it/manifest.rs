//! A database whose list of files is damaged is a damaged database: never somebody else's, and never
//! one that is not there, in whose place a new one may be made.
//!
//! RocksDB lists its files and column families in a MANIFEST, which `CURRENT` names. It is read up to
//! its first bad record too, so one that is cut can name fewer column families than a database has.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sealvec::{Database, Error, IndexConfig, Item, Metric};

use crate::support::{NAME, ROOT, code, copy_directory, files, index_key, refused, root, small};

/// Every so many-th byte.
const STEP: usize = 12;

/// A closed database of two items.
fn make(path: &Path) {
    let db = Database::open(path, small()).unwrap();
    let config = IndexConfig::new(Metric::Euclidean);
    db.create_index(NAME, &index_key(ROOT), config).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    index.upsert(&[Item::new("a", [1.0]), Item::new("b", [2.0])]).unwrap();
    drop(index);
    db.close().unwrap();
    // Once more, so that something is in tables.
    Database::open(path, small()).unwrap().close().unwrap();
}

fn manifest(path: &Path) -> PathBuf {
    let current = fs::read_to_string(path.join("CURRENT")).unwrap();
    path.join(current.trim())
}

/// The number of items, if everything of the index is sound.
fn count(path: &Path) -> sealvec::Result<u64> {
    let db = Database::open_read_only(path, small())?;
    let index = db.load_index(NAME, root(ROOT))?;
    let found = index.verify(|_| ControlFlow::Continue(()))?;
    if !found.is_sound() {
        return Err(Error::Integrity(found.findings[0].fault));
    }
    Ok(*index.count()?)
}

/// Without RocksDB's log of events.
fn unlogged(files: BTreeMap<PathBuf, Vec<u8>>) -> Vec<(PathBuf, Vec<u8>)> {
    let logs = |name: &Path| name.to_string_lossy().starts_with("LOG");
    files.into_iter().filter(|(name, _)| !logs(name)).collect()
}

#[test]
fn a_damaged_manifest_is_damage_wherever_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (base, path) = (directory.path().join("base"), directory.path().join("db"));
    make(&base);
    let whole = fs::read(manifest(&base)).unwrap();
    let mut fewer = 0;
    for length in (0..whole.len()).step_by(STEP) {
        copy_directory(&base, &path);
        fs::write(manifest(&path), &whole[..length]).unwrap();
        let before = files(&path);
        for result in [count(&path), Database::open(&path, small()).and_then(|_| count(&path))] {
            match result {
                Ok(count) => assert_eq!(count, 2, "cut to {length}"),
                Err(error) => assert_eq!(error.code(), "integrity", "cut to {length}: {error}"),
            }
        }
        let families = |path| rocksdb::DB::list_cf(&rocksdb::Options::default(), path);
        assert_eq!(families(&base).unwrap().len(), 6);
        if families(&path).is_ok_and(|families| families.len() < 6) {
            fewer += 1;
            assert_eq!(unlogged(files(&path)), unlogged(before), "it is left as it is");
        }
        fs::remove_dir_all(&path).unwrap();
    }
    println!("manifests cut: {}, of these with fewer column families: {fewer}", whole.len() / STEP);
    assert!(fewer > 0, "no cut hides a column family");
    assert_eq!(count(&base), Ok(2));
}

#[test]
fn a_database_without_its_current_file_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    make(&path);
    fs::remove_file(path.join("CURRENT")).unwrap();
    refused(Database::open(&path, small()).map(drop), "integrity", &[]);
    assert_eq!(code(&Database::open_read_only(&path, small())), "integrity");
    // The control: without the file of options nothing says whose it is.
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap().starts_with("OPTIONS") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    refused(Database::open(&path, small()).map(drop), "invalid_argument", &["not a sealvec"]);
}
