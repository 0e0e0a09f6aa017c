//! Observability: one `tracing` span for each call, and with the feature `metrics` counters and
//! histograms.
//!
//! What goes out is listed here and nowhere else: the name of the call, the random id of the index,
//! counts, times, and the outcome as an error code. Keys, names, ids of items and users, vectors,
//! contents, metadata, filters and paths are not among the types of an [`Observation`], so no caller
//! of this module can pass them. The table of all fields is docs/observability.md.
//!
//! A call is observed once, at its public method; what it calls inside is not. Without a subscriber
//! a span costs a few nanoseconds and reads no clock.

use std::time::{Duration, Instant};

use tracing::field::{Empty, display};
use tracing::{Span, info_span};

use crate::error::{Error, Result};
use crate::id::{Hex, IndexId};

#[cfg(feature = "metrics")]
mod meters;

#[cfg(feature = "metrics")]
pub use meters::describe_metrics;

/// Makes the calls and, because the name of a span is a constant, one span for each.
macro_rules! calls {
    ($($call:ident = $name:literal,)*) => {
        /// What is observed: the public methods that do something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Call {
            $($call,)*
        }

        impl Call {
            /// The calls, for tests.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$call,)*];

            #[cfg(any(test, feature = "metrics"))]
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$call => $name,)*
                }
            }

            fn span(self) -> Span {
                match self {
                    $(Self::$call => info_span!(
                        target: "sealvec",
                        concat!("sealvec.", $name),
                        operation = $name,
                        index = Empty,
                        items = Empty,
                        results = Empty,
                        inserted = Empty,
                        updated = Empty,
                        deleted = Empty,
                        bytes = Empty,
                        top_k = Empty,
                        effort = Empty,
                        strategy = Empty,
                        nodes = Empty,
                        rows = Empty,
                        reads = Empty,
                        reranked = Empty,
                        routing_us = Empty,
                        scoring_us = Empty,
                        reranking_us = Empty,
                        finishing_us = Empty,
                        sequence = Empty,
                        elapsed_us = Empty,
                        outcome = Empty,
                    ),)*
                }
            }
        }
    };
}

calls! {
    Open = "open",
    OpenReadOnly = "open_read_only",
    CreateIndex = "create_index",
    LoadIndex = "load_index",
    OpenIndex = "open_index",
    ListIndexes = "list_indexes",
    DeleteIndex = "delete_index",
    RotateIndexKey = "rotate_index_key",
    RotateDataKeys = "rotate_data_keys",
    PurgeOwed = "purge_owed",
    PurgeDue = "purge_due",
    Flush = "flush",
    Close = "close",
    Checkpoint = "checkpoint",
    Describe = "describe",
    Count = "count",
    CountWhere = "count_where",
    Get = "get",
    Query = "query",
    QueryMetadata = "query_metadata",
    ListIds = "list_ids",
    ForEach = "for_each",
    History = "history",
    ForEachCommit = "for_each_commit",
    VerifyTree = "verify_tree",
    Verify = "verify",
    Check = "check",
    Upsert = "upsert",
    BulkUpsert = "bulk_upsert",
    Update = "update",
    WriteBatch = "write_batch",
    Delete = "delete",
    Optimize = "optimize",
    Reencrypt = "reencrypt",
    Purge = "purge",
    Grant = "grant",
    Revoke = "revoke",
    Users = "users",
}

/// What is told of a call besides its name, time and outcome. Numbers, and nothing of the data.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Observation {
    /// Which index: 16 random bytes that are in the clear in every file.
    pub(crate) index: Option<IndexId>,
    /// How many items, ids or queries the call was given.
    pub(crate) items: Option<u64>,
    /// How many items, ids, hits or other things came back.
    pub(crate) results: Option<u64>,
    pub(crate) changes: Option<Changes>,
    /// Of plaintext that a query opened; of tables that a purge wrote.
    pub(crate) bytes: Option<u64>,
    pub(crate) query: Option<Stages>,
    /// The commit the call made or answered from.
    pub(crate) sequence: Option<u64>,
}

/// What a commit changed, in items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changes {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
}

/// What a query took, summed over the queries of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stages {
    pub(crate) top_k: u64,
    pub(crate) effort: u64,
    /// A name that the source has, not the caller.
    pub(crate) strategy: &'static str,
    pub(crate) nodes: u64,
    pub(crate) rows: u64,
    pub(crate) reads: u64,
    pub(crate) reranked: u64,
    pub(crate) routing: Duration,
    pub(crate) scoring: Duration,
    pub(crate) reranking: Duration,
    pub(crate) finishing: Duration,
}

/// Runs a call in its span, and tells what came of it.
///
/// If the call panics the span ends without an outcome, and nothing is counted.
pub(crate) fn observe<T>(
    call: Call,
    index: Option<IndexId>,
    work: impl FnOnce(&mut Observation) -> Result<T>,
) -> Result<T> {
    let span = call.span();
    let mut seen = Observation { index, ..Observation::default() };
    if span.is_disabled() && !cfg!(feature = "metrics") {
        return work(&mut seen);
    }
    let start = Instant::now();
    let result = span.in_scope(|| work(&mut seen));
    let elapsed = start.elapsed();
    let outcome = result.as_ref().map_or_else(Error::code, |_| "ok");
    if !span.is_disabled() {
        seen.record(&span);
        span.record("elapsed_us", micros(elapsed));
        span.record("outcome", outcome);
    }
    #[cfg(feature = "metrics")]
    meters::count(call, outcome, elapsed, &seen);
    result
}

impl Observation {
    fn record(&self, span: &Span) {
        if let Some(index) = self.index {
            span.record("index", display(Hex(&index.0)));
        }
        let counts = [
            ("items", self.items),
            ("results", self.results),
            ("inserted", self.changes.map(|changes| changes.inserted)),
            ("updated", self.changes.map(|changes| changes.updated)),
            ("deleted", self.changes.map(|changes| changes.deleted)),
            ("bytes", self.bytes),
            ("sequence", self.sequence),
        ];
        for (field, count) in counts {
            if let Some(count) = count {
                span.record(field, count);
            }
        }
        if let Some(query) = &self.query {
            query.record(span);
        }
    }
}

impl Stages {
    fn record(&self, span: &Span) {
        span.record("strategy", self.strategy);
        for (field, count) in [
            ("top_k", self.top_k),
            ("effort", self.effort),
            ("nodes", self.nodes),
            ("rows", self.rows),
            ("reads", self.reads),
            ("reranked", self.reranked),
        ] {
            span.record(field, count);
        }
        for (name, time) in self.times() {
            span.record(name, micros(time));
        }
    }

    /// The stages, by the names of their fields.
    fn times(&self) -> [(&'static str, Duration); 4] {
        [
            ("routing_us", self.routing),
            ("scoring_us", self.scoring),
            ("reranking_us", self.reranking),
            ("finishing_us", self.finishing),
        ]
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
