//! Calls of every kind and their answers, as values that can be kept, replayed and tampered with.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sealvec::{
    DeleteOptions, DeleteOutcome, ETag, Error, Include, Index, Item, Mismatch, Missing, Operation,
    Record, Result, Selector, Update, VersionToken, WriteOptions,
};
use serde_json::Value as Json;

/// What a caller stores under an id.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) vector: Vec<f32>,
    pub(super) contents: Option<Vec<u8>>,
    pub(super) metadata: Option<Json>,
}

/// A stored item.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) value: Value,
    pub(super) version: u64,
}

/// The state a put or an update of an item is based on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Based {
    Nothing,
    Absent,
    Version(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) id: String,
    pub(super) value: Value,
    pub(super) based: Based,
}

#[derive(Debug, Clone)]
pub(super) enum Which {
    Ids(Vec<String>),
    Versions(Vec<(String, u64)>),
    Prefix(String),
}

#[derive(Debug, Clone)]
pub(super) struct Deletion {
    pub(super) which: Which,
    pub(super) if_match: Option<ETag>,
    pub(super) missing: Missing,
    pub(super) mismatch: Mismatch,
    pub(super) limit: Option<usize>,
    pub(super) dry_run: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Call {
    Upsert { puts: Vec<Put>, if_match: Option<ETag>, create: bool },
    Update { id: String, contents: Vec<u8>, if_match: Option<ETag>, based: Based },
    Delete(Deletion),
    Write { puts: Vec<Put>, deletes: Vec<String>, if_match: Option<ETag> },
    Get(Vec<String>),
    Query { vector: Vec<f32>, top_k: usize, exact: bool },
    Count,
    Describe,
    List,
    Visit,
}

/// What a call that may write reports.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
    pub(super) missing: u64,
    pub(super) condition_failed: u64,
    pub(super) remaining: u64,
    pub(super) outcomes: Vec<(String, DeleteOutcome)>,
    pub(super) dry_run: bool,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) etag: ETag,
}

impl Report {
    /// A report of nothing.
    pub(super) const fn of(count: u64, bytes: u64, etag: ETag) -> Self {
        Self {
            inserted: 0,
            updated: 0,
            deleted: 0,
            missing: 0,
            condition_failed: 0,
            remaining: 0,
            outcomes: Vec::new(),
            dry_run: false,
            count,
            bytes,
            etag,
        }
    }

