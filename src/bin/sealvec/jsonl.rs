//! Items as lines of JSON.
//!
//! `{"id": "doc-7", "contents": "text", "metadata": {"page": 3}}`, one object a line. Contents that
//! are not text are written `{"base64": "..."}`. Contents and metadata may be null or left out; any
//! other field is refused, because ignoring it would lose data. Faults name the line, counted from
//! 1, and never quote it.

use std::io::{BufRead, Read, Seek};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::npy::unread;

/// No item that the library takes is longer, even with every byte of it escaped.
const MAX_LINE: u64 = 128 << 20;

/// One line.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) contents: Option<Vec<u8>>,
    pub(crate) metadata: Option<Value>,
}

/// The lines of a file.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead + Seek> Lines<R> {
    pub(crate) const fn new(input: R) -> Self {
        Self { input, number: 0, buffer: Vec::new() }
    }

    /// The number of the line that came last.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Goes back to the first line.
    pub(crate) fn rewind(&mut self) -> Result<(), String> {
        self.number = 0;
        self.input.rewind().map_err(|error| unread(&error))
    }

    /// The next line, if there is one.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line>, String> {
        self.buffer.clear();
        let mut limited = (&mut self.input).take(MAX_LINE + 1);
        let length = limited.read_until(b'\n', &mut self.buffer).map_err(|error| unread(&error))?;
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        let line = if length as u64 > MAX_LINE {
            Err(format!("is longer than {MAX_LINE} bytes"))
        } else {
            parse(&self.buffer)
        };
        line.map(Some).map_err(|fault| format!("line {}: {fault}", self.number))
    }
}

fn parse(line: &[u8]) -> Result<Line, String> {
    let line = line.trim_ascii_end();
    if line.is_empty() {
        return Err("is empty; one JSON object a line is wanted".into());
    }
    let value = serde_json::from_slice(line).map_err(|error| {
        let what = if error.is_eof() { "ends in the middle of a value" } else { "is not JSON" };
        format!("{what} (column {})", error.column())
    })?;
    let Value::Object(mut fields) = value else { return Err("is not a JSON object".into()) };
    let id = match fields.remove("id") {
        Some(Value::String(id)) => id,
        Some(_) => return Err("\"id\" is not a string".into()),
        None => return Err("has no \"id\"".into()),
    };
    let contents = contents(fields.remove("contents"))?;
    let metadata = match fields.remove("metadata") {
        None | Some(Value::Null) => None,
        Some(object @ Value::Object(_)) => Some(object),
        Some(_) => return Err("\"metadata\" is neither an object nor null".into()),
    };
    if fields.is_empty() {
        Ok(Line { id, contents, metadata })
    } else {
        Err("has a field other than \"id\", \"contents\" and \"metadata\"".into())
    }
}

fn contents(value: Option<Value>) -> Result<Option<Vec<u8>>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.into_bytes())),
        Some(Value::Object(fields)) => match only(fields) {
            Some(text) => STANDARD
                .decode(text)
                .map(Some)
                .map_err(|_| "\"contents\" has \"base64\" that does not decode".into()),
            None => Err("\"contents\" is an object, but not {\"base64\": \"...\"}".into()),
        },
        Some(_) => Err("\"contents\" is neither a string, {\"base64\": \"...\"} nor null".into()),
    }
}

/// The text under `base64`, if that is all there is.
fn only(fields: Map<String, Value>) -> Option<String> {
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (Some((name, Value::String(text))), None) if name == "base64" => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_read_twice_alike() {
        let text = concat!(
            "{\"id\": \"a\", \"contents\": \"text\", \"metadata\": {\"n\": 1}}\r\n",
            "{\"metadata\": null, \"id\": \"b\", \"contents\": {\"base64\": \"/wA=\"}}\n",
            "{\"id\": \"c\"}",
        );
        let line = |id: &str, contents: Option<&[u8]>, metadata| Line {
            id: id.to_owned(),
            contents: contents.map(<[u8]>::to_vec),
            metadata,
        };
        let mut lines = Lines::new(Cursor::new(text));
        for _ in 0..2 {
            let wanted = line("a", Some(b"text"), Some(json!({"n": 1})));
            assert_eq!(lines.next_line(), Ok(Some(wanted)));
            assert_eq!(lines.next_line(), Ok(Some(line("b", Some(&[255, 0]), None))));
            assert_eq!(lines.next_line(), Ok(Some(line("c", None, None))));
            assert_eq!(lines.next_line(), Ok(None));
            assert_eq!(lines.number(), 3);
            lines.rewind().unwrap();
        }
        assert_eq!(Lines::new(Cursor::new("")).next_line(), Ok(None));
    }

    #[test]
    fn a_bad_line_is_named_and_not_quoted() {
        for (bad, said) in [
            ("", "empty"),
            ("  ", "empty"),
            ("{\"id\": \"hidden\"", "middle of a value (column 15)"),
            ("{\"id\": hidden}", "not JSON (column 8)"),
            ("{\"id\": \"hidden\"} x", "not JSON"),
            ("{\"id\": \"\u{1}hidden\"}", "not JSON"),
            ("[\"hidden\"]", "not a JSON object"),
            ("{\"contents\": \"hidden\"}", "no \"id\""),
            ("{\"id\": 7}", "\"id\" is not a string"),
            ("{\"id\": \"hidden\", \"text\": 1}", "a field other than"),
            ("{\"id\": \"hidden\", \"contents\": 1}", "\"contents\" is neither"),
            ("{\"id\": \"hidden\", \"contents\": {\"base64\": \"=\"}}", "does not decode"),
            ("{\"id\": \"hidden\", \"contents\": {\"base64\": 1}}", "but not"),
            ("{\"id\": \"hidden\", \"contents\": {}}", "but not"),
            ("{\"id\": \"hidden\", \"metadata\": [1]}", "\"metadata\" is neither"),
        ] {
            let text = format!("{{\"id\": \"a\"}}\n{bad}\n{{\"id\": \"c\"}}\n");
            let mut lines = Lines::new(Cursor::new(text));
            assert!(lines.next_line().unwrap().is_some());
            let fault = lines.next_line().unwrap_err();
            assert!(fault.starts_with("line 2: ") && fault.contains(said), "{bad}: {fault}");
            assert!(!fault.contains("hidden"), "{fault}");
        }
        let fault = Lines::new(Cursor::new(b"{\"id\": \"\xff\"}")).next_line().unwrap_err();
        assert!(fault.starts_with("line 1: is not JSON"), "{fault}");
    }
}
