//! Rotation: another index key, another data key, and data keys that go.
//!
//! Steps, and what a crash after each leaves:
//! 1. Under the index's write lock, open everything with the index key. As before.
//! 2. Make every wrap and roster record again, and a new grant table (`keyring/renew.rs`). As before.
//! 3. One synced batch puts them, deletes what is not in force any more, and says which purge is
//!    owed at once. All of it, or nothing: either the old keys are in force or the new.
//! 4. The purge, without the lock. After a crash before its end the next open for writing does it.
//!
//! A data key is a read secret with a number, its epoch. Users and grants stay as they are, and
//! nothing else is sealed again here: the cost is that of the users, and for another index key of a
//! signature for each grant table, not of the items. A new data key needs no purge: the older ones
//! stay valid until `reencrypt` has taken them out of use.

use std::sync::PoisonError;

use crate::commit::{self, Draft, Operation};
use crate::crypto::IndexKey;
use crate::error::Result;
use crate::id::VersionToken;
use crate::index::Index;
use crate::keyring::{Renewal, RootKey, Signs, View};
use crate::purge;
use crate::store::Durability;
use crate::store::owed::Parts;

impl Index<'_> {
    /// Puts the index under another index key. The handle's own key must be the present one.
    pub(crate) fn rotate_to(&self, new: &IndexKey) -> Result<VersionToken> {
        let version = self.renew(Operation::RotateIndexKey, Renewal::IndexKey(new))?;
        // Step 4.
        purge::conclude(self.shared(), self.id(), Parts::RIGHTS, "the index has its new key")?;
        Ok(version)
    }

    /// Gives the index another data key.
    pub(crate) fn rotate_data_key(&self) -> Result<VersionToken> {
        self.renew(Operation::RotateDataKeys, Renewal::DataKey)
    }

    /// Takes the data keys of these epochs out of use. Nothing may be sealed under them.
    pub(crate) fn retire(&self, unused: &[u32]) -> Result<VersionToken> {
        let version = self.renew(Operation::RetireDataKeys, Renewal::Without(unused))?;
        // Step 4.
        purge::conclude(self.shared(), self.id(), Parts::ALL, "the old data keys are out of use")?;
        Ok(version)
    }

    /// Steps 1 to 3.
    fn renew(&self, operation: Operation, renewal: Renewal<'_>) -> Result<VersionToken> {
        let shared = self.shared();
        let engine = shared.engine()?;
        let lock = shared.write_lock(self.id());
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Step 1.
        let view = View::take(&*engine, &shared.trust);
        let old: RootKey = self.open(&view)?;
        let mut draft = Draft::begin(&*view, &old.head)?;
        if operation == Operation::RetireDataKeys {
            draft.changes.owe(Parts::ALL);
        }
        let mut next = old.head.next(operation, commit::now())?;
        next.trace = self.trace();
        let cached = shared.cache.as_ref().map(|cache| {
            let secrets = old.epochs.secrets().map(|secret| secret.fingerprint(self.id()));
            (cache, secrets.collect::<Vec<_>>())
        });
        // Step 2.
        let renewed = old.renew(&*view, renewal, engine.limits(), &mut draft, &mut next)?;
        let (batch, head) = renewed.finish(&*view, draft, next)?;
        drop(view);
        // Step 3.
        shared.commit(&*engine, self.id(), head.commit.sequence, batch, Durability::Synced)?;
        if let Some((cache, secrets)) = cached {
            for secret in secrets {
                cache.forget_all(secret);
            }
        }
        renewed.remember(&shared.trust, &head);
        Ok(self.token(&head))
    }
}