    /// Whether it is of a commit.
    pub(super) const fn commits(&self) -> bool {
        self.inserted + self.updated + self.deleted > 0 && !self.dry_run
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Report(Report),
    Got(Vec<Option<Held>>),
    Hits(Vec<(String, f32)>),
    Count(u64),
    Described { count: u64, bytes: u64, etag: ETag },
    Listed(Vec<String>),
    Visited(BTreeMap<String, Held>),
    Refused(Error),
}

/// A call, from its beginning to its answer.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) call: Call,
    pub(super) answer: Answer,
    /// The commit that the answer names; a refusal names none.
    pub(super) version: Option<VersionToken>,
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Event {
    pub(super) fn commits(&self) -> bool {
        matches!(&self.answer, Answer::Report(report) if report.commits())
    }

    /// What its commit is, if it makes one.
    pub(super) const fn operation(&self) -> Option<Operation> {
        match self.call {
            Call::Upsert { .. } => Some(Operation::Upsert),
            Call::Update { .. } => Some(Operation::Update),
            Call::Delete(_) => Some(Operation::Delete),
            Call::Write { .. } => Some(Operation::Write),
            _ => None,
        }
    }
}

fn item(put: &Put) -> Item {
    let mut item = Item::new(&put.id, put.value.vector.clone());
    if let Some(contents) = &put.value.contents {
        item = item.contents(contents.clone());
    }
    if let Some(metadata) = &put.value.metadata {
        item = item.metadata(metadata.clone());
    }
    match put.based {
        Based::Nothing => item,
        Based::Absent => item.if_absent(),
        Based::Version(version) => item.if_version(version),
    }
}

fn held(record: Record) -> Held {
    let Record { vector, contents, metadata, version, .. } = record;
    Held { value: Value { vector: vector.unwrap(), contents, metadata }, version }
}

impl Call {
    /// Makes the call: its answer, and the commit that the answer names.
    pub(super) fn run(&self, index: &Index<'_>) -> Result<(Answer, VersionToken)> {
        let with = |if_match: &Option<ETag>| match if_match {
            Some(etag) => WriteOptions::new().if_match(*etag),
            None => WriteOptions::new(),
        };
        Ok(match self {
            Self::Upsert { puts, if_match, create } => {
                let items: Vec<Item> = puts.iter().map(item).collect();
                let done = index.upsert_with(&items, &with(if_match).if_none_match(*create))?;
                let (inserted, updated) = (done.inserted, done.updated);
                let state = Report::of(done.item_count, done.total_size_bytes, done.etag);
                (Answer::Report(Report { inserted, updated, ..state }), done.version)
            }
            Self::Update { id, contents, if_match, based } => {
                let mut update = Update::new().contents(contents.clone());
                if let Based::Version(version) = based {
                    update = update.if_version(*version);
                }
                let done = index.update_with(id, update, &with(if_match))?;
                let (inserted, updated) = (done.inserted, done.updated);
                let state = Report::of(done.item_count, done.total_size_bytes, done.etag);
                (Answer::Report(Report { inserted, updated, ..state }), done.version)
            }
            Self::Delete(deletion) => deletion.run(index)?,
            Self::Write { puts, deletes, if_match } => {
                let items: Vec<Item> = puts.iter().map(item).collect();
                let done = index.write_batch(&items, deletes, &with(if_match))?;
                let report = Report {
                    inserted: done.inserted,
                    updated: done.updated,
                    deleted: done.deleted,
                    missing: done.missing,
                    ..Report::of(done.item_count, done.total_size_bytes, done.etag)
                };
                (Answer::Report(report), done.version)
            }
            Self::Get(ids) => {
                let found = index.get(ids, Include::ALL)?;
                let got = found.value.into_iter().map(|found| found.item.map(held)).collect();
                (Answer::Got(got), found.version)
            }
            Self::Query { vector, top_k, exact } => {
                let query = index.query(vector).top_k(*top_k);
                let found = if *exact { query.exact() } else { query.effort(1024) }.run()?;
                let hits = found.value.into_iter().map(|hit| (hit.id, hit.distance)).collect();
                (Answer::Hits(hits), found.version)
            }
            Self::Count => {
                let found = index.count()?;
                (Answer::Count(found.value), found.version)
            }
            Self::Describe => {
                let found = index.describe()?;
                let (count, bytes) = (found.item_count, found.total_size_bytes);
                (Answer::Described { count, bytes, etag: found.etag }, found.version)
            }
            Self::List => {
                let found = index.list_ids(10_000, None)?;
                (Answer::Listed(found.value.ids), found.version)
            }
            Self::Visit => {
                let mut all = BTreeMap::new();
                let visited = index.for_each(Include::ALL, |entry| {
                    let value = Value {
                        vector: entry.vector.unwrap().to_vec(),
                        contents: entry.contents.map(<[u8]>::to_vec),
                        metadata: entry.metadata.map(|json| serde_json::from_str(json).unwrap()),
                    };
                    let held = Held { value, version: entry.version };
                    assert!(all.insert(entry.id.to_owned(), held).is_none(), "visited twice");
                    ControlFlow::Continue(())
                })?;
                assert_eq!(visited.value, all.len() as u64);
                (Answer::Visited(all), visited.version)
            }
        })
    }
}

impl Deletion {
    /// Of these items, whatever state they are in.
    pub(super) const fn of(which: Which) -> Self {
        Self {
            which,
            if_match: None,
            missing: Missing::Ignore,
            mismatch: Mismatch::Fail,
            limit: None,
            dry_run: false,
        }
    }

    fn run(&self, index: &Index<'_>) -> Result<(Answer, VersionToken)> {
        let options = DeleteOptions::new().missing(self.missing).mismatch(self.mismatch);
        let mut options = options.dry_run(self.dry_run);
        if let Some(etag) = self.if_match {
            options = options.if_match(etag);
        }
        if let Some(limit) = self.limit {
            options = options.limit(limit);
        }
        let selector = match &self.which {
            Which::Ids(ids) => Selector::ids(ids),
            Which::Versions(items) => Selector::versions(items),
            Which::Prefix(prefix) => Selector::prefix(prefix),
        };
        let done = index.delete_with(selector, &options)?;
        assert_eq!(done.corrupt, 0);
        let report = Report {
            deleted: done.deleted,
            missing: done.missing,
            condition_failed: done.condition_failed,
            remaining: done.remaining,
            outcomes: done.outcomes,
            dry_run: done.dry_run,
            ..Report::of(done.item_count, done.total_size_bytes, done.etag)
        };
        Ok((Answer::Report(report), done.version))
    }
}
