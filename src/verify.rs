//! Verifying: everything that is stored of an index, against what it must be.
//!
//! A call checks what it reads. [`Index::verify`] reads everything, from one snapshot:
//! 1. The catalog (`catalog`): the chain of commits with every signature, from the oldest that is
//!    kept to the head; the fold; grant tables; wraps and roster records; names. No record is there
//!    that should not be.
//! 2. Items and payload (`items`), in shares on all threads: every record and every stored value
//!    opens, is what the record says, and belongs to an item.
//! 3. The partition tree against the items, both ways (`nodes`).
//! 4. The set hash of all that was read against the one that the head commit signs. This finds what
//!    fits together and is not what was committed: records that a reader sealed again, and older
//!    ones put back.
//! 5. The attribute index against the metadata of every item.
//!
//! It does not stop at a fault: it counts, by class. What has to do with time is not its matter: an
//! older state put back whole is sound. That is what version tokens are for.
//!
//! Cost: everything is read, opened and hashed once. Memory: eight bytes an item, a batch of
//! records a thread, and, if the index has one, the whole attribute index, opened, with the
//! metadata of every item.

mod catalog;
mod items;
mod nodes;
mod tally;

use std::ops::ControlFlow;

use crate::attributes::check;
use crate::commit;
use crate::crypto::sethash::Element;
use crate::error::{Error, Fault, Result};
use crate::index::{Answer, Include, Index, Span, scan};
use crate::keyring::ReadKey;
use crate::observe::Call;
use crate::store::key::Kind;
use crate::store::{Family, Snapshot};
use crate::tree::{Home, MAX_TREE_DIMENSION};
use tally::{Indexed, Tally};

/// Faults that are named one by one.
const FINDINGS: usize = 16;
/// Items in a share, about.
const SHARE: u64 = 1024;

/// What a verified partition tree consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TreeReport {
    /// Levels: 0 if there is no tree, 1 if the root is the only leaf.
    pub height: u32,
    /// Nodes that hold items.
    pub leaves: u64,
    /// Nodes above them.
    pub branches: u64,
    /// Items.
    pub items: u64,
    /// Items that are in two leaves.
    pub spilled: u64,
    /// Nodes with more in them than the [`Tuning`](crate::Tuning) of this database allows. Nothing
    /// is wrong with them: they were built under another, and writes and `optimize` split them.
    pub oversized: u64,
    /// Blocks of the attribute index.
    pub blocks: u64,
}

/// How far a [`verify`](Index::verify) has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Items that have been checked with their payload, which is most of the work.
    pub items: u64,
    /// Items there should be.
    pub total: u64,
}

/// What a [`verify`](Index::verify) found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// False if the caller broke it off; what was not reached by then is not counted.
    pub finished: bool,
    /// Whether the root called. Other callers cannot open the roster, nor the wraps of others: of
    /// these they see that as many are there as should be.
    pub by_root: bool,
    /// Faults by class; empty if everything is as it must be.
    pub faults: Vec<(Fault, u64)>,
    /// The first few of them, in the order they were found.
    pub findings: Vec<Finding>,
    /// Item records.
    pub items: u64,
    /// Stored values of vectors, contents and metadata.
    pub payload_values: u64,
    /// The partition tree, as far as it could be walked, and the attribute index.
    pub tree: TreeReport,
    /// Commits that are kept.
    pub commits: u64,
    /// Commits before them, of which only the sums are kept.
    pub folded: u64,
    /// Grant tables.
    pub tables: u64,
    /// Wraps.
    pub wraps: u64,
    /// Roster records: one for each user.
    pub roster_records: u64,
}

impl VerifyReport {
    /// Whether all of it was checked and no fault was found.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.finished && self.faults.is_empty()
    }
}

/// One fault: of which class, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The class.
    pub fault: Fault,
    /// The sequence of a commit, the number of a grant table, the id of a tree node, or the item
    /// number (which only grows, and says nothing of the id) of an item. `None` where there is none
    /// that could be trusted.
    pub place: Option<u64>,
}

/// What every part of the check reads.
#[derive(Clone, Copy)]
struct Run<'a> {
    index: &'a Index<'a>,
    snapshot: &'a dyn Snapshot,
    key: &'a ReadKey,
    /// Whether the index keeps an attribute index.
    indexed: bool,
}

type Watch<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

