//! The keys of an index: changing them, for which `rotate.rs` does the work, and having them provided.

use super::Database;
use crate::crypto::{IndexKey, KeyContext};
use crate::error::Result;
use crate::id::VersionToken;
use crate::index::Index;
use crate::key_provider::{KeyProvider, KeyRequest};
use crate::observe::{Call, observe};

impl Database {
    /// Opens the index that is asked for with a key that the provider has for it, bound to every
    /// call on the handle. The provider is asked once. Where a handle outlives its welcome, ask for each
    /// call instead: [`KeyRequest::caller`].
    ///
    /// # Errors
    /// Those of the provider, which is asked before anything is looked at; those of
    /// [`load_index`](Self::load_index).
    ///
    /// ```
    /// # use sealvec::{Database, Index, IndexConfig, IndexKey, KeyProvider, KeyRequest, Metric, Result};
    /// # fn opened(db: &Database, provider: &dyn KeyProvider) -> Result<Index<'static>> {
    /// // `provider` gets keys from a service of yours.
    /// let index = db.load_index_with(&KeyRequest::root("notes"), provider)?;
    /// # Ok(index)
    /// # }
    /// # struct Fixed;
    /// # impl KeyProvider for Fixed {
    /// #     fn provide(&self, _: &KeyRequest, key: &mut [u8; 32]) -> Result<()> { key.fill(7); Ok(()) }
    /// # }
    /// # fn main() -> Result<()> {
    /// # let db = Database::in_memory()?;
    /// # db.create_index("notes", &IndexKey::from_bytes(&[7; 32])?, IndexConfig::new(Metric::Cosine))?;
    /// # assert_eq!(*opened(&db, &Fixed)?.count()?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn load_index_with(
        &self,
        request: &KeyRequest,
        provider: &dyn KeyProvider,
    ) -> Result<Index<'static>> {
        observe(Call::LoadIndex, None, |seen| {
            self.load(seen, request.index(), request.caller(provider)?)
        })
    }

    /// Gives an index another key. On return the old one opens nothing in this database; handles
    /// that it is bound to fail with [`Error::WrongKey`](crate::Error::WrongKey) from then on. Users keep their keys and
    /// rights, and need not be there. Always synced. Returns the commit.
    ///
    /// Every wrap and roster record is made again and every grant table signed again, in one batch,
    /// which leaves items, `ETag` and history as they are; see docs/security.md for what it does not reach: copies of
    /// the files made before. It ends with a purge of what was under the old key, for which it waits
    /// up to five seconds if running calls hold older data. A crash in between loses nothing: the
    /// next open for writing does it.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`](crate::Error::IndexNotFound); [`Error::WrongKey`](crate::Error::WrongKey); [`Error::PermissionDenied`](crate::Error::PermissionDenied) if `old` is not the
    /// holder of the index key; [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the new key is the old one, or a
    /// user's; [`Error::Integrity`](crate::Error::Integrity) if a user's wrap or roster record is damaged: grant it again, or
    /// revoke it, and nothing stands in the way;
    /// [`Error::ReadOnly`](crate::Error::ReadOnly); [`Error::NoSpace`](crate::Error::NoSpace); [`Error::Io`](crate::Error::Io); [`Error::PurgeIncomplete`](crate::Error::PurgeIncomplete) if the new
    /// key is in force, but files still hold what was under the old.
    ///
    /// ```
    /// # use sealvec::{Database, IndexConfig, IndexKey, KeyContext, Metric};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// let old = IndexKey::generate()?;
    /// db.create_index("notes", &old, IndexConfig::new(Metric::Cosine))?;
    /// let old = KeyContext::root(old);
    /// let new = IndexKey::generate()?;
    /// let version = db.rotate_index_key("notes", &old, &new)?;
    ///
    /// let refused = db.load_index("notes", old).unwrap_err();
    /// assert_eq!(refused.code(), "wrong_key");
    /// // From files in which the old key is still in force, this is refused as stale.
    /// db.load_index("notes", KeyContext::root(new).at_least(version))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn rotate_index_key(
        &self,
        name: &str,
        old: &KeyContext,
        new: &IndexKey,
    ) -> Result<VersionToken> {
        observe(Call::RotateIndexKey, None, |seen| {
            let version = self.stateless(seen, name)?.with_key(old).rotate_to(new)?;
            seen.sequence = Some(version.sequence);
            Ok(version)
        })
    }

    /// Gives an index another data key, which everything written from then on is sealed under. Who
    /// had rights that were taken back, and a copy of the files from before, opens nothing of it.
    /// Needs the index key; always synced. Users keep their keys and rights, and need not be there.
    /// Returns the commit.
    ///
    /// What was written before stays under the older data keys, and stays readable, until
    /// [`Index::reencrypt`](crate::Index::reencrypt) has sealed it again and taken those out of use. An index has at most
    /// four data keys. The cost grows with the users, not with the items.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`](crate::Error::IndexNotFound); [`Error::WrongKey`](crate::Error::WrongKey); [`Error::PermissionDenied`](crate::Error::PermissionDenied) if the caller is
    /// not the holder of the index key; [`Error::InvalidArgument`](crate::Error::InvalidArgument) if four data keys are in use;
    /// [`Error::Integrity`](crate::Error::Integrity) as for [`rotate_index_key`](Self::rotate_index_key);
    /// [`Error::ReadOnly`](crate::Error::ReadOnly); [`Error::NoSpace`](crate::Error::NoSpace); [`Error::Io`](crate::Error::Io).
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, ReencryptOptions};
    /// # fn main() -> sealvec::Result<()> {
    /// # let db = Database::in_memory()?;
    /// # let key = IndexKey::generate()?;
    /// # db.create_index("notes", &key, IndexConfig::new(Metric::Cosine))?;
    /// # let root = KeyContext::root(key);
    /// # let index = db.open_index("notes")?;
    /// # let index = index.with_key(&root);
    /// index.upsert(&[Item::new("a", [1.0, 0.0])])?;
    /// db.rotate_data_keys("notes", &root)?;
    /// let report = index.reencrypt(ReencryptOptions::new(), |_| ControlFlow::Continue(()))?;
    /// assert_eq!((report.items, report.retired), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn rotate_data_keys(&self, name: &str, root: &KeyContext) -> Result<VersionToken> {
        observe(Call::RotateDataKeys, None, |seen| {
            let version = self.stateless(seen, name)?.with_key(root).rotate_data_key()?;
            seen.sequence = Some(version.sequence);
            Ok(version)
        })
    }
}
