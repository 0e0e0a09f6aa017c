//! The tree over maps.
//!
//! [`Store`] is a backing that keeps nodes as their encoded bytes, so that every read and write
//! goes through the codec, and items as their row, vector and home. [`Store::write`] does what a
//! write of an index does: remove, insert, dissolve, finish. [`Store::check`] walks the tree and
//! compares every row with the items, both ways, as `verify_tree` does. Rules are small, so that a
//! hundred items make a tree of four levels.

mod appending;
mod bulk;
mod checker;
mod codec;
mod hard;
mod model;
mod radii;
mod recovery;
mod searching;
mod sifted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::append::{self, Stub};
use super::depth::Depth;
use super::node::{Copy, Leaf, Node, ROW, Row};
use super::plan::{Effects, Plan, Point};
use super::search::{Found, OpenRows, Pages, Visit, Work, search};
use super::verify::{Census, lists, walk};
use super::view::fold;
use super::{Backing, Home, Rules, Space, damaged};
use crate::crypto::Opened;
use crate::error::Result;
use crate::id::{ItemNumber, NodeId};
use crate::store::key::Pseudonym;
use crate::store::record::ROWS_PART;
use crate::vector::kernels::codes::Width;
use crate::vector::{Metric, Scorer};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct];
const WIDTHS: [Width; 4] = [Width::One, Width::Two, Width::Four, Width::Eight];

/// Rules under which a hundred items make a deep tree.
fn small(leaf_most: usize, fanout_most: usize) -> Rules {
    Rules {
        width: Width::One,
        leaf_most,
        leaf_least: (leaf_most / 4).max(1),
        fanout_most,
        fanout_least: 2,
        spill_from: 3,
        noise: 3.0,
    }
}

/// Numbers that look random and are always the same (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
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

    fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.normal()).collect()
    }
}

/// What a store knows of an item.
#[derive(Clone)]
struct Held {
    row: Row,
    vector: Vec<f32>,
    home: Home,
}

/// A tree over maps.
struct Store {
    space: Space,
    nodes: BTreeMap<NodeId, (Vec<u8>, Vec<u8>)>,
    items: BTreeMap<Pseudonym, Held>,
    /// How often leaves were appended to since they were written whole, and all of them ever.
    deltas: BTreeMap<NodeId, usize>,
    appended: usize,
    sequence: u64,
}

/// Of a leaf, at most.
const DELTAS: usize = 3;
/// Bytes of one delta.
const ROOM: usize = 1200;

fn folded(codes: &[u8]) -> Vec<u8> {
    let mut codes = codes.to_vec();
    fold(&mut codes).unwrap();
    codes
}

fn pseudonym(number: u64) -> Pseudonym {
    let hash = blake3::hash(&number.to_be_bytes());
    hash.as_bytes()[..16].try_into().unwrap()
}

impl Store {
    fn new(metric: Metric, dimension: usize, rules: Rules) -> Self {
        let space = Space::new(&[7; 32], dimension, metric, rules);
        let (nodes, items, deltas) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { space, nodes, items, deltas, appended: 0, sequence: 0 }
    }

    /// With these vectors, numbered from zero, inserted in batches.
    fn filled(metric: Metric, rules: Rules, vectors: &[Vec<f32>], batch: usize) -> Self {
        let mut store = Self::new(metric, vectors[0].len(), rules);
        let items: Vec<(u64, Vec<f32>)> = (0..).zip(vectors.iter().cloned()).collect();
        for items in items.chunks(batch) {
            store.write(&[], items).unwrap();
        }
        store
    }

