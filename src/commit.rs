//! Commits: how an index changes.
//!
//! Every mutation is one atomic batch that also writes the next commit of the index's chain. A
//! commit says who changed how much, when, and what the result is (counts, bytes, set hash); it
//! holds no ids and no contents. Signature and previous hash cover the canonical plaintext; the
//! seal is outside it, so that sealing a commit again does not break the chain.
//!
//! Steps of a mutation, all under the index's write lock, and what a crash after each leaves:
//! 1. Read wrap, table and head from one snapshot, and the set-hash state. Nothing changed.
//! 2. Collect the changes in a [`Draft`]; each change of a signed family moves the set hash.
//!    Nothing changed.
//! 3. Fold the oldest commits, if it is time (`fold`). Nothing changed.
//! 4. Seal and sign the next commit; put it, the set-hash state and the head into the batch, and
//!    what is owed a purge if records were replaced or deleted. Nothing changed.
//! 5. The engine applies the batch if the head is still the one of step 1. All of it, or nothing.
//!
//! Cost: one signature (about 25 us), 2 KiB of set-hash state, and the engine's write.

mod chain;
pub(crate) mod fold;
mod operation;

pub use operation::Operation;

use std::ops::{ControlFlow, RangeInclusive};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::codec::{Format, Reader, Writer, optional};
use crate::crypto::kdf::{Purpose, ReadSecret, Salt, Signed};
use crate::crypto::random;
use crate::crypto::sethash::{self, Element, SetHash, ValueHash};
use crate::crypto::sign::{KeyPair, SIGNATURE};
use crate::error::{Error, Fault, Result};
use crate::id::{ETag, IndexId, Trace, UserId, VersionToken};
use crate::store::key::{self, Kind};
use crate::store::owed::{Debt, Owed, Parts};
use crate::store::record::{Epochs, Shape};
use crate::store::{Batch, Change, Expect, Family, Snapshot};

/// The version of commit bodies and records.
pub(crate) const FORMAT: u8 = 5;
/// The version of the head record.
pub(crate) const HEAD_FORMAT: u8 = 1;
/// The version of the set-hash record.
pub(crate) const SET_FORMAT: u8 = 1;

const SET: Format = Format { what: "set-hash record", version: SET_FORMAT, fault: Fault::SetHash };

const SHAPE: Shape = Shape {
    format: Format { what: "commit", version: FORMAT, fault: Fault::Commit },
    kind: Kind::Commit,
    purpose: Purpose::Commit,
};

/// The body of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) index: IndexId,
    /// 1 for the first.
    pub(crate) sequence: u64,
    /// The hash of the commit before; zero for the first.
    pub(crate) previous: [u8; 32],
    /// The grant table it was made under, and the hash of that table's body.
    pub(crate) table: u64,
    pub(crate) table_hash: [u8; 32],
    /// The epoch that was current.
    pub(crate) epoch: u32,
    /// `None`: the root.
    pub(crate) principal: Option<UserId>,
    /// The grant whose writer key signed it.
    pub(crate) grant: u64,
    /// State after the commit.
    pub(crate) item_count: u64,
    pub(crate) total_bytes: u64,
    pub(crate) next_item: u64,
    /// 0 until the first upsert of an index made without a dimension.
    pub(crate) dimension: u32,
    pub(crate) set_hash: [u8; 32],
    /// `None`: this commit changed items, so its own hash is the tag.
    pub(crate) content_tag: Option<[u8; 32]>,
    pub(crate) operation: Operation,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    /// What the call brought to trace it by.
    pub(crate) trace: Trace,
    /// The last commit that was folded, 0 for none, and the hash of the fold's body.
    pub(crate) folded: u64,
    pub(crate) fold: [u8; 32],
    /// Milliseconds since 1970.
    pub(crate) time: u64,
}

