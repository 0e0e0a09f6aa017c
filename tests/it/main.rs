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
mod manifest;
mod memory;
#[cfg(unix)]
mod memory_search;
mod model;
mod optimize;
mod panics;
mod permissions;
mod purge;
mod races;
#[cfg(target_os = "linux")]
mod read_only_disk;
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
mod two_processes;
mod write_options;
#[cfg(unix)]
mod zeroized;
