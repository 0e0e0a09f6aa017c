//! Files put back on a disk: all of them, or one column family.
//!
//! A database is copied while it is closed and goes on; then older files take the place of newer
//! ones. Of the whole directory and of the catalog a version token shows it; of any other family
//! `verify` does, which is shown to find nothing before.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use sealvec::{
    Database, Error, Index, IndexConfig, Item, KeyContext, Metric, Permissions, PurgeOptions,
    PurgeScope, Result, VersionToken,
};
use serde_json::json;

use crate::support::{
    FAMILIES, NAME, ROOT, copy_directory, delete_raw, index_key, open_raw, put_raw, records, root,
    small, user, user_id, user_key,
};

fn item(id: u8, x: u8, run: u8) -> Item {
    let item = Item::new(format!("item {id}"), [f32::from(x), 1.0]).contents(format!("text {x}"));
    item.metadata(json!({ "kind": x % 3, "run": run }))
}

/// Writes so many commits; the token of the last.
fn go_on(path: &Path, commits: u8) -> VersionToken {
    let db = Database::open(path, small()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    for x in 0..commits {
        index.upsert(&[item(x % 30, x, commits)]).unwrap();
    }
    let version = index.describe().unwrap().version;
    db.close().unwrap();
    version
}

/// A database, a copy of it, and what came after.
struct Story {
    directory: tempfile::TempDir,
    early: VersionToken,
    seen: VersionToken,
}

impl Story {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let db = Database::open(&path, small()).unwrap();
        let config = IndexConfig::new(Metric::Euclidean);
        let index = db.create_index(NAME, &index_key(ROOT), config).unwrap();
        let caller = root(ROOT);
        index.with_key(&caller).grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
        db.close().unwrap();
        let early = go_on(&path, 40);
        copy_directory(&path, &directory.path().join("copy"));
        let seen = go_on(&path, 20);
        Self { directory, early, seen }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("db")
    }

    fn copy(&self) -> std::path::PathBuf {
        self.directory.path().join("copy")
    }

    /// What callers are told who have seen this; nothing is written.
    fn told(&self, caller: KeyContext, seen: VersionToken) -> Result<u64> {
        let db = Database::open(self.path(), small()).unwrap();
        let index = db.load_index(NAME, caller)?.at_least(seen);
        let count = index.count().map(|answer| *answer);
        let loaded = db.load_index(NAME, root(ROOT).at_least(seen)).map(drop);
        assert_eq!(loaded.err(), count.as_ref().err().cloned());
        if count.is_err() {
            assert!(index.get(&["item 1"], sealvec::Include::ALL).is_err());
            assert!(index.verify(|_| ControlFlow::Continue(())).is_err());
            assert!(index.upsert(&[item(1, 1, 1)]).is_err());
        }
        db.close().unwrap();
        count
    }

    fn is_sound(&self) -> Result<bool> {
        let db = Database::open(self.path(), small()).unwrap();
        let index = db.load_index(NAME, root(ROOT))?;
        let report = index.verify(|_| ControlFlow::Continue(()))?;
        db.close().unwrap();
        Ok(report.is_sound())
    }
}

#[test]
fn an_older_directory_is_stale_and_then_forked() {
    let story = Story::new();
    let everyone: [fn() -> KeyContext; 2] = [|| root(ROOT), || user(1, 1)];
    let tell = |seen, expected: Result<u64>| {
        for caller in everyone {
            assert_eq!(story.told(caller(), seen), expected);
        }
    };
    tell(story.seen, Ok(30));
    fs::remove_dir_all(story.path()).unwrap();
    copy_directory(&story.copy(), &story.path());
    tell(story.seen, Err(Error::Stale));
    tell(story.early, Ok(30));
    assert_eq!(story.is_sound(), Ok(true), "an older state is sound");
    let same = go_on(&story.path(), 20);
    assert_eq!(same.sequence, story.seen.sequence);
    tell(story.seen, Err(Error::Forked));
    let ahead = go_on(&story.path(), 60);
    assert_eq!(ahead.sequence, story.seen.sequence + 60);
    tell(story.seen, Err(Error::Forked));
    tell(story.early, Ok(30));
    tell(ahead, Ok(30));
}

#[test]
fn an_older_column_family_is_found() {
    for family in FAMILIES.into_iter().filter(|family| *family != "default") {
        let story = Story::new();
        assert_eq!(story.is_sound(), Ok(true));
        let old = records(&open_raw(&story.copy()));
        let raw = open_raw(&story.path());
        let now = records(&raw);
        for record in now.iter().filter(|record| record.family == family) {
            delete_raw(&raw, family, &record.key);
        }
        for record in old.iter().filter(|record| record.family == family) {
            put_raw(&raw, family, &record.key, &record.value);
        }
        drop(raw);
        let sound = story.is_sound();
        assert!(matches!(sound, Ok(false) | Err(Error::Integrity(_))), "{family}: {sound:?}");
        let told = story.told(root(ROOT), story.seen);
        let expected = if family == "catalog" { Err(Error::Stale) } else { Ok(30) };
        assert_eq!(told, expected, "{family}");
    }
}

/// Makes a call that changes rights or keys, and gives the version it returns.
type Administer = fn(&Database) -> Result<VersionToken>;

#[test]
fn who_changed_rights_or_keys_can_tell_an_older_copy() {
    fn index(db: &Database) -> Index<'static> {
        db.load_index(NAME, root(ROOT)).unwrap()
    }
    let calls: [(&str, u8, Administer); 5] = [
        ("grant", ROOT, |db| index(db).grant(user_id(2), &user_key(2), Permissions::READ)),
        ("revoke", ROOT, |db| index(db).revoke(user_id(1)).map(|done| done.version)),
        ("rotate_index_key", 8, |db| db.rotate_index_key(NAME, &root(ROOT), &index_key(8))),
        ("rotate_data_keys", ROOT, |db| db.rotate_data_keys(NAME, &root(ROOT))),
        ("purge", ROOT, |db| {
            let deleted = index(db).delete(&["item 1"])?.version;
            let receipt = index(db).purge(PurgeScope::Records, PurgeOptions::new())?;
            assert_eq!((receipt.version, receipt.up_to), (deleted, Some(deleted.sequence)));
            Ok(receipt.version)
        }),
    ];
    let story = Story::new();
    let (path, copy) = (story.path(), story.copy());
    for (name, key, call) in calls {
        fs::remove_dir_all(&path).unwrap();
        copy_directory(&copy, &path);
        let db = Database::open(&path, small()).unwrap();
        let seen = call(&db).unwrap();
        let now = db.load_index(NAME, root(key).at_least(seen)).unwrap();
        assert_eq!(now.describe().unwrap().version, seen, "{name}");
        drop((now, db));
        fs::remove_dir_all(&path).unwrap();
        copy_directory(&copy, &path);
        assert_eq!(story.told(root(ROOT), story.early), Ok(30), "{name}");
        assert_eq!(story.told(root(ROOT), seen), Err(Error::Stale), "{name}");
    }
}
