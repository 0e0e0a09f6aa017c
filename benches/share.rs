//! What integrity costs of a write: the share of a batch upsert that goes into the set hash and the
//! signature.
//!
//! `cargo bench --bench share` prints the table of docs/design.md. An index of 40,000 WordNet glosses
//! is written on, 1,000 new items a call. What each call changed is read from the files before and
//! after, and hashed once more here, out of the set and in again, on one thread, as the library does it:
//! the hash of a leaf that rows were appended to goes on with them. Then the state is digested and a
//! commit signed.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::duplicate_mod,
    reason = "these are sources of the library, of which a bench uses a part"
)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a bench that fails may stop"
)]

#[path = "../src"]
mod src {
    pub mod codec;
    pub mod crypto;
    pub mod error;
    pub mod id;
}
mod support;

use src::{codec, crypto, error, id};

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use crypto::Secret;
use crypto::kdf::Signed;
use crypto::sethash::{Element, SetHash, ValueHash};
use crypto::sign::KeyPair;
use rocksdb::{ColumnFamilyDescriptor, DB, IteratorMode, Options};
use sealvec::Item;

/// The families of the set hash, and the others of a database.
const HASHED: [&str; 3] = ["items", "nodes", "attributes"];
const ALL: [&str; 6] = ["default", "catalog", "items", "nodes", "attributes", "payload"];

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let (count, rounds) = if quick { (2_000, 2) } else { (40_000, 15) };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let (database, index) = support::sealed(&path, &support::items(count), 1);
    println!("items: {count} x {} f32, threads: 1, medians of {rounds}\n", support::DIMENSION);
    let pair = KeyPair::from_seed(Secret::new([11; 32]));
    let (mut calls, mut hashes, mut signs, mut changes) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut before = records(&path);
    for round in 0..rounds {
        let batch: Vec<Item> = support::items(1000)
            .into_iter()
            .enumerate()
            .map(|(number, item)| item.with_id(format!("round-{round}-{number}")))
            .collect();
        calls.push(time(|| {
            black_box(index.upsert(&batch).unwrap());
        }));
        database.flush().unwrap();
        let after = records(&path);
        let mut set = SetHash::empty();
        let replaced: Vec<_> =
            before.iter().filter(|(key, old)| after.get(*key) != Some(*old)).collect();
        let put: Vec<_> =
            after.iter().filter(|(key, new)| before.get(*key) != Some(*new)).collect();
        // A record whose bytes begin with the old ones was appended to: what is sealed anew shares none.
        let (mut extended, mut rewritten) = (Vec::new(), Vec::new());
        for (key, old) in replaced {
            let new = after.get(key).and_then(|new| new.strip_prefix(old.as_slice()));
            match new.filter(|appended| !appended.is_empty()) {
                Some(appended) => extended.push((key, old, appended)),
                None => rewritten.push((key, old)),
            }
        }
        let put: Vec<_> = put
            .into_iter()
            .filter(|(key, _)| extended.binary_search_by(|(known, ..)| known.cmp(key)).is_err())
            .collect();
        hashes.push(time(|| {
            for (key, old) in &rewritten {
                set.remove(&Element::new(key, old));
            }
            for (key, new) in &put {
                set.add(&Element::new(key, new));
            }
            for (key, old, appended) in &extended {
                let hash = ValueHash::new(old);
                set.remove(&Element::hashed(key, &hash));
                set.add(&Element::hashed(key, &hash.with(appended)));
            }
            black_box(set.digest());
        }));
        let changed = rewritten.len() + put.len() + 2 * extended.len();
        changes.push(changed);
        signs.push(time(|| {
            black_box(pair.sign(Signed::Commit, &[13; 320]));
        }));
        before = after;
    }
    changes.sort_unstable();
    let (call, hash, sign) = (median(calls), median(hashes), median(signs));
    let share = (hash + sign).as_secs_f64() / call.as_secs_f64() * 100.0;
    println!("| upsert of 1,000 | records hashed | set hash | signature | share |");
    println!("|---|---|---|---|---|");
    println!(
        "| {:.2} ms | {} | {:.2} ms | {:.0} us | {share:.1} % |",
        call.as_secs_f64() * 1e3,
        changes[changes.len() / 2],
        hash.as_secs_f64() * 1e3,
        sign.as_secs_f64() * 1e6,
    );
}

/// What the set hash covers, as another process reads it.
fn records(path: &Path) -> Records {
    let families = || {
        ALL.map(|name| {
            let mut options = Options::default();
            // As the library's: what is appended to a leaf follows it.
            options.set_merge_operator_associative("sealvec.append", |_, before, operands| {
                let mut value = before.unwrap_or_default().to_vec();
                operands.iter().for_each(|operand| value.extend_from_slice(operand));
                Some(value)
            });
            ColumnFamilyDescriptor::new(name, options)
        })
    };
    let mut options = Options::default();
    options.set_track_and_verify_wals_in_manifest(true);
    // The writer takes logs and tables away meanwhile, which is a reason to look again.
    let open = || DB::open_cf_descriptors_read_only(&options, path, families(), false);
    let wait = |_: &_| std::thread::sleep(Duration::from_millis(50));
    let db = (0..100).find_map(|_| open().inspect_err(wait).ok()).expect("it can be read");
    let mut found = Records::new();
    for family in HASHED {
        let handle = db.cf_handle(family).unwrap();
        for record in db.iterator_cf(handle, IteratorMode::Start) {
            let (key, value) = record.unwrap();
            found.insert(key.into_vec(), value.into_vec());
        }
    }
    found
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