impl Commit {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(384);
        out.u8(FORMAT).bytes(&self.index.0).u64(self.sequence).bytes(&self.previous);
        out.u64(self.table).bytes(&self.table_hash).u32(self.epoch);
        out.u8(u8::from(self.principal.is_some()));
        out.bytes(&self.principal.map_or([0; 16], |user| user.0)).u64(self.grant);
        out.u64(self.item_count).u64(self.total_bytes).u64(self.next_item).u32(self.dimension);
        out.bytes(&self.set_hash);
        out.u8(u8::from(self.content_tag.is_some())).bytes(&self.content_tag.unwrap_or_default());
        out.u8(self.operation.byte()).u64(self.inserted).u64(self.updated).u64(self.deleted);
        let (state, trace) = self.trace.parts();
        out.u8(state).bytes(&trace).u64(self.folded).bytes(&self.fold).u64(self.time);
        out.finish()
    }

    /// As the first commit of an index might be.
    #[cfg(test)]
    pub(crate) const fn first_for_tests(index: IndexId) -> Self {
        Self {
            index,
            sequence: 1,
            previous: [0; 32],
            table: 1,
            table_hash: [0; 32],
            epoch: 1,
            principal: None,
            grant: 1,
            item_count: 0,
            total_bytes: 0,
            next_item: 1,
            dimension: 0,
            set_hash: [0; 32],
            content_tag: None,
            operation: Operation::Create,
            inserted: 0,
            updated: 0,
            deleted: 0,
            trace: Trace::None,
            folded: 0,
            fold: [0; 32],
            time: 0,
        }
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        if reader.u8()? != FORMAT {
            return None;
        }
        let commit = Self {
            index: IndexId(reader.array()?),
            sequence: reader.u64()?,
            previous: reader.array()?,
            table: reader.u64()?,
            table_hash: reader.array()?,
            epoch: reader.u32()?,
            principal: optional(&mut reader)?.map(UserId),
            grant: reader.u64()?,
            item_count: reader.u64()?,
            total_bytes: reader.u64()?,
            next_item: reader.u64()?,
            dimension: reader.u32()?,
            set_hash: reader.array()?,
            content_tag: optional(&mut reader)?,
            operation: Operation::from_byte(reader.u8()?)?,
            inserted: reader.u64()?,
            updated: reader.u64()?,
            deleted: reader.u64()?,
            trace: Trace::from_parts(reader.u8()?, reader.array()?)?,
            folded: reader.u64()?,
            fold: reader.array()?,
            time: reader.u64()?,
        };
        reader.finish()?;
        Some(commit)
    }
}

/// A commit with its hash: the head of an index, or one behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) commit: Commit,
    pub(crate) hash: [u8; 32],
}

impl Head {
    pub(crate) const fn etag(&self) -> ETag {
        match self.commit.content_tag {
            Some(tag) => ETag(tag),
            None => ETag(self.hash),
        }
    }

    pub(crate) const fn token(&self, durable: bool) -> VersionToken {
        VersionToken {
            sequence: self.commit.sequence,
            hash: self.hash,
            table: self.commit.table,
            durable,
        }
    }

    /// The commit after this one, before anything about it is filled in: state and table as here.
    pub(crate) fn next(&self, operation: Operation, now: u64) -> Result<Commit> {
        let sequence =
            self.commit.sequence.checked_add(1).ok_or(Error::Integrity(Fault::Commit))?;
        let content_tag = if operation.changes_items() { None } else { Some(self.etag().0) };
        Ok(Commit {
            sequence,
            previous: self.hash,
            content_tag,
            operation,
            inserted: 0,
            updated: 0,
            deleted: 0,
            trace: Trace::None,
            time: now,
            ..self.commit.clone()
        })
    }
}

/// A commit as read from the store: opened, but its signature not yet checked.
pub(crate) struct Unverified {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: [u8; SIGNATURE],
}

/// Reads and opens the commit with this sequence.
pub(crate) fn read(
    snapshot: &dyn Snapshot,
    secrets: &Epochs,
    index: IndexId,
    sequence: u64,
) -> Result<Unverified> {
    let stored = snapshot.get(Family::Catalog, &key::commit(index, sequence))?;
    open(secrets, index, sequence, stored)
}

/// Reads and opens the commits with these sequences, in their order.
pub(crate) fn read_range(
    snapshot: &dyn Snapshot,
    secrets: &Epochs,
    index: IndexId,
    sequences: RangeInclusive<u64>,
) -> Result<Vec<Unverified>> {
    let keys: Vec<_> = sequences.clone().map(|sequence| key::commit(index, sequence)).collect();
    let stored = snapshot.multi_get(Family::Catalog, &keys)?;
    sequences.zip(stored).map(|(sequence, stored)| open(secrets, index, sequence, stored)).collect()
}

