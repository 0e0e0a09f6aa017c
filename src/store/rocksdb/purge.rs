//! Purging: no file that RocksDB has holds a value any more that was deleted or overwritten.
//!
//! Deleting writes a tombstone, overwriting a newer value; the old one stays in the write-ahead log
//! until the log is not needed for recovery, and in a table until a compaction meets both, unless a
//! snapshot can still see it. Files that are superseded stay until no iterator reads them, and are
//! removed in the background. So, with the state that a crash after each step leaves:
//! 1. Note the latest sequence number, and which tables and logs there are. As before.
//! 2. Flush every family, those that are not purged too: one that is not flushed keeps the log.
//!    The same content, in tables alone.
//! 3. Wait until no snapshot is older than the number. Later ones see what deleted the value, so
//!    those who read all the time keep nobody waiting. As after 2.
//! 4. Compact the prefixes in the families, down to the last level, which is rewritten even if
//!    RocksDB sees no need. The same content, in fewer or in other tables.
//! 5. Look whether that was done, for the binding reports no failure of a compaction: every table
//!    that begins or ends in those ranges was replaced, and RocksDB counted no error. (A table that
//!    only spans a range may have no key in it, and then stays.) As after 4.
//! 6. Wait until every log of step 1 that held anything, and every table that is not in use, is
//!    gone from the directory. As after 4, with fewer files.
//!
//! Whatever a crash leaves is a database with the same content; a purge that is repeated begins
//! anew.
//!
//! Compactions that run by themselves are no gap: a manual one waits for those that overlap with it
//! and then takes what they made.
//!
//! What stays are *keys*: those of tombstones for as long as a later snapshot is in use, and the
//! first and last of each table in the manifest, until the database is opened again.
//!
//! Cost: every family's memtable is written to a table, and each table of the families with a key
//! in the range is read and written once or twice. Prefixes share tables, so others' data is
//! rewritten too.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::CStr;
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use ::rocksdb::{BottommostLevelCompaction, CompactOptions, FlushOptions, LiveFile};

use super::{RocksDb, engine_error, io_error, name, prefix_end};
use crate::error::{Error, Result};
use crate::store::{Family, Purge, Purged};

const OLDEST_SNAPSHOT: &CStr = c"rocksdb.oldest-snapshot-sequence";
const BACKGROUND_ERRORS: &CStr = c"rocksdb.background-errors";
/// How long a wait sleeps between two looks, at the least and at the most.
const SLEEP: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

impl RocksDb {
    pub(super) fn purge_files(&self, purge: &Purge<'_>) -> Result<Purged> {
        let mut waiting = Waiting { left: purge.patience, stop: purge.stop };
        // Step 1.
        let errors = self.errors()?;
        let latest = self.db.latest_sequence_number();
        let before = self.data_files()?;
        // Step 2.
        let families = Family::ALL.map(|family| self.family(family));
        let families = families.into_iter().collect::<Result<Vec<_>>>()?;
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        self.db.flush_cfs_opt(&families, &flush).map_err(engine_error)?;
        // Step 3.
        let released = waiting.until(|| {
            let oldest = self.db.property_int_value(OLDEST_SNAPSHOT).map_err(engine_error)?;
            // 0: there is none.
            Ok(oldest.is_none_or(|oldest| oldest == 0 || oldest >= latest))
        })?;
        if !released {
            return Err(incomplete("a query or a visit from before the purge is still running"));
        }
        // Step 4.
        let old = self.tables_in(purge)?;
        let mut compact = CompactOptions::default();
        compact.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        compact.set_exclusive_manual_compaction(false);
        for prefix in purge.prefixes {
            let end = prefix_end(prefix);
            for family in purge.families {
                let family = self.family(*family)?;
                self.db.compact_range_cf_opt(family, Some(prefix), Some(&end), &compact);
            }
        }
        // Step 5.
        let kept = self.tables_in(purge)?.intersection(&old).count();
        if kept > 0 || self.errors()? > errors {
            return Err(failed());
        }
        // Step 6.
        self.wait_for_removal(&before, errors, &mut waiting)?;
        self.account(&before, purge)
    }

