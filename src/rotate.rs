//! Rotation of the index key.
//!
//! Steps, and what a crash after each leaves:
//! 1. Under the index's write lock, open everything with the old key. As before.
//! 2. Make every wrap, roster record and grant table again (`keyring/renew.rs`). As before.
//! 3. One synced batch puts them, deletes what is under the old key, and says that a purge of the
//!    catalog is owed at once. All of it, or nothing: either the old key opens the index or the new.
//! 4. The purge, without the lock. After a crash before its end the next open for writing does it.
//!
//! Items, the tree and the commits are sealed under read secrets, which stay as they are, so the
//! cost is that of the users and the grant tables, not of the items.

use std::sync::PoisonError;

use crate::commit::{self, Draft, Operation};
use crate::crypto::IndexKey;
use crate::error::Result;
use crate::index::Index;
use crate::keyring::{RootKey, Signs, View};
use crate::purge;
use crate::store::Durability;
use crate::store::owed::Parts;

impl Index<'_> {
    /// Puts the index under another index key. The handle's own key must be the present one.
    pub(crate) fn rotate_to(&self, new: &IndexKey) -> Result<()> {
        let shared = self.shared();
        let engine = shared.engine()?;
        let lock = shared.write_lock(self.id());
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Step 1.
        let view = View::take(&*engine, &shared.trust);
        let old: RootKey = self.open(&view)?;
        let mut draft = Draft::begin(&*view, &old.head)?;
        let mut next = old.head.next(Operation::RotateIndexKey, commit::now())?;
        next.trace = self.trace();
        // Step 2.
        let renewed = old.renew(&*view, new, engine.limits(), &mut draft, &mut next)?;
        let (batch, head) = renewed.finish(&*view, draft, next)?;
        drop(view);
        // Step 3.
        shared.commit(&*engine, self.id(), head.commit.sequence, batch, Durability::Synced)?;
        renewed.remember(&shared.trust, &head);
        drop((held, renewed, engine));
        // Step 4.
        purge::conclude(shared, self.id(), Parts::RIGHTS, "the index has its new key")
    }
}
