//! What options say of one call, whatever the handle says.

use std::path::Path;

use sealvec::{
    Database, DeleteOptions, Durability, Index, IndexConfig, Item, Metric, Operation, Selector,
    Trace, Update, VersionToken, WriteOptions,
};

use crate::support::{NAME, ROOT, index_key, root, small};

const OWN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OF_THE_HANDLE: &str = "00-11111111111111111111111111111111-2222222222222222-00";

/// A kind of call, and how to make one that changes something.
type Call = (Operation, fn(&Index<'_>, Option<Durability>, Trace) -> VersionToken);

fn write(durability: Option<Durability>, trace: Trace) -> WriteOptions {
    let options = WriteOptions::new().trace(trace);
    durability.map_or(options, |durability| options.durability(durability))
}

/// On disk, for in memory nothing is durable.
fn opened(directory: &Path) -> (Database, Index<'static>) {
    let db = Database::open(directory.join("db"), small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    (db, index)
}

fn item(id: &str) -> Item {
    Item::new(id, [1.0, 2.0])
}

/// Every call that takes them. The first makes what the others change.
const CALLS: [Call; 4] = [
    (Operation::Upsert, |index, durability, trace| {
        let options = write(durability, trace);
        index.upsert_with(&[item("a"), item("b")], &options).unwrap().version
    }),
    (Operation::Update, |index, durability, trace| {
        let update = Update::new().contents("text");
        index.update_with("a", update, &write(durability, trace)).unwrap().version
    }),
    (Operation::Write, |index, durability, trace| {
        index.write_batch(&[item("c")], &["b"], &write(durability, trace)).unwrap().version
    }),
    (Operation::Delete, |index, durability, trace| {
        let options = DeleteOptions::new().trace(trace);
        let options = durability.map_or(options, |durability| options.durability(durability));
        index.delete_with(Selector::ids(&["a"]), &options).unwrap().version
    }),
];

fn last(index: &Index<'_>) -> (Operation, Trace) {
    let found = index.history(.., 1).unwrap();
    (found.commits[0].operation, found.commits[0].trace)
}

#[test]
fn a_trace_goes_with_the_call_and_before_that_of_the_handle() {
    let directory = tempfile::tempdir().unwrap();
    let (_db, index) = opened(directory.path());
    let of_handle = index.with_traceparent(OF_THE_HANDLE);
    let [own, handle] = [OWN, OF_THE_HANDLE].map(Trace::from_traceparent);
    for (operation, call) in CALLS {
        call(&of_handle, None, own);
        assert_eq!(last(&index), (operation, own));
    }
    // The controls.
    for (operation, call) in CALLS {
        call(&of_handle, None, Trace::None);
        assert_eq!(last(&index), (operation, handle));
    }
    for (operation, call) in CALLS {
        call(&index, None, Trace::None);
        assert_eq!(last(&index), (operation, Trace::None));
    }
}

#[test]
fn a_call_is_as_durable_as_it_says_else_as_the_handle_says() {
    let directory = tempfile::tempdir().unwrap();
    let (_db, index) = opened(directory.path());
    for of_handle in [Durability::Synced, Durability::Buffered] {
        let index = index.with_durability(of_handle);
        for of_call in [None, Some(Durability::Synced), Some(Durability::Buffered)] {
            let synced = of_call.unwrap_or(of_handle) == Durability::Synced;
            for (operation, call) in CALLS {
                let version = call(&index, of_call, Trace::None);
                assert_eq!(version.durable, synced, "{operation:?} {of_handle:?} {of_call:?}");
            }
        }
    }
}
