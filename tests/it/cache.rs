//! The plaintext cache: the same answers for less, to nobody who could not ask without it, and nothing
//! left of it in memory.
//!
//! The last is looked for in a process of its own, which never held the vectors other than from the
//! database: this binary, run again by itself.

use sealvec::{
    Database, Durability, Error, Hit, Include, Index, IndexConfig, Item, Metric, Needs, Options,
    Permissions,
};

use crate::support::{NAME, ROOT, index_key, memory_with, root, small, user, user_id, user_key};
use crate::tree::{Random, ids, items};

const CONFIG: IndexConfig = IndexConfig::new(Metric::Euclidean);

fn cached() -> Options {
    small().plaintext_cache(64 << 20)
}

fn ask(index: &Index<'_>, query: &[f32]) -> Vec<Hit> {
    index.query(query).include(Include::NONE.vector()).run().unwrap().value
}

#[test]
fn answers_are_the_same_and_less_is_opened() {
    let vectors = Random(1).vectors(2000, 48);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let db = Database::open(&path, small().durability(Durability::Buffered)).unwrap();
    db.create_index(NAME, &index_key(ROOT), CONFIG).unwrap();
    db.load_index(NAME, root(ROOT)).unwrap().upsert(&items(&vectors)).unwrap();
    db.close().unwrap();
    let plain = Database::open_read_only(&path, small()).unwrap();
    let plain = plain.load_index(NAME, root(ROOT)).unwrap();
    let kept = Database::open_read_only(&path, cached()).unwrap();
    let kept = kept.load_index(NAME, root(ROOT)).unwrap();
    for query in Random(2).vectors(10, 48) {
        let answer = ask(&plain, &query);
        let cost = || kept.query(&query).run_with_stats().unwrap().1;
        let (first, second) = (cost(), cost());
        assert!(second.bytes_opened * 4 < first.bytes_opened.max(20_000), "{first:?} {second:?}");
        assert!(second.reads <= first.reads && second.rows == first.rows);
        for _ in 0..2 {
            assert_eq!(ask(&kept, &query), answer);
        }
    }
}

#[test]
fn who_may_not_read_gets_nothing_from_it() {
    let (_db, index) = memory_with(cached(), CONFIG);
    let vectors = Random(3).vectors(500, 16);
    index.upsert(&items(&vectors)).unwrap();
    for (id, permissions) in
        [(1, Permissions::READ), (2, Permissions::WRITE), (3, Permissions::READ)]
    {
        index.grant(user_id(id), &user_key(id), permissions).unwrap();
    }
    let (gone, writer, stays, thief) = (user(1, 1), user(2, 2), user(3, 3), user(3, 1));
    let query = |key| index.with_key(key).query(&vectors[0]).run().map(|hits| hits.value);
    let answer = query(&gone).unwrap();
    assert_eq!(query(&stays).unwrap(), answer);
    assert_eq!(query(&writer).unwrap_err(), Error::PermissionDenied { needs: Needs::Read });
    index.revoke(user_id(1)).unwrap();
    assert_eq!(query(&gone).unwrap_err(), Error::WrongKey);
    assert_eq!(query(&thief).unwrap_err(), Error::WrongKey);
    for _ in 0..2 {
        assert_eq!(query(&stays).unwrap(), answer);
    }
    assert_eq!(query(&gone).unwrap_err(), Error::WrongKey);
    assert_eq!(query(&writer).unwrap_err(), Error::PermissionDenied { needs: Needs::Read });
}

/// A leaf that rows were appended to is another leaf to the cache, codes and rows.
#[test]
fn new_items_are_found_at_once() {
    let (db, index) = memory_with(cached(), CONFIG);
    let vectors = Random(8).vectors(600, 16);
    index.upsert(&items(&vectors)).unwrap();
    let other = db.load_index(NAME, root(ROOT)).unwrap();
    for (number, vector) in vectors.iter().enumerate().take(40) {
        // All leaves, twice, so that they are in the cache and known to be current.
        for _ in 0..2 {
            other.query(vector).probes(1000).run().unwrap();
        }
        let id = format!("new {number}");
        index.upsert(&[Item::new(id.clone(), vector.clone())]).unwrap();
        let hits = other.query(vector).top_k(2).run().unwrap();
        let mut found = ids(&hits);
        found.sort_unstable();
        assert_eq!(found, [format!("{number:05}"), id]);
    }
    other.verify_tree().unwrap();
}

#[test]
fn what_was_deleted_or_replaced_is_never_found() {
    let (db, index) = memory_with(cached(), CONFIG);
    let vectors = Random(4).vectors(600, 16);
    index.upsert(&items(&vectors)).unwrap();
    let other = db.load_index(NAME, root(ROOT)).unwrap();
    for round in 0..40 {
        let (gone, moved) = (format!("{round:05}"), format!("{:05}", round + 300));
        let (at, new) = (&vectors[round], vec![20.0 + f32::from(u8::try_from(round).unwrap()); 16]);
        assert_eq!(ask(&index, at)[0].id, gone);
        assert_eq!(ask(&index, &vectors[round + 300])[0].id, moved);
        other.delete(&[&gone]).unwrap();
        other.upsert(&[Item::new(moved.as_str(), new.clone())]).unwrap();
        assert!(!ids(&ask(&index, at)).contains(&gone.as_str()));
        let found = ask(&index, &new);
        assert_eq!((found[0].id.as_str(), found[0].distance), (moved.as_str(), 0.0));
        assert_eq!(found[0].vector.as_ref(), Some(&new));
        assert!(ask(&index, &vectors[round + 300]).iter().all(|hit| hit.id != moved));
    }
    index.verify_tree().unwrap();
}

