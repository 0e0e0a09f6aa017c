//! A set of item numbers: bitmaps of the width of a posting's block, side by side.
//!
//! Item numbers are handed out one after the other, so a plain array of blocks is short, and a
//! lookup is two loads.

use std::iter;

use super::block::{Bits, POSTING};

/// Blocks there are at most: 2^36 items.
const MOST: usize = 1 << 24;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    blocks: Vec<Option<Box<Bits>>>,
}

impl Numbers {
    /// The number of them.
    pub(crate) fn len(&self) -> u64 {
        self.blocks.iter().flatten().map(|bits| bits.len()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.iter().flatten().all(|bits| bits.len() == 0)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let (block, offset) = (number / POSTING, number % POSTING);
        let block = usize::try_from(block).ok().and_then(|block| self.blocks.get(block));
        block.and_then(Option::as_ref).is_some_and(|bits| bits.contains(offset))
    }

    /// Adds the numbers of a block. False if no block can be so far out.
    #[must_use]
    pub(crate) fn add_block(&mut self, block: u64, bits: &Bits) -> bool {
        let Some(place) = self.place(block) else { return false };
        place.get_or_insert_default().unite(bits);
        true
    }

    /// Adds one number. False if no number can be so high.
    #[must_use]
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let Some(place) = self.place(number / POSTING) else { return false };
        place.get_or_insert_default().insert(number % POSTING);
        true
    }

    /// Adds up to 64 numbers, from `number`, which is a multiple of 64, by their bits.
    #[must_use]
    pub(crate) fn insert_word(&mut self, number: u64, bits: u64) -> bool {
        let Some(place) = self.place(number / POSTING) else { return false };
        place.get_or_insert_default().insert_word(number % POSTING, bits);
        true
    }

    /// As one array of bits, the lowest first; `None` if it would be over twice as long as they are here.
    pub(crate) fn to_words(&self) -> Option<Vec<u64>> {
        let held = self.blocks.iter().flatten().count();
        (self.blocks.len() <= held * 2).then(|| {
            let none = Bits::default();
            let blocks = self.blocks.iter().map(|bits| bits.as_deref().unwrap_or(&none).words());
            blocks.flatten().copied().collect()
        })
    }

    fn place(&mut self, block: u64) -> Option<&mut Option<Box<Bits>>> {
        let block = usize::try_from(block).ok().filter(|block| *block < MOST)?;
        if self.blocks.len() <= block {
            self.blocks.resize(block + 1, None);
        }
        self.blocks.get_mut(block)
    }

    pub(crate) fn unite(&mut self, other: &Self) {
        if self.blocks.len() < other.blocks.len() {
            self.blocks.resize(other.blocks.len(), None);
        }
        for (own, other) in self.blocks.iter_mut().zip(&other.blocks) {
            if let Some(other) = other {
                own.get_or_insert_default().unite(other);
            }
        }
    }

    pub(crate) fn intersect(&mut self, other: &Self) {
        let others = other.blocks.iter().map(Option::as_ref).chain(iter::repeat(None));
        for (own, other) in self.blocks.iter_mut().zip(others) {
            match (&mut *own, other) {
                (Some(bits), Some(other)) => bits.intersect(other),
                (own, _) => *own = None,
            }
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (own, other) in self.blocks.iter_mut().zip(&other.blocks) {
            if let (Some(own), Some(other)) = (own, other) {
                own.subtract(other);
            }
        }
    }

    /// In ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let blocks = (0u64..).zip(&self.blocks);
        let blocks = blocks.filter_map(|(block, bits)| Some((block, bits.as_ref()?)));
        blocks.flat_map(|(block, bits)| bits.iter().map(move |offset| block * POSTING + offset))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(set: &BTreeSet<u64>) -> Numbers {
        let mut out = Numbers::default();
        assert!(set.iter().all(|number| out.insert(*number)));
        out
    }

    #[test]
    fn a_number_that_no_index_hands_out_is_refused() {
        let mut numbers = Numbers::default();
        assert!(!numbers.insert(u64::MAX) && numbers.is_empty());
        assert!(!numbers.contains(u64::MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn they_are_sets(
            a in prop::collection::btree_set(0u64..20_000, 0..60),
            b in prop::collection::btree_set(0u64..20_000, 0..60),
        ) {
            let (x, y) = (numbers(&a), numbers(&b));
            let check = |made: Numbers, expected: BTreeSet<u64>| {
                assert_eq!(made.len(), expected.len() as u64);
                assert_eq!(made.is_empty(), expected.is_empty());
                assert!(made.iter().eq(expected.iter().copied()));
                assert!((0..20_000).all(|n| made.contains(n) == expected.contains(&n)));
            };
            let with = |change: fn(&mut Numbers, &Numbers)| {
                let mut made = x.clone();
                change(&mut made, &y);
                made
            };
            check(with(Numbers::unite), &a | &b);
            check(with(Numbers::intersect), &a & &b);
            check(with(Numbers::subtract), &a - &b);
        }
    }
}
