//! A hash of a set of records that is updated in constant time per record.
//!
//! LtHash (Bellare and Micciancio 1997; Lewi, Kim, Maykov and Weis 2019): the state is a vector of
//! 1,024 numbers modulo 2^16; adding or removing an element adds or subtracts its own vector, so
//! order does not matter. The element of a record is
//! `BLAKE3-XOF(derive-key label, RocksDB key | BLAKE3(stored value))`, 2,048 bytes. Nobody can find
//! two sets with one digest, key holders included, and nothing in it is secret.
//!
//! The 2 KiB state is stored as one record; every commit signs its 32-byte digest.
//!
//! Cost: about 0.8 us for a record of 250 bytes.

use std::sync::LazyLock;

use blake3::hazmat::{self, ContextKey, HasherExt};

use super::kdf::SET_ELEMENT;

/// The bytes of the state.
pub(crate) const STATE: usize = 2048;

const LANES: usize = STATE / 2;

/// The key that derive-key mode makes of the label, which takes as long as a short record.
static CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hazmat::hash_derive_key_context(SET_ELEMENT));

/// The running hash.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SetHash([u16; LANES]);

impl Default for SetHash {
    fn default() -> Self {
        Self::empty()
    }
}

impl SetHash {
    /// The hash of the empty set.
    pub(crate) const fn empty() -> Self {
        Self([0; LANES])
    }

    /// Reads the big-endian state.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != STATE {
            return None;
        }
        let mut lanes = [0; LANES];
        for (lane, pair) in lanes.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *lane = u16::from_be_bytes(*pair);
        }
        Some(Self(lanes))
    }

    pub(crate) fn to_bytes(&self) -> [u8; STATE] {
        let mut out = [0; STATE];
        for (pair, lane) in out.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&lane.to_be_bytes());
        }
        out
    }

    /// The 32 bytes that a commit signs.
    pub(crate) fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.to_bytes()).as_bytes()
    }

    pub(crate) fn add(&mut self, element: &Element) {
        for (lane, value) in self.0.iter_mut().zip(element.lanes()) {
            *lane = lane.wrapping_add(value);
        }
    }

    /// Adds a difference collected apart: additions and removals since [`empty`](Self::empty).
    pub(crate) fn merge(&mut self, delta: &Self) {
        for (lane, value) in self.0.iter_mut().zip(delta.0) {
            *lane = lane.wrapping_add(value);
        }
    }

    pub(crate) fn remove(&mut self, element: &Element) {
        for (lane, value) in self.0.iter_mut().zip(element.lanes()) {
            *lane = lane.wrapping_sub(value);
        }
    }
}

/// The vector of one record, big-endian as the state is stored.
#[derive(Clone)]
pub(crate) struct Element([u8; STATE]);

impl Element {
    /// The element of a stored record.
    pub(crate) fn new(key: &[u8], value: &[u8]) -> Self {
        Self::of(key, &blake3::hash(value))
    }

    /// As [`new`](Self::new), of a value that was hashed before.
    pub(crate) fn hashed(key: &[u8], value: &ValueHash) -> Self {
        Self::of(key, &value.0.finalize())
    }

    fn of(key: &[u8], value: &blake3::Hash) -> Self {
        let mut hasher = blake3::Hasher::new_from_context_key(&CONTEXT);
        hasher.update(key).update(value.as_bytes());
        let mut bytes = [0; STATE];
        hasher.finalize_xof().fill(&mut bytes);
        Self(bytes)
    }

    fn lanes(&self) -> impl Iterator<Item = u16> {
        self.0.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
    }
}

/// The hash of a stored value, which can go on with what is appended to the value.
#[derive(Clone)]
pub(crate) struct ValueHash(Box<blake3::Hasher>);

impl ValueHash {
    pub(crate) fn new(value: &[u8]) -> Self {
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.update(value);
        Self(hasher)
    }

    /// The hash of the value with these bytes after it.
    pub(crate) fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let elements: Vec<Element> = (0..20u8).map(|i| Element::new(&[i], &[i; 100])).collect();
        let mut forward = SetHash::empty();
        for element in &elements {
            forward.add(element);
        }
        let mut backward = SetHash::empty();
        for element in elements.iter().rev() {
            backward.add(element);
        }
        assert!(forward == backward);
        assert_eq!(SetHash::from_bytes(&forward.to_bytes()).unwrap().digest(), forward.digest());
        for element in &elements {
            forward.remove(element);
        }
        assert!(forward == SetHash::empty());
    }

    #[test]
    fn the_hash_of_a_value_goes_on() {
        let value: Vec<u8> = (0..=u8::MAX).cycle().take(5000).collect();
        let whole = Element::new(b"key", &value);
        for at in [0, 1, 63, 64, 1023, 1024, 1025, 4999, 5000] {
            let (first, rest) = value.split_at(at);
            let found = Element::hashed(b"key", &ValueHash::new(first).with(rest));
            assert_eq!(found.0, whole.0, "{at}");
        }
    }

    #[test]
    fn key_value_and_multiplicity_count() {
        let one = |key: &[u8], value: &[u8]| {
            let mut set = SetHash::empty();
            set.add(&Element::new(key, value));
            set
        };
        assert_ne!(one(b"a", b"b").digest(), one(b"a", b"c").digest());
        assert_ne!(one(b"a", b"b").digest(), one(b"c", b"b").digest());
        let mut twice = one(b"a", b"b");
        twice.add(&Element::new(b"a", b"b"));
        assert_ne!(twice.digest(), one(b"a", b"b").digest());
        assert_ne!(twice.digest(), SetHash::empty().digest());
    }
}
