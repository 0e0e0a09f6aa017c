//! Counters and histograms through the `metrics` facade. Labels take values from fixed lists: the
//! calls, the error codes and the stages of a query, so that the number of series is bounded.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::{Call, Observation};

const OPERATIONS: &str = "sealvec_operations_total";
const SECONDS: &str = "sealvec_operation_seconds";
const ITEMS: &str = "sealvec_items_total";
const RESULTS: &str = "sealvec_results_total";
const CHANGES: &str = "sealvec_changes_total";
const BYTES: &str = "sealvec_bytes_total";
const STAGES: &str = "sealvec_query_stage_seconds";
const READS: &str = "sealvec_query_reads_total";

/// Gives the installed `metrics` recorder the units and descriptions of the metrics of this crate.
/// Optional; to be called once, after the recorder is installed.
///
/// ```
/// sealvec::describe_metrics(); // without a recorder it does nothing
/// ```
pub fn describe_metrics() {
    describe_counter!(OPERATIONS, Unit::Count, "Calls, by operation and outcome");
    describe_histogram!(SECONDS, Unit::Seconds, "Time of a call, by operation");
    describe_counter!(ITEMS, Unit::Count, "Items, ids or queries given to calls that succeeded");
    describe_counter!(RESULTS, Unit::Count, "Items, ids or hits that calls returned");
    describe_counter!(CHANGES, Unit::Count, "Items inserted, updated and deleted by commits");
    describe_counter!(BYTES, Unit::Bytes, "Plaintext opened by queries; tables written by purges");
    describe_histogram!(STAGES, Unit::Seconds, "Time of a query call in each stage");
    describe_counter!(READS, Unit::Count, "Stored values that queries read");
}

/// Counts a call. What a refused call was given is not counted as items.
pub(super) fn count(call: Call, outcome: &'static str, elapsed: Duration, seen: &Observation) {
    let operation = call.as_str();
    counter!(OPERATIONS, "operation" => operation, "outcome" => outcome).increment(1);
    histogram!(SECONDS, "operation" => operation).record(elapsed.as_secs_f64());
    if outcome != "ok" {
        return;
    }
    for (name, amount) in [(ITEMS, seen.items), (RESULTS, seen.results), (BYTES, seen.bytes)] {
        if let Some(amount) = amount {
            counter!(name, "operation" => operation).increment(amount);
        }
    }
    if let Some(changes) = seen.changes {
        for (kind, amount) in [
            ("inserted", changes.inserted),
            ("updated", changes.updated),
            ("deleted", changes.deleted),
        ] {
            counter!(CHANGES, "change" => kind).increment(amount);
        }
    }
    if let Some(query) = &seen.query {
        for (stage, time) in query.times() {
            let stage = stage.trim_end_matches("_us");
            histogram!(STAGES, "stage" => stage).record(time.as_secs_f64());
        }
        counter!(READS).increment(query.reads);
    }
}
