//! What the handles of one open database share: the engine, the thread pool, the write locks, and
//! what has been verified. No keys.
//!
//! Every operation takes [`Shared::engine`] once and holds it until it is done; closing waits for
//! the operations that run and then takes the engine away, so that RocksDB's lock is free when
//! `close` returns. The one thread of the database's own, if it has one, ends then too.

use std::collections::HashMap;
use std::num::NonZero;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rayon::ThreadPool;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::cache::Cache;
use crate::config::Options;
use crate::error::{Error, Result};
use crate::id::IndexId;
use crate::keyring::trust::Trust;
use crate::store::{Batch, Durability, Engine};

/// What the database was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The state behind `Database` and `Index`.
pub(crate) struct Shared {
    engine: RwLock<Option<Box<dyn Engine>>>,
    /// `None`: everything runs on the caller's thread.
    pool: Option<ThreadPool>,
    locks: Mutex<HashMap<IndexId, Arc<Mutex<()>>>>,
    pub(crate) trust: Trust,
    /// `None`: nothing decrypted is kept.
    pub(crate) cache: Option<Cache>,
    access: Access,
    closing: Arc<Closing>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    pub(crate) db_salt: [u8; 32],
    pub(crate) options: Options,
}

/// Whether the database is being closed.
#[derive(Default)]
pub(crate) struct Closing {
    begun: Mutex<bool>,
    told: Condvar,
}

impl Closing {
    pub(crate) fn begun(&self) -> bool {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits this long, or until closing begins; says whether it has.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(begun, time, |begun| !*begun);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn begin(&self) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }
}

impl Shared {
    pub(crate) fn new(
        engine: Box<dyn Engine>,
        access: Access,
        db_salt: [u8; 32],
        options: Options,
    ) -> Result<Self> {
        let pool = if options.threads == 1 {
            None
        } else {
            let threads = match options.threads {
                0 => thread::available_parallelism().map_or(1, NonZero::get),
                set => set,
            };
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|number| format!("sealvec-{number}"))
                .build();
            Some(pool.map_err(|error| Error::Io(error.to_string()))?)
        };
        Ok(Self {
            engine: RwLock::new(Some(engine)),
            pool,
            locks: Mutex::default(),
            trust: Trust::default(),
            cache: Some(options.plaintext_cache).filter(|bytes| *bytes > 0).map(Cache::new),
            access,
            closing: Arc::default(),
            keeper: Mutex::default(),
            db_salt,
            options,
        })
    }

    pub(crate) const fn closing(&self) -> &Arc<Closing> {
        &self.closing
    }

    /// Runs a thread that closing ends: it must do so soon after [`Closing`] says so.
    pub(crate) fn keep(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name("sealvec-keeper".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::Io(error.to_string()))?;
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// The engine, for the length of one operation. Never waits: whoever comes while `close` waits
    /// for the operations that run is told that the database is closed.
    pub(crate) fn engine(&self) -> Result<EngineGuard<'_>> {
        let guard = match self.engine.try_read() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::Closed),
        };
        if guard.is_some() { Ok(EngineGuard(guard)) } else { Err(Error::Closed) }
    }

    /// Waits for running operations, flushes and drops the engine.
    pub(crate) fn close(&self) -> Result<()> {
        self.closing.begin();
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        let result = engine.as_deref().map_or(Ok(()), Engine::flush);
        *engine = None;
        if let Some(cache) = &self.cache {
            cache.clear();
        }
        drop(engine);
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The keeper itself may be the one who lets go of the last handle.
        if let Some(keeper) = keeper.filter(|keeper| keeper.thread().id() != thread::current().id())
        {
            let _ = keeper.join();
        }
        result
    }

    /// The lock that every writer of an index holds from reading its keys to its commit.
    pub(crate) fn write_lock(&self, index: IndexId) -> Arc<Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(index).or_default())
    }

    /// Forgets a deleted index.
    pub(crate) fn forget(&self, index: IndexId) {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).remove(&index);
        self.trust.forget(index);
    }

    /// Commits, and keeps the account of what is known to be on the disk.
    pub(crate) fn commit(
        &self,
        engine: &dyn Engine,
        index: IndexId,
        sequence: u64,
        batch: Batch,
        durability: Durability,
    ) -> Result<()> {
        match durability {
            Durability::Buffered => {
                self.trust.begin_buffered(index, sequence);
                let result = engine.commit(batch, durability);
                self.trust.end_buffered(index, result.is_ok());
                result
            }
            Durability::Synced => {
                engine.commit(batch, durability)?;
                self.trust.note_durable(index, sequence);
                Ok(())
            }
        }
    }

    /// Whether the database is open for writing.
    pub(crate) fn writes(&self) -> bool {
        self.access == Access::Write
    }

    /// Whether a commit is known to have reached the disk. Who only reads does not know whether the
    /// writer waited.
    pub(crate) fn is_durable(&self, index: IndexId, sequence: u64) -> bool {
        self.access == Access::Write && self.trust.is_durable(index, sequence)
    }

    /// How many pieces a parallel job is worth splitting into.
    pub(crate) fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// Runs `work` on every input and returns the results in order, or an error.
    ///
    /// In parallel if there is a pool, unless the caller is a thread of some pool itself: while it
    /// waited it would be given other work of its pool, and that work may want the locks that this
    /// call holds.
    pub(crate) fn map<I, T>(
        &self,
        inputs: Vec<I>,
        work: impl Fn(I) -> Result<T> + Send + Sync,
    ) -> Result<Vec<T>>
    where
        I: Send,
        T: Send,
    {
        match &self.pool {
            Some(pool) if inputs.len() > 1 && rayon::current_thread_index().is_none() => {
                pool.install(|| inputs.into_par_iter().map(&work).collect())
            }
            _ => inputs.into_iter().map(work).collect(),
        }
    }
}

impl Drop for Shared {
    /// The last handle is gone: what was written without waiting reaches the disk now.
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// The engine, kept open while this lives.
pub(crate) struct EngineGuard<'a>(RwLockReadGuard<'a, Option<Box<dyn Engine>>>);

impl Deref for EngineGuard<'_> {
    type Target = dyn Engine;

    #[expect(clippy::expect_used, reason = "only made when the engine is there, and it stays")]
    fn deref(&self) -> &Self::Target {
        self.0.as_deref().expect("the guard keeps the engine")
    }
}
