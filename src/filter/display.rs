//! A filter as JSON again, and its shape for logs.
//!
//! What is printed parses to an equal filter; shorthand comes back where there is any.

use std::fmt;

use serde_json::{Value, json};

use super::node::{Form, Node, Path, Predicate, Than};

/// An object with one field.
fn object(name: &str, value: Value) -> Value {
    Value::Object([(name.to_owned(), value)].into_iter().collect())
}

fn list(nodes: &[Node]) -> Value {
    Value::Array(nodes.iter().map(to_json).collect())
}

/// A tree of either form: of documents as a filter, of elements as an object of operators.
pub(super) fn to_json(node: &Node) -> Value {
    match node {
        node if node.is_everything() => json!({}),
        Node::And(nodes) => object("$and", list(nodes)),
        Node::Or(nodes) => object("$or", list(nodes)),
        Node::Test(path, predicate) => at(path, condition(predicate, path)),
        Node::Not(inner) => match &**inner {
            Node::Or(nodes) => object("$nor", list(nodes)),
            Node::Test(path, predicate) => at(path, opposite(predicate)),
            inner => object("$not", to_json(inner)),
        },
    }
}

fn at(path: &Path, condition: Value) -> Value {
    if path.is_element() { condition } else { object(path.text(), condition) }
}

fn condition(predicate: &Predicate, path: &Path) -> Value {
    match predicate {
        Predicate::Eq(value) if !path.is_element() => value.clone(),
        predicate => object(operator(predicate), operand(predicate)),
    }
}

fn opposite(predicate: &Predicate) -> Value {
    match predicate {
        Predicate::Eq(_) => object("$ne", operand(predicate)),
        Predicate::In(_) => object("$nin", operand(predicate)),
        Predicate::Exists => object("$exists", json!(false)),
        _ => object("$not", object(operator(predicate), operand(predicate))),
    }
}

const fn operator(predicate: &Predicate) -> &'static str {
    match predicate {
        Predicate::Eq(_) => "$eq",
        Predicate::In(_) => "$in",
        Predicate::Than(Than::Gt, _) => "$gt",
        Predicate::Than(Than::Gte, _) => "$gte",
        Predicate::Than(Than::Lt, _) => "$lt",
        Predicate::Than(Than::Lte, _) => "$lte",
        Predicate::Exists => "$exists",
        Predicate::Size(_) => "$size",
        Predicate::Contains(_) => "$contains",
        Predicate::Regex(_) => "$regex",
        Predicate::ElemMatch(_) => "$elemMatch",
    }
}

fn operand(predicate: &Predicate) -> Value {
    match predicate {
        Predicate::Eq(value) | Predicate::Than(_, value) => value.clone(),
        Predicate::In(values) => Value::Array(values.clone()),
        Predicate::Exists => json!(true),
        Predicate::Size(size) => json!(size),
        Predicate::Contains(part) => json!(part),
        Predicate::Regex(pattern) => json!(pattern.text()),
        Predicate::ElemMatch(inner) => to_json(inner),
    }
}

/// Operators only: paths and values are metadata, and logs are not the place for them.
pub(super) fn shape(node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let many = |name: &str, nodes: &[Node], f: &mut fmt::Formatter<'_>| {
        write!(f, "{name}[")?;
        for (position, node) in nodes.iter().enumerate() {
            f.write_str(if position == 0 { "" } else { ", " })?;
            shape(node, f)?;
        }
        f.write_str("]")
    };
    match node {
        Node::And(nodes) => many("$and", nodes, f),
        Node::Or(nodes) => many("$or", nodes, f),
        Node::Not(inner) => many("$not", std::slice::from_ref(inner), f),
        Node::Test(_, Predicate::ElemMatch(inner)) => {
            let form = if inner.form() == Form::Element { "$elemMatch" } else { "$elemMatch.*" };
            many(form, std::slice::from_ref(inner), f)
        }
        Node::Test(_, predicate) => f.write_str(operator(predicate)),
    }
}
