//! The partition tree on the store: nodes, vectors and homes read and opened, changes sealed.
//!
//! [`Growth`] is what a mutation plans the tree on. It keeps the stored bytes of what it has read, because the set
//! hash needs what a record replaces, and turns the effects of a plan into changes of the commit. [`PageReader`]
//! is what a query reads through; it counts what it reads and opens.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::get::{decode_vector, open_item};
use crate::cache::{self, Cache, Name, Part, Stamp};
use crate::commit::{Changes, Draft};
use crate::crypto::Opened;
use crate::crypto::fill_random;
use crate::crypto::kdf::Salt;
use crate::error::{Error, Fault, Result};
use crate::handle::Shared;
use crate::id::NodeId;
use crate::keyring::Session;
use crate::store::key::{self, Pseudonym};
use crate::store::record::{
    ITEM, ItemRecord, NodeCipher, PayloadCipher, SealedNode, Sealing, join_node, node_parts,
    seal_node,
};
use crate::store::{Family, Limits, Snapshot, Value};
use crate::tree::node::{Node, Row};
use crate::tree::plan::{Effects, Placed, Plan, Point};
use crate::tree::search::{Page, Pages};
use crate::tree::{Backing, Home, MAX_TREE_DIMENSION, Rules, Space};
use crate::vector::{self, Precision};

/// Nodes or records that are sealed on one thread at a time.
const SHARE: usize = 16;

/// The space of an index that has a tree: one that knows its dimension, and not too many of them.
pub(crate) fn space(key: &Session, shared: &Shared, dimension: Option<usize>) -> Option<Space> {
    let dimension = dimension.filter(|dimension| *dimension <= MAX_TREE_DIMENSION)?;
    let seed = key.names.rotation_seed();
    let rules = Rules::new(&shared.options.tuning, dimension);
    Some(Space::new(&seed, dimension, key.table.config.metric, rules))
}

/// The bytes of a node: the engine's own if it is one value, else put together.
enum Bytes<'a> {
    Pinned(Value<'a>),
    Joined(Vec<u8>),
}

impl AsRef<[u8]> for Bytes<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Pinned(value) => value,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// Reads nodes in one batch, and in a second what does not fit into one value.
fn read_nodes<'a>(
    snapshot: &'a dyn Snapshot,
    key: &Session,
    ids: &[NodeId],
    reads: &Cell<u64>,
) -> Result<Vec<Option<Bytes<'a>>>> {
    let keys: Vec<_> = ids.iter().map(|id| key::node(key.index, *id, 0)).collect();
    let firsts = snapshot.multi_get_pinned(Family::Nodes, &keys)?;
    reads.set(reads.get() + keys.len() as u64);
    // An index that holds items has a root.
    let rootless = |(id, first): (&NodeId, &Option<_>)| *id == NodeId::ROOT && first.is_none();
    if key.head.commit.item_count > 0 && ids.iter().zip(&firsts).any(rootless) {
        return Err(Error::Integrity(Fault::Node));
    }
    let mut further = Vec::new();
    for (id, first) in ids.iter().zip(&firsts) {
        let parts = first.as_ref().map_or(Ok(1), |first| node_parts(first))?;
        further.extend((1..parts).map(|part| key::node(key.index, *id, part)));
    }
    if further.is_empty() {
        return Ok(firsts.into_iter().map(|first| first.map(Bytes::Pinned)).collect());
    }
    reads.set(reads.get() + further.len() as u64);
    let mut further = snapshot.multi_get_pinned(Family::Nodes, &further)?.into_iter();
    let mut out = Vec::with_capacity(ids.len());
    for first in firsts {
        let Some(first) = first else {
            out.push(None);
            continue;
        };
        let count = usize::try_from(node_parts(&first)? - 1).unwrap_or(usize::MAX);
        let tail: Option<Vec<Value<'_>>> = further.by_ref().take(count).collect();
        let tail = tail.ok_or(Error::Integrity(Fault::Node))?;
        out.push(Some(if tail.is_empty() {
            Bytes::Pinned(first)
        } else {
            Bytes::Joined(join_node(&first, &tail)?)
        }));
    }
    Ok(out)
}

fn parse<B: AsRef<[u8]>>(key: &Session, id: NodeId, bytes: B) -> Result<SealedNode<B>> {
    let node = SealedNode::parse(key.index, id, bytes)?;
    // Written after the head: the head was put back.
    if node.sealing().generation > key.head.commit.sequence {
        return Err(Error::Integrity(Fault::Node));
    }
    Ok(node)
}

