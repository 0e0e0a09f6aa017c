//! What the attribute index holds of an item.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::{Attribute, Attributes};
use crate::filter::{Span, fields};

/// The most fields, and the most values, that an item is listed under.
pub(crate) const MOST_WORDS: usize = 256;

/// The word of the posting of unlisted items; no field has an empty name.
pub(super) const UNLISTED: &[u8] = b"";

/// What an item is listed under.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Words {
    /// Of postings.
    pub(super) postings: BTreeSet<Vec<u8>>,
    /// Of columns.
    pub(super) columns: BTreeMap<Vec<u8>, Span>,
}

impl Words {
    /// Of an item with this metadata.
    pub(super) fn of(metadata: Option<&Value>, schema: &Attributes) -> Self {
        let none = || Self { postings: [UNLISTED.to_vec()].into(), columns: BTreeMap::new() };
        let Some(metadata) = metadata else { return Self::default() };
        let wanted = |path: &str| schema.of(path) != Attribute::Off;
        let Some(fields) = fields(metadata, MOST_WORDS, &wanted) else { return none() };
        let mut out = Self::default();
        for (path, field) in fields {
            out.postings.extend(field.words.iter().map(|word| posting(&path, word)));
            if out.postings.len() > MOST_WORDS {
                return none();
            }
            if schema.of(&path) == Attribute::Range {
                if field.inexact {
                    return none();
                }
                out.columns.extend(field.span.map(|span| (column(&path), span)));
            }
        }
        out
    }
}

/// `length u32 | path | word`, so that no two pairs are the same.
pub(crate) fn posting(path: &str, word: &[u8]) -> Vec<u8> {
    let length = u32::try_from(path.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), path.as_bytes(), word].concat()
}

/// As a posting without a word, which there is none of.
pub(crate) fn column(path: &str) -> Vec<u8> {
    posting(path, b"")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_with_too_much_or_with_an_odd_number_is_unlisted() {
        let mut schema = Attributes::new();
        schema.fields.insert("n".into(), Attribute::Range);
        let listed = |value: Value| !Words::of(Some(&value), &schema).postings.contains(UNLISTED);
        let tags = |count: usize| json!({"tags": (0..count).collect::<Vec<_>>()});
        assert!(listed(tags(256)) && !listed(tags(257)));
        let wide = |count: usize| {
            let fields = (0..count).map(|field| (format!("f{field}"), json!(null)));
            Value::Object(fields.collect())
        };
        assert!(listed(wide(256)) && !listed(wide(257)));
        assert!(listed(json!({"n": 0.1})) && !listed(json!({"n": (1_i64 << 53) + 1})));
        assert!(listed(json!({"m": (1_i64 << 53) + 1})));
        assert_eq!(Words::of(None, &schema), Words::default());
    }
}
