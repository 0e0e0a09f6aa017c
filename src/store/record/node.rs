//! Nodes of the partition tree as they are stored.
//!
//! A node is two segments of plaintext that only `tree` understands: *codes*, which a query reads
//! of every node it visits, and *rows*, of which it needs a few. One key seals both; the nonce
//! names segment and part, and the rows are sealed in parts of [`ROWS_PART`] bytes, so that a query
//! opens only the parts it needs. A change of a node seals all of it again under a fresh salt,
//! unless it only adds rows to a leaf: then a *delta* is appended to the stored value.
//!
//! `format | parts | epoch | generation | salt | codes length | rows length | codes | rows | delta*`
//!
//! A delta is one seal with a key of its own; see [`delta`](super::delta). What is read of a node
//! with deltas is both segments with what was appended to them, one delta after the other: who
//! reads whole segments sees no difference but their length.
//!
//! What is longer than a value may be is cut; values after the first begin with the format byte.
//! Part count and lengths are in the AAD, so a missing, extra or moved piece does not open.

use zeroize::Zeroizing;

use super::Epochs;
use super::delta::{self, Delta, Tail};
use crate::codec::{Format, Reader, Writer};
use crate::crypto::aead::{Cipher, TAG, part_nonce};
use crate::crypto::kdf::{Place, Purpose, ReadSecret, Salt};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, NodeId};
use crate::store::key::{self, Kind};

/// The version of tree nodes.
pub(crate) const NODE_FORMAT: u8 = 4;

/// Bytes of rows that are sealed together.
pub(crate) const ROWS_PART: usize = 544;

const NODE: Format = Format { what: "tree node", version: NODE_FORMAT, fault: Fault::Node };

/// Values a node is stored in at most: it is read before it is authenticated.
const MOST_PARTS: u16 = 4096;
const HEADER: usize = 47;
const CODES: u8 = 1;
const ROWS: u8 = 2;

/// What identifies one sealing of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sealing {
    pub(crate) epoch: u32,
    /// The sequence of the commit that wrote it.
    pub(crate) generation: u64,
    pub(crate) salt: Salt,
}

/// Seals a node into stored values of at most `limit` bytes. The salt must be fresh. `None` if the
/// limit leaves no room.
pub(crate) fn seal_node(
    secret: &ReadSecret,
    index: IndexId,
    node: NodeId,
    sealing: &Sealing,
    codes: &[u8],
    rows: &[u8],
    limit: usize,
) -> Option<Vec<Vec<u8>>> {
    let tags = TAG.checked_mul(1 + rows.len().div_ceil(ROWS_PART))?;
    let body = codes.len().checked_add(rows.len())?.checked_add(tags)?;
    let first = limit.checked_sub(HEADER)?;
    let further = limit.checked_sub(1).filter(|room| *room > 0)?;
    let parts = 1 + body.saturating_sub(first).div_ceil(further);
    let lengths = Lengths {
        parts: u16::try_from(parts).ok().filter(|parts| *parts <= MOST_PARTS)?,
        codes: u32::try_from(codes.len()).ok()?,
        rows: u32::try_from(rows.len()).ok()?,
    };
    let place = place(index, node, sealing);
    let cipher = Cipher::new(&secret.single_use(Purpose::Node, &place, &sealing.salt));
    let aad = lengths.aad(&place);
    let mut out = Writer::with_capacity(HEADER + body);
    out.u8(NODE_FORMAT).u16(lengths.parts).u32(sealing.epoch).u64(sealing.generation);
    out.bytes(&sealing.salt).u32(lengths.codes).u32(lengths.rows);
    let mut out = out.finish();
    cipher.seal_onto(&part_nonce(CODES, 0, true), &aad, codes, &mut out);
    let count = rows.len().div_ceil(ROWS_PART);
    for (number, part) in rows.chunks(ROWS_PART).enumerate() {
        let nonce = part_nonce(ROWS, u32::try_from(number).ok()?, number + 1 == count);
        cipher.seal_onto(&nonce, &aad, part, &mut out);
    }
    if parts == 1 {
        return Some(vec![out]);
    }
    let (head, tail) = out.split_at_checked(limit)?;
    let tail = tail.chunks(further).map(|cut| [&[NODE_FORMAT][..], cut].concat());
    Some(std::iter::once(head.to_vec()).chain(tail).collect())
}

