//! The price of encryption, as ratios: what the sealed index costs beside a plain RocksDB that does
//! the same writes, measured in turns in one run, and the absolute cost of key handling.
//!
//! `cargo bench --bench price` prints the table of docs/design.md. Medians; 256 MiB block cache;
//! items are WordNet glosses with 384-dimensional f32 vectors from `data/`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a bench that fails may stop"
)]

mod support;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use sealvec::{
    Database, Durability, Include, Index, Item, KeyContext, Permissions, UserId, UserKey,
};
use support::{Plain, PlainItem};

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let directory = tempfile::tempdir().unwrap();
    let count = if quick { 2_000 } else { 40_000 };
    let items = support::items(count);
    let (database, index) = support::sealed(&directory.path().join("sealed"), &items, 1);
    let plain = Plain::open(&directory.path().join("plain"));
    let twins = support::plain_items(count, 1);
    for batch in twins.chunks(1000) {
        plain.upsert(batch, false);
    }
    let rounds = if quick { 3 } else { 500 };

    println!("items: {count} x {} f32, threads: 1, block cache: 256 MiB", support::DIMENSION);
    // Compactions of the load would be charged to whoever runs meanwhile.
    std::thread::sleep(Duration::from_secs(if quick { 0 } else { 5 }));
    println!("\n| operation | sealed | plain | ratio |\n|---|---|---|---|");
    exact_query(&index, &items, if quick { 1 } else { 9 });
    deletes(&index, &plain, &items, &twins, rounds);
    upserts(&index, &plain, if quick { 2 } else { 40 });
    let two = support::sealed(&directory.path().join("two"), &[], 0);
    upserts_two(&two.1, &plain, if quick { 2 } else { 40 });

    println!("\n| key handling | median |\n|---|---|");
    key_handling(&database, &index, &items, rounds);
    println!("\n| whole call | median |\n|---|---|");
    calls(&database, &items, rounds);
}

/// 1,000 new items in one unsynced call.
fn upserts(index: &Index<'_>, plain: &Plain, rounds: usize) {
    let (sealed, baseline) = upsert_times(index, plain, rounds, 100);
    row("upsert of 1,000, unsynced, 1 thread", sealed, baseline);
}

fn upserts_two(index: &Index<'_>, plain: &Plain, rounds: usize) {
    let (sealed, baseline) = upsert_times(index, plain, rounds, 10_000);
    row("upsert of 1,000, unsynced, a thread per core", sealed, baseline);
}

fn upsert_times(
    index: &Index<'_>,
    plain: &Plain,
    rounds: usize,
    seed: usize,
) -> (Duration, Duration) {
    let base = support::items(1000);
    let (mut sealed, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let round = seed + round;
        let batch: Vec<Item> =
            base.iter().enumerate().map(|(n, item)| renamed(item, round, n)).collect();
        let twins = support::plain_items(1000, round as u64);
        sealed.push(time(|| index.upsert(&batch).map(|_| ()).unwrap()));
        baseline.push(time(|| plain.upsert(&twins, false)));
    }
    (median(sealed), median(baseline))
}

/// The same item under an id of this round.
fn renamed(item: &Item, round: usize, number: usize) -> Item {
    item.clone().with_id(format!("round-{round}-{number}"))
}

/// One existing item, synced and unsynced.
fn deletes(index: &Index<'_>, plain: &Plain, items: &[Item], twins: &[PlainItem], rounds: usize) {
    let mut next = items.iter().zip(twins);
    for (name, durability) in [
        ("delete of one, synced", Durability::Synced),
        ("delete of one, unsynced", Durability::Buffered),
    ] {
        let index = index.with_durability(durability);
        let synced = durability == Durability::Synced;
        let (mut sealed, mut baseline) = (Vec::new(), Vec::new());
        for (item, twin) in next.by_ref().take(rounds) {
            sealed.push(time(|| index.delete(&[item.id()]).map(|_| ()).unwrap()));
            baseline.push(time(|| plain.delete(twin, synced)));
        }
        row(name, median(sealed), median(baseline));
    }
}

/// The exact query beside reading and opening the same records without computing a distance.
fn exact_query(index: &Index<'_>, items: &[Item], rounds: usize) {
    let query = items.last().unwrap().vector().to_vec();
    let (mut scored, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        scored.push(time(|| {
            black_box(index.query(&query).exact().top_k(10).run().unwrap());
        }));
        opened.push(time(|| {
            let seen = index.for_each(Include::NONE.vector(), |entry| {
                black_box(entry.vector);
                ControlFlow::Continue(())
            });
            black_box(seen.unwrap());
        }));
    }
    row("exact query, beside opening the same records", median(scored), median(opened));
}

/// `describe` does what every call does before its own work: read and open wrap, head and table.
fn key_handling(database: &Database, index: &Index<'_>, items: &[Item], rounds: usize) {
    let rounds = rounds * 10;
    line("bound handle, root (describe)", rounds, || {
        black_box(index.describe().unwrap());
    });
    let caller = KeyContext::root(support::key());
    let unbound = database.open_index("bench").unwrap();
    line("key per call, root (describe)", rounds, || {
        black_box(unbound.with_key(&caller).describe().unwrap());
    });
    let user = UserId::from_bytes(&[1; 16]).unwrap();
    let user_key = || UserKey::from_bytes(&[2; 32]).unwrap();
    index.grant(user, &user_key(), Permissions::READ).unwrap();
    let user = KeyContext::user(user, user_key());
    line("key per call, reader (describe)", rounds, || {
        black_box(unbound.with_key(&user).describe().unwrap());
    });
    // A delete of nothing takes the write lock, opens the write wrap, and stops before a commit.
    let missing = format!("{} is not here", items.len());
    line("key per call, writer (delete of a missing id)", rounds, || {
        black_box(unbound.with_key(&caller).delete(&[&missing]).unwrap());
    });
}

fn calls(database: &Database, items: &[Item], rounds: usize) {
    let ids: Vec<&str> = items.iter().rev().take(1000).map(Item::id).collect();
    let mut next = ids.iter().cycle();
    line("load_index + one get, all fields", rounds, || {
        let index = database.load_index("bench", KeyContext::root(support::key())).unwrap();
        let id = next.next().unwrap();
        let found = index.get(&[id], Include::ALL).unwrap();
        assert!(black_box(found)[0].item.is_some());
    });
}

fn time(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn row(name: &str, sealed: Duration, plain: Duration) {
    let ratio = sealed.as_secs_f64() / plain.as_secs_f64();
    println!("| {name} | {} | {} | {ratio:.2} |", show(sealed), show(plain));
}

fn line(name: &str, rounds: usize, mut call: impl FnMut()) {
    call();
    let times = (0..rounds).map(|_| time(&mut call)).collect();
    println!("| {name} | {} |", show(median(times)));
}

fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 { format!("{micros:.1} us") } else { format!("{:.2} ms", micros / 1e3) }
}
