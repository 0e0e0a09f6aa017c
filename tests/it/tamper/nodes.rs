//! Damage to the partition tree is called by its name.

use sealvec::{Database, Error, Fault};

use super::{NODE, Scene, options};
use crate::support::{NAME, Stored, delete_raw};

/// What `verify_tree` says of the two indexes: whether either is faulty, and the fault is a node.
fn finds_a_node(scene: &Scene) -> bool {
    let db = Database::open_read_only(&scene.path, options()).unwrap();
    let mut faults = 0;
    for (name, key) in [(NAME, &scene.keys.root), (super::OTHER, &scene.keys.other)] {
        match db.open_index(name).unwrap().with_key(key).verify_tree() {
            Ok(tree) => assert!(tree.height == 2 && tree.leaves >= 2, "{tree:?}"),
            // The first byte is the version.
            Err(
                Error::Integrity(Fault::Node) | Error::UnsupportedFormat { what: "tree node", .. },
            ) => faults += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(faults < 2, "one index was damaged");
    faults == 1
}

#[test]
fn a_damaged_node_is_named_by_verify_tree() {
    let scene = Scene::new();
    assert!(!finds_a_node(&scene));
    let nodes: Vec<&Stored> = scene.records.iter().filter(|record| record.kind() == NODE).collect();
    assert!(nodes.len() >= 6, "{}", nodes.len());
    for record in nodes {
        let (length, value) = (record.value.len(), &record.value);
        for byte in (0..47).chain((47..length).step_by(41)).chain([length - 1]) {
            let mut bad = value.clone();
            bad[byte] ^= 1 << (byte % 8);
            scene.put(record, &bad);
            assert!(finds_a_node(&scene), "{:02x?}, byte {byte}", record.key);
        }
        for bad in [&value[..length - 1], &value[..47], &[], &[&value[..], &[0]].concat()] {
            scene.put(record, bad);
            assert!(finds_a_node(&scene), "{:02x?}, {} bytes", record.key, bad.len());
        }
        delete_raw(&scene.raw, record.family, &record.key);
        assert!(finds_a_node(&scene), "{:02x?} deleted", record.key);
        scene.restore(record);
    }
    assert!(!finds_a_node(&scene));
}
