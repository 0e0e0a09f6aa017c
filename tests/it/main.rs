//! The one integration-test binary: each binary links the storage engine, so there is one.

#![allow(
    clippy::expect_used,
    clippy::format_collect,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers outside test functions fail the way tests do"
)]

mod bulk;
mod cache;
#[cfg(unix)]
mod children;
mod cli;
mod data_keys;
mod delete;
#[cfg(unix)]
mod delete_kill;
mod delete_races;
mod filters;
mod freshness;
mod full_disk;
mod golden_database;
mod handles;
mod history;
mod items;
mod kill;
mod leaks;
mod lifecycle;
mod memory;
mod model;
mod optimize;
mod permissions;
mod purge;
mod races;
mod reads;
#[cfg(unix)]
mod rekey_kill;
mod restored;
mod rotation;
mod stateless;
mod support;
mod tamper;
mod tidy;
mod tree;
#[cfg(unix)]
mod zeroized;
