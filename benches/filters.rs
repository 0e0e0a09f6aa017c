//! Filters: recall and speed at several selectivities, counts, and what the attribute index costs.
//!
//! `cargo bench --bench filters` takes the 5,000 items of `data/`; with `-- VECTORS.npy ITEMS.jsonl
//! QUERIES.npy` other vectors (f16, 384 components), items and queries. One thread, files in the
//! page cache. Every ratio is to something measured in the same run. `SEALVEC_BENCH_ONLY` is a part of the names of the filters
//! to run, `SEALVEC_BENCH_TOP` how many hits a query wants if not 10, and with `SEALVEC_BENCH_DETAIL` what queries read is
//! printed.

#![allow(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench ends at its first fault"
)]

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use half::f16;
use sealvec::{
    Attribute, Database, DeleteOptions, Durability, Filter, Index, IndexConfig, IndexKey, Item,
    KeyContext, Metric, Options, Order, QueryStats, Selector,
};
use serde_json::{Value, json};

const DIMENSION: usize = 384;

fn rows(path: &Path) -> Vec<Vec<f32>> {
    let npy = fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let row = |row: &[u8]| -> Vec<f32> {
        row.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    };
    npy[header..].chunks_exact(DIMENSION * 2).map(row).collect()
}

/// A fixed shuffle of the numbers.
const fn scrambled(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The metadata of `WordNet`, and synthetic fields: one of its own for each item, one of a thousand
/// random values, and the rank by distance to one item, in thousandths.
fn items(vectors: &[Vec<f32>], lines: &str) -> Vec<Item> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let mut by_rank: Vec<usize> = (0..vectors.len()).collect();
    by_rank
        .sort_by(|a, b| dot(&vectors[*b], &vectors[0]).total_cmp(&dot(&vectors[*a], &vectors[0])));
    let mut rank = vec![0; vectors.len()];
    for (place, item) in by_rank.into_iter().enumerate() {
        rank[item] = place * 1000 / vectors.len();
    }
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = vectors.iter().zip(lines).zip(0u64..);
    rows.map(|((vector, line), n)| {
        let metadata = &line["metadata"];
        let metadata = json!({
            "pos": metadata["pos"], "lex": metadata["lex"], "senses": metadata["senses"],
            "own": n, "random": scrambled(n + 1) % 1000, "near": rank[usize::try_from(n).unwrap()],
        });
        Item::new(line["id"].as_str().unwrap(), vector.clone())
            .contents(line["contents"].as_str().unwrap())
            .metadata(metadata)
    })
    .collect()
}

fn make(db: &Database, name: &str, config: IndexConfig) -> Index<'static> {
    let key = || IndexKey::from_bytes(&[7; 32]).unwrap();
    db.create_index(name, &key(), config.dimension(DIMENSION)).unwrap();
    db.load_index(name, KeyContext::root(key())).unwrap()
}

/// Hits that a query wants.
fn top() -> usize {
    std::env::var("SEALVEC_BENCH_TOP").map_or(10, |top| top.parse().unwrap())
}

fn ids(index: &Index<'_>, query: &[f32], filter: Option<&Filter>, exact: bool) -> Vec<String> {
    let mut found = index.query(query).top_k(top());
    if let Some(filter) = filter {
        found = found.filter(filter.clone());
    }
    let found = if exact { found.exact() } else { found };
    found.run().unwrap().into_iter().map(|hit| hit.id).collect()
}

/// The mean time of a query without a filter and with it: the best of five rounds each, in turns, so
/// that what the machine does besides comes to both.
fn speeds(index: &Index<'_>, queries: &[Vec<f32>], filter: &Filter) -> [Duration; 2] {
    let round = |filter: Option<&Filter>| {
        let start = Instant::now();
        for query in queries {
            ids(index, query, filter, false);
        }
        start.elapsed() / u32::try_from(queries.len()).unwrap()
    };
    let rounds: Vec<_> = (0..5).map(|_| [round(None), round(Some(filter))]).collect();
    [0, 1].map(|which| rounds.iter().map(|round| round[which]).min().unwrap())
}

