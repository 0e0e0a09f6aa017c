//! The partition tree through the public API: data that makes trees difficult, damage, races, and how much of
//! real data a default query finds.
//!
//! After every change the tree is verified against the items, both ways.

mod filtered;
mod hard;
pub(crate) mod recall;
mod stored;

use sealvec::{Hit, Index, Item};

/// Verifies the tree, compares its count of items and wants its nodes within the limits.
#[track_caller]
pub(crate) fn sound(index: &Index<'_>) {
    let report = index.verify_tree().unwrap();
    assert_eq!((report.items, report.oversized), (*index.count().unwrap(), 0));
}

pub(crate) fn items(vectors: &[Vec<f32>]) -> Vec<Item> {
    let numbered = vectors.iter().enumerate();
    numbered.map(|(number, vector)| Item::new(format!("{number:05}"), vector.clone())).collect()
}

pub(crate) fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

/// Numbers that look random and are always the same (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below a limit, which is at least 1.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// In -1 to 1.
    fn uniform(&mut self) -> f32 {
        let [a, b, ..] = self.next().to_be_bytes();
        f32::from(u16::from_be_bytes([a, b])) / 32_768.0 - 1.0
    }

    /// About normal, as the sum of twelve.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() / 2.0
    }

    pub(crate) fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.normal()).collect()
    }

    pub(crate) fn vectors(&mut self, count: usize, dimension: usize) -> Vec<Vec<f32>> {
        (0..count).map(|_| self.vector(dimension)).collect()
    }
}
