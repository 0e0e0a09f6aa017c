//! The audit trail: who changed how much of an index, when, and under which rights.
//!
//! Every change of an index is a commit, signed by who made it and chained to the one before, so
//! the history is not a log beside the data but what the data hangs on. It holds counts: no ids, no
//! contents, no metadata.
//!
//! Commits come newest first, because they are verified from the head back: each is the one whose
//! hash the next names, follows the rules of the chain, and is signed with the key that the grant
//! table it names (itself signed by the index key) lists for its principal. A commit that is
//! missing, changed, swapped or signed by somebody else ends the history in
//! [`Error::Integrity`]; what was visited before it stands.
//!
//! Commits beyond the retention of the index are folded into sums; see [`Folded`].
//!
//! Cost: 3 us for each commit between the head and the end of the range, 40 us more for each that
//! is in the range, shared by the threads. Memory is [`CHUNK`] commits.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeBounds};

use crate::commit::fold::Fold;
use crate::commit::{Head, Operation, Unverified};
use crate::error::{Error, Result};
use crate::id::{ETag, Trace, UserId, VersionToken};
use crate::index::{Answer, Index};
use crate::keyring::{Chain, Link, ReadKey};
use crate::observe::Call;

/// Commits that are held at a time.
const CHUNK: u64 = 512;
/// The most commits of a page.
const MAX_PAGE: usize = 10_000;

/// One commit: what changed, not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The commit: its number, its hash, and the number of the grant table it was made under.
    pub version: VersionToken,
    /// What it did.
    pub operation: Operation,
    /// Who made it; `None`: the holder of the index key.
    pub principal: Option<UserId>,
    /// What the call brought along for tracing.
    pub trace: Trace,
    /// When, by the clock of who made it: milliseconds since 1970.
    pub time: u64,
    /// Items it put that were not there before.
    pub inserted: u64,
    /// Items it put in place of others.
    pub updated: u64,
    /// Items it deleted.
    pub deleted: u64,
    /// The number of items after it.
    pub item_count: u64,
    /// The total size after it; see [`Description`](crate::Description).
    pub total_size_bytes: u64,
    /// The state of the items after it.
    pub etag: ETag,
}

/// The sums of the commits that are older than the index keeps; see
/// [`IndexConfig::retention`](crate::IndexConfig::retention).
///
/// The writer whose commit folded them signed these sums.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Folded {
    /// The last commit that is in it; the first is 1.
    pub through: u64,
    /// The hash of that commit.
    pub hash: [u8; 32],
    /// How many commits of each operation; `through` in all.
    pub operations: BTreeMap<Operation, u64>,
    /// Items they inserted.
    pub inserted: u64,
    /// Items they updated.
    pub updated: u64,
    /// Items they deleted.
    pub deleted: u64,
    /// The number of items after them.
    pub item_count: u64,
    /// The total size after them.
    pub total_size_bytes: u64,
    /// When the first was made: milliseconds since 1970.
    pub first_time: u64,
    /// When the last was made.
    pub last_time: u64,
}

/// A page of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Newest first.
    pub commits: Vec<HistoryEntry>,
    /// The next commit of the range, if the page ended before it did: go on with `..=next`.
    pub next: Option<u64>,
    /// What is older than the oldest commit that is kept; `None` if every commit is.
    pub folded: Option<Folded>,
}

