//! Random histories against a model.
//!
//! Every step is one commit: items put in, taken out, overwritten, all three at once, or a part of
//! the tree rebuilt. After every step the whole tree is checked against the items, and searched.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{METRICS, Random, Store, WIDTHS, small};
use crate::tree::Rules;

const DIMENSIONS: [usize; 4] = [1, 3, 64, 100];
/// Numbers of items; few enough that what is put in is often there already.
const NUMBERS: usize = 300;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many new or old items, of this shape.
    Put(usize, u8),
    /// So many items that are there.
    Remove(usize),
    /// So many items that are there, with new vectors, in the commit that takes out so many others.
    Replace(usize, usize, u8),
    /// One branch above the leaves.
    Rebuild(usize),
    /// All of them.
    RebuildAll,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let many = || prop_oneof![4 => 1..6usize, 4 => 1..50usize, 1 => 1..250usize];
    prop_oneof![
        8 => (many(), 0..6u8).prop_map(|(count, shape)| Step::Put(count, shape)),
        5 => many().prop_map(Step::Remove),
        4 => (many(), many(), 0..6u8).prop_map(|(put, gone, shape)| Step::Replace(put, gone, shape)),
        2 => any::<usize>().prop_map(Step::Rebuild),
        1 => Just(Step::RebuildAll),
        1 => Just(Step::Clear),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    (8..=16usize, 4..=6usize, 0..4usize, 0..3usize, 0..3usize, any::<bool>()).prop_map(
        |(leaf_most, fanout_most, width, fanout_least, spill, noisy)| Rules {
            width: WIDTHS[width],
            fanout_least,
            spill_from: [2, 8, usize::MAX][spill],
            noise: if noisy { 3.0 } else { 0.0 },
            ..small(leaf_most, fanout_most)
        },
    )
}

/// A vector of one of several shapes: scattered, in clumps, one of four, on a line, all the same,
/// long and short.
fn vector(random: &mut Random, shape: u8, dimension: usize) -> Vec<f32> {
    let at = |place: usize| Random(place as u64).vector(dimension);
    match shape {
        0 => random.vector(dimension),
        1 => at(random.below(6)).into_iter().map(|x| x + 0.1 * random.normal()).collect(),
        2 => at(random.below(4)),
        3 => {
            let along = random.normal() * 5.0;
            at(1).into_iter().map(|x| x * along + 0.01).collect()
        }
        4 => at(2),
        _ => {
            let scale = 10.0_f32.powi(i32::try_from(random.below(12)).unwrap() - 6);
            random.vector(dimension).into_iter().map(|x| x * scale).collect()
        }
    }
}

struct World {
    store: Store,
    dimension: usize,
    random: Random,
}

impl World {
    fn live(&self) -> Vec<u64> {
        self.store.items.values().map(|held| held.row.number.0).collect()
    }

    /// Some of the items that are there, in no order.
    fn some(&mut self, count: usize) -> Vec<u64> {
        let mut live = self.live();
        for at in 0..count.min(live.len()) {
            let other = at + self.random.below(live.len() - at);
            live.swap(at, other);
        }
        live.truncate(count);
        live
    }

    fn vector(&mut self, shape: u8) -> Vec<f32> {
        vector(&mut self.random, shape, self.dimension)
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Put(count, shape) => {
                let numbers: std::collections::BTreeSet<u64> =
                    (0..count).map(|_| self.random.below(NUMBERS) as u64).collect();
                let put: Vec<_> =
                    numbers.into_iter().map(|number| (number, self.vector(shape))).collect();
                self.store.write(&[], &put).unwrap();
            }
            Step::Remove(count) => {
                let gone = self.some(count);
                self.store.write(&gone, &[]).unwrap();
            }
            Step::Replace(put, gone, shape) => {
                let mut numbers = self.some(put + gone);
                let gone = numbers.split_off(put.min(numbers.len()));
                let put: Vec<_> =
                    numbers.into_iter().map(|number| (number, self.vector(shape))).collect();
                self.store.write(&gone, &put).unwrap();
            }
            Step::Rebuild(which) => {
                self.store
                    .plan(|plan| {
                        let twigs = plan.twigs()?;
                        let Some(count) = twigs.len().checked_sub(1) else { return Ok(()) };
                        plan.rebuild(twigs[which % (count + 1)].0, [9; 16])
                    })
                    .unwrap();
            }
            Step::RebuildAll => {
                let mut twigs = Vec::new();
                self.store
                    .plan(|plan| {
                        twigs = plan.twigs()?;
                        Ok(())
                    })
                    .unwrap();
                for (twig, _) in twigs {
                    // An earlier one may have merged it away.
                    if self.store.nodes.contains_key(&twig) {
                        self.store
                            .plan(|plan| {
                                let is_there = plan.twigs()?.iter().any(|(id, _)| *id == twig);
                                if is_there { plan.rebuild(twig, [8; 16]) } else { Ok(()) }
                            })
                            .unwrap();
                        self.store.check().unwrap();
                    }
                }
            }
            Step::Clear => {
                let all = self.live();
                self.store.write(&all, &[]).unwrap();
                assert!(self.store.nodes.is_empty());
            }
        }
    }

    fn check(&mut self) {
        let census = self.store.check().unwrap();
        let count = self.store.items.len();
        assert_eq!(census.height == 0, count == 0);
        for shape in [0, 1] {
            let query = self.vector(shape);
            let truth = self.store.truth(&query);
            // With this many wanted, the first wave of vectors has all of them.
            let top_k = (count * 3 / 4).max(1);
            for top_k in [top_k, count + 5] {
                let found = self.store.search(&query, top_k, Some(usize::MAX));
                self.store.assert_sound(&query, &found, top_k);
                let distances = found.iter().map(|(distance, _)| distance.to_bits());
                assert!(distances.eq(truth.iter().take(found.len()).map(|(d, _)| d.to_bits())));
                // Beyond `top_k` only what is as far.
                if let Some((_, more)) = found.split_at_checked(top_k) {
                    assert!(more.iter().all(|(d, _)| *d <= found[top_k - 1].0));
                }
            }
            for (top_k, probes) in [(10, None), (3, Some(1))] {
                let found = self.store.search(&query, top_k, probes);
                self.store.assert_sound(&query, &found, top_k);
            }
        }
    }
}

/// As many cases as `PROPTEST_CASES` asks for, 200 if it asks for none.
fn cases() -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(200);
    Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn any_history_leaves_a_sound_tree(
        metric in 0..3usize, dimension in 0..4usize, rules in rules(), seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..16),
    ) {
        let dimension = DIMENSIONS[dimension];
        let store = Store::new(METRICS[metric], dimension, rules);
        let mut world = World { store, dimension, random: Random(seed) };
        for step in steps {
            world.run(step);
            world.check();
        }
    }
}
