//! Killed: what a process leaves that ends in the middle of a bulk write or of `optimize`.
//!
//! The process is a child of this one (see `children`). It says when the database is open and what
//! each commit left; it is killed after the n-th of these lines, some time later or while it writes,
//! chosen at random from a fixed seed. Then the database is opened again: every commit is there
//! whole or not at all, what was said is there, and the next process goes on with it, until it is
//! done.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use sealvec::{Database, Durability, Include, Index, IndexConfig, Item, Metric, Options, Tuning};
use serde_json::json;

use crate::children::{Ended, Moment, Task, say};
use crate::support::{NAME, ROOT, index_key, root, small};
use crate::tree::{Random, ids, items, sound};

const DIMENSION: usize = 8;
/// Items of a bulk write.
const LOADED: usize = 240;
/// Numbers in the metadata of each: in memory they come to a sixteenth of a commit, on disk to 40 KB.
const NUMBERS: usize = 20_000;
/// More items than a commit of them takes.
const COMMIT: u64 = 30;
/// Items of an index that is optimized.
const WORN: usize = 700;
/// So many processes are killed, if that many indexes are enough.
const KILLS: u32 = 30;
const LIVES: usize = 12;

fn options(durability: Durability) -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    small().durability(durability).tuning(tuning)
}

fn open(path: &Path) -> (Database, Index<'static>) {
    let db = Database::open(path, options(Durability::Buffered)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    (db, index)
}

fn create(path: &Path) {
    let db = Database::open(path, options(Durability::Buffered)).unwrap();
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
    db.close().unwrap();
}

fn numbers(n: usize) -> serde_json::Value {
    json!({ "n": vec![n % 10; NUMBERS] })
}

fn loaded() -> impl ExactSizeIterator<Item = Item> {
    let all = items(&Random(31).vectors(LOADED, DIMENSION)).into_iter().enumerate();
    all.map(|(n, item)| item.metadata(numbers(n)))
}

/// What a process said: when it was open, after each commit, and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// A count, and the sequence of the commit.
    Commit(u64, u64),
    /// Two counts.
    End(u64, u64),
}

impl Line {
    fn say(self) {
        match self {
            Self::Open => say("open 0 0"),
            Self::Commit(a, b) => say(&format!("commit {a} {b}")),
            Self::End(a, b) => say(&format!("end {a} {b}")),
        }
    }

    fn parse(text: &str) -> Self {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [what, a, b] = fields[..] else { panic!("{text}") };
        let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
        match what {
            "open" => Self::Open,
            "commit" => Self::Commit(a, b),
            "end" => Self::End(a, b),
            _ => panic!("{text}"),
        }
    }
}

