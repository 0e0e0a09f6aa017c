//! What the suites do to a database.
//!
//! A workload is a seed: it says the calls, one after the other, over every operation that writes.
//! Items are few, so that calls meet. What must be there afterwards is in `ledger.rs`.
//!
//! A new operation gets a variant of [`Call`], a share in [`Call::draw`], and a row in
//! [`Call::states`] and [`Call::make`]; a new rotation a variant of [`Rotation`] and a line in
//! [`Rotation::make`].

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Deref};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sealvec::{
    Database, DeleteOptions, Durability, Error, Filter, Index, IndexConfig, IndexKey, Item,
    KeyContext, Metric, Options, Permissions, PurgeOptions, PurgeScope, ReencryptOptions, Result,
    Tuning, Update, UserId, UserKey, WriteOptions,
};
use serde_json::json;

use crate::ledger::latest;

pub(crate) const NAME: &str = "index";
pub(crate) const DIMENSION: usize = 4;
pub(crate) const IDS: usize = 40;
const USERS: usize = 3;
/// Index keys, each with its turn.
const KEYS: usize = 3;

/// Numbers that look random and are always the same (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below a limit, which is at least 1.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

fn root_key(number: usize) -> IndexKey {
    IndexKey::from_bytes(&[7 + u8::try_from(number).unwrap(); 32]).unwrap()
}

pub(crate) fn root(number: usize) -> KeyContext {
    KeyContext::root(root_key(number))
}

fn user(number: usize) -> (UserId, UserKey) {
    let byte = u8::try_from(number + 1).unwrap();
    (UserId::from_bytes(&[byte; 16]).unwrap(), UserKey::from_bytes(&[byte; 32]).unwrap())
}

pub(crate) fn options(durability: Durability) -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    Options::new().threads(1).block_cache(1 << 20).durability(durability).tuning(tuning)
}

/// The index, with the index key that it has now.
#[derive(Debug)]
pub(crate) struct Open {
    index: Index<'static>,
    pub(crate) key: usize,
}

impl Deref for Open {
    type Target = Index<'static>;

    fn deref(&self) -> &Self::Target {
        &self.index
    }
}

/// With the first key that opens it.
pub(crate) fn try_load(db: &Database) -> Result<Open> {
    for key in 0..KEYS {
        match db.load_index(NAME, root(key)) {
            Err(Error::WrongKey) => {}
            other => return Ok(Open { index: other?, key }),
        }
    }
    Err(Error::WrongKey)
}

/// As [`try_load`]; no other key may open it.
pub(crate) fn load(db: &Database) -> Open {
    let open = try_load(db).unwrap();
    for other in (0..KEYS).filter(|other| *other != open.key) {
        assert_eq!(db.load_index(NAME, root(other)).map(drop), Err(Error::WrongKey));
    }
    open
}

/// A database with an index of a few items, closed; and what is in it.
pub(crate) fn create(path: &Path) -> State {
    let db = Database::open(path, options(Durability::Synced)).unwrap();
    db.create_index(NAME, &root_key(0), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = load(&db);
    let mut state = State::default();
    let puts: Vec<(usize, u64)> = (0..IDS).step_by(2).map(|id| (id, id as u64)).collect();
    index.upsert(&items(&puts)).unwrap();
    state.put(&puts);
    drop(index);
    db.close().unwrap();
    state
}

pub(crate) fn name(id: usize) -> String {
    format!("{id:02}")
}

pub(crate) fn vector(seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..DIMENSION).map(|_| f32::from(i16::try_from(random.below(2000)).unwrap()) - 1000.0).collect()
}

/// Of different lengths.
pub(crate) fn contents(seed: u64) -> Vec<u8> {
    let more = [0, 10, 700, 5000][usize::try_from(seed % 4).unwrap()];
    let mut contents = seed.to_be_bytes().to_vec();
    contents.resize(8 + more, 7);
    contents
}

pub(crate) fn group(seed: u64) -> u64 {
    seed % 5
}

fn items(puts: &[(usize, u64)]) -> Vec<Item> {
    let item = |&(id, seed): &(usize, u64)| {
        let item = Item::new(name(id), vector(seed)).contents(contents(seed));
        item.metadata(json!({ "group": group(seed), "seed": seed }))
    };
    puts.iter().map(item).collect()
}

/// What an item was written with: the seed of its vector and metadata, and that of its contents.
pub(crate) type Seeds = (u64, u64);

