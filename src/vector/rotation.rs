//! A random orthogonal map, cheap to make from a seed and cheap to apply.
//!
//! A code of few bits per component estimates well only if the vector's length
//! is spread evenly over its components. Embeddings do not oblige; a random
//! rotation of them does. A dense one takes `n^2` floats to keep and to apply.
//! This one is a product of rounds, each of which
//!
//! 1. changes the signs of components, as bits of a BLAKE3 stream say,
//! 2. applies a Walsh-Hadamard transform to a window: the largest power of two
//!    of components, in even rounds the first ones, in odd rounds the last,
//! 3. adds and subtracts the two halves of the vector, unless the window is
//!    all of it: windows of 512 in 960 components overlap in 64 only.
//!
//! Every step is orthogonal, so lengths and inner products stay.
//!
//! Invariants. Vectors rotated by one build of the library are compared with
//! vectors rotated by another, so the map is part of the stored format: the
//! label, the order of the bits and of the additions stay as they are (the
//! golden test holds them). There are only single additions and
//! multiplications, in one order, so every machine gives the same bits.
//!
//! Cost: about `rounds * n log n` additions; 0.5 us to make and 1 us to apply
//! at 384 components.

/// Names the use that the stream is put to; see [`Rotation::new`].
const LABEL: &[u8] = b"sealvec rotation 1";

/// Components come in blocks of this many.
const BLOCK: usize = 64;

/// An orthogonal map of vectors, padded with zeros to whole blocks.
pub(crate) struct Rotation {
    padded: usize,
    /// The length of the part that a round transforms: a power of two.
    window: usize,
    /// For every round and component what to multiply with before the
    /// transform: a sign, and in the window `1 / sqrt(window)`.
    signs: Vec<f32>,
}

impl Rotation {
    /// The rotation of that seed for vectors of `dimension` components.
    ///
    /// Bit `i` of the stream (from the low bit of the first byte on) is the
    /// sign of component `i % padded` in round `i / padded`; 1 is minus.
    pub(crate) fn new(seed: &[u8; 32], dimension: usize) -> Self {
        let padded = dimension.div_ceil(BLOCK).max(1) * BLOCK;
        let whole = padded.is_power_of_two();
        let window = if whole { padded } else { padded.next_power_of_two() / 2 };
        let rounds = if whole { 3 } else { 4 };

        let mut stream = vec![0; rounds * padded / 8];
        blake3::Hasher::new_keyed(seed).update(LABEL).finalize_xof().fill(&mut stream);
        let mut signs = vec![0.0; rounds * padded];
        let words = stream.as_chunks().0.iter().map(|x| u32::from_le_bytes(*x));
        for (word, signs) in words.zip(signs.as_chunks_mut::<32>().0) {
            let mut bit = 1;
            for sign in signs {
                *sign = if word & bit == 0 { 1.0 } else { -1.0 };
                bit = bit.rotate_left(1);
            }
        }
        let scale = inverse_root(window);
        for (round, signs) in signs.chunks_exact_mut(padded).enumerate() {
            for sign in in_window(signs, round, window) {
                *sign *= scale;
            }
        }
        Self { padded, window, signs }
    }

    /// The components of a rotated vector: the dimension in whole blocks.
    pub(crate) const fn padded(&self) -> usize {
        self.padded
    }

    /// Puts the rotated `vector` into `out`, in place of what it held.
    pub(crate) fn apply(&self, vector: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend(vector.iter().take(self.padded));
        out.resize(self.padded, 0.0);
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate() {
            for (x, sign) in out.iter_mut().zip(signs) {
                *x *= sign;
            }
            hadamard(in_window(out, round, self.window));
            if self.window < self.padded {
                let (low, high) = out.split_at_mut(self.padded / 2);
                for (x, y) in low.iter_mut().zip(high) {
                    let (sum, difference) = (*x + *y, *x - *y);
                    *x = sum * std::f32::consts::FRAC_1_SQRT_2;
                    *y = difference * std::f32::consts::FRAC_1_SQRT_2;
                }
            }
        }
    }
}

