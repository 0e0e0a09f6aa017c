//! The kernels for x86-64: AVX-512F, and AVX2 with FMA.
//!
//! Both variants have one shape. A pass reads four registers of each vector
//! at a time into four independent sums, so that a fused multiply-add never
//! waits on the one before; up to three whole registers follow, and a masked
//! load takes the rest, its unused lanes zero and so adding nothing.
//!
//! Invariants. Memory is touched only through `load`, which takes an array of
//! exactly one register, and `load_tail`, whose mask covers no more than the
//! slice it is given: no slice, of whatever length, is read out of bounds. The
//! functions need their CPU features, and [`avx512f`] and [`avx2`] hand them
//! out only after finding those features.
//!
//! Cost: bound by two loads a cycle, so by the memory once the data leaves L1.

#![expect(unsafe_code, reason = "SIMD loads take raw pointers; each block says why it holds")]
#![expect(clippy::indexing_slicing, reason = "the sums are arrays indexed by their own length")]

use super::Kernels;
use super::blocks::x86_64 as blocks;

/// The AVX-512F kernels, if this CPU and operating system run them.
pub(super) fn avx512f() -> Option<Kernels> {
    is_x86_feature_detected!("avx512f").then_some(Kernels {
        dot: avx512f::dot,
        squared_distance: avx512f::squared_distance,
        dot_and_square: avx512f::dot_and_square,
        products: blocks::avx512f::products,
    })
}

/// The AVX2 and FMA kernels, if this CPU and operating system run them.
pub(super) fn avx2() -> Option<Kernels> {
    let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    found.then_some(Kernels {
        dot: avx2::dot,
        squared_distance: avx2::squared_distance,
        dot_and_square: avx2::dot_and_square,
        products: blocks::avx2::products,
    })
}

mod avx512f {
    use std::arch::x86_64::{
        __m512, __mmask16, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps,
        _mm512_reduce_add_ps, _mm512_setzero_ps, _mm512_sub_ps,
    };

    const LANES: usize = 16;

    /// `<a, b>`.
    #[target_feature(enable = "avx512f")]
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        let [sum] = fold(a, b, |[sum], x, y| [_mm512_fmadd_ps(x, y, sum)]);
        sum
    }

    /// `|a - b|^2`.
    #[target_feature(enable = "avx512f")]
    pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        let [sum] = fold(a, b, |[sum], x, y| {
            let difference = _mm512_sub_ps(x, y);
            [_mm512_fmadd_ps(difference, difference, sum)]
        });
        sum
    }

    /// `<a, b>` and `<b, b>`.
    #[target_feature(enable = "avx512f")]
    pub(super) fn dot_and_square(a: &[f32], b: &[f32]) -> (f32, f32) {
        let [dot, square] = fold(a, b, |[dot, square], x, y| {
            [_mm512_fmadd_ps(x, y, dot), _mm512_fmadd_ps(y, y, square)]
        });
        (dot, square)
    }

    /// Runs `step` over the register pairs with `N` sums in each of the four
    /// chains, and adds chains and lanes up.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fold<const N: usize>(
        a: &[f32],
        b: &[f32],
        step: impl Fn([__m512; N], __m512, __m512) -> [__m512; N],
    ) -> [f32; N] {
        let (a_blocks, a_tail) = a.as_chunks::<LANES>();
        let (b_blocks, b_tail) = b.as_chunks::<LANES>();
        let (a_quads, a_rest) = a_blocks.as_chunks::<4>();
        let (b_quads, b_rest) = b_blocks.as_chunks::<4>();

        let zero = [_mm512_setzero_ps(); N];
        let [mut s0, mut s1, mut s2, mut s3] = [zero; 4];
        for ([x0, x1, x2, x3], [y0, y1, y2, y3]) in a_quads.iter().zip(b_quads) {
            s0 = step(s0, load(x0), load(y0));
            s1 = step(s1, load(x1), load(y1));
            s2 = step(s2, load(x2), load(y2));
            s3 = step(s3, load(x3), load(y3));
        }
        for (x, y) in a_rest.iter().zip(b_rest) {
            s0 = step(s0, load(x), load(y));
        }
        if !a_tail.is_empty() {
            s1 = step(s1, load_tail(a_tail), load_tail(b_tail));
        }

        let mut sums = [0.0; N];
        for (i, sum) in sums.iter_mut().enumerate() {
            let low = _mm512_add_ps(s0[i], s1[i]);
            let high = _mm512_add_ps(s2[i], s3[i]);
            *sum = _mm512_reduce_add_ps(_mm512_add_ps(low, high));
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(block: &[f32; LANES]) -> __m512 {
        // SAFETY: `block` is sixteen readable floats, the 64 bytes the load
        // reads, and the unaligned load has no demand on the address.
        unsafe { _mm512_loadu_ps(block.as_ptr()) }
    }

    /// The first fifteen floats of `tail` at most, zeros after them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_tail(tail: &[f32]) -> __m512 {
        let mask: __mmask16 = (1 << tail.len().min(LANES - 1)) - 1;
        // SAFETY: the load reads only lanes whose mask bit is set, and the
        // mask sets the low `tail.len()` bits at most, so every lane read lies
        // inside `tail`; there is no demand on the address.
        unsafe { _mm512_maskz_loadu_ps(mask, tail.as_ptr()) }
    }
}

