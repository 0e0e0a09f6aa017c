//! What a call may demand of the state it changes, and how it wants to be carried out.
//!
//! A condition is checked under the index's write lock, on the state that the commit would replace,
//! so that nothing comes between the check and the change. All conditions of a call are checked
//! before anything is written; what is not met fails the whole call with
//! [`Error::PreconditionFailed`], unless the call was told to skip and report.
//!
//! Two things have versions: the items of an index as a whole ([`ETag`], for `if_match`), and each
//! item (a number, for `if_version`). Neither is ever used twice: an item that is deleted and
//! written again has another version, and the index another ETag.

use std::str::FromStr;

use crate::error::{Error, Result, Unmet};
use crate::id::{ETag, Trace};
use crate::store::Durability;

/// The state that a change is based on.
///
/// ```
/// use sealvec::IfMatch;
/// assert_eq!("*".parse(), Ok(IfMatch::Any));
/// assert!("".parse::<IfMatch>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IfMatch {
    /// Any: the call says that it means to change whatever is there.
    Any,
    /// Exactly this one.
    ETag(ETag),
}

impl From<ETag> for IfMatch {
    fn from(etag: ETag) -> Self {
        Self::ETag(etag)
    }
}

impl FromStr for IfMatch {
    type Err = Error;

    /// Parses `*`, or an ETag of 64 hexadecimal digits with or without quotation marks.
    fn from_str(text: &str) -> Result<Self> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        bare.parse().map(Self::ETag)
    }
}

impl IfMatch {
    /// Checks what a call gave against the current ETag; `required` if it must give something.
    pub(crate) fn check(given: Option<Self>, current: ETag, required: bool) -> Result<()> {
        match given {
            None if required => Err(Error::invalid(
                "this index requires `if_match`: the ETag that the change is based on, or any",
            )),
            Some(Self::ETag(based_on)) if based_on != current => {
                Err(Error::PreconditionFailed(Unmet::ETag { current }))
            }
            _ => Ok(()),
        }
    }
}

/// What must be stored under an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Expected {
    /// Whatever.
    #[default]
    Anything,
    /// An item with this version.
    Version(u64),
    /// Nothing.
    Absent,
}

impl Expected {
    /// Checks the version that is there, of the item at this position of the call.
    pub(crate) fn check(self, found: Option<u64>, position: usize) -> Result<()> {
        match (self, found) {
            (Self::Version(_), None) => Err(Error::ItemNotFound),
            (Self::Version(expected), Some(found)) if expected != found => {
                Err(Error::PreconditionFailed(Unmet::Version { position }))
            }
            (Self::Absent, Some(_)) => Err(Error::PreconditionFailed(Unmet::Exists { position })),
            _ => Ok(()),
        }
    }
}

impl Expected {
    /// As [`check`](Self::check), where what is there does not open: it has no version that anybody
    /// could have asked for.
    pub(crate) const fn check_unreadable(self, position: usize) -> Result<()> {
        match self {
            Self::Anything => Ok(()),
            Self::Version(_) => Err(Error::PreconditionFailed(Unmet::Version { position })),
            Self::Absent => Err(Error::PreconditionFailed(Unmet::Exists { position })),
        }
    }
}

/// How an upsert, an update or a batch of writes is carried out.
///
/// ```
/// use sealvec::{IfMatch, WriteOptions};
/// let options = WriteOptions::new().if_match(IfMatch::Any).if_none_match(true);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct WriteOptions {
    pub(crate) if_match: Option<IfMatch>,
    pub(crate) if_none_match: bool,
    pub(crate) durability: Option<Durability>,
    pub(crate) trace: Trace,
}

impl WriteOptions {
    /// No conditions.
    pub const fn new() -> Self {
        Self { if_match: None, if_none_match: false, durability: None, trace: Trace::None }
    }

    /// The state the change is based on.
    pub fn if_match(mut self, state: impl Into<IfMatch>) -> Self {
        self.if_match = Some(state.into());
        self
    }

    /// Default = `false`. With `true` no item may be there yet: create, never replace. Needs the
    /// read right too, as every condition on an item does, because it tells what is there.
    pub const fn if_none_match(mut self, create_only: bool) -> Self {
        self.if_none_match = create_only;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_parsed_or_refused_and_never_ignored() {
        let etag = ETag([0xab; 32]);
        for good in [etag.to_string(), format!("\"{etag}\""), etag.to_string().to_uppercase()] {
            assert_eq!(good.parse(), Ok(IfMatch::ETag(etag)), "{good}");
        }
        for bad in ["", " ", "**", "\"*\"", "\"", "\"\"", "W/\"ab\"", "ab", &"0".repeat(63)] {
            assert!(bad.parse::<IfMatch>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn conditions_hold_or_say_what_does_not() {
        let (now, old) = (ETag([1; 32]), ETag([2; 32]));
        let check = |given, required| IfMatch::check(given, now, required);
        assert_eq!(check(None, false), Ok(()));
        assert!(check(None, true).is_err_and(|error| error.code() == "invalid_argument"));
        for required in [false, true] {
            assert_eq!(check(Some(IfMatch::Any), required), Ok(()));
            assert_eq!(check(Some(now.into()), required), Ok(()));
            let stale = Error::PreconditionFailed(Unmet::ETag { current: now });
            assert_eq!(check(Some(old.into()), required), Err(stale));
        }
        let (version, exists) = (Unmet::Version { position: 4 }, Unmet::Exists { position: 4 });
        for (expected, found, outcome) in [
            (Expected::Anything, None, Ok(())),
            (Expected::Anything, Some(3), Ok(())),
            (Expected::Version(3), Some(3), Ok(())),
            (Expected::Version(3), Some(4), Err(Error::PreconditionFailed(version))),
            (Expected::Version(3), None, Err(Error::ItemNotFound)),
            (Expected::Absent, None, Ok(())),
            (Expected::Absent, Some(3), Err(Error::PreconditionFailed(exists))),
        ] {
            assert_eq!(expected.check(found, 4), outcome, "{expected:?} {found:?}");
        }
        for (expected, outcome) in [
            (Expected::Anything, Ok(())),
            (Expected::Version(0), Err(Error::PreconditionFailed(version))),
            (Expected::Absent, Err(Error::PreconditionFailed(exists))),
        ] {
            assert_eq!(expected.check_unreadable(4), outcome, "{expected:?}");
        }
    }
}
