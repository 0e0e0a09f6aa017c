//! Keys, seals and signatures. Knows nothing of storage.
//!
//! ```text
//! index key (32 B, the caller's)          user key (32 B) + user id (16 B)
//!    | Extract(label | index id)             | Extract(label | index id | user id)
//!    v                                       v
//! root PRK                                user PRK  (the roster keeps a sealed copy for the root)
//!    |-- locator, wrap keys                  |-- locator, wrap keys
//!    |-- root signing seed (Ed25519)
//!    '-- roster place, roster keys
//!
//! random, found only inside wraps:
//!    read secret, one per epoch --> one single-use key per seal (record, payload, commit, table)
//!    name secret                --> every pseudonym; never rotates
//!    writer seed, one per writer -> Ed25519; signs that writer's commits
//! ```
//!
//! Rules that hold everywhere:
//! - A key seals once. `kdf` derives it from a fresh 24-byte salt of the operating system's
//!   randomness, so nonces are fixed and there is no nonce budget.
//! - What a record is (format, index, epoch, kind, logical id, version) is in the derivation and
//!   in the AAD, so no record can be passed off as another.
//! - Wraps and roster records carry a key commitment, compared in constant time before the AEAD.
//! - Secrets are newtypes without `Clone`, `Serialize` or a telling `Debug`, wiped on drop.

pub(crate) mod aead;
pub(crate) mod kdf;
pub(crate) mod sethash;
pub(crate) mod sign;
pub(crate) mod wrap;

use std::fmt;
use std::ops::Deref;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Result};
use crate::id::{IndexId, UserId, VersionToken, decode_hex};

/// 32 secret bytes: a read secret, a name secret, a seed or a PRK.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    pub(crate) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Fresh from the operating system.
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }

    pub(crate) const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The 32-byte key of an index: whoever holds it owns the index. Never stored.
///
/// Wiped from memory on drop; has no `Clone`, and `Debug` does not show it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct IndexKey([u8; 32]);

/// A user's 32-byte key. Never stored.
///
/// Wiped from memory on drop; has no `Clone`, and `Debug` does not show it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct UserKey([u8; 32]);

macro_rules! caller_key {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Takes exactly 32 bytes that are not all zero.
            ///
            /// # Errors
            /// [`Error::InvalidArgument`] otherwise; nothing is derived from such bytes.
            ///
            /// ```
            #[doc = concat!("use sealvec::", stringify!($name), ";")]
            #[doc = concat!("assert!(", stringify!($name), "::from_bytes(&[1; 32]).is_ok());")]
            #[doc = concat!("assert!(", stringify!($name), "::from_bytes(&[0; 32]).is_err());")]
            #[doc = concat!("assert!(", stringify!($name), "::from_bytes(b\"short\").is_err());")]
            /// ```
            pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
                let key: [u8; 32] = bytes.try_into().map_err(|_| {
                    Error::invalid(format!(
                        concat!($what, " is exactly 32 bytes, this one has {}"),
                        bytes.len()
                    ))
                })?;
                let key = Self(key);
                if bool::from(subtle::ConstantTimeEq::ct_eq(&key.0[..], &[0; 32][..])) {
                    return Err(Error::invalid(concat!($what, " must not be all zero")));
                }
                Ok(key)
            }

            /// Parses exactly 64 hexadecimal digits of either case.
            ///
            /// # Errors
            /// [`Error::InvalidArgument`] otherwise, and for an all-zero key.
            pub fn from_hex(digits: &str) -> Result<Self> {
                let bytes: Option<[u8; 32]> = decode_hex(digits);
                let bytes = Zeroizing::new(bytes.ok_or_else(|| {
                    Error::invalid(concat!($what, " is written as 64 hexadecimal digits"))
                })?);
                Self::from_bytes(&*bytes)
            }

            /// A fresh key from the operating system's randomness.
            ///
            /// # Errors
            /// [`Error::Io`] if the operating system gives none.
            pub fn generate() -> Result<Self> {
                random().map(Self)
            }

            /// The 32 bytes. The caller takes over their care.
            #[must_use]
            pub const fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

caller_key!(IndexKey, "an index key");
caller_key!(UserKey, "a user key");

