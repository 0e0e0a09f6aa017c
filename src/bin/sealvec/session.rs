//! Opening the database for a command: who calls, which index, to read or to write.
//!
//! The key is read first, so that a descriptor the caller passed cannot be mistaken for one that
//! the program opened. Reading commands open read-only: they take no lock and change no file, so
//! they work while another process writes.

use std::path::Path;

use sealvec::{Database, Index, KeyContext, Options, UserId};

use crate::args::Global;
use crate::failure::{Failure, Result};
use crate::keys::Source;

/// What the global options say.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) global: Global,
    pub(crate) user: Option<UserId>,
}

/// A database open for writing, and an index in it.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) db: Database,
    pub(crate) index: Index<'static>,
}

impl Caller {
    /// Where the key is; exactly one source is given.
    pub(crate) fn source(&self) -> Result<Source> {
        let Global { key_file, key_fd, key_env, .. } = &self.global;
        match (key_file, key_fd, key_env) {
            (Some(path), None, None) => Ok(Source::File(path.clone())),
            (None, Some(number), None) => Ok(Source::Descriptor(*number)),
            (None, None, Some(name)) => Ok(Source::Variable(name.clone())),
            (None, None, None) => {
                Err(Failure::Key("no key: pass --key-file, --key-fd or --key-env".into()))
            }
            _ => Err(Failure::Usage("pass only one of --key-file, --key-fd and --key-env".into())),
        }
    }

    pub(crate) fn key(&self) -> Result<KeyContext> {
        let key = self.source()?.caller(self.user)?;
        Ok(match self.global.seen.min_version {
            Some(seen) => key.at_least(seen),
            None => key,
        })
    }

    /// For commands that open no index.
    pub(crate) fn has_seen_nothing(&self, command: &str) -> Result<()> {
        match self.global.seen.min_version {
            None => Ok(()),
            Some(_) => Err(Failure::Usage(format!(
                "a version token is of one index; {command} takes no --min-version"
            ))),
        }
    }

    pub(crate) fn options(&self) -> Options {
        let options = Options::new().threads(self.global.threads.unwrap_or(0));
        match self.global.block_cache {
            Some(bytes) => options.block_cache(bytes),
            None => options,
        }
    }

    /// Where the database is.
    pub(crate) fn directory(&self) -> Result<&Path> {
        let missing = || Failure::Usage("no database: pass --db DIR, or set SEALVEC_DB".into());
        self.global.db.as_deref().ok_or_else(missing)
    }

    /// An index to read from.
    pub(crate) fn reading(&self, name: &str) -> Result<Index<'static>> {
        let (directory, key) = (self.directory()?, self.key()?);
        let db = Database::open_read_only(directory, self.options())?;
        Ok(db.load_index(name, key)?)
    }

    /// An index to write to, in a database that exists.
    pub(crate) fn writing(&self, name: &str) -> Result<Writing> {
        let (directory, key) = (self.directory()?, self.key()?);
        let db = Database::open(directory, self.options().create(false))?;
        let index = db.load_index(name, key)?;
        Ok(Writing { db, index })
    }
}
