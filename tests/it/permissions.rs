//! Who may do what: one table, and every way to call.
//!
//! [`row`] says for every operation what each standing gets. The matrix test runs every operation
//! for every principal (several principals share a standing: there are many ways to be a stranger)
//! through every kind of handle, each in a fresh world, and compares outcome and state afterwards.
//! The handles include ones that were open, and ones whose key was bound, before the rights
//! changed, and `with_key` on a handle with the root's key bound, which must not be fallen back to.
//!
//! The table is complete by construction: `match` is exhaustive over operations, and another test
//! compares the operations with the public methods found in the sources.

mod arguments;
mod methods;
mod observed;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sealvec::{
    Database, DeleteOptions, Error, Filter, Include, Index, IndexConfig, Item, KeyContext, Metric,
    Needs, Permissions, PurgeOptions, PurgeScope, ReencryptOptions, Result, Update, WriteOptions,
};

use methods::{NEED_NO_KEY, PROVIDED, method};

use crate::support::{NAME, ROOT, index_key, root, small, sources, user, user_id, user_key};

const OTHER: &str = "other";
const OTHER_ROOT: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Ok,
    /// The list of indexes comes back without this one.
    Unlisted,
    MissingKey,
    WrongKey,
    Denied(Needs),
    /// The method takes a key, so there is no call without one.
    NoSuchCall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Root,
    ReadWrite,
    Read,
    Write,
    Stranger,
    Keyless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Describe,
    Count,
    CountWhere,
    QueryMetadata,
    Get,
    Query,
    QueryBatch,
    ListIds,
    ForEach,
    History,
    ForEachCommit,
    VerifyTree,
    Verify,
    Check,
    Upsert,
    BulkUpsert,
    Update,
    UpsertWith,
    UpdateWith,
    WriteBatch,
    Delete,
    DeleteWith,
    DeleteWhere,
    Optimize,
    Purge,
    Grant,
    Revoke,
    Users,
    LoadIndex,
    ListIndexes,
    DeleteIndex,
    RotateIndexKey,
    RotateDataKeys,
    Reencrypt,
}

const OPERATIONS: [Operation; 34] = [
    Operation::Describe,
    Operation::Count,
    Operation::CountWhere,
    Operation::QueryMetadata,
    Operation::Get,
    Operation::Query,
    Operation::QueryBatch,
    Operation::ListIds,
    Operation::ForEach,
    Operation::History,
    Operation::ForEachCommit,
    Operation::VerifyTree,
    Operation::Verify,
    Operation::Check,
    Operation::Upsert,
    Operation::BulkUpsert,
    Operation::Update,
    Operation::UpsertWith,
    Operation::UpdateWith,
    Operation::WriteBatch,
    Operation::Delete,
    Operation::DeleteWith,
    Operation::DeleteWhere,
    Operation::Optimize,
    Operation::Purge,
    Operation::Grant,
    Operation::Revoke,
    Operation::Users,
    Operation::LoadIndex,
    Operation::ListIndexes,
    Operation::DeleteIndex,
    Operation::RotateIndexKey,
    Operation::RotateDataKeys,
    Operation::Reencrypt,
];

