//! Approximate search.
//!
//! 1. *Route*: read the root, then on each level the branches whose centroids are nearest, in one
//!    batch; end with a list of leaves, those that may be wanted nearest first.
//! 2. *Score*: read the first of these leaves in one batch and estimate the distance of every row from its code.
//! 3. *Rerank*: in the order of the estimates, read full vectors in waves and compute exact distances.
//!    Stop when the next lower bound exceeds the k-th exact distance, or at the cap.
//!
//! How many leaves is a matter of the query: those whose centroid is not much farther than the nearest
//! one, between half and twice the number that the index's size calls for. With a filter, what is found decides too:
//! see [`walk`]. Under inner product a leaf is
//! ranked by what it may hold, `<q,c> + ALPHA |q| radius`, and the number is fixed.
//!
//! Results are deterministic. Distances are exact; what may be missing is a neighbour.
//! Memory: the pages of one batch of [`BATCH`], 48 bytes for each of three times the candidates kept, [`FIRST`] vectors;
//! with a filter, a byte a component for each leaf on the list, up to 4 MiB.

mod rerank;
mod slope;
mod walk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::depth::{Depth, Probes, Reach};
use rerank::{by_estimate, kept};
use slope::Points;
use walk::Walk;

use super::node::{ROW, Row};
use super::view::{CentroidView, ChildrenView, EntriesView, NodeView, RowsView};
use super::{Space, damaged};
use crate::crypto::Opened;
use crate::error::Result;
use crate::id::NodeId;
use crate::store::record::ROWS_PART;
use crate::vector::rabitq::{Estimate, Form, Probe};
use crate::vector::{Metric, Scorer, kernels};

/// Nodes that are read together.
const BATCH: usize = 128;
/// Rows in one sealed part.
const ROWS_PER_PART: usize = ROWS_PART / ROW;
/// The weight of the radius when leaves are ranked for an inner product.
const ALPHA: f32 = 0.12;
/// Rows of a leaf that are scored by themselves, if not more than one in so many of it pass.
const FEW: usize = 3;
/// Vectors read at a time, after the first wave.
const WAVE: usize = 16;
/// Vectors read at a time until there are as many as are wanted.
const FIRST: usize = 1024;

/// What a search reads through.
pub(crate) trait Pages {
    /// Opens the codes of nodes and hands each over with a way to open its rows, in order. A node that is not there
    /// is left out.
    fn pages<'s>(&'s self, ids: &[NodeId], visit: Visit<'_, 's>) -> Result<()>;

    /// What opens the rows of a node that was visited, without holding on to the node: it is read again.
    fn rows(&self, id: NodeId) -> OpenRows<'_>;

    /// Reads the vectors of rows and hands each over with its place in the list.
    fn vectors(&self, rows: &[Row], visit: &mut dyn FnMut(usize, &[f32])) -> Result<()>;
}

/// Takes a node's codes, and what opens its rows.
pub(crate) type Visit<'v, 's> = &'v mut dyn FnMut(&[u8], OpenRows<'s>) -> Result<()>;

/// Opens one part of a node's rows.
pub(crate) type OpenRows<'s> = Box<dyn Fn(usize) -> Result<Arc<Opened>> + 's>;

/// An item that was found.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) row: Row,
    pub(crate) distance: f32,
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) nodes: u64,
    pub(crate) rows: u64,
    pub(crate) reranked: u64,
    pub(crate) routing: Duration,
    pub(crate) scoring: Duration,
    pub(crate) reranking: Duration,
}

/// Appends the places, in a column of row tags, of those that pass.
pub(crate) type Passing<'a> = &'a dyn Fn(&[[u8; 4]], &mut Vec<u32>);

/// Which items may be found.
pub(crate) struct Sieve<'a> {
    pub(crate) passing: Passing<'a>,
    /// How many there are.
    pub(crate) items: u64,
}

/// Finds the nearest items: at least `top_k` of them if the index has so many, in the order of their
/// distance, with all that are as far as the `top_k`-th among those compared. With a sieve, of those that pass it.
pub(crate) fn search(
    pages: &dyn Pages,
    space: &Space,
    query: &[f32],
    scorer: &Scorer,
    depth: &Depth,
    sieve: Option<&Sieve<'_>>,
) -> Result<(Vec<Found>, Work)> {
    let mut depth = *depth;
    let mut work = Work::default();
    let placed = space.place(query);
    let probe = Probe::new(space.form(), &placed);
    loop {
        let search = Search { pages, space, probe: &probe, scorer, depth: &depth, sieve };
        let (found, seen) = search.run(&mut work)?;
        let all = sieve.is_some_and(|sieve| found.len() as u64 >= sieve.items);
        if seen == Seen::Everything || all || (seen == Seen::Enough && found.len() >= depth.top_k) {
            return Ok((found, work));
        }
        // Too few: the leaves that were looked at do not hold so many.
        depth.effort *= 4.0;
        depth.probes = depth.probes.map(|probes| probes.saturating_mul(4));
    }
}

