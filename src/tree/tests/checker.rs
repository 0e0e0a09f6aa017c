//! The checks find what they are for: each invariant broken on purpose is reported.

use super::{Random, Store, small};
use crate::error::{Error, Fault};
use crate::id::NodeId;
use crate::tree::Home;
use crate::tree::node::{Branch, Copy, Leaf, Node};
use crate::vector::Metric;
use crate::vector::scalar::Rounded;

/// A tree of three levels or more.
fn tree() -> Store {
    let mut random = Random(11);
    let vectors: Vec<_> = (0..160).map(|_| random.vector(20)).collect();
    let store = Store::filled(Metric::Euclidean, small(8, 4), &vectors, 20);
    let census = store.check().unwrap();
    assert!(census.height >= 4 && census.second_copies > 20, "{census:?}");
    store
}

fn leaf(store: &Store, at: usize) -> (NodeId, Leaf) {
    let id = store.leaves()[at];
    let Node::Leaf(leaf) = store.node(id) else { unreachable!() };
    (id, leaf)
}

fn branch(store: &Store, id: NodeId) -> Branch {
    let Node::Branch(branch) = store.node(id) else { unreachable!() };
    branch
}

/// Breaks a sound tree in one way.
#[track_caller]
fn breaks(what: &str, damage: impl FnOnce(&mut Store)) {
    let mut store = tree();
    damage(&mut store);
    assert_eq!(store.check(), Err(Error::Integrity(Fault::Node)), "{what}");
}

fn edit_leaf(at: usize, change: impl FnOnce(&mut Leaf)) -> impl FnOnce(&mut Store) {
    move |store| {
        let (id, mut leaf) = leaf(store, at);
        change(&mut leaf);
        store.put(id, &Node::Leaf(leaf));
    }
}

/// Changes the parent of a leaf.
fn edit_twig(change: impl FnOnce(&mut Branch)) -> impl FnOnce(&mut Store) {
    move |store| {
        let (_, leaf) = leaf(store, 2);
        let mut twig = branch(store, leaf.parent);
        change(&mut twig);
        store.put(leaf.parent, &Node::Branch(twig));
    }
}

#[test]
fn rows_that_are_not_where_they_belong() {
    breaks("a row in another leaf", |store| {
        let ((from, mut a), (to, mut b)) = (leaf(store, 0), leaf(store, 1));
        let row = a.rows[0].clone();
        let (code, factors) = (a.codes[..a.code_bytes()].to_vec(), a.factors[0]);
        a.take(&row.pseudonym, Some(row.copy)).unwrap();
        b.take(&row.pseudonym, None);
        b.push(row, &code, factors);
        store.put(from, &Node::Leaf(a));
        store.put(to, &Node::Leaf(b));
    });
    for copy in [Copy::First, Copy::Second] {
        breaks("a row dropped", |store| {
            let has = |at: &usize| leaf(store, *at).1.rows.iter().any(|row| row.copy == copy);
            let at = (0..store.leaves().len()).find(has).unwrap();
            let (id, mut leaf) = leaf(store, at);
            let item = leaf.rows.iter().find(|row| row.copy == copy).unwrap().pseudonym;
            leaf.take(&item, Some(copy)).unwrap();
            store.put(id, &Node::Leaf(leaf));
        });
    }
    breaks(
        "a row twice in a leaf",
        edit_leaf(0, |leaf| {
            let (row, code) = (leaf.rows[0].clone(), leaf.codes[..leaf.code_bytes()].to_vec());
            leaf.push(row, &code, leaf.factors[0]);
        }),
    );
    breaks("a row in a leaf that the item does not list", |store| {
        let held = store.items.values().find(|held| held.home.second.is_none());
        let held = held.or_else(|| store.items.values().next()).unwrap().clone();
        let free = (0..store.leaves().len()).find(|at| {
            let rows = leaf(store, *at).1.rows;
            rows.iter().all(|row| row.pseudonym != held.row.pseudonym)
        });
        let (id, mut leaf) = leaf(store, free.unwrap());
        let code = vec![0; leaf.code_bytes()];
        let factors = leaf.factors[0];
        leaf.push(crate::tree::node::Row { copy: Copy::Second, ..held.row }, &code, factors);
        store.put(id, &Node::Leaf(leaf));
    });
    breaks(
        "the copies of an item exchanged",
        edit_leaf(0, |leaf| {
            let row = leaf.rows.iter_mut().find(|row| row.copy == Copy::First).unwrap();
            row.copy = Copy::Second;
        }),
    );
}

#[test]
fn rows_that_are_not_of_their_item() {
    breaks("the version", edit_leaf(0, |leaf| leaf.rows[0].version += 1));
    breaks("the number", edit_leaf(0, |leaf| leaf.rows[0].number.0 += 1));
    breaks("the epoch", edit_leaf(0, |leaf| leaf.rows[0].epoch += 1));
    breaks("the salt", edit_leaf(0, |leaf| leaf.rows[0].salt[0] ^= 1));
    breaks("the parts", edit_leaf(0, |leaf| leaf.rows[0].parts += 1));
    breaks("the item", edit_leaf(0, |leaf| leaf.rows[0].pseudonym[15] ^= 1));
}