fn searches(index: &Index<'_>, queries: &[Vec<f32>], total: usize) {
    println!(
        "| filter | matches | strategy | recall@{} | time a query | QPS to unfiltered |",
        top()
    );
    println!("|---|---|---|---|---|---|");
    let filters = [
        ("random .1 %", Filter::eq("random", 7)),
        ("random 1 %", Filter::lt("random", 10)),
        ("random 3 %", Filter::lt("random", 30)),
        ("random 10 %", Filter::lt("random", 100)),
        ("random 50 %", Filter::lt("random", 500)),
        ("random 90 %", Filter::gte("random", 100)),
        ("near one item, .1 %", Filter::lt("near", 1)),
        ("near one item, 1 %", Filter::lt("near", 10)),
        ("near one item, 10 %", Filter::lt("near", 100)),
        ("near one item, 50 %", Filter::lt("near", 500)),
        ("far from it, 10 %", Filter::gte("near", 900)),
        ("far from it, 50 %", Filter::gte("near", 500)),
        ("pos = verb", Filter::eq("pos", "verb")),
        ("pos = noun", Filter::eq("pos", "noun")),
        ("not lex 6, senses 1", Filter::ne("lex", 6).and(Filter::eq("senses", 1))),
        ("own = 17", Filter::eq("own", 17)),
    ];
    let only = std::env::var("SEALVEC_BENCH_ONLY").ok();
    let mut unfiltered = Duration::MAX;
    for (name, filter) in filters {
        if only.as_ref().is_some_and(|only| !name.contains(&only[..])) {
            continue;
        }
        let [plain, filtered] = speeds(index, queries, &filter);
        unfiltered = unfiltered.min(plain);
        let (mut found, mut wanted) = (0, 0);
        for query in queries {
            let truth: HashSet<String> =
                ids(index, query, Some(&filter), true).into_iter().collect();
            let hits = ids(index, query, Some(&filter), false);
            found += hits.iter().filter(|id| truth.contains(*id)).count();
            wanted += truth.len();
        }
        let query = index.query(&queries[0]).top_k(top()).filter(filter.clone());
        let (_, stats) = query.run_with_stats().unwrap();
        println!(
            "| {name} | {:.2} % | {} | {:.3} | {:.0} us | {:.2} |",
            stats.selected.unwrap_or_default() as f64 * 100.0 / total as f64,
            stats.strategy,
            found as f64 / wanted.max(1) as f64,
            filtered.as_secs_f64() * 1e6,
            plain.as_secs_f64() / filtered.as_secs_f64(),
        );
        if std::env::var_os("SEALVEC_BENCH_DETAIL").is_some() {
            let mean = |of: &dyn Fn(&QueryStats) -> u64| {
                let all = queries.iter().map(|query| {
                    let query = index.query(query).top_k(top()).filter(filter.clone());
                    of(&query.run_with_stats().unwrap().1)
                });
                all.sum::<u64>() / queries.len() as u64
            };
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
            println!(
                "    leaves and branches {}, rows {}, vectors {}, {} KB; us: route {}, score {}, rerank {}, finish {}",
                mean(&|stats| stats.nodes),
                mean(&|stats| stats.rows),
                mean(&|stats| stats.reranked),
                mean(&|stats| stats.bytes_opened) / 1024,
                mean(&|stats| micros(stats.routing)),
                mean(&|stats| micros(stats.scoring)),
                mean(&|stats| micros(stats.reranking)),
                mean(&|stats| micros(stats.finishing)),
            );
        }
    }
    println!("\nunfiltered: {:.0} us a query\n", unfiltered.as_secs_f64() * 1e6);
}

fn time<T>(rounds: u32, mut work: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..rounds {
        work();
    }
    start.elapsed() / rounds
}

