//! Filters made in Rust.
//!
//! A faulty argument makes a faulty filter instead of an error in the middle of an expression; see
//! [`Filter`].

use std::fmt;
use std::ops::Not;

use serde_json::{Number, Value};

use super::Filter;
use super::node::{Node, Path, Predicate, Than};
use super::parse::fault;
use crate::error::{Error, Result};

/// A value that a field is compared with: whatever JSON has, made from Rust's own types.
///
/// A float that is NaN or infinite is not in JSON, and makes the filter faulty.
#[derive(Clone, PartialEq)]
pub struct Operand(Result<Value, &'static str>);

impl fmt::Debug for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("Operand(faulty)", |_| "Operand(..)"))
    }
}

macro_rules! operand_from {
    ($($type:ty),*) => {$(
        impl From<$type> for Operand {
            fn from(value: $type) -> Self {
                Self(Ok(Value::from(value)))
            }
        }
    )*};
}
operand_from!(bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, &str, String, Value);

impl From<f64> for Operand {
    fn from(value: f64) -> Self {
        let number = Number::from_f64(value).map(Value::Number);
        Self(number.ok_or("has a float that is NaN or infinite"))
    }
}

impl From<f32> for Operand {
    /// The same value as an `f64`.
    fn from(value: f32) -> Self {
        f64::from(value).into()
    }
}

impl<T: Into<Self>> From<Vec<T>> for Operand {
    fn from(values: Vec<T>) -> Self {
        Self(list(values).map(Value::Array))
    }
}

fn list<T: Into<Operand>>(values: impl IntoIterator<Item = T>) -> Result<Vec<Value>, &'static str> {
    values.into_iter().map(|value| value.into().0).collect()
}

/// The tests. Where an array is stored, a test holds if it holds for the array or for one of its
/// elements, except where it says otherwise.
impl Filter {
    /// The path of an element itself, within [`Filter::elem_match`].
    pub const ELEMENT: &'static str = "";

    /// The field equals the value. `null` also equals what is missing.
    pub fn eq(path: &str, value: impl Into<Operand>) -> Self {
        Self::compare(path, "$eq", value, Predicate::eq)
    }

    /// The opposite of [`Filter::eq`]: so it selects items without the field.
    pub fn ne(path: &str, value: impl Into<Operand>) -> Self {
        Self::compare(path, "$ne", value, Predicate::eq).not()
    }

    /// The field is greater than a number or a string, and of that type.
    pub fn gt(path: &str, value: impl Into<Operand>) -> Self {
        Self::compare(path, "$gt", value, |value| Predicate::than(Than::Gt, value))
    }

    /// The field is at least a number or a string, and of that type.
    pub fn gte(path: &str, value: impl Into<Operand>) -> Self {
        Self::compare(path, "$gte", value, |value| Predicate::than(Than::Gte, value))
    }

    /// The field is less than a number or a string, and of that type.
    pub fn lt(path: &str, value: impl Into<Operand>) -> Self {
        Self::compare(path, "$lt", value, |value| Predicate::than(Than::Lt, value))
    }

    /// The field is at most a number or a string, and of that type.
    pub fn lte(path: &str, value: impl Into<Operand>) -> Self {
        Self::compare(path, "$lte", value, |value| Predicate::than(Than::Lte, value))
    }

    /// The field equals one of the values. Of none, nothing is selected.
    pub fn is_in<T: Into<Operand>>(path: &str, values: impl IntoIterator<Item = T>) -> Self {
        let predicate = list(values).map_err(str::to_owned).and_then(Predicate::is_in);
        Self::test(path, "$in", predicate)
    }

    /// The opposite of [`Filter::is_in`]: so it selects items without the field.
    pub fn not_in<T: Into<Operand>>(path: &str, values: impl IntoIterator<Item = T>) -> Self {
        let predicate = list(values).map_err(str::to_owned).and_then(Predicate::is_in);
        Self::test(path, "$nin", predicate).not()
    }

    /// There is such a field, be it null. Its opposite is `Filter::exists(path).not()`.
    pub fn exists(path: &str) -> Self {
        Self::test(path, "$exists", Ok(Predicate::Exists))
    }

    /// The field is a string with this in it.
    pub fn contains(path: &str, part: &str) -> Self {
        Self::test(path, "$contains", Ok(Predicate::Contains(part.to_owned())))
    }

    /// The field is a string in which the pattern is found, anywhere unless the pattern says `^`
    /// or `$`. The syntax is that of the crate `regex`: linear time, no look-around, no
    /// back-references; `(?i)` ignores case.
    pub fn regex(path: &str, pattern: &str) -> Self {
        Self::test(path, "$regex", Predicate::regex(pattern))
    }

    /// The field is an array of this many elements.
    pub fn size(path: &str, size: u64) -> Self {
        Self::test(path, "$size", Ok(Predicate::Size(size)))
    }

