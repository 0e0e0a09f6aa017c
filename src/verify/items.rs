//! Items and what they own: every record, every stored value, and nothing beside them.
//!
//! A share of the items is checked by itself: records in key order, and the three fields of the
//! payload in the same order beside them. So a value that is missing shows, and one that belongs to
//! no record does too. Memory is [`BATCH`] records and the values of one field of one item.

use std::ops::ControlFlow;

use super::tally::Tally;
use super::{Run, strangers};
use crate::crypto::sethash::Element;
use crate::error::{Error, Fault, Result};
use crate::index::{Span, decode_vector, open_item};
use crate::store::Family;
use crate::store::key::{self, Kind, Pseudonym};
use crate::store::record::{Field, ItemRecord, hash_values};
use crate::tree::{Home, MAX_TREE_DIMENSION};
use crate::vector;

const BATCH: usize = 512;

/// An item of a batch; no record if it does not open, which is counted then.
struct Owner {
    pseudonym: Pseudonym,
    record: Option<ItemRecord>,
    /// As stored, of an item that the attribute index lists.
    metadata: Option<serde_json::Value>,
}

/// A stretch of pseudonyms: after the last of the batch before, up to the last of this one.
struct Stretch {
    from: Vec<u8>,
    after: Option<Pseudonym>,
    upto: Upto,
}

#[derive(Clone, Copy)]
enum Upto {
    Pseudonym(Pseudonym),
    FirstByte(u8),
}

