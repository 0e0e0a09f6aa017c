//! What must hold for every filter, document and argument.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::survives;
use crate::filter::Filter;

pub(in crate::filter) fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3..4i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(0.5), Just(1.0), Just(-0.0), Just(2.0)].prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[abc]", 1 => "[0-2]", 1 => "[^.$\u{0}]{1,3}"]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

pub(in crate::filter) fn document() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(name(), value(), 0..5)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join("."))
}

/// Tests of one path each; those of elements have the empty one.
fn test(path: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Filter> {
    let bound = prop_oneof![
        (-3..4i64).prop_map(Value::from),
        any::<f64>().prop_map(|float| Value::from(if float.is_finite() { float } else { 0.0 })),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    let values = prop::collection::vec(value(), 0..4);
    let regex = prop_oneof![Just("^a"), Just("b$"), Just("(?i)A|\\d"), Just("")];
    (path, value(), bound, values, regex, 0..14).prop_map(
        |(path, value, bound, values, regex, kind)| match kind {
            0 => Filter::eq(&path, value),
            1 => Filter::ne(&path, value),
            2 => Filter::gt(&path, bound),
            3 => Filter::gte(&path, bound),
            4 => Filter::lt(&path, bound),
            5 => Filter::lte(&path, bound),
            6 => Filter::is_in(&path, values),
            7 => Filter::not_in(&path, values),
            8 => Filter::exists(&path),
            9 => Filter::contains(&path, bound.as_str().unwrap_or("b")),
            10 => Filter::regex(&path, regex),
            11 => Filter::size(&path, values.len() as u64),
            12 if !values.is_empty() => Filter::all(&path, values),
            _ => Filter::eq(&path, bound),
        },
    )
}

fn joined(leaf: impl Strategy<Value = Filter> + 'static) -> impl Strategy<Value = Filter> {
    leaf.prop_recursive(4, 16, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            some.clone().prop_map(Filter::all_of),
            some.clone().prop_map(Filter::any_of),
            some.prop_map(Filter::none_of),
            inner.prop_map(Filter::not),
        ]
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let of_elements = joined(test(Just(String::new())));
    let of_fields = joined(test(path()));
    let leaf = prop_oneof![
        4 => test(path()),
        1 => (path(), of_elements).prop_map(|(path, inner)| Filter::elem_match(&path, inner)),
        1 => (path(), of_fields).prop_map(|(path, inner)| Filter::elem_match(&path, inner)),
    ];
    joined(leaf)
}

/// JSON that is nearly a filter.
fn almost() -> impl Strategy<Value = Value> {
    let operator = prop::sample::select(vec![
        "$eq",
        "$ne",
        "$gt",
        "$gte",
        "$lt",
        "$lte",
        "$in",
        "$nin",
        "$exists",
        "$size",
        "$contains",
        "$regex",
        "$all",
        "$elemMatch",
        "$and",
        "$or",
        "$nor",
        "$not",
        "$options",
        "$bogus",
        "$",
    ]);
    let key = prop_oneof![3 => operator.prop_map(str::to_owned), 2 => path(), 1 => any::<String>()];
    scalar().prop_recursive(6, 48, 3, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => prop::collection::btree_map(key.clone(), inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_printed_parses_to_the_same(filter in filter(), item in document()) {
        filter.check().unwrap();
        let again: Filter = filter.to_string().parse().unwrap();
        prop_assert_eq!(&again, &filter);
        prop_assert_eq!(again.to_string(), filter.to_string());
        prop_assert_eq!(Filter::from_json(&filter.to_json().unwrap()).unwrap(), filter.clone());
        prop_assert_eq!(again.matches(&item), filter.matches(&item));
    }

    #[test]
    fn logic_is_logic(a in filter(), b in filter(), item in document()) {
        let (in_a, in_b) = (a.matches(&item), b.matches(&item));
        prop_assert_eq!((!a.clone()).matches(&item), !in_a);
        prop_assert_eq!(a.clone().and(b.clone()).matches(&item), in_a && in_b);
        prop_assert_eq!(a.clone().or(b.clone()).matches(&item), in_a || in_b);
        let neither = Filter::none_of([a.clone(), b.clone()]);
        prop_assert_eq!(neither.matches(&item), !in_a && !in_b);
        // De Morgan.
        let not_both = a.clone().and(b.clone()).not();
        prop_assert_eq!(not_both.matches(&item), a.clone().not().or(b.clone().not()).matches(&item));
        prop_assert_eq!(!!a.clone(), a);
    }

    #[test]
    fn shorthand_is_what_it_stands_for(
        path in path(), value in value(), other in value(), item in document(),
    ) {
        let on = |filter: Filter| filter.matches(&item);
        let eq = on(Filter::eq(&path, value.clone()));
        prop_assert_eq!(on(Filter::ne(&path, value.clone())), !eq);
        prop_assert_eq!(on(Filter::is_in(&path, [value.clone()])), eq);
        prop_assert_eq!(on(Filter::all(&path, [value.clone()])), eq);
        let both = [value, other];
        let any = Filter::any_of(both.clone().map(|value| Filter::eq(&path, value)));
        let all = Filter::all_of(both.clone().map(|value| Filter::eq(&path, value)));
        prop_assert_eq!(on(Filter::is_in(&path, both.clone())), on(any.clone()));
        prop_assert_eq!(on(Filter::not_in(&path, both.clone())), !on(any));
        prop_assert_eq!(on(Filter::all(&path, both)), on(all));
    }

    #[test]
    fn a_value_of_the_item_is_found(item in document()) {
        for (name, value) in item.as_object().unwrap() {
            if let Ok(filter) = Filter::from_json(&json!({name: {"$eq": value}})) {
                prop_assert!(filter.matches(&item), "{} on {}", filter, item);
            }
        }
    }

    #[test]
    fn any_json_is_parsed_or_refused(json in almost()) {
        match Filter::from_json(&json) {
            Ok(_) => survives(&json.to_string()),
            Err(error) => {
                prop_assert_eq!(error.code(), "invalid_argument");
                let message = error.to_string();
                prop_assert!(!json.is_object() || message.contains("at `"), "{}", message);
            }
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        survives(&text);
    }
}

#[test]
fn deep_and_large_documents_are_searched_once() {
    // Deeper than any stack: built, asked about, and taken apart by hand.
    let mut deep = json!({"a": 1});
    for _ in 0..200_000 {
        deep = Value::Object([("a".to_owned(), Value::Array(vec![deep]))].into_iter().collect());
    }
    let path = vec!["a"; 64].join(".");
    let literal = (0..30).fold(json!(1), |inner, _| json!({"a": [inner]}));
    let filters = [
        Filter::eq(&path, 1),
        Filter::exists(&path),
        Filter::eq("a", literal.clone()),
        Filter::is_in("a", [literal, json!([1])]),
        Filter::elem_match("a", Filter::exists("a.a")),
    ];
    let found = filters.map(|filter| filter.matches(&deep));
    assert_eq!(found, [false, true, false, false, true]);
    while let Value::Object(mut fields) = deep {
        deep = match fields.remove("a") {
            Some(Value::Array(mut items)) => items.pop().unwrap(),
            _ => Value::Null,
        };
    }
    // Arrays below arrays: every value is visited, none twice.
    let mut wide = json!(1);
    for _ in 0..5 {
        wide = json!({"a": vec![wide; 10]});
    }
    assert!(Filter::eq("a.a.a.a.a", 1).matches(&wide));
    assert!(!Filter::eq("a.a.a.a.a", 2).matches(&wide));
}
