//! Deleting items.
//!
//! Delete is logical, atomic and complete: item record, every payload value and both rows in the
//! partition tree go in one commit. After it no call returns the item, in this process or after a
//! crash. What is left of it in the files until they are rewritten is the subject of `purge`;
//! docs/deletion.md says what each promises.
//!
//! Steps, inside the mutation described in `commit`, and what a crash after each leaves:
//! 1. Index, key and rights: the write right, and the read right for what tells of items that stay.
//! 2. Arguments: limits, ids. Nothing changed.
//! 3. The index's condition: `if_match`. Nothing changed.
//! 4. What is stored under the ids, read in one batch, and the conditions of each. Nothing changed.
//! 5. The changes are collected and the tree is planned. A dry run ends here. Nothing changed.
//! 6. Commit. All of it, or nothing.
//!
//! So a caller without the write right learns nothing of any item, and a condition that is not met
//! costs no write. Cost: one batched read, the leaves of the items opened and sealed again, one
//! commit. A selector other than ids opens every item record first.

mod options;
mod select;

use std::fmt;

pub use options::{DeleteOptions, Mismatch, Missing, Selector};

use crate::commit::{self, Commit, Operation};
use crate::condition::IfMatch;
use crate::error::{Error, Needs, Result};
use crate::filter::Filter;
use crate::id::{ETag, VersionToken};
use crate::index::{Committed, Doomed, Index, Outcome as Ending, Removing};
use crate::observe::Call;
use crate::redact::Hidden;
use options::{Choice, Target};
use select::Wanted;

/// What a delete did, and the state it left.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteReport {
    /// Items that were there and are gone, damaged ones included.
    pub deleted: u64,
    /// Of these, items whose record did not open.
    pub corrupt: u64,
    /// Ids that named nothing.
    pub missing: u64,
    /// Items that stayed because they have another version than expected.
    pub condition_failed: u64,
    /// Selected items that stayed because of the limit.
    pub remaining: u64,
    /// What became of each id, in the order in which they were first given; for other selectors, of
    /// each item that went. Empty if the caller may not read: whether an item is there is then not
    /// for it to know.
    pub outcomes: Vec<(String, DeleteOutcome)>,
    /// Whether this is what would have been done, and was not.
    pub dry_run: bool,
    /// The number of items after the call.
    pub item_count: u64,
    /// The total size after the call; see [`Description`](crate::Description).
    pub total_size_bytes: u64,
    /// The state of the items after the call; of a dry run, before it.
    pub etag: ETag,
    /// The commit; of a dry run, or if nothing was deleted, the one before.
    pub version: VersionToken,
}

impl fmt::Debug for DeleteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeleteReport")
            .field("deleted", &self.deleted)
            .field("corrupt", &self.corrupt)
            .field("missing", &self.missing)
            .field("condition_failed", &self.condition_failed)
            .field("remaining", &self.remaining)
            .field("outcomes", &Hidden::list(self.outcomes.len()))
            .field("dry_run", &self.dry_run)
            .field("item_count", &self.item_count)
            .field("total_size_bytes", &self.total_size_bytes)
            .field("etag", &self.etag)
            .field("version", &self.version)
            .finish()
    }
}

/// What became of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeleteOutcome {
    /// It was there and is gone.
    Deleted,
    /// It was there and damaged, and is gone.
    DeletedCorrupt,
    /// It named nothing.
    Missing,
    /// It has another version than expected, and stayed.
    ConditionFailed,
    /// It stayed because of the limit.
    Remaining,
}

impl DeleteOutcome {
    /// A stable name, as the program prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::DeletedCorrupt => "deleted_corrupt",
            Self::Missing => "missing",
            Self::ConditionFailed => "condition_failed",
            Self::Remaining => "remaining",
        }
    }
}