struct Search<'a> {
    pages: &'a dyn Pages,
    space: &'a Space,
    probe: &'a Probe,
    scorer: &'a Scorer,
    depth: &'a Depth,
    sieve: Option<&'a Sieve<'a>>,
}

/// A row that may be near.
#[derive(Clone, Copy)]
struct Candidate {
    estimate: f32,
    lower: f32,
    page: u32,
    row: u32,
    tag: [u8; 4],
}

/// A child of a branch that was read.
#[derive(Clone, Copy)]
struct Ranked {
    /// Smaller is read earlier.
    rank: f32,
    id: NodeId,
    radius: f32,
    /// Where its centroid is among the [`Points`].
    place: u32,
}

/// How much an attempt has seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The whole index.
    Everything,
    /// As many leaves as were wanted.
    Enough,
    /// Fewer: in too many of those on its way nothing passed the sieve.
    Little,
}

/// The way to the leaves.
struct Route {
    /// As many as may be wanted in their order, before the others.
    leaves: Vec<Ranked>,
    /// How many of them are wanted.
    count: usize,
    /// Whether `leaves` are all there are.
    all: bool,
    /// With a guide, where they are.
    points: Points,
}

impl Route {
    /// There is no leaf to look at.
    fn done() -> Self {
        Self { leaves: Vec::new(), count: 0, all: true, points: Points::default() }
    }
}

/// What has been scored: the candidates, and for each page what opens its rows.
#[derive(Default)]
struct Scored<'s> {
    candidates: Vec<Candidate>,
    rows: Vec<OpenRows<'s>>,
    /// As many candidates as are kept have smaller estimates.
    limit: Option<f32>,
    /// How far the last is of the items that are wanted.
    last: Option<f32>,
    /// Rows scored and not yet counted.
    count: u64,
    /// Scratch, for one page at a time. `passing`: the rows that pass the sieve, if there is one.
    passing: Vec<u32>,
    /// How far these are.
    passed: Vec<f32>,
    codes: Vec<u8>,
    centroid: Vec<f32>,
    factors: [Vec<f32>; 3],
    dots: Vec<i32>,
    estimates: Vec<Estimate>,
}

impl Scored<'_> {
    /// Lets go of candidates that have no chance, once there are many: all but one more than are kept in the end.
    /// Those that come later and are no nearer than the last of them need not be taken in at all.
    fn prune(&mut self, cap: usize) {
        let keep = kept(cap);
        if self.candidates.len() > keep.saturating_mul(3) {
            let (_, last, _) = self.candidates.select_nth_unstable_by(keep, by_estimate);
            self.limit = Some(last.estimate);
            self.candidates.truncate(keep.saturating_add(1));
        }
    }

    const fn take_count(&mut self) -> u64 {
        std::mem::replace(&mut self.count, 0)
    }
}

impl<'a> Search<'a> {
    /// One attempt, and how much of the index it has seen.
    fn run(&self, work: &mut Work) -> Result<(Vec<Found>, Seen)> {
        let start = Instant::now();
        let mut scored = Scored::default();
        let Route { leaves, count, all, points } = self.route(&mut scored, work)?;
        let routed = Instant::now();
        work.routing += routed - start;

        let listed = leaves.len();
        let guide = self.reach().map(|reach| (reach, self.depth.share, points));
        let mut walk = Walk::new(leaves, count, guide);
        loop {
            let batch = walk.next(|| scored.last(self.depth.top_k));
            if batch.is_empty() {
                break;
            }
            let ids: Vec<NodeId> = batch.iter().map(|leaf| leaf.id).collect();
            let mut leaves = batch.iter();
            let before = scored.rows.len();
            self.pages.pages(&ids, &mut |codes, rows| {
                let read = leaves.next().ok_or_else(damaged)?;
                // Only so many nodes are held on to.
                let rows = if scored.rows.len() < BATCH { rows } else { self.pages.rows(read.id) };
                match NodeView::decode(codes).ok_or_else(damaged)? {
                    NodeView { entries: EntriesView::Rows(leaf), centroid, .. } => {
                        let passed = self.score(&leaf, &centroid, rows, &mut scored)?;
                        if let Some(signs) = walk.signs() {
                            signs.add(leaf.width, leaf.codes_of(&scored.passing));
                        }
                        walk.note(read, leaf.tags.len(), passed, &scored.passed);
                        Ok(())
                    }
                    _ => Err(damaged()),
                }
            })?;
            work.rows += scored.take_count();
            if scored.rows.len() - before < batch.len() {
                return Err(damaged());
            }
        }
        let seen = if all && walk.read() == listed {
            Seen::Everything
        } else if walk.is_enough() {
            Seen::Enough
        } else {
            Seen::Little
        };
        work.nodes += walk.read() as u64;
        work.rows += scored.take_count();
        let done = Instant::now();
        work.scoring += done - routed;

        let found = self.rerank(scored.candidates, &scored.rows, work)?;
        work.reranking += done.elapsed();
        Ok((found, seen))
    }

