//! Deltas: rows appended to a stored leaf.
//!
//! A write that only adds rows to a leaf appends them to its value instead of sealing all of it
//! again: some hundred bytes instead of some ten thousand. A delta is codes and rows in one seal
//! under its own salt, so under its own single-use key:
//!
//! `epoch | generation | salt | codes length | rows length | sealed codes and rows`
//!
//! Its AAD binds it to its node, its position, and generation and salt of what it was appended to:
//! the delta before it or the whole. So a delta that was moved, repeated, re-ordered, or that
//! belongs to an earlier state of the same leaf does not open. What nothing here notices is that
//! the last ones are missing; that is an older leaf, and is found as such.
//!
//! Removing a row seals the leaf whole, without deltas: what a delete takes out is in no live value.
//!
//! Cost: one key derivation and one short seal, for the writer once and for every reader.

use zeroize::Zeroizing;

use super::Epochs;
use super::node::{Sealing, place, widen};
use crate::codec::{Reader, Writer};
use crate::crypto::aead::{Cipher, TAG, part_nonce};
use crate::crypto::kdf::{Place, Purpose, ReadSecret};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, NodeId};

/// Bytes that a delta takes besides codes and rows.
pub(crate) const DELTA: usize = HEADER + TAG;

const HEADER: usize = 44;
const FIELD: u8 = 3;
const AAD: usize = Place::LENGTH + 42;
/// Deltas of a node at most, as positions are counted in 16 bits.
const MOST: usize = 1 << 16;

/// A stored delta.
pub(super) struct Delta {
    pub(super) sealing: Sealing,
    pub(super) codes: u32,
    pub(super) rows: u32,
    /// Where the seal begins in the stored value.
    start: usize,
}

/// The end of a stored node: where a delta is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The sealing that the next delta follows.
    pub(crate) after: Sealing,
    /// How many deltas there are.
    pub(crate) position: u16,
    /// Bytes of the node without them, and of them.
    pub(crate) whole: usize,
    pub(crate) appended: usize,
}

/// Seals what is to be appended to a stored node. The salt must be fresh. `None` if it is too long
/// for the format.
pub(crate) fn seal_delta(
    secret: &ReadSecret,
    index: IndexId,
    node: NodeId,
    sealing: &Sealing,
    tail: &Tail,
    codes: &[u8],
    rows: &[u8],
) -> Option<Vec<u8>> {
    let lengths = (u32::try_from(codes.len()).ok()?, u32::try_from(rows.len()).ok()?);
    let mut plain = Zeroizing::new(Vec::with_capacity(codes.len().checked_add(rows.len())?));
    plain.extend_from_slice(codes);
    plain.extend_from_slice(rows);
    let place = place(index, node, sealing);
    let cipher = Cipher::new(&secret.single_use(Purpose::Node, &place, &sealing.salt));
    let mut out = Writer::with_capacity(DELTA.checked_add(plain.len())?);
    out.u32(sealing.epoch).u64(sealing.generation).bytes(&sealing.salt);
    out.u32(lengths.0).u32(lengths.1);
    let mut out = out.finish();
    let aad = aad(&place, tail.position, &tail.after, lengths);
    cipher.seal_onto(&nonce(tail.position), &aad, &plain, &mut out);
    Some(out)
}

/// Reads the headers of what follows a node of this generation, `start` bytes into its value.
pub(super) fn parse(mut generation: u64, start: usize, stored: &[u8]) -> Option<Vec<Delta>> {
    let mut deltas = Vec::new();
    let mut reader = Reader::new(stored);
    while reader.left() > 0 {
        let sealing =
            Sealing { epoch: reader.u32()?, generation: reader.u64()?, salt: reader.array()? };
        let (codes, rows) = (reader.u32()?, reader.u32()?);
        let start = start.checked_add(stored.len().checked_sub(reader.left())?)?;
        reader.bytes(sealed(codes, rows)?)?;
        if sealing.generation <= generation || deltas.len() == MOST {
            return None;
        }
        generation = sealing.generation;
        deltas.push(Delta { sealing, codes, rows, start });
    }
    Some(deltas)
}