/// The number of values a node is stored in, by the first of them.
pub(crate) fn node_parts(first: &[u8]) -> Result<u32> {
    NODE.check(first)?;
    let parts = Reader::new(first.get(1..).unwrap_or_default()).u16();
    let parts = parts.filter(|parts| (1..=MOST_PARTS).contains(parts));
    parts.map(u32::from).ok_or(Error::Integrity(Fault::Node))
}

/// The epochs that a node is sealed under, by the first of its values: of the whole, and of deltas.
pub(crate) fn node_epochs(index: IndexId, node: NodeId, first: &[u8]) -> Result<Vec<u32>> {
    if node_parts(first)? > 1 {
        // Never appended to.
        let epoch = Reader::new(first.get(3..).unwrap_or_default()).u32();
        return epoch.map(|epoch| vec![epoch]).ok_or(Error::Integrity(Fault::Node));
    }
    let node = SealedNode::parse(index, node, first)?;
    let deltas = node.deltas.iter().map(|delta| delta.sealing.epoch);
    Ok(std::iter::once(node.sealing.epoch).chain(deltas).collect())
}

/// Puts the values of a node together again: what [`SealedNode::parse`] takes.
pub(crate) fn join_node<V: AsRef<[u8]>>(first: &[u8], further: &[V]) -> Result<Vec<u8>> {
    let mut whole = first.to_vec();
    for value in further {
        NODE.check(value.as_ref())?;
        whole.extend_from_slice(value.as_ref().get(1..).unwrap_or_default());
    }
    Ok(whole)
}

/// A stored node, ready to be opened.
pub(crate) struct SealedNode<B> {
    sealing: Sealing,
    place: Place,
    lengths: Lengths,
    /// What was appended since, oldest first.
    deltas: Vec<Delta>,
    bytes: B,
}

/// The key of a stored node with what it needs to open the segments, and what its deltas hold.
pub(crate) struct NodeCipher {
    cipher: Cipher,
    aad: [u8; Lengths::AAD],
    /// Codes and rows of the first delta, then of the next.
    appended: Zeroizing<Vec<u8>>,
}

impl<B: AsRef<[u8]>> SealedNode<B> {
    /// Reads the header; opens nothing.
    pub(crate) fn parse(index: IndexId, node: NodeId, bytes: B) -> Result<Self> {
        let stored = bytes.as_ref();
        NODE.check(stored)?;
        let damaged = || Error::Integrity(Fault::Node);
        let mut reader = Reader::new(stored);
        let mut header = || {
            let _format = reader.u8()?;
            let parts = reader.u16()?;
            let sealing =
                Sealing { epoch: reader.u32()?, generation: reader.u64()?, salt: reader.array()? };
            Some((sealing, Lengths { parts, codes: reader.u32()?, rows: reader.u32()? }))
        };
        let (sealing, lengths) = header().ok_or_else(damaged)?;
        let sealed = lengths.sealed().ok_or_else(damaged)?;
        reader.bytes(sealed).ok_or_else(damaged)?;
        // A node in several values is never appended to.
        let alone = lengths.parts == 1 || reader.left() == 0;
        let deltas = delta::parse(sealing.generation, HEADER + sealed, reader.rest());
        let deltas = deltas.filter(|_| alone).ok_or_else(damaged)?;
        Ok(Self { sealing, place: place(index, node, &sealing), lengths, deltas, bytes })
    }

    /// The latest sealing: that of the last delta, or of the whole.
    pub(crate) fn sealing(&self) -> &Sealing {
        self.deltas.last().map_or(&self.sealing, |delta| &delta.sealing)
    }

    /// Where the next delta goes; `None` if the node is in several values.
    pub(crate) fn tail(&self) -> Option<Tail> {
        let whole = HEADER.checked_add(self.lengths.sealed()?)?;
        let appended = self.bytes.as_ref().len().checked_sub(whole)?;
        let position = u16::try_from(self.deltas.len()).ok()?;
        let tail = Tail { after: *self.sealing(), position, whole, appended };
        (self.lengths.parts == 1).then_some(tail)
    }

