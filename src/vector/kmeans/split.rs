//! Groups of bounded size.

use std::cmp::Ordering;

use super::{Points, cluster, index, kernels};

/// Rounds for two centroids, and for many.
const HALVE_ROUNDS: usize = 10;
const DIVIDE_ROUNDS: usize = 10;

/// Parts two groups of near points; true is the second.
///
/// Each gets a third of the points at least (rounded down, but one if there
/// are two points). Where the nearer centroid alone would give one less, the
/// points that are most nearly its own make up for it.
pub(crate) fn halve(points: Points<'_>) -> Vec<bool> {
    let all = points.len();
    let clusters = cluster(points, 2, HALVE_ROUNDS);
    let centroids = Points::new(clusters.dimension, &clusters.centroids);
    let (first, second) = (centroids.get(0), centroids.get(1));
    // Under 0 is nearer to the first. Equal points have no second.
    let lean = |point: &[f32]| {
        let from = |c: Option<&[f32]>| c.map_or(0.0, |c| kernels::squared_distance(point, c));
        if second.is_some() { from(first) - from(second) } else { 0.0 }
    };
    let mut order: Vec<(f32, usize)> = points.iter().map(lean).zip(0..).collect();
    let natural = if second.is_some() {
        clusters.assignment.iter().filter(|nearest| **nearest == 0).count()
    } else {
        all / 2
    };
    let least = (all / 3).max(1).min(all / 2);
    let firsts = natural.clamp(least, all - least);
    let by_lean = |a: &(f32, usize), b: &(f32, usize)| -> Ordering {
        a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
    };
    if firsts < all {
        order.select_nth_unstable_by(firsts, by_lean);
    }
    let mut second = vec![true; all];
    for (_, i) in order.iter().take(firsts) {
        if let Some(second) = second.get_mut(*i) {
            *second = false;
        }
    }
    second
}

/// Parts the points into groups of near ones, each of 1 to `most` points and
/// seven tenths of that as a rule: the group of each point, numbered from 0
/// without gaps. A `most` of 0 counts as 1.
pub(crate) fn divide(points: Points<'_>, most: usize) -> Vec<u32> {
    let (all, most) = (points.len(), most.max(1));
    if all <= most {
        return vec![0; all];
    }
    let wanted = all.saturating_mul(10).div_ceil(most.saturating_mul(7));
    let clusters = cluster(points, wanted.max(2), DIVIDE_ROUNDS);
    let count = Points::new(clusters.dimension, &clusters.centroids).len();
    let mut groups = vec![Vec::new(); count];
    for (i, nearest) in clusters.assignment.iter().enumerate() {
        if let Some(group) = groups.get_mut(index(*nearest)) {
            group.push(i);
        }
    }
    groups.reverse();
    let mut found = vec![0; all];
    let mut name = 0;
    while let Some(group) = groups.pop() {
        if group.len() > most {
            groups.extend(cut(points, &group));
            continue;
        }
        for i in &group {
            if let Some(found) = found.get_mut(*i) {
                *found = name;
            }
        }
        name += 1;
    }
    found
}

/// The two halves of a group, neither of them empty.
fn cut(points: Points<'_>, group: &[usize]) -> [Vec<usize>; 2] {
    let mut data = Vec::with_capacity(group.len().saturating_mul(points.dimension));
    data.extend(group.iter().filter_map(|i| points.get(*i)).flatten());
    let sides = halve(Points::new(points.dimension, &data));
    let (second, first): (Vec<_>, Vec<_>) = group.iter().zip(sides).partition(|(_, side)| *side);
    [second, first].map(|half| half.into_iter().map(|(i, _)| *i).collect())
}
