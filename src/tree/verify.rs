//! Checks every invariant of the tree.
//!
//! The tree is walked from the root, a level at a time, in runs of nodes. The rows of each leaf are
//! handed to the caller, who compares them with the item records; since an item's record lists at
//! most two leaves and every row is checked against it, equal counts mean that nothing is missing
//! and nothing is too many.
//!
//! Cost: every node is read and opened once; memory is a run of nodes and the entries of one level.

use std::collections::HashSet;

use super::node::{Copy, Node, Row, coarse};
use super::{Backing, Space, damaged};
use crate::error::{Error, Result};
use crate::id::NodeId;
use crate::vector::scalar::Rounded;

/// Nodes that are read together.
const RUN: usize = 64;

/// What a walk has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// 0 for an empty tree, 1 for a lone leaf.
    pub(crate) height: u32,
    pub(crate) leaves: u64,
    pub(crate) branches: u64,
    pub(crate) first_copies: u64,
    pub(crate) second_copies: u64,
    /// Nodes over the limits of the rules: sound, if they were built under others.
    pub(crate) oversized: u64,
}

/// What a parent says of a child.
struct Expected {
    id: NodeId,
    parent: NodeId,
    level: u8,
    centroid: Rounded,
}

/// Walks the tree; `rows` is called with each leaf and its rows. What is wrong with a node goes to
/// `wrong`: it may end the walk, or leave out what is below the node.
pub(crate) fn walk(
    backing: &dyn Backing,
    space: &Space,
    mut rows: impl FnMut(NodeId, &[Row]) -> Result<()>,
    mut wrong: impl FnMut(NodeId, Error) -> Result<()>,
) -> Result<Census> {
    let mut census = Census::default();
    let root = match backing.nodes(&[NodeId::ROOT]) {
        Ok(found) => found.into_iter().next().flatten(),
        Err(error) => {
            wrong(NodeId::ROOT, error)?;
            return Ok(census);
        }
    };
    let Some(root) = root else { return Ok(census) };
    let zero = Rounded::round(&vec![0.0; space.padded()]);
    let height = root.level();
    census.height = u32::from(height) + 1;
    let parent = NodeId::ROOT;
    let mut level = vec![Expected { id: parent, parent, level: height, centroid: zero }];
    let mut seen = HashSet::new();
    while !level.is_empty() {
        let mut below = Vec::new();
        for run in level.chunks(RUN) {
            let ids: Vec<NodeId> = run.iter().map(|expected| expected.id).collect();
            for (expected, node) in run.iter().zip(each(backing, &ids)) {
                let visited = node.and_then(|node| {
                    let node = node.ok_or_else(damaged)?;
                    let agrees = seen.insert(expected.id)
                        && node.parent() == expected.parent
                        && node.level() == expected.level
                        && *node.centroid() == expected.centroid;
                    if !agrees {
                        return Err(damaged());
                    }
                    check(&node, expected.id, space, &mut census, &mut below)?;
                    match &node {
                        Node::Leaf(leaf) => rows(expected.id, &leaf.rows),
                        Node::Branch(_) => Ok(()),
                    }
                });
                visited.or_else(|error| wrong(expected.id, error))?;
            }
        }
        level = below;
    }
    Ok(census)
}

/// Reads nodes together, or one by one if one of them fails.
fn each(backing: &dyn Backing, ids: &[NodeId]) -> Vec<Result<Option<Node>>> {
    if let Ok(nodes) = backing.nodes(ids) {
        return nodes.into_iter().map(Ok).collect();
    }
    let one = |id: &NodeId| backing.nodes(&[*id]).map(|one| one.into_iter().next().flatten());
    ids.iter().map(one).collect()
}

fn check(
    node: &Node,
    id: NodeId,
    space: &Space,
    census: &mut Census,
    below: &mut Vec<Expected>,
) -> Result<()> {
    let rules = &space.rules;
    match node {
        Node::Leaf(leaf) => {
            census.leaves += 1;
            let (firsts, seconds) = (leaf.firsts(), leaf.seconds());
            let over = firsts > rules.leaf_most || seconds > rules.seconds_most();
            census.oversized += u64::from(over);
            census.first_copies += firsts as u64;
            census.second_copies += seconds as u64;
            let items: HashSet<_> = leaf.rows.iter().map(|row| row.pseudonym).collect();
            let sound = items.len() == leaf.rows.len()
                && leaf.rows.len() == leaf.factors.len()
                && leaf.codes.len() == leaf.rows.len() * leaf.code_bytes()
                && leaf.centroid.codes.len() == space.padded()
                && (id != NodeId::ROOT || (seconds == 0 && firsts > 0));
            if sound { Ok(()) } else { Err(damaged()) }
        }
        Node::Branch(branch) => {
            census.branches += 1;
            let children = &branch.children;
            let least = if id == NodeId::ROOT { 2 } else { 1 };
            census.oversized += u64::from(children.len() > rules.fanout_most);
            if children.len() < least {
                return Err(damaged());
            }
            for at in 0..children.len() {
                let centroid = children.centroid(at).ok_or_else(damaged)?;
                let square: f32 = centroid.expand().iter().map(|x| x * x).sum();
                let (Some(child), Some(radius), Some(stored)) =
                    (children.ids.get(at), children.radii.get(at), children.squares.get(at))
                else {
                    return Err(damaged());
                };
                let level = branch.level.checked_sub(1).ok_or_else(damaged)?;
                // Another machine may have added the squares in another order.
                if (square - stored).abs() > square * 1e-4 || *child == NodeId::ROOT {
                    return Err(damaged());
                }
                // How wide the child was; with rows taken away it may be anything by now.
                let rounded = coarse(*radius).to_bits() == radius.to_bits();
                if radius.is_nan() || radius.is_sign_negative() || !rounded {
                    return Err(damaged());
                }
                below.push(Expected { id: *child, parent: id, level, centroid });
            }
            Ok(())
        }
    }
}

/// Whether a row is the copy of an item that its record lists in this leaf.
pub(crate) fn lists(leaves: &[NodeId], leaf: NodeId, copy: Copy) -> bool {
    match copy {
        Copy::First => leaves.first() == Some(&leaf),
        Copy::Second => leaves.get(1) == Some(&leaf),
    }
}
