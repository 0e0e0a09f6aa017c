//! Whether a document satisfies a filter.
//!
//! A path leads to candidates. In an object a name leads to the field, or to *missing*; below
//! anything that is neither object nor array it leads to missing. In an array a name is looked up
//! in each element that is an object, and the others have no say; a number leads to that element,
//! or nowhere. A test holds if it holds for a candidate, or, if the candidate is an array, for one
//! of its elements. `Not` is the exact opposite, so `$ne` holds where there is no candidate at all.
//!
//! The cost of a test is at most a visit of every value in the document, and a logarithm for `$in`.
//! Recursion goes as deep as paths and filters, never as the document.

use serde_json::Value;

use super::node::{Form, Node, Path, Predicate, Segment, Than};
use super::value::{order, order_of_like};

/// A tree of either form, about a value.
pub(super) fn holds(node: &Node, value: &Value) -> bool {
    match node {
        Node::And(nodes) => nodes.iter().all(|node| holds(node, value)),
        Node::Or(nodes) => nodes.iter().any(|node| holds(node, value)),
        Node::Not(inner) => !holds(inner, value),
        Node::Test(path, predicate) => test(path, predicate, value),
    }
}

/// One test, by itself.
pub(super) fn test(path: &Path, predicate: &Predicate, value: &Value) -> bool {
    if path.is_element() {
        return predicate.accepts(Some(value));
    }
    any_at(path.segments(), value, &|candidate| {
        predicate.accepts(candidate)
            || match candidate {
                Some(Value::Array(items)) if predicate.looks_into_arrays() => {
                    items.iter().any(|item| predicate.accepts(Some(item)))
                }
                _ => false,
            }
    })
}

/// Whether any candidate passes. `None` is missing.
pub(super) fn any_at(
    path: &[Segment],
    value: &Value,
    passes: &dyn Fn(Option<&Value>) -> bool,
) -> bool {
    let Some((first, rest)) = path.split_first() else { return passes(Some(value)) };
    match value {
        Value::Object(fields) => match fields.get(&first.name) {
            Some(field) => any_at(rest, field, passes),
            None => passes(None),
        },
        Value::Array(items) => {
            if let Some(position) = first.position {
                items.get(position).is_some_and(|item| any_at(rest, item, passes))
            } else {
                let mut objects = items.iter().filter(|item| item.is_object());
                objects.any(|object| any_at(path, object, passes))
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => passes(None),
    }
}

impl Predicate {
    /// Whether a candidate passes, without a look at its elements.
    fn accepts(&self, candidate: Option<&Value>) -> bool {
        match self {
            Self::Eq(value) => order(candidate.unwrap_or(&Value::Null), value).is_eq(),
            Self::In(values) => {
                let candidate = candidate.unwrap_or(&Value::Null);
                values.binary_search_by(|value| order(value, candidate)).is_ok()
            }
            Self::Than(than, bound) => {
                let order = candidate.and_then(|candidate| order_of_like(candidate, bound));
                order.is_some_and(|order| match than {
                    Than::Gt => order.is_gt(),
                    Than::Gte => order.is_ge(),
                    Than::Lt => order.is_lt(),
                    Than::Lte => order.is_le(),
                })
            }
            Self::Exists => candidate.is_some(),
            Self::Size(size) => {
                let items = candidate.and_then(Value::as_array);
                items.is_some_and(|items| items.len() as u64 == *size)
            }
            Self::Contains(part) => text(candidate).is_some_and(|text| text.contains(part)),
            Self::Regex(pattern) => text(candidate).is_some_and(|text| pattern.is_in(text)),
            Self::ElemMatch(inner) => {
                let items = candidate.and_then(Value::as_array);
                let form = inner.form();
                let askable = |item: &Value| form == Form::Element || item.is_object();
                items.is_some_and(|items| {
                    items.iter().any(|item| askable(item) && holds(inner, item))
                })
            }
        }
    }

    const fn looks_into_arrays(&self) -> bool {
        match self {
            Self::Eq(_) | Self::In(_) | Self::Than(..) | Self::Contains(_) | Self::Regex(_) => true,
            Self::Exists | Self::Size(_) | Self::ElemMatch(_) => false,
        }
    }
}

fn text(candidate: Option<&Value>) -> Option<&str> {
    candidate.and_then(Value::as_str)
}
