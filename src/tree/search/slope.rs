//! Where more passes a sieve.
//!
//! A filter that goes with what the vectors mean passes more on one side of the space than on the
//! other, and what passes of a leaf lies to that side of the leaf's centroid. If the points of a leaf
//! are normal about `c`, of variance `s^2` a component, then what passes of them is off by `s^2` times
//! the gradient, in `c`, of the logarithm of the share that passes (from Stein's lemma: "Estimation of the mean
//! of a multivariate normal distribution", 1981). So
//!
//! - of the codes of what passed so far, in all leaves, the mean sign of each component is taken;
//!   a normal component of mean `m` deviations has a mean sign of `sqrt(2/pi) m`, about;
//! - what may be chance of it is taken away, as James and Stein do ("Estimation with quadratic
//!   loss", 1961): nearly all of it if a filter does not go with where vectors are;
//! - and `rate(c) ~ exp(g c)` over the centroids of leaves, `g` being [`GAIN`] times the
//!   gradient: less than all of it, for points spread farther along some directions than along
//!   others, and filters do not go on forever as they begin.
//!
//! That a leaf's second copies may lean together is not accounted for.
//!
//! Cost: a few nanoseconds for each row that passes, of one bit a component; for each leaf on the list a byte a component
//! and a product of that length after every few leaves; of no more than about [`MOST`] bytes, of other
//! leaves the mean is all that is known.

use std::f32::consts::FRAC_PI_2;

use super::Ranked;
use crate::tree::view::ChildrenView;
use crate::vector::rabitq::{Form, Probe};
use crate::vector::tally::Tally;

/// Bytes of centroids that are kept.
const MOST: usize = 4 << 20;
/// The share of the gradient that is gone by; fitted to `WordNet`.
const GAIN: f32 = 0.28;
/// Natural logarithms that a rate may be above or below that of the mean exponent.
const REACH: f32 = 3.0;

/// The centroids of the leaves on a list, by their places: 8 bits a component, as branches have them.
#[derive(Default)]
pub(super) struct Points {
    codes: Vec<u8>,
    scales: Vec<f32>,
    len: u32,
}

impl Points {
    /// Adds the centroids of a branch's children, one of so many branches; returns the place of the first.
    pub(super) fn extend(&mut self, children: &ChildrenView<'_>, branches: usize) -> u32 {
        let first = self.len;
        let scales = children.scales();
        self.len = self.len.saturating_add(u32::try_from(scales.len()).unwrap_or(u32::MAX));
        if self.codes.is_empty() {
            // Branches are about as large; to grow is to copy.
            let all = children.codes.len().saturating_mul(branches);
            self.codes.reserve(all.saturating_add(all / 4).min(MOST));
        }
        if self.codes.len() < MOST {
            self.codes.extend_from_slice(children.codes);
            self.scales.extend(scales);
        }
        first
    }

    pub(super) fn clear(&mut self) {
        self.codes.clear();
        self.scales.clear();
        self.len = 0;
    }
}

/// What the leaves that were read say of the others. Rates are logarithms, and so is their mean.
pub(super) struct Slope {
    points: Points,
    /// The share of everything that passes.
    share: f32,
    rows: f32,
    passed: f32,
    /// Of the leaves that were read: their places and the sum of their squared radii.
    read: Vec<u32>,
    squares: f32,
    /// The signs of what passed, and of how many rows they were when they were last looked at.
    signs: Tally,
    learnt: u32,
    /// `-g c` of each leaf, and the mean over those that were read of it and of what follows from it.
    falls: Vec<f32>,
    level: f32,
    mean: f32,
    /// The rate over all of them, and the least there is of any.
    rate: f32,
    least: f32,
}

