//! A database: a directory, or a piece of memory, that holds any number of indexes.
//!
//! It needs no key: what it knows of an index is a name place, an id and ciphertext. One process
//! writes at a time; a [`Database`] is cheap to clone and safe from any thread, and is meant to
//! stay open for the life of the process, however often indexes are opened.

mod first;
mod indexes;
mod keys;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::codec::{Format, Reader, Writer};
use crate::config::{IndexConfig, Options};
use crate::crypto::kdf;
use crate::crypto::{IndexKey, KeyContext, random};
use crate::error::{Error, Fault, Result};
use crate::handle::{self, Shared};
use crate::id::IndexId;
use crate::index::{Index, name_fault};
use crate::observe::{Call, observe};
use crate::purge::{self, PurgeReceipt, checkpoints, keeper};
use crate::store::memory::Memory;
use crate::store::names::decode_name;
use crate::store::poison::Poison;
#[cfg(feature = "rocksdb")]
use crate::store::rocksdb::{Access, Env, RocksDb, place};
use crate::store::{Batch, Durability, Engine, Expect, Family, Limits, Snapshot, key};

/// The version of the database as a whole, and of its database record.
pub(crate) const FORMAT: u8 = 8;

const MAGIC: &[u8; 7] = b"sealvec";

/// An open database: cheap to clone, safe from any thread.
///
/// ```
/// use sealvec::{Database, IndexConfig, IndexKey, KeyContext, Metric};
/// # fn main() -> sealvec::Result<()> {
/// let db = Database::in_memory()?;
/// let key = IndexKey::generate()?;
/// db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
/// assert_eq!(db.list_indexes(&KeyContext::root(key))?, ["notes"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

