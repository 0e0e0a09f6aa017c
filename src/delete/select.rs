//! Selecting items by looking at every record.
//!
//! Ids are sealed and lie in the order of their pseudonyms, so a prefix, a filter or everything is
//! a scan that opens each record, for a filter with the item's metadata. With a limit, memory is that many records; the items with the least ids
//! are kept, so that the same call chooses the same items.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{DeleteOptions, DeleteOutcome, Tally};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::index::{Doomed, Removing};
use crate::store::key::Pseudonym;
use crate::store::record::ItemRecord;
use crate::store::{Family, key};

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
    let (mut matches, mut outcome) = (0u64, Ok(()));
    let items = key::items(removing.key.index);
    let mut plain = Vec::new();
    removing.snapshot.scan(Family::Items, &items, &items, &mut |place, stored| {
        let Some(pseudonym) = key::pseudonym_of(place) else { return ControlFlow::Continue(()) };
        let doomed = match removing.open(pseudonym, stored, &mut plain) {
            Ok(doomed) => doomed,
            Err(error) => {
                outcome = Err(error);
                return ControlFlow::Break(());
            }
        };
        let place = match (&doomed.record, wanted) {
            (Some(record), wanted) => match wanted.has(removing, pseudonym, record) {
                Ok(true) => (true, record.id.clone().into_bytes()),
                Ok(false) => return ControlFlow::Continue(()),
                Err(error) => {
                    outcome = Err(error);
                    return ControlFlow::Break(());
                }
            },
            (None, Wanted::All) => (false, pseudonym.to_vec()),
            (None, Wanted::Prefix(_) | Wanted::Filter(_)) => {
                outcome = Err(Error::Integrity(Fault::ItemRecord));
                return ControlFlow::Break(());
            }
        };
        matches += 1;
        kept.insert(place, doomed);
        if kept.len() > limit {
            kept.pop_last();
        }
        ControlFlow::Continue(())
    })?;
    outcome?;
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
