//! An engine for tests: the in-memory one, shared with whoever holds the files.
//!
//! A [`Tampering`] is cheap to clone; one clone goes into the database, the other stays with the
//! test and does what an attacker with the files, a restored backup or a failing disk would do.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::memory::Memory;
use super::{
    Batch, Change, Durability, Engine, Family, Limits, Purge, Purged, Snapshot, Value, Visit,
};
use crate::config::{Options, Tuning};
use crate::database::Database;
use crate::error::{Error, Result};

/// Everything that a family holds, in key order.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

type Event = Box<dyn FnOnce() + Send>;

/// The engine, and the hands on it.
#[derive(Clone)]
pub(crate) struct Tampering {
    memory: Arc<Memory>,
    failures: Arc<Mutex<Vec<Error>>>,
    purge_failures: Arc<Mutex<Vec<Error>>>,
    purges: Arc<Mutex<Vec<Vec<Family>>>>,
    meanwhile: Arc<Mutex<Option<Event>>>,
    reads: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
}

impl Tampering {
    pub(crate) fn new() -> Self {
        let memory = Arc::new(Memory::new(Limits { value: 4 << 10 }));
        Self {
            memory,
            failures: Arc::default(),
            purge_failures: Arc::default(),
            purges: Arc::default(),
            meanwhile: Arc::default(),
            reads: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// A database on these bytes that has seen nothing yet: a process that just started.
    pub(crate) fn open(&self) -> Database {
        self.open_with(Options::new().threads(1))
    }

    pub(crate) fn open_with(&self, options: Options) -> Database {
        Database::with_test_engine(Box::new(self.clone()), options).unwrap()
    }

    /// As [`open`](Self::open), with leaves of eight items and four children a branch.
    pub(crate) fn open_with_small_nodes(&self) -> Database {
        let tuning = Tuning { leaf_items: 8, fan_out: 4, ..Tuning::new() };
        let options = Options::new().threads(1).tuning(tuning);
        Database::with_test_engine(Box::new(self.clone()), options).unwrap()
    }

    /// The commits to come fail with these errors, last first, and apply nothing.
    pub(crate) fn fail_next(&self, errors: &[Error]) {
        self.failures.lock().unwrap().extend_from_slice(errors);
    }

    /// The purges to come fail with these errors, last first.
    pub(crate) fn fail_next_purges(&self, errors: &[Error]) {
        self.purge_failures.lock().unwrap().extend_from_slice(errors);
    }

    /// It says from now on that it failed in the background.
    pub(crate) fn fail_in_background(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Something that happens while the next purge runs.
    pub(crate) fn during_next_purge(&self, what: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(what));
    }

    /// The families of every purge that was asked for since the last call.
    pub(crate) fn purges(&self) -> Vec<Vec<Family>> {
        std::mem::take(&mut *self.purges.lock().unwrap())
    }

    /// How often anything but the catalog was read through the engine.
    pub(crate) fn reads_of_items(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        self.memory.snapshot().get(family, key).unwrap()
    }

    pub(crate) fn put(&self, family: Family, key: &[u8], value: &[u8]) {
        self.apply(vec![Change::Put(family, key.to_vec(), value.to_vec())]);
    }

    pub(crate) fn delete(&self, family: Family, key: &[u8]) {
        self.apply(vec![Change::Delete(family, key.to_vec())]);
    }

    /// Every key of a family that starts with `prefix`, with its value.
    pub(crate) fn under(&self, family: Family, prefix: &[u8]) -> Pairs {
        let mut found = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        self.memory.snapshot().scan(family, prefix, prefix, &mut visit).unwrap();
        found
    }

    /// A copy of everything: a backup of the directory.
    pub(crate) fn copy(&self) -> Vec<(Family, Pairs)> {
        Family::ALL.map(|family| (family, self.under(family, &[]))).into()
    }

    /// Puts back the families of a copy, whole.
    pub(crate) fn restore(&self, copy: &[(Family, Pairs)]) {
        for (family, pairs) in copy {
            let now = self.under(*family, &[]).into_iter();
            let mut changes: Vec<_> = now.map(|(key, _)| Change::Delete(*family, key)).collect();
            let old = pairs.iter().cloned();
            changes.extend(old.map(|(key, value)| Change::Put(*family, key, value)));
            self.apply(changes);
        }
    }

    /// Applies changes with no condition.
    pub(crate) fn apply(&self, changes: Vec<Change>) {
        let batch = Batch { changes, expect: None };
        self.memory.commit(batch, Durability::Synced).unwrap();
    }
}

impl Engine for Tampering {
    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(Watched { inner: self.memory.snapshot(), reads: &self.reads })
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        let failure = self.failures.lock().unwrap().pop();
        failure.map_or_else(|| self.memory.commit(batch, durability), Err)
    }

    fn flush(&self) -> Result<()> {
        self.memory.flush()
    }

    fn purge(&self, purge: &Purge<'_>) -> Result<Purged> {
        self.purges.lock().unwrap().push(purge.families.to_vec());
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(what) = meanwhile {
            what();
        }
        let failure = self.purge_failures.lock().unwrap().pop();
        failure.map_or_else(|| self.memory.purge(purge), Err)
    }

    fn directory(&self) -> Option<&Path> {
        None
    }

    fn checkpoint(&self, directory: &Path) -> Result<()> {
        self.memory.checkpoint(directory)
    }

    fn bytes_written(&self) -> u64 {
        self.memory.bytes_written()
    }

    fn failed_in_background(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn limits(&self) -> Limits {
        self.memory.limits()
    }
}

/// A snapshot that counts.
struct Watched<'a> {
    inner: Box<dyn Snapshot + 'a>,
    reads: &'a AtomicUsize,
}

impl Watched<'_> {
    fn note(&self, family: Family) {
        if family != Family::Catalog {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Snapshot for Watched<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.note(family);
        self.inner.get(family, key)
    }

    fn multi_get(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        self.note(family);
        self.inner.multi_get(family, keys)
    }

    fn multi_get_pinned(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Value<'_>>>> {
        self.note(family);
        self.inner.multi_get_pinned(family, keys)
    }

    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: Visit<'_>) -> Result<()> {
        self.note(family);
        self.inner.scan(family, prefix, from, visit)
    }
}
