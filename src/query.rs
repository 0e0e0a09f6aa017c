//! Queries: the nearest items to a vector.
//!
//! By default through the partition tree (`approximate`), on request by comparing everything
//! (`exact`). Both end as candidates with an exact distance; what comes with a hit is then read for
//! the nearest only.

mod approximate;
mod exact;
mod metadata;
mod stats;

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

pub use approximate::DEFAULT_EFFORT;
use approximate::Tree;
pub use metadata::{MetadataPage, MetadataQuery, Order, Selected};
pub use stats::{QueryStats, Strategy};

use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index::{Answer, Include, Index, Matching, fetch_fields, space};
use crate::keyring::ReadKey;
use crate::observe::Call;
use crate::redact::Hidden;
use crate::store::Snapshot;
use crate::store::key::Pseudonym;
use crate::store::record::ItemRecord;
use crate::tree::Space;
use crate::tree::depth::Depth;
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
    settings: Settings,
    filter: Option<Filter>,
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
            .field("settings", &self.settings)
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
        BatchQuery { index: self, queries, settings: Settings::new(), filter: None }
    }
}

impl Index<'_> {
    /// The number of items that a filter selects. Needs the read right. Reads the attribute index
    /// alone, if that knows all the filter asks; otherwise the metadata of what may match, on all
    /// threads.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a filter that cannot be; [`Error::PermissionDenied`];
    /// [`Error::Integrity`]; and those of every call.
    ///
    /// ```
    /// # use sealvec::{Database, Filter, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0]).metadata(serde_json::json!({"n": 1}))])?;
    /// assert_eq!(*index.count_where(&Filter::gte("n", 1))?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_where(&self, filter: &Filter) -> Result<Answer<u64>> {
        let call = self.during(Call::CountWhere);
        call.read(|snapshot, key| Matching::new(self, snapshot, key, filter)?.count())
    }
}

impl Query<'_> {
    /// How many hits. Default = 10. More than the index holds gives all it holds.
    pub const fn top_k(mut self, top_k: usize) -> Self {
        self.batch.settings.top_k = top_k;
        self
    }

    /// What comes with each hit. Default = id and distance.
    pub const fn include(mut self, include: Include) -> Self {
        self.batch.settings.include = include;
        self
    }

    /// How hard to look: 1 to 1,024. Default = [`DEFAULT_EFFORT`], which found 96 to 98 of 100 of the
    /// ten nearest on the embeddings it was chosen on, at 5,000 to 80,000 items; at 500,000 it was 94.
    /// Twice the effort reads about twice as much. Measure on your own: `sealvec bench`.
    pub const fn effort(mut self, effort: u32) -> Self {
        self.batch.settings.effort = effort;
        self
    }

    /// The number of leaves to read, for experts: at least 1. Default = chosen by effort, index
    /// size and query.
    pub const fn probes(mut self, probes: usize) -> Self {
        self.batch.settings.probes = Some(probes);
        self
    }

    /// Compares every vector: nothing is missed, and the cost grows with the index.
    pub const fn exact(mut self) -> Self {
        self.batch.settings.exact = true;
        self
    }

    /// Only items that the filter selects: fewer than asked for only if fewer match.
    ///
    /// If the attribute index knows what the filter asks, few matches are compared one by one, and
    /// of many the nearest are looked for in the partition tree, as without a filter. Otherwise the
    /// metadata of every item is read. [`QueryStats::strategy`] says which it was.
    ///
    /// ```
    /// # use sealvec::{Database, Filter, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[
    ///     Item::new("near", [0.0, 1.0]).metadata(serde_json::json!({"lang": "de"})),
    ///     Item::new("far", [9.0, 9.0]).metadata(serde_json::json!({"lang": "en"})),
    /// ])?;
    /// let hits = index.query(&[0.0, 0.0]).filter(Filter::eq("lang", "en")).run()?;
    /// assert_eq!((hits.len(), hits[0].id.as_str()), (1, "far"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn filter(mut self, filter: Filter) -> Self {
        self.batch.filter = Some(filter);
        self
    }

    /// Runs the query: the hits, nearest first.
    ///
    /// Approximate, but for small indexes: a near item may be missing. What is there has its exact
    /// distance, the answer is from one commit, and the same question to the same state gives the
    /// same answer. Ties go by id.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `top_k` or `probes` 0, an effort out of range, a filter that
    /// cannot be, or a vector that the index could not hold; [`Error::PermissionDenied`]; [`Error::Integrity`]; and those
    /// of every call.
    pub fn run(self) -> Result<Answer<Vec<Hit>>> {
        self.run_with_stats().map(|(answer, _)| answer)
    }

    /// As [`run`](Self::run), with an account of what it took.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let items: Vec<Item> = (0..100u8).map(|i| Item::new(i.to_string(), [f32::from(i), 0.0])).collect();
    /// index.upsert(&items)?;
    /// let (hits, stats) = index.query(&[7.2, 0.0]).top_k(3).run_with_stats()?;
    /// assert_eq!(hits[0].id, "7");
    /// assert!(stats.rows >= 3 && stats.reads > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_with_stats(self) -> Result<(Answer<Vec<Hit>>, QueryStats)> {
        let (Answer { value, version }, stats) = self.batch.run_with_stats()?;
        let value = value.into_iter().next().unwrap_or_default();
        Ok((Answer { value, version }, stats.into_iter().next().unwrap_or_default()))
    }
}

