//! The key grammar: every key that is ever written, in one table.
//!
//! | family | key | value |
//! |---|---|---|
//! | catalog | `0*16 \| 00` | database record |
//! | catalog | `0*16 \| 01 \| name place 16` | name record: index id |
//! | catalog | `0*16 \| 02 \| index 16` | purge owed: since when something deleted is not purged |
//! | catalog | `0*16 \| 03 \| number u64` | checkpoint made: when and where |
//! | catalog | `index 16 \| 10` | head: the sequence of the latest commit; the root of the index |
//! | catalog | `index 16 \| 11 \| sequence u64` | commit |
//! | catalog | `index 16 \| 12 \| table number u64 \| part u32` | grant table |
//! | catalog | `index 16 \| 13 \| locator 16 \| right u8` | wrap |
//! | catalog | `index 16 \| 14 \| roster place 16` | roster record |
//! | catalog | `index 16 \| 15` | set-hash state |
//! | catalog | `index 16 \| 16` | fold: the sums of the oldest commits |
//! | catalog | `index 16 \| 17 \| table number u64` | signature of a grant table |
//! | items | `index 16 \| 20 \| pseudonym 16` | item record |
//! | nodes | `index 16 \| 30 \| node u64 \| part u32` | node of the partition tree |
//! | attributes | `index 16 \| 40 \| word place 16 \| block u64` | posting: which items have a value |
//! | attributes | `index 16 \| 41 \| block u64` | directory: the pseudonyms of item numbers |
//! | attributes | `index 16 \| 42 \| field place 16 \| block u64` | column: numbers of items |
//! | payload | `index 16 \| 50 \| pseudonym 16 \| part u32` | vector |
//! | payload | `index 16 \| 51 \| pseudonym 16 \| part u32` | contents |
//! | payload | `index 16 \| 52 \| pseudonym 16 \| part u32` | metadata |
//!
//! Kind bytes are hexadecimal and unique over all families. Numbers are big-endian, so keys sort as
//! the numbers do. Index id zero is reserved for the database itself.

use crate::crypto::kdf::Locator;
use crate::crypto::wrap::Right;
use crate::id::{IndexId, NodeId};

/// The kind byte of a key; also part of the derivation and AAD of sealed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    Database = 0x00,
    Name = 0x01,
    PurgeOwed = 0x02,
    CheckpointMade = 0x03,
    Head = 0x10,
    Commit = 0x11,
    Table = 0x12,
    Wrap = 0x13,
    Roster = 0x14,
    SetHash = 0x15,
    Fold = 0x16,
    TableSignature = 0x17,
    Item = 0x20,
    Node = 0x30,
    Posting = 0x40,
    Directory = 0x41,
    Column = 0x42,
    Vector = 0x50,
    Contents = 0x51,
    Metadata = 0x52,
}

impl Kind {
    pub(crate) const ALL: [Self; 20] = [
        Self::Database,
        Self::Name,
        Self::PurgeOwed,
        Self::CheckpointMade,
        Self::Head,
        Self::Commit,
        Self::Table,
        Self::Wrap,
        Self::Roster,
        Self::SetHash,
        Self::Fold,
        Self::TableSignature,
        Self::Item,
        Self::Node,
        Self::Posting,
        Self::Directory,
        Self::Column,
        Self::Vector,
        Self::Contents,
        Self::Metadata,
    ];

