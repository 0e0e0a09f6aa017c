//! Queries: from vectors in a file, or from an item, to hits.
//!
//! The whole file of vectors is checked before the first hit is written. Queries then run a batch
//! at a time, each batch in one pass over the index; memory is one batch of vectors and its hits.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::path::Path;

use sealvec::{Error, Hit, Include, Index};

use crate::args::{Field, HitFormat, Query};
use crate::failure::{Failure, Result};
use crate::npy::{self, Vectors};
use crate::output::{
    Object, Output, array, contents, metadata, short, short_contents, short_vector, vector,
};
use crate::session::Caller;

/// Queries that run in one pass.
const BATCH: usize = 64;
/// What fills up a row of ids.
const NONE: i64 = -1;
/// Characters of contents and metadata that people are shown.
const SHOWN: usize = 100;

/// The query vectors.
enum Source<'a> {
    Item(Option<Vec<f32>>),
    File(&'a Path, Vectors<BufReader<File>>),
}

pub(crate) fn run(caller: &Caller, args: &Query) -> Result<()> {
    if args.output == HitFormat::IdsNpy && args.out.is_none() && io::stdout().is_terminal() {
        return Err(Failure::Usage("ids-npy is not for a terminal; pass --out FILE".into()));
    }
    let index = caller.reading(&args.name)?;
    let mut source = match (&args.like, &args.vectors) {
        (Some(id), _) => Source::Item(Some(stored_vector(&index, id)?)),
        (None, Some(path)) => Source::File(path, open_checked(&index, path)?),
        (None, None) => return Err(Failure::Usage("pass --vectors or --like".into())),
    };
    let mut out = Output::new(args.out.as_deref())?;
    if args.output == HitFormat::IdsNpy {
        out.write_all(&npy::header("<i8", source.count(), args.top_k.into()))?;
    }
    let include = include(&args.include);
    let top_k = usize::try_from(args.top_k).unwrap_or(usize::MAX);
    let mut number = 0u64;
    loop {
        let vectors = source.next_batch()?;
        if vectors.is_empty() {
            break;
        }
        let queries = vectors.iter().map(Vec::as_slice);
        let search = index.query_batch(queries).top_k(top_k).include(include);
        let search = search.effort(args.effort);
        let search = if args.exact { search.exact() } else { search };
        let search = match &args.only.filter {
            Some(filter) => search.filter(filter.clone()),
            None => search,
        };
        let answer = search.run()?;
        let token = answer.version.to_string();
        for hits in answer {
            match args.output {
                HitFormat::Json => json(&mut out, number, &hits, &token, &args.include)?,
                HitFormat::Table => table(&mut out, number, &hits)?,
                HitFormat::IdsNpy => ids(&mut out, &hits, args.top_k)?,
            }
            number += 1;
        }
    }
    out.finish()
}

impl Source<'_> {
    const fn count(&self) -> u64 {
        match self {
            Self::Item(_) => 1,
            Self::File(_, vectors) => vectors.rows(),
        }
    }

    fn next_batch(&mut self) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Item(vector) => Ok(vector.take().into_iter().collect()),
            Self::File(path, vectors) => next_batch(path, vectors),
        }
    }
}

fn next_batch(path: &Path, vectors: &mut Vectors<BufReader<File>>) -> Result<Vec<Vec<f32>>> {
    let rows = std::iter::from_fn(|| vectors.next_row().transpose()).take(BATCH);
    rows.collect::<Result<_, _>>().map_err(|fault| Failure::input(path, fault))
}

fn stored_vector(index: &Index<'_>, id: &str) -> Result<Vec<f32>> {
    let found = index.get(&[id], Include::NONE.vector())?.into_iter().next();
    let vector = found.and_then(|found| found.item).and_then(|item| item.vector);
    vector.ok_or_else(|| Failure::NotFound("there is no item with the id given to --like".into()))
}

/// Opens a file of queries and reads all of it once, so that no fault comes up half-way.
fn open_checked(index: &Index<'_>, path: &Path) -> Result<Vectors<BufReader<File>>> {
    let mut vectors = npy::open(path)?;
    if vectors.rows() == 0 {
        return Ok(vectors);
    }
    let found = index.describe()?;
    let dimension = found.dimension.unwrap_or(vectors.columns());
    if vectors.columns() != dimension {
        let columns = vectors.columns();
        let fault = format!("has {columns} columns, the index takes {dimension}");
        return Err(Failure::input(path, fault));
    }
    let mut first = 0;
    loop {
        let batch = next_batch(path, &mut vectors)?;
        if batch.is_empty() {
            break;
        }
        if let Some((position, fault)) = first_refused(index, &batch)? {
            let row = first + position;
            return Err(Failure::input(path, format!("row {row} (counted from 0): {fault}")));
        }
        first += batch.len();
    }
    vectors.rewind().map_err(|fault| Failure::input(path, fault))?;
    Ok(vectors)
}

