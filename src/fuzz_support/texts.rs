//! What callers write: filters, cursors and identifiers.

use std::sync::LazyLock;

use serde_json::Value;

use super::edited;
use crate::condition::IfMatch;
use crate::config::{IndexConfig, Options};
use crate::crypto::{IndexKey, KeyContext, UserKey};
use crate::database::Database;
use crate::error::Error;
use crate::filter::{self, Filter};
use crate::id::{ETag, Hex, Permissions, Trace, UserId};
use crate::index::{Cursor, Index, Item};
use crate::vector::Metric;

/// The filter language: a filter and, after a zero byte, an item's metadata. A filter is parsed or
/// refused as an argument; a parsed one prints as one that is equal and answers alike, and a
/// negation answers the opposite.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, document) = text.split_once('\0').unwrap_or((text, "{}"));
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let most = 256;
    if let Some(found) = filter::fields(&document, most, &|_| true) {
        assert!(found.len() <= most);
    }
    let parsed = match text.parse::<Filter>() {
        Ok(parsed) => parsed,
        Err(error) => return assert_eq!(error.code(), "invalid_argument"),
    };
    assert_eq!(parsed.check(), Ok(()), "what is parsed has no fault");
    let printed = parsed.to_string();
    let again: Filter = printed.parse().expect("what is printed parses");
    assert!(again == parsed && again.to_string() == printed, "{printed}");
    let json = parsed.to_json().expect("it has no fault");
    assert!(Filter::from_json(&json).as_ref() == Ok(&parsed), "{printed}");
    let matches = parsed.matches(&document);
    assert_eq!(again.matches(&document), matches, "{printed}");
    assert!(matches || !parsed.is_everything());
    let negated = !parsed.clone();
    // The negation may be one condition or level too many.
    if negated.check().is_ok() {
        assert_eq!(negated.matches(&document), !matches, "{printed}");
        let both = parsed.clone().and(negated);
        assert!(!both.matches(&document), "{printed}");
    }
    // No path and no value gets into logs.
    assert!(!format!("{parsed:?}").contains('"'));
}

/// List cursors: none but that of a page is taken, and a text has one cursor.
pub fn cursor(bytes: &[u8]) {
    static INDEX: LazyLock<(Index<'static>, String)> = LazyLock::new(|| {
        let made = || {
            let db = Database::in_memory_with(Options::new().threads(1))?;
            let key = IndexKey::from_bytes(&[7; 32])?;
            db.create_index("index", &key, IndexConfig::new(Metric::Cosine))?;
            let index = db.load_index("index", KeyContext::root(key))?;
            index.upsert(&[Item::new("a", [1.0]), Item::new("b", [1.0])])?;
            let page = index.list_ids(1, None)?.value;
            Ok((index, page.next.map(|next| next.to_string()).unwrap_or_default()))
        };
        made().map_err(|error: Error| error.to_string()).expect("an index of two items")
    });
    let (index, genuine) = &*INDEX;
    let next = |text: &str| {
        let cursor: Cursor = text.parse().ok()?;
        assert_eq!(cursor.to_string(), text.to_ascii_lowercase());
        let page = index.list_ids(1, Some(&cursor));
        match page {
            Ok(page) => Some(page.value.ids),
            Err(error) => {
                assert_eq!(error.code(), "invalid_argument");
                None
            }
        }
    };
    let taken = |text: &str| match next(text) {
        None => assert!(!text.eq_ignore_ascii_case(genuine), "the cursor of the page"),
        Some(ids) => {
            assert!(text.eq_ignore_ascii_case(genuine), "made up");
            assert_eq!(ids, ["b"]);
        }
    };
    if let Ok(text) = std::str::from_utf8(bytes) {
        taken(text);
    }
    taken(&Hex(bytes).to_string());
    taken(&String::from_utf8_lossy(&edited(genuine.as_bytes(), bytes)));
}

/// Identifiers, keys and conditions as text: parsed or refused, and what has a printed form comes
/// back from it.
pub fn identifiers(bytes: &[u8]) {
    if let Ok(user) = UserId::from_bytes(bytes) {
        assert_eq!(user.as_bytes(), bytes);
    }
    let is_key = bytes.len() == 32 && bytes != [0; 32];
    assert_eq!(IndexKey::from_bytes(bytes).is_ok(), is_key);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(etag) = text.parse::<ETag>() {
        assert_eq!(etag.to_string(), text.to_ascii_lowercase());
        assert_eq!(text.parse(), Ok(IfMatch::ETag(etag)));
        assert_eq!(format!("\"{text}\"").parse(), Ok(IfMatch::ETag(etag)));
        let is_key = etag.as_bytes() != &[0; 32];
        assert!([IndexKey::from_hex(text).is_ok(), UserKey::from_hex(text).is_ok()] == [is_key; 2]);
    }
    let _ = text.parse::<IfMatch>();
    if let Ok(user) = text.parse::<UserId>() {
        assert!(Hex(user.as_bytes()).to_string().eq_ignore_ascii_case(text));
    }
    if let Ok(permissions) = text.parse::<Permissions>() {
        assert!(!permissions.root());
        assert_eq!(permissions.to_string().parse(), Ok(permissions));
    }
    let trace = Trace::from_traceparent(text);
    let (state, id) = trace.parts();
    assert_eq!(Trace::from_parts(state, id), Some(trace));
    if let Trace::Id(id) = trace {
        assert!(text.contains(&Hex(&id).to_string()));
    }
}
