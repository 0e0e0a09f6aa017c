//! Where the bench database is: a new directory, removed at the end if nobody named it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use sealvec::Database;

use crate::failure::{Failure, Result};

/// How often, and how many times at most, it is looked whether RocksDB still works on its files.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 600;

#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    temporary: bool,
}

impl Place {
    /// The directory, which must be empty or not there yet; a temporary one if there is none.
    pub(crate) fn new(named: Option<&Path>) -> Result<Self> {
        let Some(root) = named else {
            let root = std::env::temp_dir().join(format!("sealvec-bench-{}", std::process::id()));
            fs::create_dir(&root).map_err(|error| failed(&root, "make", &error))?;
            return Ok(Self { root, temporary: true });
        };
        fs::create_dir_all(root).map_err(|error| failed(root, "make", &error))?;
        let mut entries = fs::read_dir(root).map_err(|error| failed(root, "read", &error))?;
        if entries.next().is_some() {
            let message = format!("{} is not empty; a bench starts from nothing", root.display());
            return Err(Failure::Exists(message));
        }
        Ok(Self { root: root.to_owned(), temporary: false })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("db")
    }

    /// What the files of the database hold.
    pub(crate) fn bytes(&self) -> u64 {
        // A file that goes away meanwhile counts as gone.
        let entries = fs::read_dir(self.database()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
    }

    /// Has RocksDB write its memtables to tables, and waits until it is done with its files.
    pub(crate) fn settle(&self, database: &Database) -> Result<()> {
        self.flush(database)?;
        self.stand_still();
        Ok(())
    }

    /// A checkpoint begins with that.
    pub(crate) fn flush(&self, database: &Database) -> Result<()> {
        let copy = self.root.join("checkpoint");
        database.checkpoint(&copy)?;
        fs::remove_dir_all(&copy).map_err(|error| failed(&copy, "remove", &error))
    }

    pub(crate) fn stand_still(&self) {
        let (mut before, mut still) = (self.bytes(), 0);
        for _ in 0..LOOKS {
            sleep(LOOK);
            let now = self.bytes();
            still = if now == before { still + 1 } else { 0 };
            if still == 4 {
                return;
            }
            before = now;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    Failure::Output(format!("cannot {what} {}: {error}", path.display()))
}
