//! Filters where calls take them: queries, counts and deletes select what `Filter::matches` says.

use std::collections::BTreeSet;
use std::thread;

use sealvec::{
    DeleteOptions, DeleteOutcome, Filter, Include, Index, IndexConfig, Item, Metric, Order,
    Permissions, Selector, Update, WriteOptions,
};
use serde_json::{Value, json};

use crate::support::{memory, memory_with, refused, small, user, user_id, user_key};

const ITEMS: u16 = 1500;

fn metadata(n: u16) -> Option<Value> {
    match n % 4 {
        0 => None,
        1 => Some(json!({"kind": "odd", "n": n})),
        2 => Some(json!({"kind": "even", "n": n, "tags": ["a", n % 3]})),
        _ => Some(json!({"n": n, "kind": null})),
    }
}

fn vector(n: u16) -> [f32; 2] {
    [f32::from(n % 37), f32::from(n / 37)]
}

fn item(n: u16) -> Item {
    let item = Item::new(format!("{n:04}"), vector(n));
    match metadata(n) {
        Some(metadata) => item.metadata(metadata),
        None => item,
    }
}

fn filled() -> (sealvec::Database, Index<'static>) {
    // Threads, so that the scan is in shares.
    let (db, index) = memory_with(small().threads(2), IndexConfig::new(Metric::Euclidean));
    index.upsert(&(0..ITEMS).map(item).collect::<Vec<_>>()).unwrap();
    (db, index)
}

fn filters() -> Vec<Filter> {
    vec![
        Filter::eq("kind", "odd"),
        Filter::eq("kind", "even").and(Filter::lt("n", 400)),
        Filter::eq("tags", 2),
        !Filter::exists("n"),
        Filter::eq("n", 701),
        Filter::eq("n", -1),
        Filter::eq("kind", Value::Null),
        !Filter::eq("kind", "odd"),
        Filter::everything(),
    ]
}

/// What must be selected.
fn selected(filter: &Filter) -> BTreeSet<String> {
    let matching = (0..ITEMS).filter(|n| filter.matches(&metadata(*n).unwrap_or(Value::Null)));
    matching.map(|n| format!("{n:04}")).collect()
}

#[test]
fn a_query_finds_the_nearest_of_what_its_filter_selects() {
    let (_db, index) = filled();
    for filter in filters() {
        let expected = selected(&filter);
        for (query, top_k) in [([3.2, 9.9], 7), ([36.0, 0.1], 2000)] {
            let found = || index.query(&query).filter(filter.clone()).top_k(top_k);
            let about = found().include(Include::ALL).run().unwrap();
            assert_eq!(about.len(), top_k.min(expected.len()), "{filter}");
            assert!(about.iter().all(|hit| expected.contains(&hit.id)), "{filter}");
            let (hits, stats) = found().exact().include(Include::ALL).run_with_stats().unwrap();
            let distance = |id: &str| {
                let [x, y] = vector(id.parse().unwrap());
                (x - query[0]).hypot(y - query[1])
            };
            let mut nearest: Vec<&String> = expected.iter().collect();
            nearest.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.cmp(b)));
            nearest.truncate(top_k);
            assert_eq!(hits.len(), nearest.len(), "{filter}");
            if filter.is_everything() {
                continue;
            }
            assert_eq!(stats.rows, expected.len() as u64);
            for (hit, expected) in hits.iter().zip(nearest) {
                assert!((hit.distance - distance(expected)).abs() < 1e-4, "{filter}");
                assert!(filter.matches(hit.metadata.as_ref().unwrap_or(&Value::Null)));
            }
        }
    }
}

#[test]
fn a_batch_has_one_filter_for_all_and_none_leaves_them_as_they_are() {
    let (_db, index) = filled();
    let queries = [vector(5), vector(900)];
    let ask = || index.query_batch(queries.iter().map(<[f32; 2]>::as_slice)).top_k(1);
    let hits = ask().filter(Filter::gte("n", 1000)).run().unwrap();
    assert!(hits.iter().all(|hits| hits[0].id.as_str() >= "1000"));
    let hits = ask().exact().run().unwrap();
    assert_eq!([&hits[0][0].id, &hits[1][0].id], ["0005", "0900"]);
}

