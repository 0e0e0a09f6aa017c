//! Erasure beats integrity: whatever is damaged, a delete removes every trace of its item.
//!
//! One index of sixty items, a tree of three levels. Each case damages something that the deletes
//! below come across, deletes, and looks at what is stored: no record, no payload value and no row
//! of the deleted items; sums and set hash as a count from scratch has them; everybody else is
//! found as before.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::commit::{Draft, Operation};
use crate::condition::WriteOptions;
use crate::config::IndexConfig;
use crate::crypto::{IndexKey, KeyContext};
use crate::database::Database;
use crate::delete::{DeleteOptions, DeleteOutcome, DeleteReport, Selector};
use crate::error::{Error, Fault, Result};
use crate::filter::Filter;
use crate::id::{IndexId, NodeId};
use crate::index::{Include, Index, Item};
use crate::keyring::ReadKey;
use crate::store::key::{self, Kind, Pseudonym};
use crate::store::record::SealedNode;
use crate::store::tampering::Tampering;
use crate::store::{Engine, Family};
use crate::tree::node::Node;
use crate::vector::Metric;

const NAME: &str = "index";
const ITEMS: u8 = 60;

struct World {
    store: Tampering,
    db: Database,
    index: IndexId,
}

fn item(n: u8) -> Item {
    Item::new(n.to_string(), [f32::from(n % 8), f32::from(n / 8)]).contents(vec![n; 40])
}

impl World {
    fn new(items: u8) -> Self {
        Self::of(&(0..items).map(item).collect::<Vec<_>>())
    }

    fn of(items: &[Item]) -> Self {
        let store = Tampering::new();
        let db = store.open_with_small_nodes();
        let key = IndexKey::from_bytes(&[7; 32]).unwrap();
        let config = IndexConfig::new(Metric::Euclidean);
        let index = db.create_index(NAME, &key, config).unwrap().id();
        let world = Self { store, db, index };
        world.open().upsert(items).unwrap();
        world
    }

