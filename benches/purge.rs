//! What a purge costs: bytes written and seconds, for 1 % of the items deleted.
//!
//! `cargo bench --bench purge` prints the table of docs/design.md. 40,000 WordNet glosses with
//! 384-dimensional f32 vectors, and contents filled up to 1 KiB. What a purge writes is counted by
//! RocksDB itself: log, flushes and compactions.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a bench that fails may stop"
)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use sealvec::{Database, Index, PurgeOptions, PurgeScope};

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let count = if quick { 2_000 } else { 40_000 };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut items = support::items(count);
    for item in &mut items {
        let mut contents = item.id().as_bytes().to_vec();
        contents.resize(1024, b'.');
        *item = item.clone().contents(contents);
    }
    let (db, index) = support::sealed(&path, &items, 0);
    println!("items: {count} x {} f32, contents of 1 KiB\n", support::DIMENSION);
    println!("| purge | seconds | MB written | MB in the directory |\n|---|---|---|---|");
    line(&db, &index, &path, "all of it, after loading", PurgeScope::Payload);
    let share = count / 100;
    let mut ids = items.iter().map(|item| item.id());
    for (name, scope) in [
        ("1 % deleted, records", PurgeScope::Records),
        ("1 % deleted, records", PurgeScope::Records),
        ("1 % deleted, payload too", PurgeScope::Payload),
    ] {
        // As single deletes come: not in one commit.
        let ids: Vec<&str> = ids.by_ref().take(share).collect();
        for few in ids.chunks(10) {
            index.delete(few).unwrap();
        }
        line(&db, &index, &path, name, scope);
    }
}

fn line(db: &Database, index: &Index<'_>, path: &Path, name: &str, scope: PurgeScope) {
    let before = db.bytes_written().unwrap();
    let start = Instant::now();
    index.purge(scope, PurgeOptions::new()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let written = mega(db.bytes_written().unwrap() - before);
    println!("| {name} | {seconds:.2} | {written:.1} | {:.1} |", mega(size(path)));
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn size(path: &Path) -> u64 {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
