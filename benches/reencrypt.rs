//! What changing keys costs: items sealed again a second, and what queries notice of it.
//!
//! `cargo bench --bench reencrypt` takes 40,000 WordNet glosses with 384-dimensional f32 vectors,
//! contents and metadata; with `-- VECTORS.npy` the vectors of that file (f16, 384 components), with
//! contents and metadata beside. All threads, files in the page cache, commits not synced. One
//! thread asks all the time, before and meanwhile. `-- --upserts` only upserts batches of 1,000, for
//! a profiler.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a bench that fails may stop"
)]

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use half::f16;
use sealvec::{Database, Index, Item, KeyContext, Permissions, ReencryptOptions, UserId, UserKey};
use serde_json::json;

fn items(path: Option<&str>, count: usize) -> Vec<Item> {
    let Some(path) = path else { return support::items(count) };
    let npy = fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let rows = npy[header..].chunks_exact(support::DIMENSION * 2).take(count);
    rows.enumerate()
        .map(|(number, row)| {
            let vector: Vec<f32> =
                row.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
            let text = format!("a gloss of some length, such as that of number {number}, in words");
            let metadata = json!({ "number": number, "part": number % 4, "lexfile": number % 45 });
            Item::new(number.to_string(), vector).contents(text).metadata(metadata)
        })
        .collect()
}

/// Queries a second of one thread, while `work` runs.
fn queries_during<T>(index: &Index<'_>, asked: &[Item], work: impl FnOnce() -> T) -> (f64, T) {
    let (done, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for item in asked.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                index.query(item.vector()).run().unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        let result = work();
        let rate = count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        (rate, result)
    })
}

/// Changes the data key and seals everything again: items a second until all are, and seconds of the
/// rest: the survey, the end of the older data key, and the purge.
fn reencrypt(db: &Database, index: &Index<'_>, options: ReencryptOptions) -> (f64, f64) {
    db.rotate_data_keys("bench", &KeyContext::root(support::key())).unwrap();
    let (start, mut last) = (Instant::now(), Instant::now());
    let report = index.reencrypt(options, |_| {
        last = Instant::now();
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((report.items, report.retired), (*index.count().unwrap(), 1));
    let sealing = last.duration_since(start).as_secs_f64();
    (report.items as f64 / sealing, last.elapsed().as_secs_f64())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--test");
    let path = arguments.iter().find(|argument| argument.ends_with(".npy"));
    let all = items(path.map(String::as_str), if quick { 2_000 } else { 40_000 });
    if arguments.iter().any(|argument| argument == "--upserts") {
        let directory = tempfile::tempdir().unwrap();
        let (_db, index) = support::sealed(directory.path(), &all, 0);
        let start = Instant::now();
        (0..3).for_each(|_| all.chunks(1000).for_each(|some| drop(index.upsert(some).unwrap())));
        println!(
            "{:.1} ms an upsert of 1,000",
            start.elapsed().as_secs_f64() / 0.120 / all.len() as f64 * 40_000.0
        );
        return;
    }
    println!("items: {} x {} f32\n", all.len(), support::DIMENSION);
    println!(
        "| threads | items/s | rest, s | with queries: items/s | queries/s before | meanwhile |"
    );
    println!("|---|---|---|---|---|---|");
    for threads in [1, 0] {
        let directory = tempfile::tempdir().unwrap();
        let (db, index) = support::sealed(directory.path(), &all, threads);
        let (rate, rest) = reencrypt(&db, &index, ReencryptOptions::new());
        let asked = &all[..all.len().min(1000)];
        let window = Duration::from_millis(if quick { 100 } else { 3000 });
        let (before, ()) = queries_during(&index, asked, || thread::sleep(window));
        let (during, (busy, _)) =
            queries_during(&index, asked, || reencrypt(&db, &index, ReencryptOptions::new()));
        let threads = if threads == 0 { "all".to_owned() } else { threads.to_string() };
        println!("| {threads} | {rate:.0} | {rest:.2} | {busy:.0} | {before:.0} | {during:.0} |");
    }
    println!("\n| users | grant tables | rotate_index_key, ms | rotate_data_keys, ms |");
    println!("|---|---|---|---|");
    for (users, tables) in [(1_u16, 100_u64), (100, 100), (100, 1000), (1000, 1000)] {
        let users = if quick { users.min(10) } else { users };
        let db = Database::in_memory().unwrap();
        let config = sealvec::IndexConfig::new(sealvec::Metric::Cosine);
        db.create_index("bench", &support::key(), config).unwrap();
        let index = db.load_index("bench", KeyContext::root(support::key())).unwrap();
        for n in 0..tables {
            let user = u16::try_from(n % u64::from(users)).unwrap();
            let mut id = [1; 16];
            id[..2].copy_from_slice(&user.to_be_bytes());
            let key = UserKey::from_bytes(&[9; 32]).unwrap();
            index.grant(UserId::from_bytes(&id).unwrap(), &key, Permissions::READ_WRITE).unwrap();
        }
        let root = KeyContext::root(support::key());
        let start = Instant::now();
        db.rotate_data_keys("bench", &root).unwrap();
        let data = start.elapsed().as_secs_f64() * 1e3;
        let new = sealvec::IndexKey::from_bytes(&[8; 32]).unwrap();
        let start = Instant::now();
        db.rotate_index_key("bench", &root, &new).unwrap();
        let key = start.elapsed().as_secs_f64() * 1e3;
        println!("| {users} | {tables} | {key:.1} | {data:.1} |");
    }
}
