//! Checkpoints: copies that a database knows of, because purging it does not reach them.
//!
//! A record says when and where each was made. Steps, and what a crash after each leaves:
//! 1. The record, synced. It names a directory that is not there, and goes with the next purge.
//! 2. The copy. It, or a part of it, is on the disk and in the record.
//!
//! A copy holds the record of itself; a database that is opened from it does not count itself.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::DATABASE;
use crate::commit;
use crate::error::{Error, Fault, Result};
use crate::handle::Shared;
use crate::store::owed::Made;
use crate::store::{Batch, Durability, Engine, Family, key};

/// A copy of the database that was made, and is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// When it was made, in milliseconds since 1970.
    pub time: u64,
}

pub(crate) fn make(shared: &Shared, directory: &Path) -> Result<()> {
    let engine = shared.engine()?;
    if !shared.writes() || engine.directory().is_none() || fs::symlink_metadata(directory).is_ok() {
        // There is nothing to note, or the engine will say what is wrong.
        return engine.checkpoint(directory);
    }
    let path = std::path::absolute(directory).map_err(|error| Error::Io(error.to_string()))?;
    let path = path.into_os_string().into_string().ok();
    let path = path.filter(|path| u16::try_from(path.len()).is_ok()).ok_or_else(|| {
        Error::invalid("the path of a checkpoint is noted: it is UTF-8, 65,535 bytes at most")
    })?;
    let lock = shared.write_lock(DATABASE);
    let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
    // Step 1.
    let last = records(&*engine)?.pop().map_or(0, |(number, _)| number);
    let number = last.checked_add(1).ok_or(Error::Integrity(Fault::Catalog))?;
    let mut batch = Batch::default();
    let made = Made { time: commit::now(), path };
    batch.put(Family::Catalog, key::checkpoint_made(number), made.encode());
    engine.commit(batch, Durability::Synced)?;
    // Step 2. If it fails, the record stays in case there is half a copy.
    engine.checkpoint(directory)
}

/// The checkpoints that are still there; the records of others go.
pub(crate) fn left(shared: &Shared) -> Result<Vec<Checkpoint>> {
    let engine = shared.engine()?;
    let lock = shared.write_lock(DATABASE);
    let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let own = engine.directory().and_then(|own| fs::canonicalize(own).ok());
    let (mut there, mut gone) = (Vec::new(), Batch::default());
    for (number, Made { time, path }) in records(&*engine)? {
        let path = PathBuf::from(path);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                gone.delete(Family::Catalog, key::checkpoint_made(number));
            }
            _ if own.is_some() && fs::canonicalize(&path).ok() == own => {}
            // Who cannot look there cannot say that it is gone.
            _ => there.push(Checkpoint { path, time }),
        }
    }
    if !gone.changes.is_empty() {
        engine.commit(gone, Durability::Buffered)?;
    }
    Ok(there)
}

fn records(engine: &dyn Engine) -> Result<Vec<(u64, Made)>> {
    let prefix = key::checkpoints_made();
    let mut found = Vec::new();
    engine.snapshot().scan(Family::Catalog, &prefix, &prefix, &mut |at, stored| {
        let number = at.get(prefix.len()..).and_then(|number| number.try_into().ok());
        let number = number.map(u64::from_be_bytes).ok_or(Error::Integrity(Fault::Catalog));
        found.push(number.and_then(|number| Ok((number, Made::decode(stored)?))));
        ControlFlow::Continue(())
    })?;
    found.into_iter().collect()
}
