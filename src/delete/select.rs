//! Selecting items by looking at records.
//!
//! Ids are sealed and lie in the order of their pseudonyms, so a prefix or everything is a scan that
//! opens each record. A filter is a scan too, unless the attribute index narrows it down; in either
//! way the metadata that is stored now has the last word. With a limit, memory is that many
//! records; the items with the least ids are kept, so that the same call chooses the same items.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{DeleteOptions, DeleteOutcome, Tally};
use crate::attributes::{resolve, select};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::index::{Doomed, Removing};
use crate::store::key::Pseudonym;
use crate::store::record::ItemRecord;
use crate::store::{Family, key};

/// Records that are read together.
const BATCH: usize = 256;

/// What is selected.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    All,
    Prefix(&'a str),
    Filter(&'a Filter),
}

impl Wanted<'_> {
    fn has(self, removing: &Removing<'_>, item: Pseudonym, record: &ItemRecord) -> Result<bool> {
        match self {
            Self::All => Ok(true),
            Self::Prefix(prefix) => Ok(record.id.starts_with(prefix)),
            Self::Filter(filter) => removing.matches(filter, item, record),
        }
    }
}

/// Looks at everything. A record that does not open is among all items, and makes any other
/// selection fail: nobody can say whether it is among them.
pub(super) fn scan(
    removing: &Removing<'_>,
    wanted: Wanted<'_>,
    options: &DeleteOptions,
    max_ids: usize,
) -> Result<(Vec<Doomed>, Tally)> {
    let limit = options.limit.unwrap_or(max_ids).min(max_ids);
    // Damaged records first, under their pseudonyms; they have no ids to be sorted by.
    let mut kept: BTreeMap<(bool, Vec<u8>), Doomed> = BTreeMap::new();
    let (mut matches, mut plain) = (0u64, Vec::new());
    each(removing, wanted, &mut |pseudonym, stored| {
        let doomed = removing.open(pseudonym, stored, &mut plain)?;
        let place = match (&doomed.record, wanted) {
            (Some(record), wanted) if wanted.has(removing, pseudonym, record)? => {
                (true, record.id.clone().into_bytes())
            }
            (Some(_), _) => return Ok(()),
            (None, Wanted::All) => (false, pseudonym.to_vec()),
            (None, Wanted::Prefix(_) | Wanted::Filter(_)) => {
                return Err(Error::Integrity(Fault::ItemRecord));
            }
        };
        matches += 1;
        kept.insert(place, doomed);
        if kept.len() > limit {
            kept.pop_last();
        }
        Ok(())
    })?;
    if options.limit.is_none() && matches > max_ids as u64 {
        return Err(Error::TooLarge(format!(
            "{matches} items are selected, and one delete takes {max_ids}; give a limit and repeat \
             while some remain"
        )));
    }
    let mut tally = Tally::default();
    for doomed in kept.values() {
        match &doomed.record {
            Some(record) => tally.count(&record.id, DeleteOutcome::Deleted),
            None => tally.count("", DeleteOutcome::DeletedCorrupt),
        }
    }
    tally.remaining = matches.saturating_sub(kept.len() as u64);
    Ok((kept.into_values().collect(), tally))
}

/// Visits the stored record of everything that may be wanted: what the attribute index has on a
/// filter, if that is at most half, or every item.
fn each(
    removing: &Removing<'_>,
    wanted: Wanted<'_>,
    visit: &mut dyn FnMut(Pseudonym, &[u8]) -> Result<()>,
) -> Result<()> {
    let Removing { snapshot, key, .. } = *removing;
    if let Wanted::Filter(filter) = wanted {
        let selected = select(snapshot, key, filter)?;
        let items = key.head.commit.item_count;
        if !selected.is_unknown() && selected.count(items).saturating_mul(2) <= items {
            let damaged = || Error::Integrity(Fault::Attribute);
            let numbers: Vec<u64> = selected.numbers(snapshot, key)?.iter().collect();
            for share in numbers.chunks(BATCH) {
                let found = resolve(snapshot, key, share)?;
                let keys: Vec<_> = found.iter().map(|item| key::item(key.index, item)).collect();
                let stored = snapshot.multi_get(Family::Items, &keys)?;
                for (item, stored) in found.into_iter().zip(stored) {
                    visit(item, &stored.ok_or_else(damaged)?)?;
                }
            }
            return Ok(());
        }
    }
    let items = key::items(key.index);
    let mut outcome = Ok(());
    snapshot.scan(Family::Items, &items, &items, &mut |place, stored| {
        let Some(pseudonym) = key::pseudonym_of(place) else { return ControlFlow::Continue(()) };
        outcome = visit(pseudonym, stored);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}
