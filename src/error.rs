//! The one error type of the library.
//!
//! Every variant is plain data and groups failures by what the caller can do about them. Each has
//! a stable [`Error::code`] for logs and wire formats and an [`Error::http_status`] for services.
//! Messages say what was wrong and what to do; they never contain a key, an item id, a user id,
//! contents or metadata. A position in the caller's own input is used instead.

use std::fmt;

use crate::id::ETag;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, grouped by what the caller can do about it.
///
/// | variant | code | HTTP | retry |
/// |---|---|---|---|
/// | [`InvalidArgument`](Error::InvalidArgument) | `invalid_argument` | 400 | no |
/// | [`MissingKey`](Error::MissingKey) | `missing_key` | 401 | no |
/// | [`WrongKey`](Error::WrongKey) | `wrong_key` | 401 | no |
/// | [`PermissionDenied`](Error::PermissionDenied) | `permission_denied` | 403 | no |
/// | [`ReadOnly`](Error::ReadOnly) | `read_only` | 403 | no |
/// | [`DatabaseNotFound`](Error::DatabaseNotFound) | `database_not_found` | 404 | no |
/// | [`IndexNotFound`](Error::IndexNotFound) | `index_not_found` | 404 | no |
/// | [`ItemNotFound`](Error::ItemNotFound) | `item_not_found` | 404 | no |
/// | [`AlreadyExists`](Error::AlreadyExists) | `already_exists` | 409 | no |
/// | [`Conflict`](Error::Conflict) | `conflict` | 409 | yes |
/// | [`PreconditionFailed`](Error::PreconditionFailed) | `precondition_failed` | 412 | no |
/// | [`Stale`](Error::Stale) | `stale` | 412 | no |
/// | [`Forked`](Error::Forked) | `forked` | 412 | no |
/// | [`VersionFolded`](Error::VersionFolded) | `version_folded` | 412 | no |
/// | [`TooLarge`](Error::TooLarge) | `too_large` | 413 | no |
/// | [`Integrity`](Error::Integrity) | `integrity` | 500 | no |
/// | [`UnsupportedFormat`](Error::UnsupportedFormat) | `unsupported_format` | 500 | no |
/// | [`Io`](Error::Io) | `io` | 500 | no |
/// | [`KeyUnavailable`](Error::KeyUnavailable) | `key_unavailable` | 503 | no |
/// | [`PurgeIncomplete`](Error::PurgeIncomplete) | `purge_incomplete` | 503 | no |
/// | [`Busy`](Error::Busy) | `busy` | 503 | yes |
/// | [`Closed`](Error::Closed) | `closed` | 503 | no |
/// | [`Poisoned`](Error::Poisoned) | `poisoned` | 503 | no |
/// | [`NoSpace`](Error::NoSpace) | `no_space` | 507 | no |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside what the call accepts. Nothing was written.
    #[error("{0}")]
    InvalidArgument(String),
    /// The call came with no key, and none is bound to the handle.
    #[error("no key: pass one with `with_key`, or bind one with `load_index`")]
    MissingKey,
    /// The key opens nothing here: a wrong index key, an unknown or revoked user, or a wrong user
    /// key. These four are deliberately one error.
    #[error("the key or user does not open this index")]
    WrongKey,
    /// A [`KeyProvider`](crate::KeyProvider) has no such key, or cannot get it now; the message says
    /// why.
    #[error("the key is not to be had: {0}")]
    KeyUnavailable(String),
    /// The key is good, but its holder lacks the right that the call needs.
    #[error("this call needs the {needs} right, which the holder of this key does not have")]
    PermissionDenied {
        /// The rights the call needs.
        needs: Needs,
    },
    /// The database was opened read-only.
    #[error("the database is open read-only; open it with `Database::open` to write")]
    ReadOnly,
    /// There is no database at the path.
    #[error("there is no database at {0}")]
    DatabaseNotFound(String),
    /// There is no index of that name, or it was deleted.
    #[error("there is no such index")]
    IndexNotFound,
    /// The item to be updated does not exist.
    #[error("there is no item with this id; `upsert` creates one")]
    ItemNotFound,
    /// An index of that name exists.
    #[error("an index of this name exists already; choose another name or delete it first")]
    AlreadyExists,
    /// Somebody else committed in between. Nothing was written; try again.
    #[error("another commit came first; nothing was written, try again")]
    Conflict,
    /// What is stored is not what the call said it was based on. Nothing was written.
    #[error("{0}")]
    PreconditionFailed(Unmet),
    /// The call names more than one call may. Nothing was written.
    #[error("{0}")]
    TooLarge(String),
    /// The index on disk is older than the version token of the call, or than a state this process
    /// has already seen: it was rolled back.
    #[error("the index is older than a state already seen; it was rolled back or restored")]
    Stale,
    /// The commit that the version token of the call names is not in the history of this index:
    /// commits were taken away and others made in their place.
    #[error(
        "the history of the index does not contain the commit of the version token; it was rolled \
         back or restored, and then written to"
    )]
    Forked,
    /// The commit that the version token of the call names is older than the history the index
    /// keeps, so nothing shows whether it was part of it.
    #[error(
        "the commit of the version token is older than the history this index keeps; take the \
         token of a later answer that you trust"
    )]
    VersionFolded,
    /// Stored data is damaged, forged, moved or missing.
    #[error("integrity check failed: {0}")]
    Integrity(Fault),
    /// The stored format is not one this version reads.
    #[error("{what} has format version {found}, this build reads version {supported}")]
    UnsupportedFormat {
        /// Which format.
        what: &'static str,
        /// The version found in the file.
        found: u32,
        /// The version this build reads.
        supported: u32,
    },
    /// The operating system or the storage engine failed. If it failed while a commit was synced,
    /// the commit may be there, whole, after the database is opened again; never a part of it. Until
    /// then, writes are refused as [`Poisoned`](Error::Poisoned).
    #[error("storage failed: {0}")]
    Io(String),
    /// The files still hold what was deleted, and the message says why. Whatever else the call does
    /// is done. The purge stays owed: see [`purge_owed`](crate::Database::purge_owed).
    #[error("{0}")]
    PurgeIncomplete(String),
    /// The database is locked by another process.
    #[error("the database is in use by another process; one process writes at a time")]
    Busy,
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
    /// Storage failed before, and the message says how: nothing is written through this database any
    /// more, for after a failed write nobody knows what is on the disk. Nothing of the call is
    /// visible. Reads go on. Close the database and open it again: every commit that returned under
    /// [`Durability::Synced`](crate::Durability::Synced) is there.
    #[error(
        "storage failed before ({0}): nothing more is written; close the database and open it again"
    )]
    Poisoned(String),
    /// The disk is full. Nothing of the call is visible. If it was a commit or a flush, later ones
    /// are refused as [`Poisoned`](Error::Poisoned).
    #[error("no space left on the device; free some, open the database again and try again")]
    NoSpace,
}

