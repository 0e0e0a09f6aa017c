//! Data that makes trees difficult, and the ends of every setting. Most run in memory.

use sealvec::{Index, IndexConfig, Item, Metric, Precision, Update};

use super::{Random, ids, items, sound};
use crate::support::{memory, memory_with, small};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct];

fn index(metric: Metric) -> (sealvec::Database, Index<'static>) {
    memory(IndexConfig::new(metric))
}

/// Every answer is exact in its distances, sorted and complete.
#[track_caller]
fn answers(index: &Index<'_>, query: &[f32]) {
    let count = usize::try_from(*index.count().unwrap()).unwrap();
    for top_k in [1, 10, count + 1, usize::MAX] {
        let hits = index.query(query).top_k(top_k).run().unwrap();
        assert_eq!(hits.len(), top_k.min(count));
        assert!(hits.iter().all(|hit| hit.distance.is_finite()));
        assert!(hits.windows(2).all(|pair| pair[0].distance <= pair[1].distance));
        let mut ids = ids(&hits);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), hits.len());
    }
    if count > 0 {
        let first = index.query(query).top_k(1).effort(1024).run().unwrap()[0].distance;
        let exact = index.query(query).top_k(1).exact().run().unwrap()[0].distance;
        assert!(first >= exact);
    }
}

#[test]
fn equal_vectors_by_the_thousand() {
    for metric in METRICS {
        let (_db, index) = index(metric);
        let all = items(&vec![vec![0.5, -0.25, 1.0]; 3000]);
        index.upsert(&all[..1500]).unwrap();
        sound(&index);
        for batch in all[1500..].chunks(300) {
            index.upsert(batch).unwrap();
        }
        sound(&index);
        answers(&index, &[0.5, -0.25, 1.0]);
        let gone: Vec<&str> = all.iter().map(Item::id).collect();
        index.delete(&gone[..2000]).unwrap();
        sound(&index);
        answers(&index, &[1.0, 1.0, 1.0]);
    }
}

#[test]
fn equal_vectors_among_others() {
    let mut vectors = Random(1).vectors(1000, 32);
    vectors.extend(vec![vectors[3].clone(); 1500]);
    let (_db, index) = index(Metric::Euclidean);
    index.upsert(&items(&vectors)).unwrap();
    sound(&index);
    answers(&index, &vectors[3]);
    let hits = index.query(&vectors[3]).top_k(20).run().unwrap();
    assert!(hits.iter().all(|hit| hit.distance == 0.0));
    let others = index.query(&vectors[700]).top_k(1).run().unwrap();
    assert_eq!(ids(&others), ["00700"]);
}

#[test]
fn one_dimension() {
    for metric in METRICS {
        let vectors: Vec<Vec<f32>> = (1..1200_u16).map(|n| vec![f32::from(n) - 600.5]).collect();
        let (_db, index) = index(metric);
        for batch in items(&vectors).chunks(400) {
            index.upsert(batch).unwrap();
            sound(&index);
        }
        answers(&index, &[17.2]);
        answers(&index, &[-1e6]);
        if metric == Metric::Euclidean {
            let hits = index.query(&[0.1]).top_k(2).run().unwrap();
            assert_eq!(ids(&hits), ["00600", "00599"]);
        }
    }
}

#[test]
fn the_most_dimensions_that_have_a_tree_and_more() {
    for (dimension, count, tree) in [(4096, 200, true), (4097, 40, false), (65_535, 6, false)] {
        let vectors = Random(2).vectors(count, dimension);
        let (_db, index) = index(Metric::Euclidean);
        index.upsert(&items(&vectors)).unwrap();
        let report = index.verify_tree().unwrap();
        assert_eq!((report.items, report.leaves > 0), (count as u64, tree));
        assert_eq!(report.height, if tree { 2 } else { 0 });
        let (hits, stats) = index.query(&vectors[3]).top_k(1).run_with_stats().unwrap();
        assert_eq!(ids(&hits), ["00003"]);
        assert_eq!(stats.nodes > 0, tree);
        index.upsert(&[Item::new("00003", vectors[0].clone())]).unwrap();
        index.delete(&["00001", "00002"]).unwrap();
        sound(&index);
    }
}

#[test]
fn zero_vectors_under_the_inner_product() {
    let mut vectors = vec![vec![0.0; 16]; 700];
    vectors.extend(Random(3).vectors(700, 16));
    for metric in [Metric::InnerProduct, Metric::Euclidean] {
        let (_db, index) = index(metric);
        index.upsert(&items(&vectors[..300])).unwrap();
        sound(&index);
        index.upsert(&items(&vectors)).unwrap();
        sound(&index);
        answers(&index, &[0.0; 16]);
        answers(&index, &vectors[1000]);
    }
}

#[test]
fn no_item_one_and_two() {
    for metric in METRICS {
        let (_db, index) = index(metric);
        assert_eq!(index.query(&[1.0, 0.0]).run().unwrap().len(), 0);
        for count in 0..3_u8 {
            sound(&index);
            answers(&index, &[1.0, 0.5]);
            index.upsert(&[Item::new(count.to_string(), [f32::from(count), 1.0])]).unwrap();
        }
        index.delete(&["0", "1", "2"]).unwrap();
        assert_eq!(index.verify_tree().unwrap().height, 0);
        answers(&index, &[1.0, 0.5]);
    }
}