    /// The kind in a key, if it is one of these.
    pub(crate) fn of(key: &[u8]) -> Option<Self> {
        let byte = *key.get(16)?;
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The 16-byte pseudonym of an item.
pub(crate) type Pseudonym = [u8; 16];

const DATABASE: IndexId = IndexId([0; 16]);

pub(crate) fn database() -> Vec<u8> {
    key(DATABASE, Kind::Database, &[])
}

pub(crate) fn name(place: &[u8; 16]) -> Vec<u8> {
    key(DATABASE, Kind::Name, &[place])
}

/// What every name record's key starts with.
pub(crate) fn names() -> Vec<u8> {
    key(DATABASE, Kind::Name, &[])
}

/// What is owed a purge: by an index, or after it.
pub(crate) fn purge_owed(index: IndexId) -> Vec<u8> {
    key(DATABASE, Kind::PurgeOwed, &[&index.0])
}

/// What every purge-owed record's key starts with.
pub(crate) fn purges_owed() -> Vec<u8> {
    key(DATABASE, Kind::PurgeOwed, &[])
}

pub(crate) fn checkpoint_made(number: u64) -> Vec<u8> {
    key(DATABASE, Kind::CheckpointMade, &[&number.to_be_bytes()])
}

/// What every checkpoint record's key starts with.
pub(crate) fn checkpoints_made() -> Vec<u8> {
    key(DATABASE, Kind::CheckpointMade, &[])
}

pub(crate) fn head(index: IndexId) -> Vec<u8> {
    key(index, Kind::Head, &[])
}

pub(crate) fn commit(index: IndexId, sequence: u64) -> Vec<u8> {
    key(index, Kind::Commit, &[&sequence.to_be_bytes()])
}

/// What every commit's key starts with.
pub(crate) fn commits(index: IndexId) -> Vec<u8> {
    key(index, Kind::Commit, &[])
}

pub(crate) fn table(index: IndexId, number: u64, part: u32) -> Vec<u8> {
    key(index, Kind::Table, &[&number.to_be_bytes(), &part.to_be_bytes()])
}

/// Where the signature of a grant table is.
pub(crate) fn table_signature(index: IndexId, number: u64) -> Vec<u8> {
    key(index, Kind::TableSignature, &[&number.to_be_bytes()])
}

/// What the key of every signature of a grant table starts with.
pub(crate) fn table_signatures(index: IndexId) -> Vec<u8> {
    key(index, Kind::TableSignature, &[])
}

/// What every grant table's key starts with.
pub(crate) fn tables(index: IndexId) -> Vec<u8> {
    key(index, Kind::Table, &[])
}

pub(crate) fn wrap(index: IndexId, locator: Locator, right: Right) -> Vec<u8> {
    key(index, Kind::Wrap, &[&locator.0, &[right.byte()]])
}

/// What every wrap's key starts with.
pub(crate) fn wraps(index: IndexId) -> Vec<u8> {
    key(index, Kind::Wrap, &[])
}

pub(crate) fn roster(index: IndexId, place: &[u8; 16]) -> Vec<u8> {
    key(index, Kind::Roster, &[place])
}

/// What every roster record's key starts with.
pub(crate) fn rosters(index: IndexId) -> Vec<u8> {
    key(index, Kind::Roster, &[])
}

pub(crate) fn set_hash(index: IndexId) -> Vec<u8> {
    key(index, Kind::SetHash, &[])
}

pub(crate) fn fold(index: IndexId) -> Vec<u8> {
    key(index, Kind::Fold, &[])
}

pub(crate) fn item(index: IndexId, pseudonym: &Pseudonym) -> Vec<u8> {
    key(index, Kind::Item, &[pseudonym])
}

/// What every item record's key starts with.
pub(crate) fn items(index: IndexId) -> Vec<u8> {
    key(index, Kind::Item, &[])
}

/// The pseudonym in the key of an item record.
pub(crate) fn pseudonym_of(item_key: &[u8]) -> Option<Pseudonym> {
    item_key.get(17..)?.try_into().ok()
}

pub(crate) fn node(index: IndexId, node: NodeId, part: u32) -> Vec<u8> {
    key(index, Kind::Node, &[&node.0.to_be_bytes(), &part.to_be_bytes()])
}

/// What every node's key starts with.
pub(crate) fn nodes(index: IndexId) -> Vec<u8> {
    key(index, Kind::Node, &[])
}

/// The node and the part in the key of a node.
pub(crate) fn node_of(node_key: &[u8]) -> Option<(NodeId, u32)> {
    let (node, part) = node_key.get(17..)?.split_first_chunk()?;
    Some((NodeId(u64::from_be_bytes(*node)), u32::from_be_bytes(part.try_into().ok()?)))
}

/// The number in the key of a commit, or of the signature of a grant table.
pub(crate) fn sequence_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(17..)?.try_into().ok()?))
}

/// The number and the part in the key of a grant table.
pub(crate) fn table_part_of(table_key: &[u8]) -> Option<(u64, u32)> {
    node_of(table_key).map(|(number, part)| (number.0, part))
}

/// The pseudonym and the part in the key of a payload value.
pub(crate) fn payload_of(payload_key: &[u8]) -> Option<(Pseudonym, u32)> {
    let (pseudonym, part) = payload_key.get(17..)?.split_first_chunk()?;
    Some((*pseudonym, u32::from_be_bytes(part.try_into().ok()?)))
}

/// `field` is one of the three payload kinds.
pub(crate) fn payload(index: IndexId, field: Kind, pseudonym: &Pseudonym, part: u32) -> Vec<u8> {
    key(index, field, &[pseudonym, &part.to_be_bytes()])
}

/// What every key of a field starts with.
pub(crate) fn payloads_of(index: IndexId, field: Kind) -> Vec<u8> {
    key(index, field, &[])
}

/// What every key of a field of an item starts with.
pub(crate) fn payloads(index: IndexId, field: Kind, pseudonym: &Pseudonym) -> Vec<u8> {
    key(index, field, &[pseudonym])
}

/// What every key of a node's values starts with.
pub(crate) fn node_values(index: IndexId, node: NodeId) -> Vec<u8> {
    key(index, Kind::Node, &[&node.0.to_be_bytes()])
}

/// A block of a posting or a column; `place` is of the word or the field.
pub(crate) fn attribute(index: IndexId, kind: Kind, place: &[u8; 16], block: u64) -> Vec<u8> {
    match kind {
        Kind::Directory => key(index, kind, &[&block.to_be_bytes()]),
        _ => key(index, kind, &[place, &block.to_be_bytes()]),
    }
}

/// What the keys of all blocks of a posting or a column start with.
pub(crate) fn attribute_blocks(index: IndexId, kind: Kind, place: &[u8; 16]) -> Vec<u8> {
    match kind {
        Kind::Directory => key(index, kind, &[]),
        _ => key(index, kind, &[place]),
    }
}

