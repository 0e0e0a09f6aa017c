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

use super::key::{self, Kind, Pseudonym};
use crate::codec::{Reader, Writer};
use crate::crypto::aead::{Cipher, TAG, WHOLE, part_nonce};
use crate::crypto::kdf::{Place, Purpose, ReadSecret, Salt};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, ItemNumber, NodeId};

/// The version of item records.
pub(crate) const ITEM_FORMAT: u8 = 1;
/// The version of payload values.
pub(crate) const PAYLOAD_FORMAT: u8 = 1;

const HEADER: usize = 37;

/// The read secrets of an index, newest epoch first.
pub(crate) struct Epochs(Vec<(u32, ReadSecret)>);

impl Epochs {
    pub(crate) const fn new(newest_first: Vec<(u32, ReadSecret)>) -> Self {
        Self(newest_first)
    }

    pub(crate) fn get(&self, epoch: u32) -> Option<&ReadSecret> {
        self.0.iter().find(|(number, _)| *number == epoch).map(|(_, secret)| secret)
    }
}

/// What a kind of record is sealed as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) format: u8,
    pub(crate) kind: Kind,
    pub(crate) purpose: Purpose,
    pub(crate) fault: Fault,
}

pub(crate) const ITEM: Shape = Shape {
    name: "item record",
    format: ITEM_FORMAT,
    kind: Kind::Item,
    purpose: Purpose::Record,
    fault: Fault::ItemRecord,
};

impl Shape {
    /// Seals a record. `salt` must be fresh.
    pub(crate) fn seal(
        &self,
        secret: &ReadSecret,
        index: IndexId,
        epoch: u32,
        id: [u8; 16],
        version: u64,
        salt: &Salt,
        plain: &[u8],
    ) -> Vec<u8> {
        let place = self.place(index, epoch, id, version);
        let key = secret.single_use(self.purpose, &place, salt);
        let mut out = Writer::with_capacity(HEADER + plain.len() + TAG);
        out.u8(self.format).u32(epoch).u64(version).bytes(salt);
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
        self.check_format(stored)?;
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
        attempt().ok_or(Error::Integrity(self.fault))
    }

    /// Refuses another format version by name.
    pub(crate) fn check_format(&self, stored: &[u8]) -> Result<()> {
        match stored.first() {
            Some(&found) if found == self.format => Ok(()),
            Some(&found) => Err(Error::UnsupportedFormat {
                what: self.name,
                found: found.into(),
                supported: self.format.into(),
            }),
            None => Err(Error::Integrity(self.fault)),
        }
    }

    pub(crate) const fn place(
        &self,
        index: IndexId,
        epoch: u32,
        id: [u8; 16],
        version: u64,
    ) -> Place {
        Place { format: self.format, index, epoch, kind: self.kind as u8, id, version }
    }
}

/// The fields of an item's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Vector,
    Contents,
    Metadata,
}

impl Field {
    pub(crate) const ALL: [Self; 3] = [Self::Vector, Self::Contents, Self::Metadata];

    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Vector => Kind::Vector,
            Self::Contents => Kind::Contents,
            Self::Metadata => Kind::Metadata,
        }
    }

    /// The field byte of part nonces.
    const fn number(self) -> u8 {
        match self {
            Self::Vector => 1,
            Self::Contents => 2,
            Self::Metadata => 3,
        }
    }
}

/// How one field of an item is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Plaintext bytes.
    pub(crate) length: u32,
    /// Values it is stored in; at least one.
    pub(crate) parts: u32,
    /// BLAKE3 of the stored values, one after the other.
    pub(crate) hash: [u8; 32],
}

/// What the item record says about an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemRecord {
    pub(crate) id: String,
    pub(crate) number: ItemNumber,
    /// The sequence of the commit that wrote the content.
    pub(crate) version: u64,
    pub(crate) payload_epoch: u32,
    pub(crate) payload_salt: Salt,
    /// The leaves of the partition tree that hold it: none, one or two.
    pub(crate) leaves: Vec<NodeId>,
    pub(crate) vector: Extent,
    pub(crate) contents: Option<Extent>,
    pub(crate) metadata: Option<Extent>,
}

impl ItemRecord {
    /// Bytes that count towards the index's total: id, vector, contents, metadata.
    pub(crate) fn size(&self) -> u64 {
        let fields = Field::ALL.iter().filter_map(|field| self.extent(*field));
        let total: u64 = fields.map(|extent| u64::from(extent.length)).sum();
        total.saturating_add(self.id.len() as u64)
    }

