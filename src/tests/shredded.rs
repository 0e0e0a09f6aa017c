//! What is left of an item that was deleted, overwritten or updated does not open after a purge: not
//! with the index key, and not with everything that is still on the disk.
//!
//! The attacker has the files of after the purge, every secret of the index, and the item's payload
//! ciphertext, which the purge left. What it lacks is a salt; it tries each that it can find: of
//! every item record and of every row of the tree. The control is the salt of before the purge.

use std::ops::ControlFlow;

use crate::config::{IndexConfig, Options};
use crate::crypto::kdf::Salt;
use crate::crypto::{IndexKey, KeyContext};
use crate::database::Database;
use crate::index::{Index, Item, Update, open_item};
use crate::keyring::ReadKey;
use crate::purge::{PurgeOptions, PurgeScope};
use crate::store::key;
use crate::store::record::{Field, ItemRecord, PayloadCipher, SealedNode};
use crate::store::{Family, Snapshot};
use crate::tree::node::Node;
use crate::vector::Metric;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn all(snapshot: &dyn Snapshot, family: Family) -> Pairs {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    snapshot.scan(family, &[], &[], &mut visit).unwrap();
    found
}

fn see<T>(index: &Index<'_>, look: impl FnOnce(&dyn Snapshot, &ReadKey) -> T) -> T {
    index.inspect(|snapshot, key: &ReadKey| Ok(look(snapshot, key))).unwrap()
}

/// Every payload salt in what is stored.
fn salts(index: &Index<'_>) -> Vec<Salt> {
    see(index, |snapshot, key| {
        let mut salts = Vec::new();
        for (place, stored) in all(snapshot, Family::Items) {
            let pseudonym = key::pseudonym_of(&place).unwrap();
            let record = open_item(key, &pseudonym, &stored, &mut Vec::new()).unwrap();
            salts.push(record.payload_salt);
        }
        for (place, stored) in all(snapshot, Family::Nodes) {
            let (id, _) = key::node_of(&place).unwrap();
            let sealed = SealedNode::parse(key.index, id, &stored).unwrap();
            let cipher = sealed.cipher(&key.epochs).unwrap();
            let (mut codes, mut rows) = (Vec::new(), Vec::new());
            sealed.open_codes(&cipher, &mut codes).unwrap();
            for part in 0..sealed.row_parts() {
                sealed.open_rows(&cipher, part, &mut rows).unwrap();
            }
            let node = Node::decode(&codes, &rows).unwrap();
            if let Node::Leaf(leaf) = node {
                salts.extend(leaf.rows.iter().map(|row| row.salt));
            }
        }
        salts
    })
}

/// Makes an index of 30 items, changes one of them, and purges everything but its ciphertext.
fn shred(change: &dyn Fn(&Index<'_>), items_left: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = Database::open(&path, Options::new().threads(1)).unwrap();
    let key = IndexKey::from_bytes(&[7; 32]).unwrap();
    let index = db.create_index("index", &key, IndexConfig::new(Metric::Euclidean)).unwrap();
    let root = KeyContext::root(key);
    let index = index.with_key(&root);
    let item = |n: u8| Item::new(n.to_string(), [f32::from(n), 1.0]).contents(vec![n; 200]);
    index.upsert(&(0..30).map(item).collect::<Vec<_>>()).unwrap();
    index.purge(PurgeScope::Payload, PurgeOptions::new()).unwrap();

    // What the attacker copies before, and what it opens with it.
    let (pseudonym, record, ciphertext) = see(&index, |snapshot, key| {
        let pseudonym = key.names.item("9");
        let stored = snapshot.get(Family::Items, &key::item(key.index, &pseudonym)).unwrap();
        let record = open_item(key, &pseudonym, &stored.unwrap(), &mut Vec::new()).unwrap();
        let place = record.payload_keys(key.index, Field::Contents, &pseudonym).next().unwrap();
        let stored = snapshot.get(Family::Payload, &place).unwrap().unwrap();
        (pseudonym, record, stored)
    });
    let opens = |record: &ItemRecord, salt: &Salt| {
        see(&index, |_, key| {
            key.epochs.secrets().any(|secret| {
                let (epoch, version) = (record.payload_epoch, record.version);
                let cipher = PayloadCipher::new(secret, key.index, epoch, pseudonym, version, salt);
                let extent = record.contents.as_ref().unwrap();
                let values = [ciphertext.clone()];
                cipher.open_onto(Field::Contents, extent, &values, &mut Vec::new()).is_ok()
            })
        })
    };
    assert!(salts(&index).iter().any(|salt| opens(&record, salt)), "the control");

    change(&index);
    let receipt = index.purge(PurgeScope::Records, PurgeOptions::new()).unwrap();
    assert!(receipt.payload_remains);
    let left = std::fs::read_dir(&path).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(ciphertext.len()).any(|window| window == ciphertext)
    });
    assert!(left, "the ciphertext is still there, so this says something");
    let salts = salts(&index);
    assert!(salts.len() >= 2 * items_left);
    assert!(!salts.iter().any(|salt| opens(&record, salt)));
    assert!(!salts.contains(&record.payload_salt));
}

#[test]
fn what_a_purge_leaves_of_a_deleted_payload_opens_with_nothing_that_is_left() {
    shred(&|index| assert_eq!(index.delete(&["9"]).unwrap().deleted, 1), 29);
}

#[test]
fn what_a_purge_leaves_of_an_overwritten_payload_opens_with_nothing_that_is_left() {
    let item = Item::new("9", [-5.0, 1.0]).contents(vec![99; 200]);
    shred(&|index| assert_eq!(index.upsert(std::slice::from_ref(&item)).unwrap().updated, 1), 30);
}

#[test]
fn what_a_purge_leaves_of_an_updated_payload_opens_with_nothing_that_is_left() {
    let update = Update::new().contents(vec![99; 200]);
    shred(&|index| assert_eq!(index.update("9", update.clone()).unwrap().updated, 1), 30);
}