    fn row(&self, number: u64) -> Row {
        let mut salt = [0; 24];
        salt[..8].copy_from_slice(&number.to_be_bytes());
        salt[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        Row {
            pseudonym: pseudonym(number),
            number: ItemNumber(number),
            version: self.sequence,
            epoch: 3,
            parts: 1,
            copy: Copy::First,
            salt,
        }
    }

    /// One write: takes items out and puts items in, replacing those of the same number.
    fn write(&mut self, removed: &[u64], put: &[(u64, Vec<f32>)]) -> Result<()> {
        self.sequence += 1;
        let numbers: BTreeSet<u64> =
            removed.iter().copied().chain(put.iter().map(|(number, _)| *number)).collect();
        let gone: Vec<(Pseudonym, Home)> = numbers
            .into_iter()
            .filter_map(|number| {
                let item = pseudonym(number);
                Some((item, self.items.get(&item)?.home))
            })
            .collect();
        let points: Vec<Point> = put
            .iter()
            .map(|(number, vector)| Point {
                row: self.row(*number),
                vector: self.space.place(vector).into(),
            })
            .collect();
        let rows: Vec<Row> = points.iter().map(|point| point.row.clone()).collect();
        let mut plan = Plan::new(self, &self.space, self.sequence);
        plan.remove(&gone)?;
        plan.insert(points)?;
        plan.dissolve()?;
        let mut effects = plan.finish()?;
        for (item, _) in gone {
            self.items.remove(&item);
        }
        for (row, (_, vector)) in rows.into_iter().zip(put) {
            let home = effects.homes.remove(&row.pseudonym).expect("an item has a home");
            self.items.insert(row.pseudonym, Held { row, vector: vector.clone(), home });
        }
        self.apply(effects);
        Ok(())
    }

    /// A plan that moves items but makes and removes none.
    fn plan(&mut self, work: impl FnOnce(&mut Plan<'_>) -> Result<()>) -> Result<()> {
        self.sequence += 1;
        let mut plan = Plan::new(self, &self.space, self.sequence);
        work(&mut plan)?;
        let effects = plan.finish()?;
        self.apply(effects);
        Ok(())
    }

    fn apply(&mut self, effects: Effects) {
        for (id, node) in effects.nodes {
            if let Some(node) = node {
                self.put(id, &node);
            } else {
                assert!(self.nodes.remove(&id).is_some(), "{id:?} is not there");
                self.deltas.remove(&id);
            }
        }
        for (id, new) in effects.appended {
            self.append(id, &new);
        }
        for (item, home) in effects.homes {
            self.items.get_mut(&item).expect("only live items move").home = home;
        }
    }

    fn append(&mut self, id: NodeId, new: &Leaf) {
        let (more_codes, more_rows) = append::encode(new).unwrap();
        let (codes, rows) = self.nodes.get_mut(&id).expect("only what is there is appended to");
        assert!(more_codes.len() + more_rows.len() <= ROOM);
        codes.extend(more_codes);
        rows.extend(more_rows);
        *self.deltas.entry(id).or_default() += 1;
        self.appended += 1;
    }

    fn put(&mut self, id: NodeId, node: &Node) {
        self.deltas.remove(&id);
        self.nodes.insert(id, node.encode().unwrap());
    }

    fn node(&self, id: NodeId) -> Node {
        let (codes, rows) = &self.nodes[&id];
        Node::decode(codes, rows).unwrap()
    }

    fn leaves(&self) -> Vec<NodeId> {
        let leaf = |id: &NodeId| matches!(self.node(*id), Node::Leaf(_));
        self.nodes.keys().copied().filter(leaf).collect()
    }

    /// Every invariant. Counts on both sides, as rows are compared one way only.
    fn check(&self) -> Result<Census> {
        let mut listed = 0;
        let rows = |leaf, rows: &[Row]| {
            for row in rows {
                let held = self.items.get(&row.pseudonym).ok_or_else(damaged)?;
                let same = Row { copy: row.copy, ..held.row.clone() } == *row;
                if !same || !lists(&held.home.leaves(), leaf, row.copy) {
                    return Err(damaged());
                }
                listed += 1;
            }
            Ok(())
        };
        let census = walk(self, &self.space, rows, |_, error| Err(error))?;
        let spilled = self.items.values().filter(|held| held.home.second.is_some()).count();
        let distinct = self.items.values().all(|held| held.home.second != Some(held.home.first));
        let agree = distinct
            && census.leaves + census.branches == self.nodes.len() as u64
            && census.first_copies == self.items.len() as u64
            && census.second_copies == spilled as u64
            && listed == self.items.len() + spilled;
        if agree { Ok(census) } else { Err(damaged()) }
    }

    fn search(&self, query: &[f32], top_k: usize, probes: Option<usize>) -> Vec<(f32, Pseudonym)> {
        let depth =
            Depth { top_k, effort: 1.0, probes, items: self.items.len() as u64, share: 1.0 };
        let (found, _) = self.search_at(query, &depth).unwrap();
        found.into_iter().map(|found| (found.distance, found.row.pseudonym)).collect()
    }

    fn search_at(&self, query: &[f32], depth: &Depth) -> Result<(Vec<Found>, Work)> {
        search(self, &self.space, query, &Scorer::new(self.space.metric, query), depth, None)
    }

    /// All items by distance.
    fn truth(&self, query: &[f32]) -> Vec<(f32, Pseudonym)> {
        let scorer = Scorer::new(self.space.metric, query);
        let mut all: Vec<(f32, Pseudonym)> =
            self.items.iter().map(|(item, held)| (scorer.distance(&held.vector), *item)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all
    }

    /// What holds for the answer to any search: live items, each once, exact distances in order.
    #[track_caller]
    fn assert_sound(&self, query: &[f32], found: &[(f32, Pseudonym)], top_k: usize) {
        let scorer = Scorer::new(self.space.metric, query);
        let items: BTreeSet<&Pseudonym> = found.iter().map(|(_, item)| item).collect();
        assert_eq!(items.len(), found.len(), "an item twice");
        assert!(found.len() >= top_k.min(self.items.len()), "{} of {top_k}", found.len());
        assert!(found.windows(2).all(|pair| pair[0].0 <= pair[1].0), "out of order");
        for (distance, item) in found {
            let held = self.items.get(item).expect("a dead item");
            assert_eq!(scorer.distance(&held.vector).to_bits(), distance.to_bits());
        }
    }
}

impl Backing for Store {
    fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<Node>>> {
        ids.iter()
            .map(|id| {
                let stored = self.nodes.get(id);
                let decode = |(codes, rows): &(Vec<u8>, Vec<u8>)| {
                    Node::decode(codes, rows).ok_or_else(damaged)
                };
                stored.map(decode).transpose()
            })
            .collect()
    }

    fn stubs(&self, ids: &[NodeId]) -> Result<Vec<Option<Stub>>> {
        ids.iter()
            .map(|id| {
                let (codes, _) = self.nodes.get(id).ok_or_else(damaged)?;
                if self.deltas.get(id).is_some_and(|deltas| *deltas == DELTAS) {
                    return Ok(None);
                }
                Stub::new(&folded(codes), ROOM).ok_or_else(damaged).map(Some)
            })
            .collect()
    }

    fn vectors(&self, rows: &[&Row]) -> Result<Vec<Vec<f32>>> {
        rows.iter()
            .map(|row| {
                let held = self.items.get(&row.pseudonym).ok_or_else(damaged)?;
                // As payload keys do, which are derived from these.
                let opens = held.row.version == row.version && held.row.salt == row.salt;
                if opens { Ok(held.vector.clone()) } else { Err(damaged()) }
            })
            .collect()
    }

    fn homes(&self, items: &[Pseudonym]) -> Result<Vec<Home>> {
        items.iter().map(|item| Ok(self.items.get(item).ok_or_else(damaged)?.home)).collect()
    }

    fn threads(&self) -> usize {
        1
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
        (0..count).try_for_each(work)
    }
}

impl Pages for Store {
    fn pages<'s>(&'s self, ids: &[NodeId], visit: Visit<'_, 's>) -> Result<()> {
        const { assert!(ROWS_PART.is_multiple_of(ROW)) };
        for (codes, rows) in ids.iter().filter_map(|id| self.nodes.get(id)) {
            let part = move |part: usize| {
                let part = rows.chunks(ROWS_PART).nth(part).ok_or_else(damaged)?;
                Ok(Arc::new(Opened::passing(part.to_vec())))
            };
            visit(&folded(codes), Box::new(part))?;
        }
        Ok(())
    }

    fn rows(&self, id: NodeId) -> OpenRows<'_> {
        Box::new(move |part| {
            let (_, rows) = self.nodes.get(&id).ok_or_else(damaged)?;
            let part = rows.chunks(ROWS_PART).nth(part).ok_or_else(damaged)?;
            Ok(Arc::new(Opened::passing(part.to_vec())))
        })
    }

    fn vectors(&self, rows: &[Row], visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let rows: Vec<&Row> = rows.iter().collect();
        let vectors = Backing::vectors(self, &rows)?;
        vectors.iter().enumerate().for_each(|(at, vector)| visit(at, vector));
        Ok(())
    }
}
