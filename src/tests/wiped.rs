//! The secrets that a key leads to are in memory while a call runs, and at no other time.
//!
//! A process of its own keeps a database open, with handles that have keys bound, and makes every
//! kind of call. After each it searches all of its memory for what a wrap holds (the read secret, the
//! name secret, the writer keys) and for what is derived from a caller's key (the pseudorandom keys,
//! the root's signing key). During a call the search must find them: that is the control. The process
//! itself keeps them only masked. `tests/it/zeroized.rs` does the same for the keys of callers.

use std::ops::ControlFlow;
use std::process::Command;

use serde_json::json;

use super::memory_search::{MASK, found};
use crate::config::{IndexConfig, Options};
use crate::crypto::kdf::Prk;
use crate::crypto::wrap::{self, Right};
use crate::crypto::{IndexKey, KeyContext, Secret, UserKey};
use crate::database::Database;
use crate::delete::DeleteOptions;
use crate::error::Result;
use crate::filter::Filter;
use crate::id::{Permissions, UserId};
use crate::index::{Include, Index, Item, Update};
use crate::keyring::{Capability, ReadKey, RootKey, WriteKey};
use crate::purge::{PurgeOptions, PurgeScope};
use crate::store::{Engine, Family, Snapshot, key};
use crate::vector::Metric;

const TEST: &str = "tests::wiped::secrets_are_in_memory_only_while_a_call_runs";
const CHILD: &str = "SEALVEC_TEST_WIPED";
const NAME: &str = "index";
const USER: UserId = UserId([9; 16]);

fn index_key(seed: u8) -> IndexKey {
    IndexKey::from_bytes(&[seed; 32]).unwrap()
}

fn user_key() -> UserKey {
    UserKey::from_bytes(&[8; 32]).unwrap()
}

fn root() -> KeyContext {
    KeyContext::root(index_key(7))
}

fn user() -> KeyContext {
    KeyContext::user(USER, user_key())
}

fn masked(secret: &Secret) -> [u8; 32] {
    secret.expose().map(|byte| byte ^ MASK)
}

/// What there is to find, masked. Not inlined, or what it moves would be left in the caller's frame.
#[inline(never)]
fn secrets(db: &Database, index: &Index<'_>) -> Vec<(&'static str, [u8; 32])> {
    let engine = index.shared().engine().unwrap();
    let engine: &dyn Engine = &*engine;
    let snapshot = engine.snapshot();
    let mut all = Vec::new();
    for (caller, names) in [
        (root(), ["the root's pseudorandom key", "the root's writer key"]),
        (user(), ["a user's pseudorandom key", "a user's writer key"]),
    ] {
        let derived = caller.prk(index.id());
        all.push((names[0], masked(&derived)));
        let prk = Prk::new(&derived);
        let place = key::wrap(index.id(), prk.locator(), Right::Write);
        let stored = snapshot.get(Family::Catalog, &place).unwrap().unwrap();
        let opened = wrap::open(&prk, index.id(), prk.locator(), Right::Write, &stored).unwrap();
        all.push((names[1], masked(opened.writer.as_ref().unwrap().seed())));
        if caller.user_id().is_none() {
            all.push(("the read secret", masked(&opened.secrets.epochs[0].1)));
            all.push(("the name secret", masked(&opened.secrets.name)));
            all.push(("the root's signing key", masked(&prk.root_sign_seed())));
        }
    }
    assert_eq!(db.list_indexes(&root()).unwrap(), [NAME]);
    all
}

/// While a call with this right runs.
#[inline(never)]
fn during<K: Capability>(index: &Index<'_>, look: &dyn Fn()) {
    let call = |_: &dyn Snapshot, _: &K| {
        look();
        Ok(())
    };
    index.inspect(call).unwrap();
}

