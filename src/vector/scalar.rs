//! Vectors rounded to a byte per component: near enough to exact to stand for
//! a centroid, and a quarter of the size.
//!
//! A component is `scale * (code - 128)`, with codes from 1 to 255, so the
//! error of a component is at most half of `scale`, which is the largest
//! magnitude over 127. That is about a hundredth of the vector's length in all
//! for a rotated vector.
//!
//! Invariants. Whatever components up to 1e38 come in, `scale` is zero or a
//! normal number, and the components that come out are finite. Ties go to
//! the even code, on every machine.
//!
//! Cost: two passes over the components to round, one to expand.

/// The code of a component that is zero.
const MIDDLE: u8 = 128;

/// The magnitude that the largest component gets.
const STEPS: f32 = 127.0;

/// A vector whose components are all smaller than this becomes zero: the
/// scale would be no normal number.
const SMALLEST: f32 = 1e-35;

/// A vector with a byte per component; see the module for what it stands for.
#[derive(Clone, PartialEq)]
pub(crate) struct Rounded {
    /// The step between two codes.
    pub(crate) scale: f32,
    /// The components, one byte each, 128 for zero.
    pub(crate) codes: Vec<u8>,
}

impl Rounded {
    /// The nearest such vector with the largest component kept.
    pub(crate) fn round(vector: &[f32]) -> Self {
        let (scale, inverse) = scales(vector);
        let codes = vector.iter().map(|x| steps(x * inverse).wrapping_add(MIDDLE)).collect();
        Self { scale, codes }
    }

    /// The components it stands for.
    pub(crate) fn expand(&self) -> Vec<f32> {
        let value = |code: &u8| (f32::from(*code) - f32::from(MIDDLE)) * self.scale;
        self.codes.iter().map(value).collect()
    }
}

/// A vector with a signed byte per component, from -127 to 127, and the step.
pub(super) fn signed(vector: &[f32]) -> (f32, Vec<i8>) {
    let (scale, inverse) = scales(vector);
    (scale, vector.iter().map(|x| steps(x * inverse).cast_signed()).collect())
}

/// The step that spans the vector's components, and its inverse; both are
/// zero for a vector that is to become zero.
fn scales(vector: &[f32]) -> (f32, f32) {
    let (blocks, tail) = vector.as_chunks::<16>();
    let mut lanes = [0.0_f32; 16];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = lane.max(x.abs());
        }
    }
    let largest = lanes.iter().chain(tail).fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest < SMALLEST { (0.0, 0.0) } else { (largest / STEPS, STEPS / largest) }
}

/// The nearest whole number to `x`, of magnitude up to 127, as a byte in two's
/// complement.
#[inline]
fn steps(x: f32) -> u8 {
    /// Floats from here to twice as much are the whole numbers, and the low
    /// bits of this one are zero.
    const WHOLE: f32 = 12_582_912.0;
    let [low, ..] = (x + WHOLE).to_bits().to_le_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: u16, scale: f32) -> Vec<f32> {
        (0..len).map(|i| ((f32::from(i) * 0.7).sin() + 0.1) * scale).collect()
    }

    #[test]
    fn components_come_back_within_half_a_step() {
        for (len, scale) in
            [1, 3, 64, 384].map(|n| [1e-33, 1e-9, 1.0, 2.7e18].map(|s| (n, s))).concat()
        {
            let vector = wave(len, scale);
            let rounded = Rounded::round(&vector);
            assert_eq!(rounded.codes.len(), vector.len());
            let largest = vector.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            assert!((rounded.scale * 127.0 / largest - 1.0).abs() < 1e-6);
            for ((x, y), code) in vector.iter().zip(rounded.expand()).zip(&rounded.codes) {
                assert!((x - y).abs() <= 0.50001 * rounded.scale, "{x} {y}");
                assert_ne!(*code, 0);
            }
            let (step, values) = signed(&vector);
            assert_eq!(step.to_bits(), rounded.scale.to_bits());
            let codes = values.iter().map(|x| x.cast_unsigned().wrapping_add(128));
            assert!(codes.eq(rounded.codes));
        }
    }

    #[test]
    fn the_ends_and_the_ties() {
        let rounded = Rounded::round(&[127.0, -127.0, 0.0, -0.0, 0.5, 1.5, -0.5, -1.5, 0.51]);
        assert_eq!(rounded.codes, [255, 1, 128, 128, 128, 130, 128, 126, 129]);
        assert_eq!(rounded.scale.to_bits(), 1_f32.to_bits());
    }

    #[test]
    fn nothing_finite_gives_anything_else() {
        for x in [0.0, -0.0, 1e-45, 1e-38, 9.9e-36, 1.01e-35, 1e-20, 3.1e18, -3.1e18, 1e38] {
            let rounded = Rounded::round(&[x, x / 2.0, 0.0]);
            assert!(rounded.scale == 0.0 || rounded.scale.is_normal(), "{x}");
            assert!(rounded.expand().iter().all(|x| x.is_finite()), "{x}");
            if x.abs() < 1e-35 {
                assert_eq!((rounded.scale.to_bits(), rounded.codes), (0, vec![128; 3]));
            }
        }
        assert!(Rounded::round(&[]) == Rounded { scale: 0.0, codes: vec![] });
    }
}
