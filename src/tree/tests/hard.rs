//! Trees that ordinary data does not make.

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
