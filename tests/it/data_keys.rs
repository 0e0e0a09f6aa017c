//! Data keys that change, on disk: who opens what afterwards, and that those who work meanwhile
//! notice nothing.
//!
//! That no file keeps what was under an older data key is in `purge/rekeyed.rs`, and what a kill
//! leaves in `rekey_kill.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sealvec::{
    Attribute, Database, Durability, Filter, Include, Index, IndexConfig, Item, KeyContext, Metric,
    Operation, Options, Permissions, ReencryptOptions, ReencryptReport, Tuning,
};
use serde_json::json;

use crate::support::{
    NAME, ROOT, Stored, code, copy_directory, delete_raw, index_key, open_raw, put_raw, records,
    root, small, user, user_id, user_key,
};
use crate::tree::Random;

const DIMENSION: usize = 8;

pub(crate) fn options() -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    small().durability(Durability::Buffered).tuning(tuning)
}

pub(crate) fn config() -> IndexConfig {
    IndexConfig::new(Metric::Euclidean).attribute("n", Attribute::Range)
}

/// The item with this number, as its `turn`-th writing leaves it.
pub(crate) fn item(n: usize, turn: usize) -> Item {
    let vector = Random((n * 1000 + turn) as u64).vector(DIMENSION);
    Item::new(format!("{n:05}"), vector)
        .contents(vec![u8::try_from(turn % 251).unwrap(); 40 + n % 7])
        .metadata(json!({ "n": n, "turn": turn }))
}

pub(crate) fn reencrypt(index: &Index<'_>) -> ReencryptReport {
    index.reencrypt(ReencryptOptions::new(), |_| ControlFlow::Continue(())).unwrap()
}

/// Everything that is read of the items, by id.
pub(crate) fn contents(index: &Index<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let visited = index.for_each(Include::ALL, |entry| {
        let sealvec::Entry { id, vector, contents, metadata, version, .. } = entry;
        all.insert(id.to_owned(), format!("{vector:?} {contents:?} {metadata:?} {version}"));
        ControlFlow::Continue(())
    });
    visited.unwrap();
    all
}

/// All there is to check, as this caller can.
#[track_caller]
pub(crate) fn sound(index: &Index<'_>) {
    let report = index.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
    index.for_each_commit(.., |_| ControlFlow::Continue(())).unwrap();
}

/// Puts the items, nodes, attributes and payload of a closed database into a copy of it, in place of
/// its own.
fn graft(from: &Path, to: &Path) {
    let (from, to) = (open_raw(from), open_raw(to));
    let data = |record: &Stored| record.family != "catalog";
    for record in records(&to).into_iter().filter(data) {
        delete_raw(&to, record.family, &record.key);
    }
    for record in records(&from).into_iter().filter(data) {
        put_raw(&to, record.family, &record.key, &record.value);
    }
}

