//! Import: from two files into an index.
//!
//! Both files are read twice. The first pass checks everything that can be wrong with them, with
//! the rules of the index, and writes nothing: neither a broken line at the end nor a missing right
//! leaves half an import. The second pass feeds the library's bulk upsert. Memory is its buffer, and
//! the ids in it, however long the files are.
//!
//! Without `--overwrite`, ids that are there are left out of what is fed, and so are those that came
//! before: those in the buffer are remembered, the others are in the index.
//!
//! What a crash or an interrupt leaves: the commits so far, each whole. Running the import again
//! skips what they hold.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealvec::{BulkReport, Durability, Error, Include, Index, Item};

use crate::args::Import;
use crate::failure::{Failure, Result};
use crate::jsonl::{Line, Lines};
use crate::npy::{self, Vectors};
use crate::output::{Format, Object, print_line};
use crate::session::{Caller, Writing};

/// Items that are looked at together.
const BATCH: usize = 1000;
/// A batch that reached this many bytes takes no further item.
const BATCH_BYTES: usize = 16 << 20;

pub(crate) fn run(caller: &Caller, args: &Import) -> Result<()> {
    let Writing { db, index } = caller.writing(&args.name)?;
    let mut source = Source::open(args)?;
    let index = if args.buffered { index.with_durability(Durability::Buffered) } else { index };
    check_rights(&index, args.overwrite)?;
    source.check(&index)?;
    let (report, skipped) = source.write(&index, args.overwrite)?;
    db.flush()?;
    let token = index.describe()?.version;
    db.close()?;
    let BulkReport { inserted, updated, item_count, etag, .. } = report;
    print_line(&match args.output {
        Format::Json => Object::new()
            .field("inserted", inserted)
            .field("updated", updated)
            .field("skipped", skipped)
            .field("item_count", item_count)
            .text("etag", &etag.to_string())
            .text("version_token", &token.to_string())
            .end(),
        Format::Table => format!(
            "inserted {inserted}, updated {updated}, skipped {skipped}; \
             {item_count} items, etag {etag}"
        ),
    })
}

/// Fails now if the caller lacks a right that the import will need.
fn check_rights(index: &Index<'_>, overwrite: bool) -> Result<()> {
    index.check(&[])?;
    if !overwrite {
        index.get::<&str>(&[], Include::NONE)?;
    }
    Ok(())
}