fn open_whole(key: &Session, id: NodeId, bytes: &[u8]) -> Result<Node> {
    let sealed = parse(key, id, bytes)?;
    let cipher = sealed.cipher(&key.epochs)?;
    let (mut codes, mut rows) = (Vec::new(), Vec::new());
    sealed.open_codes(&cipher, &mut codes)?;
    for part in 0..sealed.row_parts() {
        sealed.open_rows(&cipher, part, &mut rows)?;
    }
    Node::decode(&codes, &rows).ok_or(Error::Integrity(Fault::Node))
}

/// Reads the vectors of rows and hands each over with its place.
fn read_vectors(
    snapshot: &dyn Snapshot,
    key: &Session,
    rows: &[&Row],
    visit: &mut dyn FnMut(usize, &[f32]),
) -> Result<(u64, u64)> {
    let damaged = || Error::Integrity(Fault::Payload);
    let kind = key::Kind::Vector;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let parts = u32::from(row.parts);
        keys.extend((0..parts).map(|part| key::payload(key.index, kind, &row.pseudonym, part)));
    }
    // The engine reads neighbours faster.
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_unstable_by(|a, b| keys.get(*a).cmp(&keys.get(*b)));
    let sorted: Vec<Vec<u8>> = order.iter().filter_map(|at| keys.get(*at).cloned()).collect();
    let found = snapshot.multi_get_pinned(Family::Payload, &sorted)?;
    let mut values: Vec<Option<Value<'_>>> = Vec::new();
    values.resize_with(keys.len(), || None);
    for (at, value) in order.into_iter().zip(found) {
        if let Some(slot) = values.get_mut(at) {
            *slot = value;
        }
    }
    let dimension = key.dimension().ok_or_else(damaged)?;
    let length = dimension * key.table.config.precision.bytes();
    let (mut plain, mut vector, mut opened) = (Vec::with_capacity(length), Vec::new(), 0u64);
    let mut values = values.into_iter();
    for (at, row) in rows.iter().enumerate() {
        let parts = values.by_ref().take(usize::from(row.parts));
        let parts = parts.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        let secret = key.epochs.get(row.epoch).ok_or_else(damaged)?;
        let (item, version) = (row.pseudonym, row.version);
        let cipher = PayloadCipher::new(secret, key.index, row.epoch, item, version, &row.salt);
        plain.clear();
        cipher.open_vector(length, &parts, &mut plain)?;
        decode_vector(key, &plain, &mut vector)?;
        opened += plain.len() as u64;
        visit(at, &vector);
    }
    Ok((keys.len() as u64, opened))
}

/// What a mutation plans the tree on.
pub(crate) struct Growth<'a> {
    snapshot: &'a dyn Snapshot,
    key: &'a Session,
    shared: &'a Shared,
    /// The stored values of every node that was read.
    nodes: Mutex<HashMap<NodeId, Vec<Vec<u8>>>>,
    /// The stored and the opened record of every item that was asked for.
    records: Mutex<HashMap<Pseudonym, (Vec<u8>, ItemRecord)>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Growth<'a> {
    pub(crate) fn new(snapshot: &'a dyn Snapshot, key: &'a Session, shared: &'a Shared) -> Self {
        Self { snapshot, key, shared, nodes: Mutex::default(), records: Mutex::default() }
    }

    /// Lets go of what has been read so far.
    pub(crate) fn forget(&self) {
        held(&self.nodes).clear();
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
        let Effects { nodes, homes } = effects;
        let mut moved: Vec<(Pseudonym, Home)> =
            homes.into_iter().filter(|(item, _)| !written.contains_key(item)).collect();
        moved.sort_unstable_by_key(|(item, _)| *item);
        let old_nodes = held(&self.nodes);
        let records = held(&self.records);
        let sealed = self.shared.map(nodes.chunks(SHARE).collect(), |share: &[_]| {
            let mut changes = Changes::new();
            for (id, node) in share {
                let old = old_nodes.get(id).map_or(&[][..], Vec::as_slice);
                self.seal_node(*id, node.as_ref(), old, generation, limits, &mut changes)?;
            }
            Ok(changes)
        })?;
        sealed.into_iter().for_each(|changes| draft.changes.append(changes));
        let sealed = self.shared.map(moved.chunks(SHARE * 4).collect(), |share: &[_]| {
            let mut changes = Changes::new();
            for (item, home) in share {
                let (stored, record) = records.get(item).ok_or(Error::Integrity(Fault::Node))?;
                let record = ItemRecord { leaves: home.leaves(), ..record.clone() };
                self.seal_item(item, &record, stored, generation, &mut changes)?;
            }
            Ok(changes)
        })?;
        sealed.into_iter().for_each(|changes| draft.changes.append(changes));
        Ok(())
    }

    fn seal_node(
        &self,
        id: NodeId,
        node: Option<&Node>,
        old: &[Vec<u8>],
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
            changes.put(Family::Nodes, key, old.next().map(Vec::as_slice), value);
        }
        // `zip` has taken one number too many only if the values ran out after it; it asks them first.
        for (old, part) in old.zip(parts) {
            changes.delete(Family::Nodes, key::node(index, id, part), Some(old));
        }
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