mod avx2 {
    use std::arch::x86_64::{
        __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps,
        _mm256_add_ps, _mm256_castps256_ps128, _mm256_cmpgt_epi32, _mm256_extractf128_ps,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_set1_epi32, _mm256_setr_epi32,
        _mm256_setzero_ps, _mm256_sub_ps,
    };

    const LANES: usize = 8;

    /// `<a, b>`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        let [sum] = fold(a, b, |[sum], x, y| [_mm256_fmadd_ps(x, y, sum)]);
        sum
    }

    /// `|a - b|^2`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        let [sum] = fold(a, b, |[sum], x, y| {
            let difference = _mm256_sub_ps(x, y);
            [_mm256_fmadd_ps(difference, difference, sum)]
        });
        sum
    }

    /// `<a, b>` and `<b, b>`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dot_and_square(a: &[f32], b: &[f32]) -> (f32, f32) {
        let [dot, square] = fold(a, b, |[dot, square], x, y| {
            [_mm256_fmadd_ps(x, y, dot), _mm256_fmadd_ps(y, y, square)]
        });
        (dot, square)
    }

    /// Runs `step` over the register pairs with `N` sums in each of the four
    /// chains, and adds chains and lanes up.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fold<const N: usize>(
        a: &[f32],
        b: &[f32],
        step: impl Fn([__m256; N], __m256, __m256) -> [__m256; N],
    ) -> [f32; N] {
        let (a_blocks, a_tail) = a.as_chunks::<LANES>();
        let (b_blocks, b_tail) = b.as_chunks::<LANES>();
        let (a_quads, a_rest) = a_blocks.as_chunks::<4>();
        let (b_quads, b_rest) = b_blocks.as_chunks::<4>();

        let zero = [_mm256_setzero_ps(); N];
        let [mut s0, mut s1, mut s2, mut s3] = [zero; 4];
        for ([x0, x1, x2, x3], [y0, y1, y2, y3]) in a_quads.iter().zip(b_quads) {
            s0 = step(s0, load(x0), load(y0));
            s1 = step(s1, load(x1), load(y1));
            s2 = step(s2, load(x2), load(y2));
            s3 = step(s3, load(x3), load(y3));
        }
        for (x, y) in a_rest.iter().zip(b_rest) {
            s0 = step(s0, load(x), load(y));
        }
        if !a_tail.is_empty() {
            s1 = step(s1, load_tail(a_tail), load_tail(b_tail));
        }

        let mut sums = [0.0; N];
        for (i, sum) in sums.iter_mut().enumerate() {
            let low = _mm256_add_ps(s0[i], s1[i]);
            let high = _mm256_add_ps(s2[i], s3[i]);
            *sum = add_lanes(_mm256_add_ps(low, high));
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(block: &[f32; LANES]) -> __m256 {
        // SAFETY: `block` is eight readable floats, the 32 bytes the load
        // reads, and the unaligned load has no demand on the address.
        unsafe { _mm256_loadu_ps(block.as_ptr()) }
    }

    /// The first seven floats of `tail` at most, zeros after them.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load_tail(tail: &[f32]) -> __m256 {
        let count = i32::try_from(tail.len().min(LANES - 1)).unwrap_or(0);
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
        // SAFETY: the load reads only lanes whose mask is set, those below
        // `count`, which is at most `tail.len()`, so every lane read lies
        // inside `tail`; there is no demand on the address.
        unsafe { _mm256_maskload_ps(tail.as_ptr(), mask) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_lanes(x: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_agree, assert_matches_reference, assert_small_cases};
    use super::super::{Kernels, PORTABLE};

    fn assert_variant(name: &str, kernels: Option<Kernels>) {
        let Some(kernels) = kernels else {
            println!("skipped ({name} not available)");
            return;
        };
        assert_matches_reference(name, &kernels);
        assert_agree(name, &kernels, &PORTABLE);
        assert_small_cases(&kernels);
    }

    #[test]
    fn avx512f_matches_the_reference_and_portable() {
        assert_variant("avx512f", super::avx512f());
    }

    #[test]
    fn avx2_matches_the_reference_and_portable() {
        assert_variant("avx2 with fma", super::avx2());
    }
}
