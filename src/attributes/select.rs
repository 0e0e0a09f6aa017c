//! Selecting by the attribute index: from a filter to a set of item numbers.
//!
//! Each condition that the index knows gives its exact set; `And`, `Or` and `Not` are set algebra,
//! and a set may be kept as what is *not* in it, so that a negation costs nothing. A condition the
//! index does not know makes the set larger: in an `And` the others still bound it, in an `Or` or
//! under a `Not` nothing does.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::Value;

use super::block::{Block, COLUMN, DIRECTORY, passing};
use super::edits::{open, open_into};
use super::numbers::Numbers;
use super::words::{UNLISTED, column, posting};
use crate::config::{Attribute, Attributes};
use crate::error::{Error, Fault, Result};
use crate::filter::{Filter, Node, Path, Predicate, is_field, word};
use crate::keyring::Session;
use crate::store::key::{self, Kind, Pseudonym};
use crate::store::{Family, Snapshot};

/// Values of an `$in` that are looked up; with more the metadata is read.
const MOST_VALUES: usize = 4096;

/// Items that a filter may select: all that it selects, and perhaps others.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    numbers: Numbers,
    /// All items but those.
    inverted: bool,
    /// No others.
    exact: bool,
}

impl Selected {
    const fn new(numbers: Numbers) -> Self {
        Self { numbers, inverted: false, exact: true }
    }

    /// Every item, some of which the filter may not select.
    fn unknown() -> Self {
        Self { numbers: Numbers::default(), inverted: true, exact: false }
    }

    fn none() -> Self {
        Self::new(Numbers::default())
    }

    /// Whether the metadata need not be asked.
    pub(crate) const fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether it says nothing about any item.
    pub(crate) fn is_unknown(&self) -> bool {
        self.inverted && !self.exact && self.numbers.is_empty()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.numbers.contains(number) != self.inverted
    }

    /// How many, of so many items.
    pub(crate) fn count(&self, items: u64) -> u64 {
        let listed = self.numbers.len();
        if self.inverted { items.saturating_sub(listed) } else { listed.min(items) }
    }

    /// The numbers, of all there are.
    pub(crate) fn numbers(&self, snapshot: &dyn Snapshot, key: &Session) -> Result<Numbers> {
        if !self.inverted {
            return Ok(self.numbers.clone());
        }
        let mut all = everything(snapshot, key)?;
        all.subtract(&self.numbers);
        Ok(all)
    }

    fn inverted(self) -> Self {
        if self.exact { Self { inverted: !self.inverted, ..self } } else { Self::unknown() }
    }

    fn and(mut self, other: Self) -> Self {
        let exact = self.exact && other.exact;
        match (self.inverted, other.inverted) {
            (false, false) => self.numbers.intersect(&other.numbers),
            (false, true) => self.numbers.subtract(&other.numbers),
            (true, false) => return Self { exact, ..other.and(Self { exact, ..self }) },
            (true, true) => self.numbers.unite(&other.numbers),
        }
        Self { exact, ..self }
    }

    fn or(self, other: Self) -> Self {
        let exact = self.exact && other.exact;
        let flipped = |set: Self| Self { inverted: !set.inverted, exact: true, ..set };
        let both = flipped(self).and(flipped(other));
        Self { exact, ..flipped(both) }
    }

    fn is_none(&self) -> bool {
        !self.inverted && self.numbers.is_empty()
    }
}

/// What tells of many items whether they may be selected.
pub(crate) struct Sift<'a> {
    selected: &'a Selected,
    /// The numbers as one array, if it is not much longer than they are.
    words: Option<Vec<u64>>,
}

impl<'a> Sift<'a> {
    pub(crate) fn new(selected: &'a Selected) -> Self {
        Self { selected, words: selected.numbers.to_words() }
    }

    /// Appends the places of the numbers that may be selected. Each is written, and kept or written
    /// over: which of them pass no processor guesses.
    pub(crate) fn sift(&self, numbers: &[[u8; 4]], places: &mut Vec<u32>) {
        let mut end = places.len();
        places.resize(end + numbers.len(), 0);
        let mut keep = |place: u32, passes: bool| {
            if let Some(slot) = places.get_mut(end) {
                *slot = place;
            }
            end += usize::from(passes);
        };
        let numbers = (0u32..).zip(numbers.iter().map(|number| u32::from_be_bytes(*number)));
        if let Some(words) = &self.words {
            let inverted = u64::from(self.selected.inverted);
            for (place, number) in numbers {
                let word = words.get(number as usize / 64).copied().unwrap_or_default();
                keep(place, word >> (number % 64) & 1 != inverted);
            }
        } else {
            for (place, number) in numbers {
                keep(place, self.selected.contains(number.into()));
            }
        }
        places.truncate(end);
    }
}

