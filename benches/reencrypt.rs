//! What changing keys costs: items sealed again a second, and what queries notice of it.
//!
//! `cargo bench --bench reencrypt` takes 40,000 WordNet glosses with 384-dimensional f32 vectors,
//! contents and metadata; with `-- VECTORS.npy` the vectors of that file (f16, 384 components), with
//! contents and metadata beside. All threads, files in the page cache, commits not synced. One
//! thread asks all the time, before and meanwhile. `-- --once` re-encrypts once on one thread, for a
//! profiler.

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
            let metadata = json!({ "part": number % 4, "lexfile": number % 45 });
            Item::new(number.to_string(), vector).contents(text).metadata(metadata)
        })
        .collect()
}

/// Seconds of processor time that this thread has had, which on a busy machine is less than went by.
/// Zero where Linux does not tell.
fn processor() -> f64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos: f64 = told.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    nanos / 1e9
}

/// Of one thread that asks all the time while `work` runs: queries a second, and processor time of a
/// query in microseconds.
fn queries_during<T>(index: &Index<'_>, asked: &[Item], work: impl FnOnce() -> T) -> (f64, f64, T) {
    let (done, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let start = processor();
            for item in asked.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                index.query(item.vector()).run().unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
            (processor() - start) * 1e6 / count.load(Ordering::Relaxed) as f64
        });
        let start = Instant::now();
        let result = work();
        let rate = count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        (rate, asking.join().unwrap(), result)
    })
}

/// Changes the data key and seals everything again: items a second until all are, the same by the
/// processor time of this thread, and seconds of the rest: the survey, the end of the older data key,
/// and the purge.
fn reencrypt(db: &Database, index: &Index<'_>) -> (f64, f64, f64) {
    db.rotate_data_keys("bench", &KeyContext::root(support::key())).unwrap();
    let (start, busy) = (Instant::now(), processor());
    let mut last = (Instant::now(), 0.0);
    let report = index.reencrypt(ReencryptOptions::new(), |_| {
        last = (Instant::now(), processor() - busy);
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((report.items, report.retired), (*index.count().unwrap(), 1));
    let (items, (last, busy)) = (report.items as f64, last);
    let sealing = last.duration_since(start).as_secs_f64();
    (items / sealing, items / busy, last.elapsed().as_secs_f64())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--test");
    let path = arguments.iter().find(|argument| argument.ends_with(".npy"));
    let all = items(path.map(String::as_str), if quick { 2_000 } else { 40_000 });
    if arguments.iter().any(|argument| argument == "--once") {
        let directory = tempfile::tempdir().unwrap();
        let (db, index) = support::sealed(directory.path(), &all, 1);
        println!("begins");
        let (rate, by_processor, rest) = reencrypt(&db, &index);
        println!("{rate:.0} items/s, {by_processor:.0} by processor time, {rest:.2} s");
        return;
    }
    println!("items: {} x {} f32\n", all.len(), support::DIMENSION);
    println!(
        "| threads | items/s | by processor time | rest, s | with queries: items/s | queries/s before, \
         meanwhile | processor time of a query, us |"
    );
    println!("|---|---|---|---|---|---|---|");
    for threads in [1, 0] {
        let directory = tempfile::tempdir().unwrap();
        let (db, index) = support::sealed(directory.path(), &all, threads);
        let (rate, by_processor, rest) = reencrypt(&db, &index);
        let asked = &all[..all.len().min(1000)];
        let window = Duration::from_millis(if quick { 100 } else { 3000 });
        let (before, cost, ()) = queries_during(&index, asked, || thread::sleep(window));
        let (during, later, (busy, ..)) = queries_during(&index, asked, || reencrypt(&db, &index));
        let by = if threads == 0 { "-".to_owned() } else { format!("{by_processor:.0}") };
        let threads = if threads == 0 { "all".to_owned() } else { threads.to_string() };
        println!(
            "| {threads} | {rate:.0} | {by} | {rest:.2} | {busy:.0} | {before:.0}, {during:.0} | \
             {cost:.0}, {later:.0} |"
        );
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