/// Opens a stored commit that has this sequence.
pub(crate) fn open(
    secrets: &Epochs,
    index: IndexId,
    sequence: u64,
    stored: Option<Vec<u8>>,
) -> Result<Unverified> {
    let damaged = Error::Integrity(Fault::Commit);
    let stored = stored.ok_or_else(|| damaged.clone())?;
    let mut body = Vec::with_capacity(stored.len());
    let version = SHAPE.open_into(secrets, index, key::number_id(sequence), &stored, &mut body)?;
    let signature = body.split_last_chunk::<SIGNATURE>().map(|(_, signature)| *signature);
    let signature = signature.ok_or_else(|| damaged.clone())?;
    body.truncate(body.len().saturating_sub(SIGNATURE));
    let commit = Commit::decode(&body).ok_or_else(|| damaged.clone())?;
    if commit.index != index || commit.sequence != sequence || version != sequence {
        return Err(damaged);
    }
    let hash = Signed::Commit.hash(&body);
    Ok(Unverified { head: Head { commit, hash }, body, signature })
}

/// Seals the body of a commit with its signature. `salt` must be fresh.
fn seal(
    commit: &Commit,
    mut body: Vec<u8>,
    signature: &[u8; SIGNATURE],
    secret: &ReadSecret,
    salt: &Salt,
) -> Vec<u8> {
    let Commit { index, sequence, epoch, .. } = *commit;
    body.extend_from_slice(signature);
    let place = SHAPE.place(index, epoch, key::number_id(sequence), sequence);
    SHAPE.seal(secret, &place, salt, &body)
}

/// Seals a stored commit again under another epoch: its body and its signature stay.
pub(crate) fn reseal(
    secrets: &Epochs,
    epoch: u32,
    index: IndexId,
    sequence: u64,
    stored: &[u8],
) -> Result<Vec<u8>> {
    SHAPE.reseal(secrets, epoch, index, key::number_id(sequence), stored, &random()?)
}

/// Seals a commit with any signature: for golden vectors and forgeries.
#[cfg(test)]
pub(crate) fn seal_raw(
    commit: &Commit,
    signature: &[u8; SIGNATURE],
    secret: &ReadSecret,
    salt: &Salt,
) -> Vec<u8> {
    seal(commit, commit.encode(), signature, secret, salt)
}

/// The stored bytes of the set-hash record.
pub(crate) fn set_value(set: &SetHash) -> Vec<u8> {
    let mut out = Writer::with_capacity(1 + sethash::STATE);
    out.u8(SET_FORMAT).bytes(&set.to_bytes());
    out.finish()
}

/// The digest of the set hash in a stored set-hash record, if it is one.
pub(crate) fn set_digest(stored: &[u8]) -> Option<[u8; 32]> {
    let set = SET.read(stored, |reader| SetHash::from_bytes(reader.rest())).ok()?;
    Some(set.digest())
}

/// The stored bytes of the head record.
pub(crate) fn head_value(sequence: u64) -> Vec<u8> {
    let mut out = Writer::with_capacity(9);
    out.u8(HEAD_FORMAT).u64(sequence);
    out.finish()
}

/// The sequence in the head record.
pub(crate) fn head_sequence(stored: &[u8]) -> Result<u64> {
    const HEAD: Format = Format { what: "head record", version: HEAD_FORMAT, fault: Fault::Commit };
    HEAD.read(stored, Reader::u64)
}

/// Changes and what they do to the set hash. Made in parallel, then absorbed by a [`Draft`].
pub(crate) struct Changes {
    made: Vec<Change>,
    delta: SetHash,
    owes: Parts,
}

impl Changes {
    pub(crate) const fn new() -> Self {
        Self { made: Vec::new(), delta: SetHash::empty(), owes: Parts::NONE }
    }

    /// Puts a record. `old` is what the key holds now; it matters in the signed families only.
    pub(crate) fn put(&mut self, family: Family, key: Vec<u8>, old: Option<&[u8]>, new: Vec<u8>) {
        if signed(family) {
            self.forget(&key, old);
            self.delta.add(&Element::new(&key, &new));
        }
        self.made.push(Change::Put(family, key, new));
    }

    /// Deletes a record; `old` as in [`put`](Self::put).
    pub(crate) fn delete(&mut self, family: Family, key: Vec<u8>, old: Option<&[u8]>) {
        if signed(family) {
            self.forget(&key, old);
        }
        self.owes = self.owes.with(Parts::of_deleted(family, &key));
        self.made.push(Change::Delete(family, key));
    }

    /// Appends bytes to a record; `old` is what the key holds now.
    pub(crate) fn extend(&mut self, family: Family, key: Vec<u8>, old: ValueHash, bytes: Vec<u8>) {
        if signed(family) {
            self.delta.remove(&Element::hashed(&key, &old));
            self.delta.add(&Element::hashed(&key, &old.with(&bytes)));
        }
        self.made.push(Change::Append(family, key, bytes));
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Puts them in the order of keys, in which an ordered store takes them faster; those of one key
    /// stay as they are.
    pub(crate) fn sort(&mut self) {
        self.made.sort_by(|one, other| one.place().cmp(&other.place()));
    }

    /// Notes that these parts are to be purged, whatever is put or deleted.
    pub(crate) const fn owe(&mut self, parts: Parts) {
        self.owes = self.owes.with(parts);
    }

    /// Adds all of `other` after these.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.made.append(&mut other.made);
        self.delta.merge(&other.delta);
        self.owes = self.owes.with(other.owes);
    }

