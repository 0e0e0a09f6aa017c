//! A query takes less than 64 MB of memory beyond the block cache, however large the index.
//!
//! Measured from outside, so that what RocksDB allocates counts as well: the peak of a process of its
//! own (this binary, run again), which queries and does nothing else. Linux keeps that number.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use sealvec::{Database, Durability, IndexConfig, Metric};

use crate::support::{NAME, ROOT, index_key, root, small};
use crate::tree::{Random, items};

const TEST: &str = "memory::a_query_takes_less_than_64_mb_beyond_the_block_cache";
/// Names the database to the process of its own.
const PATH: &str = "SEALVEC_TEST_MEMORY";
const MOST: u64 = 64_000_000;
const BLOCK_CACHE: u64 = 1 << 20;

/// Items, dimension, and how many hits are asked for: few enough for the tree to be used.
const INDEXES: [(usize, usize, usize); 3] =
    [(6_000, 8, 1_000), (24_000, 8, 5_000), (3_000, 768, 700)];

/// A number of /proc/self/status, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kilobytes = line.trim_start_matches(':').trim().trim_end_matches("kB").trim();
    kilobytes.parse::<u64>().unwrap() * 1024
}

/// How far memory rises above what is in use before.
fn rise<T>(call: impl FnOnce() -> T) -> u64 {
    // The peak begins anew. Where that is not allowed it counts what was before, too.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let before = status("VmRSS");
    drop(std::hint::black_box(call()));
    status("VmHWM").saturating_sub(before)
}

/// What the process of its own does.
fn child(path: &str) {
    let top_k: usize = fs::read_to_string(format!("{path}.top_k")).unwrap().parse().unwrap();
    let db = Database::open_read_only(path, small()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let dimension = index.describe().unwrap().dimension.unwrap();
    let query = Random(99).vectors(1, dimension).remove(0);
    let mut rows = 0;
    let risen = rise(|| {
        let (hits, stats) = index.query(&query).top_k(top_k).effort(64).run_with_stats().unwrap();
        assert_eq!(hits.len(), top_k);
        // The tree was used.
        assert!(stats.nodes > 1, "{stats:?}");
        rows = stats.rows;
    });
    let control = rise(|| vec![1u8; usize::try_from(MOST).unwrap()]);
    println!("risen {risen} {control} {rows}");
}

#[test]
fn a_query_takes_less_than_64_mb_beyond_the_block_cache() {
    if let Ok(path) = std::env::var(PATH) {
        return child(&path);
    }
    for (count, dimension, top_k) in INDEXES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let db = Database::open(&path, small().durability(Durability::Buffered)).unwrap();
        let config = IndexConfig::new(Metric::Euclidean);
        db.create_index(NAME, &index_key(ROOT), config).unwrap();
        let index = db.load_index(NAME, root(ROOT)).unwrap();
        for batch in items(&Random(5).vectors(count, dimension)).chunks(2_000) {
            index.upsert(batch).unwrap();
        }
        db.close().unwrap();
        fs::write(directory.path().join("db.top_k"), top_k.to_string()).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args([TEST, "--exact", "--nocapture", "--test-threads", "1"])
            .env(PATH, &path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once("risen "));
        let Some((_, numbers)) = line else {
            panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
        };
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        let [risen, control, rows] = numbers[..] else { panic!("{numbers:?}") };
        println!("{count} x {dimension}, {top_k} hits, {rows} rows: {risen} bytes");
        assert!(risen < MOST + BLOCK_CACHE, "{count} x {dimension}: {risen}");
        // A query takes something, and what takes as much as is allowed shows.
        assert!(risen > 0 && control >= MOST - (4 << 20), "{risen} {control}");
    }
}
