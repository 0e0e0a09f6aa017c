//! What is said when storage fails shows nothing secret, and no file does afterwards.
//!
//! An index of canaries goes through its calls while the n-th operation of the file system fails, and
//! all after it. Every error is searched, as it is displayed and as it is debugged, and so is every file
//! of the database: RocksDB's log of events tells of the failures too. The control plants a canary.

use std::ops::ControlFlow;
use std::path::Path;

use sealvec::{
    Database, DeleteOptions, Durability, Error, Filter, Include, IndexConfig, IndexKey, Item,
    KeyContext, Metric, Permissions, PurgeOptions, PurgeScope, Result, Update, UserId, UserKey,
};
use sealvec_faults::{FaultFs, kind};
use serde_json::json;

use crate::workload::{cases, copy_directory, directory, options};

const KEY: &[u8; 32] = b"CANARY-index-key-CANARY-indexkey";
const USER: &[u8; 16] = b"CANARY-user-id-1";
const USER_KEY: &[u8; 32] = b"CANARY-user-key--CANARY-user-key";
const NAME: &str = "CANARY-index";
/// Every so many-th operation, unless soaked.
const STEP: u64 = 9;

fn key() -> IndexKey {
    IndexKey::from_bytes(KEY).unwrap()
}

fn item(number: u8) -> Item {
    let item = Item::new(format!("CANARY-{number}"), [f32::from(number)]);
    item.contents("CANARY".repeat(50)).metadata(json!({ "CANARY": number }))
}

/// Every kind of call, going on after those that fail.
fn calls(db: &Database, errors: &mut Vec<Error>) {
    let mut note = |result: Result<()>| errors.extend(result.err());
    let index = match db.load_index(NAME, KeyContext::root(key())) {
        Ok(index) => index,
        Err(error) => return errors.push(error),
    };
    let go = || ControlFlow::Continue(());
    let filter = Filter::from_json(&json!({ "CANARY": 3 })).unwrap();
    let (user, user_key) =
        (UserId::from_bytes(USER).unwrap(), UserKey::from_bytes(USER_KEY).unwrap());
    note(index.upsert(&[item(1), item(2), item(3)]).map(drop));
    note(index.update("CANARY-1", Update::new().contents("CANARY")).map(drop));
    note(index.grant(user, &user_key, Permissions::READ).map(drop));
    note(index.get(&["CANARY-1"], Include::ALL).map(drop));
    note(index.query(&[1.0]).include(Include::ALL).run().map(drop));
    note(index.delete(&["CANARY-2"]).map(drop));
    note(index.delete_where(&filter, &DeleteOptions::new()).map(drop));
    note(index.bulk_upsert((10..40).map(item), |_| go()).map(drop));
    note(index.optimize(|_| go()).map(drop));
    note(index.revoke(user).map(drop));
    note(index.purge(PurgeScope::Payload, PurgeOptions::new()).map(drop));
    note(index.for_each(Include::ALL, |_| go()).map(drop));
    note(index.verify(|_| go()).map(drop));
    note(db.flush());
}

/// The places that hold a canary, as text or in hexadecimal or as a list of bytes.
fn leaks(name: &str, bytes: &[u8]) -> Vec<String> {
    let hex = "43414e415259".to_owned();
    assert_eq!(u64::from_str_radix(&hex, 16).unwrap().to_be_bytes()[2..], *b"CANARY");
    let needles = ["CANARY".to_owned(), hex.to_uppercase(), hex, "67, 65, 78".to_owned()];
    let holds = |needle: &&String| bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
    needles.iter().filter(holds).map(|needle| format!("{name} shows {needle}")).collect()
}

fn leaks_of(path: &Path) -> Vec<String> {
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|file| file.file_type().unwrap().is_file());
    files
        .flat_map(|file| {
            let name = file.file_name().into_string().unwrap();
            leaks(&name, &std::fs::read(file.path()).unwrap())
        })
        .collect()
}

#[test]
fn storage_that_fails_shows_nothing_secret() {
    let place = directory();
    let base = place.path().join("base");
    let db = Database::open(&base, options(Durability::Synced)).unwrap();
    db.create_index(NAME, &key(), IndexConfig::new(Metric::Euclidean)).unwrap();
    db.close().unwrap();
    let (mut run, mut said) = (0u64, 0usize);
    for kinds in [kind::WRITES, kind::READ] {
        for nth in (1..).step_by(usize::try_from(cases(STEP, 1)).unwrap()) {
            let path = place.path().join("db");
            copy_directory(&base, &path);
            let fs = FaultFs::new();
            fs.fail(kinds, nth, true, nth % 2 == 0);
            let mut errors = Vec::new();
            match Database::open_on(&path, options(Durability::Synced), fs.env()) {
                Ok(db) => {
                    calls(&db, &mut errors);
                    let _ = db.close();
                }
                Err(error) => errors.push(error),
            }
            let untouched = fs.failed() == 0;
            drop(fs);
            for error in &errors {
                let text = format!("{error}\n{error:?}\n{error:#?}");
                assert_eq!(leaks("an error", text.as_bytes()), [""; 0], "{text}");
            }
            assert_eq!(leaks_of(&path), [""; 0]);
            std::fs::remove_dir_all(&path).unwrap();
            (run, said) = (run + 1, said + errors.len());
            if untouched {
                assert_eq!(errors, []);
                break;
            }
        }
    }
    println!("storage that fails is silent: {run} cases, {said} errors");
    assert!(run > 10 && said > 50, "{run} {said}");
    // The control.
    std::fs::write(base.join("LOG.planted"), "error: CANARY").unwrap();
    assert_eq!(leaks_of(&base).len(), 1);
}
