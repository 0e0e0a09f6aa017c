//! The audit trail through the public API: what it tells, to whom, and what it never tells.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealvec::{
    Database, Durability, History, HistoryEntry, Include, Index, IndexConfig, Item, Metric,
    Operation, Permissions, Trace, Tuning, Update, UserId,
};
use serde_json::json;

use crate::support::{
    NAME, ROOT, code, index_key, memory, memory_with, refused, root, small, user, user_id, user_key,
};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// All of it, oldest first.
fn all(index: &Index<'_>) -> Vec<HistoryEntry> {
    let mut commits = Vec::new();
    let visited = index.for_each_commit(.., |commit| {
        commits.push(commit.clone());
        ControlFlow::Continue(())
    });
    visited.unwrap();
    commits.reverse();
    commits
}

/// That the history is that of so many commits, of which some may be folded: sums and kept commits
/// make the whole, up to the index as it is.
pub(crate) fn agrees(index: &Index<'_>, commits: u64) {
    let found = index.describe().unwrap();
    assert_eq!(found.version.sequence, commits);
    let History { commits: kept, next, folded, .. } = index.history(.., 10_000).unwrap().value;
    assert_eq!(next, None);
    let through = folded.as_ref().map_or(0, |folded| folded.through);
    assert_eq!(through + kept.len() as u64, commits);
    assert!(kept.iter().map(|c| c.version.sequence).eq((through + 1..=commits).rev()));
    let newest = &kept[0];
    assert_eq!((newest.version, newest.etag), (found.version, found.etag));
    assert_eq!(newest.item_count, found.item_count);
    assert_eq!(newest.total_size_bytes, found.total_size_bytes);
    let (mut inserted, mut deleted) = folded.as_ref().map_or((0, 0), |f| (f.inserted, f.deleted));
    if let Some(folded) = &folded {
        assert_eq!(folded.operations.values().sum::<u64>(), through);
        assert_eq!(folded.operations[&Operation::Create], 1);
        assert_eq!(folded.item_count, inserted - deleted);
        assert!(folded.first_time <= folded.last_time);
    }
    for commit in kept.iter().rev() {
        (inserted, deleted) = (inserted + commit.inserted, deleted + commit.deleted);
        assert_eq!(commit.item_count, inserted - deleted, "{commit:?}");
    }
}

/// What is told of a commit: also inserted, updated and deleted; the item count; the grant table.
type Told = (Operation, Option<UserId>, Trace, (u64, u64, u64), u64, u64);

#[test]
fn every_change_is_told_with_its_counts_its_author_and_its_trace() {
    let (_db, index) = memory(IndexConfig::new(Metric::Euclidean));
    let (writer, other) = (user(1, 1), user(2, 2));
    index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    index.grant(user_id(2), &user_key(2), Permissions::WRITE).unwrap();
    let item = |id: &str, x: f32| Item::new(id, [x, 0.0]);
    let traced = index.with_traceparent(TRACE);
    traced.upsert(&[item("a", 1.0), item("b", 2.0), item("c", 3.0)]).unwrap();
    let by_writer = traced.with_key(&writer);
    by_writer.upsert(&[item("c", 4.0), item("d", 5.0)]).unwrap();
    by_writer.update("d", Update::new().contents("text")).unwrap();
    let broken = index.with_traceparent("00-nonsense").with_key(&other);
    broken.delete(&["a", "nothing", "d"]).unwrap();
    // None of these changes anything, and none is told.
    by_writer.delete(&["nothing"]).unwrap();
    by_writer.upsert(&[]).unwrap();
    by_writer.update("nothing", Update::new().contents("x")).unwrap_err();
    index.revoke(user_id(9)).unwrap();
    traced.revoke(user_id(2)).unwrap();
    index.bulk_upsert([item("e", 1.0)], |_| ControlFlow::Continue(())).unwrap();

    let told = |c: &HistoryEntry| -> Told {
        let counts = (c.inserted, c.updated, c.deleted);
        (c.operation, c.principal, c.trace, counts, c.item_count, c.version.table)
    };
    let (none, id) = (Trace::None, Trace::from_traceparent(TRACE));
    assert!(matches!(id, Trace::Id(_)));
    let expected: [Told; 9] = [
        (Operation::Create, None, none, (0, 0, 0), 0, 1),
        (Operation::Grant, None, none, (0, 0, 0), 0, 2),
        (Operation::Grant, None, none, (0, 0, 0), 0, 3),
        (Operation::Upsert, None, id, (3, 0, 0), 3, 3),
        (Operation::Upsert, Some(user_id(1)), id, (1, 1, 0), 4, 3),
        (Operation::Update, Some(user_id(1)), id, (0, 1, 0), 4, 3),
        (Operation::Delete, Some(user_id(2)), Trace::Malformed, (0, 0, 2), 2, 3),
        (Operation::Revoke, None, id, (0, 0, 0), 2, 4),
        (Operation::Upsert, None, none, (1, 0, 0), 3, 4),
    ];
    let found = all(&index);
    assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(found.windows(2).all(|pair| pair[0].time <= pair[1].time));
    // By the clock, of commits made just now.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let age = now.abs_diff(Duration::from_millis(found[0].time));
    assert!(age < Duration::from_secs(600), "{age:?}");
    let tags: Vec<bool> = found.windows(2).map(|pair| pair[0].etag != pair[1].etag).collect();
    assert_eq!(tags, [false, false, true, true, true, true, false, true]);
    assert_eq!(index.history(.., 1).unwrap().commits[0].version, index.count().unwrap().version);
    agrees(&index, 9);
}

