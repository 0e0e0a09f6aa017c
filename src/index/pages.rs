//! Reading the tree: what a query sees of it.
//!
//! [`PageReader`] opens the codes of nodes, parts of their rows, and vectors; from the plaintext cache, if there is one and
//! what it holds is of the sealing that counts. It counts what it reads from the store and opens.

use std::cell::Cell;
use std::sync::Arc;

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
use crate::tree::search::{Page, Pages};
use crate::vector::{self, Precision};

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
        let codes = if let Some(codes) = cached {
            codes
        } else {
            let mut codes = Vec::new();
            node.open_codes(&cipher, &mut codes)?;
            let codes = self.opened(codes);
            self.keep(name, Part::Codes, stamp, &codes);
            codes
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
