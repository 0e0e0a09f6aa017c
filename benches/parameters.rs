//! What the parameters of the partition tree are worth: recall beside what a query reads, one
//! parameter at a time.
//!
//! `cargo bench --bench parameters -- [--vectors X.npy --queries Q.npy] [--metric M] [--only NAME]
//! [--import 1000]` prints the tables of docs/design.md. Without files it takes the 5,000 vectors
//! of `data/`. The truth is computed. One thread, RocksDB, nothing cached but ciphertext; an index
//! is built by `bulk_upsert` unless `--import` says how many items an upsert takes. With
//! `--singly N` the last N items come afterwards, one an upsert.
//! `--metric inner-product` gives the vectors log-normal lengths, sigma 0.3; `--dimension N` maps
//! them into N dimensions first, isometrically, with noise of norm 0.1. `--churn` prints what
//! deleting and putting in everything three times does, in place of the tables.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a bench that fails may stop"
)]

mod churn;
mod vectors;

use std::ops::ControlFlow;
use std::time::Instant;

use sealvec::{
    Database, Durability, Index, IndexConfig, IndexKey, Item, KeyContext, Metric, Options, Query,
    Tuning,
};
use tempfile::TempDir;
use vectors::{Matrix, argument};

const EFFORTS: [u32; 5] = [8, 12, 16, 24, 48];

struct Data {
    base: Matrix,
    queries: Matrix,
    truth: Vec<Vec<u32>>,
    metric: Metric,
    batch: usize,
    singly: usize,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let data = load(quick);
    let only = argument("--only");
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    println!(
        "{} x {}, {}, {} queries for 10; {}\n",
        data.base.rows(),
        data.base.columns,
        data.metric,
        data.queries.rows(),
        if data.batch == 0 { "bulk".into() } else { format!("{} an upsert", data.batch) }
    );
    if let Some(rounds) = argument("--churn") {
        return churn::run(&data, rounds.parse().unwrap_or(3));
    }
    let defaults = Tuning::new();
    let with = |change: &dyn Fn(&mut Tuning)| {
        let mut tuning = defaults;
        change(&mut tuning);
        tuning
    };
    type Change = Box<dyn Fn(&mut Tuning)>;
    let mut sets: Vec<(&str, Vec<(String, Change)>)> =
        vec![("defaults", vec![("-".into(), Box::new(|_| {}))])];
    if !quick {
        let mut set = |name, values: Vec<(String, Change)>| sets.push((name, values));
        set(
            "code_bits",
            [1, 2, 4]
                .map(|b| (b.to_string(), Box::new(move |t: &mut Tuning| t.code_bits = b) as Change))
                .into(),
        );
        set(
            "leaf_items",
            [72, 100, 144, 200, 288]
                .map(|n| {
                    (n.to_string(), Box::new(move |t: &mut Tuning| t.leaf_items = n) as Change)
                })
                .into(),
        );
        set(
            "fan_out",
            [16, 24, 32, 64]
                .map(|n| (n.to_string(), Box::new(move |t: &mut Tuning| t.fan_out = n) as Change))
                .into(),
        );
        set(
            "spill",
            [false, true]
                .map(|s| (s.to_string(), Box::new(move |t: &mut Tuning| t.spill = s) as Change))
                .into(),
        );
        set(
            "noise",
            [0.0, 1.0, 3.0, 10.0]
                .map(|n| (n.to_string(), Box::new(move |t: &mut Tuning| t.noise = n) as Change))
                .into(),
        );
    }
    for (name, values) in sets {
        if !wanted(name) {
            continue;
        }
        println!(
            "| {name} | effort | recall@10 | nodes | rows | reads | KB opened | reranked | queries/s |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for (label, change) in values {
            sweep(&data, &label, with(&*change));
        }
        println!();
    }
}

