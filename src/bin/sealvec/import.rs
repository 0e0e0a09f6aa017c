//! Import: from two files into an index.
//!
//! Both files are read twice. The first pass checks everything that can be wrong with them, with
//! the rules of the index, and writes nothing: neither a broken line at the end nor a missing right
//! leaves half an import. The second pass writes, one commit a batch. Memory is one batch, however
//! long the files are.
//!
//! An id that comes twice ends the batch it came in, so that the second is treated as an item that
//! is there: skipped, or replaced under `--overwrite`, wherever the batches happen to be cut.
//!
//! What a crash leaves: the batches that were committed. Running the import again skips them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealvec::{Durability, ETag, Include, Index, Item};

use crate::args::Import;
use crate::failure::{Failure, Result};
use crate::jsonl::{Line, Lines};
use crate::npy::{self, Vectors};
use crate::output::{Format, Object, print_line};
use crate::scratch::Scratch;
use crate::session::{Caller, Writing};

/// A batch that reached this many bytes takes no further item.
const BATCH_BYTES: usize = 64 << 20;

pub(crate) fn run(caller: &Caller, args: &Import) -> Result<()> {
    let Writing { db, index } = caller.writing(&args.name)?;
    let mut source = Source::open(args)?;
    let index = if args.buffered { index.with_durability(Durability::Buffered) } else { index };
    let start = check_rights(&index, args.overwrite)?;
    source.check(caller, &index)?;
    let report = source.write(&index, args.overwrite, start)?;
    db.flush()?;
    db.close()?;
    let Report { inserted, updated, skipped, item_count, etag } = report;
    print_line(&match args.output {
        Format::Json => Object::new()
            .field("inserted", inserted)
            .field("updated", updated)
            .field("skipped", skipped)
            .field("item_count", item_count)
            .text("etag", &etag.to_string())
            .end(),
        Format::Table => format!(
            "inserted {inserted}, updated {updated}, skipped {skipped}; \
             {item_count} items, etag {etag}"
        ),
    })
}

/// What was done so far, and the state it left.
struct Report {
    inserted: u64,
    updated: u64,
    skipped: u64,
    item_count: u64,
    etag: ETag,
}

/// Fails now if the caller lacks a right that the import will need.
fn check_rights(index: &Index<'_>, overwrite: bool) -> Result<Report> {
    let state = index.upsert(&[])?;
    if !overwrite {
        index.get::<&str>(&[], Include::NONE)?;
    }
    let (item_count, etag) = (state.item_count, state.etag);
    Ok(Report { inserted: 0, updated: 0, skipped: 0, item_count, etag })
}