#[test]
fn everything_goes_and_comes_back() {
    let vectors = Random(4).vectors(1500, 24);
    let all = items(&vectors);
    let (_db, index) = index(Metric::Cosine);
    for _ in 0..2 {
        for batch in all.chunks(500) {
            index.upsert(batch).unwrap();
        }
        sound(&index);
        answers(&index, &vectors[0]);
        let ids: Vec<&str> = all.iter().map(Item::id).collect();
        for batch in ids.chunks(400) {
            index.delete(batch).unwrap();
            sound(&index);
        }
        let report = index.verify_tree().unwrap();
        assert_eq!((report.height, report.leaves, report.items), (0, 0, 0));
        answers(&index, &vectors[0]);
    }
}

#[test]
fn items_of_split_leaves_are_replaced_and_updated() {
    let mut random = Random(5);
    let vectors = random.vectors(1000, 24);
    let (_db, index) = index(Metric::Euclidean);
    index.upsert(&items(&vectors)).unwrap();
    // Elsewhere, all in one commit and with others that are new.
    let moved = random.vectors(1200, 24);
    index.upsert(&items(&moved)[300..]).unwrap();
    sound(&index);
    for (number, vector) in [(0, &vectors[0]), (299, &vectors[299]), (300, &moved[300])] {
        let hits = index.query(vector).top_k(1).run().unwrap();
        assert_eq!((ids(&hits)[0], hits[0].distance), (&*format!("{number:05}"), 0.0));
    }
    let hits = index.query(&vectors[300]).top_k(1).run().unwrap();
    assert!(hits[0].distance > 0.0);
    for number in (0..1000).step_by(97) {
        index.update(&format!("{number:05}"), Update::new().contents("text")).unwrap();
    }
    sound(&index);
    let hits = index.query(&vectors[97]).top_k(1).run().unwrap();
    assert_eq!((ids(&hits)[0], hits[0].distance), ("00097", 0.0));
}

#[test]
fn a_lone_leaf_is_overwritten_and_overflows_at_once() {
    let vectors = Random(6).vectors(400, 8);
    let (_db, index) = index(Metric::Euclidean);
    index.upsert(&items(&vectors[..20])).unwrap();
    index.upsert(&items(&vectors)).unwrap();
    sound(&index);
    assert!(index.verify_tree().unwrap().height > 1);
}

#[test]
fn one_batch_that_needs_several_levels() {
    let vectors = Random(7).vectors(20_000, 4);
    let (_db, index) = index(Metric::Euclidean);
    index.upsert(&items(&vectors)).unwrap();
    sound(&index);
    assert!(index.verify_tree().unwrap().height >= 3);
    answers(&index, &vectors[5]);
}

#[test]
fn values_of_four_kib() {
    let vectors = Random(8).vectors(320, 1536);
    let (_db, index) = memory_with(small().max_value(4096), IndexConfig::new(Metric::Cosine));
    for batch in items(&vectors).chunks(80) {
        index.upsert(batch).unwrap();
        sound(&index);
    }
    assert!(index.verify_tree().unwrap().leaves > 2);
    for number in [0, 111, 319] {
        let hits = index.query(&vectors[number]).top_k(1).run().unwrap();
        assert_eq!(ids(&hits), [format!("{number:05}")]);
    }
    let gone: Vec<String> = (0..300).map(|number| format!("{number:05}")).collect();
    index.delete(&gone).unwrap();
    sound(&index);
    answers(&index, &vectors[310]);
}

#[test]
fn halves() {
    for metric in METRICS {
        let vectors = Random(9).vectors(900, 20);
        let (_db, index) = memory(IndexConfig::new(metric).precision(Precision::F16));
        index.upsert(&items(&vectors)).unwrap();
        index.upsert(&items(&vectors)[200..300]).unwrap();
        sound(&index);
        answers(&index, &vectors[100]);
        if metric != Metric::InnerProduct {
            let hits = index.query(&vectors[100]).top_k(1).run().unwrap();
            assert_eq!(ids(&hits), ["00100"]);
        }
    }
}

#[test]
fn the_longest_and_the_shortest_vectors() {
    let scaled = |vectors: &[Vec<f32>], by: f32| -> Vec<Vec<f32>> {
        vectors
            .iter()
            .map(|vector| {
                let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                vector.iter().map(|x| x / length * by).collect()
            })
            .collect()
    };
    let plain = Random(10).vectors(600, 16);
    // A square of 1e37, of 1e-30, and the smallest numbers that f16 and f32 have.
    for metric in METRICS {
        for (length, precision) in [
            (3.16e18, Precision::F32),
            (1.1e-15, Precision::F32),
            (1e-38, Precision::F32),
            (1e-44, Precision::F32),
            (6e4, Precision::F16),
            (2e-7, Precision::F16),
        ] {
            if metric == Metric::Cosine && length < 1e-15 {
                continue;
            }
            let vectors = scaled(&plain, length);
            let (_db, index) = memory(IndexConfig::new(metric).precision(precision));
            index.upsert(&items(&vectors)).unwrap();
            sound(&index);
            answers(&index, &vectors[0]);
            let far: Vec<f32> = vectors[0].iter().map(|x| -x).collect();
            answers(&index, &far);
            index.delete(&["00000", "00001"]).unwrap();
            sound(&index);
        }
        // All lengths in one index.
        let mut vectors = scaled(&plain, 3.16e18);
        for length in [1.0, 1e9, 1.1e-15] {
            vectors.extend(scaled(&plain, length));
        }
        let (_db, index) = memory(IndexConfig::new(metric));
        index.upsert(&items(&vectors)).unwrap();
        sound(&index);
        answers(&index, &vectors[0]);
        answers(&index, &vectors[1500]);
    }
}
