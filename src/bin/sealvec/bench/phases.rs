//! The measurements, one function each, on a database that is there for them only.
//!
//! Each call is timed by itself, and what prepares it is not timed. Whatever writes does so after
//! everything that searches; upserts store rows of the file again under new ids.

use std::iter;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use sealvec::{
    Database, Durability, Include, Index, IndexConfig, IndexKey, KeyContext, Options, QueryStats,
};

use crate::args::Bench;
use crate::failure::{Failure, Result};
use crate::import::progress;

use super::data::Data;
use super::measure::{Summary, Times, float, micros};
use super::place::Place;

const NAME: &str = "bench";
/// Items of a batch upsert, and at most of a batch delete.
pub(crate) const BATCH: usize = 1000;
const DELETED: u32 = 10_000;

/// How often things are done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// Calls that change one item, of each kind.
    single: u32,
    batches: u32,
    /// Calls that look something up.
    lookups: usize,
}

impl Rounds {
    pub(crate) const FULL: Self = Self { single: 1000, batches: 10, lookups: 500 };
    pub(crate) const QUICK: Self = Self { single: 50, batches: 1, lookups: 50 };

    /// The same with another number of calls that change one item.
    pub(crate) const fn singles(self, single: u32) -> Self {
        Self { single, ..self }
    }
}

/// The database that is measured.
pub(crate) struct Subject<'a> {
    place: &'a Place,
    secret: IndexKey,
    database: Database,
    index: Index<'static>,
}

pub(crate) struct Import {
    pub(crate) items: u64,
    pub(crate) seconds: f64,
}

