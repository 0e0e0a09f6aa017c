//! Deltas of leaves: moved, repeated, re-ordered, cut, and left out.

use super::*;
use crate::config::{Options, Tuning};

const LEAF_ITEMS: usize = 36;

/// A world whose item 9 is in a leaf that takes three deltas: large enough for them, not full, where
/// its place is, and not item 54's. Centroids have noise, so how leaves fall out is a matter of
/// chance: about one attempt in fifteen will do.
fn meadow() -> World {
    (0..5000).map(|_| attempt()).find(World::takes_three).expect("one of many")
}

fn attempt() -> World {
    let store = Tampering::new();
    let tuning = Tuning { leaf_items: LEAF_ITEMS, fan_out: 8, ..Tuning::new() };
    let options = Options::new().threads(1).tuning(tuning);
    let warm = Database::with_test_engine(Box::new(store.clone()), options).unwrap();
    let index = planted(&warm, NAME);
    let world = World { store, warm, index };
    world.as_root(|root| {
        root.grant(Reader.id(), &Reader.user_key(), Reader.rights()).unwrap();
        assert!(root.verify_tree().unwrap().leaves >= 2);
    });
    world
}

impl World {
    fn takes_three(&self) -> bool {
        let home = self.leaf_of("9");
        if self.leaf_of("54") == home {
            return false;
        }
        self.add(99, 9);
        let beside = self.leaf_of("99") == home;
        self.as_root(|root| assert_eq!(root.delete(&["99"]).unwrap().deleted, 1));
        let Node::Leaf(leaf) = self.open_node(home).0 else { return false };
        beside && (25..=LEAF_ITEMS - 4).contains(&leaf.rows.len())
    }

    /// Puts a new item at the place of another, alone.
    fn add(&self, n: u8, at: u8) {
        self.as_root(|root| assert_eq!(root.upsert(&[item(n, at)]).unwrap().inserted, 1));
    }

    fn leaf_key(&self, id: &str) -> Vec<u8> {
        key::node(self.index, self.leaf_of(id), 0)
    }

    fn stored(&self, leaf: &[u8]) -> Vec<u8> {
        self.store.get(Family::Nodes, leaf).unwrap()
    }

    /// How the leaf is stored before and after each of three additions at the place of item 9.
    fn three_deltas(&self) -> (Vec<u8>, [Vec<u8>; 4]) {
        let leaf = self.leaf_key("9");
        let first = self.stored(&leaf);
        let grown = [100, 101, 102].map(|n| {
            self.add(n, 9);
            self.stored(&leaf)
        });
        let [a, b, c] = grown;
        for pair in [[&first, &a], [&a, &b], [&b, &c]] {
            assert!(pair[1].starts_with(pair[0]) && pair[1].len() > pair[0].len());
        }
        (leaf, [first, a, b, c])
    }

    fn holds_row_of(&self, pseudonym: &Pseudonym) -> bool {
        self.nodes().into_iter().any(|(place, _)| {
            let (id, _) = key::node_of(&place).unwrap();
            match self.open_node(id).0 {
                Node::Leaf(leaf) => leaf.rows.iter().any(|row| row.pseudonym == *pseudonym),
                Node::Branch(_) => false,
            }
        })
    }
}

#[test]
fn a_new_item_is_appended_to_its_leaf_and_nothing_else_is_written() {
    let world = meadow();
    let before = world.nodes();
    world.add(100, 9);
    let changed: Vec<_> =
        before.iter().zip(world.nodes()).filter(|(old, new)| **old != *new).collect();
    let [((place, old), (_, new))] = &changed[..] else { panic!("{} nodes", changed.len()) };
    assert_eq!(*place, world.leaf_key("100"));
    assert!(new.starts_with(old));
    assert!((new.len() - old.len()) * 8 < old.len());
    let hits = world.reader().query(&[1.0, 1.0]).top_k(2).run().unwrap();
    assert_eq!(hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["100", "9"]);
    assert_eq!(world.verified(), Ok(()));
    assert!(world.set_hash_holds());
}

#[test]
fn a_leaf_is_written_whole_before_its_deltas_are_many() {
    let world = meadow();
    let leaf = world.leaf_key("9");
    let (mut appended, mut whole) = (0, 0);
    for n in 100..112 {
        let before = world.stored(&leaf);
        world.add(n, 9);
        // It may split and keep its id, or not.
        let Some(after) = world.store.get(Family::Nodes, &leaf) else { break };
        if after.starts_with(&before) {
            appended += 1;
        } else {
            whole += 1;
        }
        assert_eq!(world.verified(), Ok(()));
        assert!(world.set_hash_holds());
    }
    assert!(appended >= 3 && whole >= 1, "{appended} {whole}");
}

