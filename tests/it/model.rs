//! Random histories against a model: a sorted map and a brute force.
//!
//! Ids are few, so that upserts replace, deletes hit and miss, and batches hold duplicates. Leaves hold
//! eight items and branches four children, so that the tree grows and shrinks by levels. After every
//! step the count, the size and the rule of the `ETag` are compared and the partition tree is
//! verified, at the end everything is, the history included. Bulk writes and `optimize` run to
//! their end or are stopped at one of their commits.
//! Most histories run in memory; those on disk close and open the database in between. Reads go
//! through users while they have the right, and must fail with the right code when they do not.

mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use sealvec::{
    Database, Durability, ETag, Include, Index, IndexConfig, Item, Metric, Options, Permissions,
    Record, Tuning, Update,
};
use serde_json::{Value, json};

use crate::history;
use crate::support::{NAME, ROOT, code, index_key, root, small, user, user_id, user_key};

const IDS: u8 = 60;
/// The ids that most steps choose from.
const FEW: u8 = 8;
const USERS: u8 = 3;
/// The seed of contents that fill more than half of a commit of a bulk write.
const HEAVY: u8 = 5;
const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct];

/// What an update does to a field.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Keep,
    Remove,
    Set(u8),
}

/// An item: its id, and the seeds of vector, contents and metadata.
type Seeds = (u8, u8, Option<u8>, Option<u8>);

#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<Seeds>),
    /// Stopped after so many commits, and then perhaps run again.
    Bulk(Vec<Seeds>, Option<usize>, bool),
    /// Stopped after so many commits.
    Optimize(Option<usize>),
    Update(u8, Change, Change),
    Delete(Vec<u8>),
    Get(Vec<u8>),
    Query(u8, usize),
    List(usize),
    Grant(u8, u8),
    Revoke(u8),
    Reopen,
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = prop_oneof![2 => 0..FEW, 1 => 0..IDS];
    let extra = proptest::option::of(0..5u8);
    let stop = proptest::option::of(1..4usize);
    let change =
        prop_oneof![Just(Change::Keep), Just(Change::Remove), (0..5u8).prop_map(Change::Set),];
    let step = prop_oneof![
        5 => vec((id.clone(), any::<u8>(), extra.clone(), extra.clone()), 0..6).prop_map(Step::Upsert),
        2 => vec((0..IDS, any::<u8>(), Just(None), Just(None)), 20..60).prop_map(Step::Upsert),
        2 => (vec((0..IDS, any::<u8>(), extra.clone(), extra.clone()), 0..60), stop.clone(),
              any::<bool>(), 0..8u8).prop_map(|(mut batch, stop, again, heavy)| {
            if heavy == 0 {
                make_heavy(&mut batch);
            }
            Step::Bulk(batch, stop, again)
        }),
        2 => stop.prop_map(Step::Optimize),
        2 => (id.clone(), change.clone(), change).prop_map(|(id, c, m)| Step::Update(id, c, m)),
        3 => vec(id.clone(), 0..5).prop_map(Step::Delete),
        1 => vec(0..IDS, 20..50).prop_map(Step::Delete),
        2 => vec(id, 0..5).prop_map(Step::Get),
        3 => (any::<u8>(), 0..12usize).prop_map(|(seed, top_k)| Step::Query(seed, top_k)),
        2 => (1..6usize).prop_map(Step::List),
        2 => (0..USERS, 1..4u8).prop_map(|(user, rights)| Step::Grant(user, rights)),
        1 => (0..USERS).prop_map(Step::Revoke),
        1 => Just(Step::Reopen),
        1 => Just(Step::Flush),
    ];
    vec(step, 1..45)
}

