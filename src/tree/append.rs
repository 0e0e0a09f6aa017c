//! Rows that are added to a leaf without reading it whole.
//!
//! A new item needs of its leaves no more than centroid, counts and code width: a [`Stub`]. Its
//! rows are appended to the stored leaf, so a write of one item neither opens the rows of its
//! leaves nor writes them again.
//!
//! Invariants:
//! - a leaf is loaded, or it has a stub, never both. Whatever wants to do more with a leaf than add
//!   rows loads it; rows that were to be appended are then in it, and it is written whole;
//! - a leaf with a stub has room for the rows: one that they would overfill is loaded, and split.

use std::collections::BTreeMap;

use super::node::{Copy, Leaf, ROW, Row, pooled, put_rows};
use super::plan::{Placed, Plan};
use super::view::{EntriesView, NodeView};
use crate::codec::Writer;
use crate::error::Result;
use crate::id::NodeId;

/// Rows that one write appends to a leaf at most: more are worth writing it whole.
const MOST: usize = 16;

/// What an addition to a leaf needs to know of it, and the rows that are to be appended.
pub(crate) struct Stub {
    /// Only the new rows are in it.
    pub(super) leaf: Leaf,
    /// Copies that are stored.
    firsts: usize,
    seconds: usize,
    /// Bytes that may be appended.
    room: usize,
}

impl Stub {
    /// Of a leaf's folded codes segment. `None` if it is no leaf.
    pub(crate) fn new(codes: &[u8], room: usize) -> Option<Self> {
        let NodeView { parent, span, firsts, centroid, entries, .. } = NodeView::decode(codes)?;
        let EntriesView::Rows(rows) = entries else { return None };
        let leaf = Leaf { span, ..Leaf::empty(parent, centroid.to_rounded(), rows.width) };
        Some(Self { leaf, firsts, seconds: rows.tags.len().checked_sub(firsts)?, room })
    }

    /// Whether these rows can be appended, too.
    fn takes(&self, rows: &[(Row, Placed)], leaf_most: usize) -> bool {
        let firsts = rows.iter().filter(|(row, _)| row.copy == Copy::First).count();
        let count = self.leaf.rows.len() + rows.len();
        let bytes = BLOCK + count * (self.leaf.code_bytes() + FACTORS + ROW);
        self.firsts + self.leaf.firsts() + firsts <= leaf_most
            && count <= MOST
            && bytes <= self.room
    }
}

/// Bytes of a block besides its arrays, and of a row's factors and tag.
const BLOCK: usize = 4;
const FACTORS: usize = 16;

/// What is appended to the two segments of a leaf for the rows of `new`; see
/// [`fold`](super::view::fold). `None` if they are more than the format counts.
pub(crate) fn encode(new: &Leaf) -> Option<(Vec<u8>, Vec<u8>)> {
    let count = new.rows.len();
    let mut codes = Writer::with_capacity(BLOCK + count * (new.code_bytes() + FACTORS));
    codes.u16(u16::try_from(count).ok()?).u16(u16::try_from(new.firsts()).ok()?);
    put_rows(&new.rows, &new.codes, &new.factors, &mut codes);
    let mut rows = Writer::with_capacity(count * ROW);
    let norms = new.factors.iter().map(|factors| factors.norm);
    new.rows.iter().zip(norms).for_each(|(row, norm)| row.encode(norm, &mut rows));
    Some((codes.finish(), rows.finish()))
}

impl Plan<'_> {
    /// Makes leaves ready for so many rows each: with a stub if they can be appended, else loaded.
    pub(super) fn prepare(&mut self, coming: &BTreeMap<NodeId, usize>) -> Result<()> {
        let known = |id: &NodeId| self.slots.contains_key(id) || self.stubs.contains_key(id);
        let few = coming.iter().filter(|(id, rows)| **rows <= MOST && !known(id));
        let few: Vec<NodeId> = few.map(|(id, _)| *id).collect();
        if !few.is_empty() {
            let stubs = few.iter().zip(self.backing.stubs(&few)?);
            let stubs = stubs.filter_map(|(id, stub)| Some((*id, stub?)));
            self.stubs.extend(stubs);
        }
        let stubs = &self.stubs;
        let others: Vec<NodeId> =
            coming.keys().copied().filter(|id| !stubs.contains_key(id)).collect();
        self.load(others)
    }

    /// The second copies in a leaf that is loaded or has a stub.
    pub(super) fn seconds_in(&self, id: NodeId) -> Result<usize> {
        match self.stubs.get(&id) {
            Some(stub) => Ok(stub.seconds + stub.leaf.seconds()),
            None => Ok(self.leaf(id)?.seconds()),
        }
    }

    /// Loads those of these leaves whose stub has no room for the rows.
    pub(super) fn load_full(&mut self, rows: &BTreeMap<NodeId, Vec<(Row, Placed)>>) -> Result<()> {
        let most = self.space.rules.leaf_most;
        let full = rows
            .iter()
            .filter(|(id, rows)| self.stubs.get(id).is_some_and(|stub| !stub.takes(rows, most)));
        let full: Vec<NodeId> = full.map(|(id, _)| *id).collect();
        self.load(full)
    }

    /// The rows that were to be appended to a leaf, now that it is loaded; its stub is gone.
    pub(super) fn take_stub(&mut self, id: NodeId) -> Option<Leaf> {
        let stub = self.stubs.remove(&id)?;
        (!stub.leaf.rows.is_empty()).then_some(stub.leaf)
    }

    /// Tells the parents how wide is now what rows are appended to, by what they know of it.
    pub(super) fn set_radii_of_appended(&mut self) -> Result<()> {
        let appended = self.stubs.iter().filter(|(_, stub)| stub.leaf.firsts() > 0);
        let appended = appended.map(|(id, stub)| {
            (*id, stub.leaf.parent, stub.firsts, stub.leaf.firsts(), stub.leaf.radius())
        });
        for (id, parent, stored, new, radius) in appended.collect::<Vec<_>>() {
            self.set_radius(id, parent, |known| pooled(&[(stored, known), (new, radius)]))?;
        }
        Ok(())
    }
}

/// Puts the rows of one leaf after those of another.
pub(super) fn join(leaf: &mut Leaf, new: Leaf) {
    leaf.rows.extend(new.rows);
    leaf.codes.extend_from_slice(&new.codes);
    leaf.factors.extend(new.factors);
}