impl BatchQuery<'_> {
    /// As [`Query::top_k`].
    pub const fn top_k(mut self, top_k: usize) -> Self {
        self.settings.top_k = top_k;
        self
    }

    /// As [`Query::include`].
    pub const fn include(mut self, include: Include) -> Self {
        self.settings.include = include;
        self
    }

    /// As [`Query::effort`].
    pub const fn effort(mut self, effort: u32) -> Self {
        self.settings.effort = effort;
        self
    }

    /// As [`Query::probes`].
    pub const fn probes(mut self, probes: usize) -> Self {
        self.settings.probes = Some(probes);
        self
    }

    /// As [`Query::exact`]; one pass serves all queries.
    pub const fn exact(mut self) -> Self {
        self.settings.exact = true;
        self
    }

    /// As [`Query::filter`], for all queries.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Runs the queries: the hits of each, nearest first, in the order of the queries.
    ///
    /// # Errors
    /// As [`Query::run`]; the message names the position of the query at fault.
    pub fn run(self) -> Result<Answer<BatchHits>> {
        self.run_with_stats().map(|(answer, _)| answer)
    }

    /// As [`run`](Self::run), with an account of what each query took.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with_stats(self) -> Result<(Answer<BatchHits>, Vec<QueryStats>)> {
        let (index, settings) = (self.index, self.settings);
        index.observed(Call::Query, |seen| {
            seen.items = Some(self.queries.len() as u64);
            let (answer, stats) = self.search()?;
            stats::tell(seen, &answer, &stats);
            if let Some(query) = &mut seen.query {
                (query.top_k, query.effort) = (settings.top_k as u64, settings.effort.into());
            }
            Ok((answer, stats))
        })
    }

    fn search(self) -> Result<(Answer<BatchHits>, Vec<QueryStats>)> {
        let Self { index, queries, settings, filter } = self;
        let mut stats = vec![QueryStats::default(); queries.len()];
        let answer = index.read(|snapshot, key| {
            settings.check()?;
            filter.as_ref().map_or(Ok(()), Filter::check)?;
            let config = &key.table.config;
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
            // Who wants much of an index is served best by one pass over it.
            let filter = filter.as_ref().filter(|filter| !filter.is_everything());
            let matching = filter.map(|filter| Matching::new(index, snapshot, key, filter));
            let matching = matching.transpose()?;
            let most = matching.as_ref().map_or(key.head.commit.item_count, Matching::most);
            let much = settings.top_k.saturating_mul(4) as u64 >= most;
            let space = space(key, index.shared(), Some(dimension));
            let tree =
                |space: &Space, matching| by_tree(key, space, matching, queries.len(), &settings);
            let space = space.filter(|space| {
                let few = matching.as_ref().is_some_and(|matching| !tree(space, matching));
                !settings.exact && !much && !few
            });
            let nearest = match space {
                None => {
                    let (nearest, all) = exact::search(
                        index,
                        snapshot,
                        key,
                        &scorers,
                        settings.top_k,
                        matching.as_ref(),
                    )?;
                    stats.fill(all);
                    nearest
                }
                Some(space) => {
                    let work = queries.iter().zip(&scorers).collect();
                    let found = index.shared().map(work, |(query, scorer)| {
                        let shared = index.shared();
                        let selected = matching.as_ref().map(Matching::selected);
                        let tree = Tree { snapshot, key, shared, space: &space };
                        tree.search(query, scorer, &settings, selected)
                    })?;
                    let (nearest, each): (Vec<_>, Vec<_>) = found.into_iter().unzip();
                    stats = each;
                    nearest
                }
            };
            let include = settings.include;
            nearest.into_iter().map(|top| hits(snapshot, key, top, include)).collect()
        })?;
        Ok((answer, stats))
    }
}

/// Whether what matches is found faster in the tree, by each of so many queries, than by comparing
/// all of it once. The tree has to be told exactly what matches, by numbers that fit the tags of
/// its rows.
fn by_tree(
    key: &ReadKey,
    space: &Space,
    matching: &Matching<'_>,
    queries: usize,
    settings: &Settings,
) -> bool {
    let (items, most) = (key.head.commit.item_count, matching.most());
    let depth = settings.depth(items, most);
    let leaves = depth.expected(space.form());
    let each = (leaves.saturating_mul(LEAF.0) / LEAF.1).saturating_add(depth.cap());
    matching.selected().is_exact()
        && most > each.saturating_mul(queries) as u64
        && u32::try_from(key.head.commit.next_item).is_ok()
}

/// To read a leaf takes as long as to read so many items and compare their vectors: 3 for 2.
/// Measured by `cargo bench --bench filters`.
const LEAF: (usize, usize) = (3, 2);

/// The hits of each query of a batch, nearest first.
pub type BatchHits = Vec<Vec<Hit>>;

/// What a query asks for besides the vector.
#[derive(Debug, Clone, Copy)]
struct Settings {
    top_k: usize,
    include: Include,
    effort: u32,
    probes: Option<usize>,
    exact: bool,
}

impl Settings {
    const fn new() -> Self {
        let include = Include::NONE;
        Self { top_k: 10, include, effort: DEFAULT_EFFORT, probes: None, exact: false }
    }

    /// How far to look for the nearest of `passing` among `items`.
    fn depth(&self, items: u64, passing: u64) -> Depth {
        let Self { top_k, effort, probes, .. } = *self;
        #[expect(clippy::cast_precision_loss, reason = "ratios")]
        let (effort, share) =
            (effort as f32 / DEFAULT_EFFORT as f32, passing as f64 / items.max(1) as f64);
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
        let share = share as f32;
        Depth { top_k, effort, probes, items, share }
    }

    fn check(&self) -> Result<()> {
        if self.top_k == 0 {
            Err(Error::invalid("top_k is at least 1"))
        } else if self.probes == Some(0) {
            Err(Error::invalid("probes is at least 1"))
        } else if !(1..=1024).contains(&self.effort) {
            Err(Error::invalid(format!("effort is 1 to 1024, not {}", self.effort)))
        } else {
            Ok(())
        }
    }
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
