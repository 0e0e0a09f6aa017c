//! A handle to one index.
//!
//! An [`Index`] is a name, an id and perhaps a key; it holds no other state, so it costs nothing to
//! make, clone or send. Every call opens the caller's wrap, the head and the grant table anew from
//! one snapshot, so a grant or revocation acts on handles that are open already, and answers from
//! one commit.
//!
//! Reads go through [`Index::read`], mutations through [`Index::mutate`]; both hand their body a
//! capability from the keyring. A mutation holds the index's write lock from there to its commit.

mod batch;
mod bulk;
mod get;
mod growth;
mod item;
mod list;
mod matching;
mod observed;
mod pages;
mod partition;
mod recount;
mod removal;
mod scan;
mod upsert;
mod write;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, TryLockError};

pub use batch::WriteReport;
pub use bulk::{BulkProgress, BulkReport};
pub use get::{Fetched, Include, Record};
pub use item::{Item, Update};
pub use list::{Cursor, IdPage};
pub use scan::Entry;
pub use upsert::UpsertReport;

pub(crate) use get::{decode_vector, fetch_fields, open_item};
pub(crate) use growth::{Growth, replant};
pub(crate) use item::{MAX_ID, check_ids, name_fault};
pub(crate) use list::{MAX_PAGE, Paged, not_a_cursor};
pub(crate) use matching::{Matching, shares};
pub(crate) use pages::PageReader;
pub(crate) use partition::space;
pub(crate) use removal::{Doomed, Removing, check_many};
pub(crate) use scan::{Scanned, Span, scan};

use crate::commit::{Commit, Draft, Head};
use crate::crypto::KeyContext;
use crate::error::Result;
use crate::handle::Shared;
use crate::id::{ETag, IndexId, Permissions, Trace, VersionToken};
use crate::keyring::{AnyKey, Capability, ReadKey, RootKey, Signs, View, WriteKey};
use crate::observe::Call;
use crate::redact::Hidden;
use crate::store::{Batch, Change, Durability, Family, Limits, Snapshot, key};
use crate::vector::{Metric, Precision};

/// A handle to one index: cheap to clone, safe from any thread.
///
/// [`Database::load_index`](crate::Database::load_index) binds a key to the handle;
/// [`Database::open_index`](crate::Database::open_index) does not, and every call goes through
/// [`with_key`](Self::with_key).
///
/// ```
/// use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
/// # fn main() -> sealvec::Result<()> {
/// let db = Database::in_memory()?;
/// let key = IndexKey::generate()?;
/// db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
///
/// let index = db.load_index("notes", KeyContext::root(key))?;
/// index.upsert(&[Item::new("a", [1.0, 0.0]), Item::new("b", [0.0, 1.0])])?;
/// let hits = index.query(&[0.9, 0.1]).top_k(1).run()?;
/// assert_eq!(hits[0].id, "a");
/// assert_eq!(index.delete(&["a"])?.deleted, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Index<'k> {
    shared: Arc<Shared>,
    id: IndexId,
    name: Arc<str>,
    key: Key<'k>,
    durability: Durability,
    trace: Trace,
    seen: Option<VersionToken>,
}

#[derive(Clone)]
enum Key<'k> {
    None,
    Bound(Arc<KeyContext>),
    Passed(&'k KeyContext),
}

impl Index<'static> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: IndexId,
        name: &str,
        key: Option<KeyContext>,
    ) -> Self {
        let durability = shared.options.durability;
        let key = key.map_or(Key::None, |key| Key::Bound(Arc::new(key)));
        Self { shared, id, name: name.into(), key, durability, trace: Trace::None, seen: None }
    }
}

