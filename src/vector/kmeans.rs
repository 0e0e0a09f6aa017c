//! k-means: putting vectors into groups of near ones.
//!
//! [`cluster`] is Lloyd's algorithm from k-means++ seeds; [`assign`] and
//! [`update`] are its two halves, for who runs parts of the points in
//! parallel. [`halve`] and [`divide`] make groups of bounded size.
//!
//! Invariants. The same input gives the same output on the same machine: the
//! one source of chance is a generator with a fixed seed, and of equally near
//! centroids the first counts. Points are taken to have passed
//! [`check`](super::check), so that no distance overflows; points that have
//! not are grouped in some way, without a panic. Only differences of points
//! are squared: a common offset, however large, costs no precision, and points
//! count as equal if they differ by so little (1e-22) that `f32` has no square
//! of it. Every point and
//! centroid of a call has the same dimension.
//!
//! Cost: `n k` inner products a round, in blocks
//! ([`kernels::blocks`](super::kernels::blocks)) unless there are few of them;
//! seeding costs about as much as one round; everything is on the caller's
//! thread. 40,000 points of 384 components find their nearest of 400
//! centroids in 0.15 s.

use super::kernels;
use super::kernels::blocks::{LANES, Products, ROWS, pack, products};

mod seed;
mod split;
#[cfg(test)]
mod tests;

pub(crate) use split::{divide, halve};

/// Panels packed at a time, so that a tile read once serves several.
const PANELS: usize = 4;

/// Points back to back, `dimension` floats each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Points<'a> {
    pub(crate) dimension: usize,
    pub(crate) data: &'a [f32],
}

impl<'a> Points<'a> {
    /// Floats past the last whole point are left out.
    pub(crate) fn new(dimension: usize, data: &'a [f32]) -> Self {
        Self { dimension, data }
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len().checked_div(self.dimension).unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        self.data.chunks_exact(self.dimension.max(1))
    }

    pub(crate) fn get(&self, i: usize) -> Option<&'a [f32]> {
        let start = i.checked_mul(self.dimension)?;
        self.data.get(start..start.checked_add(self.dimension)?)
    }
}

/// What [`cluster`] found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clusters {
    pub(crate) dimension: usize,
    /// Back to back. Every one is the nearest of some point.
    pub(crate) centroids: Vec<f32>,
    /// For each point, which centroid is nearest.
    pub(crate) assignment: Vec<u32>,
}

/// Groups `points` around at most `k` centroids in at most `rounds` rounds;
/// around fewer if there are fewer distinct points, or if some centroid is
/// the nearest of none in the end.
pub(crate) fn cluster(points: Points<'_>, k: usize, rounds: usize) -> Clusters {
    let dimension = points.dimension;
    let mut centroids = seed::choose(points, k);
    let mut before = Vec::new();
    for _ in 0..rounds {
        let step = assign(points, Points::new(dimension, &centroids));
        if step.nearest == before && !step.counts.contains(&0) {
            break;
        }
        update(&mut centroids, std::slice::from_ref(&step));
        before = step.nearest;
    }
    let assignment = find(points, Points::new(dimension, &centroids));
    without_empty(dimension, &centroids, assignment)
}

/// Leaves out centroids without a point.
fn without_empty(dimension: usize, centroids: &[f32], mut assignment: Vec<u32>) -> Clusters {
    let rows = Points::new(dimension, centroids);
    let mut names = vec![None; rows.len()];
    for nearest in &assignment {
        if let Some(name) = names.get_mut(index(*nearest)) {
            *name = Some(0);
        }
    }
    let mut kept = Vec::with_capacity(centroids.len());
    let mut next = 0;
    for (name, row) in names.iter_mut().zip(rows.iter()) {
        if let Some(name) = name {
            *name = next;
            next += 1;
            kept.extend_from_slice(row);
        }
    }
    for nearest in &mut assignment {
        *nearest = names.get(index(*nearest)).copied().flatten().unwrap_or(0);
    }
    Clusters { dimension, centroids: kept, assignment }
}

/// What [`assign`] found in its part of the points.
#[derive(Debug, Clone)]
pub(crate) struct Assigned {
    /// For each point, which centroid is nearest.
    pub(crate) nearest: Vec<u32>,
    /// By centroid, the sum of its points' differences from it; small numbers,
    /// so that sums over many points stay precise.
    pub(crate) sums: Vec<f32>,
    /// By centroid, how many points it has.
    pub(crate) counts: Vec<u32>,
    /// By centroid, the sum of its points' squared distances.
    pub(crate) spreads: Vec<f64>,
    dimension: usize,
}

