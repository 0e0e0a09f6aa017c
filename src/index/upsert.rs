//! Writing items.
//!
//! Steps, inside the mutation described in `commit`, and what a crash after each leaves:
//! 1. Check the whole batch; keep the last item of each id. Nothing changed.
//! 2. Read the item records of those ids in one batched read. Nothing changed.
//! 3. Plan the tree: take out what is replaced, find leaves for what is new, split what overflows.
//!    Nothing changed.
//! 4. On all threads: seal each payload under a fresh salt, seal the item records and the nodes under others,
//!    collect the changes and what they do to the set hash. Nothing changed.
//! 5. Commit. All of it, or nothing.
//!
//! An overwritten item keeps its item number; its old payload salt is gone with the old record.

use std::collections::HashMap;

use super::get::open_named;
use super::item::{check_contents, check_item, encode_metadata};
use super::partition::{Growth, place, replant, space, vector_parts};
use super::{Committed, Include, Index, Item, Outcome, Update, check_ids, fetch_fields};
use crate::commit::{self, Changes, Commit, Draft, Operation};
use crate::config::{IndexConfig, MAX_DIMENSION};
use crate::crypto::fill_random;
use crate::crypto::kdf::Salt;
use crate::error::{Error, Fault, Result};
use crate::id::{ETag, ItemNumber, NodeId, VersionToken};
use crate::keyring::WriteKey;
use crate::store::key::{self, Pseudonym};
use crate::store::record::{Field, ITEM, ItemRecord, PayloadCipher};
use crate::store::{Family, Limits, Snapshot};
use crate::tree::node::{Copy, Row};
use crate::tree::plan::Point;
use crate::tree::{Home, Space};
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
    /// The commit.
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
        self.mutate(|snapshot, key, limits| {
            let Some(first) = items.first() else { return Ok(Outcome::Nothing(())) };
            let dimension = match key.dimension() {
                Some(dimension) => dimension,
                None if (1..=MAX_DIMENSION).contains(&first.vector.len()) => first.vector.len(),
                None => {
                    return Err(Error::invalid(format!(
                        "item 0: its vector has {} components; an index takes 1 to {MAX_DIMENSION}",
                        first.vector.len()
                    )));
                }
            };
            let batch = self.prepare(items, dimension, key.table.config)?;
            let mut draft = Draft::begin(snapshot, &key.head)?;
            let mut next = key.head.next(Operation::Upsert, commit::now())?;
            next.dimension = u32::try_from(dimension).unwrap_or(u32::MAX);
            self.write(snapshot, key, limits, &batch, &mut draft, &mut next)?;
            Ok(Outcome::Changed(draft, next, ()))
        })
        .map(report)
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
        self.mutate(|snapshot, key, limits| {
            check_ids(&[id])?;
            let options = &self.shared().options;
            let Update { contents, metadata } = update;
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
            let pseudonym = key.names.item(id);
            let stored = snapshot.get(Family::Items, &key::item(self.id(), &pseudonym))?;
            let stored = stored.ok_or(Error::ItemNotFound)?;
            let old = open_named(key, id, &pseudonym, &stored, &mut Vec::new())?;
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
            }];
            let mut draft = Draft::begin(snapshot, &key.head)?;
            let mut next = key.head.next(Operation::Update, commit::now())?;
            self.write(snapshot, key, limits, &batch, &mut draft, &mut next)?;
            Ok(Outcome::Changed(draft, next, ()))
        })
        .map(report)
    }

    /// Step 1: checks every item and keeps the last of each id, in the order of first appearance.
    fn prepare<'a>(
        &self,
        items: &'a [Item],
        dimension: usize,
        config: IndexConfig,
    ) -> Result<Vec<Prepared<'a>>> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(items.len());
        let mut batch: Vec<Prepared<'a>> = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            let IndexConfig { metric, precision, .. } = config;
            let options = &self.shared().options;
            let metadata = check_item(position, item, dimension, metric, precision, options)?;
            let prepared = Prepared {
                id: &item.id,
                vector: vector::encode(&item.vector, precision),
                contents: item.contents.as_deref(),
                metadata,
            };
            let place = *places.entry(&item.id).or_insert(batch.len());
            match batch.get_mut(place) {
                Some(earlier) => *earlier = prepared,
                None => batch.push(prepared),
            }
        }
        Ok(batch)
    }

    /// Steps 2 to 4: reads what is there, plans the tree, seals, and fills in the commit.
    fn write(
        &self,
        snapshot: &dyn Snapshot,
        key: &WriteKey,
        limits: Limits,
        batch: &[Prepared<'_>],
        draft: &mut Draft,
        next: &mut Commit,
    ) -> Result<()> {
        let mut work = self.look_up(snapshot, key, batch, next)?;
        let dimension = batch.first().map(|item| item.vector.len());
        let dimension = dimension.map(|bytes| bytes / key.table.config.precision.bytes());
        if let Some(space) = space(key, self.shared(), dimension) {
            self.plant(snapshot, key, limits, &space, &mut work, draft, next.sequence)?;
        }
        let shares: Vec<&[Work<'_, '_>]> = work.chunks(self.share(work.len())).collect();
        let sealer = Sealer { key, limits, version: next.sequence };
        for sealed in self.shared().map(shares, |share| sealer.seal(share))? {
            draft.changes.append(sealed.changes);
            next.total_bytes = next
                .total_bytes
                .checked_add(sealed.added)
                .and_then(|total| total.checked_sub(sealed.removed))
                .ok_or(Error::Integrity(Fault::Commit))?;
        }
        let item_count = next.item_count.checked_add(next.inserted);
        next.item_count = item_count.ok_or(Error::Integrity(Fault::Commit))?;
        Ok(())
    }

    /// Step 2: what is stored under the ids of the batch, and new numbers for new items.
    fn look_up<'a, 'b>(
        &self,
        snapshot: &dyn Snapshot,
        key: &WriteKey,
        batch: &'a [Prepared<'b>],
        next: &mut Commit,
    ) -> Result<Vec<Work<'a, 'b>>> {
        let mut named: Vec<(Pseudonym, &Prepared<'_>)> =
            batch.iter().map(|item| (key.names.item(item.id), item)).collect();
        // An ordered store reads and takes neighbours faster.
        named.sort_unstable_by_key(|(pseudonym, _)| *pseudonym);
        let keys: Vec<_> = named.iter().map(|(p, _)| key::item(self.id(), p)).collect();
        let stored = snapshot.multi_get(Family::Items, &keys)?;
        let found: Vec<_> = named.into_iter().zip(stored).collect();
        let opened =
            self.shared().map(found.chunks(self.share(found.len())).collect(), |share| {
                let mut plain = Vec::new();
                let open = |((pseudonym, item), stored): &((Pseudonym, &Prepared<'_>), _)| {
                    let stored: &Option<Vec<u8>> = stored;
                    let stored = stored.as_ref();
                    stored.map(|s| open_named(key, item.id, pseudonym, s, &mut plain)).transpose()
                };
                share.iter().map(open).collect::<Result<Vec<_>>>()
            })?;
        let mut salts: Vec<Salt> = vec![[0; 24]; found.len()];
        fill_random(salts.as_flattened_mut())?;
        let mut work = Vec::with_capacity(batch.len());
        let found = found.into_iter().zip(opened.into_iter().flatten()).zip(salts);
        for ((((pseudonym, item), stored), old), payload_salt) in found {
            let number = match &old {
                None => {
                    next.inserted += 1;
                    let number = next.next_item;
                    next.next_item =
                        number.checked_add(1).ok_or(Error::Integrity(Fault::Commit))?;
                    ItemNumber(number)
                }
                Some(old) => {
                    next.updated += 1;
                    old.number
                }
            };
            let leaves = Vec::new();
            work.push(Work { item, pseudonym, stored, old, number, payload_salt, leaves });
        }
        Ok(work)
    }

    /// Step 3: puts the batch into the tree, in place of what it replaces.
    #[expect(clippy::too_many_arguments, reason = "what a step of one write shares")]
    fn plant(
        &self,
        snapshot: &dyn Snapshot,
        key: &WriteKey,
        limits: Limits,
        space: &Space,
        work: &mut [Work<'_, '_>],
        draft: &mut Draft,
        version: u64,
    ) -> Result<()> {
        let damaged = || Error::Integrity(Fault::Node);
        let removed = work.iter().filter_map(|work| Some((work.pseudonym, work.old.as_ref()?)));
        let removed = removed
            .map(|(item, old)| Some((item, Home::from_leaves(&old.leaves)?)))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(damaged)?;
        let epoch = key.table.epoch();
        let shares: Vec<&[Work<'_, '_>]> = work.chunks(self.share(work.len())).collect();
        let points = self.shared().map(shares, |share| {
            let point = |work: &Work<'_, '_>| {
                let row = Row {
                    pseudonym: work.pseudonym,
                    number: work.number,
                    version,
                    epoch,
                    parts: vector_parts(work.item.vector.len(), limits)?,
                    copy: Copy::First,
                    salt: work.payload_salt,
                };
                Ok(Point { row, vector: place(key, space, &work.item.vector).into() })
            };
            share.iter().map(point).collect::<Result<Vec<_>>>()
        })?;
        let points = points.into_iter().flatten().collect();
        let growth = Growth::new(snapshot, key, self.shared());
        let homes = replant(&growth, space, &removed, points, version, limits, draft)?;
        for work in work {
            work.leaves = homes.get(&work.pseudonym).ok_or_else(damaged)?.leaves();
        }
        Ok(())
    }

    /// How many of `count` items one thread takes at a time.
    fn share(&self, count: usize) -> usize {
        count.div_ceil(self.shared().threads()).max(MIN_SHARE)
    }
}

/// Fewer items than this are not worth another thread.
const MIN_SHARE: usize = 32;

/// An item, checked and in the form it is stored in.
struct Prepared<'a> {
    id: &'a str,
    vector: Vec<u8>,
    contents: Option<&'a [u8]>,
    metadata: Option<Vec<u8>>,
}

