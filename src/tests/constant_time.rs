//! Time tells nothing: of two inputs that must not be told apart, neither takes longer.
//!
//! As dudect does it (Reparaz, Balasch and Verbauwhede 2017): two classes of input, measured in
//! random order; the slowest tenth of all samples is left out, because that is the machine's; and
//! Welch's t of the two classes. A case fails if |t| is over [`BOUND`] in each of [`RUNS`] runs, with
//! [`SAMPLES`] each: other work on the machine is noise, and a difference stays. It is part of `make
//! soak` alone, because it takes long.
//!
//! The control: a comparison that stops at the first difference, and a refusal that looks at the item
//! first, have to be found out by the same test.

use std::hint::black_box;
use std::time::Instant;

use crate::config::{IndexConfig, Options};
use crate::crypto::kdf::{Locator, Prk};
use crate::crypto::wrap::{self, Header, Right, Secrets};
use crate::crypto::{IndexKey, KeyContext, Secret, UserKey};
use crate::database::Database;
use crate::id::{IndexId, Permissions, UserId};
use crate::index::{Include, Index, Item};
use crate::vector::Metric;

/// Over this a difference is not chance; dudect's.
const BOUND: f64 = 10.0;
/// Measurements of each case, of both classes together.
const SAMPLES: usize = 400_000;
/// So often a case is measured before it fails.
const RUNS: u64 = 3;
/// Of each kind that is refused for what it is.
const CALLERS: usize = 2048;
const NAME: &str = "index";
const INDEX: IndexId = IndexId([1; 16]);

/// Numbers that look random and are always the same (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| u8::try_from(self.next() >> 56).unwrap())
    }
}

/// Welch's t of the times of two classes, in nanoseconds, the slowest tenth of all left out.
fn welch(samples: &[(bool, u64)]) -> f64 {
    let mut times: Vec<u64> = samples.iter().map(|(_, time)| *time).collect();
    times.sort_unstable();
    let limit = times[times.len() / 10 * 9];
    let moments = |class: bool| {
        let times = samples.iter().filter(|(of, time)| *of == class && *time <= limit);
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a call")]
        let times: Vec<f64> = times.map(|(_, time)| *time as f64).collect();
        #[expect(clippy::cast_precision_loss, reason = "a number of samples")]
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    };
    let (one, two) = (moments(false), moments(true));
    (one.0 - two.0) / (one.1 + two.1).sqrt()
}

/// Inputs that must not be told apart from those of the other class.
type Class = Vec<Vec<u8>>;

fn class<const N: usize>(input: &[u8; N]) -> Class {
    vec![input.to_vec()]
}

/// Measures a call with inputs of two classes, all of one length and read from the same place.
fn measure(classes: &[Class; 2], samples: usize, seed: u64, call: &mut dyn FnMut(&[u8])) -> f64 {
    let (mut random, mut input) = (Random(seed), classes[0][0].clone());
    let mut times = Vec::with_capacity(samples);
    for sample in 0..samples + samples / 10 {
        let of = random.below(2);
        let class = &classes[of];
        input.copy_from_slice(&class[random.below(class.len())]);
        let start = Instant::now();
        call(black_box(&input));
        let time = u64::try_from(start.elapsed().as_nanos()).unwrap();
        // The first are to warm up.
        if sample >= samples / 10 {
            times.push((of == 1, time));
        }
    }
    welch(&times)
}

/// The t of the first run that is within the bound, or of the last.
fn judge(name: &str, classes: &[Class; 2], mut call: impl FnMut(&[u8])) -> f64 {
    let runs = (1..=RUNS).map(|run| measure(classes, SAMPLES, run, &mut call));
    let mut last = f64::NAN;
    for (run, t) in (1..).zip(runs) {
        last = t;
        if t.abs() <= BOUND {
            println!("constant time, {SAMPLES} samples: t = {t:6.2} in run {run}: {name}");
            break;
        }
    }
    last
}

fn soaked() -> bool {
    let soaked = std::env::var_os("SEALVEC_SOAK").is_some();
    if !soaked {
        println!("skipped: measured by `make soak` only");
    }
    soaked
}

fn user(id: u8, key: u8) -> KeyContext {
    KeyContext::user(UserId([id; 16]), UserKey::from_bytes(&[key; 32]).unwrap())
}

fn root() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(&[7; 32]).unwrap())
}

/// An index with the item `there`, and two users: who reads, and who writes.
fn world() -> (Database, Index<'static>) {
    let db = Database::in_memory_with(Options::new().threads(1)).unwrap();
    let key = IndexKey::from_bytes(&[7; 32]).unwrap();
    db.create_index(NAME, &key, IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, root()).unwrap();
    let rights = [Permissions::READ, Permissions::WRITE];
    for (id, rights) in (2..).zip(rights) {
        index.grant(UserId([id; 16]), &UserKey::from_bytes(&[id; 32]).unwrap(), rights).unwrap();
    }
    index.upsert(&[Item::new("there", [1.0]), Item::new("more", [2.0])]).unwrap();
    (db, index)
}

