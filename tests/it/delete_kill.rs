//! Killed: what a process leaves that ends in the middle of deleting.
//!
//! A child deletes groups of items, by ids and by prefix, moves some and puts others back, without
//! end. It says what it is about to do, and what it was told when it is done. It is killed at some
//! moment; then the database is opened again, and what is there must be what was acknowledged and,
//! of the one call that was not, all or nothing. The next child goes on with the same files.

mod ledger;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use sealvec::{
    Database, DeleteOptions, Durability, Include, Index, IndexConfig, Item, Metric, Options,
    Selector, Tuning, VersionToken, WriteOptions,
};

use crate::children::{Moment, Task, say};
use crate::support::{NAME, ROOT, index_key, root, small};
use crate::tree::{Random, ids, sound};
use ledger::{Call, Fate, Found, IDS, Ledger, Stored, Told, commit_of, contents, name, vector};

const KILLS: u32 = 300;

fn options(durability: Durability) -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    small().durability(durability).tuning(tuning)
}

/// Says a call, makes it, and says what it was told.
fn make(index: &Index<'_>, call: &Call) {
    say(&format!("call {call}"));
    let items = |puts: &[(usize, u64)]| -> Vec<Item> {
        let item = |(id, seed): &(usize, u64)| {
            Item::new(name(*id), vector(*seed)).contents(contents(*seed))
        };
        puts.iter().map(item).collect()
    };
    let names = |ids: &[usize]| -> Vec<String> { ids.iter().copied().map(name).collect() };
    let (changes, count, bytes, version) = match call {
        Call::Put(puts) => {
            let done = index.upsert(&items(puts)).unwrap();
            let changes = [done.inserted, done.updated, 0, 0];
            (changes, done.item_count, done.total_size_bytes, done.version)
        }
        Call::Delete(ids) => {
            let done = index.delete(&names(ids)).unwrap();
            let changes = [0, 0, done.deleted, done.missing];
            (changes, done.item_count, done.total_size_bytes, done.version)
        }
        Call::Prefix(prefix) => {
            let prefix = prefix.to_string();
            let selector = Selector::prefix(&prefix);
            let done = index.delete_with(selector, &DeleteOptions::new()).unwrap();
            let changes = [0, 0, done.deleted, done.missing];
            (changes, done.item_count, done.total_size_bytes, done.version)
        }
        Call::Move(puts, ids) => {
            let conditions = WriteOptions::new();
            let done = index.write_batch(&items(puts), &names(ids), &conditions).unwrap();
            let changes = [done.inserted, done.updated, done.deleted, done.missing];
            (changes, done.item_count, done.total_size_bytes, done.version)
        }
    };
    let told = Told { changes, count, bytes, commit: commit_of(&version) };
    say(&format!("told {told}"));
}

