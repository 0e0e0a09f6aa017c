//! Beside mongomock, on random documents and filters; see `scripts/filter_answers.py`.
//!
//! Every pair of a filter and a document to which no [`Rule`] applies must have mongomock's answer.
//! A rule applies by what the filter asks and what the document has there, so that it excuses no
//! more than it is about; and each rule must be needed, that is, be the only one to explain some
//! difference. Most are defects of mongomock, where `MongoDB` itself answers as here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::filter::Filter;
use crate::filter::value::order;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// Here: `$gt` and its like take a number or a string. There: anything.
    OrderOfOtherTypes,
    /// Here: the whole filter is checked. There: as much of it as a document makes it look at.
    CheckedWhole,
    /// Here and in `MongoDB`: a boolean is no number. There: Python's `True == 1`.
    BooleanIsNoNumber,
    /// Here and in `MongoDB`: `{"a": {}}` is equality. There: nearly everything.
    EmptyObject,
    /// Here and in `MongoDB`: only arrays have a `$size`. There: objects and scalars too.
    SizeOfNoArray,
    /// Here and in `MongoDB`: an array operand is compared with the array and with its elements.
    /// There: with either, by operator.
    ArrayOperand,
    /// Here: below a scalar there is a missing field, as in `MongoDB`. There: no candidate.
    BelowScalar,
    /// Here and in `MongoDB`: `$not` holds if there is no candidate. There: it does not.
    Nowhere,
    /// Here and in `MongoDB`: operators are asked one by one, and negation is of the whole. There:
    /// all of a condition of each candidate.
    SeveralCandidates,
    /// Here and in `MongoDB`: `$all: [null]` holds if missing. There: it does not.
    AllOfNull,
    /// Here and in `MongoDB`: an element of an array that is an array is not looked into by
    /// `$elemMatch`. There: it is.
    ElementIsArray,
    /// Here and in `MongoDB`: `$not` of a condition may be in `$elemMatch`. There: it is misread.
    NotInElemMatch,
}

const RULES: [Rule; 12] = [
    Rule::OrderOfOtherTypes,
    Rule::CheckedWhole,
    Rule::BooleanIsNoNumber,
    Rule::EmptyObject,
    Rule::SizeOfNoArray,
    Rule::ArrayOperand,
    Rule::BelowScalar,
    Rule::Nowhere,
    Rule::SeveralCandidates,
    Rule::AllOfNull,
    Rule::ElementIsArray,
    Rule::NotInElemMatch,
];

#[derive(Default)]
struct Applying(BTreeSet<Rule>);

impl Applying {
    fn document(&mut self, filter: &Value, document: &Value) {
        for (key, operand) in entries(filter) {
            if key.starts_with('$') {
                operand.as_array().unwrap().iter().for_each(|inner| self.document(inner, document));
            } else {
                let candidates = self.candidates(&key.split('.').collect::<Vec<_>>(), document);
                self.field(operand, &candidates);
            }
        }
    }

