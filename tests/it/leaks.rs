//! Nothing that is kept secret shows: not in any file of a database, not in `Debug` or `Display`.
//!
//! Canaries (an item id, contents, metadata, a vector, a user id, an index name, both kinds of key)
//! go through every operation, successful and refused. Then every file below the directory is
//! searched for them as they are and in hexadecimal, and everything that prints is searched for
//! them as text, hexadecimal and decimal. Two positive controls show that the searches can find.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::Path;

use sealvec::{
    Cursor, Database, ETag, Error, Include, Index, IndexConfig, IndexKey, Item, KeyContext, Metric,
    Permissions, Tuning, Update, UserId, UserKey,
};
use serde_json::json;

use crate::support::{FAMILIES, files, open_raw, put_raw, records, small};

const ID: &str = "CANARY-item-id";
const NAME: &str = "CANARY-index-name";
const CONTENTS: &str = "CANARY-contents-of-an-item";
const META_KEY: &str = "CANARY-metadata-key";
const META_VALUE: &str = "CANARY-metadata-value";
const USER: &[u8; 16] = b"CANARY-user-id-1";
const INDEX_KEY: &[u8; 32] = b"CANARY-index-key-CANARY-indexkey";
const USER_KEY: &[u8; 32] = b"CANARY-user-key--CANARY-user-key";
const VECTOR: [f32; 4] = [1_234.567_8, -9.876_543e-5, 3.333_333_3e7, 0.123_456_79];

fn root() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(INDEX_KEY).unwrap())
}

fn user_id() -> UserId {
    UserId::from_bytes(USER).unwrap()
}

fn user() -> KeyContext {
    KeyContext::user(user_id(), user_key())
}

fn user_key() -> UserKey {
    UserKey::from_bytes(USER_KEY).unwrap()
}

