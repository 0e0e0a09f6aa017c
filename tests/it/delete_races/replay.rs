//! The judge: were the answers of all threads those of one index that did one thing at a time?
//!
//! Every commit has a number and every answer names one, so nothing has to be searched for:
//! 1. Each number after the first belongs to exactly one acknowledged write.
//! 2. Applied to a sorted map in that order, each write reports what the map says, and each read
//!    answers what the map holds at the commit it names.
//! 3. A call that ended before another began names no later commit than that one; no later and not
//!    the same one if that one is a write.
//! 4. A refusal is what the map would have said at some moment of the call; it left no commit, by 1.

use std::collections::{BTreeMap, BTreeSet};

use sealvec::{
    DeleteOutcome, Description, ETag, Error, HistoryEntry, Mismatch, Missing, Operation, Unmet,
    VersionToken,
};

use super::calls::{Answer, Based, Call, Deletion, Event, Held, Put, Report, Which};

/// A commit, as the history of an index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) version: VersionToken,
    pub(super) operation: Operation,
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
}

/// What was judged.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// In their order.
    pub(super) commits: Vec<Committed>,
    pub(super) reads: usize,
    /// Writes that had nothing to do.
    pub(super) idle: usize,
    pub(super) refused: usize,
    /// Calls during which others committed.
    pub(super) overtaken: usize,
    pub(super) items: BTreeMap<String, Held>,
}

impl From<&HistoryEntry> for Committed {
    fn from(entry: &HistoryEntry) -> Self {
        let HistoryEntry { version, operation, inserted, updated, deleted, .. } = *entry;
        Self { version, operation, inserted, updated, deleted }
    }
}

/// Judges what happened between two descriptions of an index that had no items at first.
pub(super) fn judge(
    events: &[Event],
    first: &Description,
    last: &Description,
) -> Result<Verdict, String> {
    judge_among(events, first, last, &BTreeMap::new())
}

/// As [`judge`], where others made commits that change no items.
pub(super) fn judge_among(
    events: &[Event],
    first: &Description,
    last: &Description,
    unmoved: &BTreeMap<u64, VersionToken>,
) -> Result<Verdict, String> {
    let (start, end) = (first.version.sequence, last.version.sequence);
    let windows = windows(events, start, end)?;
    let mut writes: BTreeMap<u64, &Event> = BTreeMap::new();
    let mut others: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    let mut refusals: BTreeMap<u64, Vec<(u64, &Event)>> = BTreeMap::new();
    let mut tokens = BTreeMap::from([(start, first.version), (end, last.version)]);
    tokens.extend(unmoved);
    for (event, (lowest, highest)) in events.iter().zip(&windows) {
        let Some(version) = event.version else {
            refusals.entry(*lowest).or_default().push((*highest, event));
            continue;
        };
        let sequence = version.sequence;
        if *tokens.entry(sequence).or_insert(version) != version {
            return Err(format!("two commits have the number {sequence}"));
        }
        if !event.commits() {
            others.entry(sequence).or_default().push(event);
        } else if writes.insert(sequence, event).is_some() {
            return Err(format!("two calls say that they made commit {sequence}"));
        }
    }
    let numbers: Vec<u64> = writes.keys().copied().collect();
    let made = |number: &u64| writes.contains_key(number) != unmoved.contains_key(number);
    if let Some(lost) = (start + 1..=end).find(|number| !made(number)) {
        return Err(format!("no call says that it made commit {lost} of {end}"));
    }
    if (numbers.len() + unmoved.len()) as u64 != end - start {
        return Err(format!("there are commits beyond {start} to {end}: {numbers:?}"));
    }

    let mut model = Model { items: BTreeMap::new(), etag: first.etag };
    let mut etags = BTreeSet::from([first.etag.to_string()]);
    let mut verdict = Verdict::default();
    let overtaken = |(lowest, highest): &&(u64, u64)| highest > lowest;
    verdict.overtaken = windows.iter().filter(overtaken).count();
    let mut open: Vec<(u64, &Event)> = Vec::new();
    for sequence in start..=end {
        if let Some(event) = writes.get(&sequence) {
            let at = |what: String| format!("commit {sequence}: {what}");
            let report = model.redo(event, sequence).map_err(at)?;
            if !etags.insert(report.etag.to_string()) {
                return Err(format!("commit {sequence} has the ETag of an earlier one"));
            }
            let Report { inserted, updated, deleted, .. } = report;
            let version = tokens[&sequence];
            let Some(operation) = event.operation() else { return Err(format!("{event:?}")) };
            verdict.commits.push(Committed { version, operation, inserted, updated, deleted });
        }
        for event in others.remove(&sequence).unwrap_or_default() {
            model.answer(event, sequence).map_err(|what| format!("at {sequence}: {what}"))?;
            let read = event.operation().is_none();
            *if read { &mut verdict.reads } else { &mut verdict.idle } += 1;
        }
        open.extend(refusals.remove(&sequence).unwrap_or_default());
        verdict.refused += open.len();
        open.retain(|(_, event)| !model.refuses(event));
        verdict.refused -= open.len();
        if let Some((_, event)) = open.iter().find(|(highest, _)| *highest <= sequence) {
            return Err(format!("there was no reason to refuse {event:?}"));
        }
    }
    if let Some(sequence) = others.keys().chain(refusals.keys()).next() {
        return Err(format!("an answer names commit {sequence}, which is not there"));
    }
    let (count, bytes) = model.size();
    if (count, bytes, model.etag) != (last.item_count, last.total_size_bytes, last.etag) {
        return Err(format!("the last state is {last:?}, and not {count} items, {bytes} bytes"));
    }
    verdict.items = model.items;
    Ok(verdict)
}

