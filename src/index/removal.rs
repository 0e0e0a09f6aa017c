//! Taking items out: what is stored under their ids, and the changes of a commit that removes it.
//!
//! A removal is complete: item record, every payload value and both rows in the partition tree go
//! in one commit, which counts again what is left. Erasure beats integrity: what is damaged goes
//! too, by the slow path in `recount`.

use serde_json::Value;

use super::get::{fetch_fields, open_item, open_named};
use super::partition::space;
use super::{Growth, Include, Index, recount, replant};
use crate::attributes::Edits;
use crate::commit::{Changes, Commit, Draft, Operation};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::keyring::WriteKey;
use crate::store::key::{self, Pseudonym};
use crate::store::record::{Field, ItemRecord};
use crate::store::{Family, Limits, Snapshot};
use crate::tree::Home;

/// The most bytes that the ids to be deleted by one call have together.
const MAX_BYTES: usize = 3 << 20;

/// Checks that these are not more ids than one call deletes.
pub(crate) fn check_many<'i>(
    ids: impl ExactSizeIterator<Item = &'i str>,
    max: usize,
) -> Result<()> {
    let count = ids.len();
    if count > max {
        return Err(Error::TooLarge(format!(
            "{count} ids, and one call deletes {max}; nothing was written"
        )));
    }
    let bytes: usize = ids.map(str::len).sum();
    if bytes > MAX_BYTES {
        return Err(Error::TooLarge(format!(
            "{bytes} bytes of ids, and one call deletes {MAX_BYTES}; nothing was written"
        )));
    }
    Ok(())
}

/// An item that is to go.
pub(crate) struct Doomed {
    pub(crate) pseudonym: Pseudonym,
    /// The item record as it is stored.
    pub(crate) stored: Vec<u8>,
    /// `None`: it does not open.
    pub(crate) record: Option<ItemRecord>,
}

/// What a removal works with.
#[derive(Clone, Copy)]
pub(crate) struct Removing<'a> {
    pub(crate) index: &'a Index<'a>,
    pub(crate) snapshot: &'a dyn Snapshot,
    pub(crate) key: &'a WriteKey,
    pub(crate) limits: Limits,
}

/// Whether an error says that what is stored is damaged, and not that it could not be read.
pub(crate) const fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Integrity(_) | Error::UnsupportedFormat { .. })
}

