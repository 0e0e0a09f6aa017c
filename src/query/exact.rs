//! Exact search: every vector is read, opened and compared, on all threads of the database's pool.
//!
//! One pass serves a whole batch of queries. Memory is one batch of records per thread and `top_k`
//! candidates per query. Ties are broken by id.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::time::Instant;

use super::{Candidate, QueryStats};
use crate::error::{Error, Fault, Result};
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
) -> Result<(Vec<Vec<Candidate>>, QueryStats)> {
    let start = Instant::now();
    let shared = index.shared();
    // More shares than threads even out their speed; one is enough for a small index.
    let shares = match key.head.commit.item_count {
        0..1024 => 1,
        _ => shared.threads() * 4,
    };
    let found = shared.map(Span::split(shares), |span| {
        let mut tops: Vec<Top> = scorers.iter().map(|_| Top::new(top_k)).collect();
        let (mut vector, mut bytes) = (Vec::new(), 0u64);
        let seen = scan(snapshot, key, span, Include::NONE.vector(), |item| {
            decode_vector(key, item.vector(), &mut vector)?;
            bytes += item.vector().len() as u64;
            for (scorer, top) in scorers.iter().zip(&mut tops) {
                top.offer(scorer.distance(&vector), item.pseudonym, item.record);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((seen, bytes, tops))
    })?;
    let seen: u64 = found.iter().map(|(seen, _, _)| seen).sum();
    let bytes_opened: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
    if seen != key.head.commit.item_count {
        return Err(Error::Integrity(Fault::ItemRecord));
    }
    let mut merged: Vec<Vec<Candidate>> = scorers.iter().map(|_| Vec::new()).collect();
    for (_, _, tops) in found {
        for (all, top) in merged.iter_mut().zip(tops) {
            all.extend(top.heap);
        }
    }
    for all in &mut merged {
        all.sort_unstable();
        all.truncate(top_k);
    }
    let stats = QueryStats {
        rows: seen,
        reads: seen.saturating_mul(2),
        bytes_opened,
        reranked: seen,
        reranking: start.elapsed(),
        ..QueryStats::default()
    };
    Ok((merged, stats))
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