/// Of each call the commits it can have seen last, by what ended before it began and what began
/// after it ended; checks point 3 on the way.
fn windows(events: &[Event], start: u64, end: u64) -> Result<Vec<(u64, u64)>, String> {
    let mut ticks: Vec<(u64, usize, bool)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        ticks.extend([(event.begin, place, true), (event.end, place, false)]);
    }
    ticks.sort_unstable();
    let mut windows = vec![(start, end); events.len()];
    let mut lowest = start;
    for &(_, place, begins) in &ticks {
        let sequence = events[place].version.map(|version| version.sequence);
        match sequence {
            _ if begins => windows[place].0 = lowest,
            Some(sequence) => lowest = lowest.max(sequence),
            None => {}
        }
    }
    let mut highest = end;
    for &(_, place, begins) in ticks.iter().rev() {
        let sequence = events[place].version.map(|version| version.sequence);
        match sequence {
            _ if !begins => windows[place].1 = highest,
            Some(sequence) => {
                highest = highest.min(sequence - u64::from(events[place].commits()));
            }
            None => {}
        }
    }
    for (event, (lowest, _)) in events.iter().zip(&windows) {
        let Some(version) = event.version else { continue };
        let (sequence, least) = (version.sequence, lowest + u64::from(event.commits()));
        if sequence < least {
            let call = &event.call;
            return Err(format!("{sequence} is older than {least}, seen before {call:?} began"));
        }
    }
    Ok(windows)
}

/// An index that does one thing at a time.
#[derive(Clone)]
struct Model {
    items: BTreeMap<String, Held>,
    etag: ETag,
}

impl Model {
    fn size(&self) -> (u64, u64) {
        let size = |(id, Held { value, .. }): (&String, &Held)| {
            let metadata = value.metadata.as_ref().map_or(0, |json| json.to_string().len());
            id.len()
                + value.vector.len() * 4
                + value.contents.as_ref().map_or(0, Vec::len)
                + metadata
        };
        (self.items.len() as u64, self.items.iter().map(size).sum::<usize>() as u64)
    }

    /// Does what a call did, and compares the reports.
    fn redo(&mut self, event: &Event, sequence: u64) -> Result<Report, String> {
        let Answer::Report(told) = &event.answer else {
            return Err(format!("no write: {event:?}"));
        };
        let mut report = self
            .apply(&event.call, sequence)
            .map_err(|errors| format!("{:?} should have been refused: {errors:?}", event.call))?;
        if report.commits() {
            // What it is nobody can foretell.
            self.etag = told.etag;
            report.etag = told.etag;
        }
        if report == *told { Ok(report) } else { Err(format!("{told:?} is not {report:?}")) }
    }

