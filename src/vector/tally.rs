//! How often each component of many codes is positive.
//!
//! Counts are kept in bit planes, 128 components to a pair of words: plane `p` of a pair holds bit `p` of each
//! of its counts. Eight codes go in together, through the carry-save adders of Harley and Seal (Warren, *Hacker's
//! Delight*, 2nd edition, section 5-1), so that a pair costs about seven operations a code.

use std::borrow::Cow;

use super::kernels::codes::{Width, pack, unpack};

/// Codes that go in together.
const GROUP: usize = 8;
/// Bits of a count; what would not fit is not counted.
const PLANES: usize = 24;

/// The low bit of each byte.
const LOW: u64 = 0x0101_0101_0101_0101;

/// Two words: what processors have registers for.
type Pair = [u64; 2];

/// The counts.
#[derive(Default)]
pub(crate) struct Tally {
    /// Of each pair of words of a code: bit planes, and the signs of the codes that wait to be counted.
    pairs: Vec<([Pair; PLANES], [Pair; GROUP])>,
    /// Words of a code.
    words: usize,
    waiting: usize,
    codes: u32,
}

impl Tally {
    /// Counts codes; those of another length than the first are left out.
    pub(crate) fn add<'a>(&mut self, width: Width, codes: impl Iterator<Item = &'a [u8]>) {
        for code in codes {
            let signs = if width == Width::One { Cow::Borrowed(code) } else { signs(width, code) };
            let signs = signs.as_chunks().0;
            if self.codes == 0 {
                self.words = signs.len();
                self.pairs.resize(self.words.div_ceil(2), Default::default());
            }
            if signs.len() != self.words || (self.codes + 1) >> PLANES != 0 {
                continue;
            }
            for ((_, group), words) in self.pairs.iter_mut().zip(signs.chunks(2)) {
                if let Some(pair) = group.get_mut(self.waiting) {
                    let words = words.iter().map(|word| u64::from_le_bytes(*word));
                    pair.iter_mut().zip(words).for_each(|(place, word)| *place = word);
                }
            }
            self.codes += 1;
            self.waiting += 1;
            if self.waiting == GROUP {
                self.count();
            }
        }
    }

    /// Counts what is waiting.
    fn count(&mut self) {
        self.waiting = 0;
        for (planes, group) in &mut self.pairs {
            let [ones, twos, fours, rest @ ..] = planes;
            let [x0, x1, x2, x3, x4, x5, x6, x7] = std::mem::take(group);
            let mut pairs = [(x0, x1), (x2, x3), (x4, x5), (x6, x7)];
            for (carry, other) in &mut pairs {
                (*ones, *carry) = full(*ones, *carry, *other);
            }
            let [two, other, three, another] = pairs.map(|(carry, _)| carry);
            let (sum, low) = full(*twos, two, other);
            let (sum, high) = full(sum, three, another);
            *twos = sum;
            let (sum, mut carry) = full(*fours, low, high);
            *fours = sum;
            for plane in rest {
                if carry == [0; 2] {
                    break;
                }
                (*plane, carry) = half(*plane, carry);
            }
        }
    }

    /// How many codes were counted.
    pub(crate) const fn codes(&self) -> u32 {
        self.codes
    }

    /// For each component by how much it is more often positive than not: of codes that all agree 1 or -1.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^24")]
    pub(crate) fn lean(&mut self) -> Vec<f32> {
        self.count();
        let scale = 2.0 / self.codes.max(1) as f32;
        let mut out = Vec::with_capacity(self.words * 64);
        let words = self
            .pairs
            .iter()
            .flat_map(|(planes, _)| [planes.map(|[word, _]| word), planes.map(|[_, word]| word)]);
        for planes in words.take(self.words) {
            let mut counts = [0_u32; 64];
            // Of a plane that is shifted by k, the low bit of byte j is of component 8 j + k.
            for (planes, weight) in planes.chunks(8).zip([0, 8, 16]) {
                for first in 0..8 {
                    let bits = planes.iter().map(|plane| (plane >> first) & LOW);
                    let bytes = (0..8).zip(bits).fold(0, |sum, (bit, bits)| sum | (bits << bit));
                    let counts = counts.iter_mut().skip(first).step_by(8);
                    for (count, byte) in counts.zip(u64::to_le_bytes(bytes)) {
                        *count |= u32::from(byte) << weight;
                    }
                }
            }
            out.extend(counts.map(|count| count as f32 * scale - 1.0));
        }
        out
    }
}

/// Sums and carries of three bits, 128 times.
fn full(a: Pair, b: Pair, c: Pair) -> (Pair, Pair) {
    let (once, twice) = half(a, b);
    let (sum, carry) = half(once, c);
    (sum, [twice[0] | carry[0], twice[1] | carry[1]])
}

/// Of two bits.
const fn half(a: Pair, b: Pair) -> (Pair, Pair) {
    ([a[0] ^ b[0], a[1] ^ b[1]], [a[0] & b[0], a[1] & b[1]])
}

/// The signs of a code of more than one bit: the upper half of its values is positive.
fn signs(width: Width, code: &[u8]) -> Cow<'static, [u8]> {
    let (mut values, mut bits) = (Vec::new(), Vec::new());
    unpack(width, code, &mut values);
    for value in &mut values {
        *value >>= width.bits() - 1;
    }
    pack(Width::One, &values, &mut bits);
    Cow::Owned(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_number_of_words_is_counted_and_nothing_of_no_words() {
        let codes = [[0xff; 24], [0; 24], [0xff; 24]];
        let mut tally = Tally::default();
        tally.add(Width::One, codes.iter().map(|code| &code[..]));
        let lean = tally.lean();
        assert!(lean.len() == 192 && lean.iter().all(|lean| (lean - 1.0 / 3.0).abs() < 1e-6));
        let mut tally = Tally::default();
        tally.add(Width::One, [&[][..], &[], &[1; 8]].into_iter());
        assert!(tally.lean().is_empty());
    }

    #[test]
    fn components_are_counted_at_every_width_whatever_the_number_of_codes() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        for width in [Width::One, Width::Two, Width::Four, Width::Eight] {
            let half = 1_u8 << (width.bits() - 1);
            let mut tally = Tally::default();
            assert!(tally.lean().is_empty());
            let mut counts = [0_i32; 128];
            for total in 1_i16..=300 {
                let values: Vec<u8> = (0..128).map(|_| random() & (half - 1 + half)).collect();
                let mut code = Vec::new();
                pack(width, &values, &mut code);
                tally.add(width, std::iter::once(&code[..]));
                counts.iter_mut().zip(&values).for_each(|(n, v)| *n += i32::from(*v >= half));
                if [1, 7, 8, 9, 64, 255, 256, 300].contains(&total) {
                    for (lean, count) in tally.lean().into_iter().zip(counts) {
                        let count = f32::from(i16::try_from(count).unwrap());
                        let expected = 2.0 * count / f32::from(total) - 1.0;
                        assert!((lean - expected).abs() < 1e-5, "{total}: {lean} {expected}");
                    }
                }
            }
            assert_eq!(tally.codes(), 300);
            // A code of another length is none of these.
            tally.add(width, std::iter::once(&[0; 8][..]));
            assert_eq!((tally.codes(), tally.waiting), (300, 0));
        }
    }
}
