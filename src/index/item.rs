//! Items as the caller gives them, and every rule about what they may be.
//!
//! A batch is checked whole before anything is written; the first fault names the item's position.

use std::fmt;

use serde_json::Value;

use crate::condition::Expected;
use crate::config::Options;
use crate::error::{Error, Result};
use crate::redact::Hidden;
use crate::vector::{self, Metric, Precision};

/// The longest id, in bytes.
pub(crate) const MAX_ID: usize = 512;

const MAX_DEPTH: usize = 64;

/// An item to be stored.
///
/// ```
/// use sealvec::Item;
/// let item = Item::new("doc-7", [0.1, 0.2, 0.3])
///     .contents("the text the vector was made from")
///     .metadata(serde_json::json!({"lang": "en", "page": 3}));
/// ```
#[derive(Clone, PartialEq)]
#[must_use]
pub struct Item {
    pub(crate) id: String,
    pub(crate) vector: Vec<f32>,
    pub(crate) contents: Option<Vec<u8>>,
    pub(crate) metadata: Option<Value>,
    pub(crate) expected: Expected,
}

impl Item {
    /// An item without contents or metadata.
    ///
    /// The id is UTF-8 of 1 to 512 bytes without control characters, and neither `.` nor `..`. The
    /// vector has the dimension of the index; its components are finite, its squared length is at
    /// most 1e37, and under the cosine metric it is not zero (squared length at least 1e-30).
    pub fn new(id: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        Self {
            id: id.into(),
            vector: vector.into(),
            contents: None,
            metadata: None,
            expected: Expected::Anything,
        }
    }

    /// The same item under another id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The vector.
    #[must_use]
    pub fn vector(&self) -> &[f32] {
        &self.vector
    }

    /// Any bytes; at most [`Options::max_contents`].
    pub fn contents(mut self, contents: impl Into<Vec<u8>>) -> Self {
        self.contents = Some(contents.into());
        self
    }

    /// A JSON object of at most 64 levels, the innermost value counted, and
    /// [`Options::max_metadata`] bytes as JSON.
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Writes it only over an item with this version. Needs the read right too.
    pub const fn if_version(mut self, version: u64) -> Self {
        self.expected = Expected::Version(version);
        self
    }

    /// Writes it only if there is none of this id. Needs the read right too.
    pub const fn if_absent(mut self) -> Self {
        self.expected = Expected::Absent;
        self
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("id", &Hidden::text(&self.id))
            .field("vector", &Hidden::vector(&self.vector))
            .field("contents", &self.contents.as_deref().map(Hidden::bytes))
            .field("metadata", &self.metadata.as_ref().map(Hidden::metadata))
            .field("expected", &self.expected)
            .finish()
    }
}

/// A change of an item that keeps its vector.
///
/// ```
/// use sealvec::Update;
/// let update = Update::new().metadata(serde_json::json!({"seen": true})).remove_contents();
/// ```
#[derive(Clone, Default, PartialEq)]
#[must_use]
#[expect(clippy::option_option, reason = "unchanged, removed and replaced are three things")]
pub struct Update {
    pub(crate) expected: Expected,
    pub(crate) contents: Option<Option<Vec<u8>>>,
    pub(crate) metadata: Option<Option<Value>>,
}

impl Update {
    /// Changes nothing yet.
    pub const fn new() -> Self {
        Self { expected: Expected::Anything, contents: None, metadata: None }
    }

    /// Replaces the contents.
    pub fn contents(mut self, contents: impl Into<Vec<u8>>) -> Self {
        self.contents = Some(Some(contents.into()));
        self
    }

    /// Replaces the metadata, whole.
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(Some(metadata));
        self
    }

    /// Updates only an item with this version. Needs the read right too.
    pub const fn if_version(mut self, version: u64) -> Self {
        self.expected = Expected::Version(version);
        self
    }

    /// Removes the contents.
    pub fn remove_contents(mut self) -> Self {
        self.contents = Some(None);
        self
    }

    /// Removes the metadata.
    pub fn remove_metadata(mut self) -> Self {
        self.metadata = Some(None);
        self
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self.contents.as_ref().map(|change| change.as_deref().map(Hidden::bytes));
        let metadata = self.metadata.as_ref().map(|change| change.as_ref().map(Hidden::metadata));
        f.debug_struct("Update")
            .field("contents", &contents)
            .field("metadata", &metadata)
            .field("expected", &self.expected)
            .finish()
    }
}

/// Says why a text cannot be an item id or the name of an index.
pub(crate) fn name_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.len() > MAX_ID {
        Some("is longer than 512 bytes")
    } else if text == "." || text == ".." {
        Some("is \".\" or \"..\"")
    } else if text.chars().any(char::is_control) {
        Some("has a control character")
    } else {
        None
    }
}

fn check_id(position: usize, id: &str) -> Result<()> {
    match name_fault(id) {
        None => Ok(()),
        Some(fault) => Err(at(position, &format!("its id {fault}"))),
    }
}

/// Checks ids given to `get`, `delete` and `update`.
pub(crate) fn check_ids<S: AsRef<str>>(ids: &[S]) -> Result<()> {
    ids.iter().enumerate().try_for_each(|(position, id)| check_id(position, id.as_ref()))
}

/// Checks one item of a batch and returns its metadata as JSON.
pub(crate) fn check_item(
    position: usize,
    item: &Item,
    dimension: usize,
    metric: Metric,
    precision: Precision,
    options: &Options,
) -> Result<Option<Vec<u8>>> {
    check_id(position, &item.id)?;
    vector::check(&item.vector, dimension, metric, precision)
        .map_err(|fault| at(position, &format!("its vector {fault}")))?;
    if let Some(contents) = &item.contents {
        check_contents(contents, options).map_err(|fault| at(position, &fault))?;
    }
    item.metadata
        .as_ref()
        .map(|metadata| encode_metadata(metadata, options).map_err(|fault| at(position, &fault)))
        .transpose()
}

pub(crate) fn check_contents(contents: &[u8], options: &Options) -> Result<(), String> {
    if contents.len() <= options.max_contents {
        Ok(())
    } else {
        Err(format!("its contents are {} bytes, over {}", contents.len(), options.max_contents))
    }
}

/// Metadata as stored: JSON without spaces, keys sorted.
pub(crate) fn encode_metadata(metadata: &Value, options: &Options) -> Result<Vec<u8>, String> {
    if !metadata.is_object() {
        return Err("its metadata is not a JSON object".into());
    }
    if depth_exceeds(metadata, MAX_DEPTH) {
        return Err(format!("its metadata is nested deeper than {MAX_DEPTH} levels"));
    }
    let json = serde_json::to_vec(metadata).map_err(|_| "its metadata is not JSON".to_owned())?;
    if json.len() <= options.max_metadata {
        Ok(json)
    } else {
        Err(format!("its metadata is {} bytes of JSON, over {}", json.len(), options.max_metadata))
    }
}

/// Goes no deeper than `limit`, so that no nesting overflows the stack.
fn depth_exceeds(value: &Value, limit: usize) -> bool {
    let Some(limit) = limit.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| depth_exceeds(item, limit)),
        Value::Object(fields) => fields.values().any(|field| depth_exceeds(field, limit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// An error about the item at a position.
fn at(position: usize, fault: &str) -> Error {
    Error::invalid(format!("item {position}: {fault}"))
}
