//! What every engine must do, tested on each.
//!
//! The functions below take any [`Engine`]; the macro at the end of the list runs all of them in
//! memory and on RocksDB in a temporary directory. What only an engine on disk can be asked for
//! (opening again, locks, read-only, checkpoints, files) is in `conformance/disk.rs`.

mod append;
#[cfg(feature = "rocksdb")]
mod disk;

use append::{
    a_purge_keeps_what_was_appended, a_snapshot_does_not_see_what_is_appended_later, append,
    appended_bytes_follow_what_is_there, appending_takes_its_turn_among_the_changes_of_a_batch,
};

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Batch, Change, Durability, Engine, Expect, Family, Limits, Purge, Purged, Snapshot};
use crate::error::{Error, Result};

const LIMITS: Limits = Limits { value: 12_345 };

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $test() {
                super::$test(&crate::store::memory::Memory::new(super::LIMITS));
            })*
        }

        #[cfg(feature = "rocksdb")]
        mod rocksdb {
            $(#[test]
            fn $test() {
                let directory = tempfile::tempdir().unwrap();
                super::$test(&super::disk::create(&directory.path().join("db")));
            })*
        }
    };
}

on_every_engine!(
    reads_find_what_was_written_in_its_family,
    multi_get_answers_in_the_order_asked,
    pinned_values_are_those_of_multi_get,
    pinned_values_stay_what_they_were,
    scans_visit_the_prefix_in_order_and_nothing_else,
    a_prefix_of_ff_bytes_has_an_end,
    scans_start_at_from_and_stop_when_told,
    later_changes_of_a_batch_win,
    a_deleted_prefix_goes_in_every_family_and_takes_no_neighbour,
    an_unmet_condition_is_a_conflict_and_applies_nothing,
    snapshots_do_not_see_later_commits,
    one_of_many_racing_writers_wins_each_round,
    no_increment_is_lost,
    empty_and_large_values_come_back,
    purge_and_flush_keep_what_is_live,
    limits_are_those_given,
    what_is_written_is_counted,
    any_sequence_of_batches_matches_a_map,
    appended_bytes_follow_what_is_there,
    appending_takes_its_turn_among_the_changes_of_a_batch,
    a_snapshot_does_not_see_what_is_appended_later,
    a_purge_keeps_what_was_appended,
);

fn commit(engine: &dyn Engine, changes: Vec<Change>) {
    let batch = Batch { changes, expect: None };
    engine.commit(batch, Durability::Buffered).unwrap();
}

fn put(family: Family, key: &[u8], value: &[u8]) -> Change {
    Change::Put(family, key.to_vec(), value.to_vec())
}

fn delete(family: Family, key: &[u8]) -> Change {
    Change::Delete(family, key.to_vec())
}

fn get(engine: &dyn Engine, key: &[u8]) -> Option<Vec<u8>> {
    engine.snapshot().get(Family::Catalog, key).unwrap()
}

fn scan(snapshot: &dyn Snapshot, family: Family, prefix: &[u8], from: &[u8]) -> Pairs {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    snapshot.scan(family, prefix, from, &mut visit).unwrap();
    found
}

fn keys(engine: &dyn Engine, prefix: &[u8], from: &[u8]) -> Vec<Vec<u8>> {
    let pairs = scan(&*engine.snapshot(), Family::Catalog, prefix, from);
    pairs.into_iter().map(|(key, _)| key).collect()
}

/// Purges a prefix in every family.
fn purge(engine: &dyn Engine, prefix: &[u8], patience: Duration) -> Result<Purged> {
    engine.purge(&Purge { prefixes: &[prefix], families: &Family::ALL, patience, stop: &|| false })
}

/// Everything that is stored.
fn everything(engine: &dyn Engine) -> Vec<Pairs> {
    let snapshot = engine.snapshot();
    Family::ALL.map(|family| scan(&*snapshot, family, &[], &[])).into()
}

