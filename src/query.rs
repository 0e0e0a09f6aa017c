//! Queries: the nearest items to a vector.
//!
//! Exact: every vector is read, opened and compared, on all threads of the database's pool; one pass
//! serves a whole batch of queries. Memory is one batch of records per thread and `top_k` candidates
//! per query. Ties are broken by id, so the answer is the same on every run.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::ControlFlow;

use serde_json::Value;

use crate::error::{Error, Fault, Result};
use crate::index::{Answer, Include, Index, Span, decode_vector, fetch_fields, scan};
use crate::keyring::ReadKey;
use crate::redact::Hidden;
use crate::store::Snapshot;
use crate::store::key::Pseudonym;
use crate::store::record::ItemRecord;
use crate::vector::{self, Precision, Scorer};

/// One found item.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The item's id.
    pub id: String,
    /// Smaller is nearer: `1 - cos`, the Euclidean distance (not squared), or minus the inner
    /// product.
    pub distance: f32,
    /// If asked for.
    pub vector: Option<Vec<f32>>,
    /// If asked for, and the item has some.
    pub contents: Option<Vec<u8>>,
    /// If asked for, and the item has some.
    pub metadata: Option<Value>,
}

/// A query under construction; see [`Index::query`].
#[derive(Debug)]
#[must_use = "a query does nothing until `run`"]
pub struct Query<'a> {
    batch: BatchQuery<'a>,
}

/// A batch of queries under construction; see [`Index::query_batch`].
#[must_use = "a query does nothing until `run`"]
pub struct BatchQuery<'a> {
    index: &'a Index<'a>,
    queries: Vec<&'a [f32]>,
    top_k: usize,
    include: Include,
}

impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hit")
            .field("id", &Hidden::text(&self.id))
            .field("distance", &self.distance)
            .field("vector", &self.vector.as_deref().map(Hidden::vector))
            .field("contents", &self.contents.as_deref().map(Hidden::bytes))
            .field("metadata", &self.metadata.as_ref().map(Hidden::metadata))
            .finish()
    }
}

impl fmt::Debug for BatchQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchQuery")
            .field("queries", &Hidden::list(self.queries.len()))
            .field("top_k", &self.top_k)
            .field("include", &self.include)
            .finish_non_exhaustive()
    }
}

impl Index<'_> {
    /// Looks for the items nearest to a vector. Needs the read right.
    ///
    /// ```
    /// # use sealvec::{Database, Include, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [0.0, 0.0]).contents("near"), Item::new("b", [3.0, 4.0])])?;
    /// let hits = index.query(&[0.0, 1.0]).top_k(2).include(Include::NONE.contents()).run()?;
    /// assert_eq!((hits[0].id.as_str(), hits[0].distance), ("a", 1.0));
    /// assert_eq!(hits[0].contents.as_deref(), Some(&b"near"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn query<'a>(&'a self, vector: &'a [f32]) -> Query<'a> {
        Query { batch: self.query_batch(std::iter::once(vector)) }
    }

    /// Looks for the items nearest to each of several vectors, from one state of the index and in
    /// one pass. Needs the read right.
    pub fn query_batch<'a>(
        &'a self,
        vectors: impl IntoIterator<Item = &'a [f32]>,
    ) -> BatchQuery<'a> {
        let queries = vectors.into_iter().collect();
        BatchQuery { index: self, queries, top_k: 10, include: Include::NONE }
    }
}

impl Query<'_> {
    /// How many hits. Default = 10. More than the index holds gives all it holds.
    pub const fn top_k(mut self, top_k: usize) -> Self {
        self.batch.top_k = top_k;
        self
    }

    /// What comes with each hit. Default = id and distance.
    pub const fn include(mut self, include: Include) -> Self {
        self.batch.include = include;
        self
    }

    /// Runs the query: the hits, nearest first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `top_k` 0 or a vector that the index could not hold;
    /// [`Error::PermissionDenied`]; [`Error::Integrity`]; and those of every call.
    pub fn run(self) -> Result<Answer<Vec<Hit>>> {
        let Answer { value, version } = self.batch.run()?;
        Ok(Answer { value: value.into_iter().next().unwrap_or_default(), version })
    }
}