impl Index<'_> {
    /// Deletes items by id in one commit. Needs the write right.
    ///
    /// An id that is not there is counted as missing and is no error; an id given twice counts
    /// once. If nothing is there to delete, nothing is written and the ETag stays.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`], before any item is looked at; [`Error::InvalidArgument`] for an
    /// id that cannot exist; [`Error::TooLarge`] for more ids than
    /// [`Options::max_delete`](crate::Options::max_delete); and those of every call. Nothing is
    /// deleted then.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// let report = index.delete(&["a", "b"])?;
    /// assert_eq!((report.deleted, report.missing, report.item_count), (1, 1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete<S: AsRef<str>>(&self, ids: &[S]) -> Result<DeleteReport> {
        self.delete_with(Selector::ids(ids), &DeleteOptions::new())
    }

    /// Deletes what is selected, under conditions, in one commit. Needs the write right; the read
    /// right too for what tells of items that stay: expected versions, selectors other than ids,
    /// limits, and dry runs.
    ///
    /// Damage does not keep an item: it goes, is reported as
    /// [`DeletedCorrupt`](DeleteOutcome::DeletedCorrupt), and the commit is a `recount`. A version
    /// that cannot be read does not meet a condition.
    ///
    /// # Errors
    /// Those of [`delete`](Self::delete); [`Error::PreconditionFailed`]; [`Error::ItemNotFound`]
    /// for an id that is not there, if it was given with a version or
    /// [`Missing::Error`] was; [`Error::TooLarge`] for a selector other than ids that selects more
    /// than one delete takes, unless there is a limit; [`Error::InvalidArgument`] if the index
    /// [requires](crate::IndexConfig::require_if_match) an `if_match` and there is none.
    /// Nothing is deleted then.
    ///
    /// ```
    /// use sealvec::{DeleteOptions, Selector};
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let written = index.upsert(&[Item::new("a", [1.0, 0.0]), Item::new("b", [0.0, 1.0])])?;
    /// let options = DeleteOptions::new().if_match(written.etag);
    /// assert_eq!(index.delete_with(&["a"], &options)?.deleted, 1);
    /// // The index has changed since.
    /// let stale = index.delete_with(&["b"], &options).unwrap_err();
    /// assert_eq!(stale.code(), "precondition_failed");
    /// let version = written.version.sequence;
    /// index.delete_with(Selector::versions(&[("b", version)]), &DeleteOptions::new())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_with<'s>(
        &self,
        selector: impl Into<Selector<'s>>,
        options: &DeleteOptions,
    ) -> Result<DeleteReport> {
        let Selector(choice) = selector.into();
        let call = self.during(Call::Delete).items(choice.given());
        let committed = call.mutate_at(options.durability, |snapshot, key, limits| {
            let removing = Removing { index: self, snapshot, key, limits };
            self.delete_chosen(&removing, &choice, options)
        })?;
        Ok(report(committed))
    }

    /// Deletes the items that a filter selects: [`delete_with`](Self::delete_with) and
    /// [`Selector::filter`]. What is selected is looked up and removed under one lock, by the
    /// metadata that is stored at that moment. Needs the read and the write right.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a filter that cannot be or that selects everything; and those
    /// of [`delete_with`](Self::delete_with).
    ///
    /// ```
    /// # use sealvec::{Database, DeleteOptions, Filter, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[
    ///     Item::new("a", [1.0, 0.0]).metadata(serde_json::json!({"year": 2019})),
    ///     Item::new("b", [0.0, 1.0]).metadata(serde_json::json!({"year": 2026})),
    /// ])?;
    /// let old = Filter::lt("year", 2020);
    /// assert_eq!(index.delete_where(&old, &DeleteOptions::new())?.deleted, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_where(&self, filter: &Filter, options: &DeleteOptions) -> Result<DeleteReport> {
        self.delete_with(Selector::filter(filter), options)
    }

    fn delete_chosen(
        &self,
        removing: &Removing<'_>,
        choice: &Choice<'_>,
        options: &DeleteOptions,
    ) -> Result<Ending<Tally>> {
        let key = removing.key;
        let max_ids = self.shared().options.max_delete;
        // 2.
        let oracle = match choice {
            Choice::Ids(ids) => ids.iter().any(|(_, version)| version.is_some()),
            Choice::Prefix(_) | Choice::Filter(_) | Choice::All => true,
        };
        // Who may not read may ask nothing of an item that the answer leaves where it is.
        if (oracle || options.dry_run || options.limit.is_some()) && !key.permissions().read() {
            return Err(Error::PermissionDenied { needs: Needs::Read });
        }
        let targets = match choice {
            Choice::Ids(ids) => options::targets(ids, max_ids)?,
            Choice::Prefix("") => {
                return Err(Error::invalid("the prefix is empty; `Selector::all` selects all"));
            }
            Choice::Filter(filter) => {
                filter.check()?;
                if filter.is_everything() {
                    return Err(Error::invalid(
                        "the filter selects everything; `Selector::all` does so too, and says it",
                    ));
                }
                Vec::new()
            }
            Choice::Prefix(_) | Choice::All => Vec::new(),
        };
        // 3.
        IfMatch::check(options.if_match, key.head.etag(), key.table.config.require_if_match)?;
        // 4.
        let (doomed, mut tally) = match choice {
            Choice::Ids(_) => choose(removing, &targets, options)?,
            Choice::Prefix(prefix) => {
                select::scan(removing, Wanted::Prefix(prefix), options, max_ids)?
            }
            Choice::Filter(filter) => {
                select::scan(removing, Wanted::Filter(filter), options, max_ids)?
            }
            Choice::All => select::scan(removing, Wanted::All, options, max_ids)?,
        };
        // 5.
        tally.dry_run = options.dry_run;
        if !key.permissions().read() {
            tally.outcomes.clear();
        }
        if doomed.is_empty() {
            return Ok(Ending::Nothing(tally));
        }
        let mut next = key.head.next(Operation::Delete, commit::now())?;
        next.trace = options.trace;
        let (draft, next) = removing.remove(&doomed, &next)?;
        tally.deleted = next.deleted;
        if options.dry_run {
            tally.after = Some((next.item_count, next.total_bytes));
            return Ok(Ending::Nothing(tally));
        }
        Ok(Ending::Changed(draft, next, tally))
    }
}

