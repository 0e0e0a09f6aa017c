//! The price of encryption, as ratios: what the sealed index costs beside a plain RocksDB that does
//! the same writes, measured in turns in one run, and the absolute cost of key handling.
//!
//! `cargo bench --bench price` prints the table of docs/design.md. Medians; 256 MiB block cache;
//! items are WordNet glosses with 384-dimensional f32 vectors from `data/`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a bench that fails may stop"
)]

mod support;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use ed25519_dalek::{Signer, SigningKey};
use sealvec::{
    Database, DeleteOptions, Durability, Include, Index, Item, KeyContext, Missing, Permissions,
    Selector, UserId, UserKey,
};
use support::{Plain, PlainItem};

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let directory = tempfile::tempdir().unwrap();
    let count = if quick { 2_000 } else { 40_000 };
    let items = support::items(count);
    let (database, index) = support::sealed(&directory.path().join("sealed"), &items, 1);
    let plain = Plain::open(&directory.path().join("plain"));
    let twins = support::plain_items(count, 1);
    for batch in twins.chunks(1000) {
        plain.upsert(batch, false);
    }
    let rounds = if quick { 3 } else { 500 };

    println!("items: {count} x {} f32, threads: 1, block cache: 256 MiB", support::DIMENSION);
    // Compactions of the load would be charged to whoever runs meanwhile.
    std::thread::sleep(Duration::from_secs(if quick { 0 } else { 5 }));
    println!("\n| operation | sealed | plain | ratio |\n|---|---|---|---|");
    exact_query(&index, &items, if quick { 1 } else { 9 });
    deletes("", &database, &index, &plain, (&items, &twins), rounds);
    upserts(&index, &plain, if quick { 2 } else { 40 });
    let two = support::sealed(&directory.path().join("two"), &[], 0);
    upserts_two(&two.1, &plain, if quick { 2 } else { 40 });

    println!("\n| delete | conditional or reported | plain | ratio |\n|---|---|---|---|");
    let reports = Reports::new(&database, &index);
    reports.of_one(&items[count / 2..], rounds);
    reports.of_many(if quick { 500 } else { 10_000 }, if quick { 1 } else { 9 });

    println!("\n| without an attribute index | sealed | plain | ratio |\n|---|---|---|---|");
    let off = support::sealed_as(&directory.path().join("off"), &items, 1, |config| {
        config.declared_attributes_only()
    });
    let twins = support::plain_items(count, 2);
    for batch in twins.chunks(1000) {
        plain.upsert(batch, false);
    }
    std::thread::sleep(Duration::from_secs(if quick { 0 } else { 5 }));
    deletes(", no attributes", &off.0, &off.1, &plain, (&items, &twins), rounds);

    println!("\n| key handling | median |\n|---|---|");
    key_handling(&database, &index, &items, rounds);
    println!("\n| whole call | median |\n|---|---|");
    calls(&database, &items, rounds);
}

/// 1,000 new items in one unsynced call.
fn upserts(index: &Index<'_>, plain: &Plain, rounds: usize) {
    let (sealed, baseline) = upsert_times(index, plain, rounds, 100);
    row("upsert of 1,000, unsynced, 1 thread", sealed, baseline);
}

fn upserts_two(index: &Index<'_>, plain: &Plain, rounds: usize) {
    let (sealed, baseline) = upsert_times(index, plain, rounds, 10_000);
    row("upsert of 1,000, unsynced, a thread per core", sealed, baseline);
}

fn upsert_times(
    index: &Index<'_>,
    plain: &Plain,
    rounds: usize,
    seed: usize,
) -> (Duration, Duration) {
    let base = support::items(1000);
    let (mut sealed, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let round = seed + round;
        let batch: Vec<Item> =
            base.iter().enumerate().map(|(n, item)| renamed(item, round, n)).collect();
        let twins = support::plain_items(1000, round as u64);
        sealed.push(time(|| index.upsert(&batch).map(|_| ()).unwrap()));
        baseline.push(time(|| plain.upsert(&twins, false)));
    }
    (median(sealed), median(baseline))
}

/// The same item under an id of this round.
fn renamed(item: &Item, round: usize, number: usize) -> Item {
    item.clone().with_id(format!("round-{round}-{number}"))
}

/// What a sealed delete has to do to the two leaves that it rewrites and cannot do without: open and
/// seal them, hash what was there and what is, and sign the commit. Keys are ready, and each leaf is
/// one piece. Always with `RustCrypto`.
struct Bare {
    cipher: Aes256Gcm,
    signer: SigningKey,
    leaves: [(Vec<u8>, Tag); 2],
}

