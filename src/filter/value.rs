//! How JSON values compare.
//!
//! One total order: null, numbers, strings, objects, arrays, booleans. Numbers compare by their
//! exact value whatever they are stored as, strings by their bytes, arrays element by element, and
//! objects by their fields in the order of their names. Two values are the same if the order says
//! so. The recursion is as deep as the shallower of the two values, and one of them is always an
//! operand, which is at most [`MAX_LITERAL_DEPTH`] deep; so no document overflows the stack.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// How deep a value in a filter may be nested, the innermost counted.
pub(super) const MAX_LITERAL_DEPTH: usize = 32;

/// The place of a type in the order. Values of different types are never the same.
const fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::Object(_) => 3,
        Value::Array(_) => 4,
        Value::Bool(_) => 5,
    }
}

/// The total order.
pub(crate) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers(&Exact::from(a), &Exact::from(b)),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differing = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne());
            differing.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
            // Sorted here, for a feature of serde_json keeps fields in the order of the text.
            let (mut a, mut b): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
            a.sort_unstable_by_key(|field| field.0);
            b.sort_unstable_by_key(|field| field.0);
            let fields = a.into_iter().zip(b);
            let compare = |((name, a), (other, b)): ((&String, _), (&String, _))| {
                name.cmp(other).then_with(|| order(a, b))
            };
            fields.map(compare).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// The order of two numbers or two strings; of anything else there is none.
pub(super) fn order_of_like(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) => {
            Some(order(a, b))
        }
        _ => None,
    }
}

pub(super) enum Exact {
    Whole(i128),
    Real(f64),
}

impl From<&Number> for Exact {
    fn from(number: &Number) -> Self {
        if let Some(whole) = number.as_i64() {
            Self::Whole(whole.into())
        } else if let Some(whole) = number.as_u64() {
            Self::Whole(whole.into())
        } else if let Some(real) = number.as_f64() {
            Self::Real(real)
        } else {
            // Only with serde_json's arbitrary precision: larger than any f64.
            let negative = number.to_string().starts_with('-');
            Self::Real(if negative { f64::NEG_INFINITY } else { f64::INFINITY })
        }
    }
}

pub(super) fn numbers(a: &Exact, b: &Exact) -> Ordering {
    match (a, b) {
        (Exact::Whole(a), Exact::Whole(b)) => a.cmp(b),
        (Exact::Whole(a), Exact::Real(b)) => whole_and_real(*a, *b),
        (Exact::Real(a), Exact::Whole(b)) => whole_and_real(*b, *a).reverse(),
        // JSON has no NaN.
        (Exact::Real(a), Exact::Real(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    }
}

impl Exact {
    /// As a whole number if it is one, of this range; as a float otherwise.
    pub(super) fn whole(self) -> Result<i128, f64> {
        match self {
            Self::Whole(whole) => Ok(whole),
            #[expect(clippy::cast_possible_truncation, reason = "the bounds are checked")]
            Self::Real(real) if real.abs() < BEYOND && real.fract() == 0.0 => Ok(real as i128),
            Self::Real(real) => Err(real),
        }
    }
}

/// 2^65.
const BEYOND: f64 = 36_893_488_147_419_103_232.0;

/// Exact: an `f64` below 2^65 has a whole part that fits, and no whole number here is beyond that.
fn whole_and_real(whole: i128, real: f64) -> Ordering {
    if real >= BEYOND {
        Ordering::Less
    } else if real <= -BEYOND {
        Ordering::Greater
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "the bounds are checked above")]
        let whole_part = real.trunc() as i128;
        let fraction = real.trunc().partial_cmp(&real).unwrap_or(Ordering::Equal);
        whole.cmp(&whole_part).then(fraction)
    }
}

/// Checks a value of a filter and counts the JSON values in it.
///
/// An object with a name that begins with `$` is refused wherever it is: it is an operator in the
/// wrong place far more often than a value, and taken as a value it would silently match nothing.
pub(super) fn check_literal(value: &Value) -> Result<usize, String> {
    count(value, MAX_LITERAL_DEPTH)
}

fn count(value: &Value, levels: usize) -> Result<usize, String> {
    let Some(levels) = levels.checked_sub(1) else {
        return Err(format!("has a value nested deeper than {MAX_LITERAL_DEPTH} levels"));
    };
    let mut values = 1usize;
    match value {
        Value::Array(items) => {
            for item in items {
                values = values.saturating_add(count(item, levels)?);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if name.starts_with('$') {
                    return Err("has an operator inside a value; give the field a condition of \
                                its own, with a dotted path such as `a.b`"
                        .into());
                }
                values = values.saturating_add(count(field, levels)?);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(values)
}

/// What kind of value it is, for messages.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_is_total_and_exact() {
        let ascending = [
            json!(null),
            json!(f64::MIN),
            json!(-9_223_372_036_854_775_809.0),
            json!(i64::MIN + 1),
            json!(-1),
            json!(-0.5),
            json!(0),
            json!(f64::MIN_POSITIVE),
            json!(0.5),
            json!(1),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_994_i64),
            json!(i64::MAX),
            json!(9_223_372_036_854_775_808.0),
            json!(u64::MAX),
            json!(18_446_744_073_709_551_616.0),
            json!(f64::MAX),
            json!(""),
            json!("A"),
            json!("a"),
            json!("a\u{0}"),
            json!("\u{fffd}"),
            json!("\u{10000}"),
            json!({}),
            json!({"a": 1}),
            json!({"a": 2}),
            json!({"b": 1}),
            json!({"a": 0, "b": 0}),
            json!([]),
            json!([1]),
            json!([1, 1]),
            json!([2]),
            json!(false),
            json!(true),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(order(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_number_is_its_value() {
        let same = [
            (json!(1), json!(1.0)),
            (json!(0), json!(-0.0)),
            (json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_992.0)),
            (json!(9_223_372_036_854_775_808_u64), json!(9_223_372_036_854_775_808.0)),
            (json!([1, {"a": 2}]), json!([1.0, {"a": 2.0}])),
        ];
        for (a, b) in same {
            assert_eq!(order(&a, &b), Ordering::Equal, "{a} and {b}");
        }
        assert_eq!(order_of_like(&json!(1), &json!("1")), None);
        assert_eq!(order_of_like(&json!(true), &json!(false)), None);
        assert_eq!(order_of_like(&json!("b"), &json!("a")), Some(Ordering::Greater));
    }

    #[test]
    fn literals_are_counted_and_bounded() {
        assert_eq!(check_literal(&json!([1, {"a": [2, 3]}, "x"])), Ok(7));
        let nested = |levels| (1..levels).fold(json!(0), |value, _| json!([value]));
        assert_eq!(check_literal(&nested(MAX_LITERAL_DEPTH)), Ok(MAX_LITERAL_DEPTH));
        assert!(check_literal(&nested(MAX_LITERAL_DEPTH + 1)).unwrap_err().contains("deeper"));
        let operator = json!([{"a": {"$gt": 1}}]);
        assert!(check_literal(&operator).unwrap_err().contains("inside a value"));
    }
}
