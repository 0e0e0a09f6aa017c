//! Two records of the database itself: what is owed a purge, and the checkpoints that were made.
//!
//! A commit that replaces or deletes records leaves the old ones in the files of the engine until a
//! purge. So that a crash in between loses nothing, it says so in its own batch: the record
//! *purge owed* of its index holds, for each part of the index that is purged together, since when
//! and by which commit last something is owed, and whether it is to be purged at the next open. It
//! is written anew by every commit that owes (52 bytes and the key), so that a purge can tell
//! whether something came after it: it takes back a part only if the last commit is still the one
//! that it saw before it began. Nobody needs a key for any of this, and the records hold nothing
//! that the files do not show.
//!
//! Neither record is sealed. What cannot be read is taken for the most that it could say: that
//! everything is owed, and at once.

use crate::codec::{Format, Reader, Writer};
use crate::error::{Fault, Result};
use crate::store::Family;
use crate::store::key::Kind;

/// The version of purge-owed records.
pub(crate) const OWED_FORMAT: u8 = 1;
/// The version of checkpoint records.
pub(crate) const CHECKPOINT_FORMAT: u8 = 1;

const OWED: Format =
    Format { what: "purge-owed record", version: OWED_FORMAT, fault: Fault::Catalog };
const CHECKPOINT: Format =
    Format { what: "checkpoint record", version: CHECKPOINT_FORMAT, fault: Fault::Catalog };

const PARTS: usize = 3;

/// Parts of an index, each of which is purged as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts(u8);

impl Parts {
    pub(crate) const NONE: Self = Self(0);
    /// The catalog, for its wraps and roster records.
    pub(crate) const RIGHTS: Self = Self(1);
    /// Item records, nodes and attributes.
    pub(crate) const RECORDS: Self = Self(2);
    pub(crate) const PAYLOAD: Self = Self(4);
    pub(crate) const ALL: Self = Self(7);

    /// What is owed for the deletion of a key.
    pub(crate) fn of_deleted(family: Family, key: &[u8]) -> Self {
        let secret = |kind: &u8| [Kind::Wrap as u8, Kind::Roster as u8].contains(kind);
        match family {
            Family::Catalog if key.get(16).is_some_and(secret) => Self::RIGHTS,
            Family::Catalog => Self::NONE,
            // Payload is as good as gone when its salts are, and those are in the records.
            _ => Self::RECORDS,
        }
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The families to rewrite.
    pub(crate) fn families(self) -> Vec<Family> {
        let part = |family: Family| match family {
            Family::Catalog => Self::RIGHTS,
            Family::Items | Family::Nodes | Family::Attributes => Self::RECORDS,
            Family::Payload => Self::PAYLOAD,
        };
        Family::ALL.into_iter().filter(|family| self.has(part(*family))).collect()
    }
}

/// Since when a part is owed a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Debt {
    /// Milliseconds since 1970.
    pub(crate) since: u64,
    /// The sequence of the last commit that owes.
    pub(crate) last: u64,
    /// Whether the next open for writing purges it, whatever its options.
    pub(crate) at_once: bool,
}

/// What an index, or one that was deleted, is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owed([Option<Debt>; PARTS]);

impl Owed {
    pub(crate) const NOTHING: Self = Self([None; PARTS]);
    /// Everything, at once: what a record stands for that cannot be read.
    const UNREADABLE: Self = Self([Some(Debt { since: 0, last: 0, at_once: true }); PARTS]);

    /// The record as it is stored; nothing is owed if there is none.
    pub(crate) fn read(stored: Option<&[u8]>) -> Self {
        stored.map_or(Self::NOTHING, |stored| Self::decode(stored).unwrap_or(Self::UNREADABLE))
    }

    /// Adds what a commit owes, and keeps the oldest time.
    pub(crate) fn add(&mut self, parts: Parts, debt: Debt) {
        for (bit, slot) in self.0.iter_mut().enumerate() {
            if parts.has(Parts(1 << bit)) {
                let old = slot.unwrap_or(debt);
                let since = old.since.min(debt.since);
                *slot = Some(Debt { since, at_once: old.at_once || debt.at_once, ..debt });
            }
        }
    }