impl Backing for Growth<'_> {
    fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<Node>>> {
        let bytes = read_nodes(self.snapshot, self.key, ids, &Cell::new(0))?;
        let pairs: Vec<_> = ids.iter().copied().zip(bytes).collect();
        let key = self.key;
        self.shared.map(pairs, |(id, bytes)| {
            let Some(bytes) = bytes else { return Ok(None) };
            let node = open_whole(key, id, bytes.as_ref())?;
            let values = match bytes {
                Bytes::Pinned(value) => vec![value.to_vec()],
                Bytes::Joined(_) => {
                    let count = node_parts(bytes.as_ref())?;
                    let keys: Vec<_> =
                        (0..count).map(|part| key::node(key.index, id, part)).collect();
                    let values = self.snapshot.multi_get(Family::Nodes, &keys)?;
                    let values = values.into_iter().collect::<Option<Vec<_>>>();
                    values.ok_or(Error::Integrity(Fault::Node))?
                }
            };
            held(&self.nodes).insert(id, values);
            Ok(Some(node))
        })
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

/// What a query reads through.
pub(crate) struct PageReader<'a> {
    snapshot: &'a dyn Snapshot,
    key: &'a Session,
    /// The plaintext cache, with what finds this index's values in it.
    cache: Option<Cached<'a>>,
    /// Stored values read.
    pub(crate) reads: Cell<u64>,
    /// Bytes of plaintext opened.
    pub(crate) opened: Cell<u64>,
}

#[derive(Clone, Copy)]
struct Cached<'a> {
    cache: &'a Cache,
    secret: [u8; 16],
    state: cache::State,
}

impl Cached<'_> {
    const fn name(&self, id: [u8; 16]) -> Name {
        Name { secret: self.secret, id }
    }
}

impl<'a> PageReader<'a> {
    pub(crate) fn new(
        snapshot: &'a dyn Snapshot,
        key: &'a Session,
        shared: &'a Shared,
    ) -> Result<Self> {
        let cache = match &shared.cache {
            Some(cache) => {
                let secret = key.current_secret()?.fingerprint(key.index);
                let state = (key.head.commit.sequence, key.head.hash);
                Some(Cached { cache, secret, state })
            }
            None => None,
        };
        Ok(Self { snapshot, key, cache, reads: Cell::new(0), opened: Cell::new(0) })
    }

    /// Counts what was opened; what the cache may keep is wiped in the end.
    fn opened(&self, plain: Vec<u8>) -> Arc<Opened> {
        self.opened.set(self.opened.get() + plain.len() as u64);
        let kept = self.cache.is_some();
        Arc::new(if kept { Opened::wiped(plain) } else { Opened::passing(plain) })
    }

    /// A page whose codes are not cached, or not known to be current.
    fn page(&self, id: NodeId, bytes: Bytes<'a>) -> Result<Page<'_>> {
        let node = parse(self.key, id, bytes)?;
        let stamp = stamp(node.sealing());
        let name = key::number_id(id.0);
        let cached = self.cache.and_then(|cached| {
            cached.cache.get(cached.name(name), Part::Codes, &stamp, &cached.state)
        });
        let cipher = node.cipher(&self.key.epochs)?;
        let codes = match cached {
            Some(codes) => codes,
            None => {
                let mut codes = Vec::new();
                node.open_codes(&cipher, &mut codes)?;
                let codes = self.opened(codes);
                self.keep(name, Part::Codes, stamp, &codes);
                codes
            }
        };
        Ok(Page { codes, rows: Box::new(move |part| self.rows(id, &node, &cipher, part)) })
    }

    fn rows(
        &self,
        id: NodeId,
        node: &SealedNode<Bytes<'_>>,
        cipher: &NodeCipher,
        part: usize,
    ) -> Result<Arc<Opened>> {
        let (name, stamp) = (key::number_id(id.0), stamp(node.sealing()));
        let number = Part::Rows(u32::try_from(part).unwrap_or(u32::MAX));
        let cached = self
            .cache
            .and_then(|cached| cached.cache.get(cached.name(name), number, &stamp, &cached.state));
        if let Some(rows) = cached {
            return Ok(rows);
        }
        let mut plain = Vec::new();
        node.open_rows(cipher, part, &mut plain)?;
        let plain = self.opened(plain);
        self.keep(name, number, stamp, &plain);
        Ok(plain)
    }

    /// A page from the cache alone, if all of it is current. Rows are read when they are asked for.
    fn cached_page(&self, id: NodeId) -> Option<Page<'_>> {
        let cached = self.cache?;
        let name = key::number_id(id.0);
        let codes = cached.cache.get_current(cached.name(name), Part::Codes, &cached.state)?;
        let rows = move |part: usize| {
            let number = Part::Rows(u32::try_from(part).unwrap_or(u32::MAX));
            if let Some(rows) = cached.cache.get_current(cached.name(name), number, &cached.state) {
                return Ok(rows);
            }
            let bytes = read_nodes(self.snapshot, self.key, &[id], &self.reads)?;
            let bytes = bytes.into_iter().next().flatten();
            let node = parse(self.key, id, bytes.ok_or(Error::Integrity(Fault::Node))?)?;
            let cipher = node.cipher(&self.key.epochs)?;
            self.rows(id, &node, &cipher, part)
        };
        Some(Page { codes, rows: Box::new(rows) })
    }

