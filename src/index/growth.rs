//! Writing the tree: what a mutation plans on, and how its plan becomes changes of the commit.
//!
//! [`Growth`] reads and opens whole nodes, vectors and homes. It holds on to the stored bytes of a few
//! nodes and looks again at those of others that it replaces, because the set hash needs them, and seals
//! what a plan changed, each under a fresh salt. Of a leaf that rows are appended to it keeps the hash and where the value
//! ends.
//!
//! A leaf is appended to until it has [`DELTAS`] deltas, or they are more than a part of it; then
//! it is written whole again.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::get::open_item;
use super::partition::{Bytes, open_tail, open_whole, read_nodes, read_vectors};
use crate::commit::{Changes, Draft};
use crate::crypto::fill_random;
use crate::crypto::kdf::Salt;
use crate::crypto::sethash::ValueHash;
use crate::error::{Error, Fault, Result};
use crate::handle::Shared;
use crate::id::NodeId;
use crate::keyring::Session;
use crate::store::key::{self, Pseudonym};
use crate::store::record::{
    DELTA, ITEM, ItemRecord, Sealing, Tail, node_parts, seal_delta, seal_node,
};
use crate::store::{Family, Limits, Snapshot, Value};
use crate::tree::append::{self, Stub};
use crate::tree::node::{Leaf, Node, Row};
use crate::tree::plan::{Effects, Placed, Plan, Point};
use crate::tree::repair::Repair;
use crate::tree::{Backing, Home, Space};

/// Nodes or records that are sealed on one thread at a time.
const SHARE: usize = 16;
/// Fewer nodes than this are not worth another thread.
const FEW: usize = 16;
/// Deltas a leaf has at most. Each costs a query that reads the leaf about a microsecond.
const DELTAS: u16 = 4;
/// Nodes that are held on to as they are stored, so that a small write reads them once.
const KEPT: usize = 16;
/// The deltas of a leaf take at most this part of what it takes without them.
const PART: usize = 4;

