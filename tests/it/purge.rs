//! After a purge no file holds what was deleted or overwritten: every operation that removes
//! something, in every state that storage can be in.
//!
//! Each case fills a database, does the operation, and purges. Before the purge the witness must find
//! what the operation removed in the files (the positive control); afterwards it must not.

mod owed;
mod rekeyed;
mod witness;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sealvec::{
    Attribute, Database, Error, Include, Index, IndexConfig, Item, Metric, Options, Permissions,
    PurgeOptions, PurgeReceipt, PurgeScope, Tuning, Update,
};

use crate::support::{NAME, ROOT, index_key, refused, root, small, user, user_id, user_key};
use witness::{COLUMN, DIRECTORY, ITEM, NODE, PAYLOAD, POSTING, ROSTER, WRAP, Witness};

/// Long enough for a shared machine.
const LONG: PurgeOptions = PurgeOptions::new().deadline(Duration::from_secs(30));
const SHORT: PurgeOptions = PurgeOptions::new().deadline(Duration::from_millis(50));
const USER: u8 = 1;
const ITEMS: u16 = 60;

fn options() -> Options {
    let mut tuning = Tuning::new();
    tuning.leaf_items = 16;
    small().tuning(tuning)
}

fn item(n: u16) -> Item {
    let vector: Vec<f32> = (0..16u8).map(|d| (f32::from(n) * 1.7 + f32::from(d)).sin()).collect();
    // In two parts of the 64 KiB that a stored value has at most, for some.
    let contents = vec![u8::try_from(n % 251).unwrap(); if n % 20 == 3 { 70_000 } else { 300 }];
    Item::new(format!("item {n}"), vector)
        .contents(contents)
        .metadata(serde_json::json!({"number": n, "text": "some more"}))
}

struct World {
    directory: tempfile::TempDir,
    path: PathBuf,
    db: Database,
    witness: Witness,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let db = Database::open(&path, options()).unwrap();
        let config = IndexConfig::new(Metric::Euclidean).attribute("number", Attribute::Range);
        db.create_index(NAME, &index_key(ROOT), config).unwrap();
        db.create_index("other", &index_key(ROOT), IndexConfig::new(Metric::Cosine)).unwrap();
        let other = db.load_index("other", root(ROOT)).unwrap();
        other.upsert(&(0..5).map(item).collect::<Vec<_>>()).unwrap();
        let mut world = Self { directory, path, db, witness: Witness::default() };
        world.index().upsert(&(0..ITEMS).map(item).collect::<Vec<_>>()).unwrap();
        world.index().grant(user_id(USER), &user_key(USER), Permissions::READ_WRITE).unwrap();
        world.look();
        assert!(world.witness.finds_what_is_stored(&world.path));
        world
    }

    fn index(&self) -> Index<'static> {
        self.db.load_index(NAME, root(ROOT)).unwrap()
    }

    fn look(&mut self) {
        self.witness.look(&self.path);
    }

    /// How much of what is gone can be found, by kind: of how many, and how many.
    fn traces(&mut self) -> BTreeMap<u8, (usize, usize)> {
        self.look();
        self.witness.traces(&self.path)
    }

    fn purge(&self, scope: PurgeScope) -> PurgeReceipt {
        let receipt = self.index().purge(scope, LONG).unwrap().value;
        assert_eq!(receipt.scope, scope);
        assert_eq!(receipt.payload_remains, scope == PurgeScope::Records);
        receipt
    }

    fn reopen(self) -> Self {
        let Self { directory, path, db, witness } = self;
        db.close().unwrap();
        let db = Database::open(&path, options()).unwrap();
        Self { directory, path, db, witness }
    }

    /// Everything is as it should be for those who may look.
    fn check(&self, gone: &[&str]) {
        let index = self.index();
        index.verify_tree().unwrap();
        let ids: Vec<String> = (0..ITEMS).map(|n| format!("item {n}")).collect();
        for found in index.get(&ids, Include::ALL).unwrap().value {
            assert_eq!(found.item.is_none(), gone.contains(&&found.id[..]), "{}", found.id);
        }
        let other = self.db.load_index("other", root(ROOT)).unwrap();
        assert_eq!(other.verify_tree().unwrap().items, 5);
    }
}