fn expecting(key: &[u8], value: Option<&[u8]>, changes: Vec<Change>) -> Batch {
    let expect = Expect { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
    Batch { changes, expect: Some(expect) }
}

fn reads_find_what_was_written_in_its_family(engine: &dyn Engine) {
    for (number, family) in (0u8..).zip(Family::ALL) {
        assert_eq!(engine.snapshot().get(family, b"key"), Ok(None));
        commit(engine, vec![put(family, b"key", &[number])]);
    }
    for (number, family) in (0u8..).zip(Family::ALL) {
        assert_eq!(engine.snapshot().get(family, b"key"), Ok(Some(vec![number])));
        assert_eq!(engine.snapshot().get(family, b"ke"), Ok(None));
        assert_eq!(engine.snapshot().get(family, b"key\0"), Ok(None));
    }
    commit(engine, vec![delete(Family::Nodes, b"key"), delete(Family::Nodes, b"never there")]);
    assert_eq!(engine.snapshot().get(Family::Nodes, b"key"), Ok(None));
    assert_eq!(engine.snapshot().get(Family::Items, b"key"), Ok(Some(vec![1])));
}

fn multi_get_answers_in_the_order_asked(engine: &dyn Engine) {
    for number in 0..100u8 {
        commit(engine, vec![put(Family::Payload, &[number], &[number; 3])]);
    }
    let asked: Vec<Vec<u8>> = [99, 3, 200, 3, 0, 255, 50].map(|key| vec![key]).into();
    let expected: Vec<Option<Vec<u8>>> =
        asked.iter().map(|key| (key[0] < 100).then(|| vec![key[0]; 3])).collect();
    assert_eq!(engine.snapshot().multi_get(Family::Payload, &asked), Ok(expected));
    assert_eq!(engine.snapshot().multi_get(Family::Payload, &[]), Ok(vec![]));
    let sorted: Vec<Vec<u8>> = (90..110u8).map(|key| vec![key]).collect();
    let found = engine.snapshot().multi_get(Family::Payload, &sorted).unwrap();
    assert_eq!(found.iter().filter(|value| value.is_some()).count(), 10);
    assert!(found.iter().take(10).all(Option::is_some));
    assert_eq!(engine.snapshot().multi_get(Family::Items, &asked), Ok(vec![None; 7]));
}

/// The same answers as of `multi_get`, which copies.
fn pinned_values_are_those_of_multi_get(engine: &dyn Engine) {
    let large: Vec<u8> = (0..1u32 << 14).flat_map(u32::to_be_bytes).collect();
    for number in 0..100u8 {
        commit(engine, vec![put(Family::Nodes, &[number], &large[..usize::from(number) * 600])]);
    }
    let shuffled: Vec<Vec<u8>> = [99, 3, 200, 3, 0, 255, 50].map(|key| vec![key]).into();
    let sorted: Vec<Vec<u8>> = (90..110u8).map(|key| vec![key]).collect();
    for on_disk in [false, true] {
        let snapshot = engine.snapshot();
        for asked in [&shuffled, &sorted, &sorted[15..].to_vec(), &vec![]] {
            for family in [Family::Nodes, Family::Items] {
                let copied = snapshot.multi_get(family, asked).unwrap();
                let pinned = snapshot.multi_get_pinned(family, asked).unwrap();
                let pinned = pinned.iter().map(|value| value.as_ref().map(|value| value.to_vec()));
                assert_eq!(pinned.collect::<Vec<_>>(), copied, "on disk: {on_disk}");
            }
        }
        let found = snapshot.multi_get_pinned(Family::Nodes, &shuffled).unwrap();
        let length = |at: usize| found[at].as_ref().map(|value| value.as_ref().len());
        assert_eq!([0, 2, 3, 4, 5].map(length), [Some(59_400), None, Some(1800), Some(0), None]);
        drop(found);
        drop(snapshot);
        engine.flush().unwrap();
    }
}

fn pinned_values_stay_what_they_were(engine: &dyn Engine) {
    let numbered = |number: u8| vec![7, number];
    let f = Family::Nodes;
    commit(engine, (0..20).map(|n| put(f, &numbered(n), &[n; 5000])).collect());
    engine.flush().unwrap();
    let snapshot = engine.snapshot();
    let asked: Vec<Vec<u8>> = (0..20).map(numbered).collect();
    let held = snapshot.multi_get_pinned(f, &asked).unwrap();
    commit(engine, (0..10).map(|n| put(f, &numbered(n), b"new")).collect());
    commit(engine, vec![Change::DeletePrefix(vec![7])]);
    engine.flush().unwrap();
    drop(purge(engine, &[7], Duration::ZERO));
    let again = snapshot.multi_get_pinned(f, &asked).unwrap();
    for values in [&held, &again] {
        for (n, value) in (0u8..).zip(values) {
            assert_eq!(value.as_ref().unwrap().as_ref(), [n; 5000]);
        }
    }
    let later = engine.snapshot();
    assert!(later.multi_get_pinned(f, &asked).unwrap().iter().all(Option::is_none));
}

fn scans_visit_the_prefix_in_order_and_nothing_else(engine: &dyn Engine) {
    let all: [&[u8]; 8] =
        [b"a", b"b", b"b\0", b"b\0\0", b"b\x01", b"b\xff", b"b\xff\xff\xff", b"c"];
    for key in all.iter().rev() {
        commit(engine, vec![put(Family::Catalog, key, b"v"), put(Family::Items, b"bz", b"w")]);
    }
    assert_eq!(keys(engine, b"b", b"b"), all[1..7]);
    assert_eq!(keys(engine, b"b\0", b"b\0"), all[2..4]);
    assert_eq!(keys(engine, b"", b""), all);
    assert_eq!(keys(engine, b"bb", b"bb"), [[]; 0] as [[u8; 0]; 0]);
}

fn a_prefix_of_ff_bytes_has_an_end(engine: &dyn Engine) {
    let below = [&[0x10; 15][..], &[0xfe, 9]].concat();
    let first = [&[0x10; 15][..], &[0xff]].concat();
    let inside = [&first[..], &[0xff; 20]].concat();
    let above = [&[0x10; 14][..], &[0x11]].concat();
    let last = vec![0xff; 30];
    let all = [&below, &first, &inside, &above, &last];
    commit(engine, all.iter().map(|key| put(Family::Catalog, key, b"v")).collect());
    assert_eq!(keys(engine, &first, &first), [first.clone(), inside.clone()]);
    assert_eq!(keys(engine, &[0xff; 16], &[0xff; 16]), std::slice::from_ref(&last));
    commit(engine, vec![Change::DeletePrefix(first.clone())]);
    assert_eq!(keys(engine, b"", b""), [below.clone(), above.clone(), last]);
    commit(engine, vec![Change::DeletePrefix(vec![0xff; 16])]);
    assert_eq!(keys(engine, b"", b""), [below, above]);
}

fn scans_start_at_from_and_stop_when_told(engine: &dyn Engine) {
    let numbered = |number: u8| vec![b'k', number];
    commit(engine, (0..50).map(|n| put(Family::Catalog, &numbered(n), &[n])).collect());
    commit(engine, vec![put(Family::Catalog, b"j", b""), put(Family::Catalog, b"l", b"")]);
    assert_eq!(keys(engine, b"k", &numbered(48)), [numbered(48), numbered(49)]);
    let after = [&numbered(48)[..], &[0]].concat();
    assert_eq!(keys(engine, b"k", &after), [numbered(49)]);
    assert_eq!(keys(engine, b"k", b"").len(), 50, "from below the prefix");
    assert_eq!(keys(engine, b"k", b"a").len(), 50, "from below the prefix");
    assert!(keys(engine, b"k", b"l").is_empty(), "from above the prefix");
    assert!(keys(engine, b"k", &numbered(50)).is_empty(), "from above every key");
    let mut visited = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        visited += 1;
        if visited == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    engine.snapshot().scan(Family::Catalog, b"k", b"k", &mut visit).unwrap();
    assert_eq!(visited, 7);
}

fn later_changes_of_a_batch_win(engine: &dyn Engine) {
    let c = Family::Catalog;
    commit(engine, vec![put(c, b"a", b"1"), put(c, b"b", b"1"), put(c, b"px", b"1")]);
    commit(engine, vec![delete(c, b"a"), put(c, b"a", b"2"), put(c, b"b", b"2"), delete(c, b"b")]);
    assert_eq!((get(engine, b"a"), get(engine, b"b")), (Some(b"2".to_vec()), None));
    commit(engine, vec![put(c, b"a", b"3"), put(c, b"a", b"4")]);
    assert_eq!(get(engine, b"a"), Some(b"4".to_vec()));
    commit(
        engine,
        vec![
            put(c, b"py", b"before"),
            Change::DeletePrefix(b"p".to_vec()),
            put(c, b"pz", b"after"),
            put(c, b"px", b"after"),
        ],
    );
    assert_eq!(keys(engine, b"p", b"p"), [b"px", b"pz"]);
    assert_eq!(get(engine, b"px"), Some(b"after".to_vec()));
}

fn a_deleted_prefix_goes_in_every_family_and_takes_no_neighbour(engine: &dyn Engine) {
    let neighbours = [&[1u8, 1, 0xff][..], &[1, 3], &[1, 2 + 1, 0], &[1], &[2]];
    for family in Family::ALL {
        let gone = [&[1u8, 2][..], &[1, 2, 0], &[1, 2, 0xff, 0xff]];
        let all = gone.iter().chain(&neighbours);
        commit(engine, all.map(|key| put(family, key, b"v")).collect());
    }
    commit(engine, vec![Change::DeletePrefix(vec![1, 2])]);
    for family in Family::ALL {
        let left = scan(&*engine.snapshot(), family, &[], &[]);
        assert_eq!(left.len(), neighbours.len(), "{family:?}");
        assert!(left.iter().all(|(key, _)| !key.starts_with(&[1, 2])));
    }
}

fn an_unmet_condition_is_a_conflict_and_applies_nothing(engine: &dyn Engine) {
    let root = |value: &[u8]| put(Family::Catalog, b"root", value);
    let attempt = |expected: Option<&[u8]>, changes| {
        engine.commit(expecting(b"root", expected, changes), Durability::Synced)
    };
    let others = || {
        vec![
            put(Family::Payload, b"p", b"new"),
            delete(Family::Items, b"kept"),
            Change::DeletePrefix(b"k".to_vec()),
            root(b"never"),
        ]
    };
    commit(engine, vec![put(Family::Items, b"kept", b"old")]);
    let refused = |expected: Option<&[u8]>| {
        let before = everything(engine);
        assert_eq!(attempt(expected, others()), Err(Error::Conflict), "{expected:?}");
        assert_eq!(everything(engine), before);
    };
    refused(Some(b"1"));
    refused(Some(b""));
    assert_eq!(attempt(None, vec![root(b"1")]), Ok(()));
    refused(None);
    refused(Some(b"2"));
    refused(Some(b"11"));
    refused(Some(b""));
    assert_eq!(attempt(Some(b"1"), vec![root(b"")]), Ok(()));
    refused(None);
    refused(Some(b"1"));
    assert_eq!(attempt(Some(b""), vec![delete(Family::Catalog, b"root")]), Ok(()));
    refused(Some(b""));
    assert_eq!(attempt(None, others()), Ok(()));
    assert_eq!(get(engine, b"root"), Some(b"never".to_vec()));
}

fn snapshots_do_not_see_later_commits(engine: &dyn Engine) {
    let c = Family::Catalog;
    commit(engine, (0..10).map(|n| put(c, &[7, n], b"old")).collect());
    let before = engine.snapshot();
    let seen = scan(&*before, c, &[7], &[7]);
    commit(engine, vec![put(c, &[7, 3], b"new"), delete(c, &[7, 4]), put(c, &[7, 77], b"new")]);
    let between = engine.snapshot();
    commit(engine, vec![Change::DeletePrefix(vec![7])]);
    drop(purge(engine, &[7], Duration::ZERO));

    assert_eq!(scan(&*before, c, &[7], &[7]), seen);
    let asked: Vec<Vec<u8>> = vec![vec![7, 77], vec![7, 4], vec![7, 3]];
    let old = Some(b"old".to_vec());
    assert_eq!(before.multi_get(c, &asked), Ok(vec![None, old.clone(), old.clone()]));
    assert_eq!((before.get(c, &[7, 3]), before.get(c, &[7, 77])), (Ok(old), Ok(None)));
    let new = Some(b"new".to_vec());
    assert_eq!(between.multi_get(c, &asked), Ok(vec![new.clone(), None, new]));
    assert_eq!(scan(&*between, c, &[7], &[7]).len(), 10);
    assert!(scan(&*engine.snapshot(), c, &[7], &[7]).is_empty());
}

fn one_of_many_racing_writers_wins_each_round(engine: &dyn Engine) {
    const THREADS: u64 = 6;
    const ROUNDS: u64 = 200;
    commit(engine, vec![put(Family::Catalog, b"root", &0u64.to_be_bytes())]);
    let (barrier, wins) = (Barrier::new(6), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, wins) = (&barrier, &wins);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let marker = [round.to_be_bytes(), thread.to_be_bytes()].concat();
                    let changes = vec![
                        put(Family::Items, &marker, b""),
                        put(Family::Catalog, b"root", &(round + 1).to_be_bytes()),
                    ];
                    let batch = expecting(b"root", Some(&round.to_be_bytes()), changes);
                    barrier.wait();
                    match engine.commit(batch, Durability::Buffered) {
                        Ok(()) => wins.fetch_add(1, Ordering::Relaxed),
                        Err(Error::Conflict) => 0,
                        Err(error) => panic!("{error}"),
                    };
                    barrier.wait();
                }
            });
        }
    });
    assert_eq!(wins.into_inner(), ROUNDS);
    assert_eq!(get(engine, b"root"), Some(ROUNDS.to_be_bytes().to_vec()));
    let markers = scan(&*engine.snapshot(), Family::Items, &[], &[]);
    let rounds: Vec<u8> = markers.iter().flat_map(|(key, _)| key[..8].to_vec()).collect();
    assert_eq!(rounds, (0..ROUNDS).flat_map(u64::to_be_bytes).collect::<Vec<u8>>());
}