/// The kind byte, the place and the block in the key of an attribute record.
pub(crate) fn attribute_of(attribute_key: &[u8]) -> Option<(Kind, [u8; 16], u64)> {
    let (kind, rest) = attribute_key.get(16..)?.split_first()?;
    let kind = [Kind::Posting, Kind::Directory, Kind::Column]
        .into_iter()
        .find(|known| *known as u8 == *kind)?;
    let (place, block) = match kind {
        Kind::Directory => ([0; 16], rest),
        _ => rest.split_first_chunk().map(|(place, block)| (*place, block))?,
    };
    Some((kind, place, u64::from_be_bytes(block.try_into().ok()?)))
}

/// A number as the 16-byte logical id of a sealed record.
pub(crate) fn number_id(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

fn key(index: IndexId, kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(index.0.len() + 1 + length);
    out.extend_from_slice(&index.0);
    out.push(kind as u8);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_bytes() {
        let index = IndexId([0xaa; 16]);
        let prefixed = |kind: u8, rest: &[u8]| [&[0xaa; 16][..], &[kind], rest].concat();
        assert_eq!(database(), [0; 17]);
        assert_eq!(name(&[7; 16]), [&[0; 16][..], &[1], &[7; 16]].concat());
        assert_eq!(head(index), prefixed(0x10, &[]));
        assert_eq!(commit(index, 258), prefixed(0x11, &[0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(table(index, 1, 2), prefixed(0x12, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]));
        assert!(wrap(index, Locator([5; 16]), Right::Read).starts_with(&wraps(index)));
        assert!(roster(index, &[5; 16]).starts_with(&rosters(index)));
        let place = [&[5; 16][..], &[2]].concat();
        assert_eq!(wrap(index, Locator([5; 16]), Right::Write), prefixed(0x13, &place));
        assert_eq!(roster(index, &[5; 16]), prefixed(0x14, &[5; 16]));
        assert_eq!(set_hash(index), prefixed(0x15, &[]));
        assert_eq!(fold(index), prefixed(0x16, &[]));
        assert_eq!(purge_owed(index), [&[0; 16][..], &[2], &index.0].concat());
        assert_eq!(checkpoint_made(3), [&[0; 16][..], &[3, 0, 0, 0, 0, 0, 0, 0, 3]].concat());
        assert_eq!(item(index, &[6; 16]), prefixed(0x20, &[6; 16]));
        let part = [&[0, 0, 0, 0, 0, 0, 1, 2][..], &[0, 0, 0, 3]].concat();
        assert_eq!(node(index, NodeId(258), 3), prefixed(0x30, &part));
        assert_eq!(node_of(&node(index, NodeId(258), 3)), Some((NodeId(258), 3)));
        assert_eq!(node_of(&nodes(index)), None);
        let block = [0, 0, 0, 0, 0, 0, 1, 2];
        let posting = attribute(index, Kind::Posting, &[8; 16], 258);
        assert_eq!(posting, prefixed(0x40, &[&[8; 16][..], &block].concat()));
        assert_eq!(attribute_of(&posting), Some((Kind::Posting, [8; 16], 258)));
        let directory = attribute(index, Kind::Directory, &[0; 16], 258);
        assert_eq!(directory, prefixed(0x41, &block));
        assert_eq!(attribute_of(&directory), Some((Kind::Directory, [0; 16], 258)));
        let column = attribute(index, Kind::Column, &[8; 16], 258);
        assert_eq!(column, prefixed(0x42, &[&[8; 16][..], &block].concat()));
        assert_eq!(attribute_of(&column), Some((Kind::Column, [8; 16], 258)));
        assert_eq!(attribute_of(&node(index, NodeId(258), 3)), None);
        let part = [&[6; 16][..], &[0, 0, 1, 0]].concat();
        assert_eq!(payload(index, Kind::Vector, &[6; 16], 256), prefixed(0x50, &part));
        assert_eq!(payload(index, Kind::Contents, &[6; 16], 256), prefixed(0x51, &part));
        assert_eq!(payload(index, Kind::Metadata, &[6; 16], 256), prefixed(0x52, &part));
        assert_eq!(pseudonym_of(&item(index, &[6; 16])), Some([6; 16]));
        assert_eq!(sequence_of(&commit(index, 258)), Some(258));
        assert_eq!(table_part_of(&table(index, 258, 3)), Some((258, 3)));
        let value = payload(index, Kind::Vector, &[6; 16], 256);
        assert_eq!(payload_of(&value), Some(([6; 16], 256)));
        for cut in 0..value.len() {
            assert_eq!(payload_of(&value[..cut]), None);
        }
    }

    #[test]
    fn keys_sort_as_their_numbers() {
        let index = IndexId([1; 16]);
        assert!(commit(index, 255) < commit(index, 256));
        assert!(table(index, 1, 9) < table(index, 2, 0));
        assert!(
            payload(index, Kind::Vector, &[0; 16], 255)
                < payload(index, Kind::Vector, &[0; 16], 256)
        );
    }
}
