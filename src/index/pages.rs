//! Reading the tree: what a query sees of it.
//!
//! [`PageReader`] opens the codes of nodes, parts of their rows, and vectors; from the plaintext
//! cache, if there is one and what it holds is of the sealing that counts. It counts what it reads
//! from the store and opens.

use std::cell::Cell;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::partition::{Bytes, parse, read_nodes, read_vectors};
use crate::cache::{self, Cache, Name, Part, Stamp};
use crate::crypto::Opened;
use crate::error::{Error, Fault, Result};
use crate::handle::Shared;
use crate::id::NodeId;
use crate::keyring::Session;
use crate::store::record::{NodeCipher, SealedNode, Sealing};
use crate::store::{Snapshot, key};
use crate::tree::node::Row;
use crate::tree::search::{OpenRows, Pages, Visit};
use crate::tree::view::fold;
use crate::vector::{self, Precision};

/// What a query reads through.
pub(crate) struct PageReader<'a> {
    snapshot: &'a dyn Snapshot,
    key: &'a Session,
    /// The plaintext cache, with what finds this index's values in it.
    cache: Option<Cached<'a>>,
    /// The codes of one page at a time, in memory that stays warm.
    buffer: Cell<Vec<u8>>,
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
        let (reads, opened) = (Cell::new(0), Cell::new(0));
        Ok(Self { snapshot, key, cache, buffer: Cell::default(), reads, opened })
    }

    /// Counts what was opened; what the cache may keep is wiped in the end.
    fn opened(&self, plain: Vec<u8>) -> Arc<Opened> {
        self.opened.set(self.opened.get() + plain.len() as u64);
        let kept = self.cache.is_some();
        Arc::new(if kept { Opened::wiped(plain) } else { Opened::passing(plain) })
    }

    /// Hands over a page whose codes are not cached, or not known to be current.
    fn page<'s>(
        &'s self,
        id: NodeId,
        bytes: Bytes<'s>,
        buffer: &mut Vec<u8>,
        visit: Visit<'_, 's>,
    ) -> Result<()> {
        let node = parse(self.key, id, bytes)?;
        let (name, stamp) = (key::number_id(id.0), stamp(node.sealing()));
        let cipher = node.cipher(&self.key.epochs)?;
        let Some(cached) = self.cache else {
            node.open_codes(&cipher, buffer)?;
            fold(buffer).ok_or(Error::Integrity(Fault::Node))?;
            self.opened.set(self.opened.get() + buffer.len() as u64);
            return visit(buffer, Box::new(move |part| self.open_rows(id, &node, &cipher, part)));
        };
        let held = cached.cache.get(cached.name(name), Part::Codes, &stamp, &cached.state);
        let codes = if let Some(codes) = held {
            codes
        } else {
            let mut codes = Vec::new();
            node.open_codes(&cipher, &mut codes)?;
            fold(&mut codes).ok_or(Error::Integrity(Fault::Node))?;
            let codes = self.opened(codes);
            self.keep(name, Part::Codes, stamp, &codes);
            codes
        };
        visit(&codes, Box::new(move |part| self.open_rows(id, &node, &cipher, part)))
    }

    fn open_rows(
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

    /// The codes of a page from the cache, if they are known to be current.
    fn cached_codes(&self, id: NodeId) -> Option<Arc<Opened>> {
        let cached = self.cache?;
        let name = cached.name(key::number_id(id.0));
        cached.cache.get_current(name, Part::Codes, &cached.state)
    }

    /// A part of the rows of a page that is not held. The node is read again if the part is not in
    /// the cache.
    fn cached_rows(&self, id: NodeId, part: usize) -> Result<Arc<Opened>> {
        let held = self.cache.and_then(|cached| {
            let number = Part::Rows(u32::try_from(part).unwrap_or(u32::MAX));
            let name = cached.name(key::number_id(id.0));
            cached.cache.get_current(name, number, &cached.state)
        });
        if let Some(rows) = held {
            return Ok(rows);
        }
        let bytes = read_nodes(self.snapshot, self.key, &[id], &self.reads)?;
        let bytes = bytes.into_iter().next().flatten();
        let node = parse(self.key, id, bytes.ok_or(Error::Integrity(Fault::Node))?)?;
        let cipher = node.cipher(&self.key.epochs)?;
        self.open_rows(id, &node, &cipher, part)
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
    fn pages<'s>(&'s self, ids: &[NodeId], visit: Visit<'_, 's>) -> Result<()> {
        let cached: Vec<Option<Arc<Opened>>> = match self.cache {
            Some(_) => ids.iter().map(|id| self.cached_codes(*id)).collect(),
            None => Vec::new(),
        };
        let is_cached = |at: usize| cached.get(at).is_some_and(Option::is_some);
        let missing = ids.iter().enumerate().filter(|(at, _)| !is_cached(*at));
        let missing: Vec<NodeId> = missing.map(|(_, id)| *id).collect();
        let mut read = read_nodes(self.snapshot, self.key, &missing, &self.reads)?.into_iter();
        let mut buffer = self.buffer.take();
        for (at, id) in ids.iter().copied().enumerate() {
            if let Some(Some(codes)) = cached.get(at) {
                visit(codes, Box::new(move |part| self.cached_rows(id, part)))?;
            } else if let Some(bytes) = read.next().flatten() {
                self.page(id, bytes, &mut buffer, visit)?;
            }
        }
        self.buffer.set(buffer);
        Ok(())
    }

    fn rows(&self, id: NodeId) -> OpenRows<'_> {
        Box::new(move |part| self.cached_rows(id, part))
    }

    fn vectors(&self, rows: &[Row], visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let Some(cached) = self.cache else {
            let rows: Vec<&Row> = rows.iter().collect();
            return self.read_vectors(&rows, visit);
        };
        let stamp = |row: &Row| Stamp { generation: row.version, salt: row.salt };
        let (mut missing, mut places) = (Vec::new(), Vec::new());
        // Grown once, so that no copy is left behind.
        let dimension = self.key.dimension().unwrap_or_default();
        let mut vector = Zeroizing::new(Vec::with_capacity(dimension));
        for (at, row) in rows.iter().enumerate() {
            let name = cached.name(row.pseudonym);
            let held = cached.cache.get(name, Part::Vector, &stamp(row), &cached.state);
            if let Some(bytes) = held {
                vector::decode_into(&bytes, Precision::F32, &mut vector);
                visit(at, &vector);
            } else {
                missing.push(row);
                places.push(at);
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
