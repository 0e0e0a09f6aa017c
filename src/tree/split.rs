//! Splitting what overflowed, and putting right what a split left in the wrong place.
//!
//! Steps of a leaf's split, all in one plan:
//! 1. Cut its first copies into groups by k-means on the vectors; the largest group keeps the node.
//! 2. Give each group a centroid, rounded, with its noise; encode the rows again. Second copies go
//!    to the nearer of the new leaves.
//! 3. Tell the parent; a branch that overflows is cut in two by its children's centroids.
//! 4. Reassign, as LIRE does (`SPFresh`, Xu et al., SOSP 2023, section 4.2): a vector of the new
//!    leaves may be nearer to a neighbour, a vector of a neighbour to a new centroid. The second is
//!    asked of the codes first. What is really nearer elsewhere moves. Second copies of what moved
//!    or stayed are chosen anew.
//!
use std::collections::{BTreeMap, HashMap};

use super::build::members_of;
use super::centroid::{add, centroid_of, scale};
use super::node::{Branch, Copy, Entries, Leaf, Node, Row};
use super::plan::{Placed, Plan};
use super::{Home, damaged, squared_distance};
use crate::error::Result;
use crate::id::NodeId;
use crate::vector::kernels;
use crate::vector::kmeans::{self, Points};
use crate::vector::rabitq::{Form, Probe};
use crate::vector::scalar::Rounded;

/// Leaves around a split that are looked at for reassignment.
const NEIGHBOURS: usize = 32;
/// A leaf with more times the most is cut in two levels.
const MANY: usize = 16;

