//! A walk with a filter finds what exact search over the matching items finds, to the recall of the effort, wherever
//! they lie; and fewer than it is asked for only when fewer match.

use std::collections::BTreeSet;

use sealvec::{Attribute, Filter, Index, IndexConfig, Item, Metric, Strategy};
use serde_json::json;

use super::ids;
use super::recall::rows;
use crate::support::memory;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A field that goes by chance, and one that goes by how far an item is from the first.
fn filled(metric: Metric) -> (sealvec::Database, Index<'static>, usize) {
    let vectors = rows("wordnet-5k.f16.npy");
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    order.sort_by(|a, b| dot(&vectors[*b], &vectors[0]).total_cmp(&dot(&vectors[*a], &vectors[0])));
    let mut items: Vec<Item> = order
        .into_iter()
        .enumerate()
        .map(|(rank, n)| {
            let fields = json!({"chance": n * 7919 % 1000, "rank": rank});
            Item::new(format!("{n:05}"), vectors[n].clone()).metadata(fields)
        })
        .collect();
    items.sort_by(|a, b| a.id().cmp(b.id()));
    let config = ["chance", "rank"]
        .into_iter()
        .fold(IndexConfig::new(metric), |config, name| config.attribute(name, Attribute::Range));
    let (db, index) = memory(config);
    for batch in items.chunks(1000) {
        index.upsert(batch).unwrap();
    }
    (db, index, vectors.len())
}

#[test]
fn a_filtered_walk_finds_the_nearest_of_what_matches() {
    let queries = rows("wordnet-queries-50.f16.npy");
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
        let (_db, index, total) = filled(metric);
        for (name, filter) in [
            ("a tenth by chance", Filter::lt("chance", 100)),
            ("half by chance", Filter::lt("chance", 500)),
            ("the nearest tenth", Filter::lt("rank", total / 10)),
            ("the nearest half", Filter::lt("rank", total / 2)),
            ("the farthest tenth", Filter::gte("rank", total * 9 / 10)),
            ("the farthest half", Filter::gte("rank", total / 2)),
        ] {
            // At half the default effort, at which something may be missed, and at the default.
            let mut hits = [0; 2];
            for query in &queries {
                let ask = || index.query(query).filter(filter.clone());
                let truth = ask().exact().run().unwrap();
                let truth: BTreeSet<&str> = ids(&truth).into_iter().collect();
                for (hits, ask) in hits.iter_mut().zip([ask().effort(8), ask()]) {
                    let (found, stats) = ask.run_with_stats().unwrap();
                    assert_eq!(stats.strategy, Strategy::FilteredTree, "{metric:?}, {name}");
                    assert_eq!((truth.len(), found.len()), (10, 10));
                    *hits += ids(&found).into_iter().filter(|id| truth.contains(id)).count();
                }
            }
            println!("{metric:?}, {name}: {hits:?} of 500");
            assert!(hits[0] >= 450 && hits[1] >= 475, "{metric:?}, {name}: {hits:?} of 500");
        }
    }
}

#[test]
fn the_few_that_match_are_all_compared() {
    let queries = rows("wordnet-queries-50.f16.npy");
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
        let (_db, index, total) = filled(metric);
        // So few are wanted that it is not for a quarter of all that match.
        for (name, filter, top_k) in [
            (".1 % by chance", Filter::lt("chance", 1), 1),
            ("1 % by chance", Filter::lt("chance", 10), 10),
            ("the nearest .1 %", Filter::lt("rank", total / 1000), 1),
            ("the nearest 1 %", Filter::lt("rank", total / 100), 10),
            ("the farthest .1 %", Filter::gte("rank", total - total / 1000), 1),
            ("the farthest 1 %", Filter::gte("rank", total - total / 100), 10),
        ] {
            for query in &queries {
                let ask = || index.query(query).filter(filter.clone()).top_k(top_k);
                let (found, stats) = ask().run_with_stats().unwrap();
                assert_eq!(stats.strategy, Strategy::Matches, "{metric:?}, {name}");
                assert_eq!(found.len(), top_k);
                assert_eq!(ids(&found), ids(&ask().exact().run().unwrap()), "{metric:?}, {name}");
            }
        }
        // A tenth is many for one query, and few for all of them together.
        let tenth = || Filter::lt("chance", 100);
        let (_, stats) = index.query(&queries[0]).filter(tenth()).run_with_stats().unwrap();
        assert_eq!(stats.strategy, Strategy::FilteredTree);
        let batch = index.query_batch(queries.iter().map(Vec::as_slice)).filter(tenth());
        let (_, stats) = batch.run_with_stats().unwrap();
        assert!(stats.iter().all(|stats| stats.strategy == Strategy::Matches));
    }
}

#[test]
fn there_are_as_many_hits_as_are_wanted_though_nothing_matches_near_the_query() {
    for metric in [Metric::Cosine, Metric::InnerProduct] {
        let (_db, index, total) = filled(metric);
        let query = &rows("wordnet-5k.f16.npy")[0];
        let far = Filter::gte("rank", total - 600);
        for (probes, top_k) in [(None, 10), (Some(1), 10), (Some(2), 40), (None, 40)] {
            let mut ask = index.query(query).filter(far.clone()).top_k(top_k);
            if let Some(probes) = probes {
                ask = ask.probes(probes);
            }
            let (hits, stats) = ask.run_with_stats().unwrap();
            assert_eq!(stats.strategy, Strategy::FilteredTree, "{metric:?} {probes:?} {top_k}");
            assert_eq!(hits.len(), top_k, "{metric:?} {probes:?}");
            let unique: BTreeSet<&str> = ids(&hits).into_iter().collect();
            assert_eq!(unique.len(), top_k);
            let about = index.query(query).filter(far.clone()).top_k(top_k).exact().run().unwrap();
            // None can be nearer than the nearest of what matches.
            assert!(hits[0].distance >= about[0].distance - 1e-5);
            let matching = index.query(query).filter(far.clone()).top_k(2000).run().unwrap();
            assert_eq!(matching.len(), 600);
            let matching: BTreeSet<&str> = ids(&matching).into_iter().collect();
            assert!(unique.is_subset(&matching));
        }
    }
}
