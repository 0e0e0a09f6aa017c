//! Search: what any answer keeps to, and the ends of its settings.
//!
//! An answer is exact if the first wave of vectors holds everything. Otherwise reranking stops at a
//! bound that an estimate keeps nearly always, so that with every leaf read a neighbour may still
//! be missing, rarely.

use super::{METRICS, Random, Store, small};
use crate::error::{Error, Fault};
use crate::id::NodeId;
use crate::store::key::Pseudonym;
use crate::tree::Rules;
use crate::tree::depth::Depth;
use crate::tree::node::{Leaf, Node};
use crate::vector::Metric;

/// Vectors around so many places.
fn clumps(seed: u64, count: usize, dimension: usize, places: usize) -> Vec<Vec<f32>> {
    let mut random = Random(seed);
    let centres: Vec<_> = (0..places).map(|_| random.vector(dimension)).collect();
    (0..count)
        .map(|_| {
            let centre = centres[random.below(places)].clone();
            centre.into_iter().map(|x| x + 0.6 * random.normal()).collect()
        })
        .collect()
}

fn items(found: &[(f32, Pseudonym)]) -> Vec<Pseudonym> {
    let mut items: Vec<Pseudonym> = found.iter().map(|(_, item)| *item).collect();
    items.sort_unstable();
    items
}

/// A leaf with its rows the other way round.
fn reversed(leaf: &Leaf) -> Leaf {
    let mut out = Leaf::empty(leaf.parent, leaf.centroid.clone(), leaf.width);
    for at in (0..leaf.rows.len()).rev() {
        let size = leaf.code_bytes();
        let code = &leaf.codes[at * size..(at + 1) * size];
        out.push(leaf.rows[at].clone(), code, leaf.factors[at]);
    }
    out
}

#[test]
fn answers_depend_on_nothing_but_the_items_and_the_nodes() {
    for metric in METRICS {
        let vectors = clumps(1, 600, 24, 30);
        let mut store = Store::filled(metric, small(16, 6), &vectors, 100);
        let mut random = Random(2);
        let queries: Vec<_> = (0..20).map(|_| random.vector(24)).collect();
        let ask = |store: &Store| -> Vec<_> {
            let depths = [(10, None), (1, Some(1)), (50, Some(5)), (5, Some(1000))];
            let ask =
                |query: &Vec<f32>| depths.map(|(top_k, probes)| store.search(query, top_k, probes));
            queries.iter().map(ask).collect()
        };
        let first = ask(&store);
        assert_eq!(first, ask(&store));
        for id in store.leaves() {
            let Node::Leaf(leaf) = store.node(id) else { unreachable!() };
            store.put(id, &Node::Leaf(reversed(&leaf)));
        }
        store.check().unwrap();
        assert_eq!(first, ask(&store));
    }
}

#[test]
fn most_neighbours_are_found_and_nearly_all_when_every_leaf_is_read() {
    for metric in METRICS {
        let vectors = clumps(3, 6000, 64, 300);
        let rules = Rules { leaf_least: 4, fanout_least: 2, spill_from: 8, ..small(36, 16) };
        let store = Store::filled(metric, rules, &vectors, 1000);
        assert!(store.check().unwrap().height >= 3);
        let mut hits = [0, 0];
        let queries = clumps(4, 50, 64, 300);
        for query in queries.iter().zip(&vectors).map(|(noise, vector)| {
            vector.iter().zip(noise).map(|(x, y)| x + 0.3 * y).collect::<Vec<f32>>()
        }) {
            let truth = items(&store.truth(&query)[..10]);
            for (hits, probes) in hits.iter_mut().zip([None, Some(usize::MAX)]) {
                let found = store.search(&query, 10, probes);
                store.assert_sound(&query, &found, 10);
                *hits += found.iter().filter(|(_, item)| truth.contains(item)).count();
            }
        }
        assert!(hits[0] >= 450 && hits[1] >= 480, "{metric:?}: {hits:?} of 500");
    }
}