    /// Compares the answer of a call that changed nothing.
    fn answer(&self, event: &Event, sequence: u64) -> Result<(), String> {
        if let Answer::Report(_) = event.answer {
            let mut copy = self.clone();
            copy.redo(event, sequence + 1)?;
            let same = copy.items == self.items && copy.etag == self.etag;
            return if same { Ok(()) } else { Err(format!("{event:?} changes something")) };
        }
        let right = match (&event.call, &event.answer) {
            (Call::Get(ids), Answer::Got(found)) => {
                ids.iter().map(|id| self.items.get(id)).eq(found.iter().map(Option::as_ref))
            }
            (Call::Query { vector, top_k, exact }, Answer::Hits(hits)) => {
                self.answers_query(vector, *top_k, *exact, hits)
            }
            (Call::Count, Answer::Count(count)) => *count == self.size().0,
            (Call::Describe, Answer::Described { count, bytes, etag }) => {
                (*count, *bytes) == self.size() && *etag == self.etag
            }
            (Call::List, Answer::Listed(ids)) => self.items.keys().eq(ids),
            (Call::Visit, Answer::Visited(all)) => *all == self.items,
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("{event:?} with {:?}", self.items.keys())) }
    }

    fn answers_query(
        &self,
        query: &[f32],
        top_k: usize,
        exact: bool,
        hits: &[(String, f32)],
    ) -> bool {
        let distance = |held: &Held| {
            let pairs = query.iter().zip(&held.value.vector);
            pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt()
        };
        let near = |x: f32, y: f32| (x - y).abs() < 1e-5;
        let there = |(id, found): &(String, f32)| {
            self.items.get(id).is_some_and(|held| near(distance(held), *found))
        };
        let order = |x: &(String, f32), y: &(String, f32)| {
            x.1.total_cmp(&y.1).then_with(|| x.0.cmp(&y.0)).is_lt()
        };
        let mut all: Vec<f32> = self.items.values().map(distance).collect();
        all.sort_by(f32::total_cmp);
        hits.len() == top_k.min(all.len())
            && hits.iter().all(there)
            && hits.is_sorted_by(order)
            && (!exact || hits.iter().zip(all).all(|((_, found), least)| near(*found, least)))
    }

    /// Whether a call would be refused in this way now.
    fn refuses(&self, event: &Event) -> bool {
        let Answer::Refused(error) = &event.answer else { return false };
        self.clone().apply(&event.call, 0).is_err_and(|errors| errors.contains(error))
    }

    /// Makes a call that may write: its report, but for the new `ETag`; or what it may be refused
    /// with, and nothing changed.
    fn apply(&mut self, call: &Call, sequence: u64) -> Result<Report, Vec<Error>> {
        let if_match = match call {
            Call::Upsert { if_match, .. }
            | Call::Update { if_match, .. }
            | Call::Write { if_match, .. } => *if_match,
            Call::Delete(deletion) => deletion.if_match,
            _ => return Err(Vec::new()),
        };
        if if_match.is_some_and(|etag| etag != self.etag) {
            let current = self.etag;
            return Err(vec![Error::PreconditionFailed(Unmet::ETag { current })]);
        }
        let mut report = Report::of(0, 0, self.etag);
        let mut copy = self.items.clone();
        match call {
            Call::Upsert { puts, create, .. } => {
                self.may_put(puts, *create)?;
                put(&mut copy, puts, sequence, &mut report);
            }
            Call::Update { id, contents, based, .. } => {
                let held = copy.get_mut(id).ok_or_else(|| vec![Error::ItemNotFound])?;
                if matches!(based, Based::Version(version) if *version != held.version) {
                    let position = 0;
                    return Err(vec![Error::PreconditionFailed(Unmet::Version { position })]);
                }
                held.value.contents = Some(contents.clone());
                held.version = sequence;
                report.updated = 1;
            }
            Call::Write { puts, deletes, .. } => {
                self.may_put(puts, false)?;
                for id in deletes.iter().collect::<BTreeSet<_>>() {
                    let gone = copy.remove(id).is_some();
                    *if gone { &mut report.deleted } else { &mut report.missing } += 1;
                }
                put(&mut copy, puts, sequence, &mut report);
            }
            Call::Delete(deletion) => self.delete(deletion, &mut copy, &mut report)?,
            _ => {}
        }
        let mut after = Self { items: copy, etag: self.etag };
        (report.count, report.bytes) = after.size();
        if !report.dry_run {
            std::mem::swap(self, &mut after);
        }
        Ok(report)
    }

    /// A put is refused for one of its items; which, if there are several, is not said.
    fn may_put(&self, puts: &[Put], create: bool) -> Result<(), Vec<Error>> {
        let mut errors = Vec::new();
        for (position, put) in puts.iter().enumerate() {
            let found = self.items.get(&put.id).map(|held| held.version);
            let unmet = match (put.based, found) {
                (Based::Version(_), None) => Error::ItemNotFound,
                (Based::Version(version), Some(found)) if version != found => {
                    Error::PreconditionFailed(Unmet::Version { position })
                }
                (Based::Absent, Some(_)) => Error::PreconditionFailed(Unmet::Exists { position }),
                (Based::Nothing, Some(_)) if create => {
                    Error::PreconditionFailed(Unmet::Exists { position })
                }
                _ => continue,
            };
            errors.push(unmet);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn delete(
        &self,
        deletion: &Deletion,
        copy: &mut BTreeMap<String, Held>,
        report: &mut Report,
    ) -> Result<(), Vec<Error>> {
        let limit = deletion.limit.unwrap_or(usize::MAX);
        report.dry_run = deletion.dry_run;
        let ids: Vec<(&String, Option<u64>)> = match &deletion.which {
            Which::Ids(ids) => ids.iter().map(|id| (id, None)).collect(),
            Which::Versions(items) => items.iter().map(|(id, v)| (id, Some(*v))).collect(),
            Which::Prefix(prefix) => {
                let selected = self.items.keys().filter(|id| id.starts_with(prefix.as_str()));
                let selected: Vec<&String> = selected.collect();
                for id in selected.iter().take(limit) {
                    copy.remove(*id);
                    report.outcomes.push(((*id).clone(), DeleteOutcome::Deleted));
                }
                report.deleted = report.outcomes.len() as u64;
                report.remaining = selected.len() as u64 - report.deleted;
                return Ok(());
            }
        };
        let mut seen = BTreeSet::new();
        for (position, (id, version)) in ids.into_iter().enumerate() {
            if !seen.insert(id) {
                continue;
            }
            let found = self.items.get(id).map(|held| held.version);
            let fails = deletion.mismatch == Mismatch::Fail;
            let outcome = match (version, found) {
                (_, None) if deletion.missing == Missing::Error => {
                    return Err(vec![Error::ItemNotFound]);
                }
                (Some(_), None) if fails => return Err(vec![Error::ItemNotFound]),
                (_, None) => DeleteOutcome::Missing,
                (Some(version), Some(found)) if version != found && fails => {
                    return Err(vec![Error::PreconditionFailed(Unmet::Version { position })]);
                }
                (Some(version), Some(found)) if version != found => DeleteOutcome::ConditionFailed,
                _ if report.deleted >= limit as u64 => DeleteOutcome::Remaining,
                _ => DeleteOutcome::Deleted,
            };
            *match outcome {
                DeleteOutcome::Missing => &mut report.missing,
                DeleteOutcome::ConditionFailed => &mut report.condition_failed,
                DeleteOutcome::Remaining => &mut report.remaining,
                _ => &mut report.deleted,
            } += 1;
            if outcome == DeleteOutcome::Deleted {
                copy.remove(id);
            }
            report.outcomes.push((id.clone(), outcome));
        }
        Ok(())
    }
}

fn put(copy: &mut BTreeMap<String, Held>, puts: &[Put], sequence: u64, report: &mut Report) {
    for Put { id, value, .. } in puts {
        let held = Held { value: value.clone(), version: sequence };
        let replaced = copy.insert(id.clone(), held).is_some();
        *if replaced { &mut report.updated } else { &mut report.inserted } += 1;
    }
}