impl Error {
    /// A stable, machine-readable name for the variant. Never changes meaning.
    ///
    /// ```
    /// assert_eq!(sealvec::Error::WrongKey.code(), "wrong_key");
    /// ```
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidArgument(_) => "invalid_argument",
            Self::MissingKey => "missing_key",
            Self::WrongKey => "wrong_key",
            Self::KeyUnavailable(_) => "key_unavailable",
            Self::PermissionDenied { .. } => "permission_denied",
            Self::ReadOnly => "read_only",
            Self::DatabaseNotFound(_) => "database_not_found",
            Self::IndexNotFound => "index_not_found",
            Self::ItemNotFound => "item_not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::PreconditionFailed(_) => "precondition_failed",
            Self::TooLarge(_) => "too_large",
            Self::Stale => "stale",
            Self::Forked => "forked",
            Self::VersionFolded => "version_folded",
            Self::Integrity(_) => "integrity",
            Self::UnsupportedFormat { .. } => "unsupported_format",
            Self::Io(_) => "io",
            Self::PurgeIncomplete(_) => "purge_incomplete",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::Poisoned(_) => "poisoned",
            Self::NoSpace => "no_space",
        }
    }

    /// The HTTP status a service should answer with.
    ///
    /// ```
    /// assert_eq!(sealvec::Error::IndexNotFound.http_status(), 404);
    /// ```
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self {
            Self::InvalidArgument(_) => 400,
            Self::MissingKey | Self::WrongKey => 401,
            Self::PermissionDenied { .. } | Self::ReadOnly => 403,
            Self::DatabaseNotFound(_) | Self::IndexNotFound | Self::ItemNotFound => 404,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::PreconditionFailed(_) | Self::Stale | Self::Forked | Self::VersionFolded => 412,
            Self::TooLarge(_) => 413,
            Self::Integrity(_) | Self::UnsupportedFormat { .. } | Self::Io(_) => 500,
            Self::KeyUnavailable(_)
            | Self::PurgeIncomplete(_)
            | Self::Busy
            | Self::Closed
            | Self::Poisoned(_) => 503,
            Self::NoSpace => 507,
        }
    }

    /// Whether the same call may succeed later without any change by the caller.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict | Self::Busy)
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidArgument(what.into())
    }
}

