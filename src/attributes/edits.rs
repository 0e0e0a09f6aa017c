//! Changing the attribute index: what a commit adds and takes away, block by block.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::block::{Block, COLUMN, DIRECTORY, POSTING, shape};
use super::words::Words;
use crate::commit::Changes;
use crate::config::Attributes;
use crate::crypto::fill_random;
use crate::crypto::kdf::Salt;
use crate::error::{Error, Fault, Result};
use crate::filter::Span;
use crate::handle::Shared;
use crate::id::ItemNumber;
use crate::keyring::Session;
use crate::store::key::{self, Kind, Pseudonym};
use crate::store::{Family, Snapshot};

/// Blocks that one thread takes at a time.
const SHARE: usize = 64;

/// Where a block is: kind, place and number.
pub(super) type At = (Kind, [u8; 16], u64);

/// One change inside a block.
#[derive(Debug, Clone, Copy)]
enum Edit {
    Add,
    Remove,
    Name(Pseudonym),
    Span(Option<Span>),
}

/// What a commit changes in the attribute index.
pub(crate) struct Edits<'a> {
    schema: &'a Attributes,
    postings: HashMap<Vec<u8>, Vec<(u64, Edit)>>,
    columns: HashMap<Vec<u8>, Vec<(u64, Edit)>>,
    directory: Vec<(u64, Edit)>,
}

impl<'a> Edits<'a> {
    /// `None`: there is no attribute index.
    pub(crate) fn new(schema: &'a Attributes) -> Option<Self> {
        schema.any().then(|| Self {
            schema,
            postings: HashMap::new(),
            columns: HashMap::new(),
            directory: Vec::new(),
        })
    }

    /// A new item.
    pub(crate) fn insert(&mut self, number: ItemNumber, item: Pseudonym, metadata: Option<&Value>) {
        self.directory.push((number.0, Edit::Name(item)));
        self.change(number, &Words::default(), &Words::of(metadata, self.schema));
    }

    /// An item that goes.
    pub(crate) fn remove(&mut self, number: ItemNumber, metadata: Option<&Value>) {
        self.directory.push((number.0, Edit::Name([0; 16])));
        self.change(number, &Words::of(metadata, self.schema), &Words::default());
    }

    /// An item whose metadata becomes another.
    pub(crate) fn replace(&mut self, number: ItemNumber, old: Option<&Value>, new: Option<&Value>) {
        if old != new {
            self.change(number, &Words::of(old, self.schema), &Words::of(new, self.schema));
        }
    }

    /// An item whose metadata nobody can read.
    pub(super) fn insert_unlisted(&mut self, number: ItemNumber, item: Pseudonym) {
        self.directory.push((number.0, Edit::Name(item)));
        let unlisted = [super::words::UNLISTED.to_vec()].into();
        let words = Words { postings: unlisted, ..Words::default() };
        self.change(number, &Words::default(), &words);
    }

    fn change(&mut self, ItemNumber(number): ItemNumber, old: &Words, new: &Words) {
        let mut post = |word: &Vec<u8>, edit| match self.postings.get_mut(word) {
            Some(edits) => edits.push((number, edit)),
            None => drop(self.postings.insert(word.clone(), vec![(number, edit)])),
        };
        old.postings.difference(&new.postings).for_each(|word| post(word, Edit::Remove));
        new.postings.difference(&old.postings).for_each(|word| post(word, Edit::Add));
        for field in old.columns.keys().chain(new.columns.keys()) {
            let (before, after) = (old.columns.get(field), new.columns.get(field));
            if before != after {
                let edit = Edit::Span(after.copied());
                self.columns.entry(field.clone()).or_default().push((number, edit));
            }
        }
    }

    /// Those of another share of the same commit.
    pub(crate) fn append(&mut self, other: Self) {
        for (word, edits) in other.postings {
            self.postings.entry(word).or_default().extend(edits);
        }
        for (field, edits) in other.columns {
            self.columns.entry(field).or_default().extend(edits);
        }
        self.directory.extend(other.directory);
    }

    /// The edits, by block.
    fn by_block(self, key: &Session) -> BTreeMap<At, Vec<(u64, Edit)>> {
        let mut blocks: BTreeMap<At, Vec<(u64, Edit)>> = BTreeMap::new();
        let mut put = |kind, place, width: u64, edits: Vec<(u64, Edit)>| {
            for (number, edit) in edits {
                let block = blocks.entry((kind, place, number / width)).or_default();
                block.push((number % width, edit));
            }
        };
        for (word, edits) in self.postings {
            put(Kind::Posting, key.names.attribute(&word), POSTING, edits);
        }
        for (field, edits) in self.columns {
            put(Kind::Column, key.names.attribute(&field), COLUMN, edits);
        }
        put(Kind::Directory, [0; 16], DIRECTORY, self.directory);
        // A column takes numbers in their order faster. Stable: of two edits of one, the last counts.
        for edits in blocks.values_mut() {
            edits.sort_by_key(|(offset, _)| *offset);
        }
        blocks
    }