impl BatchQuery<'_> {
    /// As [`Query::top_k`].
    pub const fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// As [`Query::include`].
    pub const fn include(mut self, include: Include) -> Self {
        self.include = include;
        self
    }

    /// Runs the queries: the hits of each, nearest first, in the order of the queries.
    ///
    /// # Errors
    /// As [`Query::run`]; the message names the position of the query at fault.
    pub fn run(self) -> Result<Answer<Vec<Vec<Hit>>>> {
        let Self { index, queries, top_k, include } = self;
        index.read(|snapshot, key| {
            if top_k == 0 {
                return Err(Error::invalid("top_k is at least 1"));
            }
            let config = key.table.config;
            let Some(dimension) = key.dimension() else {
                // An index that does not know its dimension has never held an item.
                return Ok(vec![Vec::new(); queries.len()]);
            };
            let mut scorers = Vec::with_capacity(queries.len());
            for (position, query) in queries.iter().enumerate() {
                vector::check(query, dimension, config.metric, Precision::F32).map_err(
                    |fault| Error::invalid(format!("query {position}: its vector {fault}")),
                )?;
                scorers.push(Scorer::new(config.metric, query));
            }
            if scorers.is_empty() {
                return Ok(Vec::new());
            }
            let nearest = search(index, snapshot, key, &scorers, top_k)?;
            nearest.into_iter().map(|top| hits(snapshot, key, top, include)).collect()
        })
    }
}

/// Scans everything, in shares, and merges the candidates of each query.
fn search(
    index: &Index<'_>,
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    scorers: &[Scorer],
    top_k: usize,
) -> Result<Vec<Vec<Candidate>>> {
    let shared = index.shared();
    // More shares than threads even out their speed; one is enough for a small index.
    let shares = match key.head.commit.item_count {
        0..1024 => 1,
        _ => shared.threads() * 4,
    };
    let found = shared.map(Span::split(shares), |span| {
        let mut tops: Vec<Top> = scorers.iter().map(|_| Top::new(top_k)).collect();
        let mut vector = Vec::new();
        let seen = scan(snapshot, key, span, Include::NONE.vector(), |item| {
            decode_vector(key, item.vector(), &mut vector)?;
            for (scorer, top) in scorers.iter().zip(&mut tops) {
                top.offer(scorer.distance(&vector), item.pseudonym, item.record);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((seen, tops))
    })?;
    let seen: u64 = found.iter().map(|(seen, _)| seen).sum();
    if seen != key.head.commit.item_count {
        return Err(Error::Integrity(Fault::ItemRecord));
    }
    let mut merged: Vec<Vec<Candidate>> = scorers.iter().map(|_| Vec::new()).collect();
    for (_, tops) in found {
        for (all, top) in merged.iter_mut().zip(tops) {
            all.extend(top.heap);
        }
    }
    for all in &mut merged {
        all.sort_unstable();
        all.truncate(top_k);
    }
    Ok(merged)
}

fn hits(
    snapshot: &dyn Snapshot,
    key: &ReadKey,
    top: Vec<Candidate>,
    include: Include,
) -> Result<Vec<Hit>> {
    let (distances, items): (Vec<f32>, Vec<(Pseudonym, ItemRecord)>) =
        top.into_iter().map(|c| (c.distance, (c.pseudonym, c.record))).unzip();
    let fetched = fetch_fields(snapshot, key, &items, include)?;
    let hits = distances.into_iter().zip(items).zip(fetched);
    Ok(hits
        .map(|((distance, (_, record)), fetched)| Hit {
            id: record.id,
            distance,
            vector: fetched.vector,
            contents: fetched.contents,
            metadata: fetched.metadata,
        })
        .collect())
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

/// Ordered by distance, then id.
struct Candidate {
    distance: f32,
    pseudonym: Pseudonym,
    record: ItemRecord,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.record.id.cmp(&other.record.id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
