//! Vectors: what the index takes, how they are stored, how far apart they are.
//!
//! A vector comes in as `f32` components, is kept as little-endian `f32` or
//! IEEE 754 binary16 ([`Precision`]), and is compared as `f32` ([`Metric`]).
//!
//! Invariants. [`check`] judges the values as they will be stored, so that
//! whatever passes is still sound when it is read back. Vectors that pass have
//! a squared length of at most 1e37: neither a product nor a squared distance
//! of two of them overflows an `f32`, and so no distance is infinite or NaN.
//!
//! Cost: one pass over the components each, through F16C where there is one;
//! see [`kernels`] for the distances.

use std::borrow::Cow;
use std::fmt;

use half::f16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfFloatVecExt;

pub(crate) mod kernels;
pub(crate) mod kmeans;
pub(crate) mod rabitq;
pub(crate) mod rotation;
pub(crate) mod scalar;
pub(crate) mod tally;

/// The longest squared length the index takes.
const MAX_SQUARE: f64 = 1e37;

/// The shortest squared length that has a direction.
const MIN_SQUARE: f64 = 1e-30;

/// How the distance of two vectors is measured; smaller is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// One minus the cosine of the angle, from 0 (same direction) to 2.
    Cosine,
    /// The Euclidean distance, not squared.
    Euclidean,
    /// The inner product with its sign changed.
    InnerProduct,
}

impl Metric {
    /// The metric's name: `cosine`, `euclidean` or `inner-product`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
            Self::InnerProduct => "inner-product",
        }
    }

    /// The metric of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Cosine, Self::Euclidean, Self::InnerProduct];
        all.into_iter().find(|metric| metric.as_str() == name)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a component is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// As it was given: 32 bits.
    F32,
    /// Rounded to the nearest 16-bit float: three significant digits, and
    /// magnitudes up to 65504.
    F16,
}

impl Precision {
    /// The precision's name: `f32` or `f16`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// The precision of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::F32, Self::F16];
        all.into_iter().find(|precision| precision.as_str() == name)
    }

    /// The bytes a stored component takes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why the index does not take a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VectorFault {
    /// The number of components is not the index's.
    Dimension {
        /// The components the index takes.
        expected: usize,
        /// The components the vector has.
        found: usize,
    },
    /// A component is NaN or infinite as stored.
    NotFinite {
        /// The first such component, counted from 0.
        component: usize,
    },
    /// The squared length is over 1e37.
    TooLong,
    /// The squared length is under 1e-30 and the metric needs a direction.
    TooShort,
}

impl fmt::Display for VectorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimension { expected, found } => {
                write!(f, "has {found} components, the index takes {expected}")
            }
            Self::NotFinite { component } => write!(
                f,
                "is not finite: component {component} (counted from 0) is NaN or infinite as stored; \
                 give finite components, of magnitude under 65520 in an f16 index"
            ),
            Self::TooLong => f.write_str("has a squared length over 1e37; scale it down"),
            Self::TooShort => f.write_str(
                "has length zero (or a squared length under 1e-30), so it has no direction under \
                 the cosine metric; leave it out or scale it up",
            ),
        }
    }
}

impl std::error::Error for VectorFault {}

/// Says whether an index of that dimension, metric and precision can hold
/// `vector`, going by its values as stored.
pub(crate) fn check(
    vector: &[f32],
    dimension: usize,
    metric: Metric,
    precision: Precision,
) -> Result<(), VectorFault> {
    if vector.len() != dimension {
        return Err(VectorFault::Dimension { expected: dimension, found: vector.len() });
    }
    let stored = match precision {
        Precision::F32 => Cow::Borrowed(vector),
        Precision::F16 => Cow::Owned(Vec::<f16>::from_f32_slice(vector).to_f32_vec()),
    };
    let square = kernels::square(&stored);
    // Finite components have a finite sum, so only a failure is searched.
    if !square.is_finite() {
        let component = stored.iter().position(|x| !x.is_finite()).unwrap_or(0);
        return Err(VectorFault::NotFinite { component });
    }
    if square > MAX_SQUARE {
        Err(VectorFault::TooLong)
    } else if metric == Metric::Cosine && square < MIN_SQUARE {
        Err(VectorFault::TooShort)
    } else {
        Ok(())
    }
}