fn counts(index: &Index<'_>, bare: &Index<'_>) {
    println!("| call | with the attribute index | without | ratio |");
    println!("|---|---|---|---|");
    let one = Filter::eq("random", 5).or(Filter::is_in("random", (100..109).collect::<Vec<_>>()));
    let count = |index: &Index<'_>, filter: &Filter, rounds| {
        time(rounds, || index.count_where(filter).unwrap())
    };
    let dry = |index: &Index<'_>, filter: &Filter, rounds| {
        let options = DeleteOptions::new().dry_run(true).limit(10_000);
        time(rounds, || index.delete_with(Selector::filter(filter), &options).unwrap())
    };
    // The first page by id, and all there is in the order of a field.
    let page = |index: &Index<'_>, filter: &Filter, rounds| {
        time(rounds, || index.query_metadata(filter).limit(100).run().unwrap())
    };
    let ordered = |index: &Index<'_>, filter: &Filter, rounds| {
        let all = || index.query_metadata(filter).order_by("own", Order::Descending).limit(1000);
        let matching = index.count_where(filter).unwrap().value;
        assert_eq!(all().run().unwrap().value.items.len() as u64, matching);
        time(rounds, || all().run().unwrap())
    };
    let (lex, few) = (Filter::eq("lex", 30), Filter::eq("lex", 21));
    let near = Filter::lt("near", 100);
    let rows: [(&str, Duration, Duration); 8] = [
        ("count, 1 % by $in", count(index, &one, 20), count(bare, &one, 3)),
        ("count, lex = 30", count(index, &lex, 20), count(bare, &lex, 3)),
        ("count, not lex = 30", count(index, &!lex.clone(), 20), count(bare, &!lex, 3)),
        ("count, near < 100, a range", count(index, &near, 20), count(bare, &near, 3)),
        ("query_metadata, 1 % by $in, 100", page(index, &one, 20), page(bare, &one, 3)),
        ("query_metadata, 1 % by $in, all", ordered(index, &one, 20), ordered(bare, &one, 3)),
        ("query_metadata, lex = 21, 1 %, all", ordered(index, &few, 20), ordered(bare, &few, 3)),
        ("dry run of delete_where, 1 %", dry(index, &one, 5), dry(bare, &one, 3)),
    ];
    for (name, with, without) in rows {
        let ratio = without.as_secs_f64() / with.as_secs_f64();
        println!("| {name} | {with:.1?} | {without:.1?} | {ratio:.0} |");
    }
}

/// Single upserts of new items with indexed fields, and without, one after the other.
fn upserts(fields: &str, index: &Index<'_>, bare: &Index<'_>, items: &[Item]) {
    let mut spent: [Vec<Duration>; 4] = Default::default();
    for (n, item) in items.iter().take(2000).enumerate() {
        let id = format!("new {n}");
        let item = item.clone().with_id(&id);
        for (place, index) in [index, bare].into_iter().enumerate() {
            let start = Instant::now();
            index.upsert(std::slice::from_ref(&item)).unwrap();
            spent[place].push(start.elapsed());
            let start = Instant::now();
            index.delete(&[&id]).unwrap();
            spent[place + 2].push(start.elapsed());
        }
    }
    println!("\n| call, median of 2,000 | with {fields} | without | ratio |");
    println!("|---|---|---|---|");
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    for (name, place) in [("upsert of one", 0), ("delete of one", 2)] {
        let (with, without) = (median(&spent[place]), median(&spent[place + 1]));
        println!("| {name} | {with:.0} us | {without:.0} us | {:.2} |", with / without);
    }
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let paths = match given.as_slice() {
        [vectors, items, queries] => {
            [vectors, items, queries].map(|path| Path::new(path).to_owned())
        }
        _ => ["wordnet-5k.f16.npy", "wordnet-5k.items.jsonl", "wordnet-queries-50.f16.npy"]
            .map(|name| root.join(name)),
    };
    let vectors = rows(&paths[0]);
    let items = items(&vectors, &fs::read_to_string(&paths[1]).unwrap());
    let queries: Vec<Vec<f32>> = rows(&paths[2]).into_iter().take(200).collect();
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().threads(1).durability(Durability::Buffered);
    let db = Database::open(directory.path().join("db"), options).unwrap();
    let declared = IndexConfig::new(Metric::Cosine)
        .declared_attributes_only()
        .attribute("pos", Attribute::Equality)
        .attribute("lex", Attribute::Equality)
        .attribute("senses", Attribute::Equality)
        .attribute("own", Attribute::Equality)
        .attribute("random", Attribute::Equality);
    let all = IndexConfig::new(Metric::Cosine)
        .attribute("random", Attribute::Range)
        .attribute("near", Attribute::Range);
    let none = IndexConfig::new(Metric::Cosine).declared_attributes_only();
    let loaded = [("all", all), ("declared", declared), ("none", none)].map(|(name, config)| {
        let index = make(&db, name, config);
        let start = Instant::now();
        index.bulk_upsert(items.clone(), |_| ControlFlow::Continue(())).unwrap();
        println!("import, {name}: {:.2?}", start.elapsed());
        index
    });
    println!(
        "\n{} items, {} queries, top {}, default effort, one thread\n",
        items.len(),
        queries.len(),
        top()
    );
    let [all, declared, none] = &loaded;
    searches(all, &queries, items.len());
    counts(all, none);
    upserts("five indexed fields", declared, none, &items);
    upserts("six, two with ranges", all, none, &items);
}
