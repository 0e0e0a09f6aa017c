//! The block kernels for x86-64: eight registers of sums with AVX-512F, one a
//! row; with AVX2 and FMA twice four rows of two registers each, because there
//! are only sixteen registers.
//!
//! Invariants. Memory is touched only through references to arrays of one
//! panel's width, so nothing is out of bounds whatever the lengths. The
//! functions need their CPU features; `super::super::x86_64` hands them out
//! only after finding those.

#![expect(unsafe_code, reason = "SIMD loads take raw pointers; each block says why it holds")]

use super::{LANES, Products, ROWS};

pub(in super::super) mod avx512f {
    use std::arch::x86_64::{
        __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{LANES, Products, ROWS};

    /// See [`super::super::products`].
    #[target_feature(enable = "avx512f")]
    pub(in super::super::super) fn products(
        panel: &[[f32; LANES]],
        tile: &[[f32; ROWS]],
        out: &mut Products,
    ) {
        let mut sums = [_mm512_setzero_ps(); ROWS];
        for (xs, rows) in panel.iter().zip(tile) {
            let xs = load(xs);
            for (sum, y) in sums.iter_mut().zip(rows) {
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(*y), xs, *sum);
            }
        }
        for (to, sum) in out.iter_mut().zip(sums) {
            // SAFETY: `to` is sixteen writable floats, the 64 bytes the store
            // writes, and the unaligned store has no demand on the address.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sum) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(xs: &[f32; LANES]) -> __m512 {
        // SAFETY: `xs` is sixteen readable floats, the 64 bytes the load
        // reads, and the unaligned load has no demand on the address.
        unsafe { _mm512_loadu_ps(xs.as_ptr()) }
    }
}

pub(in super::super) mod avx2 {
    use std::arch::x86_64::{
        __m256, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps,
        _mm256_storeu_ps,
    };

    use super::{LANES, Products, ROWS};

    const HALF: usize = ROWS / 2;

    /// See [`super::super::products`].
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super::super) fn products(
        panel: &[[f32; LANES]],
        tile: &[[f32; ROWS]],
        out: &mut Products,
    ) {
        let [o0, o1, o2, o3, o4, o5, o6, o7] = out;
        half(panel, tile, |[y0, y1, y2, y3, ..]| [y0, y1, y2, y3], [o0, o1, o2, o3]);
        half(panel, tile, |[.., y4, y5, y6, y7]| [y4, y5, y6, y7], [o4, o5, o6, o7]);
    }

    /// Four rows, those that `choose` takes.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn half(
        panel: &[[f32; LANES]],
        tile: &[[f32; ROWS]],
        choose: impl Fn(&[f32; ROWS]) -> [&f32; HALF],
        out: [&mut [f32; LANES]; HALF],
    ) {
        let mut sums = [[_mm256_setzero_ps(); 2]; HALF];
        for (xs, rows) in panel.iter().zip(tile) {
            let [low, high] = load(xs);
            for ([a, b], y) in sums.iter_mut().zip(choose(rows)) {
                let y = _mm256_broadcast_ss(y);
                *a = _mm256_fmadd_ps(y, low, *a);
                *b = _mm256_fmadd_ps(y, high, *b);
            }
        }
        for (to, [low, high]) in out.into_iter().zip(sums) {
            let (first, second) = to.split_at_mut(LANES / 2);
            // SAFETY: `to` is sixteen writable floats, so each half of it is
            // the 32 bytes a store writes; there is no demand on the address.
            unsafe {
                _mm256_storeu_ps(first.as_mut_ptr(), low);
                _mm256_storeu_ps(second.as_mut_ptr(), high);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(xs: &[f32; LANES]) -> [__m256; 2] {
        let (low, high) = xs.split_at(LANES / 2);
        // SAFETY: `xs` is sixteen readable floats, so each half of it is the
        // 32 bytes a load reads; there is no demand on the address.
        unsafe { [_mm256_loadu_ps(low.as_ptr()), _mm256_loadu_ps(high.as_ptr())] }
    }
}
