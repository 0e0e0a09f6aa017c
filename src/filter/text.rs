//! From JSON text to a JSON value, without losing a condition on the way.
//!
//! A JSON parser keeps the last of two fields of one name. In a filter the first would be a
//! condition that silently does not apply, so text with a name twice in an object is refused.

use std::collections::HashSet;

use serde_json::Value;

use super::parse::fault;
use crate::error::{Error, Result};

/// How deep the JSON parser goes.
const MAX_LEVELS: usize = 127;

pub(super) fn parse(text: &str) -> Result<Value> {
    let value = serde_json::from_str(text).map_err(|error| {
        // The parser says so in its message only.
        let deep = error.to_string().starts_with("recursion limit");
        if let Some(Odd::Deep(place)) = scan(text).filter(|_| deep) {
            return fault(&place, &format!("is nested deeper than {MAX_LEVELS} levels"));
        }
        let (line, column) = (error.line(), error.column());
        Error::invalid(format!("the filter is not JSON: line {line}, column {column}"))
    })?;
    match scan(text) {
        Some(Odd::Repeated(position)) => Err(Error::invalid(format!(
            "the filter has the same name twice in one object, at byte {position}; join the \
             conditions in one object, or with $and"
        ))),
        _ => Ok(value),
    }
}

/// What may be odd about text that is JSON as far as it was read.
#[derive(Debug, PartialEq)]
enum Odd {
    /// A name stands here for the second time in its object.
    Repeated(usize),
    /// It is too deep at this place.
    Deep(String),
}

/// An object that is open, or an array.
struct Open {
    names: Option<HashSet<String>>,
    /// The last of the names.
    name: String,
    /// Commas so far.
    position: usize,
}

impl Open {
    fn new(object: bool) -> Self {
        Self { names: object.then(HashSet::new), name: String::new(), position: 0 }
    }

    fn step(&self) -> String {
        match self.names {
            Some(_) => format!(".{}", self.name),
            None => format!("[{}]", self.position),
        }
    }
}

/// The first thing that is odd.
fn scan(text: &str) -> Option<Odd> {
    let mut open: Vec<Open> = Vec::new();
    let mut rest = text.char_indices();
    while let Some((start, character)) = rest.next() {
        match character {
            '{' | '[' if open.len() == MAX_LEVELS => {
                return Some(Odd::Deep(open.iter().map(Open::step).collect()));
            }
            '{' | '[' => open.push(Open::new(character == '{')),
            '}' | ']' => _ = open.pop(),
            ',' => open.last_mut().into_iter().for_each(|open| open.position += 1),
            '"' => {
                while let Some((_, character)) = rest.next() {
                    match character {
                        '\\' => _ = rest.next(),
                        '"' => break,
                        _ => {}
                    }
                }
                let after = rest.offset();
                let is_name = text.get(after..).is_some_and(|t| t.trim_start().starts_with(':'));
                let name = text.get(start..after).filter(|_| is_name);
                let name: Option<String> = name.and_then(|name| serde_json::from_str(name).ok());
                if let (Some(name), Some(Open { names: Some(names), name: last, .. })) =
                    (name, open.last_mut())
                {
                    last.clone_from(&name);
                    if !names.insert(name) {
                        return Some(Odd::Repeated(start));
                    }
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_twice_in_an_object_is_found() {
        let repeated = [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1, "b":{"a":1}, "\u0061" : 2}"#,
            r#"[{"x":[{"a":{},"b":[],"a":0}]}]"#,
            r#"{"a\"":1,"a\"":2}"#,
            r#"{"":1,"":2}"#,
        ];
        for text in repeated {
            assert!(serde_json::from_str::<Value>(text).is_ok());
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("the same name twice"), "{text}: {error}");
        }
        assert_eq!(scan(r#"{"a":1,"a":2}"#), Some(Odd::Repeated(7)));
    }

    #[test]
    fn the_same_text_elsewhere_is_fine() {
        let fine = [
            r#"{"a":"a","b":"a:","c":["a","a"],"d":{"a":1}}"#,
            r#"[{"a":1},{"a":1}]"#,
            r#"{"a":"\"a\":","b":"{\"b\":1}","c":"}"}"#,
            "1",
            r#""a""#,
        ];
        for text in fine {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{\"a\":NaN}", "{\"a\":1e999}", "{} {}", deep.as_str()] {
            assert_eq!(parse(text).unwrap_err().code(), "invalid_argument");
        }
    }

    #[test]
    fn text_nested_too_deep_for_a_parser_is_refused_by_its_place() {
        let nested = |levels: usize| {
            let ends = "]}".repeat(levels / 2);
            format!("{}1{ends}", r#"{"b": 0, "$or": [{}, "#.repeat(levels / 2))
        };
        assert!(serde_json::from_str::<Value>(&nested(126)).is_ok());
        assert_eq!(scan(&nested(126)), None);
        let error = parse(&nested(128)).unwrap_err().to_string();
        assert!(error.contains("at `$or[1].$or[1].$or[1]"), "{error}");
        assert!(error.contains("deeper than 127 levels"), "{error}");
        // What is no JSON before it is deep is no JSON.
        let error = parse(&format!("{{]{}", nested(128))).unwrap_err().to_string();
        assert!(error.contains("not JSON: line 1, column 2"), "{error}");
    }
}