    /// Takes back what a purge of `parts` has done that began at the time `started`, when this was
    /// `seen`. What was owed since then stays, since then at the earliest.
    pub(crate) fn settle(&mut self, parts: Parts, seen: &Self, started: u64) {
        for (bit, (slot, seen)) in self.0.iter_mut().zip(seen.0).enumerate() {
            let Some(debt) = slot else { continue };
            if !parts.has(Parts(1 << bit)) {
                continue;
            }
            if seen.is_some_and(|seen| seen.last == debt.last) {
                *slot = None;
            } else {
                debt.since = debt.since.max(started);
            }
        }
    }

    /// What is owed, part by part.
    pub(crate) fn debts(&self) -> impl Iterator<Item = (Parts, Debt)> {
        let bits = self.0.iter().enumerate();
        bits.filter_map(|(bit, debt)| Some((Parts(1 << bit), (*debt)?)))
    }

    /// The parts of which anything is owed.
    pub(crate) fn parts(&self) -> Parts {
        self.debts().fold(Parts::NONE, |parts, (part, _)| parts.with(part))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(1 + PARTS * 17);
        out.u8(OWED_FORMAT);
        for debt in self.0 {
            let Debt { since, last, at_once } =
                debt.unwrap_or(Debt { since: 0, last: 0, at_once: false });
            // 0 nothing, 1 owed, 2 owed at once.
            let state = debt.map_or(0, |_| 1 + u8::from(at_once));
            out.u8(state).u64(since).u64(last);
        }
        out.finish()
    }

    pub(crate) fn decode(stored: &[u8]) -> Result<Self> {
        OWED.read(stored, |reader| {
            let mut debts = [None; PARTS];
            for debt in &mut debts {
                let (state, since, last) = (reader.u8()?, reader.u64()?, reader.u64()?);
                *debt = match state {
                    0 => (since == 0 && last == 0).then_some(None)?,
                    1 | 2 => Some(Debt { since, last, at_once: state == 2 }),
                    _ => return None,
                };
            }
            Some(Self(debts))
        })
    }
}

/// A copy of the database that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// Absolute.
    pub(crate) path: String,
}

