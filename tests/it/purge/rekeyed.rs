//! When data keys are out of use, nothing that was ever sealed under them is in any file.

use std::ops::ControlFlow;

use sealvec::{Attribute, Database, IndexConfig, MIN_RETENTION, Metric, ReencryptOptions};

use super::witness::{
    COLUMN, COMMIT, DIRECTORY, FOLD, ITEM, NODE, PAYLOAD, POSTING, ROSTER, SIGNATURE, TABLE, WRAP,
    Witness,
};
use super::{ITEMS, USER, World, item, options};
use crate::support::{NAME, ROOT, index_key, root, user_id, user_key};

/// As [`World::new`], with a fold, attributes of every kind, and a witness for all of it.
fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = Database::open(&path, options()).unwrap();
    let config = IndexConfig::new(Metric::Euclidean).retention(MIN_RETENTION);
    let config = config.attribute("number", Attribute::Range);
    db.create_index(NAME, &index_key(ROOT), config).unwrap();
    db.create_index("other", &index_key(ROOT), IndexConfig::new(Metric::Cosine)).unwrap();
    let other = db.load_index("other", root(ROOT)).unwrap();
    other.upsert(&(0..5).map(item).collect::<Vec<_>>()).unwrap();
    let witness = Witness::of_all_that_is_sealed();
    let mut world = World { directory, path, db, witness };
    let index = world.index();
    index.upsert(&(0..ITEMS).map(item).collect::<Vec<_>>()).unwrap();
    for _ in 0..30 {
        index.upsert(&[item(1)]).unwrap();
    }
    index.grant(user_id(USER), &user_key(USER), sealvec::Permissions::READ_WRITE).unwrap();
    assert!(index.history(.., 1).unwrap().folded.is_some());
    world.look();
    world
}

/// The epoch in the header of a record. Nodes have the number of their parts before it.
fn epoch(kind: u8, head: &[u8]) -> u32 {
    let from = if kind == NODE { 3 } else { 1 };
    u32::from_be_bytes(head[from..from + 4].try_into().unwrap())
}

const HEADED: [u8; 9] = [COMMIT, TABLE, FOLD, SIGNATURE, ITEM, NODE, POSTING, DIRECTORY, COLUMN];

#[test]
fn nothing_that_was_under_a_retired_data_key_is_left() {
    for bottom in [false, true] {
        let mut world = world();
        if bottom {
            world.purge(sealvec::PurgeScope::Payload);
            world.look();
        }
        world.witness = Witness::of_all_that_is_sealed();
        world.look();
        // The index that is not touched stays under its first data key; it has less of each.
        let old = |world: &World, kind: u8| {
            world.witness.heads(kind).filter(|head| epoch(kind, head) == 1).count()
        };
        let before = HEADED.map(|kind| old(&world, kind));
        assert!(before.iter().all(|count| *count > 0), "{before:?}");
        world.db.rotate_data_keys(NAME, &root(ROOT)).unwrap();
        world.look();
        let mut stopped = 0;
        loop {
            let stop = |_: &_| ControlFlow::Break(());
            let report = world.index().reencrypt(ReencryptOptions::new(), stop).unwrap();
            if !report.stopped {
                assert_eq!(report.retired, 1);
                break;
            }
            stopped += 1;
            if stopped == 1 {
                // The control: what is sealed again is still there as it was.
                let traces = world.traces();
                assert!([ITEM, NODE].iter().all(|kind| traces[kind].1 > 0), "{traces:02x?}");
            }
            world.look();
        }
        assert!(stopped > 2, "{stopped}");
        let traces = world.traces();
        for kind in [&HEADED[..], &[WRAP, ROSTER], &PAYLOAD].concat() {
            let (all, found) = traces[&kind];
            assert!(all > 0, "nothing of kind {kind:02x} was written again");
            assert_eq!(found, 0, "of {all} records of kind {kind:02x}, bottom: {bottom}");
        }
        assert!(world.witness.finds_what_is_stored(&world.path));
        // As many are left under the first data key as the other index has.
        let after = HEADED.map(|kind| old(&world, kind));
        world.db.delete_index(NAME, &root(ROOT)).unwrap();
        world.look();
        assert_eq!(after, HEADED.map(|kind| old(&world, kind)));
        let other = world.db.load_index("other", root(ROOT)).unwrap();
        assert_eq!(other.verify_tree().unwrap().items, 5);
    }
}
