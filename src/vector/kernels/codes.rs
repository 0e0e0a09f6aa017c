//! Codes: vectors of one, two, four or eight bits per component, and their
//! inner products with a query of signed bytes.
//!
//! A code holds unsigned components in blocks of 64, `8 * bits` bytes each, so
//! that one register of bytes meets one register of the query:
//!
//! | Bits | Bytes of a block | What byte `j` holds, from its low bits up |
//! |---|---|---|
//! | 1 | 8 | components `8j`, `8j + 1`, .. `8j + 7` |
//! | 2 | 16 | components `j`, `j + 16`, `j + 32`, `j + 48` |
//! | 4 | 32 | components `j`, `j + 32` |
//! | 8 | 64 | component `j` |
//!
//! This is a stored format. Component 0 of a one-bit block is thus the lowest
//! bit of a little-endian word.
//!
//! Invariants. Every sum is a whole number and exact, so all variants give the
//! same result on all machines: below 2^31 up to 65536 components even at
//! eight bits. Only whole blocks and whole rows count, and nothing is read
//! past the end of a slice.
//!
//! Cost: see [`dots`].

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Components in a block.
const BLOCK: usize = 64;

/// The bits per component of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// 0 or 1.
    One,
    /// 0 to 3.
    Two,
    /// 0 to 15.
    Four,
    /// 0 to 255.
    Eight,
}

impl Width {
    /// The bits per component.
    pub(crate) const fn bits(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The bytes of a code of `padded` components, a multiple of 64.
    pub(crate) const fn code_bytes(self, padded: usize) -> usize {
        padded / 8 * self.bits()
    }

    /// The width of that many bits, if there is one.
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }
}

/// For every row of `codes` the sum of its components times the query's:
/// `out[i] = <code i, query>`.
///
/// The query's length is the padded dimension, a multiple of 64, and the rows
/// are back to back; an `out` past the last whole row gets 0.
pub(crate) fn dots(width: Width, codes: &[u8], query: &[i8], out: &mut [i32]) {
    static ACTIVE: OnceLock<Kernels> = OnceLock::new();
    ACTIVE.get_or_init(detect).dots(width, codes, query, out);
}

/// Appends the code of `values`, of which only the low bits of the width and
/// only whole blocks count.
pub(crate) fn pack(width: Width, values: &[u8], out: &mut Vec<u8>) {
    out.reserve(width.code_bytes(values.len()));
    for block in values.as_chunks::<BLOCK>().0 {
        match width {
            Width::One => {
                let eights = block.as_chunks().0.iter().map(|x| u64::from_le_bytes(*x));
                out.extend(eights.map(|x| low_bits(x & 0x0101_0101_0101_0101)));
            }
            Width::Two => {
                let mut bytes = [0_u8; 16];
                for (shift, part) in [0, 2, 4, 6].into_iter().zip(block.as_chunks::<16>().0) {
                    for (byte, value) in bytes.iter_mut().zip(part) {
                        *byte |= (value & 3) << shift;
                    }
                }
                out.extend(bytes);
            }
            Width::Four => {
                let mut bytes = [0_u8; 32];
                for (shift, part) in [0, 4].into_iter().zip(block.as_chunks::<32>().0) {
                    for (byte, value) in bytes.iter_mut().zip(part) {
                        *byte |= (value & 15) << shift;
                    }
                }
                out.extend(bytes);
            }
            Width::Eight => out.extend(block),
        }
    }
}

/// Eight bytes of 0 or 1 as the bits of one byte, the first the lowest.
#[inline]
fn low_bits(bytes: u64) -> u8 {
    // Byte j is moved to bit 56 + j, and no two products meet on a bit.
    let [.., top] = bytes.wrapping_mul(0x0102_0408_1020_4080).to_le_bytes();
    top
}

/// Puts the components of `code` into `out`, in place of what it held.
pub(crate) fn unpack(width: Width, code: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.reserve(code.len() * 8 / width.bits());
    match width {
        Width::One => {
            for block in code.as_chunks::<8>().0 {
                out.extend(portable::one(block));
            }
        }
        Width::Two => {
            for block in code.as_chunks::<16>().0 {
                out.extend(portable::two(block));
            }
        }
        Width::Four => {
            for block in code.as_chunks::<32>().0 {
                out.extend(portable::four(block));
            }
        }
        Width::Eight => out.extend(code.as_chunks::<BLOCK>().0.as_flattened()),
    }
}

/// What a variant does for one width: `codes` are exactly `out.len()` rows of
/// as many blocks as the query has, which are one or more.
type Dots = unsafe fn(codes: &[u8], query: &[[i8; BLOCK]], out: &mut [i32]);

/// One variant of the kernels.
///
/// The functions may need CPU features. Whoever builds a value has found those
/// features present, so that holding one is leave to call them.
#[derive(Debug, Clone, Copy)]
struct Kernels {
    one: Dots,
    two: Dots,
    four: Dots,
    eight: Dots,
}

const PORTABLE: Kernels = Kernels {
    one: portable::dots_one,
    two: portable::dots_two,
    four: portable::dots_four,
    eight: portable::dots_eight,
};