/// What a delete counts.
#[derive(Default)]
struct Tally {
    deleted: u64,
    corrupt: u64,
    missing: u64,
    condition_failed: u64,
    remaining: u64,
    outcomes: Vec<(String, DeleteOutcome)>,
    dry_run: bool,
    /// Items and bytes after a delete that was not made.
    after: Option<(u64, u64)>,
}

impl Tally {
    fn count(&mut self, id: &str, outcome: DeleteOutcome) {
        match outcome {
            DeleteOutcome::Deleted => {}
            DeleteOutcome::DeletedCorrupt => self.corrupt += 1,
            DeleteOutcome::Missing => self.missing += 1,
            DeleteOutcome::ConditionFailed => self.condition_failed += 1,
            DeleteOutcome::Remaining => self.remaining += 1,
        }
        self.outcomes.push((id.to_owned(), outcome));
    }
}

/// Of the targets, those that are there and meet their conditions.
fn choose(
    removing: &Removing<'_>,
    targets: &[Target<'_>],
    options: &DeleteOptions,
) -> Result<(Vec<Doomed>, Tally)> {
    let found = removing.look_up(targets.iter().map(|target| target.id))?;
    let limit = options.limit.unwrap_or(usize::MAX);
    let (mut doomed, mut tally) = (Vec::with_capacity(found.len()), Tally::default());
    tally.outcomes.reserve(found.len());
    for (target, found) in targets.iter().zip(found) {
        let outcome = match found {
            None if options.missing == Missing::Error => return Err(Error::ItemNotFound),
            None => {
                if options.mismatch == Mismatch::Fail {
                    target.expected().check(None, target.position)?;
                }
                DeleteOutcome::Missing
            }
            Some(found) => {
                let (expected, position) = (target.expected(), target.position);
                let met = match &found.record {
                    Some(record) => expected.check(Some(record.version), position),
                    None => expected.check_unreadable(position),
                };
                match met {
                    Err(error) if options.mismatch == Mismatch::Fail => return Err(error),
                    Err(_) => DeleteOutcome::ConditionFailed,
                    Ok(()) if doomed.len() >= limit => DeleteOutcome::Remaining,
                    Ok(()) => {
                        let sound = found.record.is_some();
                        doomed.push(found);
                        if sound { DeleteOutcome::Deleted } else { DeleteOutcome::DeletedCorrupt }
                    }
                }
            }
        };
        tally.count(target.id, outcome);
    }
    Ok((doomed, tally))
}

fn report(committed: Committed<Tally>) -> DeleteReport {
    let Committed { value: tally, etag, version, head, .. } = committed;
    let Commit { item_count, total_bytes, .. } = head;
    let (item_count, total_size_bytes) = tally.after.unwrap_or((item_count, total_bytes));
    DeleteReport {
        deleted: tally.deleted,
        corrupt: tally.corrupt,
        missing: tally.missing,
        condition_failed: tally.condition_failed,
        remaining: tally.remaining,
        outcomes: tally.outcomes,
        dry_run: tally.dry_run,
        item_count,
        total_size_bytes,
        etag,
        version,
    }
}