/// `1 / sqrt(window)` for a power of two, rounded once.
fn inverse_root(window: usize) -> f32 {
    let half = 0.5_f32.powi((window.ilog2() / 2).try_into().unwrap_or(0));
    if window.ilog2().is_multiple_of(2) { half } else { half * std::f32::consts::FRAC_1_SQRT_2 }
}

/// The part of `x` that the round transforms.
fn in_window(x: &mut [f32], round: usize, window: usize) -> &mut [f32] {
    let skipped = if round.is_multiple_of(2) { 0 } else { x.len().saturating_sub(window) };
    let end = x.len().min(skipped + window);
    x.get_mut(skipped..end).unwrap_or_default()
}

/// The Walsh-Hadamard transform, not scaled, of a power of two of at least
/// sixteen components: the pairs 1 apart become their sum and difference, then
/// those 2 apart, 4 apart and so on.
fn hadamard(values: &mut [f32]) {
    for block in values.as_chunks_mut::<16>().0 {
        for four in block.as_chunks_mut().0 {
            *four = butterflies(*four);
        }
        if let [a, b, c, d] = block.as_chunks_mut::<4>().0 {
            transform(a, b, c, d);
        }
    }
    let mut apart = 16;
    while apart < values.len() {
        if 4 * apart <= values.len() {
            for quarters in values.chunks_exact_mut(4 * apart) {
                let (low, high) = quarters.split_at_mut(2 * apart);
                let ((a, b), (c, d)) = (low.split_at_mut(apart), high.split_at_mut(apart));
                transform(a, b, c, d);
            }
            apart *= 4;
        } else {
            let (low, high) = values.split_at_mut(apart);
            for (x, y) in low.iter_mut().zip(high) {
                (*x, *y) = (*x + *y, *x - *y);
            }
            apart *= 2;
        }
    }
}

/// Two steps at once, over four runs that follow each other.
#[inline]
fn transform(a: &mut [f32], b: &mut [f32], c: &mut [f32], d: &mut [f32]) {
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        [*a, *b, *c, *d] = butterflies([*a, *b, *c, *d]);
    }
}

