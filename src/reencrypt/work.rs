//! The stages of a re-encryption, one commit at a time.
//!
//! A step reads on from where the last one ended, on the state of now, and seals again what is under
//! an older data key. Both what it looks at and what it changes are bounded, for it holds the write
//! lock. A new family of sealed records is another stage.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use super::items::Batch;
use crate::attributes;
use crate::commit::{self, Draft, Operation, fold};
use crate::error::{Error, Fault, Result};
use crate::id::NodeId;
use crate::index::{Index, Outcome, open_item};
use crate::keyring::RootKey;
use crate::keyring::table::{self, signature};
use crate::store::key::{self, Pseudonym};
use crate::store::record::{epoch_of, node_epochs};
use crate::store::{Family, Limits, Snapshot};
use crate::tree::node::Node;

/// Nodes that a step reads.
const NODES: usize = 16;
/// Item records, attribute blocks or commits that a step looks at.
const LOOKED: usize = 4096;
/// Attribute blocks, grant tables and commits that a step seals.
const RECORDS: usize = 512;
/// Bytes of grant tables that a step seals, and one table more.
const BYTES: usize = 4 << 20;

/// Where a run goes on.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Nodes(NodeId),
    /// Those that are in no leaf, or were in a leaf that moved.
    Items(Pseudonym),
    /// By the key of the first that is left, as the next two.
    Attributes(Vec<u8>),
    Tables(u64),
    /// The signatures of those.
    Signatures(Vec<u8>),
    /// And the fold.
    Commits(Vec<u8>),
}

/// What becomes of a record.
enum Due {
    Nothing,
    Sealed(Vec<u8>),
    Deleted,
}

impl Stage {
    pub(super) const FIRST: Self = Self::Nodes(NodeId(0));
}

/// What a step did.
pub(super) struct Step {
    pub(super) items: u64,
    /// `None`: that was the last one.
    pub(super) next: Option<Stage>,
}

/// What a step works with.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) index: &'a Index<'a>,
    pub(super) snapshot: &'a dyn Snapshot,
    pub(super) key: &'a RootKey,
    pub(super) limits: Limits,
    /// Items to a commit.
    pub(super) most: usize,
}

