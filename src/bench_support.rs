//! For `sealvec bench`, and no part of the API: the plain scan that it compares with runs on the
//! kernels of the library, so that the comparison is with the fastest exact scan this machine
//! gives.

use crate::vector::{Metric, kernels};

/// Puts the distance from `query` to each of `rows` into `out`, in place of what it held.
///
/// The rows are laid one after another. The distances are in the order of the metric, not on its
/// scale: under `Cosine` all vectors are taken to have length 1, and under `Euclidean` no root is
/// taken.
pub fn distances(metric: Metric, query: &[f32], rows: &[f32], out: &mut Vec<f32>) {
    out.clear();
    let rows = rows.chunks_exact(query.len().max(1));
    match metric {
        Metric::Euclidean => out.extend(rows.map(|row| kernels::squared_distance(query, row))),
        _ => out.extend(rows.map(|row| -kernels::dot(query, row))),
    }
}
