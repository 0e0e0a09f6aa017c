//! RaBitQ: estimates of distances, with a bound, from a few bits a component.
//!
//! J. Gao and C. Long, "RaBitQ: Quantizing High-Dimensional Vectors with a
//! Theoretical Error Bound for Approximate Nearest Neighbor Search", SIGMOD
//! 2024, for one bit; J. Gao et al., "Practical and Asymptotically Optimal
//! Quantization of High-Dimensional Vectors in Euclidean Space for Approximate
//! Nearest Neighbor Search", SIGMOD 2025, for more ("extended RaBitQ").
//!
//! A vector `x` near a centroid `c`, both rotated, is kept as the direction of
//! `r = x - c`. With `o = r / |r|` and `B` bits, its code is the point `u` of
//! the grid of half-integers from `-(2^B - 1) / 2` on whose direction comes
//! close to `o`. For a query `q`, and `s = <u, o> / |u|`,
//!
//! ```text
//! <o, q - c>  is about  <u, q - c> / <u, o>
//! ```
//!
//! without bias, and off by more than `e |q - c|` on one side with a
//! probability of 3 %, where `e = 1.9 sqrt(1 - s^2) / s / sqrt(D - 1)`: the
//! estimator and the bound are Theorem 3.2 of 2024. What depends on the row
//! alone is folded into its [`Factors`], so that a scan of a partition is one
//! sum of whole numbers per row and two multiplications:
//!
//! ```text
//! |q - x|^2 = |q - c|^2 + |r|^2 - 2 |r| <o, q - c>
//! -<q, x>   = -<q, c> - <r, c> - |r| <o, q - c>
//! ```
//!
//! The query is itself rounded to 8 bits, once for all partitions. Its error,
//! of length `d`, points where chance has it: `<u / |u|, d>` is of the size
//! `d / sqrt(D)`, independent of the code's own error, so the squares add up.
//! To keep that out of the row, `1 - s^2` counts at least as [`Grid::least`],
//! about half of what random vectors have, and `|q - c|` as
//! `sqrt(|q - c|^2 + d^2 / least)`: the product is never less than the two
//! errors together.
//!
//! Invariants. Whatever vectors with squared lengths up to 1e37 come in, every
//! number here is finite: what an `f32` cannot hold is cut to 1e38. A lower
//! bound is never over its estimate. The rounding of `f32`, a part in a
//! million or so of the largest summand, is not in the bound.
//!
//! Cost at 384 components: 0.5 us to encode at one bit, 2 us at two or four;
//! 4 to 5 ns to estimate.

use super::kernels;
use super::kernels::codes::{self, Width};
use super::scalar::signed;

/// How many standard deviations the bound is wide: the value of the paper.
const EPSILON: f64 = 1.9;

/// What is cut to stay finite.
const LARGEST: f64 = 1e38;

/// A residual shorter than this counts as none.
const SHORTEST: f64 = 1e-35;

/// What is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `|q - x|^2`.
    Square,
    /// `-<q, x>`.
    Inner,
}

impl Form {
    /// How often the inner product with the residual counts.
    const fn times(self) -> f64 {
        match self {
            Self::Square => 2.0,
            Self::Inner => 1.0,
        }
    }
}

/// What is kept of a row beside its code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Factors {
    /// What the estimate is over the distance to the centroid, apart from
    /// what depends on the query.
    pub(crate) add: f32,
    /// What `<u, q>` counts.
    pub(crate) rescale: f32,
    /// The estimate's bound for a query at distance 1 from the centroid.
    pub(crate) error: f32,
    /// `|x - c|`.
    pub(crate) norm: f32,
}

impl Factors {
    /// Those of a vector that is its centroid.
    const NONE: Self = Self { add: 0.0, rescale: 0.0, error: 0.0, norm: 0.0 };
}

/// The points a component may take, by width.
struct Grid {
    /// The largest magnitude is this and a half.
    top: f32,
    /// The inverse of the best distance of the points for components of a
    /// normal distribution (J. Max, 1960).
    typical: f32,
    /// What `1 - s^2` counts at least.
    least: f64,
}

impl Grid {
    const fn new(width: Width) -> Self {
        match width {
            Width::One => Self { top: 0.0, typical: 1.0, least: 0.18 },
            Width::Two => Self { top: 1.0, typical: 1.004, least: 0.06 },
            Width::Four => Self { top: 7.0, typical: 2.983, least: 0.0055 },
            Width::Eight => Self { top: 127.0, typical: 32.4, least: 0.000_03 },
        }
    }

