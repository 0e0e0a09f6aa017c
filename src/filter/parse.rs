//! From JSON to a filter.
//!
//! ```text
//! filter    = {} | document
//! document  = { entry, ... }                        all of them; at least one
//! entry     = "$and" | "$or" | "$nor" : [document, ...]      at least one
//!           | "$not" : document
//!           | path : value                                   equality
//!           | path : condition
//! condition = { operator : operand, ... }           all of them; at least one
//!           | also "$and" | "$or" | "$nor" : [condition, ...] and "$not" : condition
//! ```
//!
//! Whatever is not of this form is an error that says where, as in `$and[1].price.$gte`. An object
//! in the place of a value is a condition if a name in it begins with `$`. Recursion is bounded by
//! [`MAX_LEVELS`] before the tree is known and by [`MAX_DEPTH`] after.

use serde_json::{Map, Value};

use super::node::{
    Form, MAX_DEPTH, MAX_NODES, MAX_REGEXES, MAX_VALUES, Node, Path, Predicate, Than,
};
use super::value::kind;
use crate::error::{Error, Result};

/// How deep documents and conditions may be in each other as written.
const MAX_LEVELS: usize = 80;
/// As much of a place is shown.
const SHOWN: usize = 160;

pub(super) fn parse(value: &Value) -> Result<Node> {
    if value.as_object().is_some_and(Map::is_empty) {
        return Ok(Node::EVERYTHING);
    }
    Parser::default().document(value)
}

/// The error about a place of a filter: steps that begin with a dot or are `[position]`.
pub(super) fn fault(place: &str, what: &str) -> Error {
    let Some(place) = place.strip_prefix('.') else {
        return Error::invalid(format!("the filter {what}"));
    };
    let mut shown: String = place.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if place.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    Error::invalid(format!("the filter at `{shown}` {what}"))
}

#[derive(Default)]
struct Parser {
    place: String,
    level: usize,
    nodes: usize,
    values: usize,
    regexes: usize,
}

impl Parser {
    fn fault(&self, what: &str) -> Error {
        fault(&self.place, what)
    }

    /// Does something one step further in.
    fn within<T>(&mut self, step: &str, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outside = self.place.len();
        self.place.push_str(step);
        let outcome = inside(self);
        self.place.truncate(outside);
        outcome
    }

    /// The entries of an object, each parsed in its place, as a conjunction.
    fn object(
        &mut self,
        value: &Value,
        what: &str,
        mut entry: impl FnMut(&mut Self, &str, &Value) -> Result<Node>,
    ) -> Result<Node> {
        let Value::Object(entries) = value else {
            return Err(self.fault(&format!("must be {what}, not {}", kind(value))));
        };
        if entries.is_empty() {
            return Err(self.fault(&format!("must be {what}, and is empty")));
        }
        if self.level == MAX_LEVELS {
            return Err(self.fault(&format!("is nested deeper than {MAX_LEVELS} levels")));
        }
        self.level += 1;
        let mut nodes = Vec::new();
        for (key, operand) in entries {
            nodes.push(self.within(&format!(".{key}"), |parser| entry(parser, key, operand))?);
        }
        self.level -= 1;
        // Where it is deepest, should it be too deep.
        let deepest = entries.keys().zip(&nodes).max_by_key(|(_, node)| node.depth());
        let step = deepest.map(|(key, _)| format!(".{key}")).unwrap_or_default();
        let node = Node::all(nodes);
        if node.depth() > MAX_DEPTH {
            let what = format!("has conditions nested deeper than {MAX_DEPTH}");
            return self.within(&step, |parser| Err(parser.fault(&what)));
        }
        Ok(node)
    }

