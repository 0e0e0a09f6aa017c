//! Writing many items.
//!
//! Items are taken from an iterator into a buffer of at most [`BUFFER`] bytes, put in the order of the leaves they
//! belong in, and written in commits of at most [`COMMIT`] bytes, so that each commit rewrites few leaves. An
//! empty index gets a skeleton of leaves first, from a sample of the first buffer. Steps, and what a crash leaves:
//! 1. The skeleton, in a commit of its own: an index without items, as before.
//! 2. The commits, one after the other: those that came before the crash, each whole.
//!
//! Every commit leaves a valid index, so stopping is stopping. A run that is repeated skips what is there already.
//!
//! Memory: the buffer, and for each item in it its vector once more.

use std::collections::HashMap;
use std::ops::ControlFlow;

use serde_json::Value;

use super::growth::{Growth, replant_skeleton};
use super::item::check_item;
use super::partition::space;
use super::upsert::dimension_for;
use super::write::{Existing, Writing};
use super::{Committed, Index, Item, Outcome};
use crate::attributes::Edits;
use crate::commit::{self, Draft, Operation};
use crate::condition::Expected;
use crate::config::IndexConfig;
use crate::error::{Error, Result};
use crate::id::{ETag, NodeId, VersionToken};
use crate::keyring::WriteKey;
use crate::observe::{Call, Changes};
use crate::store::Family;
use crate::store::key::node;
use crate::tree::plan::{Placed, Plan};

/// Bytes of items that are held at a time.
const BUFFER: usize = 96 << 20;
/// Bytes of items in a commit.
const COMMIT: usize = 16 << 20;
/// Vectors in the sample that a skeleton is made from.
const SAMPLE: usize = 48 << 10;
/// What an item takes besides its fields.
const OVERHEAD: usize = 256;

/// How far a [`bulk_upsert`](Index::bulk_upsert) has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkProgress {
    /// Items that are written, or were there already as they would be.
    pub done: u64,
    /// Items taken from the iterator that need not be given again: everything before them is done.
    pub settled: u64,
    /// The number of items in the index.
    pub item_count: u64,
}

/// What a [`bulk_upsert`](Index::bulk_upsert) did, and the state it left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkReport {
    /// Items that were not there before.
    pub inserted: u64,
    /// Items that were there and were replaced.
    pub updated: u64,
    /// Items that were there already as they would be, and earlier items of an id that came again.
    pub unchanged: u64,
    /// Whether the caller stopped it.
    pub stopped: bool,
    /// The number of items after the call.
    pub item_count: u64,
    /// The total size after the call; see [`Description`](super::Description).
    pub total_size_bytes: u64,
    /// The state of the items after the call.
    pub etag: ETag,
    /// The last commit.
    pub version: VersionToken,
}

