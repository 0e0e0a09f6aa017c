//! The numbers of many items, bit by bit.
//!
//! `present | two u8 | width u8 | base f64 | least: width planes | (greatest: width planes)`
//!
//! A plane is a bit for each item of the block, the lowest first. Plane `i` of `width` holds bit `i`
//! of every number, so that
//!
//! - whole numbers that are close together take no more bits than they differ in: they are stored as
//!   distances from the least of them, which is `base`;
//! - comparing all of them with a bound is a few operations on words for each plane;
//! - and one item's number is changed where it is.
//!
//! Other numbers are 64 bits each, floats in an order that integers have: `base` is zero. The
//! greatest numbers are there only if an item has two (`two` = 1). Absent items are zeros.
//! [`Planes::is_tight`] says whether that is the narrowest way; no other is stored, so a block has
//! one encoding.

use std::borrow::Cow;

use super::{COLUMN, count};
use crate::codec::{Reader, Writer};
use crate::filter::{Span, Than};

/// Bytes of a plane.
pub(super) const PLANE: usize = count(COLUMN) / 8;
/// A plane as words.
const WORDS: usize = PLANE / 8;
/// Whole numbers up to here are exact as floats, and so are their differences.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Bits that whole numbers close together take.
const WIDTHS: [u8; 5] = [8, 12, 16, 24, 32];
const FLOAT: u8 = 64;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Whole { base: f64, width: u8 },
    Float,
}

/// The place of a float among all, as an integer.
const fn ordered(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

const fn from_ordered(code: u64) -> f64 {
    f64::from_bits(if code >> 63 == 1 { code & !(1 << 63) } else { !code })
}

/// Whether its distance to another one is exact; negative zero has none.
fn is_whole(number: f64) -> bool {
    number.abs() <= EXACT && number.fract() == 0.0 && (number != 0.0 || number.is_sign_positive())
}

impl Form {
    /// The narrowest of numbers that lie between these.
    fn between(whole: bool, least: f64, greatest: f64) -> Self {
        let fits = |width: &u8| greatest - least < 2.0_f64.powi(i32::from(*width));
        match WIDTHS.into_iter().find(fits) {
            Some(width) if whole => Self::Whole { base: least, width },
            _ => Self::Float,
        }
    }

    fn read(width: u8, base: f64) -> Option<Self> {
        if WIDTHS.contains(&width) && is_whole(base) {
            Some(Self::Whole { base, width })
        } else {
            (width == FLOAT && base.to_bits() == 0).then_some(Self::Float)
        }
    }

    const fn width(self) -> u8 {
        match self {
            Self::Whole { width, .. } => width,
            Self::Float => FLOAT,
        }
    }

    /// `None`: a number that is not written in this way.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number of 32 bits"
    )]
    fn code(self, number: f64) -> Option<u64> {
        match self {
            Self::Whole { base, width } => {
                let fits = number >= base && number - base < 2.0_f64.powi(width.into());
                (fits && is_whole(number)).then_some((number - base) as u64)
            }
            Self::Float => Some(ordered(number)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a whole number of 32 bits")]
    fn number(self, code: u64) -> f64 {
        match self {
            Self::Whole { base, .. } => base + code as f64,
            Self::Float => from_ordered(code),
        }
    }

    /// Numbers that are less than `bound`, or not greater, have codes below this.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast to a whole number that does not hold it gives the nearest that there is"
    )]
    fn end(self, bound: f64, inclusive: bool) -> u64 {
        match self {
            Self::Whole { base, .. } => {
                let first = if inclusive {
                    (bound.floor() as i64).saturating_add(1)
                } else {
                    bound.ceil() as i64
                };
                let distance = i128::from(first) - i128::from(base as i64);
                u64::try_from(distance.clamp(0, 1 << 32)).unwrap_or_default()
            }
            // The two zeros are equal.
            Self::Float if inclusive => {
                ordered(if bound == 0.0 { 0.0 } else { bound }).saturating_add(1)
            }
            Self::Float => ordered(if bound == 0.0 { -0.0 } else { bound }),
        }
    }
}

/// A block of many items: borrowed as it is stored, or owned, to be changed.
#[derive(Debug, Clone)]
pub(super) struct Planes<'a> {
    form: Form,
    present: Cow<'a, [u8]>,
    least: Cow<'a, [u8]>,
    greatest: Option<Cow<'a, [u8]>>,
}

