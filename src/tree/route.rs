//! From a vector to the leaves it belongs in.
//!
//! The branches are walked with a beam: on each level the branches nearest to the vector are read,
//! so that a leaf is found even if its branch is not the nearest. The first copy goes to the
//! nearest leaf. The second goes where it is found when the first is missed: SOAR (Sun et al.,
//! `NeurIPS` 2023, eq. 3 with lambda 1) minimises `|r2|^2 + <r2, r1/|r1|>^2` over the other leaves,
//! with `r1` and `r2` the residuals to the two centroids.

use std::collections::HashMap;

use super::node::Node;
use super::plan::{Placed, Plan};
use super::{damaged, map, squared_distance};
use crate::error::Result;
use crate::id::NodeId;
use crate::vector::kernels;
use crate::vector::rabitq::{Form, Probe};

/// Branches read on each level for each vector, at most; of few, 1.6 times the square root of their
/// number finds the nearest leaf in 99 of 100 cases.
const BEAM: usize = 8;
/// Leaves compared exactly for each vector.
const CANDIDATES: usize = 16;
/// Leaves offered for the second copy, best first.
const SECONDS: usize = 4;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "small positive numbers"
)]
fn beam(branches: usize) -> usize {
    ((1.6 * (branches as f32).sqrt()).ceil() as usize).clamp(1, BEAM)
}

/// Where a vector belongs.
pub(super) struct Assigned {
    pub(super) first: NodeId,
    /// For the second copy, best first; none if the tree has too few leaves.
    pub(super) seconds: Vec<NodeId>,
}

/// A leaf and its centroid, not too far from a vector.
struct Near {
    leaf: NodeId,
    centroid: Vec<f32>,
    square: f32,
}