    fn keep(&self, name: [u8; 16], part: Part, stamp: Stamp, value: &Arc<Opened>) {
        if let Some(cached) = &self.cache {
            cached.cache.put(cached.name(name), part, stamp, cached.state, value);
        }
    }

    fn read_vectors(&self, rows: &[&Row], visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let (reads, opened) = read_vectors(self.snapshot, self.key, rows, visit)?;
        self.reads.set(self.reads.get() + reads);
        self.opened.set(self.opened.get() + opened);
        Ok(())
    }
}

const fn stamp(sealing: &Sealing) -> Stamp {
    Stamp { generation: sealing.generation, salt: sealing.salt }
}

impl Pages for PageReader<'_> {
    fn pages(&self, ids: &[NodeId]) -> Result<Vec<Option<Page<'_>>>> {
        let mut pages: Vec<Option<Page<'_>>> = ids.iter().map(|id| self.cached_page(*id)).collect();
        let missing = ids.iter().zip(&pages).filter(|(_, page)| page.is_none());
        let missing: Vec<NodeId> = missing.map(|(id, _)| *id).collect();
        let read = read_nodes(self.snapshot, self.key, &missing, &self.reads)?;
        let mut read = missing.into_iter().zip(read);
        for page in pages.iter_mut().filter(|page| page.is_none()) {
            if let Some((id, Some(bytes))) = read.next() {
                *page = Some(self.page(id, bytes)?);
            }
        }
        Ok(pages)
    }

    fn vectors(&self, rows: &[Row], visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let Some(cached) = self.cache else {
            let rows: Vec<&Row> = rows.iter().collect();
            return self.read_vectors(&rows, visit);
        };
        let stamp = |row: &Row| Stamp { generation: row.version, salt: row.salt };
        let (mut missing, mut places) = (Vec::new(), Vec::new());
        let mut vector = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let name = cached.name(row.pseudonym);
            match cached.cache.get(name, Part::Vector, &stamp(row), &cached.state) {
                Some(bytes) => {
                    vector::decode_into(&bytes, Precision::F32, &mut vector);
                    visit(at, &vector);
                }
                None => {
                    missing.push(row);
                    places.push(at);
                }
            }
        }
        self.read_vectors(&missing, &mut |at, vector| {
            let (Some(row), Some(place)) = (missing.get(at), places.get(at)) else { return };
            let plain = Arc::new(Opened::wiped(vector::encode(vector, Precision::F32)));
            self.keep(row.pseudonym, Part::Vector, stamp(row), &plain);
            visit(*place, vector);
        })
    }
}

/// Takes items out of the tree and puts items in, in the commit that `next` will be. Returns the leaves of what was
/// put in.
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

/// Makes the skeleton of an empty tree; see `bulk`.
pub(crate) fn replant_skeleton(
    growth: &Growth<'_>,
    space: &Space,
    sample: &[Placed],
    expected: usize,
    generation: u64,
    limits: Limits,
    draft: &mut Draft,
) -> Result<()> {
    let mut plan = Plan::new(growth, space, generation);
    plan.skeleton(sample, expected)?;
    growth.apply_all(plan.finish()?, generation, limits, draft)
}

/// The number of values that a vector of `length` bytes is stored in.
pub(crate) fn vector_parts(length: usize, limits: Limits) -> Result<u16> {
    let parts = PayloadCipher::parts(length, limits.value).and_then(|n| u16::try_from(n).ok());
    parts.ok_or_else(|| Error::invalid("a value is too long for the storage engine"))
}

/// A stored vector as the tree sees it.
pub(crate) fn place(key: &Session, space: &Space, stored: &[u8]) -> Vec<f32> {
    let mut vector = Vec::new();
    vector::decode_into(stored, key.table.config.precision, &mut vector);
    space.place(&vector)
}