    /// The magnitude of the point nearest to `scale * x`, for `x >= 0`.
    #[inline]
    fn nearest(&self, x: f32, scale: f32) -> f32 {
        /// Floats from here to twice as much are the whole numbers.
        const WHOLE: f32 = 12_582_912.0;
        let below = (x * scale).min(self.top + 0.5) - 0.5;
        (below + WHOLE - WHOLE) + 0.5
    }

    /// The scale that takes `unit` to the grid: of a few around that for
    /// normally distributed components, the one with the largest `s`. The
    /// paper of 2025 tries all at which a component changes its point; that
    /// finds an `s` larger by a ten-thousandth.
    fn scale(&self, unit: &[f32], root: f32) -> f32 {
        let first = self.typical * root;
        if self.top < 1.0 {
            return first;
        }
        let (mut best, mut most) = (first, 0.0);
        for factor in [0.74, 0.81, 0.86, 0.9, 0.94, 0.97, 1.0, 1.03, 1.07, 1.12, 1.2, 1.3] {
            let scale = first * factor;
            let likeness = self.likeness(unit, scale);
            if likeness > most {
                (best, most) = (scale, likeness);
            }
        }
        best
    }

    /// `s^2` at that scale, for a `unit` of length 1.
    fn likeness(&self, unit: &[f32], scale: f32) -> f32 {
        let (blocks, _) = unit.as_chunks::<16>();
        let (mut dots, mut squares) = ([0.0_f32; 16], [0.0_f32; 16]);
        for block in blocks {
            for ((dot, square), x) in dots.iter_mut().zip(&mut squares).zip(block) {
                let point = self.nearest(x.abs(), scale);
                *dot += point * x.abs();
                *square += point * point;
            }
        }
        dots.iter().sum::<f32>().powi(2) / squares.iter().sum::<f32>()
    }
}

/// Appends the code of `vector` against `centroid`, both rotated and equally
/// long, at one, two or four bits.
///
/// A vector that is its centroid gets factors of zero.
pub(crate) fn encode(
    width: Width,
    form: Form,
    vector: &[f32],
    centroid: &[f32],
    code: &mut Vec<u8>,
) -> Factors {
    let mut unit: Vec<f32> = vector.iter().zip(centroid).map(|(x, c)| x - c).collect();
    let norm = kernels::square(&unit).sqrt();
    if norm < SHORTEST {
        let length = code.len() + width.code_bytes(unit.len());
        code.resize(length, 0);
        return Factors::NONE;
    }
    let inverse = finite(1.0 / norm);
    for x in &mut unit {
        *x *= inverse;
    }

    let grid = Grid::new(width);
    let components = real(unit.len());
    let scale = grid.scale(&unit, finite(components.sqrt()));
    let point = |x: &f32| grid.nearest(x.abs(), scale).copysign(*x);
    let points: Vec<f32> = unit.iter().map(point).collect();
    let values: Vec<u8> = points.iter().map(|x| value(*x, grid.top)).collect();
    codes::pack(width, &values, code);

    // <u, o>, |u|^2 and <u, c>; the first is at least half of |o|.
    let (dot, square) = kernels::dot_and_square(&unit, &points);
    let (dot, square) = (f64::from(dot), f64::from(square));
    let rescale = norm / dot;
    let shift = rescale * f64::from(kernels::dot(&points, centroid));
    let add = match form {
        Form::Square => norm * norm + 2.0 * shift,
        Form::Inner => shift - norm * f64::from(kernels::dot(&unit, centroid)),
    };
    let likeness = dot * dot / square;
    let unlike = (1.0 - likeness).max(grid.least) / likeness;
    let error = EPSILON * norm * (unlike / (components - 1.0).max(1.0)).sqrt();
    Factors {
        add: finite(add),
        rescale: finite(-form.times() * rescale),
        error: finite(form.times() * error),
        norm: finite(norm),
    }
}

/// The code's component at a point of the grid.
#[inline]
fn value(point: f32, top: f32) -> u8 {
    /// Floats from here on are the whole numbers; its low bits are zero.
    const WHOLE: f32 = 8_388_608.0;
    let [low, ..] = (point + (top + 0.5) + WHOLE).to_bits().to_le_bytes();
    low
}

/// A query, rounded to 8 bits once for all partitions.
pub(crate) struct Probe {
    form: Form,
    query: Vec<f32>,
    /// `|q|^2`.
    square: f32,
    /// The components of the query, as multiples of `step`.
    rounded: Vec<i8>,
    step: f32,
    /// The sum of `rounded`.
    sum: i32,
    /// The squared length of what the rounding took away.
    lost: f64,
}

