//! Visiting every item: for exact queries, lists and exports.
//!
//! Item records are read in key order, which is pseudonym order and so says nothing about ids; the
//! stored values of a batch of records are then read together, about 16 MiB at a time. Memory is
//! that, or one item if it is longer, whatever the index holds. [`Span::split`] cuts the
//! pseudonyms, which are uniform, into equal shares for parallel scans of one snapshot.
//!
//! Whoever has scanned everything compares the number of records with the signed count: a record
//! that was dropped from the files does not go unnoticed.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;

use serde_json::Value;

use super::get::{decode_vector, open_item};
use super::{Include, Index};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::keyring::ReadKey;
use crate::observe::Call;
use crate::redact::Hidden;
use crate::store::key::{self, Pseudonym};
use crate::store::record::{Field, ItemRecord};
use crate::store::{Family, Snapshot};

const BATCH: usize = 256;
/// Bytes of fields that are read together, unless one item has more.
const RUN: u64 = 16 << 20;

/// A share of the items: those whose pseudonym's first byte is in the range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    first: u8,
    last: u8,
}

impl Span {
    /// Everything, in at most `shares` shares.
    pub(crate) fn split(shares: usize) -> Vec<Self> {
        let shares = u16::try_from(shares.clamp(1, 256)).unwrap_or(256);
        let bound = |share: u16| u8::try_from(256 * u32::from(share) / u32::from(shares));
        (0..shares)
            .map(|share| Self {
                first: bound(share).unwrap_or(u8::MAX),
                last: bound(share + 1).map_or(u8::MAX, |next| next.saturating_sub(1)),
            })
            .collect()
    }
}

impl Span {
    /// The first bytes of the pseudonyms in it.
    pub(crate) const fn bytes(self) -> (u8, u8) {
        (self.first, self.last)
    }
}

/// One item of a scan, decrypted.
pub(crate) struct Scanned<'a> {
    pub(crate) pseudonym: Pseudonym,
    pub(crate) record: &'a ItemRecord,
    /// Plaintext of each field that was asked for and is there.
    plain: &'a [Vec<u8>; 3],
}

impl Scanned<'_> {
    fn plain(&self, field: Field) -> Option<&[u8]> {
        let [vector, contents, metadata] = self.plain;
        self.record.extent(field)?;
        Some(match field {
            Field::Vector => vector,
            Field::Contents => contents,
            Field::Metadata => metadata,
        })
    }

    /// Whether a filter selects it. Needs the metadata to have been asked for.
    pub(crate) fn matches(&self, filter: &Filter) -> Result<bool> {
        matches(filter, self.plain(Field::Metadata))
    }

    /// The metadata, if it was asked for and is there.
    pub(crate) fn metadata(&self) -> Result<Option<Value>> {
        let parsed = self.plain(Field::Metadata).map(serde_json::from_slice).transpose();
        parsed.map_err(|_| Error::Integrity(Fault::Payload))
    }

    /// The stored bytes of the vector.
    pub(crate) fn vector(&self) -> &[u8] {
        self.plain(Field::Vector).unwrap_or_default()
    }
}

/// Whether a filter selects an item with this metadata, as it is stored; an item without is one
/// whose metadata has no fields.
fn matches(filter: &Filter, metadata: Option<&[u8]>) -> Result<bool> {
    let Some(metadata) = metadata else { return Ok(filter.matches(&Value::Null)) };
    let metadata: Value =
        serde_json::from_slice(metadata).map_err(|_| Error::Integrity(Fault::Payload))?;
    Ok(filter.matches(&metadata))
}

