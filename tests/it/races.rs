//! One writer, one bulk load, one `optimize` after the other and two readers, all at once.
//!
//! The writer moves a group of items between two places, deletes it and brings it back, each in one
//! commit whose sequence it writes down. So the state of the group at every sequence is known, and
//! an answer that mixes two commits, or is older than its version token says, is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use sealvec::{Database, Durability, Include, Index, IndexConfig, Item, Metric, Options, Tuning};
use serde_json::json;

use crate::support::{NAME, ROOT, index_key, root, small};
use crate::tree::{Random, ids, items, sound};

const DIMENSION: usize = 16;
/// Items that are there all the time.
const STILL: usize = 1200;
/// Items that move together.
const GROUP: usize = 20;
/// Items of the bulk load, of so many bytes each; a commit takes about 50.
const LOADED: usize = 400;
const BYTES: usize = 320 << 10;
const CONFIG: IndexConfig = IndexConfig::new(Metric::Euclidean);

fn options() -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (16, 8);
    small().durability(Durability::Buffered).tuning(tuning)
}

/// Where the group is in this round: far from everything, in one of two places; nowhere in every
/// third round.
fn place(round: u64) -> Option<f32> {
    [Some(50.0), Some(-50.0), None][usize::try_from(round % 3).unwrap()]
}

fn group(round: u64, at: f32) -> Vec<Item> {
    let moved = |n| {
        let mut vector = vec![at; DIMENSION];
        vector[n % DIMENSION] += 0.5;
        Item::new(format!("group-{n:02}"), vector).metadata(json!({ "round": round }))
    };
    (0..GROUP).map(moved).collect()
}

fn group_ids() -> Vec<String> {
    (0..GROUP).map(|n| format!("group-{n:02}")).collect()
}

fn loaded() -> Vec<Item> {
    let vectors = Random(22).vectors(LOADED, DIMENSION);
    let named = vectors.into_iter().enumerate();
    named.map(|(n, v)| Item::new(format!("load-{n:03}"), v).contents(vec![7; BYTES])).collect()
}

/// What the writer did, by the sequence of its commits; and the items it changed besides.
#[derive(Default)]
struct Written {
    rounds: BTreeMap<u64, u64>,
    others: BTreeMap<String, Option<Vec<f32>>>,
}

/// What a reader was told of the group.
struct Seen {
    sequence: u64,
    /// None: it was not there.
    round: Option<u64>,
}

/// Moves the group; between two moves it replaces and deletes some of the items that are there.
fn write(index: &Index<'_>, stop: &AtomicBool, still: &[Item]) -> Written {
    let (mut written, mut random) = (Written::default(), Random(23));
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) || round < 12 {
        let version = match place(round) {
            Some(at) => index.upsert(&group(round, at)).unwrap().version,
            None => index.delete(&group_ids()).unwrap().version,
        };
        written.rounds.insert(version.sequence, round);
        round += 1;
        let some = still.iter().skip(usize::try_from(round * 37).unwrap() % STILL).take(5);
        for (n, item) in some.enumerate() {
            if n == 0 {
                index.delete(&[item.id()]).unwrap();
                written.others.insert(item.id().to_owned(), None);
            } else {
                let vector = random.vector(DIMENSION);
                index.upsert(&[Item::new(item.id(), vector.clone())]).unwrap();
                written.others.insert(item.id().to_owned(), Some(vector));
            }
        }
    }
    written
}

/// Asks for what is nearest to both places, approximately and exactly.
fn read(index: &Index<'_>, stop: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut newest = 0;
    while !stop.load(Ordering::Relaxed) || seen.len() < 20 {
        let (a, b) = ([50.0; DIMENSION], [-50.0; DIMENSION]);
        let both = index.query_batch([&a[..], &b[..]]).top_k(GROUP).include(Include::ALL);
        let both = if seen.len() % 2 == 0 { both.effort(1024) } else { both.exact() };
        let answer = both.run().unwrap();
        let sequence = answer.version.sequence;
        assert!(sequence >= newest, "{sequence} after {newest}");
        newest = sequence;
        let found = answer.iter().flatten().filter(|hit| hit.id.starts_with("group-"));
        let near: Vec<_> = found.filter(|hit| hit.distance < 5.0).collect();
        let rounds: Vec<u64> = near
            .iter()
            .map(|hit| hit.metadata.as_ref().unwrap()["round"].as_u64().unwrap())
            .collect();
        let round = rounds.first().copied();
        assert!(round.is_none() || rounds == [rounds[0]; GROUP], "{rounds:?} at {sequence}");
        if let Some(at) = round.and_then(place) {
            assert!(near.iter().all(|hit| hit.vector.as_ref().unwrap()[0].signum() == at.signum()));
        }
        seen.push(Seen { sequence, round });
    }
    seen
}