    /// Waits until the logs of `before` and all tables that are superseded by now are gone.
    fn wait_for_removal(
        &self,
        before: &BTreeMap<String, u64>,
        errors: u64,
        waiting: &mut Waiting<'_>,
    ) -> Result<()> {
        let logs = before.iter().filter(|(name, bytes)| is_log(name) && **bytes > 0);
        let mut held: BTreeSet<String> = logs.map(|(name, _)| name.clone()).collect();
        // A table that is just being written may be among them: it comes into use, or goes.
        held.extend(self.data_files()?.into_keys().filter(|name| !is_log(name)));
        let mut looks = 0;
        let gone = waiting.until(|| {
            if self.errors()? > errors {
                return Err(failed());
            }
            if looks > 0 {
                // Makes RocksDB look through its directory.
                self.db.disable_file_deletions().map_err(engine_error)?;
                self.db.enable_file_deletions().map_err(engine_error)?;
            }
            looks += 1;
            let (found, used) = (self.data_files()?, self.tables()?);
            let used: HashSet<String> = used.into_iter().map(|table| file_name(&table)).collect();
            held.retain(|name| found.contains_key(name) && !used.contains(name));
            Ok(held.is_empty())
        })?;
        if gone {
            return Ok(());
        }
        let count = held.len();
        Err(incomplete(&format!(
            "{count} superseded files are still there, which a running query, visit or checkpoint holds"
        )))
    }

    fn account(&self, before: &BTreeMap<String, u64>, purge: &Purge<'_>) -> Result<Purged> {
        let now = self.data_files()?;
        let removed = before.keys().filter(|name| !now.contains_key(*name));
        let tables = self.tables()?.into_iter();
        let written = tables.filter(|t| purged(purge, t) && !before.contains_key(&file_name(t)));
        Ok(Purged {
            files_removed: removed.count() as u64,
            bytes_rewritten: written.map(|table| table.size as u64).sum(),
        })
    }

    /// The tables in use.
    fn tables(&self) -> Result<Vec<LiveFile>> {
        self.db.live_files().map_err(engine_error)
    }

    /// The tables in use that begin or end with a key that the purge goes over.
    fn tables_in(&self, purge: &Purge<'_>) -> Result<BTreeSet<String>> {
        let within = |key: &Option<Vec<u8>>| {
            key.as_ref().is_some_and(|key| purge.prefixes.iter().any(|p| key.starts_with(p)))
        };
        let tables = self.tables()?.into_iter().filter(|table| purged(purge, table));
        let tables = tables.filter(|table| within(&table.start_key) || within(&table.end_key));
        Ok(tables.map(|table| file_name(&table)).collect())
    }

    /// How many errors RocksDB had in the background since it was opened.
    pub(super) fn errors(&self) -> Result<u64> {
        let errors = self.db.property_int_value(BACKGROUND_ERRORS).map_err(engine_error)?;
        Ok(errors.unwrap_or_default())
    }

    /// Every file that may hold values, with its size: tables, and logs wherever they are kept.
    fn data_files(&self) -> Result<BTreeMap<String, u64>> {
        let mut found = BTreeMap::new();
        for place in ["", "archive"] {
            let entries = match fs::read_dir(self.db.path().join(place)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error(&error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| io_error(&error))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                if !["log", "sst", "blob"].contains(&kind(&name)) {
                    continue;
                }
                // It may go while one looks.
                let Ok(metadata) = entry.metadata() else { continue };
                found.insert(name, metadata.len());
            }
        }
        Ok(found)
    }
}

/// How long may still be waited.
struct Waiting<'a> {
    left: Duration,
    stop: &'a dyn Fn() -> bool,
}

impl Waiting<'_> {
    /// Looks until it is so, once at least. False if there is no time left.
    fn until(&mut self, mut so: impl FnMut() -> Result<bool>) -> Result<bool> {
        let [mut sleep, longest] = SLEEP;
        loop {
            let start = Instant::now();
            if so()? {
                return Ok(true);
            }
            if (self.stop)() {
                return Err(Error::Closed);
            }
            if self.left.is_zero() {
                return Ok(false);
            }
            thread::sleep(sleep.min(self.left));
            self.left = self.left.saturating_sub(start.elapsed());
            sleep = (sleep * 2).min(longest);
        }
    }
}

fn failed() -> Error {
    Error::Io("RocksDB did not rewrite all of its tables; its LOG file says why".to_owned())
}

fn incomplete(cause: &str) -> Error {
    Error::PurgeIncomplete(format!("the files still hold what was deleted: {cause}"))
}

fn purged(purge: &Purge<'_>, table: &LiveFile) -> bool {
    purge.families.iter().any(|family| name(*family) == table.column_family_name)
}

fn is_log(name: &str) -> bool {
    kind(name) == "log"
}

/// What kind of file it is, by the end of its name.
fn kind(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, kind)| kind)
}

/// The name of a table in the directory.
fn file_name(table: &LiveFile) -> String {
    table.name.trim_start_matches('/').to_owned()
}
