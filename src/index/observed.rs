//! The ways into an index, observed: [`Index::during`] names the call and has the same methods as
//! the index itself.

use super::{Answer, Committed, Index, Outcome};
use crate::error::Result;
use crate::keyring::{Capability, ReadKey, RootKey, WriteKey};
use crate::observe::{Call, Changes, Observation, observe};
use crate::store::{Durability, Limits, Snapshot};

/// One call on an index.
pub(crate) struct During<'i, 'k> {
    index: &'i Index<'k>,
    call: Call,
    items: Option<u64>,
}

impl<'k> Index<'k> {
    /// Names the call that one read or mutation makes up.
    pub(crate) const fn during(&self, call: Call) -> During<'_, 'k> {
        During { index: self, call, items: None }
    }

    /// For a call that is more than one read or mutation.
    pub(crate) fn observed<T>(
        &self,
        call: Call,
        work: impl FnOnce(&mut Observation) -> Result<T>,
    ) -> Result<T> {
        observe(call, Some(self.id), work)
    }
}

impl During<'_, '_> {
    /// How many things the call was given.
    pub(crate) const fn items(self, items: usize) -> Self {
        Self { items: Some(items as u64), ..self }
    }

    pub(crate) fn read<T>(
        self,
        body: impl FnOnce(&dyn Snapshot, &ReadKey) -> Result<T>,
    ) -> Result<Answer<T>> {
        self.observe(|seen| {
            let answer = self.index.read(body)?;
            seen.sequence = Some(answer.version.sequence);
            Ok(answer)
        })
    }

    pub(crate) fn inspect<K: Capability, T>(
        self,
        body: impl FnOnce(&dyn Snapshot, &K) -> Result<T>,
    ) -> Result<T> {
        self.observe(|_| self.index.inspect(body))
    }

    pub(crate) fn mutate_at<T>(
        self,
        durability: Option<Durability>,
        body: impl FnOnce(&dyn Snapshot, &WriteKey, Limits) -> Result<Outcome<T>>,
    ) -> Result<Committed<T>> {
        self.observe(|seen| {
            let committed = self.index.mutate_at(durability, body)?;
            seen.committed(&committed);
            Ok(committed)
        })
    }

    pub(crate) fn administer<T>(
        self,
        body: impl FnOnce(&dyn Snapshot, &RootKey, Limits) -> Result<Outcome<T>>,
    ) -> Result<Committed<T>> {
        self.observe(|seen| {
            let committed = self.index.administer(body)?;
            seen.sequence = Some(committed.version.sequence);
            Ok(committed)
        })
    }

    fn observe<T>(&self, work: impl FnOnce(&mut Observation) -> Result<T>) -> Result<T> {
        self.index.observed(self.call, |seen| {
            seen.items = self.items;
            work(seen)
        })
    }
}

impl Observation {
    /// The commit that a mutation made, or found if it changed nothing.
    fn committed<T>(&mut self, committed: &Committed<T>) {
        let head = &committed.head;
        self.sequence = Some(committed.version.sequence);
        self.changes = Some(if committed.changed {
            Changes { inserted: head.inserted, updated: head.updated, deleted: head.deleted }
        } else {
            Changes { inserted: 0, updated: 0, deleted: 0 }
        });
    }
}
