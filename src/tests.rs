//! Tests that see inside and span layers, so that no one layer can hold them.

mod constant_time;
mod erasure;
mod golden;
#[cfg(target_os = "linux")]
#[path = "../tests/it/memory_search.rs"]
mod memory_search;
mod observe;
mod owed;
mod poisoned;
mod reencrypt;
mod refusals;
mod renewed;
mod resume;
#[cfg(feature = "rocksdb")]
mod shredded;
mod single_use;
mod standard_vectors;
#[cfg(target_os = "linux")]
mod wiped;