/// The first half of a round, over some of the points: which centroid is
/// nearest to each, and what [`update`] needs to move them.
pub(crate) fn assign(points: Points<'_>, centroids: Points<'_>) -> Assigned {
    let dimension = points.dimension;
    let nearest = find(points, centroids);
    let mut sums = vec![0.0; centroids.data.len()];
    let mut counts = vec![0_u32; centroids.len()];
    let mut spreads = vec![0.0; centroids.len()];
    for (point, nearest) in points.iter().zip(&nearest) {
        let i = index(*nearest);
        let Some(centroid) = centroids.get(i) else { continue };
        let start = i * dimension;
        let sums = sums.get_mut(start..start + dimension).unwrap_or_default();
        for ((sum, x), c) in sums.iter_mut().zip(point).zip(centroid) {
            *sum += x - c;
        }
        if let (Some(count), Some(spread)) = (counts.get_mut(i), spreads.get_mut(i)) {
            *count = count.saturating_add(1);
            *spread += f64::from(kernels::squared_distance(point, centroid));
        }
    }
    Assigned { nearest, sums, counts, spreads, dimension }
}

/// The second half: moves every centroid to the mean of its points in all
/// `parts`, which [`assign`] found for these centroids. One without points
/// goes beside the one with the most, so that they share its points.
#[expect(clippy::cast_possible_truncation, reason = "means of f32 are rounded to f32")]
pub(crate) fn update(centroids: &mut [f32], parts: &[Assigned]) {
    let Some(dimension) = parts.first().map(|part| part.dimension.max(1)) else { return };
    let mut groups = Vec::with_capacity(centroids.len() / dimension);
    let mut moves = vec![0.0; dimension];
    for (i, row) in centroids.chunks_exact_mut(dimension).enumerate() {
        moves.fill(0.0);
        let (mut count, mut spread) = (0_u32, 0.0);
        for part in parts {
            count = count.saturating_add(part.counts.get(i).copied().unwrap_or(0));
            spread += part.spreads.get(i).copied().unwrap_or(0.0);
            let sums = part.sums.chunks_exact(dimension).nth(i).unwrap_or_default();
            for (to, sum) in moves.iter_mut().zip(sums) {
                *to += f64::from(*sum);
            }
        }
        let points = f64::from(count.max(1));
        for (x, by) in row.iter_mut().zip(&moves) {
            *x = (f64::from(*x) + by / points) as f32;
        }
        // The spread about the new mean; what rounding leaves is nothing.
        let moved: f64 = moves.iter().map(|by| by * by).sum();
        let rest = spread - moved / points;
        groups.push((count, if rest > spread * 1e-5 { rest } else { 0.0 }));
    }
    for empty in 0..groups.len() {
        if groups.get(empty).is_some_and(|(count, _)| *count == 0) {
            share(centroids, dimension, &mut groups, empty);
        }
    }
}

/// Puts the centroid `empty` next to the one of `groups` (count and spread)
/// that has the most points, if those are not all equal.
#[expect(clippy::cast_possible_truncation, reason = "any small shift will do")]
fn share(centroids: &mut [f32], dimension: usize, groups: &mut [(u32, f64)], empty: usize) {
    let splits = |(count, spread): (u32, f64)| count > 1 && spread > 0.0;
    let candidates = groups.iter().enumerate().filter(|(_, group)| splits(**group));
    let most = candidates.max_by_key(|(i, (count, _))| (*count, std::cmp::Reverse(*i)));
    let Some((donor, (count, spread))) = most.map(|(i, group)| (i, *group)) else { return };
    let Some(row) = Points::new(dimension, centroids).get(donor).map(<[f32]>::to_vec) else {
        return;
    };
    // A small part of the group's mean distance, in no special direction: the
    // points divide about evenly by the side they are on.
    let components = f64::from(u32::try_from(dimension).unwrap_or(u32::MAX));
    let step = (spread / f64::from(count) / components).sqrt() / 64.0;
    // Where it was decides where it goes, so that it does not fail twice alike.
    let was = centroids.iter().skip(empty * dimension).take(dimension);
    let was = was.fold(0_u32, |hash, x| hash.rotate_left(5).wrapping_add(x.to_bits()));
    let mut signs = seed::Random::new(index(was).wrapping_add(empty));
    for (x, from) in centroids.iter_mut().skip(empty * dimension).zip(&row) {
        let sign = if signs.next().is_multiple_of(2) { step } else { -step };
        *x = (f64::from(*from) + sign) as f32;
    }
    for (i, count) in [(donor, count - count / 2), (empty, count / 2)] {
        if let Some(group) = groups.get_mut(i) {
            *group = (count, spread / 2.0);
        }
    }
}

/// The nearest centroid of each point and its squared distance.
#[cfg_attr(not(test), expect(dead_code, reason = "the reference, for tests"))]
pub(crate) fn nearest(points: Points<'_>, centroids: Points<'_>) -> Vec<(u32, f32)> {
    let distance = |(point, nearest): (&[f32], u32)| {
        let centroid = centroids.get(index(nearest)).unwrap_or_default();
        (nearest, kernels::squared_distance(point, centroid))
    };
    points.iter().zip(find(points, centroids)).map(distance).collect()
}