/// All queries at one effort.
pub(crate) struct Search {
    pub(crate) effort: u32,
    /// The rows found for each query, nearest first.
    pub(crate) hits: Vec<Vec<u32>>,
    pub(crate) times: Summary,
    /// Means per query: counts by name, then the microseconds of the stages.
    pub(crate) means: [(&'static str, f64); 9],
}

pub(crate) struct Stateless {
    /// Open the index, take a key, query.
    pub(crate) open: Summary,
    /// The same query on a handle with a key bound.
    pub(crate) bound: Summary,
}

pub(crate) struct Upsert {
    pub(crate) synced: Summary,
    pub(crate) unsynced: Summary,
    /// Of an id that is there already, unsynced.
    pub(crate) replaced: Summary,
    pub(crate) batch_synced: Summary,
    pub(crate) batch_unsynced: Summary,
    /// Bytes written for each new item, with the memtables flushed, and when all compactions that
    /// followed were done.
    pub(crate) written: f64,
    pub(crate) compacted: f64,
    /// Over how many upserts.
    pub(crate) over: u32,
}

pub(crate) struct Delete {
    pub(crate) synced: Summary,
    pub(crate) unsynced: Summary,
    pub(crate) batch_synced: BatchDelete,
    pub(crate) batch_unsynced: BatchDelete,
}

/// Many items in one call.
pub(crate) struct BatchDelete {
    pub(crate) items: u64,
    pub(crate) seconds: f64,
}

impl<'a> Subject<'a> {
    pub(crate) fn create(
        place: &'a Place,
        options: Options,
        args: &Bench,
        dimension: usize,
    ) -> Result<Self> {
        let secret = IndexKey::generate()?;
        let database = Database::open(place.database(), options)?;
        let config = IndexConfig::new(args.metric).precision(args.precision).dimension(dimension);
        database.create_index(NAME, &secret, config)?;
        let index = database.load_index(NAME, caller(&secret)?)?;
        Ok(Self { place, secret, database, index })
    }

    pub(crate) const fn database(&self) -> &Database {
        &self.database
    }

    /// The same database with other options.
    pub(crate) fn reopen(self, options: Options) -> Result<Self> {
        let Self { place, secret, database, index } = self;
        drop(index);
        database.close()?;
        let database = Database::open(place.database(), options)?;
        let index = database.load_index(NAME, caller(&secret)?)?;
        Ok(Self { place, secret, database, index })
    }

    pub(crate) fn close(self) -> Result<()> {
        Ok(self.database.close()?)
    }

    /// All items in one bulk load, to the disk.
    pub(crate) fn import(&self, data: &mut Data<'_>) -> Result<Import> {
        data.rewind()?;
        let bar = progress("importing", data.items().into());
        let mut fault = None;
        let items = iter::from_fn(|| {
            data.next_item().unwrap_or_else(|failure| {
                fault = Some(failure);
                None
            })
        });
        let start = Instant::now();
        let report = self.index.bulk_upsert(items, |progress| {
            bar.set_position(progress.done);
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        if let Some(failure) = fault {
            return Err(failure);
        }
        let report = report?;
        self.database.flush()?;
        Ok(Import { items: report.inserted, seconds: start.elapsed().as_secs_f64() })
    }

    pub(crate) fn sweep(&self, data: &Data<'_>, efforts: &[u32]) -> Result<Vec<Search>> {
        let bar = progress("searching", efforts.len() as u64);
        let searches = efforts.iter().map(|effort| {
            let search = self.search(data, *effort);
            bar.inc(1);
            search
        });
        let searches = searches.collect();
        bar.finish_and_clear();
        searches
    }

    fn search(&self, data: &Data<'_>, effort: u32) -> Result<Search> {
        let query = |vector| self.index.query(vector).top_k(data.top_k()).effort(effort);
        for vector in data.queries() {
            query(vector).run()?;
        }
        let (mut times, mut hits, mut all) = (Times::default(), Vec::new(), Vec::new());
        for vector in data.queries() {
            let (answer, stats) = times.time(|| query(vector).run_with_stats())?;
            let row = |id: &str| id.parse().map_err(|_| Failure::Output("a hit is no row".into()));
            hits.push(answer.value.iter().map(|hit| row(&hit.id)).collect::<Result<_>>()?);
            all.push(stats);
        }
        Ok(Search { effort, hits, times: times.summary(), means: means(&all) })
    }

    /// A service that is handed the key with each request, in turns with one that holds it.
    pub(crate) fn stateless(&self, data: &Data<'_>, rounds: &Rounds) -> Result<Stateless> {
        let (mut open, mut bound) = (Times::default(), Times::default());
        let from_scratch = |vector: &[f32]| -> Result<usize> {
            let key = caller(&self.secret)?;
            let index = self.database.open_index(NAME)?;
            Ok(index.with_key(&key).query(vector).top_k(data.top_k()).run()?.len())
        };
        let on_handle = |vector: &[f32]| -> Result<usize> {
            Ok(self.index.query(vector).top_k(data.top_k()).run()?.len())
        };
        let queries = data.queries().iter().cycle().take(rounds.lookups);
        for (round, vector) in queries.enumerate() {
            // Neither of them is always the one that finds the data in the CPU's caches.
            if round % 2 == 0 {
                open.time(|| from_scratch(vector))?;
                bound.time(|| on_handle(vector))?;
            } else {
                bound.time(|| on_handle(vector))?;
                open.time(|| from_scratch(vector))?;
            }
        }
        Ok(Stateless { open: open.summary(), bound: bound.summary() })
    }

    /// One item by its id, vector and all.
    pub(crate) fn get(&self, data: &Data<'_>, rounds: &Rounds) -> Result<Summary> {
        let ids: Vec<String> = scattered(data.items()).take(rounds.lookups).collect();
        let mut times = Times::default();
        for id in &ids {
            self.index.get(&[id], Include::ALL)?;
        }
        for id in &ids {
            times.time(|| self.index.get(&[id], Include::ALL))?;
        }
        Ok(times.summary())
    }

    pub(crate) fn upsert(&self, data: &mut Data<'_>, rounds: &Rounds) -> Result<Upsert> {
        data.rewind()?;
        let mut new = 0u64;
        let mut again = |data: &mut Data<'_>| -> Result<_> {
            new += 1;
            Ok(data.cycle()?.with_id(format!("new-{new}")))
        };
        let buffered = self.index.with_durability(Durability::Buffered);
        let (mut synced, mut unsynced, mut replaced) =
            (Times::default(), Times::default(), Times::default());

        // The counting begins with the first call.
        self.database.bytes_written()?;
        self.place.settle(&self.database)?;
        let before = self.database.bytes_written()?;
        for _ in 0..rounds.single {
            let item = [again(data)?];
            synced.time(|| self.index.upsert(&item))?;
        }
        for _ in 0..rounds.single {
            let item = [again(data)?];
            unsynced.time(|| buffered.upsert(&item))?;
        }
        self.place.flush(&self.database)?;
        let flushed = self.database.bytes_written()? - before;
        self.place.stand_still();
        let settled = self.database.bytes_written()? - before;

        for _ in 0..rounds.single {
            let item = [data.cycle()?];
            replaced.time(|| buffered.upsert(&item))?;
        }
        let mut batches = |index: &Index<'_>| -> Result<Summary> {
            let mut times = Times::default();
            for _ in 0..rounds.batches {
                let items: Vec<_> = (0..BATCH).map(|_| again(data)).collect::<Result<_>>()?;
                times.time(|| index.upsert(&items))?;
            }
            Ok(times.summary())
        };
        let batch_synced = batches(&self.index)?;
        let batch_unsynced = batches(&buffered)?;
        self.place.settle(&self.database)?;
        let over = rounds.single * 2;
        Ok(Upsert {
            synced: synced.summary(),
            unsynced: unsynced.summary(),
            replaced: replaced.summary(),
            batch_synced,
            batch_unsynced,
            written: float(flushed) / f64::from(over),
            compacted: float(settled) / f64::from(over),
            over,
        })
    }

    pub(crate) fn delete(&self, data: &Data<'_>, rounds: &Rounds) -> Result<Delete> {
        let mut ids = scattered(data.items());
        let single = usize::try_from(rounds.single.min(data.items() / 8)).unwrap_or(1);
        let batch = usize::try_from(DELETED.min(data.items() / 4)).unwrap_or(1);
        let buffered = self.index.with_durability(Durability::Buffered);
        let (mut synced, mut unsynced) = (Times::default(), Times::default());
        for id in ids.by_ref().take(single) {
            synced.time(|| self.index.delete(&[id]))?;
        }
        for id in ids.by_ref().take(single) {
            unsynced.time(|| buffered.delete(&[id]))?;
        }
        let mut many = |index: &Index<'_>| -> Result<BatchDelete> {
            let ids: Vec<String> = ids.by_ref().take(batch).collect();
            let start = Instant::now();
            let items = index.delete(&ids)?.deleted;
            Ok(BatchDelete { items, seconds: start.elapsed().as_secs_f64() })
        };
        let batch_synced = many(&self.index)?;
        let batch_unsynced = many(&buffered)?;
        let (synced, unsynced) = (synced.summary(), unsynced.summary());
        Ok(Delete { synced, unsynced, batch_synced, batch_unsynced })
    }
}

fn caller(secret: &IndexKey) -> Result<KeyContext> {
    Ok(KeyContext::root(IndexKey::from_bytes(secret.expose())?))
}

/// Every row once, no two neighbours one after the other, as ids.
fn scattered(items: u32) -> impl Iterator<Item = String> {
    /// The largest prime below 2^32: it has no factor in common with any number of items.
    const STEP: u64 = 4_294_967_291;
    let items = u64::from(items);
    (0..items).map(move |n| (n * STEP % items).to_string())
}

fn means(stats: &[QueryStats]) -> [(&'static str, f64); 9] {
    let queries = float(stats.len() as u64).max(1.0);
    let mean = |of: &dyn Fn(&QueryStats) -> f64| stats.iter().map(of).sum::<f64>() / queries;
    let count = |of: fn(&QueryStats) -> u64| mean(&|stats| float(of(stats)));
    let time = |of: fn(&QueryStats) -> Duration| mean(&|stats| micros(of(stats)));
    [
        ("bytes_opened", count(|stats| stats.bytes_opened)),
        ("reads", count(|stats| stats.reads)),
        ("reranked", count(|stats| stats.reranked)),
        ("rows", count(|stats| stats.rows)),
        ("nodes", count(|stats| stats.nodes)),
        ("routing_us", time(|stats| stats.routing)),
        ("scoring_us", time(|stats| stats.scoring)),
        ("reranking_us", time(|stats| stats.reranking)),
        ("finishing_us", time(|stats| stats.finishing)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::scattered;

    #[test]
    fn every_row_comes_once() {
        for items in [1, 2, 16, 1000, 4096] {
            let rows: BTreeSet<String> = scattered(items).collect();
            assert_eq!(rows.len(), usize::try_from(items).unwrap());
        }
    }
}
