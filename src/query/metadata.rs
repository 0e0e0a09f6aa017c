//! Queries by metadata alone: what a filter selects, in order, a page at a time.
//!
//! What matches is found as by every call with a filter, with its metadata, and the first of it are
//! kept: memory is a page for each share of the work. The order is total: by the value of a field,
//! if one is asked for, and then by id. So pages of a state that does not change have every item
//! once; if it changes in between, so have items that stay as they are.
//!
//! A cursor is the place of the last item of its page in that order, with a hash of what was asked;
//! it is sealed.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;

use serde_json::Value;

use crate::codec::{Reader, Writer};
use crate::error::{Error, Result};
use crate::filter::{self, Filter, Path, sort_value};
use crate::index::{
    Answer, Cursor, Include, Index, MAX_PAGE, Matching, Paged, Scanned, not_a_cursor,
};
use crate::keyring::ReadKey;
use crate::observe::Call;
use crate::redact::Hidden;

/// Strings count in the order by their first bytes, so many.
const PREFIX: usize = 512;

/// Which way a field orders items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The least first.
    Ascending,
    /// The greatest first.
    Descending,
}

/// An item that a query by metadata selected.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Selected {
    /// The item's id.
    pub id: String,
    /// As given; `None` if the item has none.
    pub metadata: Option<Value>,
    /// The sequence of the commit that wrote the item's content.
    pub version: u64,
}

/// One page of a query by metadata.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct MetadataPage {
    /// In the order that was asked for.
    pub items: Vec<Selected>,
    /// Where the next page begins; `None` after the last page.
    pub next: Option<Cursor>,
}

/// A query by metadata under construction; see [`Index::query_metadata`].
#[must_use = "a query does nothing until `run`"]
pub struct MetadataQuery<'a> {
    index: &'a Index<'a>,
    filter: &'a Filter,
    order: Option<(String, Order)>,
    limit: usize,
    cursor: Option<Cursor>,
}

impl fmt::Debug for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selected")
            .field("id", &Hidden::text(&self.id))
            .field("metadata", &self.metadata.as_ref().map(Hidden::metadata))
            .field("version", &self.version)
            .finish()
    }
}

impl fmt::Debug for MetadataPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataPage")
            .field("items", &Hidden::list(self.items.len()))
            .field("next", &self.next)
            .finish()
    }
}

impl fmt::Debug for MetadataQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataQuery")
            .field("filter", &self.filter)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Index<'_> {
    /// Looks for the items that a filter selects, by their metadata alone. Needs the read right.
    ///
    /// ```
    /// # use sealvec::{Database, Filter, IndexConfig, IndexKey, Item, KeyContext, Metric, Order};
    /// # use serde_json::json;
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// for (id, year) in [("a", 1999), ("b", 2024), ("c", 2012)] {
    ///     index.upsert(&[Item::new(id, [1.0, 0.0]).metadata(json!({"kind": "x", "year": year}))])?;
    /// }
    /// let filter = Filter::eq("kind", "x");
    /// let newest = || index.query_metadata(&filter).order_by("year", Order::Descending).limit(2);
    /// let page = newest().run()?;
    /// assert_eq!((page.items[0].id.as_str(), page.items[1].id.as_str()), ("b", "c"));
    /// let last = newest().cursor(page.value.next.unwrap()).run()?;
    /// assert_eq!((last.items[0].id.as_str(), &last.next), ("a", &None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn query_metadata<'a>(&'a self, filter: &'a Filter) -> MetadataQuery<'a> {
        MetadataQuery { index: self, filter, order: None, limit: 100, cursor: None }
    }
}