impl Removing<'_> {
    /// What is stored under these ids, in their order; `None` where nothing is.
    pub(crate) fn look_up<'i>(
        &self,
        ids: impl Iterator<Item = &'i str> + Clone,
    ) -> Result<Vec<Option<Doomed>>> {
        let Self { snapshot, key, .. } = *self;
        let pseudonyms: Vec<Pseudonym> = ids.clone().map(|id| key.names.item(id)).collect();
        let keys: Vec<_> = pseudonyms.iter().map(|p| key::item(key.index, p)).collect();
        let stored = snapshot.multi_get(Family::Items, &keys)?;
        let mut plain = Vec::new();
        let found = ids.zip(pseudonyms).zip(stored).map(|((id, pseudonym), stored)| {
            let Some(stored) = stored else { return Ok(None) };
            let record = match open_named(key, id, &pseudonym, &stored, &mut plain) {
                Ok(record) => Some(record),
                Err(error) if is_damage(&error) => None,
                Err(error) => return Err(error),
            };
            Ok(Some(Doomed { pseudonym, stored, record }))
        });
        found.collect()
    }

    /// Opens what is stored under a pseudonym, whatever its id.
    pub(crate) fn open(
        &self,
        pseudonym: Pseudonym,
        stored: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Doomed> {
        let record = match open_item(self.key, &pseudonym, stored, plain) {
            Ok(record) => Some(record),
            Err(error) if is_damage(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Doomed { pseudonym, stored: stored.to_vec(), record })
    }

    /// Whether a filter selects an item, by its metadata as it is stored now.
    pub(crate) fn matches(
        &self,
        filter: &Filter,
        pseudonym: Pseudonym,
        record: &ItemRecord,
    ) -> Result<bool> {
        if record.metadata.is_none() {
            return Ok(filter.matches(&Value::Null));
        }
        let items = [(pseudonym, record.clone())];
        let fetched = fetch_fields(self.snapshot, self.key, &items, Include::NONE.metadata())?;
        let metadata = fetched.into_iter().next().and_then(|fetched| fetched.metadata);
        Ok(filter.matches(&metadata.ok_or(Error::Integrity(Fault::Payload))?))
    }

    /// The draft of a commit that removes these items, and what it says. `next` is the commit so
    /// far; its operation becomes a recount if an item or the tree is damaged.
    ///
    /// A set-hash state that is not the signed one is refused here as by every write: whoever
    /// changes it may have forged anything, and a recount would make it look right.
    pub(crate) fn remove(&self, doomed: &[Doomed], next: &Commit) -> Result<(Draft, Commit)> {
        let mut draft = Draft::begin(self.snapshot, &self.key.head)?;
        let mut commit = next.clone();
        match self.remove_sound(doomed, &mut draft, &mut commit) {
            Ok(true) => return Ok((draft, commit)),
            Ok(false) => {}
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        let mut commit = next.clone();
        commit.operation = Operation::Recount;
        let draft = recount::remove(self, doomed, &mut commit)?;
        Ok((draft, commit))
    }

    /// The way without damage; false if a record does not open.
    fn remove_sound(
        &self,
        doomed: &[Doomed],
        draft: &mut Draft,
        next: &mut Commit,
    ) -> Result<bool> {
        let Self { index, snapshot, key, limits } = *self;
        let mut edits = Edits::new(&key.table.config.attributes);
        let homes = self.take_records(doomed, &mut draft.changes, next, edits.as_mut())?;
        let Some(homes) = homes else { return Ok(false) };
        if let Some(edits) = edits {
            edits.apply(snapshot, key, index.shared(), next.sequence, &mut draft.changes)?;
        }
        if let Some(space) = space(key, index.shared(), key.dimension()) {
            let growth = Growth::new(snapshot, key, index.shared());
            let generation = next.sequence;
            replant(&growth, &space, &homes, Vec::new(), generation, limits, draft)?;
        }
        Ok(true)
    }

    /// Takes out records and payload and counts them off; returns where their rows are, which stay
    /// to be taken out. `None` if a record does not open. What else goes with them is in `edits`.
    pub(super) fn take_records(
        &self,
        doomed: &[Doomed],
        changes: &mut Changes,
        next: &mut Commit,
        edits: Option<&mut Edits<'_>>,
    ) -> Result<Option<Vec<(Pseudonym, Home)>>> {
        let index = self.key.index;
        let tree = space(self.key, self.index.shared(), self.key.dimension()).is_some();
        if let Some(edits) = edits {
            let known =
                doomed.iter().map(|doomed| Some((doomed.pseudonym, doomed.record.clone()?)));
            let Some(known) = known.collect::<Option<Vec<_>>>() else { return Ok(None) };
            let metadata = fetch_fields(self.snapshot, self.key, &known, Include::NONE.metadata())?;
            for ((_, record), stored) in known.iter().zip(metadata) {
                edits.remove(record.number, stored.metadata.as_ref());
            }
        }
        let mut homes = Vec::with_capacity(doomed.len());
        for Doomed { pseudonym, stored, record } in doomed {
            let Some(record) = record else { return Ok(None) };
            for field in Field::ALL {
                for value in record.payload_keys(index, field, pseudonym) {
                    changes.delete(Family::Payload, value, None);
                }
            }
            changes.delete(Family::Items, key::item(index, pseudonym), Some(stored));
            next.deleted += 1;
            next.item_count = less(next.item_count, 1)?;
            next.total_bytes = less(next.total_bytes, record.size())?;
            if tree {
                let home = Home::from_leaves(&record.leaves);
                homes.push((*pseudonym, home.ok_or(Error::Integrity(Fault::Node))?));
            }
        }
        Ok(Some(homes))
    }
}

fn less(total: u64, by: u64) -> Result<u64> {
    total.checked_sub(by).ok_or(Error::Integrity(Fault::Commit))
}
