//! The kernels of codes for AVX-512 with VNNI.
//!
//! A block is spread to one register of unsigned bytes, in one instruction
//! for one bit (a mask made bytes) and in three for two and four bits (copied
//! to every lane, each lane shifted, the low bits kept). `VPDPBUSD` multiplies
//! it with the query's signed bytes and adds fours into 32-bit sums, all of it
//! exact. Four rows go side by side, so that no sum waits on itself, and are
//! added up together.
//!
//! Population counts (`VPOPCNTDQ`) over bit planes of the query are no gain
//! here: at eight bits of query they take three instructions per plane and
//! word where the mask takes three per word.
//!
//! Invariants. Memory is read only through references to arrays of exactly
//! the bytes a load reads. The functions need their CPU features, and
//! [`kernels`] hands them out only after finding those.

#![expect(unsafe_code, reason = "SIMD loads take raw pointers; each block says why it holds")]

use std::arch::x86_64::{
    __m512i, _mm_add_epi32, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm512_add_epi32,
    _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_broadcast_i64x4, _mm512_castsi512_si256,
    _mm512_dpbusd_epi32, _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_maskz_set1_epi8,
    _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setr_epi32, _mm512_setzero_si512,
    _mm512_srlv_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use super::{BLOCK, Kernels};

/// These kernels, if this CPU and operating system run them.
pub(super) fn kernels() -> Option<Kernels> {
    let found = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    found.then_some(Kernels { one, two, four, eight })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn one(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    rows(codes, query, out, |block: &[u8; 8]| {
        _mm512_maskz_set1_epi8(u64::from_le_bytes(*block), 1)
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn two(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    let shifts = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
    let low = _mm512_set1_epi8(3);
    rows(codes, query, out, |block: &[u8; 16]| {
        // SAFETY: `block` is the 16 readable bytes the load reads, and the
        // unaligned load has no demand on the address.
        let bytes = unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
        let shifted = _mm512_srlv_epi32(_mm512_broadcast_i32x4(bytes), shifts);
        _mm512_and_si512(shifted, low)
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn four(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    let shifts = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4);
    let low = _mm512_set1_epi8(15);
    rows(codes, query, out, |block: &[u8; 32]| {
        // SAFETY: `block` is the 32 readable bytes the load reads, and the
        // unaligned load has no demand on the address.
        let bytes = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        let shifted = _mm512_srlv_epi32(_mm512_broadcast_i64x4(bytes), shifts);
        _mm512_and_si512(shifted, low)
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn eight(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    rows(codes, query, out, |block: &[u8; 64]| {
        // SAFETY: `block` is the 64 readable bytes the load reads, and the
        // unaligned load has no demand on the address.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
    });
}

/// `N` bytes make a block, which `spread` makes a register of components of.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn rows<const N: usize>(
    codes: &[u8],
    query: &[[i8; BLOCK]],
    out: &mut [i32],
    spread: impl Fn(&[u8; N]) -> __m512i,
) {
    let length = query.len();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let (groups, codes) = codes.as_chunks::<N>().0.split_at(fours.len() * 4 * length);
    for (group, out) in groups.chunks_exact(4 * length).zip(fours) {
        let (low, high) = group.split_at(2 * length);
        let ((a, b), (c, d)) = (low.split_at(length), high.split_at(length));
        let [mut s0, mut s1, mut s2, mut s3] = [_mm512_setzero_si512(); 4];
        for ((((a, b), c), d), query) in a.iter().zip(b).zip(c).zip(d).zip(query) {
            let query = load(query);
            s0 = _mm512_dpbusd_epi32(s0, spread(a), query);
            s1 = _mm512_dpbusd_epi32(s1, spread(b), query);
            s2 = _mm512_dpbusd_epi32(s2, spread(c), query);
            s3 = _mm512_dpbusd_epi32(s3, spread(d), query);
        }
        *out = add_up(s0, s1, s2, s3);
    }
    for (row, out) in codes.chunks_exact(length).zip(rest) {
        let mut sum = _mm512_setzero_si512();
        for (block, query) in row.iter().zip(query) {
            sum = _mm512_dpbusd_epi32(sum, spread(block), load(query));
        }
        *out = _mm512_reduce_add_epi32(sum);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(block: &[i8; BLOCK]) -> __m512i {
    // SAFETY: `block` is the 64 readable bytes the load reads, and the
    // unaligned load has no demand on the address.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

/// The sums of the lanes of four registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_up(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [i32; 4] {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    // Every 128 bits: a, b, c, d.
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let mut out = [0; 4];
    // SAFETY: `out` is the 16 writable bytes the store writes, and the
    // unaligned store has no demand on the address.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_exact;

    #[test]
    fn avx512_is_exact() {
        match super::kernels() {
            Some(kernels) => assert_exact("avx512", &kernels),
            None => println!("skipped (avx512 with vnni not available)"),
        }
    }
}
