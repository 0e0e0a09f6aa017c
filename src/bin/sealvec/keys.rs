//! Keys on their way in and out of the program.
//!
//! A key is 64 hexadecimal digits in a file, behind a file descriptor or in an environment
//! variable, with or without a line end. The library reads key files, and refuses those that others
//! than their owner can read. A key goes into buffers that are wiped, with no buffered reader in
//! between; no message repeats any of it. A new key goes to a file that must not exist
//! and that only its owner can read.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sealvec::{IndexKey, KeyContext, UserId, UserKey};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};

const DIGITS: usize = 64;

/// Where the caller's key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Descriptor(u32),
    Variable(String),
}

impl Source {
    /// The index key.
    pub(crate) fn index_key(&self) -> Result<IndexKey> {
        Ok(IndexKey::from_bytes(&*self.read()?)?)
    }

    /// The caller: the holder of the index key, or the user of that id.
    pub(crate) fn caller(&self, user: Option<UserId>) -> Result<KeyContext> {
        let key = self.read()?;
        Ok(match user {
            None => KeyContext::root(IndexKey::from_bytes(&*key)?),
            Some(user) => KeyContext::user(user, UserKey::from_bytes(&*key)?),
        })
    }

    fn read(&self) -> Result<Zeroizing<[u8; 32]>> {
        match self {
            Self::File(path) => Ok(Zeroizing::new(*index_key(path)?.expose())),
            Self::Descriptor(0) => read_from(Ok(io::stdin()), "file descriptor 0"),
            Self::Descriptor(number) => {
                // Reopening needs no unsafe code; it works for files and pipes, not for sockets.
                let file = File::open(format!("/dev/fd/{number}"));
                read_from(file, &format!("file descriptor {number}"))
            }
            Self::Variable(name) => {
                let text = env::var_os(name).map(OsString::into_encoded_bytes);
                let text = text.map(Zeroizing::new).ok_or_else(|| {
                    Failure::Key(format!("the environment variable {name} is not set"))
                })?;
                decode(&text, &format!("the environment variable {name}"))
            }
        }
    }
}

/// The key in a file: the caller's, or a new index key.
pub(crate) fn index_key(path: &Path) -> Result<IndexKey> {
    Ok(IndexKey::from_file(path)?)
}

/// The key in a file of a user who is being granted rights.
pub(crate) fn user_key(path: &Path) -> Result<UserKey> {
    Ok(UserKey::from_file(path)?)
}

/// Makes a key and writes it to a file that must not exist.
pub(crate) fn generate(path: &Path) -> Result<()> {
    let key = IndexKey::generate()?;
    let mut text = Zeroizing::new([0; DIGITS + 1]);
    for (pair, byte) in text.chunks_mut(2).zip(key.expose()) {
        pair.copy_from_slice(&digits(*byte));
    }
    if let Some(end) = text.last_mut() {
        *end = b'\n';
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Exists(format!("{} exists; a key is never overwritten", path.display()))
        }
        _ => Failure::Output(format!("cannot write {}: {error}", path.display())),
    };
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(&*text).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a key is no use to anyone.
        let _ = fs::remove_file(path);
        failed(error)
    })
}

fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|nibble| match nibble {
        0..10 => b'0' + nibble,
        _ => b'a' + (nibble - 10),
    })
}

fn read_from(reader: io::Result<impl Read>, what: &str) -> Result<Zeroizing<[u8; 32]>> {
    let unreadable = |error: io::Error| Failure::Key(format!("{what} cannot be read: {error}"));
    let mut reader = reader.map_err(unreadable)?;
    // Room for a line end and one byte that shows there is too much.
    let mut buffer = Zeroizing::new([0; DIGITS + 3]);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    decode(buffer.get(..filled).unwrap_or_default(), what)
}

fn decode(text: &[u8], what: &str) -> Result<Zeroizing<[u8; 32]>> {
    let malformed =
        || Failure::Usage(format!("{what} is not a key: 64 hexadecimal digits are wanted"));
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() != DIGITS {
        return Err(malformed());
    }
    let mut key = Zeroizing::new([0; 32]);
    for (byte, pair) in key.iter_mut().zip(line.chunks(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = *byte << 4 | value.ok_or_else(malformed)?;
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_digits_and_one_line_end_are_a_key() {
        let good = "0123456789abcdefABCDEF9876543210".repeat(2);
        for end in ["", "\n", "\r\n"] {
            let text = format!("{good}{end}");
            let key = read_from(Ok(text.as_bytes()), "it").unwrap();
            assert_eq!(key[..4], [0x01, 0x23, 0x45, 0x67]);
        }
        let tail = |end: &str| format!("{good}{end}");
        for bad in [
            String::new(),
            "ab".repeat(31),
            "g".repeat(64),
            tail("0"),
            tail("\n\n"),
            tail(" "),
            tail(&"0".repeat(64)),
            format!(" {}", &good[1..]),
        ] {
            let failure = read_from(Ok(bad.as_bytes()), "it").unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{bad:?}");
            assert!(!failure.message().unwrap().contains("0123"));
        }
    }
}
