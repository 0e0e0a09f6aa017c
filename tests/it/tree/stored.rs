//! The tree on RocksDB: opened again, damaged, and queried while it changes.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sealvec::{Database, Durability, Error, Fault, IndexConfig, Item, Metric, Options, Tuning};

use super::{Random, ids, items, sound};
use crate::support::{
    NAME, ROOT, delete_raw, index_key, memory_with, open_raw, put_raw, records, root, small,
};

fn options() -> Options {
    small().max_value(4096).durability(Durability::Buffered)
}

#[test]
fn a_tree_is_whole_after_every_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let vectors = Random(1).vectors(1200, 40);
    let all = items(&vectors);
    let mut answer = None;
    for step in 0..4 {
        let db = Database::open(&path, options()).unwrap();
        if step == 0 {
            db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
        }
        let index = db.load_index(NAME, root(ROOT)).unwrap();
        sound(&index);
        let ask = || index.query(&vectors[5]).run().unwrap().value;
        if let Some(answer) = &answer {
            assert_eq!(&ask(), answer);
        }
        index.upsert(&all[step * 300..(step + 1) * 300]).unwrap();
        if step == 3 {
            let gone: Vec<&str> = all[100..900].iter().map(Item::id).collect();
            index.delete(&gone).unwrap();
        }
        sound(&index);
        answer = Some(ask());
        db.close().unwrap();
    }
}

/// Leaves grow by one row at a time, are flushed, compacted and read back in between.
#[test]
fn a_tree_that_grew_item_by_item_is_whole_after_every_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = || small().durability(Durability::Buffered);
    let vectors = Random(4).vectors(1000, 24);
    let all = items(&vectors);
    let db = Database::open(&path, options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
    db.load_index(NAME, root(ROOT)).unwrap().upsert(&all[..700]).unwrap();
    db.close().unwrap();
    for step in 0..6 {
        let db = Database::open(&path, options()).unwrap();
        let index = db.load_index(NAME, root(ROOT)).unwrap();
        sound(&index);
        let new = 700 + step * 50..750 + step * 50;
        for number in new.clone() {
            index.upsert(&all[number..=number]).unwrap();
        }
        // One in ten goes again, from leaves that were just appended to.
        let gone: Vec<&str> = new.clone().step_by(10).map(|number| all[number].id()).collect();
        index.delete(&gone).unwrap();
        if step % 2 == 1 {
            // Deleting another index compacts, and flushes everything.
            db.create_index("other", &index_key(ROOT), IndexConfig::new(Metric::Cosine)).unwrap();
            db.delete_index("other", &root(ROOT)).unwrap();
        }
        sound(&index);
        let at = new.start + 1;
        let hits = index.query(&vectors[at]).top_k(1).run().unwrap();
        assert_eq!((ids(&hits), hits[0].distance), (vec![all[at].id()], 0.0));
        db.close().unwrap();
    }
    let db = Database::open_read_only(&path, options()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    sound(&index);
    assert_eq!(*index.count().unwrap(), 970);
}

#[test]
fn what_was_built_under_other_limits_is_sound_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let vectors = Random(4).vectors(2000, 16);
    let open = |leaf_items, fan_out| {
        let mut tuning = Tuning::new();
        (tuning.leaf_items, tuning.fan_out) = (leaf_items, fan_out);
        Database::open(&path, options().tuning(tuning)).unwrap()
    };
    let db = open(64, 32);
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    index.upsert(&items(&vectors)).unwrap();
    sound(&index);
    drop(index);
    db.close().unwrap();

    let db = open(16, 8);
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let before = index.verify_tree().unwrap();
    assert!(before.oversized > before.leaves / 2, "{before:?}");
    let ask = || index.query(&vectors[7]).top_k(1).run().unwrap();
    assert_eq!(ids(&ask()), ["00007"]);
    index.optimize(|_| ControlFlow::Continue(())).unwrap();
    // Rows that move to a leaf that was rebuilt before them can still overfill one.
    let after = index.verify_tree().unwrap();
    assert!((after.items, after.oversized * 20) < (2001, before.leaves), "{after:?}");
    assert_eq!(ids(&ask()), ["00007"]);
}