impl Bare {
    fn new(length: usize) -> Self {
        let cipher = Aes256Gcm::new(&[7; 32].into());
        let leaves = [0, 1].map(|_| {
            let mut leaf = vec![7; length / 2];
            let tag =
                cipher.encrypt_inout_detached(&Nonce::default(), b"", leaf.as_mut_slice().into());
            (leaf, tag.unwrap())
        });
        Self { cipher, signer: SigningKey::from_bytes(&[7; 32]), leaves }
    }

    fn work(&mut self) {
        let nonce = Nonce::default();
        for (leaf, tag) in &mut self.leaves {
            let before = blake3::hash(leaf);
            self.cipher
                .decrypt_inout_detached(&nonce, b"", leaf.as_mut_slice().into(), tag)
                .unwrap();
            *tag = self
                .cipher
                .encrypt_inout_detached(&nonce, b"", leaf.as_mut_slice().into())
                .unwrap();
            black_box((before, blake3::hash(leaf)));
        }
        black_box(self.signer.sign(&[7; 400]));
    }
}

/// One existing item, synced and unsynced: beside a batch that deletes the same keys, and beside one
/// that rewrites as many bytes of leaves, too, as the sealed delete writes. Also what such a batch
/// takes with the cryptography that no sealed delete is without, and nothing else.
fn deletes(
    what: &str,
    database: &Database,
    index: &Index<'_>,
    plain: &Plain,
    (items, twins): (&[Item], &[PlainItem]),
    rounds: usize,
) {
    let mut next = items.iter().zip(twins.chunks(3));
    let mut length = 0;
    for (name, durability) in [("synced", Durability::Synced), ("unsynced", Durability::Buffered)] {
        let index = index.with_durability(durability);
        let synced = durability == Durability::Synced;
        let written = || usize::try_from(database.bytes_written().unwrap()).unwrap();
        if length == 0 {
            let mut lengths: Vec<usize> = Vec::new();
            // The first call begins to count.
            let mut before = written();
            for (item, _) in next.by_ref().take(rounds / 10 + 3) {
                index.delete(&[item.id()]).unwrap();
                let after = written();
                lengths.push(after - before);
                before = after;
            }
            lengths.sort_unstable();
            // The median is of those that no compaction fell into.
            length = lengths[lengths.len() / 2];
        }
        let (mut sealed, mut bare, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cryptography, mut least) = (Bare::new(length), Vec::new());
        for (round, (item, twins)) in next.by_ref().take(rounds).enumerate() {
            sealed.push(time(|| index.delete(&[item.id()]).map(|_| ()).unwrap()));
            bare.push(time(|| plain.delete(&twins[0], synced)));
            leaves.push(time(|| plain.delete_with_leaves(&twins[1], length, 2 * round, synced)));
            least.push(time(|| {
                cryptography.work();
                plain.delete_with_leaves(&twins[2], length, 2 * round + 1, synced);
            }));
        }
        let (sealed, leaves) = (median(sealed), median(leaves));
        let name = format!("{name}{what}");
        row(&format!("delete of one, {name}"), sealed, median(bare));
        let much = format!("rewrites as much ({length} bytes), {name}");
        row(&format!("the same, beside one that {much}"), sealed, leaves);
        row(
            &format!("one that {much}, and opens, seals, hashes and signs it"),
            median(least),
            leaves,
        );
    }
}

/// What conditions and outcomes add to a delete: one by who may only write, whose report holds
/// counts; one by who may read too, whose report says what became of each id; and one that must
/// find the index as it was and every item there and unchanged. In turns, each on items of its own.
struct Reports<'a> {
    database: &'a Database,
    index: &'a Index<'a>,
    plain: Index<'static>,
    reported: Index<'static>,
}

const TURNS: [[usize; 3]; 3] = [[0, 1, 2], [1, 2, 0], [2, 0, 1]];

impl<'a> Reports<'a> {
    fn new(database: &'a Database, index: &'a Index<'a>) -> Self {
        let caller = |seed: u8, rights| {
            let id = UserId::from_bytes(&[seed; 16]).unwrap();
            let key = || UserKey::from_bytes(&[seed; 32]).unwrap();
            index.grant(id, &key(), rights).unwrap();
            database.load_index("bench", KeyContext::user(id, key())).unwrap()
        };
        let (plain, reported) = (caller(8, Permissions::WRITE), caller(9, Permissions::READ_WRITE));
        Self { database, index, plain, reported }
    }

    fn delete(&self, turn: usize, ids: &[&str]) -> Duration {
        let found = self.reported.get(ids, Include::NONE).unwrap().value;
        let versions: Vec<(&str, u64)> =
            ids.iter().zip(&found).map(|(id, f)| (*id, f.item.as_ref().unwrap().version)).collect();
        let state = self.index.describe().unwrap().etag;
        let options = DeleteOptions::new().if_match(state).missing(Missing::Error);
        let mut report = None;
        let taken = time(|| {
            report = Some(match turn {
                0 => self.plain.delete(ids),
                1 => self.reported.delete(ids),
                _ => self.reported.delete_with(Selector::versions(&versions), &options),
            });
        });
        let report = report.unwrap().unwrap();
        assert_eq!(report.deleted, ids.len() as u64);
        assert_eq!(report.outcomes.len(), if turn == 0 { 0 } else { ids.len() });
        taken
    }

