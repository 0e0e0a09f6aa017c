//! The partition tree: approximate search over encrypted nodes that change with every write.
//!
//! A balanced tree of k-means partitions. A leaf holds codes of the vectors nearest to its
//! centroid, a branch the centroids of its children; all leaves are at the same depth. The family
//! is that of SPANN (Chen et al., `NeurIPS` 2021) and `SPFresh` (Xu et al., SOSP 2023); codes are
//! RaBitQ (Gao and Long, SIGMOD 2024), the second copy of a vector is chosen as in SOAR (Sun et
//! al., `NeurIPS` 2023).
//!
//! Invariants, all checked by `verify`:
//! - the root is node 0; it is a leaf with centroid zero until it overflows, and it is not there
//!   when the index is empty;
//! - an item's record lists one or two distinct leaves, the leaf of the first copy before that of
//!   the second, and exactly these leaves have a row of it;
//! - a leaf that is written has at most `leaf_most` first copies and twice as many second ones, a
//!   branch at most `fanout_most` children, under the rules of who writes it;
//! - the entry of a child in its parent has the child's own centroid and a rounded radius, and the
//!   child names the parent. The radius says how wide the child is, about, and is no bound.
//!
//! A change is planned in memory on the nodes it touches ([`plan::Plan`]), and ends as a list of
//! nodes, rows to be [appended](append) to leaves, and homes, all to be written in the commit of the
//! write that caused it. Nothing runs in the background.
//!
//! The module knows no storage: it reads through [`Backing`].

pub(crate) mod append;
pub(crate) mod build;
mod centroid;
pub(crate) mod depth;
mod insert;
pub(crate) mod node;
pub(crate) mod plan;
mod remove;
pub(crate) mod repair;
mod route;
pub(crate) mod search;
mod split;
#[cfg(test)]
mod tests;
pub(crate) mod verify;
pub(crate) mod view;

use std::sync::{Mutex, PoisonError};

use crate::config::Tuning;
use crate::error::{Error, Fault, Result};
use crate::id::NodeId;
use crate::store::key::Pseudonym;
use crate::vector::kernels::codes::Width;
use crate::vector::rabitq::Form;
use crate::vector::rotation::Rotation;
use crate::vector::{Metric, kernels, normalised};
use append::Stub;
use node::{Node, Row};

/// The largest dimension that has a tree; above it every search is exact.
pub(crate) const MAX_TREE_DIMENSION: usize = 4096;

/// The leaves of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) first: NodeId,
    pub(crate) second: Option<NodeId>,
}

impl Home {
    /// In the form of item records: the first copy's leaf, then the second's.
    pub(crate) fn leaves(self) -> Vec<NodeId> {
        std::iter::once(self.first).chain(self.second).collect()
    }

    pub(crate) fn from_leaves(leaves: &[NodeId]) -> Option<Self> {
        match *leaves {
            [first] => Some(Self { first, second: None }),
            [first, second] if first != second => Some(Self { first, second: Some(second) }),
            _ => None,
        }
    }
}

/// What the tree stands on.
pub(crate) trait Backing: Sync {
    /// Reads whole nodes, in order; `None` where there is none.
    fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<Node>>>;

    /// Reads what additions need to know of leaves, in order; `None` for a leaf that is
    /// to be written whole.
    fn stubs(&self, ids: &[NodeId]) -> Result<Vec<Option<Stub>>>;

    /// Reads the vectors of rows, in order, as they were given.
    fn vectors(&self, rows: &[&Row]) -> Result<Vec<Vec<f32>>>;

    /// Reads the leaves of items, in order.
    fn homes(&self, items: &[Pseudonym]) -> Result<Vec<Home>>;

    /// How many pieces work is worth splitting into.
    fn threads(&self) -> usize;

    /// Runs `work` for each number below `count`, in parallel if it can.
    fn each(&self, count: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()>;
}

/// Runs `work` on each input through [`Backing::each`] and returns the results in order.
fn map<I: Send, T: Send>(
    backing: &dyn Backing,
    inputs: Vec<I>,
    work: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    enum Cell<I, T> {
        Input(I),
        Done(T),
        Taken,
    }
    let cells: Vec<Mutex<Cell<I, T>>> =
        inputs.into_iter().map(|input| Mutex::new(Cell::Input(input))).collect();
    backing.each(cells.len(), &|number| {
        let Some(cell) = cells.get(number) else { return Ok(()) };
        let mut cell = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Cell::Input(input) = std::mem::replace(&mut *cell, Cell::Taken) {
            *cell = Cell::Done(work(input)?);
        }
        Ok(())
    })?;
    let done = cells.into_iter().map(|cell| {
        match cell.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Cell::Done(done) => Ok(done),
            Cell::Input(_) | Cell::Taken => Err(damaged()),
        }
    });
    done.collect()
}

/// How a tree is built. Every tree is valid under any rules; they only steer what is built next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Bits per component of a code.
    pub(crate) width: Width,
    /// First copies in a leaf.
    pub(crate) leaf_most: usize,
    /// A leaf that a delete leaves with fewer first copies is dissolved.
    pub(crate) leaf_least: usize,
    /// Children of a branch.
    pub(crate) fanout_most: usize,
    /// A branch that is left with fewer children is merged.
    pub(crate) fanout_least: usize,
    /// Leaves from which on vectors get a second copy.
    pub(crate) spill_from: usize,
    /// The norm of a centroid's noise, in units of the members' root mean square length over their
    /// number.
    pub(crate) noise: f32,
}

