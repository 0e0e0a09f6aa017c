//! What is refused: what is no filter, and what is over a limit.

use serde_json::{Value, json};

use super::parsed;
use crate::filter::Filter;

fn refusal(json: &Value) -> String {
    let error = Filter::from_json(json).expect_err(&json.to_string());
    assert_eq!(error.code(), "invalid_argument");
    error.to_string()
}

/// Every way of writing a filter that is none, with the place that the error names.
#[test]
fn a_filter_that_is_none_is_refused_with_its_place() {
    let cases = [
        (json!("a"), "the filter must be an object"),
        (json!([]), "the filter must be an object"),
        (json!([{"a": 1}]), "the filter must be an object"),
        (json!(null), "not null"),
        (json!({"$bogus": 1}), "`$bogus` is not an operator"),
        (json!({"$where": "x"}), "`$where` is not an operator"),
        (json!({"$gt": 1}), "`$gt` is an operator on a field"),
        (json!({"": 1}), "empty name"),
        (json!({"a..b": 1}), "`a..b` has a path with an empty name"),
        (json!({"a.": 1}), "empty name"),
        (json!({"a.$gt": 1}), "`a.$gt` has a path with an operator"),
        (json!({"a": {"$gte": []}}), "`a.$gte` takes a number or a string, not an array"),
        (json!({"a": {"$gt": null}}), "`a.$gt` takes a number or a string, not null"),
        (json!({"a": {"$lt": true}}), "`a.$lt` takes a number or a string, not a boolean"),
        (json!({"a": {"$lte": {"b": 1}}}), "`a.$lte` takes"),
        (json!({"a": {"$in": 1}}), "`a.$in` takes an array of values, not a number"),
        (json!({"a": {"$nin": {"b": 1}}}), "`a.$nin` takes an array"),
        (json!({"a": {"$in": [1, {"$gt": 1}]}}), "`a.$in` has an operator inside a value"),
        (json!({"a": {"$exists": 1}}), "`a.$exists` takes true or false, not a number"),
        (json!({"a": {"$size": -1}}), "`a.$size` takes a whole number, 0 or more"),
        (json!({"a": {"$size": 1.5}}), "`a.$size` takes a whole number"),
        (json!({"a": {"$size": "1"}}), "`a.$size` takes a whole number, not a string"),
        (json!({"a": {"$all": []}}), "`a.$all` must not be empty"),
        (json!({"a": {"$all": 1}}), "`a.$all` takes an array of values"),
        (json!({"a": {"$all": [1, {"$elemMatch": {"b": 1}}]}}), "`a.$all[1]` has an operator"),
        (json!({"a": {"$contains": 1}}), "`a.$contains` takes a string, not a number"),
        (json!({"a": {"$regex": 1}}), "`a.$regex` takes a string"),
        (json!({"a": {"$regex": "("}}), "`a.$regex` is not a regular expression"),
        (json!({"a": {"$regex": "(?=a)"}}), "`a.$regex` is not a regular expression"),
        (json!({"a": {"$regex": "x", "$options": "i"}}), "`a.$options` is not supported"),
        (json!({"a": {"$bogus": 1}}), "`a.$bogus` is not an operator"),
        (json!({"a": {"$gt": 1, "b": 2}}), "`a.b` is a field among operators"),
        (json!({"a": {"b": {"$gt": 1}}}), "`a` has an operator inside a value"),
        (json!({"a": {"$eq": {"$gt": 1}}}), "`a.$eq` has an operator inside a value"),
        (json!({"a": {"$not": 1}}), "`a.$not` must be an object of operators, not a number"),
        (json!({"a": {"$not": {}}}), "`a.$not` must be an object of operators, and is empty"),
        (json!({"a": {"$not": {"b": 1}}}), "`a.$not.b` is a field among operators"),
        (json!({"a": {"$or": [1]}}), "`a.$or[0]` must be an object of operators"),
        (json!({"a": {"$or": []}}), "`a.$or` must not be empty"),
        (json!({"a": {"$elemMatch": 1}}), "`a.$elemMatch` must be an object"),
        (json!({"a": {"$elemMatch": {}}}), "`a.$elemMatch` must be an object"),
        (json!({"a": {"$elemMatch": {"b": 1, "$gt": 1}}}), "`a.$elemMatch."),
        (json!({"a": {"$elemMatch": {"$and": [{"b": 1}, {"$gt": 1}]}}}), "$elemMatch.$and[1].$gt`"),
        (json!({"$and": []}), "`$and` must not be empty"),
        (json!({"$or": {}}), "`$or` takes an array of conditions, not an object"),
        (
            json!({"$nor": [{}]}),
            "`$nor[0]` must be an object of conditions on fields, and is empty",
        ),
        (json!({"$or": [{"a": 1}, {}]}), "`$or[1]` must be"),
        (json!({"$or": [{"a": 1}, 7]}), "`$or[1]` must be an object of conditions"),
        (json!({"$not": {}}), "`$not` must be"),
        (json!({"$not": [{"a": 1}]}), "`$not` must be"),
        (json!({"$and": [{"a": 1}, {"price": {"$gte": [10]}}]}), "`$and[1].price.$gte` takes"),
        (
            json!({"$or": [{"a": {"$elemMatch": {"b.c": {"$not": {"$size": {}}}}}}]}),
            "`$or[0].a.$elemMatch.b.c.$not.$size` takes a whole number, not an object",
        ),
    ];
    for (json, expected) in cases {
        let message = refusal(&json);
        assert!(message.contains(expected), "{json}: {message}");
    }
}

