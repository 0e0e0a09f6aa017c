//! Writing many items: what is there afterwards, after a stop, after a fault, and meanwhile.
//!
//! A commit takes 16 MiB and the buffer 96; long contents make several of few items.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::thread;

use sealvec::{BulkProgress, BulkReport, Include, Index, IndexConfig, Item, Metric};

use crate::support::{memory, refused};
use crate::tree::{Random, ids, items, sound};

const CONFIG: IndexConfig = IndexConfig::new(Metric::Euclidean);

fn all_of(_: &BulkProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Inserted, updated, unchanged, and how many there are.
const fn counts(report: &BulkReport) -> [u64; 4] {
    [report.inserted, report.updated, report.unchanged, report.item_count]
}

/// Items that come to so many bytes each.
fn long(count: usize, bytes: usize) -> Vec<Item> {
    let short = items(&Random(9).vectors(count, 16));
    short.into_iter().map(|item| item.contents(vec![7; bytes])).collect()
}

/// An iterator that promises more than it has.
struct Hopeful<I>(I);

impl<I: Iterator> Iterator for Hopeful<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (1_000_000, None)
    }
}

#[test]
fn the_same_items_are_there_as_after_one_upsert() {
    let vectors = Random(1).vectors(1000, 24);
    let all: Vec<Item> = items(&vectors)
        .into_iter()
        .enumerate()
        .map(|(n, item)| item.contents(n.to_string()).metadata(serde_json::json!({"n": n})))
        .collect();
    let ((_a, once), (_b, many)) = (memory(CONFIG), memory(CONFIG));
    once.upsert(&all).unwrap();
    let report = many.bulk_upsert(all.clone(), all_of).unwrap();
    assert_eq!((counts(&report), report.stopped), ([1000, 0, 0, 1000], false));
    let described = many.describe().unwrap();
    assert_eq!((described.etag, described.version), (report.etag, report.version));
    assert_eq!(described.total_size_bytes, report.total_size_bytes);
    assert_eq!(once.describe().unwrap().total_size_bytes, report.total_size_bytes);
    sound(&many);
    let names: Vec<&str> = all.iter().map(Item::id).collect();
    let get = |index: &Index<'_>| {
        let found = index.get(&names, Include::ALL).unwrap().value.into_iter();
        found
            .map(|found| found.item.unwrap())
            .map(|item| (item.vector, item.contents, item.metadata))
            .collect::<Vec<_>>()
    };
    assert_eq!(get(&once), get(&many));
    for query in vectors.iter().step_by(50) {
        let exact = |index: &Index<'_>| index.query(query).exact().run().unwrap().value;
        assert_eq!(exact(&once), exact(&many));
        let nearest = many.query(query).top_k(1).run().unwrap();
        assert_eq!(nearest[0].id, exact(&once)[0].id);
    }
}

#[test]
fn nothing_is_written_for_nothing() {
    let (_db, index) = memory(CONFIG);
    let before = index.describe().unwrap();
    let report = index.bulk_upsert([], |_| panic!("there was no commit")).unwrap();
    assert_eq!((counts(&report), report.stopped), ([0; 4], false));
    assert_eq!((report.etag, report.version), (before.etag, before.version));
    assert_eq!(index.describe().unwrap(), before);
}