#[test]
fn what_ties_with_the_last_is_found_too() {
    let vectors: Vec<_> = (0..60_u8).map(|n| vec![f32::from(n / 6), 0.0, 1.0]).collect();
    let store = Store::filled(Metric::Euclidean, small(8, 4), &vectors, 60);
    let query = [0.0, 0.0, 1.0];
    // So many that all are compared.
    for top_k in 41..=60 {
        let found = store.search(&query, top_k, Some(usize::MAX));
        store.assert_sound(&query, &found, top_k);
        assert_eq!(found.len(), top_k.next_multiple_of(6));
    }
    for top_k in [1, 5, 6, 7, 12] {
        let found = store.search(&query, top_k, None);
        store.assert_sound(&query, &found, top_k);
        assert!(found[top_k - 1..].iter().all(|(d, _)| *d <= found[top_k - 1].0));
    }
}

#[test]
fn an_empty_tree_and_a_lone_leaf() {
    for metric in METRICS {
        let mut store = Store::new(metric, 3, small(8, 4));
        assert!(store.search(&[1.0, 0.0, 0.0], 10, None).is_empty());
        store.write(&[], &[(1, vec![1.0, 2.0, 3.0])]).unwrap();
        let found = store.search(&[1.0, 0.0, 0.0], 10, Some(1));
        store.assert_sound(&[1.0, 0.0, 0.0], &found, 10);
        assert_eq!(found.len(), 1);
        store.write(&[1], &[]).unwrap();
        assert!(store.search(&[1.0, 0.0, 0.0], 10, None).is_empty());
    }
}

#[test]
fn no_setting_is_too_small_or_too_large() {
    for metric in METRICS {
        let vectors = clumps(5, 500, 8, 20);
        let store = Store::filled(metric, small(8, 4), &vectors, 100);
        for top_k in [1, 2, 499, 500, 501, 1 << 20, usize::MAX / 2, usize::MAX] {
            for effort in [f32::MIN_POSITIVE, 1e-3, 1.0, 64.0, 1e30, f32::MAX] {
                for probes in [None, Some(1), Some(7), Some(usize::MAX)] {
                    for items in [0, 500, u64::MAX] {
                        let depth = Depth { top_k, effort, probes, items, share: 1.0 };
                        let (found, _) = store.search_at(&vectors[7], &depth).unwrap();
                        let found: Vec<_> =
                            found.into_iter().map(|f| (f.distance, f.row.pseudonym)).collect();
                        store.assert_sound(&vectors[7], &found, top_k);
                    }
                }
            }
        }
    }
}

#[test]
fn a_damaged_tree_is_an_error_and_no_wrong_answer() {
    let vectors = clumps(6, 200, 8, 10);
    let store = Store::filled(Metric::Euclidean, small(8, 4), &vectors, 50);
    let fault = Error::Integrity(Fault::Node);
    let depth = Depth { top_k: 200, effort: 1.0, probes: None, items: 200, share: 1.0 };
    let ids: Vec<NodeId> = store.nodes.keys().copied().collect();
    let mut store = store;
    for id in ids.iter().skip(1) {
        let node = store.nodes.remove(id).unwrap();
        assert_eq!(store.search_at(&vectors[0], &depth).err(), Some(fault.clone()));
        store.nodes.insert(*id, node.clone());
        // A leaf where a branch should be, and the other way round.
        let other = ids.iter().skip(1).find(|other| {
            matches!(store.node(**other), Node::Leaf(_)) != matches!(store.node(*id), Node::Leaf(_))
        });
        let other = store.nodes[other.unwrap()].clone();
        store.nodes.insert(*id, other);
        assert_eq!(store.search_at(&vectors[0], &depth).err(), Some(fault.clone()));
        store.nodes.insert(*id, node);
    }
    store.check().unwrap();
    let root = store.nodes.remove(&NodeId::ROOT).unwrap();
    assert_eq!(store.search_at(&vectors[0], &depth).err(), Some(fault.clone()));
    store.nodes.insert(NodeId::ROOT, root);
    // A row that its tag does not name.
    let id = store.leaves()[0];
    let (codes, mut rows) = store.nodes[&id].clone();
    rows[0] ^= 1;
    store.nodes.insert(id, (codes, rows));
    assert_eq!(store.search_at(&vectors[0], &depth).err(), Some(fault));
}
