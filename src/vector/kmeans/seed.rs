//! Where k-means starts: k-means++ over a sample.
//!
//! The first centroid is a random point, and each further one a point drawn
//! with a chance in proportion to the squared distance from those before it:
//! so they lie apart, and no two are equal. The sample has eight points for
//! each centroid, or [`SMALL`] if that is more, and fewer where that would
//! cost more than [`BUDGET`]; where not even two for each fit, the centroids
//! are random points as they come, and equal ones among them are left to
//! Lloyd's rounds.

use super::{Points, kernels};

/// How many multiplications seeding may take: about 0.3 s of them.
const BUDGET: usize = 1 << 32;

/// The points that a sample may have for however few centroids.
const SMALL: usize = 1024;

/// A splitmix64 stream, of the same numbers for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: usize) -> Self {
        let seed = u64::try_from(seed).unwrap_or(0);
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x6b6d_6561_6e73))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not including, `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u128::try_from(end).unwrap_or(0);
        usize::try_from((u128::from(self.next()) * end) >> 64).unwrap_or(0)
    }

    /// From 0 up to, but not including, 1.
    fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(0);
        f64::from(bits) / 2f64.powi(32)
    }
}

/// `k` points, back to back; fewer if fewer are distinct.
pub(super) fn choose(points: Points<'_>, k: usize) -> Vec<f32> {
    let k = k.min(points.len());
    let mut random = Random::new(0);
    let affordable = (BUDGET / k.max(1)) / points.dimension.max(1);
    let size = k.saturating_mul(8).max(SMALL).min(affordable).min(points.len());
    let spread_out = size == points.len() || size >= k.saturating_mul(2);
    let sample = sample(points, if spread_out { size } else { k }, &mut random);
    if !spread_out {
        return sample.concat();
    }
    let mut centroids = plus_plus(&sample, k, &mut random);
    // Equal points in the sample need not be all there are.
    if sample.len() < points.len() && k > 0 {
        let rest = sample.iter().cycle().flat_map(|point| point.iter().copied());
        let missing = (k * points.dimension).saturating_sub(centroids.len());
        centroids.extend(rest.take(missing));
    }
    centroids
}

/// `size` of the points, each at most once; all of them in order if that is
/// how many there are.
fn sample<'a>(points: Points<'a>, size: usize, random: &mut Random) -> Vec<&'a [f32]> {
    let mut all: Vec<&[f32]> = points.iter().collect();
    if size < all.len() {
        for i in 0..size {
            let other = i + random.below(all.len() - i);
            all.swap(i, other);
        }
        all.truncate(size);
    }
    all
}

fn plus_plus(sample: &[&[f32]], k: usize, random: &mut Random) -> Vec<f32> {
    let mut centroids = Vec::new();
    let mut next = sample.get(random.below(sample.len())).copied();
    let mut distances = vec![f32::INFINITY; sample.len()];
    for _ in 0..k {
        let Some(chosen) = next else { break };
        centroids.extend_from_slice(chosen);
        let mut total = 0.0;
        for (distance, point) in distances.iter_mut().zip(sample) {
            *distance = distance.min(kernels::squared_distance(point, chosen));
            total += f64::from(*distance);
        }
        let mut rest = total * random.fraction();
        next = None;
        for (distance, point) in distances.iter().zip(sample) {
            if *distance > 0.0 {
                next = Some(*point);
                rest -= f64::from(*distance);
                if rest < 0.0 {
                    break;
                }
            }
        }
    }
    centroids
}
