//! Blocks as they are stored.
//!
//! Each is one sealed record whose plaintext begins with the number of the block, so that a block
//! does not open as another of the same word. Sizes are few, whatever is in a block: docs/format.md
//! has the layouts and the sizes.

mod dense;

use serde_json::Number;

use crate::codec::{Format, Reader, Writer};
use crate::crypto::kdf::Purpose;
use crate::error::Fault;
use crate::filter::{Span, Than, exactly_real};
use crate::store::key::{Kind, Pseudonym};
use crate::store::record::Shape;

/// Item numbers to a block of a posting.
pub(crate) const POSTING: u64 = 4096;
/// Item numbers to a block of the directory.
pub(crate) const DIRECTORY: u64 = 64;
/// Item numbers to a block of a column.
pub(crate) const COLUMN: u64 = 2048;

/// The version of posting blocks.
pub(crate) const POSTING_FORMAT: u8 = 1;
/// The version of directory blocks.
pub(crate) const DIRECTORY_FORMAT: u8 = 1;
/// The version of column blocks.
pub(crate) const COLUMN_FORMAT: u8 = 3;

/// Numbers that a posting block has room for, before it becomes a bitmap.
const POSTING_SIZES: [usize; 3] = [4, 16, 64];
/// Items that a column block has room for, before it has room for all.
const COLUMN_SIZES: [usize; 3] = [8, 64, 256];

pub(crate) const fn shape(kind: Kind) -> Shape {
    let (what, version) = match kind {
        Kind::Directory => ("directory block", DIRECTORY_FORMAT),
        Kind::Column => ("column block", COLUMN_FORMAT),
        _ => ("posting block", POSTING_FORMAT),
    };
    let format = Format { what, version, fault: Fault::Attribute };
    Shape { format, kind, purpose: Purpose::Attribute }
}

/// Which numbers of a posting block are in the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits([u64; 64]);

impl Default for Bits {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Bits {
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn word(offset: u64) -> (usize, u64) {
        let word = usize::try_from(offset / 64 % 64).unwrap_or_default();
        (word, 1 << (offset % 64))
    }

    pub(crate) fn contains(&self, offset: u64) -> bool {
        let (word, bit) = Self::word(offset);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// False if it was there.
    pub(crate) fn insert(&mut self, offset: u64) -> bool {
        let (word, bit) = Self::word(offset);
        let Some(word) = self.0.get_mut(word) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Adds up to 64 numbers, from `offset`, which is a multiple of 64, by their bits.
    pub(crate) fn insert_word(&mut self, offset: u64, bits: u64) {
        let (word, _) = Self::word(offset);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bits;
        }
    }

    /// False if it was not there.
    pub(crate) fn remove(&mut self, offset: u64) -> bool {
        let (word, bit) = Self::word(offset);
        let Some(word) = self.0.get_mut(word) else { return false };
        let there = *word & bit != 0;
        *word &= !bit;
        there
    }

    pub(crate) fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }

    pub(crate) fn intersect(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= other);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= !other);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0u64..).zip(&self.0).flat_map(|(place, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = u64::from(rest.trailing_zeros());
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    place * 64 + bit
                })
            })
        })
    }
}

/// One block, decoded.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "of one place there are blocks of one kind")]
pub(crate) enum Block {
    Posting(Bits),
    /// Zeros: no such item.
    Directory(Vec<Pseudonym>),
    Column(Vec<Option<Span>>),
}

