//! Keys in files that only their owner can read.
//!
//! A key file holds 64 hexadecimal digits, with or without a line end, or the 32 bytes themselves.
//! On Unix a file whose group or others have any right is refused: it is looked at through the
//! descriptor that is read from, so nobody can exchange it in between. What is no regular file, a
//! pipe or a descriptor of the shell, has no such rights to look at.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{KeyProvider, KeyRequest};
use crate::crypto::{IndexKey, UserKey};
use crate::error::{Error, Result};

const DIGITS: usize = 64;

impl IndexKey {
    /// Reads the key from a file that only its owner can read: 64 hexadecimal digits, with or
    /// without a line end, or 32 bytes.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] if the file cannot be read, or can be by others than its owner;
    /// [`Error::InvalidArgument`] if it holds anything else.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("notes.key");
    /// # std::fs::write(&path, "11".repeat(32))?;
    /// # #[cfg(unix)]
    /// # std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    /// let key = sealvec::IndexKey::from_file(&path)?;
    /// assert_eq!(key.expose(), &[0x11; 32]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_bytes(&*read(path.as_ref())?)
    }
}

impl UserKey {
    /// Reads the key from a file, as [`IndexKey::from_file`] does.
    ///
    /// # Errors
    /// As for [`IndexKey::from_file`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_bytes(&*read(path.as_ref())?)
    }
}

/// Keys in files, each for one purpose. The files are read anew for every request.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sealvec::{FileKeyProvider, KeyRequest};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("notes.key");
/// # std::fs::write(&path, "11".repeat(32))?;
/// # #[cfg(unix)]
/// # std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
/// let provider = FileKeyProvider::new().with(KeyRequest::root("notes"), &path);
/// assert!(KeyRequest::root("notes").caller(&provider).is_ok());
/// assert!(KeyRequest::root("mail").caller(&provider).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct FileKeyProvider {
    files: BTreeMap<KeyRequest, PathBuf>,
}

impl FileKeyProvider {
    /// One that knows no file.
    pub const fn new() -> Self {
        Self { files: BTreeMap::new() }
    }

    /// The same with a file for this request.
    pub fn with(mut self, request: KeyRequest, path: impl Into<PathBuf>) -> Self {
        self.files.insert(request, path.into());
        self
    }
}

impl fmt::Debug for FileKeyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeyProvider").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl KeyProvider for FileKeyProvider {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        let path = self.files.get(request).ok_or_else(|| {
            Error::KeyUnavailable("no key file was given for this index and holder".into())
        })?;
        key.copy_from_slice(&*read(path)?);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    let what = format!("the key file {}", path.display());
    let unreadable =
        |error: io::Error| Error::KeyUnavailable(format!("{what} cannot be read: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    if others_have_rights(&file).map_err(unreadable)? {
        return Err(Error::KeyUnavailable(format!(
            "{what} can be read or changed by others than its owner; `chmod 600` it"
        )));
    }
    // Room for a line end and one byte that shows there is too much.
    let mut buffer = Zeroizing::new([0; DIGITS + 3]);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    decode(buffer.get(..filled).unwrap_or_default()).ok_or_else(|| {
        Error::invalid(format!("{what} is not a key: 64 hexadecimal digits or 32 bytes are wanted"))
    })
}

#[cfg(unix)]
fn others_have_rights(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let found = file.metadata()?;
    Ok(found.is_file() && found.permissions().mode() & 0o077 != 0)
}

/// Elsewhere rights are not a matter of a file alone.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the shape it has on Unix")]
const fn others_have_rights(_: &File) -> io::Result<bool> {
    Ok(false)
}

pub(super) fn decode(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() == key.len() {
        key.copy_from_slice(text);
        return Some(key);
    }
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() != DIGITS {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(line.chunks(2)) {
        for digit in pair {
            let value = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
            *byte = *byte << 4 | value;
        }
    }
    Some(key)
}