type Call = fn(&Database, &Index<'_>) -> Result<()>;

/// Every kind of call, by whoever the handle is of unless it takes the index key.
const CALLS: [(&str, Call); 21] = [
    ("describe", |_, index| index.describe().map(drop)),
    ("upsert", |_, index| {
        let item = Item::new("c", [3.0]).contents("text").metadata(json!({ "n": 3 }));
        index.upsert(&[item]).map(drop)
    }),
    ("bulk_upsert", |_, index| {
        index.bulk_upsert([Item::new("d", [4.0])], |_| ControlFlow::Continue(())).map(drop)
    }),
    ("update", |_, index| index.update("a", Update::new().contents("more")).map(drop)),
    ("get", |_, index| index.get(&["a", "b"], Include::ALL).map(drop)),
    ("query", |_, index| index.query(&[1.0]).include(Include::ALL).run().map(drop)),
    ("query, exact", |_, index| index.query(&[1.0]).exact().run().map(drop)),
    ("count", |_, index| index.count().map(drop)),
    ("count_where", |_, index| {
        index.count_where(&Filter::from_json(&json!({ "n": 3 }))?).map(drop)
    }),
    ("list_ids", |_, index| index.list_ids(1, None).map(drop)),
    ("for_each", |_, index| index.for_each(Include::ALL, |_| ControlFlow::Continue(())).map(drop)),
    ("history", |_, index| index.history(.., 10).map(drop)),
    ("verify", |_, index| index.verify(|_| ControlFlow::Continue(())).map(drop)),
    ("delete", |_, index| index.delete(&["b"]).map(drop)),
    ("delete_where", |_, index| {
        let filter = Filter::from_json(&json!({ "n": 3 }))?;
        index.delete_where(&filter, &DeleteOptions::new()).map(drop)
    }),
    ("optimize", |_, index| index.optimize(|_| ControlFlow::Continue(())).map(drop)),
    ("purge", |_, index| index.purge(PurgeScope::Payload, PurgeOptions::new()).map(drop)),
    ("users", |_, index| index.with_key(&root()).users().map(drop)),
    ("grant", |_, index| {
        let key = UserKey::from_bytes(&[5; 32])?;
        index.with_key(&root()).grant(UserId([5; 16]), &key, Permissions::READ_WRITE).map(drop)
    }),
    ("revoke", |_, index| index.with_key(&root()).revoke(UserId([5; 16])).map(drop)),
    ("rotate_index_key", |db, _| {
        db.rotate_index_key(NAME, &root(), &index_key(6))?;
        db.rotate_index_key(NAME, &KeyContext::root(index_key(6)), &index_key(7)).map(drop)
    }),
];

fn child() {
    let options = Options::new().threads(2);
    let db = Database::in_memory_with(options).unwrap();
    db.create_index(NAME, &index_key(7), IndexConfig::new(Metric::Euclidean)).unwrap();
    let owner = db.load_index(NAME, root()).unwrap();
    owner.grant(USER, &user_key(), Permissions::READ_WRITE).unwrap();
    owner.upsert(&[Item::new("a", [1.0]), Item::new("b", [2.0])]).unwrap();
    let index = db.load_index(NAME, user()).unwrap();
    let (names, sought): (Vec<_>, Vec<_>) = secrets(&db, &owner).into_iter().unzip();
    let report = |when: &str| {
        for (name, count) in names.iter().zip(found(&sought)) {
            println!("found {count} {when}: {name}");
        }
    };
    report("before");
    during::<RootKey>(&owner, &|| report("during a call of the root"));
    during::<ReadKey>(&index, &|| report("during a read"));
    during::<WriteKey>(&index, &|| report("during a write"));
    for (name, call) in CALLS {
        call(&db, &index).unwrap_or_else(|error| panic!("{name}: {error}"));
        report(&format!("after {name}"));
    }
    drop((index, owner));
    report("after the handles");
    db.close().unwrap();
    report("after closing");
}

#[test]
fn secrets_are_in_memory_only_while_a_call_runs() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let (mut during, mut at_rest) = (Vec::new(), 0);
    for line in said.lines().filter_map(|line| line.split_once("found ")).map(|line| line.1) {
        let (count, rest) = line.split_once(' ').unwrap();
        let (when, name) = rest.split_once(": ").unwrap();
        if when.starts_with("during") {
            if count != "0" {
                during.push((when, name));
            }
        } else {
            assert_eq!(count, "0", "{name} is in memory {when}");
            at_rest += 1;
        }
    }
    for name in ["the read secret", "the name secret"] {
        for when in ["during a call of the root", "during a read", "during a write"] {
            assert!(during.contains(&(when, name)), "the search does not find {name} {when}");
        }
    }
    for (when, name) in [
        ("during a call of the root", "the root's writer key"),
        ("during a write", "a user's writer key"),
    ] {
        assert!(during.contains(&(when, name)), "the search does not find {name} {when}");
    }
    assert_eq!(at_rest, 7 * (CALLS.len() + 3));
    println!("secrets in memory: 7, searched for at {} times: none", CALLS.len() + 3);
}
