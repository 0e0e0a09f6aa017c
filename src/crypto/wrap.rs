//! Wraps: how a caller's key comes to the secrets of an index.
//!
//! A *read wrap* holds the read secrets of one to four epochs, the name secret and the root's
//! verify key. A *write wrap* holds the same and the holder's own writer key. They are stored under
//! the holder's locator, and they count only if the current grant table lists their locator, rights
//! and grant number, all three of which are in the AAD.
//!
//! Order of opening: shape, then the commitment in constant time, then the AEAD. Where there is no
//! wrap, [`dummy`] does the same work, so an unknown user costs what a known one costs.
//!
//! ```text
//! version u8 | right u8 | permissions u8 | grant u64 | salt 24 | commitment 32 | sealed | tag 16
//! ```

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aead::{Cipher, WHOLE};
use super::kdf::{Locator, Prk, Salt};
use super::sign::{KeyPair, PublicKey};
use super::{Secret, Wiped, random};
use crate::codec::{Format, Reader, Writer};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, Permissions};

/// The version of the wrap format.
pub(crate) const FORMAT: u8 = 1;

/// The read secrets a wrap has room for.
pub(crate) const MAX_EPOCHS: u8 = 4;

/// Which of the two wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Right {
    /// The read wrap.
    Read,
    /// The write wrap.
    Write,
}

impl Right {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
        }
    }
}

/// Whose wrap, for what: everything about it that is not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) index: IndexId,
    pub(crate) locator: Locator,
    pub(crate) right: Right,
    /// All rights of the holder, not only the one this wrap serves.
    pub(crate) permissions: Permissions,
    pub(crate) grant: u64,
}

impl Header {
    /// Goes into key derivation and AAD.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { index, locator, right, permissions, grant } = self;
        let mut out = Writer::with_capacity(43);
        out.u8(FORMAT).bytes(&index.0).bytes(&locator.0);
        out.u8(right.byte()).u8(permissions.bits()).u64(*grant);
        out.finish()
    }
}

/// What both wraps hold.
pub(crate) struct Secrets {
    /// Newest epoch first; one to four.
    pub(crate) epochs: Vec<(u32, Secret)>,
    pub(crate) name: Secret,
    pub(crate) root_verify: PublicKey,
}

/// An opened wrap.
pub(crate) struct Opened {
    pub(crate) permissions: Permissions,
    pub(crate) grant: u64,
    pub(crate) secrets: Secrets,
    /// In a write wrap only.
    pub(crate) writer: Option<KeyPair>,
}

/// Seals a wrap under a fresh salt.
pub(crate) fn seal(
    prk: &Prk,
    header: &Header,
    secrets: &Secrets,
    writer: Option<&KeyPair>,
) -> Result<Vec<u8>> {
    Ok(seal_salted(prk, header, secrets, writer, &random()?))
}

pub(crate) fn seal_salted(
    prk: &Prk,
    header: &Header,
    secrets: &Secrets,
    writer: Option<&KeyPair>,
    salt: &Salt,
) -> Vec<u8> {
    let context = header.bytes();
    let (key, commitment) = prk.wrap_key(&context, salt);
    let mut plain = Writer::with_capacity(512);
    plain.u8(u8::try_from(secrets.epochs.len()).unwrap_or(u8::MAX));
    for (epoch, secret) in &secrets.epochs {
        plain.u32(*epoch).bytes(secret.expose());
    }
    plain.bytes(secrets.name.expose()).bytes(&secrets.root_verify);
    if let Some(pair) = writer {
        plain.bytes(pair.seed().expose()).bytes(pair.public());
    }
    let plain = Wiped::new(plain.finish());
    let mut out = Writer::with_capacity(plain.len() + 83);
    out.u8(FORMAT).u8(header.right.byte()).u8(header.permissions.bits()).u64(header.grant);
    out.bytes(salt).bytes(&commitment).bytes(&Cipher::new(&key).seal(&WHOLE, &context, &plain));
    out.finish()
}

/// Opens the wrap stored at a caller's locator.
pub(crate) fn open(
    prk: &Prk,
    index: IndexId,
    locator: Locator,
    right: Right,
    stored: &[u8],
) -> Result<Opened> {
    Format { what: "key wrap", version: FORMAT, fault: Fault::Wrap }.check(stored)?;
    open_version_1(prk, index, locator, right, stored).ok_or(Error::Integrity(Fault::Wrap))
}