fn load(quick: bool) -> Data {
    let metric =
        argument("--metric").map_or(Metric::Cosine, |name| Metric::from_name(&name).unwrap());
    let root = env!("CARGO_MANIFEST_DIR");
    let base = argument("--vectors").unwrap_or(format!("{root}/data/wordnet-5k.f16.npy"));
    let queries =
        argument("--queries").unwrap_or(format!("{root}/data/wordnet-queries-50.f16.npy"));
    let (mut base, mut queries) = (Matrix::read(&base), Matrix::read(&queries));
    if quick {
        base.truncate(1000);
    }
    if let Some(rows) = argument("--rows") {
        let rows: usize = rows.parse().unwrap();
        base.resize(rows);
    }
    if let Some(dimension) = argument("--dimension") {
        let dimension = dimension.parse().unwrap();
        (base, queries) = (base.lifted(dimension, 1), queries.lifted(dimension, 2));
    }
    if metric == Metric::InnerProduct {
        base.scale_log_normal(0.3);
    }
    let truth = vectors::truth(&base, &queries, metric, 10);
    let batch = argument("--import").map_or(0, |batch| batch.parse().unwrap());
    let singly = argument("--singly").map_or(0, |count| count.parse().unwrap());
    Data { base, queries, truth, metric, batch, singly }
}

/// An empty index, on disk.
fn create(data: &Data, tuning: Tuning) -> (TempDir, Database, Index<'static>) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().threads(0).durability(Durability::Buffered).tuning(tuning);
    let database = Database::open(directory.path().join("db"), options).unwrap();
    let key = IndexKey::generate().unwrap();
    database.create_index("bench", &key, IndexConfig::new(data.metric)).unwrap();
    let index = database.load_index("bench", KeyContext::root(key)).unwrap();
    (directory, database, index)
}

fn fill(data: &Data, index: &Index<'_>) {
    let items = || data.base.iter().enumerate().map(|(n, v)| Item::new(n.to_string(), v.to_vec()));
    let first = data.base.rows() - data.singly;
    if data.batch == 0 {
        index.bulk_upsert(items().take(first), |_| ControlFlow::Continue(())).unwrap();
    } else {
        let all: Vec<Item> = items().take(first).collect();
        for batch in all.chunks(data.batch) {
            index.upsert(batch).unwrap();
        }
    }
    for item in items().skip(first) {
        index.upsert(&[item]).unwrap();
    }
}

fn sweep(data: &Data, label: &str, tuning: Tuning) {
    let (directory, database, index) = create(data, tuning);
    fill(data, &index);
    if argument("--optimize").is_some() {
        index.optimize(|_| ControlFlow::Continue(())).unwrap();
    }
    index.verify_tree().unwrap();
    // Reads come from files then, as they do in a database that was not just written.
    database.checkpoint(directory.path().join("copy")).unwrap();
    if argument("--probes").is_some() {
        // A fixed number of leaves, and every candidate that the cap allows.
        for probes in [8, 12, 16, 24, 32] {
            let search = |query| index.query(query).effort(64).probes(probes);
            println!("| {label} | {probes} leaves | {} |", measure(data, search));
        }
        return;
    }
    for effort in EFFORTS {
        let search = |query| index.query(query).effort(effort);
        println!("| {label} | {effort} | {} |", measure(data, search));
    }
}

fn measure<'a>(data: &'a Data, search: impl Fn(&'a [f32]) -> Query<'a>) -> String {
    let run = |query| search(query).run_with_stats().unwrap();
    data.queries.iter().for_each(|query| drop(run(query)));
    let (mut found, mut nodes, mut rows, mut reads, mut bytes, mut reranked) = (0, 0, 0, 0, 0, 0);
    let start = Instant::now();
    for (query, truth) in data.queries.iter().zip(&data.truth) {
        let (hits, stats) = run(query);
        found += hits.iter().filter(|hit| truth.contains(&hit.id.parse().unwrap())).count();
        nodes += stats.nodes;
        rows += stats.rows;
        reads += stats.reads;
        bytes += stats.bytes_opened;
        reranked += stats.reranked;
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = data.queries.rows() as f64;
    let mean = |sum: u64| sum as f64 / count;
    format!(
        "{:.4} | {:.1} | {:.0} | {:.1} | {:.0} | {:.1} | {:.0}",
        found as f64 / count / 10.0,
        mean(nodes),
        mean(rows),
        mean(reads),
        mean(bytes) / 1000.0,
        mean(reranked),
        count / seconds
    )
}
