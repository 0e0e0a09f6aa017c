//! Skeletons and rebuilding.

use super::{METRICS, Random, Store, small};
use crate::id::NodeId;
use crate::tree::Rules;
use crate::tree::depth::Depth;
use crate::tree::node::Node;
use crate::tree::plan::{Placed, Plan};
use crate::vector::Metric;

fn vectors(seed: u64, count: usize) -> Vec<Vec<f32>> {
    let mut random = Random(seed);
    (0..count).map(|_| random.vector(12)).collect()
}

fn skeleton(metric: Metric, rules: Rules, sample: &[Vec<f32>], expected: usize) -> Store {
    let mut store = Store::new(metric, sample[0].len(), rules);
    let sample: Vec<Placed> = sample.iter().map(|v| store.space.place(v).into()).collect();
    store.plan(|plan| plan.skeleton(&sample, expected)).unwrap();
    store
}

#[test]
fn a_skeleton_is_sound_at_every_step_of_the_load() {
    for metric in METRICS {
        for (leaf_most, fanout_most, count) in [(8, 4, 900), (16, 6, 3000), (144, 64, 3000)] {
            let vectors = vectors(1, count);
            let mut store =
                skeleton(metric, small(leaf_most, fanout_most), &vectors[..count / 2], count);
            let census = store.check().unwrap();
            assert!(census.height > 1 && census.first_copies == 0, "{census:?}");
            let items: Vec<_> = (0..).zip(vectors).collect();
            for items in items.chunks(count / 6) {
                store.write(&[], items).unwrap();
                store.check().unwrap();
                let found = store.search(&items[0].1, 10, None);
                store.assert_sound(&items[0].1, &found, 10);
            }
            // Out again, to the last.
            for items in items.chunks(count / 5) {
                let gone: Vec<u64> = items.iter().map(|(number, _)| *number).collect();
                store.write(&gone, &[]).unwrap();
                store.check().unwrap();
            }
            assert!(store.items.is_empty());
        }
    }
}

#[test]
fn a_skeleton_of_few_or_equal_vectors() {
    for sample in [vectors(2, 1), vectors(3, 9), vec![vec![1.0; 12]; 500], vec![vec![0.0; 12]; 9]] {
        for expected in [0, 1, 8, 9, 30, 500, 100_000] {
            let mut store = skeleton(Metric::Euclidean, small(8, 4), &sample, expected);
            store.check().unwrap();
            for (number, vector) in (0..).zip(vectors(4, 30)) {
                store.write(&[], &[(number, vector)]).unwrap();
                store.check().unwrap();
            }
            for number in 0..30 {
                store.write(&[number], &[]).unwrap();
                store.check().unwrap();
            }
        }
    }
}

#[test]
fn a_skeleton_that_most_items_miss() {
    // The sample is nowhere near the items: one leaf gets them all.
    let sample: Vec<Vec<f32>> =
        vectors(5, 300).into_iter().map(|v| v.into_iter().map(|x| x + 100.0).collect()).collect();
    let mut store = skeleton(Metric::Euclidean, small(8, 4), &sample, 300);
    let items: Vec<_> = (0..).zip(vectors(6, 300)).collect();
    store.write(&[], &items).unwrap();
    store.check().unwrap();
    for number in 0..300 {
        store.write(&[number], &[]).unwrap();
        store.check().unwrap();
    }
    assert!(store.items.is_empty());
}

#[test]
fn a_tree_that_holds_something_gets_no_skeleton() {
    let vectors = vectors(7, 40);
    let mut store = Store::filled(Metric::Euclidean, small(8, 4), &vectors[..1], 1);
    let sample: Vec<Placed> = vectors.iter().map(|v| store.space.place(v).into()).collect();
    let before = store.check().unwrap();
    store.plan(|plan| plan.skeleton(&sample, 1000)).unwrap();
    assert_eq!(store.check().unwrap(), before);
}