impl Index<'_> {
    /// The commits whose numbers are in the range, newest first, at most `limit` (1 to 10,000) of
    /// them. Needs the read right.
    ///
    /// What is in the range and not in the index, or folded, is left out. Every page is verified
    /// from the head back to its last commit, so to see it all,
    /// [`for_each_commit`](Self::for_each_commit) is cheaper.
    ///
    /// # Errors
    /// [`Error::Integrity`] if the chain does not verify back to the last commit of the page;
    /// [`Error::InvalidArgument`] for a limit out of range; [`Error::PermissionDenied`]; and those
    /// of every call.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, Operation};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0]), Item::new("b", [0.0, 1.0])])?;
    /// index.delete(&["a"])?;
    /// let history = index.history(.., 100)?;
    /// let operations: Vec<Operation> = history.commits.iter().map(|c| c.operation).collect();
    /// assert_eq!(operations, [Operation::Delete, Operation::Upsert, Operation::Create]);
    /// assert_eq!((history.commits[0].deleted, history.commits[0].item_count), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn history(&self, range: impl RangeBounds<u64>, limit: usize) -> Result<Answer<History>> {
        let (mut commits, mut next) = (Vec::new(), None);
        let answer = self.walk(Call::History, range, limit, |entry| {
            if commits.len() < limit {
                commits.push(entry);
                ControlFlow::Continue(())
            } else {
                next = Some(entry.version.sequence);
                ControlFlow::Break(())
            }
        })?;
        let Answer { value: folded, version } = answer;
        Ok(Answer { value: History { commits, next, folded }, version })
    }

    /// Visits the commits whose numbers are in the range, newest first, in bounded memory, and
    /// returns the sums of what is folded. Break to stop. Needs the read right.
    ///
    /// # Errors
    /// [`Error::Integrity`] if the chain does not verify; the commits that were visited by then
    /// do. [`Error::PermissionDenied`], and those of every call.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// let mut inserted = 0;
    /// let folded = index.for_each_commit(.., |commit| {
    ///     inserted += commit.inserted;
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!((inserted, folded.value), (1, None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_each_commit(
        &self,
        range: impl RangeBounds<u64>,
        mut visit: impl FnMut(&HistoryEntry) -> ControlFlow<()>,
    ) -> Result<Answer<Option<Folded>>> {
        self.walk(Call::ForEachCommit, range, MAX_PAGE, |entry| visit(&entry))
    }

    /// Verifies and visits; the caller stops after `wanted`, so not many more are verified.
    fn walk(
        &self,
        call: Call,
        range: impl RangeBounds<u64>,
        wanted: usize,
        mut visit: impl FnMut(HistoryEntry) -> ControlFlow<()>,
    ) -> Result<Answer<Option<Folded>>> {
        let (low, high) = bounds(&range);
        let chunk = CHUNK.min(wanted.saturating_add(1) as u64);
        self.during(call).read(|snapshot, key: &ReadKey| {
            if !(1..=MAX_PAGE).contains(&wanted) {
                return Err(Error::invalid(format!("the limit is 1 to {MAX_PAGE}, not {wanted}")));
            }
            let mut chain = key.chain(snapshot)?;
            let folded = summed(chain.fold());
            let mut at = key.head.commit.sequence;
            // The head is verified already.
            if (low..=high).contains(&at) && visit(self.entry(&key.head)).is_break() {
                return Ok(folded);
            }
            while at > low {
                // Down to the range in chunks, and then not beyond it.
                let left = if at > high { at.saturating_sub(high) } else { at.saturating_sub(low) };
                let links = chain.back(left.min(if at > high { CHUNK } else { chunk }))?;
                let Some(last) = links.last() else { break };
                at = last.head.commit.sequence;
                let wanted = links.into_iter().filter(|link| link.head.commit.sequence <= high);
                for head in self.verified(&mut chain, wanted)? {
                    if visit(self.entry(&head)).is_break() {
                        return Ok(folded);
                    }
                }
            }
            Ok(folded)
        })
    }

    /// Checks the signatures of commits, on all threads.
    fn verified(
        &self,
        chain: &mut Chain<'_>,
        commits: impl Iterator<Item = Unverified>,
    ) -> Result<Vec<Head>> {
        let links = commits.map(|commit| chain.signer(commit)).collect::<Result<Vec<_>>>()?;
        self.shared().map(links, Link::verify)
    }

    fn entry(&self, head: &Head) -> HistoryEntry {
        let commit = &head.commit;
        HistoryEntry {
            version: head.token(self.shared().is_durable(self.id(), commit.sequence)),
            operation: commit.operation,
            principal: commit.principal,
            trace: commit.trace,
            time: commit.time,
            inserted: commit.inserted,
            updated: commit.updated,
            deleted: commit.deleted,
            item_count: commit.item_count,
            total_size_bytes: commit.total_bytes,
            etag: head.etag(),
        }
    }
}

fn summed(fold: &Fold) -> Option<Folded> {
    (fold.through > 0).then(|| Folded {
        through: fold.through,
        hash: fold.last,
        operations: fold.operations.clone(),
        inserted: fold.inserted,
        updated: fold.updated,
        deleted: fold.deleted,
        item_count: fold.item_count,
        total_size_bytes: fold.total_bytes,
        first_time: fold.first_time,
        last_time: fold.last_time,
    })
}

/// The first and the last number in a range; the first is over the last if there is none.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let nothing = (1, 0);
    let low = match range.start_bound() {
        Bound::Included(low) => Some(*low),
        Bound::Excluded(below) => below.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let high = match range.end_bound() {
        Bound::Included(high) => Some(*high),
        Bound::Excluded(above) => above.checked_sub(1),
        Bound::Unbounded => Some(u64::MAX),
    };
    low.zip(high).filter(|(low, high)| low <= high).unwrap_or(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_every_kind() {
        assert_eq!(bounds(&(..)), (0, u64::MAX));
        assert_eq!(bounds(&(3..5)), (3, 4));
        assert_eq!(bounds(&(3..=5)), (3, 5));
        assert_eq!(bounds(&(..=5)), (0, 5));
        assert_eq!(bounds(&(3..)), (3, u64::MAX));
        assert_eq!(bounds(&(Bound::Excluded(3), Bound::Unbounded)), (4, u64::MAX));
        let empty = (1, 0);
        assert_eq!(bounds(&(..0)), empty);
        assert_eq!(bounds(&(5..5)), empty);
        assert_eq!(bounds(&(Bound::Excluded(u64::MAX), Bound::Unbounded)), empty);
        assert_eq!(bounds(&(Bound::Included(9), Bound::Excluded(3))), empty);
    }
}
