//! The four pages that describe a delete call, each as one case: what it promises on success, and
//! every error it lists.

use sealvec::{DeleteOptions, Error, Fault, Missing, Permissions, Trace, Unmet};

use super::{Case, On};
use crate::support::{ROOT, root, user, user_id, user_key};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "ahnlich page",
        says: "a key that is found goes, one that is not changes nothing; a trace id may come along",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["Custom Made Jordan 4", "other"]);
            let header = "00-80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-01";
            let trace = Trace::from_traceparent(header);
            assert!(matches!(trace, Trace::Id(_)));
            let options = DeleteOptions::new().trace(trace);
            let mut delete = || {
                let report = world.call(|i| i.delete_with(&["Custom Made Jordan 4"], &options));
                report.map(|report| (report.deleted, report.missing)).unwrap()
            };
            assert_eq!((delete(), delete()), ((1, 0), (0, 1)));
            world.holds(&["other"]);
        },
    },
    Case {
        id: "cloudfront page",
        says: "count, size and ETag after the delete; each of its exceptions has a code of its own",
        on: On::Both,
        steps: |world| {
            world.create();
            let before = world.put(&["a", "b"]).etag;
            let options = DeleteOptions::new().if_match(before).missing(Missing::Error);
            let report = world.call(|index| index.delete_with(&["a"], &options)).unwrap();
            world.agrees(&report);
            assert_eq!(report.item_count, 1);
            let current = report.etag;
            let codes = [
                (Error::PreconditionFailed(Unmet::ETag { current }), "precondition_failed", 412),
                (Error::InvalidArgument(String::new()), "invalid_argument", 400),
                (Error::Integrity(Fault::Storage), "integrity", 500),
                (Error::TooLarge(String::new()), "too_large", 413),
                (Error::ItemNotFound, "item_not_found", 404),
                (Error::WrongKey, "wrong_key", 401),
            ];
            for (error, code, status) in codes {
                assert_eq!((error.code(), error.http_status()), (code, status));
            }
            let stale = world.refuses("precondition_failed", |i| i.delete_with(&["b"], &options));
            // Who may write may know what the state is.
            assert_eq!(stale, Error::PreconditionFailed(Unmet::ETag { current }));
        },
    },
    Case {
        id: "cloudflare page",
        says: "success says nothing of whether it was there; a failure has a code and a message",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["My-Key"]);
            for _ in 0..2 {
                assert!(world.call(|index| index.delete(&["My-Key"])).is_ok());
            }
            let error = world.refuses("invalid_argument", |index| index.delete(&["My\nKey"]));
            assert!(!error.to_string().is_empty());
            assert!(!error.is_retryable(), "a client that tries again does so in vain");
            // Its longest name, and the permission to write without the one to read.
            world.put(&["x".repeat(512).as_str()]);
            world.index().grant(user_id(3), &user_key(3), Permissions::WRITE).unwrap();
            let longest = "x".repeat(512);
            let written = world.call(|index| index.with_key(&user(3, 3)).delete(&[&longest]));
            assert_eq!(written.unwrap().item_count, 0);
        },
    },
    Case {
        id: "cyborgdb page",
        says: "vector, contents and metadata go; a key with the call; no deleting without a write wrap",
        on: On::Both,
        steps: |world| {
            world.create();
            world.put(&["item_1", "item_2", "item_3"]);
            assert_eq!(world.delete(&["item_1"]), (1, 0));
            world.holds(&["item_2", "item_3"]);
            // The key of the call counts, and the handle's own is no way around it.
            world.refuses("wrong_key", |i| i.with_key(&root(ROOT + 1)).delete(&["item_2"]));
            world.call(|index| index.with_key(&root(ROOT)).delete(&["item_2"])).unwrap();
            world.index().grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
            world.refuses("permission_denied", |i| i.with_key(&user(2, 2)).delete(&["item_3"]));
            world.index().grant(user_id(2), &user_key(2), Permissions::READ_WRITE).unwrap();
            world.call(|index| index.with_key(&user(2, 2)).delete(&["item_3"])).unwrap();
            world.holds(&[]);
            world.reopen();
            world.holds(&[]);
        },
    },
];