/// The table: root, read+write, read, write, stranger, no key.
const fn row(operation: Operation) -> [Expected; 6] {
    use Expected::{Denied, MissingKey, NoSuchCall, Ok, Unlisted, WrongKey};
    const NO_READ: Expected = Denied(Needs::Read);
    const NO_WRITE: Expected = Denied(Needs::Write);
    const NO_ROOT: Expected = Denied(Needs::Root);
    match operation {
        Operation::Describe => [Ok, Ok, Ok, Ok, WrongKey, MissingKey],
        Operation::Count
        | Operation::CountWhere
        | Operation::QueryMetadata
        | Operation::Get
        | Operation::Query
        | Operation::QueryBatch
        | Operation::ListIds
        | Operation::ForEach
        | Operation::History
        | Operation::ForEachCommit
        | Operation::VerifyTree
        | Operation::Verify => [Ok, Ok, Ok, NO_READ, WrongKey, MissingKey],
        Operation::Check
        | Operation::Upsert
        | Operation::BulkUpsert
        | Operation::Update
        | Operation::UpsertWith
        | Operation::UpdateWith
        | Operation::WriteBatch
        | Operation::Delete
        | Operation::DeleteWith
        | Operation::Optimize
        | Operation::Purge => [Ok, Ok, NO_WRITE, Ok, WrongKey, MissingKey],
        Operation::DeleteWhere => [Ok, Ok, NO_WRITE, NO_READ, WrongKey, MissingKey],
        Operation::Grant | Operation::Revoke | Operation::Users | Operation::Reencrypt => {
            [Ok, NO_ROOT, NO_ROOT, NO_ROOT, WrongKey, MissingKey]
        }
        Operation::LoadIndex => [Ok, Ok, Ok, Ok, WrongKey, NoSuchCall],
        Operation::ListIndexes => [Ok, Ok, Ok, Ok, Unlisted, NoSuchCall],
        Operation::DeleteIndex | Operation::RotateIndexKey | Operation::RotateDataKeys => {
            [Ok, NO_ROOT, NO_ROOT, NO_ROOT, WrongKey, NoSuchCall]
        }
    }
}

const fn expected(operation: Operation, standing: Standing) -> Expected {
    let [root, read_write, read, write, stranger, keyless] = row(operation);
    match standing {
        Standing::Root => root,
        Standing::ReadWrite => read_write,
        Standing::Read => read,
        Standing::Write => write,
        Standing::Stranger => stranger,
        Standing::Keyless => keyless,
    }
}

/// A caller: name, standing, and the key it comes with.
type Principal = (&'static str, Standing, fn() -> Option<KeyContext>);

const PRINCIPALS: [Principal; 17] = [
    ("root", Standing::Root, || Some(root(ROOT))),
    ("reader and writer", Standing::ReadWrite, || Some(user(1, 1))),
    ("reader", Standing::Read, || Some(user(2, 2))),
    ("writer", Standing::Write, || Some(user(3, 3))),
    ("revoked", Standing::Stranger, || Some(user(4, 4))),
    ("granted less", Standing::Read, || Some(user(5, 5))),
    ("granted more", Standing::ReadWrite, || Some(user(10, 10))),
    ("granted anew, old key", Standing::Stranger, || Some(user(6, 6))),
    ("granted anew, new key", Standing::ReadWrite, || Some(user(6, 66))),
    ("revoked and granted", Standing::Write, || Some(user(11, 11))),
    ("unknown user", Standing::Stranger, || Some(user(99, 99))),
    ("known id, wrong key", Standing::Stranger, || Some(user(1, 2))),
    ("known key, wrong id", Standing::Stranger, || Some(user(99, 1))),
    ("wrong index key", Standing::Stranger, || Some(root(99))),
    ("root of another index", Standing::Stranger, || Some(root(OTHER_ROOT))),
    ("user of another index", Standing::Stranger, || Some(user(9, 9))),
    ("no key", Standing::Keyless, || None),
];

/// How the handle is come by.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// `load_index` now.
    Loaded,
    /// `load_index` before rights changed, if the key opened the index then.
    LoadedBefore,
    /// `open_index` now, then `with_key`.
    Opened,
    /// `open_index` before the first grant, then `with_key`.
    OpenedBefore,
    /// `with_key` on a handle with the root's key bound.
    OverRoot,
}

const WAYS: [Way; 5] =
    [Way::Loaded, Way::LoadedBefore, Way::Opened, Way::OpenedBefore, Way::OverRoot];

struct World {
    db: Database,
    /// Opened before the first grant.
    early: Index<'static>,
    /// Loaded by the principal before the last changes.
    before: Option<Index<'static>>,
    root: Index<'static>,
}

