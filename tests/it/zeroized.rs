//! No key stays in memory once it is dropped.
//!
//! A process of its own uses keys in every way there is, drops them, and searches all of its memory
//! for their bytes. While a key lives the search must find it: that is the control, in every case.
//! The test itself keeps the keys only masked. What a key leads to, the secrets of an index, is
//! searched for in `src/tests/wiped.rs`.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use sealvec::{
    CachingKeyProvider, Database, Include, Index, IndexConfig, IndexKey, Item, KeyContext,
    KeyProvider, KeyRequest, Metric, Permissions, Result, UserId, UserKey,
};

use crate::memory_search::{self, MASK};
use crate::support::small;

const TEST: &str = "zeroized::no_key_outlives_its_drop";
const CHILD: &str = "SEALVEC_TEST_ZEROIZED";
const NAME: &str = "index";

/// A key of 32 bytes, masked; a different one for each number.
fn masked(number: u8) -> [u8; 32] {
    std::array::from_fn(|at| {
        (number.wrapping_mul(73) ^ u8::try_from(at).unwrap_or_default().wrapping_mul(151)) | 1
    })
}

/// Calls with the key itself, in a place that is wiped.
fn with_key<T>(number: u8, call: impl FnOnce(&[u8; 32]) -> T) -> T {
    let mut key = Box::new(masked(number));
    key.iter_mut().for_each(|byte| *byte ^= MASK);
    let result = call(&key);
    key.iter_mut().for_each(|byte| *byte = 0);
    black_box(&key);
    result
}

fn index_key(number: u8) -> IndexKey {
    with_key(number, |key| IndexKey::from_bytes(key).unwrap())
}

fn user_key(number: u8) -> UserKey {
    with_key(number, |key| UserKey::from_bytes(key).unwrap())
}

fn user_id() -> UserId {
    UserId::from_bytes(&[9; 16]).unwrap()
}

/// How often any half of a key is in memory that can be written to.
fn found(number: u8) -> usize {
    memory_search::found(&[masked(number)])[0]
}

/// A case: what it does with the keys of its number, looking while they live.
type Case = fn(&Database, u8, &mut dyn FnMut());

fn create(db: &Database, number: u8) {
    let key = index_key(number);
    db.create_index(&format!("{NAME}{number}"), &key, IndexConfig::new(Metric::Euclidean)).unwrap();
}

fn open(db: &Database, number: u8) -> Index<'static> {
    db.open_index(&format!("{NAME}{number}")).unwrap()
}

fn load(db: &Database, number: u8) -> Index<'static> {
    let caller = KeyContext::root(index_key(number));
    db.load_index(&format!("{NAME}{number}"), caller).unwrap()
}

/// Provides the keys of the numbers that indexes are named by.
struct Masked;

impl KeyProvider for Masked {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        let number = request.index().parse().unwrap();
        with_key(number, |own| key.copy_from_slice(own));
        Ok(())
    }
}

/// A cache that goes on, with the key of this number in it.
fn cached(number: u8, ttl: Duration) -> &'static CachingKeyProvider<Masked> {
    let keys: &_ = Box::leak(Box::new(CachingKeyProvider::new(Masked, ttl, 1)));
    ask(keys, number);
    keys
}

fn ask(keys: &CachingKeyProvider<Masked>, number: u8) {
    drop(KeyRequest::root(&number.to_string()).caller(keys).unwrap());
}

const LONG: Duration = Duration::from_secs(3600);

