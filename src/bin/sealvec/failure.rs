//! Why a run failed, and the exit code that says so.
//!
//! Scripts tell failures apart by the code, people by the message. The codes are part of the
//! program's contract and are listed in its help. Messages name files, lines and rows, never a key
//! or what an item holds.

use std::fmt::Display;
use std::io;
use std::path::Path;

use sealvec::Error;

/// The result of everything in this program.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why the run ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An argument or an input file is not acceptable.
    Usage(String),
    /// There is no key, or it cannot be read.
    Key(String),
    /// Something that was named is not there.
    NotFound(String),
    /// A file that would be made exists.
    Exists(String),
    /// A full check found faults.
    Unsound(String),
    /// The library refused or failed.
    Library(Error),
    /// The answer could not be written.
    Output(String),
    /// Nobody reads the answer any more.
    BrokenPipe,
}

impl Failure {
    /// 1 is everything that has no code of its own.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Key(_) => 3,
            Self::NotFound(_) => 4,
            Self::Exists(_) => 5,
            Self::Unsound(_) => 6,
            Self::Library(error) => match error.code() {
                "invalid_argument" | "too_large" => 2,
                "missing_key" | "wrong_key" | "key_unavailable" | "permission_denied" => 3,
                "database_not_found" | "index_not_found" | "item_not_found" => 4,
                "already_exists" | "conflict" | "precondition_failed" | "busy" => 5,
                "integrity" | "unsupported_format" => 6,
                "stale" | "forked" | "version_folded" => 7,
                _ => 1,
            },
        }
    }

    /// What to tell the user, if anything.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::BrokenPipe => None,
            Self::Usage(message)
            | Self::Key(message)
            | Self::NotFound(message)
            | Self::Exists(message)
            | Self::Unsound(message)
            | Self::Output(message) => Some(message.clone()),
            Self::Library(error) => Some(error.to_string()),
        }
    }

    /// A fault of an input file.
    pub(crate) fn input(path: &Path, fault: impl Display) -> Self {
        Self::Usage(format!("{}: {fault}", path.display()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

/// A failure to write the answer.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Output(format!("cannot write the answer: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use sealvec::Unmet;

    use super::*;

    #[test]
    fn a_closed_pipe_is_silent_and_a_full_disk_is_not() {
        let pipe = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((pipe.exit_code(), pipe.message()), (0, None));
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), 1);
        assert!(full.message().is_some());
    }

    #[test]
    fn library_errors_keep_their_groups() {
        for (error, code) in [
            (Error::MissingKey, 3),
            (Error::KeyUnavailable(String::new()), 3),
            (Error::ItemNotFound, 4),
            (Error::Conflict, 5),
            (Error::PreconditionFailed(Unmet::Version { position: 0 }), 5),
            (Error::TooLarge(String::new()), 2),
            (Error::Stale, 7),
            (Error::Forked, 7),
            (Error::VersionFolded, 7),
            (Error::NoSpace, 1),
            (Error::Io(String::new()), 1),
        ] {
            assert_eq!(Failure::from(error).exit_code(), code);
        }
    }
}