impl Slope {
    pub(super) fn new(points: Points, share: f32) -> Self {
        Self {
            points,
            share,
            rows: 0.0,
            passed: 0.0,
            read: Vec::new(),
            squares: 0.0,
            signs: Tally::default(),
            learnt: 0,
            falls: Vec::new(),
            level: 0.0,
            mean: 0.0,
            rate: share.ln(),
            least: (share / 10.0).ln(),
        }
    }

    /// What counts the signs of the rows that pass.
    pub(super) const fn signs(&mut self) -> &mut Tally {
        &mut self.signs
    }

    /// A leaf was read: of so many rows so many passed.
    pub(super) fn note(&mut self, leaf: &Ranked, rows: f32, passed: f32) {
        self.rows += rows;
        self.passed += passed;
        self.read.push(leaf.place);
        self.squares += leaf.radius * leaf.radius;
    }

    /// Learns from everything that was noted.
    pub(super) fn learn(&mut self) {
        // Where to, if there is a quarter more to learn it from than the last time.
        if self.signs.codes() > self.learnt.saturating_add(self.learnt / 4) {
            self.learnt = self.signs.codes();
            self.turn();
        }
        let known: Vec<f32> = self.read.iter().filter_map(|place| self.fall(*place)).collect();
        if known.is_empty() {
            self.falls.clear();
        }
        self.level = known.iter().sum::<f32>() / count(known.len());
        let times = known.iter().map(|fall| rise(fall - self.level).exp());
        self.mean = (times.sum::<f32>() / count(known.len())).ln();
        let rate = if self.rows > 0.0 { self.passed / self.rows } else { self.share };
        self.rate = rate.ln();
    }

    fn turn(&mut self) {
        self.falls.clear();
        let mut signs = self.signs.lean();
        let length: f32 = signs.iter().map(|sign| sign * sign).sum();
        let components = count(signs.len());
        // Of signs that are chance alone the mean of n has a square of 1 / n.
        let chance = components / count(usize::try_from(self.learnt).unwrap_or(usize::MAX));
        let radius = (self.squares / count(self.read.len())).sqrt();
        let scale = GAIN * (1.0 - chance / length) * (FRAC_PI_2 * components).sqrt() / radius;
        // Nothing is to be learnt, or nothing is known of where the leaves are.
        if !(scale > 0.0 && scale.is_finite()) {
            return;
        }
        for sign in &mut signs {
            *sign *= scale;
        }
        let gradient = Probe::new(Form::Inner, &signs);
        gradient.to_rounded(&self.points.codes, &self.points.scales, &[], &mut self.falls);
    }

    fn fall(&self, place: u32) -> Option<f32> {
        let fall = self.falls.get(usize::try_from(place).ok()?).copied();
        fall.filter(|fall| fall.is_finite())
    }

    /// The logarithm of the share of a leaf's rows that may be expected to pass; never of nothing.
    pub(super) fn log_rate(&self, place: u32) -> f32 {
        let times = self.fall(place).map_or(0.0, |fall| rise(fall - self.level) - self.mean);
        (self.rate + times).max(self.least).min(0.0)
    }
}