#[expect(unsafe_code, reason = "calls functions whose CPU features were found at run time")]
impl Kernels {
    #[inline]
    fn dots(&self, width: Width, codes: &[u8], query: &[i8], out: &mut [i32]) {
        let blocks = query.as_chunks().0;
        let row = width.code_bytes(blocks.len() * BLOCK);
        let rows = codes.len().checked_div(row).unwrap_or(0).min(out.len());
        let (out, rest) = out.split_at_mut(rows);
        rest.fill(0);
        if rows == 0 {
            return;
        }
        let codes = codes.split_at(rows * row).0;
        let dots = match width {
            Width::One => self.one,
            Width::Two => self.two,
            Width::Four => self.four,
            Width::Eight => self.eight,
        };
        // SAFETY: a `Kernels` exists only where its CPU features do.
        unsafe { dots(codes, blocks, out) }
    }
}

fn detect() -> Kernels {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernels) = avx512::kernels().or_else(avx2::kernels) {
        return kernels;
    }
    PORTABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const WIDTHS: [Width; 4] = [Width::One, Width::Two, Width::Four, Width::Eight];

    /// Bytes from a splitmix64 stream.
    fn bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let words = std::iter::repeat_with(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)).to_le_bytes()
        });
        words.flatten().take(len).collect()
    }

    fn max(width: Width) -> u8 {
        u8::try_from((1_u32 << width.bits()) - 1).unwrap()
    }

    /// The sums by the table in the module's documentation, bit by bit.
    fn reference(width: Width, code: &[u8], query: &[i8]) -> i32 {
        let component = |i: usize| {
            let (block, j) = (i / 64 * 8 * width.bits(), i % 64);
            let (byte, shift) = match width {
                Width::One => (j / 8, j % 8),
                Width::Two => (j % 16, j / 16 * 2),
                Width::Four => (j % 32, j / 32 * 4),
                Width::Eight => (j, 0),
            };
            i32::from(code[block + byte] >> shift & max(width))
        };
        query.iter().enumerate().map(|(i, q)| component(i) * i32::from(*q)).sum()
    }

    pub(super) fn assert_exact(name: &str, kernels: &Kernels) {
        for (width, blocks) in WIDTHS.map(|w| [1, 2, 3, 6, 9, 24, 64].map(|n| (w, n))).concat() {
            let padded = blocks * 64;
            let row = width.code_bytes(padded);
            let all = bytes(7, row * 67 + 3);
            let queries: [Vec<i8>; 4] = [
                bytes(5, padded).into_iter().map(u8::cast_signed).collect(),
                vec![127; padded],
                vec![-127; padded],
                vec![-128; padded],
            ];
            for (query, codes) in
                queries.iter().zip([&all, &vec![255; all.len()], &all, &vec![255; all.len()]])
            {
                let counts = if blocks > 9 { 64..=67 } else { 0..=67 };
                for rows in counts {
                    // From an odd address, with a partial row after the last.
                    let codes = &codes[1..=rows * row + 1];
                    let mut found = vec![9; rows + 2];
                    kernels.dots(width, codes, query, &mut found);
                    let rows = codes.chunks_exact(row);
                    let mut wanted: Vec<i32> =
                        rows.map(|code| reference(width, code, query)).collect();
                    wanted.extend([0, 0]);
                    assert_eq!(found, wanted, "{name} {width:?} {padded}");
                }
            }
        }
    }

    #[test]
    fn portable_is_exact() {
        assert_exact("portable", &PORTABLE);
    }

    #[test]
    fn what_does_not_fit_is_zero() {
        let mut out = [9; 3];
        for width in WIDTHS {
            dots(width, &[255; 512], &[], &mut out);
            assert_eq!(out, [0; 3]);
            dots(width, &[], &[1; 64], &mut out);
            assert_eq!(out, [0; 3]);
            dots(width, &[255; 512], &[1; 64], &mut out[..1]);
            assert_eq!(out, [64 * i32::from(max(width)), 0, 0]);
            out = [9; 3];
        }
    }

    #[test]
    fn the_largest_sums_fit() {
        let (codes, mut out) = (vec![255; 65_536], [0]);
        for q in [127, -128] {
            dots(Width::Eight, &codes, &vec![q; 65_536], &mut out);
            assert_eq!(out, [255 * 65_536 * i32::from(q)]);
        }
    }

    #[test]
    fn widths_round_trip() {
        for width in WIDTHS {
            assert_eq!(Width::from_bits(width.bits().try_into().unwrap()), Some(width));
            assert_eq!(width.code_bytes(384) * 8, 384 * width.bits());
        }
        assert_eq!([0, 3, 5, 16].map(Width::from_bits), [None; 4]);
    }

    #[test]
    fn packed_components_come_back() {
        let mut back = vec![9; 3];
        for (width, blocks) in WIDTHS.map(|w| [0, 1, 2, 6].map(|n| (w, n))).concat() {
            let mut values = bytes(3, blocks * 64);
            let mut code = vec![77];
            pack(width, &values, &mut code);
            assert_eq!(code.len(), 1 + width.code_bytes(values.len()));
            unpack(width, &code[1..], &mut back);
            for value in &mut values {
                *value &= max(width);
            }
            assert_eq!(back, values);
            // And they lie where the documentation says.
            for i in 0..values.len() {
                let mut unit = vec![0; values.len()];
                unit[i] = 1;
                assert_eq!(reference(width, &code[1..], &unit), i32::from(values[i]));
            }
        }
    }
}