impl Stretch {
    /// Whether what follows the kind in a key is in it: `Break` beyond it, `Continue(false)` before.
    fn holds(&self, rest: &[u8]) -> ControlFlow<(), bool> {
        let start = rest.get(..16).unwrap_or(rest);
        let beyond = match self.upto {
            Upto::Pseudonym(last) => start > &last[..],
            Upto::FirstByte(last) => start.first().is_some_and(|first| *first > last),
        };
        if beyond {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(self.after.is_none_or(|after| start != &after[..]))
    }
}

/// Checks the items of a share.
pub(super) fn share(run: Run<'_>, span: Span) -> Result<Tally> {
    let (first, last) = span.bytes();
    let mut tally = Tally::default();
    let prefix = key::items(run.key.index);
    let start = if first == 0 { Vec::new() } else { vec![first] };
    let mut from = [&prefix[..], &start].concat();
    let mut stretch = Stretch { from: start, after: None, upto: Upto::FirstByte(last) };
    loop {
        let mut stored: Vec<(Pseudonym, Vec<u8>)> = Vec::with_capacity(BATCH);
        let mut seen = None;
        run.snapshot.scan(Family::Items, &prefix, &from, &mut |found, value| {
            let rest = found.get(prefix.len()..).unwrap_or_default();
            if rest.first().is_some_and(|first| *first > last) {
                return ControlFlow::Break(());
            }
            tally.set.add(&Element::new(found, value));
            match key::pseudonym_of(found) {
                Some(pseudonym) => stored.push((pseudonym, value.to_vec())),
                None => tally.fault(Fault::ItemRecord, None),
            }
            seen = Some(found.to_vec());
            if stored.len() == BATCH { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let whole = stored.len() < BATCH;
        let mut plain = Vec::new();
        let mut owners = Vec::with_capacity(stored.len());
        for (pseudonym, value) in &stored {
            owners.push(owner(run, pseudonym, value, &mut plain, &mut tally)?);
        }
        stretch.upto = match owners.last() {
            Some(owner) if !whole => Upto::Pseudonym(owner.pseudonym),
            _ => Upto::FirstByte(last),
        };
        for field in Field::ALL {
            payload(run, field, &mut owners, &stretch, &mut tally)?;
        }
        for owner in &mut owners {
            let Some(record) = owner.record.as_ref().filter(|_| run.indexed) else { continue };
            tally.indexed.push((record.number, owner.pseudonym, owner.metadata.take()));
        }
        let (Some(at), Some(owner), false) = (seen, owners.last(), whole) else { return Ok(tally) };
        from = [&at[..], &[0]].concat();
        stretch.from = owner.pseudonym.to_vec();
        stretch.after = Some(owner.pseudonym);
    }
}

/// Checks an item record by itself.
fn owner(
    run: Run<'_>,
    pseudonym: &Pseudonym,
    stored: &[u8],
    plain: &mut Vec<u8>,
    tally: &mut Tally,
) -> Result<Owner> {
    tally.items = tally.items.saturating_add(1);
    let opened = open_item(run.key, pseudonym, stored, plain);
    let record = tally.note(opened, Fault::ItemRecord, None)?;
    if let Some(record) = &record {
        let place = Some(record.number.0);
        let commit = &run.key.head.commit;
        if run.key.names.item(&record.id) != *pseudonym || record.number.0 >= commit.next_item {
            tally.fault(Fault::ItemRecord, place);
        }
        let tree = run.key.dimension().is_some_and(|dimension| dimension <= MAX_TREE_DIMENSION);
        match Home::from_leaves(&record.leaves) {
            Some(home) if tree => tally.spilled += u64::from(home.second.is_some()),
            None if !tree && record.leaves.is_empty() => {}
            _ => tally.fault(Fault::Node, place),
        }
        tally.bytes = tally.bytes.saturating_add(record.size());
        tally.numbers.push(record.number.0);
    }
    Ok(Owner { pseudonym: *pseudonym, record, metadata: None })
}

/// Checks the stored values of one field of all items of a stretch.
fn payload(
    run: Run<'_>,
    field: Field,
    owners: &mut [Owner],
    stretch: &Stretch,
    tally: &mut Tally,
) -> Result<()> {
    let prefix = key::payloads_of(run.key.index, field.kind());
    let from = [&prefix[..], &stretch.from].concat();
    let mut left = owners.iter_mut().peekable();
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut buffers = Buffers::default();
    let mut failed = None;
    run.snapshot.scan(Family::Payload, &prefix, &from, &mut |found, value| {
        match stretch.holds(found.get(prefix.len()..).unwrap_or_default()) {
            ControlFlow::Break(()) => return ControlFlow::Break(()),
            ControlFlow::Continue(false) => return ControlFlow::Continue(()),
            ControlFlow::Continue(true) => {}
        }
        tally.payload_values = tally.payload_values.saturating_add(1);
        let Some((pseudonym, part)) = key::payload_of(found) else {
            tally.fault(Fault::Payload, None);
            return ControlFlow::Continue(());
        };
        while let Some(owner) = left.next_if(|owner| owner.pseudonym < pseudonym) {
            if let Err(error) = whole(run, field, owner, &parts, &mut buffers, tally) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            parts.clear();
        }
        let owner = left.peek().filter(|owner| owner.pseudonym == pseudonym);
        match owner.map(|owner| owner.record.as_ref()) {
            // Whose record does not open, which is counted already.
            Some(None) => {}
            Some(Some(record)) => {
                let due = record.extent(field).is_some_and(|extent| part < extent.parts)
                    && usize::try_from(part) == Ok(parts.len());
                if due {
                    parts.push(value.to_vec());
                } else {
                    tally.fault(Fault::Payload, Some(record.number.0));
                }
            }
            None => tally.fault(Fault::Payload, None),
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    for owner in left {
        whole(run, field, owner, &parts, &mut buffers, tally)?;
        parts.clear();
    }
    Ok(())
}

#[derive(Default)]
struct Buffers {
    plain: Vec<u8>,
    vector: Vec<f32>,
}

/// Checks a field of an item by all of its stored values.
fn whole(
    run: Run<'_>,
    field: Field,
    owner: &mut Owner,
    parts: &[Vec<u8>],
    buffers: &mut Buffers,
    tally: &mut Tally,
) -> Result<()> {
    let Some(record) = &owner.record else { return Ok(()) };
    let place = Some(record.number.0);
    let opened = open(run, field, &owner.pseudonym, record, parts, buffers);
    let opened = tally.note(opened, Fault::Payload, place)?;
    if let Some(metadata) = opened.filter(|_| field == Field::Metadata && run.indexed) {
        owner.metadata = metadata;
    }
    Ok(())
}

fn open(
    run: Run<'_>,
    field: Field,
    pseudonym: &Pseudonym,
    record: &ItemRecord,
    parts: &[Vec<u8>],
    buffers: &mut Buffers,
) -> Result<Option<serde_json::Value>> {
    let damaged = || Error::Integrity(Fault::Payload);
    let Some(extent) = record.extent(field) else { return Ok(None) };
    if hash_values(parts) != extent.hash {
        return Err(damaged());
    }
    let cipher = record.payload_cipher(&run.key.epochs, run.key.index, pseudonym)?;
    let Buffers { plain, vector } = buffers;
    plain.clear();
    cipher.open_onto(field, extent, parts, plain)?;
    match field {
        Field::Contents => Ok(None),
        Field::Metadata => serde_json::from_slice(plain).map(Some).map_err(|_| damaged()),
        Field::Vector => {
            decode_vector(run.key, plain, vector)?;
            let config = &run.key.table.config;
            vector::check(vector, vector.len(), config.metric, config.precision)
                .map(|()| None)
                .map_err(|_| damaged())
        }
    }
}

/// Records of the items and payload families that are of no kind.
pub(super) fn others(run: Run<'_>) -> Result<Tally> {
    let mut tally = strangers(run, Family::Items, &[Kind::Item], Fault::ItemRecord)?;
    let fields = Field::ALL.map(Field::kind);
    tally.absorb(strangers(run, Family::Payload, &fields, Fault::Payload)?);
    Ok(tally)
}