#[test]
fn rebuilding_the_tree_is_told_and_changes_no_item() {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    let options = small().tuning(tuning).durability(Durability::Buffered);
    let (_db, index) = memory_with(options, IndexConfig::new(Metric::Euclidean));
    let items: Vec<Item> =
        (0u8..100).map(|n| Item::new(n.to_string(), [f32::from(n), f32::from(n % 7)])).collect();
    index.upsert(&items).unwrap();
    let before = index.describe().unwrap();
    let rebuilt = index.optimize(|_| ControlFlow::Continue(())).unwrap().rebuilt;
    assert!(rebuilt > 1);
    let told = index.history(before.version.sequence + 1.., 1000).unwrap();
    assert_eq!(told.commits.len() as u64, rebuilt);
    for commit in &told.commits {
        assert_eq!((commit.operation, commit.etag), (Operation::Optimize, before.etag));
        assert_eq!((commit.item_count, commit.inserted), (100, 0));
    }
}

#[test]
fn the_history_needs_the_read_right() {
    let (db, index) = memory(IndexConfig::new(Metric::Cosine));
    for (who, rights) in [(1, Permissions::READ), (2, Permissions::WRITE), (3, Permissions::READ)] {
        index.grant(user_id(who), &user_key(who), rights).unwrap();
    }
    index.revoke(user_id(3)).unwrap();
    let asked = |who: u8| {
        let key = user(who, who);
        let page = index.with_key(&key).history(.., 10).map(drop);
        let visited = index.with_key(&key).for_each_commit(.., |_| ControlFlow::Continue(()));
        assert_eq!(code(&page), code(&visited));
        code(&page)
    };
    assert_eq!(asked(1), "ok");
    for (who, refusal) in [(2, "permission_denied"), (3, "wrong_key"), (4, "wrong_key")] {
        assert_eq!(asked(who), refusal);
    }
    assert_eq!(code(&db.open_index(NAME).unwrap().history(.., 10)), "missing_key");
    let message = index.with_key(&user(2, 2)).history(.., 10).unwrap_err().to_string();
    assert!(message.contains("read right"), "{message}");
}

#[test]
fn nothing_of_an_item_is_in_the_history() {
    const CANARY: &str = "kanarienvogel";
    let (_db, index) = memory(IndexConfig::new(Metric::Euclidean).retention(16));
    // Long enough to be in no hash by chance.
    let (id, user_hex) = (format!("id-{CANARY}"), "09".repeat(8));
    index.grant(user_id(9), &user_key(9), Permissions::READ_WRITE).unwrap();
    for n in 0..60u8 {
        let item = Item::new(id.as_str(), [1234.5, f32::from(n)]);
        let item = item.contents(format!("{CANARY} text")).metadata(json!({ CANARY: n }));
        index.with_key(&user(9, 9)).upsert(&[item]).unwrap();
        index.delete(&[&id]).unwrap();
    }
    let answer = index.history(.., 1000).unwrap();
    assert!(answer.folded.is_some() && answer.commits.len() >= 16);
    let shown = format!("{answer:?}");
    assert!(shown.contains("operation: Delete"));
    assert!(!shown.to_lowercase().contains(CANARY), "{shown}");
    assert!(
        !shown.contains(&user_hex) && !shown.contains("9, 9, 9, 9"),
        "user ids stay out of logs"
    );
    assert!(!shown.contains("1234.5"), "{shown}");
}