#[test]
fn items_that_list_what_is_not_so() {
    let change = |change: fn(&Store, Home) -> Home| {
        move |store: &mut Store| {
            let held = store.items.values().find(|held| held.home.second.is_some()).unwrap();
            let (item, home) = (held.row.pseudonym, change(store, held.home));
            store.items.get_mut(&item).unwrap().home = home;
        }
    };
    breaks(
        "another leaf",
        change(|store, home| {
            let other = store.leaves().into_iter().find(|leaf| !home.leaves().contains(leaf));
            Home { first: other.unwrap(), ..home }
        }),
    );
    breaks(
        "leaves exchanged",
        change(|_, home| Home { first: home.second.unwrap(), second: Some(home.first) }),
    );
    breaks("no second copy", change(|_, home| Home { second: None, ..home }));
    breaks("one leaf twice", change(|_, home| Home { second: Some(home.first), ..home }));
    breaks("an item that is in no leaf", |store| {
        let row = store.row(999_999);
        let home = Home { first: store.leaves()[0], second: None };
        let held = super::Held { row: row.clone(), vector: vec![0.0; 20], home };
        store.items.insert(row.pseudonym, held);
    });
    breaks("an item that is gone", |store| {
        store.items.pop_first();
    });
}

#[test]
fn parents_and_children_that_disagree() {
    breaks("the parent", edit_leaf(0, |leaf| leaf.parent = NodeId(leaf.parent.0 ^ 1)));
    breaks("the leaf's centroid", edit_leaf(0, |leaf| leaf.centroid.codes[0] ^= 1));
    breaks("the entry's centroid", edit_twig(|twig| twig.children.codes[0] ^= 1));
    breaks("the entry's scale", edit_twig(|twig| twig.children.scales[0] *= 1.01));
    breaks("the entry's square", edit_twig(|twig| twig.children.squares[0] *= 1.01));
    breaks("a radius that was not rounded", edit_twig(|twig| twig.children.radii[0] *= 1.01));
    breaks("a radius below zero", edit_twig(|twig| twig.children.radii[0] *= -1.0));
    breaks("the radius of no number", edit_twig(|twig| twig.children.radii[0] = f32::NAN));
    breaks("the level", edit_twig(|twig| twig.level = 2));
    breaks(
        "a child twice",
        edit_twig(|twig| {
            let children = twig.children.clone();
            twig.children.extend(&children);
        }),
    );
    breaks(
        "a child forgotten",
        edit_twig(|twig| {
            let child = twig.children.ids[0];
            assert!(twig.children.remove(child));
        }),
    );
    breaks("the root's centroid", |store| {
        let mut root = branch(store, NodeId::ROOT);
        root.centroid = Rounded::round(&vec![1.0; store.space.padded()]);
        store.put(NodeId::ROOT, &Node::Branch(root));
    });
    breaks("a branch's radius", |store| {
        let mut root = branch(store, NodeId::ROOT);
        root.children.radii[0] *= 0.99;
        store.put(NodeId::ROOT, &Node::Branch(root));
    });
}

#[test]
fn nodes_that_are_missing_or_too_many() {
    breaks("a leaf missing", |store| {
        let id = store.leaves()[0];
        store.nodes.remove(&id);
    });
    breaks("the root missing", |store| {
        store.nodes.remove(&NodeId::ROOT);
    });
    breaks("a leaf that nothing leads to", |store| {
        let (_, leaf) = leaf(store, 0);
        let empty = Leaf::empty(leaf.parent, leaf.centroid, leaf.width);
        store.put(NodeId(u64::MAX), &Node::Leaf(empty));
    });
    breaks("a branch without children", |store| {
        let root = branch(store, NodeId::ROOT);
        let mut child = branch(store, root.children.ids[0]);
        child.children = crate::tree::node::Entries::default();
        store.put(root.children.ids[0], &Node::Branch(child));
    });
    breaks("a leaf in the place of a branch", |store| {
        let root = branch(store, NodeId::ROOT);
        let id = root.children.ids[0];
        let child = branch(store, id);
        let leaf = Leaf::empty(NodeId::ROOT, child.centroid, store.space.rules.width);
        store.put(id, &Node::Leaf(leaf));
    });
    // Levels only fall from parent to child, so a path can never come back.
    breaks("a cycle", |store| {
        let root = branch(store, NodeId::ROOT);
        let id = root.children.ids[0];
        let mut child = branch(store, id);
        child.children.ids[0] = NodeId::ROOT;
        store.put(id, &Node::Branch(child));
    });
    breaks("a branch that is its own child", |store| {
        let root = branch(store, NodeId::ROOT);
        let id = root.children.ids[0];
        let mut child = branch(store, id);
        child.children.ids[0] = id;
        store.put(id, &Node::Branch(child));
    });
}

#[test]
fn nodes_that_are_larger_than_the_rules_allow_are_counted() {
    // The tree is within its own rules; under narrower ones it is over the limits.
    let mut store = tree();
    let oversized = |store: &Store| store.check().unwrap().oversized;
    assert_eq!(oversized(&store), 0);
    store.space.rules.leaf_most = 4;
    let leaves = oversized(&store);
    assert!(leaves > 0 && leaves <= store.leaves().len() as u64);
    store.space.rules.leaf_most = 8;
    store.space.rules.fanout_most = 2;
    let branches = oversized(&store);
    assert!(branches > 0 && branches <= store.check().unwrap().branches);
}
