//! The grant table: who may do what, signed by the root.
//!
//! One numbered table per change of permissions; the head commit names the current one by number
//! and hash. It binds the index to its name, so a name record cannot point at another index, and it
//! fixes config and epochs, so nobody can flip them. Superseded tables stay, because older commits
//! are verified against the table they name; they hold no secrets. The signature is beside the table
//! (`signature`).
//!
//! Cost: every operation opens and decodes it, so it grows with the number of users.

pub(crate) mod signature;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::codec::{Format, Reader, Writer, optional};
use crate::config::{Attribute, Attributes, IndexConfig, MAX_DIMENSION, MAX_FIELDS, MIN_RETENTION};
use crate::crypto::aead::Cipher;
use crate::crypto::kdf::{Locator, Place, Purpose, ReadSecret, Salt, Signed};
use crate::crypto::random;
use crate::crypto::sign::{KeyPair, PublicKey};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, Permissions, UserId};
use crate::store::key::{self, Kind};
use crate::store::record::{Epochs, open_parts, seal_parts};
use crate::store::{Family, Snapshot};
use crate::vector::{Metric, Precision};
use signature::TableSignature;

/// The version of tables and table records.
pub(crate) const FORMAT: u8 = 4;
/// Users an index may have.
pub(crate) const MAX_USERS: usize = 4096;

/// The field byte of the parts of a table.
const FIELD: u8 = 4;
const PREFIX: usize = 29;
const DAMAGED: Error = Error::Integrity(Fault::GrantTable);

/// The body of a grant table.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Table {
    pub(crate) index: IndexId,
    /// 1 for the first; grows by one with every change of permissions.
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) config: IndexConfig,
    /// Valid epochs, the current one first; one to four.
    pub(crate) epochs: Vec<u32>,
    /// The root and then the users, sorted by id.
    pub(crate) principals: Vec<Principal>,
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Principal {
    /// `None`: the root.
    pub(crate) user: Option<UserId>,
    pub(crate) locator: Locator,
    pub(crate) permissions: Permissions,
    /// The number of the table that granted; no two grants share one.
    pub(crate) grant: u64,
    /// Of those who may write.
    pub(crate) writer: Option<PublicKey>,
    /// The commits its writer key may sign.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Table {
    /// The epoch that new records are sealed under.
    pub(crate) fn epoch(&self) -> u32 {
        self.epochs.first().copied().unwrap_or(0)
    }

    pub(crate) fn principal(&self, user: Option<UserId>) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.user == user)
    }

    /// How commits refer to it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Signed::Table.hash(&self.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(128 + self.principals.len() * 90);
        out.u8(FORMAT).bytes(&self.index.0).u64(self.number).short(self.name.as_bytes());
        let dimension = self.config.dimension.unwrap_or(0);
        out.u32(u32::try_from(dimension).unwrap_or(u32::MAX));
        out.u8(match self.config.metric {
            Metric::Cosine => 1,
            Metric::Euclidean => 2,
            Metric::InnerProduct => 3,
        });
        out.u8(match self.config.precision {
            Precision::F32 => 1,
            Precision::F16 => 2,
        });
        out.u64(self.config.retention).u8(u8::from(self.config.require_if_match));
        let Attributes { default, fields } = &self.config.attributes;
        out.u8(attribute_byte(*default));
        out.u16(u16::try_from(fields.len()).unwrap_or(u16::MAX));
        for (path, kind) in fields {
            out.short(path.as_bytes()).u8(attribute_byte(*kind));
        }
        out.u8(u8::try_from(self.epochs.len()).unwrap_or(u8::MAX));
        self.epochs.iter().for_each(|epoch| {
            out.u32(*epoch);
        });
        out.u32(u32::try_from(self.principals.len()).unwrap_or(u32::MAX));
        for principal in &self.principals {
            out.u8(u8::from(principal.user.is_some()));
            out.bytes(&principal.user.map_or([0; 16], |user| user.0));
            out.bytes(&principal.locator.0).u8(principal.permissions.bits()).u64(principal.grant);
            out.u8(u8::from(principal.writer.is_some()));
            out.bytes(&principal.writer.unwrap_or_default());
            out.u64(principal.first).u64(principal.last);
        }
        out.finish()
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        if reader.u8()? != FORMAT {
            return None;
        }
        let index = IndexId(reader.array()?);
        let number = reader.u64()?;
        let name = std::str::from_utf8(reader.short()?).ok()?.to_owned();
        let dimension = match usize::try_from(reader.u32()?).ok()? {
            0 => None,
            set if set <= MAX_DIMENSION => Some(set),
            _ => return None,
        };
        let metric = match reader.u8()? {
            1 => Metric::Cosine,
            2 => Metric::Euclidean,
            3 => Metric::InnerProduct,
            _ => return None,
        };
        let precision = match reader.u8()? {
            1 => Precision::F32,
            2 => Precision::F16,
            _ => return None,
        };
        let retention = reader.u64().filter(|kept| *kept >= MIN_RETENTION)?;
        let require_if_match = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let attributes = attributes(&mut reader)?;
        let config =
            IndexConfig { dimension, metric, precision, retention, require_if_match, attributes };
        let epochs = match reader.u8()? {
            count @ 1..=4 => (0..count).map(|_| reader.u32()).collect::<Option<Vec<_>>>()?,
            _ => return None,
        };
        let count = usize::try_from(reader.u32()?).ok().filter(|count| *count <= MAX_USERS + 1)?;
        let mut principals = Vec::with_capacity(count);
        for _ in 0..count {
            let user = optional(&mut reader)?.map(UserId);
            let locator = Locator(reader.array()?);
            let permissions = Permissions::from_bits(reader.u8()?)?;
            if permissions.root() != user.is_none() {
                return None;
            }
            let grant = reader.u64()?;
            let writer = optional(&mut reader)?;
            let (first, last) = (reader.u64()?, reader.u64()?);
            principals.push(Principal { user, locator, permissions, grant, writer, first, last });
        }
        reader.finish()?;
        let whole = Self { index, number, name, config, epochs, principals };
        Some(whole)
    }

    /// Signs and seals the table into catalog records of at most `limit` bytes, the last of which is
    /// its signature.
    pub(crate) fn seal(
        &self,
        root: &KeyPair,
        secrets: &Epochs,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let secret = secrets.get(self.epoch()).ok_or(DAMAGED)?;
        let salts = [random()?, random()?];
        let signature = TableSignature::make(self.hash(), root)?;
        self.seal_with(&signature, secret, &salts, limit).ok_or(DAMAGED)
    }

    /// `salts` must be fresh: of the table, and of its signature.
    fn seal_with(
        &self,
        signature: &TableSignature,
        secret: &ReadSecret,
        salts: &[Salt; 2],
        limit: usize,
    ) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let [of_table, of_signature] = salts;
        let (index, number, epoch) = (self.index, self.number, self.epoch());
        let mut records = seal(index, number, epoch, &self.encode(), secret, of_table, limit)?;
        records.push(signature.seal(index, number, epoch, secret, of_signature));
        Some(records)
    }

    /// Seals a table with any signature: for golden vectors and forgeries.
    #[cfg(test)]
    pub(crate) fn seal_raw(
        &self,
        signature: &TableSignature,
        secret: &ReadSecret,
        salts: &[Salt; 2],
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.seal_with(signature, secret, salts, limit).unwrap()
    }
}

