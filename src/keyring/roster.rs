//! The roster: what the root needs to serve users without their keys.
//!
//! At every grant the root stores the user's pseudorandom key for this index (the output of
//! Extract, never the user key), sealed under a key of its own. Re-wrapping after a rotation works
//! from it. It gives the root nothing new: the root holds every secret that wraps carry.
//!
//! ```text
//! format u8 | salt 24 | commitment 32 | sealed (user id 16 | locator 16 | PRK 32) | tag 16
//! ```

use subtle::ConstantTimeEq;

use crate::codec::{Format, Reader, Writer};
use crate::crypto::aead::{Cipher, WHOLE};
use crate::crypto::kdf::{Locator, Prk, Salt};
use crate::crypto::{Secret, Wiped, random};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, UserId};

/// The version of roster records.
pub(crate) const FORMAT: u8 = 1;

/// One user, as the root remembers it.
pub(crate) struct Entry {
    pub(crate) user: UserId,
    pub(crate) locator: Locator,
    pub(crate) prk: Secret,
}

/// Seals an entry under a fresh salt, for the place it is stored at.
pub(crate) fn seal(root: &Prk, index: IndexId, place: &[u8; 16], entry: &Entry) -> Result<Vec<u8>> {
    Ok(seal_salted(root, index, place, entry, &random()?))
}

pub(crate) fn seal_salted(
    root: &Prk,
    index: IndexId,
    place: &[u8; 16],
    entry: &Entry,
    salt: &Salt,
) -> Vec<u8> {
    let header = header(index, place);
    let (key, commitment) = root.roster_key(&header, salt);
    let mut plain = Writer::with_capacity(64);
    plain.bytes(entry.user.as_bytes()).bytes(&entry.locator.0).bytes(entry.prk.expose());
    let plain = Wiped::new(plain.finish());
    let mut out = Writer::with_capacity(137);
    out.u8(FORMAT).bytes(salt).bytes(&commitment);
    out.bytes(&Cipher::new(&key).seal(&WHOLE, &header, &plain));
    out.finish()
}

/// Opens the record stored at `place`.
pub(crate) fn open(root: &Prk, index: IndexId, place: &[u8; 16], stored: &[u8]) -> Result<Entry> {
    Format { what: "roster record", version: FORMAT, fault: Fault::Roster }.check(stored)?;
    open_version_1(root, index, place, stored).ok_or(Error::Integrity(Fault::Roster))
}

fn open_version_1(root: &Prk, index: IndexId, place: &[u8; 16], stored: &[u8]) -> Option<Entry> {
    let mut reader = Reader::new(stored);
    let _format = reader.u8()?;
    let salt: Salt = reader.array()?;
    let commitment: [u8; 32] = reader.array()?;
    let header = header(index, place);
    let (key, expected) = root.roster_key(&header, &salt);
    if !bool::from(expected.ct_eq(&commitment)) {
        return None;
    }
    let plain = Wiped::new(Cipher::new(&key).open(&WHOLE, &header, reader.rest())?);
    let mut reader = Reader::new(&plain);
    let user = UserId(reader.array()?);
    let locator = Locator(reader.array()?);
    let prk = Secret::new(reader.array()?);
    reader.finish()?;
    Some(Entry { user, locator, prk })
}

/// Goes into key derivation and AAD.
fn header(index: IndexId, place: &[u8; 16]) -> Vec<u8> {
    let mut out = Writer::with_capacity(33);
    out.u8(FORMAT).bytes(&index.0).bytes(place);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_opens_only_in_its_own_place_under_its_own_root() {
        let root = Prk::new(&Secret::new([1; 32]));
        let index = IndexId([2; 16]);
        let entry =
            Entry { user: UserId([3; 16]), locator: Locator([4; 16]), prk: Secret::new([5; 32]) };
        let stored = seal(&root, index, &[6; 16], &entry).unwrap();
        let opened = open(&root, index, &[6; 16], &stored).unwrap();
        assert_eq!((opened.user, opened.locator), (entry.user, entry.locator));
        assert_eq!(opened.prk.expose(), entry.prk.expose());
        assert!(open(&root, index, &[7; 16], &stored).is_err());
        assert!(open(&root, IndexId([7; 16]), &[6; 16], &stored).is_err());
        let other = Prk::new(&Secret::new([9; 32]));
        assert!(open(&other, index, &[6; 16], &stored).is_err());
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&root, index, &[6; 16], &bad).is_err());
        }
    }
}