    fn of_one(&self, items: &[Item], rounds: usize) {
        let mut times = [const { Vec::new() }; 3];
        for (items, turns) in items.chunks(3).zip(TURNS.into_iter().cycle()).take(rounds) {
            for (item, turn) in items.iter().zip(turns) {
                times[turn].push(self.delete(turn, &[item.id()]));
            }
        }
        self.rows("one", times);
    }

    fn of_many(&self, count: usize, rounds: usize) {
        let base = support::items(count);
        let items: Vec<Item> =
            base.iter().enumerate().map(|(n, item)| renamed(item, 0, n)).collect();
        let ids: Vec<&str> = items.iter().map(Item::id).collect();
        let mut times = [const { Vec::new() }; 3];
        for turns in TURNS.into_iter().cycle().take(rounds) {
            for turn in turns {
                for batch in items.chunks(1000) {
                    self.index.upsert(batch).unwrap();
                }
                // A flush that fell into one of the three would be charged to it.
                self.database.flush().unwrap();
                times[turn].push(self.delete(turn, &ids));
            }
        }
        self.rows(&format!("{count}"), times);
    }

    fn rows(&self, what: &str, times: [Vec<Duration>; 3]) {
        let [plain, reported, conditional] = times.map(median);
        row(&format!("delete of {what}, reported"), reported, plain);
        row(&format!("delete of {what}, conditional and reported"), conditional, plain);
    }
}

/// The exact query beside reading and opening the same records without computing a distance.
fn exact_query(index: &Index<'_>, items: &[Item], rounds: usize) {
    let query = items.last().unwrap().vector().to_vec();
    let (mut scored, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        scored.push(time(|| {
            black_box(index.query(&query).exact().top_k(10).run().unwrap());
        }));
        opened.push(time(|| {
            let seen = index.for_each(Include::NONE.vector(), |entry| {
                black_box(entry.vector);
                ControlFlow::Continue(())
            });
            black_box(seen.unwrap());
        }));
    }
    row("exact query, beside opening the same records", median(scored), median(opened));
}

/// `describe` does what every call does before its own work: read and open wrap, head and table.
fn key_handling(database: &Database, index: &Index<'_>, items: &[Item], rounds: usize) {
    let rounds = rounds * 10;
    line("bound handle, root (describe)", rounds, || {
        black_box(index.describe().unwrap());
    });
    let caller = KeyContext::root(support::key());
    let unbound = database.open_index("bench").unwrap();
    line("key per call, root (describe)", rounds, || {
        black_box(unbound.with_key(&caller).describe().unwrap());
    });
    let user = UserId::from_bytes(&[1; 16]).unwrap();
    let user_key = || UserKey::from_bytes(&[2; 32]).unwrap();
    index.grant(user, &user_key(), Permissions::READ).unwrap();
    let user = KeyContext::user(user, user_key());
    line("key per call, reader (describe)", rounds, || {
        black_box(unbound.with_key(&user).describe().unwrap());
    });
    // A delete of nothing takes the write lock, opens the write wrap, and stops before a commit.
    let missing = format!("{} is not here", items.len());
    line("key per call, writer (delete of a missing id)", rounds, || {
        black_box(unbound.with_key(&caller).delete(&[&missing]).unwrap());
    });
}

fn calls(database: &Database, items: &[Item], rounds: usize) {
    let ids: Vec<&str> = items.iter().rev().take(1000).map(Item::id).collect();
    let mut next = ids.iter().cycle();
    line("load_index + one get, all fields", rounds, || {
        let index = database.load_index("bench", KeyContext::root(support::key())).unwrap();
        let id = next.next().unwrap();
        let found = index.get(&[id], Include::ALL).unwrap();
        assert!(black_box(found)[0].item.is_some());
    });
}

fn time(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn row(name: &str, sealed: Duration, plain: Duration) {
    let ratio = sealed.as_secs_f64() / plain.as_secs_f64();
    println!("| {name} | {} | {} | {ratio:.2} |", show(sealed), show(plain));
}

fn line(name: &str, rounds: usize, mut call: impl FnMut()) {
    call();
    let times = (0..rounds).map(|_| time(&mut call)).collect();
    println!("| {name} | {} |", show(median(times)));
}

fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 { format!("{micros:.1} us") } else { format!("{:.2} ms", micros / 1e3) }
}
