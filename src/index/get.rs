//! Reading items by id.
//!
//! Two batched reads: the item records, then the stored values they name. What comes back was
//! opened under the index's keys, has the id that was asked for, and matches the hash in its item
//! record.

use std::fmt;

use serde_json::Value;

use super::{Answer, Index, check_ids};
use crate::error::{Error, Fault, Result};
use crate::keyring::Session;
use crate::observe::Call;
use crate::redact::Hidden;
use crate::store::key::{self, Pseudonym};
use crate::store::record::{Field, ITEM, ItemRecord, hash_values};
use crate::store::{Family, Snapshot};
use crate::vector;

/// Which fields of an item are wanted.
///
/// ```
/// use sealvec::Include;
/// let wanted = Include::NONE.contents().metadata();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Include {
    pub(crate) vector: bool,
    pub(crate) contents: bool,
    pub(crate) metadata: bool,
}

impl Include {
    /// Only whether the item is there, and its version.
    pub const NONE: Self = Self { vector: false, contents: false, metadata: false };
    /// Vector, contents and metadata.
    pub const ALL: Self = Self { vector: true, contents: true, metadata: true };

    /// Adds the vector.
    #[must_use]
    pub const fn vector(self) -> Self {
        Self { vector: true, ..self }
    }

    /// Adds the contents.
    #[must_use]
    pub const fn contents(self) -> Self {
        Self { contents: true, ..self }
    }

    /// Adds the metadata.
    #[must_use]
    pub const fn metadata(self) -> Self {
        Self { metadata: true, ..self }
    }

    pub(crate) fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| match field {
            Field::Vector => self.vector,
            Field::Contents => self.contents,
            Field::Metadata => self.metadata,
        })
    }
}

/// The answer for one id of a [`get`](Index::get).
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Fetched {
    /// The id that was asked for.
    pub id: String,
    /// `None`: there is no such item.
    pub item: Option<Record>,
}

/// The stored fields of an item. A field is `None` if it was not asked for or is not there.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// As given, rounded to the precision of the index.
    pub vector: Option<Vec<f32>>,
    /// As given.
    pub contents: Option<Vec<u8>>,
    /// As given.
    pub metadata: Option<Value>,
    /// The sequence of the commit that wrote this content.
    pub version: u64,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("id", &Hidden::text(&self.id))
            .field("item", &self.item)
            .finish()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("vector", &self.vector.as_deref().map(Hidden::vector))
            .field("contents", &self.contents.as_deref().map(Hidden::bytes))
            .field("metadata", &self.metadata.as_ref().map(Hidden::metadata))
            .field("version", &self.version)
            .finish()
    }
}

impl Index<'_> {
    /// Reads items by id, in the order asked for; an id that is not there is reported with
    /// `item: None`. Needs the read right.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id that cannot exist; [`Error::PermissionDenied`];
    /// [`Error::Integrity`] if anything stored was changed; and those of every call.
    ///
    /// ```
    /// # use sealvec::{Database, Include, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0]).contents("hello")])?;
    /// let found = index.get(&["a", "b"], Include::ALL)?;
    /// let a = found[0].item.as_ref().unwrap();
    /// assert_eq!(a.contents.as_deref(), Some(&b"hello"[..]));
    /// assert!(found[1].item.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get<S: AsRef<str>>(&self, ids: &[S], include: Include) -> Result<Answer<Vec<Fetched>>> {
        self.during(Call::Get).items(ids.len()).read(|snapshot, key| {
            check_ids(ids)?;
            let pseudonyms: Vec<Pseudonym> =
                ids.iter().map(|id| key.names.item(id.as_ref())).collect();
            let keys: Vec<_> = pseudonyms.iter().map(|p| key::item(self.id, p)).collect();
            let stored = snapshot.multi_get(Family::Items, &keys)?;
            let mut found = Vec::new();
            let mut plain = Vec::new();
            for ((id, pseudonym), stored) in ids.iter().zip(&pseudonyms).zip(&stored) {
                if let Some(stored) = stored {
                    let record = open_named(key, id.as_ref(), pseudonym, stored, &mut plain)?;
                    found.push((*pseudonym, record));
                }
            }
            let mut fetched = fetch_fields(snapshot, key, &found, include)?.into_iter();
            let answer = |(id, stored): (&S, Option<Vec<u8>>)| Fetched {
                id: id.as_ref().to_owned(),
                item: stored.and_then(|_| fetched.next()),
            };
            Ok(ids.iter().zip(stored).map(answer).collect())
        })
    }
}

