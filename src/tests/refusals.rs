//! A refused change reads no item: neither time nor a cache can tell what it did not look at.
//!
//! Three kinds of refusal come before the first read: of a right, of an argument, and of the
//! state of the index that the change is based on. The positive control makes the same calls with
//! nothing wrong, and each of them reads.

use crate::condition::WriteOptions;
use crate::config::{IndexConfig, Options};
use crate::crypto::{IndexKey, KeyContext, UserKey};
use crate::database::Database;
use crate::delete::{DeleteOptions, Selector};
use crate::error::Result;
use crate::filter::Filter;
use crate::id::{ETag, Permissions, Trace, UserId};
use crate::index::{Index, Item, Update};
use crate::keyring::ReadKey;
use crate::store::tampering::Tampering;
use crate::vector::Metric;

const NAME: &str = "index";
const READER: u8 = 2;
const WRITER: u8 = 3;

fn user(id: u8) -> KeyContext {
    KeyContext::user(UserId([id; 16]), UserKey::from_bytes(&[id; 32]).unwrap())
}

fn root() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(&[7; 32]).unwrap())
}

/// An index with the items `there` and `stays`.
fn world() -> (Tampering, Database) {
    let store = Tampering::new();
    let options = Options::new().threads(1).max_delete(3);
    let db = Database::with_test_engine(Box::new(store.clone()), options).unwrap();
    let key = IndexKey::from_bytes(&[7; 32]).unwrap();
    db.create_index(NAME, &key, IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, root()).unwrap();
    for (id, rights) in [(READER, Permissions::READ), (WRITER, Permissions::WRITE)] {
        index.grant(UserId([id; 16]), &UserKey::from_bytes(&[id; 32]).unwrap(), rights).unwrap();
    }
    index.upsert(&[Item::new("there", [1.0, 0.0]), Item::new("stays", [0.0, 1.0])]).unwrap();
    (store, db)
}

/// How a call is made: about which id, bad or not, under which ETag.
struct Call<'a> {
    index: &'a Index<'a>,
    id: &'a str,
    bad: bool,
    if_match: ETag,
}

impl Call<'_> {
    fn id(&self) -> &str {
        if self.bad { ".." } else { self.id }
    }

    fn item(&self) -> Item {
        Item::new(self.id(), [1.0, 1.0])
    }

    fn deleting(&self) -> DeleteOptions {
        DeleteOptions::new().if_match(self.if_match)
    }

    fn writing(&self) -> WriteOptions {
        WriteOptions::new().if_match(self.if_match)
    }
}

/// An operation, and whether the write right alone is enough for it.
type Operation = (&'static str, bool, fn(&Call<'_>) -> Result<()>);

const OPERATIONS: [Operation; 13] = [
    ("delete", true, |call| call.index.delete_with(&[call.id()], &call.deleting()).map(drop)),
    ("delete, many", true, |call| {
        let ids = vec![call.id; if call.bad { 4 } else { 3 }];
        call.index.delete_with(&ids, &call.deleting()).map(drop)
    }),
    ("delete, version", false, |call| {
        let versions = [(call.id(), 4)];
        call.index.delete_with(Selector::versions(&versions), &call.deleting()).map(drop)
    }),
    ("delete, prefix", false, |call| {
        let prefix = Selector::prefix(if call.bad { "" } else { call.id });
        call.index.delete_with(prefix, &call.deleting()).map(drop)
    }),
    ("delete_where", false, |call| {
        // Nothing but metadata can say what has no such field.
        let filter = !Filter::exists(if call.bad { "a..b" } else { call.id });
        call.index.delete_where(&filter, &call.deleting()).map(drop)
    }),
    ("delete, dry run", false, |call| {
        call.index.delete_with(&[call.id()], &call.deleting().dry_run(true)).map(drop)
    }),
    ("delete, limit", false, |call| {
        call.index.delete_with(&[call.id()], &call.deleting().limit(1)).map(drop)
    }),
    ("upsert", true, |call| call.index.upsert_with(&[call.item()], &call.writing()).map(drop)),
    ("upsert, if_none_match", false, |call| {
        let options = call.writing().if_none_match(true);
        call.index.upsert_with(&[call.item()], &options).map(drop)
    }),
    ("upsert, if_version", false, |call| {
        call.index.upsert_with(&[call.item().if_version(4)], &call.writing()).map(drop)
    }),
    ("update", true, |call| {
        let update = Update::new().contents("x");
        call.index.update_with(call.id(), update, &call.writing()).map(drop)
    }),
    ("update, if_version", false, |call| {
        let update = Update::new().contents("x").if_version(4);
        call.index.update_with(call.id(), update, &call.writing()).map(drop)
    }),
    ("write_batch", true, |call| {
        let new = [Item::new("new", [1.0, 1.0])];
        call.index.write_batch(&new, &[call.id()], &call.writing()).map(drop)
    }),
];

#[test]
fn a_refused_change_reads_no_item_and_leaves_every_byte() {
    for (name, write_is_enough, run) in OPERATIONS {
        for id in ["there", "absent"] {
            let (store, db) = world();
            let open = |key| db.load_index(NAME, key).unwrap();
            let as_root = open(root());
            let (now, stale) = (as_root.describe().unwrap().etag, ETag([9; 32]));
            let refused = |key, bad, if_match, code: &str| {
                let index = open(key);
                let (before, read) = (store.copy(), store.reads_of_items());
                let error = run(&Call { index: &index, id, bad, if_match }).unwrap_err();
                assert_eq!(error.code(), code, "{name}, {id}");
                assert_eq!(store.reads_of_items(), read, "{name}, {id}: {code}");
                assert!(store.copy() == before, "{name}, {id}: {code}");
            };
            let argument = if name == "delete, many" { "too_large" } else { "invalid_argument" };
            refused(user(READER), false, now, "permission_denied");
            if !write_is_enough {
                refused(user(WRITER), false, now, "permission_denied");
            }
            refused(root(), true, now, argument);
            refused(root(), false, stale, "precondition_failed");
            // The positive control.
            let read = store.reads_of_items();
            let _ = run(&Call { index: &as_root, id, bad: false, if_match: now });
            assert!(store.reads_of_items() > read, "{name}, {id}: reads are counted");
        }
    }
}

#[test]
fn a_commit_keeps_the_trace_and_nothing_of_a_malformed_one() {
    let (store, db) = world();
    let index = db.load_index(NAME, root()).unwrap();
    let kept = || index.inspect(|_, key: &ReadKey| Ok(key.head.commit.trace)).unwrap();
    let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = Trace::from_traceparent(header);
    let options = DeleteOptions::new().trace(trace);
    // What changes nothing makes no commit that could keep one.
    index.delete_with(&["absent"], &options).unwrap();
    assert_eq!(kept(), Trace::None);
    index.delete_with(&["there"], &options).unwrap();
    assert_eq!(kept(), trace);
    let malformed = DeleteOptions::new().trace(Trace::from_traceparent("canary-4711"));
    index.delete_with(&["stays"], &malformed).unwrap();
    assert_eq!(kept(), Trace::Malformed);
    for (_, pairs) in store.copy() {
        let held = pairs.iter().any(|(_, value)| value.windows(6).any(|part| part == b"canary"));
        assert!(!held);
    }
    index.upsert(&[Item::new("a", [1.0, 0.0])]).unwrap();
    assert_eq!(kept(), Trace::None, "a trace is of one commit");
}
