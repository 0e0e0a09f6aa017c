//! Tests that see inside and span layers, so that no one layer can hold them.

mod erasure;
mod golden;
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
