//! The attribute index through the public API: with and without it, answers are the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::attributes::block::POSTING;
use crate::config::{Attribute, IndexConfig, Options};
use crate::crypto::{IndexKey, KeyContext};
use crate::database::Database;
use crate::delete::{DeleteOptions, Selector};
use crate::error::{Error, Fault};
use crate::filter::Filter;
use crate::index::{Include, Index, Item, Update};
use crate::query::Strategy as Way;
use crate::store::Family;
use crate::store::key::{self, Kind};
use crate::store::tampering::{Pairs, Tampering};
use crate::vector::Metric;

fn context() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(&[7; 32]).unwrap())
}

fn make(db: &Database, name: &str, config: IndexConfig) -> Index<'static> {
    db.create_index(name, &IndexKey::from_bytes(&[7; 32]).unwrap(), config).unwrap();
    db.load_index(name, context()).unwrap()
}

/// Every field, no field, and some of each.
fn configs() -> [IndexConfig; 3] {
    let plain = || IndexConfig::new(Metric::Euclidean).dimension(2);
    [
        plain(),
        plain().declared_attributes_only(),
        plain()
            .attribute("a", Attribute::Range)
            .attribute("b.c", Attribute::Range)
            .attribute("c", Attribute::Off),
    ]
}

fn item(id: &str, n: usize, metadata: Option<&Value>) -> Item {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let item = Item::new(id, [(n % 13) as f32, (n / 13) as f32]);
    match metadata {
        Some(metadata) => item.metadata(metadata.clone()),
        None => item,
    }
}

/// Ids that an exact query with the filter finds, the number that `count_where` gives, and what a
/// dry run of a delete would remove.
fn ask(index: &Index<'_>, filter: &Filter, most: usize) -> (BTreeSet<String>, u64, u64) {
    let query = index.query(&[3.0, 4.0]).filter(filter.clone()).top_k(most.max(1)).run().unwrap();
    let count = *index.count_where(filter).unwrap();
    let doomed = if filter.is_everything() {
        count
    } else {
        let dry = DeleteOptions::new().dry_run(true);
        index.delete_with(Selector::filter(filter), &dry).unwrap().deleted
    };
    (query.value.into_iter().map(|hit| hit.id).collect(), count, doomed)
}

#[test]
fn the_corpus_has_the_same_answers_with_and_without() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/filters.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.next();
    let mut documents: Vec<Value> = Vec::new();
    let mut filters = Vec::new();
    for line in lines {
        if let Some(block) = line["documents"].as_array() {
            documents.extend(block.iter().cloned());
        } else if let Ok(filter) = Filter::from_json(&line["filter"]) {
            filters.push(filter);
        }
    }
    documents.truncate(600);
    let db = Database::in_memory().unwrap();
    let items: Vec<Item> =
        (0..).zip(&documents).map(|(n, value)| item(&format!("{n:04}"), n, Some(value))).collect();
    let indexes = configs().map(|config| {
        let name = format!("{:?}", config.attributes).len().to_string();
        let index = make(&db, &name, config);
        index.upsert(&items).unwrap();
        index
    });
    let (mut pairs, mut narrowed) = (0, 0);
    for filter in filters.iter().step_by(7) {
        let matching = documents.iter().filter(|document| filter.matches(document)).count() as u64;
        for index in &indexes {
            assert_eq!(*index.count_where(filter).unwrap(), matching, "{filter}");
            pairs += 1;
        }
        let few = indexes[0].query(&[0.0, 0.0]).filter(filter.clone()).top_k(1);
        let (_, stats) = few.run_with_stats().unwrap();
        narrowed += usize::from(stats.selected.is_some_and(|left| left < documents.len() as u64));
    }
    println!("{pairs} filters asked of indexes, {narrowed} narrowed down");
    assert!(pairs > 900 && narrowed > 100, "{pairs} {narrowed}");
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Option<Value>),
    Replace(u8, Option<Value>),
    Delete(Vec<u8>),
    DeleteWhere(Filter),
    Batch(u8, Value, u8),
}

