//! The rest of the list: what is about files, crashes, damage and pages.

use std::collections::BTreeSet;

use sealvec::{Database, DeleteOptions, DeleteOutcome, Include, Operation, Permissions, Selector};

use super::super::{Case, On, World};
use crate::support::{
    NAME, ROOT, Stored, code, copy_directory, open_raw, put_raw, records, records_while_open, root,
    small, user, user_id, user_key,
};

/// What is stored of items: their records and values, not the catalog's.
fn of_family(world: &World, family: &str) -> Vec<Stored> {
    let all = records_while_open(&world.path().unwrap());
    all.into_iter().filter(|record| record.family == family).collect()
}

pub(crate) const CASES: &[Case] = &[
    Case {
        id: "superset 19",
        says: "killed right after a synced delete: the item is not in what is left, by any way",
        on: On::Disk,
        steps: |world| {
            world.create();
            world.put(&["gone", "stays"]);
            world.delete(&["gone"]);
            // The files as they are now, with nothing closed: what a killed process leaves.
            let left = world.path().unwrap().with_file_name("left");
            copy_directory(&world.path().unwrap(), &left);
            let db = Database::open(&left, small()).unwrap();
            let mut found = World::new(false);
            found.index = Some(db.load_index(NAME, root(ROOT)).unwrap());
            found.holds(&["stays"]);
            assert_eq!(found.state().description, world.state().description);
            found.index = None;
        },
    },
    Case {
        id: "superset 21",
        says: "without its record a value that is put back opens for nobody, the index key included",
        on: On::Disk,
        steps: |world| {
            world.create();
            world.put(&["gone", "stays"]);
            let values = of_family(world, "payload");
            assert_eq!(values.len(), 6, "vector, contents and metadata of two");
            world.delete(&["gone"]);
            let left = of_family(world, "payload");
            assert_eq!(left.len(), 3);
            world.change_files(|path| {
                let raw = open_raw(path);
                for value in values.iter().filter(|value| !left.contains(value)) {
                    put_raw(&raw, value.family, &value.key, &value.value);
                }
            });
            world.holds(&["stays"]);
            assert_eq!(world.index().get(&["gone"], Include::ALL).unwrap()[0].item, None);
            // Nor under a new record of that id, whose key is another.
            world.put(&["gone"]);
            world.holds(&["gone", "stays"]);
            world.delete(&["gone"]);
            assert_eq!(of_family(world, "payload"), left);
        },
    },
    Case {
        id: "superset 22",
        says: "records that were swapped are damaged, and neither goes for the other",
        on: On::Disk,
        steps: |world| {
            world.create();
            world.put(&["a", "b"]);
            world.change_files(|path| {
                let raw = open_raw(path);
                let items: Vec<Stored> =
                    records(&raw).into_iter().filter(|record| record.family == "items").collect();
                put_raw(&raw, "items", &items[0].key, &items[1].value);
                put_raw(&raw, "items", &items[1].key, &items[0].value);
            });
            let index = world.index();
            for id in ["a", "b"] {
                assert_eq!(code(&index.get(&[id], Include::ALL)), "integrity");
            }
            let swapped = of_family(world, "items");
            let report = index.delete(&["a"]).unwrap();
            assert_eq!(report.outcomes, [("a".to_owned(), DeleteOutcome::DeletedCorrupt)]);
            assert_eq!((report.deleted, report.corrupt, report.item_count), (1, 1, 1));
            let left = of_family(world, "items");
            assert!(left.len() == 1 && swapped.contains(&left[0]), "the other one is untouched");
            assert_eq!(code(&index.get(&["b"], Include::ALL)), "integrity");
            assert_eq!(index.delete(&["b"]).unwrap().corrupt, 1);
            world.holds(&[]);
        },
    },
    Case {
        id: "superset 31",
        says: "pages of a list with deletes between them show no deleted id and skip no other",
        on: On::Both,
        steps: |world| {
            world.create();
            let ids: Vec<String> = (0..30).map(|n| format!("{n:02}")).collect();
            world.put(&ids.iter().map(String::as_str).collect::<Vec<_>>());
            let (mut deleted, mut seen, mut cursor) = (BTreeSet::new(), Vec::new(), None);
            loop {
                let page = world.index().list_ids(4, cursor.as_ref()).unwrap().value;
                assert!(page.ids.iter().all(|id| !deleted.contains(id)));
                let last = page.ids.last().cloned().unwrap();
                seen.extend(page.ids);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
                // The one the cursor stands on, and two that are still to come.
                let at: usize = last.parse().unwrap();
                for id in [at, at + 1, at + 4].into_iter().filter_map(|n| ids.get(n)) {
                    world.delete(&[id]);
                    deleted.insert(id.clone());
                }
            }
            let shown: BTreeSet<String> = seen.iter().cloned().collect();
            assert!(seen.is_sorted() && shown.len() == seen.len());
            let all: BTreeSet<String> = shown.union(&deleted).cloned().collect();
            assert_eq!(all.len(), 30, "an id that was never deleted was skipped");
        },
    },
    Case {
        id: "superset 33",
        says: "a damaged item goes as any other, and the report says that it was damaged",
        on: On::Disk,
        steps: |world| {
            world.create();
            world.put(&["a", "b", "c"]);
            world.index().grant(user_id(3), &user_key(3), Permissions::WRITE).unwrap();
            // Whatever they are of, the items' records and a contents value are damaged.
            world.change_files(|path| {
                let raw = open_raw(path);
                let all = records(&raw);
                let items = all.iter().filter(|record| record.family == "items").take(2);
                for record in items.chain(all.iter().find(|record| record.family == "payload")) {
                    let mut value = record.value.clone();
                    *value.last_mut().unwrap() ^= 1;
                    put_raw(&raw, record.family, &record.key, &value);
                }
            });
            let ids = ["a", "b", "c"];
            let index = world.index();
            assert_eq!(code(&index.get(&ids, Include::ALL)), "integrity");
            let dry = index.delete_with(&ids, &DeleteOptions::new().dry_run(true)).unwrap();
            assert_eq!((dry.deleted, dry.corrupt, dry.item_count), (3, 2, 0));
            // Who may only write is not told which, but may.
            let report = index.with_key(&user(3, 3)).delete(&ids).unwrap();
            assert_eq!((report.deleted, report.corrupt, report.item_count), (3, 2, 0));
            assert_eq!((report.total_size_bytes, report.outcomes.len()), (0, 0));
            let last = world.index().history(.., 1).unwrap().value.commits.remove(0);
            assert_eq!((last.operation, last.deleted), (Operation::Recount, 3));
            world.holds(&[]);
            for family in ["items", "payload", "nodes"] {
                assert!(of_family(world, family).is_empty(), "{family}");
            }
            world.put(&ids);
            world.holds(&ids);
        },
    },
    Case {
        id: "superset 34",
        says: "what changes nothing writes nothing, to the last byte",
        on: On::Disk,
        steps: |world| {
            world.create();
            let old = world.put(&["a"]).version.sequence - 1;
            let written = world.db().bytes_written().unwrap();
            let stale = [("a", old)];
            let skip = DeleteOptions::new().mismatch(sealvec::Mismatch::Skip);
            let dry = DeleteOptions::new().dry_run(true);
            for (selector, options) in [
                (Selector::ids::<&str>(&[]), skip),
                (Selector::ids(&["absent", "absent"]), skip),
                (Selector::versions(&stale), skip),
                (Selector::prefix("b"), skip),
                (Selector::ids(&["a"]), skip.limit(0)),
                (Selector::all(), dry),
            ] {
                let said = format!("{selector:?}");
                world.call(|index| index.delete_with(selector, &options)).unwrap();
                assert_eq!(world.db().bytes_written().unwrap(), written, "{said}");
            }
            world.delete(&["a"]);
            assert!(world.db().bytes_written().unwrap() > written, "what changes something does");
        },
    },
];
