//! What an index by field has to hold so that it answers as `evaluate` does.
//!
//! A *field* is a path that some test can name: names joined by dots, none of them empty, with a
//! dot, with a `$` in front or a number. What a document has in a field is what a test with that
//! path looks at, found by the same walk: so an equality with a scalar holds exactly where the
//! scalar's [`word`] is among the [`Field::words`], and a comparison with a number exactly where
//! the greatest or the least number of the field passes it.
//!
//! The cost is one walk for the names and one for each field.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value};

use super::evaluate::any_at;
use super::node::{Path, Than};
use super::value::{Exact, numbers, order};

/// What a document has in one field.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Field {
    /// Of every number, string and boolean that an equality would look at.
    pub(crate) words: BTreeSet<Vec<u8>>,
    /// The least and the greatest number that a comparison would look at.
    pub(crate) span: Option<Span>,
    /// A number among them is not exactly a float, so the span is not exact.
    pub(crate) inexact: bool,
}

/// The least and the greatest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Span {
    /// No writer makes others.
    pub(crate) fn is_sound(&self) -> bool {
        self.least <= self.greatest
    }

    /// Whether one of the numbers passes a comparison.
    pub(crate) fn passes(&self, than: Than, bound: &Number) -> bool {
        let order = |real: f64| numbers_and_real(real, bound);
        match than {
            Than::Gt => order(self.greatest).is_gt(),
            Than::Gte => order(self.greatest).is_ge(),
            Than::Lt => order(self.least).is_lt(),
            Than::Lte => order(self.least).is_le(),
        }
    }
}

fn numbers_and_real(real: f64, bound: &Number) -> Ordering {
    numbers(&Exact::Real(real), &Exact::from(bound))
}

/// Why an index can have no such field, as the end of a sentence.
pub(crate) fn check_field(path: &str) -> Result<(), String> {
    let parsed = Path::new(path)?;
    if parsed.segments().iter().any(|segment| segment.position.is_some()) {
        return Err(format!("has the path `{path}`, which names a position in an array"));
    }
    Ok(())
}

/// Whether an index can hold what a test with this path looks at.
pub(crate) fn is_field(path: &Path) -> bool {
    !path.is_element() && path.segments().iter().all(|segment| segment.position.is_none())
}

