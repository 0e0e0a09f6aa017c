//! Pages against a sorted list: each order, with and without the attribute index, and with writes
//! between the pages.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};

/// The values of the field, in groups of equals, least first.
fn ladder() -> Vec<Vec<Value>> {
    let long = "x".repeat(600);
    vec![
        vec![Value::Null, json!([null]), json!([null, {"a": 1}])],
        vec![json!(-1e300), json!([7, -1e300])],
        vec![json!(-1), json!(-1.0)],
        vec![json!(0), json!(-0.0), json!([0, true, "z"])],
        vec![json!(0.1), json!([0.1])],
        vec![json!(7), json!([7]), json!([[8], 7])],
        vec![json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_992.0)],
        vec![json!(9_007_199_254_740_993_i64)],
        vec![json!(u64::MAX)],
        vec![json!("")],
        vec![json!("a\u{0}\"")],
        // These differ behind the first 512 bytes only.
        vec![json!(long), json!(format!("{long}b")), json!(format!("{long}a"))],
        vec![json!("\u{e9}")],
        vec![json!(false)],
        vec![json!(true)],
    ]
}

/// The place in the ladder: of an array that of its least element, or its greatest.
fn at(value: &Value, descending: bool) -> Option<usize> {
    let ladder = ladder();
    let place = |value: &Value| ladder.iter().position(|group| group.contains(value));
    match value {
        Value::Array(items) => {
            // What is inside an inner array is not asked.
            let places = items.iter().filter(|item| !item.is_array()).filter_map(place);
            if descending { places.max() } else { places.min() }
        }
        Value::Object(_) => None,
        scalar => place(scalar),
    }
}

fn values() -> impl Strategy<Value = Option<Value>> {
    let all: Vec<Value> = ladder().into_iter().flatten().collect();
    let others = vec![json!({"deep": 1}), json!([]), json!([[7]])];
    let all: Vec<Value> = all.into_iter().chain(others).collect();
    prop_oneof![1 => Just(None), 6 => prop::sample::select(all).prop_map(Some)]
}

type Model = BTreeMap<String, (u8, Option<Value>)>;

fn metadata(kind: u8, field: Option<&Value>) -> Value {
    let mut metadata = json!({"kind": kind});
    if let Some(field) = field {
        metadata["field"] = field.clone();
    }
    metadata
}

fn item(id: &str, kind: u8, field: Option<&Value>) -> Item {
    Item::new(id, [1.0, f32::from(kind)]).metadata(metadata(kind, field))
}

/// The ids in order, with their places.
fn sorted(model: &Model, kind: u8, order: Option<Order>) -> Vec<(String, Option<usize>)> {
    let descending = order == Some(Order::Descending);
    let place = |value: &Option<Value>| at(value.as_ref()?, descending).filter(|_| order.is_some());
    let some = model.iter().filter(|(_, (of, _))| *of == kind);
    let mut all: Vec<_> = some.map(|(id, (_, field))| (id.clone(), place(field))).collect();
    all.sort_by(|(a, x), (b, y)| {
        let by_place = match (x, y) {
            (Some(x), Some(y)) if descending => y.cmp(x),
            (Some(x), Some(y)) => x.cmp(y),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_place.then_with(|| a.cmp(b))
    });
    all
}

fn filled(model: &Model, indexed: bool) -> (Database, Index<'static>) {
    let (db, key) = (Database::in_memory().unwrap(), IndexKey::from_bytes(&[7; 32]).unwrap());
    let config = IndexConfig::new(Metric::Cosine);
    let config = if indexed { config } else { config.declared_attributes_only() };
    db.create_index("notes", &key, config).unwrap();
    let index = db.load_index("notes", KeyContext::root(key)).unwrap();
    let items: Vec<Item> =
        model.iter().map(|(id, (kind, field))| item(id, *kind, field.as_ref())).collect();
    index.upsert(&items).unwrap();
    (db, index)
}

/// The items of kind 1, after a cursor.
fn page(
    index: &Index<'_>,
    order: Option<Order>,
    limit: usize,
    after: Option<Cursor>,
) -> MetadataPage {
    let filter = Filter::eq("kind", 1);
    let mut query = index.query_metadata(&filter).limit(limit);
    if let Some(order) = order {
        query = query.order_by("field", order);
    }
    if let Some(cursor) = after {
        query = query.cursor(cursor);
    }
    query.run().unwrap().value
}

#[test]
fn the_ladder_has_each_value_once() {
    let all: Vec<Value> = ladder().into_iter().flatten().collect();
    for (n, value) in all.iter().enumerate() {
        assert!(!all[..n].contains(value), "{value}");
        assert!(at(value, false).is_some(), "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_are_the_sorted_list(
        model in prop::collection::btree_map("[a-d]{1,3}", (0u8..2, values()), 0..60),
        order in prop::sample::select(vec![None, Some(Order::Ascending), Some(Order::Descending)]),
        limit in 1usize..12,
        indexed: bool,
    ) {
        let (_db, index) = filled(&model, indexed);
        let expected = sorted(&model, 1, order);
        let (mut got, mut cursor) = (Vec::new(), None);
        loop {
            let page = page(&index, order, limit, cursor.take());
            prop_assert!(page.items.len() == limit || page.next.is_none());
            for found in &page.items {
                let (kind, field) = &model[&found.id];
                prop_assert_eq!(found.metadata.as_ref(), Some(&metadata(*kind, field.as_ref())));
            }
            got.extend(page.items.into_iter().map(|found| found.id));
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let expected: Vec<String> = expected.into_iter().map(|(id, _)| id).collect();
        prop_assert_eq!(got, expected);
    }

    /// Between any two pages items go, come, and move to other places.
    #[test]
    fn items_that_stay_as_they_are_are_on_one_page(
        model in prop::collection::btree_map("[a-d]{1,3}", (0u8..2, values()), 20..60),
        order in prop::sample::select(vec![None, Some(Order::Ascending), Some(Order::Descending)]),
        limit in 1usize..8,
        changes in prop::collection::vec(("[a-d]{1,3}", 0u8..2, values(), any::<bool>()), 1..20),
    ) {
        let (_db, index) = filled(&model, true);
        let mut changes = changes.into_iter();
        let (mut touched, mut got, mut cursor) = (BTreeSet::new(), Vec::new(), None);
        loop {
            let page = page(&index, order, limit, cursor.take());
            got.extend(page.items.into_iter().map(|found| found.id));
            let Some(next) = page.next else { break };
            cursor = Some(next);
            if let Some((id, kind, field, gone)) = changes.next() {
                if gone {
                    index.delete(&[&id]).unwrap();
                } else {
                    index.upsert(&[item(&id, kind, field.as_ref())]).unwrap();
                }
                touched.insert(id);
            }
        }
        got.retain(|id| !touched.contains(id));
        let mut expected: Vec<String> = sorted(&model, 1, order).into_iter().map(|(id, _)| id).collect();
        expected.retain(|id| !touched.contains(id));
        prop_assert_eq!(got, expected);
    }
}
