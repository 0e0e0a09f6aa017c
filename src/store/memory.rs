//! The in-memory engine: for tests, for fuzzing, and for indexes that need not outlive the process.
//!
//! One ordered map per family behind a lock. A snapshot shares the maps; a commit copies a family
//! only if a snapshot still holds it, so commits are cheap unless a query is running.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{
    Batch, Change, Durability, Engine, Family, Limits, Purge, Purged, Snapshot, Value, Visit,
};
use crate::error::{Error, Result};

type Map = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// An engine that keeps everything in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    families: RwLock<Families>,
    written: AtomicU64,
    limits: Limits,
}

#[derive(Debug, Clone, Default)]
struct Families {
    catalog: Arc<Map>,
    items: Arc<Map>,
    nodes: Arc<Map>,
    attributes: Arc<Map>,
    payload: Arc<Map>,
}

impl Families {
    const fn get(&self, family: Family) -> &Arc<Map> {
        match family {
            Family::Catalog => &self.catalog,
            Family::Items => &self.items,
            Family::Nodes => &self.nodes,
            Family::Attributes => &self.attributes,
            Family::Payload => &self.payload,
        }
    }

    fn get_mut(&mut self, family: Family) -> &mut Map {
        Arc::make_mut(match family {
            Family::Catalog => &mut self.catalog,
            Family::Items => &mut self.items,
            Family::Nodes => &mut self.nodes,
            Family::Attributes => &mut self.attributes,
            Family::Payload => &mut self.payload,
        })
    }
}

impl Memory {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { families: RwLock::default(), written: AtomicU64::new(0), limits }
    }
}

impl Engine for Memory {
    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        // A poisoned lock is still whole: a commit's changes cannot panic half-way.
        Box::new(self.families.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn commit(&self, batch: Batch, _durability: Durability) -> Result<()> {
        let mut families = self.families.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(expect) = &batch.expect {
            let found = families.catalog.get(&expect.key).map(|value| &**value);
            if found != expect.value.as_deref() {
                return Err(Error::Conflict);
            }
        }
        let size: usize = batch.changes.iter().map(Change::size).sum();
        self.written.fetch_add(size as u64, Ordering::Relaxed);
        for change in batch.changes {
            match change {
                Change::Put(family, key, value) => {
                    families.get_mut(family).insert(key, value.into());
                }
                Change::Append(family, key, bytes) => {
                    let value = families.get_mut(family).entry(key).or_default();
                    *value = [&**value, &bytes].concat().into();
                }
                Change::Delete(family, key) => {
                    families.get_mut(family).remove(&key);
                }
                Change::DeletePrefix(prefix) => {
                    for family in Family::ALL {
                        families.get_mut(family).retain(|key, _| !key.starts_with(&prefix));
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// There are no files, and what a snapshot shares goes with it.
    fn purge(&self, _purge: &Purge<'_>) -> Result<Purged> {
        Ok(Purged::default())
    }

    fn checkpoint(&self, _directory: &Path) -> Result<()> {
        Err(Error::invalid("an in-memory database has no files to checkpoint"))
    }

    fn directory(&self) -> Option<&Path> {
        None
    }

    fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

impl Snapshot for Families {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(Self::get(self, family).get(key).map(|value| value.to_vec()))
    }

    fn multi_get(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let map = Self::get(self, family);
        Ok(keys.iter().map(|key| map.get(key).map(|value| value.to_vec())).collect())
    }

    fn multi_get_pinned(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Value<'_>>>> {
        let map = Self::get(self, family);
        let pinned = |key| map.get(key).map(|value| Value(Box::new(Arc::clone(value))));
        Ok(keys.iter().map(pinned).collect())
    }

    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: Visit<'_>) -> Result<()> {
        let start = if from > prefix { from } else { prefix };
        let range = (Bound::Included(start), Bound::Unbounded);
        for (key, value) in Self::get(self, family).range::<[u8], _>(range) {
            if !key.starts_with(prefix) || visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