/// Who is calling, and with which key: what every operation needs.
///
/// ```
/// use sealvec::{IndexKey, KeyContext, UserId, UserKey};
/// # fn main() -> sealvec::Result<()> {
/// let root = KeyContext::root(IndexKey::generate()?);
/// let user = KeyContext::user(UserId::from_bytes(&[1; 16])?, UserKey::generate()?);
/// assert_eq!(format!("{root:?}"), "KeyContext(..)");
/// # drop(user); Ok(())
/// # }
/// ```
pub struct KeyContext {
    caller: Caller,
    at_least: Option<VersionToken>,
}

enum Caller {
    Root(IndexKey),
    User(UserId, UserKey),
}

impl KeyContext {
    /// The holder of the index key.
    #[must_use]
    pub const fn root(key: IndexKey) -> Self {
        Self { caller: Caller::Root(key), at_least: None }
    }

    /// A user to whom the holder of the index key granted rights.
    #[must_use]
    pub const fn user(id: UserId, key: UserKey) -> Self {
        Self { caller: Caller::User(id, key), at_least: None }
    }

    /// The same caller, who has seen this commit of the index: every call it is passed to is
    /// refused if the index is older or has another history, and so are
    /// [`load_index`](crate::Database::load_index) and
    /// [`delete_index`](crate::Database::delete_index). A handle has the same:
    /// [`Index::at_least`](crate::Index::at_least).
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let (db, restored) = (Database::in_memory()?, Database::in_memory()?);
    /// # let bytes = [7; 32];
    /// # for db in [&db, &restored] {
    /// #     db.create_index("notes", &IndexKey::from_bytes(&bytes)?, IndexConfig::new(Metric::Cosine))?;
    /// # }
    /// let key = IndexKey::from_bytes(&bytes)?;
    /// let seen = db.load_index("notes", KeyContext::root(key))?.describe()?.version;
    ///
    /// let caller = KeyContext::root(IndexKey::from_bytes(&bytes)?).at_least(seen);
    /// assert!(db.open_index("notes")?.with_key(&caller).count().is_ok());
    /// # assert!(restored.open_index("notes")?.with_key(&caller).count().is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn at_least(mut self, seen: VersionToken) -> Self {
        self.at_least = Some(seen);
        self
    }

    /// The commit that the caller has seen.
    pub(crate) const fn seen(&self) -> Option<&VersionToken> {
        self.at_least.as_ref()
    }

    /// The user id; `None` for the root.
    pub(crate) const fn user_id(&self) -> Option<UserId> {
        match &self.caller {
            Caller::Root(_) => None,
            Caller::User(id, _) => Some(*id),
        }
    }

    /// Whether the caller's own key has the same bytes.
    pub(crate) fn is_same_key(&self, other: &UserKey) -> bool {
        let own = match &self.caller {
            Caller::Root(key) => key.expose(),
            Caller::User(_, key) => key.expose(),
        };
        bool::from(subtle::ConstantTimeEq::ct_eq(&own[..], &other.expose()[..]))
    }

    /// The pseudorandom key of this caller in one index.
    pub(crate) fn prk(&self, index: IndexId) -> Secret {
        match &self.caller {
            Caller::Root(key) => kdf::root_prk(index, key),
            Caller::User(id, key) => kdf::user_prk(index, *id, key),
        }
    }
}

impl fmt::Debug for KeyContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyContext(..)")
    }
}

/// Fresh bytes from the operating system. The only source of randomness in the library.
/// Decrypted bytes. Those that outlive the operation that decrypted them are wiped on drop.
pub(crate) struct Opened {
    bytes: Vec<u8>,
    wiped: bool,
}

impl Opened {
    /// Bytes that live as long as the operation.
    pub(crate) const fn passing(bytes: Vec<u8>) -> Self {
        Self { bytes, wiped: false }
    }

    /// Bytes that are kept.
    pub(crate) const fn wiped(bytes: Vec<u8>) -> Self {
        Self { bytes, wiped: true }
    }
}

impl Deref for Opened {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.wiped {
            self.bytes.zeroize();
        }
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|_| Error::Io("the operating system's random generator failed".into()))
}

/// A buffer that is wiped when dropped, for plaintext that holds keys.
pub(crate) type Wiped = Zeroizing<Vec<u8>>;
