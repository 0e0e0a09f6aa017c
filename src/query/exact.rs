//! Exact search: every vector is read, opened and compared, on all threads of the database's pool.
//!
//! A filter is asked of the metadata of every item, and only what it selects is compared.
//!
//! One pass serves a whole batch of queries. Memory is one batch of records per thread and `top_k`
//! candidates per query. Ties are broken by id.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::time::Instant;

use super::{Candidate, QueryStats};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::index::{Include, Index, Span, decode_vector, scan};
use crate::keyring::ReadKey;
use crate::store::Snapshot;
use crate::store::key::Pseudonym;
use crate::store::record::ItemRecord;
use crate::vector::Scorer;

/// Scans everything, in shares, and merges the candidates of each query.
pub(super) fn search(
    index: &Index<'_>,
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    scorers: &[Scorer],
    top_k: usize,
    filter: Option<&Filter>,
) -> Result<(Vec<Vec<Candidate>>, QueryStats)> {
    let start = Instant::now();
    let shared = index.shared();
    let include = Include::NONE.vector();
    let include = if filter.is_some() { include.metadata() } else { include };
    let found = shared.map(Span::split(shares(index, key)), |span| {
        let mut tops: Vec<Top> = scorers.iter().map(|_| Top::new(top_k)).collect();
        let (mut vector, mut bytes) = (Vec::new(), 0u64);
        let mut matched = 0u64;
        let seen = scan(snapshot, key, span, include, |item| {
            if filter.map_or(Ok(true), |filter| item.matches(filter))? {
                matched += 1;
            } else {
                return Ok(ControlFlow::Continue(()));
            }
            decode_vector(key, item.vector(), &mut vector)?;
            bytes += item.vector().len() as u64;
            for (scorer, top) in scorers.iter().zip(&mut tops) {
                top.offer(scorer.distance(&vector), item.pseudonym, item.record);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((seen, matched, bytes, tops))
    })?;
    let seen: u64 = found.iter().map(|(seen, ..)| seen).sum();
    let matched: u64 = found.iter().map(|(_, matched, ..)| matched).sum();
    let bytes_opened: u64 = found.iter().map(|(_, _, bytes, _)| bytes).sum();
    if seen != key.head.commit.item_count {
        return Err(Error::Integrity(Fault::ItemRecord));
    }
    let mut merged: Vec<Vec<Candidate>> = scorers.iter().map(|_| Vec::new()).collect();
    for (.., tops) in found {
        for (all, top) in merged.iter_mut().zip(tops) {
            all.extend(top.heap);
        }
    }
    for all in &mut merged {
        all.sort_unstable();
        all.truncate(top_k);
    }
    let stats = QueryStats {
        rows: matched,
        reads: seen.saturating_mul(if filter.is_some() { 3 } else { 2 }),
        bytes_opened,
        reranked: matched,
        reranking: start.elapsed(),
        ..QueryStats::default()
    };
    Ok((merged, stats))
}

/// Scans everything, in shares, and counts what the filter selects.
pub(super) fn count(
    index: &Index<'_>,
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    filter: &Filter,
) -> Result<u64> {
    let shares = shares(index, key);
    let found = index.shared().map(Span::split(shares), |span| {
        let mut matched = 0u64;
        let seen = scan(snapshot, key, span, Include::NONE.metadata(), |item| {
            matched += u64::from(item.matches(filter)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((seen, matched))
    })?;
    if found.iter().map(|(seen, _)| seen).sum::<u64>() != key.head.commit.item_count {
        return Err(Error::Integrity(Fault::ItemRecord));
    }
    Ok(found.iter().map(|(_, matched)| matched).sum())
}

/// More shares than threads even out their speed; one is enough for a small index.
fn shares(index: &Index<'_>, key: &ReadKey) -> usize {
    match key.head.commit.item_count {
        0..1024 => 1,
        _ => index.shared().threads() * 4,
    }
}

/// The nearest `k` of what was offered.
struct Top {
    k: usize,
    /// The farthest candidate is on top.
    heap: BinaryHeap<Candidate>,
}

impl Top {
    const fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, distance: f32, pseudonym: Pseudonym, record: &ItemRecord) {
        if self.heap.len() == self.k {
            let nearer = self.heap.peek().is_some_and(|worst| {
                distance.total_cmp(&worst.distance).then_with(|| record.id.cmp(&worst.record.id))
                    == Ordering::Less
            });
            if !nearer {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Candidate { distance, pseudonym, record: record.clone() });
    }
}
