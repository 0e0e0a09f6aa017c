//! A file that appears whole or not at all, and never in place of another.
//!
//! It is written under a temporary name in the same directory, readable by its owner only because
//! it holds plaintext, and gets its name when it is complete and on the disk. Dropped before that,
//! it is removed; a crash leaves the temporary file, under a name ending in `.partial`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;

use crate::failure::{Failure, Result};

/// A file in the making. Write errors come out of [`finish`](Self::finish) at the latest.
#[derive(Debug)]
pub(crate) struct NewFile {
    target: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    finished: bool,
}

impl NewFile {
    pub(crate) fn create(target: &Path) -> Result<Self> {
        refuse_existing(target)?;
        let Some(name) = target.file_name() else {
            return Err(Failure::Usage(format!("{} is not a file name", target.display())));
        };
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.partial", process::id()));
        let partial = target.with_file_name(partial);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&partial).map_err(|error| cannot_write(target, &error))?;
        let file = BufWriter::with_capacity(1 << 18, file);
        Ok(Self { target: target.to_owned(), partial, file, finished: false })
    }

    /// Writes over the beginning, which must have been written before.
    pub(crate) fn rewrite_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(bytes)?;
        self.file.seek(SeekFrom::End(0)).map(|_| ())
    }

    /// Gives the file its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|error| cannot_write(&self.target, &error))?;
        refuse_existing(&self.target)?;
        fs::rename(&self.partial, &self.target)
            .map_err(|error| cannot_write(&self.target, &error))?;
        self.finished = true;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn refuse_existing(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        Err(Failure::Exists(format!("{} exists; it is not overwritten", path.display())))
    } else {
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Output(format!("cannot write {}: {error}", path.display()))
}