#[test]
fn what_was_stopped_goes_on_and_what_is_done_is_not_done_again() {
    let (_db, index) = memory(CONFIG);
    let all = long(600, 64 << 10);
    let mut calls = 0;
    let first = index
        .bulk_upsert(all.clone(), |progress| {
            calls += 1;
            assert_eq!((progress.done, progress.settled), (progress.item_count, 0));
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!((calls, first.stopped), (1, true));
    let [done, 0, 0, count] = counts(&first) else { panic!("{first:?}") };
    assert!((100..500).contains(&done) && count == done, "{first:?}");
    sound(&index);

    let other = index.clone();
    let mut last = None;
    let second = index
        .bulk_upsert(all.clone(), |progress| {
            sound(&other);
            last = Some(*progress);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((counts(&second), second.stopped), ([600 - done, 0, done, 600], false));
    let last = last.unwrap();
    assert_eq!((last.done, last.settled, last.item_count), (600, 600, 600));

    let before = index.describe().unwrap();
    let third = index.bulk_upsert(all, all_of).unwrap();
    assert_eq!(counts(&third), [0, 0, 600, 600]);
    assert_eq!((third.etag, third.version), (before.etag, before.version));
    assert_eq!(index.describe().unwrap(), before);
}

#[test]
fn an_index_that_holds_items_keeps_those_that_are_not_given() {
    let (_db, index) = memory(CONFIG);
    let all = items(&Random(3).vectors(900, 24));
    index.upsert(&all[..300]).unwrap();
    let mut given = all[200..].to_vec();
    given[0] = Item::new(given[0].id(), [5.0; 24]);
    let report = index.bulk_upsert(given, all_of).unwrap();
    assert_eq!(counts(&report), [600, 1, 99, 900]);
    sound(&index);
    assert_eq!(ids(&index.query(&[5.0; 24]).top_k(1).run().unwrap()), ["00200"]);
    assert_eq!(ids(&index.query(all[7].vector()).top_k(1).run().unwrap()), ["00007"]);
}

#[test]
fn of_several_items_with_one_id_the_last_is_kept() {
    let (_db, index) = memory(CONFIG);
    let all = items(&Random(4).vectors(300, 8));
    let again = all[..50].iter().map(|item| Item::new(item.id(), [9.0; 8]));
    let given: Vec<Item> = all.iter().cloned().chain(again).collect();
    let mut last = None;
    let report = index.bulk_upsert(given.clone(), |progress| {
        last = Some(*progress);
        ControlFlow::Continue(())
    });
    assert_eq!(counts(&report.unwrap()), [300, 0, 50, 300]);
    assert_eq!((last.unwrap().done, last.unwrap().settled), (350, 350));
    let found = index.get(&["00049", "00050"], Include::NONE.vector()).unwrap().value;
    let vector = |n: usize| found[n].item.as_ref().unwrap().vector.clone().unwrap();
    assert_eq!((vector(0), vector(1)), (vec![9.0; 8], all[50].vector().to_vec()));
    sound(&index);
    assert_eq!(counts(&index.bulk_upsert(given, all_of).unwrap()), [0, 0, 350, 300]);
}

#[test]
fn an_item_that_is_refused_is_named_and_nothing_of_its_commit_stays() {
    let good = || items(&Random(5).vectors(300, 8));
    let with = |bad: Item| {
        let mut all = good();
        all[123] = bad;
        all
    };
    let (_db, index) = memory(CONFIG);
    for round in 0..2 {
        let before = index.describe().unwrap();
        for (bad, said) in [
            (Item::new("x", [f32::NAN; 8]), "NaN"),
            (Item::new("x", [1.0; 7]), "7 components"),
            (Item::new("", [1.0; 8]), "its id is empty"),
            (Item::new("x", [1.0; 8]).contents(vec![0; 17 << 20]), "its contents"),
        ] {
            let result = index.bulk_upsert(with(bad), all_of);
            refused(result, "invalid_argument", &["item 123", said]);
            assert_eq!(index.describe().unwrap(), before, "round {round}: {said}");
        }
        index.upsert(&good()[..50]).unwrap();
    }
    sound(&index);
}

#[test]
fn what_was_committed_before_a_refused_item_stays() {
    let (_db, index) = memory(CONFIG);
    // The first buffer takes 101 of them; the fault is in the second.
    let mut all = long(110, 1_000_000);
    all[105] = Item::new("bad", [f32::INFINITY; 16]);
    let mut last = None;
    let result = index.bulk_upsert(all.clone(), |progress| {
        last = Some(*progress);
        ControlFlow::Continue(())
    });
    refused(result, "invalid_argument", &["item 105"]);
    let last = last.unwrap();
    assert_eq!((last.done, last.settled, last.item_count), (101, 101, 101));
    assert_eq!(*index.count().unwrap(), 101);
    sound(&index);
    // More than one commit, and a fault among them.
    let before = index.describe().unwrap();
    let result = index.bulk_upsert(all.drain(80..).collect::<Vec<_>>(), all_of);
    refused(result, "invalid_argument", &["item 25"]);
    assert_eq!(index.describe().unwrap(), before);
}

#[test]
fn an_index_without_a_tree_takes_many_too() {
    let (_db, index) = memory(CONFIG);
    let vectors = Random(6).vectors(40, 5000);
    let report = index.bulk_upsert(items(&vectors), all_of).unwrap();
    assert_eq!(counts(&report), [40, 0, 0, 40]);
    assert_eq!(index.describe().unwrap().dimension, Some(5000));
    assert_eq!(index.verify_tree().unwrap().height, 0);
    assert_eq!(ids(&index.query(&vectors[17]).top_k(1).run().unwrap()), ["00017"]);
}

#[test]
fn a_promise_of_more_items_than_come_does_no_harm() {
    let (_db, index) = memory(CONFIG);
    let all = items(&Random(7).vectors(700, 16));
    let names: Vec<&str> = all.iter().map(Item::id).collect();
    for _ in 0..2 {
        let report = index.bulk_upsert(Hopeful(all.iter().cloned()), all_of).unwrap();
        assert_eq!(counts(&report), [700, 0, 0, 700]);
        sound(&index);
        assert_eq!(ids(&index.query(all[5].vector()).top_k(1).run().unwrap()), ["00005"]);
        index.delete(&names).unwrap();
        sound(&index);
    }
}

#[test]
fn a_reader_sees_whole_commits() {
    let (_db, index) = memory(CONFIG);
    let all = long(700, 64 << 10);
    let known = Mutex::new(BTreeSet::from([0]));
    let seen = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            index.bulk_upsert(all.clone(), |progress| {
                known.lock().unwrap().insert(progress.item_count);
                ControlFlow::Continue(())
            })
        });
        let mut seen = BTreeSet::new();
        while !writer.is_finished() {
            let hits = index.query(all[3].vector()).top_k(1000).run().unwrap();
            assert!(*index.count().unwrap() >= hits.len() as u64);
            seen.insert(hits.len() as u64);
        }
        writer.join().unwrap().unwrap();
        seen
    });
    let known = known.into_inner().unwrap();
    assert!(known.len() > 2 && seen.is_subset(&known), "{seen:?} {known:?}");
    sound(&index);
}
