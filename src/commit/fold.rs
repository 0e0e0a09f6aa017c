//! Folding: how the history of an index stays finite.
//!
//! The grant table says how many commits are kept. When enough more than that have come together,
//! the commit in the making folds the oldest: their records go, and the *fold* takes their sums:
//! how many commits of each operation, how many items they inserted, updated and deleted, and the
//! hash of the last of them. The commit names the fold by number and hash, so the writer's signature
//! covers it, and every later commit carries that forward.
//!
//! Who folds checks that what goes is a chain: each commit follows the one before, from the last
//! fold to the first commit that stays. A broken chain is not folded: the writer's commit goes
//! ahead without, and the history keeps failing where the break is. Signatures are not checked
//! again: the fold names nobody.
//!
//! Folding is part of the batch of the commit that does it, so a crash leaves both or neither.
//! Commit records at or below the fold, should there be any, are read by nobody.
//!
//! Cost: about 3 us for each commit folded, and one record of 200 bytes. One commit in
//! [`step`] folds, so it is 3 us a commit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Commit, Draft, Head, Operation, Unverified, read_range};
use crate::codec::{Format, Reader, Writer};
use crate::crypto::kdf::{self, Purpose, ReadSecret, Salt};
use crate::crypto::random;
use crate::error::{Error, Fault, Result};
use crate::id::IndexId;
use crate::store::key::{self, Kind};
use crate::store::record::{Epochs, Shape};
use crate::store::{Family, Snapshot};

/// The version of folds.
pub(crate) const FORMAT: u8 = 1;
/// The most commits that are folded at once.
const MOST: u64 = 1024;
const DAMAGED: Error = Error::Integrity(Fault::Commit);

const SHAPE: Shape = Shape {
    format: Format { what: "fold", version: FORMAT, fault: Fault::Commit },
    kind: Kind::Fold,
    purpose: Purpose::Commit,
};

/// The sums of the commits from the first to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fold {
    pub(crate) index: IndexId,
    /// The last commit that is in it, and its hash.
    pub(crate) through: u64,
    pub(crate) last: [u8; 32],
    /// State after it.
    pub(crate) item_count: u64,
    pub(crate) total_bytes: u64,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    /// When the first was made, and the last; milliseconds since 1970.
    pub(crate) first_time: u64,
    pub(crate) last_time: u64,
    /// How many commits of each operation; `through` in all.
    pub(crate) operations: BTreeMap<Operation, u64>,
}

