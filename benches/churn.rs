//! What churn does to the partition tree, and what `optimize` makes good.
//!
//! Every vector is deleted and put in again, three times, neighbours together: the vectors are
//! sorted by the nearest of some random ones and, for each of those, by distance. In that order so
//! many at a time go (`--away`, 500 if it is not said), 500 a commit, and come back, 500 a commit.
//! So whole leaves empty and fill again, all over the tree, in another order each time. When all
//! are away at once, the tree goes to nothing and grows from vectors that come sorted.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealvec::{Database, Index, Item, Tuning};

use crate::vectors::argument;
use crate::{Data, create, measure};

/// Vectors to a commit.
const BATCH: usize = 500;
/// Vectors to a cluster, on average.
const CLUSTER: usize = 200;
const EFFORTS: [u32; 3] = [12, 16, 24];

/// The index at one moment.
struct State {
    label: String,
    seconds: f64,
    shape: String,
    searches: Vec<String>,
}

pub(crate) fn run(data: &Data, rounds: usize) {
    let away = argument("--away").map_or(BATCH, |away| away.parse().unwrap());
    let (directory, database, index) = create(data, Tuning::new());
    let mut states = Vec::new();
    let mut note = |label: &str, start: Instant| {
        let seconds = start.elapsed().as_secs_f64();
        let shape = shape(&index, &database, directory.path());
        let search = |effort| measure(data, |query| index.query(query).effort(effort));
        let searches = EFFORTS.map(|effort| format!("{effort} | {}", search(effort))).into();
        states.push(State { label: label.into(), seconds, shape, searches });
    };
    let start = Instant::now();
    crate::fill(data, &index);
    note("fresh", start);
    let start = Instant::now();
    for round in 1..=rounds {
        churn(data, &index, away, round);
    }
    note(&format!("churned {rounds} times"), start);
    let start = Instant::now();
    index.optimize(|_| ControlFlow::Continue(())).unwrap();
    note("optimized", start);

    println!(
        "| state | effort | recall@10 | nodes | rows | reads | KB opened | reranked | queries/s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for State { label, searches, .. } in &states {
        searches.iter().for_each(|search| println!("| {label} | {search} |"));
    }
    println!("\n| state | height | leaves | branches | in two leaves | MB on disk | seconds |");
    println!("|---|---|---|---|---|---|---|");
    for State { label, shape, seconds, .. } in &states {
        println!("| {label} | {shape} | {seconds:.1} |");
    }
}

/// Deletes and upserts everything once.
fn churn(data: &Data, index: &Index<'_>, away: usize, round: usize) {
    let clusters = data.base.rows().div_ceil(CLUSTER);
    let order = data.base.clustered(data.metric, clusters, round as u64);
    let rows: Vec<&[f32]> = data.base.iter().collect();
    for away in order.chunks(away) {
        for batch in away.chunks(BATCH) {
            let ids: Vec<String> = batch.iter().map(ToString::to_string).collect();
            assert_eq!(index.delete(&ids).unwrap().deleted, batch.len() as u64);
        }
        for batch in away.chunks(BATCH) {
            let item = |row: &u32| Item::new(row.to_string(), rows[*row as usize].to_vec());
            let items: Vec<Item> = batch.iter().map(item).collect();
            assert_eq!(index.upsert(&items).unwrap().inserted, batch.len() as u64);
        }
    }
}

/// What the tree consists of, and what a copy of the database takes.
fn shape(index: &Index<'_>, database: &Database, directory: &Path) -> String {
    let tree = index.verify_tree().unwrap();
    let copy = directory.join("copy");
    let mut bytes = 0;
    // The first copy has everything flushed; compactions follow that.
    for _ in 0..2 {
        database.checkpoint(&copy).unwrap();
        bytes = size(&copy);
        std::fs::remove_dir_all(&copy).unwrap();
        settle(&directory.join("db"));
    }
    format!(
        "{} | {} | {} | {} | {:.1}",
        tree.height,
        tree.leaves,
        tree.branches,
        tree.spilled,
        bytes as f64 / 1e6
    )
}

/// Waits until the files stay as they are.
fn settle(directory: &Path) {
    let (mut before, mut still) = (size(directory), 0);
    while still < 5 {
        sleep(Duration::from_millis(200));
        let now = size(directory);
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
}

fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}
