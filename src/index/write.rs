//! The write itself: how a checked batch of items becomes the changes of a commit.
//!
//! Steps 2 to 4 of `upsert`, for everyone who writes items.

use super::get::open_named;
use super::growth::{Growth, replant};
use super::partition::{place, space, vector_parts};
use super::{Include, Index, Item, fetch_fields};
use serde_json::Value;

use crate::attributes::Edits;
use crate::commit::{Changes, Commit, Draft};
use crate::condition::{Expected, WriteOptions};
use crate::crypto::fill_random;
use crate::crypto::kdf::Salt;
use crate::error::{Error, Fault, Needs, Result};
use crate::id::{ItemNumber, NodeId};
use crate::keyring::WriteKey;
use crate::store::key::{self, Pseudonym};
use crate::store::record::{Field, ITEM, ItemRecord, PayloadCipher};
use crate::store::{Family, Limits, Snapshot};
use crate::tree::node::{Copy, Row};
use crate::tree::plan::Point;
use crate::tree::{Home, Space};
use crate::vector;

/// What happens to items that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// They are replaced.
    Replace,
    /// They are replaced, unless nothing about them would change.
    SkipEqual,
}

/// A condition on an item tells whether it is there, so it needs the read right too. Comes before
/// everything else that a call is refused for, as every question of rights does.
pub(super) fn check_conditions(
    key: &WriteKey,
    items: &[Item],
    options: &WriteOptions,
) -> Result<()> {
    let conditional = || items.iter().any(|item| item.expected != Expected::Anything);
    if (options.if_none_match || conditional()) && !key.permissions().read() {
        return Err(Error::PermissionDenied { needs: Needs::Read });
    }
    Ok(())
}

/// What a write works with.
#[derive(Clone, Copy)]
pub(super) struct Writing<'a> {
    pub(super) index: &'a Index<'a>,
    pub(super) snapshot: &'a dyn Snapshot,
    pub(super) key: &'a WriteKey,
    pub(super) limits: Limits,
    /// Items that leave the tree in the same commit.
    leaving: &'a [(Pseudonym, Home)],
    /// What must be stored under the ids of items that say nothing about it themselves.
    expected: Expected,
}

impl<'a> Writing<'a> {
    pub(super) const fn new(
        index: &'a Index<'a>,
        snapshot: &'a dyn Snapshot,
        key: &'a WriteKey,
        limits: Limits,
    ) -> Self {
        Self { index, snapshot, key, limits, leaving: &[], expected: Expected::Anything }
    }

    /// The same, with items that leave the tree.
    pub(super) const fn leaving(self, leaving: &'a [(Pseudonym, Home)]) -> Self {
        Self { leaving, ..self }
    }

    /// The same under the conditions of a call.
    pub(super) const fn expecting(self, options: &WriteOptions) -> Self {
        let expected = if options.if_none_match { Expected::Absent } else { Expected::Anything };
        Self { expected, ..self }
    }
}

