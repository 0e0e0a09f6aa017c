//! What the suites do to a database, and what must be there afterwards.
//!
//! A workload is a seed: it says the calls, one after the other, over every operation that writes.
//! Items are few, so that calls meet. The [`Ledger`] is the books: the state after each commit that
//! was acknowledged, by sequence. After a crash the index must be in the state of one of its commits,
//! at or after the last that may not be lost, at most a call further than what was acknowledged; its
//! chain of commits must hold, back to the first, and have in it every commit that was acknowledged.
//!
//! A new operation gets a variant of [`Call`], a share in [`Call::draw`], and a row in
//! [`Call::states`] and [`Call::make`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sealvec::{
    Database, DeleteOptions, Durability, Error, Filter, Include, Index, IndexConfig, IndexKey,
    Item, KeyContext, Metric, Options, Permissions, PurgeOptions, PurgeScope, Result, Tuning,
    Update, UserId, UserKey, WriteOptions,
};
use serde_json::{Value, json};

pub(crate) const NAME: &str = "index";
const DIMENSION: usize = 4;
const IDS: usize = 40;
const USERS: usize = 3;

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

fn root_key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

pub(crate) fn root() -> KeyContext {
    KeyContext::root(root_key())
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

pub(crate) fn load(db: &Database) -> Index<'static> {
    db.load_index(NAME, root()).unwrap()
}

/// A database with an index of a few items, closed; and what is in it.
pub(crate) fn create(path: &Path) -> State {
    let db = Database::open(path, options(Durability::Synced)).unwrap();
    db.create_index(NAME, &root_key(), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = load(&db);
    let mut state = State::default();
    let puts: Vec<(usize, u64)> = (0..IDS).step_by(2).map(|id| (id, id as u64)).collect();
    index.upsert(&items(&puts)).unwrap();
    state.put(&puts);
    drop(index);
    db.close().unwrap();
    state
}

fn name(id: usize) -> String {
    format!("{id:02}")
}

fn vector(seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..DIMENSION).map(|_| f32::from(i16::try_from(random.below(2000)).unwrap()) - 1000.0).collect()
}

/// Of different lengths.
fn contents(seed: u64) -> Vec<u8> {
    let more = [0, 10, 700, 5000][usize::try_from(seed % 4).unwrap()];
    let mut contents = seed.to_be_bytes().to_vec();
    contents.resize(8 + more, 7);
    contents
}

fn group(seed: u64) -> u64 {
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
type Seeds = (u64, u64);

/// What an index holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    items: BTreeMap<usize, Seeds>,
    users: BTreeMap<usize, bool>,
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
            90..97 => Self::Flush,
            _ => Self::Checkpoint,
        }
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
            Self::Optimize | Self::Purge(_) | Self::PurgeOwed | Self::Flush | Self::Checkpoint => {
                vec![before.clone()]
            }
        }
    }

    /// Makes it. Whether everything so far is then on the disk.
    pub(crate) fn make(&self, db: &Database, index: &Index<'_>, path: &Path) -> Result<bool> {
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
                index.grant(id, &key, rights).map(|()| true)
            }
            Self::Revoke(number) => index.revoke(user(*number).0),
            Self::Flush => db.flush().map(|()| true),
            Self::Checkpoint => {
                let copy = path.with_extension("copy");
                db.checkpoint(&copy)?;
                let opened = Database::open_read_only(&copy, options(Durability::Synced))?;
                assert_eq!(load(&opened).describe()?.version, index.describe()?.version);
                drop(opened);
                std::fs::remove_dir_all(&copy).unwrap();
                Ok(false)
            }
        }
    }
}

/// What is known of a commit: its number and its hash.
pub(crate) type Commit = (u64, [u8; 32]);

pub(crate) fn latest(index: &Index<'_>) -> Result<Commit> {
    let version = index.describe()?.version;
    Ok((version.sequence, version.hash))
}

/// The books of one database.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    /// The state after the last call that was acknowledged.
    pub(crate) state: State,
    /// Acknowledged commits, and the state after each.
    acknowledged: BTreeMap<u64, ([u8; 32], State)>,
    /// The last commit that a crash may not take.
    durable: u64,
}

/// How far what was found may be from what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The process died, and not the machine.
    Nothing,
    /// What was not synced may be gone.
    Unsynced,
}

impl Ledger {
    pub(crate) fn new(state: State, latest: Commit) -> Self {
        let acknowledged = [(latest.0, (latest.1, state.clone()))].into();
        Self { state, acknowledged, durable: latest.0 }
    }

    /// A call returned.
    pub(crate) fn acknowledge(&mut self, call: &Call, latest: Commit, durable: bool) {
        self.state = call.states(&self.state).pop().unwrap();
        self.acknowledged.insert(latest.0, (latest.1, self.state.clone()));
        if durable {
            self.durable = latest.0;
        }
    }

