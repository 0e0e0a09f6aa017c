//! Changing the keys of an index. What is done is in `rotate.rs`.

use super::Database;
use crate::crypto::{IndexKey, KeyContext};
use crate::error::Result;
use crate::observe::{Call, observe};

impl Database {
    /// Gives an index another key. On return the old one opens nothing in this database; handles
    /// that it is bound to fail with [`Error::WrongKey`](crate::Error::WrongKey) from then on. Users keep their keys and
    /// rights, and need not be there. Always synced.
    ///
    /// Every wrap, roster record and grant table is made again in one batch, which leaves items,
    /// `ETag` and history as they are; see docs/security.md for what it does not reach: copies of
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
    /// db.rotate_index_key("notes", &old, &new)?;
    ///
    /// let refused = db.load_index("notes", old).unwrap_err();
    /// assert_eq!(refused.code(), "wrong_key");
    /// db.load_index("notes", KeyContext::root(new))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn rotate_index_key(&self, name: &str, old: &KeyContext, new: &IndexKey) -> Result<()> {
        observe(Call::RotateIndexKey, None, |seen| {
            self.stateless(seen, name)?.with_key(old).rotate_to(new)
        })
    }

    /// Gives an index another data key, which everything written from then on is sealed under. Who
    /// had rights that were taken back, and a copy of the files from before, opens nothing of it.
    /// Needs the index key; always synced. Users keep their keys and rights, and need not be there.
    ///
    /// What was written before stays under the older data keys, and stays readable, until
    /// [`Index::reencrypt`](crate::Index::reencrypt) has sealed it again and taken those out of use. An index has at most
    /// four data keys. The cost grows with the users and the grant tables, not with the items.
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
    pub fn rotate_data_keys(&self, name: &str, root: &KeyContext) -> Result<()> {
        observe(Call::RotateDataKeys, None, |seen| {
            self.stateless(seen, name)?.with_key(root).rotate_data_key()
        })
    }
}