    fn open(&self) -> Index<'static> {
        let key = IndexKey::from_bytes(&[7; 32]).unwrap();
        self.db.load_index(NAME, KeyContext::root(key)).unwrap()
    }

    fn see<T>(&self, look: impl FnOnce(&ReadKey) -> T) -> T {
        self.open().inspect(|_, key: &ReadKey| Ok(look(key))).unwrap()
    }

    fn pseudonym(&self, n: u8) -> Pseudonym {
        self.see(|key| key.names.item(&n.to_string()))
    }

    /// Every node that opens.
    fn nodes(&self) -> Vec<(NodeId, Node)> {
        let stored = self.store.under(Family::Nodes, &key::nodes(self.index));
        self.see(|key| {
            let opened = stored.iter().filter_map(|(place, value)| {
                let (id, _) = key::node_of(place)?;
                let sealed = SealedNode::parse(self.index, id, value).ok()?;
                let cipher = sealed.cipher(&key.epochs).ok()?;
                let (mut codes, mut rows) = (Vec::new(), Vec::new());
                sealed.open_codes(&cipher, &mut codes).ok()?;
                for part in 0..sealed.row_parts() {
                    sealed.open_rows(&cipher, part, &mut rows).ok()?;
                }
                Some((id, Node::decode(&codes, &rows)?))
            });
            opened.collect()
        })
    }

    /// The leaves with a row of the item.
    fn leaves_of(&self, n: u8) -> Vec<NodeId> {
        let pseudonym = self.pseudonym(n);
        let nodes = self.nodes().into_iter();
        let holding = nodes.filter(|(_, node)| match node {
            Node::Leaf(leaf) => leaf.rows.iter().any(|row| row.pseudonym == pseudonym),
            Node::Branch(_) => false,
        });
        holding.map(|(id, _)| id).collect()
    }

    fn flip(&self, family: Family, place: &[u8], byte: usize) {
        let mut value = self.store.get(family, place).unwrap();
        let at = byte.min(value.len() - 1);
        value[at] ^= 1;
        self.store.put(family, place, &value);
    }

    fn flip_item(&self, n: u8, byte: usize) {
        self.flip(Family::Items, &key::item(self.index, &self.pseudonym(n)), byte);
    }

    fn flip_node(&self, id: NodeId, byte: usize) {
        self.flip(Family::Nodes, &key::node(self.index, id, 0), byte);
    }

    fn flip_payload(&self, n: u8, kind: Kind) {
        self.flip(Family::Payload, &key::payload(self.index, kind, &self.pseudonym(n), 0), 9);
    }

    fn delete(&self, ids: &[u8]) -> Result<DeleteReport> {
        let ids: Vec<String> = ids.iter().map(u8::to_string).collect();
        self.open().delete(&ids)
    }

    /// The kind of the last commit.
    fn last(&self) -> Operation {
        self.see(|key| key.head.commit.operation)
    }

    /// Nothing is stored of these items; every other item is whole; the sums are right. `lost`:
    /// items that are damaged themselves and stay.
    fn check(&self, gone: &[u8], lost: &[u8]) {
        for n in gone {
            let pseudonym = self.pseudonym(*n);
            for kind in [Kind::Vector, Kind::Contents, Kind::Metadata] {
                let left = key::payloads(self.index, kind, &pseudonym);
                assert!(self.store.under(Family::Payload, &left).is_empty(), "payload of {n}");
            }
            assert_eq!(self.store.get(Family::Items, &key::item(self.index, &pseudonym)), None);
            assert_eq!(self.leaves_of(*n), [], "rows of {n}");
        }
        let stored = self.store.under(Family::Nodes, &key::nodes(self.index)).len();
        assert_eq!(self.nodes().len(), stored, "nodes that do not open stay");
        let engine = &self.store;
        self.see(|key| {
            let counted = Draft::recounted(&*engine.snapshot(), self.index).unwrap();
            assert_eq!(
                counted.digest(),
                key.head.commit.set_hash,
                "the set hash is of what is there"
            );
        });
        let whole: Vec<u8> =
            (0..ITEMS).filter(|n| !gone.contains(n) && !lost.contains(n)).collect();
        let index = self.open();
        let description = index.describe().unwrap();
        assert_eq!(description.item_count, (whole.len() + lost.len()) as u64);
        if lost.is_empty() {
            index.verify_tree().unwrap();
            let items =
                index.get(&whole.iter().map(u8::to_string).collect::<Vec<_>>(), Include::ALL);
            let size = |n: &u8, metadata: Option<&Value>| {
                let metadata = metadata.map_or(0, |metadata| metadata.to_string().len());
                (n.to_string().len() + 8 + 40 + metadata) as u64
            };
            let found = items.unwrap();
            let found = found.iter().map(|found| found.item.as_ref().unwrap().metadata.as_ref());
            let sizes = whole.iter().zip(found).map(|(n, metadata)| size(n, metadata));
            assert_eq!(description.total_size_bytes, sizes.sum::<u64>());
        }
        for n in whole {
            let (id, at) = (n.to_string(), [f32::from(n % 8), f32::from(n / 8)]);
            let found = index.get(&[&id], Include::ALL).unwrap();
            assert_eq!(found[0].item.as_ref().unwrap().contents, Some(vec![n; 40]));
            // A search that compares a damaged vector says so instead of answering.
            if !lost.is_empty() {
                continue;
            }
            let hits = index.query(&at).top_k(1).probes(1000).run().unwrap();
            assert_eq!(hits[0].id, id);
        }
    }
}

fn outcomes(report: &DeleteReport) -> Vec<DeleteOutcome> {
    report.outcomes.iter().map(|(_, outcome)| *outcome).collect()
}

#[test]
fn a_sound_item_goes_without_a_recount() {
    let world = World::new(ITEMS);
    let report = world.delete(&[5, 6, 7]).unwrap();
    assert_eq!(outcomes(&report), [DeleteOutcome::Deleted; 3]);
    assert_eq!(world.last(), Operation::Delete);
    world.check(&[5, 6, 7], &[]);
}