    /// With a sieve: how far the walk goes, if what is found says so.
    fn reach(&self) -> Option<Reach> {
        self.sieve.and_then(|_| self.depth.reach(self.space.form()))
    }

    /// The leaves to look at. A root that is a leaf is scored at once.
    fn route(&self, scored: &mut Scored<'a>, work: &mut Work) -> Result<Route> {
        let (mut level, mut ranked, mut leaf) = (None, Vec::new(), false);
        let mut points = Points::default();
        self.pages.pages(&[NodeId::ROOT], &mut |codes, rows| {
            let root = NodeView::decode(codes).ok_or_else(damaged)?;
            level = Some(root.level);
            match root.entries {
                EntriesView::Children(children) => {
                    self.rank(&children, 1, &mut points, &mut ranked);
                }
                EntriesView::Rows(view) => {
                    leaf = true;
                    self.score(&view, &root.centroid, rows, scored).map(drop)?;
                }
            }
            Ok(())
        })?;
        let Some(mut level) = level else {
            // Only an empty index has no root.
            return if self.depth.items == 0 { Ok(Route::done()) } else { Err(damaged()) };
        };
        work.nodes += 1;
        if leaf {
            return Ok(Route::done());
        }
        let mut whole = true;
        loop {
            if level <= 1 {
                let most = self.depth.probes(self.space.form()).most;
                // Without a guide, leaves that hold nothing are made up for by the next.
                let ordered = self.sieve.is_some() && self.reach().is_none();
                let first = if ordered { ranked.len() } else { most.max(1) };
                sort_first(&mut ranked, first);
                let count = self.count(&ranked);
                let listed = if self.sieve.is_some() { ranked.len() } else { count };
                let all = whole && listed == ranked.len();
                ranked.truncate(listed);
                let leaves = ranked;
                return Ok(Route { leaves, count, all, points });
            }
            level -= 1;
            let beam = self.beam(ranked.len());
            whole &= beam >= ranked.len();
            sort_first(&mut ranked, beam);
            let ids: Vec<NodeId> = ranked.iter().take(beam).map(|child| child.id).collect();
            ranked.clear();
            points.clear();
            let mut seen = 0u32;
            for batch in ids.chunks(BATCH) {
                self.pages.pages(batch, &mut |codes, _rows| {
                    seen += 1;
                    match NodeView::decode(codes).ok_or_else(damaged)? {
                        NodeView { entries: EntriesView::Children(children), level: l, .. }
                            if l == level =>
                        {
                            self.rank(&children, ids.len(), &mut points, &mut ranked);
                            Ok(())
                        }
                        _ => Err(damaged()),
                    }
                })?;
            }
            if usize::try_from(seen).map_or(true, |seen| seen < ids.len()) {
                return Err(damaged());
            }
            work.nodes += ids.len() as u64;
        }
    }

    /// Ranks the children of a branch, one of so many.
    fn rank(
        &self,
        children: &ChildrenView<'_>,
        branches: usize,
        points: &mut Points,
        out: &mut Vec<Ranked>,
    ) {
        let first = if self.reach().is_some() { points.extend(children, branches) } else { 0 };
        let mut ranks = Vec::new();
        let (scales, squares) = (children.scales(), children.squares());
        self.probe.to_rounded(children.codes, &scales, &squares, &mut ranks);
        let reach = match self.space.metric {
            Metric::InnerProduct => ALPHA * length(self.probe.query()),
            Metric::Cosine | Metric::Euclidean => 0.0,
        };
        let children = ranks.into_iter().zip(children.ids()).zip(children.radii());
        out.extend((first..).zip(children).map(|(place, ((rank, id), radius))| {
            // An infinite radius says nothing.
            let bonus = if reach > 0.0 { reach * radius } else { 0.0 };
            Ranked { rank: rank - bonus, id, radius, place }
        }));
    }