/// Seals the body of a table. `salt` must be fresh. `None` if the limit leaves no room.
fn seal(
    index: IndexId,
    number: u64,
    epoch: u32,
    body: &[u8],
    secret: &ReadSecret,
    salt: &Salt,
    limit: usize,
) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let place = place(index, epoch, number);
    let cipher = Cipher::new(&secret.single_use(Purpose::Table, &place, salt));
    let mut prefix = Writer::with_capacity(PREFIX);
    prefix.u8(FORMAT).u32(epoch).bytes(salt);
    let parts = seal_parts(&cipher, FIELD, &place.bytes(), &prefix.finish(), body, limit)?;
    Some((0u32..).zip(parts).map(|(n, part)| (key::table(index, number, n), part)).collect())
}

/// Seals a stored table again under another epoch, as it is.
pub(crate) fn reseal(
    secrets: &Epochs,
    epoch: u32,
    index: IndexId,
    number: u64,
    parts: &[Vec<u8>],
    limit: usize,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let body = open_body(secrets, index, number, parts).ok_or(DAMAGED)?;
    let secret = secrets.get(epoch).ok_or(DAMAGED)?;
    seal(index, number, epoch, &body, secret, &random()?, limit).ok_or(DAMAGED)
}

/// A table as read from the store: opened, but its signature not yet checked.
pub(crate) struct Unverified {
    pub(crate) table: Table,
    pub(crate) hash: [u8; 32],
}

impl Unverified {
    /// Checks that the root with this public key has signed the table.
    pub(crate) fn verify(
        &self,
        snapshot: &dyn Snapshot,
        secrets: &Epochs,
        root: &PublicKey,
    ) -> Result<()> {
        let Table { index, number, .. } = self.table;
        let signature = TableSignature::read(snapshot, secrets, index, number)?;
        if signature.holds(&self.hash, root) { Ok(()) } else { Err(DAMAGED) }
    }
}

