//! The chain of commits, walked back from a verified head.
//!
//! The head is what the session verified; every commit before it must be the one whose hash the
//! commit after it names, and that one must follow it (`commit/chain.rs`). So what the walk returns
//! is what the head's signer built on. Who signed it is another question: [`Chain::signer`] finds
//! the key that the grant table named by the commit lists for its principal, and [`Link::verify`]
//! checks the signature, which costs ten times the rest and can be done on many threads.
//!
//! The walk ends at the first commit of the index, or at the one after the fold; both are checked.
//!
//! Cost: about 3 us a commit; 40 us more to verify a signature, and as much for every table.

use super::table::{self, Table};
use super::{Session, signer};
use crate::commit::fold::{self, Fold};
use crate::commit::{self, Head, Unverified};
use crate::crypto::kdf::Signed;
use crate::crypto::sign::{self, PublicKey};
use crate::error::{Error, Fault, Result};
use crate::store::Snapshot;

const DAMAGED: Error = Error::Integrity(Fault::Commit);

/// A walk from the head of a session to the oldest commit that is kept.
pub(crate) struct Chain<'a> {
    session: &'a Session,
    snapshot: &'a dyn Snapshot,
    fold: Fold,
    /// Where the walk is.
    at: Head,
    /// The table verified last, and its hash. Most commits name the same one as the next.
    table: (Table, [u8; 32]),
}

/// A commit in its place, and the key that must have signed it.
pub(crate) struct Link {
    pub(super) commit: Unverified,
    pub(super) signer: PublicKey,
}

impl Link {
    pub(crate) const fn sequence(&self) -> u64 {
        self.commit.head.commit.sequence
    }

    /// The commit, if its signature holds.
    pub(crate) fn verify(self) -> Result<Head> {
        let Unverified { head, body, signature } = self.commit;
        let signed = sign::verify(&self.signer, Signed::Commit, &body, &signature);
        if signed { Ok(head) } else { Err(DAMAGED) }
    }
}

impl Session {
    /// The chain behind this session's head, in the snapshot that the session was opened in.
    pub(crate) fn chain<'a>(&'a self, snapshot: &'a dyn Snapshot) -> Result<Chain<'a>> {
        let fold = fold::read(snapshot, &self.epochs, &self.head.commit)?;
        let table = (self.table.clone(), self.head.commit.table_hash);
        let at = self.head.clone();
        let chain = Chain { session: self, snapshot, fold, at, table };
        if chain.ends_well() { Ok(chain) } else { Err(DAMAGED) }
    }
}

impl Chain<'_> {
    /// The sums of what is not kept; empty if all is.
    pub(crate) const fn fold(&self) -> &Fold {
        &self.fold
    }

    /// Walks over at most `count` commits, which must follow each other, and returns them, newest
    /// first. None are left when it returns none.
    pub(crate) fn back(&mut self, count: u64) -> Result<Vec<Unverified>> {
        let Session { epochs, index, .. } = self.session;
        let last = self.at.commit.sequence.saturating_sub(1);
        let oldest = self.fold.through.saturating_add(1);
        let first = last.saturating_add(1).saturating_sub(count).max(oldest);
        let mut links = commit::read_range(self.snapshot, epochs, *index, first..=last)?;
        links.reverse();
        let retention = self.session.table.config.retention;
        for Unverified { head, .. } in &links {
            if !self.at.commit.follows(head) || !head.commit.keeps(retention) {
                return Err(DAMAGED);
            }
            self.at = head.clone();
        }
        if self.ends_well() { Ok(links) } else { Err(DAMAGED) }
    }

    /// Finds the key that must have signed a commit.
    pub(crate) fn signer(&mut self, commit: Unverified) -> Result<Link> {
        let named = &commit.head.commit;
        if named.table != self.table.0.number {
            let Session { epochs, index, secrets, .. } = self.session;
            let found = table::read(self.snapshot, epochs, *index, named.table)?;
            found.verify(self.snapshot, epochs, &secrets.root_verify)?;
            self.table = (found.table, found.hash);
        }
        let (table, hash) = &self.table;
        let signer = signer(named, table, hash).ok_or(DAMAGED)?;
        Ok(Link { commit, signer })
    }

    /// Whether the walk is not at its end, or that is as it must be.
    fn ends_well(&self) -> bool {
        let commit = &self.at.commit;
        self.fold.through.saturating_add(1) != commit.sequence || self.fold.precedes(commit)
    }
}
