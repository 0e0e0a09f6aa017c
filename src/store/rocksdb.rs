//! The RocksDB engine: with `rocksdb/` the only file that names RocksDB.
//!
//! One handle per process; the directory is 0700 and locked by RocksDB, so a second process that
//! wants to write gets `Busy`. Values are ciphertext: no compression, XXH3 block checksums, bloom
//! filters. The write-ahead log is never recycled or archived, because both would keep deleted
//! ciphertext.
//!
//! Recovery reads the log up to its first bad record (`PointInTime`). A crash leaves one at the end
//! at most, behind every commit that returned under [`Durability::Synced`]. Damage to the file
//! leaves one anywhere, and what follows it is gone, synced commits too: that is an earlier commit,
//! whole, which no open can tell from what a crash leaves. A version token can.
//!
//! The root condition of a batch is checked under one of a fixed set of locks, chosen by the root's
//! key: one writer per index at a time, and indexes seldom wait for each other.
//!
//! Cost: a search per key read, a log record and a memtable insertion per change, and an fsync for
//! a synced batch. `benches/price.rs` measures what the sealed index adds to that.

pub(crate) mod place;
mod purge;

pub(crate) use ::rocksdb::Env;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::rocksdb::checkpoint::Checkpoint;
use ::rocksdb::statistics::{StatsLevel, Ticker};
use ::rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBRecoveryMode, DataBlockIndexType, ErrorKind, LogLevel, MergeOperands,
    Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{
    Batch, Change, Durability, Engine, Family, Limits, Purge, Purged, Snapshot, Value, Visit,
};
use crate::error::{Error, Fault, Result};
use place::{Found, begin_creation, inspect, patiently, restrict};

const LOCKS: usize = 64;
/// The name of the merge operator, which is in every database's OPTIONS file.
const MERGE: &str = "sealvec.append";
const WAL_TOTAL: u64 = 256 << 20;

/// How a directory is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Make the database if there is none.
    Create,
    /// There must be a database.
    Existing,
    /// There must be a database; it is not locked and not written, and it does not follow.
    ReadOnly,
}

/// An open RocksDB database.
pub(crate) struct RocksDb {
    db: DB,
    /// Those it was opened with, for the way they lead to its counters.
    options: Options,
    read_only: bool,
    locks: [Mutex<()>; LOCKS],
    hash: RandomState,
    limits: Limits,
}

impl RocksDb {
    /// Opens a directory. `block_cache` is in bytes and holds ciphertext.
    pub(crate) fn open(
        path: &Path,
        access: Access,
        block_cache: usize,
        limits: Limits,
    ) -> Result<Self> {
        Self::open_in(path, access, block_cache, limits, None)
    }

    /// As [`open`](Self::open), on another file system if one is given: one that fails.
    pub(crate) fn open_in(
        path: &Path,
        access: Access,
        block_cache: usize,
        limits: Limits,
        env: Option<&Env>,
    ) -> Result<Self> {
        let found = inspect(path)?;
        if found != Found::Database {
            if access != Access::Create {
                return Err(Error::DatabaseNotFound(path.display().to_string()));
            }
            begin_creation(path)?;
        }
        let cache = Cache::new_lru_cache(block_cache);
        let mut options = database_options(found != Found::Database);
        if let Some(env) = env {
            options.set_env(env);
        }
        let families = || {
            Family::ALL.map(|family| {
                ColumnFamilyDescriptor::new(name(family), family_options(family, &cache))
            })
        };
        let db = if access == Access::ReadOnly {
            // Holds every table from the start, because a writer elsewhere may take them away.
            options.set_max_open_files(-1);
            patiently(|| DB::open_cf_descriptors_read_only(&options, path, families(), false))
        } else {
            DB::open_cf_descriptors(&options, path, families())
        }
        .map_err(engine_error)?;
        if access != Access::ReadOnly {
            // It may have been copied or unpacked with wider rights.
            restrict(path)?;
        }
        Ok(Self {
            db,
            options,
            read_only: access == Access::ReadOnly,
            locks: std::array::from_fn(|_| Mutex::new(())),
            hash: RandomState::new(),
            limits,
        })
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        self.db.cf_handle(name(family)).ok_or(Error::Integrity(Fault::Catalog))
    }
}

impl Engine for RocksDb {
    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(View { engine: self, snapshot: self.db.snapshot() })
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let size = batch.changes.iter().map(Change::size).sum();
        let mut write = WriteBatch::with_capacity_bytes(size);
        for change in &batch.changes {
            match change {
                Change::Put(family, key, value) => write.put_cf(self.family(*family)?, key, value),
                Change::Append(family, key, bytes) => {
                    write.merge_cf(self.family(*family)?, key, bytes);
                }
                Change::Delete(family, key) => write.delete_cf(self.family(*family)?, key),
                Change::DeletePrefix(prefix) => {
                    let end = prefix_end(prefix);
                    for family in Family::ALL {
                        write.delete_range_cf(self.family(family)?, prefix, &end);
                    }
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        let Some(expect) = &batch.expect else {
            return self.db.write_opt(write, &options).map_err(engine_error);
        };
        let lock = self.hash.hash_one(&expect.key) % LOCKS as u64;
        let lock = self.locks.get(usize::try_from(lock).unwrap_or(0));
        let _held = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        let catalog = self.family(Family::Catalog)?;
        let found = self.db.get_pinned_cf(catalog, &expect.key).map_err(engine_error)?;
        if found.as_deref() != expect.value.as_deref() {
            return Err(Error::Conflict);
        }
        self.db.write_opt(write, &options).map_err(engine_error)
    }

    fn flush(&self) -> Result<()> {
        if self.read_only { Ok(()) } else { self.db.flush_wal(true).map_err(engine_error) }
    }

    fn purge(&self, purge: &Purge<'_>) -> Result<Purged> {
        if self.read_only { Err(Error::ReadOnly) } else { self.purge_files(purge) }
    }

    fn checkpoint(&self, directory: &Path) -> Result<()> {
        if fs::symlink_metadata(directory).is_ok() {
            return Err(Error::invalid("the checkpoint directory exists; name one that does not"));
        }
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(directory))
            .map_err(engine_error)?;
        restrict(directory)
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.db.path())
    }

