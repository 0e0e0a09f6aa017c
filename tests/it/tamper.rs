//! Damage on disk is noticed, or changes nothing.
//!
//! A small database with two indexes is held open below sealvec. Each case changes stored records
//! (bits flipped, values swapped or copied between keys, records deleted, values cut or extended),
//! opens the database read-only through the public API, asks everything that can be asked, and puts
//! the records back. Every answer must be an error or equal to the answer without the damage; and
//! every bit of every record that answers depend on must be missed by at least one question.
//! Writes are asked too: on a read-only database they do everything but the last step.
//!
//! What may go unnoticed is in [`idle`]: commits before the last two and superseded grant tables,
//! which are history, and what is owed a purge, which nobody signs. No answer depends on them.

mod heads;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use rocksdb::DB;
use sealvec::{
    Database, Durability, Error, Include, Index, IndexConfig, Item, KeyContext, Metric, Options,
    Permissions, Tuning, Update,
};

use crate::support::{
    FAMILIES, NAME, ROOT, Stored, delete_raw, index_key, open_raw, put_raw, records, root, small,
    user, user_id, user_key,
};

const OTHER: &str = "other";
const OTHER_ROOT: u8 = 8;
/// Items that have nothing but a vector.
const MORE: u8 = 6;
const IDS: [&str; 5] = ["a", "b", "c", "d", "missing"];

const ITEM: u8 = 0x20;
const NODE: u8 = 0x30;
const NAME_RECORD: u8 = 0x01;
const PURGE_OWED: u8 = 0x02;
const HEAD: u8 = 0x10;
const COMMIT: u8 = 0x11;
const TABLE: u8 = 0x12;
const SIGNATURE: u8 = 0x17;
const WRAP: u8 = 0x13;

/// The last byte of the key of a wrap.
const READ: u8 = 1;
const WRITE: u8 = 2;

fn options() -> Options {
    let mut tuning = Tuning::new();
    tuning.leaf_items = 8;
    // Values of 9,000 bytes then have three parts.
    small().max_value(4096).durability(Durability::Buffered).tuning(tuning)
}

/// The database under attack, open below sealvec.
struct Scene {
    _directory: tempfile::TempDir,
    path: PathBuf,
    raw: DB,
    records: Vec<Stored>,
    keys: Keys,
    truth: Answers,
}

type Answers = Vec<(&'static str, Result<String, Error>)>;

struct Keys {
    root: KeyContext,
    other: KeyContext,
    reader: KeyContext,
    writer: KeyContext,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let db = Database::open(&path, options()).unwrap();
        for (name, seed) in [(NAME, ROOT), (OTHER, OTHER_ROOT)] {
            fill(&db, name, seed);
        }
        db.close().unwrap();
        let raw = open_raw(&path);
        let records = records(&raw);
        let keys = Keys {
            root: root(ROOT),
            other: root(OTHER_ROOT),
            reader: user(2, 2),
            writer: user(3, 3),
        };
        let mut scene = Self { _directory: directory, path, raw, records, keys, truth: Vec::new() };
        scene.truth = scene.ask();
        // The positive control: undamaged, every read succeeds and every write gets to its end.
        for (question, answer) in &scene.truth {
            match answer {
                Ok(_) => assert!(!question.contains("write")),
                Err(error) => {
                    assert_eq!(error, &Error::ReadOnly, "{question}");
                    assert!(question.contains("write"));
                }
            }
        }
        scene
    }

    /// Everything that can be asked, with each key.
    fn ask(&self) -> Answers {
        let mut answers = Vec::new();
        let db = match Database::open_read_only(&self.path, options()) {
            Ok(db) => db,
            Err(error) => return vec![("open", Err(error))],
        };
        let mut list = |question, key: &KeyContext| {
            answers.push((question, db.list_indexes(key).map(|names| names.join(" "))));
        };
        list("list_indexes", &self.keys.root);
        list("list_indexes, other", &self.keys.other);
        for (name, key) in [(NAME, &self.keys.root), (OTHER, &self.keys.other)] {
            match db.open_index(name) {
                Ok(index) => {
                    let root = index.with_key(key);
                    read(&root, &mut answers);
                    write(&root, &mut answers);
                    administer(&root, &mut answers);
                    glance(&index.with_key(&self.keys.reader), &mut answers);
                    glance(&index.with_key(&self.keys.writer), &mut answers);
                    write(&index.with_key(&self.keys.writer), &mut answers);
                }
                Err(error) => answers.push(("open_index", Err(error))),
            }
        }
        answers
    }

    /// Asks everything of the damaged database; says whether anything noticed.
    fn judge(&self, what: &dyn Fn() -> String, excused: &[&str]) -> bool {
        let answers = self.ask();
        // The files are in order; what is damaged is above them.
        let io = |answer: &Result<String, Error>| matches!(answer, Err(Error::Io(_)));
        assert!(!answers.iter().any(|(_, answer)| io(answer)), "{answers:?}");
        if answers.len() != self.truth.len() {
            // It did not get far enough to be asked everything.
            assert!(answers.iter().any(|(_, answer)| answer.is_err()), "{}", what());
            return true;
        }
        let mut noticed = false;
        for ((question, answer), (_, truth)) in answers.iter().zip(&self.truth) {
            if answer == truth {
                continue;
            }
            noticed = true;
            assert!(
                answer.is_err() || excused.iter().any(|excuse| question.starts_with(excuse)),
                "{}: {question} answered {answer:?}, not {truth:?}",
                what()
            );
        }
        noticed
    }

    fn put(&self, record: &Stored, value: &[u8]) {
        put_raw(&self.raw, record.family, &record.key, value);
    }

    fn restore(&self, record: &Stored) {
        self.put(record, &record.value);
    }

    /// Keeps the write-ahead log, which every opening replays, short.
    fn settle(&self, case: usize) {
        if case % 250 == 249 {
            for family in FAMILIES {
                self.raw.flush_cf(self.raw.cf_handle(family).unwrap()).unwrap();
            }
        }
    }

    /// A read wrap whose holder has a write wrap too, which carries the same rights.
    fn is_spare(&self, record: &Stored) -> bool {
        let Some((&READ, place)) = record.key.split_last() else { return false };
        let write = [place, &[WRITE]].concat();
        record.kind() == WRAP && self.records.iter().any(|other| other.key == write)
    }

    /// Whether no answer depends on the record.
    fn idle(&self, record: &Stored) -> bool {
        idle(record, &self.records)
    }
}

