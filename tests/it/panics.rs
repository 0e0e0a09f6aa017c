//! A caller's callback that panics: what is printed shows nothing secret, and the database goes on.
//!
//! A process of its own holds canaries as keys, ids and data, and panics in every callback there is,
//! with a full backtrace. What it prints is searched; then it goes on with the same handle, and what
//! was committed before the panic is there. The control: a panic whose own message is a canary.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use sealvec::{
    Database, Durability, Include, Index, IndexConfig, IndexKey, Item, KeyContext, Metric, Tuning,
};
use serde_json::json;

use crate::support::small;

const TEST: &str = "panics::a_callback_that_panics_shows_nothing_and_breaks_nothing";
const CHILD: &str = "SEALVEC_TEST_PANIC";
const NAME: &str = "CANARY-index";
const KEY: &[u8; 32] = b"CANARY-index-key-CANARY-indexkey";

fn key() -> IndexKey {
    IndexKey::from_bytes(KEY).unwrap()
}

fn item(number: u16) -> Item {
    Item::new(format!("CANARY-{number:04}"), [f32::from(number), 1_234.5])
        .contents("CANARY contents")
        .metadata(json!({ "CANARY": "CANARY" }))
}

type Callback = fn(&Index<'_>);

/// Every callback of the API, which panics when it is first called.
const CALLBACKS: [(&str, Callback); 7] = [
    ("for_each", |index| {
        let _ = index.for_each(Include::ALL, |_| panic!("enough"));
    }),
    ("for_each_commit", |index| {
        let _ = index.for_each_commit(.., |_| panic!("enough"));
    }),
    ("verify", |index| {
        let _ = index.verify(|_| panic!("enough"));
    }),
    ("optimize", |index| {
        let _ = index.optimize(|_| panic!("enough"));
    }),
    ("bulk_upsert, progress", |index| {
        let _ = index.bulk_upsert((900..910).map(item), |_| panic!("enough"));
    }),
    ("bulk_upsert, items", |index| {
        let items = (800..810).map(|number| {
            assert!(number != 805, "enough");
            item(number)
        });
        let _ = index.bulk_upsert(items, |_| ControlFlow::Continue(()));
    }),
    ("with a bound caller", |index| {
        let caller = KeyContext::root(key());
        let _ = index.with_key(&caller).for_each(Include::ALL, |_| panic!("enough"));
    }),
];

fn child() {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    let directory = tempfile::tempdir().unwrap();
    let options = small().durability(Durability::Buffered).tuning(tuning);
    let db = Database::open(directory.path().join("db"), options).unwrap();
    db.create_index(NAME, &key(), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, KeyContext::root(key())).unwrap();
    index.upsert(&(0..200).map(item).collect::<Vec<_>>()).unwrap();
    for (name, callback) in CALLBACKS {
        let before = *index.count().unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| callback(&index)));
        assert!(caught.is_err(), "{name}: its callback was not called");
        // The next calls, reads and writes, go on as if nothing had been.
        let committed = *index.count().unwrap() - before;
        assert!(committed == 0 || name.contains("progress"), "{name}: {committed}");
        index.upsert(&[item(7)]).unwrap();
        index.query(&[7.0, 1_234.5]).run().unwrap();
        assert!(index.verify(|_| ControlFlow::Continue(())).unwrap().is_sound(), "{name}");
        println!("caught {name}");
    }
    db.close().unwrap();
    if std::env::var_os(CHILD).is_some_and(|what| what == "control") {
        let _ = catch_unwind(|| panic!("CANARY"));
    }
}

fn run(what: &str) -> (String, usize) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD, what)
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{out}{err}");
    let caught = out.matches("caught ").count();
    (format!("{out}{err}"), caught)
}

#[test]
fn a_callback_that_panics_shows_nothing_and_breaks_nothing() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let hex: String = b"CANARY".iter().map(|byte| format!("{byte:02x}")).collect();
    let shows = |said: &str| {
        let needles = ["CANARY", &hex, &hex.to_uppercase(), "67, 65, 78", "1234.5"];
        needles.iter().any(|needle| said.contains(needle))
    };
    let (said, caught) = run("search");
    assert_eq!(caught, CALLBACKS.len());
    assert_eq!(said.matches("enough").count(), CALLBACKS.len(), "{said}");
    assert!(!shows(&said), "{said}");
    assert!(shows(&run("control").0), "the search does not find a canary");
    println!("panics in callbacks: {caught}");
}
