//! Writing items.
//!
//! Steps, inside the mutation described in `commit`, and what a crash after each leaves:
//! 1. Check the whole batch; keep the last item of each id. Nothing changed.
//! 2. Read the item records of those ids in one batched read. Nothing changed.
//! 3. Plan the tree: take out what is replaced, find leaves for what is new, split what overflows.
//!    Nothing changed.
//! 4. On all threads: seal each payload under a fresh salt, seal the item records and the nodes,
//!    or what is appended to leaves, under others, collect the changes and what they do to the set hash. Nothing changed.
//! 5. Commit. All of it, or nothing.
//!
//! An overwritten item keeps its item number; its old payload salt is gone with the old record.

use std::collections::HashMap;

use super::get::open_named;
use super::item::{check_contents, check_item, encode_metadata};
use super::write::{Existing, Prepared, Writing, check_conditions};
use super::{Committed, Include, Index, Item, Outcome, Update, check_ids, fetch_fields};
use crate::attributes::Edits;
use crate::commit::{self, Draft, Operation};
use crate::condition::{Expected, IfMatch, WriteOptions};
use crate::config::{IndexConfig, MAX_DIMENSION};
use crate::error::{Error, Fault, Needs, Result};
use crate::id::{ETag, VersionToken};
use crate::keyring::WriteKey;
use crate::observe::Call;
use crate::store::{Family, key};
use crate::vector;

/// What an upsert or update did, and the state it left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpsertReport {
    /// Items that were not there before.
    pub inserted: u64,
    /// Items that were there and were replaced or updated.
    pub updated: u64,
    /// The number of items after the call.
    pub item_count: u64,
    /// The total size after the call; see [`Description`](super::Description).
    pub total_size_bytes: u64,
    /// The state of the items after the call.
    pub etag: ETag,
    /// The commit; its sequence is the version of the items that were written.
    pub version: VersionToken,
}