/// What removes something, and leaves the purge to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Delete,
    Overwrite,
    Update,
    GrantAgain,
    Optimize,
}

const OPERATIONS: [Operation; 5] = [
    Operation::Delete,
    Operation::Overwrite,
    Operation::Update,
    Operation::GrantAgain,
    Operation::Optimize,
];

impl Operation {
    fn run(self, index: &Index<'_>) {
        match self {
            Self::Delete => {
                let ids: Vec<String> = (0..20).map(|n| format!("item {n}")).collect();
                assert_eq!(index.delete(&ids).unwrap().deleted, 20);
            }
            Self::Overwrite => {
                let again = |n| {
                    let item = item(n).contents(format!("these contents are new: {n}"));
                    item.metadata(serde_json::json!({"number": n + 1000}))
                };
                index.upsert(&(0..20).map(again).collect::<Vec<_>>()).unwrap();
            }
            Self::Update => {
                let update = Update::new().contents("these contents are new");
                let update = update.metadata(serde_json::json!({"number": 1000}));
                index.update("item 3", update).unwrap();
            }
            Self::GrantAgain => {
                index.grant(user_id(USER), &user_key(2), Permissions::READ).unwrap();
            }
            Self::Optimize => {
                assert!(index.optimize(|_| ControlFlow::Continue(())).unwrap().rebuilt > 0);
            }
        }
    }

    /// The kinds of which it removes records.
    const fn removes(self) -> &'static [u8] {
        match self {
            Self::Delete => &[ITEM, NODE, POSTING, DIRECTORY, COLUMN, PAYLOAD[1]],
            Self::Overwrite | Self::Update => &[ITEM, NODE, POSTING, COLUMN, PAYLOAD[1]],
            Self::GrantAgain => &[WRAP, ROSTER],
            Self::Optimize => &[NODE],
        }
    }
}

/// The state of storage when the operation comes, and what is in the way of the purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// Everything is in the log and in memory.
    Unflushed,
    /// Everything before is in tables of the first level.
    Flushed,
    /// Everything before is in tables of the last level.
    Bottom,
    /// As the last, and closed and opened between the operation and the purge.
    Reopened,
    /// Everything was written twice before, with a flush in between.
    Overwritten,
    /// A visit of everything begins before the operation and ends before the purge.
    Visited,
    /// A visit begins before the operation and ends while the purge waits.
    VisitedMeanwhile,
    /// As bottom, with payload purged too.
    Payload,
}

const SCENES: [Scene; 8] = [
    Scene::Unflushed,
    Scene::Flushed,
    Scene::Bottom,
    Scene::Reopened,
    Scene::Overwritten,
    Scene::Visited,
    Scene::VisitedMeanwhile,
    Scene::Payload,
];

/// Holds a visit of the index open until it is told, or dropped.
struct Visit(mpsc::Sender<()>, thread::JoinHandle<()>);

impl Visit {
    fn begin(index: Index<'static>) -> Self {
        let (end, told) = mpsc::channel();
        let (begun, inside) = mpsc::channel();
        let thread = thread::spawn(move || {
            let visited = index.for_each(Include::ALL, |_| {
                let _ = begun.send(());
                let _ = told.recv();
                ControlFlow::Break(())
            });
            visited.unwrap();
        });
        inside.recv().unwrap();
        Self(end, thread)
    }

    fn end(self) {
        drop(self.0);
        self.1.join().unwrap();
    }
}

fn scope(scene: Scene) -> PurgeScope {
    if scene == Scene::Payload { PurgeScope::Payload } else { PurgeScope::Records }
}

/// A world in whose storage an operation comes.
fn prepared(scene: Scene) -> World {
    let mut world = World::new();
    match scene {
        Scene::Flushed => world = world.reopen(),
        Scene::Bottom | Scene::Reopened | Scene::Payload => {
            world.purge(PurgeScope::Payload);
        }
        Scene::Overwritten => {
            world = world.reopen();
            let all: Vec<Item> = (0..ITEMS).map(|n| item(n).contents(vec![7; 400])).collect();
            world.index().upsert(&all).unwrap();
        }
        Scene::Unflushed | Scene::Visited | Scene::VisitedMeanwhile => {}
    }
    world.look();
    world
}

