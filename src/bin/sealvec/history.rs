//! History: the audit trail, newest first, one line a commit.

use std::io::Write;
use std::ops::ControlFlow;

use sealvec::{Folded, HistoryEntry, Trace, UserId};

use crate::args::History;
use crate::failure::{Failure, Result};
use crate::output::{Format, Object, Output, hex};
use crate::session::Caller;

pub(crate) fn run(caller: &Caller, args: &History) -> Result<()> {
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    if from > to {
        return Err(Failure::Usage(format!("--from {from} is after --to {to}")));
    }
    let index = caller.reading(&args.name)?;
    let mut out = Output::stdout();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut written = Ok(());
    let verified = index.for_each_commit(from..=to, |commit| {
        let line = match args.output {
            Format::Json => json(commit),
            Format::Table => text(commit),
        };
        written = writeln!(out, "{line}");
        left = left.saturating_sub(1);
        if written.is_ok() && left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    // What came before a break in the chain is verified, and shown.
    out.flush()?;
    written?;
    let folded = verified?.value;
    // The sums come last, as what is oldest.
    if let Some(folded) = folded.filter(|folded| left > 0 && from <= folded.through) {
        match args.output {
            Format::Json => writeln!(out, "{}", folded_json(&folded))?,
            Format::Table => writeln!(out, "{}", folded_text(&folded))?,
        }
    }
    out.finish()
}

fn json(commit: &HistoryEntry) -> String {
    let object = Object::new()
        .field("sequence", commit.version.sequence)
        .text("operation", commit.operation.as_str())
        .text("principal", &principal(commit.principal))
        .field("time_ms", commit.time)
        .field("inserted", commit.inserted)
        .field("updated", commit.updated)
        .field("deleted", commit.deleted)
        .field("item_count", commit.item_count)
        .field("total_size_bytes", commit.total_size_bytes);
    let object = match trace(commit.trace) {
        Some(trace) => object.text("trace", &trace),
        None => object.field("trace", "null"),
    };
    object
        .text("etag", &commit.etag.to_string())
        .text("hash", &hex(&commit.version.hash))
        .field("grant_table", commit.version.table)
        .end()
}

fn text(commit: &HistoryEntry) -> String {
    let counts = format!("+{} ~{} -{}", commit.inserted, commit.updated, commit.deleted);
    let line = format!(
        "{:>8}  {}  {:<8}  {counts:<16}  {:>8} items  {}  {}",
        commit.version.sequence,
        date(commit.time),
        commit.operation.as_str(),
        commit.item_count,
        principal(commit.principal),
        trace(commit.trace).unwrap_or_default(),
    );
    line.trim_end().to_owned()
}

fn folded_json(folded: &Folded) -> String {
    let operations = folded.operations.iter();
    let operations = operations.fold(Object::new(), |object, (operation, commits)| {
        object.field(operation.as_str(), commits)
    });
    let sums = Object::new()
        .field("through", folded.through)
        .text("hash", &hex(&folded.hash))
        .field("operations", operations.end())
        .field("inserted", folded.inserted)
        .field("updated", folded.updated)
        .field("deleted", folded.deleted)
        .field("item_count", folded.item_count)
        .field("total_size_bytes", folded.total_size_bytes)
        .field("first_time_ms", folded.first_time)
        .field("last_time_ms", folded.last_time);
    Object::new().field("folded", sums.end()).end()
}

fn folded_text(folded: &Folded) -> String {
    let operations = folded.operations.iter();
    let operations: Vec<String> =
        operations.map(|(operation, commits)| format!("{commits} {operation}")).collect();
    format!(
        "1 to {}, folded: {}; +{} ~{} -{}; {} items; from {} to {}",
        folded.through,
        operations.join(", "),
        folded.inserted,
        folded.updated,
        folded.deleted,
        folded.item_count,
        date(folded.first_time),
        date(folded.last_time),
    )
}

fn principal(user: Option<UserId>) -> String {
    user.map_or_else(|| "root".into(), |user| hex(user.as_bytes()))
}

fn trace(trace: Trace) -> Option<String> {
    match trace {
        Trace::Id(id) => Some(hex(&id)),
        Trace::Malformed => Some("malformed".into()),
        _ => None,
    }
}

/// Milliseconds since 1970 as a date and time of UTC.
fn date(time: u64) -> String {
    let (seconds, millis) = (time / 1000, time % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years from 1 March 0000, in which leap days come last.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (time, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_077_926_400_000, "2004-02-28T00:00:00.000Z"),
            (1_700_000_000_001, "2023-11-14T22:13:20.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_107_456_000_000, "2100-02-28T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(date(time), expected);
        }
        assert!(date(u64::MAX).ends_with('Z'));
    }
}
