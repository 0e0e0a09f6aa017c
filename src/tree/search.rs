//! Approximate search.
//!
//! 1. *Route*: read the root, then on each level the branches whose centroids are nearest, in one
//!    batch; end with a list of leaves, nearest first.
//! 2. *Score*: read the first of these leaves in one batch and estimate the distance of every row from its code.
//! 3. *Rerank*: in the order of the estimates, read full vectors in waves and compute exact distances.
//!    Stop when the next lower bound exceeds the k-th exact distance, or at the cap.
//!
//! How many leaves is a matter of the query: those whose centroid is not much farther than the nearest
//! one, between half and twice the number that the index's size calls for. Under inner product a leaf is
//! ranked by what it may hold, `<q,c> + ALPHA |q| radius`, and the number is fixed.
//!
//! Results are deterministic. Distances are exact; what may be missing is a neighbour.
//! Memory: the pages of one batch of [`BATCH`], 24 bytes for each of three times the candidates kept, [`FIRST`] vectors.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::depth::{Depth, Probes};
use super::node::{ROW, Row};
use super::view::{CentroidView, ChildrenView, EntriesView, NodeView, RowsView};
use super::{Space, damaged};
use crate::crypto::Opened;
use crate::error::Result;
use crate::id::NodeId;
use crate::store::key::Pseudonym;
use crate::store::record::ROWS_PART;
use crate::vector::rabitq::{Estimate, Form, Probe};
use crate::vector::{Metric, Scorer, kernels};

/// Nodes that are read together.
const BATCH: usize = 128;
/// Rows in one sealed part.
const ROWS_PER_PART: usize = ROWS_PART / ROW;
/// The weight of the radius when leaves are ranked for an inner product.
const ALPHA: f32 = 0.1;
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