/// The nearest centroid of each point: block by block, or one by one if there
/// are too few of either to be worth packing.
fn find(points: Points<'_>, centroids: Points<'_>) -> Vec<u32> {
    if points.len() < LANES || centroids.len() < 2 * ROWS {
        points.iter().map(|point| find_one(point, centroids)).collect()
    } else {
        find_by_block(points, &Tiles::new(centroids))
    }
}

fn find_one(point: &[f32], centroids: Points<'_>) -> u32 {
    let mut best = (f32::INFINITY, 0);
    for (i, centroid) in (0..).zip(centroids.iter()) {
        let distance = kernels::squared_distance(point, centroid);
        if distance < best.0 {
            best = (distance, i);
        }
    }
    best.1
}

/// Centroids made ready for [`find_by_block`]: less their mean, packed.
struct Tiles {
    origin: Vec<f32>,
    rows: Vec<[f32; ROWS]>,
    /// By tile, half the squared length of each row; infinite past the last.
    halves: Vec<[f32; ROWS]>,
}

impl Tiles {
    #[expect(clippy::cast_possible_truncation, reason = "means and squares are rounded to f32")]
    fn new(centroids: Points<'_>) -> Self {
        let dimension = centroids.dimension;
        let mut mean = vec![0.0; dimension];
        for centroid in centroids.iter() {
            for (to, x) in mean.iter_mut().zip(centroid) {
                *to += f64::from(*x);
            }
        }
        let count = f64::from(u32::try_from(centroids.len()).unwrap_or(u32::MAX)).max(1.0);
        let origin: Vec<f32> = mean.iter().map(|sum| (sum / count) as f32).collect();

        let groups = centroids.data.chunks((dimension * ROWS).max(1));
        let mut rows = vec![[0.0; ROWS]; groups.len() * dimension];
        let mut halves = Vec::with_capacity(groups.len());
        let mut left = centroids.len();
        for (group, tile) in groups.zip(rows.chunks_exact_mut(dimension.max(1))) {
            pack(group, &origin, tile);
            let mut squares = [0.0; ROWS];
            for components in tile.iter() {
                for (square, x) in squares.iter_mut().zip(components) {
                    *square += f64::from(*x).powi(2);
                }
            }
            let mut half = squares.map(|square| (square / 2.0) as f32);
            half.iter_mut().skip(left).for_each(|past| *past = f32::INFINITY);
            halves.push(half);
            left = left.saturating_sub(ROWS);
        }
        Self { origin, rows, halves }
    }
}

/// `|x - c|^2 / 2` less `|x|^2 / 2`, which is the same for every centroid, is
/// `|c|^2 / 2 - <x, c>`.
fn find_by_block(points: Points<'_>, tiles: &Tiles) -> Vec<u32> {
    let dimension = points.dimension.max(1);
    let mut found = Vec::with_capacity(points.len());
    let mut panels = vec![[0.0; LANES]; PANELS * dimension];
    let mut dots = [[0.0; LANES]; ROWS];
    for block in points.data.chunks(PANELS * LANES * dimension) {
        let mut best = [Best::NONE; PANELS];
        let groups = block.chunks(LANES * dimension);
        let used = groups.len();
        for (group, panel) in groups.zip(panels.chunks_exact_mut(dimension)) {
            pack(group, &tiles.origin, panel);
        }
        let rows = tiles.rows.chunks_exact(dimension).zip(&tiles.halves);
        for (first, (tile, halves)) in (0_u32..).step_by(ROWS).zip(rows) {
            for (panel, best) in panels.chunks_exact(dimension).take(used).zip(&mut best) {
                products(panel, tile, &mut dots);
                best.improve(first, halves, &dots);
            }
        }
        let whole = block.len() / dimension;
        found.extend(best.iter().flat_map(|best| best.centroid).take(whole));
    }
    found
}

/// The nearest centroid so far, by lane.
#[derive(Clone, Copy)]
struct Best {
    score: [f32; LANES],
    centroid: [u32; LANES],
}

impl Best {
    const NONE: Self = Self { score: [f32::INFINITY; LANES], centroid: [0; LANES] };

    /// Looks at the tile that begins with the centroid `first`.
    #[inline]
    fn improve(&mut self, first: u32, halves: &[f32; ROWS], dots: &Products) {
        for ((i, half), dots) in (first..).zip(halves).zip(dots) {
            let lanes = self.score.iter_mut().zip(&mut self.centroid).zip(dots);
            for ((score, centroid), dot) in lanes {
                let found = half - dot;
                let nearer = found < *score;
                *score = if nearer { found } else { *score };
                *centroid = if nearer { i } else { *centroid };
            }
        }
    }
}

/// A stored number as an index; one that does not fit is of nothing.
fn index(i: u32) -> usize {
    usize::try_from(i).unwrap_or(usize::MAX)
}