fn rise(fall: f32) -> f32 {
    (-fall).clamp(-REACH, REACH)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
const fn count(number: usize) -> f32 {
    number as f32
}

#[cfg(test)]
pub(super) use tests::{code, line};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::tree::node::{Branch, Entries, Node};
    use crate::tree::view::{EntriesView, NodeView};
    use crate::vector::kernels::codes::Width;
    use crate::vector::scalar::Rounded;

    impl Slope {
        fn rate(&self, place: u32) -> f32 {
            self.log_rate(place).exp()
        }
    }

    /// Leaves on a line, from -1 to 1.
    pub(in super::super) fn line(leaves: u8) -> Points {
        let at = |n: u8| f32::from(n) / f32::from(leaves - 1) * 2.0 - 1.0;
        let point = |n: u8| Rounded::round(&[[at(n), 0.5].as_slice(), &[0.0; 62]].concat());
        Points {
            codes: (0..leaves).flat_map(|n| point(n).codes).collect(),
            scales: (0..leaves).map(|n| point(n).scale).collect(),
            len: leaves.into(),
        }
    }

    /// A code whose first component is positive or not, the others by the bits of a number.
    pub(in super::super) fn code(positive: bool, number: u64) -> [u8; 8] {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let others = mixed ^ (mixed >> 29) ^ (mixed << 31);
        (others & !1 | u64::from(positive)).to_le_bytes()
    }

    /// What is learnt of leaves 18 to 22 of 41, of whose 5,000 rows 500 pass; of their first components so many
    /// are positive.
    fn learnt(positive: u64, radius: f32, points: Points) -> Slope {
        let mut slope = Slope::new(points, 0.3);
        for place in 18..23 {
            let leaf = Ranked { rank: 1.0, id: NodeId(0), radius, place };
            slope.note(&leaf, 1000.0, 100.0);
        }
        let codes: Vec<[u8; 8]> = (0..500).map(|n| code(n < positive, n)).collect();
        slope.signs().add(Width::One, codes.iter().map(|code| &code[..]));
        slope.learn();
        slope
    }

    #[test]
    fn more_is_expected_to_which_side_what_passed_is_of_its_centroid() {
        for (positive, side) in [(400, 1.0), (100, -1.0)] {
            let slope = learnt(positive, 1.0, line(41));
            // Where it was read, what was found.
            assert!((slope.rate(20) - 0.1).abs() < 1e-2, "{}", slope.rate(20));
            for place in 0..40 {
                assert!((slope.rate(place + 1) - slope.rate(place)) * side > 0.0, "{place}");
            }
            // A mean sign of .6; of all signs a quarter is chance: over the whole line a factor of
            // exp(.28 * .75 * .6 * sqrt(pi/2 * 64) * 2), but for rounding.
            let factor = (slope.rate(40) / slope.rate(0)).ln() * side;
            assert!((2.2..2.6).contains(&factor), "{factor}");
            // The wider the leaves, the less.
            let wide = learnt(positive, 2.0, line(41));
            let less = (wide.rate(40) / wide.rate(0)).ln() * side;
            assert!((less * 2.0 - factor).abs() < 0.1, "{less} {factor}");
        }
    }

    #[test]
    fn only_so_many_points_are_kept_and_the_others_have_places() {
        let centroid = Rounded::round(&[0.5; 4096]);
        let mut children = Entries::default();
        (1..=300).for_each(|id| children.push(NodeId(id), &centroid, 1.0));
        let (parent, tag) = (NodeId::ROOT, [0; 16]);
        let branch = Branch { parent, level: 1, centroid, span: 0.0, tag, children };
        let (codes, _) = Node::Branch(branch).encode().unwrap();
        let EntriesView::Children(children) = NodeView::decode(&codes).unwrap().entries else {
            unreachable!("a branch has children")
        };
        let mut points = Points::default();
        let firsts = (0..6).map(|_| points.extend(&children, 6)).collect::<Vec<u32>>();
        assert_eq!(firsts, [0, 300, 600, 900, 1200, 1500]);
        // The fourth goes over the limit.
        assert_eq!((points.codes.len(), points.scales.len()), (1200 * 4096, 1200));
        points.clear();
        assert_eq!((points.extend(&children, 1), points.scales.len()), (0, 300));
    }

    #[test]
    fn where_it_was_read_the_mean_is_what_was_found() {
        let mut slope = learnt(400, 1.0, line(41));
        slope.note(&Ranked { rank: 1.0, id: NodeId(0), radius: 1.0, place: 40 }, 1000.0, 100.0);
        slope.learn();
        let read = [18, 19, 20, 21, 22, 40].map(|place| slope.rate(place));
        let mean = read.iter().sum::<f32>() / 6.0;
        assert!((mean - 0.1).abs() < 1e-4 && read[5] > 0.2, "{read:?}");
    }

    #[test]
    fn a_point_that_is_none_spoils_no_other() {
        let mut points = line(41);
        points.scales[19] = f32::NAN;
        points.scales[30] = f32::INFINITY;
        let slope = learnt(400, 1.0, points);
        assert!((slope.rate(19) - 0.1).abs() < 1e-6 && (slope.rate(30) - 0.1).abs() < 1e-6);
        assert!(
            (slope.rate(20) - 0.1).abs() < 1e-2 && slope.rate(40) > 0.2 && slope.rate(0) < 0.05
        );
        // And where none is known that was read, nothing is known of others.
        let mut points = line(41);
        points.scales[18..23].fill(f32::NAN);
        let slope = learnt(400, 1.0, points);
        assert!((0..41).all(|place| (slope.rate(place) - 0.1).abs() < 1e-6));
    }

    #[test]
    fn a_rate_is_at_most_e_cubed_of_that_at_the_mean_exponent() {
        // Leaves so narrow that over the line the gradient says e^48.
        let mut slope = Slope::new(line(41), 1e-3);
        for place in 18..23 {
            slope.note(&Ranked { rank: 1.0, id: NodeId(0), radius: 0.05, place }, 2e5, 100.0);
        }
        let codes: Vec<[u8; 8]> = (0..500).map(|n| code(n < 400, n)).collect();
        slope.signs().add(Width::One, codes.iter().map(|code| &code[..]));
        slope.learn();
        let above = slope.log_rate(40) - slope.log_rate(20);
        assert!((above - 3.0).abs() < 0.1, "{above}");
        assert!((slope.log_rate(0) - slope.least).abs() < 1e-6);
    }

    #[test]
    fn what_may_be_chance_teaches_nothing() {
        // The 64 components vary by chance, and the first does no more than they.
        let slope = learnt(252, 1.0, line(41));
        let rates = [0, 20, 40].map(|place| slope.rate(place));
        assert!(rates.iter().all(|rate| (rate - 0.1).abs() < 5e-3), "{rates:?}");
    }

    #[test]
    fn it_is_learnt_anew_once_there_is_more_to_learn_from() {
        let mut slope = learnt(400, 1.0, line(41));
        let before = slope.rate(0);
        let add = |slope: &mut Slope, many: u64| {
            let codes: Vec<[u8; 8]> = (0..many).map(|n| code(false, n)).collect();
            slope.signs().add(Width::One, codes.iter().map(|code| &code[..]));
            slope.learn();
        };
        add(&mut slope, 100);
        assert_eq!(slope.rate(0).to_bits(), before.to_bits());
        add(&mut slope, 400);
        assert!(slope.rate(0) > before * 1.5, "{} {before}", slope.rate(0));
    }

    #[test]
    fn what_nobody_knows_is_the_mean_and_nothing_is_impossible() {
        // Nothing read; then leaves that are not on the list, without a radius, or in which nothing passed.
        let mut slope = Slope::new(line(5), 0.25);
        assert!((slope.rate(3) - 0.25).abs() < 1e-6);
        slope.learn();
        assert!((slope.rate(3) - 0.25).abs() < 1e-6);
        for (place, radius) in [(3, 0.0), (99, f32::INFINITY), (3, f32::NAN)] {
            slope.note(&Ranked { rank: 1.0, id: NodeId(0), radius, place }, 10.0, 3.0);
            slope.signs().add(Width::One, [code(true, 7); 9].iter().map(|code| &code[..]));
            slope.learn();
            for place in [0, 3, 99, u32::MAX] {
                assert!((slope.rate(place) - 0.3).abs() < 1e-6, "{place}");
            }
        }
        slope.note(&Ranked { rank: 1.0, id: NodeId(0), radius: 1.0, place: 0 }, 1e6, 0.0);
        slope.learn();
        assert!((slope.rate(0) - 0.025).abs() < 1e-6);
    }
}
