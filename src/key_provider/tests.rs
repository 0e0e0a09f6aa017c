//! Providers: what they are told, what is kept, and for how long.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::config::IndexConfig;
use crate::database::Database;
use crate::error::Error;
use crate::id::Permissions;
use crate::vector::Metric;

const TTL: Duration = Duration::from_secs(60);

/// Makes keys from what it is told, and counts how often it is asked for what.
#[derive(Default)]
struct Service {
    asked: Mutex<BTreeMap<KeyRequest, u32>>,
    fails: AtomicBool,
}

impl Service {
    fn asked(&self, request: &KeyRequest) -> u32 {
        self.asked.lock().unwrap().get(request).copied().unwrap_or(0)
    }

    fn all(&self) -> u32 {
        self.asked.lock().unwrap().values().sum()
    }
}

fn key_of(request: &KeyRequest) -> [u8; 32] {
    let [(_, index), (_, holder)] = request.context();
    blake3::hash(format!("{index}/{holder}").as_bytes()).into()
}

impl KeyProvider for Service {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        *self.asked.lock().unwrap().entry(request.clone()).or_default() += 1;
        *key = key_of(request);
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::KeyUnavailable("the service is down".into()));
        }
        Ok(())
    }
}

fn request(n: u8) -> KeyRequest {
    KeyRequest::root(&format!("index {n}"))
}

fn ask(provider: &dyn KeyProvider, request: &KeyRequest) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    provider.provide(request, &mut key).map(|()| key)
}

thread_local! {
    static SINCE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A clock that each test sets for itself.
fn clock() -> Instant {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *START + SINCE.get()
}

fn pass(time: Duration) {
    SINCE.set(SINCE.get() + time);
}

fn cached(service: &Service, capacity: usize) -> CachingKeyProvider<&Service> {
    CachingKeyProvider::new(service, TTL, capacity).with_clock(clock)
}

#[test]
fn a_key_is_asked_for_by_index_and_holder() {
    let (service, user) = (Service::default(), UserId([0xab; 16]));
    let requests = [KeyRequest::root("a"), KeyRequest::root("b"), KeyRequest::user("a", user)];
    let contexts = requests.clone().map(|request| request.context());
    assert_eq!(contexts[2][1], ("sealvec-holder", format!("user:{}", "ab".repeat(16))));
    assert!(contexts[0] != contexts[1] && contexts[0] != contexts[2]);
    let db = Database::in_memory().unwrap();
    for name in ["a", "b"] {
        let key = KeyRequest::root(name).index_key(&service).unwrap();
        db.create_index(name, &key, IndexConfig::new(Metric::Euclidean)).unwrap();
    }
    let index = db.load_index_with(&requests[0], &service).unwrap();
    let users_key = UserKey::from_bytes(&key_of(&requests[2])).unwrap();
    index.grant(user, &users_key, Permissions::READ).unwrap();
    for request in &requests {
        assert_eq!(*db.load_index_with(request, &service).unwrap().count().unwrap(), 0);
    }
    // The key of one is not the key of another, whoever asks.
    let confused = CachingKeyProvider::new(Confused(&service), TTL, 1);
    let refused = db.load_index_with(&requests[1], &confused).unwrap_err();
    assert_eq!(refused, Error::WrongKey);
    let shown = format!("{requests:?}");
    assert!(!shown.contains("\"a\"") && !shown.contains("171"), "{shown}");
}

/// Answers with the key of the index `a`, whatever it is asked.
struct Confused<'a>(&'a Service);

impl KeyProvider for Confused<'_> {
    fn provide(&self, _: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        self.0.provide(&KeyRequest::root("a"), key)
    }
}

#[test]
fn a_key_is_kept_until_its_time_is_over() {
    let service = Service::default();
    let keys = cached(&service, 8);
    for _ in 0..5 {
        assert_eq!(ask(&keys, &request(1)).unwrap(), key_of(&request(1)));
        pass(TTL / 6);
    }
    assert_eq!((service.all(), keys.len()), (1, 1));
    // From when it was asked for, however often it was used since.
    pass(TTL / 6);
    assert_eq!(ask(&keys, &request(1)).unwrap(), key_of(&request(1)));
    assert_eq!(service.all(), 2);
    // Any request wipes what is over, and so does a timer.
    pass(TTL);
    ask(&keys, &request(2)).unwrap();
    assert_eq!(keys.len(), 1);
    pass(TTL.checked_sub(Duration::from_nanos(1)).unwrap());
    keys.evict_expired();
    assert_eq!(keys.len(), 1);
    pass(Duration::from_nanos(1));
    keys.evict_expired();
    assert_eq!(keys.len(), 0);
}

