//! Reading items: get, queries and lists, against an oracle that knows all items.
//!
//! Queries are compared with a brute force in f64; ties and equal vectors are ordered by id. Lists
//! are complete and sorted for every page size, and a cursor that is not one of this index, down to
//! a single bit, is refused.

use std::ops::ControlFlow;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sealvec::{
    Cursor, Hit, Include, Index, IndexConfig, Item, Metric, Options, Permissions, Precision,
};
use serde_json::json;

use crate::support::{
    NAME, ROOT, index_key, memory, memory_with, refused, root, small, user, user_id, user_key,
};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct];
const EUCLIDEAN: IndexConfig = IndexConfig::new(Metric::Euclidean);

fn distance(metric: Metric, x: &[f32], y: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    match metric {
        Metric::Cosine => 1.0 - dot(x, y) / (dot(x, x) * dot(y, y)).sqrt(),
        Metric::InnerProduct => -dot(x, y),
        _ => x
            .iter()
            .zip(y)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum::<f64>()
            .sqrt(),
    }
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

fn all_ids(index: &Index<'_>, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = index.list_ids(limit, cursor.as_ref()).unwrap().value;
        assert!(page.ids.len() <= limit);
        assert!(page.next.is_none() || page.ids.len() == limit);
        all.extend(page.ids);
        // As text, the way it travels.
        cursor = page.next.map(|cursor| cursor.to_string().parse::<Cursor>().unwrap());
        if cursor.is_none() {
            return all;
        }
    }
}

#[test]
fn get_answers_in_the_order_asked_for() {
    let (_db, index) = memory(EUCLIDEAN);
    let items: Vec<Item> =
        (0..100_u8).map(|n| Item::new(format!("{n}"), [f32::from(n)]).contents([n])).collect();
    index.upsert(&items).unwrap();
    let asked = ["7", "99", "nobody", "7", "0", "nobody", "42"];
    let found = index.get(&asked, Include::ALL).unwrap();
    assert_eq!(found.len(), asked.len());
    for (asked, found) in asked.iter().zip(found.iter()) {
        assert_eq!(&found.id, asked);
        let number: Option<u8> = asked.parse().ok();
        let contents = found.item.as_ref().map(|item| item.contents.clone().unwrap());
        assert_eq!(contents, number.map(|n| vec![n]), "{asked}");
        let vector = found.item.as_ref().map(|item| item.vector.clone().unwrap());
        assert_eq!(vector, number.map(|n| vec![f32::from(n)]));
    }
    assert!(index.get::<&str>(&[], Include::ALL).unwrap().is_empty());
}

#[test]
fn only_what_is_included_comes_back() {
    let (_db, index) = memory(EUCLIDEAN);
    let item = Item::new("full", [1.0]).contents("text").metadata(json!({"a": 1}));
    index.upsert(&[item, Item::new("bare", [2.0])]).unwrap();
    let none = Include::NONE;
    for mask in 0..8 {
        let mut include = none;
        let (vector, contents, metadata) = (mask & 1 != 0, mask & 2 != 0, mask & 4 != 0);
        include = if vector { include.vector() } else { include };
        include = if contents { include.contents() } else { include };
        include = if metadata { include.metadata() } else { include };
        for id in ["full", "bare"] {
            let full = id == "full";
            let expected = (vector, contents && full, metadata && full);
            let item = index.get(&[id], include).unwrap().value.remove(0).item.unwrap();
            let found = (item.vector.is_some(), item.contents.is_some(), item.metadata.is_some());
            assert_eq!(found, expected);
            let hits = index.query(&[0.0]).include(include).run().unwrap();
            let hit = hits.iter().find(|hit| hit.id == id).unwrap();
            let found = (hit.vector.is_some(), hit.contents.is_some(), hit.metadata.is_some());
            assert_eq!(found, expected);
            let visit = |entry: sealvec::Entry<'_>| {
                if entry.id == id {
                    let (v, c, m) = (entry.vector, entry.contents, entry.metadata);
                    assert_eq!((v.is_some(), c.is_some(), m.is_some()), expected);
                }
                ControlFlow::Continue(())
            };
            assert_eq!(*index.for_each(include, visit).unwrap(), 2);
        }
    }
    assert_eq!(none.vector().contents().metadata(), Include::ALL);
}