/// The condition of a call that is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unmet {
    /// The items have changed since.
    ETag {
        /// What the ETag is now.
        current: ETag,
    },
    /// An item has another version: it was written again.
    Version {
        /// The item's position in the call, from 0.
        position: usize,
    },
    /// An item that was to be created is there.
    Exists {
        /// The item's position in the call, from 0.
        position: usize,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ETag { .. } => f.write_str(
                "the index has changed: its ETag is not the one given; nothing was written, read \
                 what changed and try again with the ETag of now",
            ),
            Self::Version { position } => write!(
                f,
                "item {position} has changed: its version is not the one given; nothing was \
                 written, read it again and decide anew"
            ),
            Self::Exists { position } => write!(
                f,
                "item {position} is there already and was only to be created; nothing was written"
            ),
        }
    }
}

/// The rights that a refused call would have needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// The read right.
    Read,
    /// The write right.
    Write,
    /// The index key itself.
    Root,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Root => "root (index key)",
        })
    }
}

/// What kind of stored thing failed its check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A commit, its signature, its place in the chain, or the fold of the commits before those
    /// that are kept.
    Commit,
    /// The grant table, its signature, or what it says about the index.
    GrantTable,
    /// A wrap whose commitment or seal does not hold although its place is right.
    Wrap,
    /// A roster record.
    Roster,
    /// An item record.
    ItemRecord,
    /// A node of the partition tree, or how nodes and item records refer to each other.
    Node,
    /// A sealed vector, contents or metadata value.
    Payload,
    /// A block of the attribute index, or how it and the items refer to each other.
    Attribute,
    /// The state of the set hash does not match the signed commit.
    SetHash,
    /// The signed counts are not those of what is stored.
    Counts,
    /// The database record, a name record, or a record of the catalog that is of no kind.
    Catalog,
    /// A file of the storage engine does not match its own checksums.
    Storage,
}

impl Fault {
    /// A stable, machine-readable name for the class.
    ///
    /// ```
    /// assert_eq!(sealvec::Fault::ItemRecord.as_str(), "item_record");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::GrantTable => "grant_table",
            Self::Wrap => "wrap",
            Self::Roster => "roster",
            Self::ItemRecord => "item_record",
            Self::Node => "node",
            Self::Payload => "payload",
            Self::Attribute => "attribute",
            Self::SetHash => "set_hash",
            Self::Counts => "counts",
            Self::Catalog => "catalog",
            Self::Storage => "storage",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "a commit is damaged, missing, or not signed by who might make it",
            Self::GrantTable => "the grant table is damaged or not the one the index key signed",
            Self::Wrap => "a key wrap is damaged",
            Self::Roster => "a roster record is damaged or missing",
            Self::ItemRecord => "an item record is damaged, moved or missing",
            Self::Node => "a node of the partition tree is damaged, moved or missing",
            Self::Payload => "a sealed value is damaged, moved or missing",
            Self::Attribute => "a block of the attribute index is damaged, moved or missing",
            Self::SetHash => "the set-hash state does not match the signed commit",
            Self::Counts => "the signed counts are not those of what is stored",
            Self::Catalog => "a catalog record is damaged",
            Self::Storage => "a file of the storage engine is damaged or missing",
        })
    }
}
