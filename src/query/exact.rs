//! Exact search: every vector is read, opened and compared, on all threads of the database's pool.
//!
//! With a filter, every vector that it selects.
//!
//! One pass serves a whole batch of queries. Memory is one batch of records per thread and `top_k`
//! candidates per query. Ties are broken by id.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::time::Instant;

use super::{Candidate, QueryStats, Strategy};
use crate::error::{Error, Fault, Result};
use crate::index::{Include, Index, Matching, Scanned, Span, decode_vector, scan, shares};
use crate::keyring::ReadKey;
use crate::store::Snapshot;
use crate::store::key::Pseudonym;
use crate::store::record::ItemRecord;
use crate::vector::Scorer;

/// Compares everything, or everything that matches, and merges the candidates of each query.
pub(super) fn search(
    index: &Index<'_>,
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    scorers: &[Scorer],
    top_k: usize,
    matching: Option<&Matching<'_>>,
) -> Result<(Vec<Vec<Candidate>>, QueryStats)> {
    let start = Instant::now();
    let include = Include::NONE.vector();
    let compare = |found: &mut Found, item: &Scanned<'_>| {
        decode_vector(key, item.vector(), &mut found.vector)?;
        found.compared += 1;
        found.bytes += item.vector().len() as u64;
        for (scorer, top) in scorers.iter().zip(&mut found.tops) {
            top.offer(scorer.distance(&found.vector), item.pseudonym, item.record);
        }
        Ok(())
    };
    let begin = || Found::new(scorers.len(), top_k);
    let (found, read) = if let Some(matching) = matching {
        matching.fold(include, begin, compare)?
    } else {
        let found = index.shared().map(Span::split(shares(index, key)), |span| {
            let mut found = begin();
            scan(snapshot, key, span, include, |item| {
                compare(&mut found, &item).map(ControlFlow::Continue)
            })?;
            Ok(found)
        })?;
        let seen = found.iter().map(|found| found.compared).sum();
        if seen != key.head.commit.item_count {
            return Err(Error::Integrity(Fault::ItemRecord));
        }
        (found, seen)
    };
    let compared = found.iter().map(|found| found.compared).sum();
    let stats = QueryStats {
        rows: compared,
        reads: read.saturating_mul(2),
        bytes_opened: found.iter().map(|found| found.bytes).sum(),
        reranked: compared,
        reranking: start.elapsed(),
        strategy: if matching.is_some() { Strategy::Matches } else { Strategy::Everything },
        selected: matching.map(Matching::most),
        ..QueryStats::default()
    };
    let mut merged: Vec<Vec<Candidate>> = scorers.iter().map(|_| Vec::new()).collect();
    for found in found {
        for (all, top) in merged.iter_mut().zip(found.tops) {
            all.extend(top.heap);
        }
    }
    for all in &mut merged {
        all.sort_unstable();
        all.truncate(top_k);
    }
    Ok((merged, stats))
}

/// What a share of the items came to.
struct Found {
    tops: Vec<Top>,
    compared: u64,
    bytes: u64,
    vector: Vec<f32>,
}

impl Found {
    fn new(queries: usize, top_k: usize) -> Self {
        let tops = (0..queries).map(|_| Top::new(top_k)).collect();
        Self { tops, compared: 0, bytes: 0, vector: Vec::new() }
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