impl World {
    fn new(key: fn() -> Option<KeyContext>) -> Self {
        let db = Database::in_memory_with(small()).unwrap();
        let config = IndexConfig::new(Metric::Euclidean);
        let early = db.create_index(NAME, &index_key(ROOT), config.clone()).unwrap();
        db.create_index(OTHER, &index_key(OTHER_ROOT), config).unwrap();
        let root_of = |name, seed| db.load_index(name, root(seed)).unwrap();
        let root = root_of(NAME, ROOT);
        root.upsert(&[Item::new("a", [1.0, 0.0]), Item::new("b", [0.0, 1.0])]).unwrap();
        let grant = |id, key, permissions| {
            root.grant(user_id(id), &user_key(key), permissions).unwrap();
        };
        grant(1, 1, Permissions::READ_WRITE);
        grant(2, 2, Permissions::READ);
        grant(3, 3, Permissions::WRITE);
        for id in [4, 5, 6, 11] {
            grant(id, id, Permissions::READ_WRITE);
        }
        grant(10, 10, Permissions::READ);
        let other = root_of(OTHER, OTHER_ROOT);
        other.grant(user_id(9), &user_key(9), Permissions::READ_WRITE).unwrap();

        let before = key().and_then(|key| db.load_index(NAME, key).ok());
        assert!(*root.revoke(user_id(4)).unwrap());
        grant(5, 5, Permissions::READ);
        grant(6, 66, Permissions::READ_WRITE);
        grant(10, 10, Permissions::READ_WRITE);
        assert!(*root.revoke(user_id(11)).unwrap());
        grant(11, 11, Permissions::WRITE);
        Self { db, early, before, root }
    }

    /// `None`: there is no such handle for this principal.
    fn handle<'k>(
        &self,
        way: Way,
        key: Option<&'k KeyContext>,
        own: Option<KeyContext>,
    ) -> Option<Index<'k>> {
        match (way, key) {
            (Way::Loaded, Some(_)) => self.db.load_index(NAME, own?).ok(),
            (Way::LoadedBefore, _) => self.before.clone(),
            (Way::Opened, Some(key)) => Some(self.db.open_index(NAME).unwrap().with_key(key)),
            (Way::OpenedBefore, Some(key)) => Some(self.early.with_key(key)),
            (Way::OverRoot, Some(key)) => Some(self.root.with_key(key)),
            (Way::Opened, None) => Some(self.db.open_index(NAME).unwrap()),
            (Way::OpenedBefore, None) => Some(self.early.clone()),
            (Way::Loaded | Way::OverRoot, None) => None,
        }
    }

    /// What a refused call must leave as it was.
    fn state(&self) -> String {
        format!("{:?} {:?}", self.root.describe(), self.root.users())
    }
}