impl Block {
    pub(crate) fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Directory => Self::Directory(vec![[0; 16]; count(DIRECTORY)]),
            Kind::Column => Self::Column(vec![None; count(COLUMN)]),
            _ => Self::Posting(Bits::default()),
        }
    }

    /// The plaintext; `None` for a block with nothing in it, which is not stored.
    pub(crate) fn encode(&self, block: u64) -> Option<Vec<u8>> {
        let mut out = Writer::with_capacity(4400);
        out.u64(block);
        match self {
            Self::Posting(bits) => {
                let items = usize::try_from(bits.len()).ok().filter(|items| *items > 0)?;
                out.u16(u16::try_from(items).ok()?);
                match POSTING_SIZES.into_iter().find(|size| items <= *size) {
                    Some(size) => {
                        for offset in bits.iter() {
                            out.u16(u16::try_from(offset).ok()?);
                        }
                        (items..size).for_each(|_| {
                            out.u16(0);
                        });
                    }
                    None => bits.0.iter().for_each(|word| {
                        out.u64(*word);
                    }),
                }
            }
            Self::Directory(places) => {
                places.iter().any(|place| *place != [0; 16]).then_some(())?;
                for place in places {
                    out.bytes(place);
                }
            }
            Self::Column(spans) => {
                let items = spans.iter().flatten().count();
                (items > 0).then_some(())?;
                out.u16(u16::try_from(items).ok()?);
                let size = COLUMN_SIZES.into_iter().find(|size| items <= *size);
                if let Some(size) = size {
                    for (offset, span) in (0u16..).zip(spans) {
                        if let Some(Span { least, greatest }) = span {
                            out.u16(offset);
                            out.bytes(&least.to_be_bytes()).bytes(&greatest.to_be_bytes());
                        }
                    }
                    (items..size).for_each(|_| {
                        out.bytes(&[0; 18]);
                    });
                } else {
                    dense::encode(spans, &mut out);
                }
            }
        }
        Some(out.finish())
    }

    /// From the plaintext of this very block.
    pub(crate) fn decode(kind: Kind, block: u64, plain: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(plain);
        (reader.u64()? == block).then_some(())?;
        let decoded = match kind {
            Kind::Directory => {
                let places = (0..count(DIRECTORY)).map(|_| reader.array());
                let places = places.collect::<Option<Vec<_>>>()?;
                places.iter().any(|place| *place != [0; 16]).then_some(())?;
                Self::Directory(places)
            }
            Kind::Column => Self::Column(column(&mut reader)?),
            _ => Self::Posting(posting(&mut reader)?),
        };
        reader.finish()?;
        Some(decoded)
    }
}

fn posting(reader: &mut Reader<'_>) -> Option<Bits> {
    let items = usize::from(reader.u16()?);
    let mut bits = Bits::default();
    match POSTING_SIZES.into_iter().find(|size| items <= *size) {
        Some(size) => {
            let mut last = None;
            for place in 0..size {
                let offset = reader.u16()?;
                if place < items {
                    let ascends = u64::from(offset) < POSTING && last < Some(offset);
                    ascends.then(|| bits.insert(offset.into()))?;
                    last = Some(offset);
                } else if offset != 0 {
                    return None;
                }
            }
        }
        None => {
            for word in &mut bits.0 {
                *word = reader.u64()?;
            }
        }
    }
    (items > 0 && bits.len() == items as u64).then_some(bits)
}

fn column(reader: &mut Reader<'_>) -> Option<Vec<Option<Span>>> {
    let items = usize::from(reader.u16()?);
    let mut spans = vec![None; count(COLUMN)];
    let Some(size) = COLUMN_SIZES.into_iter().find(|size| items <= *size) else {
        dense::decode(reader, items, &mut spans)?;
        return Some(spans);
    };
    let mut last = None;
    for place in 0..size {
        let offset = reader.u16()?;
        let (least, greatest) = (reader.array()?, reader.array()?);
        if place < items {
            let span =
                Span { least: f64::from_be_bytes(least), greatest: f64::from_be_bytes(greatest) };
            let ascends = last < Some(offset) && span.is_sound();
            *spans.get_mut(usize::from(offset)).filter(|_| ascends)? = Some(span);
            last = Some(offset);
        } else if offset != 0 || least != [0; 8] || greatest != [0; 8] {
            return None;
        }
    }
    (items > 0).then_some(spans)
}

/// Calls `visit` with every 64 items of a column block of which some pass a comparison, and their
/// bits. What [`Block::decode`] and [`Span::passes`] say, faster; false if it is no such block.
pub(crate) fn passing(
    block: u64,
    plain: &[u8],
    than: Than,
    bound: &Number,
    visit: &mut dyn FnMut(u64, u64),
) -> bool {
    let mut reader = Reader::new(plain);
    let [.., sparse] = COLUMN_SIZES;
    let mut header = || {
        let (found, items) = (reader.u64()?, usize::from(reader.u16()?));
        (found == block && items > sparse).then_some(())?;
        dense::Singles::read(reader.rest())
    };
    if let (Some(singles), Some(bound)) = (header(), exactly_real(bound)) {
        singles.passing(than, bound, visit);
        return true;
    }
    let Some(Block::Column(spans)) = Block::decode(Kind::Column, block, plain) else {
        return false;
    };
    for (place, spans) in (0u64..).zip(spans.chunks(64)) {
        let passes = |span: &Option<Span>| span.is_some_and(|span| span.passes(than, bound));
        let bits = (0..).zip(spans).map(|(bit, span)| u64::from(passes(span)) << bit);
        let bits = bits.fold(0, |bits, bit: u64| bits | bit);
        if bits != 0 {
            visit(place, bits);
        }
    }
    true
}

