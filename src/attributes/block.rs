//! Blocks as they are stored.
//!
//! Each is one sealed record whose plaintext begins with the number of the block, so that a block
//! does not open as another of the same word. Sizes are few, whatever is in a block: docs/format.md
//! has the layouts and the sizes.

mod column;
mod planes;

use column::Stored;
use serde_json::Number;

use crate::codec::{Format, Reader, Writer};
use crate::crypto::kdf::Purpose;
use crate::error::Fault;
use crate::filter::Than;
use crate::store::key::{Kind, Pseudonym};
use crate::store::record::Shape;

pub(crate) use column::Column;

/// Item numbers to a block of a posting.
pub(crate) const POSTING: u64 = 4096;
/// Item numbers to a block of the directory.
pub(crate) const DIRECTORY: u64 = 64;
/// Item numbers to a block of a column.
pub(crate) const COLUMN: u64 = 4096;

/// The version of posting blocks.
pub(crate) const POSTING_FORMAT: u8 = 1;
/// The version of directory blocks.
pub(crate) const DIRECTORY_FORMAT: u8 = 1;
/// The version of column blocks.
pub(crate) const COLUMN_FORMAT: u8 = 4;

/// Numbers that a posting block has room for, before it becomes a bitmap.
const POSTING_SIZES: [usize; 3] = [4, 16, 64];

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

    pub(crate) const fn words(&self) -> &[u64; 64] {
        &self.0
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
    Column(Column),
}

impl Block {
    pub(crate) fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Directory => Self::Directory(vec![[0; 16]; count(DIRECTORY)]),
            Kind::Column => Self::Column(Column::default()),
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
            Self::Column(column) => column.encode(&mut out)?,
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
            Kind::Column => Self::Column(Column::decode(&mut reader)?),
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

/// Calls `visit` with every 64 items of a column block of which some pass a comparison, and their
/// bits. What decoding it and asking each of its spans would say, faster: that many numbers are in their
/// narrowest form is not checked. False if it is no such block.
pub(crate) fn passing(
    block: u64,
    plain: &[u8],
    than: Than,
    bound: &Number,
    visit: &mut dyn FnMut(u64, u64),
) -> bool {
    let mut reader = Reader::new(plain);
    let found = (reader.u64() == Some(block)).then(|| Stored::read(&mut reader)).flatten();
    match (found, reader.finish()) {
        (Some(column), Some(())) => column.passing(than, bound, visit),
        _ => return false,
    }
    true
}

#[expect(clippy::cast_possible_truncation, reason = "small constants")]
const fn count(items: u64) -> usize {
    items as usize
}

#[cfg(test)]
mod tests;