#[test]
fn a_count_is_of_what_the_filter_selects() {
    let (_db, index) = filled();
    for filter in filters() {
        let count = index.count_where(&filter).unwrap();
        assert_eq!(*count, selected(&filter).len() as u64, "{filter}");
        assert_eq!(count.version, index.describe().unwrap().version);
    }
}

#[test]
fn what_no_longer_matches_is_not_deleted_by_a_race() {
    let (_db, index) = filled();
    let (odd, new) = (Filter::eq("kind", "odd"), Filter::eq("kind", "new"));
    let all = *index.count_where(&odd).unwrap();
    let ids = selected(&odd);
    let (updated, deleted) = thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let change = |id: &&String| {
                let done = index.update(id, Update::new().metadata(json!({"kind": "new"})));
                if let Err(error) = &done {
                    assert_eq!(error.code(), "item_not_found");
                }
                done.is_ok()
            };
            // From the last on: deletes begin with the first.
            ids.iter().rev().filter(change).count() as u64
        });
        let deletes: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut deleted = 0;
                    loop {
                        let few = DeleteOptions::new().limit(5);
                        let report = index.delete_where(&odd, &few).unwrap();
                        deleted += report.deleted;
                        if report.deleted == 0 {
                            return deleted;
                        }
                    }
                })
            })
            .collect();
        let changed = changes.join().unwrap();
        let deleted: u64 = deletes.into_iter().map(|thread| thread.join().unwrap()).sum();
        (changed, deleted)
    });
    assert_eq!(*index.count_where(&new).unwrap(), updated, "what was changed is still there");
    assert_eq!(updated + deleted, all);
    assert!(updated > 0 && deleted > 0, "they raced: {updated} {deleted}");
    assert_eq!(*index.count_where(&odd).unwrap(), 0);
    assert_eq!(*index.count().unwrap(), u64::from(ITEMS) - deleted);
}

#[test]
fn the_limits_and_conditions_of_a_delete_hold_for_one_by_filter() {
    let config = IndexConfig::new(Metric::Euclidean).require_if_match(true);
    let (_db, index) = memory_with(small().max_delete(20), config);
    let state = || DeleteOptions::new().if_match(index.describe().unwrap().etag);
    let items: Vec<Item> = (0..100).map(item).collect();
    let options = WriteOptions::new().if_match(index.describe().unwrap().etag);
    index.upsert_with(&items, &options).unwrap();
    let odd = Filter::eq("kind", "odd");
    let refused = |options: &DeleteOptions| index.delete_where(&odd, options).unwrap_err().code();
    assert_eq!(refused(&DeleteOptions::new()), "invalid_argument", "it must say which state");
    assert_eq!(refused(&state()), "too_large");
    assert_eq!(*index.count_where(&odd).unwrap(), 25);
    // As many as one call may, and then the others.
    let report = index.delete_where(&odd, &state().limit(20)).unwrap();
    assert_eq!((report.deleted, report.remaining), (20, 5));
    assert_eq!(index.delete_where(&odd, &state()).unwrap().deleted, 5);
    assert_eq!(*index.count().unwrap(), 75);
}

#[test]
fn a_page_that_cannot_be_is_refused() {
    let (_db, index) = filled();
    let odd = Filter::eq("kind", "odd");
    let page = || index.query_metadata(&odd).limit(3);
    let first = page().order_by("n", Order::Ascending).run().unwrap();
    let cursor = first.next.clone().unwrap();
    let again = page().order_by("n", Order::Ascending).cursor(cursor.clone()).run();
    assert_eq!(again.unwrap().items.len(), 3, "the control");
    let even = Filter::eq("kind", "even");
    let deep = (0..40).fold(Filter::eq("n", 1), |inner, n| !(inner.and(Filter::eq("n", n))));
    for (what, refused) in [
        ("no items", page().limit(0).run()),
        ("too many", page().limit(10_001).run()),
        ("a path that is none", page().order_by("a..b", Order::Ascending).run()),
        ("another order", page().order_by("n", Order::Descending).cursor(cursor.clone()).run()),
        ("no order", page().cursor(cursor.clone()).run()),
        ("another filter", index.query_metadata(&even).limit(3).cursor(cursor).run()),
        ("a filter that is too deep", index.query_metadata(&deep).run()),
    ] {
        assert_eq!(refused.unwrap_err().code(), "invalid_argument", "{what}");
    }
}