    pub(crate) const fn extent(&self, field: Field) -> Option<&Extent> {
        match field {
            Field::Vector => Some(&self.vector),
            Field::Contents => self.contents.as_ref(),
            Field::Metadata => self.metadata.as_ref(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(self.id.len() + 200);
        out.short(self.id.as_bytes()).u64(self.number.0).u64(self.version);
        out.u32(self.payload_epoch).bytes(&self.payload_salt);
        out.u8(u8::try_from(self.leaves.len()).unwrap_or(u8::MAX));
        self.leaves.iter().for_each(|leaf| {
            out.u64(leaf.0);
        });
        for field in Field::ALL {
            match self.extent(field) {
                None => out.u8(0),
                Some(extent) => out.u8(1).u32(extent.length).u32(extent.parts).bytes(&extent.hash),
            };
        }
        out.finish()
    }

    pub(crate) fn decode(plain: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(plain);
        let id = std::str::from_utf8(reader.short()?).ok()?.to_owned();
        let number = ItemNumber(reader.u64()?);
        let version = reader.u64()?;
        let payload_epoch = reader.u32()?;
        let payload_salt = reader.array()?;
        let count = reader.u8()?;
        if count > 2 {
            return None;
        }
        let leaves = (0..count).map(|_| reader.u64().map(NodeId)).collect::<Option<Vec<_>>>()?;
        let vector = extent(&mut reader)??;
        let contents = extent(&mut reader)?;
        let metadata = extent(&mut reader)?;
        reader.finish()?;
        Some(Self {
            id,
            number,
            version,
            payload_epoch,
            payload_salt,
            leaves,
            vector,
            contents,
            metadata,
        })
    }

    /// The keys of every stored value of a field, in part order.
    pub(crate) fn payload_keys(
        &self,
        index: IndexId,
        field: Field,
        pseudonym: &Pseudonym,
    ) -> impl Iterator<Item = Vec<u8>> + use<> {
        let parts = self.extent(field).map_or(0, |extent| extent.parts);
        let pseudonym = *pseudonym;
        (0..parts).map(move |part| key::payload(index, field.kind(), &pseudonym, part))
    }

    /// The key of this item's payload, ready to open or seal its fields.
    pub(crate) fn payload_cipher(
        &self,
        secrets: &Epochs,
        index: IndexId,
        pseudonym: &Pseudonym,
    ) -> Result<PayloadCipher> {
        let secret = secrets.get(self.payload_epoch).ok_or(Error::Integrity(Fault::Payload))?;
        Ok(PayloadCipher::new(
            secret,
            index,
            self.payload_epoch,
            *pseudonym,
            self.version,
            &self.payload_salt,
        ))
    }
}

/// `None`: not this layout. `Some(None)`: the field is absent.
#[expect(clippy::option_option, reason = "malformed and absent are two things")]
fn extent(reader: &mut Reader<'_>) -> Option<Option<Extent>> {
    match reader.u8()? {
        0 => Some(None),
        1 => {
            let (length, parts) = (reader.u32()?, reader.u32()?);
            let hash = reader.array()?;
            // A part holds at least one byte, but for the only part of an empty value.
            (parts >= 1 && parts <= length.max(1)).then_some(Some(Extent { length, parts, hash }))
        }
        _ => None,
    }
}

/// Seals and opens the fields of one item under its payload key.
pub(crate) struct PayloadCipher {
    cipher: Cipher,
    place: Place,
}

impl PayloadCipher {
    pub(crate) fn new(
        secret: &ReadSecret,
        index: IndexId,
        epoch: u32,
        pseudonym: Pseudonym,
        version: u64,
        salt: &Salt,
    ) -> Self {
        let kind = Kind::Vector as u8;
        let place = Place { format: PAYLOAD_FORMAT, index, epoch, kind, id: pseudonym, version };
        let key = secret.single_use(Purpose::Payload, &place, salt);
        Self { cipher: Cipher::new(&key), place }
    }

    /// Seals a field into stored values of at most `limit` bytes.
    pub(crate) fn seal(
        &self,
        field: Field,
        plain: &[u8],
        limit: usize,
    ) -> Option<(Extent, Vec<Vec<u8>>)> {
        let aad = self.aad(field);
        let values =
            seal_parts(&self.cipher, field.number(), &aad, &[PAYLOAD_FORMAT], plain, limit)?;
        let length = u32::try_from(plain.len()).ok()?;
        let parts = u32::try_from(values.len()).ok()?;
        Some((Extent { length, parts, hash: hash_values(&values) }, values))
    }

    /// Opens a field from its stored values onto `out`; checks count, length and every seal.
    pub(crate) fn open_onto<V: AsRef<[u8]>>(
        &self,
        field: Field,
        extent: &Extent,
        values: &[V],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let start = out.len();
        let whole = values.len() == usize::try_from(extent.parts).unwrap_or(usize::MAX)
            && self.open_parts(field, values, out)?
            && out.len() - start == usize::try_from(extent.length).unwrap_or(usize::MAX);
        if whole { Ok(()) } else { Err(Error::Integrity(Fault::Payload)) }
    }

    fn open_parts<V: AsRef<[u8]>>(
        &self,
        field: Field,
        values: &[V],
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        for value in values {
            match value.as_ref().first() {
                Some(&PAYLOAD_FORMAT) => {}
                Some(&found) => {
                    return Err(Error::UnsupportedFormat {
                        what: "payload value",
                        found: found.into(),
                        supported: PAYLOAD_FORMAT.into(),
                    });
                }
                None => return Ok(false),
            }
        }
        let (aad, prefix) = (self.aad(field), [PAYLOAD_FORMAT]);
        Ok(open_parts(&self.cipher, field.number(), &aad, &prefix, values, out).is_some())
    }

    fn aad(&self, field: Field) -> [u8; Place::LENGTH] {
        Place { kind: field.kind() as u8, ..self.place }.bytes()
    }
}

/// BLAKE3 of stored values, one after the other: what an [`Extent`] holds.
pub(crate) fn hash_values<V: AsRef<[u8]>>(values: &[V]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    values.iter().for_each(|value| {
        hasher.update(value.as_ref());
    });
    *hasher.finalize().as_bytes()
}

/// Seals a value as `prefix | ciphertext | tag`, in parts of at most `limit` stored bytes, each with
/// its own nonce. `None` if the limit leaves no room or there are 2^32 parts.
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
    let mut parts: Vec<&[u8]> = plain.chunks(room).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    parts
        .into_iter()
        .enumerate()
        .map(|(number, part)| {
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

    fn record() -> ItemRecord {
        ItemRecord {
            id: "an id".into(),
            number: ItemNumber(5),
            version: 9,
            payload_epoch: 1,
            payload_salt: [2; 24],
            leaves: vec![NodeId(3), NodeId(4)],
            vector: Extent { length: 8, parts: 1, hash: [1; 32] },
            contents: Some(Extent { length: 0, parts: 1, hash: [2; 32] }),
            metadata: None,
        }
    }

    #[test]
    fn item_records_decode_only_from_their_own_bytes() {
        let plain = record().encode();
        assert_eq!(ItemRecord::decode(&plain), Some(record()));
        for length in 0..plain.len() {
            assert_eq!(ItemRecord::decode(&plain[..length]), None);
        }
        assert_eq!(ItemRecord::decode(&[&plain[..], &[0]].concat()), None);
    }

    #[test]
    fn a_record_opens_only_as_itself() {
        let secrets = secrets();
        let index = IndexId([3; 16]);
        let secret = secrets.get(1).unwrap();
        let stored = ITEM.seal(secret, index, 1, [4; 16], 7, &[5; 24], b"plain");
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

    #[test]
    fn parts_are_refused_when_missing_extra_moved_or_of_another_field() {
        let secrets = secrets();
        let cipher = record().payload_cipher(&secrets, IndexId([3; 16]), &[4; 16]).unwrap();
        let plain: Vec<u8> = (0..100).collect();
        let (extent, values) = cipher.seal(Field::Contents, &plain, 50).unwrap();
        assert_eq!((extent.parts, values.len()), (4, 4));
        assert!(values.iter().all(|value| value.len() <= 50));
        let open = |field, values: &[Vec<u8>]| {
            let mut out = Vec::new();
            cipher.open_onto(field, &extent, values, &mut out).map(|()| out)
        };
        assert_eq!(open(Field::Contents, &values), Ok(plain));
        let damaged = Err(Error::Integrity(Fault::Payload));
        assert_eq!(open(Field::Metadata, &values), damaged);
        assert_eq!(open(Field::Contents, &values[..3]), damaged);
        assert_eq!(open(Field::Contents, &values[1..]), damaged);
        assert_eq!(open(Field::Contents, &[&values[..], &values[3..]].concat()), damaged);
        let mut swapped = values.clone();
        swapped.swap(0, 1);
        assert_eq!(open(Field::Contents, &swapped), damaged);
        let (empty, values) = cipher.seal(Field::Metadata, b"", 50).unwrap();
        assert_eq!((empty.length, empty.parts, values.len()), (0, 1, 1));
        assert!(cipher.seal(Field::Vector, b"x", 1 + TAG).is_none());
    }
}