fn small_document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        (0..4i64).prop_map(Value::from),
        prop_oneof![Just(0.5), Just(2.5), Just(-1.0)].prop_map(Value::from),
        "[xy]".prop_map(Value::from),
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        Just(json!(9_007_199_254_740_993_i64)),
    ];
    let value = prop_oneof![
        4 => scalar.clone(),
        1 => prop::collection::vec(scalar.clone(), 0..3).prop_map(Value::from),
        1 => scalar.prop_map(|value| json!({"c": value})),
    ];
    prop::collection::btree_map("[abc]", value, 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn small_filter() -> impl Strategy<Value = Filter> {
    let path = prop_oneof![Just("a"), Just("b"), Just("c"), Just("b.c"), Just("a.c")];
    let value = prop_oneof![(0..4i64).prop_map(Value::from), "[xy]".prop_map(Value::from)];
    let leaf = (path, value, 0..9).prop_map(|(path, value, kind)| match kind {
        0 | 1 => Filter::eq(path, value),
        2 => Filter::ne(path, value),
        3 => Filter::gt(path, value),
        4 => Filter::lte(path, value),
        5 => Filter::is_in(path, [value, json!(1), json!("x")]),
        6 => Filter::not_in(path, [value, json!(null)]),
        7 => Filter::exists(path),
        _ => Filter::eq(path, Value::Null),
    });
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::all_of),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::any_of),
            inner.prop_map(|filter| !filter),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    let metadata = || proptest::option::weighted(0.9, small_document());
    prop_oneof![
        4 => (0..24u8, metadata()).prop_map(|(id, metadata)| Step::Put(id, metadata)),
        2 => (0..24u8, metadata()).prop_map(|(id, metadata)| Step::Replace(id, metadata)),
        2 => prop::collection::vec(0..24u8, 1..4).prop_map(Step::Delete),
        1 => small_filter().prop_map(Step::DeleteWhere),
        1 => (0..24u8, small_document(), 0..24u8).prop_map(|(a, m, b)| Step::Batch(a, m, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random writes, then filters: every index agrees with the model and with itself.
    #[test]
    fn any_history_leaves_the_answers_of_the_metadata(
        steps in prop::collection::vec(step(), 1..40),
        filters in prop::collection::vec(small_filter(), 8),
    ) {
        let engine = Tampering::new();
        let db = engine.open_with_small_nodes();
        for (number, config) in configs().into_iter().enumerate() {
            make(&db, &number.to_string(), config);
        }
        let mut model: BTreeMap<u8, Option<Value>> = BTreeMap::new();
        let id = |n: u8| format!("{n:02}");
        for step in &steps {
            let mut after = model.clone();
            for number in 0..3 {
                let index = db.load_index(&number.to_string(), context()).unwrap();
                after.clone_from(&model);
                match step {
                    Step::Put(n, metadata) => {
                        let n = *n;
                        index.upsert(&[item(&id(n), n.into(), metadata.as_ref())]).unwrap();
                        after.insert(n, metadata.clone());
                    }
                    Step::Replace(n, metadata) => {
                        let update = match metadata {
                            Some(metadata) => Update::new().metadata(metadata.clone()),
                            None => Update::new().remove_metadata(),
                        };
                        let known = after.contains_key(n);
                        assert_eq!(index.update(&id(*n), update).is_ok(), known);
                        if known {
                            after.insert(*n, metadata.clone());
                        }
                    }
                    Step::Delete(which) => {
                        let ids: Vec<String> = which.iter().map(|n| id(*n)).collect();
                        index.delete(&ids).unwrap();
                        for n in which {
                            after.remove(n);
                        }
                    }
                    Step::DeleteWhere(filter) => {
                        index.delete_where(filter, &DeleteOptions::new()).unwrap();
                        after.retain(|_, value| {
                            !filter.matches(value.as_ref().unwrap_or(&Value::Null))
                        });
                    }
                    Step::Batch(put, metadata, deleted) => {
                        let puts = [item(&id(*put), (*put).into(), Some(metadata))];
                        let options = crate::condition::WriteOptions::new();
                        let done = index.write_batch(&puts, &[id(*deleted)], &options);
                        assert_eq!(done.is_ok(), put != deleted);
                        if put != deleted {
                            after.remove(deleted);
                            after.insert(*put, Some(metadata.clone()));
                        }
                    }
                }
            }
            model = after;
        }
        // Whoever opens it anew sees the same.
        let db = engine.open_with_small_nodes();
        for number in 0..3 {
            let index = db.load_index(&number.to_string(), context()).unwrap();
            index.verify_tree().unwrap();
            for filter in &filters {
                let matching = model.iter().filter(|(_, value)| {
                    filter.matches(value.as_ref().unwrap_or(&Value::Null))
                });
                let expected: BTreeSet<String> = matching.map(|(n, _)| id(*n)).collect();
                let count = expected.len() as u64;
                prop_assert_eq!(ask(&index, filter, 100), (expected, count, count), "{}", filter);
            }
        }
    }
}

/// An index of 300 items, in three languages, with numbers.
fn filled(engine: &Tampering) -> Index<'static> {
    let db = engine.open();
    let config = IndexConfig::new(Metric::Euclidean).attribute("n", Attribute::Range);
    let index = make(&db, "notes", config);
    let items: Vec<Item> = (0..300)
        .map(|n| {
            let lang = ["en", "de", "fr"][n % 3];
            let metadata = json!({"lang": lang, "n": n, "odd": n % 2 == 1});
            item(&format!("{n:03}"), n, Some(&metadata))
        })
        .collect();
    index.upsert(&items).unwrap();
    index
}

#[test]
fn what_was_overwritten_is_not_found_by_its_old_value() {
    let index = filled(&Tampering::new());
    let (german, greek) = (Filter::eq("lang", "de"), Filter::eq("lang", "el"));
    assert_eq!(ask(&index, &german, 300).1, 100);
    index.upsert(&[item("001", 1, Some(&json!({"lang": "el", "n": 1})))]).unwrap();
    index.update("004", Update::new().metadata(json!({"lang": "el", "n": 4}))).unwrap();
    let found = ask(&index, &german, 300);
    assert_eq!((found.1, found.0.contains("001"), found.0.contains("004")), (98, false, false));
    assert_eq!(ask(&index, &greek, 300).0, BTreeSet::from(["001".to_owned(), "004".to_owned()]));
    assert_eq!(index.delete(&["001", "004"]).unwrap().deleted, 2);
    assert_eq!(ask(&index, &greek, 300), (BTreeSet::new(), 0, 0));
    index.verify_tree().unwrap();
}

#[test]
fn fields_that_are_off_leave_no_block() {
    let plain = || IndexConfig::new(Metric::Euclidean);
    let metadata = json!({"name": "x", "note": {"of": 2}, "n": 5});
    // The control: every field and the one below `note` have a block, and `n` a column.
    for (config, postings, columns) in [
        (plain().attribute("n", Attribute::Range), 3, 1),
        (plain().attribute("n", Attribute::Range).attribute("name", Attribute::Off), 2, 1),
        (plain().attribute("n", Attribute::Range).attribute("note", Attribute::Off), 2, 1),
        (plain().declared_attributes_only().attribute("name", Attribute::Equality), 1, 0),
        (plain().declared_attributes_only(), 0, 0),
    ] {
        let engine = Tampering::new();
        let index = make(&engine.open(), "notes", config.clone());
        index.upsert(&[item("a", 1, Some(&metadata))]).unwrap();
        let found = [Kind::Posting, Kind::Column].map(|kind| blocks(&engine, kind).len());
        assert_eq!(found, [postings, columns], "{config:?}");
        index.upsert(&[item("a", 1, Some(&json!({"name": "y", "n": 6})))]).unwrap();
        assert_eq!(*index.count_where(&Filter::eq("name", "y")).unwrap(), 1);
    }
}

#[test]
fn what_an_old_block_selects_is_not_deleted() {
    let engine = Tampering::new();
    let index = filled(&engine);
    let old = blocks(&engine, Kind::Posting);
    let german = Filter::eq("lang", "de");
    let dry = || index.delete_where(&german, &DeleteOptions::new().dry_run(true));
    index.update("001", Update::new().metadata(json!({"lang": "el", "n": 1}))).unwrap();
    assert_eq!(dry().unwrap().deleted, 99);
    for (place, block) in &old {
        engine.put(Family::Attributes, place, block);
    }
    assert_eq!(*index.count_where(&german).unwrap(), 100, "the old blocks are believed");
    let report = dry().unwrap();
    assert!(report.deleted == 99 && report.outcomes.iter().all(|(id, _)| id != "001"));
}

#[test]
fn a_query_says_how_it_went() {
    let index = filled(&Tampering::new());
    let strategy = |filter: Filter, top_k: usize| {
        let query = index.query(&[1.0, 1.0]).filter(filter).top_k(top_k);
        let (hits, stats) = query.run_with_stats().unwrap();
        (hits.len(), stats.strategy, stats.selected)
    };
    // What a walk would read anyway decides, which is more for more hits.
    assert_eq!(strategy(Filter::eq("lang", "de"), 2), (2, Way::FilteredTree, Some(100)));
    assert_eq!(strategy(Filter::eq("lang", "de"), 50), (50, Way::Matches, Some(100)));
    assert_eq!(strategy(Filter::lt("n", 7), 50), (7, Way::Matches, Some(7)));
    assert_eq!(strategy(!Filter::eq("lang", "de"), 5), (5, Way::FilteredTree, Some(200)));
    // The index has nothing on it.
    assert_eq!(strategy(Filter::exists("n"), 5), (5, Way::Matches, Some(300)));
    assert_eq!(strategy(Filter::everything(), 5), (5, Way::Tree, None));
    let (_, stats) = index.query(&[1.0, 1.0]).exact().run_with_stats().unwrap();
    assert_eq!((stats.strategy, stats.rows), (Way::Everything, 300));
}

/// The stored blocks of a kind.
fn blocks(engine: &Tampering, kind: Kind) -> Pairs {
    let all = engine.under(Family::Attributes, &[]);
    all.into_iter()
        .filter(|(key, _)| key::attribute_of(key).is_some_and(|(of, ..)| of == kind))
        .collect()
}

#[test]
fn sizes_say_no_more_than_a_class() {
    let engine = Tampering::new();
    let index = filled(&engine);
    index.delete(&["000", "001", "002", "003"]).unwrap();
    for (kind, sizes) in [
        (Kind::Posting, &[71, 95, 191, 575][..]),
        (Kind::Directory, &[1085]),
        (Kind::Column, &[207, 1215, 4671, 4681, 6729, 8777, 12873, 16969, 33353, 66121]),
    ] {
        let stored: BTreeSet<usize> =
            blocks(&engine, kind).iter().map(|(_, value)| value.len()).collect();
        assert!(!stored.is_empty());
        assert!(stored.iter().all(|size| sizes.contains(size)), "{kind:?} {stored:?}");
    }
}

#[test]
fn a_block_that_is_changed_moved_old_or_missing_is_noticed() {
    let damaged = Error::Integrity(Fault::Attribute);
    let filters = [
        Filter::eq("lang", "de"),
        Filter::eq("lang", "en"),
        !Filter::eq("lang", "fr"),
        Filter::lt("n", 200),
        Filter::eq("odd", true),
    ];
    let touch = |index: &Index<'_>| -> Vec<Error> {
        let mut errors = Vec::new();
        for filter in &filters {
            errors.extend(index.count_where(filter).err());
            errors.extend(index.query(&[0.0, 0.0]).filter(filter.clone()).top_k(300).run().err());
        }
        errors
    };
    let mut cases = 0;
    for kind in [Kind::Posting, Kind::Directory, Kind::Column] {
        let engine = Tampering::new();
        let index = filled(&engine);
        let old = blocks(&engine, kind);
        index
            .upsert(&[item("000", 0, Some(&json!({"lang": "de", "n": 70, "odd": true})))])
            .unwrap();
        index.delete(&["100"]).unwrap();
        index
            .upsert(&[item("new", 3, Some(&json!({"lang": "en", "n": 0, "odd": false})))])
            .unwrap();
        assert_eq!(touch(&index), [], "nothing is wrong before");
        index.verify_tree().unwrap();
        let now = blocks(&engine, kind);
        for (place, value) in now.iter().step_by(now.len().div_ceil(12)) {
            let other = now.iter().find(|(other, _)| other != place);
            let before = old.iter().find(|(at, earlier)| at == place && earlier != value);
            let mut flipped = value.clone();
            flipped[value.len() / 2] ^= 4;
            let changes = [
                Some(flipped),
                other.map(|(_, value)| value.clone()),
                before.map(|(_, value)| value.clone()),
                Some(Vec::new()),
                None,
            ];
            for (which, change) in changes.into_iter().enumerate() {
                match (&change, which) {
                    (Some(bytes), _) => engine.put(Family::Attributes, place, bytes),
                    (None, 4) => engine.delete(Family::Attributes, place),
                    (None, _) => continue,
                }
                cases += 1;
                assert_eq!(index.verify_tree().err(), Some(damaged.clone()), "{kind:?} {which}");
                let errors = touch(&index);
                assert!(errors.iter().all(|error| *error == damaged), "{errors:?}");
                engine.put(Family::Attributes, place, value);
                index.verify_tree().unwrap();
            }
        }
        // A record of nothing.
        let extra = key::attribute(index.id(), kind, &[9; 16], 999);
        engine.put(Family::Attributes, &extra, &now[0].1);
        assert_eq!(index.verify_tree().err(), Some(damaged.clone()));
    }
    println!("cases: {cases}");
    assert!(cases > 70, "{cases}");
}