    /// Reads the blocks, changes them, and seals them for the commit with this sequence.
    pub(crate) fn apply(
        self,
        snapshot: &dyn Snapshot,
        key: &Session,
        shared: &Shared,
        sequence: u64,
        changes: &mut Changes,
    ) -> Result<()> {
        let blocks: Vec<_> = self.by_block(key).into_iter().collect();
        let keys: Vec<Vec<u8>> = blocks
            .iter()
            .map(|((kind, place, block), _)| key::attribute(key.index, *kind, place, *block))
            .collect();
        let stored = snapshot.multi_get(Family::Attributes, &keys)?;
        let work: Vec<_> = blocks.into_iter().zip(keys).zip(stored).collect();
        let sealed = shared.map(work.chunks(SHARE).collect(), |share: &[_]| {
            let mut changes = Changes::new();
            let mut salts: Vec<Salt> = vec![[0; 24]; share.len()];
            fill_random(salts.as_flattened_mut())?;
            for ((((at, edits), place), stored), salt) in share.iter().zip(&salts) {
                let mut block = match stored {
                    Some(stored) => open(key, *at, stored)?,
                    None => Block::empty(at.0),
                };
                edit(&mut block, edits)?;
                let new = block.encode(at.2).map(|plain| seal(key, *at, sequence, salt, &plain));
                let old = stored.as_deref();
                match new.transpose()? {
                    Some(new) => changes.put(Family::Attributes, place.clone(), old, new),
                    None => changes.delete(Family::Attributes, place.clone(), old),
                }
            }
            Ok(changes)
        })?;
        for sealed in sealed {
            changes.append(sealed);
        }
        Ok(())
    }

    /// What the blocks hold of an index that has these items and no others.
    pub(super) fn expected(self, key: &Session) -> Result<BTreeMap<At, Block>> {
        let blocks = self.by_block(key).into_iter();
        let made = blocks.map(|(at, edits)| {
            let mut block = Block::empty(at.0);
            edit(&mut block, &edits)?;
            Ok((at, block))
        });
        made.collect()
    }
}

/// Puts a new attribute index in the place of whatever is there. `items` gives the number, the
/// pseudonym and the metadata of every item; the outer `None`: nobody can read it.
pub(crate) fn rebuild(
    snapshot: &dyn Snapshot,
    key: &Session,
    sequence: u64,
    items: impl IntoIterator<Item = (ItemNumber, Pseudonym, Option<Option<Value>>)>,
    changes: &mut Changes,
) -> Result<()> {
    snapshot.scan(Family::Attributes, &key.index.0, &key.index.0, &mut |place, stored| {
        changes.delete(Family::Attributes, place.to_vec(), Some(stored));
        std::ops::ControlFlow::Continue(())
    })?;
    let Some(mut edits) = Edits::new(&key.table.config.attributes) else { return Ok(()) };
    for (number, item, metadata) in items {
        match metadata {
            Some(metadata) => edits.insert(number, item, metadata.as_ref()),
            None => edits.insert_unlisted(number, item),
        }
    }
    for (at, block) in edits.expected(key)? {
        let mut salt = [0; 24];
        fill_random(&mut salt)?;
        if let Some(plain) = block.encode(at.2) {
            let sealed = seal(key, at, sequence, &salt, &plain)?;
            let place = key::attribute(key.index, at.0, &at.1, at.2);
            changes.put(Family::Attributes, place, None, sealed);
        }
    }
    Ok(())
}

fn seal(key: &Session, at: At, sequence: u64, salt: &Salt, plain: &[u8]) -> Result<Vec<u8>> {
    let shape = shape(at.0);
    let place = shape.place(key.index, key.table.epoch(), logical(at), sequence);
    Ok(shape.seal(key.current_secret()?, &place, salt, plain))
}

/// Seals a stored block again as it is, under the current epoch.
pub(crate) fn reseal(key: &Session, place: &[u8], stored: &[u8]) -> Result<Vec<u8>> {
    let at = key::attribute_of(place).ok_or(Error::Integrity(Fault::Attribute))?;
    let mut salt = [0; 24];
    fill_random(&mut salt)?;
    let epoch = key.table.epoch();
    shape(at.0).reseal(&key.epochs, epoch, key.index, logical(at), stored, &salt)
}

/// Opens a stored block.
pub(super) fn open(key: &Session, at: At, stored: &[u8]) -> Result<Block> {
    let mut plain = Vec::new();
    open_into(key, at, stored, &mut plain)?;
    Block::decode(at.0, at.2, &plain).ok_or(Error::Integrity(Fault::Attribute))
}

/// Opens a stored block that is still to be decoded. It is not of a commit after the head.
pub(super) fn open_into(key: &Session, at: At, stored: &[u8], plain: &mut Vec<u8>) -> Result<()> {
    let kind = at.0;
    let written = shape(kind).open_into(&key.epochs, key.index, logical(at), stored, plain)?;
    let known = written <= key.head.commit.sequence;
    known.then_some(()).ok_or(Error::Integrity(Fault::Attribute))
}

/// What a block is sealed as: its place, or for the directory its number.
fn logical((kind, place, block): At) -> [u8; 16] {
    match kind {
        Kind::Directory => key::number_id(block),
        _ => place,
    }
}

/// Makes the changes. What is to go must be there, and what is to come must not.
fn edit(block: &mut Block, edits: &[(u64, Edit)]) -> Result<()> {
    let damaged = || Error::Integrity(Fault::Attribute);
    for (offset, edit) in edits {
        let place = usize::try_from(*offset).unwrap_or(usize::MAX);
        let sound = match (&mut *block, edit) {
            (Block::Posting(bits), Edit::Add) => bits.insert(*offset),
            (Block::Posting(bits), Edit::Remove) => bits.remove(*offset),
            (Block::Directory(items), Edit::Name(item)) => {
                let old = items.get_mut(place).ok_or_else(damaged)?;
                let sound = (*old == [0; 16]) != (*item == [0; 16]);
                *old = *item;
                sound
            }
            (Block::Column(column), Edit::Span(span)) => column.set(*offset, *span),
            _ => false,
        };
        if !sound {
            return Err(damaged());
        }
    }
    Ok(())
}