#[test]
fn an_item_whose_record_is_damaged_goes_whole() {
    // The format byte, the epoch, the version, the salt, the ciphertext.
    for byte in [0, 2, 8, 20, 60] {
        let world = World::new(ITEMS);
        world.flip_item(9, byte);
        let get = world.open().get(&["9"], Include::NONE);
        assert!(get.is_err(), "the damage is real");
        let report = world.delete(&[9, 10]).unwrap();
        assert_eq!(outcomes(&report), [DeleteOutcome::DeletedCorrupt, DeleteOutcome::Deleted]);
        assert_eq!((report.deleted, report.corrupt), (2, 1));
        assert_eq!(world.last(), Operation::Recount);
        world.check(&[9, 10], &[]);
        // What follows is no recount any more.
        world.delete(&[11]).unwrap();
        assert_eq!(world.last(), Operation::Delete);
        world.check(&[9, 10, 11], &[]);
    }
}

#[test]
fn a_batch_that_deletes_a_damaged_item_does_nothing() {
    let world = World::new(ITEMS);
    let batch = |deletes: &[&str]| {
        world
            .open()
            .write_batch(&[item(70)], deletes, &WriteOptions::new())
            .map(|done| done.deleted)
    };
    world.flip_item(9, 60);
    let before = world.store.copy();
    let error = batch(&["10", "9"]).unwrap_err();
    assert!(matches!(error, Error::Integrity(_)), "{error:?}");
    assert_eq!(world.store.copy(), before);
    // The control; and a delete by itself takes it.
    assert_eq!(batch(&["10"]), Ok(1));
    assert_eq!(world.delete(&[9]).unwrap().corrupt, 1);
}

#[test]
fn a_delete_through_damage_dissolves_small_leaves_and_leaves_no_empty_tree() {
    let world = World::new(6);
    world.flip_item(2, 60);
    world.delete(&[0, 1, 2, 3, 4, 5]).unwrap();
    assert_eq!(world.last(), Operation::Recount);
    assert!(world.store.under(Family::Nodes, &[]).is_empty(), "a root that holds nothing stays");
    // In a larger tree nothing is left smaller than a delete without damage leaves it.
    let world = World::new(ITEMS);
    let gone: Vec<u8> = (0..50).collect();
    world.flip_item(7, 60);
    world.delete(&gone).unwrap();
    assert_eq!(world.last(), Operation::Recount);
    world.check(&gone, &[]);
    for (_, node) in world.nodes() {
        if let Node::Leaf(leaf) = node {
            // The least that leaves of eight may hold is one.
            assert!(leaf.firsts() > 0);
        }
    }
}

#[test]
fn swapped_records_are_both_damaged_and_neither_goes_for_the_other() {
    let world = World::new(ITEMS);
    let places = [20, 21].map(|n| key::item(world.index, &world.pseudonym(n)));
    let values = [0, 1].map(|at: usize| world.store.get(Family::Items, &places[at]).unwrap());
    world.store.put(Family::Items, &places[0], &values[1]);
    world.store.put(Family::Items, &places[1], &values[0]);
    let report = world.delete(&[20]).unwrap();
    assert_eq!(outcomes(&report), [DeleteOutcome::DeletedCorrupt]);
    assert_eq!(world.leaves_of(20), []);
    assert_ne!(world.leaves_of(21), [], "the other one's rows stay");
    assert_eq!(world.store.get(Family::Items, &places[1]), Some(values[0].clone()));
    world.delete(&[21]).unwrap();
    world.check(&[20, 21], &[]);
}

#[test]
fn an_item_whose_payload_is_damaged_goes_as_any_other() {
    for kind in [Kind::Vector, Kind::Contents] {
        let world = World::new(ITEMS);
        world.flip_payload(3, kind);
        assert!(world.open().get(&["3"], Include::ALL).is_err(), "the damage is real");
        let report = world.delete(&[3]).unwrap();
        assert_eq!(outcomes(&report), [DeleteOutcome::Deleted]);
        world.check(&[3], &[]);
    }
}