#[test]
fn a_delete_removes_what_the_filter_selects_and_nothing_else() {
    for filter in filters().into_iter().filter(|filter| !filter.is_everything()) {
        let (_db, index) = filled();
        let gone = selected(&filter);
        let options = DeleteOptions::new();
        let dry = index.delete_where(&filter, &options.dry_run(true)).unwrap();
        assert_eq!(*index.count().unwrap(), u64::from(ITEMS));
        let report = index.delete_where(&filter, &options).unwrap();
        assert_eq!((report.deleted, report.remaining), (gone.len() as u64, 0), "{filter}");
        assert_eq!((dry.deleted, &dry.outcomes), (report.deleted, &report.outcomes));
        assert!(report.outcomes.iter().all(|(_, outcome)| *outcome == DeleteOutcome::Deleted));
        assert!(report.outcomes.iter().map(|(id, _)| id).eq(&gone));
        assert_eq!(*index.count_where(&filter).unwrap(), 0);
        assert_eq!(report.item_count, u64::from(ITEMS) - gone.len() as u64);
        index.verify_tree().unwrap();
    }
}

#[test]
fn a_delete_goes_by_what_is_stored_now_and_by_its_limit() {
    let (_db, index) = memory(IndexConfig::new(Metric::Euclidean));
    let tagged = |id: &str, kind: &str| Item::new(id, [0.0, 1.0]).metadata(json!({"kind": kind}));
    index.upsert(&[tagged("1", "a"), tagged("2", "a"), tagged("3", "a")]).unwrap();
    index.upsert(&[tagged("2", "b")]).unwrap();
    let (a, options) = (Filter::eq("kind", "a"), DeleteOptions::new());
    let first = index.delete_where(&a, &options.limit(1)).unwrap();
    assert_eq!((first.deleted, first.remaining), (1, 1));
    assert_eq!(first.outcomes, [("1".to_owned(), DeleteOutcome::Deleted)]);
    // Another that was overwritten meanwhile is not selected any more.
    index.upsert(&[tagged("3", "b")]).unwrap();
    assert_eq!(index.delete_where(&a, &options).unwrap().deleted, 0);
    let before = index.describe().unwrap().etag;
    index.upsert(&[tagged("4", "a")]).unwrap();
    let stale = index.delete_where(&a, &options.if_match(before));
    refused(stale, "precondition_failed", &["changed"]);
    assert_eq!(*index.count_where(&a).unwrap(), 1);
}

#[test]
fn what_is_no_filter_or_selects_everything_deletes_nothing() {
    let (_db, index) = memory(IndexConfig::new(Metric::Euclidean));
    index.upsert(&[Item::new("a", [1.0, 0.0])]).unwrap();
    let broken = Filter::eq("a..b", 1);
    let options = DeleteOptions::new();
    refused(index.delete_where(&broken, &options), "invalid_argument", &[]);
    refused(index.count_where(&broken), "invalid_argument", &[]);
    refused(index.query(&[1.0, 0.0]).filter(broken).run(), "invalid_argument", &[]);
    let all = Filter::everything();
    refused(index.delete_where(&all, &options), "invalid_argument", &["everything"]);
    assert_eq!(*index.count().unwrap(), 1);
    assert_eq!(index.delete_with(Selector::all(), &options).unwrap().deleted, 1);
}

#[test]
fn a_filter_takes_the_read_right_and_a_delete_by_it_both() {
    let (_db, index) = filled();
    let (few, options) = (Filter::eq("n", 701), DeleteOptions::new());
    for (n, rights) in
        [(1, Permissions::READ), (2, Permissions::WRITE), (3, Permissions::READ_WRITE)]
    {
        index.grant(user_id(n), &user_key(n), rights).unwrap();
        let caller = user(n, n);
        let index = index.with_key(&caller);
        if rights.read() {
            assert_eq!(*index.count_where(&few).unwrap(), 1);
        } else {
            refused(index.count_where(&few), "permission_denied", &["read"]);
            let query = index.query(&[0.0, 0.0]).filter(few.clone());
            refused(query.run(), "permission_denied", &["read"]);
        }
        let deleted = index.delete_where(&few, &options);
        if rights == Permissions::READ_WRITE {
            assert_eq!(deleted.unwrap().deleted, 1);
        } else {
            refused(deleted, "permission_denied", &[]);
        }
    }
}