#[test]
fn queries_agree_with_a_brute_force_under_every_metric() {
    let mut random = StdRng::seed_from_u64(1);
    // 1,500 items are scanned in several shares, 40 in one.
    for (count, dimension, threads) in [(40, 3, 1), (1500, 17, 4), (300, 128, 2)] {
        for metric in METRICS {
            for precision in [Precision::F32, Precision::F16] {
                let options = Options::new().threads(threads);
                let config = IndexConfig::new(metric).precision(precision);
                let (_db, index) = memory_with(options, config);
                let mut vector = || -> Vec<f32> {
                    (0..dimension).map(|_| random.random_range(-1.0..1.0)).collect()
                };
                let items: Vec<Item> =
                    (0..count).map(|n| Item::new(format!("{n}"), vector())).collect();
                let queries: Vec<Vec<f32>> = (0..5).map(|_| vector()).collect();
                index.upsert(&items).unwrap();
                let stored: Vec<(String, Vec<f32>)> = index
                    .get(&all_ids(&index, 1000), Include::NONE.vector())
                    .unwrap()
                    .into_iter()
                    .map(|found| (found.id, found.item.unwrap().vector.unwrap()))
                    .collect();
                assert_eq!(stored.len(), count);
                let top_k = 25;
                let batch = index.query_batch(queries.iter().map(Vec::as_slice)).top_k(top_k);
                let batch = batch.exact().run().unwrap();
                assert_eq!(batch.len(), queries.len());
                for (query, hits) in queries.iter().zip(batch.iter()) {
                    let mut truth: Vec<(f64, &str)> = stored
                        .iter()
                        .map(|(id, vector)| (distance(metric, query, vector), id.as_str()))
                        .collect();
                    truth.sort_by(|a, b| a.0.total_cmp(&b.0));
                    assert_eq!(hits.len(), top_k);
                    for (hit, (expected, _)) in hits.iter().zip(&truth) {
                        let own = truth.iter().find(|(_, id)| *id == hit.id).unwrap().0;
                        for expected in [*expected, own] {
                            let error = (f64::from(hit.distance) - expected).abs();
                            assert!(error < 1e-4, "{metric} {precision}: {hit:?} {expected}");
                        }
                    }
                    let alone = index.query(query).top_k(top_k).exact().run().unwrap();
                    assert_eq!(&alone.value, hits);
                }
                assert_near(&index, &queries, &batch);
            }
        }
    }
}

/// Approximate answers are as long as the exact ones, in order and true of what they name; they may
/// miss a little, and alone or in a batch it is the same.
fn assert_near(index: &Index<'_>, queries: &[Vec<f32>], exact: &[Vec<Hit>]) {
    let top_k = exact[0].len();
    let batch = index.query_batch(queries.iter().map(Vec::as_slice)).top_k(top_k);
    let (batch, stats) = batch.run_with_stats().unwrap();
    assert_eq!((batch.len(), stats.len()), (queries.len(), queries.len()));
    let mut missed = 0;
    for ((query, hits), exact) in queries.iter().zip(&*batch).zip(exact) {
        let everything = index.query(query).top_k(usize::MAX).run().unwrap();
        assert_eq!(everything[..top_k], exact[..]);
        assert_eq!(hits.len(), top_k);
        assert!(hits.iter().all(|hit| everything.contains(hit)));
        let in_order = |pair: &[Hit]| {
            let order = pair[0].distance.total_cmp(&pair[1].distance);
            order.then_with(|| pair[0].id.cmp(&pair[1].id)).is_lt()
        };
        assert!(hits.windows(2).all(in_order));
        missed += exact.iter().filter(|hit| !hits.contains(hit)).count();
        assert_eq!(index.query(query).top_k(top_k).run().unwrap().value, *hits);
    }
    // Random vectors are the hardest there are.
    assert!(missed * 4 <= top_k * queries.len(), "{missed} of {} missed", top_k * queries.len());
}

#[test]
fn ties_are_broken_by_id() {
    for metric in METRICS {
        let (_db, index) = memory_with(Options::new().threads(3), IndexConfig::new(metric));
        let mut names: Vec<String> = (0..2000).map(|n| format!("{:04}", n * 7919 % 2000)).collect();
        let items: Vec<Item> =
            names.iter().map(|name| Item::new(name.as_str(), [0.5, -0.5])).collect();
        index.upsert(&items).unwrap();
        names.sort();
        for top_k in [1, 10, 1999, 2000, 5000, usize::MAX] {
            let hits = index.query(&[0.25, 0.75]).top_k(top_k).exact().run().unwrap();
            assert_eq!(ids(&hits), names[..top_k.min(2000)]);
            // Not every one of them is compared, and those that are follow the rule.
            let near = index.query(&[0.25, 0.75]).top_k(top_k).run().unwrap();
            assert_eq!(near.len(), hits.len());
            assert!(near.windows(2).all(|pair| pair[0].id < pair[1].id));
            assert!(near[0].distance.to_bits() == hits[0].distance.to_bits());
            assert!(hits.iter().all(|hit| hit.distance.to_bits() == hits[0].distance.to_bits()));
        }
    }
}