/// Both files, and where in them we are.
struct Source<'a> {
    vectors: (&'a Path, Vectors<BufReader<File>>),
    items: Option<(&'a Path, Lines<BufReader<File>>)>,
    row: u64,
}

impl<'a> Source<'a> {
    fn open(args: &'a Import) -> Result<Self> {
        let vectors = (args.vectors.as_path(), npy::open(&args.vectors)?);
        let items = match &args.items {
            Some(path) => Some((path.as_path(), Lines::new(npy::open_file(path)?))),
            None => None,
        };
        Ok(Self { vectors, items, row: 0 })
    }

    /// The first pass.
    fn check(&mut self, index: &Index<'_>) -> Result<()> {
        let found = index.describe()?;
        let (path, vectors) = &self.vectors;
        let (rows, columns) = (vectors.rows(), vectors.columns());
        let wanted = found.dimension.unwrap_or(columns);
        if rows > 0 && columns != wanted {
            let fault = format!("has {columns} columns, the index takes {wanted}");
            return Err(Failure::input(path, fault));
        }
        let progress = progress("checking", rows);
        loop {
            let first = self.row;
            let batch = self.next_batch()?;
            if batch.is_empty() {
                break;
            }
            if let Err(error) = index.check(&batch) {
                return Err(self.refused(index, first, &batch, error));
            }
            progress.inc(batch.len() as u64);
        }
        progress.finish_and_clear();
        self.rewind()
    }

    /// The second pass: what was done, and how many items were skipped.
    fn write(&mut self, index: &Index<'_>, overwrite: bool) -> Result<(BulkReport, u64)> {
        let rows = self.vectors.1.rows();
        let progress = progress("writing", rows);
        let (failure, left_out) = (Cell::new(None), Cell::new(0u64));
        // The ids that were fed and may not be in the index yet, and how many were fed.
        let (fed, count) = (RefCell::new(HashSet::new()), Cell::new(0u64));
        let mut batch = Vec::new().into_iter();
        let items = std::iter::from_fn(|| {
            loop {
                if let Some(item) = batch.next() {
                    count.set(count.get() + 1);
                    return Some(item);
                }
                let next = self.next_batch().and_then(|next| {
                    let length = next.len();
                    let next =
                        if overwrite { next } else { absent(index, next, &mut fed.borrow_mut())? };
                    left_out.set(left_out.get() + (length - next.len()) as u64);
                    Ok((length, next))
                });
                match next {
                    Ok((0, _)) => return None,
                    Ok((_, next)) => batch = next.into_iter(),
                    Err(error) => {
                        failure.set(Some(error));
                        return None;
                    }
                }
            }
        });
        let report = index.bulk_upsert(Expecting { items: items.fuse(), rows }, |done| {
            progress.set_position(done.done + left_out.get());
            if done.settled == count.get() {
                fed.borrow_mut().clear();
            }
            ControlFlow::Continue(())
        })?;
        progress.finish_and_clear();
        match failure.take() {
            Some(failure) => Err(failure),
            None => Ok((report.clone(), left_out.get() + report.unchanged)),
        }
    }

    fn next_batch(&mut self) -> Result<Vec<Item>> {
        let (mut batch, mut bytes) = (Vec::new(), 0usize);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some((item, size)) = self.next_item()? else { break };
            bytes = bytes.saturating_add(size);
            batch.push(item);
        }
        Ok(batch)
    }

    /// The next item, and about how much memory it takes.
    fn next_item(&mut self) -> Result<Option<(Item, usize)>> {
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
        let mut item = Item::new(id, vector);
        if let Some(contents) = contents {
            item = item.contents(contents);
        }
        if let Some(metadata) = metadata {
            item = item.metadata(metadata);
        }
        Ok(Some((item, size)))
    }

    fn rewind(&mut self) -> Result<()> {
        self.row = 0;
        let (path, vectors) = &mut self.vectors;
        vectors.rewind().map_err(|fault| Failure::input(path, fault))?;
        match &mut self.items {
            Some((path, lines)) => lines.rewind().map_err(|fault| Failure::input(path, fault)),
            None => Ok(()),
        }
    }

    /// Which item of a batch the index does not take, by its place in the file that is at fault.
    fn refused(&self, index: &Index<'_>, first: u64, batch: &[Item], error: Error) -> Failure {
        let one = |item: &Item| match index.check(std::slice::from_ref(item)) {
            Err(Error::InvalidArgument(message)) => Some(message),
            _ => None,
        };
        let found = (first..).zip(batch).find_map(|(row, item)| Some((row, one(item)?)));
        let Some((row, message)) = found else { return error.into() };
        let fault = message.strip_prefix("item 0: ").unwrap_or(&message);
        match &self.items {
            Some((path, _)) if !fault.starts_with("its vector") => {
                Failure::input(path, format!("line {}: {fault}", row + 1))
            }
            _ => Failure::input(self.vectors.0, format!("row {row} (counted from 0): {fault}")),
        }
    }
}

/// The items that come, with the number of rows as the number to expect.
struct Expecting<I> {
    items: I,
    rows: u64,
}

impl<I: Iterator<Item = Item>> Iterator for Expecting<I> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.rows = self.rows.saturating_sub(1);
        self.items.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::try_from(self.rows).unwrap_or(0), None)
    }
}

/// Those of the items that neither the index holds nor came before.
fn absent(index: &Index<'_>, items: Vec<Item>, fed: &mut HashSet<String>) -> Result<Vec<Item>> {
    let ids: Vec<&str> = items.iter().map(Item::id).collect();
    let found = index.get(&ids, Include::NONE)?;
    let there: Vec<bool> = found.into_iter().map(|found| found.item.is_some()).collect();
    let pairs = there.into_iter().zip(items);
    let absent = pairs.filter(|(there, item)| !there && fed.insert(item.id().to_owned()));
    Ok(absent.map(|(_, item)| item).collect())
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
