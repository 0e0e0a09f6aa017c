//! Comparing the best candidates exactly.
//!
//! In the order of their estimates, full vectors are read in waves, until the next lower bound exceeds
//! the distance of the last that is wanted, or at the cap. With a sieve every bound must, drawn closer.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::sync::Arc;

use super::{
    Candidate, FIRST, Found, OpenRows, ROWS_PER_PART, Scored, Search, WAVE, Work, damaged,
};
use crate::crypto::Opened;
use crate::error::Result;
use crate::store::key::Pseudonym;
use crate::tree::node::{ROW, Row};
use crate::vector::Metric;

/// The share of its error that a candidate which passes a sieve is given; fitted to `WordNet`.
const CLOSER: f32 = 0.8;

impl Search<'_> {
    /// Compares the best candidates exactly.
    pub(super) fn rerank(
        &self,
        candidates: Vec<Candidate>,
        opened: &[OpenRows<'_>],
        work: &mut Work,
    ) -> Result<Vec<Found>> {
        let (top_k, cap) = (self.depth.top_k, self.depth.cap());
        let candidates = best(candidates, cap);
        let mut rows = RowReader { opened, parts: HashMap::new() };
        let mut seen: HashSet<Pseudonym> = HashSet::new();
        let mut found: Vec<Found> = Vec::new();
        let mut queue = candidates.into_iter().peekable();
        let first = top_k.saturating_add(top_k / 2).saturating_add(1).min(cap);
        let mut wave = first.min(FIRST);
        let mut limit = f32::INFINITY;
        while seen.len() < cap {
            let mut batch = Vec::with_capacity(wave.min(queue.len()));
            while batch.len() < wave && seen.len() < cap {
                let Some(next) = within(&mut queue, limit, self.sieve.is_some()) else { break };
                let row = rows.read(next)?;
                if seen.insert(row.pseudonym) {
                    batch.push(row);
                }
            }
            if batch.is_empty() {
                break;
            }
            work.reranked += batch.len() as u64;
            let mut distances = vec![f32::NAN; batch.len()];
            self.pages.vectors(&batch, &mut |at, vector| {
                if let Some(distance) = distances.get_mut(at) {
                    *distance = self.scorer.distance(vector);
                }
            })?;
            let wave_found = batch.into_iter().zip(distances);
            found.extend(wave_found.map(|(row, distance)| Found { row, distance }));
            found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            if let Some(last) = top_k.checked_sub(1).and_then(|last| found.get(last)) {
                limit = self.rank_of(last.distance);
                let farthest = last.distance;
                found.retain(|found| found.distance <= farthest);
            }
            wave = match first.saturating_sub(seen.len()) {
                // Nothing can stop the search before there are enough.
                missing if found.len() < top_k => missing.clamp(WAVE, FIRST),
                _ => WAVE,
            };
        }
        Ok(found)
    }

    /// A distance in the unit of the estimates.
    fn rank_of(&self, distance: f32) -> f32 {
        match self.space.metric {
            // |a - b|^2 = 2 - 2 cos for unit vectors.
            Metric::Cosine => 2.0 * distance,
            Metric::Euclidean => distance * distance,
            Metric::InnerProduct => distance,
        }
    }
}

impl Scored<'_> {
    /// How far the `count`-th item is, by the estimates of those found. An item may be there more than once.
    /// More is found from one call to the next, so it is no farther than it was; the count is always the same.
    pub(super) fn last(&mut self, count: usize) -> Option<f32> {
        let bound = self.last.unwrap_or(f32::INFINITY);
        let near = self.candidates.iter().filter(|found| found.estimate <= bound);
        let mut near: Vec<Candidate> = near.copied().collect();
        let all = near.len();
        let mut looked = count.saturating_mul(2);
        loop {
            let nearest = if looked < all {
                near.select_nth_unstable_by(looked, by_estimate).0
            } else {
                &mut near[..]
            };
            nearest.sort_unstable_by(by_estimate);
            let mut items = HashSet::with_capacity(count.min(nearest.len()));
            let last =
                nearest.iter().filter(|found| items.insert(found.tag)).nth(count.checked_sub(1)?);
            if last.is_some() || looked >= all {
                self.last = last.map(|last| last.estimate);
                return self.last;
            }
            looked = looked.saturating_mul(2);
        }
    }
}

