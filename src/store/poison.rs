//! An engine that writes nothing more once writing has failed.
//!
//! After a failed fsync nobody knows what is on the disk: the operating system may have dropped the
//! pages, and the next fsync then succeeds without them. After a failed append the log may end in
//! half a record. So the first failure of storage poisons the engine: that commit reports what
//! happened, and every later write, flush, purge or checkpoint is refused with `Poisoned` until the
//! database is closed and opened again. Opening reads the log up to the last whole record, so what
//! was synced is there, the failed commit is there whole or not at all, and the signed chain of
//! commits says which.
//!
//! What poisons:
//! - a commit or a flush that ends in `Io`, `NoSpace` or `Integrity`;
//! - an error that the engine had in the background (a flush of a memtable, a compaction), whoever
//!   looks first.
//!
//! What does not: a refused condition, a purge or a checkpoint that fails on its own account, as by
//! a full disk elsewhere, while the engine counts no error.
//!
//! Reads go on. A failed commit is not among what they see: the engine puts a batch into the
//! memtable after the log took it.
//!
//! Cost: one question to the engine before each commit.

use std::path::Path;
use std::sync::OnceLock;

use super::{Batch, Durability, Engine, Limits, Purge, Purged, Snapshot};
use crate::error::{Error, Result};

const BACKGROUND: &str =
    "the storage engine failed in the background; its LOG file in the directory says why";

/// The engine, and why it is not written to any more.
pub(crate) struct Poison<E> {
    engine: E,
    cause: OnceLock<String>,
}

impl<E: Engine> Poison<E> {
    pub(crate) const fn new(engine: E) -> Self {
        Self { engine, cause: OnceLock::new() }
    }

    /// Refuses if something failed before, here or in the background.
    fn check(&self) -> Result<()> {
        if self.cause.get().is_none() && self.engine.failed_in_background() {
            let _ = self.cause.set(BACKGROUND.to_owned());
        }
        self.cause.get().map_or(Ok(()), |cause| Err(Error::Poisoned(cause.clone())))
    }

    /// Notes what a write ended in.
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error @ (Error::Io(_) | Error::NoSpace | Error::Integrity(_))) = &result {
            let _ = self.cause.set(error.to_string());
        }
        result
    }

    /// Notes what something ended in that may fail without harm to the database.
    fn note_if_harmed<T>(&self, result: Result<T>) -> Result<T> {
        if self.engine.failed_in_background() { self.note(result) } else { result }
    }
}

impl<E: Engine> Engine for Poison<E> {
    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.engine.snapshot()
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.check()?;
        self.note(self.engine.commit(batch, durability))
    }

    fn flush(&self) -> Result<()> {
        self.check()?;
        self.note(self.engine.flush())
    }

    fn purge(&self, purge: &Purge<'_>) -> Result<Purged> {
        self.check()?;
        self.note_if_harmed(self.engine.purge(purge))
    }

    fn checkpoint(&self, directory: &Path) -> Result<()> {
        self.check()?;
        self.note_if_harmed(self.engine.checkpoint(directory))
    }

    fn directory(&self) -> Option<&Path> {
        self.engine.directory()
    }

    fn bytes_written(&self) -> u64 {
        self.engine.bytes_written()
    }

    fn failed_in_background(&self) -> bool {
        self.engine.failed_in_background()
    }

    fn limits(&self) -> Limits {
        self.engine.limits()
    }
}
