//! Column blocks with room for all of their items.
//!
//! `present, 256 bytes of bits | two u8 | width u8 | base f64 | least * 2048 | (greatest * 2048)`
//!
//! Whole numbers that are close together are stored as distances from the least of them, in 2 or 4
//! bytes each: less is opened by a query. Others are floats of 8 bytes, and `base` is zero. The
//! greatest numbers are there only if an item has two (`two` = 1). Absent items are zeros. Of all
//! layouts that could hold the numbers the narrowest is written, so a block has one encoding.

use super::{COLUMN, count};
use crate::codec::{Reader, Writer};
use crate::filter::{Span, Than};

/// Bytes of the bits that say which items are there.
const PRESENT: usize = count(COLUMN) / 8;
/// Whole numbers up to here are exact as floats, and so are their differences.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Two,
    Four,
    Float,
}

impl Width {
    const fn bytes(self) -> u8 {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Float => 8,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Two, Self::Four, Self::Float].into_iter().find(|width| width.bytes() == byte)
    }

    /// The narrowest that holds the spans, and their base.
    fn of(spans: &[Option<Span>]) -> (Self, f64) {
        let numbers = || spans.iter().flatten().flat_map(|span| [span.least, span.greatest]);
        let whole = |number: f64| {
            number.abs() <= EXACT
                && number.fract() == 0.0
                && (number != 0.0 || number.is_sign_positive())
        };
        if !numbers().all(whole) {
            return (Self::Float, 0.0);
        }
        let (least, greatest) =
            numbers().fold((f64::MAX, f64::MIN), |(a, b), number| (a.min(number), b.max(number)));
        if greatest - least <= f64::from(u16::MAX) {
            (Self::Two, least)
        } else if greatest - least <= f64::from(u32::MAX) {
            (Self::Four, least)
        } else {
            (Self::Float, 0.0)
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the width was chosen for all the numbers"
    )]
    fn write(self, base: f64, number: Option<f64>, out: &mut Writer) {
        let number = number.unwrap_or(base);
        match self {
            Self::Two => out.u16((number - base) as u16),
            Self::Four => out.u32((number - base) as u32),
            Self::Float => out.bytes(&number.to_be_bytes()),
        };
    }

    fn read(self, base: f64, reader: &mut Reader<'_>) -> Option<f64> {
        Some(match self {
            Self::Two => base + f64::from(reader.u16()?),
            Self::Four => base + f64::from(reader.u32()?),
            Self::Float => f64::from_be_bytes(reader.array()?),
        })
    }
}

pub(super) fn encode(spans: &[Option<Span>], out: &mut Writer) {
    for eight in spans.chunks(8) {
        let bits = (0..).zip(eight).map(|(bit, span)| u8::from(span.is_some()) << bit);
        out.u8(bits.fold(0, |byte, bit: u8| byte | bit));
    }
    let two = spans.iter().flatten().any(|span| span.least.to_bits() != span.greatest.to_bits());
    let (width, base) = Width::of(spans);
    out.u8(u8::from(two)).u8(width.bytes()).bytes(&base.to_be_bytes());
    for span in spans {
        width.write(base, span.map(|span| span.least), out);
    }
    for span in spans.iter().take(if two { spans.len() } else { 0 }) {
        width.write(base, span.map(|span| span.greatest), out);
    }
}

/// Reads `items` items into their places. `None`: nobody writes such a block.
pub(super) fn decode(
    reader: &mut Reader<'_>,
    items: usize,
    spans: &mut [Option<Span>],
) -> Option<()> {
    let plain = reader.rest();
    let mut read = Reader::new(plain);
    let present = read.array::<PRESENT>()?;
    let two = read.u8()?;
    let width = Width::from_byte(read.u8()?)?;
    let base = f64::from_be_bytes(read.array()?);
    let mut column =
        || spans.iter().map(|_| width.read(base, &mut read)).collect::<Option<Vec<_>>>();
    let least = column()?;
    let greatest = if two == 1 { column()? } else { least.clone() };
    read.finish()?;
    let numbers = least.into_iter().zip(greatest);
    for ((place, span), (least, greatest)) in spans.iter_mut().enumerate().zip(numbers) {
        if present.get(place / 8)? >> (place % 8) & 1 == 1 {
            *span = Some(Span { least, greatest }).filter(Span::is_sound);
        }
    }
    // Also refuses numbers of absent items, and spans that are none.
    let mut again = Writer::with_capacity(plain.len());
    encode(spans, &mut again);
    (spans.iter().flatten().count() == items && again.finish() == plain).then_some(())
}

