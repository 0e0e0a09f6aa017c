//! The one integration-test binary: each binary links the storage engine, so there is one.

#[cfg(test)]
#[cfg(all(feature = "cli", feature = "rocksdb"))]
mod cli;
mod lifecycle;