impl Writing<'_> {
    /// Steps 2 to 4: reads what is there, plans the tree, seals, and fills in the commit. `edits` is
    /// what else the commit changes in the attribute index, if there is one. False if nothing was
    /// left to do.
    pub(super) fn write<'s>(
        &'s self,
        batch: &[Prepared<'_>],
        existing: Existing,
        draft: &mut Draft,
        next: &mut Commit,
        mut edits: Option<Edits<'s>>,
    ) -> Result<bool> {
        let Self { index, snapshot, key, limits, .. } = *self;
        let conditional = batch.iter().any(|item| self.expected_of(item) != Expected::Anything);
        let mut work = self.look_up(batch)?;
        if conditional {
            for work in &work {
                let found = work.old.as_ref().map(|old| old.version);
                self.expected_of(work.item).check(found, work.item.position)?;
            }
        }
        if existing == Existing::SkipEqual {
            work = self.without_equal(work)?;
        }
        if work.is_empty() {
            return Ok(false);
        }
        for work in &mut work {
            if let Some(old) = &work.old {
                next.updated += 1;
                work.number = old.number;
            } else {
                next.inserted += 1;
                work.number = ItemNumber(next.next_item);
                let following = next.next_item.checked_add(1);
                next.next_item = following.ok_or(Error::Integrity(Fault::Commit))?;
            }
        }
        let dimension = batch.first().map(|item| item.vector.len());
        let dimension = dimension.map(|bytes| bytes / key.table.config.precision.bytes());
        if let Some(space) = space(key, index.shared(), dimension) {
            self.plant(&space, &mut work, existing, draft, next.sequence)?;
        }
        if let Some(edits) = &mut edits {
            self.list(&work, edits)?;
        }
        if let Some(edits) = edits {
            edits.apply(snapshot, key, index.shared(), next.sequence, &mut draft.changes)?;
        }
        let shares: Vec<&[Work<'_, '_>]> = work.chunks(self.share(work.len())).collect();
        let sealer = Sealer { key, limits, version: next.sequence };
        for sealed in index.shared().map(shares, |share| sealer.seal(share))? {
            draft.changes.append(sealed.changes);
            next.total_bytes = next
                .total_bytes
                .checked_add(sealed.added)
                .and_then(|total| total.checked_sub(sealed.removed))
                .ok_or(Error::Integrity(Fault::Commit))?;
        }
        let item_count = next.item_count.checked_add(next.inserted);
        next.item_count = item_count.ok_or(Error::Integrity(Fault::Commit))?;
        Ok(true)
    }

    fn expected_of(&self, item: &Prepared<'_>) -> Expected {
        if item.expected == Expected::Anything { self.expected } else { item.expected }
    }

    /// Step 2: what is stored under the ids of the batch, in the order of pseudonyms.
    fn look_up<'a, 'b>(&self, batch: &'a [Prepared<'b>]) -> Result<Vec<Work<'a, 'b>>> {
        let Self { index, snapshot, key, .. } = *self;
        let mut named: Vec<(Pseudonym, &Prepared<'_>)> =
            batch.iter().map(|item| (key.names.item(item.id), item)).collect();
        // An ordered store reads and takes neighbours faster.
        named.sort_unstable_by_key(|(pseudonym, _)| *pseudonym);
        let keys: Vec<_> = named.iter().map(|(p, _)| key::item(index.id(), p)).collect();
        let stored = snapshot.multi_get(Family::Items, &keys)?;
        let found = named.into_iter().zip(stored).map(|((p, item), stored)| (p, item, stored));
        let found: Vec<(Pseudonym, &Prepared<'_>, Option<Vec<u8>>)> = found.collect();
        let opened =
            index.shared().map(found.chunks(self.share(found.len())).collect(), |share| {
                let mut plain = Vec::new();
                let mut open = |pseudonym: &Pseudonym, id: &str, stored: Option<&[u8]>| {
                    stored.map(|s| open_named(key, id, pseudonym, s, &mut plain)).transpose()
                };
                share
                    .iter()
                    .map(|(pseudonym, item, stored)| open(pseudonym, item.id, stored.as_deref()))
                    .collect::<Result<Vec<_>>>()
            })?;
        let mut salts: Vec<Salt> = vec![[0; 24]; found.len()];
        fill_random(salts.as_flattened_mut())?;
        let found = found.into_iter().zip(opened.into_iter().flatten()).zip(salts);
        let work = found.map(|(((pseudonym, item, stored), old), payload_salt)| {
            let (number, leaves) = (ItemNumber(0), Vec::new());
            Work { item, pseudonym, stored, old, number, payload_salt, leaves }
        });
        Ok(work.collect())
    }

    /// Leaves out what is stored already as it would be.
    fn without_equal<'a, 'b>(&self, work: Vec<Work<'a, 'b>>) -> Result<Vec<Work<'a, 'b>>> {
        let Self { snapshot, key, .. } = *self;
        let known = work.iter().filter_map(|work| Some((work.pseudonym, work.old.clone()?)));
        let known: Vec<(Pseudonym, ItemRecord)> = known.collect();
        if known.is_empty() {
            return Ok(work);
        }
        let mut stored = fetch_fields(snapshot, key, &known, Include::ALL)?.into_iter();
        let mut changed = Vec::with_capacity(work.len());
        for work in work {
            if work.old.is_some() {
                let stored = stored.next().ok_or(Error::Integrity(Fault::Payload))?;
                let metadata = stored.metadata.as_ref().map(serde_json::to_vec).transpose();
                let metadata = metadata.map_err(|_| Error::Integrity(Fault::Payload))?;
                let vector = stored.vector.ok_or(Error::Integrity(Fault::Payload))?;
                let equal = vector::encode(&vector, key.table.config.precision) == work.item.vector
                    && stored.contents.as_deref() == work.item.contents
                    && metadata == work.item.metadata;
                if equal {
                    continue;
                }
            }
            changed.push(work);
        }
        Ok(changed)
    }

    /// Step 3: puts the batch into the tree, in place of what it replaces.
    fn plant(
        &self,
        space: &Space,
        work: &mut [Work<'_, '_>],
        existing: Existing,
        draft: &mut Draft,
        version: u64,
    ) -> Result<()> {
        let Self { index, snapshot, key, limits, leaving, .. } = *self;
        let damaged = || Error::Integrity(Fault::Node);
        let removed = work.iter().filter_map(|work| Some((work.pseudonym, work.old.as_ref()?)));
        let removed = removed
            .map(|(item, old)| Some((item, Home::from_leaves(&old.leaves)?)))
            .chain(leaving.iter().copied().map(Some))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(damaged)?;
        let epoch = key.table.epoch();
        let shares: Vec<&[Work<'_, '_>]> = work.chunks(self.share(work.len())).collect();
        let points = index.shared().map(shares, |share| {
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
        let growth = Growth::new(snapshot, key, index.shared());
        // A bulk load fills leaves, and queries follow.
        let growth = match existing {
            Existing::Replace => growth.appending(limits),
            Existing::SkipEqual => growth,
        };
        let homes = replant(&growth, space, &removed, points, version, limits, draft)?;
        for work in work {
            work.leaves = homes.get(&work.pseudonym).ok_or_else(damaged)?.leaves();
        }
        Ok(())
    }

    /// What the batch changes in the attribute index.
    fn list<'s>(&'s self, work: &[Work<'_, '_>], edits: &mut Edits<'s>) -> Result<()> {
        let Self { index, snapshot, key, .. } = *self;
        let damaged = || Error::Integrity(Fault::Payload);
        let shares: Vec<&[Work<'_, '_>]> = work.chunks(self.share(work.len())).collect();
        let listed = index.shared().map(shares, |share| {
            let known = share.iter().filter_map(|work| Some((work.pseudonym, work.old.clone()?)));
            let known: Vec<(Pseudonym, ItemRecord)> = known.collect();
            let old = fetch_fields(snapshot, key, &known, Include::NONE.metadata())?;
            let mut old = old.into_iter();
            let mut edits = Edits::new(&key.table.config.attributes);
            for work in share {
                let Some(edits) = &mut edits else { continue };
                let new = work.item.metadata.as_deref().map(serde_json::from_slice);
                let new: Option<Value> = new.transpose().map_err(|_| damaged())?;
                if work.old.is_some() {
                    let old = old.next().ok_or_else(damaged)?.metadata;
                    edits.replace(work.number, old.as_ref(), new.as_ref());
                } else {
                    edits.insert(work.number, work.pseudonym, new.as_ref());
                }
            }
            Ok(edits)
        })?;
        listed.into_iter().flatten().for_each(|listed| edits.append(listed));
        Ok(())
    }

    /// How many of `count` items one thread takes at a time.
    fn share(&self, count: usize) -> usize {
        count.div_ceil(self.index.shared().threads()).max(MIN_SHARE)
    }
}

/// Fewer items than this are not worth another thread.
const MIN_SHARE: usize = 32;

/// An item, checked and in the form it is stored in.
pub(super) struct Prepared<'a> {
    pub(super) id: &'a str,
    pub(super) vector: Vec<u8>,
    pub(super) contents: Option<&'a [u8]>,
    pub(super) metadata: Option<Vec<u8>>,
    pub(super) expected: Expected,
    /// Its place in the call.
    pub(super) position: usize,
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
