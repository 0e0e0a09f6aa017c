//! The files of a bench: vectors, queries and the truth about them.
//!
//! Queries and truth are read once; the vectors that are items are read from their file whenever
//! they are needed, one at a time.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use sealvec::{Database, IndexConfig, IndexKey, Item, KeyContext, Metric, Options};

use crate::args::Bench;
use crate::failure::{Failure, Result};
use crate::npy::{self, Vectors};
use crate::query::first_refused;

/// The name of an index that is made to ask.
const NAME: &str = "queries";
/// Fewer items are nothing to measure.
const LEAST: u32 = 16;
/// How many queries a quick bench takes.
const QUICK: usize = 50;

pub(crate) struct Data<'a> {
    path: &'a Path,
    vectors: Vectors<BufReader<File>>,
    items: u32,
    next: u32,
    queries: Vec<Vec<f32>>,
    truth: Option<Vec<Vec<u32>>>,
    metric: Metric,
    top_k: usize,
}

impl<'a> Data<'a> {
    pub(crate) fn open(args: &'a Bench, options: Options) -> Result<Self> {
        let path = args.vectors.as_path();
        let vectors = npy::open(path)?;
        let rows = u32::try_from(vectors.rows())
            .map_err(|_| Failure::input(path, "has more rows than a bench takes"))?;
        let held = args.holdout.unwrap_or(0);
        let items = rows.checked_sub(held).filter(|items| *items >= LEAST).ok_or_else(|| {
            let fault = format!("has {rows} rows; a bench takes {LEAST} beside the queries");
            Failure::input(path, fault)
        })?;
        let top_k = usize::try_from(args.top_k).unwrap_or(usize::MAX);
        let metric = args.metric;
        let (queries, truth) = (Vec::new(), None);
        let mut data = Self { path, vectors, items, next: 0, queries, truth, metric, top_k };
        match &args.queries {
            Some(file) => data.read_queries(file)?,
            None => data.hold_out()?,
        }
        if let Some(file) = &args.truth {
            data.truth = Some(data.read_truth(file)?);
        }
        data.check_queries(args.queries.as_deref().unwrap_or(path), options)?;
        if args.quick {
            data.queries.truncate(QUICK);
            if let Some(truth) = &mut data.truth {
                truth.truncate(QUICK);
            }
        }
        Ok(data)
    }

    /// The vectors to store; those held out are none of them.
    pub(crate) const fn items(&self) -> u32 {
        self.items
    }

    pub(crate) const fn columns(&self) -> usize {
        self.vectors.columns()
    }

    pub(crate) const fn metric(&self) -> Metric {
        self.metric
    }

    pub(crate) const fn top_k(&self) -> usize {
        self.top_k
    }

    pub(crate) fn queries(&self) -> &[Vec<f32>] {
        &self.queries
    }

    /// The nearest rows of each query, as a file says.
    pub(crate) fn truth(&self) -> Option<&[Vec<u32>]> {
        self.truth.as_deref()
    }

    /// Back to the first vector.
    pub(crate) fn rewind(&mut self) -> Result<()> {
        self.next = 0;
        self.vectors.rewind().map_err(|fault| Failure::input(self.path, fault))
    }

    /// The next vector that is an item, if there is one.
    pub(crate) fn next_vector(&mut self) -> Result<Option<Vec<f32>>> {
        if self.next == self.items {
            return Ok(None);
        }
        self.next += 1;
        self.vectors.next_row().map_err(|fault| Failure::input(self.path, fault))
    }

    /// The next vector under its row number.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item>> {
        let id = self.next.to_string();
        Ok(self.next_vector()?.map(|vector| Item::new(id, vector)))
    }

    /// The next item; after the last comes the first.
    pub(crate) fn cycle(&mut self) -> Result<Item> {
        if self.next == self.items {
            self.rewind()?;
        }
        let missing = || Failure::input(self.path, "has become shorter");
        let item = self.next_item()?;
        item.ok_or_else(missing)
    }

    fn read_queries(&mut self, path: &Path) -> Result<()> {
        let mut queries = npy::open(path)?;
        if queries.rows() == 0 {
            return Err(Failure::input(path, "has no rows"));
        }
        if queries.columns() != self.columns() {
            let (found, wanted) = (queries.columns(), self.columns());
            let fault = format!("has {found} columns, the vectors have {wanted}");
            return Err(Failure::input(path, fault));
        }
        while let Some(row) = queries.next_row().map_err(|fault| Failure::input(path, fault))? {
            self.queries.push(row);
        }
        Ok(())
    }

    /// Reads past the items; what follows are the queries.
    fn hold_out(&mut self) -> Result<()> {
        while self.next_vector()?.is_some() {}
        let mut next = || self.vectors.next_row();
        while let Some(row) = next().map_err(|fault| Failure::input(self.path, fault))? {
            self.queries.push(row);
        }
        self.rewind()
    }

    fn read_truth(&self, path: &Path) -> Result<Vec<Vec<u32>>> {
        let truth = npy::row_numbers(path)?;
        let refused = |fault: String| Err(Failure::input(path, fault));
        let (rows, queries) = (truth.len(), self.queries.len());
        if rows != queries {
            return refused(format!("has {rows} rows for {queries} queries"));
        }
        let (columns, top_k) = (truth.first().map_or(0, Vec::len), self.top_k);
        if columns < top_k {
            return refused(format!("has {columns} columns, --top-k is {top_k}"));
        }
        let items = self.items;
        match truth.iter().flatten().find(|row| **row >= items) {
            Some(row) => refused(format!("names row {row} of {items}")),
            None => Ok(truth),
        }
    }

    fn check_queries(&self, path: &Path, options: Options) -> Result<()> {
        // An index takes queries before it has items.
        let db = Database::in_memory_with(options)?;
        let key = IndexKey::generate()?;
        db.create_index(NAME, &key, IndexConfig::new(self.metric).dimension(self.columns()))?;
        let index = db.load_index(NAME, KeyContext::root(key))?;
        let Some((position, fault)) = first_refused(&index, &self.queries)? else { return Ok(()) };
        // Queries held out come after the items.
        let first = if path == self.path { self.items } else { 0 };
        let row = u64::from(first) + position as u64;
        Err(Failure::input(path, format!("row {row} (counted from 0): {fault}")))
    }
}