/// What the processes of the two tests do with an index.
type Work = fn(&Index<'_>);

fn load(index: &Index<'_>) {
    let report = index.bulk_upsert(loaded(), |progress| {
        Line::Commit(progress.item_count, index.describe().unwrap().version.sequence).say();
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    Line::End(report.inserted, report.unchanged).say();
}

fn optimize(index: &Index<'_>) {
    let report = index.optimize(|progress| {
        Line::Commit(progress.remaining, index.describe().unwrap().version.sequence).say();
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    Line::End(report.rebuilt, report.remaining).say();
}

/// Whether this process is one that may be killed; it has done its work then.
fn done_as_child(work: Work) -> bool {
    let Some(Task { path, durability, .. }) = Task::given() else { return false };
    let db = Database::open(path, options(durability)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    Line::Open.say();
    work(&index);
    drop(index);
    db.close().unwrap();
    true
}

/// Runs a test of this binary in a process of its own. What it said, and whether it was killed.
fn run(test: &str, path: &Path, synced: bool, kill: Option<Moment>) -> (Vec<Line>, bool) {
    let durability = if synced { Durability::Synced } else { Durability::Buffered };
    let Ended { said, killed } = Task { path: path.into(), durability, seed: 0 }.run(test, kill);
    (said.iter().map(|line| Line::parse(line)).collect(), killed)
}

/// What became of the processes.
#[derive(Debug, Default)]
struct Tally {
    rounds: u32,
    /// At all, and before the database was open.
    killed: u32,
    early: u32,
    /// With a last commit that was not told of.
    untold: u32,
    commits: usize,
}

impl Tally {
    fn count(&mut self, said: &[Line], killed: bool, untold: bool) {
        self.rounds += 1;
        self.killed += u32::from(killed);
        self.early += u32::from(killed && said.is_empty());
        self.untold += u32::from(killed && untold);
        self.commits += commits(said).len();
    }
}

/// The commits that a process told of, as counts by sequence.
fn commits(said: &[Line]) -> BTreeMap<u64, u64> {
    let commits = said.iter().filter_map(|line| match *line {
        Line::Commit(count, sequence) => Some((sequence, count)),
        _ => None,
    });
    commits.collect()
}

/// Reads everything: the number of items by the commit that wrote them. `expected` is called with
/// the number of an item.
fn read_all(index: &Index<'_>, metadata: impl Fn(usize) -> Option<String>) -> BTreeMap<u64, u64> {
    let vectors = Random(31).vectors(WORN.max(LOADED), DIMENSION);
    sound(index);
    let (mut by_version, mut bytes) = (BTreeMap::new(), 0);
    let visited = index.for_each(Include::ALL, |entry| {
        let number: usize = entry.id.parse().unwrap();
        assert_eq!(entry.vector, Some(&vectors[number][..]), "{number}");
        assert!(entry.metadata == metadata(number).as_deref(), "{number}");
        *by_version.entry(entry.version).or_insert(0) += 1;
        bytes += entry.id.len() + DIMENSION * 4 + entry.metadata.map_or(0, str::len);
        ControlFlow::Continue(())
    });
    let described = index.describe().unwrap();
    assert_eq!(*visited.unwrap(), described.item_count);
    assert_eq!(bytes as u64, described.total_size_bytes);
    if let Some(number) = index.list_ids(1, None).unwrap().ids.first() {
        let vector = &vectors[number.parse::<usize>().unwrap()];
        let hits = index.query(vector).top_k(1).effort(1024).run().unwrap();
        assert_eq!((ids(&hits)[0], hits[0].distance), (number.as_str(), 0.0));
    }
    by_version
}

#[test]
fn a_bulk_write_that_is_killed_leaves_whole_commits_and_goes_on() {
    const TEST: &str = "kill::a_bulk_write_that_is_killed_leaves_whole_commits_and_goes_on";
    if done_as_child(load) {
        return;
    }
    let metadata = |n| Some(numbers(n).to_string());
    let (mut random, mut tally) = (Random(41), Tally::default());
    for _ in 0..LIVES {
        if tally.killed >= KILLS {
            break;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        create(&path);
        let (mut told, mut before) = (BTreeMap::new(), 0);
        for round in 0..40 {
            // In the end one may finish.
            let kill = (round < 8).then(|| Moment::random(&mut random, 10, 30_000));
            let (said, was_killed) = run(TEST, &path, round % 2 == 0, kill);
            let (db, index) = open(&path);
            let by_version = read_all(&index, metadata);
            let described = index.describe().unwrap();
            let now = commits(&said);
            // What was told is there, now and after every later kill.
            told.extend(now.clone());
            for (sequence, count) in &told {
                let there: u64 = by_version.range(..=sequence).map(|(_, items)| items).sum();
                assert_eq!(there, *count, "commit {sequence}, {kill:?}");
            }
            // At most one commit more than what was told; the first comes after a skeleton.
            let sequence = described.version.sequence;
            let last = now.keys().next_back().copied().unwrap_or(before);
            let most = if now.is_empty() { 2 } else { 1 };
            assert!((last..=last + most).contains(&sequence), "{sequence} after {last}");
            let untold: u64 = by_version.range(last + 1..).map(|(_, items)| items).sum();
            assert!(untold <= COMMIT, "{untold} items that nobody told of");
            tally.count(&said, was_killed, sequence > last);
            before = sequence;
            drop(index);
            db.close().unwrap();
            if !was_killed {
                let Some(Line::End(inserted, unchanged)) = said.last().copied() else {
                    panic!("{said:?}")
                };
                assert_eq!(inserted + unchanged, LOADED as u64);
                assert_eq!(described.item_count, LOADED as u64);
                break;
            }
        }
        let (said, _) = run(TEST, &path, false, None);
        assert_eq!(said.last(), Some(&Line::End(0, LOADED as u64)), "it was not done");
    }
    println!("bulk writes: {tally:?}");
    assert!(tally.killed >= KILLS / 2, "{tally:?}");
}

#[test]
fn an_optimize_that_is_killed_changes_no_item_and_goes_on() {
    const TEST: &str = "kill::an_optimize_that_is_killed_changes_no_item_and_goes_on";
    if done_as_child(optimize) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    create(&path);
    let all = items(&Random(31).vectors(WORN, DIMENSION));
    let (mut random, mut tally) = (Random(43), Tally::default());
    for life in 0..LIVES {
        if tally.killed >= KILLS {
            break;
        }
        let (db, index) = open(&path);
        for some in all.chunks(50) {
            index.upsert(some).unwrap();
        }
        let gone: Vec<&str> = all.iter().skip(life).step_by(3).map(Item::id).collect();
        index.delete(&gone).unwrap();
        let (items, start) = (read_all(&index, |_| None), index.describe().unwrap());
        let (mut before, mut left) = (start.version.sequence, u64::MAX);
        drop(index);
        db.close().unwrap();
        for round in 0..40 {
            let kill = (round < 9).then(|| Moment::random(&mut random, 7, 6000));
            let (said, was_killed) = run(TEST, &path, round % 2 == 0, kill);
            let (db, index) = open(&path);
            assert_eq!(read_all(&index, |_| None), items, "{kill:?}");
            let described = index.describe().unwrap();
            assert_eq!(described.etag, start.etag);
            // It went on behind what was told, and each commit is a branch less.
            let now = commits(&said);
            for remaining in now.values() {
                assert!(*remaining < left, "{remaining} branches left, and {left} before");
                left = *remaining;
            }
            let sequence = described.version.sequence;
            let last = now.keys().next_back().copied().unwrap_or(before);
            assert!((last..=last + 1).contains(&sequence), "{sequence} after {last}");
            tally.count(&said, was_killed, sequence > last);
            before = sequence;
            drop(index);
            db.close().unwrap();
            if !was_killed {
                break;
            }
        }
        let (said, _) = run(TEST, &path, false, None);
        assert_eq!(said, [Line::Open, Line::End(0, 0)], "it was not done");
    }
    println!("optimized: {tally:?}");
    assert!(tally.killed >= KILLS / 2, "{tally:?}");
}
