//! What the modules share: fixed keys, small databases, and the records and files of a closed one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rocksdb::{DB, IteratorMode, Options as RawOptions};
use sealvec::{
    Database, Index, IndexConfig, IndexKey, KeyContext, Options, Result, UserId, UserKey,
};

/// The name of the index that most tests use.
pub(crate) const NAME: &str = "index";
/// The seed of its key.
pub(crate) const ROOT: u8 = 7;
/// The column families on disk.
pub(crate) const FAMILIES: [&str; 6] =
    ["default", "catalog", "items", "nodes", "attributes", "payload"];

pub(crate) fn index_key(seed: u8) -> IndexKey {
    IndexKey::from_bytes(&[seed; 32]).unwrap()
}

pub(crate) fn root(seed: u8) -> KeyContext {
    KeyContext::root(index_key(seed))
}

pub(crate) fn user_id(seed: u8) -> UserId {
    UserId::from_bytes(&[seed; 16]).unwrap()
}

pub(crate) fn user_key(seed: u8) -> UserKey {
    UserKey::from_bytes(&[seed; 32]).unwrap()
}

pub(crate) fn user(id: u8, key: u8) -> KeyContext {
    KeyContext::user(user_id(id), user_key(key))
}

/// Options for many short-lived databases: no threads, a small cache.
pub(crate) fn small() -> Options {
    Options::new().threads(1).block_cache(1 << 20)
}

/// An index in memory, with its key bound.
pub(crate) fn memory(config: IndexConfig) -> (Database, Index<'static>) {
    memory_with(small(), config)
}

pub(crate) fn memory_with(options: Options, config: IndexConfig) -> (Database, Index<'static>) {
    let db = Database::in_memory_with(options).unwrap();
    db.create_index(NAME, &index_key(ROOT), config).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    (db, index)
}

/// The code of the error, or `ok`.
pub(crate) fn code<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(sealvec::Error::code, |_| "ok")
}

/// Asserts that the call failed with this code and a message that has all of these words.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T>, code: &str, words: &[&str]) {
    let error = result.expect_err("the call must be refused");
    assert_eq!(error.code(), code, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error:?} does not say {word:?}");
    }
}

/// A record as RocksDB holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) family: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Stored {
    pub(crate) fn kind(&self) -> u8 {
        self.key[16]
    }
}

/// Opens the files below sealvec.
pub(crate) fn open_raw(path: &Path) -> DB {
    DB::open_cf(&RawOptions::default(), path, FAMILIES).unwrap()
}

/// Every record of a database that is open: what another process would read of it now. A file
/// that a compaction takes away meanwhile is a reason to look again.
pub(crate) fn records_while_open(path: &Path) -> Vec<Stored> {
    let open = || DB::open_cf_for_read_only(&RawOptions::default(), path, FAMILIES, false);
    let opened = (0..100)
        .find_map(|_| open().inspect_err(|_| std::thread::sleep(Duration::from_millis(10))).ok());
    records(&opened.expect("a database that can be read"))
}

pub(crate) fn put_raw(db: &DB, family: &str, key: &[u8], value: &[u8]) {
    db.put_cf(db.cf_handle(family).unwrap(), key, value).unwrap();
}

pub(crate) fn delete_raw(db: &DB, family: &str, key: &[u8]) {
    db.delete_cf(db.cf_handle(family).unwrap(), key).unwrap();
}

/// Every record of every column family, in order.
pub(crate) fn records(db: &DB) -> Vec<Stored> {
    let mut all = Vec::new();
    for family in FAMILIES {
        for pair in db.iterator_cf(db.cf_handle(family).unwrap(), IteratorMode::Start) {
            let (key, value) = pair.unwrap();
            all.push(Stored { family, key: key.into(), value: value.into() });
        }
    }
    all
}

/// Every file below a directory, by its path in it.
pub(crate) fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_path_buf();
                match fs::read(&path) {
                    Ok(bytes) => all.insert(name, bytes),
                    // The engine removes files of its own when it likes.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => panic!("{}: {error}", path.display()),
                };
            }
        }
    }
    all
}

/// Copies the files of a flat directory into a new one.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

/// Writes a key file as it has to be: its owner's alone.
pub(crate) fn write_key(path: &Path, digits: &str) {
    fs::write(path, digits).unwrap();
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Every source file below a directory of the repository, by its path from the root.
pub(crate) fn sources(directory: &str) -> BTreeMap<String, String> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    files(&base.join(directory))
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|(path, bytes)| {
            let text = String::from_utf8(bytes).unwrap();
            (format!("{directory}/{}", path.display()), text)
        })
        .collect()
}