fn no_increment_is_lost(engine: &dyn Engine) {
    let increment = |root: &[u8]| {
        loop {
            let found = get(engine, root);
            let count = found.as_deref().map_or(0, |b| u64::from_be_bytes(b.try_into().unwrap()));
            let change = put(Family::Catalog, root, &(count + 1).to_be_bytes());
            let batch = expecting(root, found.as_deref(), vec![change]);
            match engine.commit(batch, Durability::Buffered) {
                Ok(()) => return,
                Err(Error::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| (0..3).for_each(|root| increment(&[b'r', root]))));
        }
    });
    for root in 0..3u8 {
        assert_eq!(get(engine, &[b'r', root]), Some(400u64.to_be_bytes().to_vec()));
    }
}

fn empty_and_large_values_come_back(engine: &dyn Engine) {
    let large: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_be_bytes).collect();
    assert_eq!(large.len(), 1 << 20);
    let f = Family::Payload;
    commit(engine, vec![put(f, b"empty", b""), put(f, b"large", &large), put(f, &[9; 512], b"k")]);
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.get(f, b"empty"), Ok(Some(vec![])));
    assert_eq!(snapshot.get(f, b"large"), Ok(Some(large.clone())));
    assert_eq!(snapshot.get(f, &[9; 512]), Ok(Some(b"k".to_vec())));
    let asked = [b"large".to_vec(), b"empty".to_vec()];
    assert_eq!(snapshot.multi_get(f, &asked), Ok(vec![Some(large.clone()), Some(vec![])]));
    assert_eq!(scan(&*snapshot, f, b"large", b""), [(b"large".to_vec(), large)]);
}

