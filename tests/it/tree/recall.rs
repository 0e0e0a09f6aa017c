//! How many of the ten nearest a default query finds, on the real embeddings of `data/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use half::f16;
use sealvec::{Index, IndexConfig, Item, Metric};

use super::{Random, ids, items, sound};
use crate::support::memory;

const DIMENSION: usize = 384;

pub(crate) fn rows(file: &str) -> Vec<Vec<f32>> {
    let npy = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file)).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let halves = |row: &[u8]| -> Vec<f32> {
        row.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    };
    npy[header..].chunks_exact(DIMENSION * 2).map(halves).collect()
}

/// The share of the ten nearest that default queries find.
pub(crate) fn recall(index: &Index<'_>, queries: &[Vec<f32>]) -> f64 {
    let all = || queries.iter().map(Vec::as_slice);
    let truth = index.query_batch(all()).exact().run().unwrap();
    let (found, stats) = index.query_batch(all()).run_with_stats().unwrap();
    // They went through the tree.
    assert!(stats.iter().all(|stats| stats.nodes > 1 && stats.reranked < 1000));
    let mut hits = 0;
    for (truth, found) in truth.iter().zip(found.iter()) {
        let truth: BTreeSet<&str> = ids(truth).into_iter().collect();
        hits += ids(found).into_iter().filter(|id| truth.contains(id)).count();
    }
    f64::from(u32::try_from(hits).unwrap()) / f64::from(u32::try_from(queries.len() * 10).unwrap())
}

#[test]
fn default_queries_find_the_nearest_before_and_after_churn() {
    let (base, queries) = (rows("wordnet-5k.f16.npy"), rows("wordnet-queries-50.f16.npy"));
    let mut random = Random(1);
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
        let mut scaled = |vector: &Vec<f32>| -> Vec<f32> {
            let length = match metric {
                Metric::InnerProduct => (0.3 * random.normal()).exp(),
                _ => 1.0,
            };
            vector.iter().map(|x| x * length).collect()
        };
        let vectors: Vec<Vec<f32>> = base.iter().map(&mut scaled).collect();
        let (_db, index) = memory(IndexConfig::new(metric));
        let mut all: Vec<Item> = items(&vectors);
        for batch in all.chunks(1000) {
            index.upsert(batch).unwrap();
        }
        sound(&index);
        let before = recall(&index, &queries);
        // Out and in again, neighbours after each other.
        all.sort_by(|a, b| a.vector()[0].total_cmp(&b.vector()[0]));
        for batch in all.chunks(500) {
            let ids: Vec<&str> = batch.iter().map(Item::id).collect();
            index.delete(&ids).unwrap();
            index.upsert(batch).unwrap();
        }
        sound(&index);
        let after = recall(&index, &queries);
        println!("{metric:?}: {before} before churn, {after} after");
        // Rotation and noise differ from run to run; with lengths that differ, so does recall a little more.
        let (least, loss) =
            if metric == Metric::InnerProduct { (0.93, 0.03) } else { (0.95, 0.02) };
        assert!(before >= least, "{metric:?}: {before}");
        assert!(after >= before - loss, "{metric:?}: {before} before churn, {after} after");
    }
}