/// Both files, and where in them we are.
struct Source<'a> {
    vectors: (&'a Path, Vectors<BufReader<File>>),
    items: Option<(&'a Path, Lines<BufReader<File>>)>,
    batch: usize,
    row: u64,
    /// The item that closed the last batch because its id was in it.
    waiting: Option<(String, Item, usize)>,
}

/// Items that go into one commit.
#[derive(Default)]
struct Batch {
    first_row: u64,
    ids: Vec<String>,
    items: Vec<Item>,
}

impl<'a> Source<'a> {
    fn open(args: &'a Import) -> Result<Self> {
        let vectors = (args.vectors.as_path(), npy::open(&args.vectors)?);
        let items = match &args.items {
            Some(path) => Some((path.as_path(), Lines::new(npy::open_file(path)?))),
            None => None,
        };
        let batch = usize::try_from(args.batch).unwrap_or(usize::MAX);
        Ok(Self { vectors, items, batch, row: 0, waiting: None })
    }

    /// The first pass.
    fn check(&mut self, caller: &Caller, index: &Index<'_>) -> Result<()> {
        let found = index.describe()?;
        let (path, vectors) = &self.vectors;
        let (rows, columns) = (vectors.rows(), vectors.columns());
        let wanted = found.dimension.unwrap_or(columns);
        if rows > 0 && columns != wanted {
            let fault = format!("has {columns} columns, the index takes {wanted}");
            return Err(Failure::input(path, fault));
        }
        let progress = progress("checking", rows);
        // A file without rows says nothing about the dimension.
        let dimension = if rows > 0 { columns } else { 1 };
        let mut scratch = Scratch::new(caller.options(), found.metric, found.precision, dimension)?;
        while let Some(batch) = self.next_batch()? {
            if let Some(refused) = scratch.check_items(&batch.items)? {
                let row = batch.first_row + refused.position as u64;
                return Err(self.refused(row, &refused.fault));
            }
            progress.inc(batch.items.len() as u64);
        }
        progress.finish_and_clear();
        self.rewind()
    }

    /// The second pass.
    fn write(&mut self, index: &Index<'_>, overwrite: bool, start: Report) -> Result<Report> {
        let progress = progress("writing", self.vectors.1.rows());
        let mut report = start;
        while let Some(Batch { ids, items, .. }) = self.next_batch()? {
            let count = items.len() as u64;
            let items = if overwrite { items } else { absent(index, &ids, items)? };
            report.skipped += count - items.len() as u64;
            let state = index.upsert(&items)?;
            report.inserted += state.inserted;
            report.updated += state.updated;
            (report.item_count, report.etag) = (state.item_count, state.etag);
            progress.inc(count);
        }
        progress.finish_and_clear();
        Ok(report)
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let waiting = u64::from(self.waiting.is_some());
        let mut batch = Batch { first_row: self.row - waiting, ..Batch::default() };
        let (mut seen, mut bytes) = (HashSet::new(), 0usize);
        while batch.items.len() < self.batch && bytes < BATCH_BYTES {
            let next = match self.waiting.take() {
                Some(item) => Some(item),
                None => self.next_item()?,
            };
            let Some((id, item, size)) = next else { break };
            if !seen.insert(id.clone()) {
                self.waiting = Some((id, item, size));
                break;
            }
            bytes = bytes.saturating_add(size);
            batch.ids.push(id);
            batch.items.push(item);
        }
        Ok((!batch.items.is_empty()).then_some(batch))
    }

    /// The next item with its id and about how much memory it takes.
    fn next_item(&mut self) -> Result<Option<(String, Item, usize)>> {
        let (path, vectors) = &mut self.vectors;
        let vector = vectors.next_row().map_err(|fault| Failure::input(path, fault))?;
        let line = match &mut self.items {
            Some((path, lines)) => {
                let line = lines.next_line().map_err(|fault| Failure::input(path, fault))?;
                let rows = vectors.rows();
                match (&vector, line) {
                    (Some(_), Some(line)) => Some(line),
                    (None, None) => None,
                    (Some(_), None) => {
                        let fault = format!("has {} lines for {rows} vectors", lines.number());
                        return Err(Failure::input(path, fault));
                    }
                    (None, Some(_)) => {
                        let fault = format!("has more lines than the {rows} vectors");
                        return Err(Failure::input(path, fault));
                    }
                }
            }
            None => Some(Line { id: self.row.to_string(), contents: None, metadata: None }),
        };
        let (Some(vector), Some(Line { id, contents, metadata })) = (vector, line) else {
            return Ok(None);
        };
        self.row += 1;
        let size = vector.len() * 4 + contents.as_ref().map_or(0, Vec::len) + 512;
        let mut item = Item::new(id.clone(), vector);
        if let Some(contents) = contents {
            item = item.contents(contents);
        }
        if let Some(metadata) = metadata {
            item = item.metadata(metadata);
        }
        Ok(Some((id, item, size)))
    }

    fn rewind(&mut self) -> Result<()> {
        (self.row, self.waiting) = (0, None);
        let (path, vectors) = &mut self.vectors;
        vectors.rewind().map_err(|fault| Failure::input(path, fault))?;
        match &mut self.items {
            Some((path, lines)) => lines.rewind().map_err(|fault| Failure::input(path, fault)),
            None => Ok(()),
        }
    }

    /// An item that the index does not take, by its place in the file that is at fault.
    fn refused(&self, row: u64, fault: &str) -> Failure {
        match &self.items {
            Some((path, _)) if !fault.starts_with("its vector") => {
                Failure::input(path, format!("line {}: {fault}", row + 1))
            }
            _ => Failure::input(self.vectors.0, format!("row {row} (counted from 0): {fault}")),
        }
    }
}

/// Those of the items that the index does not hold.
fn absent(index: &Index<'_>, ids: &[String], items: Vec<Item>) -> Result<Vec<Item>> {
    let found = index.get(ids, Include::NONE)?;
    let pairs = found.into_iter().zip(items);
    Ok(pairs.filter(|(found, _)| found.item.is_none()).map(|(_, item)| item).collect())
}

/// A bar on stderr, if somebody is looking at it.
pub(crate) fn progress(what: &'static str, rows: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(rows), target).with_message(what);
    match ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