/// Opens all deltas of a node that was sealed whole at this place: codes and rows of the first,
/// then of the next.
pub(super) fn open(
    secrets: &Epochs,
    place: &Place,
    whole: &Sealing,
    deltas: &[Delta],
    stored: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let length = deltas.iter().map(|delta| widen(delta.codes) + widen(delta.rows)).sum();
    // Large enough from the start, so that no copy is left behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    let mut after = whole;
    for (position, delta) in (0..=u16::MAX).zip(deltas) {
        let Delta { sealing, codes, rows, start } = delta;
        let place = Place { epoch: sealing.epoch, version: sealing.generation, ..*place };
        let open = |secret: &ReadSecret| {
            let cipher = Cipher::new(&secret.single_use(Purpose::Node, &place, &sealing.salt));
            let sealed = stored.get(*start..)?.get(..sealed(*codes, *rows)?)?;
            let aad = aad(&place, position, after, (*codes, *rows));
            cipher.open_onto(&nonce(position), &aad, sealed, &mut plain).then_some(())
        };
        let opened = secrets.get(sealing.epoch).and_then(open);
        opened.ok_or(Error::Integrity(Fault::Node))?;
        after = sealing;
    }
    Ok(plain)
}

/// Codes and rows of each delta, in what [`open`] returned.
pub(super) fn pieces<'a>(
    deltas: &'a [Delta],
    mut plain: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    deltas.iter().map_while(move |delta| {
        let (codes, rest) = plain.split_at_checked(widen(delta.codes))?;
        let (rows, rest) = rest.split_at_checked(widen(delta.rows))?;
        plain = rest;
        Some((codes, rows))
    })
}

/// The bytes of a seal.
fn sealed(codes: u32, rows: u32) -> Option<usize> {
    widen(codes).checked_add(widen(rows))?.checked_add(TAG)
}

fn nonce(position: u16) -> [u8; 12] {
    part_nonce(FIELD, position.into(), true)
}