#[test]
fn a_block_that_a_query_reads_is_refused_at_once() {
    let engine = Tampering::new();
    let index = filled(&engine);
    let filter = Filter::eq("lang", "de");
    let narrow = || index.query(&[0.0, 0.0]).top_k(50).filter(filter.clone()).run();
    narrow().unwrap();
    for kind in [Kind::Posting, Kind::Directory] {
        let all = blocks(&engine, kind);
        for (place, value) in &all {
            let mut bad = value.clone();
            *bad.last_mut().unwrap() ^= 1;
            engine.put(Family::Attributes, place, &bad);
        }
        assert_eq!(narrow().err(), Some(Error::Integrity(Fault::Attribute)), "{kind:?}");
        for (place, value) in &all {
            engine.put(Family::Attributes, place, value);
        }
    }
    narrow().unwrap();
}

#[test]
fn items_with_more_than_the_index_holds_are_found_by_their_metadata() {
    let db = Database::in_memory().unwrap();
    let index =
        make(&db, "notes", IndexConfig::new(Metric::Euclidean).attribute("n", Attribute::Range));
    let many: Vec<u32> = (0..400).collect();
    let mut items: Vec<Item> =
        (0..50).map(|n| item(&n.to_string(), n, Some(&json!({"tag": n % 5, "n": n})))).collect();
    items.push(item("many", 1, Some(&json!({"tag": 3, "n": 2, "list": many}))));
    items.push(item("odd", 1, Some(&json!({"tag": 4, "n": 9_007_199_254_740_993_i64}))));
    index.upsert(&items).unwrap();
    index.verify_tree().unwrap();
    for (filter, count) in [
        (Filter::eq("tag", 3), 11),
        (Filter::eq("list", 399), 1),
        (Filter::gt("n", 9_007_199_254_740_992_i64), 1),
        (!Filter::eq("tag", 3), 41),
        (Filter::lt("n", 10), 11),
    ] {
        let (found, counted, doomed) = ask(&index, &filter, 100);
        assert_eq!((found.len() as u64, counted, doomed), (count, count, count), "{filter}");
    }
    assert_eq!(index.delete(&["many", "odd"]).unwrap().deleted, 2);
    index.verify_tree().unwrap();
}