impl Made {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(11 + self.path.len());
        out.u8(CHECKPOINT_FORMAT).u64(self.time).short(self.path.as_bytes());
        out.finish()
    }

    pub(crate) fn decode(stored: &[u8]) -> Result<Self> {
        CHECKPOINT.read(stored, |reader: &mut Reader<'_>| {
            let (time, path) = (reader.u64()?, reader.short()?);
            Some(Self { time, path: String::from_utf8(path.to_vec()).ok()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::kdf::Locator;
    use crate::crypto::wrap::Right;
    use crate::error::Error;
    use crate::id::IndexId;
    use crate::store::key;

    fn debt(since: u64, last: u64) -> Debt {
        Debt { since, last, at_once: false }
    }

    fn owing(parts: Parts, since: u64, last: u64) -> Owed {
        let mut owed = Owed::NOTHING;
        owed.add(parts, debt(since, last));
        owed
    }

    #[test]
    fn the_oldest_time_and_the_newest_commit_are_kept() {
        let mut owed = owing(Parts::RECORDS, 50, 5);
        owed.add(Parts::RECORDS.with(Parts::RIGHTS), debt(70, 6));
        owed.add(Parts::RECORDS, Debt { at_once: true, ..debt(40, 7) });
        owed.add(Parts::RECORDS, debt(90, 8));
        assert_eq!(owed.0, [Some(debt(70, 6)), Some(Debt { at_once: true, ..debt(40, 8) }), None]);
        let since: Vec<(Parts, u64)> = owed.debts().map(|(part, d)| (part, d.since)).collect();
        assert_eq!(since, [(Parts::RIGHTS, 70), (Parts::RECORDS, 40)]);
        assert_eq!(owed.parts(), Parts::RECORDS.with(Parts::RIGHTS));
        assert!(Owed::NOTHING.parts().is_none());
    }

    #[test]
    fn a_purge_takes_back_what_it_saw_and_nothing_newer() {
        let seen = owing(Parts::ALL, 10, 3);
        let mut unchanged = seen;
        unchanged.settle(Parts::ALL, &seen, 100);
        assert_eq!(unchanged, Owed::NOTHING);
        let mut less = seen;
        less.settle(Parts::RIGHTS.with(Parts::RECORDS), &seen, 100);
        assert_eq!(less, owing(Parts::PAYLOAD, 10, 3));
        let mut newer = seen;
        newer.add(Parts::RECORDS, debt(120, 4));
        newer.settle(Parts::ALL, &seen, 100);
        // The purge began at 100, so what is still owed is from then or later.
        assert_eq!(newer, owing(Parts::RECORDS, 100, 4));
        let mut first = owing(Parts::RECORDS, 120, 4);
        first.settle(Parts::ALL, &Owed::NOTHING, 100);
        assert_eq!(first, owing(Parts::RECORDS, 120, 4));
    }

    #[test]
    fn deletions_owe_by_what_they_delete() {
        let index = IndexId([1; 16]);
        let wrap = key::wrap(index, Locator([2; 16]), Right::Read);
        for (family, key, parts) in [
            (Family::Items, key::item(index, &[3; 16]), Parts::RECORDS),
            (Family::Payload, key::payload(index, Kind::Vector, &[3; 16], 0), Parts::RECORDS),
            (Family::Catalog, wrap, Parts::RIGHTS),
            (Family::Catalog, key::roster(index, &[4; 16]), Parts::RIGHTS),
            (Family::Catalog, key::commit(index, 9), Parts::NONE),
            (Family::Catalog, Vec::new(), Parts::NONE),
        ] {
            assert_eq!(Parts::of_deleted(family, &key), parts, "{family:?} {key:?}");
        }
        assert_eq!(Parts::ALL.families(), Family::ALL);
        assert_eq!(Parts::RIGHTS.families(), [Family::Catalog]);
        assert_eq!(Parts::PAYLOAD.families(), [Family::Payload]);
        assert_eq!(Parts::RECORDS.families().len(), 3);
    }

    #[test]
    fn records_come_back_and_what_is_no_record_is_refused() {
        let mut owed = owing(Parts::RIGHTS, 1, 2);
        owed.add(Parts::PAYLOAD, Debt { at_once: true, ..debt(3, 4) });
        let stored = owed.encode();
        assert_eq!((Owed::decode(&stored), stored.len()), (Ok(owed), 52));
        let made = Made { time: 7, path: "/caf\u{e9}".into() };
        assert_eq!(Made::decode(&made.encode()), Ok(made.clone()));
        let newer = |mut stored: Vec<u8>| {
            stored[0] = 2;
            stored
        };
        let refused = |what| Error::UnsupportedFormat { what, found: 2, supported: 1 };
        let (later, other) = (newer(stored.clone()), newer(made.encode()));
        assert_eq!(Owed::decode(&later), Err(refused("purge-owed record")));
        assert_eq!(Made::decode(&other), Err(refused("checkpoint record")));
        let damaged = Error::Integrity(Fault::Catalog);
        let (mut state, mut rest) = (stored.clone(), stored.clone());
        state[1] = 3;
        rest[18 + 5] = 1;
        for bad in [&stored[..51], &[&stored[..], &[0]].concat(), b"", &state, &rest] {
            assert_eq!(Owed::decode(bad), Err(damaged.clone()));
            assert_eq!(Owed::read(Some(bad)), Owed::UNREADABLE);
        }
        let cut = made.encode();
        for bad in [&cut[..cut.len() - 1], &[&cut[..], b"x"].concat(), &[1], b""] {
            assert_eq!(Made::decode(bad), Err(damaged.clone()));
        }
        assert_eq!(Owed::read(None), Owed::NOTHING);
        assert_eq!(Owed::UNREADABLE.parts(), Parts::ALL);
        assert!(Owed::UNREADABLE.debts().all(|(_, debt)| debt.at_once));
    }
}
