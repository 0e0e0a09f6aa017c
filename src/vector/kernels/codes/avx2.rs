//! The kernels of codes for AVX2.
//!
//! A block is spread to two registers of unsigned bytes. Up to four bits,
//! `VPMADDUBSW` multiplies them with the query's signed bytes and adds pairs
//! in 16 bits, at most `2 * 15 * 128` in magnitude, where it could saturate
//! only past 32767. Eight bits would, so they are widened to 16 bits first.
//! Four rows go side by side and are added up together.
//!
//! Invariants. Memory is read only through references to arrays of exactly
//! the bytes a load reads. The functions need AVX2, and [`kernels`] hands them
//! out only after finding it.

#![expect(unsafe_code, reason = "SIMD loads take raw pointers; each block says why it holds")]

use std::arch::x86_64::{
    __m256i, _mm_add_epi32, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi8, _mm256_add_epi32,
    _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cmpeq_epi8,
    _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi64x, _mm256_setr_epi8, _mm256_setr_epi32,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_srlv_epi32,
};

use super::{BLOCK, Kernels};

/// These kernels, if this CPU and operating system run them.
pub(super) fn kernels() -> Option<Kernels> {
    is_x86_feature_detected!("avx2").then_some(Kernels { one, two, four, eight })
}

#[target_feature(enable = "avx2")]
fn one(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    // Component k is bit k % 8 of byte k / 8.
    let order = _mm256_setr_epi8(
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3,
        3, 3,
    );
    let bit = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
    let ones = _mm256_set1_epi8(1);
    let orders = [order, _mm256_add_epi8(order, _mm256_set1_epi8(4))];
    rows(codes, query, out, |block: &[u8; 8], query| {
        let bytes = _mm256_set1_epi64x(i64::from_le_bytes(*block));
        let [low, high] = orders.map(|order| {
            let bits = _mm256_and_si256(_mm256_shuffle_epi8(bytes, order), bit);
            _mm256_and_si256(_mm256_cmpeq_epi8(bits, bit), ones)
        });
        narrow(low, high, query)
    });
}

#[target_feature(enable = "avx2")]
fn two(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    let shifts =
        [_mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2), _mm256_setr_epi32(4, 4, 4, 4, 6, 6, 6, 6)];
    let mask = _mm256_set1_epi8(3);
    rows(codes, query, out, |block: &[u8; 16], query| {
        // SAFETY: `block` is the 16 readable bytes the load reads, and the
        // unaligned load has no demand on the address.
        let bytes = unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
        let bytes = _mm256_broadcastsi128_si256(bytes);
        let [low, high] =
            shifts.map(|shift| _mm256_and_si256(_mm256_srlv_epi32(bytes, shift), mask));
        narrow(low, high, query)
    });
}

#[target_feature(enable = "avx2")]
fn four(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    let mask = _mm256_set1_epi8(15);
    rows(codes, query, out, |block: &[u8; 32], query| {
        // SAFETY: `block` is the 32 readable bytes the load reads, and the
        // unaligned load has no demand on the address.
        let bytes = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        let low = _mm256_and_si256(bytes, mask);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
        narrow(low, high, query)
    });
}

#[target_feature(enable = "avx2")]
fn eight(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    rows(codes, query, out, |block: &[u8; 64], query| {
        let mut sum = _mm256_setzero_si256();
        for (codes, query) in block.as_chunks::<16>().0.iter().zip(query.as_chunks::<16>().0) {
            // SAFETY: both are the 16 readable bytes the loads read, and the
            // unaligned loads have no demand on the address.
            let (codes, query) = unsafe {
                (_mm_loadu_si128(codes.as_ptr().cast()), _mm_loadu_si128(query.as_ptr().cast()))
            };
            let (codes, query) = (_mm256_cvtepu8_epi16(codes), _mm256_cvtepi8_epi16(query));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, query));
        }
        sum
    });
}

/// Eight partial sums of the products of a block of at most four bits.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow(low: __m256i, high: __m256i, query: &[i8; BLOCK]) -> __m256i {
    let [left, right] = [0, 32].map(|at| {
        // SAFETY: bytes `at..at + 32` lie inside the 64 of `query`, and the
        // unaligned load has no demand on the address.
        unsafe { _mm256_loadu_si256(query.as_ptr().add(at).cast()) }
    });
    let pairs = [_mm256_maddubs_epi16(low, left), _mm256_maddubs_epi16(high, right)];
    let [left, right] = pairs.map(|pairs| _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    _mm256_add_epi32(left, right)
}

/// `N` bytes make a block, of which `products` makes eight partial sums.
#[inline]
#[target_feature(enable = "avx2")]
fn rows<const N: usize>(
    codes: &[u8],
    query: &[[i8; BLOCK]],
    out: &mut [i32],
    products: impl Fn(&[u8; N], &[i8; BLOCK]) -> __m256i,
) {
    let length = query.len();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let (groups, codes) = codes.as_chunks::<N>().0.split_at(fours.len() * 4 * length);
    for (group, out) in groups.chunks_exact(4 * length).zip(fours) {
        let (low, high) = group.split_at(2 * length);
        let ((a, b), (c, d)) = (low.split_at(length), high.split_at(length));
        let [mut s0, mut s1, mut s2, mut s3] = [_mm256_setzero_si256(); 4];
        for ((((a, b), c), d), query) in a.iter().zip(b).zip(c).zip(d).zip(query) {
            s0 = _mm256_add_epi32(s0, products(a, query));
            s1 = _mm256_add_epi32(s1, products(b, query));
            s2 = _mm256_add_epi32(s2, products(c, query));
            s3 = _mm256_add_epi32(s3, products(d, query));
        }
        *out = add_up(s0, s1, s2, s3);
    }
    let zero = _mm256_setzero_si256();
    for (row, out) in codes.chunks_exact(length).zip(rest) {
        let mut sum = zero;
        for (block, query) in row.iter().zip(query) {
            sum = _mm256_add_epi32(sum, products(block, query));
        }
        [*out, ..] = add_up(sum, zero, zero, zero);
    }
}

/// The sums of the lanes of four registers.
#[inline]
#[target_feature(enable = "avx2")]
fn add_up(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [i32; 4] {
    let all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
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
    fn avx2_is_exact() {
        match super::kernels() {
            Some(kernels) => assert_exact("avx2", &kernels),
            None => println!("skipped (avx2 not available)"),
        }
    }
}
