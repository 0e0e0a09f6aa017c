//! Nodes of the partition tree: moved, dropped, put back, re-sealed.
//!
//! A node opens in its own place only, so what was moved is refused by whatever reads it. A genuine
//! node of an earlier commit does open: what it says of items that changed since is refused when it
//! is followed; what it leaves out is not missed by a query. `verify_tree` finds both, and so does
//! the signed set hash.

mod deltas;

use super::*;
use crate::crypto::kdf::Salt;
use crate::id::NodeId;
use crate::index::Update;
use crate::store::Change;
use crate::store::key::Pseudonym;
use crate::store::record::{SealedNode, Sealing, seal_node};
use crate::store::tampering::Pairs;
use crate::tree::node::Node;

const NODE: Error = Error::Integrity(Fault::Node);
const PAYLOAD: Error = Error::Integrity(Fault::Payload);
const ITEMS: u8 = 60;

/// A world whose index has three levels of nodes and sixty items on a grid.
fn grove() -> World {
    let store = Tampering::new();
    let warm = store.open_with_small_nodes();
    let index = planted(&warm, NAME);
    let world = World { store, warm, index };
    for who in [Reader, Writer] {
        world.as_root(|root| root.grant(who.id(), &who.user_key(), who.rights()).unwrap());
    }
    world.as_root(|root| root.verify_tree().map(|tree| assert!(tree.height >= 2)).unwrap());
    world
}

fn planted(db: &Database, name: &str) -> IndexId {
    let config = IndexConfig::new(Metric::Euclidean);
    let index = db.create_index(name, &index_key(), config).unwrap();
    let items: Vec<Item> = (0..ITEMS).map(|n| item(n, n)).collect();
    db.load_index(name, Root.context()).unwrap().upsert(&items).unwrap();
    index.id()
}

/// Item `n`, at the place of item `at`.
fn item(n: u8, at: u8) -> Item {
    Item::new(n.to_string(), [f32::from(at % 8), f32::from(at / 8)])
}

impl World {
    fn nodes(&self) -> Pairs {
        self.store.under(Family::Nodes, &key::nodes(self.index))
    }

    fn reader(&self) -> Index<'static> {
        self.warm.load_index(NAME, Reader.context()).unwrap()
    }

    /// The id of the item that a query finds nearest to the place of item `at`, in all leaves.
    fn nearest(&self, at: u8) -> Result<String> {
        let (query, index) = ([f32::from(at % 8), f32::from(at / 8)], self.reader());
        let hits = index.query(&query).top_k(1).probes(1000).run()?.value;
        Ok(hits.into_iter().map(|hit| hit.id).collect())
    }

    fn verified(&self) -> Result<()> {
        self.reader().verify_tree().map(drop)
    }

    /// The nodes of the root's children and of the leaves are all read by this.
    fn reads_nodes(&self) -> [Result<()>; 2] {
        [self.nearest(0).map(drop), self.verified()]
    }

    fn put_nodes(&self, nodes: &Pairs) {
        for (key, value) in nodes {
            self.store.put(Family::Nodes, key, value);
        }
    }

    /// Puts back the nodes as they were, whole: those made since are taken away.
    fn replace_nodes(&self, nodes: &Pairs) {
        let now = self.nodes().into_iter();
        self.store.apply(now.map(|(key, _)| Change::Delete(Family::Nodes, key)).collect());
        self.put_nodes(nodes);
    }

    fn leaf_of(&self, id: &str) -> NodeId {
        let session = self.session(Root);
        let pseudonym = session.names.item(id);
        let stored = self.store.get(Family::Items, &key::item(self.index, &pseudonym)).unwrap();
        let mut plain = Vec::new();
        crate::index::open_item(&session, &pseudonym, &stored, &mut plain).unwrap().leaves[0]
    }

    pub(super) fn open_node(&self, id: NodeId) -> (Node, Sealing) {
        let stored = self.store.get(Family::Nodes, &key::node(self.index, id, 0)).unwrap();
        let node = SealedNode::parse(self.index, id, &stored).unwrap();
        let cipher = node.cipher(&self.session(Reader).epochs).unwrap();
        let (mut codes, mut rows) = (Vec::new(), Vec::new());
        node.open_codes(&cipher, &mut codes).unwrap();
        (0..node.row_parts()).for_each(|part| node.open_rows(&cipher, part, &mut rows).unwrap());
        (Node::decode(&codes, &rows).unwrap(), *node.sealing())
    }
}

