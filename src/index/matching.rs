//! Visiting the items that a filter selects: the one place where they are found.
//!
//! The attribute index narrows them down. If it leaves few, their records are read by number; if it
//! knows nothing of what the filter asks, or leaves most of the index, everything is scanned. Where
//! the selection is not exact, the metadata of what is read decides. Both ways run on all threads
//! of the database's pool and give the same items.

use std::ops::ControlFlow;

use super::scan::{Scanned, visit_items};
use super::{Include, Index, Span, scan};
use crate::attributes::{Selected, resolve, select};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::keyring::ReadKey;
use crate::store::{Family, Snapshot, key};

/// Items whose records are read together.
const BATCH: usize = 256;
/// An item costs so much more by number than in a scan.
const BY_NUMBER: u64 = 2;

/// A filter, and what the attribute index makes of it.
pub(crate) struct Matching<'a> {
    index: &'a Index<'a>,
    snapshot: &'a dyn Snapshot,
    key: &'a ReadKey,
    filter: &'a Filter,
    selected: Selected,
}

impl<'a> Matching<'a> {
    /// Checks the filter and reads what the attribute index has on it.
    pub(crate) fn new(
        index: &'a Index<'a>,
        snapshot: &'a dyn Snapshot,
        key: &'a ReadKey,
        filter: &'a Filter,
    ) -> Result<Self> {
        filter.check()?;
        let selected = select(snapshot, key, filter)?;
        Ok(Self { index, snapshot, key, filter, selected })
    }

    pub(crate) const fn selected(&self) -> &Selected {
        &self.selected
    }

    /// At most so many items match; exactly so many, if the selection is exact.
    pub(crate) fn most(&self) -> u64 {
        self.selected.count(self.key.head.commit.item_count)
    }

    /// Whether reading by number is worth it.
    fn by_number(&self) -> bool {
        !self.selected.is_unknown()
            && self.most().saturating_mul(BY_NUMBER) <= self.key.head.commit.item_count
    }

    /// Visits every item that matches, in no order, with what it folds into: one for each share of
    /// the work. Also returns how many items were read.
    pub(crate) fn fold<T: Send>(
        &self,
        include: Include,
        init: impl Fn() -> T + Send + Sync,
        visit: impl Fn(&mut T, &Scanned<'_>) -> Result<()> + Send + Sync,
    ) -> Result<(Vec<T>, u64)> {
        let exact = self.selected.is_exact();
        let include = if exact { include } else { include.metadata() };
        let take = |out: &mut T, item: &Scanned<'_>| {
            let selected = self.selected.contains(item.record.number.0);
            if selected && (exact || item.matches(self.filter)?) {
                visit(out, item)
            } else {
                Ok(())
            }
        };
        let Self { index, snapshot, key, .. } = *self;
        if self.by_number() {
            let numbers: Vec<u64> = self.selected.numbers(snapshot, key)?.iter().collect();
            let shares = numbers.chunks(BATCH).collect();
            let folded = index.shared().map(shares, |share: &[u64]| {
                let mut out = init();
                self.read(share, include, &mut |item| take(&mut out, item))?;
                Ok(out)
            })?;
            return Ok((folded, numbers.len() as u64));
        }
        let spans = Span::split(shares(index, key));
        let folded = index.shared().map(spans, |span| {
            let mut out = init();
            let seen = scan(snapshot, key, span, include, |item| {
                take(&mut out, &item).map(ControlFlow::Continue)
            })?;
            Ok((out, seen))
        })?;
        let seen = folded.iter().map(|(_, seen)| seen).sum::<u64>();
        if seen != key.head.commit.item_count {
            return Err(Error::Integrity(Fault::ItemRecord));
        }
        Ok((folded.into_iter().map(|(out, _)| out).collect(), seen))
    }

    /// Reads the items with these numbers.
    fn read(
        &self,
        numbers: &[u64],
        include: Include,
        visit: &mut dyn FnMut(&Scanned<'_>) -> Result<()>,
    ) -> Result<()> {
        let damaged = || Error::Integrity(Fault::Attribute);
        let Self { snapshot, key, .. } = *self;
        let items = resolve(snapshot, key, numbers)?;
        // An ordered store reads neighbours faster.
        let mut items: Vec<_> = items.into_iter().zip(numbers.iter().copied()).collect();
        items.sort_unstable();
        let (items, numbers): (Vec<_>, Vec<u64>) = items.into_iter().unzip();
        let keys: Vec<_> = items.iter().map(|item| key::item(key.index, item)).collect();
        let stored = snapshot.multi_get(Family::Items, &keys)?;
        let items = items.into_iter().zip(stored);
        let items = items.map(|(item, stored)| Ok((item, stored.ok_or_else(damaged)?)));
        let items = items.collect::<Result<Vec<_>>>()?;
        let mut numbers = numbers.iter();
        visit_items(snapshot, key, &items, include, |item| {
            if numbers.next() != Some(&item.record.number.0) {
                return Err(damaged());
            }
            visit(&item).map(ControlFlow::Continue)
        })
    }

    /// How many match. Reads nothing more if the selection is exact.
    pub(crate) fn count(&self) -> Result<u64> {
        if self.selected.is_exact() {
            return Ok(self.most());
        }
        let (counts, _) = self.fold(
            Include::NONE,
            || 0u64,
            |count, _| {
                *count += 1;
                Ok(())
            },
        )?;
        Ok(counts.into_iter().sum())
    }
}

/// More shares than threads even out their speed; one is enough for a small index.
pub(crate) fn shares(index: &Index<'_>, key: &ReadKey) -> usize {
    match key.head.commit.item_count {
        0..1024 => 1,
        _ => index.shared().threads() * 4,
    }
}