#[inline]
fn butterflies([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    let (low, high) = ((a + b, a - b), (c + d, c - d));
    [low.0 + high.0, low.1 + high.1, low.0 - high.0, low.1 - high.1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSIONS: [u16; 11] = [1, 3, 63, 64, 65, 128, 384, 448, 960, 1536, 4096];

    fn wave(len: u16, step: f32) -> Vec<f32> {
        (0..len).map(|i| (f32::from(i) * step).sin() + 0.1).collect()
    }

    fn apply(seed: u8, vector: &[f32]) -> Vec<f32> {
        let rotation = Rotation::new(&[seed; 32], vector.len());
        let mut out = vec![7.0; 3];
        rotation.apply(vector, &mut out);
        assert_eq!(out.len(), rotation.padded());
        assert_eq!(out.len(), vector.len().next_multiple_of(64));
        out
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    }

    #[test]
    fn lengths_and_inner_products_stay() {
        for (dimension, scale) in DIMENSIONS.map(|n| [(n, 1.0), (n, 3e16), (n, 1e-12)]).concat() {
            let a: Vec<f32> = wave(dimension, 0.7).iter().map(|x| x * scale).collect();
            let b = wave(dimension, 1.3);
            let (c, d) = (apply(1, &a), apply(1, &b));
            let bound = 1e-6 * (dot(&a, &a) * dot(&b, &b)).sqrt();
            assert!((dot(&c, &d) - dot(&a, &b)).abs() <= bound, "{dimension} {scale}");
            assert!((dot(&c, &c) / dot(&a, &a) - 1.0).abs() <= 1e-6, "{dimension} {scale}");
        }
    }

    #[test]
    fn the_map_depends_on_the_seed_alone() {
        for dimension in DIMENSIONS {
            let vector = wave(dimension, 0.7);
            assert_eq!(apply(1, &vector), apply(1, &vector));
            assert_ne!(apply(1, &vector), apply(2, &vector), "{dimension}");
        }
    }

    #[test]
    fn one_component_is_spread_over_all() {
        for dimension in DIMENSIONS {
            let n = usize::from(dimension);
            let padded = f64::from(dimension).max(1.0) / 64.0;
            let limit = 6.0 / (padded.ceil() * 64.0).sqrt();
            for place in [0, n / 3, n / 2, n - 1] {
                let mut vector = vec![0.0; n];
                vector[place] = 1.0;
                let spread = apply(3, &vector);
                let largest = spread.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
                assert!(f64::from(largest) < limit, "{dimension} {place} {largest} {limit}");
                // Quarters hold about a quarter of it each.
                for quarter in spread.chunks(spread.len() / 4) {
                    let share = dot(quarter, quarter);
                    assert!((0.05..0.6).contains(&share), "{dimension} {place} {share}");
                }
            }
        }
    }

    #[test]
    fn hadamard_is_the_matrix_of_signs() {
        for n in [16_u16, 32, 64, 128, 256] {
            let x: Vec<f32> = (0..n).map(|i| f32::from(i * 37 % 101)).collect();
            let mut found = x.clone();
            hadamard(&mut found);
            for (i, found) in (0..n).zip(found) {
                let sign = |j: u16| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let wanted: f32 = (0..n).zip(&x).map(|(j, x)| sign(j) * x).sum();
                assert_eq!(found.to_bits(), wanted.to_bits(), "{n} {i}");
            }
        }
    }

    /// The map as the documentation has it, in `f64` and by the matrix.
    fn reference(seed: u8, vector: &[f32], rounds: usize, window: usize) -> Vec<f64> {
        let mut x: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
        x.resize(vector.len().next_multiple_of(64), 0.0);
        let n = x.len();
        let mut stream = vec![0; rounds * n / 8];
        let mut hasher = blake3::Hasher::new_keyed(&[seed; 32]);
        hasher.update(b"sealvec rotation 1").finalize_xof().fill(&mut stream);
        for round in 0..rounds {
            for (i, x) in x.iter_mut().enumerate() {
                let bit = round * n + i;
                *x *= if stream[bit / 8] >> (bit % 8) & 1 == 0 { 1.0 } else { -1.0 };
            }
            let first = if round % 2 == 0 { 0 } else { n - window };
            let part = x[first..first + window].to_vec();
            for i in 0..window {
                let sign = |j: usize| if (i & j).count_ones() & 1 == 0 { 1.0 } else { -1.0 };
                let sum: f64 = part.iter().enumerate().map(|(j, x)| sign(j) * x).sum();
                x[first + i] = sum * f64::from(inverse_root(window));
            }
            if window < n {
                let halves: Vec<f64> = (0..n / 2).map(|i| x[i] + x[i + n / 2]).collect();
                let others = (0..n / 2).map(|i| x[i] - x[i + n / 2]);
                x = halves.into_iter().chain(others).map(|x| x * 0.5_f64.sqrt()).collect();
            }
        }
        x
    }

    #[test]
    fn the_map_is_the_documented_one() {
        for (dimension, rounds, window) in [(5, 3, 64), (100, 3, 128), (129, 4, 128), (384, 4, 256)]
        {
            let vector = wave(dimension, 0.7);
            let wanted = reference(4, &vector, rounds, window);
            for (found, wanted) in apply(4, &vector).into_iter().zip(wanted) {
                assert!((f64::from(found) - wanted).abs() < 1e-5, "{dimension}");
            }
        }
    }

    /// Stored vectors were rotated so: a change here is a change of format.
    #[test]
    fn golden_rotations() {
        for (dimension, wanted) in [
            (64, [0xbf28_0000, 0x4099_0000, 0x3ed0_0000, 0xbf28_0000]),
            (384, [0xbfd1_47f7, 0x4067_ebfe, 0x3fbe_4800, 0x3f6b_8ff6]),
            (1000, [0x40a6_b400, 0xc00d_1800, 0x40af_a400, 0x3f98_d000]),
        ] {
            let rotated = apply(9, &golden_input(dimension));
            let bits: Vec<u32> = rotated.iter().take(4).map(|x| x.to_bits()).collect();
            assert_eq!(bits, wanted, "{dimension}");
        }
    }

    /// Whole numbers from -8 to 8, so that no library function has a say.
    fn golden_input(dimension: u16) -> Vec<f32> {
        (0..dimension).map(|i| f32::from(i * 7 % 17) - 8.0).collect()
    }
}