/// The distance of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The distance, without bias.
    pub(crate) distance: f32,
    /// What the distance is at least, in 97 of 100 cases.
    pub(crate) lower: f32,
}

impl Probe {
    /// A probe for a query that is already rotated.
    pub(crate) fn new(form: Form, query: &[f32]) -> Self {
        let (step, rounded) = signed(query);
        let pairs = query.iter().zip(&rounded);
        let lost: Vec<f32> = pairs.map(|(x, n)| x - f32::from(*n) * step).collect();
        Self {
            form,
            square: finite(kernels::square(query)),
            sum: rounded.iter().map(|n| i32::from(*n)).fold(0, i32::wrapping_add),
            lost: kernels::square(&lost),
            query: query.to_vec(),
            rounded,
            step,
        }
    }

    /// The query as it was given.
    pub(crate) fn query(&self) -> &[f32] {
        &self.query
    }

    /// The distance to a centroid, in the form's unit, from the `f32`.
    pub(crate) fn to_centroid(&self, centroid: &[f32]) -> f32 {
        match self.form {
            Form::Square => kernels::squared_distance(&self.query, centroid),
            Form::Inner => 0.0 - kernels::dot(&self.query, centroid),
        }
    }

    /// Puts the distances to centroids of 8 bits, back to back in `codes`,
    /// into `out` in place of what it held; see [`super::scalar`].
    ///
    /// `squares` are the squared lengths of the centroids.
    pub(crate) fn to_rounded(
        &self,
        codes: &[u8],
        scales: &[f32],
        squares: &[f32],
        out: &mut Vec<f32>,
    ) {
        let mut dots = vec![0; scales.len()];
        codes::dots(Width::Eight, codes, &self.rounded, &mut dots);
        let middle = self.sum.wrapping_mul(128);
        let dots = dots.iter().zip(scales);
        let dots = dots.map(|(dot, scale)| whole(dot.wrapping_sub(middle)) * self.step * scale);
        out.clear();
        match self.form {
            Form::Square => {
                let pairs = dots.zip(squares);
                out.extend(pairs.map(|(dot, square)| (self.square + square - 2.0 * dot).max(0.0)));
            }
            Form::Inner => out.extend(dots.map(|dot| 0.0 - dot)),
        }
    }

    /// Appends the estimate of each row of a partition.
    ///
    /// `base` is the distance to the partition's centroid in the form's unit,
    /// `reach` the Euclidean one; the rows' factors are in columns of one
    /// length. What `dots` held is lost.
    #[expect(clippy::too_many_arguments, reason = "the columns of a partition")]
    pub(crate) fn estimate(
        &self,
        width: Width,
        base: f32,
        reach: f32,
        codes: &[u8],
        add: &[f32],
        rescale: &[f32],
        error: &[f32],
        dots: &mut Vec<i32>,
        out: &mut Vec<Estimate>,
    ) {
        let grid = Grid::new(width);
        dots.clear();
        dots.resize(add.len(), 0);
        codes::dots(width, codes, &self.rounded, dots);

        // Twice <u, q> in steps is a whole number, and so exact: twice the
        // code's product less 2^B - 1 times the sum.
        let levels = (1_i32 << width.bits()).wrapping_sub(1);
        let (offset, half) = (self.sum.wrapping_mul(levels), self.step / 2.0);
        let reach = finite(f64::from(reach).hypot((self.lost / grid.least).sqrt()));
        let largest = finite(LARGEST);
        let rows = dots.iter().zip(add).zip(rescale).zip(error);
        out.extend(rows.map(|(((dot, add), rescale), error)| {
            let product = whole(dot.wrapping_mul(2).wrapping_sub(offset)) * half;
            let distance = base + add + rescale * product;
            Estimate {
                distance: distance.clamp(-largest, largest),
                lower: (distance - error * reach).clamp(-largest, largest),
            }
        }));
    }
}

/// `x` as an `f32`, cut to what is finite.
#[expect(clippy::cast_possible_truncation, reason = "cut before it is rounded")]
const fn finite(x: f64) -> f32 {
    x.clamp(-LARGEST, LARGEST) as f32
}

#[expect(clippy::cast_precision_loss, reason = "rounded to 24 bits, as all that follows")]
const fn whole(x: i32) -> f32 {
    x as f32
}

#[expect(clippy::cast_precision_loss, reason = "dimensions are far under 2^52")]
const fn real(x: usize) -> f64 {
    x as f64
}

#[cfg(test)]
mod tests;