#[test]
fn an_item_whose_metadata_or_attributes_are_damaged_goes_and_filters_stay_right() {
    let even = Filter::eq("even", true);
    let with = |n: u8| item(n).metadata(json!({"even": n.is_multiple_of(2)}));
    for damaged in [Kind::Metadata, Kind::Posting, Kind::Directory] {
        let world = World::of(&(0..ITEMS).map(with).collect::<Vec<_>>());
        if damaged == Kind::Metadata {
            world.flip_payload(4, damaged);
        } else {
            let blocks = world.store.under(Family::Attributes, &[]);
            for (place, _) in &blocks {
                if key::attribute_of(place).is_some_and(|(kind, ..)| kind == damaged) {
                    world.flip(Family::Attributes, place, 60);
                }
            }
        }
        assert!(world.open().verify_tree().is_err(), "the damage is real");
        let report = world.delete(&[4]).unwrap();
        assert_eq!(outcomes(&report), [DeleteOutcome::Deleted], "{damaged:?}");
        assert_eq!(world.last(), Operation::Recount, "{damaged:?}");
        world.check(&[4], &[]);
        assert_eq!(*world.open().count_where(&even).unwrap(), 29, "{damaged:?}");
        let report = world.open().delete_where(&even, &DeleteOptions::new()).unwrap();
        assert_eq!((report.deleted, report.item_count), (29, 30), "{damaged:?}");
    }
}

#[test]
fn a_filter_does_not_pass_over_an_item_whose_metadata_is_damaged() {
    let even = Filter::eq("even", true);
    let with = |n: u8| item(n).metadata(json!({"even": n.is_multiple_of(2)}));
    let world = World::of(&(0..ITEMS).map(with).collect::<Vec<_>>());
    world.flip_payload(4, Kind::Metadata);
    world.flip_payload(6, Kind::Metadata);
    // The attributes are listed anew, and nobody can say what those of 6 are.
    world.delete(&[4]).unwrap();
    assert_eq!(world.last(), Operation::Recount);
    assert_eq!(world.open().count_where(&even).unwrap_err(), Error::Integrity(Fault::Payload));
    let refused = world.open().delete_where(&even, &DeleteOptions::new()).unwrap_err();
    assert_eq!(refused, Error::Integrity(Fault::Payload));
    assert_eq!(world.delete(&[6]).unwrap().deleted, 1);
    assert_eq!(*world.open().count_where(&even).unwrap(), 28);
    world.check(&[4, 6], &[]);
}

#[test]
fn a_damaged_leaf_goes_and_its_other_items_stay() {
    for (which, byte) in [(0, 0), (0, 60), (0, 100_000), (1, 60)] {
        let world = World::new(ITEMS);
        let homes = (0..ITEMS).map(|n| (n, world.leaves_of(n)));
        let (n, leaves) = homes.into_iter().find(|(_, leaves)| leaves.len() == 2).unwrap();
        world.flip_node(leaves[which], byte);
        assert!(world.open().verify_tree().is_err(), "the damage is real");
        world.delete(&[n]).unwrap();
        assert_eq!(world.last(), Operation::Recount);
        world.check(&[n], &[]);
    }
}

#[test]
fn a_leaf_that_is_not_there_is_as_a_damaged_one() {
    let world = World::new(ITEMS);
    let leaf = world.leaves_of(30)[0];
    world.store.delete(Family::Nodes, &key::node(world.index, leaf, 0));
    world.delete(&[30]).unwrap();
    world.check(&[30], &[]);
}

#[test]
fn the_only_leaf_of_a_small_index_is_planted_anew() {
    let world = World::new(6);
    world.flip_node(NodeId::ROOT, 60);
    world.delete(&[2]).unwrap();
    assert_eq!(world.last(), Operation::Recount);
    let index = world.open();
    assert_eq!(index.verify_tree().unwrap().items, 5);
    assert_eq!(index.query(&[3.0, 0.0]).top_k(1).run().unwrap()[0].id, "3");
    assert_eq!(world.leaves_of(2), []);
}

