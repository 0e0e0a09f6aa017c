//! The index and its model, and the calls that change both.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::condition::{IfMatch, WriteOptions};
use crate::config::{Attribute, IndexConfig, Options, Tuning};
use crate::crypto::{IndexKey, KeyContext};
use crate::database::Database;
use crate::delete::{DeleteOptions, Selector};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::fuzz_support::Input;
use crate::id::ETag;
use crate::index::{Index, Item, Update};
use crate::store::memory::Memory;
use crate::store::{Batch, Durability, Engine, Limits, Purge, Purged, Snapshot};
use crate::vector::Metric;

const NAME: &str = "index";
/// Parts of values are short, so that some have several.
const VALUE: usize = 4096;

/// What the database is opened on: memory that outlives it.
struct Kept(Arc<Memory>);

impl Engine for Kept {
    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.0.snapshot()
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.0.commit(batch, durability)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn purge(&self, purge: &Purge<'_>) -> Result<Purged> {
        self.0.purge(purge)
    }

    fn checkpoint(&self, directory: &Path) -> Result<()> {
        self.0.checkpoint(directory)
    }

    fn directory(&self) -> Option<&Path> {
        self.0.directory()
    }

    fn bytes_written(&self) -> u64 {
        self.0.bytes_written()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }
}

/// An item as it must be.
#[derive(Clone, PartialEq)]
pub(super) struct Expected {
    pub(super) vector: Vec<f32>,
    pub(super) contents: Option<Vec<u8>>,
    pub(super) metadata: Option<Value>,
    pub(super) version: u64,
}

impl Expected {
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        filter.matches(self.metadata.as_ref().unwrap_or(&Value::Null))
    }
}

pub(super) struct World {
    memory: Arc<Memory>,
    db: Option<Database>,
    index: Option<Index<'static>>,
    pub(super) metric: Metric,
    dimension: u8,
    pub(super) items: BTreeMap<String, Expected>,
    etag: ETag,
    before: ETag,
    sequence: u64,
    /// Which index key it has.
    key: u8,
}

fn key(number: u8) -> IndexKey {
    IndexKey::from_bytes(&[number; 32]).expect("32 bytes")
}

fn options() -> Options {
    let tuning = Tuning { leaf_items: 8, fan_out: 4, ..Tuning::new() };
    Options::new().threads(1).durability(Durability::Buffered).tuning(tuning).max_value(VALUE)
}

/// Few ids, so that calls meet the same items again.
pub(super) fn id(input: &mut Input<'_>) -> String {
    let number = input.below(40);
    format!("{}{number}", ["a", "b", "a/b", ""].get(usize::from(number % 4)).unwrap_or(&""))
}

pub(super) fn ids(input: &mut Input<'_>, most: u16) -> Vec<String> {
    (0..input.below(most)).map(|_| id(input)).collect()
}

fn contents(seed: u8) -> Option<Vec<u8>> {
    let length = [None, Some(0), Some(1), Some(40), Some(VALUE - 17), Some(9000)];
    length.get(usize::from(seed % 6)).copied().flatten().map(|length| vec![seed; length])
}

fn metadata(seed: u8) -> Option<Value> {
    let low = seed >> 4;
    Some(match seed % 12 {
        0 | 1 => return None,
        2 | 3 => json!({ "n": low }),
        4 => json!({ "t": "a", "n": [low, -1.5] }),
        5 => json!({ "t": ["a", "b"], "o": { "n": low } }),
        6 => json!({ "t": "b", "o": [{ "n": 1 }, { "n": low, "t": "a" }] }),
        7 => json!({ "n": null, "b": true }),
        8 => json!({ "n": (1u64 << 63) + u64::from(low), "b": [false, null] }),
        9 => json!({ "n": f64::from(low) / 2.0, "t": "" }),
        10 => json!({ "n": { "n": low }, "off": low, "t": [["a"], []] }),
        _ => json!({ "off": "a", "n": low.to_string() }),
    })
}

pub(super) fn filter(input: &mut Input<'_>) -> Filter {
    let n = input.below(17);
    let path = ["n", "t", "o.n", "off", "b"].get(usize::from(input.below(5))).unwrap_or(&"n");
    match input.below(16) {
        0 => Filter::eq(path, n),
        1 => Filter::ne(path, n),
        2 => Filter::gt(path, n),
        3 => Filter::gte(path, f64::from(n) / 2.0),
        4 => Filter::lt(path, n),
        5 => Filter::lte(path, n),
        6 => Filter::is_in(path, [json!(n), json!("a"), json!(true)]),
        7 => Filter::not_in(path, [json!(n), json!(null)]),
        8 => Filter::exists(path),
        9 => Filter::contains(path, "a"),
        10 => Filter::size(path, u64::from(n % 4)),
        11 => Filter::eq(path, "a").or(Filter::gt("n", n)),
        12 => Filter::eq(path, "a").and(Filter::ne("n", n)),
        13 => !Filter::gte("n", n).and(Filter::exists(path)),
        14 => Filter::elem_match("o", Filter::eq("n", n)),
        _ => Filter::eq(path, [(1u64 << 63) + 1, 0].get(usize::from(n % 2)).copied().unwrap_or(0)),
    }
}

