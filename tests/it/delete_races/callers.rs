//! Threads that make random calls, each recorded with its answer and with when it began and ended by
//! a clock that all threads share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use sealvec::{ETag, Index, Mismatch, Missing};
use serde_json::json;

use super::calls::{Answer, Based, Call, Deletion, Event, Held, Put, Report, Value, Which};
use crate::tree::Random;

/// The ids that random calls choose from.
const IDS: usize = 40;
const DIMENSION: usize = 4;

/// One thread: its calls and what it knows from their answers.
pub(super) struct Caller<'a> {
    index: Index<'a>,
    clock: &'a AtomicU64,
    random: Random,
    etag: Option<ETag>,
    versions: BTreeMap<String, u64>,
    pub(super) events: Vec<Event>,
}

fn name(number: usize) -> String {
    format!("{number:02}")
}

impl<'a> Caller<'a> {
    pub(super) fn new(index: &Index<'a>, clock: &'a AtomicU64, seed: u64) -> Self {
        let (index, random) = (index.clone(), Random(seed));
        Self { index, clock, random, etag: None, versions: BTreeMap::new(), events: Vec::new() }
    }

    /// Makes a call and records it.
    pub(super) fn call(&mut self, call: Call) -> &Answer {
        let begin = self.clock.fetch_add(1, Ordering::SeqCst);
        let result = call.run(&self.index);
        let end = self.clock.fetch_add(1, Ordering::SeqCst);
        let (answer, version) = match result {
            Ok((answer, version)) => (answer, Some(version)),
            Err(error) => (Answer::Refused(error), None),
        };
        match &answer {
            Answer::Report(Report { etag, .. }) | Answer::Described { etag, .. } => {
                self.etag = Some(*etag);
            }
            _ => {}
        }
        if let (Call::Get(ids), Answer::Got(found)) = (&call, &answer) {
            let found = ids.iter().zip(found).filter_map(|(id, held)| Some((id, held.as_ref()?)));
            self.versions.extend(found.map(|(id, held)| (id.clone(), held.version)));
        }
        if let (Call::Upsert { puts, .. } | Call::Write { puts, .. }, Some(version)) =
            (&call, version)
        {
            self.versions.extend(puts.iter().map(|put| (put.id.clone(), version.sequence)));
        }
        self.events.push(Event { call, answer, version, begin, end });
        &self.events.last().unwrap().answer
    }

    fn one_of(&mut self, times: usize) -> bool {
        self.random.below(times) == 0
    }

    fn id(&mut self) -> String {
        name(self.random.below(IDS))
    }

    /// Up to `most` ids, some of them twice.
    fn ids(&mut self, most: usize) -> Vec<String> {
        (0..=self.random.below(most)).map(|_| self.id()).collect()
    }

    fn vector(&mut self) -> Vec<f32> {
        // Few values, so that distances tie.
        const VALUES: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
        (0..DIMENSION).map(|_| VALUES[self.random.below(4)]).collect()
    }

    /// Puts of different ids, at most one of them under a condition of its own.
    fn puts(&mut self, most: usize) -> Vec<Put> {
        let mut ids = self.ids(most);
        ids.sort();
        ids.dedup();
        let mut puts: Vec<Put> = Vec::new();
        for id in ids {
            let contents = self.one_of(2).then(|| vec![7; self.random.below(30)]);
            let metadata = self.one_of(2).then(|| json!({ "n": self.random.below(1000) }));
            let value = Value { vector: self.vector(), contents, metadata };
            puts.push(Put { id, value, based: Based::Nothing });
        }
        if self.one_of(4) {
            let put = &mut puts[0];
            let known = self.versions.get(&put.id).copied();
            put.based = known.map_or(Based::Absent, Based::Version);
        }
        puts
    }

    /// Sometimes the last ETag this thread was told, which others may have outdated.
    fn if_match(&mut self) -> Option<ETag> {
        if self.one_of(6) { self.etag } else { None }
    }

    fn deletion(&mut self) -> Deletion {
        let which = match self.random.below(8) {
            0..5 => Which::Ids(self.ids(8)),
            5 | 6 => {
                let mut ids = self.ids(4);
                ids.sort();
                ids.dedup();
                let version = |id: String| {
                    let version = self.versions.get(&id).copied().unwrap_or(1);
                    (id, version)
                };
                Which::Versions(ids.into_iter().map(version).collect())
            }
            _ => Which::Prefix(self.random.below(IDS / 10).to_string()),
        };
        Deletion {
            if_match: self.if_match(),
            missing: if self.one_of(5) { Missing::Error } else { Missing::Ignore },
            mismatch: if self.one_of(2) { Mismatch::Skip } else { Mismatch::Fail },
            limit: if self.one_of(5) { Some(self.random.below(4)) } else { None },
            dry_run: self.one_of(8),
            ..Deletion::of(which)
        }
    }

    /// A random call that may write.
    pub(super) fn write(&mut self) {
        let call = match self.random.below(10) {
            0..4 => {
                let (puts, if_match, create) = (self.puts(8), self.if_match(), self.one_of(12));
                Call::Upsert { puts, if_match, create }
            }
            4 => {
                let (id, contents) = (self.id(), vec![8; self.random.below(30)]);
                let known = self.versions.get(&id).copied().filter(|_| self.one_of(2));
                let based = known.map_or(Based::Nothing, Based::Version);
                Call::Update { id, contents, if_match: self.if_match(), based }
            }
            5..8 => Call::Delete(self.deletion()),
            _ => {
                let puts = if self.one_of(4) { Vec::new() } else { self.puts(4) };
                let mut deletes = self.ids(4);
                deletes.retain(|id| puts.iter().all(|put| put.id != *id));
                Call::Write { puts, deletes, if_match: self.if_match() }
            }
        };
        self.call(call);
    }

    /// A random call that only reads.
    pub(super) fn read(&mut self) {
        let call = match self.random.below(10) {
            0..3 => Call::Get(self.ids(8)),
            3..6 => {
                let (top_k, exact) = (1 + self.random.below(6), self.one_of(2));
                Call::Query { vector: self.vector(), top_k, exact }
            }
            6 => Call::Count,
            7 => Call::Describe,
            8 => Call::List,
            _ => Call::Visit,
        };
        self.call(call);
    }

    /// Counts one up, if nobody else changes the index meanwhile. Whether it did.
    pub(super) fn count_by_etag(&mut self, id: &str) -> bool {
        let Answer::Described { etag, .. } = *self.call(Call::Describe) else { return false };
        self.count(id, Some(etag))
    }

    /// Counts one up, if nobody else changes the item meanwhile. Whether it did.
    pub(super) fn count_by_version(&mut self, id: &str) -> bool {
        self.count(id, None)
    }

    fn count(&mut self, id: &str, if_match: Option<ETag>) -> bool {
        let Answer::Got(found) = self.call(Call::Get(vec![id.to_owned()])) else { return false };
        let Some(held) = &found[0] else { return false };
        let (contents, version) = (number(held) + 1, held.version);
        let contents = contents.to_string().into_bytes();
        // Time for others to come between.
        std::thread::yield_now();
        let based = if if_match.is_some() { Based::Nothing } else { Based::Version(version) };
        let call = Call::Update { id: id.to_owned(), contents, if_match, based };
        matches!(self.call(call), Answer::Report(_))
    }
}

/// The number that a counter holds.
pub(super) fn number(held: &Held) -> u64 {
    let contents = held.value.contents.as_deref().unwrap();
    std::str::from_utf8(contents).unwrap().parse().unwrap()
}
