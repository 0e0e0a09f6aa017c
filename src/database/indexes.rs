//! The indexes of a database: what the public methods do, in their spans.
//!
//! Each takes the engine once. What they are for, their steps and their errors are at the methods of
//! the same purpose in `src/database.rs`.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use super::{Database, check_name, first};
use crate::commit;
use crate::config::IndexConfig;
use crate::crypto::{IndexKey, KeyContext, random};
use crate::error::{Error, Fault, Result};
use crate::id::IndexId;
use crate::index::Index;
use crate::keyring::{self, AnyKey, Capability, RootKey, View};
use crate::observe::Observation;
use crate::purge;
use crate::store::names::{decode_name, encode_name};
use crate::store::owed::{Debt, Owed, Parts};
use crate::store::{Batch, Change, Durability, Expect, Family, key};

impl Database {
    pub(super) fn create(
        &self,
        name: &str,
        index_key: &IndexKey,
        config: IndexConfig,
    ) -> Result<Index<'static>> {
        check_name(name)?;
        config.check()?;
        let engine = self.shared.engine()?;
        let name_key = self.name_key(name);
        if engine.snapshot().get(Family::Catalog, &name_key)?.is_some() {
            return Err(Error::AlreadyExists);
        }
        let id = IndexId(random()?);
        let (mut batch, sequence) = first::batch(id, name, index_key, config, engine.limits())?;
        batch.put(Family::Catalog, name_key.clone(), encode_name(id));
        batch.expect = Some(Expect { key: name_key, value: None });
        match self.shared.commit(&*engine, id, sequence, batch, Durability::Synced) {
            Err(Error::Conflict) => Err(Error::AlreadyExists),
            other => other,
        }?;
        Ok(Index::new(Arc::clone(&self.shared), id, name, None))
    }

    pub(super) fn load(
        &self,
        seen: &mut Observation,
        name: &str,
        caller: KeyContext,
    ) -> Result<Index<'static>> {
        let engine = self.shared.engine()?;
        let snapshot = View::take(&*engine, &self.shared.trust);
        let id = self.find(&*snapshot, name)?;
        seen.index = Some(id);
        AnyKey::open(&snapshot, &self.shared.trust, id, name, Some(&caller), None)?;
        Ok(Index::new(Arc::clone(&self.shared), id, name, Some(caller)))
    }

    pub(super) fn names(&self, caller: &KeyContext) -> Result<Vec<String>> {
        if caller.seen().is_some() {
            return Err(Error::invalid(
                "a version token is of one index; list the indexes without one",
            ));
        }
        let engine = self.shared.engine()?;
        let snapshot = View::take(&*engine, &self.shared.trust);
        let mut found = Vec::new();
        let prefix = key::names();
        snapshot.scan(Family::Catalog, &prefix, &prefix, &mut |place, record| {
            found.push((place.to_vec(), decode_name(record)));
            ControlFlow::Continue(())
        })?;
        let mut names = Vec::new();
        for (place, id) in found {
            match keyring::name_of(&snapshot, &self.shared.trust, id?, caller) {
                Ok(name) if place == self.name_key(&name) => names.push(name),
                // The record of one name points at the index of another.
                Ok(_) => return Err(Error::Integrity(Fault::GrantTable)),
                Err(Error::WrongKey) => {}
                // Names come and go with their index, so this one has lost it.
                Err(Error::IndexNotFound) => return Err(Error::Integrity(Fault::Catalog)),
                Err(error) => return Err(error),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn delete(
        &self,
        seen: &mut Observation,
        name: &str,
        caller: &KeyContext,
    ) -> Result<()> {
        let engine = self.shared.engine()?;
        let id = self.find(&*engine.snapshot(), name)?;
        seen.index = Some(id);
        let lock = self.shared.write_lock(id);
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = View::take(&*engine, &self.shared.trust);
        let root = RootKey::open(&snapshot, &self.shared.trust, id, name, Some(caller), None)?;
        let sequence = root.head.commit.sequence;
        drop(snapshot);
        let mut batch = Batch::default();
        batch.delete(Family::Catalog, self.name_key(name));
        batch.changes.push(Change::DeletePrefix(id.0.to_vec()));
        let mut owed = Owed::NOTHING;
        owed.add(Parts::ALL, Debt { since: commit::now(), last: u64::MAX, at_once: true });
        batch.put(Family::Catalog, key::purge_owed(id), owed.encode());
        batch.expect =
            Some(Expect { key: key::head(id), value: Some(commit::head_value(sequence)) });
        engine.commit(batch, Durability::Synced)?;
        self.shared.forget(id);
        if let (Some(cache), Ok(secret)) = (&self.shared.cache, root.current_secret()) {
            cache.forget_all(secret.fingerprint(id));
        }
        drop(held);
        purge::conclude(&self.shared, id, Parts::ALL, "the index is deleted")
    }

    /// A handle without a key.
    pub(super) fn stateless(&self, seen: &mut Observation, name: &str) -> Result<Index<'static>> {
        let engine = self.shared.engine()?;
        let id = self.find(&*engine.snapshot(), name)?;
        seen.index = Some(id);
        Ok(Index::new(Arc::clone(&self.shared), id, name, None))
    }
}