#[test]
fn a_damaged_node_is_an_error_there_and_nowhere_else() {
    const OTHER: u8 = 8;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let vectors = Random(2).vectors(400, 40);
    let db = Database::open(&path, options()).unwrap();
    for (name, seed) in [(NAME, ROOT), ("other", OTHER)] {
        db.create_index(name, &index_key(seed), IndexConfig::new(Metric::Euclidean)).unwrap();
        db.load_index(name, root(seed)).unwrap().upsert(&items(&vectors)).unwrap();
    }
    let answers = [(NAME, ROOT), ("other", OTHER)].map(|(name, seed)| {
        let index = db.load_index(name, root(seed)).unwrap();
        index.query(&vectors[7]).top_k(10).run().unwrap().value
    });
    db.close().unwrap();
    let raw = open_raw(&path);
    let nodes: Vec<_> =
        records(&raw).into_iter().filter(|record| record.family == "nodes").collect();
    let firsts = |record: &&crate::support::Stored| record.key.ends_with(&[0; 4]);
    let (mut harmed, mut refused) = ([0, 0], 0);
    for node in &nodes {
        let mut cut = node.value.clone();
        cut.pop();
        let mut shapes = vec![Some(cut), Some(Vec::new()), None];
        for at in [0, node.value.len() / 2, node.value.len() - 1] {
            let mut value = node.value.clone();
            value[at] ^= 1;
            shapes.push(Some(value));
        }
        // What another node of the same index holds.
        let other = nodes
            .iter()
            .filter(firsts)
            .find(|other| other.key[..16] == node.key[..16] && other.key != node.key);
        shapes.extend(other.map(|other| Some(other.value.clone())));
        for shape in shapes {
            match &shape {
                Some(value) => put_raw(&raw, "nodes", &node.key, value),
                None => delete_raw(&raw, "nodes", &node.key),
            }
            let db = Database::open_read_only(&path, options()).unwrap();
            let mut sound_ones = 0;
            for (which, (name, seed)) in [(NAME, ROOT), ("other", OTHER)].into_iter().enumerate() {
                let index = db.load_index(name, root(seed)).unwrap();
                // Exact search does not read the tree.
                let exact = index.query(&vectors[7]).top_k(1).exact().run().unwrap();
                assert_eq!(ids(&exact), ["00007"]);
                match index.verify_tree() {
                    Ok(_) => {
                        sound_ones += 1;
                        let hits = index.query(&vectors[7]).top_k(1).run().unwrap();
                        assert_eq!(ids(&hits), ["00007"]);
                    }
                    Err(error) => {
                        harmed[which] += 1;
                        let format = matches!(error, Error::UnsupportedFormat { .. });
                        assert!(error == Error::Integrity(Fault::Node) || format, "{error:?}");
                        // Damage to rows that are not wanted goes unnoticed.
                        match index.query(&vectors[7]).top_k(10).run() {
                            Ok(hits) => assert_eq!(hits.value, answers[which]),
                            Err(found) => {
                                assert_eq!(found.code(), error.code());
                                refused += 1;
                            }
                        }
                    }
                }
            }
            assert_eq!(sound_ones, 1);
        }
        put_raw(&raw, "nodes", &node.key, &node.value);
    }
    assert!(harmed[0] > 20 && harmed[1] > 20 && refused > 40, "{harmed:?} {refused}");
}

#[test]
fn a_query_sees_one_commit() {
    let directory = tempfile::tempdir().unwrap();
    for on_disk in [false, true] {
        let (db, index) = if on_disk {
            let options = Options::new().threads(2).durability(Durability::Buffered);
            let db = Database::open(directory.path().join("db"), options).unwrap();
            db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
            let index = db.load_index(NAME, root(ROOT)).unwrap();
            (db, index)
        } else {
            memory_with(small(), IndexConfig::new(Metric::Euclidean))
        };
        let vectors = Random(3).vectors(800, 16);
        // Even numbers stay; odd ones go and come back, all in one commit.
        let all = items(&vectors);
        let odd: Vec<Item> = all.iter().skip(1).step_by(2).cloned().collect();
        let names: Vec<&str> = odd.iter().map(Item::id).collect();
        let first = index.upsert(&all).unwrap().version.sequence;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = [0, 0];
                while !done.load(Ordering::Relaxed) || seen[0] + seen[1] < 50 {
                    let hits = index.query(&vectors[seen[0] % 800]).top_k(20).run().unwrap();
                    let even = hits
                        .iter()
                        .all(|hit| hit.id.as_bytes().last().is_some_and(|digit| digit % 2 == 0));
                    // Every other commit has only even ones.
                    let without = (hits.version.sequence - first) % 2 == 1;
                    assert_eq!(even, without, "{:?}", hits.version);
                    assert_eq!(hits.len(), 20);
                    seen[usize::from(without)] += 1;
                }
                seen
            });
            for _ in 0..12 {
                index.delete(&names).unwrap();
                index.upsert(&odd).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            let seen = reader.join().unwrap();
            assert!(seen[0] > 0, "{seen:?}");
        });
        sound(&index);
        db.close().unwrap();
    }
}