    /// The field equals each of the values: an array that has them all. No values are a fault.
    pub fn all<T: Into<Operand>>(path: &str, values: impl IntoIterator<Item = T>) -> Self {
        let each =
            values.into_iter().map(|value| Self::compare(path, "$all", value, Predicate::eq));
        Self::join(".$all", each, Node::all)
    }

    /// The field is an array, and one element satisfies the whole filter. Paths of that filter
    /// begin in the element, which must be an object; or all are [`Filter::ELEMENT`], and any
    /// element is asked about itself.
    ///
    /// ```
    /// use sealvec::Filter;
    /// use serde_json::json;
    ///
    /// let between = |path| Filter::gt(path, 3).and(Filter::lt(path, 6));
    /// let one_element = Filter::elem_match("scores", between(Filter::ELEMENT));
    /// let scores = json!({"scores": [2, 9]});
    /// assert!(!one_element.matches(&scores));
    /// assert!(between("scores").matches(&scores)); // 9 is over 3, and 2 below 6
    ///
    /// let paid = Filter::eq("kind", "paid").and(Filter::gte("amount", 100));
    /// let orders = json!({"orders": [{"kind": "paid", "amount": 120}, {"kind": "open"}]});
    /// assert!(Filter::elem_match("orders", paid).matches(&orders));
    /// ```
    pub fn elem_match(path: &str, filter: Self) -> Self {
        match filter.0 {
            Err(error) => Self(Err(error)),
            Ok(node) if node.is_everything() => {
                Self::test(path, "$elemMatch", Err("must not be empty".into()))
            }
            Ok(node) => Self::test(path, "$elemMatch", Ok(Predicate::ElemMatch(Box::new(node)))),
        }
    }

    fn compare(
        path: &str,
        operator: &str,
        value: impl Into<Operand>,
        predicate: impl FnOnce(Value) -> Result<Predicate, String>,
    ) -> Self {
        Self::test(path, operator, value.into().0.map_err(str::to_owned).and_then(predicate))
    }

    fn test(path: &str, operator: &str, predicate: Result<Predicate, String>) -> Self {
        let place = if path.is_empty() { Ok(Path::ELEMENT) } else { Path::new(path) };
        match place.and_then(|place| predicate.map(|predicate| Node::Test(place, predicate))) {
            Ok(node) => Self::limited(node),
            Err(what) if path.is_empty() => Self(Err(fault(&format!(".{operator}"), &what))),
            Err(what) => Self(Err(fault(&format!(".{path}.{operator}"), &what))),
        }
    }
}

/// What joins filters.
impl Filter {
    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self::join(".$and", [self, other], Node::all)
    }

    /// Either, or both.
    pub fn or(self, other: Self) -> Self {
        Self::join(".$or", [self, other], Node::any)
    }

    /// The exact opposite: what the filter does not select. So is the operator `!`.
    #[expect(clippy::should_implement_trait, reason = "it does; this needs no import")]
    pub fn not(self) -> Self {
        match self.0 {
            Ok(node) if node.is_everything() => Self(Err(fault(".$not", EMPTY))),
            Ok(node) => Self::limited(node.negated()),
            Err(error) => Self(Err(error)),
        }
    }

    /// All of them. None at all are a fault.
    pub fn all_of(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::join(".$and", filters, Node::all)
    }

    /// At least one of them. None at all are a fault.
    ///
    /// ```
    /// use sealvec::Filter;
    /// let filter = Filter::any_of(["en", "de"].map(|lang| Filter::eq("lang", lang)));
    /// assert_eq!(filter.to_string(), r#"{"$or":[{"lang":"en"},{"lang":"de"}]}"#);
    /// ```
    pub fn any_of(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::join(".$or", filters, Node::any)
    }

    /// Not one of them. None at all are a fault.
    pub fn none_of(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::join(".$nor", filters, Node::any).not()
    }

    fn join(
        place: &str,
        filters: impl IntoIterator<Item = Self>,
        join: fn(Vec<Node>) -> Node,
    ) -> Self {
        let mut nodes = Vec::new();
        for filter in filters {
            match filter.0 {
                Ok(node) => nodes.push(node),
                Err(error) => return Self(Err(error)),
            }
        }
        if nodes.is_empty() {
            return Self(Err(fault(place, "must not be empty")));
        }
        if place != ".$and" && nodes.iter().any(Node::is_everything) {
            return Self(Err(fault(place, EMPTY)));
        }
        nodes.retain(|node| !node.is_everything());
        if nodes.iter().any(|node| Some(node.form()) != nodes.first().map(Node::form)) {
            return Self(Err(Error::invalid(
                "the filter joins tests of elements themselves with tests of fields",
            )));
        }
        Self::limited(join(nodes))
    }
}

const EMPTY: &str = "has a filter that selects everything, which stands alone or in an `and`";

impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self::not(self)
    }
}
