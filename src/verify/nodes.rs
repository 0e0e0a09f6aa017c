//! The partition tree and the attribute index against the items, both ways.
//!
//! An item's record lists at most two leaves, and every row is compared with the record of its
//! item; so equal counts mean that nothing is missing and nothing is too many.

use std::ops::ControlFlow;

use super::{Run, TreeReport};
use crate::crypto::sethash::Element;
use crate::error::{Error, Fault, Result};
use crate::id::NodeId;
use crate::index::{Growth, open_item, space};
use crate::store::record::node_parts;
use crate::store::{Family, key};
use crate::tree::node::Row;
use crate::tree::verify::{Census, lists, walk};

use super::tally::Tally;

/// Walks the tree; every row must be of an item whose record lists the leaf and has the row's keys.
/// What is wrong with a node goes to `wrong`.
pub(super) fn census(
    run: Run<'_>,
    wrong: impl FnMut(NodeId, Error) -> Result<()>,
) -> Result<Census> {
    let Run { index, snapshot, key, .. } = run;
    let Some(space) = space(key, index.shared(), key.dimension()) else {
        return Ok(Census::default());
    };
    let growth = Growth::new(snapshot, key, index.shared());
    let mut plain = Vec::new();
    let rows = |leaf, rows: &[Row]| {
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
    };
    walk(&growth, &space, rows, wrong)
}

/// Whether the census is that of the items that are stored.
pub(super) fn agrees(census: &Census, nodes: u64, items: u64, spilled: u64) -> bool {
    nodes == census.leaves + census.branches
        && spilled == census.second_copies
        && (items == census.first_copies || census.height == 0)
}

pub(super) fn report(census: &Census, items: u64, spilled: u64, blocks: u64) -> TreeReport {
    let Census { height, leaves, branches, oversized, .. } = *census;
    TreeReport { height, leaves, branches, items, spilled, oversized, blocks }
}

/// Counts the nodes that are stored, reachable or not, and adds them to the set. No value is there
/// that belongs to none.
pub(super) fn stored(run: Run<'_>) -> Result<(u64, Tally)> {
    let mut tally = super::strangers(run, Family::Nodes, &[key::Kind::Node], Fault::Node)?;
    let prefix = key::nodes(run.key.index);
    let mut count = 0u64;
    // The node that the values read last belong to, and the number of its values and of those still
    // to come.
    let mut last: Option<(NodeId, u32, u32)> = None;
    run.snapshot.scan(Family::Nodes, &prefix, &prefix, &mut |found, value| {
        tally.set.add(&Element::new(found, value));
        let Some((id, part)) = key::node_of(found) else {
            tally.fault(Fault::Node, None);
            return ControlFlow::Continue(());
        };
        if part == 0 {
            count += 1;
            last = node_parts(value).ok().map(|parts| (id, parts, 1));
            if last.is_none() {
                tally.fault(Fault::Node, Some(id.0));
            }
            return ControlFlow::Continue(());
        }
        match &mut last {
            Some((of, parts, next)) if *of == id && part == *next && part < *parts => *next += 1,
            _ => tally.fault(Fault::Node, Some(id.0)),
        }
        ControlFlow::Continue(())
    })?;
    Ok((count, tally))
}

/// Adds the blocks of the attribute index to the set.
pub(super) fn blocks(run: Run<'_>) -> Result<Tally> {
    let mut tally = Tally::default();
    let prefix = run.key.index.0;
    run.snapshot.scan(Family::Attributes, &prefix, &prefix, &mut |found, value| {
        tally.set.add(&Element::new(found, value));
        ControlFlow::Continue(())
    })?;
    Ok(tally)
}