impl Index<'_> {
    /// Writes items, whole: an item that exists is replaced, contents and metadata included. All of
    /// the batch becomes visible in one commit, or nothing does. Needs the write right.
    ///
    /// The last of several items with one id wins. An empty batch changes nothing.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the position of the first item that is not acceptable;
    /// [`Error::PermissionDenied`]; [`Error::NoSpace`]; and those of every call. Nothing is written
    /// then.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let report = index.upsert(&[
    ///     Item::new("a", [1.0, 0.0]).contents("first"),
    ///     Item::new("b", [0.0, 1.0]).metadata(serde_json::json!({"lang": "en"})),
    /// ])?;
    /// assert_eq!((report.inserted, report.updated), (2, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn upsert(&self, items: &[Item]) -> Result<UpsertReport> {
        self.upsert_with(items, &WriteOptions::new())
    }

    /// As [`upsert`](Self::upsert), under conditions: of the index by
    /// [`WriteOptions::if_match`], of all items by [`WriteOptions::if_none_match`], of single ones
    /// by [`Item::if_version`] and [`Item::if_absent`].
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`]; [`Error::ItemNotFound`] if an item that must have a version is
    /// not there; [`Error::PermissionDenied`] for a condition on an item by who may not read;
    /// [`Error::InvalidArgument`] if an id is given twice under different conditions; and
    /// those of [`upsert`](Self::upsert). Nothing is written then.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, WriteOptions};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let create = WriteOptions::new().if_none_match(true);
    /// let first = index.upsert_with(&[Item::new("a", [1.0, 0.0])], &create)?;
    /// let again = index.upsert_with(&[Item::new("a", [0.0, 1.0])], &create).unwrap_err();
    /// assert_eq!(again.code(), "precondition_failed");
    /// let item = Item::new("a", [0.0, 1.0]).if_version(first.version.sequence);
    /// index.upsert_with(&[item], &WriteOptions::new().if_match(first.etag))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn upsert_with(&self, items: &[Item], options: &WriteOptions) -> Result<UpsertReport> {
        let call = self.during(Call::Upsert).items(items.len());
        call.mutate_at(options.durability, |snapshot, key, limits| {
            check_conditions(key, items, options)?;
            let dimension = items.first().map(|first| dimension_for(key, first)).transpose()?;
            let batch = match dimension {
                Some(dimension) => self.prepare(items, dimension, &key.table.config)?,
                None => Vec::new(),
            };
            IfMatch::check(options.if_match, key.head.etag(), key.table.config.require_if_match)?;
            let Some(dimension) = dimension else { return Ok(Outcome::Nothing(())) };
            let mut draft = Draft::begin(snapshot, &key.head)?;
            let mut next = key.head.next(Operation::Upsert, commit::now())?;
            next.trace = options.trace;
            next.dimension = u32::try_from(dimension).unwrap_or(u32::MAX);
            let edits = Edits::new(&key.table.config.attributes);
            let writing = Writing::new(self, snapshot, key, limits).expecting(options);
            writing.write(&batch, Existing::Replace, &mut draft, &mut next, edits)?;
            Ok(Outcome::Changed(draft, next, ()))
        })
        .map(report)
    }

    /// Says whether the index would take these items, and writes nothing. Needs the write right.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine).dimension(2))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// assert!(index.check(&[Item::new("a", [1.0, 0.0])]).is_ok());
    /// assert!(index.check(&[Item::new("a", [0.0, 0.0])]).is_err()); // no direction
    /// # Ok(())
    /// # }
    /// ```
    pub fn check(&self, items: &[Item]) -> Result<()> {
        self.during(Call::Check).items(items.len()).inspect(|_, key: &WriteKey| {
            let Some(first) = items.first() else { return Ok(()) };
            let dimension = dimension_for(key, first)?;
            self.prepare(items, dimension, &key.table.config).map(drop)
        })
    }

    /// Changes contents, metadata or both of one item and keeps its vector. Needs the write right.
    ///
    /// # Errors
    /// [`Error::ItemNotFound`]; [`Error::InvalidArgument`] for an update that changes nothing, or
    /// contents or metadata that are not acceptable; and those of [`upsert`](Self::upsert).
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, Update};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// let report = index.update("a", Update::new().contents("now with text"))?;
    /// assert_eq!(report.updated, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn update(&self, id: &str, update: Update) -> Result<UpsertReport> {
        self.update_with(id, update, &WriteOptions::new())
    }

    /// As [`update`](Self::update), under conditions: of the index by [`WriteOptions::if_match`], of
    /// the item by [`Update::if_version`].
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`]; [`Error::InvalidArgument`] for `if_none_match`, which no
    /// update can meet; [`Error::PermissionDenied`] for a condition on the item by who may not read;
    /// and those of [`update`](Self::update). Nothing is written then.
    pub fn update_with(
        &self,
        id: &str,
        update: Update,
        conditions: &WriteOptions,
    ) -> Result<UpsertReport> {
        let call = self.during(Call::Update).items(1);
        call.mutate_at(conditions.durability, |snapshot, key, limits| {
            let options = &self.shared().options;
            let Update { contents, metadata, expected } = update;
            if expected != Expected::Anything && !key.permissions().read() {
                return Err(Error::PermissionDenied { needs: Needs::Read });
            }
            check_ids(&[id])?;
            if conditions.if_none_match {
                return Err(Error::invalid("an update is of what is there; use `upsert_with`"));
            }
            if contents.is_none() && metadata.is_none() {
                return Err(Error::invalid("the update changes neither contents nor metadata"));
            }
            if let Some(Some(contents)) = &contents {
                check_contents(contents, options).map_err(Error::invalid)?;
            }
            let metadata = match metadata {
                Some(Some(value)) => {
                    Some(Some(encode_metadata(&value, options).map_err(Error::invalid)?))
                }
                Some(None) => Some(None),
                None => None,
            };
            let required = key.table.config.require_if_match;
            IfMatch::check(conditions.if_match, key.head.etag(), required)?;
            let pseudonym = key.names.item(id);
            let stored = snapshot.get(Family::Items, &key::item(self.id(), &pseudonym))?;
            let stored = stored.ok_or(Error::ItemNotFound)?;
            let old = open_named(key, id, &pseudonym, &stored, &mut Vec::new())?;
            expected.check(Some(old.version), 0)?;
            let kept = Include {
                vector: true,
                contents: contents.is_none(),
                metadata: metadata.is_none(),
            };
            let kept = fetch_fields(snapshot, key, &[(pseudonym, old)], kept)?;
            let kept = kept.into_iter().next().ok_or(Error::Integrity(Fault::Payload))?;
            let kept_metadata = kept.metadata.as_ref().map(serde_json::to_vec).transpose();
            let kept_metadata = kept_metadata.map_err(|_| Error::Integrity(Fault::Payload))?;
            let vector = kept.vector.ok_or(Error::Integrity(Fault::Payload))?;
            let contents = contents.unwrap_or(kept.contents);
            let batch = [Prepared {
                id,
                vector: vector::encode(&vector, key.table.config.precision),
                contents: contents.as_deref(),
                metadata: metadata.unwrap_or(kept_metadata),
                expected: Expected::Anything,
                position: 0,
            }];
            let mut draft = Draft::begin(snapshot, &key.head)?;
            let mut next = key.head.next(Operation::Update, commit::now())?;
            next.trace = conditions.trace;
            let edits = Edits::new(&key.table.config.attributes);
            let writing = Writing::new(self, snapshot, key, limits);
            writing.write(&batch, Existing::Replace, &mut draft, &mut next, edits)?;
            Ok(Outcome::Changed(draft, next, ()))
        })
        .map(report)
    }

    /// Step 1: checks every item and keeps the last of each id, in the order of first appearance.
    pub(super) fn prepare<'a>(
        &self,
        items: &'a [Item],
        dimension: usize,
        config: &IndexConfig,
    ) -> Result<Vec<Prepared<'a>>> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(items.len());
        let mut batch: Vec<Prepared<'a>> = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            let IndexConfig { metric, precision, .. } = *config;
            let options = &self.shared().options;
            let metadata = check_item(position, item, dimension, metric, precision, options)?;
            let prepared = Prepared {
                id: &item.id,
                vector: vector::encode(&item.vector, precision),
                contents: item.contents.as_deref(),
                metadata,
                expected: item.expected,
                position,
            };
            let place = *places.entry(&item.id).or_insert(batch.len());
            match batch.get_mut(place) {
                // The last one wins, but no condition is dropped in silence.
                Some(earlier) if earlier.expected != prepared.expected => {
                    return Err(Error::invalid(format!(
                        "item {position}: its id was given before, with another condition"
                    )));
                }
                Some(earlier) => *earlier = prepared,
                None => batch.push(prepared),
            }
        }
        Ok(batch)
    }
}

/// The dimension that items must have: the index's, or that of the first.
pub(super) fn dimension_for(key: &WriteKey, first: &Item) -> Result<usize> {
    match key.dimension() {
        Some(dimension) => Ok(dimension),
        None if (1..=MAX_DIMENSION).contains(&first.vector.len()) => Ok(first.vector.len()),
        None => Err(Error::invalid(format!(
            "item 0: its vector has {} components; an index takes 1 to {MAX_DIMENSION}",
            first.vector.len()
        ))),
    }
}

fn report(committed: Committed<()>) -> UpsertReport {
    let Committed { value: (), etag, version, head, changed } = committed;
    let (inserted, updated) = if changed { (head.inserted, head.updated) } else { (0, 0) };
    UpsertReport {
        inserted,
        updated,
        item_count: head.item_count,
        total_size_bytes: head.total_bytes,
        etag,
        version,
    }
}
