//! Purging an index: after it no file of the database holds what was deleted or overwritten.
//!
//! `delete` makes an item unreachable for every caller; its ciphertext, and the salt that its
//! payload's key is derived from, stay in the files until somebody rewrites them. That is what a
//! purge does, without any key. Of the ciphertext of vectors, contents and metadata it need not
//! rewrite anything: the salt is in the item record and in the tree alone, and a payload without its
//! salt does not open, whoever holds the index key. So [`PurgeScope::Records`], the default, costs
//! the small records of an index and not its data.
//!
//! Steps, and what a crash after each leaves:
//! 1. Under the index's write lock, read the head's sequence and what is owed. As before.
//! 2. Without the lock, the engine rewrites its files; see `store/rocksdb/purge.rs`. The same
//!    content, and the purge is still owed.
//! 3. Under the lock, take back what was owed at step 1. What commits in between owe stays owed.
//!
//! Who must not forget to purge need not remember: every commit that replaces or deletes records
//! says in its own batch what it owes (`store/owed.rs`), and [`keeper`] goes by it.

pub(crate) mod checkpoints;
pub(crate) mod keeper;

use std::sync::PoisonError;
use std::time::{Duration, Instant};

pub use checkpoints::Checkpoint;

use crate::commit;
use crate::error::{Error, Result};
use crate::handle::Shared;
use crate::id::{Hex, IndexId};
use crate::index::{Answer, Index};
use crate::keyring::WriteKey;
use crate::observe::Call;
use crate::store::owed::{Owed, Parts};
use crate::store::{Batch, Durability, Family, Purge, key};

/// How long a purge waits for others unless told otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long those calls wait that end with a purge.
const BRIEFLY: Duration = Duration::from_secs(5);
/// The index id of the database itself, which its records have.
const DATABASE: IndexId = IndexId([0; 16]);

/// How much of an index a purge rewrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PurgeScope {
    /// Everything but payload: item records, the partition tree, wraps, commits. Payload of what
    /// was deleted can stay in the files, as ciphertext that nothing opens any more. The default.
    #[default]
    Records,
    /// Payload too: costs as much as rewriting the index.
    Payload,
}

impl PurgeScope {
    /// As the command line and its reports have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Payload => "payload",
        }
    }

    const fn parts(self) -> Parts {
        match self {
            Self::Records => Parts::RIGHTS.with(Parts::RECORDS),
            Self::Payload => Parts::ALL,
        }
    }

    /// The scope that includes these parts.
    fn of(parts: Parts) -> Self {
        if parts.has(Parts::PAYLOAD) { Self::Payload } else { Self::Records }
    }
}

/// How a purge goes about it. Every setting has a default.
///
/// ```
/// use std::time::Duration;
/// use sealvec::PurgeOptions;
/// let options = PurgeOptions::new().deadline(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
#[must_use]
pub struct PurgeOptions {
    deadline: Duration,
}

impl PurgeOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self { deadline: PATIENCE }
    }

    /// How long it waits, all in all, for calls that began before it and still read old data.
    /// Default = 60 seconds. Rewriting takes the time it takes.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Default for PurgeOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What a purge did, what is left, and why that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReceipt {
    /// The id of the index in the files, in hexadecimal: it is in the keys of its records.
    pub index: String,
    /// What was rewritten.
    pub scope: PurgeScope,
    /// The sequence of the commit up to which no file holds what was deleted or overwritten, that
    /// one included; `None` if the index itself is deleted.
    pub up_to: Option<u64>,
    /// When it began, in milliseconds since 1970.
    pub time: u64,
    /// How long it took.
    pub took: Duration,
    /// Tables and logs that were in the directory before and are gone.
    pub files_removed: u64,
    /// Bytes of the tables that are there instead, of other indexes' records too.
    pub bytes_rewritten: u64,
    /// Whether payload ciphertext of what was deleted can be left in the files.
    pub payload_remains: bool,
    /// Checkpoints of this database that are still there, and may hold what was deleted since. Any
    /// other copy the database does not know of.
    pub checkpoints: Vec<Checkpoint>,
}

impl PurgeReceipt {
    /// What holds now, and why what is left cannot be read.
    #[must_use]
    pub const fn statement(&self) -> &'static str {
        if self.payload_remains {
            "No file of the database holds an item record, a tree node or a wrap that was deleted or \
             overwritten. Ciphertext of deleted vectors, contents and metadata can remain. It cannot \
             be read: its key derives from a random salt of 24 bytes that was in the item record and \
             the tree alone."
        } else {
            "No file of the database holds anything of the index that was deleted or overwritten."
        }
    }
}