/// Finds the nearest items: at least `top_k` of them if the index has so many, in the order of their
/// distance, with all that are as far as the `top_k`-th among those compared.
pub(crate) fn search(
    pages: &dyn Pages,
    space: &Space,
    query: &[f32],
    scorer: &Scorer,
    depth: &Depth,
) -> Result<(Vec<Found>, Work)> {
    let mut depth = *depth;
    let mut work = Work::default();
    let placed = space.place(query);
    let probe = Probe::new(space.form(), &placed);
    loop {
        let search = Search { pages, space, probe: &probe, scorer, depth: &depth };
        let (found, whole) = search.run(&mut work)?;
        if whole || found.len() >= depth.top_k {
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
}

/// What has been scored: the candidates, and for each page what opens its rows.
#[derive(Default)]
struct Scored<'s> {
    candidates: Vec<Candidate>,
    rows: Vec<OpenRows<'s>>,
    /// As many candidates as are kept have smaller estimates.
    limit: Option<f32>,
    /// Rows scored and not yet counted.
    count: u64,
    /// Scratch, for one page at a time.
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
    /// One attempt, and whether it has seen the whole index.
    fn run(&self, work: &mut Work) -> Result<(Vec<Found>, bool)> {
        let start = Instant::now();
        let mut scored = Scored::default();
        let (leaves, whole) = self.route(&mut scored, work)?;
        let routed = Instant::now();
        work.routing += routed - start;

        for (number, batch) in leaves.chunks(BATCH).enumerate() {
            let mut ids = batch.iter();
            self.pages.pages(batch, &mut |codes, rows| {
                let id = *ids.next().ok_or_else(damaged)?;
                // Only the nodes of one batch are held on to.
                let rows = if number == 0 { rows } else { self.pages.rows(id) };
                match NodeView::decode(codes).ok_or_else(damaged)? {
                    NodeView { entries: EntriesView::Rows(leaf), centroid, .. } => {
                        self.score(&leaf, &centroid, rows, &mut scored)
                    }
                    _ => Err(damaged()),
                }
            })?;
            work.rows += scored.take_count();
        }
        if scored.rows.len() < leaves.len() {
            return Err(damaged());
        }
        work.nodes += leaves.len() as u64;
        work.rows += scored.take_count();
        let done = Instant::now();
        work.scoring += done - routed;

        let found = self.rerank(scored.candidates, &scored.rows, work)?;
        work.reranking += done.elapsed();
        Ok((found, whole))
    }

    /// The leaves to look at, nearest first, and whether these are all. A root that is a leaf is scored at once.
    fn route(&self, scored: &mut Scored<'a>, work: &mut Work) -> Result<(Vec<NodeId>, bool)> {
        let (mut level, mut ranked, mut leaf) = (None, Vec::new(), false);
        self.pages.pages(&[NodeId::ROOT], &mut |codes, rows| {
            let root = NodeView::decode(codes).ok_or_else(damaged)?;
            level = Some(root.level);
            match root.entries {
                EntriesView::Children(children) => self.rank(&children, &mut ranked),
                EntriesView::Rows(view) => {
                    leaf = true;
                    self.score(&view, &root.centroid, rows, scored)?;
                }
            }
            Ok(())
        })?;
        let Some(mut level) = level else {
            // Only an empty index has no root.
            return if self.depth.items == 0 { Ok((Vec::new(), true)) } else { Err(damaged()) };
        };
        work.nodes += 1;
        if leaf {
            return Ok((Vec::new(), true));
        }
        let mut whole = true;
        loop {
            if level <= 1 {
                let most = self.depth.probes(self.space.form()).most;
                sort_first(&mut ranked, most.max(1));
                let count = self.count(&ranked);
                whole &= count == ranked.len();
                return Ok((ranked.iter().take(count).map(|child| child.id).collect(), whole));
            }
            level -= 1;
            let beam = self.beam(ranked.len());
            whole &= beam >= ranked.len();
            sort_first(&mut ranked, beam);
            let ids: Vec<NodeId> = ranked.iter().take(beam).map(|child| child.id).collect();
            ranked.clear();
            let mut seen = 0;
            for batch in ids.chunks(BATCH) {
                self.pages.pages(batch, &mut |codes, _rows| {
                    seen += 1;
                    match NodeView::decode(codes).ok_or_else(damaged)? {
                        NodeView { entries: EntriesView::Children(children), level: l, .. }
                            if l == level =>
                        {
                            self.rank(&children, &mut ranked);
                            Ok(())
                        }
                        _ => Err(damaged()),
                    }
                })?;
            }
            if seen < ids.len() {
                return Err(damaged());
            }
            work.nodes += ids.len() as u64;
        }
    }

    /// Ranks the children of a branch.
    fn rank(&self, children: &ChildrenView<'_>, out: &mut Vec<Ranked>) {
        let mut ranks = Vec::new();
        let (scales, squares) = (children.scales(), children.squares());
        self.probe.to_rounded(children.codes, &scales, &squares, &mut ranks);
        let reach = match self.space.metric {
            Metric::InnerProduct => ALPHA * length(self.probe.query()),
            Metric::Cosine | Metric::Euclidean => 0.0,
        };
        out.extend(ranks.into_iter().zip(children.ids()).zip(children.radii()).map(
            |((rank, id), radius)| {
                // An infinite radius says nothing.
                let bonus = if reach > 0.0 { reach * radius } else { 0.0 };
                Ranked { rank: rank - bonus, id, radius }
            },
        ));
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
        let widened = self.depth.effort.max(1.0);
        let fixed = self.depth.probes.unwrap_or(0);
        // Lengths spread the nearest over more branches.
        let breadth = if self.space.form() == Form::Inner { 6.0 } else { 2.6 };
        let beam = breadth * (count as f32).sqrt() * widened.sqrt();
        (beam.ceil() as usize).max(fixed / 4).max(4)
    }

    /// Estimates the distance of every row of a leaf.
    fn score(
        &self,
        leaf: &RowsView<'_>,
        centroid: &CentroidView<'_>,
        rows: OpenRows<'a>,
        scored: &mut Scored<'a>,
    ) -> Result<()> {
        let page = u32::try_from(scored.rows.len()).map_err(|_| damaged())?;
        // The codes have served after this; the rows may still be wanted.
        scored.rows.push(rows);
        centroid.expand_into(&mut scored.centroid);
        let base = self.probe.to_centroid(&scored.centroid);
        let apart = kernels::squared_distance(self.probe.query(), &scored.centroid).sqrt();
        leaf.factors_into(&mut scored.factors);
        let [add, rescale, error] = &scored.factors;
        scored.estimates.clear();
        self.probe.estimate(
            leaf.width,
            base,
            apart,
            leaf.codes,
            add,
            rescale,
            error,
            &mut scored.dots,
            &mut scored.estimates,
        );
        scored.count += leaf.tags.len() as u64;
        let limit = scored.limit.unwrap_or(f32::INFINITY);
        let rows = scored.estimates.iter().zip(leaf.tags).zip(0u32..);
        let rows = rows.filter(|((estimate, _), _)| estimate.distance < limit);
        scored.candidates.extend(rows.map(|((estimate, tag), row)| Candidate {
            estimate: estimate.distance,
            lower: estimate.lower,
            page,
            row,
            tag: *tag,
        }));
        scored.prune(self.depth.cap());
        Ok(())
    }

    /// Compares the best candidates exactly.
    fn rerank(
        &self,
        candidates: Vec<Candidate>,
        opened: &[OpenRows<'_>],
        work: &mut Work,
    ) -> Result<Vec<Found>> {
        let (top_k, cap) = (self.depth.top_k, self.depth.cap());
        let candidates = best(candidates, cap);
        let mut rows = RowReader { opened, parts: HashMap::new() };
        let mut seen: HashSet<Pseudonym> = HashSet::new();
        let mut found: Vec<Found> = Vec::new();
        let mut queue = candidates.into_iter().peekable();
        let first = top_k.saturating_add(top_k / 2).saturating_add(1).min(cap);
        let mut wave = first.min(FIRST);
        let mut limit = f32::INFINITY;
        while seen.len() < cap {
            let mut batch = Vec::with_capacity(wave.min(queue.len()));
            while batch.len() < wave && seen.len() < cap {
                let Some(next) = queue.next_if(|next| next.lower <= limit) else { break };
                let row = rows.read(next)?;
                if seen.insert(row.pseudonym) {
                    batch.push(row);
                }
            }
            if batch.is_empty() {
                break;
            }
            work.reranked += batch.len() as u64;
            let mut distances = vec![f32::NAN; batch.len()];
            self.pages.vectors(&batch, &mut |at, vector| {
                if let Some(distance) = distances.get_mut(at) {
                    *distance = self.scorer.distance(vector);
                }
            })?;
            let wave_found = batch.into_iter().zip(distances);
            found.extend(wave_found.map(|(row, distance)| Found { row, distance }));
            found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            if let Some(last) = top_k.checked_sub(1).and_then(|last| found.get(last)) {
                limit = self.rank_of(last.distance);
                let farthest = last.distance;
                found.retain(|found| found.distance <= farthest);
            }
            wave = match first.saturating_sub(seen.len()) {
                // Nothing can stop the search before there are enough.
                missing if found.len() < top_k => missing.clamp(WAVE, FIRST),
                _ => WAVE,
            };
        }
        Ok(found)
    }

    /// A distance in the unit of the estimates.
    fn rank_of(&self, distance: f32) -> f32 {
        match self.space.metric {
            // |a - b|^2 = 2 - 2 cos for unit vectors.
            Metric::Cosine => 2.0 * distance,
            Metric::Euclidean => distance * distance,
            Metric::InnerProduct => distance,
        }
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

/// Of candidates, how many are worth keeping: two copies of everything that may be reranked, and some to spare for tags
/// that collide.
const fn kept(cap: usize) -> usize {
    cap.saturating_mul(2).saturating_add(32)
}

fn by_estimate(a: &Candidate, b: &Candidate) -> Ordering {
    a.estimate.total_cmp(&b.estimate).then((a.page, a.row).cmp(&(b.page, b.row)))
}

/// The candidates that may be reranked, in the order of their estimates, each item once.
fn best(mut all: Vec<Candidate>, cap: usize) -> Vec<Candidate> {
    let (order, keep) = (by_estimate, kept(cap));
    if all.len() <= keep {
        // Few enough to tell copies apart by their rows.
        all.sort_unstable_by(order);
        return all;
    }
    all.select_nth_unstable_by(keep - 1, order);
    all.truncate(keep);
    all.sort_unstable_by(order);
    let mut first: HashMap<[u8; 4], u32> = HashMap::with_capacity(keep);
    // Within one leaf no item is twice: there, equal tags are two items.
    all.retain(|candidate| *first.entry(candidate.tag).or_insert(candidate.page) == candidate.page);
    all
}

/// Reads rows, opening each sealed part once.
struct RowReader<'a> {
    opened: &'a [OpenRows<'a>],
    parts: HashMap<(u32, u32), Arc<Opened>>,
}

impl RowReader<'_> {
    fn read(&mut self, candidate: Candidate) -> Result<Row> {
        let row = usize::try_from(candidate.row).map_err(|_| damaged())?;
        let (part, at) = (row / ROWS_PER_PART, row % ROWS_PER_PART);
        let key = (candidate.page, u32::try_from(part).map_err(|_| damaged())?);
        let plain = if let Some(plain) = self.parts.get(&key) {
            Arc::clone(plain)
        } else {
            let page = usize::try_from(candidate.page).map_err(|_| damaged())?;
            let plain = (self.opened.get(page).ok_or_else(damaged)?)(part)?;
            self.parts.insert(key, Arc::clone(&plain));
            plain
        };
        let bytes = plain.get(at * ROW..).and_then(|bytes| bytes.get(..ROW));
        let row = bytes.and_then(Row::decode).ok_or_else(damaged)?;
        if row.tag() == candidate.tag { Ok(row) } else { Err(damaged()) }
    }
}

fn length(vector: &[f32]) -> f32 {
    kernels::dot(vector, vector).sqrt()
}
