//! Which fields of the metadata an index keeps an attribute index of.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::filter::check_field;

/// The most fields with a setting of their own.
pub(crate) const MAX_FIELDS: usize = 256;

/// What the attribute index holds of a field. Every field can be filtered by, whatever is chosen:
/// answers are the same, and this decides how fast they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attribute {
    /// Nothing of the field and of the fields below it. Filters on it read metadata.
    Off,
    /// Which items have each value: for `$eq`, `$in`, `$ne` and `$nin` with numbers, strings and
    /// booleans.
    Equality,
    /// The same, and the least and the greatest number of each item: for `$gt`, `$gte`, `$lt` and
    /// `$lte` with numbers, too.
    Range,
}

/// The attribute index of an index: a default, and the fields that differ from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `Equality` or `Off`.
    pub(crate) default: Attribute,
    /// Paths, as filters write them.
    pub(crate) fields: BTreeMap<String, Attribute>,
}

impl Attributes {
    pub(crate) const fn new() -> Self {
        Self { default: Attribute::Equality, fields: BTreeMap::new() }
    }

    /// What holds for a field: its own setting, `Off` if a field above it is, or the default.
    pub(crate) fn of(&self, path: &str) -> Attribute {
        if self.fields.is_empty() {
            return self.default;
        }
        let above =
            path.match_indices('.').filter_map(|(end, _)| self.fields.get(path.get(..end)?));
        if above.into_iter().any(|kind| *kind == Attribute::Off) {
            return Attribute::Off;
        }
        self.fields.get(path).copied().unwrap_or(self.default)
    }

    /// Whether there is an attribute index at all.
    pub(crate) fn any(&self) -> bool {
        self.default != Attribute::Off || self.fields.values().any(|kind| *kind != Attribute::Off)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.fields.len() > MAX_FIELDS {
            return Err(Error::invalid(format!(
                "at most {MAX_FIELDS} fields have a setting of their own, not {}",
                self.fields.len()
            )));
        }
        for path in self.fields.keys() {
            check_field(path).map_err(|why| Error::invalid(format!("an attribute {why}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_its_own_setting_and_none_below_one_that_is_off() {
        let mut attributes = Attributes::new();
        assert_eq!(attributes.of("a.b"), Attribute::Equality);
        attributes.fields.insert("a".into(), Attribute::Off);
        attributes.fields.insert("a.b".into(), Attribute::Range);
        attributes.fields.insert("n".into(), Attribute::Range);
        let of = |path| attributes.of(path);
        assert_eq!(
            [of("a"), of("a.b"), of("a.c.d"), of("ab")].map(|k| k == Attribute::Off),
            [true, true, true, false]
        );
        assert_eq!(
            (of("n"), of("n.m"), of("x")),
            (Attribute::Range, Attribute::Equality, Attribute::Equality)
        );
        assert!(attributes.any());
        let none = Attributes { default: Attribute::Off, fields: BTreeMap::new() };
        assert!(!none.any());
    }

    #[test]
    fn fields_that_no_filter_can_name_are_refused() {
        for bad in ["", "a..b", "$a", "a.0", "7"] {
            let fields = BTreeMap::from([(bad.to_owned(), Attribute::Range)]);
            let attributes = Attributes { default: Attribute::Off, fields };
            assert!(attributes.check().is_err(), "{bad}");
        }
        let fields = BTreeMap::from([("a.b-c".to_owned(), Attribute::Range)]);
        assert!(Attributes { default: Attribute::Off, fields }.check().is_ok());
    }
}
