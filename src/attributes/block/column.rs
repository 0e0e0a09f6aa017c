//! The numbers that the items of a block have in a field.
//!
//! As they are stored, few of them are a list, and many are [`Planes`]; in memory either may be
//! both, and [`Column::encode`] chooses.

use serde_json::Number;

use super::planes::Planes;
use super::{COLUMN, count};
use crate::codec::{Reader, Writer};
use crate::filter::{Span, Than, beside};

/// Items that a list has room for.
const SIZES: [usize; 3] = [8, 64, 256];

/// The numbers, by the distance of their items to the first of the block.
#[derive(Debug, Clone)]
pub(crate) struct Column(Held);

#[derive(Debug, Clone)]
enum Held {
    /// Ascending.
    List(Vec<(u16, Span)>),
    Planes(Planes<'static>),
}

impl Default for Column {
    fn default() -> Self {
        Self(Held::List(Vec::new()))
    }
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.spans() == other.spans()
    }
}

impl Column {
    /// In ascending order.
    pub(crate) fn spans(&self) -> Vec<(u16, Span)> {
        match &self.0 {
            Held::List(list) => list.clone(),
            Held::Planes(planes) => planes.iter().collect(),
        }
    }

    /// Changes what an item has; `None` is nothing. False if the block has no such place.
    pub(crate) fn set(&mut self, offset: u64, span: Option<Span>) -> bool {
        let Some(offset) = u16::try_from(offset).ok().filter(|at| u64::from(*at) < COLUMN) else {
            return false;
        };
        if let Held::Planes(planes) = &mut self.0 {
            if planes.set(offset, span) {
                return true;
            }
            // Written in another way in the end.
            self.0 = Held::List(planes.iter().collect());
        }
        let Held::List(list) = &mut self.0 else { return false };
        match (list.binary_search_by_key(&offset, |(at, _)| *at), span) {
            (Ok(place), Some(span)) => list.get_mut(place).into_iter().for_each(|old| old.1 = span),
            (Ok(place), None) => drop(list.remove(place)),
            (Err(place), Some(span)) => list.insert(place, (offset, span)),
            (Err(_), None) => {}
        }
        true
    }

    /// `None` for nothing.
    pub(super) fn encode(&self, out: &mut Writer) -> Option<()> {
        let spans;
        let list = match &self.0 {
            Held::List(list) => list,
            Held::Planes(planes) => {
                let items = planes.len();
                if !SIZES.iter().any(|size| items <= *size) && planes.is_tight() {
                    out.u16(u16::try_from(items).ok()?);
                    planes.write(out);
                    return Some(());
                }
                spans = planes.iter().collect();
                &spans
            }
        };
        let items = list.len();
        out.u16(u16::try_from(items).ok().filter(|items| *items > 0)?);
        match SIZES.into_iter().find(|size| items <= *size) {
            Some(size) => {
                for (offset, Span { least, greatest }) in list {
                    out.u16(*offset).bytes(&least.to_be_bytes()).bytes(&greatest.to_be_bytes());
                }
                (items..size).for_each(|_| {
                    out.bytes(&[0; 18]);
                });
            }
            None => Planes::pack(list).write(out),
        }
        Some(())
    }

    /// `None`: nobody writes such a column.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self(match Stored::read(reader)? {
            Stored::List(list) => Held::List(list),
            Stored::Planes(planes, items) => {
                let sound = planes.len() == items && planes.is_sound() && planes.is_tight();
                sound.then(|| Held::Planes(planes.into_owned()))?
            }
        }))
    }
}

/// A column as it is stored.
pub(super) enum Stored<'a> {
    List(Vec<(u16, Span)>),
    /// Not checked yet; of so many items.
    Planes(Planes<'a>, usize),
}

impl<'a> Stored<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let items = usize::from(reader.u16().filter(|items| *items > 0)?);
        let Some(size) = SIZES.into_iter().find(|size| items <= *size) else {
            return Some(Self::Planes(Planes::read(reader)?, items));
        };
        let mut list: Vec<(u16, Span)> = Vec::with_capacity(items);
        for place in 0..size {
            let offset = reader.u16()?;
            let (least, greatest) = (reader.array()?, reader.array()?);
            if place < items {
                let span = Span {
                    least: f64::from_be_bytes(least),
                    greatest: f64::from_be_bytes(greatest),
                };
                let ascends = list.last().is_none_or(|(last, _)| *last < offset);
                let known = usize::from(offset) < count(COLUMN) && span.is_sound();
                (ascends && known).then(|| list.push((offset, span)))?;
            } else if offset != 0 || least != [0; 8] || greatest != [0; 8] {
                return None;
            }
        }
        Some(Self::List(list))
    }

    /// Calls `visit` with every 64 items of which some pass a comparison, and their bits.
    pub(super) fn passing(&self, than: Than, bound: &Number, visit: &mut dyn FnMut(u64, u64)) {
        match self {
            Self::Planes(planes, _) => {
                let (than, bound) = beside(than, bound);
                planes.passing(than, bound, visit);
            }
            Self::List(list) => {
                for items in list.chunk_by(|(a, _), (b, _)| a / 64 == b / 64) {
                    let passes = |span: &Span| u64::from(span.passes(than, bound));
                    let bits = items.iter().map(|(at, span)| passes(span) << (at % 64));
                    let bits = bits.fold(0, |bits, bit| bits | bit);
                    if let Some((first, _)) = items.first().filter(|_| bits != 0) {
                        visit(u64::from(first / 64), bits);
                    }
                }
            }
        }
    }
}