const CASES: [(&str, Case); 17] = [
    ("an index key", |_, number, look| {
        let key = Box::new(index_key(number));
        look();
        drop(black_box(key));
    }),
    ("a user key", |_, number, look| {
        let key = Box::new(user_key(number));
        look();
        drop(black_box(key));
    }),
    ("a caller with an index key", |_, number, look| {
        let caller = Box::new(KeyContext::root(index_key(number)));
        look();
        drop(black_box(caller));
    }),
    ("a caller with a user key", |_, number, look| {
        let caller = Box::new(KeyContext::user(user_id(), user_key(number)));
        look();
        drop(black_box(caller));
    }),
    ("an index that is made", |db, number, look| {
        create(db, number);
        let caller = Box::new(KeyContext::root(index_key(number)));
        look();
        drop(caller);
    }),
    ("a handle with a bound key", |db, number, look| {
        create(db, number);
        let index = load(db, number);
        index.upsert(&[Item::new("a", [1.0])]).unwrap();
        look();
    }),
    ("clones of such a handle", |db, number, look| {
        create(db, number);
        let index = load(db, number);
        let other = index.clone();
        drop(index);
        look();
        other.count().unwrap();
    }),
    ("a key passed to calls", |db, number, look| {
        create(db, number);
        let (index, caller) = (open(db, number), Box::new(KeyContext::root(index_key(number))));
        let called = index.with_key(&caller);
        called.upsert(&[Item::new("a", [1.0]).contents("x")]).unwrap();
        called.query(&[1.0]).include(Include::ALL).run().unwrap();
        called.delete(&["a"]).unwrap();
        look();
    }),
    ("a user that is granted and calls", |db, number, look| {
        // The index has a key of another number.
        create(db, number + 100);
        let index = load(db, number + 100);
        index.grant(user_id(), &user_key(number), Permissions::READ_WRITE).unwrap();
        let caller = Box::new(KeyContext::user(user_id(), user_key(number)));
        let called = index.with_key(&caller);
        called.upsert(&[Item::new("a", [1.0])]).unwrap();
        called.query(&[1.0]).run().unwrap();
        look();
    }),
    ("a user that is revoked", |db, number, look| {
        create(db, number + 100);
        let index = load(db, number + 100);
        index.grant(user_id(), &user_key(number), Permissions::READ).unwrap();
        let caller = Box::new(KeyContext::user(user_id(), user_key(number)));
        index.revoke(user_id()).unwrap();
        index.with_key(&caller).count().unwrap_err();
        look();
    }),
    ("a wrong key", |db, number, look| {
        create(db, number + 100);
        let (index, caller) =
            (open(db, number + 100), Box::new(KeyContext::root(index_key(number))));
        index.with_key(&caller).count().unwrap_err();
        index.with_key(&caller).upsert(&[Item::new("a", [1.0])]).unwrap_err();
        look();
    }),
    ("an index that is deleted", |db, number, look| {
        create(db, number);
        let caller = Box::new(KeyContext::root(index_key(number)));
        look();
        db.delete_index(&format!("{NAME}{number}"), &caller).unwrap();
    }),
    ("an index key that is rotated away", |db, number, look| {
        create(db, number);
        let (old, new) = (Box::new(KeyContext::root(index_key(number))), index_key(number + 100));
        look();
        db.rotate_index_key(&format!("{NAME}{number}"), &old, &new).unwrap();
    }),
    ("a cached key that is evicted", |_, number, look| {
        let keys = cached(number, LONG);
        look();
        assert!(keys.evict(&KeyRequest::root(&number.to_string())));
    }),
    ("a cached key that is displaced", |_, number, look| {
        let keys = cached(number, LONG);
        look();
        ask(keys, number + 100);
    }),
    ("a cached key whose time is over", |_, number, look| {
        let ttl = Duration::from_secs(2);
        let (start, keys) = (Instant::now(), cached(number, ttl));
        look();
        std::thread::sleep(ttl.saturating_sub(start.elapsed()));
        keys.evict_expired();
    }),
    ("cached keys that are cleared, and a cache that is dropped", |_, number, look| {
        let (kept, dropped) = (cached(number, LONG), CachingKeyProvider::new(Masked, LONG, 1));
        ask(&dropped, number);
        look();
        kept.clear();
    }),
];

fn child() {
    let directory = tempfile::tempdir().unwrap();
    for (position, (name, case)) in CASES.iter().enumerate() {
        let number = u8::try_from(position + 1).unwrap();
        let db = Database::open(directory.path().join("db"), small()).unwrap();
        let mut alive = 0;
        case(&db, number, &mut || alive = found(number));
        let open = found(number);
        db.close().unwrap();
        println!("case {number} {alive} {open} {} {name}", found(number));
    }
}

#[test]
fn no_key_outlives_its_drop() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    if !cfg!(target_os = "linux") {
        println!("skipped: this system has no /proc/self/mem");
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("case ")).map(|l| l.1).collect();
    assert_eq!(lines.len(), CASES.len());
    for line in &lines {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        let [_, alive, open, closed, name] = fields[..] else { panic!("{line}") };
        assert_ne!(alive, "0", "{name}: the search does not find a key that is there");
        assert_eq!((open, closed), ("0", "0"), "{name}: still there after the drop, after closing");
    }
    println!("keys in memory: {} cases", lines.len());
}