#[test]
fn what_was_not_used_for_longest_makes_room() {
    let service = Service::default();
    let keys = cached(&service, 3);
    for n in [1, 2, 3, 1, 2, 4] {
        ask(&keys, &request(n)).unwrap();
    }
    assert_eq!((keys.len(), service.all()), (3, 4));
    for n in [1, 2, 4] {
        ask(&keys, &request(n)).unwrap();
    }
    assert_eq!(service.all(), 4);
    ask(&keys, &request(3)).unwrap();
    assert_eq!((keys.len(), service.asked(&request(3))), (3, 2));
    for none in [cached(&service, 0), CachingKeyProvider::new(&service, Duration::ZERO, 8)] {
        let before = service.all();
        for _ in 0..3 {
            ask(&none, &request(1)).unwrap();
        }
        none.evict_expired();
        assert_eq!((service.all() - before, none.len()), (3, 0));
    }
}

#[test]
fn what_is_evicted_is_asked_for_again() {
    let service = Service::default();
    let keys = cached(&service, 8);
    assert!(!keys.evict(&request(1)));
    for n in 1..4 {
        ask(&keys, &request(n)).unwrap();
    }
    assert!(keys.evict(&request(2)) && !keys.evict(&request(2)));
    for n in 1..4 {
        ask(&keys, &request(n)).unwrap();
    }
    assert_eq!((service.asked(&request(1)), service.asked(&request(2))), (1, 2));
    keys.clear();
    assert_eq!(keys.len(), 0);
    ask(&keys, &request(1)).unwrap();
    assert_eq!(service.asked(&request(1)), 2);
}

#[test]
fn an_error_is_passed_on_and_not_kept() {
    let service = Service::default();
    let keys = cached(&service, 8);
    service.fails.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let mut key = [0; 32];
        let error = keys.provide(&request(1), &mut key).unwrap_err();
        assert_eq!((error.code(), key, keys.len()), ("key_unavailable", [0; 32], 0));
    }
    assert_eq!(service.all(), 2);
    service.fails.store(false, Ordering::Relaxed);
    ask(&keys, &request(1)).unwrap();
    ask(&keys, &request(1)).unwrap();
    assert_eq!(service.all(), 3);
}

/// A provider that answers when it is told.
struct Gate {
    inner: Service,
    asked: mpsc::Sender<()>,
    open: Mutex<mpsc::Receiver<bool>>,
    flights: AtomicU32,
}

impl Gate {
    fn new() -> (Self, mpsc::Receiver<()>, mpsc::Sender<bool>) {
        let (asked, told) = mpsc::channel();
        let (open, opened) = mpsc::channel();
        let (inner, flights) = (Service::default(), AtomicU32::new(0));
        (Self { inner, asked, open: Mutex::new(opened), flights }, told, open)
    }
}

impl KeyProvider for Gate {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        assert_eq!(self.flights.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
        self.asked.send(()).unwrap();
        let goes = self.open.lock().unwrap().recv().unwrap();
        self.flights.fetch_sub(1, Ordering::SeqCst);
        assert!(goes, "the provider panics");
        self.inner.provide(request, key)
    }
}

