//! What whoever wants to satisfy all of the sources must pin: arguments, keys, conditions, reports.

pub(super) mod stored;

use std::sync::Mutex;

use sealvec::{
    DeleteOptions, DeleteOutcome, ETag, Error, IfMatch, Item, Mismatch, Needs, Permissions,
    Selector, Trace, Update, UserId, UserKey, WriteOptions,
};

use super::{Case, On, World, item};
use crate::support::{NAME, ROOT, code, index_key, root, user, user_id, user_key};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "superset 1",
        says: "an absent id is missing, and nothing changes",
        on: On::Both,
        steps: |world| {
            world.create();
            let before = world.put(&["a"]);
            let report = world.call(|index| index.delete(&["absent"])).unwrap();
            assert_eq!((report.deleted, report.missing, report.item_count), (0, 1, 1));
            assert_eq!(report.outcomes, [("absent".to_owned(), DeleteOutcome::Missing)]);
            assert_eq!((report.etag, report.version), (before.etag, before.version));
        },
    },
    Case {
        id: "superset 2",
        says: "[a, a, b] with b absent: one deleted, one missing, told in the order a, b",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            let report = world.call(|index| index.delete(&["a", "a", "b"])).unwrap();
            assert_eq!((report.deleted, report.missing), (1, 1));
            let outcomes = [("a", DeleteOutcome::Deleted), ("b", DeleteOutcome::Missing)];
            assert_eq!(report.outcomes, outcomes.map(|(id, outcome)| (id.to_owned(), outcome)));
        },
    },
    Case {
        id: "superset 3",
        says: "a reader is refused in the same bytes whether or not the item is there",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            world.index().grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
            let mut refusal = |id: &str| {
                let error = world.refuses("permission_denied", |index| {
                    index.with_key(&user(2, 2)).delete(&[id])
                });
                assert_eq!(error, Error::PermissionDenied { needs: Needs::Write });
                format!("{error:?} {error} {} {}", error.code(), error.http_status())
            };
            assert_eq!(refusal("a"), refusal("absent"));
        },
    },
    Case {
        id: "superset 4",
        says: "a wrong index key is refused, and the right one still works",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            world.refuses("wrong_key", |index| index.with_key(&root(99)).delete(&["a"]));
            assert_eq!(code(&world.db().load_index(NAME, root(99))), "wrong_key");
            assert_eq!(world.delete(&["a"]), (1, 0));
        },
    },
    Case {
        id: "superset 5",
        says: "a user id has 16 bytes, and is judged before any key is derived",
        on: On::Both,
        steps: |_| {
            for length in [0, 15, 17, 32] {
                assert_eq!(code(&UserId::from_bytes(&vec![1; length])), "invalid_argument");
            }
            assert!(UserId::from_bytes(&[1; 16]).is_ok());
            for length in [0, 31, 33] {
                assert_eq!(code(&UserKey::from_bytes(&vec![1; length])), "invalid_argument");
            }
        },
    },
    Case {
        id: "superset 6",
        says: "a wrong key with the call fails although the handle holds a good one",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            for wrong in [root(99), user(1, 1)] {
                world.refuses("wrong_key", |index| index.with_key(&wrong).delete(&["a"]));
            }
            assert_eq!(world.delete(&["a"]), (1, 0));
        },
    },
    Case {
        id: "superset 7",
        says: "a handle without a key deletes with a key in the call, and keeps none",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a", "b"]);
            let bare = world.db().open_index(NAME).unwrap();
            world.call(|_| bare.with_key(&root(ROOT)).delete(&["a"])).unwrap();
            world.refuses("missing_key", |_| bare.delete(&["b"]));
            world.holds(&["b"]);
        },
    },
    Case {
        id: "superset 8",
        says: "taking the write right acts on a handle that is open",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a", "b"]);
            let grant = |world: &World, rights| {
                world.index().grant(user_id(1), &user_key(1), rights).unwrap();
            };
            grant(world, Permissions::READ_WRITE);
            let open = world.db().load_index(NAME, user(1, 1)).unwrap();
            world.call(|_| open.delete(&["a"])).unwrap();
            grant(world, Permissions::READ);
            let denied = world.refuses("permission_denied", |_| open.delete(&["b"]));
            assert_eq!(denied, Error::PermissionDenied { needs: Needs::Write });
            world.index().revoke(user_id(1)).unwrap();
            world.refuses("wrong_key", |_| open.delete(&["b"]));
        },
    },
    Case {
        id: "superset 9",
        says: "a writer deletes items, but not the index, and manages no users",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            world.index().grant(user_id(3), &user_key(3), Permissions::WRITE).unwrap();
            let root_only = Error::PermissionDenied { needs: Needs::Root };
            let dropped = world.db().delete_index(NAME, &user(3, 3));
            assert_eq!(dropped, Err(root_only.clone()));
            let writer = world.db().load_index(NAME, user(3, 3)).unwrap();
            let refused = [
                world.refuses("permission_denied", |_| writer.users()),
                world.refuses("permission_denied", |_| writer.revoke(user_id(3))),
                world.refuses("permission_denied", |_| {
                    writer.grant(user_id(4), &user_key(4), Permissions::READ)
                }),
            ];
            assert!(refused.iter().all(|error| *error == root_only));
            world.call(|_| writer.delete(&["a"])).unwrap();
            world.holds(&[]);
        },
    },
    Case {
        id: "superset 10",
        says: "under the current ETag it deletes; the same call again is of the past",
        on: On::Both,
        steps: |world| {
            world.create();
            let before = world.put(&["a", "b"]).etag;
            let options = DeleteOptions::new().if_match(before);
            let report = world.call(|index| index.delete_with(&["a"], &options)).unwrap();
            assert_eq!(report.deleted, 1);
            assert_ne!(report.etag, before);
            world.refuses("precondition_failed", |index| index.delete_with(&["a"], &options));
        },
    },
    Case {
        id: "superset 11",
        says: "an empty or garbled condition is no condition that can be given; a stale one fails",
        on: On::Both,
        steps: |world| {
            world.create();
            let old = world.put(&["a"]).etag;
            for bad in ["", " ", "\"\"", "garbage", "W/\"1\"", &old.to_string()[1..]] {
                assert_eq!(code(&bad.parse::<IfMatch>()), "invalid_argument", "{bad:?}");
                assert_eq!(code(&bad.parse::<ETag>()), "invalid_argument", "{bad:?}");
            }
            world.put(&["a"]);
            let stale: IfMatch = format!("\"{old}\"").parse().unwrap();
            let options = DeleteOptions::new().if_match(stale);
            world.refuses("precondition_failed", |index| index.delete_with(&["a"], &options));
            let any: IfMatch = "*".parse().unwrap();
            let options = DeleteOptions::new().if_match(any);
            let report = world.call(|index| index.delete_with(&["a"], &options)).unwrap();
            assert_eq!(report.deleted, 1);
        },
    },
    Case {
        id: "superset 12",
        says: "one id of ten too long: nothing is deleted",
        on: On::Both,
        steps: |world| {
            world.create();
            let mut ids: Vec<String> = (0..9).map(|n| n.to_string()).collect();
            world.put(&ids.iter().map(String::as_str).collect::<Vec<_>>());
            ids.insert(7, "x".repeat(513));
            let error = world.refuses("invalid_argument", |index| index.delete(&ids));
            assert!(error.to_string().starts_with("item 7:"), "{error}");
        },
    },
    Case {
        id: "superset 13",
        says: "one item with another version: all stay, or it alone stays and is told",
        on: On::Both,
        steps: |world| {
            world.create();
            let old = world.put(&["a", "b", "c"]).version.sequence;
            world.put(&["b"]);
            let selected = [("a", old), ("b", old), ("c", old)];
            let select = || Selector::versions(&selected);
            let error = world.refuses("precondition_failed", |index| {
                index.delete_with(select(), &DeleteOptions::new())
            });
            assert!(error.to_string().starts_with("item 1 has changed"), "{error}");
            let skip = DeleteOptions::new().mismatch(Mismatch::Skip);
            let report = world.call(|index| index.delete_with(select(), &skip)).unwrap();
            assert_eq!((report.deleted, report.condition_failed, report.missing), (2, 1, 0));
            let told: Vec<_> =
                report.outcomes.iter().map(|(_, outcome)| outcome.as_str()).collect();
            assert_eq!(told, ["deleted", "condition_failed", "deleted"]);
            world.holds(&["b"]);
            // Absent under a version is another thing than changed.
            let gone = [("a", old)];
            world.refuses("item_not_found", |index| {
                index.delete_with(Selector::versions(&gone), &DeleteOptions::new())
            });
            let report = world.call(|index| index.delete_with(Selector::versions(&gone), &skip));
            assert_eq!(report.map(|report| report.missing), Ok(1));
        },
    },
    Case {
        id: "superset 14",
        says: "put and delete of one id in one batch is refused",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            world.refuses("invalid_argument", |index| {
                index.write_batch(&[item("a")], &["a"], &WriteOptions::new())
            });
        },
    },
    Case {
        id: "superset 15",
        says: "count and size are those of a recount, over changes of every kind and a restart",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a", "b", "c", "d"]);
            world.put(&["b", "e"]);
            let update = Update::new().contents(vec![0; 5000]).remove_metadata();
            world.call(|index| index.update("c", update)).unwrap();
            world.delete(&["a", "absent", "e"]);
            let options = WriteOptions::new();
            world.call(|i| i.write_batch(&[item("f"), item("b")], &["c"], &options)).unwrap();
            world.reopen();
            // Recounted by the call itself.
            assert_eq!(world.delete(&[]), (0, 0));
            world.holds(&["b", "d", "f"]);
        },
    },
    Case {
        id: "superset 23",
        says: "the nearest is deleted: a query has the next, and as many as there are",
        on: On::Both,
        steps: |world| {
            world.create();
            let at = |n: u8| Item::new(n.to_string(), [f32::from(n), 1.0]);
            world.call(|index| index.upsert(&(0..9).map(at).collect::<Vec<_>>())).unwrap();
            for nearest in 0..9u8 {
                let found = |exact: bool| -> Vec<String> {
                    let query = world.index().query(&[-1.0, 1.0]).top_k(3);
                    let hits = if exact { query.exact().run() } else { query.run() };
                    hits.unwrap().into_iter().map(|hit| hit.id).collect()
                };
                let left: Vec<String> = (nearest..9).take(3).map(|n| n.to_string()).collect();
                assert_eq!((found(true), found(false)), (left.clone(), left));
                world.delete(&[&nearest.to_string()]);
            }
            world.holds(&[]);
        },
    },
    Case {
        id: "superset 24",
        says: "eight threads delete the same hundred ids: each goes once",
        on: On::Both,
        steps: |world| {
            world.create();
            let ids: Vec<String> = (0..100).map(|n| format!("{n:02}")).collect();
            world.put(&ids.iter().map(String::as_str).collect::<Vec<_>>());
            let deleted = Mutex::new(Vec::new());
            let delete = |index: &sealvec::Index<'_>, thread: usize| {
                for n in 0..10 {
                    let from = (n + thread) % 10 * 10;
                    let report = index.delete(&ids[from..from + 10]).unwrap();
                    assert_eq!(report.deleted + report.missing, 10);
                    deleted.lock().unwrap().push(report.deleted);
                }
                Ok(())
            };
            let all = world.call(|index| {
                std::thread::scope(|scope| {
                    let threads = (0..8).map(|thread| scope.spawn(move || delete(index, thread)));
                    let threads: Vec<_> = threads.collect();
                    threads.into_iter().try_for_each(|thread| thread.join().unwrap())
                })
            });
            all.unwrap();
            assert_eq!(deleted.into_inner().unwrap().iter().sum::<u64>(), 100);
            world.holds(&[]);
        },
    },
    Case {
        id: "superset 25",
        says: "the last one is deleted: nothing is counted, and the index is as good as new",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a"]);
            let report = world.call(|index| index.delete(&["a"])).unwrap();
            assert_eq!((report.item_count, report.total_size_bytes), (0, 0));
            world.holds(&[]);
            world.put(&["a", "b"]);
            world.holds(&["a", "b"]);
        },
    },
    Case {
        id: "superset 26",
        says: "deleted and written again, alike to the byte: neither ETag nor version is the old one",
        on: On::Both,
        steps: |world| {
            world.create();
            let first = world.put(&["a"]);
            world.delete(&["a"]);
            let second = world.put(&["a"]);
            assert_ne!(second.etag, first.etag);
            assert_ne!(second.version.sequence, first.version.sequence);
            let old = DeleteOptions::new().if_match(first.etag);
            world.refuses("precondition_failed", |index| index.delete_with(&["a"], &old));
            let version = [("a", first.version.sequence)];
            world.refuses("precondition_failed", |index| {
                index.delete_with(Selector::versions(&version), &DeleteOptions::new())
            });
            let over = item("a").if_version(first.version.sequence);
            world.refuses("precondition_failed", |index| index.upsert(&[over]));
            let update = Update::new().contents("x").if_version(first.version.sequence);
            world.refuses("precondition_failed", |index| index.update("a", update));
            // Nor does the state of an index without items come back.
            world.delete(&["a"]);
            world.holds(&[]);
        },
    },
    Case {
        id: "superset 27",
        says: "a dry run reports what the run then does, and changes nothing",
        on: On::Both,
        steps: |world| {
            world.create();
            let old = world.put(&["a/1", "a/2", "a/3", "b"]).version.sequence;
            world.put(&["a/2"]);
            let skip = DeleteOptions::new().mismatch(Mismatch::Skip);
            let versions = [("a/1", old), ("a/2", old), ("absent", old)];
            let ids = ["b", "a/3", "absent", "b"];
            let mut both = |selector: Selector<'_>, options: DeleteOptions| {
                let before = world.index().describe().unwrap();
                let dry = options.dry_run(true);
                let dry = world.call(|index| index.delete_with(selector.clone(), &dry)).unwrap();
                assert_eq!((dry.etag, dry.version), (before.etag, before.version));
                let real = world.call(|index| index.delete_with(selector, &options)).unwrap();
                assert!(dry.dry_run && !real.dry_run);
                let mut promised = dry;
                promised.dry_run = false;
                (promised.etag, promised.version) = (real.etag, real.version);
                assert_eq!(promised, real);
                world.agrees(&real);
            };
            both(Selector::versions(&versions), skip);
            both(Selector::ids(&ids), skip.limit(1));
            both(Selector::prefix("a/"), skip.limit(1));
            both(Selector::all(), skip);
            both(Selector::all(), skip);
        },
    },
    Case {
        id: "superset 28",
        says: "a traceparent goes with the commit; a malformed one fails nothing and is not kept",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["a", "b", "c", "d"]);
            let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let long = "0".repeat(100_000);
            for (id, header) in [("a", good), ("b", "canary"), ("c", &long), ("d", "")] {
                let trace = Trace::from_traceparent(header);
                assert_eq!(trace == Trace::Malformed, header != good);
                let options = DeleteOptions::new().trace(trace);
                let report = world.call(|index| index.delete_with(&[id], &options)).unwrap();
                assert_eq!(report.deleted, 1);
                assert!(!format!("{options:?}").contains("canary"));
                let last = world.index().history(.., 1).unwrap().value.commits.remove(0);
                assert_eq!((last.version, last.deleted), (report.version, 1));
                assert_eq!(
                    last.trace, trace,
                    "the commit says what came along, or that it was bad"
                );
            }
        },
    },
    Case {
        id: "superset 29",
        says: "no error, report, selector or key shows an id, contents or a key",
        on: On::Both,
        steps: |world| {
            const CANARY: &str = "canary-4711";
            world.create();
            let old = world.put(&[CANARY]).version.sequence;
            world.put(&[CANARY]);
            let mut shown = Vec::new();
            let version = [(CANARY, old)];
            let strict = DeleteOptions::new().missing(sealvec::Missing::Error);
            let bad = format!("{CANARY}\n");
            let batch = WriteOptions::new();
            let errors = [
                world.call(|i| i.delete_with(Selector::versions(&version), &strict)).map(drop),
                world.call(|i| i.delete_with(&["canary-4711-absent"], &strict)).map(drop),
                world.call(|i| i.delete(&[&bad])).map(drop),
                world.call(|i| i.write_batch(&[item(CANARY)], &[CANARY], &batch)).map(drop),
                world.call(|i| i.upsert(&[item(CANARY).if_absent()])).map(drop),
                world.call(|i| i.with_key(&root(99)).delete(&[CANARY])).map(drop),
            ];
            for error in errors {
                let error = error.unwrap_err();
                shown.push(format!("{error:?} {error}"));
            }
            let (ids, prefix) = ([CANARY], Selector::prefix(CANARY));
            shown.push(format!("{:?} {prefix:?}", Selector::ids(&ids)));
            shown.push(format!("{:?} {:?}", Selector::versions(&version), item(CANARY)));
            shown.push(format!("{:?} {:?}", index_key(ROOT), user(1, 1)));
            shown.push(format!("{:?}", world.call(|index| index.delete(&[CANARY]))));
            // 07 and 01 are the bytes of the keys.
            for text in shown {
                assert!(!text.contains("canary") && !text.contains("text of"), "{text}");
                assert!(!text.contains("07070707") && !text.contains("7, 7"), "{text}");
            }
        },
    },
];