    fn forget(&mut self, key: &[u8], old: Option<&[u8]>) {
        if let Some(old) = old {
            self.delta.remove(&Element::new(key, old));
            self.owes = self.owes.with(Parts::RECORDS);
        }
    }
}

/// The families whose records the set hash covers. Payload is covered by the hashes in item
/// records; the catalog by its signatures.
pub(crate) const fn signed(family: Family) -> bool {
    matches!(family, Family::Items | Family::Nodes | Family::Attributes)
}

/// The batch under construction.
pub(crate) struct Draft {
    pub(crate) changes: Changes,
    set: SetHash,
    owed: Owed,
}

impl Draft {
    /// The draft of an index's first commit.
    pub(crate) const fn first() -> Self {
        Self { changes: Changes::new(), set: SetHash::empty(), owed: Owed::NOTHING }
    }

    /// Begins on top of `head`, with its set-hash state.
    pub(crate) fn begin(snapshot: &dyn Snapshot, head: &Head) -> Result<Self> {
        let stored = snapshot.get(Family::Catalog, &key::set_hash(head.commit.index))?;
        let damaged = Error::Integrity(Fault::SetHash);
        let stored = stored.ok_or_else(|| damaged.clone())?;
        let set = SET.read(&stored, |reader| SetHash::from_bytes(reader.rest()))?;
        let set = (set.digest() == head.commit.set_hash).then_some(set).ok_or(damaged)?;
        Ok(Self { changes: Changes::new(), set, owed: read_owed(snapshot, head.commit.index)? })
    }

    /// Begins with the set hash of what is stored, whatever the state says: where something was
    /// damaged, what it added to the sum is not known any more.
    pub(crate) fn recounted(snapshot: &dyn Snapshot, index: IndexId) -> Result<Self> {
        let mut set = SetHash::empty();
        for family in Family::ALL.into_iter().filter(|family| signed(*family)) {
            snapshot.scan(family, &index.0, &index.0, &mut |key, value| {
                set.add(&Element::new(key, value));
                ControlFlow::Continue(())
            })?;
        }
        Ok(Self { changes: Changes::new(), set, owed: read_owed(snapshot, index)? })
    }

    /// The digest of the set without this draft's changes.
    #[cfg(test)]
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.set.digest()
    }

    /// Turns the draft into a batch that ends with `commit`, and the head it makes. The root must
    /// hold `expected` when the batch is applied.
    pub(crate) fn finish(
        self,
        mut commit: Commit,
        expected: Option<Vec<u8>>,
        signer: &KeyPair,
        secret: &ReadSecret,
    ) -> Result<(Batch, Head)> {
        let Self { changes: Changes { made: changes, delta, owes }, mut set, mut owed } = self;
        set.merge(&delta);
        commit.set_hash = set.digest();
        let (index, sequence) = (commit.index, commit.sequence);
        let body = commit.encode();
        let hash = Signed::Commit.hash(&body);
        let signature = signer.sign(Signed::Commit, &body).ok_or(Error::Integrity(Fault::Wrap))?;
        let stored = seal(&commit, body, &signature, secret, &random()?);

        let mut batch = Batch { changes, expect: None };
        batch.put(Family::Catalog, key::commit(index, sequence), stored);
        batch.put(Family::Catalog, key::set_hash(index), set_value(&set));
        batch.put(Family::Catalog, key::head(index), head_value(sequence));
        if !owes.is_none() {
            let at_once = commit.operation.purges_at_once();
            owed.add(owes, Debt { since: commit.time, last: sequence, at_once });
            batch.put(Family::Catalog, key::purge_owed(index), owed.encode());
        }
        batch.expect = Some(Expect { key: key::head(index), value: expected });
        Ok((batch, Head { commit, hash }))
    }
}

/// What the index is owed so far.
pub(crate) fn read_owed(snapshot: &dyn Snapshot, index: IndexId) -> Result<Owed> {
    let stored = snapshot.get(Family::Catalog, &key::purge_owed(index))?;
    Ok(Owed::read(stored.as_deref()))
}

/// Milliseconds since 1970; 0 on a clock before that.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
