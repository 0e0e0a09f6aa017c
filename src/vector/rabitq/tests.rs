//! The formulas against `f64`, their statistics, and the edges.

use super::*;
use crate::vector::scalar::Rounded;

const WIDTHS: [Width; 3] = [Width::One, Width::Two, Width::Four];
const FORMS: [Form; 2] = [Form::Square, Form::Inner];

/// Normally distributed components, from a splitmix64 stream.
struct Source(u64);

impl Source {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap()) + 0.5) / 4_294_967_296.0
    }

    fn vector(&mut self, len: usize, scale: f64) -> Vec<f32> {
        let scale = scale / real(len).sqrt();
        let mut normal = || {
            let angle = std::f64::consts::TAU * self.uniform();
            finite(scale * (-2.0 * self.uniform().ln()).sqrt() * angle.cos())
        };
        (0..len).map(|_| normal()).collect()
    }
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(x, y)| x + y).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}

fn length(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn exact(form: Form, query: &[f64], x: &[f64]) -> f64 {
    match form {
        Form::Square => length(&minus(query, x)).powi(2),
        Form::Inner => -dot(query, x),
    }
}

fn points(width: Width, code: &[u8]) -> Vec<f64> {
    let mut values = Vec::new();
    codes::unpack(width, code, &mut values);
    let middle = (f64::from(1_u32 << width.bits()) - 1.0) / 2.0;
    values.iter().map(|x| f64::from(*x) - middle).collect()
}

fn reach(query: &[f32], centroid: &[f32]) -> f32 {
    kernels::squared_distance(query, centroid).sqrt()
}

/// Rows of one partition.
#[derive(Default)]
struct Rows {
    codes: Vec<u8>,
    add: Vec<f32>,
    rescale: Vec<f32>,
    error: Vec<f32>,
    norm: Vec<f32>,
}

impl Rows {
    fn push(&mut self, width: Width, form: Form, vector: &[f32], centroid: &[f32]) -> Factors {
        let factors = encode(width, form, vector, centroid, &mut self.codes);
        self.add.push(factors.add);
        self.rescale.push(factors.rescale);
        self.error.push(factors.error);
        self.norm.push(factors.norm);
        factors
    }

    fn estimate(&self, width: Width, probe: &Probe, centroid: &[f32]) -> Vec<Estimate> {
        let (base, reach) = (probe.to_centroid(centroid), reach(probe.query(), centroid));
        let (codes, mut dots) = (&self.codes, vec![7; 2]);
        let first = Estimate { distance: 1.0, lower: 2.0 };
        let mut out = vec![first];
        let (add, rescale, error) = (&self.add, &self.rescale, &self.error);
        probe.estimate(width, base, reach, codes, add, rescale, error, &mut dots, &mut out);
        assert_eq!(out.len(), 1 + add.len());
        assert_eq!(out.remove(0), first);
        out
    }
}

#[test]
#[expect(clippy::many_single_char_names, reason = "the names of the formulas")]
fn estimates_are_those_of_the_formulas() {
    let mut source = Source(1);
    for (width, form) in WIDTHS.map(|w| FORMS.map(|f| (w, f))).concat() {
        for (len, scale) in [64, 384, 1536].map(|n| [1e-12, 1.0, 1e17].map(|s| (n, s))).concat() {
            let centroid = source.vector(len, scale);
            let query = sum(&centroid, &source.vector(len, scale));
            let probe = Probe::new(form, &query);
            let vectors: Vec<_> =
                (0..6).map(|_| sum(&centroid, &source.vector(len, 0.7 * scale))).collect();
            let mut rows = Rows::default();
            for vector in &vectors {
                rows.push(width, form, vector, &centroid);
            }
            let step = f64::from(probe.step);
            let rounded: Vec<_> = probe.rounded.iter().map(|x| f64::from(*x) * step).collect();
            let (q, c) = (wide(&query), wide(&centroid));
            let found = rows.estimate(width, &probe, &centroid);
            for (i, (vector, found)) in vectors.iter().zip(found).enumerate() {
                let r = minus(&wide(vector), &c);
                let norm = length(&r);
                let o: Vec<_> = r.iter().map(|x| x / norm).collect();
                let u = points(width, rows.codes.chunks(width.code_bytes(len)).nth(i).unwrap());
                let s = dot(&u, &o) / length(&u);
                let along = dot(&u, &minus(&rounded, &c)) / length(&u) / s;
                let (times, rest) = match form {
                    Form::Square => (2.0, norm * norm + exact(form, &q, &c)),
                    Form::Inner => (1.0, -dot(&r, &c) - dot(&q, &c)),
                };
                let wanted = rest - times * norm * along;
                let size = scale * scale;
                assert!(
                    (f64::from(found.distance) - wanted).abs() < 2e-5 * size,
                    "{width:?} {form:?} {len}"
                );
                assert!((f64::from(rows.norm[i]) / norm - 1.0).abs() < 1e-5);

                let deviation = (1.0 - s * s).sqrt() / s / (real(len) - 1.0).sqrt();
                let bound = times * norm * 1.9 * deviation * length(&minus(&q, &c));
                let spare = f64::from(found.distance - found.lower) / bound;
                assert!((0.999..1.05).contains(&spare), "{width:?} {len} {spare}");
            }
        }
    }
}

#[test]
fn estimates_have_no_bias_the_known_error_and_the_bound() {
    let mut source = Source(2);
    for (len, form) in [64, 384, 1536].map(|n| FORMS.map(|f| (n, f))).concat() {
        // With the origin near, and so far that the query's rounding tells.
        for (width, away) in WIDTHS.map(|w| [0.5, 20.0].map(|away| (w, away))).concat() {
            let (mut total, mut squares, mut covered, mut count) = (0.0, 0.0, 0.0, 0.0);
            for _ in 0..40 {
                let centroid = source.vector(len, away);
                let queries: Vec<_> =
                    (0..10).map(|_| sum(&centroid, &source.vector(len, 1.0))).collect();
                let vectors: Vec<_> =
                    (0..10).map(|_| sum(&centroid, &source.vector(len, 0.7))).collect();
                let mut rows = Rows::default();
                for vector in &vectors {
                    rows.push(width, form, vector, &centroid);
                }
                for query in &queries {
                    let probe = Probe::new(form, query);
                    let found = rows.estimate(width, &probe, &centroid);
                    for ((vector, norm), found) in vectors.iter().zip(&rows.norm).zip(found) {
                        let wanted = exact(form, &wide(query), &wide(vector));
                        let size = f64::from(norm * reach(query, &centroid)) * form.times();
                        let error = (f64::from(found.distance) - wanted) / size * real(len).sqrt();
                        total += error;
                        squares += error * error;
                        covered += f64::from(u8::from(f64::from(found.lower) <= wanted));
                        count += 1.0;
                        assert!(found.lower <= found.distance);
                    }
                }
            }
            let (bias, deviation): (f64, f64) = (total / count, (squares / count).sqrt());
            let share: f64 = covered / count;
            let text =
                format!("{len} {form:?} {width:?} {away}: {bias:.4} {deviation:.4} {share:.4}");
            println!("{text}");
            assert!(share > 0.965, "{text}");
            assert!(bias.abs() < 5.0 * deviation / count.sqrt(), "{text}");
            if away < 1.0 {
                let known = match width {
                    Width::One => 0.755,
                    Width::Two => 0.366,
                    _ => 0.106,
                };
                // Few components fit the grid better than many.
                let tolerance = if len < 100 { 0.16 } else { 0.1 };
                assert!((deviation / known - 1.0).abs() < tolerance, "{text}");
            }
        }
    }
}

/// The largest `s^2` of all scales: every point where a component moves on.
fn best_likeness(width: Width, unit: &[f64]) -> f64 {
    let top = (1_u32 << width.bits()) / 2;
    let mut moves: Vec<(f64, f64, f64)> = Vec::new();
    for x in unit.iter().map(|x| x.abs()) {
        moves.extend((1..top).map(f64::from).map(|k| (k / x, x, 2.0 * k)));
    }
    moves.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut dot, mut square) =
        (unit.iter().map(|x| x.abs() / 2.0).sum::<f64>(), real(unit.len()) / 4.0);
    let mut best = dot * dot / square;
    for (_, x, more) in moves {
        dot += x;
        square += more;
        best = best.max(dot * dot / square);
    }
    best
}