fn fill(db: &Database, name: &str, seed: u8) {
    db.create_index(name, &index_key(seed), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(name, root(seed)).unwrap();
    index.grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
    index.grant(user_id(3), &user_key(3), Permissions::READ_WRITE).unwrap();
    let text = |length: usize| vec![seed; length];
    index
        .upsert(&[
            Item::new("a", [1.0, 0.0]).contents(text(20)).metadata(serde_json::json!({"n": seed})),
            Item::new("b", [0.0, 1.0]).contents(text(9_000)),
            Item::new("c", [2.0, 2.0]).contents(""),
            Item::new("d", [3.0, 0.5]),
            Item::new("gone", [3.0, 0.5]).contents("gone"),
        ])
        .unwrap();
    // A root and two leaves.
    let more = |n: u8| Item::new(format!("more {n}"), [f32::from(n) - 9.0, 9.0]);
    index.upsert(&(0..MORE).map(more).collect::<Vec<_>>()).unwrap();
    index.with_key(&user(3, 3)).delete(&["gone"]).unwrap();
    index.with_key(&user(3, 3)).upsert(&[Item::new("c", [2.0, 2.5]).contents("")]).unwrap();
    index.update("a", Update::new().contents(text(21))).unwrap();
}

/// What opening the index with a key takes, and no more.
fn glance(index: &Index<'_>, answers: &mut Answers) {
    answers.push((
        "describe",
        index.describe().map(|found| {
            let found =
                (found.name, found.item_count, found.total_size_bytes, found.etag, found.version);
            format!("{found:?}")
        }),
    ));
    answers.push(("count", index.count().map(|found| found.to_string())));
}

/// All that the read right allows.
fn read(index: &Index<'_>, answers: &mut Answers) {
    glance(index, answers);
    answers.push((
        "get",
        index.get(&IDS, Include::ALL).map(|found| {
            let fields = found.into_iter().map(|found| {
                let fields = found.item.map(|r| (r.vector, r.contents, r.metadata, r.version));
                format!("{} {fields:?}", found.id)
            });
            fields.collect()
        }),
    ));
    answers.push((
        "query",
        index.query(&[1.0, 0.5]).include(Include::ALL).run().map(|hits| {
            let hits = hits.into_iter();
            hits.map(|h| format!("{:?}", (h.id, h.distance, h.vector, h.contents, h.metadata)))
                .collect()
        }),
    ));
    // Through the tree, and all of it.
    answers.push((
        "near",
        index.query(&[1.0, 0.5]).top_k(2).run().map(|hits| {
            hits.into_iter().map(|hit| format!("{:?}", (hit.id, hit.distance))).collect()
        }),
    ));
    answers.push(("verify_tree", index.verify_tree().map(|tree| format!("{tree:?}"))));
    answers.push(("list_ids", index.list_ids(100, None).map(|page| page.ids.join(" "))));
    let mut entries = BTreeSet::new();
    let visited = index.for_each(Include::ALL, |e| {
        entries.insert(format!("{:?}", (e.id, e.vector, e.contents, e.metadata, e.version)));
        ControlFlow::Continue(())
    });
    answers.push(("for_each", visited.map(|count| format!("{} {entries:?}", *count))));
}

/// Writes: `ReadOnly` if all is well until the last step.
fn write(index: &Index<'_>, answers: &mut Answers) {
    let done = |done: bool| Ok(done.to_string());
    answers.push(("write: upsert", index.upsert(&[Item::new("a", [1.0, 1.0])]).and(done(true))));
    answers.push((
        "write: update",
        index.update("b", Update::new().metadata(serde_json::json!({}))).and(done(true)),
    ));
    answers.push(("write: delete", index.delete(&IDS).and(done(true))));
}

fn administer(index: &Index<'_>, answers: &mut Answers) {
    answers.push((
        "users",
        index.users().map(|users| {
            users
                .iter()
                .map(|user| format!("{:?} {}", user.id.as_bytes(), user.permissions))
                .collect()
        }),
    ));
    let granted = index.grant(user_id(9), &user_key(9), Permissions::READ);
    answers.push(("write: grant", granted.map(|_| String::new())));
    let revoked = index.revoke(user_id(2));
    answers.push(("write: revoke", revoked.map(|done| done.to_string())));
}

fn number(record: &Stored) -> u64 {
    u64::from_be_bytes(record.key[17..25].try_into().unwrap())
}

/// Commits before the last two, superseded grant tables with their signatures, and what is owed a purge.
fn idle(record: &Stored, all: &[Stored]) -> bool {
    let same = |other: &&Stored| other.key[..17] == record.key[..17];
    let latest = all.iter().filter(same).map(|other| match other.kind() {
        COMMIT | TABLE | SIGNATURE => number(other),
        _ => 0,
    });
    let latest = latest.max().unwrap_or(0);
    match record.kind() {
        COMMIT => number(record) + 1 < latest,
        TABLE | SIGNATURE => number(record) < latest,
        PURGE_OWED => true,
        _ => false,
    }
}

/// The bits to flip. Of the first record of a kind: all of a short value; of a longer one, one bit
/// of every second byte at first and of ever rarer bytes then. Of the others, 12 bits.
fn bits(length: usize, first: bool) -> Vec<usize> {
    let all = length * 8;
    if !first {
        return (0..12).map(|n| n * (all - 1) / 11).collect();
    }
    if length <= 17 {
        return (0..all).collect();
    }
    let mut some = vec![all - 1];
    let mut byte = 0;
    while byte < length {
        some.push(byte * 8 + byte * 5 % 8);
        byte += 2 + byte / 12;
    }
    some
}

#[test]
fn no_flipped_bit_makes_a_wrong_answer_and_none_that_matters_goes_unnoticed() {
    let scene = Scene::new();
    let (mut cases, mut tally) = (0, BTreeMap::new());
    for record in &scene.records {
        let idle = scene.idle(record);
        let first = !idle && !tally.contains_key(&record.kind());
        for bit in bits(record.value.len(), first) {
            let mut value = record.value.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            scene.put(record, &value);
            let what = || format!("{} {:02x?}, bit {bit}", record.family, record.key);
            let noticed = scene.judge(&what, &[]);
            assert!(noticed != idle, "{} noticed: {noticed}", what());
            scene.settle(cases);
            cases += 1;
            let count: &mut [usize; 2] = tally.entry(record.kind()).or_default();
            count[usize::from(noticed)] += 1;
        }
        scene.restore(record);
    }
    println!("{cases} flips: {tally:02x?}");
    // Every kind that is written was flipped, and noticed.
    let noticed: Vec<u8> =
        tally.iter().filter(|(_, [_, n])| *n > 0).map(|(kind, _)| *kind).collect();
    let kinds = [
        0x00, 0x01, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, SIGNATURE, 0x20, 0x30, 0x40, 0x41, 0x50,
        0x51, 0x52,
    ];
    assert_eq!(noticed, kinds);
}

#[test]
fn no_two_records_can_trade_places() {
    let scene = Scene::new();
    let mut cases = 0;
    for (n, one) in scene.records.iter().enumerate() {
        // With two later records of every kind of the family, one of them in the other index.
        let mut partners: BTreeMap<(u8, bool), &Stored> = BTreeMap::new();
        for two in &scene.records[n + 1..] {
            if one.family == two.family && one.value != two.value {
                partners.insert((two.kind(), one.key[..16] == two.key[..16]), two);
            }
        }
        for two in partners.into_values() {
            scene.put(one, &two.value);
            scene.put(two, &one.value);
            let what = || format!("{} {:02x?} and {:02x?}", one.family, one.key, two.key);
            let noticed = scene.judge(&what, &[]);
            let idle = scene.idle(one) && scene.idle(two);
            assert!(noticed != idle, "{} noticed: {noticed}", what());
            scene.restore(one);
            scene.restore(two);
            scene.settle(cases);
            cases += 1;
        }
    }
    println!("{cases} swaps");
}

#[test]
fn no_record_can_be_copied_over_another_of_its_kind() {
    let scene = Scene::new();
    let mut cases = 0;
    for from in &scene.records {
        let alike = |onto: &&Stored| {
            let same = from.family == onto.family && from.kind() == onto.kind();
            same && from.value != onto.value && !scene.idle(onto)
        };
        for onto in scene.records.iter().filter(alike) {
            scene.put(onto, &from.value);
            let what = || format!("{} {:02x?} onto {:02x?}", from.family, from.key, onto.key);
            // A name that is gone is not listed; see the test of missing records.
            let excused: &[&str] = if onto.kind() == NAME_RECORD { &["list_indexes"] } else { &[] };
            let noticed = scene.judge(&what, excused);
            assert!(noticed, "{}", what());
            scene.restore(onto);
            scene.settle(cases);
            cases += 1;
        }
    }
    println!("{cases} copies");
}

#[test]
fn a_missing_record_is_refused_or_answered_as_documented() {
    let scene = Scene::new();
    for (case, record) in scene.records.iter().enumerate() {
        delete_raw(&scene.raw, record.family, &record.key);
        let excused: &[&str] = match record.kind() {
            // An item that is not there: `get` and the writes say so, and whatever goes through all
            // items finds that the count is short.
            ITEM => &["get"],
            // Whoever cannot be found is not told that there is something.
            NAME_RECORD | WRAP => &["list_indexes"],
            _ => &[],
        };
        let what = || format!("{} {:02x?} deleted", record.family, record.key);
        let noticed = scene.judge(&what, excused);
        let spare = scene.idle(record) || scene.is_spare(record);
        assert!(noticed != spare, "{} noticed: {noticed}", what());
        if record.kind() == ITEM {
            let db = Database::open_read_only(&scene.path, options()).unwrap();
            let index = db.open_index(NAME).unwrap();
            let (own, other) = (index.with_key(&scene.keys.root), db.open_index(OTHER).unwrap());
            let other = other.with_key(&scene.keys.other);
            let short = |index: &Index<'_>| {
                index.query(&[0.0, 0.0]).run().is_err()
                    && index.list_ids(1, None).is_err()
                    && index.for_each(Include::NONE, |_| ControlFlow::Continue(())).is_err()
            };
            assert!(short(&own) != short(&other), "{}", what());
        }
        scene.restore(record);
        scene.settle(case);
    }
}

#[test]
fn no_value_can_be_cut_or_extended() {
    let scene = Scene::new();
    let mut cases = 0;
    for record in &scene.records {
        let value = &record.value;
        let (half, less) = (value.len() / 2, value.len() - 1);
        let shapes = [
            value[..less].to_vec(),
            value[..half].to_vec(),
            Vec::new(),
            [&value[..], &[0]].concat(),
            [&value[..], &value[..]].concat(),
        ];
        for shape in shapes {
            scene.put(record, &shape);
            let what = || format!("{} {:02x?}, {} bytes", record.family, record.key, shape.len());
            let noticed = scene.judge(&what, &[]);
            assert!(noticed != scene.idle(record), "{} noticed: {noticed}", what());
            scene.settle(cases);
            cases += 1;
        }
        scene.restore(record);
    }
    println!("{cases} shapes");
}