#[test]
fn a_node_under_another_id_is_refused() {
    let world = grove();
    let nodes = world.nodes();
    assert!(nodes.len() > 8);
    assert!(world.set_hash_holds());
    assert_eq!(world.reads_nodes(), [const { Ok(()) }; 2]);
    for (n, (place, own)) in nodes.iter().enumerate() {
        let (_, other) = &nodes[(n + 1) % nodes.len()];
        world.store.put(Family::Nodes, place, other);
        assert_eq!(world.reads_nodes(), [const { Err(NODE) }; 2], "{place:02x?}");
        assert!(!world.set_hash_holds());
        world.store.put(Family::Nodes, place, own);
    }
    assert_eq!(world.reads_nodes(), [const { Ok(()) }; 2]);
}

#[test]
fn a_node_of_another_index_is_refused() {
    let world = grove();
    let other = planted(&world.warm, "other");
    let (own, foreign) = (world.nodes(), world.store.under(Family::Nodes, &key::nodes(other)));
    for ((place, value), (_, foreign)) in own.iter().zip(foreign) {
        world.store.put(Family::Nodes, place, &foreign);
        assert_eq!(world.reads_nodes(), [const { Err(NODE) }; 2]);
        world.store.put(Family::Nodes, place, value);
    }
    assert_eq!(world.reads_nodes(), [const { Ok(()) }; 2]);
}

#[test]
fn a_dropped_node_is_missed() {
    let world = grove();
    for (place, value) in world.nodes() {
        world.store.delete(Family::Nodes, &place);
        assert_eq!(world.reads_nodes(), [const { Err(NODE) }; 2], "{place:02x?}");
        let before = world.store.copy();
        // A write that comes by it fails; one that does not leaves the rest as it is.
        let moved: Vec<Item> = (0..ITEMS).map(|n| item(n, ITEMS - n)).collect();
        assert_eq!(world.as_root(|root| root.upsert(&moved).err()), Some(NODE));
        assert!(before == world.store.copy(), "a refused write writes nothing");
        world.store.put(Family::Nodes, &place, &value);
    }
    world.store.apply(vec![Change::DeletePrefix(key::nodes(world.index))]);
    assert_eq!(
        world.reads_nodes(),
        [const { Err(NODE) }; 2],
        "a tree that is gone is no empty one"
    );
    assert_eq!(world.as_root(|root| root.upsert(&[item(0, 1)]).err()), Some(NODE));
    assert_eq!(world.as_root(|root| root.delete(&["0"]).err()), Some(NODE));
}

/// The old leaves lead to a key of payload that has been replaced.
#[test]
fn older_nodes_that_list_a_replaced_item_are_refused_where_they_do() {
    let world = grove();
    let old = world.nodes();
    world.as_root(|root| root.upsert(&[item(9, 9)]).unwrap());
    assert_eq!(world.nearest(9), Ok("9".to_owned()));
    assert_eq!(world.verified(), Ok(()));
    world.replace_nodes(&old);
    assert_eq!(world.nearest(9), Err(PAYLOAD));
    assert_eq!(world.nearest(54), Ok("54".to_owned()), "far from it nothing is known of it");
    assert_eq!(world.verified(), Err(NODE));
    assert!(!world.set_hash_holds());
}

#[test]
fn older_nodes_that_list_a_deleted_item_are_refused_where_they_do() {
    let world = grove();
    let old = world.nodes();
    world.as_root(|root| root.delete(&["9"]).unwrap());
    world.replace_nodes(&old);
    assert_eq!(world.nearest(9), Err(PAYLOAD));
    assert_eq!(world.verified(), Err(NODE));
    assert!(!world.set_hash_holds());
}

/// What a node leaves out no query can miss: the answer is true of what it names, and incomplete.
#[test]
fn older_nodes_that_lack_an_item_hide_it_from_queries_and_not_from_verify_tree() {
    let world = grove();
    world.as_root(|root| root.delete(&["9"]).unwrap());
    let old = world.nodes();
    world.as_root(|root| root.upsert(&[item(9, 9)]).unwrap());
    assert_eq!(world.nearest(9), Ok("9".to_owned()));
    world.replace_nodes(&old);
    assert_ne!(world.nearest(9).unwrap(), "9");
    let exact = world.reader().query(&[1.0, 1.0]).top_k(1).exact().run().unwrap();
    assert_eq!(exact[0].id, "9", "comparing everything does not go by nodes");
    assert_eq!(world.verified(), Err(NODE));
    assert!(!world.set_hash_holds());
    // A write that wants the item's row notices, and no other write heals the set hash.
    let update = Update::new().contents("newer");
    assert_eq!(world.as_root(|root| root.update("9", update.clone()).err()), Some(NODE));
    world.as_root(|root| root.upsert(&[item(54, 54)]).unwrap());
    assert_eq!(world.verified(), Err(NODE));
    assert!(!world.set_hash_holds());
    // A delete takes the item away all the same, and its commit says what it met.
    assert_eq!(world.as_root(|root| root.delete(&["9"]).unwrap().deleted), 1);
    assert_eq!(world.session(Root).head.commit.operation, Operation::Recount);
    assert!(world.verified().is_ok() && world.set_hash_holds());
}