    /// `None` is missing.
    fn candidates<'a>(&mut self, path: &[&str], value: &'a Value) -> Vec<Option<&'a Value>> {
        let Some((first, rest)) = path.split_first() else { return vec![Some(value)] };
        match value {
            Value::Object(fields) => match fields.get(*first) {
                Some(field) => self.candidates(rest, field),
                None => vec![None],
            },
            Value::Array(items) => {
                if let Ok(at) = first.parse::<usize>() {
                    items.get(at).map_or(vec![], |item| self.candidates(rest, item))
                } else {
                    let objects = items.iter().filter(|item| item.is_object());
                    objects.flat_map(|object| self.candidates(path, object)).collect()
                }
            }
            _ => {
                self.0.insert(Rule::BelowScalar);
                vec![None]
            }
        }
    }

    fn field(&mut self, condition: &Value, candidates: &[Option<&Value>]) {
        if condition == &json!({}) {
            self.0.insert(Rule::EmptyObject);
        }
        if candidates.is_empty() {
            self.0.insert(Rule::Nowhere);
        }
        if !entries(condition).any(|(key, _)| key.starts_with('$')) {
            return self.compare(&[condition], candidates);
        }
        let mixed = ["$ne", "$nin", "$not", "$all", "$exists"];
        let whole = entries(condition).any(|(key, _)| mixed.contains(&key.as_str()));
        if candidates.len() > 1 && (whole || entries(condition).count() > 1) {
            self.0.insert(Rule::SeveralCandidates);
        }
        for (key, operand) in entries(condition) {
            self.operator(key, operand, candidates);
        }
    }

    fn operator(&mut self, key: &str, operand: &Value, candidates: &[Option<&Value>]) {
        let arrays = || candidates.iter().flatten().filter_map(|candidate| candidate.as_array());
        let operands: Vec<&Value> = match (key, operand) {
            ("$not", inner) => return self.field(inner, candidates),
            ("$elemMatch", inner) => {
                arrays().flatten().for_each(|element| self.element(inner, element));
                return;
            }
            ("$size", _) => {
                let lengthless = candidates.iter().flatten().any(|candidate| !candidate.is_array());
                self.0.extend(lengthless.then_some(Rule::SizeOfNoArray));
                return;
            }
            ("$in" | "$nin" | "$all", Value::Array(values)) => values.iter().collect(),
            ("$eq" | "$ne", value) => vec![value],
            _ => return,
        };
        let flattened = key == "$all" && arrays().flatten().any(Value::is_array);
        let by_array = operands.iter().any(|operand| operand.is_array());
        if flattened || by_array && arrays().next().is_some() {
            self.0.insert(Rule::ArrayOperand);
        }
        if key == "$all" && operands.contains(&&Value::Null) && candidates.contains(&None) {
            self.0.insert(Rule::AllOfNull);
        }
        self.compare(&operands, candidates);
    }

    fn element(&mut self, inner: &Value, element: &Value) {
        if !inner.as_object().is_some_and(|inner| inner.keys().any(|key| key.starts_with('$'))) {
            if element.is_object() {
                self.document(inner, element);
            }
            return;
        }
        if entries(inner).any(|(key, _)| ["$and", "$or", "$nor"].contains(&key.as_str())) {
            if element.is_object() {
                self.document(inner, element);
            }
            return;
        }
        self.0.extend(element.is_array().then_some(Rule::ElementIsArray));
        let negated = entries(inner).any(|(key, _)| key == "$not");
        self.0.extend(negated.then_some(Rule::NotInElemMatch));
        self.field(inner, &[Some(element)]);
    }

    /// Whether some value and some operand are the same only with `true` for 1 and `false` for 0.
    fn compare(&mut self, operands: &[&Value], candidates: &[Option<&Value>]) {
        let mut values: Vec<&Value> = candidates.iter().flatten().copied().collect();
        let first: Vec<&Value> = values.iter().flat_map(|value| elements(value)).collect();
        let second: Vec<&Value> = first.iter().flat_map(|value| elements(value)).collect();
        values.extend(first);
        values.extend(second);
        for (operand, value) in
            operands.iter().flat_map(|operand| values.iter().map(move |value| (operand, value)))
        {
            let loose = order(&numeric(operand), &numeric(value)).is_eq();
            if loose && order(operand, value).is_ne() {
                self.0.insert(Rule::BooleanIsNoNumber);
            }
        }
    }
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn numeric(value: &Value) -> Value {
    match value {
        Value::Bool(bool) => json!(i32::from(*bool)),
        Value::Array(items) => items.iter().map(numeric).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(k, v)| (k.clone(), numeric(v))).collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

/// Why the filter is refused here and not there.
fn refusal(message: &str) -> Option<Rule> {
    if message.contains("takes a number or a string") {
        Some(Rule::OrderOfOtherTypes)
    } else if message.contains("is not an operator") || message.contains("must not be empty") {
        Some(Rule::CheckedWhole)
    } else {
        None
    }
}

#[test]
fn mongomock_has_the_same_answers_except_by_rule() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/filters.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next().unwrap()["reference"], "mongomock 4.3.0");
    let (mut documents, mut refused) = (Vec::new(), 0);
    let (mut pairs, mut strict, mut matching) = (0, 0, 0);
    let mut needed: BTreeMap<Rule, usize> = BTreeMap::new();
    for line in lines {
        if let Some(block) = line["documents"].as_array() {
            documents.clone_from(block);
            continue;
        }
        let json = &line["filter"];
        let filter = match (Filter::from_json(json), line["refused"].as_bool()) {
            (Ok(filter), None) => filter,
            (Ok(_), Some(_)) => panic!("{json} is refused by mongomock only"),
            (Err(_), Some(_)) => {
                refused += 1;
                continue;
            }
            (Err(error), None) => {
                let rule = refusal(&error.to_string());
                *needed.entry(rule.unwrap_or_else(|| panic!("{json}: {error}"))).or_default() += 1;
                continue;
            }
        };
        let theirs = u64::from_str_radix(line["matches"].as_str().unwrap(), 16).unwrap();
        for (position, document) in documents.iter().enumerate() {
            let (ours, theirs) = (filter.matches(document), theirs >> position & 1 == 1);
            let mut applying = Applying::default();
            applying.document(json, document);
            let rules: Vec<Rule> = applying.0.into_iter().collect();
            pairs += 1;
            strict += usize::from(rules.is_empty());
            matching += usize::from(rules.is_empty() && ours);
            if ours != theirs {
                assert!(!rules.is_empty(), "{json} on {document}: {ours} here, {theirs} there");
                if let [rule] = rules[..] {
                    *needed.entry(rule).or_default() += 1;
                }
            }
        }
    }
    println!("{strict} of {pairs} pairs without a rule, {matching} matching; {needed:?}");
    assert!(refused > 50, "{refused}");
    assert!(strict > pairs / 4 * 3 && matching > strict / 10, "{strict} {pairs} {matching}");
    for rule in RULES {
        assert!(needed.contains_key(&rule), "{rule:?} explains no difference: remove it");
    }
}