#[test]
fn numbers_go_on_over_many_blocks() {
    let db = Database::in_memory_with(Options::new().threads(2)).unwrap();
    let index = make(&db, "notes", IndexConfig::new(Metric::Euclidean));
    let count = usize::try_from(POSTING).unwrap() * 2 + 700;
    let items = (0..count).map(|n| {
        item(&format!("{n:05}"), n, Some(&json!({"half": n % 2, "tenth": n % 10, "own": n})))
    });
    index.bulk_upsert(items, |_| std::ops::ControlFlow::Continue(())).unwrap();
    let all = count as u64;
    assert_eq!(*index.count_where(&Filter::eq("half", 1)).unwrap(), all / 2);
    assert_eq!(*index.count_where(&!Filter::eq("half", 1)).unwrap(), all - all / 2);
    assert_eq!(
        *index.count_where(&Filter::eq("tenth", 3).and(Filter::eq("half", 1))).unwrap(),
        889
    );
    assert_eq!(*index.count_where(&Filter::eq("tenth", 3).and(Filter::eq("half", 0))).unwrap(), 0);
    let own = index.query(&[0.0, 0.0]).filter(Filter::eq("own", 8500)).include(Include::ALL);
    assert_eq!(own.run().unwrap()[0].id, "08500");
    index.verify_tree().unwrap();
}
