//! A bulk write that is begun again: after a stop, after everything was deleted, after a skeleton
//! without items.

use std::ops::ControlFlow;

use crate::{Database, Error, Index, IndexConfig, IndexKey, Item, KeyContext, Metric};

fn loaded(db: &Database) -> Index<'_> {
    let key = IndexKey::generate().unwrap();
    db.create_index("notes", &key, IndexConfig::new(Metric::Euclidean)).unwrap();
    db.load_index("notes", KeyContext::root(key)).unwrap()
}

/// Heavy enough for several commits.
fn heavy(count: u16) -> impl ExactSizeIterator<Item = Item> {
    (0..count).map(|i| {
        let angle = f32::from(i).sin() * 1000.0;
        Item::new(i.to_string(), [angle.fract(), (angle * 7.0).fract(), f32::from(i % 97)])
            .contents(vec![7; 100_000])
    })
}

#[test]
fn a_bulk_write_begins_again_after_everything_was_deleted() {
    let db = Database::in_memory().unwrap();
    let index = loaded(&db);
    let stopped = index.bulk_upsert(heavy(800), |_| ControlFlow::Break(())).unwrap();
    assert!(stopped.stopped && stopped.item_count > 0 && stopped.item_count < 400);
    let ids: Vec<String> = (0..800).map(|i| i.to_string()).collect();
    assert_eq!(index.delete(&ids).unwrap().item_count, 0);
    index.verify_tree().unwrap();
    let again = index.bulk_upsert(heavy(800), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(again.item_count, 800);
    assert_eq!(index.verify_tree().unwrap().items, 800);
}

#[test]
fn what_a_vector_holds_breaks_no_bulk_write() {
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
        for bad in [f32::NAN, f32::INFINITY, 1e30, 0.0] {
            let db = Database::in_memory().unwrap();
            let key = IndexKey::generate().unwrap();
            db.create_index("notes", &key, IndexConfig::new(metric)).unwrap();
            let index = db.load_index("notes", KeyContext::root(key)).unwrap();
            let first: Vec<Item> = (0..400u16)
                .map(|i| Item::new(format!("x{i}"), [f32::from(i % 19) - 9.5, f32::from(i), 1.0]))
                .collect();
            index.upsert(&first).unwrap();
            let mut items: Vec<Item> = heavy(300).collect();
            items[100].vector = vec![bad; 3];
            let done = index.bulk_upsert(items, |_| ControlFlow::Continue(()));
            assert!(matches!(done, Ok(_) | Err(Error::InvalidArgument(_))), "{done:?}");
            index.verify_tree().unwrap();
        }
    }
}

#[test]
fn metadata_counts_for_the_size_of_a_commit() {
    let db = Database::in_memory().unwrap();
    let index = loaded(&db);
    let item = |i: u32| {
        let text = "x".repeat(60_000);
        Item::new(i.to_string(), [1.0, 2.0]).metadata(serde_json::json!({ "text": text }))
    };
    let mut commits = 0;
    let each = |_: &_| {
        commits += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(index.bulk_upsert((0..600).map(item), each).unwrap().inserted, 600);
    assert!(commits >= 3, "{commits} commits for 36 MB");
}