impl Database {
    /// Opens the database in a directory for reading and writing, and makes one if there is none
    /// (unless [`Options::create`] says not to). The directory becomes accessible to its owner
    /// only.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has it open for writing; [`Error::InvalidArgument`] if
    /// the directory holds something else; [`Error::DatabaseNotFound`];
    /// [`Error::UnsupportedFormat`]; [`Error::Io`]; [`Error::NoSpace`]. A directory that is refused
    /// is left as it was.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sealvec::{Database, Options};
    /// # let directory = tempfile::tempdir()?;
    /// let db = Database::open(directory.path().join("db"), Options::new())?;
    /// db.close()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "rocksdb")]
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        observe(Call::Open, None, |_| Self::open_for_writing(path.as_ref(), options, None))
    }

    /// For the fault suites in `tests/faults`, and no part of the API: as [`open`](Self::open), but
    /// RocksDB writes to a file system that fails when it is told to.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "rocksdb")]
    #[doc(hidden)]
    pub fn open_on(path: impl AsRef<Path>, options: Options, env: &Env) -> Result<Self> {
        Self::open_for_writing(path.as_ref(), options, Some(env))
    }

    #[cfg(feature = "rocksdb")]
    fn open_for_writing(path: &Path, options: Options, env: Option<&Env>) -> Result<Self> {
        options.check()?;
        // Looks at the format before anything is written.
        match RocksDb::open(path, Access::ReadOnly, 1 << 20, limits(&options)) {
            // One that is there has its record; a new one must not be made over what is left.
            Ok(engine) => {
                read_record(&*engine.snapshot())?.ok_or(Error::Integrity(Fault::Catalog))?;
            }
            Err(Error::DatabaseNotFound(_)) if options.create => {}
            Err(error) => return Err(error),
        }
        let access = if options.create { Access::Create } else { Access::Existing };
        let engine = RocksDb::open_in(path, access, options.block_cache, limits(&options), env)?;
        let database = Self::with_engine(Box::new(Poison::new(engine)), options)?;
        place::finish_creation(path)?;
        Ok(database)
    }

    /// Opens the database in a directory for reading. Takes no lock and writes nothing, so any
    /// number of processes can; what is written afterwards is not seen until it is opened again.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for [`Error::Busy`].
    #[cfg(feature = "rocksdb")]
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        observe(Call::OpenReadOnly, None, |_| Self::read_directory(path.as_ref(), options))
    }

    #[cfg(feature = "rocksdb")]
    fn read_directory(path: &Path, options: Options) -> Result<Self> {
        options.check()?;
        let engine = RocksDb::open(path, Access::ReadOnly, options.block_cache, limits(&options))?;
        let found = read_record(&*engine.snapshot())?;
        let db_salt = found.ok_or(Error::Integrity(Fault::Catalog))?;
        Ok(Self {
            shared: Arc::new(Shared::new(
                Box::new(engine),
                handle::Access::Read,
                db_salt,
                options,
            )?),
        })
    }

    /// A new database that lives as long as its handles, with default options.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system gives no randomness or no threads.
    pub fn in_memory() -> Result<Self> {
        Self::in_memory_with(Options::new())
    }

    /// A new database in memory with these options.
    ///
    /// # Errors
    /// As [`in_memory`](Self::in_memory), and [`Error::InvalidArgument`] for an option out of
    /// range.
    pub fn in_memory_with(options: Options) -> Result<Self> {
        options.check()?;
        Self::with_engine(Box::new(Poison::new(Memory::new(limits(&options)))), options)
    }

    /// A database on an engine that misbehaves, or that outlives it.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn with_test_engine(engine: Box<dyn Engine>, options: Options) -> Result<Self> {
        options.check()?;
        Self::with_engine(engine, options)
    }

    fn with_engine(engine: Box<dyn Engine>, options: Options) -> Result<Self> {
        let found = read_record(&*engine.snapshot())?;
        let db_salt = match found {
            Some(db_salt) => db_salt,
            None => write_record(&*engine)?,
        };
        let shared = Arc::new(Shared::new(engine, handle::Access::Write, db_salt, options)?);
        keeper::start(&shared)?;
        Ok(Self { shared })
    }

    /// Makes an index. The key is not kept: the handle that comes back has none bound.
    ///
    /// The name follows the rules of item ids: 1 to 512 bytes, no control characters.
    ///
    /// Steps, in one synced batch that applies only if the name is still free; a crash leaves all
    /// or nothing: the name record, the first grant table, the root's wraps, the first commit.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::InvalidArgument`]; [`Error::ReadOnly`]; [`Error::Io`].
    pub fn create_index(
        &self,
        name: &str,
        index_key: &IndexKey,
        config: IndexConfig,
    ) -> Result<Index<'static>> {
        observe(Call::CreateIndex, None, |seen| {
            let index = self.create(name, index_key, config)?;
            seen.index = Some(index.id());
            Ok(index)
        })
    }

    /// Opens an index and binds a key to the handle, after checking that the key opens it.
    ///
    /// The key stays in memory for as long as the handle or a clone of it lives.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`]; [`Error::WrongKey`]; [`Error::Integrity`]; [`Error::Stale`]; those
    /// of [`KeyContext::at_least`].
    pub fn load_index(&self, name: &str, caller: KeyContext) -> Result<Index<'static>> {
        observe(Call::LoadIndex, None, |seen| self.load(seen, name, caller))
    }

    /// Opens an index without a key: the stateless form. Calls go through
    /// [`Index::with_key`], and nothing is kept between them.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`].
    ///
    /// ```
    /// use sealvec::{Database, IndexConfig, IndexKey, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// let caller = KeyContext::root(key); // arrives with the request
    /// let index = db.open_index("notes")?;
    /// assert_eq!(index.describe().unwrap_err().code(), "missing_key");
    /// assert_eq!(index.with_key(&caller).describe()?.item_count, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_index(&self, name: &str) -> Result<Index<'static>> {
        observe(Call::OpenIndex, None, |seen| self.stateless(seen, name))
    }

    /// The names of the indexes that this caller has any right in, sorted.
    ///
    /// Names are sealed, so the key is what finds them: the caller is tried on every index of the
    /// database, about 10 us each. Indexes it has no right in are not in the list.
    ///
    /// # Errors
    /// [`Error::Integrity`] if an index the caller has a right in is damaged, or a name record is;
    /// [`Error::InvalidArgument`] if the caller has a version token, which is of one index;
    /// [`Error::Io`].
    pub fn list_indexes(&self, caller: &KeyContext) -> Result<Vec<String>> {
        observe(Call::ListIndexes, None, |seen| {
            let names = self.names(caller)?;
            seen.results = Some(names.len() as u64);
            Ok(names)
        })
    }

    /// Deletes an index with everything in it: items, wraps, roster, grant tables and commits.
    /// Needs the index key; always synced.
    ///
    /// Steps, and what a crash after each leaves:
    /// 1. One batch removes the name and every record. Before it: the index, whole. After it: no
    ///    index, here and after a restart.
    /// 2. A purge of everything it was, which waits up to five seconds if running calls hold older
    ///    data. The batch of step 1 says that it is owed: after a crash here the next open for
    ///    writing does it, and needs no key.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`]; [`Error::WrongKey`]; [`Error::PermissionDenied`];
    /// [`Error::ReadOnly`]; [`Error::Io`]; [`Error::PurgeIncomplete`] if the index is deleted, but
    /// files still hold some of its ciphertext.
    pub fn delete_index(&self, name: &str, caller: &KeyContext) -> Result<()> {
        observe(Call::DeleteIndex, None, |seen| self.delete(seen, name, caller))
    }

    /// Purges everything that is owed a purge now, of every index and of those that were deleted.
    /// Needs no key. The receipts are in no order; none if nothing is owed.
    ///
    /// Each commit that deletes, overwrites or takes something back leaves in its own batch a record
    /// that a purge is owed, so none is forgotten, whoever was interrupted.
    ///
    /// # Errors
    /// [`Error::PurgeIncomplete`] if a call that runs for more than a minute holds older data;
    /// [`Error::ReadOnly`]; [`Error::NoSpace`]; [`Error::Io`]. What was not purged stays owed.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// index.delete(&["a"])?;
    /// assert_eq!(db.purge_owed()?.len(), 1);
    /// assert_eq!(db.purge_owed()?.len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn purge_owed(&self) -> Result<Vec<PurgeReceipt>> {
        observe(Call::PurgeOwed, None, |seen| {
            let receipts = purge::owed(&self.shared)?;
            seen.results = Some(receipts.len() as u64);
            Ok(receipts)
        })
    }

    /// Makes every commit so far durable, whatever [`Durability`] it was made with.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NoSpace`]; [`Error::Poisoned`]; [`Error::Closed`].
    pub fn flush(&self) -> Result<()> {
        observe(Call::Flush, None, |_| self.flush_all())
    }

    fn flush_all(&self) -> Result<()> {
        let engine = self.shared.engine()?;
        let buffered = self.shared.trust.buffered();
        engine.flush()?;
        for (index, sequence) in buffered {
            self.shared.trust.note_durable(index, sequence);
        }
        Ok(())
    }

    /// Waits for the calls that run, makes everything durable and lets go of the directory. Every
    /// call on any handle of this database then fails with [`Error::Closed`].
    ///
    /// Dropping the last handle closes too, but cannot report an error.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`] or [`Error::Poisoned`] if not everything could be made
    /// durable. The database is closed all the same.
    pub fn close(self) -> Result<()> {
        observe(Call::Close, None, |_| self.shared.close())
    }

    /// Writes a consistent copy of the database, as of now, into a directory that must not exist.
    /// Needs no key: the copy is as sealed as the original, and it is a copy of what was *deleted
    /// but not yet purged* too. So the database notes when and where it was made, and the receipts
    /// of later purges name it until it is removed. (One that is open read-only can note nothing.)
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the directory exists, its path is not UTF-8 or longer than
    /// 65,535 bytes, or the database is in memory; [`Error::Io`]; [`Error::NoSpace`].
    pub fn checkpoint(&self, directory: impl AsRef<Path>) -> Result<()> {
        observe(Call::Checkpoint, None, |_| checkpoints::make(&self.shared, directory.as_ref()))
    }

    /// For measurements: the bytes that storage has written to logs and files, those of flushes and
    /// compactions included, since the counting began. It begins with the first call at the latest,
    /// so that a database which nobody measures pays nothing for it: take the difference of two
    /// calls.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn bytes_written(&self) -> Result<u64> {
        Ok(self.shared.engine()?.bytes_written())
    }

    fn find(&self, snapshot: &dyn Snapshot, name: &str) -> Result<IndexId> {
        check_name(name)?;
        let record = snapshot.get(Family::Catalog, &self.name_key(name))?;
        decode_name(&record.ok_or(Error::IndexNotFound)?)
    }

    fn name_key(&self, name: &str) -> Vec<u8> {
        key::name(&kdf::name_place(&self.shared.db_salt, name))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

const fn limits(options: &Options) -> Limits {
    Limits { value: options.max_value }
}

fn check_name(name: &str) -> Result<()> {
    match name_fault(name) {
        None => Ok(()),
        Some(fault) => Err(Error::invalid(format!("the index name {fault}"))),
    }
}

pub(crate) fn encode_record(db_salt: &[u8; 32]) -> Vec<u8> {
    let mut record = Writer::with_capacity(40);
    record.bytes(MAGIC).u8(FORMAT).bytes(db_salt);
    record.finish()
}

/// The database salt, if the database has been made.
fn read_record(snapshot: &dyn Snapshot) -> Result<Option<[u8; 32]>> {
    const DATABASE: Format = Format { what: "database", version: FORMAT, fault: Fault::Catalog };
    let Some(record) = snapshot.get(Family::Catalog, &key::database())? else { return Ok(None) };
    let record = record.strip_prefix(MAGIC).ok_or(Error::Integrity(Fault::Catalog))?;
    DATABASE.read(record, Reader::array).map(Some)
}

fn write_record(engine: &dyn Engine) -> Result<[u8; 32]> {
    let db_salt = random()?;
    let mut batch = Batch::default();
    batch.put(Family::Catalog, key::database(), encode_record(&db_salt));
    batch.expect = Some(Expect { key: key::database(), value: None });
    engine.commit(batch, Durability::Synced)?;
    Ok(db_salt)
}
