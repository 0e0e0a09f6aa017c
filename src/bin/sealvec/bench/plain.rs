//! The plain scan that the index is held against: every vector, unsealed, in memory, on one thread.
//!
//! It is meant to be as fast as an exact scan gets here: rows of f32 one after another from an
//! address that no SIMD load straddles, the kernels of the library, lengths taken beforehand under
//! the cosine metric. From some ten megabytes on the memory is what limits it.

use sealvec::{Metric, bench_support};

use crate::failure::Result;

use super::data::Data;
use super::measure::{Summary, Times, float};

/// What the widest SIMD load wants, in bytes and in components.
const ALIGNMENT: usize = 64;
const PADDING: usize = ALIGNMENT / size_of::<f32>();

#[derive(Debug)]
pub(crate) struct Plain {
    /// The rows nearest to each query, nearest first.
    pub(crate) hits: Vec<Vec<u32>>,
    pub(crate) times: Summary,
    /// Read from memory in a second.
    pub(crate) gigabytes: f64,
}

pub(crate) fn scan(data: &mut Data<'_>) -> Result<Plain> {
    let (rows, first) = load(data)?;
    let rows = rows.get(first..).unwrap_or_default();
    let mut distances = Vec::new();
    let mut search = |query: &[f32]| {
        let query = prepared(data.metric(), query);
        bench_support::distances(data.metric(), &query, rows, &mut distances);
        nearest(&distances, data.top_k())
    };
    for query in data.queries() {
        search(query);
    }
    let mut times = Times::default();
    let hits = data.queries().iter().map(|query| times.time(|| search(query))).collect();
    let times = times.summary();
    let gigabytes = float(size_of_val(rows) as u64) * times.per_second / 1e9;
    Ok(Plain { hits, times, gigabytes })
}

/// All items, and where in the buffer the first begins.
fn load(data: &mut Data<'_>) -> Result<(Vec<f32>, usize)> {
    data.rewind()?;
    let count = usize::try_from(data.items()).unwrap_or(0).saturating_mul(data.columns());
    let mut rows: Vec<f32> = Vec::with_capacity(count.saturating_add(PADDING));
    let first = rows.as_ptr().align_offset(ALIGNMENT).min(PADDING);
    rows.resize(first, 0.0);
    while let Some(vector) = data.next_vector()? {
        rows.extend(prepared(data.metric(), &vector));
    }
    data.rewind()?;
    Ok((rows, first))
}

/// The vector as it is compared: of length 1 under the cosine metric.
#[expect(clippy::cast_possible_truncation, reason = "components of a unit vector fit an f32")]
fn prepared(metric: Metric, vector: &[f32]) -> Vec<f32> {
    if metric != Metric::Cosine {
        return vector.to_vec();
    }
    let square: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    let scale = if square > 0.0 { square.sqrt().recip() } else { 1.0 };
    vector.iter().map(|x| (f64::from(*x) * scale) as f32).collect()
}

/// The rows of the `top_k` least distances, least first; of equal ones the first rows.
fn nearest(distances: &[f32], top_k: usize) -> Vec<u32> {
    let mut found: Vec<(f32, u32)> = Vec::new();
    let mut worst = f32::INFINITY;
    for (row, distance) in (0u32..).zip(distances) {
        if *distance < worst || found.len() < top_k {
            let place = found.partition_point(|(other, _)| other <= distance);
            found.insert(place, (*distance, row));
            found.truncate(top_k);
            if found.len() == top_k {
                worst = found.last().map_or(worst, |(distance, _)| *distance);
            }
        }
    }
    found.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_the_least_and_ties_go_by_row() {
        let distances = [3.0, 1.0, 2.0, 1.0, 0.5, 3.0];
        assert_eq!(nearest(&distances, 3), [4, 1, 3]);
        assert_eq!(nearest(&distances, 9), [4, 1, 3, 2, 0, 5]);
        assert_eq!(nearest(&[], 3), [0; 0]);
    }
}
