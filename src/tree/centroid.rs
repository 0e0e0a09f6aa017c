//! Centroids, and why they give nothing back.
//!
//! The exact mean of a partition would give a deleted member back to who knows the others: `n`
//! times the mean less their sum. So a centroid of `n` vectors gets noise of norm `3 * rms|x| / n`
//! once, when it is computed: as much as three members' worth, in a direction from the operating
//! system. A branch's centroid is the mean of its children's, and so no better known than they are.
//! Then it is rounded to 8 bits a component, and what is rounded is the centroid.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts of members and lengths of vectors"
)]

use std::f32::consts::TAU;

use super::Space;
use super::plan::Placed;
use crate::crypto::fill_random;
use crate::error::Result;
use crate::vector::kernels;
use crate::vector::scalar::Rounded;

/// The mean of vectors with its noise, rounded. `count` is the number of items it stands for.
pub(super) fn centroid_of(members: &[&Placed], count: usize, space: &Space) -> Result<Rounded> {
    let mut mean = mean(members);
    let squares: f64 =
        members.iter().map(|member| kernels::square(member) / members.len() as f64).sum();
    let norm = space.rules.noise * squares.sqrt() as f32 / count.max(1) as f32;
    if norm > 0.0 {
        let mut noise = direction(space.padded())?;
        for x in &mut noise {
            *x *= norm;
        }
        add(&mut mean, &noise);
    }
    Ok(Rounded::round(&mean))
}

/// The mean of vectors.
pub(super) fn mean(members: &[&Placed]) -> Vec<f32> {
    let mut mean = vec![0.0; members.first().map_or(0, |member| member.len())];
    for member in members {
        add(&mut mean, member);
    }
    scale(&mut mean, members.len());
    mean
}

/// A random unit vector: normal components (Box and Muller 1958), scaled.
fn direction(dimension: usize) -> Result<Vec<f32>> {
    let mut bytes = vec![[0u8; 8]; dimension.div_ceil(2)];
    fill_random(bytes.as_flattened_mut())?;
    let mut out = Vec::with_capacity(dimension + 1);
    for [a, b, c, d, e, f, g, h] in bytes {
        let unit = |bytes| (u32::from_le_bytes(bytes) >> 8) as f32 / 16_777_216.0;
        let radius = (-2.0 * (1.0 - unit([a, b, c, d])).ln()).sqrt();
        let (sine, cosine) = (TAU * unit([e, f, g, h])).sin_cos();
        out.extend([radius * cosine, radius * sine]);
    }
    out.truncate(dimension);
    let length = (kernels::square(&out).sqrt() as f32).max(f32::MIN_POSITIVE);
    for x in &mut out {
        *x /= length;
    }
    Ok(out)
}

/// Adds a vector to a sum.
pub(super) fn add(sum: &mut [f32], vector: &[f32]) {
    sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
}

/// Divides a sum by the number of its terms.
pub(super) fn scale(sum: &mut [f32], count: usize) {
    let count = count.max(1) as f32;
    for x in sum {
        *x /= count;
    }
}
