//! Count and size against a recount, after any history: what the head says in one commit is what
//! adding up every item says.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use sealvec::{DeleteOptions, Include, Item, Precision, Selector, Update, WriteOptions};

use super::{EUCLIDEAN, World};

/// An id of few, and a size that decides about contents and metadata.
type Put = (u8, u8);

#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<Put>),
    Update(u8, u8),
    Delete(Vec<u8>),
    Prefix(u8, usize),
    Batch(Vec<Put>, Vec<u8>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = || (0..20u8, 0..5u8);
    let step = prop_oneof![
        4 => vec(put(), 0..8).prop_map(Step::Upsert),
        2 => (0..20u8, 0..5u8).prop_map(|(id, size)| Step::Update(id, size)),
        3 => vec(0..20u8, 0..6).prop_map(Step::Delete),
        1 => (0..3u8, 0..4usize).prop_map(|(first, limit)| Step::Prefix(first, limit)),
        2 => (vec(put(), 0..5), vec(0..20u8, 0..5)).prop_map(|(p, d)| Step::Batch(p, d)),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..25)
}

fn name(id: u8) -> String {
    format!("{}{}", id % 3, "\u{e9}".repeat(usize::from(id)))
}

fn contents(size: u8) -> Vec<u8> {
    vec![size; [0, 1, 100, 5000, 70_000][usize::from(size)]]
}

fn made((id, size): Put) -> Item {
    let item = Item::new(name(id), [f32::from(id), f32::from(size)]);
    match size {
        0 => item,
        1 => item.contents(""),
        2 => item.metadata(serde_json::json!({})),
        size => item.contents(contents(size)).metadata(serde_json::json!({"n": [size, 0.1]})),
    }
}

/// What `total_size_bytes` is documented to be, by looking at everything.
fn recount(world: &World) -> (u64, u64) {
    let width = world.index().describe().unwrap().precision.bytes();
    let (mut count, mut bytes) = (0, 0);
    let seen = world.index().for_each(Include::ALL, |entry| {
        count += 1;
        bytes += entry.id.len() + entry.vector.unwrap().len() * width;
        bytes += entry.contents.map_or(0, <[u8]>::len) + entry.metadata.map_or(0, str::len);
        ControlFlow::Continue(())
    });
    assert_eq!(*seen.unwrap(), count);
    (count, bytes as u64)
}

fn check(on_disk: bool, precision: Precision, history: &[Step]) {
    let mut world = World::new(on_disk);
    world.create_with(EUCLIDEAN.precision(precision));
    let mut model = BTreeSet::new();
    for step in history {
        match step {
            Step::Upsert(puts) => {
                let items: Vec<Item> = puts.iter().copied().map(made).collect();
                world.call(|index| index.upsert(&items)).unwrap();
                model.extend(puts.iter().map(|(id, _)| name(*id)));
            }
            Step::Update(id, size) => {
                let update = Update::new().contents(contents(*size)).remove_metadata();
                let result = world.call(|index| index.update(&name(*id), update));
                assert_eq!(result.is_ok(), model.contains(&name(*id)));
            }
            Step::Delete(ids) => {
                let ids: Vec<String> = ids.iter().copied().map(name).collect();
                let report = world.call(|index| index.delete(&ids)).unwrap();
                let gone = ids.iter().filter(|id| model.remove(*id)).count();
                assert_eq!(report.deleted, gone as u64);
                world.agrees(&report);
            }
            Step::Prefix(first, limit) => {
                let prefix = first.to_string();
                let options = DeleteOptions::new().limit(*limit);
                let selector = Selector::prefix(&prefix);
                let report = world.call(|index| index.delete_with(selector, &options)).unwrap();
                let selected = model.iter().filter(|id| id.starts_with(&prefix)).cloned();
                let selected: Vec<String> = selected.collect();
                let (gone, left) = selected.split_at(selected.len().min(*limit));
                assert!(gone.iter().all(|id| model.remove(id)));
                assert!(report.outcomes.iter().map(|(id, _)| id).eq(gone));
                assert_eq!(report.remaining, left.len() as u64);
                world.agrees(&report);
            }
            Step::Batch(puts, deletes) => {
                let items: Vec<Item> = puts.iter().copied().map(made).collect();
                let deletes: Vec<String> = deletes.iter().copied().map(name).collect();
                let options = WriteOptions::new();
                let result = world.call(|index| index.write_batch(&items, &deletes, &options));
                if items.iter().any(|item| deletes.iter().any(|id| id == item.id())) {
                    assert_eq!(result.unwrap_err().code(), "invalid_argument");
                } else {
                    let gone = deletes.iter().filter(|id| model.remove(*id)).count();
                    assert_eq!(result.unwrap().deleted, gone as u64);
                    model.extend(puts.iter().map(|(id, _)| name(*id)));
                }
            }
            Step::Reopen => world.reopen(),
        }
        let found = world.index().describe().unwrap();
        assert_eq!((found.item_count, found.total_size_bytes), recount(&world), "{step:?}");
        assert_eq!(found.item_count, model.len() as u64);
    }
    world.holds(&model.iter().map(String::as_str).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_counters_are_those_of_a_recount(f16 in any::<bool>(), history in steps()) {
        check(false, if f16 { Precision::F16 } else { Precision::F32 }, &history);
    }
}

proptest! {
    #![proptest_config(Config { cases: 5, failure_persistence: None, ..Config::default() })]

    #[test]
    fn and_so_they_are_on_disk_over_restarts(history in steps()) {
        check(true, Precision::F32, &history);
    }
}