impl Rules {
    /// The rules for an index of this dimension. A branch has room for at least 16 children, and
    /// otherwise for about 48 KiB of centroids.
    pub(crate) fn new(tuning: &Tuning, dimension: usize) -> Self {
        let padded = dimension.next_multiple_of(64);
        let fanout_most = tuning.fan_out.min(((48 << 10) / padded).max(16));
        Self {
            width: Width::from_bits(tuning.code_bits).unwrap_or(Width::One),
            leaf_most: tuning.leaf_items,
            leaf_least: tuning.leaf_items / 8,
            fanout_most,
            fanout_least: fanout_most / 8,
            spill_from: if tuning.spill { 8 } else { usize::MAX },
            noise: tuning.noise,
        }
    }

    /// First copies that a new leaf is meant to have.
    pub(crate) const fn leaf_fill(&self) -> usize {
        self.leaf_most * 7 / 10
    }

    pub(crate) const fn seconds_most(&self) -> usize {
        2 * self.leaf_most
    }
}

/// Where vectors are compared: the metric, and the rotation that codes are taken in.
///
/// Under the inner product, long vectors are near to every query, and partitions by distance alone
/// mix them with the rest. So there the space has one more dimension, in which a vector `x` has the
/// coordinate `sqrt(max(span^2 - |x|^2, 0))` and a query 0 (Bachrach et al., `RecSys` 2014,
/// section 3): then the nearest vectors are those with the largest inner product. The span is about
/// the largest length, is kept in the root, and only steers what is put where: the inner product
/// with a query is the same whatever it is.
pub(crate) struct Space {
    pub(crate) metric: Metric,
    rotation: Rotation,
    /// The additional dimension, rotated; none unless the metric is the inner product.
    axis: Option<Vec<f32>>,
    pub(crate) rules: Rules,
}

impl Space {
    pub(crate) fn new(seed: &[u8; 32], dimension: usize, metric: Metric, rules: Rules) -> Self {
        if metric != Metric::InnerProduct {
            return Self { metric, rotation: Rotation::new(seed, dimension), axis: None, rules };
        }
        let rotation = Rotation::new(seed, dimension + 1);
        let (mut unit, mut axis) = (vec![0.0; dimension], Vec::new());
        unit.push(1.0);
        rotation.apply(&unit, &mut axis);
        Self { metric, rotation, axis: Some(axis), rules }
    }

    /// The dimension of placed vectors.
    pub(crate) const fn padded(&self) -> usize {
        self.rotation.padded()
    }

    /// What codes estimate. Unit vectors are ordered by cosine as they are by distance.
    pub(crate) const fn form(&self) -> Form {
        match self.metric {
            Metric::Cosine | Metric::Euclidean => Form::Square,
            Metric::InnerProduct => Form::Inner,
        }
    }

    /// A vector as the tree sees it: of length 1 under cosine, rotated; under the inner product,
    /// without its additional coordinate.
    pub(crate) fn place(&self, vector: &[f32]) -> Vec<f32> {
        let mut placed = Vec::new();
        match self.metric {
            Metric::Cosine => self.rotation.apply(&normalised(vector), &mut placed),
            Metric::Euclidean => self.rotation.apply(vector, &mut placed),
            Metric::InnerProduct => {
                let mut vector = vector.to_vec();
                vector.push(0.0);
                self.rotation.apply(&vector, &mut placed);
            }
        }
        placed
    }

    /// Gives placed vectors the additional coordinate that goes with a span, in place of what they
    /// have.
    fn stretch(&self, placed: &mut [f32], span: f32) {
        let Some(axis) = &self.axis else { return };
        let before = kernels::dot(placed, axis);
        let square = kernels::square(placed) - f64::from(before).powi(2);
        let after = (f64::from(span).powi(2) - square).max(0.0).sqrt();
        let change = narrow(after) - before;
        placed.iter_mut().zip(axis).for_each(|(x, axis)| *x += change * axis);
    }

    /// The span for these vectors: a length that one in a hundred exceeds. 0 if the metric has no
    /// use for it, or the vectors are too few to tell.
    fn span_of<'v>(&self, vectors: impl Iterator<Item = &'v [f32]>) -> f32 {
        let Some(axis) = &self.axis else { return 0.0 };
        let mut squares: Vec<f64> = vectors
            .map(|x| (kernels::square(x) - f64::from(kernels::dot(x, axis)).powi(2)).max(0.0))
            .collect();
        let rank = squares.len().saturating_sub(squares.len() / 100 + 1);
        if squares.len() < SPAN_FROM {
            return 0.0;
        }
        let (_, square, _) = squares.select_nth_unstable_by(rank, f64::total_cmp);
        narrow(square.sqrt())
    }
}

/// Vectors that a span is estimated from, at least.
const SPAN_FROM: usize = 64;

#[expect(clippy::cast_possible_truncation, reason = "lengths of vectors fit")]
const fn narrow(x: f64) -> f32 {
    x as f32
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    kernels::squared_distance(a, b)
}

/// A node or an item that is not what its neighbours say.
const fn damaged() -> Error {
    Error::Integrity(Fault::Node)
}
