//! What is said first of a call with several faults: always the earlier of index, key, right,
//! argument, condition. So nobody learns of a condition who may not write, and nobody learns of
//! anything who has no key.

use sealvec::{
    DeleteOptions, ETag, Error, Filter, Index, Item, KeyContext, Needs, Options, Permissions,
    Result, Selector, Update, WriteOptions,
};

use super::{World, item};
use crate::support::{NAME, ROOT, code, root, small, user, user_id, user_key};

/// Faults, in the order in which they are said.
const MISSING_INDEX: u8 = 1;
const NO_KEY: u8 = 2;
const NO_RIGHT: u8 = 4;
const BAD_ARGUMENT: u8 = 8;
const UNMET: u8 = 16;

/// What a call is made with.
struct Call<'a> {
    index: &'a Index<'a>,
    bad: bool,
    if_match: Option<ETag>,
    /// The version of the item `a`.
    version: u64,
}

impl Call<'_> {
    fn id(&self) -> &'static str {
        if self.bad { ".." } else { "a" }
    }

    fn deleting(&self) -> DeleteOptions {
        let options = DeleteOptions::new();
        self.if_match.map_or(options, |etag| options.if_match(etag))
    }

    fn writing(&self) -> WriteOptions {
        let options = WriteOptions::new();
        self.if_match.map_or(options, |etag| options.if_match(etag))
    }

    fn item(&self, id: &str) -> Item {
        if self.bad { Item::new(id, [f32::NAN; 2]) } else { item(id) }
    }

    fn update(&self) -> Update {
        if self.bad { Update::new() } else { Update::new().contents("x") }
    }
}