fn purge_and_flush_keep_what_is_live(engine: &dyn Engine) {
    for family in Family::ALL {
        commit(engine, (0..100).map(|n| put(family, &[n % 3, n], &[n; 100])).collect());
    }
    commit(engine, vec![Change::DeletePrefix(vec![1]), delete(Family::Items, &[0, 3])]);
    let before = everything(engine);
    engine.flush().unwrap();
    for prefix in [&[0][..], &[1], &[0xff; 16], &[]] {
        purge(engine, prefix, Duration::from_secs(9)).unwrap();
        assert_eq!(everything(engine), before);
    }
}

fn limits_are_those_given(engine: &dyn Engine) {
    assert_eq!(engine.limits().value, LIMITS.value);
}

fn what_is_written_is_counted(engine: &dyn Engine) {
    engine.bytes_written();
    let mut before = engine.bytes_written();
    for size in [1, 1000, 100_000] {
        commit(engine, vec![put(Family::Payload, b"key", &vec![1; size])]);
        let after = engine.bytes_written();
        let size = size as u64;
        assert!((size..size + 200).contains(&(after - before)), "{size}: {before} to {after}");
        before = after;
    }
    assert_eq!(engine.bytes_written(), before);
}

/// A few keys, many batches, and an ordinary map for comparison.
fn any_sequence_of_batches_matches_a_map(engine: &dyn Engine) {
    let mut model: BTreeMap<(Family, Vec<u8>), Vec<u8>> = BTreeMap::new();
    let mut state = 1u64;
    let mut random = |below: u64| {
        // Knuth's MMIX generator: repeatable, and good enough to pick from a few.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % below).unwrap()
    };
    for round in 0..300u32 {
        let mut changes = Vec::new();
        for _ in 0..random(8) {
            let bytes = [0, 1, 0xfe, 0xff];
            let mut key: Vec<u8> = (0..random(4)).map(|_| bytes[random(4)]).collect();
            let family = Family::ALL[random(5)];
            match random(8) {
                0 if !key.is_empty() => {
                    model.retain(|(_, found), _| !found.starts_with(&key));
                    changes.push(Change::DeletePrefix(key));
                }
                1..4 => {
                    key.push(0);
                    model.remove(&(family, key.clone()));
                    changes.push(Change::Delete(family, key));
                }
                4..6 => {
                    key.push(0);
                    let bytes = vec![round.to_be_bytes()[3]; random(3)];
                    model.entry((family, key.clone())).or_default().extend_from_slice(&bytes);
                    changes.push(append(family, &key, &bytes));
                }
                _ => {
                    key.push(0);
                    let value = round.to_be_bytes().to_vec();
                    model.insert((family, key.clone()), value.clone());
                    changes.push(Change::Put(family, key, value));
                }
            }
        }
        commit(engine, changes);
        for (family, found) in Family::ALL.into_iter().zip(everything(engine)) {
            let expected = model.iter().filter(|((of, _), _)| *of == family);
            let expected: Pairs = expected.map(|((_, k), v)| (k.clone(), v.clone())).collect();
            assert_eq!(found, expected, "round {round}, {family:?}");
        }
    }
}