#[expect(clippy::cast_possible_truncation, reason = "small constants")]
const fn count(items: u64) -> usize {
    items as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting_of(items: u64) -> Block {
        let mut bits = Bits::default();
        assert!((0..items).all(|item| bits.insert(item * 3 % 4096)));
        Block::Posting(bits)
    }

    fn column_of(items: usize) -> Block {
        let mut spans = vec![None; count(COLUMN)];
        for (span, item) in spans.iter_mut().zip(0..items) {
            *span = Some(Span { least: -1.5, greatest: f64::from(u32::try_from(item).unwrap()) });
        }
        Block::Column(spans)
    }

    /// Items with one number each: multiples of a step.
    fn singles(items: usize, step: f64) -> Block {
        let mut spans = vec![None; count(COLUMN)];
        for (span, item) in spans.iter_mut().zip(0..items) {
            let number = f64::from(u32::try_from(item * 37 % count(COLUMN)).unwrap()) * step - 3.0;
            *span = Some(Span { least: number, greatest: number });
        }
        spans.rotate_right(items % 5);
        Block::Column(spans)
    }

    /// Fractions, and whole numbers in two, four and eight bytes.
    const STEPS: [f64; 5] = [0.25, 1.0, 65.0, 2_000_000.0, 1e12];

    #[test]
    fn a_column_is_compared_as_its_spans_are() {
        let bounds = [
            "0",
            "-3",
            "21.25",
            "1e300",
            "-1e300",
            "9007199254740993",
            "-0.0",
            "1e-20",
            "-3.5",
            "61",
            "66",
            "65469",
            "65469.5",
            "18446744073709551615",
            "4093999997",
            "4093999998",
            "-2.0",
        ];
        let mut blocks = vec![column_of(3), column_of(60), column_of(300)];
        for step in STEPS {
            blocks.extend([64, 257, count(COLUMN)].map(|items| singles(items, step)));
        }
        for block in blocks {
            let plain = block.encode(5).unwrap();
            let Block::Column(spans) = &block else { panic!() };
            for bound in bounds {
                let bound: Number = serde_json::from_str(bound).unwrap();
                for than in [Than::Gt, Than::Gte, Than::Lt, Than::Lte] {
                    let mut found = Vec::new();
                    let mut take = |place: u64, bits: u64| {
                        let bits = (0..64).filter(|bit| bits >> bit & 1 == 1);
                        found.extend(bits.map(|bit| place * 64 + bit));
                    };
                    assert!(passing(5, &plain, than, &bound, &mut take));
                    let spans = (0u64..)
                        .zip(spans)
                        .filter(|(_, span)| span.is_some_and(|span| span.passes(than, &bound)));
                    assert!(spans.map(|(offset, _)| offset).eq(found), "{bound}");
                    assert!(!passing(6, &plain, than, &bound, &mut |_, _| ()));
                }
            }
        }
    }

    #[test]
    fn whole_numbers_close_together_are_narrow() {
        let length = |numbers: [f64; 2]| {
            let mut spans =
                vec![Some(Span { least: numbers[0], greatest: numbers[0] }); count(COLUMN)];
            spans[7] = Some(Span { least: numbers[1], greatest: numbers[1] });
            let block = Block::Column(spans);
            let plain = block.encode(1).unwrap();
            assert_eq!(Block::decode(Kind::Column, 1, &plain), Some(block));
            (plain.len() - 276) / count(COLUMN)
        };
        let most = 9_007_199_254_740_992.0;
        for (numbers, bytes) in [
            ([5.0, 65540.0], 2),
            ([5.0, 65541.0], 4),
            ([-1.0, 4_294_967_294.0], 4),
            ([-1.0, 4_294_967_295.0], 8),
            ([most, most - 3.0], 2),
            ([-most, -most + 3.0], 2),
            ([most * 2.0, most * 2.0], 8),
            ([1.0, 1.5], 8),
            ([1.0, -0.0], 8),
            ([1.0, 0.0], 2),
        ] {
            assert_eq!(length(numbers), bytes, "{numbers:?}");
        }
    }

    #[test]
    fn blocks_decode_only_from_their_own_bytes() {
        let mut directory = vec![[0; 16]; 64];
        directory[63] = [9; 16];
        let all = [
            (Kind::Posting, posting_of(1)),
            (Kind::Posting, posting_of(64)),
            (Kind::Posting, posting_of(65)),
            (Kind::Posting, posting_of(1365)),
            (Kind::Directory, Block::Directory(directory)),
            (Kind::Column, column_of(1)),
            (Kind::Column, column_of(256)),
            (Kind::Column, column_of(257)),
            (Kind::Column, column_of(count(COLUMN))),
            (Kind::Column, singles(600, 0.25)),
            (Kind::Column, singles(600, 1.0)),
            (Kind::Column, singles(600, 4e5)),
        ];
        for (kind, block) in all {
            let plain = block.encode(7).unwrap();
            assert_eq!(Block::decode(kind, 7, &plain), Some(block));
            assert_eq!(Block::decode(kind, 8, &plain), None, "another block");
            for length in 0..plain.len() {
                assert_eq!(Block::decode(kind, 7, &plain[..length]), None);
            }
            assert_eq!(Block::decode(kind, 7, &[&plain[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn blocks_that_nobody_writes_are_refused() {
        for kind in [Kind::Posting, Kind::Directory, Kind::Column] {
            assert_eq!(Block::empty(kind).encode(0), None, "nothing is not stored");
        }
        assert_eq!(Block::decode(Kind::Directory, 0, &[0; 8 + 64 * 16]), None, "no item");
        let block = |rest: &[u8]| [&[0; 8], rest].concat();
        let posting = |items: [u16; 5]| {
            let bytes: Vec<u8> = items.iter().flat_map(|item| item.to_be_bytes()).collect();
            Block::decode(Kind::Posting, 0, &block(&bytes))
        };
        assert!(posting([2, 5, 6, 0, 0]).is_some());
        for bad in
            [[0, 0, 0, 0, 0], [2, 6, 5, 0, 0], [2, 5, 5, 0, 0], [1, 4096, 0, 0, 0], [1, 5, 6, 0, 0]]
        {
            assert_eq!(posting(bad), None, "{bad:?}");
        }
        let mut bitmap = vec![0; 514];
        bitmap[1] = 65;
        bitmap[2..11].fill(0xff);
        assert_eq!(Block::decode(Kind::Posting, 0, &block(&bitmap)), None, "72 bits, not 65");
        // One number that is none does not make up for one item too many.
        let mut full = singles(300, 0.25).encode(0).unwrap();
        assert!(Block::decode(Kind::Column, 0, &full).is_some());
        full[10 + 100] |= 1;
        full[276 + 800 * 8..][..8].fill(0xff);
        assert_eq!(Block::decode(Kind::Column, 0, &full), None);
        let narrow = singles(300, 1.0).encode(0).unwrap();
        for (place, what) in [(266, "two"), (267, "width"), (276 + 800 * 2, "absent")] {
            let mut bad = narrow.clone();
            bad[place] ^= 1;
            assert_eq!(Block::decode(Kind::Column, 0, &bad), None, "{what}");
        }
        let nan = column_of(1).encode(0).map(|mut plain| {
            plain[12..20].copy_from_slice(&f64::NAN.to_be_bytes());
            plain
        });
        assert_eq!(Block::decode(Kind::Column, 0, &nan.unwrap()), None);
    }

    #[test]
    fn sizes_are_few() {
        let sizes = |blocks: Vec<Block>| {
            let mut sizes: Vec<usize> =
                blocks.iter().map(|block| block.encode(0).unwrap().len()).collect();
            sizes.dedup();
            sizes
        };
        assert_eq!(sizes((1..1365).map(posting_of).collect()), [18, 42, 138, 522]);
        assert_eq!(sizes((1..=count(COLUMN)).map(column_of).collect()), [154, 1162, 4618, 33044]);
        for (step, full) in STEPS.into_iter().zip([16660, 4372, 8468, 8468, 16660]) {
            let blocks = (1..=count(COLUMN)).map(|items| singles(items, step)).collect();
            assert_eq!(sizes(blocks), [154, 1162, 4618, full], "{step}");
        }
    }
}
