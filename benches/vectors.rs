//! Matrices of vectors for benches: read from .npy files, and changed in ways that keep them real.

use sealvec::Metric;
use sealvec::bench_support;

/// The value that follows a flag on the command line, or the flag itself if none does.
pub(crate) fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    Some(arguments.next().unwrap_or_default())
}

/// Vectors back to back.
#[derive(Clone)]
pub(crate) struct Matrix {
    pub(crate) columns: usize,
    data: Vec<f32>,
}

impl Matrix {
    /// Reads a two-dimensional .npy file of f16 or f32.
    pub(crate) fn read(path: &str) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let (head, data) = bytes[10..].split_at(length);
        let head = std::str::from_utf8(head).unwrap();
        let shape = head.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
        let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
        let data = if head.contains("<f2") {
            data.as_chunks().0.iter().map(|x| half::f16::from_le_bytes(*x).to_f32()).collect()
        } else {
            data.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
        };
        Self { columns: shape[1], data }
    }

    pub(crate) fn rows(&self) -> usize {
        self.data.len() / self.columns
    }

    pub(crate) fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.data.chunks_exact(self.columns)
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.data.truncate(rows * self.columns);
    }

    /// Fewer rows, or more: perturbed copies of those there are, at a distance of about 0.35, of
    /// length 1.
    pub(crate) fn resize(&mut self, rows: usize) {
        let (real, columns) = (self.rows(), self.columns);
        let mut random = Random(7);
        for row in real..rows {
            let from = (row % real) * columns;
            let mut vector: Vec<f32> = self.data[from..from + columns].to_vec();
            let step = 0.35 / (columns as f32).sqrt();
            vector.iter_mut().for_each(|x| *x += step * random.normal());
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            self.data.extend(vector.iter().map(|x| x / length));
        }
        self.truncate(rows);
    }

    /// All rows, those together that have the same nearest one of `clusters` random rows, nearest
    /// to it first.
    pub(crate) fn clustered(&self, metric: Metric, clusters: usize, seed: u64) -> Vec<u32> {
        let mut random = Random(seed);
        let mut nearest = vec![(0, f32::INFINITY); self.rows()];
        let mut distances = Vec::new();
        for cluster in 0..clusters {
            let row = (random.next() % self.rows() as u64) as usize * self.columns;
            let pivot = &self.data[row..row + self.columns];
            bench_support::distances(metric, pivot, &self.data, &mut distances);
            for (nearest, distance) in nearest.iter_mut().zip(&distances) {
                if *distance < nearest.1 {
                    *nearest = (cluster, *distance);
                }
            }
        }
        let mut order: Vec<u32> = (0..self.rows() as u32).collect();
        order.sort_by(|a, b| {
            let ((a, x), (b, y)) = (nearest[*a as usize], nearest[*b as usize]);
            a.cmp(&b).then(x.total_cmp(&y))
        });
        order
    }

    /// Multiplies each vector by a log-normal number.
    pub(crate) fn scale_log_normal(&mut self, sigma: f32) {
        let mut random = Random(11);
        for row in self.data.chunks_exact_mut(self.columns) {
            let factor = (sigma * random.normal()).exp();
            row.iter_mut().for_each(|x| *x *= factor);
        }
    }

    /// Unit vectors in a space of more dimensions, through an isometry that mixes all of them, with
    /// noise of norm 0.1.
    pub(crate) fn lifted(&self, columns: usize, seed: u64) -> Self {
        // Reflections of a fixed sequence: the same isometry for every matrix.
        let mut random = Random(5);
        let mirrors: Vec<Vec<f32>> = (0..8)
            .map(|_| {
                let mirror: Vec<f32> = (0..columns).map(|_| random.normal()).collect();
                let length = mirror.iter().map(|x| x * x).sum::<f32>().sqrt();
                mirror.iter().map(|x| x / length).collect()
            })
            .collect();
        let mut noise = Random(seed);
        let mut data = Vec::with_capacity(self.rows() * columns);
        for row in self.iter() {
            let mut wide = vec![0.0; columns];
            for (n, x) in row.iter().enumerate() {
                wide[n * columns / self.columns] = *x;
            }
            for mirror in &mirrors {
                let along: f32 = 2.0 * mirror.iter().zip(&wide).map(|(m, x)| m * x).sum::<f32>();
                wide.iter_mut().zip(mirror).for_each(|(x, m)| *x -= along * m);
            }
            let step = 0.1 / (columns as f32).sqrt();
            wide.iter_mut().for_each(|x| *x += step * noise.normal());
            let length = wide.iter().map(|x| x * x).sum::<f32>().sqrt();
            data.extend(wide.iter().map(|x| x / length));
        }
        Self { columns, data }
    }
}

/// The rows nearest to each query, by comparing all.
pub(crate) fn truth(
    base: &Matrix,
    queries: &Matrix,
    metric: Metric,
    top_k: usize,
) -> Vec<Vec<u32>> {
    let mut distances = Vec::new();
    queries
        .iter()
        .map(|query| {
            bench_support::distances(metric, query, &base.data, &mut distances);
            let mut order: Vec<u32> = (0..distances.len() as u32).collect();
            let by = |a: &u32, b: &u32| distances[*a as usize].total_cmp(&distances[*b as usize]);
            order.select_nth_unstable_by(top_k - 1, by);
            order.truncate(top_k);
            order
        })
        .collect()
}

/// A small generator (splitmix64): benches want the same numbers every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A normal number, by Box and Muller.
    fn normal(&mut self) -> f32 {
        let unit = |bits: u64| ((bits >> 40) as f32 + 0.5) / 16_777_216.0;
        let (a, b) = (unit(self.next()), unit(self.next()));
        (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
    }
}