/// An item, what is stored under its id now, and where it will be.
struct Work<'a, 'b> {
    item: &'a Prepared<'b>,
    pseudonym: Pseudonym,
    stored: Option<Vec<u8>>,
    old: Option<ItemRecord>,
    number: ItemNumber,
    payload_salt: Salt,
    leaves: Vec<NodeId>,
}

/// The changes of a share of the batch.
struct Sealed {
    changes: Changes,
    added: u64,
    removed: u64,
}

struct Sealer<'a> {
    key: &'a WriteKey,
    limits: Limits,
    version: u64,
}

impl Sealer<'_> {
    fn seal(&self, share: &[Work<'_, '_>]) -> Result<Sealed> {
        let mut sealed = Sealed { changes: Changes::new(), added: 0, removed: 0 };
        let mut salts: Vec<Salt> = vec![[0; 24]; share.len()];
        fill_random(salts.as_flattened_mut())?;
        for (work, record_salt) in share.iter().zip(&salts) {
            self.seal_one(work, record_salt, &mut sealed)?;
        }
        Ok(sealed)
    }

    fn seal_one(&self, work: &Work<'_, '_>, record_salt: &Salt, out: &mut Sealed) -> Result<()> {
        let Work { item, pseudonym, stored, old, number, payload_salt, leaves } = work;
        let (index, epoch) = (self.key.index, self.key.table.epoch());
        let secret = self.key.current_secret()?;
        let cipher =
            PayloadCipher::new(secret, index, epoch, *pseudonym, self.version, payload_salt);
        let mut store = |field: Field, value: &[u8]| {
            let (extent, values) = cipher
                .seal(field, value, self.limits.value)
                .ok_or_else(|| Error::invalid("a value is too long for the storage engine"))?;
            for (part, value) in (0u32..).zip(values) {
                let key = key::payload(index, field.kind(), pseudonym, part);
                out.changes.put(Family::Payload, key, None, value);
            }
            Ok::<_, Error>(extent)
        };
        let record = ItemRecord {
            id: item.id.to_owned(),
            number: *number,
            version: self.version,
            payload_epoch: epoch,
            payload_salt: *payload_salt,
            leaves: leaves.clone(),
            vector: store(Field::Vector, &item.vector)?,
            contents: item.contents.map(|value| store(Field::Contents, value)).transpose()?,
            metadata: item
                .metadata
                .as_ref()
                .map(|value| store(Field::Metadata, value))
                .transpose()?,
        };
        if let Some(old) = old {
            for field in Field::ALL {
                let kept = record.extent(field).map_or(0, |extent| extent.parts);
                let kept = usize::try_from(kept).unwrap_or(usize::MAX);
                for surplus in old.payload_keys(index, field, pseudonym).skip(kept) {
                    out.changes.delete(Family::Payload, surplus, None);
                }
            }
            out.removed = out.removed.saturating_add(old.size());
        }
        out.added = out.added.saturating_add(record.size());
        let place = ITEM.place(index, epoch, *pseudonym, self.version);
        let sealed = ITEM.seal(secret, &place, record_salt, &record.encode());
        out.changes.put(Family::Items, key::item(index, pseudonym), stored.as_deref(), sealed);
        Ok(())
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
