//! Everything at once: writers and readers, somebody who purges and optimizes all the time, the owner
//! who puts the index under one key after the other and grants and revokes, and a user whose right
//! to read comes and goes.
//!
//! What writers and readers are told is judged as in every other race; the commits of the rest have
//! to be in the history as often as their calls say, and to change no item and no `ETag`. The user
//! who comes and goes is never answered from a commit at which it had no right, and never refused
//! during a time in which it had one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use sealvec::{
    Database, HistoryEntry, Operation, Permissions, PurgeOptions, PurgeScope, VersionToken,
};

use super::callers::Caller;
use super::calls::Event;
use super::replay::{Committed, judge_among};
use super::{CONFIG, options};
use crate::support::{NAME, ROOT, index_key, root, user, user_id, user_key};
use crate::tree::{Random, sound};

/// The user of the writers and readers, and the one who comes and goes.
const STAYS: u8 = 1;
const COMES: u8 = 2;
/// Index keys, each with its turn.
const KEYS: u8 = 3;
const WRITERS: u64 = 3;
const WRITES: usize = 150;
const READERS: u64 = 2;
const READS: usize = 300;
const OWNED: usize = 60;
const SEEDS: [u64; 4] = [11, 12, 13, 14];

/// What the owner did.
#[derive(Default)]
struct Owned {
    /// The key that the index has in the end.
    key: u8,
    rotations: u64,
    /// Grants and revocations that made a commit, in their order: whether [`COMES`] has its right
    /// afterwards, if it was its.
    rights: Vec<Option<bool>>,
    /// When each of [`COMES`]' began and ended, and whether it has its right afterwards.
    times: Vec<(u64, u64, bool)>,
}

fn own(db: &Database, clock: &AtomicU64, seed: u64) -> Owned {
    let (mut owned, mut random) = (Owned { key: ROOT, ..Owned::default() }, Random(seed));
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    for _ in 0..OWNED {
        let index = db.load_index(NAME, root(owned.key)).unwrap();
        let begin = tick();
        match random.below(4) {
            0 => {
                let next = ROOT + (owned.key - ROOT + 1) % KEYS;
                db.rotate_index_key(NAME, &root(owned.key), &index_key(next)).unwrap();
                (owned.key, owned.rotations) = (next, owned.rotations + 1);
            }
            1 => {
                index.grant(user_id(COMES), &user_key(COMES), Permissions::READ).unwrap();
                owned.rights.push(Some(true));
                owned.times.push((begin, tick(), true));
            }
            2 => {
                if *index.revoke(user_id(COMES)).unwrap() {
                    owned.rights.push(Some(false));
                    owned.times.push((begin, tick(), false));
                }
            }
            _ => {
                let rights = Permissions::READ_WRITE;
                index.grant(user_id(STAYS), &user_key(STAYS), rights).unwrap();
                owned.rights.push(None);
            }
        }
    }
    owned
}

/// An attempt of the user who comes and goes: when it began and ended, and the commit it saw.
type Attempt = (u64, u64, Option<u64>);

fn come_and_go(db: &Database, clock: &AtomicU64, stop: &AtomicBool) -> Vec<Attempt> {
    let (mut attempts, caller) = (Vec::new(), user(COMES, COMES));
    let open = db.open_index(NAME).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let begin = clock.fetch_add(1, Ordering::SeqCst);
        let seen = match open.with_key(&caller).count() {
            Ok(count) => Some(count.version.sequence),
            Err(error) => {
                assert_eq!(error.code(), "wrong_key", "{error}");
                None
            }
        };
        attempts.push((begin, clock.fetch_add(1, Ordering::SeqCst), seen));
    }
    attempts
}

/// Purges and optimizes until told to stop; how many branches were rebuilt, and how many purges.
fn tidy_up(db: &Database, stop: &AtomicBool) -> (u64, u64) {
    let index = db.load_index(NAME, user(STAYS, STAYS)).unwrap();
    let (mut rebuilt, mut purges) = (0, 0);
    while !stop.load(Ordering::Relaxed) || purges < 4 {
        rebuilt += index.optimize(|_| ControlFlow::Continue(())).unwrap().rebuilt;
        let scope = [PurgeScope::Records, PurgeScope::Payload][usize::from(purges % 4 == 3)];
        index.purge(scope, PurgeOptions::new()).unwrap();
        purges += 1;
    }
    (rebuilt, purges)
}

/// Judges the attempts of the user who comes and goes; how many were answered and refused.
fn judge_attempts(
    attempts: &[Attempt],
    owned: &Owned,
    commits: &[HistoryEntry],
) -> Result<[usize; 2], String> {
    // After which commits it had its right.
    let rights = commits
        .iter()
        .filter(|commit| matches!(commit.operation, Operation::Grant | Operation::Revoke));
    let rights = rights.map(|commit| commit.version.sequence).zip(&owned.rights);
    let had: BTreeMap<u64, bool> =
        rights.filter_map(|(sequence, has)| Some((sequence, (*has)?))).collect();
    let mut told = [0; 2];
    for (begin, end, seen) in attempts {
        told[usize::from(seen.is_none())] += 1;
        if let Some(sequence) = seen {
            let has = had.range(..=sequence).next_back().is_some_and(|(_, has)| *has);
            if !has {
                return Err(format!("answered from commit {sequence}, at which it had no right"));
            }
        }
        // What it has for certain: the last change ended before, and the next began after.
        let place = owned.times.partition_point(|(_, ended, _)| ended < begin);
        let next = owned.times.get(place);
        if next.is_none_or(|(began, ..)| began > end) {
            let has = place.checked_sub(1).is_some_and(|last| owned.times[last].2);
            if seen.is_some() != has {
                return Err(format!("from {begin} to {end} it had a right: {has}; told {seen:?}"));
            }
        }
    }
    Ok(told)
}

