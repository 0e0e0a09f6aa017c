//! Handles under pressure: from other thread pools, while a database closes, and after a making that
//! was cut short.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use sealvec::{
    Database, Durability, Error, Include, Index, IndexConfig, IndexKey, Item, KeyContext, Metric,
    Options, Permissions, Tuning, UserId, UserKey,
};

fn key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

fn index(db: &Database) -> Index<'static> {
    db.create_index("notes", &key(), IndexConfig::new(Metric::Euclidean)).unwrap();
    db.load_index("notes", KeyContext::root(key())).unwrap()
}

/// Fails instead of hanging.
fn within_a_minute(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("it ends");
}

/// A thread of a pool that waits for another pool is given other work of its own pool, which must
/// not want a lock that the waiting call holds.
#[test]
fn calls_from_a_pool_of_the_caller_do_not_wait_for_themselves() {
    within_a_minute(|| {
        let db = Database::in_memory_with(Options::new().threads(2)).unwrap();
        let index = index(&db);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            (0..40u16).into_par_iter().for_each(|round| {
                let items: Vec<Item> = (0..200u16)
                    .map(|n| Item::new(format!("{round}-{n}"), [f32::from(n), f32::from(round)]))
                    .collect();
                index.upsert(&items).unwrap();
                index.query(&[1.0, 1.0]).top_k(3).run().unwrap();
            });
        });
        assert_eq!(index.count().unwrap().value, 8000);
    });
}

/// Leaves of equal vectors have no best place for any of them, and must not trade them for ever.
#[test]
fn writing_many_equal_vectors_ends() {
    within_a_minute(|| {
        let mut tuning = Tuning::new();
        (tuning.leaf_items, tuning.fan_out) = (8, 4);
        let db = Database::in_memory_with(Options::new().threads(1).tuning(tuning)).unwrap();
        let index = index(&db);
        // Each value many times over, a few at a time.
        for round in 0..60u16 {
            let item = |n: u16| Item::new(format!("{round}-{n}"), [f32::from((round + n) % 4)]);
            index.upsert(&(0..5).map(item).collect::<Vec<_>>()).unwrap();
        }
        let tree = index.verify_tree().unwrap();
        assert!(tree.items == 300 && tree.leaves > 30, "{tree:?}");
    });
}

#[test]
fn a_visitor_may_call_while_another_thread_closes() {
    within_a_minute(|| {
        let db = Database::in_memory().unwrap();
        let index = index(&db);
        index.upsert(&[Item::new("a", [1.0]), Item::new("b", [2.0])]).unwrap();
        let (visiting, started) = mpsc::channel();
        let closer = std::thread::spawn(move || {
            started.recv().unwrap();
            db.close().unwrap();
        });
        let mut answers = Vec::new();
        let visited = index.for_each(Include::NONE, |_| {
            let _ = visiting.send(());
            std::thread::sleep(Duration::from_millis(100));
            answers.push(index.count().map(|count| count.value));
            ControlFlow::Continue(())
        });
        // The call that ran is finished; the ones that came while it closed are refused.
        assert_eq!(visited.unwrap().value, 2);
        assert!(answers.iter().all(|answer| matches!(answer, Ok(2) | Err(Error::Closed))));
        closer.join().unwrap();
        assert_eq!(index.count().unwrap_err(), Error::Closed);
    });
}

/// What a process that dies while it makes a database leaves is not mistaken for something else.
#[test]
fn a_making_that_was_cut_short_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    for leftover in [&[][..], &["LOCK", "LOG"], &["LOCK", "MANIFEST-000001", "000002.dbtmp"]] {
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("CREATING"), "").unwrap();
        for name in leftover {
            std::fs::write(path.join(name), "").unwrap();
        }
        for refused in [
            Database::open(&path, Options::new().create(false)),
            Database::open_read_only(&path, Options::new()),
        ] {
            assert_eq!(refused.unwrap_err().code(), "database_not_found");
        }
        let db = Database::open(&path, Options::new()).unwrap();
        index(&db).upsert(&[Item::new("a", [1.0])]).unwrap();
        db.close().unwrap();
        assert!(!path.join("CREATING").exists());
        let again = Database::open(&path, Options::new().create(false)).unwrap();
        let index = again.load_index("notes", KeyContext::root(key())).unwrap();
        assert_eq!(index.count().unwrap().value, 1);
        again.close().unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn the_rights_of_the_root_cannot_be_handed_on() {
    let db = Database::in_memory().unwrap();
    let index = index(&db);
    let own = index.describe().unwrap();
    let user = UserId::from_bytes(&[1; 16]).unwrap();
    let user_key = UserKey::from_bytes(&[2; 32]).unwrap();
    let refused = index.grant(user, &user_key, own.permissions).unwrap_err();
    assert_eq!(refused.code(), "invalid_argument");
    let same = UserKey::from_bytes(key().expose()).unwrap();
    assert_eq!(index.grant(user, &same, Permissions::READ).unwrap_err().code(), "invalid_argument");
    assert_eq!(index.describe().unwrap().version, own.version);
    index.grant(user, &user_key, Permissions::READ_WRITE).unwrap();
}

/// All contents together are 384 MiB; a visit holds about 16 MiB of them at a time. The limit leaves
/// room for what other tests of this process do meanwhile.
#[test]
fn visiting_long_contents_takes_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().block_cache(8 << 20).durability(Durability::Buffered);
    let db = Database::open(directory.path().join("db"), options).unwrap();
    let index = index(&db);
    let contents = vec![5; 4 << 20];
    for n in 0..96u8 {
        let item = Item::new(n.to_string(), [f32::from(n)]).contents(contents.clone());
        index.upsert(&[item]).unwrap();
    }
    let mut largest = 0;
    let before = resident();
    index
        .for_each(Include::ALL, |entry| {
            assert_eq!(entry.contents, Some(&contents[..]));
            largest = largest.max(resident());
            ControlFlow::Continue(())
        })
        .unwrap();
    let grown = largest.saturating_sub(before);
    assert!(grown < 256 << 20, "{} MiB", grown >> 20);
}

/// Bytes of memory this process occupies; 0 where the system does not tell.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
