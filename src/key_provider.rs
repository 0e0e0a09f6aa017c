//! Where keys come from, if not from the caller's hand: files, a key-management service, a cache.
//!
//! A [`KeyProvider`] is asked for one key at a time and is told what it is for: the index by name,
//! and whether as the holder of its index key or as which user. That is what a service binds a
//! wrapped key to (`encryption context`), so that the key of one index cannot be handed out for
//! another. Whatever a provider answers, only the right key opens anything.
//!
//! Invariants:
//! - The 32 bytes go into a buffer of this crate that is wiped when it is dropped.
//! - Nothing is kept between calls but by a [`CachingKeyProvider`], and by a handle that a key is
//!   bound to.
//!
//! Cost: that of the provider, and no more.

mod cache;
mod file;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::crypto::{IndexKey, KeyContext, UserKey};
use crate::error::Result;
use crate::id::{Hex, UserId};
use crate::redact::Hidden;

pub use cache::CachingKeyProvider;
pub use file::FileKeyProvider;

/// Which key is wanted: of which index, and as whom.
///
/// ```
/// use sealvec::KeyRequest;
/// let request = KeyRequest::root("notes");
/// let context = request.context();
/// assert_eq!(context, [("sealvec-index", "notes".into()), ("sealvec-holder", "root".into())]);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRequest {
    index: String,
    user: Option<UserId>,
}

impl KeyRequest {
    /// The key of an index.
    #[must_use]
    pub fn root(index: &str) -> Self {
        Self { index: index.to_owned(), user: None }
    }

    /// The key of a user of an index.
    #[must_use]
    pub fn user(index: &str, user: UserId) -> Self {
        Self { index: index.to_owned(), user: Some(user) }
    }

    /// The name of the index.
    #[must_use]
    pub fn index(&self) -> &str {
        &self.index
    }

    /// The user; `None` for the holder of the index key.
    #[must_use]
    pub const fn user_id(&self) -> Option<UserId> {
        self.user
    }

    /// All of it as pairs of text, in this order: what a key-management service takes as its
    /// encryption context or associated data. `sealvec-index` is the name of the index,
    /// `sealvec-holder` is `root`, or `user:` and 32 hexadecimal digits. Such services log it.
    #[must_use]
    pub fn context(&self) -> [(&'static str, String); 2] {
        let holder = self.user.map_or("root".into(), |user| format!("user:{}", Hex(&user.0)));
        [("sealvec-index", self.index.clone()), ("sealvec-holder", holder)]
    }

    /// Asks for the key, as the caller that a handle is given: with
    /// [`Index::with_key`](crate::Index::with_key) for a call, or with
    /// [`Database::load_index_with`](crate::Database::load_index_with) for the life of a handle.
    ///
    /// # Errors
    /// Those of the provider; [`Error::InvalidArgument`](crate::Error::InvalidArgument) if all of
    /// the key's bytes are zero.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, KeyProvider, KeyRequest, Metric, Result};
    /// # struct Fixed;
    /// # impl KeyProvider for Fixed {
    /// #     fn provide(&self, _: &KeyRequest, key: &mut [u8; 32]) -> Result<()> { key.fill(7); Ok(()) }
    /// # }
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let provider = Fixed;
    /// let request = KeyRequest::root("notes");
    /// let config = IndexConfig::new(Metric::Cosine);
    /// db.create_index("notes", &request.index_key(&provider)?, config)?;
    /// let index = db.open_index("notes")?;
    /// assert_eq!(*index.with_key(&request.caller(&provider)?).count()?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn caller(&self, provider: &dyn KeyProvider) -> Result<KeyContext> {
        let key = self.ask(provider)?;
        Ok(match self.user {
            None => KeyContext::root(IndexKey::from_bytes(&*key)?),
            Some(user) => KeyContext::user(user, UserKey::from_bytes(&*key)?),
        })
    }

    /// Asks for the key of the index, to create it or to rotate to it. The request need not be one
    /// of its holder.
    ///
    /// # Errors
    /// As for [`caller`](Self::caller).
    pub fn index_key(&self, provider: &dyn KeyProvider) -> Result<IndexKey> {
        IndexKey::from_bytes(&*Self::root(&self.index).ask(provider)?)
    }

    fn ask(&self, provider: &dyn KeyProvider) -> Result<Zeroizing<[u8; 32]>> {
        let mut key = Zeroizing::new([0; 32]);
        provider.provide(self, &mut key)?;
        Ok(key)
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest")
            .field("index", &Hidden::text(&self.index))
            .field("user", &self.user)
            .finish()
    }
}

/// What keys come from: files, a key-management service, a secret of the platform.
///
/// An implementation that unwraps keys with a service passes [`KeyRequest::context`] along, so that
/// the service refuses a wrapped key that was stored for something else.
///
/// ```
/// use sealvec::{Error, KeyProvider, KeyRequest, Result};
///
/// /// Keys of a service that is reached through this function.
/// struct Service(fn(&[(&str, String)]) -> Result<[u8; 32], String>);
///
/// impl KeyProvider for Service {
///     fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
///         let mut found = (self.0)(&request.context()).map_err(Error::KeyUnavailable)?;
///         key.copy_from_slice(&found);
///         found.fill(0); // better: a crate that makes sure of it
///         Ok(())
///     }
/// }
///
/// let service = Service(|context| match context[0].1.as_str() {
///     "notes" => Ok([7; 32]),
///     _ => Err("the service knows no such key".into()),
/// });
/// assert!(KeyRequest::root("notes").caller(&service).is_ok());
/// assert_eq!(KeyRequest::root("mail").caller(&service).unwrap_err().code(), "key_unavailable");
/// ```
pub trait KeyProvider: Send + Sync {
    /// Writes the key that was asked for into `key`, which the caller wipes. On an error whatever it
    /// holds is not used.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`](crate::Error::KeyUnavailable) if there is no such key or it cannot
    /// be had now, with a message that says what to do and nothing of the key.
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()>;
}

impl<P: KeyProvider + ?Sized> KeyProvider for &P {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        (**self).provide(request, key)
    }
}

impl<P: KeyProvider + ?Sized> KeyProvider for Box<P> {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        (**self).provide(request, key)
    }
}

impl<P: KeyProvider + ?Sized> KeyProvider for Arc<P> {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        (**self).provide(request, key)
    }
}
