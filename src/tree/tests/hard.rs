//! Trees that ordinary data does not make.

use super::{Random, Store, small};
use crate::vector::Metric;

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