/// What a mutation plans the tree on.
pub(crate) struct Growth<'a> {
    snapshot: &'a dyn Snapshot,
    key: &'a Session,
    shared: &'a Shared,
    /// The longest value, if leaves may be appended to.
    longest: Option<usize>,
    /// In how many values each node that was read is stored.
    nodes: Mutex<HashMap<NodeId, u32>>,
    /// The first [`KEPT`] nodes that were read, as they are stored.
    kept: Mutex<HashMap<NodeId, Value<'a>>>,
    /// Where leaves end that may be appended to, and the hashes of what is stored.
    tails: Mutex<HashMap<NodeId, (Tail, ValueHash)>>,
    /// The stored and the opened record of every item that was asked for.
    records: Mutex<HashMap<Pseudonym, (Vec<u8>, ItemRecord)>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Growth<'a> {
    pub(crate) fn new(snapshot: &'a dyn Snapshot, key: &'a Session, shared: &'a Shared) -> Self {
        let (nodes, kept, tails, records) = <(Mutex<_>, Mutex<_>, Mutex<_>, Mutex<_>)>::default();
        Self { snapshot, key, shared, longest: None, nodes, kept, tails, records }
    }

    /// Has rows appended to leaves where that will do: less is written, and read a little slower.
    pub(crate) const fn appending(mut self, limits: Limits) -> Self {
        self.longest = Some(limits.value);
        self
    }

    /// The bytes of codes and rows that may be appended to a leaf.
    fn room(&self, tail: &Tail) -> usize {
        let Some(longest) = self.longest.filter(|_| tail.position < DELTAS) else { return 0 };
        let most = (tail.whole / PART).min(longest.saturating_sub(tail.whole));
        most.saturating_sub(tail.appended + DELTA)
    }

    /// Lets go of what has been read so far.
    pub(crate) fn forget(&self) {
        held(&self.nodes).clear();
        held(&self.kept).clear();
        held(&self.tails).clear();
        held(&self.records).clear();
    }

    /// Seals what a plan that writes no items changed into the draft.
    pub(crate) fn apply_all(
        &self,
        effects: Effects,
        generation: u64,
        limits: Limits,
        draft: &mut Draft,
    ) -> Result<()> {
        self.apply(effects, &HashMap::new(), generation, limits, draft)
    }

    /// Seals what a plan changed into the draft. Items of `written` are sealed by the caller.
    pub(crate) fn apply(
        &self,
        effects: Effects,
        written: &HashMap<Pseudonym, Home>,
        generation: u64,
        limits: Limits,
        draft: &mut Draft,
    ) -> Result<()> {
        let Effects { nodes, appended, homes } = effects;
        let mut moved: Vec<(Pseudonym, Home)> =
            homes.into_iter().filter(|(item, _)| !written.contains_key(item)).collect();
        moved.sort_unstable_by_key(|(item, _)| *item);
        let records = held(&self.records);
        let sealed = self.shared.map(nodes.chunks(SHARE).collect(), |share: &[_]| {
            let mut changes = Changes::new();
            for (id, node) in share {
                let old = self.stored(*id)?;
                self.seal_node(*id, node.as_ref(), &old, generation, limits, &mut changes)?;
            }
            Ok(changes)
        })?;
        for changes in sealed {
            draft.changes.append(changes);
        }
        let sealed = self.shared.map(appended.chunks(SHARE * 4).collect(), |share: &[_]| {
            let mut changes = Changes::new();
            for (id, leaf) in share {
                self.seal_delta(*id, leaf, generation, &mut changes)?;
            }
            Ok(changes)
        })?;
        for changes in sealed {
            draft.changes.append(changes);
        }
        let sealed = self.shared.map(moved.chunks(SHARE * 4).collect(), |share: &[_]| {
            let mut changes = Changes::new();
            for (item, home) in share {
                let (stored, record) = records.get(item).ok_or(Error::Integrity(Fault::Node))?;
                let record = ItemRecord { leaves: home.leaves(), ..record.clone() };
                self.seal_item(item, &record, stored, generation, &mut changes)?;
            }
            Ok(changes)
        })?;
        for changes in sealed {
            draft.changes.append(changes);
        }
        Ok(())
    }

    /// The values that a node is stored in, for the set hash; none if it is new.
    fn stored(&self, id: NodeId) -> Result<Vec<Value<'a>>> {
        if let Some(kept) = held(&self.kept).remove(&id) {
            return Ok(vec![kept]);
        }
        let Some(parts) = held(&self.nodes).get(&id).copied() else { return Ok(Vec::new()) };
        let keys: Vec<_> = (0..parts).map(|part| key::node(self.key.index, id, part)).collect();
        let values = self.snapshot.multi_get_pinned(Family::Nodes, &keys)?;
        values.into_iter().collect::<Option<Vec<_>>>().ok_or(Error::Integrity(Fault::Node))
    }

    fn seal_node(
        &self,
        id: NodeId,
        node: Option<&Node>,
        old: &[Value<'_>],
        generation: u64,
        limits: Limits,
        changes: &mut Changes,
    ) -> Result<()> {
        let index = self.key.index;
        let mut values = Vec::new();
        if let Some(node) = node {
            let (codes, rows) = node.encode().ok_or(Error::Integrity(Fault::Node))?;
            let sealing = Sealing { epoch: self.key.table.epoch(), generation, salt: salt()? };
            let secret = self.key.current_secret()?;
            values = seal_node(secret, index, id, &sealing, &codes, &rows, limits.value)
                .ok_or_else(|| Error::invalid("a tree node is too long for the storage engine"))?;
        }
        let mut old = old.iter();
        let mut parts = 0u32..;
        for (value, part) in values.into_iter().zip(parts.by_ref()) {
            let key = key::node(index, id, part);
            changes.put(Family::Nodes, key, old.next().map(|old| &**old), value);
        }
        // `zip` has taken one number too many only if the values ran out after it; it asks them
        // first.
        for (old, part) in old.zip(parts) {
            changes.delete(Family::Nodes, key::node(index, id, part), Some(old));
        }
        Ok(())
    }

    fn seal_delta(
        &self,
        id: NodeId,
        new: &Leaf,
        generation: u64,
        changes: &mut Changes,
    ) -> Result<()> {
        let damaged = || Error::Integrity(Fault::Node);
        let (tail, old) = held(&self.tails).remove(&id).ok_or_else(damaged)?;
        let (codes, rows) = append::encode(new).ok_or_else(damaged)?;
        let sealing = Sealing { epoch: self.key.table.epoch(), generation, salt: salt()? };
        let (secret, index) = (self.key.current_secret()?, self.key.index);
        let delta = seal_delta(secret, index, id, &sealing, &tail, &codes, &rows);
        let delta = delta.ok_or_else(damaged)?;
        changes.extend(Family::Nodes, key::node(index, id, 0), old, delta);
        Ok(())
    }

    fn seal_item(
        &self,
        item: &Pseudonym,
        record: &ItemRecord,
        stored: &[u8],
        generation: u64,
        changes: &mut Changes,
    ) -> Result<()> {
        let (index, epoch) = (self.key.index, self.key.table.epoch());
        let place = ITEM.place(index, epoch, *item, generation);
        let sealed = ITEM.seal(self.key.current_secret()?, &place, &salt()?, &record.encode());
        changes.put(Family::Items, key::item(index, item), Some(stored), sealed);
        Ok(())
    }
}

fn salt() -> Result<Salt> {
    let mut salt = [0; 24];
    fill_random(&mut salt)?;
    Ok(salt)
}

impl<'a> Backing for Growth<'a> {
    fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<Node>>> {
        let bytes = read_nodes(self.snapshot, self.key, ids, &Cell::new(0))?;
        let pairs: Vec<_> = ids.iter().copied().zip(bytes).collect();
        let mut known = held(&self.nodes);
        for (id, bytes) in &pairs {
            if let Some(bytes) = bytes {
                known.insert(*id, node_parts(bytes.as_ref())?);
            }
        }
        drop(known);
        let key = self.key;
        let open = |(id, bytes): (NodeId, Option<Bytes<'a>>)| {
            let node = bytes.as_ref().map(|bytes| open_whole(key, id, bytes.as_ref())).transpose();
            if let Some(Bytes::Pinned(value)) = bytes {
                let mut kept = held(&self.kept);
                if kept.len() < KEPT {
                    kept.insert(id, value);
                }
            }
            node
        };
        if pairs.len() < FEW {
            return pairs.into_iter().map(open).collect();
        }
        self.shared.map(pairs, open)
    }