#[test]
fn ranges_and_pages() {
    let (_db, index) = memory(IndexConfig::new(Metric::Euclidean));
    for n in 0..29u8 {
        index.upsert(&[Item::new(n.to_string(), [f32::from(n)])]).unwrap();
    }
    let numbers = |history: &History| -> Vec<u64> {
        history.commits.iter().map(|commit| commit.version.sequence).collect()
    };
    let page = index.history(.., 7).unwrap();
    assert_eq!((numbers(&page), page.next), ((24..=30).rev().collect(), Some(23)));
    let (mut seen, mut next) = (Vec::new(), Some(u64::MAX));
    while let Some(to) = next {
        let page = index.history(..=to, 7).unwrap();
        seen.extend(numbers(&page));
        next = page.next;
    }
    assert_eq!(seen, (1..=30).rev().collect::<Vec<_>>());
    let exact = index.history(10..=13, 4).unwrap();
    assert_eq!((numbers(&exact), exact.next), (vec![13, 12, 11, 10], None));
    assert_eq!(index.history(10..14, 3).unwrap().next, Some(10));
    assert_eq!(numbers(&index.history(29.., 10).unwrap()), [30, 29]);
    assert_eq!(numbers(&index.history(..2, 10).unwrap()), [1]);
    for empty in [31..40, 0..1, 5..5, u64::MAX..u64::MAX] {
        let page = index.history(empty, 10).unwrap();
        assert_eq!((numbers(&page), page.next), (vec![], None));
    }
    for bad in [0, 10_001] {
        refused(index.history(.., bad), "invalid_argument", &["1 to 10000"]);
    }
    let mut visited = 0;
    let stopped = index.for_each_commit(.., |_| {
        visited += 1;
        if visited == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((visited, stopped.unwrap().value), (3, None));
}

#[test]
fn old_commits_fold_into_their_sums() {
    const KEPT: u64 = 16;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = || small().durability(Durability::Buffered);
    let db = Database::open(&path, options()).unwrap();
    refused(
        db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean).retention(15)),
        "invalid_argument",
        &["16", "15"],
    );
    assert_eq!(IndexConfig::new(Metric::Euclidean).retention, 100_000, "as it says");
    let config = IndexConfig::new(Metric::Euclidean).retention(KEPT);
    db.create_index(NAME, &index_key(ROOT), config).unwrap();
    let mut index = db.load_index(NAME, root(ROOT)).unwrap();
    let mut db = Some(db);
    index.grant(user_id(1), &user_key(1), Permissions::READ_WRITE).unwrap();
    let (mut commits, mut sums) = (2, BTreeMap::from([(Operation::Create, 1)]));
    sums.insert(Operation::Grant, 1);
    let mut seen = BTreeSet::new();
    for n in 0..150u16 {
        let writer = user(1, 1);
        let writing = index.with_key(&writer);
        let pair = [n, n + 1].map(|n| Item::new(n.to_string(), [f32::from(n), 1.0]));
        writing.upsert(&pair).unwrap();
        writing.delete(&[n.to_string()]).unwrap();
        commits += 2;
        *sums.entry(Operation::Upsert).or_default() += 1;
        *sums.entry(Operation::Delete).or_default() += 1;
        if n % 50 == 7 {
            index.grant(user_id(2), &user_key(2), Permissions::READ).unwrap();
            commits += 1;
            *sums.get_mut(&Operation::Grant).unwrap() += 1;
        }
        if n % 40 == 13 {
            drop((writing, index));
            db.take().unwrap().close().unwrap();
            let again = Database::open(&path, options()).unwrap();
            index = again.load_index(NAME, root(ROOT)).unwrap();
            db = Some(again);
        }
        agrees(&index, commits);
        let history = index.history(.., 1000).unwrap();
        let kept = history.commits.len() as u64;
        assert!(kept <= KEPT + 15, "{kept}");
        if let Some(folded) = &history.folded {
            seen.insert(folded.through);
            assert!(kept >= KEPT);
            // By operation, the sums and what is kept make the whole too.
            let mut operations = folded.operations.clone();
            for commit in &history.commits {
                *operations.entry(commit.operation).or_default() += 1;
            }
            assert_eq!(operations, sums);
        }
    }
    assert_eq!(seen.len() as u64, commits / KEPT - 1, "{seen:?}");
    let etag = index.describe().unwrap().etag;
    assert_eq!(index.verify_tree().unwrap().items, 1);
    // A fold changes nothing but the history.
    let text = index.history(.., 1).unwrap();
    assert_eq!(text.commits[0].etag, etag);
    drop(index);
    db.take().unwrap().close().unwrap();

    let reading = Database::open_read_only(&path, options()).unwrap();
    let index = reading.load_index(NAME, user(2, 2)).unwrap();
    agrees(&index, commits);
    assert_eq!(index.describe().unwrap().etag, etag);
    assert!(index.get(&["150"], Include::ALL).unwrap()[0].item.is_some());
    assert_eq!(index.verify_tree().unwrap().items, 1);
}
