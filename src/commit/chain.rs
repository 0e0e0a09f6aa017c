//! What a commit must be to come after another.
//!
//! A signature says who made a commit; these rules say that it continues the one before: by number
//! and hash, with counts that add up, an `ETag` that changes when items do, a new grant table only
//! by the root, and folds that only grow and stay out of the retention. Whoever reads a commit and
//! its predecessor checks them: every call for a head that is new to it, the history for all.

use super::{Commit, Head, Operation};

impl Commit {
    /// Whether it is the commit right after `before`.
    pub(crate) fn follows(&self, before: &Head) -> bool {
        let Head { commit: last, hash } = before;
        let tag = if self.operation.changes_items() { None } else { Some(before.etag().0) };
        self.index == last.index
            && last.sequence.checked_add(1) == Some(self.sequence)
            && self.previous == *hash
            && self.operation != Operation::Create
            && self.content_tag == tag
            && self.table_follows(last)
            && self.counts_follow(last)
            && (self.folded > last.folded || (self.folded, self.fold) == (last.folded, last.fold))
    }

    /// Whether it can be the first commit of an index.
    pub(crate) fn begins(&self) -> bool {
        self.sequence == 1
            && self.previous == [0; 32]
            && self.operation == Operation::Create
            && self.principal.is_none()
            && self.folded == 0
    }

    /// Whether no commit is folded that must be kept: this one and those before it, `retention` in
    /// all.
    pub(crate) const fn keeps(&self, retention: u64) -> bool {
        self.folded == 0 || self.sequence.saturating_sub(self.folded) >= retention
    }

    fn table_follows(&self, last: &Self) -> bool {
        if self.operation.changes_table() {
            self.principal.is_none() && last.table.checked_add(1) == Some(self.table)
        } else {
            (self.table, self.table_hash) == (last.table, last.table_hash)
        }
    }

    fn counts_follow(&self, last: &Self) -> bool {
        let Self { inserted, updated, deleted, .. } = *self;
        if self.next_item < last.next_item {
            false
        } else if self.operation == Operation::Recount {
            // What was there before is what it found not to be so.
            true
        } else if self.operation.changes_items() {
            let (with, without) =
                (last.item_count.checked_add(inserted), self.item_count.checked_add(deleted));
            with.is_some() && with == without
        } else {
            (inserted, updated, deleted) == (0, 0, 0)
                && (self.item_count, self.total_bytes) == (last.item_count, last.total_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{IndexId, UserId};

    const GENUINE: [u8; 32] = [8; 32];

    fn before() -> Head {
        let mut commit = Commit::first_for_tests(IndexId([1; 16]));
        (commit.sequence, commit.item_count, commit.next_item) = (40, 5, 9);
        commit.operation = Operation::Upsert;
        Head { commit, hash: GENUINE }
    }

    fn next(operation: Operation) -> Commit {
        let mut next = before().next(operation, 1).unwrap();
        if operation.changes_table() {
            next.table += 1;
        }
        next
    }

    type Change = fn(&mut Commit);

    #[test]
    fn what_follows_and_what_does_not() {
        let counted: Change = |c| {
            (c.inserted, c.updated, c.deleted) = (3, 7, 1);
            (c.item_count, c.next_item, c.total_bytes) = (7, 12, 99);
        };
        let good: [(Operation, Change); 9] = [
            (Operation::Upsert, |_| {}),
            (Operation::Write, counted),
            (Operation::Optimize, |_| {}),
            (Operation::Grant, |_| {}),
            (Operation::Revoke, |c| c.table_hash = [7; 32]),
            (Operation::RotateIndexKey, |c| c.table_hash = [7; 32]),
            (Operation::Recount, |c| (c.item_count, c.deleted) = (1, 1)),
            (Operation::Delete, |c| (c.item_count, c.deleted) = (0, 5)),
            (Operation::Upsert, |c| (c.folded, c.fold) = (3, [3; 32])),
        ];
        for (operation, change) in good {
            let mut commit = next(operation);
            change(&mut commit);
            assert!(commit.follows(&before()), "{commit:?}");
            let other = Head { hash: [9; 32], ..before() };
            assert!(!commit.follows(&other), "{commit:?}");
        }
        let bad: [(Operation, Change); 22] = [
            (Operation::Upsert, |c| c.index = IndexId([2; 16])),
            (Operation::Upsert, |c| c.sequence += 1),
            (Operation::Upsert, |c| c.previous[0] ^= 1),
            (Operation::Upsert, |c| c.content_tag = Some(GENUINE)),
            (Operation::Optimize, |c| c.content_tag = None),
            (Operation::Optimize, |c| c.content_tag = Some([1; 32])),
            (Operation::Optimize, |c| c.total_bytes += 1),
            (Operation::Grant, |c| c.updated = 1),
            (Operation::Upsert, |c| c.table += 1),
            (Operation::Upsert, |c| c.table -= 1),
            (Operation::Upsert, |c| c.table_hash[0] ^= 1),
            (Operation::Grant, |c| c.table -= 1),
            (Operation::Grant, |c| c.table += 1),
            (Operation::Grant, |c| c.principal = Some(UserId([3; 16]))),
            (Operation::RotateIndexKey, |c| c.content_tag = None),
            (Operation::RotateIndexKey, |c| c.principal = Some(UserId([3; 16]))),
            (Operation::Upsert, |c| c.item_count += 1),
            (Operation::Upsert, |c| c.inserted = u64::MAX),
            (Operation::Delete, |c| c.deleted = 1),
            (Operation::Recount, |c| c.next_item -= 1),
            (Operation::Upsert, |c| c.fold = [3; 32]),
            (Operation::Create, |c| c.table = 2),
        ];
        for (operation, change) in bad {
            let mut commit = next(operation);
            change(&mut commit);
            assert!(!commit.follows(&before()), "{commit:?}");
        }
        let mut later = before();
        (later.commit.folded, later.commit.fold) = (9, [9; 32]);
        let mut fallen = later.next(Operation::Upsert, 1).unwrap();
        assert!(fallen.follows(&later));
        (fallen.folded, fallen.fold) = (8, [8; 32]);
        assert!(!fallen.follows(&later));
    }

    #[test]
    fn how_a_chain_begins_and_what_it_keeps() {
        let first = Commit::first_for_tests(IndexId([1; 16]));
        assert!(first.begins() && first.keeps(u64::MAX));
        let changes: [Change; 5] = [
            |c| c.sequence = 2,
            |c| c.previous[31] = 1,
            |c| c.operation = Operation::Upsert,
            |c| c.principal = Some(UserId([3; 16])),
            |c| c.folded = 1,
        ];
        for change in changes {
            let mut commit = first.clone();
            change(&mut commit);
            assert!(!commit.begins(), "{commit:?}");
        }
        let folded = Commit { sequence: 50, folded: 34, ..first };
        assert!(folded.keeps(16) && !folded.keeps(17));
        assert!(!Commit { folded: 51, ..folded }.keeps(16));
    }
}