impl Plan<'_> {
    /// Whether the tree has enough leaves for second copies.
    pub(super) fn spills(&mut self) -> Result<bool> {
        let from = self.space.rules.spill_from;
        if from == usize::MAX {
            return Ok(false);
        }
        Ok(match self.root()? {
            Some(Node::Branch(root)) => root.level > 1 || root.children.len() >= from,
            Some(Node::Leaf(_)) | None => false,
        })
    }

    /// Assigns vectors to leaves. `firsts`, if given, says where the first copies are already. The
    /// root must be a branch.
    pub(super) fn assign(
        &mut self,
        points: &[Placed],
        firsts: Option<&[NodeId]>,
    ) -> Result<Vec<Assigned>> {
        let spills = self.spills()?;
        let frontiers = self.descend(points)?;
        let plan = &*self;
        let work: Vec<(usize, &Placed)> = points.iter().enumerate().collect();
        let share = work.len().div_ceil(plan.backing.threads()).max(16);
        let shares = map(plan.backing, work.chunks(share).collect(), |share: &[_]| {
            share
                .iter()
                .map(|(number, point)| {
                    let frontier = frontiers.get(*number).ok_or_else(damaged)?;
                    let first = firsts.and_then(|firsts| firsts.get(*number)).copied();
                    choose(&plan.nearest(point, frontier)?, point, first, spills)
                })
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(shares.into_iter().flatten().collect())
    }

    /// The nearest leaf of each point; the root if it is a leaf.
    pub(crate) fn leaves_of(&mut self, points: &[Placed]) -> Result<Vec<NodeId>> {
        match self.root()? {
            Some(Node::Branch(_)) => {
                let points: Vec<Placed> = points.iter().map(|p| self.stretched(p)).collect();
                let assigned = self.assign(&points, None)?;
                Ok(assigned.into_iter().map(|assigned| assigned.first).collect())
            }
            Some(Node::Leaf(_)) | None => Ok(vec![NodeId::ROOT; points.len()]),
        }
    }

    /// The leaves nearest to a point, with their distance squared, nearest first.
    pub(super) fn neighbours(&mut self, point: &Placed, count: usize) -> Result<Vec<NodeId>> {
        let frontiers = self.descend(std::slice::from_ref(point))?;
        let frontier = frontiers.first().ok_or_else(damaged)?;
        let mut found = self.score(&Probe::new(Form::Square, point), frontier)?;
        found.truncate(count);
        Ok(found.into_iter().map(|(_, leaf, _)| leaf).collect())
    }

    /// The branches above the leaves that each point should look at, all loaded.
    fn descend(&mut self, points: &[Placed]) -> Result<Vec<Vec<NodeId>>> {
        self.load([NodeId::ROOT])?;
        let mut frontiers = vec![vec![NodeId::ROOT]; points.len()];
        let mut level = self.branch(NodeId::ROOT)?.level;
        while level > 1 {
            let plan = &*self;
            let work: Vec<(&Placed, Vec<NodeId>)> = points.iter().zip(frontiers).collect();
            frontiers = map(plan.backing, work, |(point, frontier)| {
                let mut found = plan.score(&Probe::new(Form::Square, point), &frontier)?;
                found.truncate(beam(found.len()));
                Ok(found.into_iter().map(|(_, child, _)| child).collect::<Vec<_>>())
            })?;
            self.load(frontiers.iter().flatten().copied())?;
            level -= 1;
            for id in frontiers.iter().flatten() {
                if self.branch(*id)?.level != level {
                    return Err(damaged());
                }
            }
        }
        Ok(frontiers)
    }

    /// The children of some branches by their distance to the probe: squared distance, id, branch.
    fn score(&self, probe: &Probe, branches: &[NodeId]) -> Result<Vec<(f32, NodeId, NodeId)>> {
        let mut all = Vec::new();
        let mut distances = Vec::new();
        for id in branches {
            let children = &self.branch(*id)?.children;
            distances.clear();
            probe.to_rounded(&children.codes, &children.scales, &children.squares, &mut distances);
            all.extend(distances.iter().zip(&children.ids).map(|(d, child)| (*d, *child, *id)));
        }
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ok(all)
    }

    /// The leaves nearest to a point, compared exactly.
    fn nearest(&self, point: &Placed, frontier: &[NodeId]) -> Result<Vec<Near>> {
        let mut found = self.score(&Probe::new(Form::Square, point), frontier)?;
        found.truncate(CANDIDATES);
        let mut near = Vec::with_capacity(found.len());
        for (_, leaf, branch) in found {
            let children = &self.branch(branch)?.children;
            let at = children.position(leaf).ok_or_else(damaged)?;
            let centroid = children.centroid(at).ok_or_else(damaged)?.expand();
            let square = squared_distance(point, &centroid);
            near.push(Near { leaf, centroid, square });
        }
        near.sort_unstable_by(|a, b| a.square.total_cmp(&b.square).then(a.leaf.cmp(&b.leaf)));
        Ok(near)
    }

    /// The expanded centroids of leaves, from the leaves themselves.
    pub(super) fn centroids_of(&mut self, leaves: &[NodeId]) -> Result<HashMap<NodeId, Vec<f32>>> {
        self.load(leaves.iter().copied())?;
        leaves.iter().map(|id| Ok((*id, self.leaf(*id)?.centroid.expand()))).collect()
    }
}

fn choose(near: &[Near], point: &[f32], first: Option<NodeId>, spills: bool) -> Result<Assigned> {
    let nearest = near.first().ok_or_else(damaged)?;
    let home = first.and_then(|first| near.iter().find(|near| near.leaf == first));
    let home = home.unwrap_or(nearest);
    let first = first.unwrap_or(nearest.leaf);
    let mut seconds = Vec::new();
    if spills {
        let residual: Vec<f32> =
            point.iter().zip(&home.centroid).map(|(point, centroid)| point - centroid).collect();
        let along = kernels::dot(point, &residual);
        let mut scored: Vec<(f32, NodeId)> = near
            .iter()
            .filter(|near| near.leaf != first)
            .map(|near| {
                // <r2, r1> = <x, r1> - <c2, r1>
                let inner = along - kernels::dot(&near.centroid, &residual);
                let parallel = if home.square > 0.0 { inner / home.square.sqrt() } else { 0.0 };
                (near.square + parallel * parallel, near.leaf)
            })
            .collect();
        scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        seconds.extend(scored.into_iter().map(|(_, leaf)| leaf).take(SECONDS));
    }
    Ok(Assigned { first, seconds })
}