/// Runs everything, and checks what was seen and what is there in the end.
fn race(index: &Index<'_>) -> BTreeMap<String, Option<Vec<f32>>> {
    let still = items(&Random(21).vectors(STILL, DIMENSION));
    index.upsert(&still).unwrap();
    let (stop, rebuilt) = (AtomicBool::new(false), AtomicU64::new(0));
    let told = Mutex::new(Vec::new());
    let (written, seen) = thread::scope(|scope| {
        let writer = scope.spawn(|| write(index, &stop, &still));
        let readers = [(); 2].map(|()| scope.spawn(|| read(index, &stop)));
        let optimizer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let report = index.optimize(|_| {
                    if stop.load(Ordering::Relaxed) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                });
                rebuilt.fetch_add(report.unwrap().rebuilt, Ordering::Relaxed);
            }
        });
        let report = index.bulk_upsert(loaded(), |progress| {
            told.lock().unwrap().push(progress.done);
            ControlFlow::Continue(())
        });
        assert_eq!(report.unwrap().inserted, LOADED as u64);
        stop.store(true, Ordering::Relaxed);
        optimizer.join().unwrap();
        let written = writer.join().unwrap();
        (written, readers.map(|reader| reader.join().unwrap()))
    });

    let commits = told.into_inner().unwrap().len();
    assert!(commits > 4 && rebuilt.into_inner() > 5, "too little went on at once");
    let mut sequences = BTreeSet::new();
    for Seen { sequence, round } in seen.iter().flatten() {
        let last = written.rounds.range(..=sequence).next_back();
        let expected = last.map(|(_, round)| *round).filter(|round| place(*round).is_some());
        assert_eq!(*round, expected, "at {sequence}");
        sequences.insert(*sequence);
    }
    assert!(sequences.len() > 5, "too few commits were seen: {sequences:?}");
    sound(index);

    let mut all: BTreeMap<String, Option<Vec<f32>>> =
        still.iter().chain(&loaded()).map(|i| (i.id().into(), Some(i.vector().into()))).collect();
    all.extend(written.others);
    let last = *written.rounds.values().next_back().unwrap();
    let moved = place(last).map_or_else(Vec::new, |at| group(last, at));
    all.extend(group_ids().into_iter().map(|id| (id, None)));
    all.extend(moved.iter().map(|item| (item.id().into(), Some(item.vector().into()))));
    all
}

/// Every acknowledged write is there, and nothing else.
fn check(index: &Index<'_>, all: &BTreeMap<String, Option<Vec<f32>>>) {
    sound(index);
    let names: Vec<&String> = all.keys().collect();
    let found = index.get(&names, Include::NONE.vector()).unwrap().value;
    let found: BTreeMap<String, Option<Vec<f32>>> =
        found.into_iter().map(|f| (f.id, f.item.and_then(|item| item.vector))).collect();
    assert!(found == *all);
    let there = all.values().filter(|vector| vector.is_some()).count();
    assert_eq!(*index.count().unwrap(), there as u64);
    for (id, vector) in all.iter().step_by(97) {
        let Some(vector) = vector else { continue };
        let hits = index.query(vector).top_k(1).effort(1024).run().unwrap();
        assert_eq!((ids(&hits), hits[0].distance), (vec![id.as_str()], 0.0));
    }
}

#[test]
fn all_at_once_in_memory() {
    let db = Database::in_memory_with(options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), CONFIG).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    check(&index, &race(&index));
}

#[test]
fn all_at_once_on_disk_and_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = Database::open(&path, options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), CONFIG).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let all = race(&index);
    check(&index, &all);
    drop(index);
    db.close().unwrap();
    let db = Database::open(&path, options()).unwrap();
    check(&db.load_index(NAME, root(ROOT)).unwrap(), &all);
}
