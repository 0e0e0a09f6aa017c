//! What an index is made with, and how a database is opened.

use crate::error::{Error, Result};
use crate::store::Durability;
use crate::vector::{Metric, Precision};

/// The largest dimension of an index.
pub const MAX_DIMENSION: usize = 65_535;

/// What an index is made with; signed by the index key and fixed for its life.
///
/// ```
/// use sealvec::{IndexConfig, Metric, Precision};
/// let config = IndexConfig::new(Metric::Cosine).dimension(384).precision(Precision::F16);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexConfig {
    /// Components per vector, 1 to [`MAX_DIMENSION`]; `None`: taken from the first upsert.
    pub dimension: Option<usize>,
    /// The distance.
    pub metric: Metric,
    /// How components are stored.
    pub precision: Precision,
}

impl IndexConfig {
    /// An index whose dimension is taken from its first upsert, stored as f32.
    #[must_use]
    pub const fn new(metric: Metric) -> Self {
        Self { dimension: None, metric, precision: Precision::F32 }
    }

    /// Fixes the dimension from the start.
    #[must_use]
    pub const fn dimension(mut self, dimension: usize) -> Self {
        self.dimension = Some(dimension);
        self
    }

    /// Default = [`Precision::F32`]. `F16` halves the vectors on disk and rounds them.
    #[must_use]
    pub const fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.dimension {
            Some(dimension) if dimension == 0 || dimension > MAX_DIMENSION => Err(Error::invalid(
                format!("the dimension is 1 to {MAX_DIMENSION}, not {dimension}"),
            )),
            _ => Ok(()),
        }
    }
}

/// How a database is opened. Every setting has a default.
///
/// ```
/// use sealvec::{Durability, Options};
/// let options = Options::new().threads(4).block_cache(64 << 20).durability(Durability::Buffered);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) threads: usize,
    pub(crate) block_cache: usize,
    pub(crate) durability: Durability,
    pub(crate) max_contents: usize,
    pub(crate) max_metadata: usize,
    pub(crate) max_value: usize,
}

impl Options {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            create: true,
            threads: 0,
            block_cache: 256 << 20,
            durability: Durability::Synced,
            max_contents: 16 << 20,
            max_metadata: 64 << 10,
            max_value: 64 << 10,
        }
    }

    /// Whether a missing database is made. Default = `true`.
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Threads for batches and scans, in a pool that this database owns. Default = 0: one for each
    /// core. With 1, everything runs on the caller's thread.
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Bytes of RocksDB's block cache, which holds ciphertext. Default = 256 MiB.
    pub const fn block_cache(mut self, bytes: usize) -> Self {
        self.block_cache = bytes;
        self
    }

    /// When writes return, unless a handle says otherwise. Default = [`Durability::Synced`].
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The longest contents of an item, in bytes. Default = 16 MiB; at most 1 GiB.
    pub const fn max_contents(mut self, bytes: usize) -> Self {
        self.max_contents = bytes;
        self
    }

    /// The longest metadata of an item, in bytes of JSON. Default = 64 KiB; at most 16 MiB.
    pub const fn max_metadata(mut self, bytes: usize) -> Self {
        self.max_metadata = bytes;
        self
    }

    /// The longest value handed to the storage engine, in bytes; longer ones are sealed in parts.
    /// Default = 64 KiB; 4 KiB to 1 MiB.
    pub const fn max_value(mut self, bytes: usize) -> Self {
        self.max_value = bytes;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let within = |what: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::invalid(format!("{what} is {low} to {high}, not {value}")))
            }
        };
        within("threads", self.threads, 0, 1024)?;
        within("max_contents", self.max_contents, 0, 1 << 30)?;
        within("max_metadata", self.max_metadata, 2, 16 << 20)?;
        within("max_value", self.max_value, 4 << 10, 1 << 20)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