/// Reads and opens the table with this number.
pub(crate) fn read(
    snapshot: &dyn Snapshot,
    secrets: &Epochs,
    index: IndexId,
    number: u64,
) -> Result<Unverified> {
    let first = snapshot.get(Family::Catalog, &key::table(index, number, 0))?.ok_or(DAMAGED)?;
    Format { what: "grant table", version: FORMAT, fault: Fault::GrantTable }.check(&first)?;
    // All but the longest tables are one part; a get is cheaper than a scan.
    if let Some(table) = open(secrets, index, number, std::slice::from_ref(&first)) {
        return Ok(table);
    }
    let mut parts = Vec::new();
    let prefix = key::table(index, number, 0);
    let prefix = prefix.split_last_chunk::<4>().map_or(&prefix[..], |(prefix, _)| prefix);
    let mut in_order = true;
    snapshot.scan(Family::Catalog, prefix, prefix, &mut |found, value| {
        let expected = u32::try_from(parts.len()).map(|part| key::table(index, number, part));
        in_order &= expected.is_ok_and(|expected| expected == found);
        parts.push(value.to_vec());
        ControlFlow::Continue(())
    })?;
    open(secrets, index, number, &parts).filter(|_| in_order).ok_or(DAMAGED)
}

/// Opens the table with this number from its parts; there are no others.
pub(super) fn open_whole(
    secrets: &Epochs,
    index: IndexId,
    number: u64,
    parts: &[Vec<u8>],
) -> Result<Unverified> {
    let first = parts.first().ok_or(DAMAGED)?;
    Format { what: "grant table", version: FORMAT, fault: Fault::GrantTable }.check(first)?;
    open(secrets, index, number, parts).ok_or(DAMAGED)
}

fn open(secrets: &Epochs, index: IndexId, number: u64, parts: &[Vec<u8>]) -> Option<Unverified> {
    let body = open_body(secrets, index, number, parts)?;
    let table = Table::decode(&body)?;
    if table.index != index || table.number != number {
        return None;
    }
    Some(Unverified { table, hash: Signed::Table.hash(&body) })
}

fn open_body(secrets: &Epochs, index: IndexId, number: u64, parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    let prefix = parts.first()?.split_at_checked(PREFIX)?.0;
    let mut reader = Reader::new(prefix);
    let (_format, epoch) = (reader.u8()?, reader.u32()?);
    let salt = reader.array()?;
    let place = place(index, epoch, number);
    let cipher = Cipher::new(&secrets.get(epoch)?.single_use(Purpose::Table, &place, &salt));
    let mut body = Vec::new();
    open_parts(&cipher, FIELD, &place.bytes(), prefix, parts, &mut body)?;
    Some(body)
}

const fn attribute_byte(kind: Attribute) -> u8 {
    match kind {
        Attribute::Off => 0,
        Attribute::Equality => 1,
        Attribute::Range => 2,
    }
}

fn attribute(byte: u8) -> Option<Attribute> {
    [Attribute::Off, Attribute::Equality, Attribute::Range].get(usize::from(byte)).copied()
}

/// Fields come in the order of their paths, each once, so that a table has one encoding.
fn attributes(reader: &mut Reader<'_>) -> Option<Attributes> {
    let default = attribute(reader.u8()?).filter(|kind| *kind != Attribute::Range)?;
    let count = usize::from(reader.u16()?);
    let mut fields = BTreeMap::new();
    for _ in 0..count {
        let path = std::str::from_utf8(reader.short()?).ok()?.to_owned();
        let kind = attribute(reader.u8()?)?;
        let follows = fields.last_key_value().is_none_or(|(last, _)| *last < path);
        follows.then(|| fields.insert(path, kind))?;
    }
    Some(Attributes { default, fields }).filter(|_| count <= MAX_FIELDS)
}

fn place(index: IndexId, epoch: u32, number: u64) -> Place {
    let id = key::number_id(number);
    Place { format: FORMAT, index, epoch, kind: Kind::Table as u8, id, version: number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_decode_only_from_their_own_bytes() {
        let principal = |user: Option<UserId>, permissions, writer| Principal {
            user,
            locator: Locator([3; 16]),
            permissions,
            grant: 2,
            writer,
            first: 4,
            last: u64::MAX,
        };
        let table = Table {
            index: IndexId([1; 16]),
            number: 9,
            name: "a name".into(),
            config: IndexConfig::new(Metric::InnerProduct).precision(Precision::F16).dimension(3),
            epochs: vec![2, 1],
            principals: vec![
                principal(None, Permissions::ROOT, Some([7; 32])),
                principal(Some(UserId([8; 16])), Permissions::READ, None),
            ],
        };
        let body = table.encode();
        assert_eq!(Table::decode(&body), Some(table));
        for length in 0..body.len() {
            assert_eq!(Table::decode(&body[..length]), None);
        }
        assert_eq!(Table::decode(&[&body[..], &[0]].concat()), None);
        // The root has no user id, and who may not write no key: 91 bytes a line.
        for at in [2 * 91 - 1, 33] {
            let mut other = body.clone();
            let byte = other.len() - at;
            assert_eq!(other[byte], 0);
            other[byte] = 1;
            assert_eq!(Table::decode(&other), None);
        }
    }
}
