//! What an index is made with, and how a database is opened.

mod attributes;

use std::time::Duration;

pub use attributes::Attribute;
pub(crate) use attributes::{Attributes, MAX_FIELDS};

use crate::error::{Error, Result};
use crate::store::Durability;
use crate::vector::{Metric, Precision};

/// The largest dimension of an index.
pub const MAX_DIMENSION: usize = 65_535;
/// The fewest commits that an index keeps.
pub const MIN_RETENTION: u64 = 16;

/// What an index is made with; signed by the index key and fixed for its life.
///
/// ```
/// use sealvec::{IndexConfig, Metric, Precision};
/// let config = IndexConfig::new(Metric::Cosine).dimension(384).precision(Precision::F16);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexConfig {
    /// Components per vector, 1 to [`MAX_DIMENSION`]; `None`: taken from the first upsert.
    pub dimension: Option<usize>,
    /// The distance.
    pub metric: Metric,
    /// How components are stored.
    pub precision: Precision,
    /// Commits that stay in the history, [`MIN_RETENTION`] or more; older ones fold.
    pub retention: u64,
    /// Whether a call that changes items must say which state it means to change.
    pub require_if_match: bool,
    pub(crate) attributes: Attributes,
}

impl IndexConfig {
    /// An index whose dimension is taken from its first upsert, stored as f32.
    #[must_use]
    pub const fn new(metric: Metric) -> Self {
        Self {
            dimension: None,
            metric,
            precision: Precision::F32,
            retention: 100_000,
            require_if_match: false,
            attributes: Attributes::new(),
        }
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

    /// Default = 100,000 commits. Older ones fold into their sums, so that the history of an index
    /// does not grow for ever; see [`Index::history`](crate::Index::history).
    #[must_use]
    pub const fn retention(mut self, commits: u64) -> Self {
        self.retention = commits;
        self
    }

    /// Default = `false`. With `true`, upserts, updates and deletes that do not say which ETag they
    /// are based on, or that any will do, are refused: nobody overwrites what they have not seen.
    #[must_use]
    pub const fn require_if_match(mut self, required: bool) -> Self {
        self.require_if_match = required;
        self
    }

    /// What the attribute index holds of one field of the metadata, and of the fields below it if
    /// that is nothing. Default = [`Attribute::Equality`] for every field. A path is names joined
    /// by dots, as in filters.
    ///
    /// ```
    /// use sealvec::{Attribute, IndexConfig, Metric};
    /// let config = IndexConfig::new(Metric::Cosine)
    ///     .attribute("price", Attribute::Range)
    ///     .attribute("notes", Attribute::Off);
    /// ```
    #[must_use]
    pub fn attribute(mut self, path: &str, kind: Attribute) -> Self {
        self.attributes.fields.insert(path.to_owned(), kind);
        self
    }

    /// Keeps an attribute index only of the fields that are given to [`attribute`](Self::attribute);
    /// of none, there is no attribute index. Default: of every field.
    #[must_use]
    pub const fn declared_attributes_only(mut self) -> Self {
        self.attributes.default = Attribute::Off;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.attributes.check()?;
        match self.dimension {
            Some(dimension) if dimension == 0 || dimension > MAX_DIMENSION => Err(Error::invalid(
                format!("the dimension is 1 to {MAX_DIMENSION}, not {dimension}"),
            )),
            _ if self.retention < MIN_RETENTION => Err(Error::invalid(format!(
                "the retention is {MIN_RETENTION} commits or more, not {}",
                self.retention
            ))),
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
    pub(crate) plaintext_cache: usize,
    pub(crate) durability: Durability,
    pub(crate) purge_after: Option<Duration>,
    pub(crate) max_contents: usize,
    pub(crate) max_metadata: usize,
    pub(crate) max_value: usize,
    pub(crate) max_delete: usize,
    pub(crate) tuning: Tuning,
}

impl Options {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            create: true,
            threads: 0,
            block_cache: 256 << 20,
            plaintext_cache: 0,
            durability: Durability::Synced,
            purge_after: None,
            max_contents: 16 << 20,
            max_metadata: 64 << 10,
            max_value: 64 << 10,
            max_delete: 10_000,
            tuning: Tuning::new(),
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

    /// Bytes of decrypted nodes and vectors that are kept between queries. Default = 0: nothing is.
    ///
    /// What is kept is reached only by an operation whose own key has opened the index, and is
    /// wiped when it is displaced, when it is overwritten or deleted, and when the database is
    /// closed.
    pub const fn plaintext_cache(mut self, bytes: usize) -> Self {
        self.plaintext_cache = bytes;
        self
    }

    /// When writes return, unless a handle says otherwise. Default = [`Durability::Synced`].
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long what was deleted, overwritten or taken back may stay in the files. Default: no
    /// bound; then only [`purge`](crate::Index::purge) and its like remove it.
    ///
    /// With a bound, opening purges what is due, and while the database is open a thread of its own
    /// purges each index that is owed it for so long. It needs no key, waits a minute for calls
    /// that still read old data, and tries again while they do. The bound is for the start of a
    /// purge; it takes time of its own, and none is made while the database is not open. Ignored
    /// by databases that are open read-only.
    pub const fn purge_after(mut self, bound: Duration) -> Self {
        self.purge_after = Some(bound);
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
    /// Default = 64 KiB; 4 KiB to 1 MiB. Blocks of the attribute index have up to 17 KiB whatever it
    /// is.
    pub const fn max_value(mut self, bytes: usize) -> Self {
        self.max_value = bytes;
        self
    }

    /// The most ids that one delete takes; together they are at most 3 MiB. Default = 10,000; at
    /// most 1,000,000.
    pub const fn max_delete(mut self, ids: usize) -> Self {
        self.max_delete = ids;
        self
    }

    /// How the partition tree is built. For measurements: the defaults were chosen by some.
    pub const fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
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
        within("max_value", self.max_value, 4 << 10, 1 << 20)?;
        within("max_delete", self.max_delete, 1, 1_000_000)?;
        let Tuning { code_bits, leaf_items, fan_out, noise, .. } = self.tuning;
        if !(0.0..=16.0).contains(&noise) {
            return Err(Error::invalid(format!("noise is 0 to 16, not {noise}")));
        }
        if !matches!(code_bits, 1 | 2 | 4) {
            return Err(Error::invalid(format!("code_bits is 1, 2 or 4, not {code_bits}")));
        }
        within("leaf_items", leaf_items, 8, 4096)?;
        within("fan_out", fan_out, 4, 1024)
    }
}

/// How the partition tree is built; see [`Options::tuning`].
///
/// ```
/// use sealvec::{Options, Tuning};
/// let mut tuning = Tuning::new();
/// tuning.leaf_items = 200;
/// let options = Options::new().tuning(tuning);
/// ```
///
/// An index keeps what was built under other settings and stays whole;
/// [`verify_tree`](crate::Index::verify_tree) counts the nodes that are over the limits of these.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// Bits per component of a code: 1, 2 or 4.
    pub code_bits: u8,
    /// Items in a leaf before it splits, second copies aside: 8 to 4,096.
    pub leaf_items: usize,
    /// Children of a branch before it splits, if they fit: 4 to 1,024.
    pub fan_out: usize,
    /// Whether items get a second copy.
    pub spill: bool,
    /// The norm of the noise of a centroid, times the number of its members, over the root mean
    /// square of their lengths: 0 to 16.
    /// With 0 a centroid gives a deleted member back to who knows the others.
    pub noise: f32,
}

impl Tuning {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { code_bits: 1, leaf_items: 144, fan_out: 32, spill: true, noise: 3.0 }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
