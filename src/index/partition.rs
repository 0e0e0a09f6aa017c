//! The partition tree on the store: how nodes and vectors are read and opened, by who queries and
//! by who writes.

use std::cell::Cell;

use zeroize::Zeroizing;

use super::get::decode_vector;
use crate::error::{Error, Fault, Result};
use crate::handle::Shared;
use crate::id::NodeId;
use crate::keyring::Session;
use crate::store::key;
use crate::store::record::{PayloadCipher, SealedNode, Tail, join_node, node_parts};
use crate::store::{Family, Limits, Snapshot, Value};
use crate::tree::node::{Node, Row};
use crate::tree::view::fold;
use crate::tree::{MAX_TREE_DIMENSION, Rules, Space};
use crate::vector;

/// The space of an index that has a tree: one that knows its dimension, and not too many of them.
pub(crate) fn space(key: &Session, shared: &Shared, dimension: Option<usize>) -> Option<Space> {
    let dimension = dimension.filter(|dimension| *dimension <= MAX_TREE_DIMENSION)?;
    let seed = key.names.rotation_seed();
    let rules = Rules::new(&shared.options.tuning, dimension);
    Some(Space::new(&seed, dimension, key.table.config.metric, rules))
}

/// The bytes of a node: the engine's own if it is one value, else put together.
pub(super) enum Bytes<'a> {
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
pub(super) fn read_nodes<'a>(
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

/// Reads the header of a node, and refuses one that was written after the head.
pub(super) fn parse<B: AsRef<[u8]>>(key: &Session, id: NodeId, bytes: B) -> Result<SealedNode<B>> {
    let node = SealedNode::parse(key.index, id, bytes)?;
    // Written or appended to after the head: the head was put back.
    if node.sealing().generation > key.head.commit.sequence {
        return Err(Error::Integrity(Fault::Node));
    }
    Ok(node)
}

/// Opens both segments of a node.
pub(super) fn open_whole(key: &Session, id: NodeId, bytes: &[u8]) -> Result<Node> {
    let sealed = parse(key, id, bytes)?;
    let cipher = sealed.cipher(&key.epochs)?;
    // What is opened is shorter than what is stored, so the vectors need not grow.
    let length = sealed.row_bytes().min(bytes.len());
    let mut codes = Vec::with_capacity(bytes.len() - length);
    let mut rows = Vec::with_capacity(length);
    sealed.open_codes(&cipher, &mut codes)?;
    for part in 0..sealed.row_parts() {
        sealed.open_rows(&cipher, part, &mut rows)?;
    }
    Node::decode(&codes, &rows).ok_or(Error::Integrity(Fault::Node))
}

/// Opens the codes of a node that more may be appended to, and says where; `None` if it is in
/// several values.
pub(super) fn open_tail(
    key: &Session,
    id: NodeId,
    bytes: &[u8],
    codes: &mut Vec<u8>,
) -> Result<Option<Tail>> {
    let sealed = parse(key, id, bytes)?;
    let Some(tail) = sealed.tail() else { return Ok(None) };
    sealed.open_codes(&sealed.cipher(&key.epochs)?, codes)?;
    fold(codes).ok_or(Error::Integrity(Fault::Node))?;
    Ok(Some(tail))
}

/// Reads the vectors of rows and hands each over with its place.
pub(super) fn read_vectors(
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
    let sorted = order.iter().map(|at| keys.get_mut(*at).map(std::mem::take).unwrap_or_default());
    let sorted: Vec<Vec<u8>> = sorted.collect();
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
    // The last vector does not stay behind in memory.
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    let mut vector = Zeroizing::new(Vec::with_capacity(dimension));
    let mut opened = 0u64;
    let mut values = values.into_iter();
    for (at, row) in rows.iter().enumerate() {
        let parts = values.by_ref().take(usize::from(row.parts));
        let parts = parts.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        let secret = key.epochs.get(row.epoch).ok_or_else(damaged)?;
        let (item, version) = (row.pseudonym, row.version);
        let cipher = PayloadCipher::new(secret, key.index, row.epoch, item, version, &row.salt);
        cipher.open_vector(length, &parts, &mut plain)?;
        decode_vector(key, &plain, &mut vector)?;
        opened += plain.len() as u64;
        visit(at, &vector);
    }
    Ok((keys.len() as u64, opened))
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