/// Runs an operation that would succeed with the right. `own` is for methods that take the key.
fn run(
    operation: Operation,
    db: &Database,
    index: &Index<'_>,
    own: Option<KeyContext>,
) -> Result<Expected> {
    let (vector, write, none) = ([1.0, 0.0], WriteOptions::new(), Filter::eq("none", 1));
    match operation {
        Operation::Describe => index.describe().map(drop),
        Operation::Count => index.count().map(drop),
        Operation::CountWhere => index.count_where(&none).map(drop),
        Operation::QueryMetadata => index.query_metadata(&none).run().map(drop),
        Operation::Get => index.get(&["a"], Include::ALL).map(drop),
        Operation::Query => {
            let exact = index.query(&vector).exact().run_with_stats();
            let found = index.query(&vector).run_with_stats();
            assert_eq!(exact.as_ref().err(), found.as_ref().err());
            found.map(drop)
        }
        Operation::QueryBatch => index.query_batch([&vector[..]]).run().map(drop),
        Operation::ListIds => index.list_ids(10, None).map(drop),
        Operation::ForEach => index.for_each(Include::ALL, |_| ControlFlow::Continue(())).map(drop),
        Operation::History => index.history(.., 10).map(drop),
        Operation::ForEachCommit => {
            index.for_each_commit(.., |_| ControlFlow::Continue(())).map(drop)
        }
        Operation::VerifyTree => index.verify_tree().map(drop),
        Operation::Verify => index.verify(|_| ControlFlow::Continue(())).map(drop),
        Operation::Check => index.check(&[Item::new("c", vector)]),
        Operation::Upsert => index.upsert(&[Item::new("c", vector)]).map(drop),
        Operation::BulkUpsert => bulk(index, [Item::new("c", vector)]),
        Operation::Update => index.update("a", Update::new().contents("x")).map(drop),
        Operation::UpsertWith => index.upsert_with(&[Item::new("c", vector)], &write).map(drop),
        Operation::UpdateWith => {
            index.update_with("a", Update::new().contents("x"), &write).map(drop)
        }
        Operation::WriteBatch => index.write_batch(&[], &["a"], &write).map(drop),
        Operation::Delete => index.delete(&["a"]).map(drop),
        Operation::DeleteWith => index.delete_with(&["a"], &DeleteOptions::new()).map(drop),
        Operation::DeleteWhere => index.delete_where(&none, &DeleteOptions::new()).map(drop),
        Operation::Optimize => index.optimize(|_| ControlFlow::Continue(())).map(drop),
        Operation::Purge => index.purge(PurgeScope::Records, PurgeOptions::new()).map(drop),
        Operation::Grant => index.grant(user_id(50), &user_key(50), Permissions::READ).map(drop),
        Operation::Revoke => index.revoke(user_id(1)).map(drop),
        Operation::Users => index.users().map(drop),
        Operation::LoadIndex => match own {
            Some(own) => db.load_index(NAME, own).map(drop),
            None => return Ok(Expected::NoSuchCall),
        },
        Operation::ListIndexes => match own {
            Some(own) if db.list_indexes(&own)?.iter().any(|name| name == NAME) => Ok(()),
            Some(_) => return Ok(Expected::Unlisted),
            None => return Ok(Expected::NoSuchCall),
        },
        Operation::DeleteIndex => match own {
            Some(own) => db.delete_index(NAME, &own),
            None => return Ok(Expected::NoSuchCall),
        },
        Operation::RotateIndexKey => match own {
            Some(own) => db.rotate_index_key(NAME, &own, &index_key(70)).map(drop),
            None => return Ok(Expected::NoSuchCall),
        },
        Operation::RotateDataKeys => match own {
            Some(own) => db.rotate_data_keys(NAME, &own).map(drop),
            None => return Ok(Expected::NoSuchCall),
        },
        Operation::Reencrypt => {
            let options = ReencryptOptions::new();
            index.reencrypt(options, |_| ControlFlow::Continue(())).map(drop)
        }
    }
    .map(|()| Expected::Ok)
}

fn bulk<const N: usize>(index: &Index<'_>, items: [Item; N]) -> Result<()> {
    index.bulk_upsert(items, |_| ControlFlow::Continue(())).map(drop)
}

fn outcome(result: Result<Expected>) -> Expected {
    match result {
        Ok(outcome) => outcome,
        Err(Error::MissingKey) => Expected::MissingKey,
        Err(Error::WrongKey) => Expected::WrongKey,
        Err(Error::PermissionDenied { needs }) => Expected::Denied(needs),
        Err(error) => panic!("not a question of rights: {error:?}"),
    }
}

#[test]
fn every_principal_gets_what_the_table_says_on_every_handle() {
    let (mut cells, mut allowed) = (0, BTreeSet::new());
    for (name, standing, key) in PRINCIPALS {
        let borrowed = key();
        for operation in OPERATIONS {
            let expected = expected(operation, standing);
            for way in WAYS {
                let world = World::new(key);
                let Some(index) = world.handle(way, borrowed.as_ref(), key()) else { continue };
                let before = world.state();
                let found = outcome(run(operation, &world.db, &index, key()));
                assert_eq!(found, expected, "{name}: {operation:?}, {way:?}");
                if found == Expected::Ok {
                    allowed.insert(method(operation));
                } else {
                    assert_eq!(world.state(), before, "{name}: {operation:?}, {way:?}");
                }
                cells += 1;
            }
        }
    }
    // The positive control: nothing is refused to everybody.
    assert_eq!(allowed.len(), OPERATIONS.len());
    println!("{cells} cells");
    assert!(cells > 1000);
}

