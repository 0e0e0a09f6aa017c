//! Sealing items and nodes again.
//!
//! A payload has its salt and its epoch in the item record and in a row of each leaf that holds the
//! item. So an item goes in one commit: payload, record, and its leaves, which are written whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zeroize::Zeroizing;

use super::work::Work;
use crate::commit::{Changes, Draft};
use crate::crypto::random;
use crate::error::{Error, Fault, Result};
use crate::id::NodeId;
use crate::index::{Growth, open_item};
use crate::store::key::{self, Pseudonym};
use crate::store::record::{Field, ITEM, ItemRecord, PayloadCipher, hash_values};
use crate::store::{Family, Value};
use crate::tree::Backing;
use crate::tree::node::Node;
use crate::tree::plan::Effects;

/// Bytes of content that a commit seals again, unless one item has more.
const BYTES: u64 = 16 << 20;
/// Items that are sealed on one thread at a time.
const SHARE: usize = 32;

/// An item, as it is stored.
struct Found {
    pseudonym: Pseudonym,
    stored: Vec<u8>,
    record: ItemRecord,
}

/// Nodes and items that a commit seals again.
pub(super) struct Batch<'a> {
    work: &'a Work<'a>,
    growth: Growth<'a>,
    nodes: BTreeMap<NodeId, Node>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(work: &'a Work<'a>) -> Self {
        let growth = Growth::new(work.snapshot, work.key, work.index.shared());
        Self { work, growth, nodes: BTreeMap::new() }
    }

    pub(super) fn read(&self, ids: &[NodeId]) -> Result<Vec<Node>> {
        let nodes = self.growth.nodes(ids)?.into_iter().collect::<Option<Vec<_>>>();
        nodes.ok_or(Error::Integrity(Fault::Node))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node to be written, whatever becomes of its items.
    pub(super) fn put(&mut self, id: NodeId, node: Node) {
        self.nodes.insert(id, node);
    }

    /// Seals these items and everything that was put into the draft of the commit `sequence`.
    /// Returns how many of the items it took: not all if they are long.
    pub(super) fn seal(
        mut self,
        items: &[Pseudonym],
        sequence: u64,
        draft: &mut Draft,
    ) -> Result<usize> {
        let Work { snapshot, key, index, limits, .. } = *self.work;
        let places: Vec<_> = items.iter().map(|item| key::item(key.index, item)).collect();
        let (mut found, mut bytes, mut plain) = (Vec::new(), 0, Vec::new());
        for (pseudonym, stored) in items.iter().zip(snapshot.multi_get(Family::Items, &places)?) {
            let stored = stored.ok_or(Error::Integrity(Fault::Node))?;
            let record = open_item(key, pseudonym, &stored, &mut plain)?;
            bytes += record.size();
            if bytes > BYTES && !found.is_empty() {
                break;
            }
            found.push(Found { pseudonym: *pseudonym, stored, record });
        }
        let shares: Vec<_> = found.chunks(SHARE).collect();
        let sealed = index.shared().map(shares, |share| self.work.reseal(share, sequence))?;
        let mut records = HashMap::new();
        for (changes, renewed) in sealed {
            draft.changes.append(changes);
            records.extend(renewed);
        }
        self.change_rows(&found, &records)?;
        let nodes = self.nodes.into_iter().map(|(id, node)| (id, Some(node))).collect();
        let effects = Effects { nodes, appended: Vec::new(), homes: HashMap::new() };
        self.growth.apply_all(effects, sequence, limits, draft)?;
        draft.changes.sort();
        Ok(found.len())
    }

    /// Puts the new salts into the rows of the items, in every leaf that has one.
    fn change_rows(
        &mut self,
        found: &[Found],
        renewed: &HashMap<Pseudonym, ItemRecord>,
    ) -> Result<()> {
        let damaged = || Error::Integrity(Fault::Node);
        let mut changed: BTreeMap<NodeId, Vec<&Found>> = BTreeMap::new();
        for item in found.iter().filter(|item| renewed.contains_key(&item.pseudonym)) {
            for leaf in &item.record.leaves {
                changed.entry(*leaf).or_default().push(item);
            }
        }
        let missing: BTreeSet<_> = changed.keys().copied().collect();
        let missing: Vec<_> = missing.into_iter().filter(|l| !self.nodes.contains_key(l)).collect();
        let read = self.read(&missing)?;
        self.nodes.extend(missing.into_iter().zip(read));
        for (leaf, items) in changed {
            let Some(Node::Leaf(leaf)) = self.nodes.get_mut(&leaf) else { return Err(damaged()) };
            let items: HashMap<_, _> = items.iter().map(|i| (&i.pseudonym, &i.record)).collect();
            let mut left = items.len();
            for row in &mut leaf.rows {
                let Some(old) = items.get(&row.pseudonym) else { continue };
                let new = renewed.get(&row.pseudonym).ok_or_else(damaged)?;
                if (row.epoch, row.salt) != (old.payload_epoch, old.payload_salt) {
                    return Err(damaged());
                }
                (row.epoch, row.salt) = (new.payload_epoch, new.payload_salt);
                row.parts = u16::try_from(new.vector.parts).map_err(|_| damaged())?;
                left = left.checked_sub(1).ok_or_else(damaged)?;
            }
            if left > 0 {
                return Err(damaged());
            }
        }
        Ok(())
    }
}

