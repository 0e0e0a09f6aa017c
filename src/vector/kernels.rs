//! The inner loops of every distance: sums over two `f32` slices.
//!
//! The first call picks the widest variant this machine runs (AVX-512F, AVX2
//! with FMA, or the portable one) and every later call goes through that
//! table: one atomic load and one indirect call on top of the loop.
//!
//! Invariants. Slices of different length count as far as the shorter one;
//! nothing is read past it. Sums are kept in `f32` and lie within
//! `n * 2^-22 * sum |a_i b_i|` of the exact value for `n` components. One
//! process always gives the same result for the same input; machines with
//! different variants may differ inside that bound, since the order of
//! summation does.

use std::sync::OnceLock;

pub(crate) mod blocks;
pub(crate) mod codes;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// `<a, b>`.
#[inline]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    active().dot(a, b)
}

/// `|a - b|^2`, the square of the Euclidean distance.
#[inline]
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    active().squared_distance(a, b)
}

/// `<a, b>` and `<b, b>` in one pass.
#[inline]
pub(crate) fn dot_and_square(a: &[f32], b: &[f32]) -> (f32, f32) {
    active().dot_and_square(a, b)
}

/// `|x|^2` in `f64`, which no finite components overflow or underflow; for
/// what is done once per vector, not once per comparison.
pub(crate) fn square(x: &[f32]) -> f64 {
    let (blocks, tail) = x.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += f64::from(*x).powi(2);
        }
    }
    let rest: f64 = tail.iter().map(|x| f64::from(*x).powi(2)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// One variant of the kernels.
///
/// The functions may need CPU features. Whoever builds a value has found those
/// features present, so that holding one is leave to call them.
#[derive(Debug, Clone, Copy)]
struct Kernels {
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    squared_distance: unsafe fn(&[f32], &[f32]) -> f32,
    dot_and_square: unsafe fn(&[f32], &[f32]) -> (f32, f32),
    products: blocks::Multiply,
}

const PORTABLE: Kernels = Kernels {
    dot: portable::dot,
    squared_distance: portable::squared_distance,
    dot_and_square: portable::dot_and_square,
    products: blocks::portable,
};

#[expect(unsafe_code, reason = "calls functions whose CPU features were found at run time")]
impl Kernels {
    #[inline]
    fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        let (a, b) = common_prefix(a, b);
        // SAFETY: a `Kernels` exists only where its CPU features do.
        unsafe { (self.dot)(a, b) }
    }

    #[inline]
    fn squared_distance(&self, a: &[f32], b: &[f32]) -> f32 {
        let (a, b) = common_prefix(a, b);
        // SAFETY: a `Kernels` exists only where its CPU features do.
        unsafe { (self.squared_distance)(a, b) }
    }

    #[inline]
    fn dot_and_square(&self, a: &[f32], b: &[f32]) -> (f32, f32) {
        let (a, b) = common_prefix(a, b);
        // SAFETY: a `Kernels` exists only where its CPU features do.
        unsafe { (self.dot_and_square)(a, b) }
    }

    #[inline]
    fn products(
        &self,
        panel: &[[f32; blocks::LANES]],
        tile: &[[f32; blocks::ROWS]],
        out: &mut blocks::Products,
    ) {
        // SAFETY: a `Kernels` exists only where its CPU features do.
        unsafe { (self.products)(panel, tile, out) }
    }
}

#[inline]
fn active() -> &'static Kernels {
    static ACTIVE: OnceLock<Kernels> = OnceLock::new();
    ACTIVE.get_or_init(detect)
}

fn detect() -> Kernels {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernels) = x86_64::avx512f().or_else(x86_64::avx2) {
        return kernels;
    }
    PORTABLE
}

/// Both slices cut to the length of the shorter.
#[inline]
fn common_prefix<'a>(a: &'a [f32], b: &'a [f32]) -> (&'a [f32], &'a [f32]) {
    let len = a.len().min(b.len());
    (a.split_at(len).0, b.split_at(len).0)
}

#[cfg(test)]
mod tests {
    use super::{Kernels, PORTABLE, active, dot, dot_and_square, square, squared_distance};