#[test]
fn every_public_method_has_a_row_or_needs_no_key() {
    let mut found = BTreeSet::new();
    for text in sources("src").values() {
        let mut of = None;
        for line in text.lines() {
            if line.starts_with('}') {
                of = None;
            } else if line.starts_with("impl") && !line.contains(" for ") {
                let of_type = |name: &str| line.split([' ', '<', '{']).any(|word| word == name);
                of = ["Index", "Database"].into_iter().find(|name| of_type(name));
            }
            let Some(of) = of else { continue };
            let declared = ["    pub fn ", "    pub const fn "];
            if let Some(rest) = declared.iter().find_map(|start| line.strip_prefix(start)) {
                let name = rest.split(['(', '<']).next().unwrap();
                found.insert(format!("{of}::{name}"));
            }
        }
    }
    let mut known: BTreeSet<String> = OPERATIONS.iter().map(|o| method(*o).to_owned()).collect();
    assert_eq!(known.len(), OPERATIONS.len());
    known.extend(NEED_NO_KEY.map(str::to_owned));
    for (provided, same) in PROVIDED {
        assert!(known.contains(same), "{same}");
        known.insert(provided.to_owned());
    }
    assert_eq!(found, known, "give the method a row, or say that it needs no key");
}

#[test]
fn a_missing_index_is_missing_before_any_key_is_looked_at() {
    for (name, standing, key) in PRINCIPALS {
        let world = World::new(key);
        let borrowed = key();
        let handles: Vec<Index<'_>> =
            WAYS.iter().filter_map(|way| world.handle(*way, borrowed.as_ref(), key())).collect();
        world.db.delete_index(NAME, &root(ROOT)).unwrap();
        for operation in OPERATIONS {
            let unlisted = matches!(operation, Operation::ListIndexes);
            let callable = expected(operation, standing) != Expected::NoSuchCall;
            for index in handles.iter().filter(|_| callable) {
                let found = run(operation, &world.db, index, key());
                let expected =
                    if unlisted { Ok(Expected::Unlisted) } else { Err(Error::IndexNotFound) };
                assert_eq!(found, expected, "{name}: {operation:?}");
            }
        }
        for (call, _, error) in handles.iter().flat_map(arguments::run_badly) {
            assert_eq!(error, Error::IndexNotFound, "{name}: {call}");
        }
    }
}

#[test]
fn a_grant_names_the_rights_that_describe_reports() {
    let world = World::new(|| None);
    let permissions = |key: &KeyContext| world.early.with_key(key).describe().unwrap().permissions;
    assert_eq!(permissions(&user(1, 1)), Permissions::READ_WRITE);
    assert_eq!(permissions(&user(2, 2)), Permissions::READ);
    assert_eq!(permissions(&user(3, 3)), Permissions::WRITE);
    let all = permissions(&root(ROOT));
    assert!(all.read() && all.write() && all != Permissions::READ_WRITE);
    let listed = world.root.users().unwrap().value;
    let ids: Vec<u8> = listed.iter().map(|user| user.id.as_bytes()[0]).collect();
    assert_eq!(ids, [1, 2, 3, 5, 6, 10, 11]);
    for listed in listed {
        let number = listed.id.as_bytes()[0];
        let key = if number == 6 { 66 } else { number };
        assert_eq!(listed.permissions, permissions(&user(number, key)));
    }
    // Nobody to revoke is no error, and no commit.
    let before = world.state();
    assert!(!*world.root.revoke(user_id(99)).unwrap());
    assert_eq!(world.state(), before);
}
