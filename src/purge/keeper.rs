//! The keeper: purges what is owed, without being asked and without any key.
//!
//! Opening a database for writing purges what a call was interrupted in (`delete_index`, `revoke`)
//! and, under [`Options::purge_after`](crate::Options::purge_after), what is due. While such a
//! database is open a thread sleeps until the next purge is due. Nobody needs to wake it: what will
//! be owed in the meantime is due after that time at the earliest, and it never sleeps longer.
//!
//! A purge that fails stays owed, and is tried again; an open does not fail for it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::{PATIENCE, settle};
use crate::commit;
use crate::error::{Error, Fault, Result};
use crate::handle::Shared;
use crate::id::IndexId;
use crate::observe::{Call, observe};
use crate::store::owed::{Debt, Owed, Parts};
use crate::store::{Engine, Family, key};

/// How soon a purge that failed is tried again, at the least and at the most.
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];
/// How soon the thread looks again, at the most.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What every index, or one that was deleted, is owed.
pub(crate) fn list(engine: &dyn Engine) -> Result<Vec<(IndexId, Owed)>> {
    let prefix = key::purges_owed();
    let mut found = Vec::new();
    engine.snapshot().scan(Family::Catalog, &prefix, &prefix, &mut |at, stored| {
        let index = at.get(prefix.len()..).and_then(|index| index.try_into().ok());
        let index = index.map(IndexId).ok_or(Error::Integrity(Fault::Catalog));
        found.push(index.map(|index| (index, Owed::read(Some(stored)))));
        ControlFlow::Continue(())
    })?;
    found.into_iter().collect()
}

/// Purges what is due at the opening, and starts the thread if there is to be one.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let after = shared.options.purge_after;
    let next = round(shared, after);
    if after.is_none() {
        return Ok(());
    }
    let (weak, closing) = (Arc::downgrade(shared), Arc::clone(shared.closing()));
    shared.keep(move || {
        let mut next = next;
        while !closing.wait(next) {
            let Some(shared) = weak.upgrade() else { return };
            next = round(&shared, after);
        }
    })
}

/// Purges what is due, and says when to look again.
fn round(shared: &Shared, after: Option<Duration>) -> Duration {
    let pause = after.map_or(DAY, |after| after.min(DAY));
    let Ok(owed) = shared.engine().and_then(|engine| list(&*engine)) else { return pause };
    let mut next = pause;
    for (index, owed) in owed {
        let (now, mut due) = (commit::now(), Parts::NONE);
        for (part, debt) in owed.debts() {
            let left = time_left(&debt, after, now);
            if left.is_zero() {
                due = due.with(part);
            }
            next = if left.is_zero() { next } else { next.min(left) };
        }
        let purge = || {
            observe(Call::PurgeDue, Some(index), |_| settle(shared, index, due, PATIENCE).map(drop))
        };
        if !due.is_none() && purge().is_err() {
            let [least, most] = AGAIN;
            next = next.min(pause.clamp(least, most));
        }
    }
    next
}

/// How long until a debt is due. One from the future is: the clock was set back.
fn time_left(debt: &Debt, after: Option<Duration>, now: u64) -> Duration {
    if debt.at_once {
        return Duration::ZERO;
    }
    let age = now.checked_sub(debt.since).map_or(Duration::MAX, Duration::from_millis);
    after.map_or(DAY, |after| after.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debts_are_due_after_their_time_at_once_or_never() {
        let seconds = Duration::from_secs;
        let debt = |at_once| Debt { since: 10_000, last: 1, at_once };
        for (at_once, after, now, left) in [
            (false, Some(seconds(5)), 12_000, seconds(3)),
            (false, Some(seconds(5)), 15_000, Duration::ZERO),
            (false, Some(seconds(5)), u64::MAX, Duration::ZERO),
            (false, Some(seconds(5)), 9_999, Duration::ZERO),
            (false, Some(Duration::ZERO), 10_000, Duration::ZERO),
            (false, None, u64::MAX, DAY),
            (true, None, 10_000, Duration::ZERO),
            (true, Some(seconds(5)), 10_000, Duration::ZERO),
        ] {
            assert_eq!(time_left(&debt(at_once), after, now), left, "{at_once} {after:?} {now}");
        }
    }
}