fn done<T>(result: Result<T>) -> T {
    result.map_err(|error| error.code().to_owned()).expect("a call that must succeed")
}

impl World {
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let metric = match input.below(3) {
            0 => Metric::Cosine,
            1 => Metric::Euclidean,
            _ => Metric::InnerProduct,
        };
        let dimension = 1 + input.below(4);
        let config = IndexConfig::new(metric).retention(16);
        let config = match input.below(3) {
            0 => config,
            1 => config.attribute("n", Attribute::Range).attribute("o.n", Attribute::Range),
            _ => config.attribute("n", Attribute::Range).attribute("off", Attribute::Off),
        };
        let memory = Arc::new(Memory::new(Limits { value: VALUE }));
        let db = done(Database::with_test_engine(Box::new(Kept(Arc::clone(&memory))), options()));
        done(db.create_index(NAME, &key(1), config));
        let index = done(db.load_index(NAME, KeyContext::root(key(1))));
        let found = done(index.describe());
        Self {
            memory,
            db: Some(db),
            index: Some(index),
            metric,
            dimension,
            items: BTreeMap::new(),
            etag: found.etag,
            before: found.etag,
            sequence: found.version.sequence,
            key: 1,
        }
    }

    pub(super) fn index(&self) -> &Index<'static> {
        self.index.as_ref().expect("it is open")
    }

    pub(super) fn reopen(&mut self) {
        self.index = None;
        done(self.db.take().expect("it is open").close());
        let engine = Box::new(Kept(Arc::clone(&self.memory)));
        self.db = Some(done(Database::with_test_engine(engine, options())));
        self.load();
    }

    fn db(&self) -> &Database {
        self.db.as_ref().expect("it is open")
    }

    fn load(&mut self) {
        let caller = KeyContext::root(key(self.key));
        self.index = Some(done(self.db().load_index(NAME, caller)));
    }

    /// Puts the index under another key; the old one is none from then on.
    fn rotate(&mut self) {
        let old = KeyContext::root(key(self.key));
        self.key = self.key % 9 + 1;
        done(self.db().rotate_index_key(NAME, &old, &key(self.key)));
        let refused = self.db().load_index(NAME, old).map(drop);
        assert_eq!(refused, Err(Error::WrongKey));
        self.load();
    }

    /// Few values, so that distances tie.
    pub(super) fn vector(&self, seed: u8) -> Vec<f32> {
        (0..self.dimension).map(|n| f32::from((seed >> (2 * n)) & 3) + 1.0).collect()
    }

    fn item(&self, input: &mut Input<'_>) -> (String, Expected) {
        let (id, vector) = (id(input), self.vector(input.u8()));
        let (contents, metadata) = (contents(input.u8()), metadata(input.u8()));
        (id, Expected { vector, contents, metadata, version: self.sequence + 1 })
    }

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let changed = match input.below(22) {
            0..=2 => self.upsert(input, 4),
            3 | 4 => self.upsert(input, 24),
            5 | 6 => self.update(input),
            7 | 8 => self.delete(input),
            9 | 10 => self.delete_where(input),
            11 => self.delete_prefix(input),
            12 => {
                self.reopen();
                false
            }
            13 => {
                done(self.index().optimize(|_| ControlFlow::Continue(())));
                self.check_tree();
                false
            }
            21 => {
                self.rotate();
                false
            }
            other => {
                self.read(other, input);
                false
            }
        };
        let found = done(self.index().describe());
        assert_eq!(found.etag != self.etag, changed, "the ETag changes exactly if items do");
        if changed {
            (self.before, self.etag) = (self.etag, found.etag);
        }
        self.sequence = found.version.sequence;
        assert_eq!((found.item_count, found.total_size_bytes), self.size());
    }

    fn size(&self) -> (u64, u64) {
        let size = |(id, item): (&String, &Expected)| {
            let metadata = item.metadata.as_ref().map_or(0, |value| value.to_string().len());
            id.len() + item.vector.len() * 4 + item.contents.as_ref().map_or(0, Vec::len) + metadata
        };
        (self.items.len() as u64, self.items.iter().map(size).sum::<usize>() as u64)
    }

    fn upsert(&mut self, input: &mut Input<'_>, most: u16) -> bool {
        let based_on = input.below(4);
        let given: Vec<_> = (0..=input.below(most)).map(|_| self.item(input)).collect();
        let items = given.iter().map(|(id, expected)| {
            let mut item = Item::new(id.clone(), expected.vector.clone());
            if let Some(contents) = &expected.contents {
                item = item.contents(contents.clone());
            }
            if let Some(metadata) = &expected.metadata {
                item = item.metadata(metadata.clone());
            }
            item
        });
        let items: Vec<Item> = items.collect();
        let mut conditions = WriteOptions::new();
        match based_on {
            0 => conditions = conditions.if_match(self.etag),
            1 => conditions = conditions.if_match(self.before),
            _ => {}
        }
        let report = self.index().upsert_with(&items, &conditions);
        if based_on == 1 && self.before != self.etag {
            assert!(matches!(report, Err(Error::PreconditionFailed(_))), "an ETag of before");
            return false;
        }
        let report = done(report);
        let distinct: BTreeSet<&String> = given.iter().map(|(id, _)| id).collect();
        let new = distinct.iter().filter(|id| !self.items.contains_key(**id)).count();
        let counts = (new as u64, (distinct.len() - new) as u64);
        assert_eq!((report.inserted, report.updated), counts);
        self.items.extend(given);
        true
    }

    fn update(&mut self, input: &mut Input<'_>) -> bool {
        let (id, what) = (id(input), 1 + input.below(8));
        let (contents, metadata) = (contents(input.u8()), metadata(input.u8()));
        let mut update = Update::new();
        if what & 1 != 0 {
            update = match &contents {
                Some(contents) => update.contents(contents.clone()),
                None => update.remove_contents(),
            };
        }
        if what & 2 != 0 {
            update = match &metadata {
                Some(metadata) => update.metadata(metadata.clone()),
                None => update.remove_metadata(),
            };
        }
        let result = self.index().update(&id, update);
        let version = self.sequence + 1;
        let code = result.as_ref().map_or_else(Error::code, |_| "ok");
        let changes = what & 3 != 0;
        let Some(item) = self.items.get_mut(&id).filter(|_| changes) else {
            let expected = if changes { "item_not_found" } else { "invalid_argument" };
            assert_eq!(code, expected);
            return false;
        };
        assert_eq!(code, "ok");
        item.version = version;
        if what & 1 != 0 {
            item.contents = contents;
        }
        if what & 2 != 0 {
            item.metadata = metadata;
        }
        true
    }

    fn delete(&mut self, input: &mut Input<'_>) -> bool {
        let dry = input.below(8) == 0;
        let ids = ids(input, 24);
        let conditions = DeleteOptions::new().if_match(IfMatch::Any).dry_run(dry);
        let report = done(self.index().delete_with(Selector::ids(&ids), &conditions));
        let distinct: BTreeSet<&String> = ids.iter().collect();
        let there: Vec<_> = distinct.iter().filter(|id| self.items.contains_key(**id)).collect();
        let missing = (distinct.len() - there.len()) as u64;
        assert_eq!((report.deleted, report.missing), (there.len() as u64, missing));
        assert_eq!(report.outcomes.len(), distinct.len());
        let changed = !dry && !there.is_empty();
        if !dry {
            self.items.retain(|id, _| !ids.contains(id));
        }
        changed
    }

    fn delete_where(&mut self, input: &mut Input<'_>) -> bool {
        let filter = filter(input);
        let limit = match input.below(4) {
            0 => usize::from(input.below(4)),
            _ => usize::MAX,
        };
        let mut conditions = DeleteOptions::new();
        if limit < usize::MAX {
            conditions = conditions.limit(limit);
        }
        let chosen = self.items.iter().filter(|(_, item)| item.matches(&filter));
        let chosen: Vec<String> = chosen.map(|(id, _)| id.clone()).collect();
        let report = done(self.index().delete_where(&filter, &conditions));
        self.gone(&chosen, limit, report.deleted, report.remaining)
    }

    fn delete_prefix(&mut self, input: &mut Input<'_>) -> bool {
        let prefix = ["a", "b", "a/", "a/b2", "1"].get(usize::from(input.below(5))).unwrap_or(&"b");
        let limit = 1 + usize::from(input.below(8));
        let conditions = DeleteOptions::new().limit(limit);
        let chosen = self.items.keys().filter(|id| id.starts_with(prefix));
        let chosen: Vec<String> = chosen.cloned().collect();
        let report = done(self.index().delete_with(Selector::prefix(prefix), &conditions));
        self.gone(&chosen, limit, report.deleted, report.remaining)
    }

    /// Of the chosen the first go, in the order of their ids.
    fn gone(&mut self, chosen: &[String], limit: usize, deleted: u64, remaining: u64) -> bool {
        let gone = chosen.len().min(limit);
        assert_eq!((deleted, remaining), (gone as u64, (chosen.len() - gone) as u64));
        for id in chosen.iter().take(gone) {
            self.items.remove(id);
        }
        gone > 0
    }
}