    fn stubs(&self, ids: &[NodeId]) -> Result<Vec<Option<Stub>>> {
        let damaged = || Error::Integrity(Fault::Node);
        if self.longest.is_none() {
            return Ok(ids.iter().map(|_| None).collect());
        }
        let bytes = read_nodes(self.snapshot, self.key, ids, &Cell::new(0))?;
        let pairs: Vec<_> = ids.iter().copied().zip(bytes).collect();
        let open = |(id, bytes): (NodeId, Option<Bytes<'_>>)| {
            let bytes = bytes.ok_or_else(damaged)?;
            let bytes = bytes.as_ref();
            let mut codes = Vec::new();
            let Some(tail) = open_tail(self.key, id, bytes, &mut codes)? else { return Ok(None) };
            let room = self.room(&tail);
            if room == 0 {
                return Ok(None);
            }
            held(&self.tails).insert(id, (tail, ValueHash::new(bytes)));
            Stub::new(&codes, room).ok_or_else(damaged).map(Some)
        };
        if pairs.len() < FEW {
            return pairs.into_iter().map(open).collect();
        }
        self.shared.map(pairs, open)
    }

    fn vectors(&self, rows: &[&Row]) -> Result<Vec<Vec<f32>>> {
        let mut out = Vec::with_capacity(rows.len());
        read_vectors(self.snapshot, self.key, rows, &mut |_, vector| out.push(vector.to_vec()))?;
        Ok(out)
    }

    fn homes(&self, items: &[Pseudonym]) -> Result<Vec<Home>> {
        let keys: Vec<_> = items.iter().map(|item| key::item(self.key.index, item)).collect();
        let stored = self.snapshot.multi_get(Family::Items, &keys)?;
        let damaged = Error::Integrity(Fault::Node);
        let pairs: Vec<_> = items.iter().zip(stored).collect();
        let shares: Vec<_> = pairs.chunks(SHARE * 4).collect();
        let opened = self.shared.map(shares, |share: &[(&Pseudonym, Option<Vec<u8>>)]| {
            let mut plain = Vec::new();
            share
                .iter()
                .map(|(item, stored)| {
                    let stored = stored.as_ref().ok_or_else(|| damaged.clone())?;
                    Ok((stored.clone(), open_item(self.key, item, stored, &mut plain)?))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let mut records = held(&self.records);
        let opened = items.iter().zip(opened.into_iter().flatten());
        opened
            .map(|(item, (stored, record))| {
                let home = Home::from_leaves(&record.leaves).ok_or_else(|| damaged.clone())?;
                records.insert(*item, (stored, record));
                Ok(home)
            })
            .collect()
    }

    fn threads(&self) -> usize {
        self.shared.threads()
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
        self.shared.map((0..count).collect(), work).map(drop)
    }
}

/// Takes items out of the tree and puts items in, in the commit that `next` will be. Returns the
/// leaves of what was put in.
pub(crate) fn replant(
    growth: &Growth<'_>,
    space: &Space,
    removed: &[(Pseudonym, Home)],
    points: Vec<Point>,
    generation: u64,
    limits: Limits,
    draft: &mut Draft,
) -> Result<HashMap<Pseudonym, Home>> {
    let items: Vec<Pseudonym> = points.iter().map(|point| point.row.pseudonym).collect();
    let mut plan = Plan::new(growth, space, generation);
    plan.remove(removed)?;
    plan.insert(points)?;
    plan.dissolve()?;
    let effects = plan.finish()?;
    let written = items.into_iter().map(|item| Some((item, *effects.homes.get(&item)?)));
    let written: HashMap<_, _> =
        written.collect::<Option<_>>().ok_or(Error::Integrity(Fault::Node))?;
    growth.apply(effects, &written, generation, limits, draft)?;
    Ok(written)
}

/// Takes rows out of a damaged tree and mends it.
pub(super) fn mend(
    growth: &Growth<'_>,
    space: &Space,
    repair: Repair,
    generation: u64,
) -> Result<Effects> {
    let mut plan = Plan::new(growth, space, generation);
    plan.mend(repair)?;
    plan.finish()
}

/// Makes the skeleton of an empty tree; see `bulk`. False if there is nothing to make.
pub(crate) fn replant_skeleton(
    growth: &Growth<'_>,
    space: &Space,
    sample: &[Placed],
    expected: usize,
    generation: u64,
    limits: Limits,
    draft: &mut Draft,
) -> Result<bool> {
    let mut plan = Plan::new(growth, space, generation);
    plan.skeleton(sample, expected)?;
    let effects = plan.finish()?;
    let grown = !effects.nodes.is_empty();
    growth.apply_all(effects, generation, limits, draft)?;
    Ok(grown)
}
