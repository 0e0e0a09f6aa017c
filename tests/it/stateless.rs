//! A key with every call: nothing is kept between calls, and what a call reads does not grow with the index.

use sealvec::{Database, Include, Index, IndexConfig, Item, Metric, QueryStats};

use crate::support::{NAME, ROOT, index_key, root, small};
use crate::tree::recall::rows;
use crate::tree::{Random, items, sound};

/// An index that nobody has a handle with a key to.
fn stored(vectors: &[Vec<f32>]) -> Database {
    let db = Database::in_memory_with(small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Cosine)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    for some in items(vectors).chunks(1000) {
        index.upsert(some).unwrap();
    }
    sound(&index);
    db
}

/// One call of somebody who has nothing but the key.
fn ask(db: &Database, query: &[f32]) -> QueryStats {
    let key = root(ROOT);
    let index = db.open_index(NAME).unwrap().with_key(&key);
    let (hits, stats) = index.query(query).run_with_stats().unwrap();
    assert_eq!(hits.len(), 10);
    stats
}

/// The sum over some queries of reads, bytes opened and rows.
fn cost(db: &Database, queries: &[Vec<f32>]) -> [u64; 3] {
    queries.iter().map(|query| ask(db, query)).fold([0; 3], |[reads, opened, scored], stats| {
        [reads + stats.reads, opened + stats.bytes_opened, scored + stats.rows]
    })
}

#[test]
fn a_query_reads_a_smaller_share_of_a_larger_index() {
    let (base, queries) = (rows("wordnet-5k.f16.npy"), rows("wordnet-queries-50.f16.npy"));
    let sizes = [1000, 2000, 5000];
    let costs = sizes.map(|size| cost(&stored(&base[..size]), &queries));
    println!("reads, bytes opened, rows: {costs:?}");
    for (at, name) in ["reads", "bytes opened", "rows"].into_iter().enumerate() {
        let [one, two, five] = costs.map(|cost| cost[at]);
        // A small index is read whole.
        assert!(two <= one * 2 && five * 2 < two * 5, "{name}: {costs:?}");
        assert!(five < one * 4, "{name}: {costs:?}");
    }
    // Most of the index is left alone: of the rows, two for each item, and more so of the vectors.
    let [_, opened, scored] = costs[2];
    assert!(scored < 50 * 5000 && opened < 50 * 5000 * 384 * 4 / 10, "{costs:?}");
}

#[test]
fn the_same_call_reads_the_same_each_time() {
    let db = stored(&Random(1).vectors(1500, 64));
    let query = Random(2).vector(64);
    let first = ask(&db, &query);
    for _ in 0..5 {
        let again = ask(&db, &query);
        assert_eq!((again.reads, again.bytes_opened), (first.reads, first.bytes_opened));
    }
    // A handle with its key bound saves nothing either.
    let bound = db.load_index(NAME, root(ROOT)).unwrap();
    for _ in 0..2 {
        let (_, held) = bound.query(&query).run_with_stats().unwrap();
        assert_eq!((held.reads, held.bytes_opened), (first.reads, first.bytes_opened));
    }
}

#[test]
fn no_state_is_carried_from_one_call_to_the_next() {
    let db = stored(&Random(3).vectors(400, 16));
    let (right, wrong) = (root(ROOT), root(99));
    let open = db.open_index(NAME).unwrap();
    let ask = |index: &Index<'_>| index.query(&[1.0; 16]).top_k(3).run().map(|hits| hits.value);
    let answer = ask(&open.with_key(&right)).unwrap();
    assert_eq!(ask(&open).unwrap_err().code(), "missing_key");
    assert_eq!(ask(&open.with_key(&wrong)).unwrap_err().code(), "wrong_key");
    assert_eq!(ask(&open.with_key(&right)).unwrap(), answer);
    // What one call wrote, the next one that comes with a key sees.
    open.with_key(&right).upsert(&[Item::new("new", [1.0; 16])]).unwrap();
    assert_eq!(ask(&open.with_key(&right)).unwrap()[0].id, "new");
    let found = open.with_key(&right).get(&["new"], Include::ALL).unwrap();
    assert!(found[0].item.is_some());
    assert_eq!(ask(&open).unwrap_err().code(), "missing_key");
}
