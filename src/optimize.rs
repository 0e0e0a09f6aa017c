//! Optimizing: rebuilding the partition tree part by part, while it is in use.
//!
//! Writes keep the tree sound, but not as good as if it had been built at once. Optimizing takes one branch
//! above the leaves at a time, clusters what is below it anew and chooses all its second copies again, each in
//! one commit. Items stay as they are, and so does the ETag.
//!
//! A branch remembers the ETag it was rebuilt under. So a run that was stopped, or killed, is resumed by the next: branches
//! that were done under the state of the items that still is are skipped.

use std::ops::ControlFlow;

use crate::commit::{self, Draft, Operation};
use crate::error::Result;
use crate::id::VersionToken;
use crate::index::{Growth, Index, Outcome, space};
use crate::tree::plan::Plan;

/// How far an [`optimize`](Index::optimize) has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptimizeProgress {
    /// Branches that are done.
    pub done: u64,
    /// Branches that are not.
    pub remaining: u64,
}

/// What an [`optimize`](Index::optimize) did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptimizeReport {
    /// Branches that were rebuilt, in a commit each.
    pub rebuilt: u64,
    /// Branches that are left because the caller stopped it.
    pub remaining: u64,
    /// The last commit.
    pub version: VersionToken,
}

impl Index<'_> {
    /// Rebuilds the partition tree, one branch and one commit at a time. Needs the write right.
    ///
    /// Never needed for answers to be right; after many writes, most of all after many deletes, queries find more and read
    /// less. Reading and writing go on meanwhile. `progress` is called after each commit; break to stop,
    /// call again to go on. If nothing has changed since everything was rebuilt, nothing is done.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied);
    /// [`Error::Integrity`](crate::Error::Integrity); and those of every call. What was committed stays.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let items: Vec<Item> = (0..500u16).map(|i| Item::new(i.to_string(), [f32::from(i), 1.0])).collect();
    /// index.upsert(&items)?;
    /// let report = index.optimize(|_| ControlFlow::Continue(()))?;
    /// assert_eq!((report.rebuilt, report.remaining), (1, 0));
    /// assert_eq!(index.optimize(|_| ControlFlow::Continue(()))?.rebuilt, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn optimize(
        &self,
        mut progress: impl FnMut(&OptimizeProgress) -> ControlFlow<()>,
    ) -> Result<OptimizeReport> {
        let mut run = None;
        let mut rebuilt = 0;
        loop {
            let committed = self.mutate(|snapshot, key, limits| {
                let Some(space) = space(key, self.shared(), key.dimension()) else {
                    return Ok(Outcome::Nothing((0, 0)));
                };
                let growth = Growth::new(snapshot, key, self.shared());
                let mut next = key.head.next(Operation::Optimize, commit::now())?;
                // The state at the start: a run ends even if items change all the time.
                let etag = run.get_or_insert(key.head.etag());
                let mut tag = [0; 16];
                tag.iter_mut().zip(etag.as_bytes()).for_each(|(tag, byte)| *tag = *byte);
                let mut plan = Plan::new(&growth, &space, next.sequence);
                let twigs = plan.twigs()?;
                let due = twigs.iter().filter(|(_, done)| *done != tag).count() as u64;
                let Some((branch, _)) = twigs.iter().find(|(_, done)| *done != tag) else {
                    return Ok(Outcome::Nothing((0, 0)));
                };
                plan.rebuild(*branch, tag)?;
                let mut draft = Draft::begin(snapshot, &key.head)?;
                let generation = next.sequence;
                growth.apply_all(plan.finish()?, generation, limits, &mut draft)?;
                next.content_tag = Some(key.head.etag().0);
                let done = twigs.len() as u64 - due + 1;
                Ok(Outcome::Changed(draft, next, (done, due - 1)))
            })?;
            let (done, remaining) = committed.value;
            let version = committed.version;
            if !committed.changed {
                return Ok(OptimizeReport { rebuilt, remaining: 0, version });
            }
            rebuilt += 1;
            if progress(&OptimizeProgress { done, remaining }).is_break() {
                return Ok(OptimizeReport { rebuilt, remaining, version });
            }
        }
    }
}
