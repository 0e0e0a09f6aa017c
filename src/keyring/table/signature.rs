//! The root's signature of a grant table, in a record of its own.
//!
//! Signed is the hash of the table, the one that commits name it by. The record holds both, so that
//! the root can sign a table again without reading it: changing the index key costs one signature
//! for every table that is kept, however many users they list. Whoever goes by a table computes its
//! hash and compares.
//!
//! Sealed under the read secret, as the table is. A reader can seal it again, and sign nothing.

use crate::codec::{Format, Reader, Writer};
use crate::crypto::kdf::{Purpose, ReadSecret, Salt, Signed};
use crate::crypto::random;
use crate::crypto::sign::{self, KeyPair, PublicKey, SIGNATURE};
use crate::error::{Error, Fault, Result};
use crate::id::IndexId;
use crate::store::key::{self, Kind};
use crate::store::record::{Epochs, Shape};
use crate::store::{Family, Snapshot};

/// The version of the record.
pub(crate) const FORMAT: u8 = 1;

const DAMAGED: Error = Error::Integrity(Fault::GrantTable);
const SHAPE: Shape = Shape {
    format: Format { what: "grant-table signature", version: FORMAT, fault: Fault::GrantTable },
    kind: Kind::TableSignature,
    purpose: Purpose::Table,
};

/// A table's hash with a signature of it.
pub(crate) struct TableSignature {
    pub(crate) hash: [u8; 32],
    pub(crate) signature: [u8; SIGNATURE],
}

impl TableSignature {
    pub(crate) fn make(hash: [u8; 32], root: &KeyPair) -> Result<Self> {
        let signature = root.sign(Signed::Table, &hash).ok_or(DAMAGED)?;
        Ok(Self { hash, signature })
    }

    /// Whether the root made it, for a table with this hash.
    pub(crate) fn holds(&self, hash: &[u8; 32], root: &PublicKey) -> bool {
        self.hash == *hash && sign::verify(root, Signed::Table, &self.hash, &self.signature)
    }

    /// Opens the stored record of the table with this number.
    pub(crate) fn open(
        secrets: &Epochs,
        index: IndexId,
        number: u64,
        stored: &[u8],
    ) -> Result<Self> {
        let mut plain = Vec::new();
        let id = key::number_id(number);
        let version = SHAPE.open_into(secrets, index, id, stored, &mut plain)?;
        let mut reader = Reader::new(&plain);
        let read = reader.array().zip(reader.array());
        let read = read.filter(|_| reader.finish().is_some() && version == number);
        let (hash, signature) = read.ok_or(DAMAGED)?;
        Ok(Self { hash, signature })
    }

    pub(crate) fn read(
        snapshot: &dyn Snapshot,
        secrets: &Epochs,
        index: IndexId,
        number: u64,
    ) -> Result<Self> {
        let stored = snapshot.get(Family::Catalog, &key::table_signature(index, number))?;
        Self::open(secrets, index, number, &stored.ok_or(DAMAGED)?)
    }

    /// The catalog record. `salt` must be fresh.
    pub(crate) fn seal(
        &self,
        index: IndexId,
        number: u64,
        epoch: u32,
        secret: &ReadSecret,
        salt: &Salt,
    ) -> (Vec<u8>, Vec<u8>) {
        let mut plain = Writer::with_capacity(32 + SIGNATURE);
        plain.bytes(&self.hash).bytes(&self.signature);
        let place = SHAPE.place(index, epoch, key::number_id(number), number);
        let sealed = SHAPE.seal(secret, &place, salt, &plain.finish());
        (key::table_signature(index, number), sealed)
    }
}

/// Seals a stored record again under another epoch.
pub(crate) fn reseal(
    secrets: &Epochs,
    epoch: u32,
    index: IndexId,
    number: u64,
    stored: &[u8],
) -> Result<Vec<u8>> {
    SHAPE.reseal(secrets, epoch, index, key::number_id(number), stored, &random()?)
}