/// Which query the index refuses, and why: they are tried, as cheaply as can be.
pub(crate) fn first_refused(
    index: &Index<'_>,
    queries: &[Vec<f32>],
) -> Result<Option<(usize, String)>> {
    let attempt = |queries: &[Vec<f32>]| {
        let queries = queries.iter().map(Vec::as_slice);
        index.query_batch(queries).top_k(1).probes(1).run().map(drop)
    };
    let Err(error) = attempt(queries) else { return Ok(None) };
    for (position, query) in queries.iter().enumerate() {
        if let Err(Error::InvalidArgument(message)) = attempt(std::slice::from_ref(query)) {
            let fault = message.strip_prefix("query 0: ").unwrap_or(&message);
            return Ok(Some((position, fault.to_owned())));
        }
    }
    Err(error.into())
}

fn include(fields: &[Field]) -> Include {
    fields.iter().fold(Include::NONE, |include, field| match field {
        Field::Contents => include.contents(),
        Field::Metadata => include.metadata(),
        Field::Vector => include.vector(),
    })
}

fn json(
    out: &mut Output,
    number: u64,
    hits: &[Hit],
    token: &str,
    fields: &[Field],
) -> io::Result<()> {
    let hit = |hit: &Hit| {
        let mut object =
            Object::new().text("id", &hit.id).field("distance", format_args!("{:?}", hit.distance));
        if fields.contains(&Field::Contents) {
            object = object.field("contents", contents(hit.contents.as_deref()));
        }
        if fields.contains(&Field::Metadata) {
            object = object.field("metadata", metadata(hit.metadata.as_ref()));
        }
        if fields.contains(&Field::Vector) {
            object = object.field("vector", vector(hit.vector.as_deref()));
        }
        object.end()
    };
    let hits = array(hits.iter().map(hit));
    let line = Object::new().field("query", number).field("hits", hits);
    writeln!(out, "{}", line.text("version_token", token).end())
}

fn table(out: &mut Output, number: u64, hits: &[Hit]) -> io::Result<()> {
    writeln!(out, "query {number}")?;
    let width = hits.iter().map(|hit| hit.id.chars().count()).max().unwrap_or(0);
    for (rank, hit) in (1u64..).zip(hits) {
        let mut line = format!("{rank:>5}  {:>12.6}  {:width$}", hit.distance, hit.id);
        if let Some(contents) = &hit.contents {
            line = format!("{line}  {}", short_contents(contents, SHOWN));
        }
        if let Some(metadata) = &hit.metadata {
            line = format!("{line}  {}", short(&metadata.to_string(), SHOWN));
        }
        if let Some(vector) = &hit.vector {
            line = format!("{line}  {}", short_vector(vector));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// One row of ids, filled up to `top_k`.
fn ids(out: &mut Output, hits: &[Hit], top_k: u32) -> Result<()> {
    for hit in hits {
        let number = whole_number(&hit.id).ok_or_else(|| {
            Failure::Usage(
                "an id among the hits is not a whole number as ids-npy writes it; use json".into(),
            )
        })?;
        out.write_all(&number.to_le_bytes())?;
    }
    for _ in hits.len() as u64..top_k.into() {
        out.write_all(&NONE.to_le_bytes())?;
    }
    Ok(())
}

/// The number that an id is the usual form of; so no two ids are one number, and none fills up.
fn whole_number(id: &str) -> Option<i64> {
    let number: i64 = id.parse().ok()?;
    (number != NONE && number.to_string() == id).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::whole_number;

    #[test]
    fn only_the_usual_form_of_a_number_is_one() {
        assert_eq!(whole_number("0"), Some(0));
        assert_eq!(whole_number("-7"), Some(-7));
        assert_eq!(whole_number("9223372036854775807"), Some(i64::MAX));
        for bad in ["", "-1", "+1", "01", "1.0", " 1", "9223372036854775808", "a"] {
            assert_eq!(whole_number(bad), None, "{bad}");
        }
    }
}