impl Index<'_> {
    /// Writes any number of items, in commits of about 16 MiB and with all threads. Needs the write right.
    ///
    /// `progress` is called after each commit; break to stop. What is written stays, the index is valid after every
    /// commit, and running the same call again goes on where it stopped: items that are there already, equal in
    /// every field, are left as they are. The last of several items with one id wins.
    ///
    /// Unlike [`upsert`](Self::upsert) the call as a whole is not atomic: others see its commits one by one.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert), the position being that among all items given. Items are checked
    /// before those that are buffered with them are written; what was committed before stays.
    /// [`Error::InvalidArgument`] for an item with a condition, and by an index that
    /// [requires](crate::IndexConfig::require_if_match) an `if_match`.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let items = || (0..500u16).map(|i| Item::new(i.to_string(), [f32::from(i), 1.0]));
    /// let report = index.bulk_upsert(items(), |_| ControlFlow::Continue(()))?;
    /// assert_eq!((report.inserted, report.item_count), (500, 500));
    /// let again = index.bulk_upsert(items(), |_| ControlFlow::Continue(()))?;
    /// assert_eq!((again.inserted, again.updated, again.unchanged), (0, 0, 500));
    /// # Ok(())
    /// # }
    /// ```
    pub fn bulk_upsert(
        &self,
        items: impl IntoIterator<Item = Item>,
        progress: impl FnMut(&BulkProgress) -> ControlFlow<()>,
    ) -> Result<BulkReport> {
        self.observed(Call::BulkUpsert, |seen| {
            let report = self.write_all(items, progress)?;
            let BulkReport { inserted, updated, unchanged, .. } = report;
            seen.items = Some(inserted.saturating_add(updated).saturating_add(unchanged));
            seen.changes = Some(Changes { inserted, updated, deleted: 0 });
            seen.sequence = Some(report.version.sequence);
            Ok(report)
        })
    }

    fn write_all(
        &self,
        items: impl IntoIterator<Item = Item>,
        mut progress: impl FnMut(&BulkProgress) -> ControlFlow<()>,
    ) -> Result<BulkReport> {
        let begun = self.mutate(|_, key, _| {
            if key.table.config.require_if_match {
                return Err(Error::invalid(
                    "this index requires `if_match`, which a bulk load of many commits cannot \
                     give; use `upsert_with`",
                ));
            }
            Ok(Outcome::Nothing(()))
        });
        let mut report = report_of(begun?);
        let mut items = items.into_iter();
        let (mut taken, mut done) = (0u64, 0u64);
        loop {
            let expected = items.size_hint().0;
            let buffer = take(&mut items);
            if buffer.is_empty() {
                return Ok(report);
            }
            self.check_from(&buffer, taken)?;
            let expected = expected.max(buffer.len());
            let (count, buffer) = (buffer.len() as u64, last_of_each(buffer));
            done += count - buffer.len() as u64;
            report.unchanged += count - buffer.len() as u64;
            if report.item_count == 0 {
                self.make_skeleton(&buffer, expected)?;
            }
            let mut batches = self.in_leaf_order(buffer)?.into_iter().peekable();
            while let Some(batch) = batches.next() {
                let Committed { head, changed, etag, version, .. } = self.write_some(&batch)?;
                done += batch.len() as u64;
                let written = if changed { head.inserted + head.updated } else { 0 };
                if changed {
                    report.inserted += head.inserted;
                    report.updated += head.updated;
                }
                report.unchanged += batch.len() as u64 - written;
                report.item_count = head.item_count;
                report.total_size_bytes = head.total_bytes;
                (report.etag, report.version) = (etag, version);
                if batches.peek().is_none() {
                    taken += count;
                }
                let item_count = head.item_count;
                if progress(&BulkProgress { done, settled: taken, item_count }).is_break() {
                    report.stopped = true;
                    return Ok(report);
                }
            }
        }
    }

    fn write_some(&self, items: &[Item]) -> Result<Committed<()>> {
        self.mutate(|snapshot, key, limits| {
            let Some(first) = items.first() else { return Ok(Outcome::Nothing(())) };
            let dimension = dimension_for(key, first)?;
            let batch = self.prepare(items, dimension, &key.table.config)?;
            let mut draft = Draft::begin(snapshot, &key.head)?;
            let mut next = key.head.next(Operation::Upsert, commit::now())?;
            next.dimension = u32::try_from(dimension).unwrap_or(u32::MAX);
            let edits = Edits::new(&key.table.config.attributes);
            let writing = Writing::new(self, snapshot, key, limits);
            if writing.write(&batch, Existing::SkipEqual, &mut draft, &mut next, edits)? {
                Ok(Outcome::Changed(draft, next, ()))
            } else {
                Ok(Outcome::Nothing(()))
            }
        })
    }

    /// Checks items, the first of which has this position in the run.
    fn check_from(&self, items: &[Item], position: u64) -> Result<()> {
        self.inspect(|_, key: &WriteKey| {
            let Some(first) = items.first() else { return Ok(()) };
            let dimension = dimension_for(key, first)?;
            let IndexConfig { metric, precision, .. } = key.table.config;
            let options = &self.shared().options;
            (usize::try_from(position).unwrap_or(usize::MAX)..).zip(items).try_for_each(
                |(position, item)| {
                    if item.expected != Expected::Anything {
                        return Err(Error::invalid(format!(
                            "item {position}: it has a condition, and a bulk load takes none; use \
                             `upsert_with`"
                        )));
                    }
                    check_item(position, item, dimension, metric, precision, options).map(drop)
                },
            )
        })
    }

    /// Step 1.
    fn make_skeleton(&self, items: &[Item], expected: usize) -> Result<()> {
        self.mutate(|snapshot, key, limits| {
            let Some(first) = items.first() else { return Ok(Outcome::Nothing(())) };
            let dimension = dimension_for(key, first)?;
            let Some(space) = space(key, self.shared(), Some(dimension)) else {
                return Ok(Outcome::Nothing(()));
            };
            // Meanwhile another writer may have made it an index of another dimension.
            let right = |item: &Item| item.vector.len() == dimension;
            let few = expected <= space.rules.leaf_most;
            if few || key.head.commit.item_count > 0 || !items.iter().all(right) {
                return Ok(Outcome::Nothing(()));
            }
            // Without items there may be leaves: of a run that ended here, or where all that was there is deleted.
            let root = node(key.index, NodeId::ROOT, 0);
            if snapshot.get(Family::Nodes, &root)?.is_some() {
                return Ok(Outcome::Nothing(()));
            }
            let stride = items.len().div_ceil(SAMPLE).max(1);
            let sample: Vec<&Item> = items.iter().step_by(stride).collect();
            let placed = self.shared().map(sample.chunks(256).collect(), |share: &[&Item]| {
                let placed = share.iter().map(|item| Placed::from(space.place(&item.vector)));
                Ok(placed.collect::<Vec<_>>())
            })?;
            let placed: Vec<Placed> = placed.into_iter().flatten().collect();
            let mut draft = Draft::begin(snapshot, &key.head)?;
            let mut next = key.head.next(Operation::Optimize, commit::now())?;
            next.dimension = u32::try_from(dimension).unwrap_or(u32::MAX);
            let growth = Growth::new(snapshot, key, self.shared());
            let generation = next.sequence;
            let grown = replant_skeleton(
                &growth, &space, &placed, expected, generation, limits, &mut draft,
            )?;
            Ok(if grown { Outcome::Changed(draft, next, ()) } else { Outcome::Nothing(()) })
        })
        .map(drop)
    }

    /// The items in batches of one commit each, neighbours together.
    fn in_leaf_order(&self, items: Vec<Item>) -> Result<Vec<Vec<Item>>> {
        let total: usize = items.iter().map(size).sum();
        if total <= COMMIT {
            return Ok(vec![items]);
        }
        let mut leaves = self.inspect(|snapshot, key: &WriteKey| {
            let Some(space) = space(key, self.shared(), key.dimension()) else {
                return Ok(Vec::new());
            };
            // What the index does not take has no place; the write will say so.
            let right = |item: &Item| Some(item.vector.len()) == key.dimension();
            if !items.iter().all(right) {
                return Ok(Vec::new());
            }
            let growth = Growth::new(snapshot, key, self.shared());
            let placed = self.shared().map(items.chunks(256).collect(), |share: &[Item]| {
                let placed = share.iter().map(|item| Placed::from(space.place(&item.vector)));
                Ok(placed.collect::<Vec<_>>())
            })?;
            let placed: Vec<Placed> = placed.into_iter().flatten().collect();
            Plan::new(&growth, &space, 0).leaves_of(&placed)
        })?;
        leaves.resize(items.len(), NodeId::ROOT);
        let mut placed: Vec<_> = leaves.into_iter().zip(items).collect();
        placed.sort_by_key(|(leaf, _)| *leaf);
        let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (_, item) in placed {
            if bytes + size(&item) > COMMIT && !batch.is_empty() {
                batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += size(&item);
            batch.push(item);
        }
        batches.push(batch);
        Ok(batches)
    }
}