    /// Counting costs every read a little, so it begins when somebody first asks.
    fn bytes_written(&self) -> u64 {
        // The binding counts levels from elsewhere: to RocksDB this one is "except timers".
        self.options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        let written = [Ticker::WalFileBytes, Ticker::FlushWriteBytes, Ticker::CompactWriteBytes];
        written.into_iter().map(|ticker| self.options.get_ticker_count(ticker)).sum()
    }

    fn failed_in_background(&self) -> bool {
        // One that cannot be asked has failed.
        !self.read_only && !self.errors().is_ok_and(|errors| errors == 0)
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

struct View<'a> {
    engine: &'a RocksDb,
    snapshot: ::rocksdb::Snapshot<'a>,
}

impl View<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }
}

impl Snapshot for View<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let family = self.engine.family(family)?;
        self.engine.db.get_cf_opt(family, key, &self.options()).map_err(engine_error)
    }

    fn multi_get(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let family = self.engine.family(family)?;
        self.engine
            .db
            .batched_multi_get_cf_opt(family, keys, keys.is_sorted(), &self.options())
            .into_iter()
            .map(|found| found.map(|value| value.map(|bytes| bytes.to_vec())).map_err(engine_error))
            .collect()
    }

    fn multi_get_pinned(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Value<'_>>>> {
        let family = self.engine.family(family)?;
        self.engine
            .db
            .batched_multi_get_cf_opt(family, keys, keys.is_sorted(), &self.options())
            .into_iter()
            .map(|found| found.map(|v| v.map(|v| Value(Box::new(v)))).map_err(engine_error))
            .collect()
    }

    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: Visit<'_>) -> Result<()> {
        let mut options = self.options();
        options.set_iterate_upper_bound(prefix_end(prefix));
        options.set_readahead_size(1 << 20);
        let mut iterator = self.engine.db.raw_iterator_cf_opt(self.engine.family(family)?, options);
        iterator.seek(if from > prefix { from } else { prefix });
        while let Some((key, value)) = iterator.item() {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
            iterator.next();
        }
        iterator.status().map_err(engine_error)
    }
}

/// The name of a column family on disk.
const fn name(family: Family) -> &'static str {
    match family {
        Family::Catalog => "catalog",
        Family::Items => "items",
        Family::Nodes => "nodes",
        Family::Attributes => "attributes",
        Family::Payload => "payload",
    }
}

fn database_options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // Not to be turned off again: RocksDB 11.8 opens a database for reading that had it on, by options
    // that have it off, and dereferences a null pointer.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_recycle_log_file_num(0);
    options.set_wal_ttl_seconds(0);
    options.set_wal_size_limit_mb(0);
    options.set_max_total_wal_size(WAL_TOTAL);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_max_open_files(512);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::DisableAll);
    options
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(16 << 10);
    blocks.set_checksum_type(ChecksumType::XXH3);
    // Every read goes through them; looking them up in the cache would cost more than the read.
    blocks.set_cache_index_and_filter_blocks(false);
    blocks.set_bloom_filter(10.0, false);
    // A key is found by its hash, without reading the entries before it.
    blocks.set_block_restart_interval(1);
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    blocks.set_data_block_hash_ratio(0.25);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options.set_merge_operator_associative(MERGE, append);
    if matches!(family, Family::Nodes | Family::Payload) {
        // What is read of these is there: where nothing lies below, a filter tells nothing.
        options.set_optimize_filters_for_hits(true);
    }
    if family == Family::Items {
        // Most ids of an upsert are new: let the memtable say so without a search.
        options.set_memtable_prefix_bloom_ratio(0.02);
        options.set_memtable_whole_key_filtering(true);
    }
    options.set_write_buffer_size(match family {
        Family::Payload | Family::Nodes => 64 << 20,
        Family::Catalog | Family::Items | Family::Attributes => 16 << 20,
    });
    options
}

/// What a merge operand stands for: its bytes after those before it.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a merge operator")]
fn append(_key: &[u8], before: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let before = before.unwrap_or_default();
    let length = before.len() + operands.iter().map(<[u8]>::len).sum::<usize>();
    let mut value = Vec::with_capacity(length);
    value.extend_from_slice(before);
    operands.iter().for_each(|operand| value.extend_from_slice(operand));
    Some(value)
}

/// The first key after every key that starts with `prefix`.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    // A prefix of 0xff bytes only: no index id is that, and 64 of them sort after every key.
    vec![0xff; 64]
}

fn io_error(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::StorageFull {
        Error::NoSpace
    } else {
        Error::Io(error.to_string())
    }
}

/// RocksDB tells a full disk and a held lock apart only in its message.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn engine_error(error: ::rocksdb::Error) -> Error {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::IOError if message.contains("No space left") => Error::NoSpace,
        ErrorKind::IOError
            if message.contains("While lock file")
                || message.contains("lock hold by current process") =>
        {
            Error::Busy
        }
        ErrorKind::Corruption => Error::Integrity(Fault::Storage),
        _ => Error::Io(message),
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn prefix_end_is_the_next_prefix() {
        assert_eq!(prefix_end(&[1, 2]), [1, 3]);
        assert_eq!(prefix_end(&[1, 0xff]), [2]);
        assert_eq!(prefix_end(&[0xff]), [0xff; 64]);
    }
}
