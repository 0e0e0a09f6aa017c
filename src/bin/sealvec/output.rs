//! Answers in the making: JSON by hand, and text for people.
//!
//! JSON is written field by field so that the order of fields is the documented one and an f32 is
//! shown with as many digits as it has. Text for people shows no control characters, whatever an
//! item holds, and cuts long values.

use std::fmt::{Display, Write as _};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::Value;

use crate::failure::Result;
use crate::new_file::NewFile;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    #[default]
    #[value(alias = "text")]
    Table,
    /// JSON for programs
    Json,
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout(BufWriter<io::Stdout>),
    File(NewFile),
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self::Stdout(BufWriter::with_capacity(1 << 16, io::stdout()))
    }

    /// The file, which must not exist; stdout if there is none.
    pub(crate) fn new(file: Option<&Path>) -> Result<Self> {
        file.map_or_else(|| Ok(Self::stdout()), |path| Ok(Self::File(NewFile::create(path)?)))
    }

    /// Makes sure that all of the answer arrived.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(mut stdout) => Ok(stdout.flush()?),
            Self::File(file) => file.finish(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// Prints one line as the whole answer.
pub(crate) fn print_line(line: &str) -> Result<()> {
    let mut out = Output::stdout();
    writeln!(out, "{line}")?;
    out.finish()
}

/// Prints names and values in two columns as the whole answer.
pub(crate) fn print_pairs(pairs: &[(&str, String)]) -> Result<()> {
    let mut out = Output::stdout();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in pairs {
        writeln!(out, "{name:width$}  {value}")?;
    }
    out.finish()
}

/// A JSON object on one line.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) const fn new() -> Self {
        Self(String::new())
    }

    /// A field whose value is JSON already; a number is its own JSON.
    pub(crate) fn field(mut self, name: &str, json: impl Display) -> Self {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{comma}\"{name}\":{json}");
        self
    }

    pub(crate) fn text(self, name: &str, text: &str) -> Self {
        self.field(name, quote(text))
    }

    pub(crate) fn end(self) -> String {
        format!("{{{}}}", self.0)
    }
}

/// A text as JSON.
pub(crate) fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// Values that are JSON already, as an array.
pub(crate) fn array(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().collect();
    format!("[{}]", values.join(","))
}

/// Contents as JSON: a string if they are text.
pub(crate) fn contents(contents: Option<&[u8]>) -> String {
    let Some(contents) = contents else { return "null".into() };
    match std::str::from_utf8(contents) {
        Ok(text) => quote(text),
        Err(_) => Object::new().text("base64", &STANDARD.encode(contents)).end(),
    }
}

/// Metadata as JSON.
pub(crate) fn metadata(metadata: Option<&Value>) -> String {
    metadata.map_or_else(|| "null".into(), Value::to_string)
}

/// A vector as JSON.
pub(crate) fn vector(vector: Option<&[f32]>) -> String {
    let number = |component: &f32| format!("{component:?}");
    vector.map_or_else(|| "null".into(), |vector| array(vector.iter().map(number)))
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A text on one line, at most `limit` characters of it.
pub(crate) fn short(text: &str, limit: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().map(plain).take(limit).collect();
    if text.chars().nth(limit).is_some() {
        short.push_str("...");
    }
    short
}

/// Contents for people.
pub(crate) fn short_contents(contents: &[u8], limit: usize) -> String {
    match std::str::from_utf8(contents) {
        Ok(text) => short(text, limit),
        Err(_) => format!("({} bytes)", contents.len()),
    }
}

/// A vector for people: its first components, and how many there are.
pub(crate) fn short_vector(vector: &[f32]) -> String {
    let shown: Vec<String> = vector.iter().take(4).map(|x| format!("{x:.4}")).collect();
    let more = if vector.len() > 4 { ", ..." } else { "" };
    format!("[{}{more}] ({} components)", shown.join(", "), vector.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_json() {
        let edges = [0.0, -0.0, 1.0, 0.1, 1e-40, f32::MAX, f32::MIN_POSITIVE, 16_777_216.0];
        let parsed: Value = serde_json::from_str(&vector(Some(&edges))).unwrap();
        let parsed: Vec<String> =
            parsed.as_array().unwrap().iter().map(ToString::to_string).collect();
        let numbers: Vec<f32> = parsed.iter().map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers, edges);

        let line = Object::new()
            .text("id", "a\"\n")
            .field("contents", contents(Some(&[0xff, 0])))
            .field("n", 3)
            .field("none", metadata(None))
            .end();
        assert_eq!(line, r#"{"id":"a\"\n","contents":{"base64":"/wA="},"n":3,"none":null}"#);
    }

    #[test]
    fn people_see_no_control_characters() {
        assert_eq!(short("a\u{1b}[31m\nb\u{9b}c", 9), "a [31m b ...");
        assert_eq!(short("abc", 3), "abc");
        assert_eq!(short_contents(&[0xff], 9), "(1 bytes)");
        assert_eq!(short_vector(&[1.0; 5]), "[1.0000, 1.0000, 1.0000, 1.0000, ...] (5 components)");
    }
}