#[test]
fn a_tree_without_its_root_or_a_branch_is_planted_anew_when_the_delete_meets_it() {
    for missing in [false, true] {
        for root in [false, true] {
            let world = World::new(ITEMS);
            let nodes = world.nodes();
            let lost = nodes.iter().filter(|(id, node)| match node {
                Node::Branch(_) => (*id == NodeId::ROOT) == root,
                Node::Leaf(_) => false,
            });
            let lost = lost.map(|(id, _)| *id).next().unwrap();
            if missing {
                world.store.delete(Family::Nodes, &key::node(world.index, lost, 0));
            } else {
                world.flip_node(lost, 60);
            }
            // The record forces the slow path, which then finds the branch.
            world.flip_item(40, 60);
            world.delete(&[40]).unwrap();
            world.check(&[40], &[]);
        }
    }
}

#[test]
fn a_neighbour_that_cannot_be_read_keeps_no_leaf_from_going() {
    // All first copies of a leaf but one go, so that it is dissolved and the one put elsewhere.
    let world = World::new(ITEMS);
    let nodes = world.nodes();
    let names: Vec<(u8, Pseudonym)> = (0..ITEMS).map(|n| (n, world.pseudonym(n))).collect();
    let firsts = nodes.iter().find_map(|(_, node)| {
        let Node::Leaf(leaf) = node else { return None };
        let firsts = leaf.rows.iter().filter(|row| row.copy == crate::tree::node::Copy::First);
        let firsts: BTreeSet<Pseudonym> = firsts.map(|row| row.pseudonym).collect();
        let inside = names.iter().filter(|(_, name)| firsts.contains(name)).map(|(n, _)| *n);
        let inside: Vec<u8> = inside.collect();
        (inside.len() >= 3).then_some(inside)
    });
    let firsts = firsts.unwrap();
    let (stays, go) = firsts.split_first().unwrap();
    world.flip_payload(*stays, Kind::Vector);
    world.delete(go).unwrap();
    world.check(go, &[*stays]);
    world.delete(&[*stays]).unwrap();
    world.check(&firsts, &[]);
}

/// Whoever changes the state may have forged anything, and a recount would make it look right.
#[test]
fn a_changed_set_hash_state_is_refused_even_where_an_item_is_damaged() {
    for damaged in [false, true] {
        let world = World::new(ITEMS);
        if damaged {
            world.flip_item(4, 60);
        }
        let honest = world.store.copy();
        world.flip(Family::Catalog, &key::set_hash(world.index), 100);
        let refused = Err(Error::Integrity(Fault::SetHash));
        assert_eq!(world.delete(&[4]).map(drop), refused);
        world.store.restore(&honest);
        world.delete(&[4]).unwrap();
        world.check(&[4], &[]);
    }
}

#[test]
fn a_version_that_cannot_be_read_meets_no_condition() {
    let world = World::new(ITEMS);
    let version = world.see(|key| key.head.commit.sequence);
    world.flip_item(9, 60);
    let before = world.store.copy();
    for version in [version, 0, u64::MAX] {
        let condition = [("9", version)];
        let options = DeleteOptions::new();
        let refused = world.open().delete_with(Selector::versions(&condition), &options);
        assert_eq!(refused.map_err(|error| error.code()), Err("precondition_failed"));
    }
    assert!(world.store.copy() == before);
}

#[test]
fn everything_goes_damaged_or_not_and_a_prefix_says_what_it_cannot_know() {
    let world = World::new(ITEMS);
    world.flip_item(9, 60);
    world.flip_node(world.leaves_of(50)[0], 60);
    let index = world.open();
    let prefix = index.delete_with(Selector::prefix("5"), &DeleteOptions::new());
    assert!(matches!(prefix, Err(Error::Integrity(_))));
    let dry = index.delete_with(Selector::all(), &DeleteOptions::new().dry_run(true)).unwrap();
    let real = index.delete_with(Selector::all(), &DeleteOptions::new()).unwrap();
    assert_eq!((real.deleted, real.corrupt), (u64::from(ITEMS), 1));
    assert_eq!((real.item_count, real.total_size_bytes), (0, 0));
    assert_eq!(dry, DeleteReport { dry_run: true, etag: dry.etag, version: dry.version, ..real });
    assert!(world.store.under(Family::Items, &[]).is_empty());
    assert!(world.store.under(Family::Nodes, &[]).is_empty());
    assert!(world.store.under(Family::Payload, &[]).is_empty());
}