/// place | position u16 | generation u64 and salt of what it follows | codes length u32 | rows
/// length u32
fn aad(place: &Place, position: u16, after: &Sealing, lengths: (u32, u32)) -> [u8; AAD] {
    let mut out = [0; AAD];
    let fields: [&[u8]; 6] = [
        &place.bytes(),
        &position.to_be_bytes(),
        &after.generation.to_be_bytes(),
        &after.salt,
        &lengths.0.to_be_bytes(),
        &lengths.1.to_be_bytes(),
    ];
    for (to, from) in out.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use crate::store::record::{SealedNode, seal_node};

    const INDEX: IndexId = IndexId([3; 16]);
    const NODE: NodeId = NodeId(9);

    fn secrets() -> Epochs {
        let secret = |byte| ReadSecret::new(&Secret::new([byte; 32]));
        Epochs::new(vec![(2, secret(2)), (1, secret(1))])
    }

    const fn sealing(epoch: u32, generation: u64, salt: u8) -> Sealing {
        Sealing { epoch, generation, salt: [salt; 24] }
    }

    /// A node of `rows` bytes of rows, sealed whole.
    fn whole(sealing: &Sealing, rows: usize) -> Vec<u8> {
        let (codes, rows) = ([7; 40], vec![8; rows]);
        let secrets = secrets();
        let secret = secrets.get(sealing.epoch).unwrap();
        seal_node(secret, INDEX, NODE, sealing, &codes, &rows, 65_536).unwrap().remove(0)
    }

    /// What is appended to a stored node for `bytes` of codes and of rows.
    fn delta(stored: &[u8], sealing: &Sealing, bytes: &[u8]) -> Vec<u8> {
        let tail = SealedNode::parse(INDEX, NODE, stored).unwrap().tail().unwrap();
        let secrets = secrets();
        let secret = secrets.get(sealing.epoch).unwrap();
        seal_delta(secret, INDEX, NODE, sealing, &tail, bytes, &bytes.repeat(30)).unwrap()
    }

    /// Three deltas, the second sealed in a later epoch, in an order of their own.
    fn grown(rows: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let first = whole(&sealing(1, 7, 1), rows);
        let (mut all, mut deltas) = (first.clone(), Vec::new());
        for (sealing, byte) in
            [(sealing(1, 8, 2), 10), (sealing(2, 9, 3), 11), (sealing(2, 20, 4), 12)]
        {
            let delta = delta(&all, &sealing, &[byte; 5]);
            all.extend_from_slice(&delta);
            deltas.push(delta);
        }
        (first, deltas)
    }

    fn open_as(index: IndexId, node: NodeId, stored: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let node = SealedNode::parse(index, node, stored)?;
        let cipher = node.cipher(&secrets())?;
        let (mut codes, mut rows) = (Vec::new(), Vec::new());
        node.open_codes(&cipher, &mut codes)?;
        for part in 0..node.row_parts() {
            let before = rows.len();
            node.open_rows(&cipher, part, &mut rows)?;
            let last = part + 1 == node.row_parts();
            assert!(last || rows.len() - before == crate::store::record::ROWS_PART);
        }
        assert!(node.open_rows(&cipher, node.row_parts(), &mut rows).is_err());
        Ok((codes, rows))
    }

    fn open(stored: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        open_as(INDEX, NODE, stored)
    }

    const DAMAGED: Result<(Vec<u8>, Vec<u8>)> = Err(Error::Integrity(Fault::Node));

    #[test]
    fn both_segments_go_on_with_what_was_appended() {
        // Parts of rows that end before, at and behind the seams.
        for rows in [0, 1, 68, 543, 544, 545, 1000, 2100] {
            let (mut stored, deltas) = grown(rows);
            let (mut codes, mut expected) = (vec![7; 40], vec![8; rows]);
            for (delta, byte) in deltas.iter().zip(10..) {
                assert_eq!(open(&stored), Ok((codes.clone(), expected.clone())));
                stored.extend_from_slice(delta);
                codes.extend([byte; 5]);
                expected.extend([byte; 150]);
            }
            assert_eq!(open(&stored), Ok((codes, expected)));
            let node = SealedNode::parse(INDEX, NODE, &stored).unwrap();
            assert_eq!(*node.sealing(), sealing(2, 20, 4), "the latest");
            assert_eq!(node.tail().unwrap().position, 3);
        }
    }

    #[test]
    fn deltas_open_only_where_they_were_appended() {
        let (first, deltas) = grown(100);
        let with = |order: &[usize]| {
            let deltas: Vec<&[u8]> = order.iter().map(|n| &*deltas[*n]).collect();
            open(&[&first, &deltas.concat()[..]].concat())
        };
        assert!(with(&[0, 1, 2]).is_ok());
        for order in [&[1][..], &[2], &[0, 2], &[1, 2], &[1, 0], &[0, 0], &[0, 1, 1], &[2, 1, 0]] {
            assert_eq!(with(order), DAMAGED, "{order:?}");
        }
        let stored = [&first, &deltas.concat()[..]].concat();
        assert_eq!(open_as(IndexId([4; 16]), NODE, &stored), DAMAGED);
        assert_eq!(open_as(INDEX, NodeId(8), &stored), DAMAGED);
        // What is left when the last ones are missing is an older node, and opens as one.
        assert!(with(&[]).is_ok() && with(&[0]).is_ok() && with(&[0, 1]).is_ok());
    }

    #[test]
    fn deltas_of_another_state_of_the_same_node_are_refused() {
        let (first, deltas) = grown(100);
        let other = whole(&sealing(1, 7, 9), 100);
        assert!(open(&other).is_ok());
        assert_eq!(open(&[&other, &deltas[0][..]].concat()), DAMAGED, "sealed whole again");
        // The node was put back to its first delta, and went on from there otherwise.
        let put_back = [&first, &deltas[0][..]].concat();
        let second = delta(&put_back, &sealing(2, 9, 30), &[9; 5]);
        let apart = [&put_back, &second[..]].concat();
        assert!(open(&apart).is_ok());
        assert_eq!(open(&[&apart, &deltas[2][..]].concat()), DAMAGED);
        // One that follows nothing: a generation that does not grow.
        let late = delta(&first, &sealing(1, 7, 5), &[9; 5]);
        assert_eq!(open(&[&first, &late[..]].concat()), DAMAGED);
    }

    #[test]
    fn every_changed_byte_and_every_cut_within_a_delta_is_refused() {
        let (first, deltas) = grown(100);
        let stored = [&first, &deltas.concat()[..]].concat();
        let seams: Vec<usize> = (0..=deltas.len())
            .map(|count| first.len() + deltas[..count].iter().map(Vec::len).sum::<usize>())
            .collect();
        for byte in first.len()..stored.len() {
            let mut bad = stored.clone();
            bad[byte] ^= 1;
            assert_eq!(open(&bad), DAMAGED, "byte {byte}");
            assert_eq!(open(&stored[..byte]).is_ok(), seams.contains(&byte), "cut at {byte}");
        }
        assert_eq!(open(&[&stored[..], &[0]].concat()), DAMAGED);
        assert!(open(&stored).is_ok());
    }

    #[test]
    fn a_node_in_several_values_has_no_deltas() {
        let secrets = secrets();
        let at = sealing(1, 7, 1);
        let secret = secrets.get(1).unwrap();
        let values = seal_node(secret, INDEX, NODE, &at, &[7; 40], &[8; 900], 500).unwrap();
        let joined = crate::store::record::join_node(&values[0], &values[1..]).unwrap();
        let node = SealedNode::parse(INDEX, NODE, &joined).unwrap();
        assert_eq!(node.tail(), None);
        assert!(open(&joined).is_ok());
        let (_, deltas) = grown(100);
        assert_eq!(open(&[&joined, &deltas[0][..]].concat()), DAMAGED);
    }
}