#[test]
fn codes_are_close_to_the_best() {
    let mut source = Source(3);
    let zero = [0.0; 1536];
    for (width, len) in WIDTHS.map(|w| [64, 128, 384, 1536].map(|n| (w, n))).concat() {
        let mut worst: f64 = 1.0;
        for _ in 0..50 {
            let vector = source.vector(len, 1.0);
            let mut code = Vec::new();
            let factors = encode(width, Form::Inner, &vector, &zero[..len], &mut code);
            let (o, u) = (wide(&vector), points(width, &code));
            let s = dot(&u, &o) / length(&u) / length(&o);
            let best = best_likeness(width, &o).sqrt() / length(&o);
            assert!(factors.norm > 0.0 && s <= best + 1e-6);
            worst = worst.min(s / best);
        }
        println!("{width:?} {len}: {worst}");
        assert!(worst > 0.999, "{width:?} {len}: {worst}");
    }
}

#[test]
fn a_vector_that_is_its_centroid_is_as_far_as_that() {
    let mut source = Source(4);
    let (centroid, query) = (source.vector(384, 1.0), source.vector(384, 1.0));
    for (width, form) in WIDTHS.map(|w| FORMS.map(|f| (w, f))).concat() {
        let mut rows = Rows::default();
        assert_eq!(rows.push(width, form, &centroid, &centroid), Factors::NONE);
        assert_eq!(rows.codes.len(), width.code_bytes(384));
        let probe = Probe::new(form, &query);
        let base = probe.to_centroid(&centroid);
        let wanted = Estimate { distance: base, lower: base };
        assert_eq!(rows.estimate(width, &probe, &centroid), [wanted]);
    }
}

