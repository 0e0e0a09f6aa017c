//! Heads that point elsewhere: back in time, or past a commit that was taken away.

use sealvec::{Error, Fault};

use super::{COMMIT, HEAD, Scene, number};
use crate::support::{Stored, delete_raw};

#[test]
fn a_head_that_points_back_is_refused() {
    let scene = Scene::new();
    for record in scene.records.iter().filter(|record| record.kind() == HEAD) {
        let latest = u64::from_be_bytes(record.value[1..].try_into().unwrap());
        for earlier in 1..latest {
            let value = [&record.value[..1], &earlier.to_be_bytes()[..]].concat();
            scene.put(record, &value);
            let what = || format!("the head is {earlier}, not {latest}");
            assert!(scene.judge(&what, &[]), "{}", what());
        }
        scene.restore(record);
    }
}

#[test]
fn items_of_a_commit_that_was_taken_away_are_refused() {
    let scene = Scene::new();
    for head in scene.records.iter().filter(|record| record.kind() == HEAD) {
        let latest = u64::from_be_bytes(head.value[1..].try_into().unwrap());
        let value = [&head.value[..1], &(latest - 1).to_be_bytes()[..]].concat();
        let of_index =
            |record: &&Stored| record.kind() == COMMIT && record.key[..16] == head.key[..16];
        let last =
            scene.records.iter().filter(of_index).max_by_key(|record| number(record)).unwrap();
        assert_eq!(number(last), latest);
        scene.put(head, &value);
        delete_raw(&scene.raw, last.family, &last.key);
        // What only the commit knows is answered from the one before, which this version cannot
        // tell; the item that the last commit wrote gives it away.
        let excused = ["describe", "count", "users"];
        assert!(scene.judge(&|| "the last commit is gone".to_owned(), &excused));
        let answers = scene.ask();
        let of_items = ["get", "query", "list_ids", "for_each"];
        for question in of_items {
            let fault = Err(Error::Integrity(Fault::ItemRecord));
            assert!(answers.contains(&(question, fault)), "{question}");
        }
        scene.restore(head);
        scene.restore(last);
    }
}
