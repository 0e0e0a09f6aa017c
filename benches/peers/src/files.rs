//! Npy files, as far as this bench needs them: `sealvec bench` has read and judged them before.

use std::fs;

use half::f16;

use crate::Result;

/// Vectors, one after another.
pub(crate) struct Matrix {
    values: Vec<f32>,
    pub(crate) columns: usize,
}

/// Row numbers for each query.
pub(crate) struct Rows {
    values: Vec<u32>,
    columns: usize,
}

impl Matrix {
    pub(crate) fn read(path: &str) -> Result<Self> {
        let (header, data) = parts(path)?;
        let values = if header.contains("<f2") {
            data.as_chunks().0.iter().map(|x| f16::from_le_bytes(*x).to_f32()).collect()
        } else {
            data.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
        };
        Ok(Self { values, columns: columns(&header)? })
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.columns)
    }

    /// Gives every vector the length 1.
    pub(crate) fn normalise(&mut self) {
        for vector in self.values.chunks_exact_mut(self.columns) {
            let square: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
            let length = square.sqrt().max(f64::MIN_POSITIVE);
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
    }
}

impl Rows {
    pub(crate) fn read(path: &str) -> Result<Self> {
        let (header, data) = parts(path)?;
        let values = data.as_chunks().0.iter().map(|x| u32::from_le_bytes(*x)).collect();
        Ok(Self { values, columns: columns(&header)? })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.values.chunks_exact(self.columns)
    }
}

/// Header and data.
fn parts(path: &str) -> Result<(String, Vec<u8>)> {
    let bytes = fs::read(path)?;
    let short = || format!("{path} is not an npy file");
    let (start, rest) = bytes.split_at_checked(10).ok_or_else(short)?;
    let (length, rest) = match start {
        [.., 1, 0, low, high] => (usize::from(u16::from_le_bytes([*low, *high])), rest),
        [.., low, high] => {
            let (more, rest) = rest.split_at_checked(2).ok_or_else(short)?;
            let length = [&[*low, *high], more].concat();
            let length = length.try_into().map(u32::from_le_bytes).map_err(|_| short())?;
            (usize::try_from(length)?, rest)
        }
        _ => return Err(short().into()),
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok((String::from_utf8_lossy(header).into_owned(), data.to_vec()))
}

/// The second number of the shape.
fn columns(header: &str) -> Result<usize> {
    let shape = header.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let second = shape.and_then(|(shape, _)| shape.split(',').nth(1));
    let columns: usize = second.ok_or("a matrix is wanted")?.trim().parse()?;
    if columns == 0 { Err("a matrix has columns".into()) } else { Ok(columns) }
}
