use super::seed::Random;
use super::*;

fn uniform(random: &mut Random) -> f32 {
    let [high, low, ..] = random.next().to_be_bytes();
    f32::from(u16::from_be_bytes([high, low])) / 32768.0 - 1.0
}

/// `n` points around `centres` random places, `width` wide, all moved by `offset`.
fn blobs(seed: usize, n: usize, dimension: usize, centres: usize, width: f32) -> Vec<f32> {
    let mut random = Random::new(seed);
    let places: Vec<f32> = (0..centres * dimension).map(|_| uniform(&mut random)).collect();
    let mut data = Vec::new();
    for i in 0..n {
        let place = &places[(i * 7 % centres) * dimension..][..dimension];
        data.extend(place.iter().map(|x| x + width * uniform(&mut random)));
    }
    data
}

/// Sets of points of many shapes: name, dimension, data.
fn shapes() -> Vec<(&'static str, usize, Vec<f32>)> {
    let scaled = |by: f32, data: &[f32]| data.iter().map(|x| x * by).collect::<Vec<_>>();
    let plain = blobs(1, 700, 13, 20, 0.2);
    let mut extreme = vec![0.0; 60 * 4];
    for (i, point) in extreme.chunks_exact_mut(4).enumerate() {
        point[i % 4] = if i % 8 < 4 { 3.1e18 } else { -3.1e18 };
    }
    let mut mixed = blobs(2, 64, 4, 3, 0.1);
    mixed.extend_from_slice(&extreme);
    vec![
        ("none", 3, vec![]),
        ("one", 3, vec![1.0, 2.0, 3.0]),
        ("two", 2, vec![1.0, 2.0, 3.0, 4.0]),
        ("two equal", 2, vec![1.0, 2.0, 1.0, 2.0]),
        ("three", 1, vec![1.0, 2.0, 10.0]),
        ("blobs", 13, plain.clone()),
        ("small", 13, scaled(1e-15, &plain)),
        ("vanishing", 13, scaled(1e-30, &plain)),
        ("long", 13, scaled(7e17, &plain)),
        ("offset", 13, plain.iter().map(|x| x / 16.0 + 1000.0).collect()),
        ("on a line", 1, blobs(3, 500, 1, 5, 0.3)),
        ("equal", 5, [0.1, -2.0, 3.3, 0.0, 7e8].repeat(900)),
        ("zero", 2, vec![0.0; 600]),
        ("extreme", 4, extreme),
        ("mixed", 4, mixed),
        ("an outlier", 2, [[1.0, 1.0].repeat(400), vec![1e9, -1e9]].concat()),
        ("even", 24, blobs(4, 300, 24, 1, 1.0)),
    ]
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// The nearest is what an f64 search finds, or as near but for rounding.
#[track_caller]
fn assert_nearest(name: &str, points: Points<'_>, centroids: Points<'_>, found: &[u32]) {
    assert_eq!(points.len(), found.len(), "{name}");
    // What may be lost: the blocked search squares distances from the mean.
    let size = centroids.iter().flat_map(|a| points.iter().map(move |b| squared(a, b)));
    let size = size.fold(0.0, f64::max);
    let slack = 1e-6 * size + 1e-44;
    for (point, found) in points.iter().zip(found) {
        let best = centroids.iter().map(|c| squared(point, c)).fold(f64::INFINITY, f64::min);
        let distance = squared(point, centroids.get(index(*found)).unwrap());
        assert!(distance <= best + slack, "{name}: {distance:e}, best {best:e}");
    }
}

#[test]
fn points_are_cut_from_their_data() {
    let points = Points::new(2, &[1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(points.len(), 2);
    assert_eq!(points.iter().collect::<Vec<_>>(), [[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(points.get(1), Some(&[3.0, 4.0][..]));
    assert_eq!(points.get(2), None);
    assert_eq!(points.get(usize::MAX), None);
    assert_eq!(Points::new(0, &[1.0]).len(), 0);
}

#[test]
fn clusters_are_not_empty_and_hold_what_is_nearest() {
    for (name, dimension, data) in shapes() {
        let points = Points::new(dimension, &data);
        for (k, rounds) in [(1, 5), (2, 10), (3, 0), (17, 10), (40, 4), (2000, 3), (0, 3)] {
            let found = cluster(points, k, rounds);
            assert_eq!(found, cluster(points, k, rounds), "{name}: deterministic");
            let centroids = Points::new(found.dimension, &found.centroids);
            assert!(found.centroids.iter().all(|x| x.is_finite()), "{name}");
            assert!(centroids.len() <= k.min(points.len()), "{name} {k}");
            assert_eq!(found.centroids.len(), centroids.len() * dimension, "{name}");
            if k == 0 {
                continue;
            }
            assert_nearest(name, points, centroids, &found.assignment);
            let mut counts = vec![0; centroids.len()];
            for nearest in &found.assignment {
                counts[index(*nearest)] += 1;
            }
            assert!(counts.iter().all(|count| *count > 0), "{name} {k} {counts:?}");
        }
    }
}

#[test]
fn equal_points_have_one_centroid_and_distinct_ones_their_own() {
    for (name, wanted) in [("equal", 1), ("zero", 1), ("two equal", 1), ("two", 2), ("three", 3)] {
        let (_, dimension, data) = shapes().into_iter().find(|shape| shape.0 == name).unwrap();
        let found = cluster(Points::new(dimension, &data), 50, 8);
        assert_eq!(found.centroids.len(), wanted * dimension, "{name}");
        if wanted == 1 {
            assert_eq!(found.centroids, data[..dimension], "{name}");
        }
    }
    // Too few for the sample to have it.
    for n in [400, 20_000] {
        let outlier = [[1.0, 1.0].repeat(n), vec![1e9, -1e9]].concat();
        assert_eq!(cluster(Points::new(2, &outlier), 2, 20).centroids.len(), 4);
    }
}

#[test]
fn well_apart_blobs_are_found() {
    let data = blobs(9, 800, 8, 16, 0.001);
    let found = cluster(Points::new(8, &data), 16, 10);
    for (i, nearest) in found.assignment.iter().enumerate() {
        assert_eq!(*nearest, found.assignment[i % 16], "{i}");
    }
    assert_eq!(found.centroids.len(), 16 * 8);
}

#[test]
fn inertia_never_grows() {
    for (name, dimension, data) in shapes() {
        let points = Points::new(dimension, &data);
        for k in [1, 2, 5, 30] {
            let mut centroids: Vec<f32> = data[..data.len().min(k * dimension)].to_vec();
            let mut before = f64::INFINITY;
            let size: f64 = points.iter().map(|x| squared(x, &vec![0.0; dimension])).sum();
            for round in 0..12 {
                let step = assign(points, Points::new(dimension, &centroids));
                let inertia: f64 = step.spreads.iter().sum();
                let slack = 1e-6 * inertia + 1e-12 * size + 1e-40;
                assert!(inertia <= before + slack, "{name} {k} {round}: {before:e} {inertia:e}");
                before = inertia;
                update(&mut centroids, &[step]);
                assert!(centroids.iter().all(|x| x.is_finite()), "{name}");
            }
        }
    }
}

#[test]
fn an_update_takes_means_over_all_parts() {
    let data = blobs(5, 500, 6, 9, 0.3);
    let points = Points::new(6, &data);
    let start = data[..20 * 6].to_vec();
    let old = Points::new(6, &start);
    let (left, right) = data.split_at(170 * 6);
    let whole = assign(points, old);
    let parts = [assign(Points::new(6, left), old), assign(Points::new(6, right), old)];
    let (mut one, mut two) = (start.clone(), start.clone());
    update(&mut one, std::slice::from_ref(&whole));
    update(&mut two, &parts);
    for (i, centroid) in Points::new(6, &one).iter().enumerate() {
        let own = whole.nearest.iter().zip(points.iter()).filter(|(c, _)| index(**c) == i);
        let own: Vec<&[f32]> = own.map(|(_, point)| point).collect();
        assert_eq!(own.len(), index(whole.counts[i]));
        for j in 0..6 {
            let count = f64::from(u32::try_from(own.len()).unwrap());
            let mean = own.iter().map(|x| f64::from(x[j])).sum::<f64>() / count;
            assert!((f64::from(centroid[j]) - mean).abs() < 1e-6);
            assert!((two[i * 6 + j] - centroid[j]).abs() < 1e-6);
        }
    }
    let before = one.clone();
    update(&mut one, &[]);
    assert_eq!(one, before);
}

#[test]
fn an_empty_centroid_shares_with_the_most_populous() {
    let data = blobs(6, 400, 10, 1, 1.0);
    let points = Points::new(10, &data);
    for far in [2, 5] {
        let mut centroids = data[..10].to_vec();
        centroids.extend(vec![1e6; 10 * far]);
        let step = assign(points, Points::new(10, &centroids));
        assert!(step.counts[1..].iter().all(|count| *count == 0));
        update(&mut centroids, &[step]);
        let step = assign(points, Points::new(10, &centroids));
        let least = step.counts.iter().min().unwrap();
        assert!(*least >= 12, "{:?}", step.counts);
    }
}

#[test]
fn nearest_agrees_with_a_search_in_f64() {
    for (name, dimension, data) in shapes() {
        let points = Points::new(dimension, &data);
        for k in [1, 7, 8, 15, 16, 17, 33, 64, 100] {
            let centroids = Points::new(dimension, &data[..data.len().min(k * dimension)]);
            for n in [1, 15, 16, 17, 63, 64, 65, 130, points.len()] {
                let points =
                    Points::new(dimension, &data[data.len() - data.len().min(n * dimension)..]);
                let found = nearest(points, centroids);
                let names: Vec<u32> = found.iter().map(|(i, _)| *i).collect();
                assert_nearest(name, points, centroids, &names);
                assert_eq!(names, assign(points, centroids).nearest);
                for ((i, distance), point) in found.iter().zip(points.iter()) {
                    let wanted = squared(point, centroids.get(index(*i)).unwrap());
                    let error = (f64::from(*distance) - wanted).abs();
                    assert!(error <= 1e-5 * wanted + 1e-44, "{name}");
                }
            }
        }
    }
    assert_eq!(nearest(Points::new(2, &[1.0, 2.0]), Points::new(2, &[])).len(), 1);
}

#[test]
fn halves_are_balanced() {
    for (name, dimension, data) in shapes() {
        for n in (0..9).chain([100, usize::MAX]) {
            let data = &data[..data.len().min(n.saturating_mul(dimension))];
            let points = Points::new(dimension, data);
            let sides = halve(points);
            assert_eq!(sides, halve(points), "{name}");
            assert_eq!(sides.len(), points.len());
            let second = sides.iter().filter(|side| **side).count();
            let least = (points.len() / 3).max(points.len().min(2) / 2);
            assert!(second >= least || points.len() == 1, "{name}: {second} of {}", points.len());
            assert!(points.len() - second >= least, "{name}: {second} of {}", points.len());
        }
    }
}

#[test]
fn halves_are_of_near_points() {
    let data: Vec<f32> = (0_u8..10).map(|i| if i % 2 == 0 { 1.0 } else { 5.0 }).collect();
    let sides = halve(Points::new(1, &data));
    assert!(sides.iter().enumerate().all(|(i, side)| *side == (sides[0] ^ (i % 2 == 1))));
    // Of ten, three at least: the outlier and the two nearest to it.
    let sides = halve(Points::new(1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1e3]));
    assert_eq!(sides.iter().filter(|side| **side == sides[9]).count(), 3);
    assert!(sides[7] == sides[9] && sides[8] == sides[9]);
}

#[test]
fn divided_groups_are_bounded() {
    for (name, dimension, data) in shapes() {
        let points = Points::new(dimension, &data);
        for most in [0, 1, 2, 3, 10, 100, 400, 5000] {
            let groups = divide(points, most);
            assert_eq!(groups, divide(points, most), "{name}");
            assert_eq!(groups.len(), points.len());
            let count = groups.iter().max().map_or(0, |last| index(*last) + 1);
            let mut sizes = vec![0; count];
            for group in &groups {
                sizes[index(*group)] += 1;
            }
            let bound = 1..=most.max(1);
            assert!(sizes.iter().all(|size| bound.contains(size)), "{name} {most} {sizes:?}");
            // Not far more groups than needed.
            let fewest = points.len().div_ceil(most.max(1));
            assert!(count <= 4 * fewest, "{name} {most}: {count} groups, {fewest} would do");
        }
    }
}