#[test]
fn rebuilding_marks_the_branch_and_replaces_every_leaf_below() {
    for metric in METRICS {
        let vectors = vectors(8, 700);
        let mut store = Store::filled(metric, small(12, 6), &vectors, 100);
        let mut rebuilt = 0;
        loop {
            let mut next = None;
            store
                .plan(|plan| {
                    next = plan.twigs()?.into_iter().find(|(_, tag)| *tag != [5; 16]);
                    Ok(())
                })
                .unwrap();
            let Some((twig, _)) = next else { break };
            let Node::Branch(branch) = store.node(twig) else { unreachable!() };
            store.plan(|plan| plan.rebuild(twig, [5; 16])).unwrap();
            store.check().unwrap();
            for leaf in branch.children.ids {
                assert!(!store.nodes.contains_key(&leaf), "{leaf:?}");
            }
            rebuilt += 1;
            assert!(rebuilt < 1000, "rebuilding does not end");
        }
        assert!(rebuilt > 3);
        let found = store.search(&vectors[0], 10, None);
        store.assert_sound(&vectors[0], &found, 10);
        assert!(store.nodes.contains_key(&NodeId::ROOT));
    }
}

#[test]
fn a_skeleton_has_no_leaf_for_so_few_that_it_would_be_dissolved() {
    // Three far from all others, and each far from the other two.
    let mut sample = vectors(10, 400);
    for (at, far) in [(3, 50.0), (77, -60.0), (200, 70.0)] {
        sample[at][at % 3] = far;
    }
    let rules = Rules { noise: 0.0, ..small(16, 6) };
    let mut store = skeleton(Metric::Euclidean, rules, &sample, 400);
    let leaves = store.leaves();
    assert!(leaves.len() > 20);
    for id in leaves {
        let centroid = store.node(id).centroid().expand();
        assert!(centroid.iter().map(|x| x * x).sum::<f32>() < 900.0, "{id:?}");
    }
    // However many are announced.
    assert!(!skeleton(Metric::Euclidean, rules, &sample, usize::MAX).leaves().is_empty());
    // They go where there is a leaf.
    let items: Vec<_> = (0..).zip(sample.iter().cloned()).collect();
    store.write(&[], &items).unwrap();
    let census = store.check().unwrap();
    assert_eq!(census.first_copies, 400);
}

#[test]
fn leaves_that_were_never_filled_make_no_search_longer() {
    for metric in METRICS {
        let sample = vectors(9, 600);
        let mut near: Vec<Vec<f32>> = sample.clone();
        near.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let mut store = skeleton(metric, small(8, 4), &sample, 600);
        let items: Vec<_> = (0..).zip(near[..150].iter().cloned()).collect();
        store.write(&[], &items).unwrap();
        let branches = (store.nodes.len() - store.leaves().len()) as u64;
        let mut short = 0;
        for query in &near[100..300] {
            let depth = Depth { top_k: 1, effort: 1.0, probes: Some(6), items: 150, share: 1.0 };
            let (found, work) = store.search_at(query, &depth).unwrap();
            assert!(!found.is_empty() && work.nodes > 6);
            short += usize::from(work.nodes <= branches + 6);
        }
        // Of those around, one or two may have nothing but such leaves near them.
        assert!(short > 190, "{metric}: {short}");
    }
}

#[test]
fn leaves_that_were_never_filled_go_with_the_first_rebuilding() {
    for metric in METRICS {
        // Items in one corner of what the sample spans.
        let sample = vectors(9, 600);
        let mut near: Vec<Vec<f32>> = sample.clone();
        near.sort_by(|a, b| a[0].total_cmp(&b[0]));
        for count in [150, 3, 0] {
            let mut store = skeleton(metric, small(8, 4), &sample, 600);
            let items: Vec<_> = (0..).zip(near[..count].iter().cloned()).collect();
            store.write(&[], &items).unwrap();
            let empty = |store: &Store| {
                let rows = |id: &NodeId| match store.node(*id) {
                    Node::Leaf(leaf) => leaf.firsts(),
                    Node::Branch(_) => unreachable!(),
                };
                store.leaves().iter().filter(|id| rows(id) == 0).count()
            };
            assert!(empty(&store) > 20, "{}", empty(&store));
            // What splits off while the first are rebuilt comes in another round.
            for _ in 0..3 {
                let mut twigs = Vec::new();
                store.plan(|plan| plan.twigs().map(|found| twigs = found)).unwrap();
                for (twig, _) in twigs {
                    let rebuild = |plan: &mut Plan<'_>| {
                        let due = plan.is_twig(twig, &[5; 16])?;
                        if due { plan.rebuild(twig, [5; 16]) } else { Ok(()) }
                    };
                    store.plan(rebuild).unwrap();
                    store.check().unwrap();
                }
            }
            assert_eq!(empty(&store), 0);
            assert_eq!(store.nodes.is_empty(), count == 0);
        }
    }
}
