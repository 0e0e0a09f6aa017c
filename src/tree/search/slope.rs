//! Where more passes a sieve: a linear model over the centroids of leaves.
//!
//! A filter that goes with what the vectors mean passes more on one side of the space than on the
//! other. From the leaves that were read, `rate(c) = mean rate + w (c - mean c)` is learnt by least
//! mean squares (Widrow and Hoff, "Adaptive switching circuits", 1960), with steps of a half of what
//! would meet each rate, in units of the mean square of `c - mean c`. Weights start at zero and every leaf
//! is gone through only once a step, so rates that differ by chance alone leave them small.
//!
//! Of a centroid the first [`DIMS`] components are looked at: the space is rotated at random, so any
//! of them do for all. Cost: for each leaf on the list half a KiB and a product of that length after
//! every few leaves; of no more than [`MOST`], of others the mean is all that is known.

use crate::tree::view::ChildrenView;
use crate::vector::kernels;

/// Components that are looked at.
const DIMS: usize = 128;
/// Leaves whose centroids are kept.
const MOST: usize = 8192;
/// How far a weight is moved to where it would meet a rate.
const PACE: f32 = 0.5;

/// The centroids of the leaves on a list, by their places.
#[derive(Default)]
pub(super) struct Points {
    dims: usize,
    values: Vec<f32>,
    len: u32,
}

impl Points {
    /// Adds the centroids of a branch's children; returns the place of the first.
    pub(super) fn extend(&mut self, children: &ChildrenView<'_>) -> u32 {
        let first = self.len;
        let scales = children.scales();
        let width = children.codes.len().checked_div(scales.len()).unwrap_or_default();
        self.dims = width.min(DIMS);
        if usize::try_from(first).is_ok_and(|first| first < MOST) {
            for (centroid, scale) in children.codes.chunks_exact(width.max(1)).zip(&scales) {
                let codes = centroid.iter().take(self.dims);
                self.values.extend(codes.map(|code| scale * (f32::from(*code) - 128.0)));
            }
        }
        self.len = self.len.saturating_add(u32::try_from(scales.len()).unwrap_or(u32::MAX));
        first
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.len = 0;
    }

    fn get(&self, place: u32) -> Option<&[f32]> {
        let start = usize::try_from(place).ok()?.checked_mul(self.dims)?;
        self.values.get(start..start.checked_add(self.dims)?)
    }
}

/// The model.
pub(super) struct Slope {
    points: Points,
    /// The share of everything that passes.
    share: f32,
    /// Of the leaves that were read: place, and the share that passed.
    seen: Vec<(u32, f32)>,
    rows: f32,
    passed: f32,
    weights: Vec<f32>,
    /// The rate where the weights are of no account.
    offset: f32,
}

impl Slope {
    pub(super) fn new(points: Points, share: f32) -> Self {
        let weights = vec![0.0; points.dims];
        Self { points, share, seen: Vec::new(), rows: 0.0, passed: 0.0, weights, offset: share }
    }

    /// Of so many rows of the leaf at this place, so many passed.
    pub(super) fn note(&mut self, place: u32, rows: f32, passed: f32) {
        self.rows += rows;
        self.passed += passed;
        if rows > 0.0 {
            self.seen.push((place, passed / rows));
        }
    }

    /// Learns from everything that was noted.
    pub(super) fn learn(&mut self) {
        let Self { points, seen, weights, .. } = self;
        let seen = seen.iter().filter_map(|(place, rate)| Some((points.get(*place)?, *rate)));
        let mut mean = vec![0.0; points.dims];
        let mut count = 0.0;
        for (point, _) in seen.clone() {
            mean.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
            count += 1.0;
        }
        for sum in &mut mean {
            *sum /= count;
        }
        let rate = if self.rows > 0.0 { self.passed / self.rows } else { self.share };
        let apart = seen.clone().map(|(point, _)| kernels::squared_distance(point, &mean));
        let square = apart.sum::<f32>() / count;
        // Leaves at one point say nothing of a direction; and none at all, nothing.
        if square > 0.0 && square.is_finite() {
            for (point, known) in seen {
                let guess = rate + kernels::dot(weights, point) - kernels::dot(weights, &mean);
                let step = PACE * (known - guess) / square;
                for ((weight, x), mean) in weights.iter_mut().zip(point).zip(&mean) {
                    *weight += step * (x - mean);
                }
            }
        }
        let middle = if count > 0.0 { kernels::dot(weights, &mean) } else { 0.0 };
        self.offset = rate - middle;
    }

    /// The share of a leaf's rows that may be expected to pass. Never nothing: a line knows no more
    /// of what is far from where it was learnt than that there is less.
    pub(super) fn rate(&self, place: u32) -> f32 {
        let slope = self.points.get(place).map(|point| kernels::dot(&self.weights, point));
        let guess = match slope {
            Some(slope) => self.offset + slope,
            None if self.rows > 0.0 => self.passed / self.rows,
            None => self.share,
        };
        guess.clamp(self.share / 10.0, 1.0)
    }
}

#[cfg(test)]
pub(super) use tests::line;

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves on a line through a space of two dimensions, from -1 to 1.
    pub(in super::super) fn line(leaves: u8) -> Points {
        let at = |n: u8| f32::from(n) / f32::from(leaves - 1) * 2.0 - 1.0;
        let values = (0..leaves).flat_map(|n| [at(n), 0.5]).collect();
        Points { dims: 2, values, len: leaves.into() }
    }

    #[test]
    fn a_rate_that_grows_along_a_line_is_found_on_it() {
        let mut slope = Slope::new(line(41), 0.3);
        // Every fourth of the lower three quarters was read: 10 % at one end, 50 % at the other.
        let truth = |place: u32| 0.3 + 0.2 * (f32::from(u8::try_from(place).unwrap()) / 20.0 - 1.0);
        for _ in 0..6 {
            slope.seen.clear();
            (slope.rows, slope.passed) = (0.0, 0.0);
            for place in (0..32).step_by(4) {
                slope.note(place, 100.0, 100.0 * truth(place));
            }
            slope.learn();
        }
        for place in 0..41 {
            let (rate, truth) = (slope.rate(place), truth(place));
            assert!((rate - truth).abs() < 0.03, "{place}: {rate} {truth}");
        }
    }

    #[test]
    fn where_rates_do_not_differ_they_are_expected_everywhere() {
        let mut slope = Slope::new(line(41), 0.5);
        for place in 0..10 {
            slope.note(place, 100.0, 20.0);
        }
        slope.learn();
        assert!((0..41).all(|place| (slope.rate(place) - 0.2).abs() < 1e-4));
    }

    #[test]
    fn what_nobody_knows_is_the_mean_and_nothing_is_impossible() {
        // Nothing read; then leaves that all have one centroid, or none that is kept.
        let mut slope = Slope::new(line(5), 0.25);
        assert!((slope.rate(3) - 0.25).abs() < 1e-6);
        slope.learn();
        assert!((slope.rate(3) - 0.25).abs() < 1e-6);
        slope.note(3, 10.0, 4.0);
        slope.note(99, 10.0, 2.0);
        slope.note(3, 0.0, 0.0);
        slope.learn();
        for place in [0, 3, 99, u32::MAX] {
            assert!((slope.rate(place) - 0.3).abs() < 1e-6, "{place}");
        }
        slope.offset = -5.0;
        assert!((slope.rate(0) - 0.025).abs() < 1e-6);
        slope.offset = 5.0;
        assert!((slope.rate(0) - 1.0).abs() < 1e-6);
    }
}
