//! Removing what is damaged: the slow path of a delete.
//!
//! A record that does not open does not say where its payload and its rows are, nor how large the
//! item was; a leaf that does not open may hold the row of an item that is to go. So everything is
//! read once and counted again. Steps, all for one commit, so that a crash leaves it whole or not
//! there:
//! 1. The set hash is computed anew, from what is stored: the old sum has parts of what was lost.
//! 2. Item records are scanned. Those of the doomed go, with every payload value under their
//!    pseudonyms; the rest is counted and measured. One that does not open counts without a size.
//!    The attribute index is written anew, from the metadata of what stays; items whose metadata
//!    does not open are unlisted in it.
//! 3. Nodes are scanned for rows of the doomed, wherever they are. Leaves that do not open go, and
//!    the items that were in them are put into the tree again, by their records. If a branch does
//!    not open, that is true of the whole tree.
//! 4. What cannot be put anywhere, because its vector does not open either, is left out of the
//!    tree. If the tree cannot be mended at all, the rows of the doomed are taken out as far as
//!    leaves open, and leaves that do not open go.
//!
//! The commit is of the kind `recount`: whoever reads the history sees that something was damaged
//! and that the sums begin anew here.
//!
//! Cost: every item record and node is read, and the set hash takes about a microsecond each. A
//! tree that is built anew has all its vectors in memory.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use super::get::{fetch_fields, open_item};
use super::growth::mend;
use super::partition::{open_whole, read_nodes, space};
use super::removal::{Doomed, Removing, is_damage};
use super::{Growth, Include};
use crate::attributes::rebuild;
use crate::commit::{Commit, Draft};
use crate::error::Result;
use crate::id::{IndexId, NodeId};
use crate::store::key::{self, Pseudonym};
use crate::store::record::{Field, ItemRecord};
use crate::store::{Family, Snapshot};
use crate::tree::node::{Copy, Node, Row};
use crate::tree::repair::{Repair, Ruin};
use crate::tree::{Backing, Home};

