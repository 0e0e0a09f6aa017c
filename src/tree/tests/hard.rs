//! Trees that ordinary data does not make.

use std::collections::BTreeSet;

use super::{METRICS, Random, Store, small};
use crate::vector::Metric;

#[test]
fn a_batch_that_is_larger_than_a_level() {
    for metric in METRICS {
        let mut random = Random(1);
        let vectors: Vec<_> = (0..600).map(|_| random.vector(16)).collect();
        let mut store = Store::filled(metric, small(8, 4), &vectors, 600);
        let census = store.check().unwrap();
        assert!(census.height >= 4, "{census:?}");
        // And another below it.
        let more: Vec<_> = (1000..).zip((0..600).map(|_| random.vector(16))).collect();
        store.write(&[], &more).unwrap();
        store.check().unwrap();
        // All but a few go at once.
        let gone: Vec<u64> = (3..1600).collect();
        store.write(&gone, &[]).unwrap();
        store.check().unwrap();
        assert_eq!(store.items.len(), 3);
    }
}

#[test]
fn a_root_leaf_that_is_overwritten_and_overflows_in_one_commit() {
    let mut random = Random(2);
    let vectors: Vec<_> = (0..5).map(|_| random.vector(4)).collect();
    let mut store = Store::filled(Metric::Euclidean, small(8, 4), &vectors, 5);
    let put: Vec<_> = (0..40).map(|number| (number, random.vector(4))).collect();
    store.write(&[], &put).unwrap();
    assert!(store.check().unwrap().height > 1);
    assert_eq!(store.items.len(), 40);
}

#[test]
fn equal_vectors_one_commit_at_a_time() {
    for metric in METRICS {
        let mut store = Store::new(metric, 8, small(8, 4));
        for number in 0..400 {
            store.write(&[], &[(number, vec![0.5; 8])]).unwrap();
            if number % 20 == 0 {
                store.check().unwrap();
            }
        }
        store.check().unwrap();
        for number in 0..400 {
            store.write(&[number], &[]).unwrap();
            if number % 20 == 0 {
                store.check().unwrap();
            }
        }
        assert!(store.nodes.is_empty());
    }
}

#[test]
fn a_tree_grows_and_shrinks_through_every_height() {
    let mut random = Random(3);
    let mut store = Store::new(Metric::Euclidean, 6, small(8, 4));
    let mut heights = BTreeSet::new();
    for number in 0..500 {
        store.write(&[], &[(number, random.vector(6))]).unwrap();
        heights.insert(store.check().unwrap().height);
    }
    let tallest = *heights.last().unwrap();
    assert!(tallest >= 4, "{heights:?}");
    assert!(heights.iter().copied().eq(1..=tallest));
    heights.clear();
    let mut order: Vec<u64> = (0..500).collect();
    for at in 0..order.len() {
        let other = at + random.below(order.len() - at);
        order.swap(at, other);
    }
    for number in order {
        store.write(&[number], &[]).unwrap();
        heights.insert(store.check().unwrap().height);
    }
    // On the way down levels may go several at a time: thin branches are merged only with room
    // beside them.
    assert!(heights.is_superset(&BTreeSet::from([0, 1])), "{heights:?}");
    assert!(*heights.last().unwrap() <= tallest);
    assert!(store.nodes.is_empty() && store.items.is_empty());
}
