//! The plaintext cache: decrypted nodes and vectors, kept between queries. Off unless asked for.
//!
//! Invariants:
//! - Nobody reaches an entry without the read secret: the key begins with a fingerprint expanded
//!   from it, which only an operation whose own wrap has opened can compute. So what a revoked
//!   user's queries left here is out of reach.
//! - An entry answers for one sealing of its record only: generation and salt must agree, or the
//!   commit must be the one it was last checked under.
//! - A value is wiped when the last holder lets go of it: when it is displaced, when its record is
//!   overwritten or deleted, when the database closes. A query on an older snapshot does not bring
//!   back what was deleted since.
//!
//! Two generations: what is used moves to the young one; when that is half of the capacity, the old
//! one is dropped and the young one takes its place. Cost: a lock and a hash lookup per entry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crypto::Opened;
use crate::crypto::kdf::Salt;

/// What an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// The codes of a node.
    Codes,
    /// A sealed part of a node's rows.
    Rows(u32),
    /// A vector, as little-endian floats.
    Vector,
}

/// Whose entries: a read secret (with its index), and a node id or a pseudonym.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) secret: [u8; 16],
    pub(crate) id: [u8; 16],
}

/// Which sealing of a record an entry was opened from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) generation: u64,
    pub(crate) salt: Salt,
}

/// A commit, as far as the cache tells them apart.
pub(crate) type State = (u64, [u8; 32]);

struct Entry {
    part: Part,
    stamp: Stamp,
    /// The commit under which it was last known to be current.
    current: State,
    value: Arc<Opened>,
}

impl Entry {
    fn size(&self) -> usize {
        self.value.len() + OVERHEAD
    }
}

/// The cache of one open database.
pub(crate) struct Cache {
    capacity: usize,
    inner: Mutex<Inner>,
}

type Generation = HashMap<Name, Vec<Entry>>;

#[derive(Default)]
struct Inner {
    young: Generation,
    old: Generation,
    /// Bytes in the young generation.
    bytes: usize,
    /// For each secret the commit that last took something away.
    floors: HashMap<[u8; 16], u64>,
}

