//! What a process remembers about the indexes it has verified. No keys, no names, no contents.
//!
//! - The latest verified head per (index, root verify key), as a fingerprint of table hash and
//!   commit hash, so that signatures are checked once per change and not once per call. The root
//!   verify key is part of the key: what somebody made verify under a root of their own counts for
//!   nobody else. A failure is never remembered.
//! - The highest grant table seen per (index, root verify key): a lower one later is a rollback.
//!   Later means in a snapshot taken later: a call that began before a grant by another thread
//!   reads the table before it, and rightly so. Hence the [`Moment`].
//! - Hashes of commits behind a head per (index, root verify key); see `freshness`.
//! - The highest commit per index that was written without waiting for the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::freshness::{Place, Span};
use crate::commit::{Commit, Head};
use crate::crypto::sign::PublicKey;
use crate::id::IndexId;

/// A point in the life of a [`Trust`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u64);

/// The memory of one open database.
#[derive(Debug, Default)]
pub(crate) struct Trust(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    verified: HashMap<(IndexId, PublicKey), Verified>,
    spans: HashMap<(IndexId, PublicKey), Span>,
    buffered: HashMap<IndexId, Buffered>,
    /// Grows whenever a highest table does.
    clock: u64,
}

/// The latest commit of an index that did not wait for the disk; 0 for none.
#[derive(Debug, Default)]
struct Buffered {
    /// Being written, or written.
    begun: u64,
    /// Written.
    written: u64,
}

#[derive(Debug)]
struct Verified {
    fingerprint: [u8; 32],
    table: u64,
    sequence: u64,
    /// The clock when that table was first seen.
    since: u64,
}

impl Trust {
    /// Whether this head, under a table with this hash, has been verified under this root key.
    pub(crate) fn knows(
        &self,
        index: IndexId,
        root: &PublicKey,
        head: &Head,
        table: &[u8; 32],
    ) -> bool {
        let fingerprint = fingerprint(table, &head.hash);
        let memory = self.memory();
        memory.verified.get(&(index, *root)).is_some_and(|known| known.fingerprint == fingerprint)
    }

