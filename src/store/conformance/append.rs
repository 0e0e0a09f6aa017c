//! Appending: one value to every reader, whatever the engine keeps.

use std::time::Duration;

use super::{commit, delete, everything, get, purge, put, scan};
use crate::store::{Change, Engine, Family};

const C: Family = Family::Catalog;

pub(super) fn append(family: Family, key: &[u8], bytes: &[u8]) -> Change {
    Change::Append(family, key.to_vec(), bytes.to_vec())
}

pub(super) fn appended_bytes_follow_what_is_there(engine: &dyn Engine) {
    for family in Family::ALL {
        commit(engine, vec![append(family, b"new", b"a")]);
        commit(engine, vec![put(family, b"old", b"value"), put(family, b"other", b"v")]);
        for bytes in [&b""[..], b"+1", b"+two", &[0; 300]] {
            commit(engine, vec![append(family, b"old", bytes), append(family, b"new", bytes)]);
        }
        let zeros = [0; 300];
        let expected = |start: &[u8]| [start, b"+1+two", &zeros].concat();
        let snapshot = engine.snapshot();
        let asked = [b"new".to_vec(), b"old".to_vec(), b"other".to_vec()];
        let values = [expected(b"a"), expected(b"value"), b"v".to_vec()];
        let found = snapshot.multi_get(family, &asked).unwrap();
        assert_eq!(found, values.clone().map(Some));
        let pinned = snapshot.multi_get_pinned(family, &asked).unwrap();
        assert!(pinned.iter().zip(&values).all(|(found, v)| **found.as_ref().unwrap() == **v));
        let all = asked.into_iter().zip(values).collect::<Vec<_>>();
        assert_eq!(scan(&*snapshot, family, b"", b""), all);
    }
}

pub(super) fn appending_takes_its_turn_among_the_changes_of_a_batch(engine: &dyn Engine) {
    let batch = vec![append(C, b"k", b"1"), put(C, b"k", b"2"), append(C, b"k", b"3")];
    commit(engine, batch);
    assert_eq!(get(engine, b"k"), Some(b"23".to_vec()));
    commit(engine, vec![append(C, b"k", b"4"), delete(C, b"k"), append(C, b"k", b"5")]);
    assert_eq!(get(engine, b"k"), Some(b"5".to_vec()));
    commit(engine, vec![append(C, b"k", b"6"), Change::DeletePrefix(b"k".to_vec())]);
    assert_eq!(get(engine, b"k"), None);
    commit(engine, vec![append(C, b"k", b"7")]);
    assert_eq!(get(engine, b"k"), Some(b"7".to_vec()), "nothing of before the deletion");
}

pub(super) fn a_snapshot_does_not_see_what_is_appended_later(engine: &dyn Engine) {
    commit(engine, vec![put(C, &[7, 1], b"base")]);
    let first = engine.snapshot();
    commit(engine, vec![append(C, &[7, 1], b"+1"), append(C, &[7, 2], b"+1")]);
    let second = engine.snapshot();
    let held = second.multi_get_pinned(C, &[vec![7, 1]]).unwrap();
    commit(engine, vec![append(C, &[7, 1], b"+2"), delete(C, &[7, 2])]);
    commit(engine, vec![put(C, &[7, 1], b"anew"), append(C, &[7, 1], b"+3")]);
    for purged in [false, true] {
        let value = |snapshot: &dyn crate::store::Snapshot, key: u8| {
            snapshot.get(C, &[7, key]).unwrap().map(|value| String::from_utf8(value).unwrap())
        };
        let values = |snapshot| (value(snapshot, 1), value(snapshot, 2));
        assert_eq!(values(&*first), (Some("base".into()), None), "{purged}");
        assert_eq!(values(&*second), (Some("base+1".into()), Some("+1".into())), "{purged}");
        assert_eq!(values(&*engine.snapshot()), (Some("anew+3".into()), None), "{purged}");
        assert_eq!(held[0].as_deref(), Some(&b"base+1"[..]));
        // On RocksDB it does no more than flush, because of the snapshots.
        drop(purge(engine, &[7], Duration::ZERO));
    }
}

pub(super) fn a_purge_keeps_what_was_appended(engine: &dyn Engine) {
    commit(engine, vec![put(C, &[7, 1], b"base"), append(C, &[7, 1], b"+1")]);
    purge(engine, &[7], Duration::from_secs(9)).unwrap();
    commit(engine, vec![append(C, &[7, 1], b"+2"), append(C, &[7, 2], b"alone")]);
    let before = everything(engine);
    purge(engine, &[7], Duration::from_secs(9)).unwrap();
    assert_eq!(everything(engine), before);
    assert_eq!(get(engine, &[7, 1]), Some(b"base+1+2".to_vec()));
    commit(engine, vec![append(C, &[7, 1], b"+3")]);
    assert_eq!(get(engine, &[7, 1]), Some(b"base+1+2+3".to_vec()));
}