/// An operation, the right that it needs and a user may lack, and what a bad argument is to it.
type Operation = (&'static str, Needs, &'static str, fn(&Call<'_>) -> Result<()>);

const OPERATIONS: [Operation; 18] = [
    ("delete", Needs::Write, "invalid_argument", |call| {
        call.index.delete_with(&[call.id()], &call.deleting()).map(drop)
    }),
    ("delete, many", Needs::Write, "too_large", |call| {
        let ids = if call.bad { vec!["a"; 4] } else { vec!["a"; 3] };
        call.index.delete_with(&ids, &call.deleting()).map(drop)
    }),
    ("delete, versions", Needs::Read, "invalid_argument", |call| {
        let versions = [(call.id(), call.version)];
        call.index.delete_with(Selector::versions(&versions), &call.deleting()).map(drop)
    }),
    ("delete, prefix", Needs::Read, "invalid_argument", |call| {
        let prefix = Selector::prefix(if call.bad { "" } else { "a" });
        call.index.delete_with(prefix, &call.deleting()).map(drop)
    }),
    ("delete, all", Needs::Read, "", |call| {
        call.index.delete_with(Selector::all(), &call.deleting()).map(drop)
    }),
    ("delete_where", Needs::Read, "invalid_argument", |call| {
        let filter = !Filter::exists(if call.bad { "a..b" } else { "none" });
        call.index.delete_where(&filter, &call.deleting()).map(drop)
    }),
    ("delete, dry run", Needs::Read, "invalid_argument", |call| {
        call.index.delete_with(&[call.id()], &call.deleting().dry_run(true)).map(drop)
    }),
    ("delete, limit", Needs::Read, "invalid_argument", |call| {
        call.index.delete_with(&[call.id()], &call.deleting().limit(1)).map(drop)
    }),
    ("upsert", Needs::Write, "invalid_argument", |call| {
        call.index.upsert_with(&[call.item("a")], &call.writing()).map(drop)
    }),
    ("upsert, if_none_match", Needs::Read, "invalid_argument", |call| {
        let options = call.writing().if_none_match(true);
        call.index.upsert_with(&[call.item("new")], &options).map(drop)
    }),
    ("upsert, if_absent", Needs::Read, "invalid_argument", |call| {
        call.index.upsert_with(&[call.item("new").if_absent()], &call.writing()).map(drop)
    }),
    ("upsert, if_version", Needs::Read, "invalid_argument", |call| {
        let item = call.item("a").if_version(call.version);
        call.index.upsert_with(&[item], &call.writing()).map(drop)
    }),
    ("update", Needs::Write, "invalid_argument", |call| {
        call.index.update_with("a", call.update(), &call.writing()).map(drop)
    }),
    ("update, id", Needs::Write, "invalid_argument", |call| {
        let update = Update::new().contents("x");
        call.index.update_with(call.id(), update, &call.writing()).map(drop)
    }),
    ("update, if_version", Needs::Read, "invalid_argument", |call| {
        let update = call.update().if_version(call.version);
        call.index.update_with("a", update, &call.writing()).map(drop)
    }),
    ("write_batch", Needs::Write, "invalid_argument", |call| {
        call.index.write_batch(&[item("new")], &[call.id()], &call.writing()).map(drop)
    }),
    ("write_batch, many", Needs::Write, "too_large", |call| {
        let ids = if call.bad { vec!["a"; 4] } else { vec!["a"; 3] };
        call.index.write_batch(&[item("new")], &ids, &call.writing()).map(drop)
    }),
    ("write_batch, if_none_match", Needs::Read, "invalid_argument", |call| {
        let options = call.writing().if_none_match(true);
        call.index.write_batch(&[call.item("new")], &["a"], &options).map(drop)
    }),
];

/// The key that a call with these faults comes with, and none.
fn keys(faults: u8, needs: Needs) -> Vec<Option<KeyContext>> {
    let lacking = if needs == Needs::Write { 2 } else { 3 };
    match (faults & NO_KEY != 0, faults & NO_RIGHT != 0) {
        (false, false) => vec![Some(root(ROOT))],
        (false, true) => vec![Some(user(lacking, lacking))],
        (true, false) => vec![Some(root(99)), None],
        (true, true) => vec![Some(user(lacking, 99)), None],
    }
}

#[test]
fn the_earlier_fault_is_the_one_that_is_said() {
    let options: Options = small().max_delete(3);
    let mut cells = 0;
    for (name, needs, bad, run) in OPERATIONS {
        for faults in 0..32u8 {
            if faults & BAD_ARGUMENT != 0 && bad.is_empty() {
                continue;
            }
            for key in keys(faults, needs) {
                let mut world = World::new(false);
                world.configure(options.clone());
                world.create();
                let stale = world.etag();
                let version = world.put(&["a"]).version.sequence;
                let grant = |id, rights| {
                    world.index().grant(user_id(id), &user_key(id), rights).unwrap();
                };
                grant(2, Permissions::READ);
                grant(3, Permissions::WRITE);
                let handle = world.db().open_index(NAME).unwrap();
                let index = key.as_ref().map_or(handle.clone(), |key| handle.with_key(key));
                let missing = faults & MISSING_INDEX != 0;
                let before = (!missing).then(|| world.state());
                if missing {
                    world.drop_index();
                }
                let if_match = (faults & UNMET != 0).then_some(stale);
                let result = run(&Call {
                    index: &index,
                    bad: faults & BAD_ARGUMENT != 0,
                    if_match,
                    version,
                });
                let expected = match 1u8.checked_shl(faults.trailing_zeros()) {
                    Some(MISSING_INDEX) => "index_not_found",
                    Some(NO_KEY) if key.is_none() => "missing_key",
                    Some(NO_KEY) => "wrong_key",
                    Some(NO_RIGHT) => "permission_denied",
                    Some(BAD_ARGUMENT) => bad,
                    Some(UNMET) => "precondition_failed",
                    _ => "ok",
                };
                assert_eq!(code(&result), expected, "{name}, faults {faults:05b}");
                if expected == "permission_denied" {
                    assert_eq!(result, Err(Error::PermissionDenied { needs }), "{name}");
                }
                if let Some(before) = before.filter(|_| faults != 0) {
                    assert_eq!(world.state(), before, "{name}, faults {faults:05b}");
                }
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 17 * 48 + 24);
}

#[test]
fn the_state_of_the_index_comes_before_that_of_items() {
    let mut world = World::new(false);
    world.create();
    let old = world.put(&["a"]);
    world.put(&["a"]);
    let stale = world.etag();
    world.put(&["b"]);
    let versions = [("absent", 1), ("a", old.version.sequence)];
    let deleting = DeleteOptions::new().if_match(stale).missing(sealvec::Missing::Error);
    let writing = WriteOptions::new().if_match(stale);
    let unmet = Error::PreconditionFailed(sealvec::Unmet::ETag { current: world.etag() });
    let update = || Update::new().contents("x").if_version(old.version.sequence);
    let said = [
        world.call(|i| i.delete_with(Selector::versions(&versions), &deleting)).map(drop),
        world.call(|i| i.upsert_with(&[item("a").if_absent()], &writing)).map(drop),
        world.call(|i| i.update_with("a", update(), &writing)).map(drop),
        world.call(|i| i.update_with("absent", update(), &writing)).map(drop),
    ];
    assert!(said.iter().all(|said| said.as_ref() == Err(&unmet)));
    // The positive control: under the right ETag the items' own conditions are said.
    let writing = WriteOptions::new().if_match(world.etag());
    world.refuses("precondition_failed", |i| i.update_with("a", update(), &writing));
    world.refuses("item_not_found", |i| i.update_with("absent", update(), &writing));
}