/// Opens a stored item record and checks that it is not from a commit after the head, which would
/// mean that the head was put back.
pub(crate) fn open_item(
    key: &Session,
    pseudonym: &Pseudonym,
    stored: &[u8],
    plain: &mut Vec<u8>,
) -> Result<ItemRecord> {
    let written = ITEM.open_into(&key.epochs, key.index, *pseudonym, stored, plain)?;
    ItemRecord::decode(plain)
        .filter(|record| record.version <= written && written <= key.head.commit.sequence)
        .ok_or(Error::Integrity(Fault::ItemRecord))
}

/// As [`open_item`], of the item with this id.
pub(crate) fn open_named(
    key: &Session,
    id: &str,
    pseudonym: &Pseudonym,
    stored: &[u8],
    plain: &mut Vec<u8>,
) -> Result<ItemRecord> {
    let record = open_item(key, pseudonym, stored, plain)?;
    if record.id == id { Ok(record) } else { Err(Error::Integrity(Fault::ItemRecord)) }
}

/// Decodes a vector into `out` and checks that it has the dimension of the index.
pub(crate) fn decode_vector(key: &Session, stored: &[u8], out: &mut Vec<f32>) -> Result<()> {
    let decoded = vector::decode_into(stored, key.table.config.precision, out);
    if decoded && Some(out.len()) == key.dimension() {
        Ok(())
    } else {
        Err(Error::Integrity(Fault::Payload))
    }
}

/// Reads and opens the wanted fields of items whose records are known, in their order.
pub(crate) fn fetch_fields(
    snapshot: &dyn Snapshot,
    key: &Session,
    items: &[(Pseudonym, ItemRecord)],
    include: Include,
) -> Result<Vec<Record>> {
    let mut keys = Vec::new();
    for (pseudonym, record) in items {
        for field in include.fields() {
            keys.extend(record.payload_keys(key.index, field, pseudonym));
        }
    }
    let damaged = || Error::Integrity(Fault::Payload);
    let values = snapshot.multi_get(Family::Payload, &keys)?;
    let values = values.into_iter().map(|value| value.ok_or_else(damaged));
    let mut values = values.collect::<Result<Vec<_>>>()?.into_iter();
    let mut out = Vec::with_capacity(items.len());
    for (pseudonym, record) in items {
        let mut result = Record { version: record.version, ..Record::default() };
        let mut cipher = None;
        for field in include.fields() {
            let Some(extent) = record.extent(field) else { continue };
            let cipher = match &mut cipher {
                Some(cipher) => cipher,
                none => none.insert(record.payload_cipher(&key.epochs, key.index, pseudonym)?),
            };
            let parts = usize::try_from(extent.parts).unwrap_or(usize::MAX);
            let parts: Vec<Vec<u8>> = values.by_ref().take(parts).collect();
            if hash_values(&parts) != extent.hash {
                return Err(damaged());
            }
            let mut plain = Vec::new();
            cipher.open_onto(field, extent, &parts, &mut plain)?;
            match field {
                Field::Vector => {
                    let mut vector = Vec::new();
                    decode_vector(key, &plain, &mut vector)?;
                    result.vector = Some(vector);
                }
                Field::Contents => result.contents = Some(plain),
                Field::Metadata => {
                    let value = serde_json::from_slice(&plain).map_err(|_| damaged())?;
                    result.metadata = Some(value);
                }
            }
        }
        out.push(result);
    }
    Ok(out)
}