fn item() -> Item {
    Item::new(ID, VECTOR).contents(CONTENTS).metadata(json!({ META_KEY: META_VALUE }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a file must not hold: pieces of the canaries, so that a cut does not hide one.
fn needles() -> Vec<Vec<u8>> {
    let vector: Vec<u8> = VECTOR.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut all = vec![b"CANARY".to_vec(), vector[..8].to_vec(), vector[8..].to_vec()];
    let encoded: Vec<String> = all.iter().map(|needle| hex(needle)).collect();
    for text in encoded {
        all.push(text.to_uppercase().into_bytes());
        all.push(text.into_bytes());
    }
    all
}

fn leaks(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (name, bytes) in files(directory) {
        for needle in needles() {
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(format!("{} holds {}", name.display(), needle.escape_ascii()));
            }
        }
    }
    found
}

/// Every operation, with canaries; returns the errors of the refused ones.
fn exercise(db: &Database) -> Vec<Error> {
    let key = IndexKey::from_bytes(INDEX_KEY).unwrap();
    let config = IndexConfig::new(Metric::Euclidean);
    db.create_index(NAME, &key, config.clone()).unwrap();
    let index = db.load_index(NAME, root()).unwrap();
    index.upsert(&[item(), Item::new("other", VECTOR)]).unwrap();
    // As many near it as make the tree grow.
    let near = |n: u8| Item::new(format!("{ID}-{n}"), VECTOR.map(|x| x + f32::from(n % 2)));
    index.upsert(&(0..20).map(near).collect::<Vec<_>>()).unwrap();
    index.grant(user_id(), &user_key(), Permissions::READ_WRITE).unwrap();
    let caller = user();
    let as_user = index.with_key(&caller);
    as_user.update(ID, Update::new().contents([CONTENTS, CONTENTS].concat())).unwrap();
    as_user.query(&VECTOR).include(Include::ALL).run().unwrap();
    let page = as_user.list_ids(1, None).unwrap().value;
    as_user.list_ids(1, page.next.as_ref()).unwrap();
    as_user.delete(&[ID]).unwrap();
    as_user.upsert(&[item()]).unwrap();
    index.grant(user_id(), &user_key(), Permissions::READ).unwrap();
    db.flush().unwrap();

    let long = ID.repeat(50);
    let bad_id = format!("{ID}\n");
    let mut errors: Vec<Error> = Vec::new();
    let mut refused = |result: Result<(), Error>| errors.push(result.unwrap_err());
    refused(as_user.delete(&[ID]).map(drop));
    refused(as_user.users().map(drop));
    refused(db.create_index(NAME, &key, config).map(drop));
    refused(db.open_index("CANARY-unknown").map(drop));
    refused(db.open_index(&format!("{NAME}\n")).map(drop));
    refused(db.open_index(&format!("{NAME}{long}")).map(drop));
    for id in [&long, &bad_id] {
        refused(index.upsert(&[Item::new(id.as_str(), VECTOR)]).map(drop));
        refused(index.get(&[id], Include::ALL).map(drop));
        refused(index.delete(&[id]).map(drop));
        refused(index.update(id, Update::new().contents(CONTENTS)).map(drop));
    }
    refused(index.update("CANARY-missing", Update::new().contents(CONTENTS)).map(drop));
    refused(index.upsert(&[item().metadata(json!([META_VALUE]))]).map(drop));
    refused(index.upsert(&[item().contents(CONTENTS.repeat(1000))]).map(drop));
    refused(index.upsert(&[item().metadata(json!({META_KEY: CONTENTS.repeat(99)}))]).map(drop));
    refused(index.upsert(&[Item::new(ID, &VECTOR[..3])]).map(drop));
    let bad_vector = [VECTOR[0], f32::NAN, VECTOR[2], VECTOR[3]];
    refused(index.upsert(&[Item::new(ID, bad_vector)]).map(drop));
    refused(index.query(&bad_vector).run().map(drop));
    refused(index.query(&VECTOR[..2]).run().map(drop));
    refused(UserId::from_bytes(INDEX_KEY).map(drop));
    refused("CANARY".parse::<UserId>().map(drop));
    refused("CANARY".parse::<Cursor>().map(drop));
    refused("CANARY".parse::<ETag>().map(drop));
    refused("CANARY".parse::<Permissions>().map(drop));
    refused(IndexKey::from_bytes(USER).map(drop));
    refused(UserKey::from_bytes(USER).map(drop));
    index.revoke(user_id()).unwrap();
    refused(as_user.describe().map(drop));
    refused(db.load_index(NAME, user()).map(drop));
    errors
}

#[test]
fn no_file_holds_a_canary() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut tuning = Tuning::new();
    tuning.leaf_items = 8;
    let options = small().max_contents(10_000).max_metadata(1000).tuning(tuning);
    let db = Database::open(&path, options.clone()).unwrap();
    exercise(&db);
    db.checkpoint(directory.path().join("copy")).unwrap();
    // While it is open, closed, opened again, and after the index is gone.
    assert_eq!(leaks(directory.path()), [""; 0]);
    db.close().unwrap();
    assert_eq!(leaks(directory.path()), [""; 0]);
    let nodes = records(&open_raw(&path)).into_iter().filter(|record| record.family == "nodes");
    assert!(nodes.count() > 2, "vectors and ids were in several nodes");
    let db = Database::open(&path, options).unwrap();
    assert_eq!(db.list_indexes(&root()).unwrap(), [NAME]);
    db.delete_index(NAME, &root()).unwrap();
    db.close().unwrap();
    assert_eq!(leaks(directory.path()), [""; 0]);
    assert!(files(&path).keys().any(|name| name.display().to_string().starts_with("LOG")));

    // The positive control: what lies in RocksDB by itself is found, in the log and in a table.
    for needle in needles() {
        let raw = open_raw(&path);
        put_raw(&raw, "payload", b"planted", &needle);
        assert!(!leaks(&path).is_empty(), "{}", needle.escape_ascii());
        for family in FAMILIES {
            raw.flush_cf(raw.cf_handle(family).unwrap()).unwrap();
        }
        drop(raw);
        assert!(!leaks(&path).is_empty(), "{}", needle.escape_ascii());
    }
}

/// What a printed value must not show.
fn printed_needles() -> Vec<String> {
    let mut all = vec!["CANARY".to_owned(), "canary".to_owned(), hex(b"CANARY")];
    all.push(hex(b"CANARY").to_uppercase());
    // A list of bytes: `67, 65, 78`, and over several lines.
    for separator in [", ", ",\n"] {
        let bytes: Vec<String> = b"CANARY".iter().map(u8::to_string).collect();
        all.push(bytes.join(separator));
    }
    for component in VECTOR {
        all.push(format!("{component}"));
        all.push(format!("{component:?}"));
        all.push(format!("{:02x?}", component.to_le_bytes()));
    }
    all
}

#[derive(Default)]
struct Printed(BTreeMap<String, String>);

impl Printed {
    fn add(&mut self, name: &str, value: &dyn Debug) {
        // Over several lines, without the indentation, so that lists of bytes join.
        let lines: Vec<String> =
            format!("{value:#?}").lines().map(|line| line.trim().to_owned()).collect();
        let text = format!("{value:?}\n{value:02x?}\n{}", lines.join("\n"));
        self.0.insert(name.to_owned(), text);
    }

    fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, text) in &self.0 {
            for needle in printed_needles() {
                if text.contains(&needle) {
                    found.push(format!("{name} shows {needle:?}"));
                }
            }
        }
        found
    }
}

