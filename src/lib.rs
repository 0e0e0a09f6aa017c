//! An encrypted vector index with per-operation keys.
//!
//! Embeddings can be inverted into the text they came from. sealvec keeps vectors, contents,
//! metadata and everything derived from them as AES-256-GCM ciphertext in RocksDB, and asks for a
//! key with every operation. The holder of the 32-byte index key grants users read and write rights
//! by wrapping secrets for them; without a write wrap nobody deletes.
//!
//! ```
//! use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
//!
//! # fn main() -> sealvec::Result<()> {
//! let db = Database::in_memory()?; // or Database::open("dir", Options::new())?
//! let key = IndexKey::generate()?; // keep it: it is stored nowhere
//! db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
//!
//! let index = db.load_index("notes", KeyContext::root(key))?;
//! index.upsert(&[
//!     Item::new("cat", [0.9, 0.1, 0.0]).contents("a small domesticated feline"),
//!     Item::new("car", [0.0, 0.2, 0.9]).contents("a road vehicle"),
//! ])?;
//! let hits = index.query(&[1.0, 0.0, 0.0]).top_k(1).run()?;
//! assert_eq!(hits[0].id, "cat");
//! # Ok(())
//! # }
//! ```
//!
//! - [`Database`] opens a directory; [`Index`] is a handle to one index in it.
//! - [`KeyContext`] is who is calling: the root with the [`IndexKey`], or a user with a
//!   [`UserKey`]. Bind one with [`Database::load_index`], or pass one per call with
//!   [`Index::with_key`]. A [`KeyProvider`] gets keys from files or a service.
//! - [`Index::grant`] and [`Index::revoke`] manage users; [`Database::rotate_index_key`] changes
//!   the index key, [`Database::rotate_data_keys`] and [`Index::reencrypt`] the keys of the data.
//! - [`Index::history`] is the signed audit trail: who changed how much, and when.
//! - Everything is synchronous; handles are `Clone + Send + Sync`. In an async service, call from
//!   `spawn_blocking`, as `examples/service.rs` does.
//! - [`Error`] has one stable code per variant.
//!
//! What it protects against, and what not, is in `docs/security.md`; every stored byte is in
//! `docs/format.md`.
//!
//! # Features
//! - `rocksdb` (default): the storage engine on disk. Without it there are only databases in
//!   memory.
//! - `cli` (default): the `sealvec` program. Library users can do without.
//! - `aws-lc`: AES-256-GCM by AWS-LC in place of RustCrypto, two to four times as fast with VAES.
//!   The same bytes are stored, so it may be turned on and off. The build needs a C compiler; on
//!   Linux and macOS nothing else.
//! - `metrics`: counters and histograms through the `metrics` facade. Spans for `tracing` are always
//!   there. What they carry is in `docs/observability.md`.

#![cfg_attr(
    not(feature = "rocksdb"),
    expect(dead_code, reason = "some of it is for the engine on disk only")
)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/deletion.md")]
struct Deletion;

#[cfg(doctest)]
#[doc = include_str!("../docs/filters.md")]
struct Filters;

mod attributes;
#[doc(hidden)]
pub mod bench_support;
mod cache;
mod codec;
mod commit;
mod condition;
mod config;
mod crypto;
mod database;
mod delete;
mod error;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz_support;
mod handle;
mod history;
mod id;
mod index;
mod key_provider;
mod keyring;
mod observe;
mod optimize;
mod purge;
mod query;
mod redact;
mod reencrypt;
mod rotate;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod users;
mod vector;
mod verify;

pub use commit::Operation;
pub use condition::{IfMatch, WriteOptions};
pub use config::{Attribute, IndexConfig, MAX_DIMENSION, MIN_RETENTION, Options, Tuning};
pub use crypto::{IndexKey, KeyContext, UserKey};
pub use database::Database;
pub use delete::{DeleteOptions, DeleteOutcome, DeleteReport, Mismatch, Missing, Selector};
pub use error::{Error, Fault, Needs, Result, Unmet};
pub use filter::{Filter, Operand};
pub use history::{Folded, History, HistoryEntry};
pub use id::{ETag, Permissions, Trace, UserId, VersionToken};
pub use index::{
    Answer, BulkProgress, BulkReport, Cursor, Description, Entry, Fetched, IdPage, Include, Index,
    Item, Record, Update, UpsertReport, WriteReport,
};
pub use key_provider::{CachingKeyProvider, FileKeyProvider, KeyProvider, KeyRequest};
#[cfg(feature = "metrics")]
pub use observe::describe_metrics;
pub use optimize::{OptimizeProgress, OptimizeReport};
pub use purge::{Checkpoint, PurgeOptions, PurgeReceipt, PurgeScope};
pub use query::{
    BatchHits, BatchQuery, DEFAULT_EFFORT, Hit, MetadataPage, MetadataQuery, Order, Query,
    QueryStats, Selected, Strategy,
};
pub use reencrypt::{ReencryptOptions, ReencryptProgress, ReencryptReport};
pub use store::Durability;
pub use users::User;
pub use vector::{Metric, Precision};
pub use verify::{Finding, TreeReport, VerifyProgress, VerifyReport};
