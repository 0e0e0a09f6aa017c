//! Which leaves are read, and when there are enough.
//!
//! Of everything, the nearest few: how many is known before. Of what passes a sieve nobody knows
//! before how far it is from the query nor where there is most of it, so after the first leaves
//! those follow that may be expected to hold most of the items that are still wanted, and when
//! none is expected to hold much, that is enough:
//!
//! - A point of a leaf is the leaf's radius from its centroid, about. It is nearer than the
//!   `top_k`-th found so far if the angle at the centroid, between it and the query, has at least
//!   the cosine that the law of cosines gives.
//! - In many dimensions these cosines are about normal. Mean and deviation are taken from what
//!   passed the sieve so far.
//! - How much of a leaf passes goes by where it is, for neighbours are alike: see [`slope`](super::slope).
//!
//! Cost: a root for each leaf that is still worth something, and two exponentials if it is near
//! enough, after every few leaves.

use super::slope::{Points, Slope};
use super::{BATCH, Ranked, sort_first};
use crate::tree::depth::Reach;
use crate::vector::tally::Tally;

/// Nodes that are read together where what is found decides whether to go on.
const STEP: usize = 12;

/// The leaves of a search, and which of them are next.
pub(super) struct Walk {
    /// Not read yet. Without a guide, the nearest first.
    left: Vec<Ranked>,
    read: usize,
    /// Leaves still to be read, of those in which something passes.
    wanted: usize,
    /// None is expected to hold anything of what is wanted.
    stopped: bool,
    /// With a sieve only.
    guide: Option<Guide>,
}

/// What the leaves that were read say of others.
struct Guide {
    /// Leaves that are read before it is asked.
    first: usize,
    /// A leaf that is expected to hold less is not read.
    least: f32,
    /// How much passes where.
    slope: Slope,
    rows: f32,
    cosines: Moments,
}

#[derive(Default)]
struct Moments {
    count: f32,
    sum: f32,
    squares: f32,
}

impl Walk {
    /// `count` of the leaves are wanted. With a sieve, for what it is worth to read: `reach`, the
    /// share of the index that passes, and where the leaves are.
    pub(super) fn new(
        leaves: Vec<Ranked>,
        count: usize,
        sieve: Option<(Reach, f32, Points)>,
    ) -> Self {
        let guide = sieve.map(|(reach, share, points)| Guide {
            first: reach.first.clamp(1, BATCH),
            least: reach.least,
            slope: Slope::new(points, share),
            rows: 0.0,
            cosines: Moments::default(),
        });
        Self { left: leaves, read: 0, wanted: count, stopped: false, guide }
    }

    /// The leaves that are read together now; none if there are enough. `last` is how far the
    /// `top_k`-th item is that was found.
    pub(super) fn next(&mut self, last: impl FnOnce() -> Option<f32>) -> Vec<Ranked> {
        let Some(guide) = &mut self.guide else {
            let next = self.left.len().min(BATCH).min(self.wanted);
            return self.take(next);
        };
        if self.read == 0 {
            let first = guide.first.min(self.left.len());
            sort_first(&mut self.left, first);
            return self.take(first);
        }
        let step = STEP.min(self.left.len());
        let Some(last) = last() else {
            sort_first(&mut self.left, step);
            return self.take(step);
        };
        guide.slope.learn();
        // What is expected changes, but not so much that all need be asked again.
        let quarter = guide.least / 4.0;
        let outlook = guide.outlook(last, count(self.read), quarter);
        let mut most = 0.0_f32;
        let mut worth: Vec<(f32, Ranked)> = Vec::with_capacity(self.left.len());
        worth.extend(self.left.drain(..).filter_map(|leaf| {
            let expected = outlook.expected(&leaf);
            most = most.max(expected);
            (expected >= quarter).then_some((expected, leaf))
        }));
        if most < guide.least {
            self.stopped = true;
            return Vec::new();
        }
        let order = |a: &(f32, Ranked), b: &(f32, Ranked)| {
            b.0.total_cmp(&a.0)
                .then_with(|| a.1.rank.total_cmp(&b.1.rank))
                .then(a.1.id.cmp(&b.1.id))
        };
        if step < worth.len() {
            worth.select_nth_unstable_by(step, order);
        }
        let half = guide.least / 2.0;
        let mut next = Vec::with_capacity(step);
        for (place, (expected, leaf)) in worth.into_iter().enumerate() {
            if place < step && expected >= half {
                next.push(leaf);
            } else {
                self.left.push(leaf);
            }
        }
        self.read += next.len();
        next
    }

    fn take(&mut self, count: usize) -> Vec<Ranked> {
        self.read += count;
        self.left.drain(..count).collect()
    }

    /// What counts the signs of the rows that pass, if that is of use.
    pub(super) fn signs(&mut self) -> Option<&mut Tally> {
        self.guide.as_mut().map(|guide| guide.slope.signs())
    }

