//! What a delete is told: which items, and how.

use std::collections::HashMap;
use std::fmt;

use crate::condition::{Expected, IfMatch};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::id::Trace;
use crate::index::{check_ids, check_many};
use crate::redact::Hidden;
use crate::store::Durability;

/// Which items a delete is about.
///
/// ```
/// use sealvec::Selector;
/// let some = Selector::ids(&["a", "b"]);
/// let unchanged = Selector::versions(&[("a", 7), ("b", 9)]);
/// let branch = Selector::prefix("invoices/2019/");
/// let everything = Selector::all();
/// ```
#[derive(Clone)]
#[must_use]
pub struct Selector<'a>(pub(super) Choice<'a>);

#[derive(Clone)]
pub(super) enum Choice<'a> {
    Ids(Vec<(&'a str, Option<u64>)>),
    Prefix(&'a str),
    Filter(&'a Filter),
    All,
}

impl Choice<'_> {
    /// How many ids.
    pub(super) const fn given(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Prefix(_) | Self::Filter(_) | Self::All => 0,
        }
    }
}

impl<'a> Selector<'a> {
    /// The items with these ids. No ids select nothing.
    pub fn ids<S: AsRef<str>>(ids: &'a [S]) -> Self {
        Self(Choice::Ids(ids.iter().map(|id| (id.as_ref(), None)).collect()))
    }

    /// The items with these ids, each if it still has this version. Needs the read right too.
    pub fn versions<S: AsRef<str>>(items: &'a [(S, u64)]) -> Self {
        let items = items.iter().map(|(id, version)| (id.as_ref(), Some(*version)));
        Self(Choice::Ids(items.collect()))
    }

    /// The items whose ids begin with this text, byte for byte; it is not empty. Needs the read
    /// right too. Costs a look at every item record.
    pub const fn prefix(prefix: &'a str) -> Self {
        Self(Choice::Prefix(prefix))
    }

    /// The items that a filter selects; one that selects everything is refused. Needs the read
    /// right too. Costs a look at the metadata of every item.
    pub const fn filter(filter: &'a Filter) -> Self {
        Self(Choice::Filter(filter))
    }

    /// Every item. Needs the read right too.
    pub const fn all() -> Self {
        Self(Choice::All)
    }
}

impl fmt::Debug for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Choice::Ids(ids) => write!(f, "Selector::Ids({:?})", Hidden::list(ids.len())),
            Choice::Prefix(prefix) => write!(f, "Selector::Prefix({:?})", Hidden::text(prefix)),
            Choice::Filter(_) => f.write_str("Selector::Filter(..)"),
            Choice::All => f.write_str("Selector::All"),
        }
    }
}

impl<'a, S: AsRef<str>> From<&'a [S]> for Selector<'a> {
    fn from(ids: &'a [S]) -> Self {
        Self::ids(ids)
    }
}

impl<'a, S: AsRef<str>, const N: usize> From<&'a [S; N]> for Selector<'a> {
    fn from(ids: &'a [S; N]) -> Self {
        Self::ids(ids)
    }
}

impl<'a, S: AsRef<str>> From<&'a Vec<S>> for Selector<'a> {
    fn from(ids: &'a Vec<S>) -> Self {
        Self::ids(ids)
    }
}

/// What an id that names nothing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Missing {
    /// It is counted and reported.
    #[default]
    Ignore,
    /// [`Error::ItemNotFound`]; nothing is deleted.
    Error,
}

/// What an item with another version than expected means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mismatch {
    /// [`Error::PreconditionFailed`]; nothing is deleted.
    #[default]
    Fail,
    /// It stays and is reported; the others go.
    Skip,
}

/// How a delete is carried out.
///
/// ```
/// use sealvec::{DeleteOptions, IfMatch, Missing};
/// let options = DeleteOptions::new().if_match(IfMatch::Any).missing(Missing::Error).dry_run(true);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct DeleteOptions {
    pub(super) if_match: Option<IfMatch>,
    pub(super) missing: Missing,
    pub(super) mismatch: Mismatch,
    pub(super) dry_run: bool,
    pub(super) limit: Option<usize>,
    pub(super) durability: Option<Durability>,
    pub(super) trace: Trace,
}

impl DeleteOptions {
    /// No conditions; what is missing is ignored.
    pub const fn new() -> Self {
        Self {
            if_match: None,
            missing: Missing::Ignore,
            mismatch: Mismatch::Fail,
            dry_run: false,
            limit: None,
            durability: None,
            trace: Trace::None,
        }
    }

    /// The state of the index that the delete is based on.
    pub fn if_match(mut self, state: impl Into<IfMatch>) -> Self {
        self.if_match = Some(state.into());
        self
    }

    /// What an id that names nothing means. Default = [`Missing::Ignore`].
    pub const fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// What an item with another version than [expected](Selector::versions) means. Default =
    /// [`Mismatch::Fail`].
    pub const fn mismatch(mut self, mismatch: Mismatch) -> Self {
        self.mismatch = mismatch;
        self
    }

    /// Default = `false`. With `true` everything is checked and reported, and nothing is written.
    /// Needs the read right too.
    pub const fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// At most so many items go; [`DeleteReport::remaining`](super::DeleteReport::remaining) says
    /// how many are left. With ids the first of them go, otherwise those with the least ids.
    /// Default = none: all that are selected, or none if that is more than
    /// [`Options::max_delete`](crate::Options::max_delete). Needs the read right too, because what
    /// remains was there.
    pub const fn limit(mut self, items: usize) -> Self {
        self.limit = Some(items);
        self
    }

    /// When the call returns. Default = as the handle has it.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// What to trace the commit by; see [`Trace::from_traceparent`].
    pub const fn trace(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }
}

/// An id of the call, once.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) id: &'a str,
    expected: Option<u64>,
    /// Where it was first given.
    pub(super) position: usize,
}

impl Target<'_> {
    pub(super) fn expected(&self) -> Expected {
        self.expected.map_or(Expected::Anything, Expected::Version)
    }
}

/// Checks ids, and keeps the first of each.
pub(super) fn targets<'a>(
    ids: &[(&'a str, Option<u64>)],
    max_ids: usize,
) -> Result<Vec<Target<'a>>> {
    check_many(ids.iter().map(|(id, _)| *id), max_ids)?;
    let all: Vec<&str> = ids.iter().map(|(id, _)| *id).collect();
    check_ids(&all)?;
    let mut seen: HashMap<&str, Option<u64>> = HashMap::with_capacity(ids.len());
    let mut targets = Vec::with_capacity(ids.len());
    for (position, (id, expected)) in ids.iter().enumerate() {
        match seen.insert(id, *expected) {
            None => targets.push(Target { id, expected: *expected, position }),
            Some(earlier) if earlier != *expected => {
                return Err(Error::invalid(format!(
                    "item {position}: its id was given before, with another version"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(targets)
}