impl Fold {
    const fn empty(index: IndexId) -> Self {
        Self {
            index,
            through: 0,
            last: [0; 32],
            item_count: 0,
            total_bytes: 0,
            inserted: 0,
            updated: 0,
            deleted: 0,
            first_time: 0,
            last_time: 0,
            operations: BTreeMap::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(256);
        out.u8(FORMAT).bytes(&self.index.0).u64(self.through).bytes(&self.last);
        out.u64(self.item_count).u64(self.total_bytes);
        out.u64(self.inserted).u64(self.updated).u64(self.deleted);
        out.u64(self.first_time).u64(self.last_time);
        out.u8(u8::try_from(self.operations.len()).unwrap_or(u8::MAX));
        for (operation, commits) in &self.operations {
            out.u8(operation.byte()).u64(*commits);
        }
        out.finish()
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        if reader.u8()? != FORMAT {
            return None;
        }
        let mut fold = Self {
            index: IndexId(reader.array()?),
            through: reader.u64()?,
            last: reader.array()?,
            item_count: reader.u64()?,
            total_bytes: reader.u64()?,
            inserted: reader.u64()?,
            updated: reader.u64()?,
            deleted: reader.u64()?,
            first_time: reader.u64()?,
            last_time: reader.u64()?,
            operations: BTreeMap::new(),
        };
        let mut sum = 0u64;
        for _ in 0..reader.u8()? {
            let (operation, commits) = (Operation::from_byte(reader.u8()?)?, reader.u64()?);
            let in_order = fold.operations.last_key_value().is_none_or(|(o, _)| *o < operation);
            if !in_order || commits == 0 {
                return None;
            }
            sum = sum.checked_add(commits)?;
            fold.operations.insert(operation, commits);
        }
        reader.finish()?;
        (sum == fold.through).then_some(fold)
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        kdf::fold_hash(&self.encode())
    }

    /// Adds a commit that comes after those in it. `None` if the sums overflow.
    fn add(&mut self, head: &Head) -> Option<()> {
        let Commit { sequence, item_count, total_bytes, time, operation, .. } = head.commit;
        if self.through == 0 {
            self.first_time = time;
        }
        (self.through, self.last, self.last_time) = (sequence, head.hash, time);
        (self.item_count, self.total_bytes) = (item_count, total_bytes);
        self.inserted = self.inserted.checked_add(head.commit.inserted)?;
        self.updated = self.updated.checked_add(head.commit.updated)?;
        self.deleted = self.deleted.checked_add(head.commit.deleted)?;
        let commits = self.operations.entry(operation).or_default();
        *commits = commits.checked_add(1)?;
        Some(())
    }

    /// Whether this commit is the first that is not in it.
    pub(crate) fn precedes(&self, commit: &Commit) -> bool {
        if self.through == 0 {
            return commit.begins();
        }
        self.through.checked_add(1) == Some(commit.sequence) && commit.previous == self.last
    }

    /// The stored record. `salt` must be fresh.
    pub(crate) fn seal(&self, epoch: u32, secret: &ReadSecret, salt: &Salt) -> Vec<u8> {
        let Self { index, through, .. } = *self;
        let place = SHAPE.place(index, epoch, key::number_id(through), through);
        SHAPE.seal(secret, &place, salt, &self.encode())
    }
}

/// The fold that a commit names: empty if it names none.
pub(crate) fn read(snapshot: &dyn Snapshot, secrets: &Epochs, commit: &Commit) -> Result<Fold> {
    let Commit { index, folded, fold, .. } = *commit;
    if folded == 0 {
        return if fold == [0; 32] { Ok(Fold::empty(index)) } else { Err(DAMAGED) };
    }
    let stored = snapshot.get(Family::Catalog, &key::fold(index))?.ok_or(DAMAGED)?;
    let mut body = Vec::new();
    let version = SHAPE.open_into(secrets, index, key::number_id(folded), &stored, &mut body)?;
    let genuine = version == folded && kdf::fold_hash(&body) == fold;
    let found = Fold::decode(&body).filter(|found| found.through == folded && genuine);
    found.filter(|found| found.index == index).ok_or(DAMAGED)
}

/// Seals the stored fold that ends with the commit `through` again under another epoch.
pub(crate) fn reseal(
    secrets: &Epochs,
    epoch: u32,
    index: IndexId,
    through: u64,
    stored: &[u8],
) -> Result<Vec<u8>> {
    SHAPE.reseal(secrets, epoch, index, key::number_id(through), stored, &random()?)
}

/// One commit in so many folds the oldest: an eighth of those kept, within limits.
fn step(retention: u64) -> u64 {
    (retention / 8).clamp(16, 256)
}

/// How many of `kept` commits are to be folded now.
fn due(kept: u64, retention: u64) -> Option<u64> {
    let (over, step) = (kept.checked_sub(retention)?, step(retention));
    // Where the chain is broken nothing folds, and not every commit should try.
    (over > 0 && over % step == 0).then_some(over.min(MOST))
}

/// Folds the oldest commits into the draft of `next`, the commit after `head`, if it is time.
pub(crate) fn fold_oldest(
    snapshot: &dyn Snapshot,
    secrets: &Epochs,
    head: &Head,
    retention: u64,
    draft: &mut Draft,
    next: &mut Commit,
) -> Result<()> {
    let Commit { index, folded, .. } = head.commit;
    let kept = next.sequence.saturating_sub(folded);
    let Some(count) = due(kept, retention) else { return Ok(()) };
    let (fold, first_kept) = match sum(snapshot, secrets, &head.commit, count) {
        // Broken: it stays, for everybody to see.
        Err(Error::Integrity(_) | Error::UnsupportedFormat { .. }) => return Ok(()),
        other => other?,
    };
    let secret = secrets.get(next.epoch).ok_or(DAMAGED)?;
    let changes = &mut draft.changes;
    for sequence in folded.saturating_add(1)..=fold.through {
        changes.delete(Family::Catalog, key::commit(index, sequence), None);
    }
    // Tables that no kept commit names, and their signatures. The head's is among those that are.
    let named = first_kept.table.min(head.commit.table);
    for (prefix, kept) in [
        (key::tables(index), key::table(index, named, 0)),
        (key::table_signatures(index), key::table_signature(index, named)),
    ] {
        snapshot.scan(Family::Catalog, &prefix, &prefix, &mut |found, _| {
            if found >= kept.as_slice() {
                return ControlFlow::Break(());
            }
            changes.delete(Family::Catalog, found.to_vec(), None);
            ControlFlow::Continue(())
        })?;
    }
    let stored = fold.seal(next.epoch, secret, &random()?);
    changes.put(Family::Catalog, key::fold(index), None, stored);
    (next.folded, next.fold) = (fold.through, fold.hash());
    Ok(())
}

/// The fold that `head` names with the next `count` commits in it, and the first commit after.
fn sum(
    snapshot: &dyn Snapshot,
    secrets: &Epochs,
    head: &Commit,
    count: u64,
) -> Result<(Fold, Commit)> {
    let mut fold = read(snapshot, secrets, head)?;
    let first = head.folded.saturating_add(1);
    let last = first.saturating_add(count);
    let mut before: Option<Head> = None;
    for commit in read_range(snapshot, secrets, head.index, first..=last)? {
        let Unverified { head, .. } = commit;
        let in_place = match &before {
            None => fold.precedes(&head.commit),
            Some(before) => head.commit.follows(before),
        };
        if !in_place {
            return Err(DAMAGED);
        }
        if head.commit.sequence == last {
            return Ok((fold, head.commit));
        }
        fold.add(&head).ok_or(DAMAGED)?;
        before = Some(head);
    }
    Err(DAMAGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_decodes_only_from_its_own_bytes() {
        let operations = BTreeMap::from([(Operation::Create, 1), (Operation::Delete, 6)]);
        let fold = Fold {
            through: 7,
            last: [2; 32],
            deleted: 9,
            first_time: 3,
            last_time: 4,
            operations,
            ..Fold::empty(IndexId([1; 16]))
        };
        let body = fold.encode();
        assert_eq!(Fold::decode(&body), Some(fold.clone()));
        for length in 0..body.len() {
            assert_eq!(Fold::decode(&body[..length]), None);
        }
        assert_eq!(Fold::decode(&[&body[..], &[0]].concat()), None);
        for wrong in [
            Fold { through: 8, ..fold.clone() },
            Fold {
                operations: BTreeMap::from([(Operation::Create, 7), (Operation::Grant, 0)]),
                ..fold
            },
        ] {
            assert_eq!(Fold::decode(&wrong.encode()), None);
        }
        // Out of order.
        let pair = body.len() - 18;
        let swapped = [&body[..pair], &body[pair + 9..], &body[pair..pair + 9]].concat();
        assert_eq!(Fold::decode(&swapped), None);
    }

    #[test]
    fn folding_is_in_steps_and_bounded() {
        let when = |retention, range: std::ops::Range<u64>| -> Vec<(u64, u64)> {
            range.filter_map(|kept| Some((kept, due(kept, retention)?))).collect()
        };
        assert_eq!(when(16, 0..70), [(32, 16), (48, 32), (64, 48)]);
        assert_eq!(when(800, 700..1001), [(900, 100), (1000, 200)]);
        assert_eq!(when(100_000, 0..100_600), [(100_256, 256), (100_512, 512)]);
        assert_eq!(due(110_240, 100_000), Some(MOST));
        assert_eq!(due(u64::MAX, u64::MAX), None);
    }
}