    /// A leaf was read: of its rows, those that pass have these distances.
    pub(super) fn note(&mut self, leaf: &Ranked, rows: usize, passed: usize, distances: &[f32]) {
        // Leaves in which nothing passes the sieve do not count: others are read in their place.
        self.wanted = self.wanted.saturating_sub(usize::from(passed > 0));
        let Some(guide) = &mut self.guide else { return };
        guide.rows += count(rows);
        guide.slope.note(leaf, count(rows), count(passed));
        let (squares, inverse) = leaf.cosines();
        guide.cosines.add(distances.iter().map(|distance| (squares - distance) * inverse));
    }

    /// How many leaves were read.
    pub(super) const fn read(&self) -> usize {
        self.read
    }

    pub(super) const fn is_enough(&self) -> bool {
        self.wanted == 0 || self.stopped
    }
}

impl Ranked {
    /// The cosine at the centroid, between the query and a point of the leaf at a distance of it, is the
    /// first less the distance, times the second.
    fn cosines(&self) -> (f32, f32) {
        let (square, radius) = (self.rank.max(0.0), self.radius);
        (square + radius * radius, 1.0 / (2.0 * square.sqrt() * radius))
    }
}

impl Guide {
    /// What may be expected, of items nearer than `last`, after so many leaves were read; less than `least` is nothing.
    fn outlook(&self, last: f32, read: f32, least: f32) -> Outlook<'_> {
        let (mean, deviation) = (self.cosines.mean(), self.cosines.deviation());
        let rows = self.rows / read;
        // The tail is under exp(-x^2 / 2).
        let farthest = (2.0 * (rows / least).ln().max(0.0)).sqrt();
        Outlook { slope: &self.slope, last, rows, mean, deviation, farthest }
    }
}

struct Outlook<'a> {
    slope: &'a Slope,
    last: f32,
    /// In a leaf.
    rows: f32,
    /// Of the cosines.
    mean: f32,
    deviation: f32,
    /// So many deviations out, nothing would be expected if all of a leaf passed.
    farthest: f32,
}

impl Outlook<'_> {
    /// How many items nearer than the last a leaf may be expected to hold.
    fn expected(&self, leaf: &Ranked) -> f32 {
        let (squares, inverse) = leaf.cosines();
        let standard = ((squares - self.last) * inverse - self.mean) / self.deviation;
        if standard > self.farthest {
            return 0.0;
        }
        let passing = self.slope.rate(leaf.place) * self.rows;
        // Nothing is known of a leaf without a radius, or with an infinite one.
        if standard.is_nan() { passing } else { passing * tail(standard) }
    }
}

impl Moments {
    /// Adds values, or none of them if one is not finite.
    fn add(&mut self, values: impl Iterator<Item = f32>) {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for value in values {
            count += 1.0;
            sum += value;
            squares += value * value;
        }
        if f32::is_finite(sum + squares) {
            self.count += count;
            self.sum += sum;
            self.squares += squares;
        }
    }

    fn mean(&self) -> f32 {
        self.sum / self.count.max(1.0)
    }

    fn deviation(&self) -> f32 {
        let mean = self.mean();
        (self.squares / self.count.max(1.0) - mean * mean).max(1e-6).sqrt()
    }
}