fn run(seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path().join("db"), options()).unwrap();
    let made = db.create_index(NAME, &index_key(ROOT), CONFIG).unwrap();
    made.with_key(&root(ROOT))
        .grant(user_id(STAYS), &user_key(STAYS), Permissions::READ_WRITE)
        .unwrap();
    let index = db.load_index(NAME, user(STAYS, STAYS)).unwrap();
    let (first, clock) = (index.describe().unwrap(), AtomicU64::new(0));
    let (written, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (events, owned, attempts, (rebuilt, purges)) = thread::scope(|scope| {
        let owner = scope.spawn(|| own(&db, &clock, seed));
        let comes = scope.spawn(|| come_and_go(&db, &clock, &stop));
        let tidy = scope.spawn(|| tidy_up(&db, &written));
        let threads = (0..WRITERS + READERS).map(|n| {
            let mut caller = Caller::new(&index, &clock, seed * 1000 + n);
            scope.spawn(move || {
                if n < WRITERS {
                    (0..WRITES).for_each(|_| caller.write());
                } else {
                    (0..READS).for_each(|_| caller.read());
                }
                caller.events
            })
        });
        let threads: Vec<_> = threads.collect();
        let events: Vec<Event> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let owned = owner.join().unwrap();
        written.store(true, Ordering::Relaxed);
        let tidied = tidy.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        (events, owned, comes.join().unwrap(), tidied)
    });
    let index = db.load_index(NAME, root(owned.key)).unwrap();
    let last = index.describe().unwrap();
    let mut commits: Vec<HistoryEntry> = Vec::new();
    let start = first.version.sequence + 1;
    let visited = index.for_each_commit(start.., |entry| {
        commits.push(entry.clone());
        ControlFlow::Continue(())
    });
    assert!(visited.unwrap().is_none());
    commits.reverse();

    // The commits of those who change no items.
    let mut unmoved: BTreeMap<u64, VersionToken> = BTreeMap::new();
    let (mut etag, mut of) = (first.etag, BTreeMap::<Operation, u64>::new());
    for commit in &commits {
        *of.entry(commit.operation).or_default() += 1;
        let quiet =
            [Operation::Grant, Operation::Revoke, Operation::Optimize, Operation::RotateIndexKey];
        if quiet.contains(&commit.operation) {
            assert_eq!((commit.inserted, commit.updated, commit.deleted), (0, 0, 0));
            assert_eq!(commit.etag, etag, "{}", commit.operation);
            unmoved.insert(commit.version.sequence, commit.version);
        }
        etag = commit.etag;
    }
    let count = |operation| of.get(&operation).copied().unwrap_or_default();
    assert_eq!(count(Operation::RotateIndexKey), owned.rotations);
    assert_eq!(
        count(Operation::Grant) + count(Operation::Revoke),
        owned.rights.len() as u64,
        "a commit for each"
    );
    assert_eq!(count(Operation::Optimize), rebuilt);

    let verdict = judge_among(&events, &first, &last, &unmoved)
        .unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    let moved: Vec<Committed> = commits
        .iter()
        .filter(|commit| !unmoved.contains_key(&commit.version.sequence))
        .map(Committed::from)
        .collect();
    assert_eq!(verdict.commits, moved);
    let judge = |attempts: &[Attempt]| judge_attempts(attempts, &owned, &commits);
    let [answered, refused] = judge(&attempts).unwrap_or_else(|fault| panic!("{seed}: {fault}"));
    sound(&index);
    assert!(index.verify(|_| ControlFlow::Continue(())).unwrap().is_sound());
    println!(
        "seed {seed}: {} calls, {} commits of items, {} of others, {purges} purges, {} rotations, \
         {} calls overtaken, a right that comes and goes: {answered} answers, {refused} refusals",
        events.len(),
        moved.len(),
        unmoved.len(),
        owned.rotations,
        verdict.overtaken,
    );
    assert!(purges > 3 && owned.rotations > 5 && rebuilt > 0, "too little went on at once");
    assert!(answered > 0 && refused > 0 && verdict.overtaken > 50, "too little went on at once");

    // The controls: an answer from before the right was given is seen, and so is one that was
    // refused while it was there.
    let early = [(0, u64::MAX, Some(first.version.sequence))];
    assert!(judge(&early).unwrap_err().contains("it had no right"));
    let within = owned.times.windows(2).find(|pair| pair[0].2 && pair[1].0 > pair[0].1 + 2);
    let within = within.expect("a time in which it had its right");
    let wrong = [(within[0].1 + 1, within[1].0 - 1, None)];
    assert!(judge(&wrong).unwrap_err().contains("it had a right: true"));
}

#[test]
fn everything_at_once_is_one_history() {
    SEEDS.into_iter().for_each(run);
}