    /// Nothing of it is promised any more: somebody was at the files.
    pub(crate) const fn promise_nothing(&mut self) {
        self.durable = 0;
    }

    /// Checks a database that was opened again, everything of it, and goes on from there. `running`
    /// is the call that had not returned. Says how many acknowledged commits are gone.
    pub(crate) fn check(&mut self, index: &Index<'_>, running: Option<&Call>, loss: Loss) -> u64 {
        self.try_check(index, running, loss).unwrap()
    }

    /// As [`check`](Self::check), for an index that may be damaged: an error, or the right data.
    pub(crate) fn try_check(
        &mut self,
        index: &Index<'_>,
        running: Option<&Call>,
        loss: Loss,
    ) -> Result<u64> {
        let found = read(index)?;
        let (sequence, hash) = latest(index)?;
        let last = self.acknowledged.keys().next_back().copied().unwrap();
        let least = if loss == Loss::Nothing { last } else { self.durable };
        assert!(sequence >= least, "acknowledged commits are lost: {sequence} of {least}");
        // Every commit that was acknowledged and is not beyond the end is in the chain, as it was.
        let mut chain = BTreeMap::new();
        index.for_each_commit(.., |commit| {
            chain.insert(commit.version.sequence, commit.version.hash);
            ControlFlow::Continue(())
        })?;
        assert_eq!(chain.len() as u64, sequence, "the chain goes back to the first");
        assert_eq!(chain[&sequence], hash);
        for (number, (hash, _)) in self.acknowledged.range(..=sequence) {
            assert_eq!(chain[number], *hash, "commit {number} is another");
        }
        // The state is that of the commit.
        if let Some((_, state)) = self.acknowledged.get(&sequence) {
            assert_eq!(found, *state, "commit {sequence}");
        } else if sequence > last {
            let before = &self.acknowledged[&last].1;
            let call = running.expect("a commit that no call made");
            let allowed = call.states(before);
            let known = found == *before || allowed.contains(&found);
            assert!(known, "commit {sequence}: {found:?} after {before:?}, in {call:?}");
        } else {
            assert!(self.amid(sequence, &found), "commit {sequence}: {found:?}");
        }
        let lost = self.acknowledged.split_off(&(sequence + 1)).len();
        self.acknowledged.insert(sequence, (hash, found.clone()));
        self.state = found;
        self.durable = sequence;
        Ok(lost as u64)
    }

    /// Whether a state lies between the two acknowledged around it, item by item.
    fn amid(&self, sequence: u64, found: &State) -> bool {
        let before = self.acknowledged.range(..sequence).next_back();
        let after = self.acknowledged.range(sequence..).next();
        let (Some((_, (_, before))), Some((_, (_, after)))) = (before, after) else { return false };
        (0..IDS).all(|id| {
            let one = found.items.get(&id);
            one == before.items.get(&id) || one == after.items.get(&id)
        })
    }
}

/// Reads and verifies everything.
fn read(index: &Index<'_>) -> Result<State> {
    let described = index.describe()?;
    let report = index.verify_tree()?;
    assert_eq!((report.items, report.oversized), (described.item_count, 0));
    let mut state = State::default();
    let mut bytes = 0;
    let visited = index.for_each(Include::ALL, |entry| {
        let held = entry.contents.unwrap();
        let seed_of_contents = u64::from_be_bytes(*held.first_chunk().unwrap());
        assert_eq!(held, contents(seed_of_contents));
        let metadata = entry.metadata.unwrap();
        let seed = metadata.parse::<Value>().unwrap()["seed"].as_u64().unwrap();
        assert_eq!(entry.vector.unwrap(), vector(seed));
        bytes += entry.id.len() + DIMENSION * 4 + held.len() + metadata.len();
        state.items.insert(entry.id.parse().unwrap(), (seed, seed_of_contents));
        ControlFlow::Continue(())
    })?;
    assert_eq!(*visited, described.item_count);
    assert_eq!(bytes as u64, described.total_size_bytes);
    for user in index.users()? {
        let number = usize::from(user.id.as_bytes()[0]) - 1;
        state.users.insert(number, user.permissions == Permissions::READ_WRITE);
    }
    if let Some((id, (seed, _))) = state.items.first_key_value() {
        let hits = index.query(&vector(*seed)).top_k(1).effort(1024).run()?;
        assert_eq!(hits[0].distance.to_bits(), 0.0_f32.to_bits());
        let held = index.get(&[name(*id)], Include::ALL)?;
        assert_eq!(held[0].item.as_ref().unwrap().vector, Some(vector(*seed)));
        let of_group = json!({ "group": group(*seed) });
        let counted = *index.count_where(&Filter::from_json(&of_group)?)?;
        let there = state.items.values().filter(|seeds| group(seeds.0) == group(*seed)).count();
        assert_eq!(counted, there as u64);
    }
    Ok(state)
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
