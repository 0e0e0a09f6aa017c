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
//! Expectations are reckoned by their logarithms.
//!
//! Cost: a root for each leaf on the list, and a polynomial for each that is still worth something
//! after every few leaves.

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
    /// With a guide, once enough was found: those of the leaves that are still worth something.
    ahead: Option<Vec<Ahead>>,
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
        Self { left: leaves, ahead: None, read: 0, wanted: count, stopped: false, guide }
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
        let Some(last) = last() else {
            let step = STEP.min(self.left.len());
            sort_first(&mut self.left, step);
            return self.take(step);
        };
        guide.slope.learn();
        let left = &mut self.left;
        let ahead = self.ahead.get_or_insert_with(|| left.drain(..).map(Ahead::new).collect());
        let outlook = guide.outlook(last, count(self.read));
        let least = guide.least.ln();
        let mut most = f32::NEG_INFINITY;
        ahead.retain_mut(|leaf| {
            leaf.expected = outlook.expected(leaf);
            most = most.max(leaf.expected);
            // What is expected changes, but not so much that all need be asked again.
            leaf.expected >= least - 4.0_f32.ln()
        });
        if most < least {
            self.stopped = true;
            return Vec::new();
        }
        // The best come last.
        let order = |a: &Ahead, b: &Ahead| {
            let nearer = b.leaf.rank.total_cmp(&a.leaf.rank).then(b.leaf.id.cmp(&a.leaf.id));
            a.expected.total_cmp(&b.expected).then(nearer)
        };
        let others = ahead.len().saturating_sub(STEP);
        if others > 0 {
            ahead.select_nth_unstable_by(others, order);
        }
        let mut next = Vec::with_capacity(STEP);
        for leaf in ahead.split_off(others) {
            if leaf.expected >= least - 2.0_f32.ln() {
                next.push(leaf.leaf);
            } else {
                ahead.push(leaf);
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

/// A leaf that may be read, and what is known of it.
struct Ahead {
    leaf: Ranked,
    cosines: (f32, f32),
    /// The logarithm of how many items it may be expected to hold, of those nearer than the last.
    expected: f32,
}

impl Ahead {
    fn new(leaf: Ranked) -> Self {
        Self { leaf, cosines: leaf.cosines(), expected: 0.0 }
    }
}

impl Guide {
    /// What may be expected, of items nearer than `last`, after so many leaves were read.
    fn outlook(&self, last: f32, read: f32) -> Outlook<'_> {
        let (mean, deviation) = (self.cosines.mean(), self.cosines.deviation());
        let (rows, inverse) = ((self.rows / read).ln(), 1.0 / deviation);
        Outlook { slope: &self.slope, last, rows, mean, inverse }
    }
}

struct Outlook<'a> {
    slope: &'a Slope,
    last: f32,
    /// The logarithm of how many there are in a leaf.
    rows: f32,
    /// Of the cosines: the mean, and one over the deviation.
    mean: f32,
    inverse: f32,
}

impl Outlook<'_> {
    fn expected(&self, leaf: &Ahead) -> f32 {
        let (squares, inverse) = leaf.cosines;
        let standard = ((squares - self.last) * inverse - self.mean) * self.inverse;
        let passing = self.rows + self.slope.log_rate(leaf.leaf.place);
        // Nothing is known of a leaf without a radius, or with an infinite one.
        if standard.is_nan() { passing } else { passing + log_tail(standard) }
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

/// The logarithm of the share of a normal distribution above `x` deviations, to a hundredth up to
/// six of them: there a polynomial interpolates it at Chebyshev's points. Beyond it goes as the
/// square does.
fn log_tail(x: f32) -> f32 {
    // From -4 to 6. In pairs, for a processor does these at once.
    let t = ((x - 1.0) * 0.2).clamp(-1.0, 1.0);
    let square = t * t;
    let low = (-1.842_101 - 7.564_976 * t) + (-9.995_384 - 3.022_296 * t) * square;
    let high = (2.171_83 + 0.214_709 * t) - 0.704_822 * square;
    let near = low + high * (square * square);
    if x > 6.0 { near + (36.0 - x * x) / 2.0 } else { near }
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
        // Tables: Abramowitz and Stegun, 26.1 and 26.2.
        for (x, above) in [
            (0.0, 0.5),
            (0.5, 0.308_538),
            (1.0, 0.158_655),
            (2.0, 0.022_750),
            (3.0, 1.349_898e-3),
            (4.0, 3.167_124e-5),
            (5.0, 2.866_516e-7),
            (6.0, 9.865_876e-10),
        ] {
            let (out, back) = (log_tail(x), log_tail(-x));
            assert!((out - f32::ln(above)).abs() < 0.01, "{x}: {out}");
            assert!((back - f32::ln_1p(-above)).abs() < 0.01, "-{x}: {back}");
        }
        // At 10: 7.62e-24.
        assert!((log_tail(10.0) + 53.23).abs() < 0.6, "{}", log_tail(10.0));
        assert!(log_tail(f32::INFINITY) < -1e9 && log_tail(f32::NEG_INFINITY) > -0.01);
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
        assert!(next.len() == 12 && next.iter().all(|leaf| leaf.place == 1), "{:?}", ids(&next));
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