#[test]
fn nothing_that_prints_shows_a_canary() {
    let db = Database::in_memory_with(small().max_contents(10_000).max_metadata(1000)).unwrap();
    let mut printed = Printed::default();
    for (position, error) in exercise(&db).into_iter().enumerate() {
        printed.add(&format!("error {position}"), &error);
        printed.add(&format!("message {position}"), &error.to_string());
    }
    let index: Index<'_> = db.load_index(NAME, root()).unwrap();
    index.grant(user_id(), &user_key(), Permissions::READ).unwrap();
    let caller = user();
    printed.add("Database", &db);
    printed.add("Index, bound", &index);
    printed.add("Index, passed", &index.with_key(&caller));
    printed.add("KeyContext, user", &caller);
    printed.add("KeyContext, root", &root());
    printed.add("IndexKey", &IndexKey::from_bytes(INDEX_KEY).unwrap());
    printed.add("UserKey", &user_key());
    printed.add("UserId", &user_id());
    printed.add("users", &index.users().unwrap());
    printed.add("Item", &item());
    let update = Update::new().contents(CONTENTS).metadata(json!({ META_KEY: META_VALUE }));
    printed.add("Update", &update);
    printed.add("Description", &index.describe().unwrap());
    printed.add("Query", &index.query(&VECTOR));
    printed.add("BatchQuery", &index.query_batch([&VECTOR[..]]));
    let hits = index.query(&VECTOR).include(Include::ALL).run().unwrap();
    printed.add("Hit", &hits[0]);
    printed.add("QueryStats", &index.query(&VECTOR).run_with_stats().unwrap().1);
    printed.add("TreeReport", &index.verify_tree().unwrap());
    printed.add("VerifyReport", &index.verify(|_| ControlFlow::Continue(())).unwrap());
    printed.add("Answer", &hits);
    let found = index.get(&[ID, "CANARY-missing"], Include::ALL).unwrap();
    printed.add("Fetched", &found);
    printed.add("Record", &found[0].item);
    let page = index.list_ids(1, None).unwrap();
    printed.add("IdPage", &page);
    printed.add("Cursor", &page.next);
    printed.add("Cursor, displayed", &page.next.as_ref().map(ToString::to_string));
    index
        .for_each(Include::ALL, |entry| {
            printed.add(&format!("Entry {}", entry.id.len()), &entry);
            ControlFlow::Continue(())
        })
        .unwrap();
    printed.add("UpsertReport", &index.upsert(&[item()]).unwrap());
    printed.add("DeleteReport", &index.delete(&[ID]).unwrap());
    assert!(printed.0.len() > 60);
    assert_eq!(printed.leaks(), [""; 0]);
    println!("errors and public values that are printed: {}", printed.0.len());
}

#[test]
fn the_search_finds_what_is_printed() {
    let mut printed = Printed::default();
    printed.add("text", &ID);
    printed.add("bytes", &CONTENTS.as_bytes());
    printed.add("hex", &hex(USER));
    printed.add("floats", &VECTOR);
    printed.add("json", &json!({ META_KEY: 1 }));
    for name in printed.0.keys() {
        assert!(printed.leaks().iter().any(|leak| leak.starts_with(name)), "{name}");
    }
}