/// Reads the attribute index for a filter. Reads nothing if there is no attribute index.
pub(crate) fn select(snapshot: &dyn Snapshot, key: &Session, filter: &Filter) -> Result<Selected> {
    let schema = &key.table.config.attributes;
    if !schema.any() {
        return Ok(Selected::unknown());
    }
    let lookup = Lookup { snapshot, key, schema };
    let set = lookup.node(filter.whole()?)?;
    if set.is_unknown() {
        return Ok(set);
    }
    // Of unlisted items nothing is known, whatever was asked.
    let unlisted = lookup.posting(UNLISTED)?;
    if unlisted.is_none() {
        return Ok(set);
    }
    Ok(Selected { exact: false, ..set.or(unlisted) })
}

#[derive(Clone, Copy)]
struct Lookup<'a> {
    snapshot: &'a dyn Snapshot,
    key: &'a Session,
    schema: &'a Attributes,
}

impl Lookup<'_> {
    fn node(self, node: &Node) -> Result<Selected> {
        match node {
            Node::And(nodes) => self.all(nodes),
            Node::Or(nodes) => {
                let mut any = Selected::none();
                for node in nodes {
                    any = any.or(self.node(node)?);
                    if any.is_unknown() {
                        break;
                    }
                }
                Ok(any)
            }
            Node::Not(inner) => Ok(self.node(inner)?.inverted()),
            Node::Test(path, predicate) => self.test(path, predicate),
        }
    }

    /// The cheapest first, for nothing need be read once nothing is left.
    fn all(self, nodes: &[Node]) -> Result<Selected> {
        let mut nodes: Vec<&Node> = nodes.iter().collect();
        nodes.sort_by_key(|node| match node {
            Node::Test(_, Predicate::Eq(_)) => 0,
            Node::Test(_, Predicate::In(_)) => 1,
            Node::Test(..) => 2,
            Node::And(_) | Node::Or(_) | Node::Not(_) => 3,
        });
        let mut all = Selected { exact: true, ..Selected::unknown() };
        for node in nodes {
            all = all.and(self.node(node)?);
            if all.is_none() {
                return Ok(Selected::none());
            }
        }
        Ok(all)
    }

    fn test(self, path: &Path, predicate: &Predicate) -> Result<Selected> {
        if !is_field(path) {
            return Ok(Selected::unknown());
        }
        let kind = self.schema.of(path.text());
        match predicate {
            _ if kind == Attribute::Off => Ok(Selected::unknown()),
            Predicate::Eq(value) => self.equal(path, value),
            Predicate::In(values) if values.len() <= MOST_VALUES => {
                let mut any = Selected::none();
                for value in values {
                    any = any.or(self.equal(path, value)?);
                    if any.is_unknown() {
                        break;
                    }
                }
                Ok(any)
            }
            Predicate::Than(than, Value::Number(bound)) if kind == Attribute::Range => {
                let mut found = Numbers::default();
                self.blocks(Kind::Column, &column(path.text()), &mut |block, plain| {
                    let mut known = true;
                    let first = block.checked_mul(COLUMN)?;
                    let sound = passing(block, plain, *than, bound, &mut |place, bits| {
                        let number = first.checked_add(place * 64);
                        known &= number.is_some_and(|number| found.insert_word(number, bits));
                    });
                    (sound && known).then_some(())
                })?;
                Ok(Selected::new(found))
            }
            // A missing field and null are the same to `$eq`, and missing fields are not listed.
            _ => Ok(Selected::unknown()),
        }
    }

    fn equal(self, path: &Path, value: &Value) -> Result<Selected> {
        match word(value) {
            Some(word) => self.posting(&posting(path.text(), &word)),
            None => Ok(Selected::unknown()),
        }
    }

    fn posting(self, word: &[u8]) -> Result<Selected> {
        let mut found = Numbers::default();
        self.blocks(Kind::Posting, word, &mut |block, plain| {
            let Block::Posting(bits) = Block::decode(Kind::Posting, block, plain)? else {
                return None;
            };
            found.add_block(block, &bits).then_some(())
        })?;
        Ok(Selected::new(found))
    }

    /// Opens every block of a word or field.
    fn blocks(
        self,
        kind: Kind,
        word: &[u8],
        take: &mut dyn FnMut(u64, &[u8]) -> Option<()>,
    ) -> Result<()> {
        visit(self.snapshot, self.key, kind, &self.key.names.attribute(word), take)
    }
}