impl MetadataQuery<'_> {
    /// Orders the items by a field, and those that are equal in it by id. Default: by id.
    ///
    /// Values of different types are in the order of `docs/filters.md`; strings count with their
    /// first 512 bytes. Of an array its least element counts, or its greatest when descending.
    /// Items with none of these in the field come last either way.
    pub fn order_by(mut self, path: &str, order: Order) -> Self {
        self.order = Some((path.to_owned(), order));
        self
    }

    /// The most items of a page: 1 to 10,000. Default = 100.
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Goes on where a page of the same filter and order ended.
    pub fn cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Runs the query: one page, from one state of the index.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a filter or a path that cannot be, a limit out of range, or a
    /// cursor that is not of this query; [`Error::PermissionDenied`]; [`Error::Integrity`]; and those
    /// of every call.
    pub fn run(self) -> Result<Answer<MetadataPage>> {
        let Self { index, filter, order, limit, cursor } = self;
        index.during(Call::QueryMetadata).read(|snapshot, key| {
            if !(1..=MAX_PAGE).contains(&limit) {
                return Err(Error::invalid(format!("the limit is 1 to {MAX_PAGE}, not {limit}")));
            }
            filter.check()?;
            let asked = hash(filter, order.as_ref());
            let by = order.map(|(path, order)| match Path::new(&path) {
                Ok(path) => Ok((path, order)),
                Err(why) => Err(Error::invalid(format!("the order {why}"))),
            });
            let by = by.transpose()?;
            let after = cursor.map(|cursor| open(&cursor, key, &asked)).transpose()?;
            // One more than asked for tells whether there is a next page.
            let keep = limit + 1;
            let matching = Matching::new(index, snapshot, key, filter)?;
            let take = |first: &mut BinaryHeap<Row>, item: &Scanned<'_>| {
                let metadata = item.metadata()?;
                let place = Place::new(by.as_ref(), metadata.as_ref(), &item.record.id);
                let later = after.as_ref().is_none_or(|after| place > *after);
                if later
                    && (first.len() < keep || first.peek().is_some_and(|top| place < top.place))
                {
                    first.push(Row { place, metadata, version: item.record.version });
                    if first.len() > keep {
                        first.pop();
                    }
                }
                Ok(())
            };
            let (shares, _) = matching.fold(Include::NONE.metadata(), BinaryHeap::new, take)?;
            let mut rows: Vec<Row> = shares.into_iter().flat_map(BinaryHeap::into_vec).collect();
            rows.sort_unstable();
            let more = rows.len() > limit;
            rows.truncate(limit);
            let last = rows.last().filter(|_| more);
            let next = last.map(|last| seal(&last.place, key, &asked)).transpose()?;
            let item = |row: Row| Selected {
                id: row.place.id,
                metadata: row.metadata,
                version: row.version,
            };
            Ok(MetadataPage { items: rows.into_iter().map(item).collect(), next })
        })
    }
}

/// Where an item is in the order.
#[derive(Clone, PartialEq)]
struct Place {
    value: Option<Value>,
    descending: bool,
    id: String,
}

impl Place {
    fn new(by: Option<&(Path, Order)>, metadata: Option<&Value>, id: &str) -> Self {
        let descending = by.is_some_and(|(_, order)| *order == Order::Descending);
        let value = by.zip(metadata);
        let value = value.and_then(|((path, _), found)| sort_value(path, found, descending));
        let value = value.map(|value| match value {
            Value::String(text) => Value::String(prefix(&text).to_owned()),
            other => other,
        });
        Self { value, descending, id: id.to_owned() }
    }
}

/// The longest start of a text of at most [`PREFIX`] bytes.
fn prefix(text: &str) -> &str {
    let end = (0..=text.len().min(PREFIX)).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = match (&self.value, &other.value) {
            (Some(own), Some(other)) if self.descending => filter::order(other, own),
            (Some(own), Some(other)) => filter::order(own, other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_value.then_with(|| self.id.cmp(&other.id))
    }
}

/// An item that may be on the page.
struct Row {
    place: Place,
    metadata: Option<Value>,
    version: u64,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

/// Of what was asked.
fn hash(filter: &Filter, order: Option<&(String, Order)>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(filter.to_string().as_bytes()).update(&[0]);
    if let Some((path, order)) = order {
        hasher.update(&[if *order == Order::Ascending { 1 } else { 2 }]).update(path.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// hash of what was asked 32 | descending u8 | length u16, value as JSON, empty: none | id
fn seal(place: &Place, key: &ReadKey, asked: &[u8; 32]) -> Result<Cursor> {
    let value = place.value.as_ref().map(Value::to_string).unwrap_or_default();
    let mut out = Writer::with_capacity(64 + value.len() + place.id.len());
    out.bytes(asked).u8(u8::from(place.descending)).short(value.as_bytes());
    out.bytes(place.id.as_bytes());
    Cursor::seal(key, Paged::Metadata, &out.finish())
}

fn open(cursor: &Cursor, key: &ReadKey, asked: &[u8; 32]) -> Result<Place> {
    let plain = cursor.open(key, Paged::Metadata)?;
    let mut reader = Reader::new(&plain);
    let mut place = || {
        (reader.array::<32>()? == *asked).then_some(())?;
        let descending = reader.u8()? == 1;
        let value = reader.short()?;
        let value = match value {
            [] => None,
            text => Some(serde_json::from_slice(text).ok()?),
        };
        let id = String::from_utf8(reader.rest().to_vec()).ok()?;
        Some(Place { value, descending, id })
    };
    place().ok_or_else(not_a_cursor)
}