/// The components as stored: [`Precision::bytes`] each, little-endian.
pub(crate) fn encode(vector: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => {
            let bytes: Vec<[u8; 4]> = vector.iter().map(|x| x.to_le_bytes()).collect();
            bytes.into_flattened()
        }
        Precision::F16 => {
            let halves = Vec::from_f32_slice(vector);
            let bytes: Vec<[u8; 2]> = halves.iter().map(|x: &f16| x.to_le_bytes()).collect();
            bytes.into_flattened()
        }
    }
}

/// Puts the components stored in `bytes` into `out`, in place of what it held.
///
/// False, with `out` empty, if the bytes are not a whole number of components.
pub(crate) fn decode_into(bytes: &[u8], precision: Precision, out: &mut Vec<f32>) -> bool {
    /// Halves converted at a time, from the stack.
    const BLOCK: usize = 256;

    out.clear();
    if !bytes.len().is_multiple_of(precision.bytes()) {
        return false;
    }
    match precision {
        Precision::F32 => {
            let components = bytes.as_chunks().0.iter();
            out.extend(components.map(|x| f32::from_le_bytes(*x)));
        }
        Precision::F16 => {
            let components = bytes.as_chunks().0;
            out.resize(components.len(), 0.0);
            let mut block = [f16::ZERO; BLOCK];
            for (from, to) in components.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let (halves, _) = block.split_at_mut(to.len());
                for (half, x) in halves.iter_mut().zip(from) {
                    *half = f16::from_le_bytes(*x);
                }
                halves.convert_to_f32_slice(to);
            }
        }
    }
    true
}

/// A query made ready to be compared with many vectors.
///
/// Query and vectors are taken to have passed [`check`], which is what keeps a
/// distance from being NaN. Under the cosine metric a vector of length zero,
/// which cannot pass, counts as orthogonal: distance 1.
#[derive(Debug, Clone)]
pub(crate) struct Scorer {
    metric: Metric,
    /// Under the cosine metric, scaled to length 1.
    query: Vec<f32>,
}

impl Scorer {
    /// Prepares `query` for `metric`.
    pub(crate) fn new(metric: Metric, query: &[f32]) -> Self {
        let query = match metric {
            Metric::Cosine => normalised(query),
            Metric::Euclidean | Metric::InnerProduct => query.to_vec(),
        };
        Self { metric, query }
    }

    /// The distance from the query to `x`, which has the query's dimension.
    #[inline]
    pub(crate) fn distance(&self, x: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine => {
                let (dot, square) = kernels::dot_and_square(&self.query, x);
                if square > 0.0 { (1.0 - dot / square.sqrt()).clamp(0.0, 2.0) } else { 1.0 }
            }
            Metric::Euclidean => kernels::squared_distance(&self.query, x).sqrt(),
            // Not a negation: a product of zero is to give 0, never -0.
            Metric::InnerProduct => 0.0 - kernels::dot(&self.query, x),
        }
    }
}

