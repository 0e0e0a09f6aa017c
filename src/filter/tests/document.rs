//! docs/filters.md says what is so.

use serde_json::{Value, json};

use super::parsed;
use crate::filter::Filter;
use crate::filter::node::{MAX_DEPTH, MAX_NODES, MAX_REGEXES, MAX_VALUES};
use crate::filter::value::MAX_LITERAL_DEPTH;

const DOCUMENT: &str = include_str!("../../../docs/filters.md");

/// What a cell has in backticks, as JSON.
fn quoted(cell: &str) -> Vec<Value> {
    let parts = cell.split('`').skip(1).step_by(2);
    parts.map(|part| serde_json::from_str(part).unwrap_or_else(|_| panic!("{part}"))).collect()
}

#[test]
fn its_examples_hold() {
    let (mut rows, mut checked) = (0, 0);
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `{")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [filter, yes, no] = cells[..] else { panic!("{line}") };
        let [filter] = &quoted(filter)[..] else { panic!("{line}") };
        let filter = parsed(filter);
        for (items, expected) in [(quoted(yes), true), (quoted(no), false)] {
            assert!(!items.is_empty(), "{line}");
            for item in items {
                assert_eq!(filter.matches(&item), expected, "{filter} on {item}");
                checked += 1;
            }
        }
        rows += 1;
    }
    assert!(rows > 15 && checked > 50, "{rows} {checked}");
}

#[test]
fn it_has_every_operator_and_limit() {
    let operators = [
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
    ];
    for operator in operators {
        let row = DOCUMENT.lines().find(|line| {
            let first = line.split('|').nth(1).unwrap_or_default();
            !line.starts_with("| `{") && first.split('`').any(|word| word == operator)
        });
        assert!(row.is_some(), "{operator}");
    }
    let bogus = Filter::from_json(&json!({"a": {"$type": "string"}}));
    assert!(bogus.is_err(), "the document says that there is no $type");
    let thousands = |number: usize| match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    };
    for limit in [MAX_DEPTH, MAX_NODES, MAX_VALUES, MAX_LITERAL_DEPTH, MAX_REGEXES] {
        let limit = thousands(limit);
        assert!(
            DOCUMENT.contains(&format!("| {limit} |")) || DOCUMENT.contains(&format!("| {limit};"))
        );
    }
}
