//! Tests that see inside and span layers, so that no one layer can hold them.

mod erasure;
mod golden;
mod refusals;
mod resume;
mod single_use;
mod standard_vectors;