#[test]
fn extremes_give_finite_distances_and_exact_zeros() {
    let (_db, index) = memory(EUCLIDEAN);
    index.upsert(&[Item::new("far", [3e18, 0.0]), Item::new("tiny", [1e-38, 0.0])]).unwrap();
    let hits = index.query(&[-3e18, 0.0]).run().unwrap();
    assert_eq!(ids(&hits), ["tiny", "far"]);
    assert!(hits.iter().all(|hit| hit.distance.is_finite()));
    let hits = index.query(&[3e18, 0.0]).run().unwrap();
    assert_eq!((hits[0].id.as_str(), hits[0].distance), ("far", 0.0));
    // A zero vector has no direction, but it has a place.
    assert_eq!(ids(&index.query(&[0.0, 0.0]).run().unwrap()), ["tiny", "far"]);
    let (_db, index) = memory(IndexConfig::new(Metric::Cosine));
    index.upsert(&[Item::new("long", [3e18, 0.0]), Item::new("short", [0.0, 1e-15])]).unwrap();
    let hits = index.query(&[0.0, 2e18]).run().unwrap();
    assert_eq!(ids(&hits), ["short", "long"]);
    assert!(hits[0].distance.abs() < 1e-6 && (hits[1].distance - 1.0).abs() < 1e-6);
}

#[test]
fn bad_queries_are_refused_by_position() {
    let (_db, index) = memory(IndexConfig::new(Metric::Cosine));
    // Before there is a dimension, there is nothing to find.
    assert!(index.query(&[1.0]).run().unwrap().is_empty());
    let empty = index.query_batch([&[1.0][..], &[1.0, 2.0]]).run().unwrap();
    assert_eq!(empty.value, [[], []]);
    refused(index.query(&[1.0]).top_k(0).run(), "invalid_argument", &["top_k"]);
    index.upsert(&[Item::new("a", [1.0, 0.0])]).unwrap();
    let good = &[1.0, 1.0][..];
    let bad: [(&[f32], &str); 6] = [
        (&[], "has 0 components"),
        (&[1.0], "has 1 components"),
        (&[1.0; 3], "has 3 components"),
        (&[f32::NAN, 0.0], "component 0"),
        (&[1.0, f32::INFINITY], "component 1"),
        (&[0.0, 0.0], "cosine"),
    ];
    for (bad, words) in bad {
        refused(index.query(bad).run(), "invalid_argument", &["query 0:", words]);
        let batch = index.query_batch([good, good, bad]).run();
        refused(batch, "invalid_argument", &["query 2:", words]);
    }
    refused(index.query(good).top_k(0).run(), "invalid_argument", &["top_k"]);
    refused(index.query_batch([good]).top_k(0).run(), "invalid_argument", &["top_k"]);
    assert!(index.query_batch([]).run().unwrap().is_empty());
}

#[test]
fn lists_are_sorted_and_complete_for_every_page_size() {
    let (_db, index) = memory_with(Options::new().threads(3), EUCLIDEAN);
    let empty = index.list_ids(1, None).unwrap();
    assert_eq!((empty.ids.len(), &empty.next), (0, &None));
    let mut names: Vec<String> = (0..700).map(|n| format!("{}", n * n)).collect();
    names.extend(["\u{1f980}", "\u{e9}", " ", "Z", "z", "a/b"].map(str::to_owned));
    let items: Vec<Item> = names.iter().map(|name| Item::new(name.as_str(), [1.0])).collect();
    index.upsert(&items).unwrap();
    names.sort();
    for limit in [1, 2, 7, 352, 353, 705, 706, 707, 10_000] {
        assert_eq!(all_ids(&index, limit), names, "{limit}");
    }
    for limit in [0, 10_001, usize::MAX] {
        refused(index.list_ids(limit, None), "invalid_argument", &["1 to 10000"]);
    }
}