/// The user keeps a copy of the files in which nothing was taken back, and gets whatever is written
/// to the live ones later.
#[test]
fn a_former_user_with_an_old_copy_opens_nothing_of_what_is_written_after_the_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let (live, copy) = (directory.path().join("live"), directory.path().join("copy"));
    let db = Database::open(&live, small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), config()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    index.grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
    index.grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
    index.upsert(&[item(1, 0)]).unwrap();
    drop(index);
    db.close().unwrap();
    copy_directory(&live, &copy);
    // So that nothing in it is older than what will come: only the data key may stand in the way.
    let db = Database::open(&copy, small()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    for turn in 0..60 {
        index.upsert(&[item(9, turn)]).unwrap();
    }
    drop(index);
    db.close().unwrap();

    let with_live = |work: &dyn Fn(&Database, &Index<'_>)| {
        let db = Database::open(&live, small()).unwrap();
        work(&db, &db.load_index(NAME, root(ROOT)).unwrap());
        db.close().unwrap();
        graft(&live, &copy);
    };
    let by_the_thief = |work: &dyn Fn(&Index<'_>)| {
        let db = Database::open(&copy, small()).unwrap();
        work(&db.load_index(NAME, user(1, 1)).unwrap());
        db.close().unwrap();
    };
    let get = |index: &Index<'_>, n: usize| {
        index.get(&[format!("{n:05}")], Include::ALL).map(|found| found[0].item.is_some())
    };
    let query = |index: &Index<'_>, n: usize| {
        index.query(item(n, 0).vector()).top_k(1).run().map(|hits| hits[0].id.clone())
    };

    with_live(&|_, index| {
        index.revoke(user_id(1)).unwrap();
        index.upsert(&[item(2, 0)]).unwrap();
    });
    // The control: a revocation alone keeps nothing of it.
    by_the_thief(&|index| {
        for n in [1, 2] {
            assert_eq!((get(index, n), query(index, n)), (Ok(true), Ok(format!("{n:05}"))));
        }
    });

    with_live(&|db, index| {
        db.rotate_data_keys(NAME, &root(ROOT)).unwrap();
        index.upsert(&[item(3, 0)]).unwrap();
        // As many items as his grant table and commits speak of.
        index.delete(&["00002"]).unwrap();
        let stays = db.load_index(NAME, user(2, 2)).unwrap();
        assert!([1, 3].iter().all(|n| get(&stays, *n) == Ok(true)));
    });
    by_the_thief(&|index| {
        assert_eq!(code(&get(index, 3)), "integrity");
        assert_eq!(code(&query(index, 3)), "integrity");
        assert_eq!(get(index, 1), Ok(true), "what was there before stays open to him");
    });

    with_live(&|_, index| assert_eq!(reencrypt(index).retired, 1));
    by_the_thief(&|index| {
        for n in [1, 3] {
            assert_eq!(code(&get(index, n)), "integrity");
            assert_eq!(code(&query(index, n)), "integrity");
        }
    });
    let db = Database::open(&live, small()).unwrap();
    let stays = db.load_index(NAME, user(2, 2)).unwrap();
    assert!([1, 3].iter().all(|n| get(&stays, *n) == Ok(true)));
    assert_eq!(code(&db.load_index(NAME, user(1, 1))), "wrong_key");
    sound(&stays);
}

/// What one thread knows of its own items.
#[derive(Default)]
struct Model {
    turns: BTreeMap<usize, usize>,
}

impl Model {
    /// Writes, deletes and asks, on items with numbers from `first` on.
    fn step(&mut self, index: &Index<'_>, first: usize, turn: usize, random: &mut Random) {
        let n = first + random.below(250);
        match random.below(5) {
            0..3 => {
                let some: BTreeSet<usize> = (0..4).map(|_| first + random.below(250)).collect();
                let items: Vec<Item> = some.iter().map(|n| item(*n, turn)).collect();
                index.upsert(&items).unwrap();
                self.turns.extend(some.iter().map(|n| (*n, turn)));
            }
            3 => {
                let deleted = index.delete(&[format!("{n:05}")]).unwrap().deleted;
                assert_eq!(deleted == 1, self.turns.remove(&n).is_some(), "{n}");
            }
            _ => {
                let found = index.get(&[format!("{n:05}")], Include::ALL).unwrap();
                let found = found[0].item.as_ref();
                assert_eq!(found.is_some(), self.turns.contains_key(&n), "{n}");
                let Some(turn) = self.turns.get(&n) else { return };
                let expected = item(n, *turn);
                assert_eq!(found.unwrap().vector.as_deref(), Some(expected.vector()));
                let hits = index.query(expected.vector()).top_k(1).effort(1024).run().unwrap();
                assert_eq!(hits[0].id, expected.id());
            }
        }
    }
}

