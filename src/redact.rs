//! `Debug` for types that carry ids, vectors, contents or metadata: lengths, and nothing else.
//!
//! Logs outlive access rights, so nothing that the library seals is shown by a `{:?}`.

use std::fmt;

/// Stands for a value in `Debug` output by its length.
pub(crate) struct Hidden(usize, &'static str);

impl Hidden {
    pub(crate) const fn text(text: &str) -> Self {
        Self(text.len(), "bytes")
    }

    pub(crate) const fn bytes(bytes: &[u8]) -> Self {
        Self(bytes.len(), "bytes")
    }

    pub(crate) const fn vector(vector: &[f32]) -> Self {
        Self(vector.len(), "components")
    }

    pub(crate) const fn list(length: usize) -> Self {
        Self(length, "entries")
    }

    /// Metadata, by the number of its top-level fields.
    pub(crate) fn metadata(metadata: &serde_json::Value) -> Self {
        Self(metadata.as_object().map_or(0, serde_json::Map::len), "fields")
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} {}>", self.0, self.1)
    }
}