/// Two items that do not fit into one commit of a bulk write.
fn make_heavy(batch: &mut [Seeds]) {
    for at in [0, batch.len() / 2] {
        if let Some(item) = batch.get_mut(at) {
            item.2 = Some(HEAVY);
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Expected {
    vector: Vec<f32>,
    contents: Option<Vec<u8>>,
    metadata: Option<Value>,
    version: u64,
}

struct World {
    db: Option<Database>,
    index: Option<Index<'static>>,
    directory: Option<tempfile::TempDir>,
    metric: Metric,
    dimension: u8,
    items: BTreeMap<String, Expected>,
    users: BTreeMap<u8, Permissions>,
    etag: ETag,
    /// Commits that the calls must have made.
    commits: u64,
}

/// Ids of different lengths.
fn name(id: u8) -> String {
    "ab".repeat(usize::from(id % 9)) + &id.to_string()
}

/// Few values, so that distances tie.
fn vector(seed: u8, dimension: u8) -> Vec<f32> {
    (0..dimension).map(|n| f32::from((seed >> (2 * n)) & 3) + 1.0).collect()
}

fn contents(seed: u8) -> Vec<u8> {
    // Up to three values of 4,096 bytes, but for the heavy.
    vec![seed; [0, 1, 4079, 4080, 9000, 17 << 19][usize::from(seed)]]
}

fn metadata(seed: u8) -> Value {
    json!({ "seed": seed, "list": vec![1.5; usize::from(seed)] })
}

fn options() -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    small().max_value(4096).durability(Durability::Buffered).tuning(tuning)
}

impl World {
    fn new(on_disk: bool, metric: Metric, dimension: u8) -> Self {
        let directory = on_disk.then(|| tempfile::tempdir().unwrap());
        let db = match &directory {
            Some(directory) => Database::open(directory.path().join("db"), options()).unwrap(),
            None => Database::in_memory_with(options()).unwrap(),
        };
        // So few that the longer histories fold.
        let config = IndexConfig::new(metric).retention(16);
        let index = db.create_index(NAME, &index_key(ROOT), config).unwrap();
        let etag = index.with_key(&root(ROOT)).describe().unwrap().etag;
        let mut world = Self {
            db: Some(db),
            index: None,
            directory,
            metric,
            dimension,
            items: BTreeMap::new(),
            users: BTreeMap::new(),
            etag,
            commits: 1,
        };
        world.load();
        world
    }

    fn load(&mut self) {
        self.index = Some(self.db.as_ref().unwrap().load_index(NAME, root(ROOT)).unwrap());
    }

    fn index(&self) -> &Index<'static> {
        self.index.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        if let Some(directory) = &self.directory {
            self.index = None;
            self.db.take().unwrap().close().unwrap();
            self.db = Some(Database::open(directory.path().join("db"), options()).unwrap());
        }
        self.load();
    }

    /// The id and the item that seeds stand for; its version is not known yet.
    fn expected(&self, (id, seed, with, and): Seeds) -> (String, Expected) {
        let (vector, version) = (vector(seed, self.dimension), 0);
        let (contents, metadata) = (with.map(contents), and.map(metadata));
        (name(id), Expected { vector, contents, metadata, version })
    }

    fn item(&self, seeds: Seeds) -> Item {
        let (id, expected) = self.expected(seeds);
        let mut item = Item::new(id, expected.vector);
        if let Some(contents) = expected.contents {
            item = item.contents(contents);
        }
        if let Some(metadata) = expected.metadata {
            item = item.metadata(metadata);
        }
        item
    }

    fn run(&mut self, step: &Step) {
        let sequence = self.index().describe().unwrap().version.sequence;
        let mut items_changed = false;
        match step {
            Step::Upsert(batch) => {
                let items: Vec<Item> = batch.iter().map(|seeds| self.item(*seeds)).collect();
                let (mut touched, mut inserted) = (BTreeSet::new(), BTreeSet::new());
                for seeds in batch {
                    let (id, mut expected) = self.expected(*seeds);
                    expected.version = sequence + 1;
                    touched.insert(id.clone());
                    if self.items.insert(id.clone(), expected).is_none() {
                        inserted.insert(id);
                    }
                }
                let report = self.index().upsert(&items).unwrap();
                let updated = touched.len() - inserted.len();
                let counts = (inserted.len() as u64, updated as u64);
                assert_eq!((report.inserted, report.updated), counts);
                items_changed = !batch.is_empty();
            }
            Step::Bulk(batch, stop, again) => {
                items_changed = self.bulk(batch, *stop);
                if *again {
                    self.check_state(step, items_changed);
                    items_changed = self.bulk(batch, None);
                }
            }
            Step::Optimize(stop) => self.optimize(*stop),
            Step::Update(id, new_contents, new_metadata) => {
                let mut update = Update::new();
                update = match new_contents {
                    Change::Set(seed) => update.contents(contents(*seed)),
                    Change::Remove => update.remove_contents(),
                    Change::Keep => update,
                };
                update = match new_metadata {
                    Change::Set(seed) => update.metadata(metadata(*seed)),
                    Change::Remove => update.remove_metadata(),
                    Change::Keep => update,
                };
                let id = name(*id);
                let result = self.index().update(&id, update);
                if (new_contents, new_metadata) == (&Change::Keep, &Change::Keep) {
                    assert_eq!(code(&result), "invalid_argument");
                } else if let Some(item) = self.items.get_mut(&id) {
                    assert_eq!(result.unwrap().updated, 1);
                    item.version = sequence + 1;
                    match new_contents {
                        Change::Set(seed) => item.contents = Some(contents(*seed)),
                        Change::Remove => item.contents = None,
                        Change::Keep => {}
                    }
                    match new_metadata {
                        Change::Set(seed) => item.metadata = Some(metadata(*seed)),
                        Change::Remove => item.metadata = None,
                        Change::Keep => {}
                    }
                    items_changed = true;
                } else {
                    assert_eq!(code(&result), "item_not_found");
                }
            }
            Step::Delete(ids) => {
                let ids: Vec<String> = ids.iter().copied().map(name).collect();
                let report = self.index().delete(&ids).unwrap();
                let distinct: BTreeSet<&String> = ids.iter().collect();
                let gone = distinct.iter().filter(|id| self.items.remove(**id).is_some()).count();
                let missing = (distinct.len() - gone) as u64;
                assert_eq!((report.deleted, report.missing), (gone as u64, missing));
                items_changed = gone > 0;
            }
            Step::Get(ids) => self.check_get(&ids.iter().copied().map(name).collect::<Vec<_>>()),
            Step::Query(seed, top_k) => self.check_query(*seed, *top_k),
            Step::List(limit) => self.check_list(*limit),
            Step::Grant(user, rights) => {
                let rights = match rights {
                    1 => Permissions::READ,
                    2 => Permissions::WRITE,
                    _ => Permissions::READ_WRITE,
                };
                self.index().grant(user_id(*user), &user_key(*user + 1), rights).unwrap();
                self.users.insert(*user, rights);
                self.commits += 1;
            }
            Step::Revoke(user) => {
                let had = self.index().revoke(user_id(*user)).unwrap().value;
                assert_eq!(had, self.users.remove(user).is_some());
                self.commits += u64::from(had);
            }
            Step::Reopen => self.reopen(),
            Step::Flush => self.db.as_ref().unwrap().flush().unwrap(),
        }
        self.check_state(step, items_changed);
    }

    /// What must hold after every step.
    fn check_state(&mut self, step: &Step, items_changed: bool) {
        let found = self.index().describe().unwrap();
        assert_eq!(found.etag != self.etag, items_changed, "{step:?}");
        self.etag = found.etag;
        // What makes as many commits as it takes has checked them itself.
        self.commits += match step {
            Step::Bulk(..) | Step::Optimize(_) => found.version.sequence - self.commits,
            _ => u64::from(items_changed),
        };
        assert_eq!((found.item_count, found.total_size_bytes), self.size());
        let tree = self.index().verify_tree().unwrap_or_else(|error| panic!("{step:?}: {error}"));
        assert_eq!((tree.items, tree.oversized), (found.item_count, 0));
    }

    fn size(&self) -> (u64, u64) {
        let size = |(id, item): (&String, &Expected)| {
            let metadata = item.metadata.as_ref().map_or(0, |value| value.to_string().len());
            id.len() + item.vector.len() * 4 + item.contents.as_ref().map_or(0, Vec::len) + metadata
        };
        (self.items.len() as u64, self.items.iter().map(size).sum::<usize>() as u64)
    }

    fn fetch(&self, ids: &[String]) -> Vec<(String, Option<Expected>)> {
        let found = self.index().get(ids, Include::ALL).unwrap().value.into_iter();
        let item = |item: Record| Expected {
            vector: item.vector.unwrap(),
            contents: item.contents,
            metadata: item.metadata,
            version: item.version,
        };
        found.map(|found| (found.id, found.item.map(item))).collect()
    }

    fn check_get(&self, ids: &[String]) {
        // Compared without printing them: some are long.
        for ((id, found), asked) in self.fetch(ids).iter().zip(ids) {
            assert!(id == asked && found.as_ref() == self.items.get(id), "{id}");
        }
    }

    fn check_query(&self, seed: u8, top_k: usize) {
        let query = vector(seed, self.dimension);
        let result = self.index().query(&query).top_k(top_k).run();
        if top_k == 0 {
            assert_eq!(code(&result), "invalid_argument");
            return;
        }
        let (near, hits) = (result.unwrap(), self.index().query(&query).top_k(top_k).exact().run());
        let hits = hits.unwrap();
        assert_eq!(hits.len(), top_k.min(self.items.len()));
        assert_eq!(near.len(), hits.len());
        let distance = |id: &str| {
            let dot = |x: &[f32], y: &[f32]| -> f64 {
                x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum()
            };
            let item = &self.items[id].vector;
            match self.metric {
                Metric::Cosine => {
                    1.0 - dot(&query, item) / (dot(&query, &query) * dot(item, item)).sqrt()
                }
                Metric::InnerProduct => -dot(&query, item),
                _ => {
                    let square = |(x, y): (&f32, &f32)| f64::from((x - y) * (x - y));
                    query.iter().zip(item).map(square).sum::<f64>().sqrt()
                }
            }
        };
        let mut truth: Vec<f64> = self.items.keys().map(|id| distance(id)).collect();
        truth.sort_by(f64::total_cmp);
        for (hit, expected) in hits.iter().zip(truth) {
            assert!((f64::from(hit.distance) - expected).abs() < 1e-5, "{hit:?} {expected}");
            assert!((distance(&hit.id) - expected).abs() < 1e-5);
        }
        // A hit may be missing, but what is there is true.
        for hit in &*near {
            assert!((f64::from(hit.distance) - distance(&hit.id)).abs() < 1e-5, "{hit:?}");
        }
        for pair in hits.windows(2).chain(near.windows(2)) {
            let order = pair[0].distance.total_cmp(&pair[1].distance);
            assert!(order.then_with(|| pair[0].id.cmp(&pair[1].id)).is_lt());
        }
    }

    fn check_list(&self, limit: usize) {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.index().list_ids(limit, cursor.as_ref()).unwrap().value;
            all.extend(page.ids);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert!(all.iter().eq(self.items.keys()));
    }

    fn check_everything(&self) {
        let ids: Vec<String> = (0..=IDS).map(name).collect();
        self.check_get(&ids);
        self.check_list(1);
        self.check_list(100);
        self.check_query(0b0110_0100, 100);
        let mut seen = BTreeMap::new();
        let visited = self.index().for_each(Include::ALL, |entry| {
            let item = Expected {
                vector: entry.vector.unwrap().to_vec(),
                contents: entry.contents.map(<[u8]>::to_vec),
                metadata: entry.metadata.map(|json| serde_json::from_str(json).unwrap()),
                version: entry.version,
            };
            assert!(seen.insert(entry.id.to_owned(), item).is_none());
            ControlFlow::Continue(())
        });
        assert_eq!(*visited.unwrap(), self.items.len() as u64);
        assert_eq!(seen, self.items);
        let users = self.index().users().unwrap();
        let users: Vec<_> = users.iter().map(|u| (u.id.as_bytes()[0], u.permissions)).collect();
        assert!(users.iter().copied().eq(self.users.iter().map(|(id, p)| (*id, *p))));
        history::agrees(self.index(), self.commits);
        for id in 0..USERS {
            let (key, rights) = (user(id, id + 1), self.users.get(&id));
            let index = self.index().with_key(&key);
            let expected = |allowed: fn(Permissions) -> bool| match rights {
                None => "wrong_key",
                Some(rights) if allowed(*rights) => "ok",
                Some(_) => "permission_denied",
            };
            assert_eq!(code(&index.count()), expected(Permissions::read));
            assert_eq!(code(&index.upsert(&[])), expected(Permissions::write));
            assert_eq!(code(&index.users()), expected(|_| false));
        }
    }
}

fn play(on_disk: bool, metric: usize, dimension: u8, steps: &[Step]) {
    let mut world = World::new(on_disk, METRICS[metric], dimension);
    for step in steps {
        world.run(step);
    }
    world.check_everything();
    world.reopen();
    world.check_everything();
}

/// A share of the cases that `PROPTEST_CASES` asks for, 200 if it asks for none.
fn cases(percent: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = (asked.unwrap_or(200_u32) * percent / 100).max(1);
    Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() }
}

proptest! {
    #![proptest_config(cases(90))]
    #[test]
    fn histories_in_memory_agree_with_the_model(
        metric in 0..3usize, dimension in 1..5u8, steps in steps(),
    ) {
        play(false, metric, dimension, &steps);
    }
}

proptest! {
    #![proptest_config(cases(10))]
    #[test]
    fn histories_on_disk_agree_with_the_model(
        metric in 0..3usize, dimension in 1..5u8, steps in steps(),
    ) {
        play(true, metric, dimension, &steps);
    }
}