/// The leaves are put back one at a time; items were replaced in all of them.
#[test]
fn one_older_leaf_among_newer_nodes_is_found_by_verify_tree() {
    let world = grove();
    let old = world.nodes();
    world.as_root(|root| {
        for n in 0..ITEMS {
            root.update(&n.to_string(), Update::new().contents("newer")).unwrap();
        }
    });
    let now = world.nodes();
    let mut seen = 0;
    for (place, value) in old.iter().filter(|(place, _)| now.iter().any(|(k, _)| k == place)) {
        let (_, current) = now.iter().find(|(key, _)| key == place).unwrap();
        if current != value {
            world.store.put(Family::Nodes, place, value);
            assert_eq!(world.verified(), Err(NODE), "{place:02x?}");
            world.store.put(Family::Nodes, place, current);
            seen += 1;
        }
    }
    assert!(seen > 0);
    assert_eq!(world.verified(), Ok(()));
}

#[test]
fn nodes_of_a_commit_that_was_taken_away_are_refused() {
    let world = grove();
    let sequence = world.session(Root).head.commit.sequence;
    let before = world.store.copy();
    world.as_root(|root| root.upsert(&[item(9, 10)]).unwrap());
    let after = world.store.copy();
    // The catalog, items and payload of before, with the nodes of after.
    world.store.restore(&before);
    world.cut_after(sequence);
    for (family, pairs) in after.iter().filter(|(family, _)| *family == Family::Nodes) {
        world.store.restore(&[(*family, pairs.clone())]);
    }
    let fresh = world.store.open_with_small_nodes();
    let index = fresh.load_index(NAME, Reader.context()).unwrap();
    let found = index.query(&[1.0, 1.0]).top_k(1).probes(1000).run();
    assert_eq!(found.err(), Some(NODE));
    assert_eq!(index.verify_tree().err(), Some(NODE));
}

/// As with items: who can read can seal what others will read. The set hash is out of her reach.
#[test]
fn a_leaf_resealed_by_a_reader_shows_in_verify_tree_and_the_set_hash() {
    let world = grove();
    let session = world.session(Reader);
    let id = world.leaf_of("9");
    let (node, sealing) = world.open_node(id);
    let Node::Leaf(mut leaf) = node else { panic!("a leaf") };
    let pseudonym = session.names.item("9");
    leaf.take(&pseudonym, None).unwrap();
    let (codes, rows) = Node::Leaf(leaf).encode().unwrap();
    let salt: Salt = crate::crypto::random().unwrap();
    let sealing = Sealing { salt, ..sealing };
    let secret = session.current_secret().unwrap();
    let values = seal_node(secret, world.index, id, &sealing, &codes, &rows, 4096).unwrap();
    assert_eq!(values.len(), 1);
    world.store.put(Family::Nodes, &key::node(world.index, id, 0), &values[0]);
    assert_eq!(world.open_node(id).1, sealing, "the forgery opens");
    assert!(world.nearest(54).is_ok());
    assert_eq!(world.verified(), Err(NODE));
    assert!(!world.set_hash_holds());
}

#[test]
fn a_value_that_belongs_to_no_node_is_found_by_verifying() {
    for part in [1, 60_000] {
        let world = grove();
        assert_eq!(world.verified(), Ok(()));
        let leaf = world.leaf_of("1");
        let (stray, _) = world.nodes().into_iter().next().unwrap();
        let (first, _) = key::node_of(&stray).unwrap();
        let value = world.store.get(Family::Nodes, &key::node(world.index, leaf, 0)).unwrap();
        world.store.put(Family::Nodes, &key::node(world.index, first, part + 1), &value);
        assert_eq!(world.verified(), Err(NODE), "part {part}");
    }
}