/// Of candidates, how many are worth keeping: two copies of everything that may be reranked, and some to spare for tags
/// that collide.
pub(super) const fn kept(cap: usize) -> usize {
    cap.saturating_mul(2).saturating_add(32)
}

pub(super) fn by_estimate(a: &Candidate, b: &Candidate) -> Ordering {
    a.estimate.total_cmp(&b.estimate).then((a.page, a.row).cmp(&(b.page, b.row)))
}

/// The candidates that may be reranked, in the order of their estimates, each item once. If they are
/// few both copies stay, to be told apart by their rows: items whose tags collide are then not lost.
fn best(mut all: Vec<Candidate>, cap: usize) -> Vec<Candidate> {
    let keep = kept(cap);
    let few = all.len() <= keep;
    if !few {
        all.select_nth_unstable_by(keep - 1, by_estimate);
        all.truncate(keep);
    }
    all.sort_unstable_by(by_estimate);
    let mut places: HashMap<[u8; 4], usize> = HashMap::with_capacity(all.len());
    let mut items: Vec<Candidate> = Vec::with_capacity(all.len());
    for candidate in all {
        match places.entry(candidate.tag) {
            Entry::Occupied(place) => match items.get_mut(*place.get()) {
                // Within one leaf no item is twice: there, equal tags are two items.
                Some(known) if known.page != candidate.page => {
                    known.join(&candidate);
                    let Candidate { estimate, lower, .. } = *known;
                    if few {
                        items.push(Candidate { estimate, lower, ..candidate });
                    }
                }
                _ => items.push(candidate),
            },
            Entry::Vacant(place) => {
                place.insert(items.len());
                items.push(candidate);
            }
        }
    }
    items.sort_unstable_by(by_estimate);
    items
}

impl Candidate {
    /// Takes into account what another copy of the item says: estimate and bound become means of the
    /// two, each by the inverse of its variance. The second leaf is chosen for its error to be another, and
    /// were it the same the bound would hold as the two do.
    fn join(&mut self, other: &Self) {
        let error = |candidate: &Self| candidate.estimate - candidate.lower;
        let weight = 1.0 / (1.0 + (error(other) / error(self)).powi(2));
        // Of two that are exact one will do.
        if weight.is_finite() {
            self.estimate = self.estimate * (1.0 - weight) + other.estimate * weight;
            self.lower = self.lower * (1.0 - weight) + other.lower * weight;
        }
    }
}

/// The next candidate that may be within the limit. What passes a sieve is of leaves near and far,
/// whose bounds are narrow and wide: there, one that is out says nothing of those after it. As then
/// none that is within is left out, the bound is drawn closer: [`CLOSER`].
fn within(
    queue: &mut Peekable<impl Iterator<Item = Candidate>>,
    limit: f32,
    sifted: bool,
) -> Option<Candidate> {
    if sifted {
        queue.find(|next| next.estimate - CLOSER * (next.estimate - next.lower) <= limit)
    } else {
        queue.next_if(|next| next.lower <= limit)
    }
}

/// Reads rows, opening each sealed part once.
struct RowReader<'a> {
    opened: &'a [OpenRows<'a>],
    parts: HashMap<(u32, u32), Arc<Opened>>,
}