#[cfg(target_os = "linux")]
mod memory {
    use std::fs::{self, File};
    use std::io::{Read, Seek, SeekFrom};
    use std::process::Command;

    use super::*;

    const PATH: &str = "SEALVEC_TEST_CACHE_OF";
    const TEST: &str = "cache::memory::nothing_of_it_is_left_in_memory";
    const DIMENSION: usize = 64;
    /// Bytes of a vector that are looked for: its end, which no allocator writes to when it is freed.
    const NEEDLE: std::ops::Range<usize> = DIMENSION * 2..DIMENSION * 4;
    const CHUNK: usize = 1 << 20;
    /// So that what is looked for is not in memory because it is looked for.
    const MASK: u8 = 0x5a;

    /// The stored vectors, masked.
    fn needles(vectors: &[Vec<f32>]) -> Vec<u8> {
        let bytes = |vector: &Vec<f32>| vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        let pieces = vectors.iter().map(bytes).map(|v: Vec<u8>| v[NEEDLE].to_vec());
        pieces.flatten().map(|byte| byte ^ MASK).collect()
    }

    /// How many of the needles are somewhere in the memory of this process.
    fn found(needles: &[u8]) -> usize {
        let mut memory = File::open("/proc/self/mem").unwrap();
        let mut seen = vec![false; needles.len() / NEEDLE.len()];
        // What it holds is what it read, so it is left out itself.
        let mut chunk = vec![0u8; CHUNK];
        let own = chunk.as_ptr() as u64;
        for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let mut fields = line.split_whitespace();
            let range = fields.next().unwrap();
            if !fields.next().unwrap().starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            for (mut at, to) in [(from, to.min(own)), (from.max(own + CHUNK as u64), to)] {
                while at < to {
                    let length = usize::try_from(to - at).unwrap().min(CHUNK);
                    let piece = &mut chunk[..length];
                    memory.seek(SeekFrom::Start(at)).unwrap();
                    if memory.read_exact(piece).is_ok() {
                        look(piece, needles, &mut seen);
                    }
                    // Pieces overlap by a needle.
                    let overlap = if at + length as u64 == to { 0 } else { NEEDLE.len() };
                    at += (length - overlap) as u64;
                }
            }
        }
        seen.into_iter().filter(|seen| *seen).count()
    }

    fn look(piece: &[u8], needles: &[u8], seen: &mut [bool]) {
        let mut starts = std::collections::HashMap::new();
        for (number, needle) in needles.chunks(NEEDLE.len()).enumerate() {
            starts.insert(<[u8; 4]>::try_from(&needle[..4]).unwrap(), (number, needle));
        }
        for window in piece.windows(NEEDLE.len()) {
            let start = [window[0], window[1], window[2], window[3]].map(|byte| byte ^ MASK);
            if let Some((number, needle)) = starts.get(&start) {
                seen[*number] |= window.iter().zip(*needle).all(|(a, b)| *a == *b ^ MASK);
            }
        }
    }

    /// What the process of its own does.
    fn child(path: &str) {
        let needles = fs::read(format!("{path}.needles")).unwrap();
        let options = Options::new().threads(1).plaintext_cache(64 << 20);
        let db = Database::open_read_only(path, options).unwrap();
        let index = db.load_index(NAME, root(ROOT)).unwrap();
        for query in Random(99).vectors(60, DIMENSION) {
            index.query(&query).top_k(20).effort(1024).run().unwrap();
        }
        let alive = found(&needles);
        drop(index);
        drop(db);
        println!("found {alive} {}", found(&needles));
    }

    #[test]
    fn nothing_of_it_is_left_in_memory() {
        if let Ok(path) = std::env::var(PATH) {
            return child(&path);
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let vectors = Random(5).vectors(1000, DIMENSION);
        let db = Database::open(&path, small().durability(Durability::Buffered)).unwrap();
        db.create_index(NAME, &index_key(ROOT), CONFIG).unwrap();
        db.load_index(NAME, root(ROOT)).unwrap().upsert(&items(&vectors)).unwrap();
        db.close().unwrap();
        fs::write(directory.path().join("db.needles"), needles(&vectors)).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args([TEST, "--exact", "--nocapture", "--test-threads", "1"])
            .env(PATH, &path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once("found "));
        let Some((_, counts)) = line else {
            panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
        };
        println!("of 1,000 vectors in memory while cached, and after: {counts}");
        let counts: Vec<usize> = counts.split(' ').map(|count| count.parse().unwrap()).collect();
        assert!(counts[0] >= 600, "{counts:?}");
        assert!(counts[1] == 0, "{counts:?}");
    }
}