impl Work<'_> {
    /// Seals records, and payload that is under an older data key. Returns the records of items
    /// whose payload was.
    fn reseal(
        &self,
        share: &[Found],
        sequence: u64,
    ) -> Result<(Changes, Vec<(Pseudonym, ItemRecord)>)> {
        let (key, index, epoch) = (self.key, self.key.index, self.key.table.epoch());
        let (mut changes, mut renewed) = (Changes::new(), Vec::new());
        let due = |item: &&Found| item.record.payload_epoch != epoch;
        let keys: Vec<Vec<u8>> = share
            .iter()
            .filter(due)
            .flat_map(|item| {
                let of = |field| item.record.payload_keys(index, field, &item.pseudonym);
                Field::ALL.into_iter().flat_map(of)
            })
            .collect();
        let mut values = self.snapshot.multi_get_pinned(Family::Payload, &keys)?.into_iter();
        for Found { pseudonym, stored, record } in share {
            let mut record = record.clone();
            if record.payload_epoch != epoch {
                self.reseal_payload(pseudonym, &mut record, &mut values, &mut changes)?;
                renewed.push((*pseudonym, record.clone()));
            }
            let place = ITEM.place(index, epoch, *pseudonym, sequence);
            let sealed = ITEM.seal(key.current_secret()?, &place, &random()?, &record.encode());
            changes.put(Family::Items, key::item(index, pseudonym), Some(stored), sealed);
        }
        Ok((changes, renewed))
    }

    /// `values` are those of the item's payload, all parts of each field, and then of others.
    fn reseal_payload<'v>(
        &self,
        pseudonym: &Pseudonym,
        record: &mut ItemRecord,
        values: &mut impl Iterator<Item = Option<Value<'v>>>,
        changes: &mut Changes,
    ) -> Result<()> {
        let (key, index, epoch) = (self.key, self.key.index, self.key.table.epoch());
        let damaged = || Error::Integrity(Fault::Payload);
        let old = record.payload_cipher(&key.epochs, index, pseudonym)?;
        let (salt, version) = (random()?, record.version);
        let new =
            PayloadCipher::new(key.current_secret()?, index, epoch, *pseudonym, version, &salt);
        let mut plain = Zeroizing::new(Vec::new());
        for field in Field::ALL {
            let Some(extent) = record.extent(field).cloned() else { continue };
            let keys: Vec<_> = record.payload_keys(index, field, pseudonym).collect();
            let values = values.by_ref().take(keys.len()).collect::<Option<Vec<_>>>();
            let values = values.ok_or_else(damaged)?;
            let values: Vec<&[u8]> = values.iter().map(|value| &**value).collect();
            if hash_values(&values) != extent.hash {
                return Err(damaged());
            }
            plain.clear();
            old.open_onto(field, &extent, &values, &mut plain)?;
            let sealed = new.seal(field, &plain, self.limits.value);
            let (extent, sealed) = sealed
                .ok_or_else(|| Error::invalid("a value is too long for the storage engine"))?;
            for surplus in keys.into_iter().skip(sealed.len()) {
                changes.delete(Family::Payload, surplus, None);
            }
            for (part, value) in (0u32..).zip(sealed) {
                let place = key::payload(index, field.kind(), pseudonym, part);
                changes.put(Family::Payload, place, None, value);
            }
            match field {
                Field::Vector => record.vector = extent,
                Field::Contents => record.contents = Some(extent),
                Field::Metadata => record.metadata = Some(extent),
            }
        }
        (record.payload_epoch, record.payload_salt) = (epoch, salt);
        Ok(())
    }
}
