//! From JSON text to a JSON value, without losing a condition on the way.
//!
//! A JSON parser keeps the last of two fields of one name. In a filter the first would be a
//! condition that silently does not apply, so text with a name twice in an object is refused.

use std::collections::HashSet;

use serde_json::Value;

use crate::error::{Error, Result};

pub(super) fn parse(text: &str) -> Result<Value> {
    let value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::invalid(format!(
            "the filter is not JSON, or nested too deep: line {line}, column {column}"
        ))
    })?;
    match repeated_name(text) {
        None => Ok(value),
        Some(position) => Err(Error::invalid(format!(
            "the filter has the same name twice in one object, at byte {position}; join the \
             conditions in one object, or with $and"
        ))),
    }
}

/// Where a name stands for the second time in its object, in text that is JSON.
fn repeated_name(text: &str) -> Option<usize> {
    // One set of names for each object that is open, none for an array.
    let mut open: Vec<Option<HashSet<String>>> = Vec::new();
    let mut rest = text.char_indices();
    while let Some((start, character)) = rest.next() {
        match character {
            '{' => open.push(Some(HashSet::new())),
            '[' => open.push(None),
            '}' | ']' => _ = open.pop(),
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
                let name = name.and_then(|name| serde_json::from_str(name).ok());
                if let (Some(name), Some(Some(names))) = (name, open.last_mut())
                    && !names.insert(name)
                {
                    return Some(start);
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
        assert_eq!(repeated_name(r#"{"a":1,"a":2}"#), Some(7));
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
}
