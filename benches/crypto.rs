//! The crypto layer by itself: sealing and opening by size, wraps, signatures, the set hash.
//!
//! `cargo bench --bench crypto`; with `--features aws-lc` everything is sealed by AWS-LC, and both
//! implementations of the AEAD are compared. The layer is private, so its sources are compiled into
//! the bench, which they allow because they know nothing of storage.

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
    clippy::panic,
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
    pub mod observe;
}

#[cfg(feature = "aws-lc")]
#[path = "../src/crypto/aead/aws_lc.rs"]
mod aws_lc;
#[cfg(feature = "aws-lc")]
#[path = "../src/crypto/aead/rustcrypto.rs"]
mod rustcrypto;

use src::{codec, crypto, error, id, observe};

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crypto::aead::{Cipher, WHOLE};
use crypto::kdf::{Locator, Place, Prk, Purpose, ReadSecret, Signed};
use crypto::sethash::{Element, SetHash};
use crypto::sign::{self, KeyPair};
use crypto::wrap::{self, Header, Right, Secrets};
use crypto::{IndexKey, Secret, kdf, random};
use id::{IndexId, Permissions};
use observe::Call;

const INDEX: IndexId = IndexId([1; 16]);

fn place() -> Place {
    Place { format: 1, index: INDEX, epoch: 1, kind: 0x20, id: [2; 16], version: 3 }
}

fn seals(criterion: &mut Criterion) {
    let secret = ReadSecret::new(&Secret::new([4; 32]));
    for (name, sealing) in [("seal with a fresh key", true), ("open with its key", false)] {
        let mut group = criterion.benchmark_group(name);
        for size in [64usize, 256, 1536, 16 << 10, 64 << 10, 1 << 20] {
            group.throughput(Throughput::Bytes(size as u64));
            let plain = vec![5; size];
            let salt = [6; 24];
            let cipher = Cipher::new(&secret.single_use(Purpose::Payload, &place(), &salt));
            let sealed = cipher.seal(&WHOLE, &place().bytes(), &plain);
            group.bench_with_input(BenchmarkId::from_parameter(size), &size, |b, _| {
                b.iter(|| {
                    let salt = if sealing { random().unwrap() } else { salt };
                    let key = secret.single_use(Purpose::Payload, &place(), &salt);
                    let cipher = Cipher::new(&key);
                    if sealing {
                        black_box(cipher.seal(&WHOLE, &place().bytes(), &plain));
                    } else {
                        black_box(cipher.open(&WHOLE, &place().bytes(), &sealed).unwrap());
                    }
                });
            });
        }
        group.finish();
    }
}

/// Both implementations of the AEAD, with a fresh key schedule for every call as in an index.
#[cfg(feature = "aws-lc")]
fn implementations(criterion: &mut Criterion) {
    const AAD: [u8; 58] = [3; 58];

    macro_rules! bench {
        ($module:ident) => {
            let mut group = criterion.benchmark_group(stringify!($module));
            for size in [1536usize, 16 << 10, 64 << 10] {
                let mut sealed = vec![5; size];
                let tag = $module::Aead::new(&[7; 32]).seal(&WHOLE, &AAD, &mut sealed).unwrap();
                let mut buffer = sealed.clone();
                group.throughput(Throughput::Bytes(size as u64));
                group.bench_with_input(BenchmarkId::new("seal", size), &size, |b, _| {
                    b.iter(|| {
                        let aead = $module::Aead::new(black_box(&[7; 32]));
                        black_box(aead.seal(&WHOLE, &AAD, &mut buffer))
                    });
                });
                group.bench_with_input(BenchmarkId::new("open", size), &size, |b, _| {
                    b.iter(|| {
                        buffer.copy_from_slice(&sealed);
                        let aead = $module::Aead::new(black_box(&[7; 32]));
                        assert!(aead.open(&WHOLE, &AAD, &mut buffer, &tag));
                    });
                });
            }
            group.finish();
        };
    }
    bench!(rustcrypto);
    bench!(aws_lc);
}

#[cfg(not(feature = "aws-lc"))]
fn implementations(_: &mut Criterion) {}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keys");
    let key = IndexKey::from_bytes(&[7; 32]).unwrap();
    group.bench_function("from an index key to its locator", |b| {
        b.iter(|| black_box(Prk::new(&kdf::root_prk(INDEX, &key)).locator()));
    });
    let prk = Prk::new(&kdf::root_prk(INDEX, &key));
    let secrets = Secrets {
        epochs: vec![(1, Secret::new([8; 32]))],
        name: Secret::new([9; 32]),
        root_verify: [10; 32],
    };
    let pair = KeyPair::from_seed(Secret::new([11; 32]));
    let locator = Locator([12; 16]);
    let permissions = Permissions::READ_WRITE;
    for (name, right, writer) in [("read", Right::Read, None), ("write", Right::Write, Some(&pair))]
    {
        let header = Header { index: INDEX, locator, right, permissions, grant: 1 };
        let sealed = wrap::seal(&prk, &header, &secrets, writer).unwrap();
        group.bench_function(format!("wrap, {name}"), |b| {
            b.iter(|| black_box(wrap::seal(&prk, &header, &secrets, writer).unwrap()));
        });
        group.bench_function(format!("unwrap, {name}"), |b| {
            b.iter(|| black_box(wrap::open(&prk, INDEX, locator, right, &sealed).is_ok()));
        });
    }
    group.bench_function("dummy unwrap", |b| b.iter(|| wrap::dummy(&prk, INDEX, locator)));
    group.finish();
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    let pair = KeyPair::from_seed(Secret::new([11; 32]));
    let body = [13; 320];
    let signature = pair.sign(Signed::Commit, &body).unwrap();
    group.bench_function("sign", |b| {
        b.iter(|| black_box(pair.sign(Signed::Commit, &body).unwrap()));
    });
    group.bench_function("verify", |b| {
        b.iter(|| black_box(sign::verify(pair.public(), Signed::Commit, &body, &signature)));
    });
    let mut set = SetHash::empty();
    group.bench_function("add a 250-byte record to the set hash", |b| {
        b.iter(|| set.add(&Element::new(&[14; 33], &[15; 250])));
    });
    let leaf = vec![16; 31 << 10];
    group.bench_function("replace a 31 KiB leaf in the set hash", |b| {
        b.iter(|| {
            set.remove(&Element::new(&[14; 33], black_box(&leaf)));
            set.add(&Element::new(&[14; 33], black_box(&leaf)));
        });
    });
    group.bench_function("digest of the set hash", |b| b.iter(|| black_box(set.digest())));
    group.finish();
}

/// What a call pays for its span when nobody listens.
fn spans(criterion: &mut Criterion) {
    criterion.bench_function("observe without a subscriber", |bencher| {
        bencher.iter(|| observe::observe(Call::Count, Some(INDEX), |_| Ok(black_box(7))));
    });
}

criterion_group!(benches, seals, implementations, keys, commits, spans);
criterion_main!(benches);
