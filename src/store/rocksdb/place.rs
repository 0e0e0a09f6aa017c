//! The directory of a database: whose it is, before anything is done to it.
//!
//! A directory that is not ours is left as it is, and refused as an argument. One that is ours and
//! lacks what every database has is damaged, and said to be: RocksDB's file of options names our
//! merge operator. A database that is being made has a mark in it until its first record is on the
//! disk, so one without the mark has that record, or is damaged too.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use ::rocksdb::{DB, Options};

use super::{MERGE, engine_error, io_error, name};
use crate::error::{Error, Fault, Result};
use crate::store::Family;

/// Is there while a database is being made.
const CREATING: &str = "CREATING";
/// No OPTIONS file is longer.
const OPTIONS_MOST: u64 = 1 << 20;
/// How often opening for reading is tried while a writer moves files.
const READ_ATTEMPTS: u32 = 8;

/// Looks again when a file is gone: reading takes no lock, so a writer elsewhere may replace files
/// between the reading of their names and their opening. What replaces them is there already.
pub(super) fn patiently<T>(
    look: impl Fn() -> std::result::Result<T, ::rocksdb::Error>,
) -> std::result::Result<T, ::rocksdb::Error> {
    for attempt in 1..READ_ATTEMPTS {
        match look() {
            Err(error) if is_gone(error.as_ref()) => {
                thread::sleep(Duration::from_millis(u64::from(attempt)));
            }
            other => return other,
        }
    }
    look()
}

/// Whether a table or a log that was named just before is not there any more.
fn is_gone(message: &str) -> bool {
    message.contains("No such file") || message.contains("Missing WAL")
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No directory, or an empty one.
    Nothing,
    /// What is left of a making that did not end; it never held anything.
    Unfinished,
    Database,
}

/// Looks before anything is written: a directory that is not ours is left as it is.
pub(super) fn inspect(path: &Path) -> Result<Found> {
    let not_ours = || {
        Error::invalid(format!(
            "{} is not a sealvec database; name an empty or new directory",
            path.display()
        ))
    };
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(not_ours()),
        Err(error) => return Err(io_error(&error)),
    };
    if entries.next().is_none() {
        return Ok(Found::Nothing);
    }
    if path.join(CREATING).is_file() {
        return Ok(Found::Unfinished);
    }
    let refused = || if is_marked(path) { Error::Integrity(Fault::Storage) } else { not_ours() };
    if !path.join("CURRENT").is_file() {
        return Err(refused());
    }
    let names = patiently(|| DB::list_cf(&Options::default(), path));
    // RocksDB gives every database an identity: with it the files are one that is damaged.
    let damaged = path.join("IDENTITY").is_file();
    let mut names =
        names.map_err(|error| if damaged { engine_error(error) } else { not_ours() })?;
    names.sort_unstable();
    let mut expected: Vec<&str> = Family::ALL.iter().map(|family| name(*family)).collect();
    expected.push("default");
    expected.sort_unstable();
    if names == expected { Ok(Found::Database) } else { Err(refused()) }
}

/// Whether RocksDB noted here that it was opened with our merge operator: then a database that is
/// not as ours are is damaged, and not somebody else's.
fn is_marked(path: &Path) -> bool {
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    let mut notes = files.filter(|file| file.file_name().to_string_lossy().starts_with("OPTIONS-"));
    notes.any(|file| {
        let mut held = Vec::new();
        // What can be read of it will do.
        if let Ok(file) = fs::File::open(file.path()) {
            let _ = file.take(OPTIONS_MOST).read_to_end(&mut held);
        }
        held.windows(MERGE.len()).any(|window| window == MERGE.as_bytes())
    })
}

/// Makes the directory, and in it the file that says that a database is being made.
///
/// RocksDB writes several files before there is a database, and a crash in between would leave a
/// directory that is nobody's. With the file there, the next open for writing goes on.
pub(super) fn begin_creation(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| io_error(&error))?;
    restrict(path)?;
    let file = fs::File::create(path.join(CREATING)).map_err(|error| io_error(&error))?;
    file.sync_all().map_err(|error| io_error(&error))
}

#[cfg(unix)]
pub(super) fn restrict(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(|error| io_error(&error))
}

#[cfg(not(unix))]
pub(super) fn restrict(_path: &Path) -> Result<()> {
    Ok(())
}

/// Ends the making of a database, when its first record is on the disk.
pub(crate) fn finish_creation(path: &Path) -> Result<()> {
    match fs::remove_file(path.join(CREATING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&error)),
        _ => Ok(()),
    }
}
