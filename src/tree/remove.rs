//! Taking items out, and dissolving what that left too small.
//!
//! Every row of a removed item goes in the plan that removes it. A leaf that is left with too few
//! first copies is dissolved in the same plan: its centroid was computed from vectors that may be
//! gone. Steps:
//! 1. Detach the small leaves, and branches that this leaves without children.
//! 2. Put their first copies in as if they were new; choose second copies again for items that had
//!    theirs there.
//! 3. Merge branches that have too few children; a root with one child takes its place.

use std::collections::BTreeSet;

use super::node::{Branch, Copy, Node, Row};
use super::plan::{Placed, Plan, Point};
use super::{Home, damaged, squared_distance};
use crate::error::Result;
use crate::id::NodeId;
use crate::store::key::Pseudonym;

/// Siblings a small branch may be merged into, nearest first.
const SIBLINGS: usize = 4;

impl Plan<'_> {
    /// Takes out the rows of items.
    pub(crate) fn remove(&mut self, items: &[(Pseudonym, Home)]) -> Result<()> {
        self.load(items.iter().flat_map(|(_, home)| home.leaves()))?;
        for (item, home) in items {
            self.take_row(home.first, item, Some(Copy::First))?;
            self.thinned.insert(home.first);
            if let Some(second) = home.second {
                self.take_row(second, item, Some(Copy::Second))?;
            }
            self.forget(item);
            self.set_home(*item, None);
        }
        Ok(())
    }

    /// Dissolves the leaves that have become too small.
    pub(crate) fn dissolve(&mut self) -> Result<()> {
        let least = self.space.rules.leaf_least;
        let mut small = Vec::new();
        for id in std::mem::take(&mut self.thinned) {
            // A root that has split since is no leaf any more.
            if !self.has(id) || self.node(id)?.level() > 0 {
                continue;
            }
            // The root may have been a leaf when it was listed.
            let Node::Leaf(leaf) = self.node(id)? else { continue };
            let firsts = leaf.firsts();
            match id {
                NodeId::ROOT if firsts == 0 => self.put(id, None),
                NodeId::ROOT => {}
                _ if firsts < least => small.push(id),
                _ => {}
            }
        }
        if small.is_empty() {
            return Ok(());
        }
        let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
        let mut parents = BTreeSet::new();
        for id in small {
            let leaf = self.leaf(id)?;
            let parent = leaf.parent;
            let (own, spilled): (Vec<Row>, Vec<Row>) =
                leaf.rows.iter().cloned().partition(|row| row.copy == Copy::First);
            firsts.extend(own);
            seconds.extend(spilled);
            self.detach(id, parent)?;
            parents.insert(parent);
        }
        self.rehome(firsts, seconds, parents)
    }

    /// Steps 2 and 3, with the rows of first and of second copies that lost their leaves, and the
    /// parents of these.
    pub(super) fn rehome(
        &mut self,
        firsts: Vec<Row>,
        seconds: Vec<Row>,
        parents: BTreeSet<NodeId>,
    ) -> Result<()> {
        let names: Vec<Pseudonym> = firsts.iter().map(|row| row.pseudonym).collect();
        let vectors = self.vectors_of(&firsts)?;
        for (item, home) in names.iter().zip(self.homes_of(&names)?) {
            if let Some(second) = home.ok_or_else(damaged)?.second
                && self.is_there(second)?
            {
                self.take_row(second, item, Some(Copy::Second))?;
            }
            self.set_home(*item, None);
        }
        let names: Vec<Pseudonym> = seconds.iter().map(|row| row.pseudonym).collect();
        let mut orphans = Vec::new();
        for (row, home) in seconds.into_iter().zip(self.homes_of(&names)?) {
            // Without a home it is among the first copies that are put in anew.
            if let Some(home) = home {
                self.set_home(row.pseudonym, Some(Home { second: None, ..home }));
                orphans.push(Row { copy: Copy::First, ..row });
            }
        }
        let points = firsts.into_iter().zip(vectors);
        self.place(points.map(|(row, vector)| Point { row, vector }).collect())?;
        self.respill(&orphans)?;
        self.settle(false)?;
        for parent in parents {
            self.merge_branch(parent)?;
        }
        self.collapse()
    }

    /// Whether a node that an item names is still there; it was stored, or this plan took it away.
    fn is_there(&mut self, id: NodeId) -> Result<bool> {
        if self.is_gone(id) {
            return Ok(false);
        }
        self.load([id])?;
        Ok(self.has(id))
    }

    /// Takes a node away, and its parent if that has no other child.
    pub(super) fn detach(&mut self, id: NodeId, parent: NodeId) -> Result<()> {
        self.put(id, None);
        self.load([parent])?;
        let branch = self.branch_mut(parent)?;
        if !branch.children.remove(id) {
            return Err(damaged());
        }
        let (empty, above) = (branch.children.len() == 0, branch.parent);
        match (empty, parent) {
            (true, NodeId::ROOT) => self.put(NodeId::ROOT, None),
            (true, _) => self.detach(parent, above)?,
            (false, _) => {}
        }
        Ok(())
    }

    /// Gives the children of a branch that has too few to the nearest sibling with room.
    pub(super) fn merge_branch(&mut self, id: NodeId) -> Result<()> {
        if id == NodeId::ROOT || !self.has(id) {
            return Ok(());
        }
        let rules = self.space.rules;
        let Branch { parent, centroid, children, .. } = self.branch(id)?.clone();
        if children.len() >= rules.fanout_least {
            return Ok(());
        }
        self.load([parent])?;
        let own = centroid.expand();
        let around = &self.branch(parent)?.children;
        let mut siblings: Vec<(f32, NodeId)> = (0..around.len())
            .filter_map(|at| {
                let centroid = around.centroid(at)?.expand();
                Some((squared_distance(&own, &centroid), *around.ids.get(at)?))
            })
            .filter(|(_, sibling)| *sibling != id)
            .collect();
        siblings.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        siblings.truncate(SIBLINGS);
        self.load(siblings.iter().map(|(_, sibling)| *sibling))?;
        for (_, sibling) in siblings {
            if self.branch(sibling)?.children.len() + children.len() > rules.fanout_most {
                continue;
            }
            self.load(children.ids.iter().copied())?;
            for child in &children.ids {
                self.node_mut(*child)?.set_parent(sibling);
            }
            self.branch_mut(sibling)?.children.extend(&children);
            self.detach(id, parent)?;
            return self.merge_branch(parent);
        }
        Ok(())
    }

    /// Takes levels away while the root has one child.
    pub(super) fn collapse(&mut self) -> Result<()> {
        loop {
            let only = match self.root()? {
                Some(Node::Branch(root)) if root.children.len() == 1 => {
                    *root.children.ids.first().ok_or_else(damaged)?
                }
                _ => return Ok(()),
            };
            self.load([only])?;
            match self.node(only)?.clone() {
                Node::Branch(child) => {
                    self.load(child.children.ids.iter().copied())?;
                    for grandchild in &child.children.ids {
                        self.node_mut(*grandchild)?.set_parent(NodeId::ROOT);
                    }
                    let Branch { level, children, tag, .. } = child;
                    let root = Branch { tag, ..self.root_branch(level, children) };
                    self.put(NodeId::ROOT, Some(Node::Branch(root)));
                    self.put(only, None);
                }
                Node::Leaf(leaf) if leaf.rows.is_empty() => {
                    self.put(NodeId::ROOT, None);
                    self.put(only, None);
                    return Ok(());
                }
                Node::Leaf(leaf) => {
                    let root = self.root_leaf();
                    let vectors = self.vectors_of(&leaf.rows)?;
                    self.put(NodeId::ROOT, Some(Node::Leaf(root)));
                    self.put(only, None);
                    let rows = leaf.rows.into_iter().zip(vectors);
                    let rows: Vec<(Row, Placed, NodeId)> =
                        rows.map(|(row, vector)| (row, vector, NodeId::ROOT)).collect();
                    return self.move_rows(only, rows);
                }
            }
        }
    }
}