/// A block whose items have one number each, as it is stored.
pub(super) struct Singles<'a> {
    present: &'a [u8; PRESENT],
    width: Width,
    base: f64,
    numbers: &'a [u8],
}

impl<'a> Singles<'a> {
    /// `None` if it is another block.
    pub(super) fn read(plain: &'a [u8]) -> Option<Self> {
        let (present, rest) = plain.split_first_chunk()?;
        let ([two, width], rest) = rest.split_first_chunk()?;
        let (base, numbers) = rest.split_first_chunk()?;
        let width = Width::from_byte(*width)?;
        let length = count(COLUMN) * usize::from(width.bytes());
        let base = f64::from_be_bytes(*base);
        let sound = *two == 0 && numbers.len() == length && base.abs() <= EXACT;
        sound.then_some(Self { present, width, base, numbers })
    }

    pub(super) fn passing(&self, than: Than, bound: f64, visit: &mut dyn FnMut(u64, u64)) {
        let Self { numbers, .. } = *self;
        match self.width {
            Width::Float => self.each(numbers.as_chunks().0, visit, |number| {
                let number = f64::from_be_bytes(*number);
                match than {
                    Than::Gt => number > bound,
                    Than::Gte => number >= bound,
                    Than::Lt => number < bound,
                    Than::Lte => number <= bound,
                }
            }),
            Width::Two => {
                let (least, end) = self.window(than, bound);
                self.each(numbers.as_chunks().0, visit, |number| {
                    let number = u64::from(u16::from_be_bytes(*number));
                    number >= least && number < end
                });
            }
            Width::Four => {
                let (least, end) = self.window(than, bound);
                self.each(numbers.as_chunks().0, visit, |number| {
                    let number = u64::from(u32::from_be_bytes(*number));
                    number >= least && number < end
                });
            }
        }
    }

    /// The distances from the base that pass: from the first on, and before the second.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast to a whole number that does not hold it gives the nearest that there is"
    )]
    fn window(&self, than: Than, bound: f64) -> (u64, u64) {
        const END: u64 = 1 << 32;
        let (below, above) = (bound.floor() as i64, bound.ceil() as i64);
        let distance = |number: i64| {
            let distance = i128::from(number) - i128::from(self.base as i64);
            u64::try_from(distance.clamp(0, END.into())).unwrap_or_default()
        };
        match than {
            Than::Gt => (distance(below.saturating_add(1)), END),
            Than::Gte => (distance(above), END),
            Than::Lt => (0, distance(above)),
            Than::Lte => (0, distance(below.saturating_add(1))),
        }
    }

    /// Tests every number, 64 at a time.
    fn each<const N: usize>(
        &self,
        numbers: &[[u8; N]],
        visit: &mut dyn FnMut(u64, u64),
        passes: impl Fn(&[u8; N]) -> bool,
    ) {
        let words = numbers.as_chunks::<64>().0.iter().zip(self.present.as_chunks().0);
        for (place, (numbers, present)) in (0u64..).zip(words) {
            let mut ones = [0u8; 64];
            for (one, number) in ones.iter_mut().zip(numbers) {
                *one = u8::from(passes(number));
            }
            let mut bits = [0u8; 8];
            for (bits, ones) in bits.iter_mut().zip(ones.as_chunks().0) {
                // The factor moves byte i of eight, 0 or 1, to bit i of the highest byte.
                let moved = u64::from_le_bytes(*ones).wrapping_mul(0x0102_0408_1020_4080);
                *bits = moved.to_be_bytes()[0];
            }
            let bits = u64::from_le_bytes(bits) & u64::from_le_bytes(*present);
            if bits != 0 {
                visit(place, bits);
            }
        }
    }
}