impl RowReader<'_> {
    fn read(&mut self, candidate: Candidate) -> Result<Row> {
        let row = usize::try_from(candidate.row).map_err(|_| damaged())?;
        let (part, at) = (row / ROWS_PER_PART, row % ROWS_PER_PART);
        let key = (candidate.page, u32::try_from(part).map_err(|_| damaged())?);
        let plain = if let Some(plain) = self.parts.get(&key) {
            Arc::clone(plain)
        } else {
            let page = usize::try_from(candidate.page).map_err(|_| damaged())?;
            let plain = (self.opened.get(page).ok_or_else(damaged)?)(part)?;
            self.parts.insert(key, Arc::clone(&plain));
            plain
        };
        let bytes = plain.get(at * ROW..).and_then(|bytes| bytes.get(..ROW));
        let row = bytes.and_then(Row::decode).ok_or_else(damaged)?;
        if row.tag() == candidate.tag { Ok(row) } else { Err(damaged()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_out_ends_a_search_of_everything_and_not_of_what_is_sifted() {
        let candidate = |row: u32, lower: f32| {
            let estimate = 1.0 + f32::from(u16::try_from(row).unwrap());
            Candidate { estimate, lower, page: 0, row, tag: row.to_be_bytes() }
        };
        // Of the last the bound is within, but not a closer one.
        let bounds = [(0, 0.5), (1, 0.9), (2, 0.1), (3, 0.8), (4, 0.6)];
        let all = bounds.map(|(row, lower)| candidate(row, lower));
        let found = |sifted| {
            let mut queue = all.into_iter().peekable();
            let next = || within(&mut queue, 0.7, sifted).map(|found| found.row);
            std::iter::from_fn(next).collect::<Vec<u32>>()
        };
        assert_eq!(found(false), [0]);
        assert_eq!(found(true), [0, 2]);
    }

    #[test]
    fn copies_of_an_item_are_one_candidate_with_what_both_say() {
        let candidate = |item: u8, page: u32, estimate: f32, error: f32| Candidate {
            estimate,
            lower: estimate - error,
            page,
            row: item.into(),
            tag: [0, 0, 0, item],
        };
        let told = |candidates: Vec<Candidate>| {
            // Others, far away, make them many.
            let far = (100..140).map(|item| candidate(item, 9, 99.0, 1.0));
            let best = best(candidates.into_iter().chain(far).collect(), 0).into_iter();
            let best = best.filter(|found| found.tag[3] < 100);
            best.map(|found| (found.tag[3], found.estimate, found.lower)).collect::<Vec<_>>()
        };
        // The error of the second is twice as large, so it counts a quarter of the first: 4 to 1.
        let copies = vec![candidate(1, 0, 2.0, 1.0), candidate(1, 5, 3.0, 2.0)];
        let alone = candidate(2, 0, 2.1, 1.0);
        let [(2, ..), (1, estimate, lower)] = told([copies.clone(), vec![alone]].concat())[..]
        else {
            panic!("the second copy puts the item behind the other");
        };
        assert!((estimate - 2.2).abs() < 1e-6 && (lower - 1.0).abs() < 1e-6, "{estimate} {lower}");
        // Equal tags in one leaf are two items.
        assert_eq!(told(vec![candidate(1, 3, 1.0, 0.5), candidate(1, 3, 2.0, 0.5)]).len(), 2);
        for error in [0.0, 1e38] {
            let same = vec![candidate(1, 0, 2.0, error), candidate(1, 1, 2.0, error)];
            assert_eq!(told(same), [(1, 2.0, 2.0 - error)], "errors that are none, or say nothing");
        }
        for pages in [[0, 1], [1, 0]] {
            let sound = candidate(1, pages[0], 2.0, 1.0);
            for estimate in [1.5, 5.0] {
                let vague = candidate(1, pages[1], estimate, 1e38);
                assert_eq!(told(vec![sound, vague]), [(1, 2.0, 1.0)], "{estimate}");
            }
        }
        // Of few, rows are read to see whether they are copies; both say the same.
        let few: Vec<Candidate> = best(copies, 0);
        let [one, two] = few[..] else { panic!("two rows") };
        assert!((one.page, two.page) == (0, 5) && one.lower.to_bits() == two.lower.to_bits());
        assert!((two.estimate - 2.2).abs() < 1e-6, "{}", two.estimate);
    }

    #[test]
    fn copies_of_an_item_are_one_of_those_found() {
        let candidate = |item: u8, page: u32, estimate: f32| Candidate {
            estimate,
            lower: estimate,
            page,
            row: item.into(),
            tag: [0, 0, 0, item],
        };
        let near = (0..9).map(|page| candidate(1, page, 1.0));
        let others = (2..5).map(|item| candidate(item, 0, item.into()));
        let candidates: Vec<Candidate> = others.chain(near).collect();
        let last =
            |count| Scored { candidates: Vec::clone(&candidates), ..Scored::default() }.last(count);
        assert_eq!((last(1), last(2), last(4)), (Some(1.0), Some(2.0), Some(4.0)));
        assert_eq!((last(5), last(0)), (None, None));
        // What is found later is nearer, or is of no account.
        let mut scored = Scored { candidates: candidates.clone(), ..Scored::default() };
        assert_eq!(scored.last(2), Some(2.0));
        scored.candidates.extend([
            candidate(6, 1, 3.0),
            candidate(7, 1, 1.5),
            candidate(7, 2, 1.5),
        ]);
        assert_eq!((scored.last(2), scored.last(2)), (Some(1.5), Some(1.5)));
    }
}
