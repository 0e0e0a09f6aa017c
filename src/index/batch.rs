//! Puts and deletes in one commit.

use std::collections::HashSet;

use super::removal::{Removing, check_many};
use super::upsert::dimension_for;
use super::write::{Existing, Writing, check_conditions};
use super::{Committed, Growth, Index, Item, Outcome, check_ids, replant, space};
use crate::attributes::Edits;
use crate::commit::{self, Draft, Operation};
use crate::condition::{IfMatch, WriteOptions};
use crate::error::{Error, Fault, Result};
use crate::id::{ETag, VersionToken};
use crate::observe::Call;

/// What a batch of writes did, and the state it left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteReport {
    /// Items that were not there before.
    pub inserted: u64,
    /// Items that were there and were replaced.
    pub updated: u64,
    /// Items that were there and are gone.
    pub deleted: u64,
    /// Ids to be deleted that named nothing.
    pub missing: u64,
    /// The number of items after the call.
    pub item_count: u64,
    /// The total size after the call; see [`Description`](super::Description).
    pub total_size_bytes: u64,
    /// The state of the items after the call.
    pub etag: ETag,
    /// The commit; its sequence is the version of the items that were put.
    pub version: VersionToken,
}

impl Index<'_> {
    /// Puts items and deletes others, all in one commit. Needs the write right.
    ///
    /// Items are put as by [`upsert_with`](Self::upsert_with); an id to be deleted that is not there
    /// is counted as missing. If nothing is left to do, nothing is written.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if an id is both put and deleted; [`Error::TooLarge`] for more ids
    /// than [`delete`](Self::delete) takes; [`Error::Integrity`] if an item
    /// to be deleted is damaged, which [`delete`](Self::delete) takes; and those of
    /// [`upsert_with`](Self::upsert_with). Nothing is written then.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, WriteOptions};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let first = index.upsert(&[Item::new("draft", [1.0, 0.0])])?;
    /// let options = WriteOptions::new().if_match(first.etag);
    /// let moved = index.write_batch(&[Item::new("final", [1.0, 0.0])], &["draft"], &options)?;
    /// assert_eq!((moved.inserted, moved.deleted, moved.item_count), (1, 1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_batch<S: AsRef<str>>(
        &self,
        puts: &[Item],
        deletes: &[S],
        options: &WriteOptions,
    ) -> Result<WriteReport> {
        let call = self.during(Call::WriteBatch).items(puts.len().saturating_add(deletes.len()));
        let committed = call.mutate_at(options.durability, |snapshot, key, limits| {
            check_conditions(key, puts, options)?;
            let batch = match puts.first() {
                Some(first) => {
                    let dimension = dimension_for(key, first)?;
                    let batch = self.prepare(puts, dimension, &key.table.config)?;
                    Some((batch, dimension))
                }
                None => None,
            };
            check_many(deletes.iter().map(AsRef::as_ref), self.shared().options.max_delete)?;
            check_ids(deletes)?;
            let put: HashSet<&str> = puts.iter().map(Item::id).collect();
            let mut seen = HashSet::with_capacity(deletes.len());
            let mut ids: Vec<&str> = Vec::with_capacity(deletes.len());
            for (position, id) in deletes.iter().map(AsRef::as_ref).enumerate() {
                if put.contains(id) {
                    return Err(Error::invalid(format!(
                        "delete {position}: its id is put in the same batch; decide for one"
                    )));
                }
                if seen.insert(id) {
                    ids.push(id);
                }
            }
            IfMatch::check(options.if_match, key.head.etag(), key.table.config.require_if_match)?;
            let removing = Removing { index: self, snapshot, key, limits };
            let found = removing.look_up(ids.iter().copied())?;
            let missing = found.iter().filter(|found| found.is_none()).count() as u64;
            let doomed: Vec<_> = found.into_iter().flatten().collect();

            let mut draft = Draft::begin(snapshot, &key.head)?;
            let mut next = key.head.next(Operation::Write, commit::now())?;
            next.trace = options.trace;
            let mut edits = Edits::new(&key.table.config.attributes);
            let homes =
                removing.take_records(&doomed, &mut draft.changes, &mut next, edits.as_mut())?;
            let homes = homes.ok_or(Error::Integrity(Fault::ItemRecord))?;
            if let Some((batch, dimension)) = batch {
                next.dimension = u32::try_from(dimension).unwrap_or(u32::MAX);
                let writing =
                    Writing::new(self, snapshot, key, limits).leaving(&homes).expecting(options);
                writing.write(&batch, Existing::Replace, &mut draft, &mut next, edits)?;
            } else if doomed.is_empty() {
                return Ok(Outcome::Nothing(missing));
            } else {
                let (shared, sequence) = (self.shared(), next.sequence);
                if let Some(edits) = edits {
                    edits.apply(snapshot, key, shared, sequence, &mut draft.changes)?;
                }
                if let Some(space) = space(key, shared, key.dimension()) {
                    let growth = Growth::new(snapshot, key, shared);
                    replant(&growth, &space, &homes, Vec::new(), sequence, limits, &mut draft)?;
                }
            }
            Ok(Outcome::Changed(draft, next, missing))
        })?;
        let Committed { value: missing, etag, version, head, changed } = committed;
        let (inserted, updated, deleted) =
            if changed { (head.inserted, head.updated, head.deleted) } else { (0, 0, 0) };
        Ok(WriteReport {
            inserted,
            updated,
            deleted,
            missing,
            item_count: head.item_count,
            total_size_bytes: head.total_bytes,
            etag,
            version,
        })
    }
}
