//! Inner products by the block: sixteen vectors against eight in one go.
//!
//! For work that compares many vectors with many, where one product at a time
//! would wait for memory. Both sides are packed component by component, the
//! sixteen first components, then the sixteen second ones: so a step is one
//! register of vectors times eight broadcast components, nothing is added up
//! across lanes, and no dimension has a tail.
//!
//! Invariants. A lane past the end of its group is zero. Sides of different
//! dimension count as far as the shorter one. Every product is summed in the
//! order of the components, so that it lies within `n * 2^-22 * sum |a_i b_i|`
//! of the exact value for `n` components and does not depend on which lane it
//! is in; the SIMD variants fuse the addition and the portable one does not.
//!
//! Cost: with AVX-512 a fused multiply-add in each cycle that has room for
//! one, 128 products of `n` components in `8 n` of them; the packed vectors,
//! `64 n` and `32 n` bytes, are best kept in the near caches.

use super::active;

#[cfg(target_arch = "x86_64")]
pub(super) mod x86_64;

/// The vectors packed into one panel.
pub(crate) const LANES: usize = 16;

/// The vectors packed into one tile.
pub(crate) const ROWS: usize = 8;

/// By row of the tile, its product with each lane of the panel.
pub(crate) type Products = [[f32; LANES]; ROWS];

/// A variant: `products` of a panel and a tile. May need CPU features.
pub(super) type Multiply = unsafe fn(&[[f32; LANES]], &[[f32; ROWS]], &mut Products);

/// Puts the inner products of every vector in `panel` with every one in `tile`
/// into `out`.
#[inline]
pub(crate) fn products(panel: &[[f32; LANES]], tile: &[[f32; ROWS]], out: &mut Products) {
    active().products(panel, tile, out);
}

/// Packs the first `N` of the vectors that lie back to back in `group`, less
/// `origin`, whose length is their dimension, into `out`, which is as long.
pub(crate) fn pack<const N: usize>(group: &[f32], origin: &[f32], out: &mut [[f32; N]]) {
    let vectors = group.chunks_exact(origin.len().max(1));
    if vectors.len() < N {
        out.fill([0.0; N]);
    }
    for (lane, vector) in vectors.take(N).enumerate() {
        for ((x, o), to) in vector.iter().zip(origin).zip(out.iter_mut()) {
            if let Some(to) = to.get_mut(lane) {
                *to = x - o;
            }
        }
    }
}

/// In plain Rust: one row of the tile at a time, in sixteen sums.
pub(super) fn portable(panel: &[[f32; LANES]], tile: &[[f32; ROWS]], out: &mut Products) {
    for (row, out) in out.iter_mut().enumerate() {
        let mut sums = [0.0; LANES];
        for (xs, rows) in panel.iter().zip(tile) {
            let y = rows.get(row).copied().unwrap_or(0.0);
            for (sum, x) in sums.iter_mut().zip(xs) {
                *sum += x * y;
            }
        }
        *out = sums;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kernels, PORTABLE};
    use super::*;

    const LENGTHS: [usize; 10] = [0, 1, 2, 3, 15, 16, 17, 384, 1536, 65_535];

    fn random<const N: usize>(seed: u32, len: usize) -> Vec<[f32; N]> {
        let mut state = seed;
        let mut component = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let [high, low, ..] = state.to_be_bytes();
            f32::from(u16::from_be_bytes([high, low])) / 32768.0 - 1.0
        };
        (0..len).map(|_| [(); N].map(|()| component())).collect()
    }

    fn assert_variant(name: &str, kernels: &Kernels) {
        for len in LENGTHS {
            let (panel, tile) = (random(1, len), random(2, len));
            let (mut found, mut twin) = ([[f32::NAN; LANES]; ROWS], [[f32::NAN; LANES]; ROWS]);
            kernels.products(&panel, &tile, &mut found);
            PORTABLE.products(&panel, &tile, &mut twin);
            for (row, lane) in (0..ROWS).flat_map(|r| (0..LANES).map(move |l| (r, l))) {
                let terms = panel.iter().zip(&tile);
                let terms = terms.map(|(x, y)| f64::from(x[lane]) * f64::from(y[row]));
                let (sum, size) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
                let bound = f64::from(u32::try_from(len).unwrap()) * 2f64.powi(-22) * size;
                let (found, twin) = (f64::from(found[row][lane]), f64::from(twin[row][lane]));
                assert!((found - sum).abs() <= bound, "{name} {len} {row} {lane}");
                assert!((found - twin).abs() <= 2.0 * bound, "{name} {len} {row} {lane}");
            }
        }
    }

    /// Whole numbers, exact in any order; sides of different length.
    fn assert_exact(name: &str, kernels: &Kernels) {
        let lanes: [f32; LANES] = std::array::from_fn(|i| f32::from(u8::try_from(i).unwrap()));
        let rows: [f32; ROWS] = std::array::from_fn(|i| f32::from(u8::try_from(i + 1).unwrap()));
        for (panel, tile, n) in [(5, 5, 5.0), (5, 3, 3.0), (2, 9, 2.0), (0, 4, 0.0)] {
            let mut found = [[f32::NAN; LANES]; ROWS];
            kernels.products(&vec![lanes; panel], &vec![rows; tile], &mut found);
            let wanted = rows.map(|y| lanes.map(|x| n * x * y));
            assert_eq!(found, wanted, "{name} {panel} {tile}");
        }
    }

    #[test]
    fn every_variant_matches_the_reference_and_portable() {
        let mut variants = vec![("portable", PORTABLE), ("active", *active())];
        #[cfg(target_arch = "x86_64")]
        for (name, found) in [
            ("avx512f", super::super::x86_64::avx512f()),
            ("avx2 with fma", super::super::x86_64::avx2()),
        ] {
            match found {
                Some(kernels) => variants.push((name, kernels)),
                None => println!("skipped ({name} not available)"),
            }
        }
        for (name, kernels) in variants {
            assert_variant(name, &kernels);
            assert_exact(name, &kernels);
        }
    }

    #[test]
    fn packing_transposes_and_pads() {
        let group: Vec<f32> = (0_u8..12).map(f32::from).collect();
        let mut out = vec![[f32::NAN; ROWS]; 3];
        pack(&group, &[1.0, 1.0, 2.0], &mut out);
        let wanted = [
            [-1.0, 2.0, 5.0, 8.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 3.0, 6.0, 9.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 3.0, 6.0, 9.0, 0.0, 0.0, 0.0, 0.0],
        ];
        assert_eq!(out, wanted);
        let mut out = vec![[f32::NAN; 3]; 3];
        pack(&group, &[0.0; 3], &mut out);
        assert_eq!(out, [[0.0, 3.0, 6.0], [1.0, 4.0, 7.0], [2.0, 5.0, 8.0]]);
        pack(&[], &[0.0; 3], &mut out);
        assert_eq!(out, [[0.0; 3]; 3]);
    }
}
