//! The filter language: which items, by their metadata.
//!
//! A [`Filter`] is built in Rust, or parsed from JSON in the form of `MongoDB`'s queries; both give
//! the same tree. docs/filters.md has every operator, what it means on missing fields, arrays and
//! values of other types, and what differs from `MongoDB`. This module knows nothing of items,
//! storage or keys: a filter and a JSON document go in, yes or no comes out.
//!
//! Invariants: what is parsed is wholly understood, or it is an error that names the place; a
//! filter is never silently wider or narrower than it was written. Nothing a caller can write or
//! store overflows the stack, panics, or takes more than (nodes of the filter) x (values in the
//! document) steps, regular expressions aside, which take (pattern) x (text).
//!
//! - `value`: how values compare; `node`: the tree and its limits;
//! - `parse`, `text`, `build`: ways in; `display`: the way out;
//! - `evaluate`: the answer; `fields`: what an index has to hold to give the same.

mod build;
mod display;
mod evaluate;
mod fields;
mod node;
mod parse;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::{Error, Result};

pub use build::Operand;
pub(crate) use fields::{Span, beside, check_field, fields, is_field, sort_value, word};
use node::{Form, MAX_DEPTH, MAX_NODES, MAX_REGEXES, MAX_VALUES};
pub(crate) use node::{Node, Path, Predicate, Than};
pub(crate) use value::order;

/// Which items, by their metadata.
///
/// ```
/// use sealvec::Filter;
/// use serde_json::json;
///
/// let built = Filter::eq("lang", "en").and(Filter::gte("year", 2020));
/// let parsed: Filter = r#"{"lang": "en", "year": {"$gte": 2020}}"#.parse()?;
/// assert_eq!(built, parsed);
///
/// assert!(built.matches(&json!({"lang": "en", "year": 2024})));
/// assert!(!built.matches(&json!({"lang": "en"})));
/// # Ok::<(), sealvec::Error>(())
/// ```
///
/// A path is names joined by dots, as in `author.name`; every operator and its exact meaning is in
/// `docs/filters.md`.
///
/// The functions that build a filter always give one. If an argument cannot be, such as a path
/// with an empty name or a NaN, the filter is faulty and stays so in whatever it is joined with or
/// negated: [`Filter::check`] says what is wrong, every call of an index that takes the filter
/// fails with that error, and [`Filter::matches`] is false.
///
/// [`Display`](fmt::Display) prints the filter as JSON that parses to an equal one.
/// [`Debug`](fmt::Debug) shows operators only, never a path or a value.
#[derive(Clone, PartialEq)]
#[must_use]
pub struct Filter(Result<Node>);

impl Filter {
    /// Selects every item. As JSON it is `{}`.
    ///
    /// ```
    /// use sealvec::Filter;
    /// let filters = [Filter::eq("lang", "en"), Filter::exists("year")];
    /// let all = filters.into_iter().fold(Filter::everything(), Filter::and);
    /// assert_eq!(all.to_string(), r#"{"$and":[{"lang":"en"},{"year":{"$exists":true}}]}"#);
    /// ```
    pub const fn everything() -> Self {
        Self(Ok(Node::EVERYTHING))
    }

    /// Whether it is the filter that has no condition and selects every item.
    ///
    /// Calls that remove what a filter selects refuse this one.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.as_ref().is_ok_and(Node::is_everything)
    }

    /// Parses a filter.
    ///
    /// ```
    /// use sealvec::Filter;
    /// use serde_json::json;
    /// let filter = Filter::from_json(&json!({"tags": "new", "price": {"$lt": 10}}))?;
    /// assert!(filter.matches(&json!({"tags": ["new", "red"], "price": 9.5})));
    ///
    /// let typo = Filter::from_json(&json!({"$and": [{"a": 1}, {"price": {"$gte": [10]}}]}));
    /// assert_eq!(
    ///     typo.unwrap_err().to_string(),
    ///     "the filter at `$and[1].price.$gte` takes a number or a string, not an array"
    /// );
    /// # Ok::<(), sealvec::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], naming the place, if it is not a filter or is over a limit: 32
    /// levels, 1,024 conditions, 65,536 values, 16 regular expressions.
    pub fn from_json(json: &Value) -> Result<Self> {
        let filter = Self::limited(parse::parse(json)?);
        filter.check()?;
        Ok(filter)
    }

    /// The filter as JSON.
    ///
    /// # Errors
    /// As [`Filter::check`].
    pub fn to_json(&self) -> Result<Value> {
        self.whole().map(display::to_json)
    }

    /// Says whether it was built of arguments that can be. What was parsed always was.
    ///
    /// ```
    /// use sealvec::Filter;
    /// let filter = !Filter::eq("price", f64::NAN).or(Filter::eq("free", true));
    /// assert_eq!(
    ///     filter.check().unwrap_err().to_string(),
    ///     "the filter at `price.$eq` has a float that is NaN or infinite"
    /// );
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] about the first argument that cannot be, or the limit that was
    /// reached.
    pub fn check(&self) -> Result<()> {
        self.whole().map(drop)
    }

    /// Whether metadata satisfies it. An item without metadata is asked about as `{}`, and so is
    /// anything that is not an object.
    ///
    /// ```
    /// use sealvec::Filter;
    /// use serde_json::json;
    /// let filter = Filter::ne("status", "draft");
    /// assert!(filter.matches(&json!({"status": "final"})));
    /// assert!(filter.matches(&json!({}))); // what is missing is not "draft"
    /// ```
    #[must_use]
    pub fn matches(&self, metadata: &Value) -> bool {
        let metadata = if metadata.is_object() { metadata } else { &Value::Null };
        self.whole().is_ok_and(|node| evaluate::holds(node, metadata))
    }

    /// The tree, if it has no fault.
    pub(crate) fn whole(&self) -> Result<&Node> {
        match &self.0 {
            Err(error) => Err(error.clone()),
            Ok(node) if node.form() == Form::Element => Err(Error::invalid(
                "the filter is about elements of an array, without a path; it belongs into \
                 `Filter::elem_match`",
            )),
            Ok(node) => Ok(node),
        }
    }

    /// A filter of a tree that is within the limits.
    fn limited(node: Node) -> Self {
        let size = node.size();
        let limits = [
            ("levels of conditions", size.depth, MAX_DEPTH),
            ("conditions", size.nodes, MAX_NODES),
            ("values", size.values, MAX_VALUES),
            ("regular expressions", size.regexes, MAX_REGEXES),
        ];
        match limits.into_iter().find(|(_, found, limit)| found > limit) {
            None => Self(Ok(node)),
            Some((what, found, limit)) => {
                Self(Err(Error::invalid(format!("the filter has {found} {what}, over {limit}"))))
            }
        }
    }
}

impl FromStr for Filter {
    type Err = Error;

    /// Parses JSON text. A name that is twice in one object is an error, as is everything that
    /// [`Filter::from_json`] refuses.
    fn from_str(text: &str) -> Result<Self> {
        Self::from_json(&text::parse(text)?)
    }
}

impl TryFrom<&Value> for Filter {
    type Error = Error;

    fn try_from(json: &Value) -> Result<Self> {
        Self::from_json(json)
    }
}

impl fmt::Display for Filter {
    /// JSON; of a faulty filter the fault, which does not parse.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_json() {
            Ok(json) => json.fmt(f),
            Err(error) => write!(f, "faulty: {error}"),
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter(")?;
        match &self.0 {
            Ok(node) => display::shape(node, f)?,
            Err(_) => f.write_str("faulty")?,
        }
        f.write_str(")")
    }
}