/// What an entry takes besides its value.
const OVERHEAD: usize = 160;

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    /// A value that is known to be current under this commit.
    pub(crate) fn get_current(&self, name: Name, part: Part, state: &State) -> Option<Arc<Opened>> {
        self.find(name, part, |entry| entry.current == *state)
    }

    /// A value opened from this sealing, which is the current one under this commit.
    pub(crate) fn get(
        &self,
        name: Name,
        part: Part,
        stamp: &Stamp,
        state: &State,
    ) -> Option<Arc<Opened>> {
        self.find(name, part, |entry| {
            let same = entry.stamp == *stamp;
            if same && entry.current.0 < state.0 {
                entry.current = *state;
            }
            same
        })
    }

    /// Keeps a value, unless something was taken away after the commit it was read under.
    pub(crate) fn put(
        &self,
        name: Name,
        part: Part,
        stamp: Stamp,
        current: State,
        value: &Arc<Opened>,
    ) {
        let entry = Entry { part, stamp, current, value: Arc::clone(value) };
        let mut inner = self.lock();
        let floor = inner.floors.get(&name.secret).copied().unwrap_or(0);
        if current.0 < floor || entry.size() > self.capacity / 2 {
            return;
        }
        inner.promote(name);
        let Inner { young, bytes, .. } = &mut *inner;
        let entries = young.entry(name).or_default();
        *bytes += entry.size();
        match entries.iter_mut().find(|known| known.part == part) {
            Some(known) => *bytes -= std::mem::replace(known, entry).size(),
            None => entries.push(entry),
        }
        inner.turn(self.capacity);
    }

    /// Takes away what is kept of some records, because the commit with this sequence changed them.
    pub(crate) fn forget(&self, secret: [u8; 16], sequence: u64, ids: &[[u8; 16]]) {
        let mut inner = self.lock();
        let floor = inner.floors.entry(secret).or_default();
        *floor = sequence.max(*floor);
        for id in ids {
            let name = Name { secret, id: *id };
            inner.old.remove(&name);
            let gone = inner.young.remove(&name).unwrap_or_default();
            inner.bytes -= gone.iter().map(Entry::size).sum::<usize>();
        }
    }

    /// Takes away what is kept under a secret that is gone for good, and keeps nothing more of it.
    pub(crate) fn forget_all(&self, secret: [u8; 16]) {
        let mut inner = self.lock();
        inner.floors.insert(secret, u64::MAX);
        let Inner { young, old, bytes, .. } = &mut *inner;
        old.retain(|name, _| name.secret != secret);
        young.retain(|name, entries| {
            let keep = name.secret != secret;
            if !keep {
                *bytes -= entries.iter().map(Entry::size).sum::<usize>();
            }
            keep
        });
    }

    /// Takes everything away.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    fn find(
        &self,
        name: Name,
        part: Part,
        wanted: impl FnOnce(&mut Entry) -> bool,
    ) -> Option<Arc<Opened>> {
        let mut inner = self.lock();
        inner.promote(name);
        let entries = inner.young.get_mut(&name)?;
        let entry = entries.iter_mut().find(|entry| entry.part == part)?;
        let found = wanted(entry).then(|| Arc::clone(&entry.value));
        inner.turn(self.capacity);
        found
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Moves a record to the young generation.
    fn promote(&mut self, name: Name) {
        if let Some(entries) = self.old.remove(&name) {
            self.bytes += entries.iter().map(Entry::size).sum::<usize>();
            self.young.insert(name, entries);
        }
    }

    /// Drops the old generation if the young one has grown to half of the capacity.
    fn turn(&mut self, capacity: usize) {
        if self.bytes > capacity / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: State = (5, [1; 32]);

    const PART: Part = Part::Vector;

    fn name(id: u8) -> Name {
        Name { secret: [9; 16], id: [id; 16] }
    }

    fn stamp(generation: u64) -> Stamp {
        Stamp { generation, salt: [3; 24] }
    }

    fn value(length: usize) -> Arc<Opened> {
        Arc::new(Opened::wiped(vec![7; length]))
    }

    #[test]
    fn a_value_is_found_only_by_its_secret_its_place_and_its_sealing() {
        let cache = Cache::new(1 << 20);
        cache.put(name(1), PART, stamp(2), STATE, &value(10));
        assert!(cache.get(name(1), PART, &stamp(2), &STATE).is_some());
        assert!(cache.get_current(name(1), PART, &STATE).is_some());
        assert!(cache.get(name(1), PART, &stamp(3), &STATE).is_none());
        assert!(cache.get(name(1), PART, &Stamp { salt: [4; 24], ..stamp(2) }, &STATE).is_none());
        assert!(cache.get_current(name(1), PART, &(5, [2; 32])).is_none());
        assert!(cache.get(name(2), PART, &stamp(2), &STATE).is_none());
        let other = Name { secret: [8; 16], ..name(1) };
        assert!(cache.get(other, PART, &stamp(2), &STATE).is_none());
        assert!(cache.get(name(1), Part::Codes, &stamp(2), &STATE).is_none());
    }

    #[test]
    fn a_later_commit_that_left_a_record_alone_finds_it_current_once_it_was_checked() {
        let cache = Cache::new(1 << 20);
        let later = (6, [2; 32]);
        cache.put(name(1), PART, stamp(2), STATE, &value(10));
        assert!(cache.get_current(name(1), PART, &later).is_none());
        assert!(cache.get(name(1), PART, &stamp(2), &later).is_some());
        assert!(cache.get_current(name(1), PART, &later).is_some());
    }

    #[test]
    fn what_is_forgotten_is_gone_and_an_older_snapshot_does_not_bring_it_back() {
        let cache = Cache::new(1 << 20);
        let kept = value(10);
        cache.put(name(1), PART, stamp(2), STATE, &kept);
        cache.put(name(2), PART, stamp(2), STATE, &value(10));
        cache.forget([9; 16], 6, &[[1; 16]]);
        assert!(cache.get(name(1), PART, &stamp(2), &STATE).is_none());
        assert!(cache.get(name(2), PART, &stamp(2), &STATE).is_some());
        assert_eq!(Arc::strong_count(&kept), 1);
        cache.put(name(1), PART, stamp(2), STATE, &kept);
        assert!(cache.get(name(1), PART, &stamp(2), &STATE).is_none());
        cache.put(name(1), PART, stamp(6), (6, [2; 32]), &kept);
        assert!(cache.get(name(1), PART, &stamp(6), &STATE).is_some());
    }

    #[test]
    fn nothing_is_kept_of_a_secret_that_is_gone() {
        let cache = Cache::new(1 << 20);
        let other = Name { secret: [8; 16], ..name(1) };
        let kept = value(10);
        cache.put(name(1), PART, stamp(2), STATE, &kept);
        cache.put(other, PART, stamp(2), STATE, &value(10));
        cache.forget_all([9; 16]);
        assert_eq!(Arc::strong_count(&kept), 1);
        cache.put(name(1), PART, stamp(2), STATE, &kept);
        assert_eq!(Arc::strong_count(&kept), 1);
        assert!(cache.get(other, PART, &stamp(2), &STATE).is_some());
        assert_eq!(cache.lock().bytes, 10 + OVERHEAD);
    }

    #[test]
    fn the_capacity_is_kept_and_what_is_used_stays() {
        let capacity = 100 * (1000 + OVERHEAD);
        let cache = Cache::new(capacity);
        cache.put(name(0), PART, stamp(0), STATE, &value(1000));
        for round in 0..1000u32 {
            let [_, _, a, b] = round.to_be_bytes();
            let mut id = [1; 16];
            (id[0], id[1]) = (a, b);
            cache.put(Name { id, ..name(0) }, PART, stamp(0), STATE, &value(1000));
            assert!(cache.get(name(0), PART, &stamp(0), &STATE).is_some(), "round {round}");
            let inner = cache.lock();
            let held = inner.young.len() + inner.old.len();
            assert!(held * (1000 + OVERHEAD) <= capacity);
        }
        cache.put(name(7), PART, stamp(0), STATE, &value(capacity));
        assert!(cache.get(name(7), PART, &stamp(0), &STATE).is_none());
        cache.clear();
        assert!(cache.get(name(0), PART, &stamp(0), &STATE).is_none());
    }
}