/// What an index holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) items: BTreeMap<usize, Seeds>,
    pub(crate) users: BTreeMap<usize, bool>,
    /// The index key.
    pub(crate) key: usize,
}

/// What is put under another key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rotation {
    IndexKey,
    /// Also seals everything again, and takes the older data keys out of use.
    DataKeys,
}

impl Rotation {
    const EACH: [Self; 2] = [Self::IndexKey, Self::DataKeys];

    /// Makes it, and loads the index again with the key that it has then.
    fn make(self, db: &Database, index: &mut Open) -> Result<()> {
        match self {
            Self::IndexKey => {
                let key = (index.key + 1) % KEYS;
                let rotated = db.rotate_index_key(NAME, &root(index.key), &root_key(key));
                concluded(rotated.map(drop), ())?;
                *index = Open { index: db.load_index(NAME, root(key))?, key };
            }
            Self::DataKeys => {
                match db.rotate_data_keys(NAME, &root(index.key)) {
                    // As many are in use as there may be: earlier calls were cut short.
                    Err(Error::InvalidArgument(_)) => {}
                    other => drop(other?),
                }
                let all = |_: &_| ControlFlow::Continue(());
                concluded(index.reencrypt(ReencryptOptions::new(), all).map(drop), ())?;
            }
        }
        Ok(())
    }
}

/// What ends with a purge is done also when that cannot be.
fn concluded<T>(result: Result<T>, done: T) -> Result<T> {
    match result {
        Err(Error::PurgeIncomplete(_)) => Ok(done),
        other => other,
    }
}

impl State {
    fn put(&mut self, puts: &[(usize, u64)]) {
        self.items.extend(puts.iter().map(|&(id, seed)| (id, (seed, seed))));
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Vec<Self> {
        let mut after = self.clone();
        change(&mut after);
        vec![after]
    }
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Upsert(Vec<(usize, u64)>),
    Update(usize, u64),
    Delete(Vec<usize>),
    DeleteWhere(u64),
    Batch(Vec<(usize, u64)>, Vec<usize>),
    Bulk(Vec<(usize, u64)>),
    Optimize,
    Purge(PurgeScope),
    PurgeOwed,
    Grant(usize, bool),
    Revoke(usize),
    Rotate(Rotation),
    Flush,
    Checkpoint,
}

impl Call {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let puts = |random: &mut Random, most: usize| {
            let count = 1 + random.below(most);
            (0..count).map(|_| (random.below(IDS), random.next() >> 24)).collect::<BTreeMap<_, _>>()
        };
        let puts = |random: &mut Random, most| puts(random, most).into_iter().collect::<Vec<_>>();
        let ids = |random: &mut Random| (0..=random.below(4)).map(|_| random.below(IDS)).collect();
        match random.below(100) {
            0..30 => Self::Upsert(puts(random, 6)),
            30..40 => Self::Update(random.below(IDS), random.next() >> 24),
            40..54 => Self::Delete(ids(random)),
            54..58 => Self::DeleteWhere(group(random.next())),
            58..66 => {
                let puts = puts(random, 4);
                let mut ids: Vec<usize> = ids(random);
                ids.retain(|id| puts.iter().all(|(put, _)| put != id));
                Self::Batch(puts, ids)
            }
            66..72 => Self::Bulk(puts(random, 20)),
            72..76 => Self::Optimize,
            76..80 => Self::Purge([PurgeScope::Records, PurgeScope::Payload][random.below(2)]),
            80..82 => Self::PurgeOwed,
            82..87 => Self::Grant(random.below(USERS), random.below(2) == 0),
            87..90 => Self::Revoke(random.below(USERS)),
            90..94 => Self::Flush,
            94..97 => Self::Rotate(Rotation::EACH[random.below(Rotation::EACH.len())]),
            _ => Self::Checkpoint,
        }
    }

    /// Whether it purges, which leaves nothing in the log.
    pub(crate) const fn purges(&self) -> bool {
        matches!(self, Self::Purge(_) | Self::PurgeOwed | Self::Revoke(_) | Self::Rotate(_))
    }