    /// Derives the key, and opens the deltas.
    pub(crate) fn cipher(&self, secrets: &Epochs) -> Result<NodeCipher> {
        let secret = secrets.get(self.sealing.epoch).ok_or(Error::Integrity(Fault::Node))?;
        let key = secret.single_use(Purpose::Node, &self.place, &self.sealing.salt);
        let (cipher, aad) = (Cipher::new(&key), self.lengths.aad(&self.place));
        let stored = self.bytes.as_ref();
        let appended = delta::open(secrets, &self.place, &self.sealing, &self.deltas, stored)?;
        Ok(NodeCipher { cipher, aad, appended })
    }

    /// Opens the codes into `out`, in place of what it held; the codes of deltas come after them.
    pub(crate) fn open_codes(&self, cipher: &NodeCipher, out: &mut Vec<u8>) -> Result<()> {
        let sealed = self.sealed(0, widen(self.lengths.codes));
        let nonce = part_nonce(CODES, 0, true);
        let opened = sealed.is_some_and(|s| cipher.cipher.open_over(&nonce, &cipher.aad, s, out));
        delta::pieces(&self.deltas, &cipher.appended)
            .for_each(|(codes, _)| out.extend_from_slice(codes));
        if opened { Ok(()) } else { Err(Error::Integrity(Fault::Node)) }
    }

    /// Opens one part of the rows onto `out`, where those of deltas follow the others.
    pub(crate) fn open_rows(
        &self,
        cipher: &NodeCipher,
        part: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let damaged = || Error::Integrity(Fault::Node);
        let start = part.checked_mul(ROWS_PART).ok_or_else(damaged)?;
        let whole = widen(self.lengths.rows);
        if start < whole {
            self.open_whole_rows(cipher, part, whole - start, out)?;
        }
        if part >= self.row_parts() {
            return Err(damaged());
        }
        let end = start.saturating_add(ROWS_PART);
        let mut before = whole;
        for (_, rows) in delta::pieces(&self.deltas, &cipher.appended) {
            let (from, to) = (start.max(before), end.min(before + rows.len()));
            if from < to {
                out.extend_from_slice(rows.get(from - before..to - before).ok_or_else(damaged)?);
            }
            before += rows.len();
        }
        Ok(())
    }

    fn open_whole_rows(
        &self,
        cipher: &NodeCipher,
        part: usize,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let damaged = || Error::Integrity(Fault::Node);
        let count = widen(self.lengths.rows).div_ceil(ROWS_PART);
        let number = u32::try_from(part).map_err(|_| damaged())?;
        let nonce = part_nonce(ROWS, number, part + 1 == count);
        let before = widen(self.lengths.codes) + TAG + part * (ROWS_PART + TAG);
        let sealed = self.sealed(before, length.min(ROWS_PART));
        let opened = sealed.is_some_and(|s| cipher.cipher.open_onto(&nonce, &cipher.aad, s, out));
        if opened { Ok(()) } else { Err(damaged()) }
    }

    /// The number of parts that the rows are opened in.
    pub(crate) fn row_parts(&self) -> usize {
        self.row_bytes().div_ceil(ROWS_PART)
    }

    /// The bytes of the rows.
    pub(crate) fn row_bytes(&self) -> usize {
        let appended: usize = self.deltas.iter().map(|delta| widen(delta.rows)).sum();
        widen(self.lengths.rows).saturating_add(appended)
    }

    /// A piece of `length` bytes of plaintext that begins `before` bytes behind the header.
    fn sealed(&self, before: usize, length: usize) -> Option<&[u8]> {
        self.bytes.as_ref().get(HEADER.checked_add(before)?..)?.get(..length.checked_add(TAG)?)
    }
}

#[derive(Debug, Clone, Copy)]
struct Lengths {
    parts: u16,
    codes: u32,
    rows: u32,
}

impl Lengths {
    const AAD: usize = Place::LENGTH + 10;

    /// place | parts u16 | codes length u32 | rows length u32
    fn aad(self, place: &Place) -> [u8; Self::AAD] {
        let mut out = [0; Self::AAD];
        let fields: [&[u8]; 4] = [
            &place.bytes(),
            &self.parts.to_be_bytes(),
            &self.codes.to_be_bytes(),
            &self.rows.to_be_bytes(),
        ];
        for (to, from) in out.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        out
    }

    /// The bytes that follow the header.
    fn sealed(self) -> Option<usize> {
        let (codes, rows) = (widen(self.codes), widen(self.rows));
        let tags = (1 + rows.div_ceil(ROWS_PART)).checked_mul(TAG)?;
        codes.checked_add(rows)?.checked_add(tags)
    }
}