/// Every field of a document for which `wanted` holds, with what is in it; `None` if there are over
/// `most` fields.
pub(crate) fn fields(
    document: &Value,
    most: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Option<BTreeMap<String, Field>> {
    let mut found = BTreeMap::new();
    if !document.is_object() {
        return Some(found);
    }
    names(document, &mut String::new(), most, &mut found)?;
    found.retain(|path, _| wanted(path));
    for (path, field) in &mut found {
        // What the walk has put together may be longer than a filter's paths.
        let Ok(path) = Path::new(path) else { continue };
        let seen = std::cell::RefCell::new(std::mem::take(field));
        any_at(path.segments(), document, &|candidate| {
            if let Some(candidate) = candidate {
                seen.borrow_mut().look_at(candidate);
            }
            false
        });
        *field = seen.into_inner();
    }
    Some(found)
}

impl Field {
    fn look_at(&mut self, candidate: &Value) {
        match candidate {
            Value::Array(items) => items.iter().for_each(|item| self.take(item)),
            scalar => self.take(scalar),
        }
    }

    fn take(&mut self, value: &Value) {
        self.words.extend(word(value));
        let Value::Number(number) = value else { return };
        match exactly_real(number) {
            Some(real) => {
                let span = self.span.get_or_insert(Span { least: real, greatest: real });
                span.least = span.least.min(real);
                span.greatest = span.greatest.max(real);
            }
            None => self.inexact = true,
        }
    }
}

/// The names of all fields, through objects and through objects in arrays, as tests go. Goes as
/// deep as a document may be nested.
fn names(
    value: &Value,
    path: &mut String,
    most: usize,
    found: &mut BTreeMap<String, Field>,
) -> Option<()> {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                let plain = !name.contains('.') && check_field(name).is_ok();
                if plain && Path::new(path).is_ok() {
                    found.insert(path.clone(), Field::default());
                    if found.len() > most {
                        return None;
                    }
                    names(field, path, most, found)?;
                }
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for item in items.iter().filter(|item| item.is_object()) {
                names(item, path, most, found)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Some(())
}

/// What a document is put in order by: of the nulls, numbers, strings and booleans that a test with
/// this path would look at the least, or the greatest. `None`: there is none.
pub(crate) fn sort_value(path: &Path, document: &Value, greatest: bool) -> Option<Value> {
    let best: std::cell::RefCell<Option<Value>> = None.into();
    let look_at = |value: &Value| {
        if value.is_array() || value.is_object() {
            return;
        }
        let mut best = best.borrow_mut();
        let better = best.as_ref().is_none_or(|best| {
            let order = order(value, best);
            if greatest { order.is_gt() } else { order.is_lt() }
        });
        if better {
            *best = Some(value.clone());
        }
    };
    let document = if document.is_object() { document } else { &Value::Null };
    any_at(path.segments(), document, &|candidate| {
        match candidate {
            Some(Value::Array(items)) => items.iter().for_each(look_at),
            Some(scalar) => look_at(scalar),
            None => {}
        }
        false
    });
    best.into_inner()
}

/// A number, string or boolean as bytes: the same for values that are the same, and no others.
pub(crate) fn word(value: &Value) -> Option<Vec<u8>> {
    let tagged = |tag: u8, bytes: &[u8]| Some([&[tag], bytes].concat());
    match value {
        Value::Bool(value) => tagged(b'b', &[u8::from(*value)]),
        Value::String(text) => tagged(b's', text.as_bytes()),
        Value::Number(number) => match Exact::from(number).whole() {
            Ok(whole) => tagged(b'i', &whole.to_be_bytes()),
            Err(real) => tagged(b'r', &real.to_be_bytes()),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The float that is exactly this number.
fn exactly_real(number: &Number) -> Option<f64> {
    match Exact::from(number) {
        Exact::Real(real) => real.is_finite().then_some(real),
        #[expect(clippy::cast_precision_loss, reason = "compared with what it came from")]
        Exact::Whole(whole) => {
            let real = whole as f64;
            numbers(&Exact::Real(real), &Exact::Whole(whole)).is_eq().then_some(real)
        }
    }
}

/// A comparison with a float that passes the same floats: if no float is the bound, one beside it is.
pub(crate) fn beside(than: Than, bound: &Number) -> (Than, f64) {
    let bound = Exact::from(bound);
    #[expect(clippy::cast_precision_loss, reason = "compared with what it came from")]
    let real = match bound {
        Exact::Real(real) => real,
        Exact::Whole(whole) => whole as f64,
    };
    let than = match (numbers(&Exact::Real(real), &bound), than) {
        (Ordering::Less, Than::Gt | Than::Gte) => Than::Gt,
        (Ordering::Less, Than::Lt | Than::Lte) => Than::Lte,
        (Ordering::Greater, Than::Gt | Than::Gte) => Than::Gte,
        (Ordering::Greater, Than::Lt | Than::Lte) => Than::Lt,
        (Ordering::Equal, than) => than,
    };
    (than, real)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::evaluate::test;
    use super::super::node::Predicate;
    use super::super::tests::properties::{document, scalar};
    use super::*;

    fn all(document: &Value) -> BTreeMap<String, Field> {
        fields(document, 1000, &|_| true).unwrap()
    }

    #[test]
    fn words_are_the_same_where_values_are() {
        let same = |a: Value, b: Value| word(&a) == word(&b);
        assert!(same(json!(1), json!(1.0)) && same(json!(0), json!(-0.0)));
        assert!(same(json!(9_223_372_036_854_775_808_u64), json!(9_223_372_036_854_775_808.0)));
        assert!(!same(json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0)));
        assert!(!same(json!(1), json!("1")) && !same(json!(1), json!(true)));
        assert!(!same(json!(0.5), json!(0.25)) && !same(json!(1e300), json!(1e301)));
        assert_eq!((word(&json!(null)), word(&json!([])), word(&json!({}))), (None, None, None));
    }

    #[test]
    fn fields_are_what_tests_can_name() {
        let document = json!({
            "a": {"b": 1, "": 2, "$c": 3, "0": 4, "d.e": 5},
            "l": [{"m": 1}, {"m": ["x", 2.5]}, 7, [{"m": 9}]],
        });
        let found = all(&document);
        let paths: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a", "a.b", "l", "l.m"]);
        assert_eq!(found["l.m"].words.len(), 3);
        assert_eq!(found["l.m"].span, Some(Span { least: 1.0, greatest: 2.5 }));
        assert_eq!(found["l"].words.len(), 1, "7; objects and arrays in it are no words");
        assert_eq!(all(&json!([{"a": 1}])).len(), 0, "metadata that is no object has no fields");
        assert!(fields(&document, 3, &|_| true).is_none());
        assert!(all(&json!({"n": 9_007_199_254_740_993_i64}))["n"].inexact);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

        /// The promise of this module.
        #[test]
        fn words_and_spans_answer_as_tests_do(
            document in document(),
            path in "[abc](\\.[abc]){0,2}",
            value in scalar(),
        ) {
            let found = all(&document);
            let path = Path::new(&path).unwrap();
            prop_assert!(is_field(&path));
            let field = found.get(path.text());
            if let Some(word) = word(&value) {
                let by_index = field.is_some_and(|field| field.words.contains(&word));
                let predicate = Predicate::Eq(value.clone());
                prop_assert_eq!(by_index, test(&path, &predicate, &document));
            }
            if let Value::Number(bound) = &value {
                for than in [Than::Gt, Than::Gte, Than::Lt, Than::Lte] {
                    let predicate = Predicate::Than(than, value.clone());
                    let span = field.and_then(|field| field.span);
                    let by_index = span.is_some_and(|span| span.passes(than, bound));
                    if field.is_none_or(|field| !field.inexact) {
                        prop_assert_eq!(by_index, test(&path, &predicate, &document));
                    }
                }
            }
        }
    }
}
