//! Freshness: whether the commit that a caller has seen is in the history of the index.
//!
//! Nothing in the files shows that all of them were put back to an earlier state. A caller who
//! kept a version token, the sequence and hash of a commit, can tell:
//! - The head is before it: the index is older than the caller knows (`Stale`).
//! - The head is at it, with another hash, or behind it and the commit of that sequence is another:
//!   somebody went on from an earlier state (`Forked`).
//! - The commit is below the fold, so its hash is not kept (`VersionFolded`).
//!
//! The history is walked from the verified head back: each commit names the hash of the one before.
//! What was walked is remembered in [`Span`]s, per index and root verify key: hashes of commits that
//! are behind a head. A later head that continues from there continues the span.
//!
//! Cost: 3 us for each commit that is walked; of a span that is known, at most [`CHUNK`].

use std::collections::BTreeMap;

use super::Session;
use super::trust::Trust;
use crate::commit::{self, Unverified};
use crate::error::{Error, Fault, Result};
use crate::id::VersionToken;
use crate::store::Snapshot;

/// Commits that are read together, and the distance of what a span remembers.
const CHUNK: u64 = 512;
/// The most that a span remembers.
const MOST: usize = 512;

/// The sequence and the hash of a commit.
pub(super) type Place = (u64, [u8; 32]);

/// Commits in a row, each behind the next: sequences and hashes, with gaps. The last is a head.
#[derive(Debug, Clone, Default)]
pub(super) struct Span(BTreeMap<u64, [u8; 32]>);

impl Span {
    pub(super) fn last(&self) -> Option<Place> {
        self.0.last_key_value().map(|(sequence, hash)| (*sequence, *hash))
    }

    /// The hash of a commit that is behind this head, if that is known.
    pub(super) fn behind(&self, head: Place, sequence: u64) -> Option<[u8; 32]> {
        self.0.get(&sequence).copied().filter(|_| self.last() == Some(head))
    }

    fn note(&mut self, (sequence, hash): Place) {
        self.0.insert(sequence, hash);
        if self.0.len() > MOST {
            let last = self.last();
            let mut keep = false;
            self.0.retain(|sequence, hash| {
                keep = !keep;
                keep || last == Some((*sequence, *hash))
            });
        }
    }
}

/// Refuses a session whose head does not have the commit `seen` in its history.
pub(super) fn check(
    snapshot: &dyn Snapshot,
    trust: &Trust,
    session: &Session,
    seen: &VersionToken,
) -> Result<()> {
    let head = (session.head.commit.sequence, session.head.hash);
    if head.0 < seen.sequence {
        return Err(Error::Stale);
    }
    let (index, root) = (session.index, &session.secrets.root_verify);
    let known = trust.behind(index, root, head, seen.sequence);
    let found = match known {
        _ if head.0 == seen.sequence => head.1,
        Some(hash) => hash,
        None => {
            let mut span = trust.span(index, root);
            let found = ancestor(snapshot, session, &mut span, seen.sequence)?;
            trust.keep_span(index, root, span);
            found
        }
    };
    if found == seen.hash { Ok(()) } else { Err(Error::Forked) }
}

/// The hash of the commit with this sequence, which is before the head.
fn ancestor(
    snapshot: &dyn Snapshot,
    session: &Session,
    span: &mut Span,
    sequence: u64,
) -> Result<[u8; 32]> {
    let commit = &session.head.commit;
    let head = (commit.sequence, session.head.hash);
    let before = (commit.sequence.saturating_sub(1), commit.previous);
    let known = std::mem::take(span);
    span.note(head);
    span.note(before);
    match known.last() {
        Some(last) if last == head => *span = known,
        // What is known is of this history if its last commit is: worth a look if that is on the
        // way to the wanted one, or not far beyond it.
        Some(last)
            if (commit.folded..=before.0).contains(&last.0)
                && sequence.saturating_sub(last.0) <= CHUNK =>
        {
            let reached = descend(snapshot, session, span, before, last.0);
            if reached.is_ok_and(|at| at == last) {
                span.0.extend(known.0);
            }
        }
        _ => {}
    }
    let nearest = span.0.range(sequence..).next().map_or(before, |(at, hash)| (*at, *hash));
    descend(snapshot, session, span, nearest, sequence).map(|(_, hash)| hash)
}

/// Walks from a commit of known hash down to the one with the sequence `to`, and notes where it
/// came by.
fn descend(
    snapshot: &dyn Snapshot,
    session: &Session,
    span: &mut Span,
    from: Place,
    to: u64,
) -> Result<Place> {
    let mut at = from;
    if to < session.head.commit.folded && at.0 != to {
        return Err(Error::VersionFolded);
    }
    while at.0 > to {
        let first = at.0.saturating_sub(CHUNK - 1).max(to.saturating_add(1));
        let links = commit::read_range(snapshot, &session.epochs, session.index, first..=at.0)?;
        for Unverified { head, .. } in links.into_iter().rev() {
            if (head.commit.sequence, head.hash) != at {
                return Err(Error::Integrity(Fault::Commit));
            }
            at = (at.0.saturating_sub(1), head.commit.previous);
        }
        span.note(at);
    }
    Ok(at)
}
