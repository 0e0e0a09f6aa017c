//! The books: what must be in a database after the calls that were made, and a crash.
//!
//! The [`Ledger`] has the state after each commit that was acknowledged, by sequence. After a crash
//! the index must be in the state of one of its commits, at or after the last that may not be lost,
//! at most a call further than what was acknowledged; its chain of commits must hold, back to the
//! first, and have in it every commit that was acknowledged.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sealvec::{Filter, Include, Index, Permissions, Result};
use serde_json::{Value, json};

use crate::workload::{Call, DIMENSION, IDS, Open, State, contents, group, name, vector};

/// What is known of a commit: its number and its hash.
pub(crate) type Commit = (u64, [u8; 32]);

pub(crate) fn latest(index: &Index<'_>) -> Result<Commit> {
    let version = index.describe()?.version;
    Ok((version.sequence, version.hash))
}

/// The books of one database.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    /// The state after the last call that was acknowledged.
    pub(crate) state: State,
    /// Acknowledged commits, and the state after each.
    acknowledged: BTreeMap<u64, ([u8; 32], State)>,
    /// The last commit that a crash may not take.
    durable: u64,
}

/// How far what was found may be from what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The process died, and not the machine.
    Nothing,
    /// What was not synced may be gone.
    Unsynced,
}

impl Ledger {
    pub(crate) fn new(state: State, latest: Commit) -> Self {
        let acknowledged = [(latest.0, (latest.1, state.clone()))].into();
        Self { state, acknowledged, durable: latest.0 }
    }

    /// A call returned.
    pub(crate) fn acknowledge(&mut self, call: &Call, latest: Commit, durable: bool) {
        self.state = call.states(&self.state).pop().unwrap();
        self.acknowledged.insert(latest.0, (latest.1, self.state.clone()));
        if durable {
            self.durable = latest.0;
        }
    }

    /// The last commit that is known.
    pub(crate) fn latest(&self) -> Commit {
        let (sequence, (hash, _)) = self.acknowledged.last_key_value().unwrap();
        (*sequence, *hash)
    }

    /// Nothing of it is promised any more: somebody was at the files.
    pub(crate) const fn promise_nothing(&mut self) {
        self.durable = 0;
    }

    /// Checks a database that was opened again, everything of it, and goes on from there. `running`
    /// is the call that had not returned. Says how many acknowledged commits are gone.
    pub(crate) fn check(&mut self, index: &Open, running: Option<&Call>, loss: Loss) -> u64 {
        self.try_check(index, running, loss).unwrap()
    }

    /// As [`check`](Self::check), for an index that may be damaged: an error, or the right data.
    pub(crate) fn try_check(
        &mut self,
        index: &Open,
        running: Option<&Call>,
        loss: Loss,
    ) -> Result<u64> {
        let found = read(index)?;
        let (sequence, hash) = latest(index)?;
        let last = self.acknowledged.keys().next_back().copied().unwrap();
        let least = if loss == Loss::Nothing { last } else { self.durable };
        assert!(sequence >= least, "acknowledged commits are lost: {sequence} of {least}");
        // Every commit that was acknowledged and is not beyond the end is in the chain, as it was.
        let mut chain = BTreeMap::new();
        index.for_each_commit(.., |commit| {
            chain.insert(commit.version.sequence, commit.version.hash);
            ControlFlow::Continue(())
        })?;
        assert_eq!(chain.len() as u64, sequence, "the chain goes back to the first");
        assert_eq!(chain[&sequence], hash);
        for (number, (hash, _)) in self.acknowledged.range(..=sequence) {
            assert_eq!(chain[number], *hash, "commit {number} is another");
        }
        // The state is that of the commit.
        if let Some((_, state)) = self.acknowledged.get(&sequence) {
            assert_eq!(found, *state, "commit {sequence}");
        } else if sequence > last {
            let before = &self.acknowledged[&last].1;
            let call = running.expect("a commit that no call made");
            let allowed = call.states(before);
            let known = found == *before || allowed.contains(&found);
            assert!(known, "commit {sequence}: {found:?} after {before:?}, in {call:?}");
        } else {
            assert!(self.amid(sequence, &found), "commit {sequence}: {found:?}");
        }
        let lost = self.acknowledged.split_off(&(sequence + 1)).len();
        self.acknowledged.insert(sequence, (hash, found.clone()));
        self.state = found;
        self.durable = sequence;
        Ok(lost as u64)
    }

    /// Whether a state lies between the two acknowledged around it, item by item.
    fn amid(&self, sequence: u64, found: &State) -> bool {
        let before = self.acknowledged.range(..sequence).next_back();
        let after = self.acknowledged.range(sequence..).next();
        let (Some((_, (_, before))), Some((_, (_, after)))) = (before, after) else { return false };
        (0..IDS).all(|id| {
            let one = found.items.get(&id);
            one == before.items.get(&id) || one == after.items.get(&id)
        })
    }
}

/// Reads and verifies everything.
fn read(index: &Open) -> Result<State> {
    let described = index.describe()?;
    let report = index.verify_tree()?;
    assert_eq!((report.items, report.oversized), (described.item_count, 0));
    let mut state = State { key: index.key, ..State::default() };
    let mut bytes = 0;
    let visited = index.for_each(Include::ALL, |entry| {
        let held = entry.contents.unwrap();
        let seed_of_contents = u64::from_be_bytes(*held.first_chunk().unwrap());
        assert_eq!(held, contents(seed_of_contents));
        let metadata = entry.metadata.unwrap();
        let seed = metadata.parse::<Value>().unwrap()["seed"].as_u64().unwrap();
        assert_eq!(entry.vector.unwrap(), vector(seed));
        bytes += entry.id.len() + DIMENSION * 4 + held.len() + metadata.len();
        state.items.insert(entry.id.parse().unwrap(), (seed, seed_of_contents));
        ControlFlow::Continue(())
    })?;
    assert_eq!(*visited, described.item_count);
    assert_eq!(bytes as u64, described.total_size_bytes);
    for user in index.users()? {
        let number = usize::from(user.id.as_bytes()[0]) - 1;
        state.users.insert(number, user.permissions == Permissions::READ_WRITE);
    }
    if let Some((id, (seed, _))) = state.items.first_key_value() {
        let hits = index.query(&vector(*seed)).top_k(1).effort(1024).run()?;
        assert_eq!(hits[0].distance.to_bits(), 0.0_f32.to_bits());
        let held = index.get(&[name(*id)], Include::ALL)?;
        assert_eq!(held[0].item.as_ref().unwrap().vector, Some(vector(*seed)));
        let of_group = json!({ "group": group(*seed) });
        let counted = *index.count_where(&Filter::from_json(&of_group)?)?;
        let there = state.items.values().filter(|seeds| group(seeds.0) == group(*seed)).count();
        assert_eq!(counted, there as u64);
    }
    Ok(state)
}
