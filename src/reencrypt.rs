//! Re-encryption: everything under an older data key is sealed again under the present one.
//!
//! Goes through nodes, items, attribute blocks, grant tables and commits in this order, some of them
//! in each commit (`reencrypt/work.rs`). What
//! is written meanwhile is under the present data key already, and nothing is ever sealed under an
//! older one, so one pass is enough: what is behind it stays done. A run that was stopped or killed
//! is resumed by the next, which skips what is under the present data key.
//!
//! Steps, and what a crash after each leaves:
//! 1. Commit by commit, each under the index's write lock and on what it reads there, records are
//!    sealed again. Items, their versions and the `ETag` stay. Old and new data keys open their own.
//! 2. Every record is looked at. As before.
//! 3. The data keys that nothing is under are taken out of grant table and wraps, in one synced
//!    batch that owes a purge of everything (`rotate.rs`).
//! 4. The purge. After a crash before its end the next open for writing does it.
//!
//! Cost: every record and every payload is read, opened, sealed and written once; a leaf as often as
//! commits have items of it, which are few.

mod items;
mod survey;
mod work;

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::error::{Error, Fault, Result};
use crate::id::VersionToken;
use crate::index::Index;
use crate::keyring::RootKey;
use crate::observe::Call;
use work::{Stage, Work};

/// Items that one commit seals again at most.
const MOST: usize = 2048;
/// How often a run begins again because the data key was changed while it ran.
const PASSES: u32 = 4;

/// How a [`reencrypt`](Index::reencrypt) goes about it. Every setting has a default.
///
/// ```
/// use sealvec::ReencryptOptions;
/// let options = ReencryptOptions::new().rate(2_000);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
#[must_use]
pub struct ReencryptOptions {
    rate: Option<NonZeroU32>,
}

impl ReencryptOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self { rate: None }
    }

    /// Seals at most so many items a second again, by waiting between commits. Default = 0: as many
    /// as it can.
    pub const fn rate(mut self, items_per_second: u32) -> Self {
        self.rate = NonZeroU32::new(items_per_second);
        self
    }

    /// The most items in a commit: a quarter of a second's.
    fn most(self) -> usize {
        let share = self.rate.and_then(|rate| usize::try_from(rate.get() / 4).ok());
        share.map_or(MOST, |share| share.clamp(1, MOST))
    }

    /// How long to wait so that `items` since `start` are not too many.
    fn wait(self, items: u64, start: Instant) -> Option<Duration> {
        let rate = u64::from(self.rate?.get());
        let due = Duration::from_millis(items.saturating_mul(1000) / rate);
        due.checked_sub(start.elapsed()).filter(|wait| !wait.is_zero())
    }
}

/// How far a [`reencrypt`](Index::reencrypt) has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReencryptProgress {
    /// Items whose content this call has sealed again.
    pub items: u64,
    /// Items of the index, those included that were under the present data key before.
    pub item_count: u64,
}

/// What a [`reencrypt`](Index::reencrypt) did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReencryptReport {
    /// Items whose content this call has sealed again.
    pub items: u64,
    /// Data keys that were taken out of use.
    pub retired: u64,
    /// Whether the caller stopped it.
    pub stopped: bool,
    /// The last commit.
    pub version: VersionToken,
}

impl Index<'_> {
    /// Seals everything that is under an older data key again under the present one, then takes the
    /// older ones out of use and purges what was under them. Needs the index key.
    ///
    /// To be called after [`Database::rotate_data_keys`](crate::Database::rotate_data_keys). Reading
    /// and writing go on meanwhile. `progress` is called after each commit; break to stop, call
    /// again to go on: also after a crash. Items, their versions and the `ETag` stay as they are.
    /// With one data key in use, nothing is done.
    ///
    /// It ends with a purge of everything, payload too, for which it waits up to five seconds if
    /// running calls hold older data. A crash in between loses nothing: the next open for writing
    /// does it.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] unless the caller holds the index key; [`Error::Integrity`] if a
    /// record is damaged: delete the item, and go on (a damaged commit or grant table keeps the older
    /// data keys in use until it is folded); [`Error::PurgeIncomplete`] if the older data
    /// keys are out of use, but files still hold what was under them; and those of every call. What
    /// was committed stays.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, ReencryptOptions};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let root = KeyContext::root(key);
    /// # let index = db.open_index("notes")?;
    /// # let index = index.with_key(&root);
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// let before = index.describe()?.etag;
    /// db.rotate_data_keys("notes", &root)?;
    /// let report = index.reencrypt(ReencryptOptions::new(), |_| ControlFlow::Continue(()))?;
    /// assert_eq!((report.items, report.retired), (1, 1));
    /// assert_eq!(index.describe()?.etag, before);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reencrypt(
        &self,
        options: ReencryptOptions,
        progress: impl FnMut(&ReencryptProgress) -> ControlFlow<()>,
    ) -> Result<ReencryptReport> {
        self.observed(Call::Reencrypt, |seen| {
            let report = self.reseal_all(options, progress)?;
            seen.results = Some(report.items);
            seen.sequence = Some(report.version.sequence);
            Ok(report)
        })
    }

    fn reseal_all(
        &self,
        options: ReencryptOptions,
        mut progress: impl FnMut(&ReencryptProgress) -> ControlFlow<()>,
    ) -> Result<ReencryptReport> {
        let mut report = self.inspect(|_, root: &RootKey| Ok(self.reported(root)))?;
        let (start, most) = (Instant::now(), options.most());
        for _ in 0..PASSES {
            let valid = self.inspect(|_, root: &RootKey| Ok(root.table.epochs.clone()))?;
            let Some((current, [_, ..])) = valid.split_first() else { return Ok(report) };
            let mut stage = Some(Stage::FIRST);
            while let Some(from) = stage {
                let committed = self.maintain(|snapshot, key, limits| {
                    Work { index: self, snapshot, key, limits, most }.step(from)
                })?;
                stage = committed.value.next;
                if !committed.changed {
                    continue;
                }
                report.items = report.items.saturating_add(committed.value.items);
                report.version = committed.version;
                let (items, item_count) = (report.items, committed.head.item_count);
                if progress(&ReencryptProgress { items, item_count }).is_break() {
                    return Ok(ReencryptReport { stopped: true, ..report });
                }
                let wait = options.wait(items, start);
                if wait.is_some_and(|wait| self.shared().closing().wait(wait)) {
                    return Err(Error::Closed);
                }
            }
            let used = self.inspect(|snapshot, root: &RootKey| survey::in_use(snapshot, root))?;
            let unused = valid.iter().filter(|epoch| *epoch != current && !used.contains(epoch));
            let unused: Vec<u32> = unused.copied().collect();
            if !unused.is_empty() {
                report.version = self.retire(&unused)?;
                report.retired = report.retired.saturating_add(unused.len() as u64);
            }
            let left = self.inspect(|_, root: &RootKey| Ok(root.table.epochs.len()))?;
            if left == 1 {
                return Ok(report);
            }
            // Another data key came while this ran.
        }
        Err(Error::Integrity(Fault::Catalog))
    }

    fn reported(&self, root: &RootKey) -> ReencryptReport {
        let durable = self.shared().is_durable(self.id(), root.head.commit.sequence);
        let version = root.head.token(durable);
        ReencryptReport { items: 0, retired: 0, stopped: false, version }
    }
}