/// `vector` scaled to length 1; as it is if its length is zero.
#[expect(
    clippy::cast_possible_truncation,
    reason = "components of a unit vector are rounded to f32"
)]
pub(crate) fn normalised(vector: &[f32]) -> Vec<f32> {
    let square = kernels::square(vector);
    let length = if square > 0.0 { square.sqrt() } else { 1.0 };
    let scaled = |x: &f32| (f64::from(*x) / length) as f32;
    vector.iter().map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::Precision::{F16, F32};
    use super::*;

    const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct];

    fn wave(len: u16, step: f32) -> Vec<f32> {
        (0..len).map(|i| (f32::from(i) * step).sin()).collect()
    }

    #[test]
    fn names_round_trip() {
        for metric in METRICS {
            assert_eq!(Metric::from_name(&metric.to_string()), Some(metric));
        }
        for precision in [F32, F16] {
            assert_eq!(Precision::from_name(precision.as_str()), Some(precision));
            assert_eq!(encode(&[1.0], precision).len(), precision.bytes());
        }
        assert_eq!(Metric::from_name("Cosine"), None);
    }

    #[test]
    fn check_judges_the_values_as_stored() {
        let bad = Err(VectorFault::NotFinite { component: 1 });
        let long = Err(VectorFault::TooLong);
        for metric in METRICS {
            let cosine = metric == Metric::Cosine;
            let short = cosine.then_some(VectorFault::TooShort).map_or(Ok(()), Err);
            for (pair, as_f32, as_f16) in [
                ([1.0, f32::NAN], bad, bad),
                ([1.0, f32::INFINITY], bad, bad),
                ([1.0, f32::NEG_INFINITY], bad, bad),
                ([1.0, 70000.0], Ok(()), bad),
                ([1.0, -65520.0], Ok(()), bad),
                ([1.0, 65519.0], Ok(()), Ok(())),
                ([0.0, 3.1e18], Ok(()), bad),
                ([0.0, 3.2e18], long, bad),
                ([0.0, f32::MAX], long, bad),
                ([0.0, -0.0], short, short),
                ([1e-20, 1e-20], short, short),
                ([1e-14, 1e-14], Ok(()), short), // nothing left of it as f16
            ] {
                assert_eq!(check(&pair, 2, metric, F32), as_f32, "{metric} {pair:?}");
                assert_eq!(check(&pair, 2, metric, F16), as_f16, "{metric} {pair:?}");
            }
            let fault = check(&[1.0; 3], 4, metric, F32).map_err(|e| e.to_string());
            assert_eq!(fault, Err("has 3 components, the index takes 4".into()));
        }
    }

    #[test]
    fn stored_components_come_back_rounded() {
        assert_eq!(encode(&[1.0], F32), [0, 0, 0x80, 0x3f]);
        assert_eq!(encode(&[1.0, -2.0], F16), [0, 0x3c, 0, 0xc0]);
        let mut out = vec![9.0; 5];
        for len in [0, 1, 7, 8, 255, 256, 257, 384, 1536] {
            let vector = wave(len, 0.37);
            assert!(decode_into(&encode(&vector, F32), F32, &mut out));
            assert_eq!(out, vector);
            assert!(decode_into(&encode(&vector, F16), F16, &mut out));
            let rounded = vector.iter().map(|x| f16::from_f32(*x).to_f32());
            assert_eq!(out, rounded.collect::<Vec<_>>());
        }
        for (precision, len) in [(F32, 1), (F32, 2), (F32, 7), (F16, 1), (F16, 3)] {
            out.push(9.0);
            assert!(!decode_into(&vec![0; len], precision, &mut out));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn distances_match_an_f64_reference() {
        let sizes = [1, 3, 16, 17, 384, 1536];
        for (len, scale) in sizes.map(|n| [(n, 1e-12), (n, 1.0), (n, 1e16)]).concat() {
            let q: Vec<f32> = wave(len, 0.7).iter().map(|x| x + 0.1).collect();
            let x: Vec<f32> = wave(len, 1.3).iter().map(|x| (x - 0.2) * scale).collect();
            let sum = |term: fn(f64, f64) -> f64| -> f64 {
                let pairs = q.iter().zip(&x);
                pairs.map(|(q, x)| term((*q).into(), (*x).into())).sum()
            };
            let (dot, qq, xx) = (sum(|q, x| q * x), sum(|q, _| q * q), sum(|_, x| x * x));
            let (lengths, apart) = ((qq * xx).sqrt(), sum(|q, x| (q - x) * (q - x)).sqrt());
            for (metric, wanted, size) in [
                (Metric::Cosine, 1.0 - dot / lengths, 1.0),
                (Metric::Euclidean, apart, apart),
                (Metric::InnerProduct, -dot, lengths),
            ] {
                let found = f64::from(Scorer::new(metric, &q).distance(&x));
                let bound = (f64::from(len) + 4.0) * 2f64.powi(-22) * size;
                assert!((found - wanted).abs() <= bound, "{metric} {len} {scale}");
            }
        }
    }

    #[test]
    fn distances_at_the_edges() {
        let distance = |metric, q: &[f32], x: &[f32]| Scorer::new(metric, q).distance(x);
        let (long, back, tiny) = ([1e18; 10], [-1e18; 10], [4e-16; 10]);
        for q in [long, back, tiny] {
            for (metric, x) in METRICS.map(|m| [(m, long), (m, back), (m, tiny)]).concat() {
                assert_eq!(check(&q, 10, metric, F32), Ok(()));
                let found = distance(metric, &q, &x);
                assert!(found.is_finite());
                assert!(metric != Metric::Cosine || (0.0..=2.0).contains(&found));
            }
            assert!(distance(Metric::Cosine, &q, &q) < 1e-6);
            assert!(distance(Metric::Euclidean, &q, &q) <= 0.0);
        }
        assert!(distance(Metric::Cosine, &long, &back) > 2.0 - 1e-6);
        let right = distance(Metric::InnerProduct, &[1.0, 0.0], &[0.0, 1.0]);
        assert_eq!(right.to_bits(), 0); // not -0
    }
}
