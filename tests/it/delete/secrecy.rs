//! What a refusal and a report tell of items that the caller may not know.
//!
//! That a refused call reads no item at all is checked where reads are counted, in
//! `src/tests/refusals.rs`.

use sealvec::{
    DeleteOptions, Error, Filter, Index, Missing, Needs, Permissions, Result, Selector, Update,
    WriteOptions,
};

use super::{World, item};
use crate::support::{user, user_id, user_key};

/// Calls about one id: name, whether the write right alone is enough, and the call.
type Call = (&'static str, bool, fn(&Index<'_>, &str) -> Result<()>);

const CALLS: [Call; 15] = [
    ("delete", true, |index, id| index.delete(&[id]).map(drop)),
    ("delete, missing is an error", false, |index, id| {
        let strict = DeleteOptions::new().missing(Missing::Error).dry_run(true);
        index.delete_with(&[id], &strict).map(drop)
    }),
    ("delete, version", false, |index, id| {
        index.delete_with(Selector::versions(&[(id, 2)]), &DeleteOptions::new()).map(drop)
    }),
    ("delete, limit 0", false, |index, id| {
        index.delete_with(&[id], &DeleteOptions::new().limit(0)).map(drop)
    }),
    ("delete, prefix", false, |index, id| {
        index.delete_with(Selector::prefix(id), &DeleteOptions::new()).map(drop)
    }),
    ("delete, all", false, |index, _| {
        index.delete_with(Selector::all(), &DeleteOptions::new()).map(drop)
    }),
    ("delete_where", false, |index, id| {
        index.delete_where(&Filter::eq("field", id), &DeleteOptions::new()).map(drop)
    }),
    ("delete, dry run", false, |index, id| {
        index.delete_with(&[id], &DeleteOptions::new().dry_run(true)).map(drop)
    }),
    ("upsert", true, |index, id| index.upsert(&[item(id)]).map(drop)),
    ("upsert, if_none_match", false, |index, id| {
        index.upsert_with(&[item(id)], &WriteOptions::new().if_none_match(true)).map(drop)
    }),
    ("upsert, if_version", false, |index, id| index.upsert(&[item(id).if_version(2)]).map(drop)),
    ("upsert, if_absent", false, |index, id| index.upsert(&[item(id).if_absent()]).map(drop)),
    ("update", true, |index, id| index.update(id, Update::new().contents("x")).map(drop)),
    ("update, if_version", false, |index, id| {
        index.update(id, Update::new().contents("x").if_version(2)).map(drop)
    }),
    ("write_batch, if_none_match", false, |index, id| {
        let options = WriteOptions::new().if_none_match(true);
        index.write_batch(&[item("new")], &[id], &options).map(drop)
    }),
];

fn world() -> World {
    let mut world = World::new(false);
    world.create();
    world.put(&["there"]);
    world.index().grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
    world.index().grant(user_id(3), &user_key(3), Permissions::WRITE).unwrap();
    world
}

/// The error to the last byte of every form it has.
fn bytes(error: &Error) -> String {
    format!("{error:?}|{error}|{}|{}|{:?}", error.code(), error.http_status(), error.is_retryable())
}

#[test]
fn a_refusal_is_the_same_whether_or_not_the_item_is_there() {
    for (caller, needs) in [(user(2, 2), Needs::Write), (user(3, 3), Needs::Read)] {
        for (name, write_is_enough, call) in CALLS {
            if needs == Needs::Read && write_is_enough {
                continue;
            }
            let mut world = world();
            let mut refusal = |id: &str| {
                let refused =
                    world.refuses("permission_denied", |i| call(&i.with_key(&caller), id));
                assert_eq!(refused, Error::PermissionDenied { needs }, "{name}");
                bytes(&refused)
            };
            assert_eq!(refusal("there"), refusal("absent"), "{name}");
        }
    }
    // A stranger gets as little, of the right key of nobody.
    for (name, _, call) in CALLS {
        let mut world = world();
        let mut refusal =
            |id| bytes(&world.refuses("wrong_key", |index| call(&index.with_key(&user(9, 9)), id)));
        assert_eq!(refusal("there"), refusal("absent"), "{name}");
    }
    // The positive control: who may both, is not refused and is told the difference.
    for (name, _, call) in CALLS {
        let mut world = world();
        let result = world.call(|index| call(index, "there"));
        let denied = result.is_err_and(|error| error.code() == "permission_denied");
        assert!(!denied, "{name}");
    }
}

#[test]
fn who_may_only_write_gets_counts_and_no_outcomes() {
    let mut world = world();
    world.put(&["other"]);
    let ids = ["there", "absent"];
    let report = world.call(|index| index.with_key(&user(3, 3)).delete(&ids)).unwrap();
    assert_eq!((report.deleted, report.missing, report.item_count), (1, 1, 1));
    assert!(report.outcomes.is_empty());
    world.agrees(&report);
    let report = world.call(|index| index.delete(&["other", "absent"])).unwrap();
    assert_eq!(report.outcomes.len(), 2, "who may read is told");
}