impl Work<'_> {
    pub(super) fn step(&self, from: Stage) -> Result<Outcome<Step>> {
        let next = self.key.head.next(Operation::Reencrypt, commit::now())?;
        let mut draft = Draft::begin(self.snapshot, &self.key.head)?;
        let (items, stage) = match from {
            Stage::Nodes(from) => self.nodes(from, next.sequence, &mut draft)?,
            Stage::Items(from) => self.items(&from, next.sequence, &mut draft)?,
            Stage::Attributes(from) => (0, Some(self.attributes(&from, &mut draft)?)),
            Stage::Tables(from) => (0, Some(self.tables(from, &mut draft)?)),
            Stage::Signatures(from) => (0, Some(self.signatures(&from, &mut draft)?)),
            Stage::Commits(from) => (0, self.commits(&from, &mut draft)?),
        };
        let step = Step { items: items as u64, next: stage };
        if draft.changes.is_empty() {
            return Ok(Outcome::Nothing(step));
        }
        Ok(Outcome::Changed(draft, next, step))
    }

    /// Nodes, and the items in the leaves among them.
    fn nodes(
        &self,
        from: NodeId,
        sequence: u64,
        draft: &mut Draft,
    ) -> Result<(usize, Option<Stage>)> {
        let (index, epoch) = (self.key.index, self.key.table.epoch());
        let (mut listed, mut stale, mut stage) = (Vec::new(), Vec::new(), Stage::Items([0; 16]));
        let prefix = key::nodes(index);
        let mut outcome = Ok(());
        self.snapshot.scan(
            Family::Nodes,
            &prefix,
            &key::node(index, from, 0),
            &mut |place, first| {
                let Some((id, 0)) = key::node_of(place) else { return ControlFlow::Continue(()) };
                if listed.len() == NODES {
                    stage = Stage::Nodes(id);
                    return ControlFlow::Break(());
                }
                match node_epochs(index, id, first) {
                    Ok(epochs) => stale.push(epochs.iter().any(|of| *of != epoch)),
                    Err(error) => {
                        outcome = Err(error);
                        return ControlFlow::Break(());
                    }
                }
                listed.push(id);
                ControlFlow::Continue(())
            },
        )?;
        outcome?;
        let mut batch = Batch::new(self);
        let nodes = batch.read(&listed)?;
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        for ((id, node), stale) in listed.into_iter().zip(nodes).zip(stale) {
            if let Node::Leaf(leaf) = &node {
                let rows = leaf.rows.iter().filter(|row| row.epoch != epoch);
                items.extend(rows.map(|row| row.pseudonym).filter(|item| seen.insert(*item)));
            }
            if stale {
                batch.put(id, node);
            }
            if items.len() >= self.most {
                items.truncate(self.most);
                stage = Stage::Nodes(id);
                break;
            }
        }
        if items.is_empty() && batch.is_empty() {
            return Ok((0, Some(stage)));
        }
        // An ordered store reads neighbours faster.
        items.sort_unstable();
        let taken = batch.seal(&items, sequence, draft)?;
        if taken < items.len() {
            stage = Stage::Nodes(from);
        }
        Ok((taken, Some(stage)))
    }

    /// Item records, and payload that no leaf led to.
    fn items(
        &self,
        from: &Pseudonym,
        sequence: u64,
        draft: &mut Draft,
    ) -> Result<(usize, Option<Stage>)> {
        let (index, epoch) = (self.key.index, self.key.table.epoch());
        let (mut due, mut plain, mut looked) = (Vec::new(), Vec::new(), 0);
        let mut stage = Stage::Attributes(index.0.to_vec());
        let mut outcome = Ok(());
        let prefix = key::items(index);
        self.snapshot.scan(
            Family::Items,
            &prefix,
            &key::item(index, from),
            &mut |place, stored| {
                let Some(item) = key::pseudonym_of(place) else { return ControlFlow::Continue(()) };
                if looked == LOOKED || due.len() == self.most {
                    stage = Stage::Items(item);
                    return ControlFlow::Break(());
                }
                looked += 1;
                match open_item(self.key, &item, stored, &mut plain) {
                    Ok(record)
                        if epoch_of(stored) == Some(epoch) && record.payload_epoch == epoch => {}
                    Ok(_) => due.push(item),
                    Err(error) => {
                        outcome = Err(error);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            },
        )?;
        outcome?;
        if due.is_empty() {
            return Ok((0, Some(stage)));
        }
        let taken = Batch::new(self).seal(&due, sequence, draft)?;
        if let Some(first) = due.get(taken) {
            stage = Stage::Items(*first);
        }
        Ok((taken, Some(stage)))
    }

    /// Visits the records below a prefix from a key on, until it has seen or changed enough. Returns
    /// the key of the first that is left.
    fn sweep(
        &self,
        family: Family,
        (prefix, from): (&[u8], &[u8]),
        draft: &mut Draft,
        due: impl Fn(&[u8], &[u8]) -> Result<Due>,
    ) -> Result<Option<Vec<u8>>> {
        let (mut looked, mut changed, mut next, mut outcome) = (0, 0, None, Ok(()));
        self.snapshot.scan(family, prefix, from, &mut |place, stored| {
            if looked == LOOKED || changed == RECORDS {
                next = Some(place.to_vec());
                return ControlFlow::Break(());
            }
            looked += 1;
            match due(place, stored) {
                Ok(Due::Nothing) => return ControlFlow::Continue(()),
                Ok(Due::Sealed(new)) => {
                    draft.changes.put(family, place.to_vec(), Some(stored), new);
                }
                Ok(Due::Deleted) => draft.changes.delete(family, place.to_vec(), Some(stored)),
                Err(error) => {
                    outcome = Err(error);
                    return ControlFlow::Break(());
                }
            }
            changed += 1;
            ControlFlow::Continue(())
        })?;
        outcome.map(|()| next)
    }

    /// Blocks of the attribute index.
    fn attributes(&self, from: &[u8], draft: &mut Draft) -> Result<Stage> {
        let (index, epoch) = (self.key.index, self.key.table.epoch());
        let due = |place: &[u8], stored: &[u8]| {
            if epoch_of(stored) == Some(epoch) {
                return Ok(Due::Nothing);
            }
            attributes::reseal(self.key, place, stored).map(Due::Sealed)
        };
        let next = self.sweep(Family::Attributes, (&index.0, from), draft, due)?;
        Ok(next.map_or(Stage::Tables(0), Stage::Attributes))
    }

    /// Grant tables, all parts of each. Those that no stage comes to, for they are newer than the
    /// run, are under the present data key.
    fn tables(&self, from: u64, draft: &mut Draft) -> Result<Stage> {
        let (index, epoch, secrets) = (self.key.index, self.key.table.epoch(), &self.key.epochs);
        let mut due = BTreeMap::<u64, Vec<Vec<u8>>>::new();
        let (mut looked, mut bytes, mut stage) =
            (0, 0, Stage::Signatures(key::table_signatures(index)));
        let (prefix, from) = (key::tables(index), key::table(index, from, 0));
        self.snapshot.scan(Family::Catalog, &prefix, &from, &mut |place, stored| {
            let Some((number, part)) = key::table_part_of(place) else {
                return ControlFlow::Continue(());
            };
            if part == 0 && (looked == LOOKED || due.len() == RECORDS || bytes > BYTES) {
                stage = Stage::Tables(number);
                return ControlFlow::Break(());
            }
            looked += usize::from(part == 0);
            if due.contains_key(&number) || (part == 0 && epoch_of(stored) != Some(epoch)) {
                bytes += stored.len();
                due.entry(number).or_default().push(stored.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        for (number, parts) in due {
            let longest = self.limits.value;
            for (place, new) in table::reseal(secrets, epoch, index, number, &parts, longest)? {
                draft.changes.put(Family::Catalog, place, None, new);
            }
        }
        Ok(stage)
    }

    fn signatures(&self, from: &[u8], draft: &mut Draft) -> Result<Stage> {
        let (index, epoch, secrets) = (self.key.index, self.key.table.epoch(), &self.key.epochs);
        let due = |place: &[u8], stored: &[u8]| match key::sequence_of(place) {
            Some(number) if epoch_of(stored) != Some(epoch) => {
                signature::reseal(secrets, epoch, index, number, stored).map(Due::Sealed)
            }
            _ => Ok(Due::Nothing),
        };
        let prefix = key::table_signatures(index);
        let next = self.sweep(Family::Catalog, (&prefix, from), draft, due)?;
        Ok(next.map_or_else(|| Stage::Commits(key::commits(index)), Stage::Signatures))
    }

    /// Commits, and at the end the fold. What is folded and still there goes.
    fn commits(&self, from: &[u8], draft: &mut Draft) -> Result<Option<Stage>> {
        let (index, epoch, secrets) = (self.key.index, self.key.table.epoch(), &self.key.epochs);
        let folded = self.key.head.commit.folded;
        let due = |place: &[u8], stored: &[u8]| match key::sequence_of(place) {
            Some(sequence) if sequence <= folded => Ok(Due::Deleted),
            Some(sequence) if epoch_of(stored) != Some(epoch) => {
                commit::reseal(secrets, epoch, index, sequence, stored).map(Due::Sealed)
            }
            _ => Ok(Due::Nothing),
        };
        let prefix = key::commits(index);
        let stage = self.sweep(Family::Catalog, (&prefix, from), draft, due)?.map(Stage::Commits);
        let place = key::fold(index);
        let stored = self.snapshot.get(Family::Catalog, &place)?.filter(|_| stage.is_none());
        if let Some(stored) = stored.filter(|stored| epoch_of(stored) != Some(epoch)) {
            if folded == 0 {
                return Err(Error::Integrity(Fault::Commit));
            }
            let new = fold::reseal(secrets, epoch, index, folded, &stored)?;
            draft.changes.put(Family::Catalog, place, None, new);
        }
        Ok(stage)
    }
}