pub(super) const fn widen(length: u32) -> usize {
    length as usize
}

/// What is sealed with this sealing, whole or as a delta.
pub(super) fn place(index: IndexId, node: NodeId, sealing: &Sealing) -> Place {
    Place {
        format: NODE_FORMAT,
        index,
        epoch: sealing.epoch,
        kind: Kind::Node as u8,
        id: key::number_id(node.0),
        version: sealing.generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;

    const INDEX: IndexId = IndexId([3; 16]);
    const SEALING: Sealing = Sealing { epoch: 1, generation: 7, salt: [5; 24] };

    fn secrets() -> Epochs {
        Epochs::new(vec![(1, ReadSecret::new(&Secret::new([1; 32])))])
    }

    fn sealed(codes: &[u8], rows: &[u8], limit: usize) -> Vec<Vec<u8>> {
        let secrets = secrets();
        let secret = secrets.get(1).unwrap();
        seal_node(secret, INDEX, NodeId(9), &SEALING, codes, rows, limit).unwrap()
    }

    fn open(index: IndexId, node: NodeId, stored: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let node = SealedNode::parse(index, node, stored)?;
        let cipher = node.cipher(&secrets())?;
        let (mut codes, mut rows) = (Vec::new(), Vec::new());
        node.open_codes(&cipher, &mut codes)?;
        for part in 0..node.row_parts() {
            node.open_rows(&cipher, part, &mut rows)?;
        }
        Ok((codes, rows))
    }

    fn join(values: &[Vec<u8>]) -> Result<Vec<u8>> {
        assert_eq!(node_parts(&values[0]), Ok(u32::try_from(values.len()).unwrap()));
        join_node(&values[0], &values[1..])
    }

    #[test]
    fn a_node_opens_whole_from_one_value_or_many() {
        for (codes, rows) in [(0, 0), (1, 0), (100, 1), (100, 2048), (100, 2049), (5000, 6144)] {
            let codes: Vec<u8> = (0..=u8::MAX).cycle().take(codes).collect();
            let rows: Vec<u8> = (0..=u8::MAX).rev().cycle().take(rows).collect();
            for limit in [60, 4096, 65536] {
                let values = sealed(&codes, &rows, limit);
                assert!(values.iter().all(|value| value.len() <= limit));
                let opened = open(INDEX, NodeId(9), &join(&values).unwrap());
                assert_eq!(opened, Ok((codes.clone(), rows.clone())));
            }
        }
    }

    #[test]
    fn a_node_opens_only_as_itself() {
        let values = sealed(&[7; 40], &[8; 2100], 65536);
        let damaged = Err(Error::Integrity(Fault::Node));
        assert_eq!(open(IndexId([4; 16]), NodeId(9), &values[0]), damaged);
        assert_eq!(open(INDEX, NodeId(8), &values[0]), damaged);
        for byte in 1..values[0].len() {
            let mut bad = values[0].clone();
            bad[byte] ^= 1;
            assert_eq!(open(INDEX, NodeId(9), &bad), damaged, "byte {byte}");
        }
        for cut in [0, 1, 46, 47, 60, values[0].len() - 1] {
            assert!(open(INDEX, NodeId(9), &values[0][..cut]).is_err());
        }
        assert_eq!(open(INDEX, NodeId(9), &[&values[0][..], &[0]].concat()), damaged);
        assert!(open(INDEX, NodeId(9), &values[0]).is_ok());
    }

    #[test]
    fn values_of_a_cut_node_are_refused_when_missing_extra_or_moved() {
        let values = sealed(&[7; 400], &[8; 2100], 500);
        assert!(values.len() > 4);
        let damaged = Err(Error::Integrity(Fault::Node));
        let tail: Vec<_> = values[1..].to_vec();
        let with = |tail: &[Vec<u8>]| open(INDEX, NodeId(9), &join_node(&values[0], tail)?);
        assert!(with(&tail).is_ok());
        assert_eq!(with(&tail[1..]), damaged);
        assert_eq!(with(&[&tail[..], &tail[..1]].concat()), damaged);
        let mut moved = tail;
        moved.swap(0, 1);
        assert_eq!(with(&moved), damaged);
    }
}
