//! What a process remembers about the indexes it has verified. No keys, no names, no contents.
//!
//! - The latest verified head per (index, root verify key), as a fingerprint of table hash and
//!   commit hash, so that signatures are checked once per change and not once per call. The root
//!   verify key is part of the key: what somebody made verify under a root of their own counts for
//!   nobody else. A failure is never remembered.
//! - The highest grant table seen per (index, root verify key): a lower one later is a rollback.
//!   Later means in a snapshot taken later: a call that began before a grant by another thread reads
//!   the table before it, and rightly so. Hence the [`Moment`].
//! - The highest commit per index that was written without waiting for the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    buffered: HashMap<IndexId, u64>,
    /// Grows whenever a highest table does.
    clock: u64,
}

#[derive(Debug)]
struct Verified {
    fingerprint: [u8; 32],
    table: u64,
    /// The clock when that table was first seen.
    since: u64,
}

impl Trust {
    /// Whether this head has been verified under this root key.
    pub(crate) fn knows(
        &self,
        index: IndexId,
        root: &PublicKey,
        table: &[u8; 32],
        commit: &[u8; 32],
    ) -> bool {
        let fingerprint = fingerprint(table, commit);
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

    /// Remembers a head that was just verified, or just signed by this process.
    pub(crate) fn remember(
        &self,
        index: IndexId,
        root: &PublicKey,
        number: u64,
        table: &[u8; 32],
        commit: &[u8; 32],
    ) {
        let fingerprint = fingerprint(table, commit);
        let mut memory = self.memory();
        let Memory { verified, clock, .. } = &mut *memory;
        let known = verified.entry((index, *root)).or_insert(Verified {
            fingerprint,
            table: 0,
            since: *clock,
        });
        known.fingerprint = fingerprint;
        if number > known.table {
            *clock = clock.saturating_add(1);
            known.table = number;
            known.since = *clock;
        }
    }

    /// Forgets an index that was deleted.
    pub(crate) fn forget(&self, index: IndexId) {
        let mut memory = self.memory();
        memory.verified.retain(|(known, _), _| *known != index);
        memory.buffered.remove(&index);
    }

    /// Notes that a commit is about to be written without waiting for the disk, and returns what
    /// was noted before.
    pub(crate) fn note_buffered(&self, index: IndexId, sequence: u64) -> Option<u64> {
        self.memory().buffered.insert(index, sequence)
    }

    /// Takes a note back: the commit was not written after all.
    pub(crate) fn not_buffered(&self, index: IndexId, before: Option<u64>) {
        let mut memory = self.memory();
        match before {
            Some(before) => memory.buffered.insert(index, before),
            None => memory.buffered.remove(&index),
        };
    }

    /// Notes that everything up to this commit of the index is on the disk.
    pub(crate) fn note_durable(&self, index: IndexId, sequence: u64) {
        let mut memory = self.memory();
        if memory.buffered.get(&index).is_some_and(|buffered| *buffered <= sequence) {
            memory.buffered.remove(&index);
        }
    }

    /// The commits that are not known to be on the disk, one per index.
    pub(crate) fn buffered(&self) -> Vec<(IndexId, u64)> {
        self.memory().buffered.iter().map(|(index, sequence)| (*index, *sequence)).collect()
    }

    /// Whether a commit is known to be on the disk.
    pub(crate) fn is_durable(&self, index: IndexId, sequence: u64) -> bool {
        self.memory().buffered.get(&index).is_none_or(|buffered| sequence > *buffered)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every update above is a single insertion or removal, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(table: &[u8; 32], commit: &[u8; 32]) -> [u8; 32] {
    *blake3::Hasher::new().update(table).update(commit).finalize().as_bytes()
}