#[test]
fn a_list_goes_on_after_its_last_id_whatever_happened_meanwhile() {
    let (_db, index) = memory(EUCLIDEAN);
    let item = |id: &str| Item::new(id, [1.0]);
    index.upsert(&["b", "d", "f", "h"].map(item)).unwrap();
    index.grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
    let page = index.list_ids(2, None).unwrap().value;
    assert_eq!(page.ids, ["b", "d"]);
    let cursor = page.next.unwrap();
    index.delete(&["d", "f"]).unwrap();
    index.upsert(&["a", "c", "e"].map(item)).unwrap();
    let rest = index.list_ids(10, Some(&cursor)).unwrap();
    assert_eq!((&rest.ids[..], &rest.next), (&["e".to_owned(), "h".to_owned()][..], &None));
    // The cursor belongs to the index, not to who asked.
    let reader = user(1, 1);
    assert_eq!(index.with_key(&reader).list_ids(10, Some(&cursor)).unwrap().ids, rest.ids);
    index.delete(&["e", "h"]).unwrap();
    assert!(index.list_ids(10, Some(&cursor)).unwrap().ids.is_empty());
}

#[test]
fn only_an_untouched_cursor_of_the_index_is_accepted() {
    let (db, index) = memory(EUCLIDEAN);
    db.create_index("other", &index_key(ROOT), EUCLIDEAN).unwrap();
    let other = db.load_index("other", root(ROOT)).unwrap();
    for index in [&index, &other] {
        index.upsert(&[Item::new("a", [1.0]), Item::new("b", [1.0])]).unwrap();
    }
    let cursor = index.list_ids(1, None).unwrap().value.next.unwrap();
    assert_eq!(index.list_ids(1, Some(&cursor)).unwrap().ids, ["b"]);
    refused(other.list_ids(1, Some(&cursor)), "invalid_argument", &["not a cursor of this index"]);
    let text = cursor.to_string();
    let bytes: Vec<u8> = (0..text.len() / 2)
        .map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&bytes), text);
    let mut tried = 0;
    let mut refuse = |text: &str| {
        tried += 1;
        match text.parse::<Cursor>() {
            Ok(cursor) => {
                refused(index.list_ids(1, Some(&cursor)), "invalid_argument", &["cursor"]);
            }
            Err(error) => assert_eq!(error.code(), "invalid_argument"),
        }
    };
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        refuse(&hex(&bad));
    }
    for length in 0..text.len() {
        refuse(&text[..length]);
    }
    refuse(&format!("{text}00"));
    refuse(&text.repeat(100));
    for garbage in ["x", "zz", "\u{e9}\u{e9}", " ", "0", &"00".repeat(64), &"\u{1f980}".repeat(8)] {
        refuse(garbage);
    }
    assert!(tried > 400);
    // Upper case is the same cursor.
    let upper: Cursor = text.to_uppercase().parse().unwrap();
    assert_eq!(index.list_ids(1, Some(&upper)).unwrap().ids, ["b"]);
}

#[test]
fn visiting_stops_when_told_to() {
    let (_db, index) = memory(EUCLIDEAN);
    let items: Vec<Item> = (0..600).map(|n| Item::new(format!("{n}"), [1.0])).collect();
    index.upsert(&items).unwrap();
    for stop in [1, 2, 256, 257, 600] {
        let mut seen = 0;
        let visit = |_: sealvec::Entry<'_>| {
            seen += 1;
            if seen == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let visited = *index.for_each(Include::NONE, visit).unwrap();
        assert_eq!((seen, visited), (stop, stop));
    }
}

#[test]
fn describe_tells_what_the_index_was_made_with() {
    let config = IndexConfig::new(Metric::InnerProduct).precision(Precision::F16).dimension(5);
    let (_db, index) = memory_with(small(), config);
    let found = index.describe().unwrap();
    assert_eq!((found.name.as_str(), found.dimension), (NAME, Some(5)));
    assert_eq!((found.metric, found.precision), (Metric::InnerProduct, Precision::F16));
    assert_eq!((found.item_count, found.total_size_bytes, found.version.sequence), (0, 0, 1));
    assert_eq!(index.name(), NAME);
    let found = index.upsert(&[Item::new("id", [1.0; 5]).contents("abc")]).unwrap();
    assert_eq!(found.total_size_bytes, 2 + 10 + 3);
    let answers = [index.count().unwrap().version, index.describe().unwrap().version];
    assert_eq!(answers, [found.version, found.version]);
}