impl Index<'_> {
    /// The same index under another key, for as long as the key is borrowed.
    ///
    /// This key is the only one that the calls on the returned handle use. When it is refused, they
    /// fail; they never fall back to a bound key.
    #[must_use]
    pub fn with_key<'c>(&self, key: &'c KeyContext) -> Index<'c> {
        Index {
            shared: Arc::clone(&self.shared),
            id: self.id,
            name: Arc::clone(&self.name),
            key: Key::Passed(key),
            durability: self.durability,
            trace: self.trace,
            seen: self.seen,
        }
    }

    /// The same handle for a caller who has seen this commit: every call through it, writes
    /// included, is refused unless the index has this commit in its history.
    ///
    /// Answers and reports carry the token of the commit they were given from. Who keeps the latest
    /// one outside the database notices that the files were put back to an earlier state, even if
    /// others have written since. A token of a buffered commit counts only after
    /// [`flush`](crate::Database::flush): a power cut may take the commit away.
    ///
    /// The first time that a process sees the token, it walks from the head back to the token's
    /// commit, 3 us a commit; what it has walked it remembers.
    ///
    /// # Errors
    /// Of the calls through it: [`Stale`](crate::Error::Stale) if the index is older;
    /// [`Forked`](crate::Error::Forked) if it has another commit in the place of this one;
    /// [`VersionFolded`](crate::Error::VersionFolded) if its history does not reach back so far;
    /// [`Integrity`](crate::Error::Integrity) if a commit in between is damaged.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let mut seen = index.upsert(&[Item::new("a", [1.0, 0.0])])?.version;
    /// // ... kept elsewhere, and some time later:
    /// assert_eq!(*index.at_least(seen).count()?, 1);
    /// seen.hash[0] ^= 1;
    /// assert_eq!(index.at_least(seen).count().unwrap_err().code(), "forked");
    /// seen.sequence += 1;
    /// assert_eq!(index.at_least(seen).count().unwrap_err().code(), "stale");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn at_least(&self, seen: VersionToken) -> Self {
        Self { seen: Some(seen), ..self.clone() }
    }

    /// The same handle with another answer to when writes return.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> Self {
        Self { durability, ..self.clone() }
    }

    /// The same handle on behalf of a traced request: commits made through it carry the trace id of
    /// this W3C `traceparent` header, and [`history`](Self::history) shows it. A malformed header
    /// fails no call; the commit then says that there was one.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, Trace};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let index = db.load_index("notes", KeyContext::root(key))?;
    /// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// index.with_traceparent(header).upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// let latest = index.history(.., 1)?.commits[0].clone();
    /// assert_eq!(latest.trace, Trace::from_traceparent(header));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_traceparent(&self, header: &str) -> Self {
        Self { trace: Trace::from_traceparent(header), ..self.clone() }
    }

    /// The name the index was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the index is and holds. Any right is enough.
    ///
    /// # Errors
    /// Those of every call: [`IndexNotFound`](crate::Error::IndexNotFound),
    /// [`MissingKey`](crate::Error::MissingKey), [`WrongKey`](crate::Error::WrongKey),
    /// [`Integrity`](crate::Error::Integrity).
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine).dimension(3))?;
    /// let index = db.load_index("notes", KeyContext::root(key))?;
    /// let description = index.describe()?;
    /// assert_eq!((description.dimension, description.item_count), (Some(3), 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn describe(&self) -> Result<Description> {
        self.during(Call::Describe).inspect(|_, key: &AnyKey| {
            let config = &key.table.config;
            Ok(Description {
                name: key.table.name.clone(),
                dimension: key.dimension(),
                metric: config.metric,
                precision: config.precision,
                item_count: key.head.commit.item_count,
                total_size_bytes: key.head.commit.total_bytes,
                permissions: key.permissions(),
                etag: key.head.etag(),
                version: self.token(&key.head),
            })
        })
    }

    /// The number of items. Needs the read right.
    ///
    /// # Errors
    /// Those of every call, and [`PermissionDenied`](crate::Error::PermissionDenied).
    pub fn count(&self) -> Result<Answer<u64>> {
        self.during(Call::Count).read(|_, key| Ok(key.head.commit.item_count))
    }

    pub(crate) const fn id(&self) -> IndexId {
        self.id
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) const fn trace(&self) -> Trace {
        self.trace
    }

    pub(crate) fn key(&self) -> Option<&KeyContext> {
        match &self.key {
            Key::None => None,
            Key::Bound(key) => Some(key),
            Key::Passed(key) => Some(key),
        }
    }

    pub(crate) fn token(&self, head: &Head) -> VersionToken {
        head.token(self.shared.is_durable(self.id, head.commit.sequence))
    }

    /// Runs `body` on one snapshot with the read right.
    pub(crate) fn read<T>(
        &self,
        body: impl FnOnce(&dyn Snapshot, &ReadKey) -> Result<T>,
    ) -> Result<Answer<T>> {
        self.inspect(|snapshot, key| {
            Ok(Answer { value: body(snapshot, key)?, version: self.token(&key.head) })
        })
    }

    /// Runs `body` on one snapshot with the capability it asks for.
    pub(crate) fn inspect<K: Capability, T>(
        &self,
        body: impl FnOnce(&dyn Snapshot, &K) -> Result<T>,
    ) -> Result<T> {
        let engine = self.shared.engine()?;
        let view = View::take(&*engine, &self.shared.trust);
        let key = self.open(&view)?;
        body(&*view, &key)
    }

    /// Opens the index for the caller of this handle.
    pub(crate) fn open<K: Capability>(&self, view: &View<'_>) -> Result<K> {
        let Self { shared, id, name, seen, .. } = self;
        K::open(view, &shared.trust, *id, name, self.key(), seen.as_ref())
    }

    /// Runs `body` under the write lock with the write right, and commits what it returns.
    pub(crate) fn mutate<T>(
        &self,
        body: impl FnOnce(&dyn Snapshot, &WriteKey, Limits) -> Result<Outcome<T>>,
    ) -> Result<Committed<T>> {
        self.transact(self.durability, body)
    }

    /// Runs `body` under the write lock with the index key, and commits what it returns, synced.
    pub(crate) fn administer<T>(
        &self,
        body: impl FnOnce(&dyn Snapshot, &RootKey, Limits) -> Result<Outcome<T>>,
    ) -> Result<Committed<T>> {
        self.transact(Durability::Synced, body)
    }

    /// As [`administer`](Self::administer), but durable as the handle's other writes are.
    pub(crate) fn maintain<T>(
        &self,
        body: impl FnOnce(&dyn Snapshot, &RootKey, Limits) -> Result<Outcome<T>>,
    ) -> Result<Committed<T>> {
        self.transact(self.durability, body)
    }

    /// As [`mutate`](Self::mutate), for a call that says itself when it returns.
    pub(crate) fn mutate_at<T>(
        &self,
        durability: Option<Durability>,
        body: impl FnOnce(&dyn Snapshot, &WriteKey, Limits) -> Result<Outcome<T>>,
    ) -> Result<Committed<T>> {
        self.transact(durability.unwrap_or(self.durability), body)
    }

    fn transact<K: Signs, T>(
        &self,
        durability: Durability,
        body: impl FnOnce(&dyn Snapshot, &K, Limits) -> Result<Outcome<T>>,
    ) -> Result<Committed<T>> {
        let engine = self.shared.engine()?;
        let lock = self.shared.write_lock(self.id);
        let _held = match lock.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // Who may not write does not queue with those who may.
                drop(self.open::<K>(&View::take(&*engine, &self.shared.trust))?);
                lock.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        // What counts is read under the lock: no revocation can come between it and the commit.
        let view = View::take(&*engine, &self.shared.trust);
        let key: K = self.open(&view)?;
        let (draft, mut commit, value) = match body(&*view, &key, engine.limits())? {
            Outcome::Nothing(value) => return Ok(self.committed(value, &key.head, false)),
            Outcome::Changed(draft, commit, value) => (draft, commit, value),
        };
        if commit.trace == Trace::None {
            commit.trace = self.trace;
        }
        let (batch, head) = key.finish(&*view, draft, commit)?;
        drop(view);
        let stale = self.cached_records(&batch);
        let sequence = head.commit.sequence;
        self.shared.commit(&*engine, self.id, sequence, batch, durability)?;
        if let Some(cache) = &self.shared.cache {
            for secret in key.epochs.secrets() {
                cache.forget(secret.fingerprint(self.id), sequence, &stale);
            }
        }
        key.remember(&self.shared.trust, &head);
        Ok(self.committed(value, &head, true))
    }

    /// The nodes and items that a batch changes, as the plaintext cache knows them.
    fn cached_records(&self, batch: &Batch) -> Vec<[u8; 16]> {
        if self.shared.cache.is_none() {
            return Vec::new();
        }
        let changed = batch.changes.iter().filter_map(|change| match change {
            Change::Put(Family::Nodes, key, _)
            | Change::Append(Family::Nodes, key, _)
            | Change::Delete(Family::Nodes, key) => {
                key::node_of(key).map(|(node, _)| key::number_id(node.0))
            }
            Change::Put(Family::Items, key, _) | Change::Delete(Family::Items, key) => {
                key::pseudonym_of(key)
            }
            _ => None,
        });
        changed.collect()
    }

    fn committed<T>(&self, value: T, head: &Head, changed: bool) -> Committed<T> {
        let (etag, version) = (head.etag(), self.token(head));
        Committed { value, etag, version, head: head.commit.clone(), changed }
    }
}

