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
use super::node::{NODE_FORMAT, Sealing, widen};
use crate::codec::{Reader, Writer};
use crate::crypto::aead::{Cipher, TAG, part_nonce};
use crate::crypto::kdf::{Place, Purpose, ReadSecret};
use crate::error::{Error, Fault, Result};
use crate::id::{IndexId, NodeId};
use crate::store::key::{self, Kind};

/// Bytes that a delta takes besides codes and rows.
pub(crate) const DELTA: usize = HEADER + TAG;

const HEADER: usize = 44;
const FIELD: u8 = 3;
const AAD: usize = Place::LENGTH + 42;

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
    let place = place(index, key::number_id(node.0), sealing);
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
        if sealing.generation <= generation {
            return None;
        }
        generation = sealing.generation;
        deltas.push(Delta { sealing, codes, rows, start });
    }
    Some(deltas)
}

/// Opens all deltas of a node: codes and rows of the first, then of the next.
pub(super) fn open(
    secrets: &Epochs,
    index: IndexId,
    node: [u8; 16],
    whole: &Sealing,
    deltas: &[Delta],
    stored: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let length = deltas.iter().map(|delta| widen(delta.codes) + widen(delta.rows)).sum();
    // Large enough from the start, so that no copy is left behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    let mut after = whole;
    for (position, delta) in (0u16..).zip(deltas) {
        let opened = open_one(secrets, index, node, after, position, delta, stored, &mut plain);
        if opened != Some(true) {
            return Err(Error::Integrity(Fault::Node));
        }
        after = &delta.sealing;
    }
    if usize::from(u16::MAX) < deltas.len() {
        return Err(Error::Integrity(Fault::Node));
    }
    Ok(plain)
}

#[expect(clippy::too_many_arguments, reason = "the fields of the AAD, each from elsewhere")]
fn open_one(
    secrets: &Epochs,
    index: IndexId,
    node: [u8; 16],
    after: &Sealing,
    position: u16,
    delta: &Delta,
    stored: &[u8],
    out: &mut Vec<u8>,
) -> Option<bool> {
    let Delta { sealing, codes, rows, start } = delta;
    let place = place(index, node, sealing);
    let key = secrets.get(sealing.epoch)?.single_use(Purpose::Node, &place, &sealing.salt);
    let sealed = stored.get(*start..)?.get(..sealed(*codes, *rows)?)?;
    let aad = aad(&place, position, after, (*codes, *rows));
    Some(Cipher::new(&key).open_onto(&nonce(position), &aad, sealed, out))
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

fn place(index: IndexId, node: [u8; 16], sealing: &Sealing) -> Place {
    Place {
        format: NODE_FORMAT,
        index,
        epoch: sealing.epoch,
        kind: Kind::Node as u8,
        id: node,
        version: sealing.generation,
    }
}
