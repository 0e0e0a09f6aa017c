//! Data keys that are changed: what is under which, seen from inside.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::index::open_item;
use crate::keyring::{ReadKey, RootKey, Session};
use crate::store::key::Kind;
use crate::store::record::{ITEM, epoch_of, node_epochs};
use crate::store::{Family, Snapshot, key};
use crate::{
    Attribute, Database, Error, Filter, Include, Index, IndexConfig, IndexKey, Item, KeyContext,
    MIN_RETENTION, Metric, Operation, Permissions, ReencryptOptions, ReencryptReport, UserId,
    UserKey,
};

fn root() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(&[9; 32]).unwrap())
}

fn made(config: IndexConfig) -> (Database, Index<'static>) {
    let db = Database::in_memory().unwrap();
    let key = IndexKey::from_bytes(&[9; 32]).unwrap();
    db.create_index("notes", &key, config).unwrap();
    let index = db.load_index("notes", root()).unwrap();
    (db, index)
}

fn item(n: u16) -> Item {
    let angle = f32::from(n).sin() * 1000.0;
    Item::new(n.to_string(), [angle.fract(), (angle * 7.0).fract(), f32::from(n % 97)])
        .contents(format!("contents {n}"))
        .metadata(json!({ "n": n, "even": n.is_multiple_of(2) }))
}

fn to_the_end(index: &Index<'_>) -> ReencryptReport {
    index.reencrypt(ReencryptOptions::new(), |_| ControlFlow::Continue(())).unwrap()
}