/// The share of a normal distribution above `x` deviations: Abramowitz and Stegun, *Handbook of
/// Mathematical Functions*, 26.2.17, to 1e-7.
fn tail(x: f32) -> f32 {
    const B: [f32; 5] = [0.319_381_53, -0.356_563_78, 1.781_477_9, -1.821_256, 1.330_274_4];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial = B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let density = (-x * x / 2.0).exp() * std::f32::consts::FRAC_2_SQRT_PI / 8.0_f32.sqrt();
    let above = density * polynomial;
    if x < 0.0 { 1.0 - above } else { above }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
const fn count(number: usize) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::super::slope::{code, line};
    use super::*;
    use crate::id::NodeId;
    use crate::vector::kernels::codes::Width;

    /// A leaf this far from the query, squared.
    fn leaf(number: u64, place: u32, rank: f32) -> Ranked {
        Ranked { rank, id: NodeId(number), radius: 1.0, place }
    }

    fn ids(leaves: &[Ranked]) -> Vec<u64> {
        leaves.iter().map(|leaf| leaf.id.0).collect()
    }

    /// What passes has cosines of about 0.1 with a deviation of 0.1.
    fn distances(leaf: &Ranked, count: usize) -> Vec<f32> {
        let cosines = [0.0, 0.2].into_iter().cycle().take(count);
        cosines.map(|cosine| leaf.rank + 1.0 - 2.0 * leaf.rank.sqrt() * cosine).collect()
    }

    fn guided(leaves: Vec<Ranked>, least: f32) -> Walk {
        Walk::new(leaves, 1, Some((Reach { first: 4, least }, 0.1, line(2))))
    }

    #[test]
    fn the_tail_is_that_of_the_normal_distribution() {
        // Tables: Abramowitz and Stegun, 26.1.
        for (x, above) in [(0.0, 0.5), (1.0, 0.158_655), (2.0, 0.022_750), (3.0, 0.001_350)] {
            assert!((tail(x) - above).abs() < 1e-6 && (tail(-x) - (1.0 - above)).abs() < 1e-6);
        }
        assert!(tail(f32::INFINITY) < 1e-9 && tail(f32::NEG_INFINITY) > 1.0 - 1e-6);
    }

    #[test]
    fn without_a_sieve_as_many_are_read_as_are_wanted() {
        let leaves = (0..250u8).map(|n| leaf(n.into(), 0, n.into())).collect();
        let mut walk = Walk::new(leaves, 200, None);
        let never = || -> Option<f32> { panic!("nobody asks what was found") };
        let mut read = 0;
        loop {
            let next = walk.next(never);
            if next.is_empty() {
                break;
            }
            for leaf in &next {
                walk.note(leaf, 10, 10, &[]);
            }
            read += next.len();
        }
        assert!(read == 200 && walk.read() == 200 && walk.is_enough());
    }

    #[test]
    fn leaves_on_the_side_where_more_passes_come_first() {
        // On two sides, as far; on the second of them most passes.
        let leaves = (0..40u8).map(|n| leaf(n.into(), (n % 2).into(), 1.0)).collect();
        let mut walk = guided(leaves, 1e-3);
        let first = walk.next(|| None);
        assert_eq!(ids(&first), [0, 1, 2, 3]);
        for leaf in &first {
            walk.note(leaf, 100, 26, &distances(leaf, 26));
        }
        // What passed is on the side of the second.
        let codes: Vec<[u8; 8]> = (0..200).map(|n| code(n < 160, n)).collect();
        walk.signs().unwrap().add(Width::One, codes.iter().map(|code| &code[..]));
        let next = walk.next(|| Some(1.2));
        assert!(next.len() == STEP && next.iter().all(|leaf| leaf.place == 1), "{:?}", ids(&next));
    }

    #[test]
    fn far_leaves_are_not_read_once_enough_is_near() {
        let near = (0..8u8).map(|n| leaf(n.into(), 0, 1.0));
        let far = (8..80u8).map(|n| leaf(n.into(), 0, 4.0));
        let read = |last: f32| {
            let mut walk = guided(near.clone().chain(far.clone()).collect(), 1e-3);
            let mut read = Vec::new();
            loop {
                let next = walk.next(|| Some(last));
                if next.is_empty() {
                    assert!(walk.is_enough());
                    return read;
                }
                for leaf in &next {
                    walk.note(leaf, 100, 10, &distances(leaf, 10));
                }
                read.extend(ids(&next));
            }
        };
        assert_eq!(read(1.3), (0..8).collect::<Vec<u64>>());
        // The control: if what was found is far, so may be what is nearer.
        assert_eq!(read(4.0).len(), 80);
    }

    #[test]
    fn until_enough_is_found_the_nearest_are_next() {
        let leaves =
            (0..40u8).rev().map(|n| leaf(n.into(), (n % 2).into(), 1.0 + f32::from(n))).collect();
        let mut walk = guided(leaves, 1e-3);
        let mut all = Vec::new();
        while let next @ [_, ..] = &walk.next(|| None)[..] {
            for leaf in next {
                walk.note(leaf, 100, usize::from(leaf.place == 1), &[]);
            }
            all.extend(ids(next));
        }
        assert_eq!(all, (0..40).collect::<Vec<u64>>());
    }

    #[test]
    fn a_far_leaf_that_is_a_point_is_not_read() {
        for (rank, read) in [(4.0, 0), (1.0, 1)] {
            let point = Ranked { radius: 0.0, ..leaf(9, 0, rank) };
            let mut walk = guided((0..4).map(|n| leaf(n, 0, 0.5)).chain([point]).collect(), 1e-3);
            for leaf in &walk.next(|| None) {
                walk.note(leaf, 100, 10, &distances(leaf, 10));
            }
            assert_eq!(walk.next(|| Some(1.3)).len(), read, "{rank}");
        }
    }

    #[test]
    fn radii_that_say_nothing_stop_nothing() {
        for radius in [0.0, f32::INFINITY, f32::NAN] {
            let leaves = (0..12u8).map(|n| Ranked { radius, ..leaf(n.into(), 0, 0.0) }).collect();
            let mut walk = guided(leaves, 1e-3);
            for read in [4, 8, 0] {
                let next = walk.next(|| Some(0.0));
                assert_eq!(next.len(), read, "{radius}");
                for leaf in &next {
                    walk.note(leaf, 100, 10, &[0.0; 10]);
                }
            }
        }
    }
}