#[test]
fn those_who_read_and_write_meanwhile_notice_nothing() {
    const WRITERS: usize = 3;
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path().join("db"), options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), config()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    let rights = Permissions::READ_WRITE;
    index.grant(user_id(1), &user_key(1), rights).unwrap();
    let standing: Vec<Item> = (5000..6500).map(|n| item(n, 0)).collect();
    index.upsert(&standing).unwrap();
    let done = AtomicBool::new(false);
    let work = |writer: usize| {
        let index = db.load_index(NAME, user(1, 1)).unwrap();
        let (mut model, mut random) = (Model::default(), Random(writer as u64));
        let mut turn = 1;
        while !done.load(Ordering::Relaxed) {
            model.step(&index, writer * 1000, turn, &mut random);
            turn += 1;
        }
        model
    };
    let (models, queries) = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|w| scope.spawn(move || work(w))).collect();
        let reader = scope.spawn(|| {
            let index = db.load_index(NAME, user(1, 1)).unwrap();
            let mut queries = 0;
            while !done.load(Ordering::Relaxed) {
                let n = 5000 + queries % 1500;
                let hits = index.query(item(n, 0).vector()).top_k(1).effort(1024).run().unwrap();
                assert_eq!((hits[0].distance, &*hits[0].id), (0.0, &*format!("{n:05}")));
                let some = Filter::gte("n", 5000).and(Filter::lt("n", 5100));
                assert_eq!(*index.count_where(&some).unwrap(), 100);
                queries += 1;
            }
            queries
        });
        for _ in 0..3 {
            db.rotate_data_keys(NAME, &root(ROOT)).unwrap();
            let report = reencrypt(&index);
            assert!(report.items >= 1500 && report.retired == 1, "{report:?}");
        }
        done.store(true, Ordering::Relaxed);
        let models: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (models, reader.join().unwrap())
    });
    assert!(queries > 0);
    let mut expected: BTreeMap<String, (Vec<f32>, Vec<u8>)> = BTreeMap::new();
    let turns = models.iter().flat_map(|model| model.turns.iter().map(|(n, turn)| (*n, *turn)));
    for (n, turn) in turns.chain((5000..6500).map(|n| (n, 0))) {
        let item = item(n, turn);
        let contents = vec![u8::try_from(turn % 251).unwrap(); 40 + n % 7];
        expected.insert(item.id().to_owned(), (item.vector().to_vec(), contents));
    }
    let mut found = BTreeMap::new();
    let visited = index.for_each(Include::ALL, |entry| {
        let content = (entry.vector.unwrap().to_vec(), entry.contents.unwrap().to_vec());
        found.insert(entry.id.to_owned(), content);
        ControlFlow::Continue(())
    });
    visited.unwrap();
    assert!(found == expected);
    sound(&index);
}

#[test]
fn the_history_shows_each_step_and_the_etag_stays() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path().join("db"), options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), config()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    index.grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
    index.upsert(&(0..300).map(|n| item(n, 0)).collect::<Vec<_>>()).unwrap();
    let (before, state) = (contents(&index), index.describe().unwrap());
    // More than one data key at a time, and the index key in between.
    let mut key = ROOT;
    for round in 0..3 {
        db.rotate_data_keys(NAME, &root(key)).unwrap();
        index.with_key(&root(key)).upsert(&[item(1, 0)]).unwrap();
        db.rotate_index_key(NAME, &root(key), &index_key(100 + round)).unwrap();
        key = 100 + round;
    }
    let refused = db.rotate_data_keys(NAME, &root(key)).unwrap_err();
    assert_eq!(refused.code(), "invalid_argument");
    assert!(refused.to_string().contains("reencrypt"), "{refused}");
    let by_root = db.load_index(NAME, root(key)).unwrap();
    let etag = by_root.describe().unwrap().etag;
    assert_eq!(reencrypt(&by_root).retired, 3);
    let by_user = db.load_index(NAME, KeyContext::user(user_id(1), user_key(1))).unwrap();
    for index in [&by_root, &by_user] {
        sound(index);
        let described = index.describe().unwrap();
        assert_eq!((described.etag, described.item_count), (etag, state.item_count));
        let after = contents(index);
        assert!(before.iter().all(|(id, content)| id == "00001" || after[id] == *content));
    }
    let mut seen = BTreeMap::<Operation, u64>::new();
    let walked = by_user.for_each_commit(.., |commit| {
        *seen.entry(commit.operation).or_default() += 1;
        ControlFlow::Continue(())
    });
    walked.unwrap();
    assert_eq!((seen[&Operation::RotateDataKeys], seen[&Operation::RetireDataKeys]), (3, 1));
    assert!(seen[&Operation::Reencrypt] > 3);
}