impl Index<'_> {
    /// Checks everything that is stored of this index: every record opens and is in its place,
    /// nothing is missing and nothing is there that should not be, commits and grant tables are
    /// signed by who might, and the state as a whole is the one that the last commit signed.
    /// Needs the read right; only the root's check includes what wraps and roster records hold.
    ///
    /// It goes on after a fault and reports how many of which class there are. An older state of
    /// the whole directory is sound; [`at_least`](Self::at_least) refuses that.
    ///
    /// `progress` is called now and then; break to stop, and the report says it is not finished.
    ///
    /// # Errors
    /// [`Error::Integrity`] if the head, the grant table or the caller's wrap is such that no call
    /// works; [`Error::PermissionDenied`]; and those of every call. Other damage is no error but in
    /// the report.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0]).contents("text"), Item::new("b", [0.0, 1.0])])?;
    /// let report = index.verify(|_| ControlFlow::Continue(()))?;
    /// assert!(report.is_sound());
    /// assert_eq!((report.items, report.payload_values, report.commits), (2, 3, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify(
        &self,
        mut progress: impl FnMut(&VerifyProgress) -> ControlFlow<()>,
    ) -> Result<Answer<VerifyReport>> {
        self.during(Call::Verify).read(|snapshot, key| {
            let indexed = key.table.config.attributes.any();
            let run = Run { index: self, snapshot, key, indexed };
            let total = key.head.commit.item_count;
            let mut watch = |items| progress(&VerifyProgress { items, total });
            run.verify(&mut watch)
        })
    }

    /// Checks the partition tree and the attribute index against the items, both ways: every item
    /// is in exactly the leaves its record lists, no leaf holds anything else, parents and children
    /// agree. Needs the read right. [`verify`](Self::verify) does this and much more.
    ///
    /// The size of a node is no fault: the limits are those of the options the database is open
    /// with, and an index keeps what was built under others. Nodes over them are counted.
    ///
    /// Reads every node and every item record, and metadata if there is an attribute index, from one
    /// snapshot.
    ///
    /// # Errors
    /// [`Error::Integrity`] with [`Fault::Node`], [`Fault::ItemRecord`] or [`Fault::Attribute`]; and
    /// those of every call.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0]), Item::new("b", [0.0, 1.0])])?;
    /// let report = index.verify_tree()?;
    /// assert_eq!((report.height, report.leaves, report.items), (1, 1, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify_tree(&self) -> Result<Answer<TreeReport>> {
        self.during(Call::VerifyTree).read(|snapshot, key| {
            let indexed = key.table.config.attributes.any();
            let run = Run { index: self, snapshot, key, indexed };
            let census = nodes::census(run, |_, error| Err(error))?;
            let (stored, tally) = nodes::stored(run)?;
            let (items, spilled, listed) = run.homes()?;
            let (blocks, faults) = check(snapshot, key, listed)?;
            if faults > 0 {
                return Err(Error::Integrity(Fault::Attribute));
            }
            let agree = tally.faults.is_empty()
                && nodes::agrees(&census, stored, items, spilled)
                && items == key.head.commit.item_count;
            if agree {
                Ok(nodes::report(&census, items, spilled, blocks))
            } else {
                Err(Error::Integrity(Fault::Node))
            }
        })
    }
}