#[test]
fn many_at_a_time_ask_once_and_all_get_the_answer() {
    const THREADS: u32 = 8;
    for fails in [false, true] {
        let (gate, asked, open) = Gate::new();
        gate.inner.fails.store(fails, Ordering::Relaxed);
        let keys = CachingKeyProvider::new(gate, TTL, 8);
        let (barrier, before) = (Barrier::new(8), AtomicU32::new(0));
        let answers: Vec<_> = thread::scope(|scope| {
            let one = || {
                barrier.wait();
                before.fetch_add(1, Ordering::SeqCst);
                ask(&keys, &request(1))
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
            asked.recv().unwrap();
            // Those who come when the answer is there get it from what is kept, or of an error ask
            // for themselves; so wait until all are about to ask, and a little.
            while before.load(Ordering::SeqCst) < THREADS {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(20));
            for _ in 0..THREADS {
                open.send(true).unwrap();
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let down = Error::KeyUnavailable("the service is down".into());
        let expected = if fails { Err(down) } else { Ok(key_of(&request(1))) };
        assert!(answers.iter().all(|answer| *answer == expected));
        if !fails {
            assert_eq!(keys.inner().inner.all(), 1);
        }
        assert_eq!(keys.len(), usize::from(!fails));
    }
}

#[test]
fn an_answer_under_way_when_its_key_is_evicted_is_not_kept() {
    for clear in [false, true] {
        let (gate, asked, open) = Gate::new();
        let keys = CachingKeyProvider::new(gate, TTL, 8);
        thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&keys, &request(1)));
            asked.recv().unwrap();
            if clear {
                keys.clear();
            } else {
                assert!(!keys.evict(&request(1)));
            }
            open.send(true).unwrap();
            assert_eq!(asking.join().unwrap(), Ok(key_of(&request(1))));
        });
        assert_eq!(keys.len(), 0);
        open.send(true).unwrap();
        ask(&keys, &request(1)).unwrap();
        assert_eq!((keys.len(), keys.inner().inner.all()), (1, 2));
    }
}

#[test]
fn who_waits_for_one_that_panics_asks_for_itself() {
    let (gate, asked, open) = Gate::new();
    let keys = CachingKeyProvider::new(gate, TTL, 8);
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&keys, &request(1)));
        asked.recv().unwrap();
        let second = scope.spawn(|| ask(&keys, &request(1)));
        open.send(false).unwrap();
        assert!(first.join().is_err());
        open.send(true).unwrap();
        assert_eq!(second.join().unwrap(), Ok(key_of(&request(1))));
    });
    assert_eq!(keys.len(), 1);
}

#[test]
fn key_files_hold_digits_or_bytes_and_nothing_else() {
    let digits = "0123456789abcdefABCDEF9876543210".repeat(2);
    for end in ["", "\n", "\r\n"] {
        let key = file::decode(format!("{digits}{end}").as_bytes()).unwrap();
        assert_eq!(key[..4], [0x01, 0x23, 0x45, 0x67]);
    }
    assert_eq!(*file::decode(&[b'a'; 32]).unwrap(), [b'a'; 32]);
    for bad in [
        String::new(),
        "ab".repeat(31),
        "g".repeat(64),
        format!("{digits}0"),
        format!("{digits}\n\n"),
        format!(" {}", &digits[1..]),
        "a".repeat(33),
    ] {
        assert!(file::decode(bad.as_bytes()).is_none(), "{bad:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_file_is_for_its_owner_alone_and_for_one_purpose() {
    use std::fs::{self, Permissions as Mode};
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let provider = FileKeyProvider::new().with(request(1), &path);
    let code = |wanted: u8| ask(&provider, &request(wanted)).map_err(|error| error.code());
    assert_eq!(code(1), Err("key_unavailable"), "it is not there");
    fs::write(&path, "07".repeat(32)).unwrap();
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, Mode::from_mode(mode)).unwrap();
        assert_eq!(code(1), Ok([7; 32]), "{mode:o}");
    }
    assert_eq!(code(2), Err("key_unavailable"), "of another index");
    for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644] {
        fs::set_permissions(&path, Mode::from_mode(mode)).unwrap();
        let error = ask(&provider, &request(1)).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{mode:o}: {error}");
        assert_eq!(error.code(), "key_unavailable");
    }
    fs::set_permissions(&path, Mode::from_mode(0o600)).unwrap();
    fs::write(&path, "QQQQ, which is none").unwrap();
    let error = IndexKey::from_file(&path).unwrap_err();
    assert!(error.code() == "invalid_argument" && !error.to_string().contains("QQQQ"));
    fs::write(&path, [0; 32]).unwrap();
    assert_eq!(UserKey::from_file(&path).unwrap_err().code(), "invalid_argument");
}
