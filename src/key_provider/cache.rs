//! Keys that are kept for a while, so that not every request goes to a service.
//!
//! Invariants:
//! - A key is kept for at most the time that was set, from when it was asked for. It is wiped when it
//!   goes: by age at the next call, displaced, evicted, cleared, or with the cache.
//! - One request at a time goes to the provider for the same key. Others for it wait and take its
//!   answer, an error too.
//! - An error is never kept. Nor is an answer that was under way when its key was evicted.
//!
//! Cost: a lock, and a look at every key that is kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::{Zeroize, Zeroizing};

use super::{KeyProvider, KeyRequest};
use crate::error::{Error, Result};

/// A key in a place of its own, so that nothing moves it about.
struct Held(Box<Zeroizing<[u8; 32]>>);

/// Keeps the keys of another provider for a while.
///
/// ```
/// use std::time::Duration;
/// use sealvec::{CachingKeyProvider, KeyProvider, KeyRequest, Result};
/// # use std::sync::atomic::{AtomicU32, Ordering};
///
/// # #[derive(Default)]
/// # struct Service(AtomicU32);
/// # impl KeyProvider for Service {
/// #     fn provide(&self, _: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
/// #         self.0.fetch_add(1, Ordering::Relaxed);
/// #         key.fill(7);
/// #         Ok(())
/// #     }
/// # }
/// # fn main() -> sealvec::Result<()> {
/// # let service = Service::default();
/// let keys = CachingKeyProvider::new(&service, Duration::from_secs(300), 1000);
/// for _ in 0..100 {
///     KeyRequest::root("notes").caller(&keys)?;
/// }
/// # assert_eq!(service.0.load(Ordering::Relaxed), 1);
/// // The index has another key now.
/// assert!(keys.evict(&KeyRequest::root("notes")));
/// # Ok(())
/// # }
/// ```
pub struct CachingKeyProvider<P> {
    inner: P,
    ttl: Duration,
    capacity: usize,
    state: Mutex<State>,
    now: fn() -> Instant,
}

#[derive(Default)]
struct State {
    kept: HashMap<KeyRequest, Kept>,
    flights: HashMap<KeyRequest, Arc<Flight>>,
    uses: u64,
}

struct Kept {
    key: Held,
    since: Instant,
    used: u64,
}

/// A request that is with the provider.
#[derive(Default)]
struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

enum Outcome {
    Key(Held),
    Failed(Error),
    /// The thread that asked panicked.
    Abandoned,
}

impl Held {
    fn new(key: &[u8; 32]) -> Self {
        let mut own = Self(Box::new(Zeroizing::new([0; 32])));
        own.0.copy_from_slice(key);
        own
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: KeyProvider> CachingKeyProvider<P> {
    /// Keeps at most `capacity` keys, those used last, each for `ttl`.
    #[must_use]
    pub fn new(inner: P, ttl: Duration, capacity: usize) -> Self {
        Self { inner, ttl, capacity, state: Mutex::default(), now: Instant::now }
    }

    /// The same with another clock.
    #[cfg(test)]
    pub(super) fn with_clock(self, now: fn() -> Instant) -> Self {
        Self { now, ..self }
    }

    /// Wipes a key, if it is kept, and says whether it was. An answer for it that is under way
    /// still goes to those who wait for it, and is not kept.
    pub fn evict(&self, request: &KeyRequest) -> bool {
        let mut state = held(&self.state);
        state.flights.remove(request);
        state.kept.remove(request).is_some()
    }

    /// Wipes every key, as [`evict`](Self::evict) does.
    pub fn clear(&self) {
        let mut state = held(&self.state);
        state.flights.clear();
        state.kept.clear();
    }

    /// Wipes the keys whose time is over. Every request does that too: this is for a timer, where
    /// requests may stop coming.
    pub fn evict_expired(&self) {
        self.expire(&mut held(&self.state));
    }

    #[cfg(test)]
    pub(super) const fn inner(&self) -> &P {
        &self.inner
    }

    /// How many keys are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        held(&self.state).kept.len()
    }

    fn expire(&self, state: &mut State) {
        let now = (self.now)();
        state.kept.retain(|_, kept| now.saturating_duration_since(kept.since) < self.ttl);
    }

    /// Finds the key, or the flight to wait for; `true`: the caller is to make it.
    fn find(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Option<(Arc<Flight>, bool)> {
        let mut state = held(&self.state);
        self.expire(&mut state);
        state.uses = state.uses.wrapping_add(1);
        let uses = state.uses;
        if let Some(kept) = state.kept.get_mut(request) {
            kept.used = uses;
            key.copy_from_slice(&**kept.key.0);
            return None;
        }
        if let Some(flight) = state.flights.get(request) {
            return Some((Arc::clone(flight), false));
        }
        let flight = Arc::new(Flight::default());
        state.flights.insert(request.clone(), Arc::clone(&flight));
        Some((flight, true))
    }

    /// Ends a flight: keeps its key unless it was evicted meanwhile, and tells those who wait.
    fn land(&self, request: &KeyRequest, flight: &Arc<Flight>, since: Instant, outcome: Outcome) {
        let mut state = held(&self.state);
        let own = state.flights.get(request).is_some_and(|found| Arc::ptr_eq(found, flight));
        if own {
            state.flights.remove(request);
        }
        if let Outcome::Key(key) = &outcome
            && own
            && self.capacity > 0
        {
            while state.kept.len() >= self.capacity {
                let oldest = state.kept.iter().min_by_key(|(_, kept)| kept.used);
                let Some(oldest) = oldest.map(|(request, _)| request.clone()) else { break };
                state.kept.remove(&oldest);
            }
            let used = state.uses;
            let key = Held::new(&key.0);
            state.kept.insert(request.clone(), Kept { key, since, used });
        }
        drop(state);
        *held(&flight.outcome) = Some(outcome);
        flight.landed.notify_all();
    }
}

/// Ends a flight in any case.
struct Landing<'a, P: KeyProvider> {
    cache: &'a CachingKeyProvider<P>,
    request: &'a KeyRequest,
    flight: &'a Arc<Flight>,
    since: Instant,
    outcome: Outcome,
}

impl<P: KeyProvider> Drop for Landing<'_, P> {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Abandoned);
        self.cache.land(self.request, self.flight, self.since, outcome);
    }
}

impl<P: KeyProvider> KeyProvider for CachingKeyProvider<P> {
    fn provide(&self, request: &KeyRequest, key: &mut [u8; 32]) -> Result<()> {
        loop {
            let Some((flight, first)) = self.find(request, key) else { return Ok(()) };
            if first {
                let (since, outcome) = ((self.now)(), Outcome::Abandoned);
                let mut landing = Landing { cache: self, request, flight: &flight, since, outcome };
                let answer = self.inner.provide(request, key);
                landing.outcome = match &answer {
                    Ok(()) => Outcome::Key(Held::new(key)),
                    Err(error) => {
                        key.zeroize();
                        Outcome::Failed(error.clone())
                    }
                };
                return answer;
            }
            let mut outcome = held(&flight.outcome);
            loop {
                match &*outcome {
                    None => {
                        let woken = flight.landed.wait(outcome);
                        outcome = woken.unwrap_or_else(PoisonError::into_inner);
                    }
                    Some(Outcome::Key(found)) => {
                        key.copy_from_slice(&**found.0);
                        return Ok(());
                    }
                    Some(Outcome::Failed(error)) => return Err(error.clone()),
                    Some(Outcome::Abandoned) => break,
                }
            }
        }
    }
}

impl<P> fmt::Debug for CachingKeyProvider<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachingKeyProvider").finish_non_exhaustive()
    }
}