/// Everything that can be read of the items, but for the state of the chain.
fn contents(index: &Index<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    index
        .for_each(Include::ALL, |entry| {
            let crate::Entry { id, vector, contents, metadata, version } = entry;
            let content = format!("{vector:?} {contents:?} {metadata:?} {version}");
            all.insert(id.to_owned(), content);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

/// Every check there is, and what the history shows.
fn check(index: &Index<'_>) -> Vec<Operation> {
    let report = index.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
    index.verify_tree().unwrap();
    let mut operations = Vec::new();
    index
        .for_each_commit(.., |commit| {
            operations.push(commit.operation);
            ControlFlow::Continue(())
        })
        .unwrap();
    operations
}

/// The epochs in the header of every stored record, by its kind, and of payload. Read here and not
/// by the code under test.
fn epochs(snapshot: &dyn Snapshot, session: &Session) -> BTreeMap<Kind, BTreeSet<u32>> {
    let index = session.index;
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for family in Family::ALL {
        snapshot
            .scan(family, &index.0, &index.0, &mut |place, stored| {
                let kind = Kind::of(place).unwrap();
                let of = found.entry(kind).or_default();
                match kind {
                    Kind::Head | Kind::SetHash | Kind::Wrap | Kind::Roster => {}
                    Kind::Node => {
                        if let (id, 0) = key::node_of(place).unwrap() {
                            of.extend(node_epochs(index, id, stored).unwrap());
                        }
                    }
                    Kind::Vector | Kind::Contents | Kind::Metadata => {
                        let (item, _) = key::payload_of(place).unwrap();
                        let record = snapshot.get(Family::Items, &key::item(index, &item));
                        let record = record.unwrap().unwrap();
                        let record = open_item(session, &item, &record, &mut Vec::new()).unwrap();
                        of.insert(record.payload_epoch);
                    }
                    _ => {
                        of.insert(epoch_of(stored).unwrap());
                    }
                }
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    found
}

fn epochs_by_kind(index: &Index<'_>) -> BTreeMap<Kind, BTreeSet<u32>> {
    index.inspect(|snapshot, key: &RootKey| Ok(epochs(snapshot, key))).unwrap()
}

fn stored_epochs(index: &Index<'_>) -> BTreeSet<u32> {
    epochs_by_kind(index).into_values().flatten().collect()
}

/// A kind of record that no stage seals again keeps its data key in use, and the run fails here.
#[test]
fn every_kind_of_record_is_sealed_again() {
    let config = IndexConfig::new(Metric::Euclidean).retention(MIN_RETENTION);
    let (db, index) = made(config.attribute("n", Attribute::Range));
    let user = UserId::from_bytes(&[1; 16]).unwrap();
    let users_key = || UserKey::from_bytes(&[2; 32]).unwrap();
    index.grant(user, &users_key(), Permissions::READ_WRITE).unwrap();
    for n in 0..40 {
        index.upsert(&[item(n)]).unwrap();
    }
    let long = |n: u16| Item::new(format!("long {n}"), [0.0, 1.0, 2.0]).contents(vec![7; 200_000]);
    let many = (40..900).map(item).chain((0..3).map(long));
    index.upsert(&many.collect::<Vec<_>>()).unwrap();
    let before = contents(&index);
    let selected = *index.count_where(&Filter::lt("n", 100)).unwrap();
    assert_eq!(selected, 100);

    let of_the_index = |kind: &Kind| (*kind as u8) >= 0x10;
    let all: BTreeSet<Kind> = Kind::ALL.into_iter().filter(of_the_index).collect();
    let stored = epochs_by_kind(&index);
    assert_eq!(stored.keys().copied().collect::<BTreeSet<_>>(), all, "each is there");
    let sealed: BTreeSet<Kind> =
        stored.iter().filter(|(_, epochs)| !epochs.is_empty()).map(|(kind, _)| *kind).collect();

    db.rotate_data_keys("notes", &root()).unwrap();
    for (kind, epochs) in epochs_by_kind(&index) {
        if sealed.contains(&kind) && kind != Kind::Table && kind != Kind::Fold {
            assert!(epochs.contains(&1), "{kind:?} is still to be sealed again");
        }
    }
    // New records beside those, appended to nodes that are under the older data key.
    index.upsert(&(900..910).map(item).collect::<Vec<_>>()).unwrap();
    assert_eq!(to_the_end(&index).retired, 1);
    for (kind, epochs) in epochs_by_kind(&index) {
        let expected = if sealed.contains(&kind) { BTreeSet::from([2]) } else { BTreeSet::new() };
        assert_eq!(epochs, expected, "{kind:?}");
    }
    let by_user = db.load_index("notes", KeyContext::user(user, users_key())).unwrap();
    for index in [&index, &by_user] {
        check(index);
        let after = contents(index);
        assert!(before.iter().all(|(id, content)| after.get(id) == Some(content)));
        assert_eq!(*index.count_where(&Filter::lt("n", 100)).unwrap(), selected);
    }
}

#[test]
fn everything_is_sealed_again_and_nothing_else_is_different() {
    let (db, index) = made(IndexConfig::new(Metric::Euclidean).retention(MIN_RETENTION));
    let user = UserId::from_bytes(&[1; 16]).unwrap();
    let users_key = || UserKey::from_bytes(&[2; 32]).unwrap();
    index.grant(user, &users_key(), Permissions::READ_WRITE).unwrap();
    for n in 0..40 {
        index.upsert(&[item(n)]).unwrap();
    }
    index.upsert(&(40..1500).map(item).collect::<Vec<_>>()).unwrap();
    assert!(index.history(.., 1).unwrap().folded.is_some(), "there is a fold");
    let (before, state) = (contents(&index), index.describe().unwrap());

    db.rotate_data_keys("notes", &root()).unwrap();
    assert_eq!(stored_epochs(&index), [1, 2].into());
    assert_eq!(contents(&index), before);
    let by_user = db.load_index("notes", KeyContext::user(user, users_key())).unwrap();
    assert_eq!(contents(&by_user), before, "without another grant");

    let report = to_the_end(&index);
    assert_eq!((report.items, report.retired, report.stopped), (1500, 1, false));
    assert_eq!(stored_epochs(&index), [2].into());
    for index in [&index, &by_user] {
        assert_eq!(contents(index), before);
        let operations = check(index);
        for made in [Operation::Reencrypt, Operation::RetireDataKeys] {
            assert!(operations.contains(&made), "{operations:?}");
        }
    }
    let after = index.describe().unwrap();
    assert_eq!((after.etag, after.item_count), (state.etag, state.item_count));
    assert_eq!(after.total_size_bytes, state.total_size_bytes);
    assert_eq!(index.query(&[0.1, 0.2, 3.0]).top_k(5).run().unwrap().value.len(), 5);

    // With one data key there is nothing to do, and writing goes on.
    let sequence = index.describe().unwrap().version.sequence;
    assert_eq!(to_the_end(&index).items, 0);
    assert_eq!(index.describe().unwrap().version.sequence, sequence);
    by_user.upsert(&[item(2000)]).unwrap();
    by_user.delete(&["3"]).unwrap();
    check(&index);
    assert_eq!(stored_epochs(&index), [2].into());
}

#[test]
fn who_lost_its_rights_opens_nothing_of_what_is_written_afterwards() {
    let (db, index) = made(IndexConfig::new(Metric::Euclidean));
    let (user, users_key) = (UserId::from_bytes(&[1; 16]).unwrap(), UserKey::generate().unwrap());
    index.grant(user, &users_key, Permissions::READ).unwrap();
    index.upsert(&[item(1)]).unwrap();
    let copy = db.load_index("notes", KeyContext::user(user, users_key)).unwrap();
    // All secrets that the user's wrap held when the copy was made.
    copy.inspect(|_, held: &ReadKey| {
        index.revoke(user)?;
        db.rotate_data_keys("notes", &root())?;
        index.upsert(&[item(2)])?;
        let opened = |index: &Index<'_>| {
            index.inspect(|snapshot, key: &RootKey| {
                let (mut opened, mut all) = (0, 0);
                let prefix = key::items(key.index);
                snapshot.scan(Family::Items, &prefix, &prefix, &mut |place, stored| {
                    let item = key::pseudonym_of(place).unwrap();
                    let plain = &mut Vec::new();
                    let own = ITEM.open_into(&held.epochs, key.index, item, stored, plain);
                    opened += usize::from(own.is_ok());
                    all += usize::from(open_item(key, &item, stored, plain).is_ok());
                    ControlFlow::Continue(())
                })?;
                Ok((opened, all))
            })
        };
        assert_eq!(opened(&index)?, (1, 2), "the older item is the control");
        to_the_end(&index);
        assert_eq!(opened(&index)?, (0, 2));
        Ok(())
    })
    .unwrap();
    assert_eq!(copy.describe().unwrap_err(), Error::WrongKey);
}

#[test]
fn a_run_that_was_stopped_is_gone_on_with() {
    let (db, index) = made(IndexConfig::new(Metric::Euclidean));
    index.upsert(&(0..3000).map(item).collect::<Vec<_>>()).unwrap();
    let before = contents(&index);
    db.rotate_data_keys("notes", &root()).unwrap();
    let (mut runs, mut items) = (0, 0);
    loop {
        let stop = |_: &_| ControlFlow::Break(());
        let report = index.reencrypt(ReencryptOptions::new(), stop).unwrap();
        items += report.items;
        check(&index);
        assert_eq!(contents(&index), before);
        if !report.stopped {
            assert_eq!(report.retired, 1);
            break;
        }
        // In force until the end: what was sealed again by now is no reason to let go of it.
        let valid = index.inspect(|_, key: &RootKey| Ok(key.table.epochs.clone())).unwrap();
        assert_eq!((valid, report.retired), (vec![2, 1], 0));
        runs += 1;
        assert!(runs < 1000);
    }
    assert!(runs > 3, "{runs} stops");
    assert_eq!(items, 3000, "each item once");
    assert_eq!(stored_epochs(&index), [2].into());
}

#[test]
fn writers_go_on_meanwhile() {
    let (db, index) = made(IndexConfig::new(Metric::Euclidean));
    index.upsert(&(0..2000).map(item).collect::<Vec<_>>()).unwrap();
    let mut expected: BTreeSet<u16> = (0..2000).collect();
    db.rotate_data_keys("notes", &root()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 2000;
            while !done.load(Ordering::Relaxed) && n < 3500 {
                index.upsert(&(n..n + 5).map(item).collect::<Vec<_>>()).unwrap();
                expected.extend(n..n + 5);
                let gone = (n * 7) % 2000;
                index.delete(&[gone.to_string()]).unwrap();
                expected.remove(&gone);
                index.query(&[0.1, 0.2, 3.0]).top_k(5).run().unwrap();
                n += 5;
            }
        });
        let slowly = ReencryptOptions::new().rate(8000);
        let report = index.reencrypt(slowly, |_| ControlFlow::Continue(())).unwrap();
        done.store(true, Ordering::Relaxed);
        assert_eq!(report.retired, 1);
        writer.join().unwrap();
    });
    let (db_two, model) = made(IndexConfig::new(Metric::Euclidean));
    model.upsert(&expected.iter().map(|n| item(*n)).collect::<Vec<_>>()).unwrap();
    let ids = |index: &Index<'_>| contents(index).into_keys().collect::<Vec<_>>();
    assert_eq!(ids(&index), ids(&model));
    drop(db_two);
    check(&index);
    assert_eq!(stored_epochs(&index), [2].into());
}

#[test]
fn four_data_keys_are_the_most() {
    let (db, index) = made(IndexConfig::new(Metric::Euclidean));
    for n in 0..3 {
        index.upsert(&[item(n)]).unwrap();
        db.rotate_data_keys("notes", &root()).unwrap();
    }
    let before = index.describe().unwrap();
    let refused = db.rotate_data_keys("notes", &root()).unwrap_err();
    assert!(refused.to_string().contains("reencrypt"), "{refused}");
    assert_eq!(index.describe().unwrap(), before);
    let new = IndexKey::from_bytes(&[10; 32]).unwrap();
    db.rotate_index_key("notes", &root(), &new).unwrap();
    let index = db.load_index("notes", KeyContext::root(new)).unwrap();
    assert_eq!(to_the_end(&index).retired, 3);
    assert_eq!(stored_epochs(&index), [4].into());
    assert_eq!(contents(&index).len(), 3);
    check(&index);
}

/// The clock is only asked whether it was slow enough, which a busy machine does not change.
#[test]
fn a_rate_bounds_what_is_sealed_in_a_second_and_in_a_commit() {
    const RATE: u32 = 400;
    let (db, index) = made(IndexConfig::new(Metric::Euclidean));
    index.upsert(&(0..250).map(item).collect::<Vec<_>>()).unwrap();
    db.rotate_data_keys("notes", &root()).unwrap();
    let (start, mut seen) = (Instant::now(), vec![(0, Duration::ZERO)]);
    let options = ReencryptOptions::new().rate(RATE);
    let report = index.reencrypt(options, |progress| {
        seen.push((progress.items, start.elapsed()));
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((report.items, report.retired), (250, 1));
    assert_eq!(report.version, index.describe().unwrap().version);
    for pair in seen.windows(2) {
        let ((before, _), (items, at)) = (pair[0], pair[1]);
        assert!(items - before <= u64::from(RATE / 4), "{seen:?}");
        // What was sealed before has had its time when the next commit is made.
        assert!(at >= Duration::from_millis(before * 1000 / u64::from(RATE)), "{seen:?}");
    }
    assert!(seen.len() > 3);
}
