//! The tree of a filter, in the one form that everything else reads.
//!
//! Four kinds of node are enough, for the rest of the language is shorthand: `$ne`, `$nin`, `$nor`
//! and `$exists: false` are `Not` of something, `$all` is `And` of equalities. Built by the
//! functions here, a tree has no `And` in an `And`, no `Or` in an `Or`, no `Not` of a `Not`, and no
//! list of one. An empty `And` is the root of the filter that selects everything, and nowhere else;
//! an empty `Or` is not made. Below an `$elemMatch` that looks at elements themselves, every path
//! is empty; elsewhere none is.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::value::{self, check_literal, kind};

/// The most levels of `And`, `Or`, `Not` and `ElemMatch`.
pub(super) const MAX_DEPTH: usize = 32;
/// The most nodes.
pub(super) const MAX_NODES: usize = 1024;
/// The most JSON values in all operands together.
pub(super) const MAX_VALUES: usize = 65_536;
/// The most regular expressions.
pub(super) const MAX_REGEXES: usize = 16;

const MAX_PATH: usize = 1024;
const MAX_SEGMENTS: usize = 64;
const MAX_PATTERN: usize = 1024;
const MAX_COMPILED: usize = 1 << 20;
const MAX_GROUPS: u32 = 64;

#[derive(Clone, PartialEq)]
pub(crate) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Test(Path, Predicate),
}

/// What the value at a path must be.
#[derive(Clone, PartialEq)]
pub(crate) enum Predicate {
    Eq(Value),
    /// Sorted, and no two the same.
    In(Vec<Value>),
    /// Beside a number or a string.
    Than(Than, Value),
    Exists,
    Size(u64),
    Contains(String),
    Regex(Pattern),
    ElemMatch(Box<Node>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Than {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// What a tree is asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// An object, by paths into it.
    Document,
    /// One element of an array, itself.
    Element,
}

/// What a tree amounts to, against the limits.
#[derive(Default)]
pub(super) struct Size {
    pub(super) depth: usize,
    pub(super) nodes: usize,
    pub(super) values: usize,
    pub(super) regexes: usize,
}

impl Node {
    pub(super) const EVERYTHING: Self = Self::And(Vec::new());

    pub(super) fn all(nodes: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for node in nodes {
            match node {
                Self::And(inner) => flat.extend(inner),
                node => flat.push(node),
            }
        }
        if flat.len() == 1 { flat.swap_remove(0) } else { Self::And(flat) }
    }

    pub(super) fn any(nodes: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for node in nodes {
            match node {
                Self::Or(inner) => flat.extend(inner),
                node => flat.push(node),
            }
        }
        if flat.len() == 1 { flat.swap_remove(0) } else { Self::Or(flat) }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            node => Self::Not(Box::new(node)),
        }
    }

    pub(super) fn is_everything(&self) -> bool {
        matches!(self, Self::And(nodes) if nodes.is_empty())
    }

    /// All tests of a tree have one form, so the first tells. `Document` if there is none.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::And(nodes) | Self::Or(nodes) => nodes.first().map_or(Form::Document, Self::form),
            Self::Not(inner) => inner.form(),
            Self::Test(path, _) if path.is_element() => Form::Element,
            Self::Test(..) => Form::Document,
        }
    }

    pub(super) fn depth(&self) -> usize {
        match self {
            Self::And(nodes) if nodes.is_empty() => 0,
            Self::And(nodes) | Self::Or(nodes) => {
                1 + nodes.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Not(inner) | Self::Test(_, Predicate::ElemMatch(inner)) => 1 + inner.depth(),
            Self::Test(..) => 0,
        }
    }

    pub(super) fn size(&self) -> Size {
        let mut size = Size { depth: self.depth(), ..Size::default() };
        self.add_to(&mut size);
        size
    }

    fn add_to(&self, size: &mut Size) {
        size.nodes += 1;
        match self {
            Self::And(nodes) | Self::Or(nodes) => {
                for node in nodes {
                    node.add_to(size);
                }
            }
            Self::Not(inner) | Self::Test(_, Predicate::ElemMatch(inner)) => inner.add_to(size),
            Self::Test(_, predicate) => {
                size.values += predicate.values();
                size.regexes += usize::from(matches!(predicate, Predicate::Regex(_)));
            }
        }
    }
}

impl Predicate {
    pub(super) fn eq(value: Value) -> Result<Self, String> {
        check_literal(&value)?;
        Ok(Self::Eq(value))
    }

    pub(super) fn is_in(mut values: Vec<Value>) -> Result<Self, String> {
        for value in &values {
            check_literal(value)?;
        }
        values.sort_by(value::order);
        values.dedup_by(|a, b| value::order(a, b).is_eq());
        Ok(Self::In(values))
    }

    pub(super) fn than(than: Than, value: Value) -> Result<Self, String> {
        match value {
            Value::Number(_) | Value::String(_) => Ok(Self::Than(than, value)),
            other => Err(format!("takes a number or a string, not {}", kind(&other))),
        }
    }

    pub(super) fn regex(pattern: &str) -> Result<Self, String> {
        Pattern::new(pattern).map(Self::Regex)
    }

    /// How many JSON values it holds.
    pub(super) fn values(&self) -> usize {
        match self {
            Self::Eq(value) => check_literal(value).unwrap_or(0),
            Self::In(values) => values.iter().map(|v| check_literal(v).unwrap_or(0)).sum(),
            Self::Exists | Self::ElemMatch(_) => 0,
            Self::Than(..) | Self::Size(_) | Self::Contains(_) | Self::Regex(_) => 1,
        }
    }
}

/// A compiled regular expression, which is its text.
#[derive(Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > MAX_PATTERN {
            return Err(format!("has a pattern of {} bytes, over {MAX_PATTERN}", pattern.len()));
        }
        let mut builder = RegexBuilder::new(pattern);
        let built = builder.size_limit(MAX_COMPILED).nest_limit(MAX_GROUPS).build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("has a pattern that compiles to more than {MAX_COMPILED} bytes")
            }
            _ => "is not a regular expression; the syntax is that of the Rust crate `regex`, \
                  which has no look-around and no back-references"
                .into(),
        })
    }

    pub(super) fn text(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// Where in the metadata: names separated by dots. Empty: an element of an array, itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Path {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: String,
    /// As which position of an array it can be read.
    pub(super) position: Option<usize>,
}

impl Path {
    pub(super) const ELEMENT: Self = Self { text: String::new(), segments: Vec::new() };

    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATH {
            return Err(format!("has a path of {} bytes, over {MAX_PATH}", text.len()));
        }
        let segments: Vec<Segment> = text.split('.').map(Segment::new).collect();
        if segments.len() > MAX_SEGMENTS {
            let found = segments.len();
            return Err(format!("has a path of {found} names, over {MAX_SEGMENTS}"));
        }
        if segments.iter().any(|segment| segment.name.is_empty()) {
            return Err("has a path with an empty name".into());
        }
        if segments.iter().any(|segment| segment.name.starts_with('$')) {
            return Err("has a path with an operator in it".into());
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) const fn is_element(&self) -> bool {
        self.segments.is_empty()
    }
}

impl Segment {
    fn new(name: &str) -> Self {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        let plain = digits && (name == "0" || !name.starts_with('0'));
        let position = if plain { name.parse().ok() } else { None };
        Self { name: name.to_owned(), position }
    }
}