fn open_version_1(
    prk: &Prk,
    index: IndexId,
    locator: Locator,
    right: Right,
    stored: &[u8],
) -> Option<Opened> {
    let mut reader = Reader::new(stored);
    let (_format, found) = (reader.u8()?, reader.u8()?);
    if found != right.byte() {
        return None;
    }
    let permissions = Permissions::from_bits(reader.u8()?)?;
    let grant = reader.u64()?;
    let salt: Salt = reader.array()?;
    let commitment: [u8; 32] = reader.array()?;
    let context = Header { index, locator, right, permissions, grant }.bytes();
    let (key, expected) = prk.wrap_key(&context, &salt);
    if !bool::from(expected.ct_eq(&commitment)) {
        return None;
    }
    let plain = Zeroizing::new(Cipher::new(&key).open(&WHOLE, &context, reader.rest())?);
    let mut reader = Reader::new(&plain);
    let count = reader.u8()?;
    if count == 0 || count > MAX_EPOCHS {
        return None;
    }
    let mut epochs = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        epochs.push((reader.u32()?, Secret::new(reader.array()?)));
    }
    let secrets =
        Secrets { epochs, name: Secret::new(reader.array()?), root_verify: reader.array()? };
    let writer = match right {
        Right::Read => None,
        Right::Write => Some(KeyPair::from_wrap(Secret::new(reader.array()?), reader.array()?)),
    };
    reader.finish()?;
    Some(Opened { permissions, grant, secrets, writer })
}

/// The work of opening a read wrap, on nothing.
pub(crate) fn dummy(prk: &Prk, index: IndexId, locator: Locator) {
    const SEALED: [u8; 117] = [0; 117];
    let permissions = Permissions::READ;
    let header = Header { index, locator, right: Right::Read, permissions, grant: 0 }.bytes();
    let (key, expected) = prk.wrap_key(&header, &[0; 24]);
    std::hint::black_box(bool::from(expected.ct_eq(&[0; 32])));
    std::hint::black_box(Cipher::new(&key).open(&WHOLE, &header, &SEALED));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets {
            epochs: vec![(2, Secret::new([2; 32])), (1, Secret::new([1; 32]))],
            name: Secret::new([3; 32]),
            root_verify: [4; 32],
        }
    }

    fn header(right: Right) -> Header {
        Header {
            index: IndexId([9; 16]),
            locator: Locator([8; 16]),
            right,
            permissions: Permissions::READ_WRITE,
            grant: 7,
        }
    }

    #[test]
    fn a_wrap_opens_only_in_its_own_place() {
        let prk = Prk::new(&Secret::new([6; 32]));
        let pair = KeyPair::from_seed(Secret::new([5; 32]));
        let h = header(Right::Write);
        let stored = seal(&prk, &h, &secrets(), Some(&pair)).unwrap();
        let opened = open(&prk, h.index, h.locator, Right::Write, &stored).unwrap();
        assert_eq!(opened.permissions, Permissions::READ_WRITE);
        assert_eq!((opened.grant, opened.secrets.epochs.len()), (7, 2));
        assert_eq!(opened.writer.unwrap().public(), pair.public());

        let refused = |index, locator, right, bytes: &[u8]| {
            assert!(open(&prk, index, locator, right, bytes).is_err());
        };
        refused(IndexId([0; 16]), h.locator, h.right, &stored);
        refused(h.index, Locator([0; 16]), h.right, &stored);
        refused(h.index, h.locator, Right::Read, &stored);
        let other = Prk::new(&Secret::new([7; 32]));
        assert!(open(&other, h.index, h.locator, h.right, &stored).is_err());
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            refused(h.index, h.locator, h.right, &bad);
        }
        for length in 0..stored.len() {
            refused(h.index, h.locator, h.right, &stored[..length]);
        }
    }

    #[test]
    fn a_read_wrap_has_no_writer_key() {
        let prk = Prk::new(&Secret::new([6; 32]));
        let h = header(Right::Read);
        let stored = seal(&prk, &h, &secrets(), None).unwrap();
        let opened = open(&prk, h.index, h.locator, h.right, &stored).unwrap();
        assert!(opened.writer.is_none());
        let pair = KeyPair::from_seed(Secret::new([5; 32]));
        let smuggled = seal(&prk, &h, &secrets(), Some(&pair)).unwrap();
        assert!(open(&prk, h.index, h.locator, h.right, &smuggled).is_err());
    }

    #[test]
    fn another_version_is_named_as_such() {
        let prk = Prk::new(&Secret::new([6; 32]));
        let h = header(Right::Read);
        let mut stored = seal(&prk, &h, &secrets(), None).unwrap();
        stored[0] = 2;
        let found = open(&prk, h.index, h.locator, h.right, &stored).err();
        assert!(matches!(found, Some(Error::UnsupportedFormat { found: 2, supported: 1, .. })));
    }
}
