//! The storage engine below the index: an ordered map of bytes with snapshots and atomic batches.
//!
//! [`Engine`] is synchronous and batch-first, and knows only bytes: nothing above it names RocksDB,
//! and values stay at or below [`Limits::value`], so that the same trait fits a database server or
//! object storage. The one conditional key of an index is its root: a [`Batch`] carries what the
//! committer believes the root holds, and the engine refuses it with `Conflict` otherwise.
//!
//! `memory` and `rocksdb` implement it; the tests in `conformance` run on both. `poison` stops the
//! writing on either when storage has failed.

pub(crate) mod key;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod owed;
pub(crate) mod poison;
pub(crate) mod record;
#[cfg(feature = "rocksdb")]
pub(crate) mod rocksdb;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod tampering;

use std::ops::{ControlFlow, Deref};
use std::path::Path;
use std::time::Duration;

use crate::error::Result;

/// A column family. Each holds one kind of record; `docs/format.md` has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    /// Database record, names, grant tables, roster, wraps, commits, set-hash state.
    Catalog,
    /// Item records.
    Items,
    /// Partition-tree nodes.
    Nodes,
    /// The encrypted attribute index.
    Attributes,
    /// Sealed vectors, contents and metadata.
    Payload,
}

impl Family {
    pub(crate) const ALL: [Self; 5] =
        [Self::Catalog, Self::Items, Self::Nodes, Self::Attributes, Self::Payload];
}

/// When a commit returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// After the write-ahead log reached the disk (fsync). The default.
    Synced,
    /// After the write-ahead log reached the operating system. A crash of the process loses
    /// nothing; a power cut may lose the latest commits, whole, until
    /// [`flush`](crate::Database::flush).
    Buffered,
}

/// What an engine can take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The longest value, in bytes; longer ones are sealed in parts.
    pub(crate) value: usize,
}

/// A set of changes that becomes visible, and durable, as one.
#[derive(Debug, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub(crate) struct Batch {
    /// Applied in order, so a later change of a key wins.
    pub(crate) changes: Vec<Change>,
    /// What the root must hold for the batch to apply.
    pub(crate) expect: Option<Expect>,
}

/// One change of a batch.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) enum Change {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    /// Puts bytes after those that the key holds; a key that holds nothing holds them then. Reads
    /// return one value. An engine need not read to do this: RocksDB has merge operands, a database
    /// server `value || $1`, object storage an object beside the first.
    Append(Family, Vec<u8>, Vec<u8>),
    /// Every key that starts with the prefix, in every family.
    DeletePrefix(Vec<u8>),
}

/// The condition of a batch: `key` of the catalog holds exactly `value` (`None`: nothing).
#[derive(Debug)]
pub(crate) struct Expect {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Batch {
    pub(crate) fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put(family, key, value));
    }

    pub(crate) fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.changes.push(Change::Delete(family, key));
    }
}

impl Change {
    /// What it changes, if that is one key.
    pub(crate) fn place(&self) -> Option<(Family, &[u8])> {
        match self {
            Self::Put(family, key, _)
            | Self::Append(family, key, _)
            | Self::Delete(family, key) => Some((*family, key)),
            Self::DeletePrefix(_) => None,
        }
    }

    /// About how many bytes it takes in a log.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Put(_, key, value) | Self::Append(_, key, value) => key.len() + value.len() + 12,
            Self::Delete(_, key) => key.len() + 8,
            Self::DeletePrefix(prefix) => Family::ALL.len() * (2 * prefix.len() + 12),
        }
    }
}

/// What a purge goes over, and how long it waits.
pub(crate) struct Purge<'a> {
    pub(crate) prefixes: &'a [&'a [u8]],
    pub(crate) families: &'a [Family],
    /// How long it waits, all in all, for those who hold old values.
    pub(crate) patience: Duration,
    /// Asked while it waits: true ends it.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Purged {
    /// Files that were there before and are gone.
    pub(crate) files_removed: u64,
    /// Bytes of the files that are there instead, in the families it went over.
    pub(crate) bytes_rewritten: u64,
}

/// Called with each key and value of a scan, in key order.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A stored value that the engine holds on to.
pub(crate) struct Value<'a>(Box<dyn Deref<Target = [u8]> + Send + Sync + 'a>);

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// An unchanging view of the store.
pub(crate) trait Snapshot: Send + Sync {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The values of `keys`, in their order.
    fn multi_get(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>>;

    /// As [`multi_get`](Self::multi_get), without copying: the engine keeps the values for as long
    /// as they are held.
    fn multi_get_pinned(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Value<'_>>>>;

    /// Visits every key that starts with `prefix` and is not below `from`, in order.
    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: Visit<'_>) -> Result<()>;
}

/// A storage engine.
pub(crate) trait Engine: Send + Sync {
    fn snapshot(&self) -> Box<dyn Snapshot + '_>;

    /// Applies the batch as one, or not at all.
    ///
    /// # Errors
    /// `Conflict` if the root is not as expected; `ReadOnly`, `NoSpace` or `Io`.
    fn commit(&self, batch: Batch, durability: Durability) -> Result<()>;

    /// Makes every commit so far durable.
    fn flush(&self) -> Result<()>;

    /// Rewrites what is stored so that no file of the engine holds a value that was deleted or
    /// overwritten, before the call, under any of the prefixes in any of the families. Reading and
    /// writing go on meanwhile.
    ///
    /// # Errors
    /// `PurgeIncomplete` if somebody holds old values for longer than the call waits; `ReadOnly`,
    /// `Closed` if told to stop, `NoSpace` or `Io`. What is done by then stays done.
    fn purge(&self, purge: &Purge<'_>) -> Result<Purged>;

    /// Writes a copy of the store, as of now, into a directory that must not exist.
    fn checkpoint(&self, directory: &Path) -> Result<()>;

    /// Where the files are, if there are any.
    fn directory(&self) -> Option<&Path>;

    /// Bytes written to logs and files since the counting began, which is with the first call at
    /// the latest: only the difference of two calls means something.
    fn bytes_written(&self) -> u64;

    /// Whether something has failed that no call reported: what it stores from then on is not to be
    /// relied on, until it is opened again.
    fn failed_in_background(&self) -> bool {
        false
    }

    fn limits(&self) -> Limits;
}