/// Opens every block of a place; `take` gives `None` for one that is none.
fn visit(
    snapshot: &dyn Snapshot,
    key: &Session,
    kind: Kind,
    place: &[u8; 16],
    take: &mut dyn FnMut(u64, &[u8]) -> Option<()>,
) -> Result<()> {
    let damaged = || Error::Integrity(Fault::Attribute);
    let mut plain = Vec::new();
    let prefix = key::attribute_blocks(key.index, kind, place);
    let mut outcome = Ok(());
    snapshot.scan(Family::Attributes, &prefix, &prefix, &mut |found, stored| {
        let at = key::attribute_of(found).filter(|(of, at, _)| *of == kind && at == place);
        outcome = at.ok_or_else(damaged).and_then(|(_, _, block)| {
            open_into(key, (kind, *place, block), stored, &mut plain)?;
            take(block, &plain).ok_or_else(damaged)
        });
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}

/// The numbers of all items.
fn everything(snapshot: &dyn Snapshot, key: &Session) -> Result<Numbers> {
    let mut all = Numbers::default();
    visit(snapshot, key, Kind::Directory, &[0; 16], &mut |block, plain| {
        let Block::Directory(items) = Block::decode(Kind::Directory, block, plain)? else {
            return None;
        };
        let first = block.checked_mul(DIRECTORY)?;
        let there = (0u64..).zip(items).filter(|(_, item)| *item != [0; 16]);
        for (offset, _) in there {
            all.insert(first.checked_add(offset)?).then_some(())?;
        }
        Some(())
    })?;
    if all.len() == key.head.commit.item_count {
        Ok(all)
    } else {
        Err(Error::Integrity(Fault::Attribute))
    }
}

/// The pseudonyms behind numbers, in ascending order of the numbers.
pub(crate) fn resolve(
    snapshot: &dyn Snapshot,
    key: &Session,
    numbers: &[u64],
) -> Result<Vec<Pseudonym>> {
    let damaged = || Error::Integrity(Fault::Attribute);
    let mut blocks: BTreeMap<u64, Vec<Pseudonym>> = BTreeMap::new();
    for number in numbers {
        blocks.entry(number / DIRECTORY).or_default();
    }
    let keys: Vec<Vec<u8>> = blocks
        .keys()
        .map(|block| key::attribute(key.index, Kind::Directory, &[0; 16], *block))
        .collect();
    let stored = snapshot.multi_get(Family::Attributes, &keys)?;
    for ((block, items), stored) in blocks.iter_mut().zip(stored) {
        let at = (Kind::Directory, [0; 16], *block);
        match open(key, at, &stored.ok_or_else(damaged)?)? {
            Block::Directory(opened) => *items = opened,
            _ => return Err(damaged()),
        }
    }
    let item = |number: &u64| {
        let offset = usize::try_from(number % DIRECTORY).ok()?;
        let item = blocks.get(&(number / DIRECTORY))?.get(offset)?;
        (*item != [0; 16]).then_some(*item)
    };
    numbers.iter().map(|number| item(number).ok_or_else(damaged)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sifted_are_the_places_of_what_is_selected() {
        // Close together, and so far apart that no array holds them.
        for far in [9000, u32::MAX] {
            let mut numbers = Numbers::default();
            let listed = [0, 3, 4095, 4096, 9000, far];
            assert!(listed.iter().all(|number| numbers.insert(u64::from(*number))));
            let tags = [3, 1, 4096, 9001, 9000, u32::MAX, 0, 4097, 20_000];
            for inverted in [false, true] {
                let set = Selected { inverted, ..Selected::new(numbers.clone()) };
                let sift = Sift::new(&set);
                assert_eq!(sift.words.is_some(), far == 9000);
                let passes = (0u32..).zip(tags).filter(|(_, tag)| listed.contains(tag) != inverted);
                let places: Vec<u32> = passes.map(|(place, _)| place).collect();
                // Onto what is there.
                let mut found = vec![77];
                sift.sift(&tags.map(u32::to_be_bytes), &mut found);
                assert_eq!(found, [&[77], &places[..]].concat());
                sift.sift(&[], &mut found);
                assert_eq!(found.len(), places.len() + 1);
            }
        }
    }
}