#[test]
fn what_was_done_to_deltas_is_refused_by_whoever_reads_the_leaf() {
    let world = meadow();
    let (leaf, [first, a, b, c]) = world.three_deltas();
    let [one, two, three] = [&a[first.len()..], &b[a.len()..], &c[b.len()..]];
    let elsewhere = world.leaf_key("54");
    let other = world.stored(&elsewhere);
    assert!(elsewhere != leaf);
    let with = |pieces: &[&[u8]]| [&[&first[..]], pieces].concat().concat();
    assert_eq!(with(&[one, two, three]), c);
    let mut flipped = c.clone();
    flipped[a.len() + 60] ^= 4;
    let cases = [
        ("re-ordered", &leaf, with(&[two, one, three])),
        ("repeated", &leaf, with(&[one, one])),
        ("repeated at the end", &leaf, with(&[one, two, three, three])),
        ("the first left out", &leaf, with(&[two, three])),
        ("one in the middle left out", &leaf, with(&[one, three])),
        ("cut", &leaf, c[..c.len() - 1].to_vec()),
        ("flipped", &leaf, flipped),
        ("moved to another leaf", &elsewhere, [&other, one].concat()),
        ("appended to a leaf sealed since", &leaf, {
            let old = world.store.copy();
            world.as_root(|root| root.delete(&["100"]).unwrap());
            let since = world.stored(&leaf);
            world.store.restore(&old);
            [&since, one].concat()
        }),
    ];
    let genuine = [(&leaf, &c), (&elsewhere, &other)];
    for (what, place, value) in cases {
        let (_, own) = genuine.iter().find(|(leaf, _)| *leaf == place).unwrap();
        world.store.put(Family::Nodes, place, &value);
        assert_eq!(world.reads_nodes(), [const { Err(NODE) }; 2], "{what}");
        assert!(!world.set_hash_holds(), "{what}");
        // A write that comes by it is refused, too.
        let at = if *place == leaf { 9 } else { 54 };
        let refused = world.as_root(|root| root.upsert(&[item(200, at)]).err());
        assert_eq!(refused, Some(NODE), "{what}");
        world.store.put(Family::Nodes, place, own);
        assert_eq!(world.reads_nodes(), [const { Ok(()) }; 2], "{what}");
    }
    assert!(world.set_hash_holds());
}

/// As an older leaf that is put back, which it is.
#[test]
fn the_last_deltas_left_out_are_missed_by_verify_tree_only() {
    let world = meadow();
    let (leaf, [first, a, b, c]) = world.three_deltas();
    for cut in [&first, &a, &b] {
        world.store.put(Family::Nodes, &leaf, cut);
        assert!(world.nearest(9).is_ok());
        assert_eq!(world.verified(), Err(NODE));
        assert!(!world.set_hash_holds());
    }
    world.store.put(Family::Nodes, &leaf, &c);
    assert_eq!(world.verified(), Ok(()));
    assert!(world.set_hash_holds());
}

#[test]
fn a_delta_of_a_commit_that_was_taken_away_is_refused() {
    let world = meadow();
    let sequence = world.session(Root).head.commit.sequence;
    let before = world.store.copy();
    world.add(100, 9);
    let after = world.nodes();
    world.store.restore(&before);
    world.cut_after(sequence);
    assert_eq!(world.verified(), Ok(()));
    world.put_nodes(&after);
    assert_eq!(world.nearest(9), Err(NODE));
    assert_eq!(world.verified(), Err(NODE));
}

#[test]
fn a_delete_takes_appended_rows_out_of_what_is_live() {
    let world = meadow();
    let (leaf, [first, _, _, c]) = world.three_deltas();
    let gone = world.session(Root).names.item("101");
    assert!(world.holds_row_of(&gone));
    world.as_root(|root| assert_eq!(root.delete(&["101"]).unwrap().deleted, 1));
    let after = world.stored(&leaf);
    assert!(!after.starts_with(&first) && after.len() < c.len(), "sealed whole, without deltas");
    assert!(!world.holds_row_of(&gone));
    assert_eq!(world.verified(), Ok(()));
    assert!(world.set_hash_holds());
    // Replacing an item seals its leaf whole, too; the row of before is gone.
    world.add(103, 9);
    world.as_root(|root| root.upsert(&[item(103, 9)]).unwrap());
    assert_eq!(world.verified(), Ok(()));
    let newest = world.session(Root).head.commit.sequence;
    let (Node::Leaf(found), _) = world.open_node(world.leaf_of("103")) else { panic!("a leaf") };
    let row = world.session(Root).names.item("103");
    let versions: Vec<u64> =
        found.rows.iter().filter(|r| r.pseudonym == row).map(|r| r.version).collect();
    assert_eq!(versions, [newest]);
}
