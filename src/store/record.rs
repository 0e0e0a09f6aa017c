//! Sealed records: the one place where stored bytes and plaintext meet.
//!
//! Two shapes, byte by byte in `docs/format.md`:
//! - a *record* is one seal under a fresh salt: `format | epoch | version | salt | sealed | tag`;
//! - a *value* is sealed in parts of at most the engine's limit, because payload has no header of
//!   its own: salt, epoch, part count, length and hash are in the item record that owns it.
//!
//! Opening never trusts a length before it is authenticated and never panics. What a record must
//! be comes from the caller; only epoch, version and salt come from the stored bytes, and all three
//! are in the key derivation.

mod delta;
mod item;
mod node;

pub(crate) use delta::{DELTA, Tail, seal_delta};
pub(crate) use item::{Field, ITEM, ItemRecord, PayloadCipher, hash_values};
pub(crate) use node::{
    NodeCipher, ROWS_PART, SealedNode, Sealing, join_node, node_epochs, node_parts, seal_node,
};

use super::key::Kind;
use crate::codec::{Format, Reader, Writer};
use crate::crypto::aead::{Cipher, TAG, WHOLE, part_nonce};
use crate::crypto::kdf::{Place, Purpose, ReadSecret, Salt};
use crate::error::{Error, Result};
use crate::id::IndexId;

const HEADER: usize = 37;

/// The read secrets of an index, newest epoch first.
pub(crate) struct Epochs(Vec<(u32, ReadSecret)>);

impl Epochs {
    pub(crate) const fn new(newest_first: Vec<(u32, ReadSecret)>) -> Self {
        Self(newest_first)
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &ReadSecret> {
        self.0.iter().map(|(_, secret)| secret)
    }

    pub(crate) fn get(&self, epoch: u32) -> Option<&ReadSecret> {
        self.0.iter().find(|(number, _)| *number == epoch).map(|(_, secret)| secret)
    }
}

/// What a kind of record is sealed as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) format: Format,
    pub(crate) kind: Kind,
    pub(crate) purpose: Purpose,
}

impl Shape {
    /// Seals a record at a [`place`](Self::place) of this shape. `salt` must be fresh.
    pub(crate) fn seal(
        &self,
        secret: &ReadSecret,
        place: &Place,
        salt: &Salt,
        plain: &[u8],
    ) -> Vec<u8> {
        let key = secret.single_use(self.purpose, place, salt);
        let mut out = Writer::with_capacity(HEADER + plain.len() + TAG);
        out.u8(self.format.version).u32(place.epoch).u64(place.version).bytes(salt);
        let mut out = out.finish();
        Cipher::new(&key).seal_onto(&WHOLE, &place.bytes(), plain, &mut out);
        out
    }

    /// Opens a record into `plain`, which is cleared first, and returns its version.
    pub(crate) fn open_into(
        &self,
        secrets: &Epochs,
        index: IndexId,
        id: [u8; 16],
        stored: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u64> {
        plain.clear();
        self.format.check(stored)?;
        let mut attempt = || {
            let mut reader = Reader::new(stored);
            let (_format, epoch, version) = (reader.u8()?, reader.u32()?, reader.u64()?);
            let salt = reader.array()?;
            let place = self.place(index, epoch, id, version);
            let key = secrets.get(epoch)?.single_use(self.purpose, &place, &salt);
            Cipher::new(&key)
                .open_onto(&WHOLE, &place.bytes(), reader.rest(), plain)
                .then_some(version)
        };
        attempt().ok_or(Error::Integrity(self.format.fault))
    }

    /// Seals a record again under another epoch, at the version it has. `salt` must be fresh.
    pub(crate) fn reseal(
        &self,
        secrets: &Epochs,
        epoch: u32,
        index: IndexId,
        id: [u8; 16],
        stored: &[u8],
        salt: &Salt,
    ) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        let version = self.open_into(secrets, index, id, stored, &mut plain)?;
        let secret = secrets.get(epoch).ok_or(Error::Integrity(self.format.fault))?;
        Ok(self.seal(secret, &self.place(index, epoch, id, version), salt, &plain))
    }

    pub(crate) const fn place(
        &self,
        index: IndexId,
        epoch: u32,
        id: [u8; 16],
        version: u64,
    ) -> Place {
        Place { format: self.format.version, index, epoch, kind: self.kind as u8, id, version }
    }
}

/// The epoch in the header of a record, or in the prefix of a table. Not authenticated.
pub(crate) fn epoch_of(stored: &[u8]) -> Option<u32> {
    Reader::new(stored.get(1..)?).u32()
}

/// Seals a value as `prefix | ciphertext | tag`, in parts of at most `limit` stored bytes, each
/// with its own nonce. `None` if the limit leaves no room or there are 2^32 parts.
pub(crate) fn seal_parts(
    cipher: &Cipher,
    field: u8,
    aad: &[u8],
    prefix: &[u8],
    plain: &[u8],
    limit: usize,
) -> Option<Vec<Vec<u8>>> {
    let overhead = prefix.len().checked_add(TAG)?;
    let room = limit.checked_sub(overhead).filter(|room| *room > 0)?;
    let count = plain.len().div_ceil(room).max(1);
    let mut parts = plain.chunks(room);
    (0..count)
        .map(|number| {
            let part = parts.next().unwrap_or_default();
            let nonce = part_nonce(field, u32::try_from(number).ok()?, number + 1 == count);
            let mut stored = Vec::with_capacity(overhead + part.len());
            stored.extend_from_slice(prefix);
            cipher.seal_onto(&nonce, aad, part, &mut stored);
            Some(stored)
        })
        .collect()
}

/// Opens what [`seal_parts`] made onto `out`. `None` if any part is not what it must be.
pub(crate) fn open_parts<V: AsRef<[u8]>>(
    cipher: &Cipher,
    field: u8,
    aad: &[u8],
    prefix: &[u8],
    values: &[V],
    out: &mut Vec<u8>,
) -> Option<()> {
    for (number, stored) in values.iter().enumerate() {
        let sealed = stored.as_ref().strip_prefix(prefix)?;
        let nonce = part_nonce(field, u32::try_from(number).ok()?, number + 1 == values.len());
        cipher.open_onto(&nonce, aad, sealed, out).then_some(())?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;

    fn secrets() -> Epochs {
        Epochs::new(vec![(1, ReadSecret::new(&Secret::new([1; 32])))])
    }

    #[test]
    fn a_record_opens_only_as_itself() {
        let secrets = secrets();
        let index = IndexId([3; 16]);
        let secret = secrets.get(1).unwrap();
        let stored = ITEM.seal(secret, &ITEM.place(index, 1, [4; 16], 7), &[5; 24], b"plain");
        let mut plain = Vec::new();
        assert_eq!(ITEM.open_into(&secrets, index, [4; 16], &stored, &mut plain), Ok(7));
        assert_eq!(plain, b"plain");
        let other = Shape { kind: Kind::Commit, ..ITEM };
        assert!(other.open_into(&secrets, index, [4; 16], &stored, &mut plain).is_err());
        assert!(ITEM.open_into(&secrets, IndexId([0; 16]), [4; 16], &stored, &mut plain).is_err());
        assert!(ITEM.open_into(&secrets, index, [0; 16], &stored, &mut plain).is_err());
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(ITEM.open_into(&secrets, index, [4; 16], &bad, &mut plain).is_err());
            assert!(plain.is_empty());
        }
    }
}
