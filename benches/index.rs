//! Whole calls on an index of 40,000 x 384 f32 on disk: loading, reading, writing, querying.
//!
//! `cargo bench --bench index`. One thread unless said; 256 MiB block cache; no plaintext is
//! cached. `benches/price.rs` sets the writes beside a plain RocksDB.

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

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sealvec::{
    Database, Durability, Include, Item, KeyContext, Options, Permissions, UserId, UserKey,
};

fn calls(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let items = support::items(40_000);
    let (database, index) = support::sealed(&directory.path().join("db"), &items, 1);
    let ids: Vec<&str> = items.iter().map(Item::id).collect();
    let caller = || KeyContext::root(support::key());
    let mut next = ids.iter().step_by(7).cycle();

    let mut group = criterion.benchmark_group("read");
    group.bench_function("load_index", |b| {
        b.iter_batched(
            caller,
            |caller| database.load_index("bench", caller).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("open_index, with_key, describe", |b| {
        let caller = caller();
        b.iter(|| {
            let index = database.open_index("bench").unwrap();
            black_box(index.with_key(&caller).describe().unwrap());
        });
    });
    group.bench_function("a page of 100 ids", |b| {
        b.iter(|| black_box(index.list_ids(100, None).unwrap()));
    });
    group.bench_function("open the directory for reading", |b| {
        let path = directory.path().join("db");
        b.iter(|| black_box(Database::open_read_only(&path, Options::new().threads(1)).unwrap()));
    });
    group.bench_function("get one, all fields", |b| {
        b.iter(|| black_box(index.get(&[next.next().unwrap()], Include::ALL).unwrap()));
    });
    group.bench_function("get 100, all fields", |b| {
        let mut hundreds = ids.chunks(100).cycle();
        b.iter(|| black_box(index.get(hundreds.next().unwrap(), Include::ALL).unwrap()));
    });
    group.finish();

    let mut group = criterion.benchmark_group("exact query");
    group.sample_size(10);
    let queries: Vec<&[f32]> = items.iter().step_by(1250).map(Item::vector).collect();
    group.bench_function("one query over 40,000", |b| {
        b.iter(|| black_box(index.query(queries[0]).exact().top_k(10).run().unwrap()));
    });
    group.bench_function("32 queries in one batch over 40,000", |b| {
        b.iter(|| {
            black_box(index.query_batch(queries.iter().copied()).exact().top_k(10).run().unwrap())
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("write");
    group.sample_size(20);
    let unsynced = index.with_durability(Durability::Buffered);
    let synced = index.with_durability(Durability::Synced);
    let mut round = 0;
    group.bench_function("upsert of 1,000, unsynced", |b| {
        b.iter_batched(
            || {
                round += 1;
                let fresh = items.iter().take(1000).enumerate();
                fresh.map(|(n, item)| item.clone().with_id(format!("{round}/{n}"))).collect()
            },
            |batch: Vec<Item>| unsynced.upsert(&batch).unwrap(),
            BatchSize::LargeInput,
        );
    });
    for (name, index) in [("unsynced", &unsynced), ("synced", &synced)] {
        group.bench_function(format!("upsert of one, {name}"), |b| {
            let mut items = items.iter().cycle();
            b.iter(|| index.upsert(std::slice::from_ref(items.next().unwrap())).unwrap());
        });
        group.bench_function(format!("delete of one, {name}"), |b| {
            b.iter_batched(
                || {
                    let item = items[0].clone().with_id("to be deleted");
                    unsynced.upsert(&[item]).unwrap();
                },
                |()| index.delete(&["to be deleted"]).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();

    // Wrapping is what a grant adds, unwrapping what every call begins with.
    let mut group = criterion.benchmark_group("keys");
    group.sample_size(20);
    let user = UserId::from_bytes(&[1; 16]).unwrap();
    let user_key = UserKey::from_bytes(&[2; 32]).unwrap();
    group.bench_function("grant, synced", |b| {
        b.iter(|| index.grant(user, &user_key, Permissions::READ_WRITE).unwrap());
    });
    group.bench_function("describe as a user", |b| {
        let caller = KeyContext::user(user, UserKey::from_bytes(&[2; 32]).unwrap());
        b.iter(|| black_box(index.with_key(&caller).describe().unwrap()));
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