impl Run<'_> {
    fn verify(self, watch: &mut Watch<'_>) -> Result<VerifyReport> {
        let mut tally = Tally::default();
        let mut report = VerifyReport {
            finished: false,
            by_root: self.key.is_root(),
            faults: Vec::new(),
            findings: Vec::new(),
            items: 0,
            payload_values: 0,
            tree: TreeReport::default(),
            commits: 0,
            folded: 0,
            tables: 0,
            wraps: 0,
            roster_records: 0,
        };
        report.finished = self.each(&mut tally, &mut report, watch)?.is_continue();
        (report.items, report.payload_values) = (tally.items, tally.payload_values);
        report.faults = tally.faults.into_iter().collect();
        report.findings = tally.findings;
        Ok(report)
    }

    /// Steps 1 to 5.
    fn each(
        self,
        tally: &mut Tally,
        report: &mut VerifyReport,
        watch: &mut Watch<'_>,
    ) -> Result<ControlFlow<()>> {
        // 1.
        let ControlFlow::Continue(held) = catalog::check(self, tally, watch)? else {
            return Ok(ControlFlow::Break(()));
        };
        let catalog::Held { commits, folded, tables, wraps, roster_records, set } = held;
        (report.commits, report.folded, report.tables) = (commits, folded, tables);
        (report.wraps, report.roster_records) = (wraps, roster_records);
        // 2.
        if self.items(tally, watch)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        // 3.
        let census = nodes::census(self, |node, error| {
            tally.note(Err::<(), _>(error), Fault::Node, Some(node.0)).map(drop)
        })?;
        if watch(tally.items).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let nodes = self.signed(tally)?;
        let broken = [Fault::Node, Fault::ItemRecord].iter().any(|class| tally.count(*class) > 0);
        if !broken && !nodes::agrees(&census, nodes, tally.items, tally.spilled) {
            tally.fault(Fault::Node, None);
        }
        // 4.
        let signed = &self.key.head.commit.set_hash;
        if tally.set.digest() != *signed {
            tally.fault(Fault::SetHash, None);
        }
        let state = set.as_deref().and_then(commit::set_digest);
        if state.as_ref() != Some(signed) {
            tally.fault(Fault::SetHash, None);
        }
        // 5.
        let checked = check(self.snapshot, self.key, std::mem::take(&mut tally.indexed));
        let (blocks, faults) = tally.note(checked, Fault::Attribute, None)?.unwrap_or_default();
        tally.fault_times(Fault::Attribute, None, faults);
        report.tree = nodes::report(&census, tally.items, tally.spilled, blocks);
        Ok(watch(tally.items))
    }

    /// Items and payload, in rounds of shares, and the counts.
    fn items(self, tally: &mut Tally, watch: &mut Watch<'_>) -> Result<ControlFlow<()>> {
        let commit = &self.key.head.commit;
        let shared = self.index.shared();
        let shares = usize::try_from(commit.item_count / SHARE).unwrap_or(usize::MAX);
        let spans = Span::split(shares.max(1));
        for round in spans.chunks(shared.threads() * 2) {
            for share in shared.map(round.to_vec(), |span| items::share(self, span))? {
                tally.absorb(share);
            }
            if watch(tally.items).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        tally.absorb(items::others(self)?);
        let mut numbers = std::mem::take(&mut tally.numbers);
        let opened = numbers.len() as u64;
        numbers.sort_unstable();
        numbers.dedup();
        tally.fault_times(Fault::ItemRecord, None, opened.saturating_sub(numbers.len() as u64));
        if tally.items != commit.item_count {
            tally.fault(Fault::Counts, None);
        }
        // What does not open has no size.
        if opened == tally.items && tally.bytes != commit.total_bytes {
            tally.fault(Fault::Counts, None);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads nodes and blocks as they are stored; the number of nodes.
    fn signed(self, tally: &mut Tally) -> Result<u64> {
        let families = vec![Family::Nodes, Family::Attributes];
        let read = self.index.shared().map(families, |family| match family {
            Family::Nodes => nodes::stored(self),
            _ => nodes::blocks(self).map(|tally| (0, tally)),
        })?;
        let mut count = 0;
        for (nodes, part) in read {
            count += nodes;
            tally.absorb(part);
        }
        Ok(count)
    }

    /// The number of items, of those in two leaves, and what the attribute index must list. In an
    /// index with a tree, every item has a home.
    fn homes(self) -> Result<(u64, u64, Vec<Indexed>)> {
        let Self { snapshot, key, indexed, .. } = self;
        let tree = key.dimension().is_some_and(|dimension| dimension <= MAX_TREE_DIMENSION);
        let (mut items, mut spilled, mut listed) = (0, 0, Vec::new());
        let include = if indexed { Include::NONE.metadata() } else { Include::NONE };
        for span in Span::split(1) {
            items += scan(snapshot, key, span, include, |item| {
                match Home::from_leaves(&item.record.leaves) {
                    Some(home) if tree => spilled += u64::from(home.second.is_some()),
                    None if !tree && item.record.leaves.is_empty() => {}
                    _ => return Err(Error::Integrity(Fault::Node)),
                }
                if indexed {
                    listed.push((item.record.number, item.pseudonym, item.metadata()?));
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok((items, spilled, listed))
    }
}

/// Counts the records of a family under this index that are of none of these kinds, which are in
/// the order of their bytes. In a signed family they are part of the set.
fn strangers(run: Run<'_>, family: Family, kinds: &[Kind], class: Fault) -> Result<Tally> {
    let mut tally = Tally::default();
    let prefix = run.key.index.0;
    let mut from = prefix.to_vec();
    let known = kinds.iter().map(|kind| Some(*kind as u8)).chain([None]);
    for kind in known {
        run.snapshot.scan(family, &prefix, &from, &mut |found, value| {
            if kind.is_some_and(|kind| found.get(16).is_some_and(|byte| *byte >= kind)) {
                return ControlFlow::Break(());
            }
            if commit::signed(family) {
                tally.set.add(&Element::new(found, value));
            }
            tally.fault(class, None);
            ControlFlow::Continue(())
        })?;
        let Some(kind) = kind else { break };
        from = [&prefix[..], &[kind.saturating_add(1)]].concat();
    }
    Ok(tally)
}