impl Plan<'_> {
    /// Splits leaves until none is overfull.
    pub(super) fn settle(&mut self, reassign: bool) -> Result<()> {
        while let Some(id) = self.overfull.pop() {
            if self.has(id) && self.leaf(id)?.firsts() > self.space.rules.leaf_most {
                self.split_leaf(id, reassign)?;
            }
        }
        Ok(())
    }

    fn split_leaf(&mut self, id: NodeId, reassign: bool) -> Result<()> {
        let leaf = self.leaf(id)?;
        let (parent, width) = (leaf.parent, leaf.width);
        let old: Placed = leaf.centroid.expand().into();
        let rows = leaf.rows.clone();
        let (firsts, seconds): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.copy == Copy::First);
        let mut vectors = self.vectors_of(&firsts)?;
        if id == NodeId::ROOT {
            self.set_span(&vectors);
            vectors = self.vectors_of(&firsts)?;
        }
        let groups = self.group(&vectors)?;
        let count = groups.iter().max().map_or(0, |group| *group + 1);
        if count < 2 {
            return Err(damaged());
        }
        let near = reassign && count <= 3 && id != NodeId::ROOT;

        // The largest group keeps the node, unless the node is the root.
        let sizes: Vec<usize> =
            (0..count).map(|n| groups.iter().filter(|group| **group == n).count()).collect();
        let largest = (0..count).max_by_key(|n| sizes.get(*n)).filter(|_| id != NodeId::ROOT);
        let above = if id == NodeId::ROOT { NodeId::ROOT } else { parent };
        let mut leaves = Vec::with_capacity(count);
        for n in 0..count {
            let members: Vec<&Placed> = groups
                .iter()
                .zip(&vectors)
                .filter(|(group, _)| **group == n)
                .map(|(_, vector)| vector)
                .collect();
            let centroid = centroid_of(&members, members.len(), self.space)?;
            let node = if largest == Some(n) { id } else { self.fresh_id() };
            leaves.push((node, centroid));
        }
        for (node, centroid) in &leaves {
            let leaf = Leaf::empty(above, centroid.clone(), width);
            self.put(*node, Some(Node::Leaf(leaf)));
        }
        if id == NodeId::ROOT {
            let root = self.root_branch(1, Entries::default());
            self.put(id, Some(Node::Branch(root)));
        } else {
            self.load([above])?;
            if !self.branch_mut(above)?.children.remove(id) {
                return Err(damaged());
            }
        }
        let children = &mut self.branch_mut(above)?.children;
        for (node, centroid) in &leaves {
            children.push(*node, centroid, 0.0);
        }

        let of_first = firsts.into_iter().zip(vectors).zip(groups);
        let targets: Vec<NodeId> = leaves.iter().map(|(node, _)| *node).collect();
        let of_first: Vec<(Row, Placed, NodeId)> = of_first
            .map(|((row, vector), group)| Some((row, vector, *targets.get(group)?)))
            .collect::<Option<_>>()
            .ok_or_else(damaged)?;
        self.move_rows(id, of_first)?;
        let vectors = self.vectors_of(&seconds)?;
        let expanded: Vec<(NodeId, Vec<f32>)> =
            leaves.iter().map(|(node, centroid)| (*node, centroid.expand())).collect();
        let of_second = seconds.into_iter().zip(vectors).map(|(row, vector)| {
            let node = nearest(&expanded, &vector)?;
            Some((row, vector, node))
        });
        let of_second = of_second.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        self.move_rows(id, of_second)?;
        self.split_branch(above)?;
        if near {
            self.reassign(&old, &targets)?;
        }
        self.respill_all(&targets)
    }

    /// Which group each vector goes to; no group is too large for a leaf.
    fn group(&self, vectors: &[Placed]) -> Result<Vec<usize>> {
        let (all, most) = (vectors.len(), self.space.rules.leaf_most);
        let flat = |members: &[&Placed]| -> Vec<f32> {
            members.iter().flat_map(|vector| vector.iter().copied()).collect()
        };
        let dimension = self.space.padded();
        if all <= most.saturating_mul(MANY) {
            let flat = flat(&vectors.iter().collect::<Vec<_>>());
            let points = Points::new(dimension, &flat);
            return Ok(if all * 2 <= most * 3 {
                kmeans::halve(points).into_iter().map(usize::from).collect()
            } else {
                kmeans::divide(points, most).into_iter().map(|group| group as usize).collect()
            });
        }
        let mut groups = vec![0; all];
        let mut next = 0;
        for members in self.clusters(vectors, all.div_ceil(self.space.rules.leaf_fill()))? {
            let flat = flat(&members_of(vectors, &members));
            let parts = kmeans::divide(Points::new(dimension, &flat), most);
            let count = parts.iter().max().map_or(0, |part| *part as usize + 1);
            for (place, part) in members.iter().zip(parts) {
                if let Some(group) = groups.get_mut(*place) {
                    *group = next + part as usize;
                }
            }
            next += count;
        }
        Ok(groups)
    }

    /// Encodes rows that were in `from` into their new leaves.
    pub(super) fn move_rows(
        &mut self,
        from: NodeId,
        rows: Vec<(Row, Placed, NodeId)>,
    ) -> Result<()> {
        let moved: Vec<_> = rows
            .iter()
            .filter(|(_, _, to)| *to != from)
            .map(|(row, _, to)| (row.pseudonym, row.copy, *to))
            .collect();
        let items: Vec<_> = moved.iter().map(|(item, _, _)| *item).collect();
        for ((item, copy, to), home) in moved.into_iter().zip(self.homes_of(&items)?) {
            let home = home.ok_or_else(damaged)?;
            let home = match copy {
                Copy::First => Home { first: to, ..home },
                Copy::Second => Home { second: Some(to), ..home },
            };
            self.set_home(item, Some(home));
        }
        let mut by_leaf: BTreeMap<NodeId, Vec<(Row, Placed)>> = BTreeMap::new();
        for (row, vector, to) in rows {
            by_leaf.entry(to).or_default().push((row, vector));
        }
        self.add_rows(by_leaf)
    }

    /// Cuts a branch in two until none has too many children, and its parent in turn.
    pub(super) fn split_branch(&mut self, id: NodeId) -> Result<()> {
        let branch = self.branch(id)?;
        if branch.children.len() <= self.space.rules.fanout_most {
            return Ok(());
        }
        let (level, parent, tag) = (branch.level, branch.parent, branch.tag);
        let children = branch.children.clone();
        let centroids: Vec<Vec<f32>> = (0..children.len())
            .map(|at| children.centroid(at).map(|centroid| centroid.expand()))
            .collect::<Option<_>>()
            .ok_or_else(damaged)?;
        let flat = centroids.concat();
        let half = kmeans::halve(Points::new(self.space.padded(), &flat));
        let larger = half.iter().filter(|right| **right).count() * 2 > half.len();
        let is_root = id == NodeId::ROOT;
        let kept = if is_root { self.fresh_id() } else { id };
        let other = self.fresh_id();
        let above = if is_root { NodeId::ROOT } else { parent };

        let mut parts = Vec::with_capacity(2);
        for (node, side) in [(kept, larger), (other, !larger)] {
            let mut entries = Entries::default();
            let mut mean = vec![0.0; self.space.padded()];
            let mut moved = Vec::new();
            for (at, _) in half.iter().enumerate().filter(|(_, right)| **right == side) {
                let centroid = children.centroid(at).ok_or_else(damaged)?;
                let child = *children.ids.get(at).ok_or_else(damaged)?;
                let radius = *children.radii.get(at).ok_or_else(damaged)?;
                entries.push(child, &centroid, radius);
                add(&mut mean, centroids.get(at).ok_or_else(damaged)?);
                moved.push(child);
            }
            scale(&mut mean, entries.len());
            if node != id {
                self.load(moved.iter().copied())?;
                for child in moved {
                    self.node_mut(child)?.set_parent(node);
                }
            }
            let centroid = Rounded::round(&mean);
            let (parent, span) = (above, 0.0);
            let branch = Branch { parent, level, centroid, span, tag, children: entries };
            parts.push((node, Node::Branch(branch)));
        }
        if is_root {
            let level = level.checked_add(1).ok_or_else(damaged)?;
            let root = self.root_branch(level, Entries::default());
            self.put(NodeId::ROOT, Some(Node::Branch(root)));
        } else {
            self.load([above])?;
            if !self.branch_mut(above)?.children.remove(id) {
                return Err(damaged());
            }
        }
        for (node, part) in parts {
            let radius = part.radius();
            let centroid = part.centroid().clone();
            self.put(node, Some(part));
            self.branch_mut(above)?.children.push(node, &centroid, radius);
        }
        // A half may still have too many, and the parent has one more.
        self.split_branch(kept)?;
        self.split_branch(other)?;
        self.split_branch(above)
    }

    /// Step 4: moves first copies that a split left in a leaf that is not the nearest.
    fn reassign(&mut self, old: &Placed, new: &[NodeId]) -> Result<()> {
        let around = self.neighbours(old, NEIGHBOURS + new.len())?;
        let around: Vec<NodeId> = around.into_iter().filter(|leaf| !new.contains(leaf)).collect();
        let centroids = self.centroids_of(&[&around[..], new].concat())?;
        let mut moves: Vec<(Row, NodeId, NodeId)> = Vec::new();
        for leaf in new {
            let rows: Vec<Row> = self.first_rows(*leaf)?;
            let vectors = self.vectors_of(&rows)?;
            for (row, vector) in rows.into_iter().zip(vectors) {
                if let Some(to) = closer(&centroids, &vector, *leaf) {
                    moves.push((row, *leaf, to));
                }
            }
        }
        for leaf in &around {
            let candidates = self.strayed(*leaf, new, &centroids)?;
            let vectors = self.vectors_of(&candidates)?;
            for (row, vector) in candidates.into_iter().zip(vectors) {
                if let Some(to) = closer(&centroids, &vector, *leaf) {
                    moves.push((row, *leaf, to));
                }
            }
        }
        self.relocate(moves)
    }

    /// The first copies of a leaf.
    fn first_rows(&self, leaf: NodeId) -> Result<Vec<Row>> {
        let rows = self.leaf(leaf)?.rows.iter();
        Ok(rows.filter(|row| row.copy == Copy::First).cloned().collect())
    }

    /// First copies of a leaf that, by their codes, are nearer to one of the new centroids.
    fn strayed(
        &self,
        id: NodeId,
        new: &[NodeId],
        centroids: &HashMap<NodeId, Vec<f32>>,
    ) -> Result<Vec<Row>> {
        let leaf = self.leaf(id)?;
        let own = centroids.get(&id).ok_or_else(damaged)?;
        let add: Vec<f32> = leaf.factors.iter().map(|factors| factors.add).collect();
        let rescale: Vec<f32> = leaf.factors.iter().map(|factors| factors.rescale).collect();
        let error: Vec<f32> = leaf.factors.iter().map(|factors| factors.error).collect();
        let mut dots = Vec::new();
        // The squared distance to a centroid, less what is the same for all centroids.
        let mut to = |centroid: &[f32]| {
            let probe = Probe::new(self.space.form(), centroid);
            let (base, apart) = (probe.to_centroid(own), squared_distance(centroid, own).sqrt());
            let mut out = Vec::with_capacity(leaf.rows.len());
            let (width, codes) = (leaf.width, &leaf.codes);
            probe.estimate(width, base, apart, codes, &add, &rescale, &error, &mut dots, &mut out);
            let estimates = out.into_iter().map(|estimate| estimate.distance);
            match self.space.form() {
                Form::Square => estimates.collect::<Vec<f32>>(),
                // Inner-product codes estimate -<c, x>.
                Form::Inner => {
                    let square = kernels::dot(centroid, centroid);
                    estimates.map(|estimate| square + 2.0 * estimate).collect()
                }
            }
        };
        let here = to(own);
        let mut strayed = vec![false; leaf.rows.len()];
        for target in new {
            let there = to(centroids.get(target).ok_or_else(damaged)?);
            for ((stray, here), there) in strayed.iter_mut().zip(&here).zip(there) {
                *stray |= there < *here;
            }
        }
        let rows = leaf.rows.iter().zip(strayed);
        let strayed = rows.filter(|(row, stray)| *stray && row.copy == Copy::First);
        Ok(strayed.map(|(row, _)| row.clone()).collect())
    }

    /// Moves first copies from leaf to leaf, while there is room, and chooses their second copies
    /// anew. A leaf that this filled would be split in turn, and equal vectors would go from one to
    /// the next without end.
    fn relocate(&mut self, mut moves: Vec<(Row, NodeId, NodeId)>) -> Result<()> {
        let mut room: HashMap<NodeId, usize> = HashMap::new();
        for (_, _, to) in &moves {
            let left = self.space.rules.leaf_most.saturating_sub(self.leaf(*to)?.firsts());
            room.insert(*to, left);
        }
        moves.retain(|(_, _, to)| match room.get_mut(to) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        });
        let items: Vec<_> = moves.iter().map(|(row, _, _)| row.pseudonym).collect();
        let homes = self.homes_of(&items)?;
        let rows: Vec<Row> = moves.iter().map(|(row, _, _)| row.clone()).collect();
        let vectors = self.vectors_of(&rows)?;
        let mut by_leaf: BTreeMap<NodeId, Vec<(Row, Placed)>> = BTreeMap::new();
        for (((row, from, to), home), vector) in moves.into_iter().zip(homes).zip(vectors) {
            // Leaves of equal vectors would overfill each other for ever.
            let coming = by_leaf.get(&to).map_or(0, Vec::len);
            if self.leaf(to)?.firsts() + coming >= self.space.rules.leaf_most {
                continue;
            }
            let home = home.ok_or_else(damaged)?;
            self.take_row(from, &row.pseudonym, Some(Copy::First))?;
            let second = home.second.filter(|second| *second != to);
            if second != home.second {
                self.take_row(to, &row.pseudonym, Some(Copy::Second))?;
            }
            self.set_home(row.pseudonym, Some(Home { first: to, second }));
            self.thinned.insert(from);
            by_leaf.entry(to).or_default().push((row, vector));
        }
        self.load(by_leaf.keys().copied())?;
        self.add_rows(by_leaf)?;
        self.respill(&rows)
    }

    /// Chooses the second copies of everything in these leaves anew.
    fn respill_all(&mut self, leaves: &[NodeId]) -> Result<()> {
        if !self.spills()? {
            return Ok(());
        }
        let mut rows = Vec::new();
        for leaf in leaves {
            rows.extend(self.first_rows(*leaf)?);
        }
        self.respill(&rows)
    }
}

fn nearest(centroids: &[(NodeId, Vec<f32>)], vector: &[f32]) -> Option<NodeId> {
    let scored = centroids.iter().map(|(id, c)| (squared_distance(c, vector), *id));
    scored.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, id)| id)
}

/// The nearest of the centroids, if it is not the one of `own`.
fn closer(centroids: &HashMap<NodeId, Vec<f32>>, vector: &[f32], own: NodeId) -> Option<NodeId> {
    let here = squared_distance(centroids.get(&own)?, vector);
    let scored = centroids.iter().map(|(id, c)| (squared_distance(c, vector), *id));
    let (square, id) = scored.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
    (square < here && id != own).then_some(id)
}

/// Used by the skeleton of a bulk load: a branch over children, its centroid their mean.
pub(super) fn branch_over(
    children: Entries,
    parent: NodeId,
    level: u8,
    padded: usize,
) -> Result<Branch> {
    let mut mean = vec![0.0; padded];
    for at in 0..children.len() {
        add(&mut mean, &children.centroid(at).ok_or_else(damaged)?.expand());
    }
    scale(&mut mean, children.len());
    let centroid = Rounded::round(&mean);
    Ok(Branch { parent, level, centroid, span: 0.0, tag: [0; 16], children })
}
