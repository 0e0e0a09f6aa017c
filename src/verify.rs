//! Verifying: what is stored, against what it must be.
//!
//! `verify_tree` reads every node and every item record and compares them; vectors and payload are
//! not read. A query finds a node that was changed; what it cannot find is one that was left out,
//! or a row that nothing lists. This does.

use std::ops::ControlFlow;

use crate::attributes::check;
use crate::error::{Error, Fault, Result};
use crate::index::{Answer, Growth, Include, Index, Span, open_item, scan, space};
use crate::keyring::ReadKey;
use crate::observe::Call;
use crate::store::record::node_parts;
use crate::store::{Family, Snapshot, key};
use crate::tree::node::Row;
use crate::tree::verify::{Census, lists, walk};
use crate::tree::{Home, Space};

/// What a verified partition tree consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Index<'_> {
    /// Checks the partition tree against the items, both ways: every item is in exactly the leaves
    /// its record lists, no leaf holds anything else, parents and children agree. Needs the read
    /// right.
    ///
    /// The size of a node is no fault: the limits are those of the options the database is open
    /// with, and an index keeps what was built under others. Nodes over them are counted.
    ///
    /// Reads every node and every item record, from one snapshot.
    ///
    /// # Errors
    /// [`Error::Integrity`] with [`Fault::Node`] or [`Fault::ItemRecord`]; and those of every call.
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
            let census = match space(key, self.shared(), key.dimension()) {
                Some(space) => census(self, snapshot, key, &space)?,
                None => Census::default(),
            };
            let nodes = stored_nodes(snapshot, key)?;
            let (items, spilled) = homes(snapshot, key, key.dimension().is_some_and(has_tree))?;
            let (blocks, faults) = attributes(snapshot, key)?;
            if faults > 0 {
                return Err(Error::Integrity(Fault::Attribute));
            }
            let agree = nodes == census.leaves + census.branches
                && items == key.head.commit.item_count
                && spilled == census.second_copies
                && (items == census.first_copies || census.height == 0);
            if !agree {
                return Err(Error::Integrity(Fault::Node));
            }
            let Census { height, leaves, branches, oversized, .. } = census;
            Ok(TreeReport { height, leaves, branches, items, spilled, oversized, blocks })
        })
    }
}

const fn has_tree(dimension: usize) -> bool {
    dimension <= crate::tree::MAX_TREE_DIMENSION
}

/// Walks the tree; every row must be of an item whose record lists the leaf and has the row's keys.
fn census(
    index: &Index<'_>,
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    space: &Space,
) -> Result<Census> {
    let growth = Growth::new(snapshot, key, index.shared());
    let mut plain = Vec::new();
    walk(&growth, space, |leaf, rows: &[Row]| {
        growth.forget();
        let keys: Vec<_> = rows.iter().map(|row| key::item(key.index, &row.pseudonym)).collect();
        let stored = snapshot.multi_get(Family::Items, &keys)?;
        for (row, stored) in rows.iter().zip(stored) {
            let damaged = || Error::Integrity(Fault::Node);
            let stored = stored.ok_or_else(damaged)?;
            let record = open_item(key, &row.pseudonym, &stored, &mut plain)?;
            let same = lists(&record.leaves, leaf, row.copy)
                && record.number == row.number
                && record.version == row.version
                && record.payload_epoch == row.epoch
                && record.payload_salt == row.salt
                && record.vector.parts == u32::from(row.parts);
            if !same {
                return Err(damaged());
            }
        }
        Ok(())
    })
}

/// Compares the attribute index with the metadata of every item; the numbers of blocks and faults.
fn attributes(snapshot: &dyn Snapshot, key: &ReadKey) -> Result<(u64, u64)> {
    let mut items = Vec::new();
    if key.table.config.attributes.any() {
        for span in Span::split(1) {
            scan(snapshot, key, span, Include::NONE.metadata(), |item| {
                items.push((item.record.number, item.pseudonym, item.metadata()?));
                Ok(ControlFlow::Continue(()))
            })?;
        }
    }
    check(snapshot, key, items)
}

/// The number of nodes that are stored, reachable or not. No value is there that belongs to none.
fn stored_nodes(snapshot: &dyn Snapshot, key: &ReadKey) -> Result<u64> {
    let prefix = key::nodes(key.index);
    let (mut count, mut sound) = (0, true);
    // The node that the values read last belong to, and the number of its values and of those still
    // to come.
    let mut last = None;
    snapshot.scan(Family::Nodes, &prefix, &prefix, &mut |found, value| {
        match (key::node_of(found), last) {
            (Some((id, 0)), _) => {
                count += 1;
                sound &= node_parts(value).map(|parts| last = Some((id, parts, 1))).is_ok();
            }
            (Some((id, part)), Some((of, parts, next))) => {
                sound &= id == of && part == next && part < parts;
                last = Some((of, parts, part.saturating_add(1)));
            }
            _ => sound = false,
        }
        ControlFlow::Continue(())
    })?;
    if sound { Ok(count) } else { Err(Error::Integrity(Fault::Node)) }
}

/// The number of items and of those in two leaves. In an index with a tree, every item has a home.
fn homes(snapshot: &dyn Snapshot, key: &ReadKey, tree: bool) -> Result<(u64, u64)> {
    let (mut items, mut spilled) = (0, 0);
    for span in Span::split(1) {
        items += scan(snapshot, key, span, Include::NONE, |item| {
            match Home::from_leaves(&item.record.leaves) {
                Some(home) if tree => spilled += u64::from(home.second.is_some()),
                None if !tree && item.record.leaves.is_empty() => {}
                _ => return Err(Error::Integrity(Fault::Node)),
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok((items, spilled))
}
