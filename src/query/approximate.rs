//! Approximate search: one walk of the partition tree per query, on one thread each.
//!
//! What the tree finds are leaf rows with exact distances. The item records of the nearest are then
//! read for their ids, and each must be the record the row speaks of.

use super::{Candidate, QueryStats, Settings, Strategy};
use crate::attributes::{Selected, Sift};
use crate::error::{Error, Fault, Result};
use crate::handle::Shared;
use crate::index::{PageReader, open_item};
use crate::keyring::ReadKey;
use crate::store::{Family, Snapshot, key};
use crate::tree::Space;
use crate::tree::search::{self, Found, Sieve};
use crate::vector::Scorer;

/// The default of [`Query::effort`](super::Query::effort).
pub const DEFAULT_EFFORT: u32 = 16;

/// Item records read together: for as long as they are held, so are the engine's blocks around them.
const BATCH: usize = 256;

/// The tree that is searched.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    pub(super) snapshot: &'a dyn Snapshot,
    pub(super) key: &'a ReadKey,
    pub(super) shared: &'a Shared,
    pub(super) space: &'a Space,
}

impl Tree<'_> {
    /// The nearest of everything, or of what is selected.
    pub(super) fn search(
        self,
        query: &[f32],
        scorer: &Scorer,
        settings: &Settings,
        selected: Option<&Selected>,
    ) -> Result<(Vec<Candidate>, QueryStats)> {
        let Self { snapshot, key, shared, space } = self;
        let pages = PageReader::new(snapshot, key, shared)?;
        let items = key.head.commit.item_count;
        let passing = selected.map_or(items, |selected| selected.count(items));
        let depth = settings.depth(items, passing);
        let sift = selected.map(Sift::new);
        let pass = |tags: &[[u8; 4]], places: &mut Vec<u32>| {
            if let Some(sift) = &sift {
                sift.sift(tags, places);
            }
        };
        let sieve = selected.map(|_| Sieve { passing: &pass, items: passing });
        let (found, work) = search::search(&pages, space, query, scorer, &depth, sieve.as_ref())?;
        let start = std::time::Instant::now();
        let candidates = name(snapshot, key, &found, settings.top_k, &pages)?;
        let stats = QueryStats {
            nodes: work.nodes,
            rows: work.rows,
            reads: pages.reads.get(),
            bytes_opened: pages.opened.get(),
            reranked: work.reranked,
            routing: work.routing,
            scoring: work.scoring,
            reranking: work.reranking,
            finishing: start.elapsed(),
            strategy: if selected.is_some() { Strategy::FilteredTree } else { Strategy::Tree },
            selected: selected.map(|_| passing),
        };
        Ok((candidates, stats))
    }
}

/// Reads the records of what was found: ids, and the proof that the rows are of this state.
fn name(
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    found: &[Found],
    top_k: usize,
    pages: &PageReader<'_>,
) -> Result<Vec<Candidate>> {
    let damaged = || Error::Integrity(Fault::Node);
    let mut plain = Vec::new();
    let mut candidates = Vec::with_capacity(found.len());
    for batch in found.chunks(BATCH) {
        let keys: Vec<_> =
            batch.iter().map(|found| key::item(key.index, &found.row.pseudonym)).collect();
        let stored = snapshot.multi_get_pinned(Family::Items, &keys)?;
        pages.reads.set(pages.reads.get() + keys.len() as u64);
        for (found, stored) in batch.iter().zip(stored) {
            let stored = stored.ok_or_else(damaged)?;
            let row = &found.row;
            let record = open_item(key, &row.pseudonym, &stored, &mut plain)?;
            pages.opened.set(pages.opened.get() + plain.len() as u64);
            let same = record.number == row.number
                && record.version == row.version
                && record.payload_salt == row.salt
                && record.payload_epoch == row.epoch;
            if !same {
                return Err(damaged());
            }
            let (distance, pseudonym) = (found.distance, row.pseudonym);
            candidates.push(Candidate { distance, pseudonym, record });
        }
    }
    candidates.sort_unstable();
    candidates.truncate(top_k);
    Ok(candidates)
}
