//! Deleting, held to what others promise of it.
//!
//! A case is named for where it comes from: the tests of Ahnlich ("ahnlich A5"), of the CloudFront
//! KeyValueStore and its emulators ("cloudfront C6"), of Cloudflare Workers KV ("cloudflare D7"),
//! the pages that describe their delete calls and CyborgDB's ("page"), and the list of behaviours
//! that whoever wants to satisfy all of them must pin ("superset 13"). [`every_case_is_told`] says
//! that none of a list is left out: a case is in a table, or in [`NOT_APPLICABLE`] with the reason.
//!
//! Every case runs in memory and on disk, unless it is about files. Whatever it expects besides,
//! [`World::call`] holds each of its calls to the rules of every change: a refused one leaves
//! everything as it was, down to the stored records; the ETag changes exactly when items do, to
//! one that never was before; counters are those of a recount.

mod ahnlich;
mod cloudflare;
mod cloudfront;
mod order;
mod pages;
mod predicates;
mod recount;
mod rules;
mod secrecy;
mod superset;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use sealvec::{
    Database, DeleteReport, Description, ETag, Error, Fetched, Include, Index, IndexConfig, Item,
    Metric, Options, Result, UpsertReport, User,
};
use tempfile::TempDir;

use crate::support::{NAME, ROOT, Stored, code, index_key, records_while_open, root, small};

const EUCLIDEAN: IndexConfig = IndexConfig::new(Metric::Euclidean);

/// What one source says, as steps that assert it.
struct Case {
    id: &'static str,
    says: &'static str,
    on: On,
    steps: fn(&mut World),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Both,
    Disk,
}

const TABLES: [&[Case]; 7] = [
    ahnlich::CASES,
    cloudfront::CASES,
    cloudflare::CASES,
    pages::CASES,
    predicates::CASES,
    superset::CASES,
    superset::stored::CASES,
];

/// The lists: of each, the name of its cases and how many there are.
const LISTS: [(&str, usize); 4] =
    [("ahnlich A", 15), ("cloudfront C", 11), ("cloudflare D", 10), ("superset ", 34)];

const NO_EXPIRY: &str = "items do not expire";

const NOT_APPLICABLE: [(&str, &str); 4] = [
    ("cloudflare D5", NO_EXPIRY),
    ("superset 20", "what is left in the files is erased by purge: tests/it/purge.rs"),
    ("superset 30", NO_EXPIRY),
    ("superset 32", "there are no namespaces; an index is the largest thing that is deleted"),
];

fn run(cases: &[Case]) {
    for case in cases {
        for on_disk in [false, true] {
            if on_disk || case.on == On::Both {
                // The last line printed is the case that failed.
                println!(
                    "{}, {}: {}",
                    case.id,
                    ["memory", "disk"][usize::from(on_disk)],
                    case.says
                );
                (case.steps)(&mut World::new(on_disk));
            }
        }
    }
}

#[test]
fn ahnlich_cases() {
    run(ahnlich::CASES);
}

#[test]
fn cloudfront_cases() {
    run(cloudfront::CASES);
}

#[test]
fn cloudflare_cases() {
    run(cloudflare::CASES);
}

#[test]
fn cases_of_predicates() {
    run(predicates::CASES);
}

#[test]
fn cases_of_the_pages() {
    run(pages::CASES);
}

#[test]
fn superset_cases() {
    run(superset::CASES);
}

#[test]
fn superset_cases_of_what_is_stored() {
    run(superset::stored::CASES);
}

#[test]
fn every_case_is_told() {
    let mut told = BTreeMap::new();
    for case in TABLES.into_iter().flatten() {
        assert!(told.insert(case.id, case.says).is_none(), "{} twice", case.id);
    }
    for (id, reason) in NOT_APPLICABLE {
        assert!(told.insert(id, reason).is_none(), "{id} applies, or does not");
    }
    assert!(told.values().all(|text| text.len() > 10));
    let told: BTreeSet<String> = told.into_keys().map(str::to_owned).collect();
    let listed =
        LISTS.iter().flat_map(|(list, last)| (1..=*last).map(move |n| format!("{list}{n}")));
    let listed: BTreeSet<String> = listed.collect();
    let pages = told.iter().filter(|id| id.ends_with(" page")).count();
    assert_eq!(pages, 4, "each of the four pages has a case");
    let told: BTreeSet<String> = told.into_iter().filter(|id| !id.ends_with(" page")).collect();
    assert_eq!(told, listed);
}

/// A database with at most one index, and every ETag that it has had.
struct World {
    db: Option<Database>,
    index: Option<Index<'static>>,
    directory: Option<TempDir>,
    options: Options,
    etags: HashSet<ETag>,
}

/// All there is to see, and on disk what is stored.
#[derive(Debug, PartialEq)]
struct State {
    description: Description,
    items: Vec<Fetched>,
    users: Vec<User>,
    records: Option<Vec<Stored>>,
}

fn item(id: &str) -> Item {
    let place = id.bytes().map(u32::from).sum::<u32>() % 97;
    let vector = [f32::from(u16::try_from(place).unwrap()), 1.0];
    Item::new(id, vector).contents(format!("text of {id}")).metadata(serde_json::json!({"id": id}))
}

impl World {
    fn new(on_disk: bool) -> Self {
        let directory = on_disk.then(|| tempfile::tempdir().unwrap());
        let mut world =
            Self { db: None, index: None, directory, options: small(), etags: HashSet::new() };
        world.open();
        world
    }

    fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path().join("db"))
    }

    fn open(&mut self) {
        let options = self.options.clone();
        self.db = Some(match self.path() {
            Some(path) => Database::open(path, options).unwrap(),
            None => Database::in_memory_with(options).unwrap(),
        });
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    fn index(&self) -> &Index<'static> {
        self.index.as_ref().unwrap()
    }

    fn load(&mut self) {
        self.index = Some(self.db().load_index(NAME, root(ROOT)).unwrap());
    }

    /// Sets options of a database that has no index yet.
    fn configure(&mut self, options: Options) {
        assert!(self.index.is_none());
        self.options = options;
        if let Some(db) = self.db.take() {
            db.close().unwrap();
        }
        self.open();
    }

    fn create(&mut self) {
        self.create_with(EUCLIDEAN);
    }

    fn create_with(&mut self, config: IndexConfig) {
        self.db().create_index(NAME, &index_key(ROOT), config).unwrap();
        self.load();
        self.etags.insert(self.etag());
    }

    /// Deletes the index; returns the handle that is left of it.
    fn drop_index(&mut self) -> Index<'static> {
        self.db().delete_index(NAME, &root(ROOT)).unwrap();
        self.index.take().unwrap()
    }

    /// On disk, closes and opens the database; in memory a new handle is all there is.
    fn reopen(&mut self) {
        self.change_files(|_| {});
    }

    /// As [`reopen`](Self::reopen), with something done to the files in between.
    fn change_files(&mut self, change: impl FnOnce(&std::path::Path)) {
        self.index = None;
        if let Some(path) = self.path() {
            self.db.take().unwrap().close().unwrap();
            change(&path);
            self.open();
        }
        self.load();
    }

    fn etag(&self) -> ETag {
        self.index().describe().unwrap().etag
    }

    fn state(&self) -> State {
        let index = self.index();
        let ids = index.list_ids(10_000, None).unwrap().value.ids;
        let items = index.get(&ids, Include::ALL).unwrap().value;
        let records = self.path().map(|path| records_while_open(&path));
        let (description, users) = (index.describe().unwrap(), index.users().unwrap().value);
        State { description, items, users, records }
    }

    /// Makes a call that may change items, and holds it to the rules of every one.
    #[track_caller]
    fn call<T>(&mut self, call: impl FnOnce(&Index<'static>) -> Result<T>) -> Result<T> {
        let before = self.state();
        let result = call(self.index());
        let after = self.state();
        if result.is_err() || after.items == before.items {
            assert_eq!(after, before, "nothing changed, so nothing may differ");
        } else {
            assert!(self.etags.insert(after.description.etag), "an ETag came back");
        }
        let width = after.description.precision.bytes();
        let size = |fetched: &Fetched| {
            let item = fetched.item.as_ref().unwrap();
            let metadata = item.metadata.as_ref().map_or(0, |json| json.to_string().len());
            let contents = item.contents.as_ref().map_or(0, Vec::len);
            fetched.id.len() + item.vector.as_ref().unwrap().len() * width + contents + metadata
        };
        let bytes: usize = after.items.iter().map(size).sum();
        assert_eq!(after.description.item_count, after.items.len() as u64);
        assert_eq!(after.description.total_size_bytes, bytes as u64);
        result
    }

    #[track_caller]
    fn put(&mut self, ids: &[&str]) -> UpsertReport {
        let items: Vec<Item> = ids.iter().map(|id| item(id)).collect();
        self.call(|index| index.upsert(&items)).unwrap()
    }

    /// Deletes by id; returns what was deleted and what was missing, and compares the report with
    /// what describe says.
    #[track_caller]
    fn delete(&mut self, ids: &[&str]) -> (u64, u64) {
        let report = self.call(|index| index.delete(ids)).unwrap();
        self.agrees(&report);
        (report.deleted, report.missing)
    }

    /// The report is of the state there is.
    #[track_caller]
    fn agrees(&self, report: &DeleteReport) {
        let found = self.index().describe().unwrap();
        assert_eq!((report.etag, report.version), (found.etag, found.version));
        if !report.dry_run {
            let counts = (found.item_count, found.total_size_bytes);
            assert_eq!((report.item_count, report.total_size_bytes), counts);
        }
    }

    /// The call is refused with this code and changes nothing.
    #[track_caller]
    fn refuses<T>(&mut self, with: &str, call: impl FnOnce(&Index<'static>) -> Result<T>) -> Error {
        let result = self.call(call);
        assert_eq!(code(&result), with);
        result.err().unwrap()
    }

    /// Exactly these are there, by every way of asking. Sorted.
    #[track_caller]
    fn holds(&self, ids: &[&str]) {
        let index = self.index();
        assert_eq!(index.list_ids(10_000, None).unwrap().value.ids, ids);
        assert_eq!(*index.count().unwrap(), ids.len() as u64);
        let found = index.get(ids, Include::NONE).unwrap().value;
        assert!(found.iter().all(|fetched| fetched.item.is_some()));
        for exact in [false, true] {
            let query = index.query(&[0.0, 1.0]).top_k(ids.len() + 5);
            let hits = if exact { query.exact().run() } else { query.probes(1000).run() };
            let hits: BTreeSet<String> = hits.unwrap().into_iter().map(|hit| hit.id).collect();
            assert!(hits.iter().eq(ids), "a query finds others");
        }
    }
}