impl Index<'_> {
    /// Rewrites the files of the database so that none of them holds what was deleted or overwritten
    /// in this index. Needs the write right. Reading and writing go on meanwhile.
    ///
    /// The answer's version is that of the state the right was checked in, when the purge began.
    ///
    /// [`PurgeScope::Records`] removes every item record, tree node and wrap that is not in use.
    /// That makes the deleted payload unreadable for good, index key or not, and costs the small
    /// records only. [`PurgeScope::Payload`] removes its ciphertext too.
    ///
    /// It waits for calls that began before it and still read: a long query, or a `for_each` whose
    /// visitor takes its time. Do not call it from such a visitor. It does not reach copies of the
    /// files, nor a process that has the database open read-only; docs/security.md says what no
    /// library can promise.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`]; [`Error::PurgeIncomplete`] if the deadline passes, with what
    /// still holds old data; [`Error::ReadOnly`]; [`Error::NoSpace`]; [`Error::Io`]; and those of
    /// every call. The purge stays owed then.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # use sealvec::{PurgeOptions, PurgeScope};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// let deleted = index.delete(&["a"])?;
    /// let receipt = index.purge(PurgeScope::Records, PurgeOptions::new())?;
    /// assert!(receipt.up_to >= Some(deleted.version.sequence));
    /// println!("{}", receipt.statement());
    /// # Ok(())
    /// # }
    /// ```
    pub fn purge(&self, scope: PurgeScope, options: PurgeOptions) -> Result<Answer<PurgeReceipt>> {
        self.observed(Call::Purge, |seen| {
            let version = self.inspect(|_, key: &WriteKey| Ok(self.token(&key.head)))?;
            let receipt = with_receipt(self.shared(), self.id(), scope, options.deadline)?;
            seen.bytes = Some(receipt.bytes_rewritten);
            seen.sequence = receipt.up_to;
            Ok(Answer { value: receipt, version })
        })
    }
}

/// Purges everything that is owed.
pub(crate) fn owed(shared: &Shared) -> Result<Vec<PurgeReceipt>> {
    let owed = keeper::list(&*shared.engine()?)?;
    let scoped = owed.into_iter().map(|(id, owed)| (id, owed.parts()));
    let scoped = scoped.filter(|(_, parts)| !parts.is_none());
    scoped.map(|(id, parts)| with_receipt(shared, id, PurgeScope::of(parts), PATIENCE)).collect()
}

fn with_receipt(
    shared: &Shared,
    index: IndexId,
    scope: PurgeScope,
    patience: Duration,
) -> Result<PurgeReceipt> {
    let (time, start) = (commit::now(), Instant::now());
    let Done { up_to, files_removed, bytes_rewritten } =
        settle(shared, index, scope.parts(), patience)?;
    Ok(PurgeReceipt {
        index: Hex(&index.0).to_string(),
        scope,
        up_to,
        time,
        took: start.elapsed(),
        files_removed,
        bytes_rewritten,
        payload_remains: scope == PurgeScope::Records && shared.engine()?.directory().is_some(),
        checkpoints: checkpoints::left(shared)?,
    })
}

/// The end of a call that has removed something: purges it. `done` says what is done by then.
pub(crate) fn conclude(shared: &Shared, index: IndexId, parts: Parts, done: &str) -> Result<()> {
    settle(shared, index, parts, BRIEFLY).map(drop).map_err(|error| {
        let cause = match error {
            Error::PurgeIncomplete(cause) => cause,
            other => format!("the files were not rewritten: {other}"),
        };
        Error::PurgeIncomplete(format!(
            "{done}, but {cause}; the purge is owed: `purge_owed` or the next open for writing does it"
        ))
    })
}

pub(crate) struct Done {
    up_to: Option<u64>,
    files_removed: u64,
    bytes_rewritten: u64,
}

/// The three steps.
pub(crate) fn settle(
    shared: &Shared,
    index: IndexId,
    parts: Parts,
    patience: Duration,
) -> Result<Done> {
    let engine = shared.engine()?;
    let lock = shared.write_lock(index);
    // Step 1.
    let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let started = commit::now();
    let seen = commit::read_owed(&*engine.snapshot(), index)?;
    let head = engine.snapshot().get(Family::Catalog, &key::head(index))?;
    let up_to = head.as_deref().map(commit::head_sequence).transpose()?;
    drop(held);
    // Step 2. Of an index that is gone, its name record too.
    let of_index: &[&[u8]] = &[&index.0];
    let and_names: &[&[u8]] = &[&index.0, &DATABASE.0];
    let purged = engine.purge(&Purge {
        prefixes: if up_to.is_some() { of_index } else { and_names },
        families: &parts.families(),
        patience,
        stop: &|| shared.closing().begun(),
    })?;
    // Step 3.
    let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let found = commit::read_owed(&*engine.snapshot(), index)?;
    let mut left = found;
    left.settle(parts, &seen, started);
    if left != found {
        let mut batch = Batch::default();
        let place = key::purge_owed(index);
        if left == Owed::NOTHING {
            batch.delete(Family::Catalog, place);
        } else {
            batch.put(Family::Catalog, place, left.encode());
        }
        // If it is lost in a crash, the purge is made once more.
        engine.commit(batch, Durability::Buffered)?;
    }
    drop(held);
    if up_to.is_none() {
        shared.forget(index);
    }
    let (files_removed, bytes_rewritten) = (purged.files_removed, purged.bytes_rewritten);
    Ok(Done { up_to, files_removed, bytes_rewritten })
}
