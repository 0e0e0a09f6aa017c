//! Deletes racing each other, and racing every other call.
//!
//! Threads that delete the same items share them out: each item goes once, and whoever comes later
//! is told that it is missing. And whatever threads do at once, with conditions and without, their
//! answers are those of one index that did one thing at a time: each call is recorded (`callers`),
//! and afterwards the record is judged against a sorted map (`replay`). The judge is judged too, by
//! records that were tampered with.

mod callers;
mod calls;
mod everything;
mod replay;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::thread;

use sealvec::{
    Database, DeleteOutcome, DeleteReport, Description, Durability, Error, Index, IndexConfig,
    Item, Metric, Operation, Options, Tuning,
};

use crate::support::{NAME, ROOT, index_key, memory_with, root, small};
use crate::tree::{Random, items, sound};
use callers::{Caller, number};
use calls::{Answer, Based, Call, Event, Held, Put, Report, Value};
use replay::{Committed, Verdict, judge};

const CONFIG: IndexConfig = IndexConfig::new(Metric::Euclidean);

/// Small nodes, so that a few items make a tree that splits and merges.
fn options() -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    small().durability(Durability::Buffered).tuning(tuning)
}

fn in_memory(run: impl FnOnce(&Index<'_>)) {
    let (_db, index) = memory_with(options(), CONFIG);
    run(&index);
}

fn on_disk(run: impl FnOnce(&Index<'_>)) {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path().join("db"), options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), CONFIG).unwrap();
    run(&db.load_index(NAME, root(ROOT)).unwrap());
}

const THREADS: usize = 8;
const SHARED: usize = 100;
/// Items that nobody deletes.
const STILL: usize = 30;
/// Ids a call.
const CALLS: [usize; 4] = [1, 3, 10, SHARED];

/// Eight threads delete the same 100 items, so many of them a call.
fn share_out(index: &Index<'_>, a_call: usize) {
    let all = items(&Random(5).vectors(SHARED + STILL, 8));
    let (shared, still) = all.split_at(SHARED);
    let kept = index.upsert(still).unwrap();
    let written = index.upsert(shared).unwrap();
    let barrier = Barrier::new(THREADS);
    let reports: Vec<DeleteReport> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|thread| {
                let mut ids: Vec<&str> = shared.iter().map(Item::id).collect();
                let (mut random, barrier) = (Random(thread), &barrier);
                for last in (1..ids.len()).rev() {
                    ids.swap(last, random.below(last + 1));
                }
                scope.spawn(move || {
                    barrier.wait();
                    let calls = ids.chunks(a_call).map(|ids| index.delete(ids).unwrap());
                    calls.collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |part: fn(&DeleteReport) -> u64| reports.iter().map(part).sum::<u64>();
    assert_eq!(sum(|report| report.deleted), SHARED as u64);
    assert_eq!(sum(|report| report.missing), (SHARED * (THREADS - 1)) as u64);
    let mut told: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (id, outcome) in reports.iter().flat_map(|report| &report.outcomes) {
        match outcome {
            DeleteOutcome::Deleted => told.entry(id).or_default()[0] += 1,
            DeleteOutcome::Missing => told.entry(id).or_default()[1] += 1,
            other => panic!("{id}: {other:?}"),
        }
    }
    assert!(told.keys().copied().eq(shared.iter().map(Item::id)));
    assert!(told.values().all(|counts| *counts == [1, THREADS - 1]), "{told:?}");
    // Who deletes nothing makes no commit.
    let commits = reports.iter().filter(|report| report.deleted > 0).count() as u64;
    let after = index.describe().unwrap();
    assert_eq!(after.version.sequence, written.version.sequence + commits);
    assert_eq!(after.item_count, STILL as u64);
    assert_eq!(after.total_size_bytes, kept.total_size_bytes);
    assert!(index.list_ids(1000, None).unwrap().ids.iter().eq(still.iter().map(Item::id)));
    sound(index);
}

#[test]
fn threads_that_delete_the_same_items_share_them_out_in_memory() {
    in_memory(|index| {
        for a_call in CALLS {
            share_out(index, a_call);
        }
    });
}

#[test]
fn threads_that_delete_the_same_items_share_them_out_on_disk() {
    on_disk(|index| {
        for a_call in CALLS {
            share_out(index, a_call);
        }
    });
}

/// How much goes on at once.
#[derive(Clone, Copy)]
struct Load {
    writers: u64,
    writes: usize,
    readers: u64,
    reads: usize,
    /// Threads that count two counters up, each in one of two ways.
    counters: u64,
    counts: usize,
}

const FULL: Load =
    Load { writers: 6, writes: 600, readers: 3, reads: 1200, counters: 2, counts: 200 };
const SMALL: Load = Load { writers: 3, writes: 60, readers: 2, reads: 60, counters: 1, counts: 8 };

/// What happened, from an index without items to what it is now.
struct History {
    events: Vec<Event>,
    first: Description,
    last: Description,
    /// How often each counter was counted up.
    counted: BTreeMap<&'static str, u64>,
}

impl History {
    fn judge(&self) -> Result<Verdict, String> {
        judge(&self.events, &self.first, &self.last)
    }
}

/// Counts one up; whether it did.
type Count = fn(&mut Caller<'_>, &str) -> bool;

const COUNTERS: [(&str, Count); 2] = [
    ("count-by-etag", |caller, id| caller.count_by_etag(id)),
    ("count-by-version", |caller, id| caller.count_by_version(id)),
];

fn race(index: &Index<'_>, load: Load, seed: u64) -> History {
    let (first, clock) = (index.describe().unwrap(), AtomicU64::new(0));
    let mut setup = Caller::new(index, &clock, seed);
    let counter = |(id, _): &(&str, _)| {
        let value = Value { vector: vec![0.0; 4], contents: Some(b"0".to_vec()), metadata: None };
        Put { id: (*id).to_owned(), value, based: Based::Nothing }
    };
    let puts = COUNTERS.iter().map(counter).collect();
    setup.call(Call::Upsert { puts, if_match: None, create: true });
    let mut counted = BTreeMap::new();
    for (id, count) in COUNTERS {
        assert!(count(&mut setup, id), "nobody else is there yet");
        counted.insert(id, 1);
    }
    let mut events = thread::scope(|scope| {
        let caller = |role: u64, n: u64| {
            // One thread of each role waits for the disk.
            let durability = if n == 0 { Durability::Synced } else { Durability::Buffered };
            let index = index.with_durability(durability);
            Caller::new(&index, &clock, seed * 1000 + role * 100 + n)
        };
        let mut threads = Vec::new();
        for n in 0..load.writers {
            let mut caller = caller(1, n);
            threads.push(scope.spawn(move || {
                (0..load.writes).for_each(|_| caller.write());
                caller.events
            }));
        }
        for n in 0..load.readers {
            let mut caller = caller(2, n);
            threads.push(scope.spawn(move || {
                (0..load.reads).for_each(|_| caller.read());
                caller.events
            }));
        }
        let counters: Vec<_> = COUNTERS
            .iter()
            .flat_map(|counter| (0..load.counters).map(move |n| (counter, n)))
            .map(|((id, count), n)| {
                let mut caller = caller(3, n);
                scope.spawn(move || {
                    let counted = (0..load.counts).filter(|_| count(&mut caller, id)).count();
                    (*id, counted as u64, caller.events)
                })
            })
            .collect();
        let mut events: Vec<Event> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        for thread in counters {
            let (id, count, more) = thread.join().unwrap();
            *counted.get_mut(id).unwrap() += count;
            events.extend(more);
        }
        events
    });
    events.extend(setup.events);
    History { events, first, last: index.describe().unwrap(), counted }
}

/// Races, judges, and looks at what is left.
fn linear(index: &Index<'_>, seed: u64) {
    let history = race(index, FULL, seed);
    let verdict = history.judge().unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    let Verdict { commits, reads, idle, refused, overtaken, items } = verdict;
    println!(
        "seed {seed}: {} calls; {} commits, {reads} reads, {idle} writes of nothing, {refused} \
         refusals, {overtaken} calls overtaken by commits; counted {:?}",
        history.events.len(),
        commits.len(),
        history.counted,
    );
    sound(index);
    for (id, counted) in &history.counted {
        assert_eq!(number(&items[*id]), *counted, "an update of {id} was lost");
    }
    let of = |name| commits.iter().filter(|commit| commit.operation == name).count();
    for operation in [Operation::Upsert, Operation::Update, Operation::Delete, Operation::Write] {
        assert!(of(operation) > 20, "{operation}: {}", of(operation));
    }
    assert!(refused > 50 && idle > 20 && overtaken > 50, "too little went on at once");
    agrees_with_history(index, &commits);
}

/// The history of the index says the same of each commit as the call that made it.
fn agrees_with_history(index: &Index<'_>, commits: &[Committed]) {
    let mut kept = Vec::new();
    let after = commits[0].version.sequence;
    let visited = index.for_each_commit(after.., |entry| {
        kept.push(Committed::from(entry));
        ControlFlow::Continue(())
    });
    assert!(visited.unwrap().is_none());
    kept.reverse();
    assert_eq!(kept, commits);
}

#[test]
fn what_threads_are_told_is_one_history_in_memory() {
    for seed in [1, 2, 3] {
        in_memory(|index| linear(index, seed));
    }
}

#[test]
fn what_threads_are_told_is_one_history_on_disk() {
    for seed in [4, 5] {
        on_disk(|index| linear(index, seed));
    }
}

type Tamper = fn(&mut Vec<Event>) -> bool;

fn report(event: &mut Event) -> Option<&mut Report> {
    match &mut event.answer {
        Answer::Report(report) => Some(report),
        _ => None,
    }
}

/// Changes the first answer that can be changed so; whether there was one.
fn first(events: &mut [Event], change: impl Fn(&mut Event) -> Option<()>) -> bool {
    events.iter_mut().any(|event| change(event).is_some())
}

/// What a faulty index would have said, and what the judge says to it.
const FAULTS: [(&str, Tamper); 17] = [
    ("two calls say that they made commit", |events| {
        let twice = events.iter().find(|event| event.commits()).cloned();
        events.extend(twice);
        true
    }),
    ("no call says that it made commit", |events| {
        let place = events.iter().rposition(Event::commits).unwrap();
        events.remove(place);
        true
    }),
    ("no call says that it made commit", |events| {
        let event = events.iter_mut().find(|event| event.commits()).unwrap();
        (event.answer, event.version) = (Answer::Refused(Error::ItemNotFound), None);
        true
    }),
    ("two commits have the number", |events| {
        let places: Vec<usize> = (0..events.len()).filter(|n| events[*n].commits()).collect();
        let other = events[places[1]].version.unwrap().hash;
        events[places[0]].version.as_mut().unwrap().hash = other;
        let mut read = events[places[0]].clone();
        (read.call, read.answer) = (Call::Count, Answer::Count(0));
        read.version.as_mut().unwrap().hash = [0; 32];
        events.push(read);
        true
    }),
    ("is older than", |events| {
        let reads = |event: &&Event| event.version.is_some() && !event.commits();
        let mut read = events.iter().filter(reads).min_by_key(|event| event.begin).unwrap().clone();
        let late = events.iter().map(|event| event.end).max().unwrap();
        (read.begin, read.end) = (late + 1, late + 2);
        events.push(read);
        true
    }),
    ("is not Report", |events| {
        first(events, |event| {
            report(event).filter(|report| report.commits()).map(|report| report.deleted += 1)
        })
    }),
    ("is not Report", |events| {
        first(events, |event| report(event).map(|report| report.count += 1))
    }),
    ("is not Report", |events| {
        first(events, |event| report(event).map(|report| report.bytes += 1))
    }),
    ("is not Report", |events| {
        first(events, |event| {
            let outcome = report(event)?.outcomes.first_mut()?;
            outcome.1 = DeleteOutcome::Remaining;
            Some(())
        })
    }),
    ("has the ETag of an earlier one", |events| {
        let mut writes = events.iter_mut().filter(|event| event.commits());
        let (one, two) = (writes.next().unwrap(), writes.next().unwrap());
        let etag = report(one).unwrap().etag;
        report(two).unwrap().etag = etag;
        true
    }),
    ("Got", |events| {
        first(events, |event| match &mut event.answer {
            Answer::Got(found) => found.iter_mut().flatten().next().map(|held| held.version += 1),
            _ => None,
        })
    }),
    ("Hits", |events| {
        first(events, |event| match &mut event.answer {
            Answer::Hits(hits) => hits.pop().map(drop),
            _ => None,
        })
    }),
    ("Hits", |events| {
        first(events, |event| match &mut event.answer {
            Answer::Hits(hits) => hits.first_mut().map(|hit| "gone".clone_into(&mut hit.0)),
            _ => None,
        })
    }),
    ("Count", |events| {
        first(events, |event| match &mut event.answer {
            Answer::Count(count) => {
                *count += 1;
                Some(())
            }
            _ => None,
        })
    }),
    ("Listed", |events| {
        first(events, |event| match &mut event.answer {
            Answer::Listed(ids) => ids.pop().map(drop),
            _ => None,
        })
    }),
    ("Visited", |events| {
        first(events, |event| match &mut event.answer {
            Answer::Visited(all) => all.pop_first().map(drop),
            _ => None,
        })
    }),
    ("there was no reason to refuse", |events| {
        first(events, |event| match &event.answer {
            Answer::Refused(Error::PreconditionFailed(_)) => {
                event.answer =
                    Answer::Refused(Error::PermissionDenied { needs: sealvec::Needs::Read });
                Some(())
            }
            _ => None,
        })
    }),
];

#[test]
fn a_history_that_was_tampered_with_is_seen() {
    in_memory(|index| {
        let history = race(index, SMALL, 6);
        history.judge().unwrap();
        for (number, (words, tamper)) in FAULTS.into_iter().enumerate() {
            let mut events = history.events.clone();
            assert!(tamper(&mut events), "fault {number}: nothing to tamper with");
            let History { first, last, .. } = &history;
            let fault = judge(&events, first, last).expect_err(words);
            assert!(fault.contains(words), "fault {number}: {fault:?} does not say {words:?}");
        }
        // What is there in the end is compared too.
        let mut last = history.last.clone();
        last.item_count += 1;
        let fault = judge(&history.events, &history.first, &last).unwrap_err();
        assert!(fault.starts_with("the last state is"), "{fault}");
    });
}

/// Two that say that they replaced the same version: one of them cannot have.
#[test]
fn a_lost_update_is_seen() {
    in_memory(|index| {
        let (before, clock) = (index.describe().unwrap(), AtomicU64::new(0));
        let mut caller = Caller::new(index, &clock, 1);
        let value = |n: u8| Value { vector: vec![0.0; 4], contents: Some(vec![n]), metadata: None };
        let put = |n: u8, based: Based| Call::Upsert {
            puts: vec![Put { id: "a".to_owned(), value: value(n), based }],
            if_match: None,
            create: false,
        };
        caller.call(put(1, Based::Absent));
        let version = before.version.sequence + 1;
        caller.call(put(2, Based::Version(version)));
        // As an index would answer that checks conditions outside of its lock.
        caller.call(put(3, Based::Nothing));
        let mut events = caller.events;
        let after = index.describe().unwrap();
        let held = Held { value: value(3), version: version + 2 };
        assert_eq!(judge(&events, &before, &after).unwrap().items["a"], held);
        events[2].call = put(3, Based::Version(version));
        let fault = judge(&events, &before, &after).unwrap_err();
        assert!(fault.contains("should have been refused"), "{fault}");
    });
}
