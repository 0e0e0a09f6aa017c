//! The one integration-test binary: each binary links RocksDB, so there is one.

mod lifecycle;