/// Whether this process is a child; it has done its work then.
fn done_as_child() -> bool {
    let Some(Task { path, durability, seed }) = Task::given() else { return false };
    let db = Database::open(path, options(durability)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    say(&format!("open {}", commit_of(&index.describe().unwrap().version)));
    let mut random = Random(seed);
    // As good as without end.
    for _ in 0..10_000 {
        make(&index, &Call::random(&mut random));
    }
    true
}

/// Everything that an index answers; its answers must agree.
fn look(index: &Index<'_>, random: &mut Random) -> Found {
    let mut items = BTreeMap::new();
    let mut bytes = 0;
    let visited = index.for_each(Include::ALL, |entry| {
        let contents = entry.contents.unwrap();
        bytes += entry.id.len() + entry.vector.unwrap().len() * 4 + contents.len();
        let seed = ledger::seed_of(contents);
        assert_eq!(entry.vector.unwrap(), vector(seed));
        items.insert(entry.id.parse().unwrap(), Stored { seed, version: entry.version });
        ControlFlow::Continue(())
    });
    // Get, list, count and description say the same, and so do a recount and the tree.
    let names: Vec<String> = (0..IDS).map(name).collect();
    let got = index.get(&names, Include::ALL).unwrap().value;
    let got = got.into_iter().filter_map(|got| Some((got.id, got.item?)));
    let got: BTreeMap<usize, Stored> = got
        .map(|(id, item)| {
            let seed = ledger::seed_of(&item.contents.unwrap());
            (id.parse().unwrap(), Stored { seed, version: item.version })
        })
        .collect();
    assert_eq!(got, items);
    let listed = index.list_ids(IDS + 1, None).unwrap().value.ids;
    assert!(listed.iter().cloned().eq(items.keys().copied().map(name)));
    let described = index.describe().unwrap();
    let count = items.len() as u64;
    assert_eq!([visited.unwrap().value, *index.count().unwrap()], [count; 2]);
    assert_eq!((described.item_count, described.total_size_bytes), (count, bytes as u64));
    sound(index);
    // What is gone is found by no query; what is there is found where it is.
    let query = vector(random.below(1000) as u64);
    let all = index.query(&query).top_k(IDS).exact().run().unwrap();
    let mut all: Vec<&str> = ids(&all);
    all.sort_unstable();
    assert!(all.iter().eq(&listed));
    let near = index.query(&query).top_k(4).effort(1024).run().unwrap();
    assert!(ids(&near).iter().all(|id| items.contains_key(&id.parse().unwrap())));
    if let Some((id, stored)) = items.iter().nth(random.below(items.len().max(1))) {
        let itself = index.query(&vector(stored.seed)).top_k(1).effort(1024).run().unwrap();
        assert_eq!((ids(&itself)[0], itself[0].distance), (name(*id).as_str(), 0.0));
    }
    let VersionToken { sequence, .. } = described.version;
    Found { items, sequence, commit: commit_of(&described.version) }
}

#[derive(Debug, Default)]
struct Tally {
    killed: u32,
    /// Before the database was open.
    early: u32,
    acknowledged: usize,
    /// Calls that were not acknowledged, by what became of them.
    whole: u32,
    untouched: u32,
}

/// Kills children until enough of them were.
fn kill(test: &str, durability: Durability, micros: usize) {
    let (name, seed) = match durability {
        Durability::Synced => ("synced", 51),
        _ => ("buffered", 52),
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = Database::open(&path, options(Durability::Synced)).unwrap();
    let index = db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean));
    let first = commit_of(&index.unwrap().with_key(&root(ROOT)).describe().unwrap().version);
    db.close().unwrap();
    let mut ledger = Ledger::new(first);
    let (mut random, mut tally, started) = (Random(seed), Tally::default(), Instant::now());
    for round in 0..KILLS {
        // At the start, or in or after one of the first calls.
        let lines = if random.below(8) == 0 { 1 } else { 16 };
        let moment = Moment::random(&mut random, lines, micros);
        let seed = seed * 1000 + u64::from(round);
        let ended = Task { path: path.clone(), durability, seed }.run(test, Some(moment));
        assert!(ended.killed, "round {round}: the child came to an end: {:?}", ended.said);
        let mut before = ledger.clone();
        let calls = ledger.read(&ended.said).unwrap_or_else(|fault| panic!("{round}: {fault}"));
        let found = open(&path, round % 2 == 0, &mut random);
        let fate = ledger.settle(&found).unwrap_or_else(|fault| panic!("{round}: {fault}"));
        // Books without what was acknowledged do not agree with what is there.
        if found.sequence > before.sequence() {
            assert!(before.settle(&found).is_err(), "round {round}");
        }
        tally.killed += 1;
        tally.early += u32::from(ended.said.is_empty());
        tally.acknowledged += calls;
        tally.whole += u32::from(fate == Fate::Whole);
        tally.untouched += u32::from(fate == Fate::Untouched);
    }
    let Tally { killed, early, acknowledged, whole, untouched } = tally;
    // The chain is whole, and every commit that was told of is in it.
    let db = Database::open(&path, options(durability)).unwrap();
    let mut commits = BTreeMap::new();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let folded = index.for_each_commit(.., |commit| {
        commits.insert(commit.version.sequence, commit_of(&commit.version));
        ControlFlow::Continue(())
    });
    assert!(folded.unwrap().is_none());
    assert_eq!(commits, ledger.commits);
    println!(
        "{name}: {killed} kills in {} s, {early} before the database was open; {acknowledged} \
         acknowledged calls, {} unacknowledged: {whole} whole, {untouched} untouched",
        started.elapsed().as_secs(),
        whole + untouched,
    );
    assert!(whole + untouched >= KILLS / 10, "too few calls were in flight");
    assert!(acknowledged > KILLS as usize, "too few calls were acknowledged");
}

/// Looks at what a child left; a reader opens it as well as a writer does.
fn open(path: &Path, read_only: bool, random: &mut Random) -> Found {
    let options = options(Durability::Buffered);
    let db = if read_only {
        Database::open_read_only(path, options).unwrap()
    } else {
        Database::open(path, options).unwrap()
    };
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let found = look(&index, random);
    drop(index);
    db.close().unwrap();
    found
}

#[test]
fn deletes_that_are_killed_are_whole_or_not_at_all() {
    const TEST: &str = "delete_kill::deletes_that_are_killed_are_whole_or_not_at_all";
    if !done_as_child() {
        kill(TEST, Durability::Synced, 3000);
    }
}

/// What was acknowledged is not on the disk yet, but with the system, which was not killed.
#[test]
fn a_killed_process_loses_nothing_that_was_buffered() {
    const TEST: &str = "delete_kill::a_killed_process_loses_nothing_that_was_buffered";
    if !done_as_child() {
        kill(TEST, Durability::Buffered, 1000);
    }
}
