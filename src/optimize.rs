//! Optimizing: rebuilding the partition tree part by part, while it is in use.
//!
//! Writes keep the tree sound, but not as good as if it had been built at once. Optimizing takes
//! one branch above the leaves at a time, clusters what is below it anew and chooses all its second
//! copies again, each in one commit. Leaves that a bulk write made and never filled go. Items stay
//! as they are, and so does the ETag.
//!
//! A branch remembers the ETag it was rebuilt under. So a run that was stopped, or killed, is
//! resumed by the next: branches that were done under the state of the items that still is are
//! skipped.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use crate::commit::{self, Draft, Operation};
use crate::error::Result;
use crate::id::{ETag, NodeId, VersionToken};
use crate::index::{Growth, Index, Outcome, space};
use crate::observe::Call;
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
    /// Never needed for answers to be right; after many writes, most of all after many deletes,
    /// queries find more and read less. Reading and writing go on meanwhile. `progress` is called
    /// after each commit; break to stop, call again to go on. If nothing has changed since
    /// everything was rebuilt, nothing is done.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied);
    /// [`Error::Integrity`](crate::Error::Integrity); and those of every call. What was committed
    /// stays.
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
        progress: impl FnMut(&OptimizeProgress) -> ControlFlow<()>,
    ) -> Result<OptimizeReport> {
        self.observed(Call::Optimize, |seen| {
            let report = self.rebuild_all(progress)?;
            seen.results = Some(report.rebuilt);
            seen.sequence = Some(report.version.sequence);
            Ok(report)
        })
    }

    fn rebuild_all(
        &self,
        mut progress: impl FnMut(&OptimizeProgress) -> ControlFlow<()>,
    ) -> Result<OptimizeReport> {
        let mut run: Option<Run> = None;
        let mut rebuilt = 0;
        loop {
            let committed = self.mutate(|snapshot, key, limits| {
                let Some(space) = space(key, self.shared(), key.dimension()) else {
                    return Ok(Outcome::Nothing(None));
                };
                let growth = Growth::new(snapshot, key, self.shared());
                let mut next = key.head.next(Operation::Optimize, commit::now())?;
                let mut plan = Plan::new(&growth, &space, next.sequence);
                // The state at the start, and what came of it: a run ends even if items change all
                // the time.
                let run = match &mut run {
                    Some(run) => run,
                    None => run.insert(Run::new(key.head.etag(), plan.twigs()?)),
                };
                let mut due = None;
                loop {
                    while let Some(branch) = run.due.pop_front() {
                        // It may have been merged or split since.
                        if plan.is_twig(branch, &run.tag)? {
                            due = Some(branch);
                            break;
                        }
                        run.done += 1;
                    }
                    if due.is_some() || !run.look_again(plan.twigs()?) {
                        break;
                    }
                }
                let Some(branch) = due else { return Ok(Outcome::Nothing(None)) };
                plan.rebuild(branch, run.tag)?;
                run.done += 1;
                let mut draft = Draft::begin(snapshot, &key.head)?;
                let generation = next.sequence;
                growth.apply_all(plan.finish()?, generation, limits, &mut draft)?;
                next.content_tag = Some(key.head.etag().0);
                let (done, remaining) = (run.done, run.due.len() as u64);
                Ok(Outcome::Changed(draft, next, Some(OptimizeProgress { done, remaining })))
            })?;
            let version = committed.version;
            let Some(state) = committed.value else {
                return Ok(OptimizeReport { rebuilt, remaining: 0, version });
            };
            rebuilt += 1;
            if progress(&state).is_break() {
                return Ok(OptimizeReport { rebuilt, remaining: state.remaining, version });
            }
        }
    }
}

/// One call's list of branches.
struct Run {
    tag: [u8; 16],
    due: VecDeque<NodeId>,
    done: u64,
    looked: u32,
}

/// How often a run looks for branches that were split off those it had listed.
const LOOKS: u32 = 3;

impl Run {
    fn new(etag: ETag, twigs: Vec<(NodeId, [u8; 16])>) -> Self {
        let mut tag = [0; 16];
        tag.iter_mut().zip(etag.as_bytes()).for_each(|(tag, byte)| *tag = *byte);
        let all = twigs.len() as u64;
        let due = twigs.into_iter().filter(|(_, done)| *done != tag).map(|(branch, _)| branch);
        let due: VecDeque<NodeId> = due.collect();
        Self { tag, done: all - due.len() as u64, due, looked: 0 }
    }

    /// Lists what is still to be done, if anything is.
    fn look_again(&mut self, twigs: Vec<(NodeId, [u8; 16])>) -> bool {
        self.looked += 1;
        if self.looked <= LOOKS {
            let due = twigs.into_iter().filter(|(_, done)| *done != self.tag);
            self.due = due.map(|(branch, _)| branch).collect();
        }
        !self.due.is_empty()
    }
}