    /// Keeps account of nodes; shorthand counts as what it stands for.
    fn count(&mut self, nodes: usize) -> Result<()> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.fault(&format!("is one condition too many; {MAX_NODES} are allowed")));
        }
        Ok(())
    }

    fn document(&mut self, value: &Value) -> Result<Node> {
        self.object(value, "an object of conditions on fields", |parser, key, operand| match key {
            "$and" | "$or" | "$nor" | "$not" => parser.logical(key, operand, Self::document),
            key if key.starts_with('$') => Err(parser.fault(if is_operator(key) {
                "is an operator on a field; write {\"field\": {\"$operator\": ...}}"
            } else {
                "is not an operator"
            })),
            key => {
                let path = Path::new(key).map_err(|what| parser.fault(&what))?;
                match operand {
                    Value::Object(fields) if fields.keys().any(|key| key.starts_with('$')) => {
                        parser.condition(&path, operand)
                    }
                    literal => {
                        parser.count(1)?;
                        let predicate = parser.checked(Predicate::eq(literal.clone()))?;
                        Ok(Node::Test(path, predicate))
                    }
                }
            }
        })
    }

    fn condition(&mut self, path: &Path, value: &Value) -> Result<Node> {
        self.object(value, "an object of operators", |parser, key, operand| match key {
            "$and" | "$or" | "$nor" | "$not" => {
                parser.logical(key, operand, |parser, value| parser.condition(path, value))
            }
            "$all" => {
                let values = parser.array(operand, "values")?;
                let mut nodes = Vec::new();
                for (position, value) in values.iter().enumerate() {
                    nodes.push(parser.within(&format!("[{position}]"), |parser| {
                        parser.count(1)?;
                        let predicate = parser.checked(Predicate::eq(value.clone()))?;
                        Ok(Node::Test(path.clone(), predicate))
                    })?);
                }
                Ok(Node::all(nodes))
            }
            key => {
                parser.count(1)?;
                let (predicate, opposite) = parser.predicate(key, operand)?;
                let test = Node::Test(path.clone(), predicate);
                if !opposite {
                    return Ok(test);
                }
                parser.count(1)?;
                Ok(test.negated())
            }
        })
    }

    fn logical(
        &mut self,
        key: &str,
        operand: &Value,
        mut inner: impl FnMut(&mut Self, &Value) -> Result<Node>,
    ) -> Result<Node> {
        self.count(if key == "$nor" { 2 } else { 1 })?;
        if key == "$not" {
            return Ok(inner(self, operand)?.negated());
        }
        let mut nodes = Vec::new();
        for (position, value) in self.array(operand, "conditions")?.iter().enumerate() {
            let step = format!("[{position}]");
            nodes.push(self.within(&step, |parser| inner(parser, value))?);
        }
        let node = match key {
            "$and" => Node::all(nodes),
            "$or" => Node::any(nodes),
            _ => Node::any(nodes).negated(),
        };
        // Conditions side by side are joined by one more, which nobody wrote.
        if node.size().nodes > MAX_NODES {
            return Err(self.fault(&format!("has more conditions than {MAX_NODES}")));
        }
        Ok(node)
    }

    fn array<'a>(&self, operand: &'a Value, of: &str) -> Result<&'a [Value]> {
        match operand {
            Value::Array(items) if items.is_empty() => Err(self.fault("must not be empty")),
            Value::Array(items) => Ok(items),
            other => Err(self.fault(&format!("takes an array of {of}, not {}", kind(other)))),
        }
    }

    /// The predicate of an operator, and whether it is the opposite that is meant.
    fn predicate(&mut self, key: &str, operand: &Value) -> Result<(Predicate, bool)> {
        let wrong = |what: &str| Err(format!("takes {what}, not {}", kind(operand)));
        let text = |build: fn(&str) -> Result<Predicate, String>| match operand {
            Value::String(text) => build(text),
            _ => wrong("a string"),
        };
        let than = |than| Predicate::than(than, operand.clone());
        let predicate = match key {
            "$eq" | "$ne" => Predicate::eq(operand.clone()),
            "$gt" => than(Than::Gt),
            "$gte" => than(Than::Gte),
            "$lt" => than(Than::Lt),
            "$lte" => than(Than::Lte),
            "$in" | "$nin" => match operand {
                Value::Array(values) => Predicate::is_in(values.clone()),
                _ => wrong("an array of values"),
            },
            "$exists" => match operand {
                Value::Bool(_) => Ok(Predicate::Exists),
                _ => wrong("true or false"),
            },
            "$size" => match operand.as_u64() {
                Some(size) => Ok(Predicate::Size(size)),
                None if operand.is_number() => Err("takes a whole number, 0 or more".into()),
                None => wrong("a whole number"),
            },
            "$contains" => text(|part| Ok(Predicate::Contains(part.to_owned()))),
            "$regex" => {
                if self.regexes == MAX_REGEXES {
                    return Err(self.fault(&format!(
                        "is one regular expression too many; {MAX_REGEXES} are allowed"
                    )));
                }
                self.regexes += 1;
                text(Predicate::regex)
            }
            "$elemMatch" => {
                let inner = match form_of(operand) {
                    Form::Document => self.document(operand)?,
                    Form::Element => self.condition(&Path::ELEMENT, operand)?,
                };
                Ok(Predicate::ElemMatch(Box::new(inner)))
            }
            "$options" => Err("is not supported; write flags into the pattern, as in \
                               (?i)text"
                .into()),
            key if key.starts_with('$') => Err("is not an operator".into()),
            _ => Err("is a field among operators; an object has either".into()),
        };
        let opposite = operand == &Value::Bool(false) && key == "$exists";
        Ok((self.checked(predicate)?, opposite || matches!(key, "$ne" | "$nin")))
    }

    /// Gives a fault its place, and keeps account of values.
    fn checked(&mut self, predicate: Result<Predicate, String>) -> Result<Predicate> {
        let predicate = predicate.map_err(|what| self.fault(&what))?;
        self.values += predicate.values();
        if self.values > MAX_VALUES {
            return Err(self.fault(&format!("has too many values; {MAX_VALUES} are allowed")));
        }
        Ok(predicate)
    }
}

fn is_operator(key: &str) -> bool {
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
        "$elemMatch",
        "$all",
        "$options",
    ];
    operators.contains(&key)
}

/// Whether the operand of `$elemMatch` is about the fields of elements or about the elements
/// themselves: the first name that is not logical tells.
fn form_of(mut operand: &Value) -> Form {
    loop {
        let first = operand.as_object().and_then(|entries| entries.iter().next());
        let Some((key, inner)) = first else { return Form::Document };
        match key.as_str() {
            "$and" | "$or" | "$nor" => {
                let Some(first) = inner.as_array().and_then(|items| items.first()) else {
                    return Form::Document;
                };
                operand = first;
            }
            "$not" => operand = inner,
            key if key.starts_with('$') => return Form::Element,
            _ => return Form::Document,
        }
    }
}