/// A stored wrap whose commitment, 32 bytes from byte 35, is wrong in the byte at `place`.
fn wrongly_committed(prk: &Prk, locator: Locator, place: usize) -> Vec<u8> {
    let secrets = Secrets {
        epochs: vec![(1, Secret::new([3; 32]))],
        name: Secret::new([4; 32]),
        root_verify: [5; 32],
    };
    let (right, permissions) = (Right::Read, Permissions::READ);
    let header = Header { index: INDEX, locator, right, permissions, grant: 1 };
    let mut stored = wrap::seal_salted(prk, &header, &secrets, None, &[6; 24]);
    stored[35 + place] ^= 1;
    stored
}

#[test]
fn no_input_that_must_not_be_told_apart_takes_longer() {
    if !soaked() {
        return;
    }
    let mut told = Vec::new();

    let prk = Prk::new(&Secret::new([2; 32]));
    let locator = prk.locator();
    let wraps = [0, 31].map(|place| vec![wrongly_committed(&prk, locator, place)]);
    let name = "a commitment that is wrong in its first byte or in its last";
    let t = judge(name, &wraps, |stored| {
        assert!(black_box(wrap::open(&prk, INDEX, locator, Right::Read, stored)).is_err());
    });
    told.push((name.to_owned(), t));

    let (db, index) = world();
    let open = db.open_index(NAME).unwrap();
    // A user id and a key. Of each class there are many, because each has a place of its own among
    // the records, and a place may be nearer than another.
    let called = |input: &[u8]| {
        let (id, key) = input.split_at(16);
        let key = UserKey::from_bytes(key).unwrap();
        let caller = KeyContext::user(UserId(id.try_into().unwrap()), key);
        assert!(open.with_key(&caller).count().is_err());
    };
    let mut random = Random(2);
    let mut many = |id: Option<[u8; 16]>| -> Class {
        let one = |random: &mut Random| {
            [&id.unwrap_or_else(|| random.bytes())[..], &random.bytes::<32>()].concat()
        };
        (0..CALLERS).map(|_| one(&mut random)).collect()
    };
    let (wrong, revoked) = (many(Some([2; 16])), many(None));
    let (nobody, never) = (many(None), many(None));
    for caller in &revoked {
        let (id, key) = caller.split_at(16);
        let id = UserId(id.try_into().unwrap());
        index.grant(id, &UserKey::from_bytes(key).unwrap(), Permissions::READ).unwrap();
        index.revoke(id).unwrap();
    }
    for (name, classes) in [
        ("a user there is, with a wrong key, or nobody", [wrong, nobody]),
        ("a revoked user, or one that never was", [revoked, never]),
    ] {
        told.push((name.to_owned(), judge(name, &classes, called)));
    }

    for (name, caller) in [("who may only write", user(3, 3)), ("a stranger", user(97, 97))] {
        let index = open.with_key(&caller);
        let name = format!("get by {name}, of an item there is or is not");
        let t = judge(&name, &[class(b"there"), class(b"never")], |id| {
            let id = str::from_utf8(id).unwrap();
            assert!(black_box(index.get(&[id], Include::ALL)).is_err());
        });
        told.push((name, t));
    }
    for (name, caller) in [("who may only read", user(2, 2)), ("a stranger", user(97, 97))] {
        let index = open.with_key(&caller);
        let name = format!("delete by {name}, of an item there is or is not");
        let t = judge(&name, &[class(b"there"), class(b"never")], |id| {
            let id = str::from_utf8(id).unwrap();
            assert!(black_box(index.delete(&[id])).is_err());
        });
        told.push((name, t));
    }
    for (name, t) in told {
        assert!(t.abs() <= BOUND, "{name}: t = {t:.1}, over {BOUND} in {RUNS} runs");
    }
}

/// The controls: both leaks are found.
#[test]
fn what_takes_longer_is_found() {
    if !soaked() {
        return;
    }
    let secret = [7u8; 32];
    let (mut first, mut last) = (secret, secret);
    (first[0], last[31]) = (0, 0);
    let t = measure(&[class(&first), class(&last)], SAMPLES, 1, &mut |guess| {
        // As a comparison is written that thinks of nothing.
        black_box(guess.iter().zip(&secret).all(|(a, b)| black_box(*a) == *b));
    });
    println!("control: t = {t:.1}: a comparison that stops at the first difference");
    assert!(t.abs() > BOUND, "{t}");

    let (db, index) = world();
    let (open, caller) = (db.open_index(NAME).unwrap(), user(3, 3));
    let refused = open.with_key(&caller);
    let t = measure(&[class(b"there"), class(b"never")], SAMPLES / 4, 1, &mut |id| {
        let id = str::from_utf8(id).unwrap();
        // Looks first and refuses then.
        black_box(index.get(&[id], Include::NONE)).unwrap();
        assert!(black_box(refused.get(&[id], Include::ALL)).is_err());
    });
    println!("control: t = {t:.1}: a refusal that looks at the item first");
    assert!(t.abs() > BOUND, "{t}");
}
