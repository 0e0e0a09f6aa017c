//! The language, by example, by property, and beside another implementation.

mod answers;
mod build;
mod document;
pub(super) mod properties;
mod refused;

use serde_json::{Value, json};

use super::Filter;

fn parsed(json: &Value) -> Filter {
    Filter::from_json(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Condition on `a`, the values of `a` that satisfy it, and those that do not. `()` is missing.
macro_rules! table {
    ($($condition:tt : yes $yes:tt no $no:tt;)*) => {
        [$((json!($condition), json!($yes), json!($no))),*]
    };
}

/// Stands for a missing field in the table.
const MISSING: &str = "(missing)";

#[test]
fn what_each_operator_means() {
    let table = table! {
        1: yes [1, 1.0, [1], [0, 1.0]] no [MISSING, null, true, "1", 1.5, [[1]], {"b": 1}, []];
        null: yes [MISSING, null, [null], [1, null]] no [0, "", false, [], {}, [[null]]];
        "x": yes ["x", ["x"]] no [MISSING, "X", "xx", ["xx"], null];
        true: yes [true, [true]] no [1, "true", false, MISSING];
        {}: yes [{}, [{}]] no [MISSING, null, [], {"b": 1}];
        {"b": 1, "c": [2]}:
            yes [{"b": 1, "c": [2]}, {"c": [2.0], "b": 1}, [{"b": 1, "c": [2]}]]
            no [{"b": 1}, {"b": 1, "c": 2}, {"b": 1, "c": [2], "d": 0}, MISSING];
        [1, 2]: yes [[1, 2], [[1, 2]], [0, [1, 2]]] no [[2, 1], [1, 2, 3], [1], 1, [[[1, 2]]]];
        []: yes [[], [[]]] no [MISSING, null, [1], {}];
        {"$eq": {"b": 1}}: yes [{"b": 1}] no [{"b": 2}, MISSING];
        {"$ne": 1}: yes [MISSING, null, 2, "1", true, [], [2], [[1]]] no [1, 1.0, [1], [2, 1]];
        {"$ne": null}: yes [0, [], {}, [1]] no [MISSING, null, [1, null]];
        {"$gt": 5}: yes [6, 5.5, [1, 6], u64::MAX] no [5, 5.0, "6", MISSING, null, true, [[6]], []];
        {"$gte": 5}: yes [5, 5.0, 6, ["x", 5]] no [4.99, "5", MISSING, {"b": 5}];
        {"$lt": 5}: yes [4, -1e300, [9, 4]] no [5, "4", MISSING, null, false, [[4]]];
        {"$lte": 5}: yes [5, 5.0, 4] no [5.01, "5", MISSING];
        {"$gt": "m"}: yes ["n", "ma", ["a", "z"], "\u{e9}"] no ["m", "M", 1, MISSING, null];
        {"$lte": "m"}: yes ["m", "", "M"] no ["ma", 1, MISSING];
        {"$gt": 2, "$lt": 4}: yes [3, [1, 3], [1, 9]] no [2, 4, [1, 2], MISSING];
        {"$gt": 9_007_199_254_740_992_u64}:
            yes [9_007_199_254_740_993_u64] no [9_007_199_254_740_992.0];
        {"$in": [1, "x", null]}: yes [1, 1.0, "x", null, MISSING, ["q", 1]] no [2, "1", true, []];
        {"$in": [[1], {"b": 1}]}: yes [[1], [[1]], {"b": 1}] no [1, MISSING, [], {"b": 2}];
        {"$in": []}: yes [] no [MISSING, null, 1, []];
        {"$nin": [1, "x"]}: yes [MISSING, null, 2, [], ["y"]] no [1, "x", ["y", "x"]];
        {"$nin": [null]}: yes [1, []] no [MISSING, null, [null]];
        {"$nin": []}: yes [MISSING, null, 1] no [];
        {"$exists": true}: yes [null, 0, [], {}] no [MISSING];
        {"$exists": false}: yes [MISSING] no [null, 0, [], {}];
        {"$size": 2}: yes [[1, 2], [[], []]] no [[], [1], [[1, 2]], "ab", 2, {"b": 1, "c": 2}, MISSING];
        {"$size": 0}: yes [[]] no [MISSING, null, "", {}, [[]]];
        {"$all": [1, 2]}: yes [[2, 1], [1, 2, 3]] no [1, [1], MISSING, [[1, 2]]];
        {"$all": [1]}: yes [1, [1]] no [2, MISSING];
        {"$all": [[1, 2]]}: yes [[1, 2], [[1, 2], 3]] no [[1], [2, 1]];
        {"$contains": "an"}: yes ["an", "banana", ["x", "man"]] no ["AN", "", MISSING, 1, [["an"]], {}];
        {"$contains": ""}: yes ["", "x"] no [1, null, MISSING, []];
        {"$regex": "^b.n"}: yes ["banana", ["x", "bin"]] no ["a ban", "Ban", MISSING, 1, null];
        {"$regex": "(?i)BAN"}: yes ["urban"] no ["bin"];
        {"$elemMatch": {"$gt": 3, "$lt": 6}}: yes [[4], [9, 5]] no [4, [2, 9], [[4]], [], MISSING];
        {"$elemMatch": {"b": 1, "c": 2}}:
            yes [[{"b": 1, "c": 2}], [0, {"c": 2, "b": [1]}]]
            no [[{"b": 1}, {"c": 2}], {"b": 1, "c": 2}, [[{"b": 1, "c": 2}]], MISSING];
        {"$elemMatch": {"b": {"$ne": 1}}}: yes [[{}], [{"b": 2}]] no [[1], [{"b": 1}], [], {}];
        {"$elemMatch": {"$ne": 1}}: yes [[2], [1, null], [[1]]] no [[1], [], 2];
        {"$elemMatch": {"$elemMatch": {"$eq": 1}}}: yes [[[1]], [0, [2, 1]]] no [[1], [[[1]]]];
        {"$elemMatch": {"$or": [{"$lt": 1}, {"$gt": 8}]}}: yes [[0], [5, 9]] no [[5], 0];
        {"$elemMatch": {"$or": [{"b": 1}, {"c": 1}]}}: yes [[{"c": 1}]] no [[{"b": 2}], [1]];
        {"$elemMatch": {"$not": {"$gt": 1}}}: yes [[1], ["x", 2]] no [[2], [], 1];
        {"$not": {"$gt": 5}}: yes [MISSING, null, 5, "6", [5]] no [6, [5, 6]];
        {"$not": {"$gt": 2, "$lt": 4}}: yes [2, 4, MISSING] no [3, [1, 9]];
        {"$not": {"$not": {"$gt": 5}}}: yes [6] no [5, MISSING];
        {"$or": [{"$lt": 1}, {"$gt": 8}]}: yes [0, 9, [5, 9]] no [5, MISSING];
        {"$and": [{"$gt": 1}, {"$ne": 3}]}: yes [2] no [1, 3, MISSING, [2, 3]];
        {"$nor": [{"$lt": 1}, {"$gt": 8}]}: yes [5, MISSING] no [0, 9];
    };
    for (condition, yes, no) in table {
        let filter = parsed(&json!({"a": condition}));
        for (values, expected) in [(yes, true), (no, false)] {
            for value in values.as_array().unwrap() {
                let item = if value == MISSING { json!({}) } else { json!({"a": value}) };
                assert_eq!(filter.matches(&item), expected, "{filter} on {item}");
            }
        }
        assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter, "{filter}");
    }
}

#[test]
fn where_a_path_leads() {
    let cases = [
        // Through objects.
        (json!({"a.b": 1}), json!({"a": {"b": 1}}), true),
        (json!({"a.b": 1}), json!({"a.b": 1}), false),
        (json!({"a.b": null}), json!({"a": {}}), true),
        (json!({"a.b": null}), json!({}), true),
        (json!({"a.b": null}), json!({"a": 5}), true),
        (json!({"a.b": null}), json!({"a": null}), true),
        (json!({"a.b": {"$exists": true}}), json!({"a": {"b": null}}), true),
        (json!({"a.b": {"$exists": true}}), json!({"a": 5}), false),
        // Through arrays: each element that is an object.
        (json!({"a.b": 1}), json!({"a": [{"b": 0}, {"b": 1}]}), true),
        (json!({"a.b": 1}), json!({"a": [7, {"b": [0, 1]}]}), true),
        (json!({"a.b": 1}), json!({"a": [[{"b": 1}]]}), false),
        (json!({"a.b.c": 1}), json!({"a": [{"b": [{"c": 0}, {"c": 1}]}]}), true),
        (json!({"a.b": null}), json!({"a": [{"b": 1}, {}]}), true),
        (json!({"a.b": null}), json!({"a": [1, 2]}), false),
        (json!({"a.b": null}), json!({"a": []}), false),
        (json!({"a.b": {"$exists": false}}), json!({"a": []}), true),
        (json!({"a.b": {"$ne": 1}}), json!({"a": []}), true),
        (json!({"a.b": {"$ne": 1}}), json!({"a": [{"b": 1}, {"b": 2}]}), false),
        (json!({"a.b": {"$exists": false}}), json!({"a": [{"b": 1}, {}]}), false),
        // Positions in arrays, and names that look like them.
        (json!({"a.1": 2}), json!({"a": [1, 2]}), true),
        (json!({"a.1": 1}), json!({"a": [1, 2]}), false),
        (json!({"a.1": 2}), json!({"a": {"1": 2}}), true),
        (json!({"a.1": 2}), json!({"a": [{"1": 2}]}), false),
        (json!({"a.01": 2}), json!({"a": [1, 2]}), false),
        (json!({"a.01": 2}), json!({"a": [{"01": 2}]}), true),
        (json!({"a.0.b": 1}), json!({"a": [{"b": 1}]}), true),
        (json!({"a.0.b": 1}), json!({"a": [[{"b": 1}]]}), true),
        (json!({"a.0.0": 1}), json!({"a": [[1]]}), true),
        (json!({"a.0": 1}), json!({"a": [[1]]}), true),
        (json!({"a.5": null}), json!({"a": [1]}), false),
        (json!({"a.5": {"$exists": false}}), json!({"a": [1]}), true),
        (json!({"a.99999999999999999999": 1}), json!({"a": [1]}), false),
    ];
    for (filter, item, expected) in cases {
        assert_eq!(parsed(&filter).matches(&item), expected, "{filter} on {item}");
    }
}

#[test]
fn conditions_on_several_fields_are_joined() {
    let filter = parsed(&json!({
        "lang": "en",
        "$or": [{"year": {"$lt": 1950}}, {"rare": true}],
        "$nor": [{"status": "draft"}],
        "$not": {"price": {"$gt": 100}},
    }));
    let good = json!({"lang": "en", "year": 1940, "status": "final", "price": 90});
    assert!(filter.matches(&good));
    let spoiled = [("lang", "fr"), ("year", "x"), ("status", "draft")];
    for (name, value) in spoiled {
        let mut item = good.clone();
        item[name] = json!(value);
        assert!(!filter.matches(&item), "{item}");
    }
    let mut item = good;
    item["price"] = json!(101);
    assert!(!filter.matches(&item));
}

#[test]
fn what_is_no_object_is_asked_about_as_an_empty_one() {
    for nothing in [json!({}), json!(null), json!([{"a": 1}]), json!("a"), json!(1)] {
        assert!(!parsed(&json!({"a": 1})).matches(&nothing));
        assert!(parsed(&json!({"a": {"$ne": 1}})).matches(&nothing));
        assert!(parsed(&json!({"a": null})).matches(&nothing));
        assert!(Filter::everything().matches(&nothing));
    }
}

#[test]
fn debug_shows_neither_paths_nor_values() {
    let filter = parsed(&json!({
        "hunter": "hunter2",
        "$nor": [{"hunter": {"$in": ["hunter2"]}}, {"hunter": {"$elemMatch": {"$gt": 7}}}],
    }));
    assert_eq!(format!("{filter:?}"), "Filter($and[$not[$or[$in, $elemMatch[$gt]]], $eq])");
    assert_eq!(format!("{:?}", Filter::everything()), "Filter($and[])");
    assert_eq!(format!("{:?}", Filter::eq("hunter", f64::NAN)), "Filter(faulty)");
    let operand = super::Operand::from("hunter2");
    assert!(!format!("{operand:?}").contains("hunter2"));
}

/// What a fuzzer would call: no text may do more than be refused.
fn survives(text: &str) {
    let Ok(filter) = text.parse::<Filter>() else { return };
    let printed = filter.to_string();
    assert_eq!(printed.parse::<Filter>().as_ref(), Ok(&filter), "{printed}");
    let negated = if filter.is_everything() { None } else { Some(!filter.clone()) };
    let items = [json!({}), json!({"a": [1, {"b": "x"}], "b": null}), filter.to_json().unwrap()];
    for item in items {
        let matches = filter.matches(&item);
        if let Some(negated) = negated.as_ref().filter(|negated| negated.check().is_ok()) {
            assert_ne!(negated.matches(&item), matches);
        }
    }
}

#[test]
fn seeds_for_a_fuzzer_are_survived() {
    let seeds = [
        r#"{"a":1}"#,
        r#"{"a":{"$gt":1,"$lt":2.5}}"#,
        r#"{"$and":[{"a.b.0":null},{"$nor":[{"c":{"$in":[1,"x",[],{}]}}]}]}"#,
        r#"{"a":{"$elemMatch":{"$or":[{"$regex":"^(a|b)+$"},{"$not":{"$contains":"x"}}]}}}"#,
        r#"{"a":{"$elemMatch":{"b":{"$all":[[1],{"c":2}]},"$not":{"d":{"$size":3}}}}}"#,
        r#"{"a":{"$exists":false},"b":{"$nin":[]},"c":{"$ne":-0.0}}"#,
        r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":1e308}"#,
        r#"{"\u0000":"\ud800\udc00"}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"$and":[]}"#,
        "{}",
        "",
        "null",
        "{\"a\":",
    ];
    let mut parsed = 0;
    for seed in seeds {
        survives(seed);
        for end in (0..seed.len()).filter(|&end| seed.is_char_boundary(end)) {
            survives(&seed[..end]);
        }
        parsed += usize::from(seed.parse::<Filter>().is_ok());
    }
    assert_eq!(parsed, 9);
    survives(&"{\"$not\":".repeat(100_000));
    survives(&"[".repeat(100_000));
}