fn run(operation: Operation, scene: Scene) {
    let mut world = prepared(scene);
    let visited = [Scene::Visited, Scene::VisitedMeanwhile].contains(&scene);
    let visit = visited.then(|| Visit::begin(world.index()));
    operation.run(&world.index());
    if scene == Scene::Reopened {
        world.look();
        world = world.reopen();
    }
    let name = format!("{operation:?}, {scene:?}");
    let before = world.traces();
    for kind in operation.removes() {
        let (all, found) = before[kind];
        assert!(found > 0, "{name}: the search finds none of {all} of kind {kind:02x}");
    }
    let receipt = match (visit, scene) {
        (Some(visit), Scene::VisitedMeanwhile) => {
            let index = world.index();
            refused(index.purge(scope(scene), SHORT), "purge_incomplete", &["still running"]);
            let purging = thread::spawn(move || index.purge(scope(scene), LONG).unwrap());
            thread::sleep(Duration::from_millis(20));
            assert!(!purging.is_finished());
            visit.end();
            purging.join().unwrap().value
        }
        (visit, _) => {
            visit.into_iter().for_each(Visit::end);
            world.purge(scope(scene))
        }
    };
    assert!(receipt.files_removed > 0 && receipt.bytes_rewritten > 0, "{receipt:?}");
    assert_eq!(receipt.up_to, Some(world.index().describe().unwrap().version.sequence));
    let after = world.traces();
    for (kind, (all, found)) in &after {
        let left = PAYLOAD.contains(kind) && receipt.payload_remains;
        assert!(*found == 0 || left, "{name}: {found} of {all} records of kind {kind:02x}");
    }
    if scene == Scene::Bottom && operation == Operation::Delete {
        // The receipt says so, and it is so: this is what lies there and cannot be read.
        let (all, found) = after[&PAYLOAD[0]];
        assert_eq!((all, found), (20, 20));
    }
    assert!(world.witness.finds_what_is_stored(&world.path));
    let gone: Vec<String> = (0..20).map(|n| format!("item {n}")).collect();
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    world.check(if operation == Operation::Delete { &gone } else { &[] });
    // Nothing is owed any more, here and after a restart.
    let world = world.reopen();
    let owed = world.db.purge_owed().unwrap();
    let of_index = owed.iter().filter(|owed| owed.index == receipt.index).count();
    assert_eq!(of_index, 0, "{name}");
}

fn run_all(operation: Operation) {
    for scene in SCENES {
        run(operation, scene);
    }
    println!("deletion scans of {operation:?}: {}", SCENES.len());
}

#[test]
fn nothing_of_a_deleted_item_is_left() {
    run_all(Operation::Delete);
}

#[test]
fn nothing_of_an_overwritten_item_is_left() {
    run_all(Operation::Overwrite);
}

#[test]
fn nothing_of_an_updated_item_is_left() {
    run_all(Operation::Update);
}

#[test]
fn nothing_of_replaced_rights_is_left() {
    run_all(Operation::GrantAgain);
}

#[test]
fn nothing_of_a_rebuilt_tree_is_left() {
    run_all(Operation::Optimize);
    assert_eq!(OPERATIONS.len(), 5, "give the operation a test");
}

/// Makes a call that purges by itself, and that waits for a visit that is going on.
fn call_amid(visit: Option<Visit>, call: impl FnOnce() + Send) {
    let Some(visit) = visit else { return call() };
    thread::scope(|scope| {
        let calling = scope.spawn(call);
        thread::sleep(Duration::from_millis(20));
        assert!(!calling.is_finished(), "the visit is in its way");
        visit.end();
        calling.join().unwrap();
    });
}