    /// The states it may leave if it is cut short, besides the one before; the last is its end.
    pub(crate) fn states(&self, before: &State) -> Vec<State> {
        match self {
            Self::Upsert(puts) => before.with(|state| state.put(puts)),
            Self::Bulk(puts) => {
                // Those after the commits it takes, whichever these are.
                (1..=puts.len()).flat_map(|n| before.with(|s| s.put(&puts[..n]))).collect()
            }
            Self::Update(id, seed) => before.with(|state| {
                state.items.entry(*id).and_modify(|seeds| seeds.1 = *seed);
            }),
            Self::Delete(ids) => before.with(|state| state.items.retain(|id, _| !ids.contains(id))),
            Self::DeleteWhere(one) => {
                before.with(|state| state.items.retain(|_, seeds| group(seeds.0) != *one))
            }
            Self::Batch(puts, ids) => before.with(|state| {
                state.items.retain(|id, _| !ids.contains(id));
                state.put(puts);
            }),
            Self::Grant(number, writes) => before.with(|state| {
                state.users.insert(*number, *writes);
            }),
            Self::Revoke(number) => before.with(|state| {
                state.users.remove(number);
            }),
            Self::Rotate(Rotation::IndexKey) => before.with(|state| {
                state.key = (state.key + 1) % KEYS;
            }),
            Self::Optimize
            | Self::Purge(_)
            | Self::PurgeOwed
            | Self::Rotate(Rotation::DataKeys)
            | Self::Flush
            | Self::Checkpoint => vec![before.clone()],
        }
    }

    /// Makes it. Whether everything so far is then on the disk.
    pub(crate) fn make(&self, db: &Database, index: &mut Open, path: &Path) -> Result<bool> {
        let names = |ids: &[usize]| ids.iter().map(|id| name(*id)).collect::<Vec<_>>();
        match self {
            Self::Upsert(puts) => index.upsert(&items(puts)).map(|r| r.version.durable),
            Self::Update(id, seed) => {
                match index.update(&name(*id), Update::new().contents(contents(*seed))) {
                    Err(Error::ItemNotFound) => Ok(false),
                    other => other.map(|report| report.version.durable),
                }
            }
            Self::Delete(ids) => index.delete(&names(ids)).map(|r| r.version.durable),
            Self::DeleteWhere(one) => {
                let filter = Filter::from_json(&json!({ "group": one }))?;
                index.delete_where(&filter, &DeleteOptions::new()).map(|r| r.version.durable)
            }
            Self::Batch(puts, ids) => {
                let report = index.write_batch(&items(puts), &names(ids), &WriteOptions::new())?;
                Ok(report.version.durable)
            }
            Self::Bulk(puts) => {
                let report = index.bulk_upsert(items(puts), |_| ControlFlow::Continue(()))?;
                Ok(report.version.durable)
            }
            Self::Optimize => index.optimize(|_| ControlFlow::Continue(())).map(|_| false),
            Self::Purge(scope) => {
                // One that fails to remove a file would wait for that much longer.
                let soon = PurgeOptions::new().deadline(Duration::from_secs(1));
                match index.purge(*scope, soon) {
                    Err(Error::PurgeIncomplete(_)) => Ok(false),
                    other => other.map(|_| false),
                }
            }
            Self::PurgeOwed => db.purge_owed().map(|_| false),
            Self::Grant(number, writes) => {
                let (id, key) = user(*number);
                let rights = if *writes { Permissions::READ_WRITE } else { Permissions::READ };
                index.grant(id, &key, rights).map(|_| true)
            }
            Self::Revoke(number) => {
                concluded(index.revoke(user(*number).0).map(|done| done.value), true)
            }
            Self::Rotate(rotation) => rotation.make(db, index).map(|()| true),
            Self::Flush => db.flush().map(|()| true),
            Self::Checkpoint => {
                let copy = path.with_extension("copy");
                db.checkpoint(&copy)?;
                let opened = Database::open_read_only(&copy, options(Durability::Synced))?;
                let twin = try_load(&opened)?;
                assert_eq!(latest(&twin)?, latest(index)?);
                drop(twin);
                drop(opened);
                std::fs::remove_dir_all(&copy).unwrap();
                Ok(false)
            }
        }
    }
}

/// Databases come and go by the hundred, and what is on the disk is simulated: memory will do, where
/// there is some to be had as files.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// So many here, and so many in `make soak`.
pub(crate) fn cases(here: u64, soaked: u64) -> u64 {
    if std::env::var_os("SEALVEC_SOAK").is_some() { soaked } else { here }
}

/// Does numbered work, from 0, until some of it says that it was the last. On several threads, because
/// RocksDB waits a second after each error it has in the background.
pub(crate) fn until_done(work: impl Fn(u64) -> bool + Sync) {
    let (next, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if !work(next.fetch_add(1, Ordering::Relaxed)) {
                        done.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