#[test]
fn a_refusal_shows_no_value_and_not_much_of_a_place() {
    let secret = json!({"$and": [{"a": {"$regex": "hunter2("}}]});
    assert!(!refusal(&secret).contains("hunter2"));
    let secret = json!({"a": {"$in": "hunter2"}});
    assert!(!refusal(&secret).contains("hunter2"));
    let long = refusal(&json!({"a\n": {"x".repeat(100_000): {"$gt": 1}, "$gt": 1}}));
    assert!(long.len() < 400 && !long.contains('\n'), "{long}");
}

fn nested(levels: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..levels).fold(json!({"a": 1}), |inner, _| wrap(inner))
}

#[test]
fn depth_is_limited() {
    let or = |inner| json!({"$or": [{"b": 2}, inner]});
    let nor = |inner| json!({"$nor": [inner, {"b": 1}]});
    let elem = |inner| json!({"x": {"$elemMatch": inner}});
    let and_or = |inner| json!({"$or": [{"b": 1}, {"b": 2, "$and": [inner]}]});
    assert!(parsed(&nested(40, or)).matches(&json!({"a": 1}))); // one level, once flat
    for (json, allowed) in [
        (nested(16, nor), true),
        (nested(17, nor), false),
        (nested(32, elem), true),
        (nested(33, elem), false),
        (nested(16, and_or), true),
        (nested(17, and_or), false),
        (nested(500, or), false),
        (nested(500, elem), false),
        (nested(500, |inner| json!({"$not": inner})), false),
        (json!({"b": (0..500).fold(json!({"$gt": 1}), |inner, _| json!({"$not": inner}))}), false),
    ] {
        match Filter::from_json(&json) {
            Ok(filter) => {
                assert!(allowed);
                assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
            }
            Err(error) => {
                assert!(!allowed, "{error}");
                assert!(error.to_string().contains("nested deeper than"), "{error}");
                assert!(error.to_string().contains("the filter at `"), "{error}");
            }
        }
    }
    let deep = (0..2000).fold(json!(1), |inner, _| json!([inner]));
    assert!(refusal(&json!({"a": deep})).contains("nested deeper"));
    let root = refusal(&json!({"b": 1, "$nor": [nested(16, nor), {"b": 1}]}));
    assert!(root.contains("the filter at `$nor` has conditions nested deeper than 32"), "{root}");
}

#[test]
fn numbers_of_things_are_limited() {
    let many = |count: usize| json!({"$or": vec![json!({"a": 1}); count]});
    assert!(Filter::from_json(&many(1023)).is_ok());
    assert!(refusal(&many(1024)).contains("`$or[1023].a` is one condition too many"));
    // Two fields of one document are joined by a third condition.
    let pairs = |count: usize| json!({"x": 1, "$or": vec![json!({"a": 1, "b": 2}); count]});
    assert!(Filter::from_json(&pairs(340)).is_ok());
    assert!(refusal(&pairs(342)).contains("the filter at `$or` has more conditions than 1024"));
    let values = |count: usize| json!({"a": {"$in": (0..count).collect::<Vec<_>>()}});
    assert!(Filter::from_json(&values(65_536)).is_ok());
    assert!(refusal(&values(65_537)).contains("`a.$in` has too many values"));
    let regexes = |count: usize| json!({"$and": vec![json!({"a": {"$regex": "x"}}); count]});
    assert!(Filter::from_json(&regexes(16)).is_ok());
    assert!(refusal(&regexes(17)).contains("`$and[16].a.$regex` is one regular expression too"));
    let regex = |pattern: &str| json!({"a": {"$regex": pattern}});
    assert!(Filter::from_json(&regex(r"^\w+@\w+\.\w{2,10}$")).is_ok());
    assert!(refusal(&regex(r"\w{900}{9}")).contains("compiles to more than"));
    assert!(refusal(&regex(&"x".repeat(1025))).contains("1025 bytes, over 1024"));
    let groups = format!("{}{}", "(".repeat(500), ")".repeat(500));
    assert!(refusal(&regex(&groups)).contains("not a regular expression"));
    let path = |names: usize| json!({vec!["a"; names].join("."): 1});
    assert!(Filter::from_json(&path(64)).is_ok());
    assert!(refusal(&path(65)).contains("65 names, over 64"));
    assert!(refusal(&json!({"a".repeat(1025): 1})).contains("1025 bytes, over 1024"));
}
