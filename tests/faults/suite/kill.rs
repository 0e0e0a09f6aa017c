//! Processes killed at any moment, as by `kill -9`, in the middle of any operation.
//!
//! A child runs a workload and says when the database is open and what each call left. It is killed
//! after some of these lines, a little later or while it writes. What a process wrote the operating
//! system has, so nothing that was acknowledged may be missing, synced or not; the call that was
//! running is there whole or not at all. The next child goes on with the same database.

use std::collections::BTreeMap;

use sealvec::{Database, Durability};

use crate::children::{Moment, Task, say};
use crate::ledger::{Commit, Ledger, Loss, latest};
use crate::workload::{Call, Random, cases, create, directory, load, options};

const TEST: &str = "kill::what_was_acknowledged_is_there_after_a_kill";
/// Calls of a child, and the most lines after which it is killed.
const CALLS: usize = 40;
/// Kills of one database.
const LIVES: usize = 15;

/// Whether this process is one that may be killed; it has done its work then.
fn done_as_child() -> bool {
    let Some(Task { path, durability, seed }) = Task::given() else { return false };
    let db = Database::open(&path, options(durability)).unwrap();
    let mut index = load(&db);
    say("open");
    let mut random = Random(seed);
    for number in 0..CALLS {
        let call = Call::draw(&mut random);
        let durable = call.make(&db, &mut index, &path).unwrap();
        let (sequence, hash) = latest(&index).unwrap();
        let hash: String =
            hash.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        say(&format!("call {number} {sequence} {hash} {durable}"));
    }
    drop(index);
    db.close().unwrap();
    true
}

/// The commit that a call left, and whether it was durable.
fn parse(line: &str) -> (Commit, bool) {
    let fields: Vec<&str> = line.split(' ').collect();
    let ["call", _, sequence, hash, durable] = fields[..] else { panic!("{line}") };
    let mut bytes = [0; 32];
    for (byte, text) in bytes.iter_mut().zip(hash.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(text).unwrap(), 16).unwrap();
    }
    ((sequence.parse().unwrap(), bytes), durable == "true")
}

#[derive(Debug, Default)]
struct Tally {
    processes: u64,
    killed: u64,
    /// Before the database was open.
    early: u64,
    acknowledged: usize,
    /// Killed in the middle of such a call.
    amid: BTreeMap<String, u64>,
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    if done_as_child() {
        return;
    }
    let (mut tally, most) = (Tally::default(), cases(300, 3000));
    let mut random = Random(1);
    while tally.killed < most {
        let place = directory();
        let path = place.path().join("db");
        let state = create(&path);
        let db = Database::open(&path, options(Durability::Synced)).unwrap();
        let mut ledger = Ledger::new(state, latest(&load(&db)).unwrap());
        db.close().unwrap();
        for _ in 0..LIVES {
            let durability = [Durability::Synced, Durability::Buffered][random.below(2)];
            let task = Task { path: path.clone(), durability, seed: random.next() };
            let ended = task.run(TEST, Some(Moment::random(&mut random, CALLS, 4000)));
            let mut calls = Random(task.seed);
            let (opened, lines) =
                ended.said.split_first().map_or((false, &[][..]), |(_, rest)| (true, rest));
            for line in lines {
                let (commit, durable) = parse(line);
                ledger.acknowledge(&Call::draw(&mut calls), commit, durable);
            }
            let running = Call::draw(&mut calls);
            let _ = std::fs::remove_dir_all(path.with_extension("copy"));
            let db = Database::open(&path, options(Durability::Synced)).unwrap();
            let index = load(&db);
            let lost = ledger.check(&index, Some(&running), Loss::Nothing);
            assert_eq!(lost, 0);
            drop(index);
            db.close().unwrap();
            tally.processes += 1;
            tally.killed += u64::from(ended.killed);
            tally.early += u64::from(ended.killed && !opened);
            tally.acknowledged += lines.len();
            if ended.killed && opened {
                let name = format!("{running:?}");
                let name = name.split(['(', ' ']).next().unwrap().to_owned();
                *tally.amid.entry(name).or_default() += 1;
            }
        }
    }
    println!("kills: {tally:?}, acknowledged commits lost: 0");
    assert!(tally.amid.len() > 8, "{tally:?}");
}
