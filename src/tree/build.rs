//! Building many leaves at once: the skeleton of a bulk load, and the rebuilding of a part of the
//! tree.
//!
//! A skeleton is a tree of empty leaves whose centroids come from a sample; what is inserted
//! afterwards finds its place, and ordinary splits take care of what the sample did not show. A
//! rebuild takes one branch above the leaves, clusters all that is below it anew and leaves the
//! rest of the tree as it is.
//!
//! Cost: k-means over the sample in two levels, so about `n * sqrt(k)` distances a round for `k`
//! leaves.

use std::collections::BTreeSet;

use super::centroid::{centroid_of, mean};
use super::node::{Copy, Entries, Leaf, Node, Row};
use super::plan::{Placed, Plan};
use super::split::branch_over;
use super::{Home, damaged, map};
use crate::error::Result;
use crate::id::NodeId;
use crate::store::key::Pseudonym;
use crate::vector::kmeans::{self, Points};

/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 8;
/// More clusters than this are made in two levels.
const FLAT: usize = 48;
/// Rounds over all clusters, after the two levels.
const REFINING: usize = 4;

impl Plan<'_> {
    /// Makes the skeleton for about `expected` items. Nothing is done if the items fit into one
    /// leaf, or if there is one of a run that came no further, or of items that are gone.
    pub(crate) fn skeleton(&mut self, sample: &[Placed], expected: usize) -> Result<()> {
        if self.root()?.is_some() {
            return Ok(());
        }
        let rules = self.space.rules;
        let leaves = expected.div_ceil(rules.leaf_fill()).min(sample.len() / 4);
        if leaves < 2 || expected <= rules.leaf_most {
            return Ok(());
        }
        self.set_span(sample);
        let sample: Vec<Placed> = sample.iter().map(|vector| self.stretched(vector)).collect();
        let mut members = self.clusters(&sample, leaves)?;
        // A leaf for so few would be dissolved by the first delete, if it were not empty: the noise of
        // such a centroid may be too far for them.
        let stands_for = |members: usize| members.saturating_mul(expected) / sample.len();
        members.retain(|members| stands_for(members.len()) >= rules.leaf_least);
        if members.len() < 2 {
            return Ok(());
        }
        let mut children = Entries::default();
        for members in &members {
            let members = members_of(&sample, members);
            let centroid = centroid_of(&members, members.len(), self.space)?;
            let id = self.fresh_id();
            let leaf = Leaf::empty(NodeId::ROOT, centroid.clone(), rules.width);
            children.push(id, &centroid, 0.0);
            self.put(id, Some(Node::Leaf(leaf)));
        }
        let mut level = 1;
        while children.len() > rules.fanout_most {
            children = self.gather(&children, level)?;
            level += 1;
        }
        self.adopt(&children, NodeId::ROOT)?;
        let root = self.root_branch(level, children);
        self.put(NodeId::ROOT, Some(Node::Branch(root)));
        Ok(())
    }

    /// Vectors in about `count` clusters, none empty: the places of their members.
    pub(super) fn clusters(&self, vectors: &[Placed], count: usize) -> Result<Vec<Vec<usize>>> {
        let all: Vec<usize> = (0..vectors.len()).collect();
        if count <= FLAT {
            return Ok(cluster(vectors, &all, count));
        }
        let coarse = cluster(vectors, &all, count.isqrt());
        let share = |part: &[usize]| (part.len() * count).div_ceil(vectors.len()).max(1);
        let fine = map(self.backing, coarse, |part| Ok(cluster(vectors, &part, share(&part))))?;
        self.refine(vectors, fine.into_iter().flatten().collect())
    }

    /// Runs Lloyd's algorithm over all clusters together: two levels alone leave vectors on the
    /// wrong side of the borders of the coarse clusters.
    fn refine(&self, vectors: &[Placed], mut clusters: Vec<Vec<usize>>) -> Result<Vec<Vec<usize>>> {
        let dimension = self.space.padded();
        let mut centroids: Vec<f32> =
            clusters.iter().flat_map(|members| mean(&members_of(vectors, members))).collect();
        let share = vectors.len().div_ceil(self.backing.threads()).max(1);
        let parts: Vec<Vec<f32>> = vectors
            .chunks(share)
            .map(|part| part.iter().flat_map(|vector| vector.iter().copied()).collect())
            .collect();
        for _ in 0..REFINING {
            let around = Points::new(dimension, &centroids);
            let assigned = map(self.backing, parts.iter().collect(), |part: &Vec<f32>| {
                Ok(kmeans::assign(Points::new(dimension, part), around))
            })?;
            let nearest = assigned.iter().flat_map(|part| part.nearest.iter());
            clusters.iter_mut().for_each(Vec::clear);
            for (place, cluster) in nearest.enumerate() {
                let cluster = usize::try_from(*cluster).ok().and_then(|at| clusters.get_mut(at));
                cluster.ok_or_else(damaged)?.push(place);
            }
            kmeans::update(&mut centroids, &assigned);
        }
        clusters.retain(|members| !members.is_empty());
        Ok(clusters)
    }

    /// Makes branches over nodes that have none yet.
    fn gather(&mut self, nodes: &Entries, level: u8) -> Result<Entries> {
        let centroids: Vec<f32> = (0..nodes.len())
            .map(|at| nodes.centroid(at).map(|centroid| centroid.expand()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(damaged)?
            .concat();
        let points = Points::new(self.space.padded(), &centroids);
        let groups = kmeans::divide(points, self.space.rules.fanout_most);
        let count = groups.iter().max().map_or(0, |group| group + 1);
        let mut above = Entries::default();
        for number in 0..count {
            let mut children = Entries::default();
            for (at, _) in groups.iter().enumerate().filter(|(_, group)| **group == number) {
                let centroid = nodes.centroid(at).ok_or_else(damaged)?;
                let radius = *nodes.radii.get(at).ok_or_else(damaged)?;
                children.push(*nodes.ids.get(at).ok_or_else(damaged)?, &centroid, radius);
            }
            let id = self.fresh_id();
            self.adopt(&children, id)?;
            let branch = branch_over(children, NodeId::ROOT, level, self.space.padded())?;
            let centroid = branch.centroid.clone();
            let node = Node::Branch(branch);
            above.push(id, &centroid, node.radius());
            self.put(id, Some(node));
        }
        Ok(above)
    }

    fn adopt(&mut self, children: &Entries, parent: NodeId) -> Result<()> {
        children.ids.iter().try_for_each(|child| {
            self.node_mut(*child)?.set_parent(parent);
            Ok(())
        })
    }

    /// The branches above the leaves, each with its tag, in the order of the tree.
    pub(crate) fn twigs(&mut self) -> Result<Vec<(NodeId, [u8; 16])>> {
        let Some(Node::Branch(root)) = self.root()? else { return Ok(Vec::new()) };
        let (mut ids, mut level) = (vec![NodeId::ROOT], root.level);
        while level > 1 {
            let mut below = Vec::new();
            for id in &ids {
                below.extend_from_slice(&self.branch(*id)?.children.ids);
            }
            self.load(below.iter().copied())?;
            (ids, level) = (below, level - 1);
        }
        ids.into_iter().map(|id| Ok((id, self.branch(id)?.tag))).collect()
    }

    /// Whether there is a branch above leaves with this id that does not have the tag.
    pub(crate) fn is_twig(&mut self, id: NodeId, tag: &[u8; 16]) -> Result<bool> {
        let node = self.backing.nodes(&[id])?.into_iter().next().flatten();
        Ok(matches!(node, Some(Node::Branch(branch)) if branch.level == 1 && branch.tag != *tag))
    }

    /// Clusters everything below a branch above the leaves anew, and marks the branch with the tag.
    /// Leaves without first copies go, and so does a branch that has no others.
    pub(crate) fn rebuild(&mut self, id: NodeId, tag: [u8; 16]) -> Result<()> {
        self.load([id])?;
        let old = self.branch(id)?.children.ids.clone();
        self.load(old.iter().copied())?;
        let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
        for leaf in &old {
            let rows = self.leaf(*leaf)?.rows.iter().cloned();
            let (own, spilled): (Vec<Row>, Vec<Row>) =
                rows.partition(|row| row.copy == Copy::First);
            firsts.extend(own);
            seconds.extend(spilled);
        }
        let below: BTreeSet<NodeId> = old.iter().copied().collect();
        // Second copies that were below are chosen again.
        let names: Vec<Pseudonym> = seconds.iter().map(|row| row.pseudonym).collect();
        let mut respill = Vec::new();
        for (row, home) in seconds.into_iter().zip(self.homes_of(&names)?) {
            let home = home.ok_or_else(damaged)?;
            self.set_home(row.pseudonym, Some(Home { second: None, ..home }));
            if !below.contains(&home.first) {
                respill.push(Row { copy: Copy::First, ..row });
            }
        }
        if firsts.is_empty() {
            return self.remove_twig(id, &old, &respill);
        }

        let vectors = self.vectors_of(&firsts)?;
        let width = self.space.rules.width;
        let flat: Vec<f32> = vectors.iter().flat_map(|v| v.iter().copied()).collect();
        let points = Points::new(self.space.padded(), &flat);
        let groups = kmeans::divide(points, self.space.rules.leaf_most);
        drop(flat);
        let count = groups.iter().max().map_or(0, |group| group + 1);
        let mut children = Entries::default();
        let mut targets = Vec::new();
        for number in 0..count {
            let members = groups.iter().zip(&vectors).filter(|(group, _)| **group == number);
            let members: Vec<&Placed> = members.map(|(_, vector)| vector).collect();
            let centroid = centroid_of(&members, members.len(), self.space)?;
            let leaf = self.fresh_id();
            self.put(leaf, Some(Node::Leaf(Leaf::empty(id, centroid.clone(), width))));
            children.push(leaf, &centroid, 0.0);
            targets.push(leaf);
        }
        for leaf in old {
            self.put(leaf, None);
        }
        let branch = self.branch_mut(id)?;
        (branch.children, branch.tag) = (children, tag);
        respill.extend(firsts.iter().cloned());
        let rows = firsts.into_iter().zip(vectors).zip(&groups);
        let rows = rows.map(|((row, vector), group)| {
            Some((row, vector, *targets.get(usize::try_from(*group).ok()?)?))
        });
        let rows = rows.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        // None of the new leaves is one they come from.
        self.move_rows(NodeId::ROOT, rows)?;
        self.split_branch(id)?;
        self.respill(&respill)?;
        self.settle(false)?;
        self.merge_branch(id)?;
        self.collapse()
    }

    /// Takes away a branch whose leaves have no first copies: of a skeleton that was not filled.
    fn remove_twig(&mut self, id: NodeId, leaves: &[NodeId], respill: &[Row]) -> Result<()> {
        let above = self.branch(id)?.parent;
        for leaf in leaves {
            self.detach(*leaf, id)?;
        }
        self.respill(respill)?;
        self.settle(false)?;
        self.merge_branch(above)?;
        self.collapse()
    }
}

pub(super) fn members_of<'v>(vectors: &'v [Placed], places: &[usize]) -> Vec<&'v Placed> {
    places.iter().filter_map(|place| vectors.get(*place)).collect()
}

/// Some of the vectors in at most `count` clusters.
fn cluster(vectors: &[Placed], places: &[usize], count: usize) -> Vec<Vec<usize>> {
    let members = members_of(vectors, places);
    let dimension = members.first().map_or(0, |vector| vector.len());
    let flat: Vec<f32> = members.iter().flat_map(|vector| vector.iter().copied()).collect();
    let found = kmeans::cluster(Points::new(dimension, &flat), count, ROUNDS);
    let clusters = found.assignment.iter().max().map_or(0, |cluster| cluster + 1);
    let mut out = vec![Vec::new(); usize::try_from(clusters).unwrap_or(0)];
    for (place, cluster) in places.iter().zip(found.assignment) {
        if let Some(out) = usize::try_from(cluster).ok().and_then(|cluster| out.get_mut(cluster)) {
            out.push(*place);
        }
    }
    out.retain(|cluster| !cluster.is_empty());
    out
}
