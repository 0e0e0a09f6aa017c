//! Items by id or filter: get, delete, list and count.

use std::io::{self, Write};

use sealvec::{
    Answer, Cursor, DeleteOptions, DeleteReport, Fetched, Filter, Include, Index, Missing,
    Selector, Trace, VersionToken,
};

use crate::args::{Absent, Count, Delete, Items, List};
use crate::failure::Result;
use crate::output::{
    Format, Object, Output, array, contents, metadata, print_line, print_pairs, quote, short,
    short_contents, short_vector, vector,
};
use crate::session::{Caller, Writing};

/// The most ids that the library gives at once.
const PAGE: u64 = 10_000;
/// Items that are held in memory at once.
const ITEMS: usize = 100;
/// Characters of contents and metadata that people are shown.
const SHOWN: usize = 200;

pub(crate) fn get(caller: &Caller, args: &Items) -> Result<()> {
    let index = caller.reading(&args.name)?;
    let mut out = Output::stdout();
    for ids in args.ids.chunks(ITEMS) {
        let answer = index.get(ids, Include::ALL)?;
        let token = answer.version.to_string();
        for found in answer {
            match args.output {
                Format::Json => writeln!(out, "{}", item_json(&found, &token))?,
                Format::Table => item_text(&mut out, &found)?,
            }
        }
    }
    out.finish()
}

fn item_json(found: &Fetched, token: &str) -> String {
    let item = found.item.as_ref();
    Object::new()
        .text("id", &found.id)
        .field("found", item.is_some())
        .field("contents", contents(item.and_then(|item| item.contents.as_deref())))
        .field("metadata", metadata(item.and_then(|item| item.metadata.as_ref())))
        .field("vector", vector(item.and_then(|item| item.vector.as_deref())))
        .text("version_token", token)
        .end()
}

fn item_text(out: &mut Output, found: &Fetched) -> io::Result<()> {
    let Some(item) = &found.item else { return writeln!(out, "{}\n  not found", found.id) };
    writeln!(out, "{}", found.id)?;
    if let Some(contents) = &item.contents {
        writeln!(out, "  contents  {}", short_contents(contents, SHOWN))?;
    }
    if let Some(metadata) = &item.metadata {
        writeln!(out, "  metadata  {}", short(&metadata.to_string(), SHOWN))?;
    }
    if let Some(vector) = &item.vector {
        writeln!(out, "  vector    {}", short_vector(vector))?;
    }
    Ok(())
}

pub(crate) fn delete(caller: &Caller, args: &Delete) -> Result<()> {
    let missing = match args.missing {
        Absent::Ignore => Missing::Ignore,
        Absent::Error => Missing::Error,
    };
    let mut options = DeleteOptions::new().missing(missing).dry_run(args.dry_run);
    if let Some(state) = args.if_match {
        options = options.if_match(state);
    }
    if let Some(limit) = args.limit {
        options = options.limit(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    if let Some(header) = &args.traceparent {
        options = options.trace(Trace::from_traceparent(header));
    }
    let Writing { db, index } = caller.writing(&args.name)?;
    let selector = match &args.only.filter {
        Some(filter) => Selector::filter(filter),
        None => Selector::ids(&args.ids),
    };
    let report = index.delete_with(selector, &options)?;
    db.close()?;
    match args.output {
        Format::Json => print_line(&report_json(&report)),
        Format::Table => print_pairs(&[
            (if report.dry_run { "would delete" } else { "deleted" }, report.deleted.to_string()),
            ("of these damaged", report.corrupt.to_string()),
            ("missing", report.missing.to_string()),
            ("remaining", report.remaining.to_string()),
            ("items", report.item_count.to_string()),
            ("size in bytes", report.total_size_bytes.to_string()),
            ("etag", report.etag.to_string()),
        ]),
    }
}

fn report_json(report: &DeleteReport) -> String {
    let outcomes = report
        .outcomes
        .iter()
        .map(|(id, outcome)| Object::new().text("id", id).text("outcome", outcome.as_str()).end());
    Object::new()
        .field("deleted", report.deleted)
        .field("corrupt", report.corrupt)
        .field("missing", report.missing)
        .field("condition_failed", report.condition_failed)
        .field("remaining", report.remaining)
        .field("dry_run", report.dry_run)
        .field("item_count", report.item_count)
        .field("total_size_bytes", report.total_size_bytes)
        .text("etag", &report.etag.to_string())
        .text("version_token", &report.version.to_string())
        .field("outcomes", array(outcomes))
        .end()
}

pub(crate) fn count(caller: &Caller, args: &Count) -> Result<()> {
    let index = caller.reading(&args.name)?;
    let count = match &args.only.filter {
        Some(filter) => index.count_where(filter)?,
        None => index.count()?,
    };
    match args.output {
        Format::Json => print_line(
            &Object::new()
                .field("count", count.value)
                .text("version_token", &count.version.to_string())
                .end(),
        ),
        Format::Table => print_line(&count.value.to_string()),
    }
}

/// A page of ids, where the next begins, and the commit it is from.
type Page = (Vec<String>, Option<Cursor>, VersionToken);

/// One page of ids: of all, or of what the filter selects, in its order.
fn page(index: &Index<'_>, args: &List, limit: usize, cursor: Option<Cursor>) -> Result<Page> {
    if args.only.filter.is_none() && args.order_by.is_none() {
        let Answer { value: page, version, .. } = index.list_ids(limit, cursor.as_ref())?;
        return Ok((page.ids, page.next, version));
    }
    let everything = Filter::everything();
    let query = index.query_metadata(args.only.filter.as_ref().unwrap_or(&everything)).limit(limit);
    let query = match &args.order_by {
        Some((path, order)) => query.order_by(path, *order),
        None => query,
    };
    let query = match cursor {
        Some(cursor) => query.cursor(cursor),
        None => query,
    };
    let Answer { value: page, version, .. } = query.run()?;
    Ok((page.items.into_iter().map(|item| item.id).collect(), page.next, version))
}

/// Prints the ids page by page, so that memory does not grow with the index.
pub(crate) fn list(caller: &Caller, args: &List) -> Result<()> {
    let index = caller.reading(&args.name)?;
    let mut out = Output::stdout();
    let json = args.output == Format::Json;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut cursor = args.cursor.clone();
    if json {
        write!(out, "{{\"ids\":[")?;
    }
    // That of every page: this handle does not follow the writer.
    let mut token = index.describe()?.version;
    let mut comma = "";
    while left > 0 {
        let limit = usize::try_from(left.min(PAGE)).unwrap_or(1);
        let (ids, next, version) = page(&index, args, limit, cursor)?;
        token = version;
        left = left.saturating_sub(ids.len() as u64);
        for id in &ids {
            if json {
                write!(out, "{comma}{}", quote(id))?;
                comma = ",";
            } else {
                writeln!(out, "{id}")?;
            }
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    if json {
        let next = cursor.map_or_else(|| "null".into(), |cursor| format!("\"{cursor}\""));
        writeln!(out, "],\"next\":{next},\"version_token\":\"{token}\"}}")?;
    } else if let Some(cursor) = cursor {
        out.flush()?;
        // Not part of the answer, and no reason to fail if nobody reads it.
        let _ = writeln!(io::stderr(), "more: go on with --cursor {cursor}");
    }
    out.finish()
}