    /// Now: to be taken before the snapshot that is judged by it.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.memory().clock)
    }

    /// Whether a newer table than this one had been seen under this root key at that moment.
    pub(crate) fn outdates(
        &self,
        index: IndexId,
        root: &PublicKey,
        table: u64,
        moment: Moment,
    ) -> bool {
        let memory = self.memory();
        let known = memory.verified.get(&(index, *root));
        known.is_some_and(|known| known.table > table && known.since <= moment.0)
    }

    /// Remembers a head that was just verified, or just signed by this process, unless a later one
    /// is remembered: a slow call must not bring back the state before a revocation.
    pub(crate) fn remember(&self, index: IndexId, root: &PublicKey, head: &Head) {
        let Commit { table, sequence, table_hash, .. } = &head.commit;
        let mut memory = self.memory();
        let Memory { verified, clock, .. } = &mut *memory;
        let known = verified.entry((index, *root)).or_insert(Verified {
            fingerprint: [0; 32],
            table: 0,
            sequence: 0,
            since: *clock,
        });
        if (*table, *sequence) < (known.table, known.sequence) {
            return;
        }
        known.fingerprint = fingerprint(table_hash, &head.hash);
        known.sequence = *sequence;
        if *table > known.table {
            *clock = clock.saturating_add(1);
            known.table = *table;
            known.since = *clock;
        }
    }

    /// The hash of the commit with this sequence, if it is known and behind this head.
    pub(super) fn behind(
        &self,
        index: IndexId,
        root: &PublicKey,
        head: Place,
        sequence: u64,
    ) -> Option<[u8; 32]> {
        self.memory().spans.get(&(index, *root))?.behind(head, sequence)
    }

    /// What is known of the commits behind the latest head that was walked back from.
    pub(super) fn span(&self, index: IndexId, root: &PublicKey) -> Span {
        self.memory().spans.get(&(index, *root)).cloned().unwrap_or_default()
    }

    /// Remembers a span, unless one of a later head is remembered.
    pub(super) fn keep_span(&self, index: IndexId, root: &PublicKey, span: Span) {
        let mut memory = self.memory();
        let known = memory.spans.entry((index, *root)).or_default();
        if span.last().map(|last| last.0) >= known.last().map(|last| last.0) {
            *known = span;
        }
    }

    /// Forgets an index that was deleted.
    pub(crate) fn forget(&self, index: IndexId) {
        let mut memory = self.memory();
        memory.verified.retain(|(known, _), _| *known != index);
        memory.spans.retain(|(known, _), _| *known != index);
        memory.buffered.remove(&index);
    }

    /// Notes that a commit is about to be written without waiting for the disk.
    pub(crate) fn begin_buffered(&self, index: IndexId, sequence: u64) {
        self.memory().buffered.entry(index).or_default().begun = sequence;
    }

    /// Notes how that ended.
    pub(crate) fn end_buffered(&self, index: IndexId, written: bool) {
        let mut memory = self.memory();
        let Some(buffered) = memory.buffered.get_mut(&index) else { return };
        if written {
            buffered.written = buffered.begun;
        } else {
            buffered.begun = buffered.written;
        }
        if buffered.begun == 0 {
            memory.buffered.remove(&index);
        }
    }

    /// Notes that everything up to this commit of the index is on the disk.
    pub(crate) fn note_durable(&self, index: IndexId, sequence: u64) {
        let mut memory = self.memory();
        if memory.buffered.get(&index).is_some_and(|buffered| buffered.begun <= sequence) {
            memory.buffered.remove(&index);
        }
    }

    /// The commits that are written and not known to be on the disk, one per index. One that is
    /// being written may miss the flush that follows, so it is not among them.
    pub(crate) fn buffered(&self) -> Vec<(IndexId, u64)> {
        let memory = self.memory();
        memory.buffered.iter().map(|(index, buffered)| (*index, buffered.written)).collect()
    }

    /// Whether a commit is known to be on the disk.
    pub(crate) fn is_durable(&self, index: IndexId, sequence: u64) -> bool {
        self.memory().buffered.get(&index).is_none_or(|buffered| sequence > buffered.begun)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every update above is a single insertion or removal, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(table: &[u8; 32], commit: &[u8; 32]) -> [u8; 32] {
    *blake3::Hasher::new().update(table).update(commit).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Operation;

    const INDEX: IndexId = IndexId([1; 16]);
    const ROOT: PublicKey = [2; 32];

    fn head(table: u64, sequence: u64) -> Head {
        let tag = u8::try_from(table * 16 + sequence).unwrap();
        let commit = Commit {
            sequence,
            table,
            table_hash: [u8::try_from(table).unwrap(); 32],
            operation: Operation::Grant,
            ..Commit::first_for_tests(INDEX)
        };
        Head { commit, hash: [tag; 32] }
    }

    #[test]
    fn a_slow_call_does_not_bring_back_an_older_head() {
        for (slow, latest) in [(head(1, 3), head(2, 4)), (head(2, 3), head(2, 4))] {
            let trust = Trust::default();
            let knows = |head: &Head| trust.knows(INDEX, &ROOT, head, &head.commit.table_hash);
            trust.remember(INDEX, &ROOT, &slow);
            assert!(knows(&slow));
            trust.remember(INDEX, &ROOT, &latest);
            trust.remember(INDEX, &ROOT, &slow);
            assert!(knows(&latest) && !knows(&slow));
            assert!(trust.outdates(INDEX, &ROOT, 1, trust.now()));
            let other = [3; 32];
            assert!(!trust.outdates(INDEX, &other, 1, trust.now()), "another root, another memory");
        }
    }

    #[test]
    fn a_flush_counts_only_for_what_was_written_before_it() {
        let trust = Trust::default();
        trust.begin_buffered(INDEX, 4);
        trust.end_buffered(INDEX, true);
        trust.begin_buffered(INDEX, 5);
        for (index, sequence) in trust.buffered() {
            trust.note_durable(index, sequence);
        }
        trust.end_buffered(INDEX, true);
        assert!(!trust.is_durable(INDEX, 5), "it was being written when the flush began");
        for (index, sequence) in trust.buffered() {
            trust.note_durable(index, sequence);
        }
        assert!(trust.is_durable(INDEX, 5));
        trust.begin_buffered(INDEX, 6);
        trust.end_buffered(INDEX, false);
        assert!(trust.is_durable(INDEX, 5), "a write that failed says nothing of those before");
    }
}
