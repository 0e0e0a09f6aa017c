//! What is said first when several things are wrong with a call.

use sealvec::{Error, Filter, Include, Index, Item, Needs, Update};

use super::{World, bulk};
use crate::support::user;

/// Each operation that takes arguments, with arguments that are refused.
pub(super) fn run_badly(index: &Index<'_>) -> Vec<(&'static str, Needs, Error)> {
    let bad = [f32::NAN; 2];
    let no_filter = || Filter::eq("a..b", 1);
    let entries = [
        ("get", Needs::Read, index.get(&[""], Include::ALL).map(drop)),
        ("query", Needs::Read, index.query(&bad).run().map(drop)),
        ("query, top_k 0", Needs::Read, index.query(&[1.0, 0.0]).top_k(0).run().map(drop)),
        ("query, effort", Needs::Read, index.query(&[1.0, 0.0]).effort(0).run().map(drop)),
        ("query, probes", Needs::Read, index.query(&[1.0, 0.0]).probes(0).run().map(drop)),
        ("query_batch", Needs::Read, index.query_batch([&bad[..]]).run().map(drop)),
        (
            "query, filter",
            Needs::Read,
            index.query(&[1.0, 0.0]).filter(no_filter()).run().map(drop),
        ),
        ("count_where", Needs::Read, index.count_where(&no_filter()).map(drop)),
        ("query_metadata", Needs::Read, index.query_metadata(&no_filter()).run().map(drop)),
        ("list_ids", Needs::Read, index.list_ids(0, None).map(drop)),
        ("history", Needs::Read, index.history(.., 0).map(drop)),
        ("check", Needs::Write, index.check(&[Item::new("", bad)])),
        ("upsert", Needs::Write, index.upsert(&[Item::new("", bad)]).map(drop)),
        ("bulk_upsert", Needs::Write, bulk(index, [Item::new("", bad)])),
        ("update", Needs::Write, index.update("a", Update::new()).map(drop)),
        ("update, id", Needs::Write, index.update("", Update::new().contents("x")).map(drop)),
        ("delete", Needs::Write, index.delete(&[".."]).map(drop)),
    ];
    entries.into_iter().map(|(name, needs, result)| (name, needs, result.unwrap_err())).collect()
}

#[test]
fn the_key_is_judged_before_the_arguments() {
    let world = World::new(|| None);
    let (reader, writer, stranger) = (user(2, 2), user(3, 3), user(4, 4));
    for (name, _, error) in run_badly(&world.root) {
        assert_eq!(error.code(), "invalid_argument", "{name}");
    }
    for (name, _, error) in run_badly(&world.early) {
        assert_eq!(error, Error::MissingKey, "{name}");
    }
    for (name, _, error) in run_badly(&world.early.with_key(&stranger)) {
        assert_eq!(error, Error::WrongKey, "{name}");
    }
    for (caller, right) in [(&reader, Needs::Read), (&writer, Needs::Write)] {
        for (name, needs, error) in run_badly(&world.early.with_key(caller)) {
            if needs == right {
                assert_eq!(error.code(), "invalid_argument", "{name}");
            } else {
                assert_eq!(error, Error::PermissionDenied { needs }, "{name}");
            }
        }
    }
    // A call that would do nothing is refused too.
    let refused = Error::PermissionDenied { needs: Needs::Write };
    let reading = world.early.with_key(&reader);
    assert_eq!(reading.upsert(&[]).unwrap_err(), refused);
    assert_eq!(bulk(&reading, []).unwrap_err(), refused);
    assert_eq!(reading.check(&[]).unwrap_err(), refused);
    assert_eq!(reading.delete::<&str>(&[]).unwrap_err(), refused);
    let writing = world.early.with_key(&writer);
    let refused = Error::PermissionDenied { needs: Needs::Read };
    assert_eq!(writing.get::<&str>(&[], Include::NONE).unwrap_err(), refused);
    assert_eq!(writing.query_batch([]).run().unwrap_err(), refused);
}