    /// Components in -1..1 from a splitmix64 stream.
    fn components(seed: u64, len: usize) -> Vec<f32> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let [high, low, ..] = (z ^ (z >> 31)).to_be_bytes();
            f32::from(u16::from_be_bytes([high, low])) / 32768.0 - 1.0 + 1e-6
        })
        .take(len)
        .collect()
    }

    /// Every length of interest, at aligned and unaligned starts.
    fn for_each_case(mut case: impl FnMut(&[f32], &[f32])) {
        let a = components(1, 65_535 + 3);
        let b = components(2, 65_535 + 3);
        for len in (0..=130).chain([384, 1536, 65_535]) {
            for (i, j) in [(0, 0), (1, 0), (0, 3), (3, 2)] {
                case(&a[i..i + len], &b[j..j + len]);
            }
        }
    }

    /// The exact-enough sum of `terms` and the bound on the error of a kernel:
    /// `n * 2^-22` relative to the sum of the terms' magnitudes.
    fn reference(terms: impl Iterator<Item = f64>) -> (f64, f64) {
        let (mut count, mut sum, mut magnitude) = (0.0, 0.0, 0.0);
        for term in terms {
            count += 1.0;
            sum += term;
            magnitude += term.abs();
        }
        (sum, count * 2f64.powi(-22) * magnitude)
    }

    fn pairs(a: &[f32], b: &[f32]) -> impl Iterator<Item = (f64, f64)> {
        a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)))
    }

    #[track_caller]
    fn assert_near(what: &str, n: usize, found: f32, (wanted, bound): (f64, f64)) {
        let error = (f64::from(found) - wanted).abs();
        assert!(
            error <= bound,
            "{what} over {n}: {found}, wanted {wanted}, off by {error:e} of {bound:e}"
        );
    }

    pub(super) fn assert_matches_reference(name: &str, kernels: &Kernels) {
        for_each_case(|a, b| {
            let n = a.len();
            let products = reference(pairs(a, b).map(|(x, y)| x * y));
            let squares = reference(pairs(a, b).map(|(_, y)| y * y));
            let distance = reference(pairs(a, b).map(|(x, y)| (x - y) * (x - y)));
            assert_near(name, n, kernels.dot(a, b), products);
            assert_near(name, n, kernels.squared_distance(a, b), distance);
            let (dot, square) = kernels.dot_and_square(a, b);
            assert_near(name, n, dot, products);
            assert_near(name, n, square, squares);
        });
    }

    /// Two variants differ by at most the reference bound each.
    pub(super) fn assert_agree(name: &str, one: &Kernels, other: &Kernels) {
        for_each_case(|a, b| {
            let n = a.len();
            let products = reference(pairs(a, b).map(|(x, y)| x * y)).1;
            let squares = reference(pairs(a, b).map(|(_, y)| y * y)).1;
            let distance = reference(pairs(a, b).map(|(x, y)| (x - y) * (x - y))).1;
            let near = |found, wanted: f32, bound: f64| {
                assert_near(name, n, found, (f64::from(wanted), 2.0 * bound));
            };
            near(one.dot(a, b), other.dot(a, b), products);
            near(one.squared_distance(a, b), other.squared_distance(a, b), distance);
            let (found, wanted) = (one.dot_and_square(a, b), other.dot_and_square(a, b));
            near(found.0, wanted.0, products);
            near(found.1, wanted.1, squares);
        });
    }

    /// Small whole numbers, whose sums are exact in any order: a component
    /// counted twice, left out or read from past the end shows at once.
    pub(super) fn assert_small_cases(kernels: &Kernels) {
        let bits = |(x, y): (f32, f32)| (x.to_bits(), y.to_bits());
        for len in 0_u16..=130 {
            let n = f32::from(len);
            // What lies past the end is NaN, and would spoil the sum.
            let fill = |value: f32| {
                let mut buffer = vec![value; usize::from(len)];
                buffer.extend([f32::NAN; 64]);
                buffer
            };
            let (a, b) = (fill(2.0), fill(3.0));
            let short = &b[..usize::from(len)];
            // The longer slice on either side is cut to the shorter.
            for (a, b) in [(&a[..short.len()], short), (&a[..], short)] {
                assert_eq!(kernels.dot(a, b).to_bits(), (6.0 * n).to_bits());
                assert_eq!(kernels.dot(b, a).to_bits(), (6.0 * n).to_bits());
                assert_eq!(kernels.squared_distance(a, b).to_bits(), n.to_bits());
                assert_eq!(kernels.squared_distance(b, a).to_bits(), n.to_bits());
                assert_eq!(bits(kernels.dot_and_square(a, b)), bits((6.0 * n, 9.0 * n)));
                assert_eq!(bits(kernels.dot_and_square(b, a)), bits((6.0 * n, 4.0 * n)));
            }
        }
    }

    #[test]
    fn square_is_exact_where_f64_is() {
        for len in 0_u16..=40 {
            let wanted = 9e36 * f64::from(len);
            let found = square(&vec![3e18; usize::from(len)]);
            assert!((found - wanted).abs() <= 1e-6 * wanted);
        }
        assert!(square(&[0.0, f32::NAN]).is_nan());
        assert!(square(&[f32::MIN_POSITIVE]) > 0.0);
    }

    #[test]
    fn the_active_variant_matches_the_reference() {
        assert_matches_reference("active", active());
        assert_agree("active", active(), &PORTABLE);
    }

    #[test]
    fn the_free_functions_are_the_active_variant() {
        let (a, b) = (components(3, 384), components(4, 384));
        assert_eq!(dot(&a, &b).to_bits(), active().dot(&a, &b).to_bits());
        let (found, wanted) = (squared_distance(&a, &b), active().squared_distance(&a, &b));
        assert_eq!(found.to_bits(), wanted.to_bits());
        let (found, wanted) = (dot_and_square(&a, &b), active().dot_and_square(&a, &b));
        assert_eq!(found.0.to_bits(), wanted.0.to_bits());
        assert_eq!(found.1.to_bits(), wanted.1.to_bits());
    }
}