fn report_of(committed: Committed<()>) -> BulkReport {
    let Committed { head, etag, version, .. } = committed;
    BulkReport {
        inserted: 0,
        updated: 0,
        unchanged: 0,
        stopped: false,
        item_count: head.item_count,
        total_size_bytes: head.total_bytes,
        etag,
        version,
    }
}

fn size(item: &Item) -> usize {
    let contents = item.contents.as_ref().map_or(0, Vec::len);
    let metadata = item.metadata.as_ref().map_or(0, |value| weight(value, DEPTH));
    OVERHEAD + item.id.len() + item.vector.len() * 4 + contents + metadata
}

/// Levels of metadata that are looked at: deeper is not accepted anyway.
const DEPTH: usize = 128;

/// About the bytes that a JSON value takes in memory.
fn weight(value: &Value, depth: usize) -> usize {
    const NODE: usize = 32;
    let Some(depth) = depth.checked_sub(1) else { return NODE };
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| weight(item, depth)).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, item)| NODE + name.len() + weight(item, depth)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The next items, as many as the buffer holds; at least one if there is one.
fn take(items: &mut impl Iterator<Item = Item>) -> Vec<Item> {
    let (mut buffer, mut bytes) = (Vec::new(), 0);
    while bytes < BUFFER {
        let Some(item) = items.next() else { break };
        bytes += size(&item);
        buffer.push(item);
    }
    buffer
}

/// Keeps the last item of each id, in the order of first appearance.
fn last_of_each(items: Vec<Item>) -> Vec<Item> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(items.len());
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        let place = *places.entry(item.id.clone()).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => *earlier = item,
            None => kept.push(item),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(id: usize) -> Item {
        Item::new(id.to_string(), [1.0; 4]).contents(vec![0; 10 << 20])
    }

    #[test]
    fn a_buffer_takes_what_it_holds_and_always_something() {
        let mut items = (0..25).map(large);
        let taken: Vec<usize> = (0..4).map(|_| take(&mut items).len()).collect();
        assert_eq!(taken, [10, 10, 5, 0]);
        let huge = Item::new("huge", []).contents(vec![0; BUFFER + 1]);
        let mut items = [huge, large(1)].into_iter();
        assert_eq!((take(&mut items).len(), take(&mut items).len()), (1, 1));
        let mut small = (0..1000).map(|id: usize| Item::new(id.to_string(), [1.0; 4]));
        assert_eq!((take(&mut small).len(), take(&mut small).len()), (1000, 0));
    }

    #[test]
    fn the_last_of_each_id_is_kept_in_its_first_place() {
        let item = |id: &str, x: f32| Item::new(id, [x]);
        let all = [("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0), ("b", 5.0), ("a", 6.0)];
        let kept = last_of_each(all.map(|(id, x)| item(id, x)).to_vec());
        assert!(kept == [item("a", 6.0), item("b", 5.0), item("c", 4.0)]);
        assert!(last_of_each(Vec::new()).is_empty());
    }
}
