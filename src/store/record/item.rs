//! Item records and the payload they own.
//!
//! The item record holds what the payload values do not: salt, epoch, part counts, lengths and
//! hashes. Without it they are noise. Its own seal has another salt, new at every rewrite, so it
//! can be rewritten without touching the payload.

use std::ops::Deref;

use super::{Epochs, Shape, open_parts, seal_parts};
use crate::codec::{Format, Reader, Writer};
use crate::crypto::aead::{Cipher, TAG, part_nonce};
use crate::crypto::kdf::{Place, Purpose, ReadSecret, Salt};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, ItemNumber, NodeId};
use crate::store::key::{self, Kind, Pseudonym};

/// The version of item records.
pub(crate) const ITEM_FORMAT: u8 = 1;
/// The version of payload values.
pub(crate) const PAYLOAD_FORMAT: u8 = 1;

pub(crate) const ITEM: Shape = Shape {
    format: Format { what: "item record", version: ITEM_FORMAT, fault: Fault::ItemRecord },
    kind: Kind::Item,
    purpose: Purpose::Record,
};

/// The longest value there can be, and the shortest stored part of a value with more than one; the
/// database's options allow no others.
const LONGEST: u32 = 1 << 30;
const SHORTEST_PART: u32 = 4 << 10;

const PAYLOAD: Format =
    Format { what: "payload value", version: PAYLOAD_FORMAT, fault: Fault::Payload };

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
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
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
            // Parts are as long as the engine takes values, which is never less than 4 KiB.
            let most = length / (SHORTEST_PART - 1 - 16) + 1;
            let plausible = length <= LONGEST && (1..=most).contains(&parts);
            plausible.then_some(Some(Extent { length, parts, hash }))
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
        for value in values {
            PAYLOAD.check(value.as_ref())?;
        }
        let (start, aad, prefix) = (out.len(), self.aad(field), [PAYLOAD_FORMAT]);
        let whole = values.len() == usize::try_from(extent.parts).unwrap_or(usize::MAX)
            && open_parts(&self.cipher, field.number(), &aad, &prefix, values, out).is_some()
            && out.len() - start == usize::try_from(extent.length).unwrap_or(usize::MAX);
        if whole { Ok(()) } else { Err(Error::Integrity(Fault::Payload)) }
    }

    /// Opens a vector of `length` bytes for who has the salt from a leaf and not the item record.
    /// What `out` held is lost.
    pub(crate) fn open_vector<V: Deref<Target = [u8]>>(
        &self,
        length: usize,
        values: &[V],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (field, aad) = (Field::Vector.number(), self.aad(Field::Vector));
        for value in values {
            PAYLOAD.check(value)?;
        }
        let opened = if let [value] = values {
            let sealed = value.strip_prefix(&[PAYLOAD_FORMAT]).unwrap_or_default();
            self.cipher.open_over(&part_nonce(field, 0, true), &aad, sealed, out)
        } else {
            out.clear();
            let values: Vec<&[u8]> = values.iter().map(Deref::deref).collect();
            open_parts(&self.cipher, field, &aad, &[PAYLOAD_FORMAT], &values, out).is_some()
        };
        if opened && out.len() == length { Ok(()) } else { Err(Error::Integrity(Fault::Payload)) }
    }

    /// The number of values of at most `limit` bytes that a field is stored in.
    pub(crate) fn parts(length: usize, limit: usize) -> Option<usize> {
        let room = limit.checked_sub(1 + TAG).filter(|room| *room > 0)?;
        Some(length.div_ceil(room).max(1))
    }

    fn aad(&self, field: Field) -> [u8; Place::LENGTH] {
        Place { kind: field.kind() as u8, ..self.place }.bytes()
    }
}

/// BLAKE3 of stored values, one after the other: what an [`Extent`] holds.
pub(crate) fn hash_values<V: AsRef<[u8]>>(values: &[V]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        hasher.update(value.as_ref());
    }
    *hasher.finalize().as_bytes()
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
    fn part_counts_that_no_value_has_are_refused_before_anything_is_read() {
        let with = |length, parts| {
            let vector = Extent { length, parts, hash: [1; 32] };
            ItemRecord::decode(&ItemRecord { vector, ..record() }.encode()).is_some()
        };
        assert!(with(8, 1) && with(0, 1) && with(4080, 2) && with(1 << 30, 263_148));
        assert!(!with(8, 0) && !with(8, 2) && !with(1 << 30, u32::MAX) && !with(u32::MAX, 1));
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