/// Visits every item of a share and returns how many there were.
pub(crate) fn scan(
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    span: Span,
    include: Include,
    mut visit: impl FnMut(Scanned<'_>) -> Result<ControlFlow<()>>,
) -> Result<u64> {
    let prefix = key::items(key.index);
    let mut from = [&prefix[..], &[span.first]].concat();
    let mut batch: Vec<(Pseudonym, Vec<u8>)> = Vec::with_capacity(BATCH);
    let mut plain = [Vec::new(), Vec::new(), Vec::new()];
    let mut seen = 0u64;
    loop {
        batch.clear();
        let mut malformed = false;
        snapshot.scan(Family::Items, &prefix, &from, &mut |found, stored| {
            match key::pseudonym_of(found) {
                Some(pseudonym) if pseudonym[0] > span.last => return ControlFlow::Break(()),
                Some(pseudonym) => batch.push((pseudonym, stored.to_vec())),
                None => malformed = true,
            }
            if malformed || batch.len() == BATCH {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if malformed {
            return Err(Error::Integrity(Fault::ItemRecord));
        }
        let Some((last, _)) = batch.last() else { return Ok(seen) };
        from = key::item(key.index, last);
        from.push(0);
        if visit_batch(snapshot, key, &batch, include, &mut plain, &mut visit)?.is_break() {
            return Ok(seen);
        }
        seen = seen.saturating_add(batch.len() as u64);
        if batch.len() < BATCH {
            return Ok(seen);
        }
    }
}

/// Visits items whose stored records are known, in their order.
pub(super) fn visit_items(
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    items: &[(Pseudonym, Vec<u8>)],
    include: Include,
    mut visit: impl FnMut(Scanned<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut plain = [Vec::new(), Vec::new(), Vec::new()];
    visit_batch(snapshot, key, items, include, &mut plain, &mut visit).map(drop)
}

fn visit_batch(
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    batch: &[(Pseudonym, Vec<u8>)],
    include: Include,
    plain: &mut [Vec<u8>; 3],
    visit: &mut impl FnMut(Scanned<'_>) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let mut buffer = Vec::new();
    let mut records = Vec::with_capacity(batch.len());
    for (pseudonym, stored) in batch {
        records.push(open_item(key, pseudonym, stored, &mut buffer)?);
    }
    let records = batch.iter().map(|(pseudonym, _)| *pseudonym).zip(records);
    let mut records: VecDeque<(Pseudonym, ItemRecord)> = records.collect();
    while !records.is_empty() {
        let run = take_run(&mut records, include);
        if visit_run(snapshot, key, &run, include, plain, visit)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The first records whose wanted fields fit into [`RUN`] bytes together; at least one.
fn take_run(
    records: &mut VecDeque<(Pseudonym, ItemRecord)>,
    include: Include,
) -> Vec<(Pseudonym, ItemRecord)> {
    let size = |record: &ItemRecord| {
        let extents = include.fields().filter_map(|field| record.extent(field));
        extents.map(|extent| u64::from(extent.length)).sum::<u64>()
    };
    let mut run: Vec<(Pseudonym, ItemRecord)> = Vec::new();
    let mut total = 0;
    while let Some((pseudonym, record)) = records.pop_front() {
        total += size(&record);
        if total > RUN && !run.is_empty() {
            records.push_front((pseudonym, record));
            break;
        }
        run.push((pseudonym, record));
    }
    run
}

/// Reads the wanted fields of some records together and visits them.
fn visit_run(
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    run: &[(Pseudonym, ItemRecord)],
    include: Include,
    plain: &mut [Vec<u8>; 3],
    visit: &mut impl FnMut(Scanned<'_>) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let mut values = Vec::with_capacity(3);
    for field in include.fields() {
        let mut keys = Vec::with_capacity(run.len());
        for (pseudonym, record) in run {
            keys.extend(record.payload_keys(key.index, field, pseudonym));
        }
        values.push((field, snapshot.multi_get(Family::Payload, &keys)?.into_iter()));
    }
    for (pseudonym, record) in run {
        let cipher = record.payload_cipher(&key.epochs, key.index, pseudonym)?;
        for (field, values) in &mut values {
            let Some(extent) = record.extent(*field) else { continue };
            let parts = usize::try_from(extent.parts).unwrap_or(usize::MAX);
            let parts = values.by_ref().take(parts).collect::<Option<Vec<_>>>();
            let parts = parts.ok_or(Error::Integrity(Fault::Payload))?;
            let [vector, contents, metadata] = &mut *plain;
            let out = match field {
                Field::Vector => vector,
                Field::Contents => contents,
                Field::Metadata => metadata,
            };
            out.clear();
            cipher.open_onto(*field, extent, &parts, out)?;
        }
        if visit(Scanned { pseudonym: *pseudonym, record, plain })?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// One item of a [`for_each`](Index::for_each). A field is `None` if it was not asked for or is not
/// there.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The id.
    pub id: &'a str,
    /// The vector as stored.
    pub vector: Option<&'a [f32]>,
    /// The contents.
    pub contents: Option<&'a [u8]>,
    /// The metadata, as JSON text.
    pub metadata: Option<&'a str>,
    /// The sequence of the commit that wrote this content.
    pub version: u64,
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &Hidden::text(self.id))
            .field("vector", &self.vector.map(Hidden::vector))
            .field("contents", &self.contents.map(Hidden::bytes))
            .field("metadata", &self.metadata.map(Hidden::text))
            .field("version", &self.version)
            .finish()
    }
}

impl Index<'_> {
    /// Visits every item once, in no order that means anything, from one snapshot and in bounded
    /// memory; returns how many were visited. Needs the read right. Break to stop early.
    /// `visit` runs inside the call: it may use other handles of the database, but not close it.
    ///
    /// # Errors
    /// [`Error::Integrity`] if a record is damaged, or if fewer or more records are stored than
    /// the signed count says; [`Error::PermissionDenied`]; and those of every call.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use sealvec::{Database, Include, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0]), Item::new("b", [0.0, 1.0])])?;
    /// let mut ids = Vec::new();
    /// index.for_each(Include::NONE, |entry| {
    ///     ids.push(entry.id.to_owned());
    ///     ControlFlow::Continue(())
    /// })?;
    /// ids.sort();
    /// assert_eq!(ids, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_each(
        &self,
        include: Include,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<super::Answer<u64>> {
        self.during(Call::ForEach).read(|snapshot, key| {
            let (mut vector, mut stopped) = (Vec::new(), false);
            let (mut stored, mut visited) = (0u64, 0u64);
            for span in Span::split(1) {
                stored += scan(snapshot, key, span, include, |item| {
                    if include.vector {
                        decode_vector(key, item.vector(), &mut vector)?;
                    }
                    let metadata = item.plain(Field::Metadata).filter(|_| include.metadata);
                    let metadata = metadata.map(std::str::from_utf8).transpose();
                    let flow = visit(Entry {
                        id: &item.record.id,
                        vector: include.vector.then_some(&vector),
                        contents: item.plain(Field::Contents).filter(|_| include.contents),
                        metadata: metadata.map_err(|_| Error::Integrity(Fault::Payload))?,
                        version: item.record.version,
                    });
                    stopped |= flow.is_break();
                    visited += 1;
                    Ok(flow)
                })?;
            }
            if stopped || stored == key.head.commit.item_count {
                Ok(visited)
            } else {
                Err(Error::Integrity(Fault::ItemRecord))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn shares_cover_every_first_byte_once() {
        for shares in [1, 2, 3, 7, 8, 255, 256, 1000] {
            let spans = Span::split(shares);
            let covered: Vec<u8> = spans.iter().flat_map(|span| span.first..=span.last).collect();
            assert_eq!(covered, (0..=255).collect::<Vec<u8>>(), "{shares}");
        }
    }
}
