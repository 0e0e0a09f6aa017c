//! Filters made in Rust.

use serde_json::{Value, json};

use super::parsed;
use crate::filter::Filter;

#[test]
fn a_built_filter_is_the_parsed_one() {
    let cases = [
        (Filter::everything(), json!({})),
        (Filter::eq("a", 1), json!({"a": 1})),
        (Filter::eq("a", vec!["x", "y"]), json!({"a": ["x", "y"]})),
        (Filter::eq("a.b", Value::Null), json!({"a.b": {"$eq": null}})),
        (Filter::ne("a", "x".to_owned()), json!({"a": {"$ne": "x"}})),
        (Filter::gt("a", 1.5), json!({"a": {"$gt": 1.5}})),
        (Filter::gte("a", 1_u64), json!({"a": {"$gte": 1}})),
        (Filter::lt("a", -1_i8), json!({"a": {"$lt": -1}})),
        (Filter::lte("a", 0.5_f32), json!({"a": {"$lte": 0.5}})),
        (Filter::is_in("a", [2, 1, 2]), json!({"a": {"$in": [1, 2]}})),
        (Filter::not_in("a", ["x"]), json!({"a": {"$nin": ["x"]}})),
        (Filter::is_in("a", Vec::<bool>::new()), json!({"a": {"$in": []}})),
        (Filter::exists("a"), json!({"a": {"$exists": true}})),
        (!Filter::exists("a"), json!({"a": {"$exists": false}})),
        (Filter::contains("a", "x"), json!({"a": {"$contains": "x"}})),
        (Filter::regex("a", "^x"), json!({"a": {"$regex": "^x"}})),
        (Filter::size("a", 2), json!({"a": {"$size": 2}})),
        (Filter::all("a", [1, 2]), json!({"a": {"$all": [1, 2]}})),
        (
            Filter::eq("a", 1).and(Filter::gt("b", 2)).and(Filter::eq("c", true)),
            json!({"a": 1, "b": {"$gt": 2}, "c": true}),
        ),
        (Filter::eq("a", 1).or(Filter::eq("b", 2)), json!({"$or": [{"a": 1}, {"b": 2}]})),
        (
            Filter::none_of([Filter::eq("a", 1), Filter::eq("b", 2)]),
            json!({"$nor": [{"a": 1}, {"b": 2}]}),
        ),
        (Filter::eq("a", 1).not().not(), json!({"$not": {"a": {"$ne": 1}}})),
        (Filter::gt("a", 1).not(), json!({"a": {"$not": {"$gt": 1}}})),
        (Filter::eq("a", 1).and(Filter::eq("b", 1)).not(), json!({"$not": {"a": 1, "b": 1}})),
        (
            Filter::elem_match("a", Filter::eq("b", 1).and(Filter::eq("c", 2))),
            json!({"a": {"$elemMatch": {"b": 1, "c": 2}}}),
        ),
        (
            Filter::elem_match("a", Filter::gt("", 1).and(Filter::lt("", 5).not())),
            json!({"a": {"$elemMatch": {"$gt": 1, "$not": {"$lt": 5}}}}),
        ),
    ];
    for (built, json) in cases {
        built.check().unwrap();
        assert_eq!(built, parsed(&json), "{built} and {json}");
        assert_eq!(built.to_string().parse::<Filter>().unwrap(), built, "{built}");
        assert_eq!(built.is_everything(), json == json!({}));
    }
}

#[test]
fn a_faulty_argument_spoils_the_whole_filter() {
    let good = || Filter::eq("a", 1);
    let faulty = [
        (Filter::eq("", 1), "about elements of an array"),
        (Filter::eq("a..b", 1), "`a..b.$eq` has a path with an empty name"),
        (Filter::eq("$a", 1), "operator in it"),
        (Filter::eq("a", f64::NAN), "NaN or infinite"),
        (Filter::is_in("a", [1.0, f32::INFINITY]), "`a.$in` has a float"),
        (Filter::eq("a", vec![vec![f64::NAN]]), "NaN or infinite"),
        (Filter::eq("a", json!({"$gt": 1})), "operator inside a value"),
        (Filter::gt("a", true), "`a.$gt` takes a number or a string, not a boolean"),
        (Filter::regex("a", "("), "`a.$regex` is not a regular expression"),
        (Filter::all("a", [0; 0]), "`$all` must not be empty"),
        (Filter::all_of([]), "`$and` must not be empty"),
        (Filter::any_of([]), "`$or` must not be empty"),
        (Filter::none_of([]), "`$nor` must not be empty"),
        (Filter::everything().not(), "selects everything"),
        (Filter::any_of([good(), Filter::everything()]), "selects everything"),
        (Filter::elem_match("a", Filter::everything()), "`a.$elemMatch` must not be empty"),
        (Filter::elem_match("a", good().and(Filter::eq("", 1))), "elements themselves"),
        (Filter::all_of(vec![good(); 1024]), "1025 conditions, over 1024"),
        (Filter::any_of((0..17).map(|_| Filter::regex("a", "x"))), "17 regular expressions"),
    ];
    for (filter, expected) in faulty {
        let joined = [
            filter.clone(),
            good().and(filter.clone()).not(),
            filter.clone().or(good()).and(good()),
            !Filter::elem_match("x", filter.clone()),
        ];
        let elementary = expected.contains("about elements");
        for filter in joined.into_iter().take(if elementary { 2 } else { 4 }) {
            let error = filter.check().unwrap_err();
            assert_eq!(error.code(), "invalid_argument");
            if !elementary {
                assert!(error.to_string().contains(expected), "{error}");
            }
            for item in [json!({}), json!({"a": 1})] {
                assert!(!filter.matches(&item), "{filter}");
            }
            assert!(!filter.is_everything());
            assert!(filter.to_json().is_err());
            assert!(filter.to_string().parse::<Filter>().is_err());
        }
    }
}

#[test]
fn a_builder_in_a_loop_meets_the_limit_and_no_end_of_the_stack() {
    let mut filter = Filter::eq("a", 0);
    for n in 0..100_000 {
        filter = filter.and(Filter::eq("a", n)).or(Filter::eq("b", n));
    }
    assert!(filter.check().unwrap_err().to_string().contains("levels of conditions, over 32"));
    let mut filter = Filter::eq("a", 0);
    for _ in 0..100_001 {
        filter = !filter;
    }
    assert_eq!(filter, Filter::ne("a", 0));
}