#[test]
fn nothing_the_index_takes_gives_anything_but_numbers() {
    let mut source = Source(5);
    let one = |x: f32| {
        let mut vector = vec![0.0; 4096];
        vector[4095] = x;
        vector
    };
    let mut all = vec![one(0.0), one(3.1e18), one(-3.1e18), one(1e-45), one(1e-36), one(1e-20)];
    for scale in [1e-44, 1e-38, 1e-34, 1e-19, 1.0, 3e18] {
        let vector = source.vector(4096, scale);
        all.push(vector.iter().map(|x| -x).collect());
        all.push(vector);
    }
    for (width, form) in WIDTHS.map(|w| FORMS.map(|f| (w, f))).concat() {
        for centroid in &all {
            let mut rows = Rows::default();
            for vector in &all {
                let factors = rows.push(width, form, vector, centroid);
                let Factors { add, rescale, error, norm } = factors;
                assert!([add, rescale, error, norm].iter().all(|x| x.is_finite()), "{factors:?}");
            }
            for query in &all {
                let found = rows.estimate(width, &Probe::new(form, query), centroid);
                for Estimate { distance, lower } in found {
                    assert!(distance.is_finite() && lower.is_finite() && lower <= distance);
                }
            }
        }
    }
}

#[test]
fn rounded_centroids_are_where_they_expand_to() {
    let mut source = Source(6);
    for (form, scale) in FORMS.map(|f| [1e-12, 1.0, 1e17].map(|s| (f, s))).concat() {
        let query = source.vector(384, scale);
        let probe = Probe::new(form, &query);
        let mut centroids: Vec<_> =
            (0..9).map(|_| Rounded::round(&source.vector(384, scale))).collect();
        centroids.push(Rounded::round(&query));
        centroids.push(Rounded::round(&[0.0; 384]));
        let codes: Vec<u8> = centroids.iter().flat_map(|c| c.codes.clone()).collect();
        let scales: Vec<f32> = centroids.iter().map(|c| c.scale).collect();
        let squares: Vec<f32> =
            centroids.iter().map(|c| finite(kernels::square(&c.expand()))).collect();
        let mut found = vec![7.0; 2];
        probe.to_rounded(&codes, &scales, &squares, &mut found);
        assert_eq!(found.len(), centroids.len());
        for (found, centroid) in found.iter().zip(&centroids) {
            let wanted = exact(form, &wide(&query), &wide(&centroid.expand()));
            // The query's rounding: a hundredth, against a random direction.
            assert!((f64::from(*found) - wanted).abs() < 5e-3 * scale * scale, "{found} {wanted}");
            assert!(form == Form::Inner || *found >= 0.0);
        }
    }
}