    /// How many of the ranked leaves are read.
    fn count(&self, ranked: &[Ranked]) -> usize {
        let Probes { least, most, spread } = self.depth.probes(self.space.form());
        let Some(nearest) = ranked.first() else { return 0 };
        let around = ranked.iter().take(least.max(1));
        let size = around.clone().count().max(1);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let square = around.map(|child| child.radius * child.radius).sum::<f32>() / size as f32;
        let limit = nearest.rank + spread * square;
        let near = ranked.iter().take_while(|child| child.rank <= limit).count();
        near.clamp(least.max(1), most.max(least).max(1)).min(ranked.len())
    }

    /// How many of `count` branches are read on a level.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "small positive numbers"
    )]
    fn beam(&self, count: usize) -> usize {
        let widened = self.depth.beam().max(1.0);
        let fixed = self.depth.probes.unwrap_or(0);
        // Lengths spread the nearest over more branches.
        let breadth = if self.space.form() == Form::Inner { 6.0 } else { 2.6 };
        let beam = breadth * (count as f32).sqrt() * widened.sqrt();
        (beam.ceil() as usize).max(fixed / 4).max(4)
    }

    /// Estimates the distance of every row of a leaf that passes the sieve, and says how many do.
    fn score(
        &self,
        leaf: &RowsView<'_>,
        centroid: &CentroidView<'_>,
        rows: OpenRows<'a>,
        scored: &mut Scored<'a>,
    ) -> Result<usize> {
        let page = u32::try_from(scored.rows.len()).map_err(|_| damaged())?;
        // The codes have served after this; the rows may still be wanted.
        scored.rows.push(rows);
        scored.passed.clear();
        if let Some(sieve) = self.sieve {
            scored.passing.clear();
            (sieve.passing)(leaf.tags, &mut scored.passing);
            if scored.passing.is_empty() {
                return Ok(0);
            }
        }
        centroid.expand_into(&mut scored.centroid);
        let base = self.probe.to_centroid(&scored.centroid);
        let apart = kernels::squared_distance(self.probe.query(), &scored.centroid).sqrt();
        // A few rows are put together first.
        let few = self.sieve.is_some() && scored.passing.len() * FEW < leaf.tags.len();
        let only = few.then_some(&scored.passing[..]);
        leaf.columns_into(only, &mut scored.codes, &mut scored.factors);
        let [add, rescale, error] = &scored.factors;
        scored.estimates.clear();
        self.probe.estimate(
            leaf.width,
            base,
            apart,
            if few { &scored.codes } else { leaf.codes },
            add,
            rescale,
            error,
            &mut scored.dots,
            &mut scored.estimates,
        );
        scored.count += scored.estimates.len() as u64;
        let limit = scored.limit.unwrap_or(f32::INFINITY);
        let mut take = |row: u32, estimate: &Estimate| {
            let tag = usize::try_from(row).ok().and_then(|row| leaf.tags.get(row));
            let Some(tag) = tag.filter(|_| estimate.distance < limit) else { return };
            let Estimate { distance: estimate, lower } = *estimate;
            scored.candidates.push(Candidate { estimate, lower, page, row, tag: *tag });
        };
        let estimates = &scored.estimates;
        if self.sieve.is_none() {
            for (row, estimate) in (0u32..).zip(estimates) {
                take(row, estimate);
            }
        } else {
            for (place, row) in scored.passing.iter().enumerate() {
                let at = if few { Some(place) } else { usize::try_from(*row).ok() };
                if let Some(estimate) = at.and_then(|at| estimates.get(at)) {
                    scored.passed.push(estimate.distance);
                    take(*row, estimate);
                }
            }
        }
        scored.prune(self.depth.cap());
        // Without a sieve every leaf counts: there is none in the place of one without rows.
        Ok(if self.sieve.is_none() { leaf.tags.len().max(1) } else { scored.passing.len() })
    }
}

/// Puts the `count` nearest first, in their order.
fn sort_first(ranked: &mut [Ranked], count: usize) {
    let order = |a: &Ranked, b: &Ranked| a.rank.total_cmp(&b.rank).then(a.id.cmp(&b.id));
    if count < ranked.len() {
        ranked.select_nth_unstable_by(count, order);
    }
    let first = count.min(ranked.len());
    ranked.split_at_mut(first).0.sort_unstable_by(order);
}

fn length(vector: &[f32]) -> f32 {
    kernels::dot(vector, vector).sqrt()
}
