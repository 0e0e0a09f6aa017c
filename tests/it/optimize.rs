//! Optimizing: it changes how the tree is built, and nothing else.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sealvec::{Hit, Include, Index, IndexConfig, Item, Metric, Tuning};

use crate::support::{memory, memory_with, small};
use crate::tree::recall::{recall, rows};
use crate::tree::{Random, ids, items, sound};

/// An index of many small branches, from small writes, half of which was deleted again.
fn worn(vectors: &[Vec<f32>]) -> (sealvec::Database, Index<'static>) {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (16, 8);
    let (db, index) = memory_with(small().tuning(tuning), IndexConfig::new(Metric::Euclidean));
    let all = items(vectors);
    for some in all.chunks(50) {
        index.upsert(some).unwrap();
    }
    let gone: Vec<&str> = all.iter().skip(1).step_by(2).map(Item::id).collect();
    for some in gone.chunks(100) {
        index.delete(some).unwrap();
    }
    (db, index)
}

fn exact(index: &Index<'_>, query: &[f32]) -> Vec<Hit> {
    index.query(query).top_k(25).exact().include(Include::ALL).run().unwrap().value
}

fn finish(index: &Index<'_>) -> u64 {
    index.optimize(|_| ControlFlow::Continue(())).unwrap().rebuilt
}

#[test]
fn items_and_etag_stay_and_every_branch_is_a_commit() {
    let vectors = Random(1).vectors(1600, 32);
    let (_db, index) = worn(&vectors);
    sound(&index);
    let before = index.describe().unwrap();
    let answer = exact(&index, &vectors[3]);
    let mut told = Vec::new();
    let report = index
        .optimize(|progress| {
            told.push((progress.done, progress.remaining));
            ControlFlow::Continue(())
        })
        .unwrap();
    sound(&index);
    let after = index.describe().unwrap();
    assert!(report.rebuilt > 5 && report.remaining == 0, "{report:?}");
    assert_eq!(told.len() as u64, report.rebuilt);
    assert_eq!(told.last().unwrap().1, 0);
    assert_eq!((after.etag, after.item_count), (before.etag, before.item_count));
    assert_eq!(after.total_size_bytes, before.total_size_bytes);
    assert_eq!(after.version, report.version);
    assert_eq!(after.version.sequence, before.version.sequence + report.rebuilt);
    assert_eq!(exact(&index, &vectors[3]), answer);

    // Done is done, until items change.
    assert_eq!(finish(&index), 0);
    assert_eq!(index.describe().unwrap(), after);
    index.delete(&["00000"]).unwrap();
    assert!(finish(&index) > 5);
    sound(&index);
}

#[test]
fn what_was_stopped_goes_on_with_the_rest() {
    let vectors = Random(2).vectors(1600, 32);
    let ((_a, whole), (_b, index)) = (worn(&vectors), worn(&vectors));
    let all = finish(&whole);
    let mut rebuilt = 0;
    loop {
        let mut told = None;
        let report = index
            .optimize(|progress| {
                told = Some(*progress);
                ControlFlow::Break(())
            })
            .unwrap();
        sound(&index);
        rebuilt += report.rebuilt;
        let Some(told) = told else { break };
        assert_eq!((report.rebuilt, report.remaining), (1, told.remaining));
        if rebuilt == 3 {
            rebuilt += finish(&index);
        }
    }
    assert!(rebuilt.abs_diff(all) <= all / 4, "{rebuilt} one by one, {all} at once");
}

#[test]
fn an_index_without_branches_is_left_alone() {
    let (_db, index) = memory(IndexConfig::new(Metric::Cosine));
    let before = index.describe().unwrap();
    assert_eq!(finish(&index), 0);
    assert_eq!(index.describe().unwrap(), before);
    index.upsert(&items(&Random(3).vectors(20, 8))).unwrap();
    let before = index.describe().unwrap();
    assert_eq!(finish(&index), 0);
    assert_eq!(index.describe().unwrap(), before);
}

#[test]
fn leaves_that_a_stopped_load_left_empty_go() {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (16, 8);
    let (_db, index) = memory_with(small().tuning(tuning), IndexConfig::new(Metric::Euclidean));
    let vectors = Random(5).vectors(600, 16);
    // A commit takes about 16 MiB.
    let all = items(&vectors).into_iter().map(|item| item.contents(vec![7; 160 << 10]));
    let stopped = index.bulk_upsert(all, |_| ControlFlow::Break(())).unwrap();
    assert!(stopped.stopped && stopped.item_count < 200, "{stopped:?}");
    let leaves = || index.verify_tree().unwrap().leaves;
    let before = leaves();
    assert!(before > 50, "{before}");
    finish(&index);
    sound(&index);
    assert!(leaves() <= stopped.item_count / 4, "{} of {before}", leaves());
    assert_eq!(finish(&index), 0);
}

#[test]
fn queries_meanwhile_find_what_is_there() {
    let vectors = Random(4).vectors(1600, 32);
    let (_db, index) = worn(&vectors);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) || asked < 20 {
                // Those of even number are left, and each is nearest to itself.
                let number = asked % 800 * 2;
                let hits = index.query(&vectors[number]).effort(1024).run().unwrap();
                assert_eq!((hits[0].id.clone(), hits[0].distance), (format!("{number:05}"), 0.0));
                assert!(hits.len() == 10 && hits.iter().all(|hit| hit.distance.is_finite()));
                asked += 1;
            }
        });
        let rebuilt = finish(&index);
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        assert!(rebuilt > 5);
    });
}

#[test]
fn after_churn_the_tree_is_about_as_good_as_new() {
    let (base, queries) = (rows("wordnet-5k.f16.npy"), rows("wordnet-queries-50.f16.npy"));
    let config = IndexConfig::new(Metric::Cosine);
    let ((_a, fresh), (_b, index)) = (memory(config.clone()), memory(config));
    let mut all = items(&base);
    fresh.bulk_upsert(all.clone(), |_| ControlFlow::Continue(())).unwrap();
    index.bulk_upsert(all.clone(), |_| ControlFlow::Continue(())).unwrap();
    let near = |item: &Item, pivot: &[f32]| -> f32 {
        item.vector().iter().zip(pivot).map(|(a, b)| a * b).sum()
    };
    for round in 0..3 {
        let pivot = &base[round * 1000];
        all.sort_by(|a, b| near(a, pivot).total_cmp(&near(b, pivot)));
        for batch in all.chunks(500) {
            let ids: Vec<&str> = batch.iter().map(Item::id).collect();
            index.delete(&ids).unwrap();
            index.upsert(batch).unwrap();
        }
    }
    sound(&index);
    let worn = recall(&index, &queries);
    finish(&index);
    let nodes = |index: &Index<'_>| {
        let report = index.verify_tree().unwrap().value;
        assert_eq!(report.items, 5000);
        report.leaves + report.branches
    };
    let (new, done) = (nodes(&fresh), nodes(&index));
    let (best, found) = (recall(&fresh, &queries), recall(&index, &queries));
    assert!(worn >= best - 0.015, "{best} fresh, {worn} worn");
    println!("recall {best} fresh, {worn} worn, {found} optimized; {new} nodes fresh, {done} then");
    assert!(found >= best - 0.02, "{found} of {best}");
    assert!(done * 2 <= new * 3, "{done} nodes, {new} fresh");
    assert_eq!(ids(&index.query(&base[7]).top_k(1).run().unwrap()), ["00007"]);
}
