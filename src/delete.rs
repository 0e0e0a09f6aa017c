//! Deleting items.
//!
//! Delete is logical, atomic and complete: item record, every payload value and both rows in the
//! partition tree go in one commit. After it no call returns the item, in this process or after a
//! crash. Ciphertext of it can stay in the files until RocksDB compacts them; the item record and
//! with it the payload salt are then gone from the live state, but not yet from the medium.
//! docs/security.md says what that means.

use std::collections::HashSet;

use crate::commit::{self, Draft, Operation};
use crate::error::{Error, Fault, Result};
use crate::id::{ETag, VersionToken};
use crate::index::{Committed, Growth, Index, Outcome, check_ids, open_named, replant, space};
use crate::store::record::Field;
use crate::store::{Family, key};
use crate::tree::Home;

/// What a delete did, and the state it left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteReport {
    /// Items that were there and are gone.
    pub deleted: u64,
    /// Ids that named nothing.
    pub missing: u64,
    /// The number of items after the call.
    pub item_count: u64,
    /// The total size after the call; see [`Description`](crate::Description).
    pub total_size_bytes: u64,
    /// The state of the items after the call.
    pub etag: ETag,
    /// The commit.
    pub version: VersionToken,
}

impl Index<'_> {
    /// Deletes items by id in one commit. Needs the write right.
    ///
    /// An id that is not there is counted as missing and is no error; an id given twice counts
    /// once. If nothing is there to delete, nothing is written and the ETag stays.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`], before any item is looked at; [`Error::InvalidArgument`] for an
    /// id that cannot exist; [`Error::Integrity`] if an item record is damaged; and those of every
    /// call. Nothing is deleted then.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// let report = index.delete(&["a", "b"])?;
    /// assert_eq!((report.deleted, report.missing, report.item_count), (1, 1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete<S: AsRef<str>>(&self, ids: &[S]) -> Result<DeleteReport> {
        self.mutate(|snapshot, session, limits| {
            check_ids(ids)?;
            let mut seen = HashSet::with_capacity(ids.len());
            let ids: Vec<&str> =
                ids.iter().map(AsRef::as_ref).filter(|id| seen.insert(*id)).collect();
            let pseudonyms: Vec<_> = ids.iter().map(|id| session.names.item(id)).collect();
            let keys: Vec<_> = pseudonyms.iter().map(|p| key::item(self.id(), p)).collect();
            let stored = snapshot.multi_get(Family::Items, &keys)?;
            if stored.iter().all(Option::is_none) {
                return Ok(Outcome::Nothing(ids.len() as u64));
            }
            let mut draft = Draft::begin(snapshot, &session.head)?;
            let mut next = session.head.next(Operation::Delete, commit::now())?;
            let mut plain = Vec::new();
            let mut homes = Vec::new();
            for (((id, pseudonym), key), stored) in
                ids.iter().zip(&pseudonyms).zip(keys).zip(stored)
            {
                let Some(stored) = stored else { continue };
                let record = open_named(session, id, pseudonym, &stored, &mut plain)?;
                for field in Field::ALL {
                    for value in record.payload_keys(self.id(), field, pseudonym) {
                        draft.changes.delete(Family::Payload, value, None);
                    }
                }
                draft.changes.delete(Family::Items, key, Some(&stored));
                homes.push((*pseudonym, record.leaves.clone()));
                next.deleted += 1;
                next.item_count = less(next.item_count, 1)?;
                next.total_bytes = less(next.total_bytes, record.size())?;
            }
            if let Some(space) = space(session, self.shared(), session.dimension()) {
                let homes = homes
                    .into_iter()
                    .map(|(item, leaves)| Some((item, Home::from_leaves(&leaves)?)))
                    .collect::<Option<Vec<_>>>()
                    .ok_or(Error::Integrity(Fault::Node))?;
                let growth = Growth::new(snapshot, session, self.shared());
                replant(&growth, &space, &homes, Vec::new(), next.sequence, limits, &mut draft)?;
            }
            let missing = (ids.len() as u64).saturating_sub(next.deleted);
            Ok(Outcome::Changed(draft, next, missing))
        })
        .map(report)
    }
}

fn less(total: u64, by: u64) -> Result<u64> {
    total.checked_sub(by).ok_or(Error::Integrity(Fault::Commit))
}

fn report(committed: Committed<u64>) -> DeleteReport {
    let Committed { value: missing, etag, version, head, changed } = committed;
    DeleteReport {
        deleted: if changed { head.deleted } else { 0 },
        missing,
        item_count: head.item_count,
        total_size_bytes: head.total_bytes,
        etag,
        version,
    }
}
