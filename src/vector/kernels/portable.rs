//! The kernels in plain Rust: what runs where no SIMD variant does, and the
//! twin the SIMD variants are tested against.
//!
//! Each keeps sixteen independent sums, one per lane, so that no addition
//! waits on the one before and the compiler may vectorise without changing
//! the order of rounding. There is no fused multiply-add: without hardware for
//! it that is a library call per component. The result therefore depends on
//! the input alone, not on the machine.
//!
//! The slices are equally long; [`super::Kernels`] sees to it.

#![forbid(unsafe_code)]

const LANES: usize = 16;

/// `<a, b>`.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = fold(a, b, |[sum], x, y| [sum + x * y]);
    sum
}

/// `|a - b|^2`.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = fold(a, b, |[sum], x, y| {
        let difference = x - y;
        [sum + difference * difference]
    });
    sum
}

/// `<a, b>` and `<b, b>`, reading `b` once.
pub(super) fn dot_and_square(a: &[f32], b: &[f32]) -> (f32, f32) {
    let [dot, square] = fold(a, b, |[dot, square], x, y| [dot + x * y, square + y * y]);
    (dot, square)
}

/// Runs `step` over the component pairs with `N` sums in each lane, and adds
/// the lanes up.
#[inline]
fn fold<const N: usize>(
    a: &[f32],
    b: &[f32],
    step: impl Fn([f32; N], f32, f32) -> [f32; N],
) -> [f32; N] {
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut lanes = [[0.0; N]; LANES];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = step(*lane, *x, *y);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(a_tail).zip(b_tail) {
        *lane = step(*lane, *x, *y);
    }
    add_up(lanes)
}

/// The lanes' sum, taken pairwise: lane `i` with lane `i + half`.
#[inline]
fn add_up<const N: usize>(mut lanes: [[f32; N]; LANES]) -> [f32; N] {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        for (to, from) in low.iter_mut().zip(high.iter()) {
            for (to, from) in to.iter_mut().zip(from) {
                *to += *from;
            }
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::super::PORTABLE;
    use super::super::tests::{assert_matches_reference, assert_small_cases};

    #[test]
    fn portable_matches_the_f64_reference() {
        assert_matches_reference("portable", &PORTABLE);
    }

    #[test]
    fn portable_small_cases_are_exact() {
        assert_small_cases(&PORTABLE);
    }
}