impl<'a> Planes<'a> {
    /// Reads what is left. `None`: it is of another length, or in no form there is. What else is
    /// wrong with a block, [`is_sound`](Self::is_sound) says.
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let present = reader.bytes(PLANE)?.into();
        let (two, width) = (reader.u8().filter(|two| *two < 2)?, reader.u8()?);
        let form = Form::read(width, f64::from_be_bytes(reader.array()?))?;
        let least = reader.bytes(usize::from(width) * PLANE)?.into();
        let greatest =
            if two == 0 { None } else { Some(reader.bytes(usize::from(width) * PLANE)?) };
        Some(Self { form, present, least, greatest: greatest.map(Into::into) })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        let base = match self.form {
            Form::Whole { base, .. } => base,
            Form::Float => 0.0,
        };
        out.bytes(&self.present).u8(self.greatest.is_some().into()).u8(self.form.width());
        out.bytes(&base.to_be_bytes()).bytes(&self.least);
        out.bytes(self.greatest.as_deref().unwrap_or_default());
    }

    pub(super) fn into_owned(self) -> Planes<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Planes {
            form: self.form,
            present: owned(self.present),
            least: owned(self.least),
            greatest: self.greatest.map(owned),
        }
    }

    /// Whether these are numbers of the items that are there, and of no others.
    pub(super) fn is_sound(&self) -> bool {
        let present = self.present();
        let (mut others, mut below, mut equal) = (0, [0; WORDS], [u64::MAX; WORDS]);
        let highest_first = planes(self.least()).rev().zip(planes(self.greatest()).rev());
        for (least, greatest) in highest_first {
            let words = below.iter_mut().zip(&mut equal).zip(least.into_iter().zip(greatest));
            for (((below, equal), (least, greatest)), present) in words.zip(&present) {
                others |= (least | greatest) & !present;
                *below |= *equal & !greatest & least;
                *equal &= !(greatest ^ least);
            }
        }
        let [least, greatest] = self.extremes();
        let range = match self.form {
            Form::Whole { .. } => -EXACT..=EXACT,
            Form::Float => f64::MIN..=f64::MAX,
        };
        let known = range.contains(&least) && range.contains(&greatest);
        others == 0 && known && below == [0; WORDS]
    }

    /// Whether there is no narrower way to write them.
    pub(super) fn is_tight(&self) -> bool {
        let [least, greatest] = self.extremes();
        // Most often the first of them is one that is not whole.
        let whole = |span: Span| is_whole(span.least) && is_whole(span.greatest);
        let narrow = Form::between(true, least, greatest) != Form::Float;
        let whole = self.form != Form::Float || narrow && self.iter().all(|(_, span)| whole(span));
        let two = self.greatest.as_ref().is_none_or(|greatest| *greatest != self.least);
        two && Form::between(whole, least, greatest) == self.form
    }

    pub(super) fn len(&self) -> usize {
        self.present().iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn get(&self, offset: u16) -> Option<Span> {
        let (at, bit) = (usize::from(offset) / 8, offset % 8);
        (self.present.get(at)? >> bit & 1 == 1).then(|| {
            let number = |planes: &[u8]| {
                let bits = planes.iter().skip(at).step_by(PLANE).map(|byte| byte >> bit & 1);
                self.form.number((0..).zip(bits).fold(0, |all, (i, bit)| all | u64::from(bit) << i))
            };
            Span { least: number(self.least()), greatest: number(self.greatest()) }
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, Span)> + '_ {
        (0..)
            .map_while(|offset| (u64::from(offset) < COLUMN).then_some(offset))
            .filter_map(|offset| Some((offset, self.get(offset)?)))
    }

    /// The least and the greatest number, of items there are.
    fn extremes(&self) -> [f64; 2] {
        let extreme = |of: &[u8], greatest: bool| {
            let mut left = self.present();
            let mut code = 0;
            let width = u32::from(self.form.width());
            for (plane, bit) in planes(of).rev().zip((0..width).rev()) {
                let flip = if greatest { 0 } else { u64::MAX };
                let mut better = left;
                better.iter_mut().zip(&plane).for_each(|(left, plane)| *left &= plane ^ flip);
                let any = better != [0; WORDS];
                if any {
                    left = better;
                }
                code |= u64::from(any == greatest) << bit;
            }
            self.form.number(code)
        };
        [extreme(self.least(), false), extreme(self.greatest(), true)]
    }

    /// Calls `visit` with every 64 items of which some pass a comparison, and their bits.
    pub(super) fn passing(&self, than: Than, bound: f64, visit: &mut dyn FnMut(u64, u64)) {
        let (of, inclusive, above) = match than {
            Than::Lt => (self.least(), false, false),
            Than::Lte => (self.least(), true, false),
            Than::Gte => (self.greatest(), false, true),
            Than::Gt => (self.greatest(), true, true),
        };
        let below = self.below(of, self.form.end(bound, inclusive));
        for (place, (below, present)) in (0u64..).zip(below.into_iter().zip(self.present())) {
            let bits = present & if above { !below } else { below };
            if bits != 0 {
                visit(place, bits);
            }
        }
    }

    /// Whose codes are less than `end`.
    fn below(&self, of: &[u8], end: u64) -> [u64; WORDS] {
        let width = u32::from(self.form.width());
        if end.checked_shr(width).is_some_and(|over| over != 0) {
            return [u64::MAX; WORDS];
        }
        let (mut below, mut equal) = ([0; WORDS], [u64::MAX; WORDS]);
        for (plane, bit) in planes(of).rev().zip((0..width).rev()) {
            let words = below.iter_mut().zip(&mut equal).zip(plane);
            if end >> bit & 1 == 1 {
                words.for_each(|((below, equal), plane)| {
                    *below |= *equal & !plane;
                    *equal &= plane;
                });
            } else {
                words.for_each(|((_, equal), plane)| *equal &= !plane);
            }
        }
        below
    }

    fn least(&self) -> &[u8] {
        &self.least
    }

    fn greatest(&self) -> &[u8] {
        self.greatest.as_deref().unwrap_or(&self.least)
    }

    fn present(&self) -> [u64; WORDS] {
        words(&self.present)
    }
}

impl Planes<'static> {
    /// The numbers of items, in the narrowest way.
    pub(super) fn pack(spans: &[(u16, Span)]) -> Self {
        let (mut whole, mut least, mut greatest) = (true, f64::INFINITY, f64::NEG_INFINITY);
        for (_, span) in spans {
            whole &= is_whole(span.least) && is_whole(span.greatest);
            (least, greatest) = (least.min(span.least), greatest.max(span.greatest));
        }
        let form = Form::between(whole, least, greatest);
        let planes = vec![0; usize::from(form.width()) * PLANE];
        let present = vec![0; PLANE].into();
        let mut packed = Self { form, present, least: planes.into(), greatest: None };
        for (offset, span) in spans {
            packed.set(*offset, Some(*span));
        }
        packed
    }

    /// Changes what an item has. False if it is not to be written in this form.
    pub(super) fn set(&mut self, offset: u16, span: Option<Span>) -> bool {
        let codes = span.map(|span| [span.least, span.greatest].map(|of| self.form.code(of)));
        let (there, mut codes) = match codes {
            None => (false, [0, 0]),
            Some([Some(least), Some(greatest)]) => (true, [least, greatest]),
            Some(_) => return false,
        };
        // Of the two zeros, the negative one first.
        codes.sort_unstable();
        let [least, greatest] = codes;
        if least != greatest && self.greatest.is_none() {
            self.greatest = Some(self.least.clone());
        }
        let (at, bit) = (usize::from(offset) / 8, offset % 8);
        let put = |byte: &mut u8, one: bool| *byte = *byte & !(1 << bit) | u8::from(one) << bit;
        let write = |planes: &mut Cow<'static, [u8]>, code: u64| {
            let bytes = planes.to_mut().iter_mut().skip(at).step_by(PLANE);
            (0u32..).zip(bytes).for_each(|(i, byte)| put(byte, code >> i & 1 == 1));
        };
        write(&mut self.least, least);
        if let Some(planes) = &mut self.greatest {
            write(planes, greatest);
        }
        let Some(byte) = self.present.to_mut().get_mut(at) else { return false };
        put(byte, there);
        true
    }
}

fn planes(bytes: &[u8]) -> impl DoubleEndedIterator<Item = [u64; WORDS]> {
    bytes.chunks_exact(PLANE).map(words)
}

fn words(plane: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(plane.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}