/// The draft of a commit that removes the doomed, and the counts after it.
pub(super) fn remove(
    removing: &Removing<'_>,
    doomed: &[Doomed],
    next: &mut Commit,
) -> Result<Draft> {
    let Removing { index, snapshot, key, .. } = *removing;
    let gone: HashSet<Pseudonym> = doomed.iter().map(|doomed| doomed.pseudonym).collect();
    // 1.
    let mut draft = Draft::recounted(snapshot, key.index)?;
    // 2.
    for doomed in doomed {
        let item = key::item(key.index, &doomed.pseudonym);
        draft.changes.delete(Family::Items, item, Some(&doomed.stored));
        for field in Field::ALL {
            let prefix = key::payloads(key.index, field.kind(), &doomed.pseudonym);
            snapshot.scan(Family::Payload, &prefix, &prefix, &mut |value, _| {
                draft.changes.delete(Family::Payload, value.to_vec(), None);
                ControlFlow::Continue(())
            })?;
        }
        next.deleted += 1;
    }
    (next.item_count, next.total_bytes) = (0, 0);
    let mut plain = Vec::new();
    each_item(snapshot, key.index, &gone, |pseudonym, stored| {
        next.item_count += 1;
        match open_item(key, pseudonym, stored, &mut plain) {
            Ok(record) => next.total_bytes = next.total_bytes.saturating_add(record.size()),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    relist(removing, &gone, next.sequence, &mut draft)?;
    // 3. and 4.
    let Some(space) = space(key, index.shared(), key.dimension()) else { return Ok(draft) };
    let survey = Survey::take(removing, &gone)?;
    let growth = Growth::new(snapshot, key, index.shared());
    let repair = survey.repair(removing, &growth, &gone)?;
    let mut lost = match &repair.ruin {
        Ruin::Whole { nodes, .. } => nodes.clone(),
        Ruin::None | Ruin::Hopeless | Ruin::Leaves { .. } => survey.ruined.clone(),
    };
    let effects = match mend(&growth, &space, repair, next.sequence) {
        Err(error) if is_damage(&error) => {
            lost = survey.ruined;
            growth.forget();
            let least = Repair { rows: survey.rows, ruin: Ruin::Hopeless };
            mend(&growth, &space, least, next.sequence)?
        }
        other => other?,
    };
    for id in lost {
        let prefix = key::node_values(key.index, id);
        snapshot.scan(Family::Nodes, &prefix, &prefix, &mut |value, stored| {
            draft.changes.delete(Family::Nodes, value.to_vec(), Some(stored));
            ControlFlow::Continue(())
        })?;
    }
    growth.apply_all(effects, next.sequence, removing.limits, &mut draft)?;
    Ok(draft)
}

/// Writes the attribute index anew, of the items that stay and whose records open.
fn relist(
    removing: &Removing<'_>,
    gone: &HashSet<Pseudonym>,
    sequence: u64,
    draft: &mut Draft,
) -> Result<()> {
    let Removing { snapshot, key, .. } = *removing;
    let (mut items, mut plain) = (Vec::new(), Vec::new());
    each_item(snapshot, key.index, gone, |pseudonym, stored| {
        let record = match open_item(key, pseudonym, stored, &mut plain) {
            Ok(record) => record,
            Err(error) if is_damage(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let number = record.number;
        let wanted = Include::NONE.metadata();
        let metadata = match fetch_fields(snapshot, key, &[(*pseudonym, record)], wanted) {
            Ok(fetched) => Some(fetched.into_iter().next().and_then(|fetched| fetched.metadata)),
            Err(error) if is_damage(&error) => None,
            Err(error) => return Err(error),
        };
        items.push((number, *pseudonym, metadata));
        Ok(())
    })?;
    rebuild(snapshot, key, sequence, items, &mut draft.changes)
}

/// What opens of the tree, and what does not.
struct Survey {
    /// Every node there is.
    nodes: Vec<NodeId>,
    /// Nodes that do not open or are not there although their parents name them.
    ruined: Vec<NodeId>,
    /// The parent of each node that a branch names, and the parent's level.
    parents: HashMap<NodeId, (NodeId, u8)>,
    /// The rows of the doomed in leaves that open.
    rows: Vec<(NodeId, Pseudonym, Copy)>,
}

impl Survey {
    /// Reads every node.
    fn take(removing: &Removing<'_>, gone: &HashSet<Pseudonym>) -> Result<Self> {
        let Removing { snapshot, key, .. } = *removing;
        let mut nodes = BTreeSet::new();
        let prefix = key::nodes(key.index);
        snapshot.scan(Family::Nodes, &prefix, &prefix, &mut |stored, _| {
            nodes.extend(key::node_of(stored).map(|(node, _)| node));
            ControlFlow::Continue(())
        })?;
        let mut survey = Self {
            nodes: Vec::new(),
            ruined: Vec::new(),
            parents: HashMap::new(),
            rows: Vec::new(),
        };
        for id in &nodes {
            let opened = read_nodes(snapshot, key, &[*id], &Cell::new(0)).and_then(|bytes| {
                let bytes = bytes.into_iter().flatten().next();
                bytes.map(|bytes| open_whole(key, *id, bytes.as_ref())).transpose()
            });
            match opened {
                Ok(Some(Node::Leaf(leaf))) => {
                    let doomed = leaf.rows.iter().filter(|row| gone.contains(&row.pseudonym));
                    survey.rows.extend(doomed.map(|row| (*id, row.pseudonym, row.copy)));
                }
                Ok(Some(Node::Branch(branch))) => {
                    let place = (*id, branch.level);
                    survey.parents.extend(branch.children.ids.iter().map(|child| (*child, place)));
                }
                Ok(None) => survey.ruined.push(*id),
                Err(error) if is_damage(&error) => survey.ruined.push(*id),
                Err(error) => return Err(error),
            }
        }
        let missing = survey.parents.keys().filter(|child| !nodes.contains(child));
        survey.ruined.extend(missing.copied().collect::<Vec<_>>());
        survey.nodes = nodes.into_iter().collect();
        Ok(survey)
    }

    /// What is to be done about it.
    fn repair(
        &self,
        removing: &Removing<'_>,
        growth: &Growth<'_>,
        gone: &HashSet<Pseudonym>,
    ) -> Result<Repair> {
        let rows = self.rows.clone();
        let rooted = self.nodes.first() == Some(&NodeId::ROOT);
        let leaves = self.ruined.iter().map(|id| {
            let (parent, level) = self.parents.get(id)?;
            (*level == 1).then_some((*id, *parent))
        });
        let ruin = match leaves.collect::<Option<Vec<_>>>().filter(|_| rooted) {
            Some(leaves) if leaves.is_empty() => Ruin::None,
            Some(leaves) => {
                let lost: HashSet<NodeId> = leaves.iter().map(|(leaf, _)| *leaf).collect();
                let lost_of = |record: &ItemRecord, place: usize| {
                    record.leaves.get(place).is_some_and(|leaf| lost.contains(leaf))
                };
                let first = |record: &ItemRecord| lost_of(record, 0);
                let firsts = rows_of(removing, growth, gone, first)?;
                let second = |record: &ItemRecord| !lost_of(record, 0) && lost_of(record, 1);
                let seconds = rows_of(removing, growth, gone, second)?;
                let second = |row: Row| Row { copy: Copy::Second, ..row };
                Ruin::Leaves { leaves, firsts, seconds: seconds.into_iter().map(second).collect() }
            }
            None => {
                let items = rows_of(removing, growth, gone, |_| true)?;
                Ruin::Whole { nodes: self.nodes.clone(), items }
            }
        };
        // A tree that is planted anew has no rows to be taken out.
        let rows = if matches!(ruin, Ruin::Whole { .. }) { Vec::new() } else { rows };
        Ok(Repair { rows, ruin })
    }
}

/// The rows of first copies of the items that stay, are wanted, and have a vector that opens.
fn rows_of(
    removing: &Removing<'_>,
    growth: &Growth<'_>,
    gone: &HashSet<Pseudonym>,
    wanted: impl Fn(&ItemRecord) -> bool,
) -> Result<Vec<Row>> {
    let Removing { snapshot, key, .. } = *removing;
    let (mut rows, mut plain) = (Vec::new(), Vec::new());
    each_item(snapshot, key.index, gone, |pseudonym, stored| {
        let record = match open_item(key, pseudonym, stored, &mut plain) {
            Ok(record) if wanted(&record) => record,
            Ok(_) => return Ok(()),
            Err(error) if is_damage(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Without a home it is in no tree, and the plan could not tell where it was.
        let (Ok(parts), Some(_)) =
            (u16::try_from(record.vector.parts), Home::from_leaves(&record.leaves))
        else {
            return Ok(());
        };
        let row = Row {
            pseudonym: *pseudonym,
            number: record.number,
            version: record.version,
            epoch: record.payload_epoch,
            parts,
            copy: Copy::First,
            salt: record.payload_salt,
        };
        match growth.vectors(&[&row]) {
            Ok(_) => rows.push(row),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    Ok(rows)
}

/// Visits the stored record of every item that stays.
fn each_item(
    snapshot: &dyn Snapshot,
    index: IndexId,
    gone: &HashSet<Pseudonym>,
    mut visit: impl FnMut(&Pseudonym, &[u8]) -> Result<()>,
) -> Result<()> {
    let prefix = key::items(index);
    let mut outcome = Ok(());
    snapshot.scan(Family::Items, &prefix, &prefix, &mut |item, stored| {
        let Some(pseudonym) = key::pseudonym_of(item) else { return ControlFlow::Continue(()) };
        if gone.contains(&pseudonym) {
            return ControlFlow::Continue(());
        }
        outcome = visit(&pseudonym, stored);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}