/// The two calls that purge by themselves.
#[test]
fn revoke_and_delete_index_leave_nothing_of_what_they_remove() {
    let scenes = [
        Scene::Unflushed,
        Scene::Flushed,
        Scene::Bottom,
        Scene::Reopened,
        Scene::Overwritten,
        Scene::VisitedMeanwhile,
    ];
    for scene in scenes {
        let world = prepared(scene);
        let mut world = if scene == Scene::Reopened { world.reopen() } else { world };
        assert!(world.witness.finds_what_is_stored(&world.path), "while it is there it is found");
        let visit =
            |world: &World| (scene == Scene::VisitedMeanwhile).then(|| Visit::begin(world.index()));
        let revoke = || assert!(world.index().revoke(user_id(USER)).unwrap().value);
        call_amid(visit(&world), revoke);
        let traces = world.traces();
        assert_eq!((traces[&WRAP], traces[&ROSTER]), ((2, 0), (1, 0)), "{scene:?}");
        assert!(world.witness.finds_what_is_stored(&world.path));
        world.check(&[]);

        let delete = || world.db.delete_index(NAME, &root(ROOT)).unwrap();
        call_amid(visit(&world), delete);
        for (kind, (all, found)) in world.traces() {
            assert_eq!(found, 0, "{scene:?}: of {all} records of kind {kind:02x}");
        }
        assert!(world.witness.traces(&world.path)[&ITEM].0 >= usize::from(ITEMS));
        // The other index owes what it owed.
        assert_eq!(world.db.purge_owed().unwrap().len(), 0);
        let other = world.db.load_index("other", root(ROOT)).unwrap();
        assert_eq!(other.verify_tree().unwrap().items, 5);
    }
}

#[test]
fn those_who_query_all_the_time_keep_no_purge_waiting() {
    let mut world = World::new();
    world.purge(PurgeScope::Payload);
    let (stop, index) = (AtomicBool::new(false), world.index());
    let receipt = thread::scope(|scope| {
        for exact in [false, true, false] {
            let (index, stop) = (&index, &stop);
            scope.spawn(move || {
                let vector = item(7).vector().to_vec();
                while !stop.load(Ordering::Relaxed) {
                    let query = index.query(&vector).top_k(5).include(Include::ALL);
                    let query = if exact { query.exact() } else { query };
                    assert_eq!(query.run().unwrap().len(), 5);
                }
            });
        }
        Operation::Delete.run(&index);
        let receipt = index.purge(PurgeScope::Payload, LONG);
        stop.store(true, Ordering::Relaxed);
        receipt.unwrap()
    });
    assert!(!receipt.payload_remains);
    for (kind, (all, found)) in world.traces() {
        assert_eq!(found, 0, "of {all} records of kind {kind:02x}");
    }
}

#[test]
fn a_purge_goes_on_while_others_write_and_what_they_owe_stays_owed() {
    let mut world = World::new();
    Operation::Delete.run(&world.index());
    let before = world.traces();
    assert!(before[&ITEM].1 >= 20);
    let (stop, index) = (AtomicBool::new(false), world.index());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                index.upsert(&[item(100 + n % 7)]).unwrap();
                n += 1;
            }
        });
        for _ in 0..3 {
            let receipt = index.purge(PurgeScope::Records, LONG);
            assert!(receipt.unwrap().files_removed > 0);
        }
        index.upsert(&[item(100)]).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    // What was gone before they wrote is gone from the files.
    let after = world.witness.traces(&world.path);
    for kind in [ITEM, NODE, POSTING] {
        assert_eq!((after[&kind].0, after[&kind].1), (before[&kind].0, 0), "{kind:02x}");
    }
    world.index().upsert(&[item(100)]).unwrap();
    assert_eq!(world.db.purge_owed().unwrap().len(), 1);
    assert!(world.db.purge_owed().unwrap().is_empty());
    for kind in [ITEM, NODE, POSTING] {
        assert_eq!(world.traces()[&kind].1, 0);
    }
}

#[test]
fn who_may_not_write_may_not_purge() {
    let world = World::new();
    let key = user_key(2);
    world.index().grant(user_id(2), &key, Permissions::READ).unwrap();
    let index = world.db.open_index(NAME).unwrap();
    let purge = |caller| index.with_key(&caller).purge(PurgeScope::Records, LONG);
    refused(purge(user(2, 2)), "permission_denied", &["write"]);
    refused(purge(user(USER, 9)), "wrong_key", &[]);
    assert!(purge(user(USER, USER)).is_ok());
    let path: &Path = &world.path;
    let reading = Database::open_read_only(path, options()).unwrap();
    let bound = reading.load_index(NAME, root(ROOT)).unwrap();
    assert_eq!(bound.purge(PurgeScope::Records, LONG).unwrap_err(), Error::ReadOnly);
}
