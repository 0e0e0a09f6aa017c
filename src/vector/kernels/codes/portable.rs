//! The kernels of codes in plain Rust: what runs where no SIMD variant does,
//! and the twin the SIMD variants are tested against.
//!
//! A block is spread to a byte per component and multiplied out. Sums wrap,
//! which they never do at the dimensions an index may have.

#![forbid(unsafe_code)]

use super::BLOCK;

/// The components of a one-bit block.
#[inline]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "blocks are taken alike at every width")]
pub(super) fn one(block: &[u8; 8]) -> [u8; BLOCK] {
    let mut out = [0; BLOCK];
    for (byte, out) in block.iter().zip(out.as_chunks_mut::<8>().0) {
        for (shift, out) in (0..8).zip(out) {
            *out = (byte >> shift) & 1;
        }
    }
    out
}

/// The components of a two-bit block.
#[inline]
pub(super) fn two(block: &[u8; 16]) -> [u8; BLOCK] {
    let mut out = [0; BLOCK];
    for (shift, part) in [0, 2, 4, 6].into_iter().zip(out.as_chunks_mut::<16>().0) {
        for (byte, out) in block.iter().zip(part) {
            *out = (byte >> shift) & 3;
        }
    }
    out
}

/// The components of a four-bit block.
#[inline]
pub(super) fn four(block: &[u8; 32]) -> [u8; BLOCK] {
    let mut out = [0; BLOCK];
    for (shift, part) in [0, 4].into_iter().zip(out.as_chunks_mut::<32>().0) {
        for (byte, out) in block.iter().zip(part) {
            *out = (byte >> shift) & 15;
        }
    }
    out
}

/// One bit: see [`super::dots`].
pub(super) fn dots_one(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    rows(codes, query, out, one);
}

/// Two bits: see [`super::dots`].
pub(super) fn dots_two(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    rows(codes, query, out, two);
}

/// Four bits: see [`super::dots`].
pub(super) fn dots_four(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    rows(codes, query, out, four);
}

/// Eight bits: see [`super::dots`].
pub(super) fn dots_eight(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]) {
    rows(codes, query, out, |block: &[u8; BLOCK]| *block);
}

/// `N` bytes make a block, which `spread` makes components of.
#[inline]
fn rows<const N: usize>(
    codes: &[u8],
    query: &[[i8; BLOCK]],
    out: &mut [i32],
    spread: impl Fn(&[u8; N]) -> [u8; BLOCK],
) {
    let rows = codes.as_chunks::<N>().0.chunks_exact(query.len().max(1));
    for (row, out) in rows.zip(out) {
        let mut lanes = [0_i32; 16];
        for (block, query) in row.iter().zip(query) {
            let values = spread(block);
            for (values, query) in values.as_chunks::<16>().0.iter().zip(query.as_chunks().0) {
                add_products(&mut lanes, values, query);
            }
        }
        *out = lanes.into_iter().fold(0, i32::wrapping_add);
    }
}

#[inline]
fn add_products(lanes: &mut [i32; 16], values: &[u8; 16], query: &[i8; 16]) {
    for ((lane, value), q) in lanes.iter_mut().zip(values).zip(query) {
        let product = i16::from(*value).wrapping_mul(i16::from(*q));
        *lane = lane.wrapping_add(i32::from(product));
    }
}