impl fmt::Debug for Index<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the body of a mutation wants.
#[expect(clippy::large_enum_variant, reason = "one of these exists at a time, on the stack")]
pub(crate) enum Outcome<T> {
    /// Nothing changed: no commit, no write.
    Nothing(T),
    /// Commit this.
    Changed(Draft, Commit, T),
}

/// A mutation's result with the state it left.
pub(crate) struct Committed<T> {
    pub(crate) value: T,
    pub(crate) etag: ETag,
    pub(crate) version: VersionToken,
    pub(crate) head: Commit,
    /// Whether `head` is this mutation's own commit.
    pub(crate) changed: bool,
}

/// An answer, and the commit it was given from. Derefs to the answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answer<T> {
    /// The answer itself.
    pub value: T,
    /// The commit it was given from.
    pub version: VersionToken,
}

impl<T> Deref for Answer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: IntoIterator> IntoIterator for Answer<T> {
    type Item = T::Item;
    type IntoIter = T::IntoIter;

    fn into_iter(self) -> T::IntoIter {
        self.value.into_iter()
    }
}

/// What an index is and holds.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Its name, as the index key signed it.
    pub name: String,
    /// Components per vector; `None` until the first upsert of an index made without.
    pub dimension: Option<usize>,
    /// The distance.
    pub metric: Metric,
    /// How components are stored.
    pub precision: Precision,
    /// The number of items.
    pub item_count: u64,
    /// The sum over all items of the bytes of id, vector (as stored), contents and metadata (as
    /// JSON).
    pub total_size_bytes: u64,
    /// The rights of the caller.
    pub permissions: Permissions,
    /// The state of the items.
    pub etag: ETag,
    /// The commit this was read from.
    pub version: VersionToken,
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description")
            .field("name", &Hidden::text(&self.name))
            .field("dimension", &self.dimension)
            .field("metric", &self.metric)
            .field("precision", &self.precision)
            .field("item_count", &self.item_count)
            .field("total_size_bytes", &self.total_size_bytes)
            .field("permissions", &self.permissions)
            .field("etag", &self.etag)
            .field("version", &self.version)
            .finish()
    }
}
