//! Disks that refuse: one operation of the file system fails, the first, the eighth, the fifteenth,
//! until a whole workload passes untouched. Once or from then on; a bad disk or a full one.
//!
//! The call that meets the failure ends in an error, or does not need what failed. After a write that
//! failed the handle is poisoned: reads go on, every write is refused. Opened again, with the power
//! cut in between or not, the database has every commit that was synced and nothing half done.

use std::path::Path;
use std::sync::Mutex;

use sealvec::{Database, Durability, Error};
use sealvec_faults::{FaultFs, Left, kind};

use crate::ledger::{Ledger, Loss, latest};
use crate::workload::{
    Call, Random, State, cases, copy_directory, create, directory, load, options, try_load,
    until_done,
};

const CALLS: usize = 30;
/// Every so many-th operation, unless soaked.
const STEP: u64 = 7;

#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    /// The database did not open.
    at_open: u64,
    poisoned: u64,
    /// Calls failed, and the handle went on.
    survived: u64,
    /// Nothing failed that a call needs.
    unharmed: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.at_open += other.at_open;
        self.poisoned += other.poisoned;
        self.survived += other.survived;
        self.unharmed += other.unharmed;
    }
}

struct Case<'a> {
    path: &'a Path,
    kinds: u32,
    nth: u64,
    on: bool,
    no_space: bool,
    /// Cut the power before the database is opened again.
    cut: bool,
}

/// Runs a case; false if the workload passed untouched.
fn run(case: &Case<'_>, before: &State, tally: &mut Tally) -> bool {
    let Case { path, kinds, nth, on, no_space, cut } = *case;
    let durability = [Durability::Synced, Durability::Buffered][usize::from(nth % 2 == 0)];
    let opened = Database::open(path, options(durability)).unwrap();
    let mut ledger = Ledger::new(before.clone(), latest(&load(&opened)).unwrap());
    opened.close().unwrap();
    let fs = FaultFs::new();
    fs.fail(kinds, nth, on, no_space);
    let mut random = Random(77);
    let mut running = None;
    tally.cases += 1;
    match Database::open_on(path, options(durability), fs.env()) {
        Err(error) => {
            tally.at_open += 1;
            assert!(fs.failed() > 0 && is_storage(&error), "{error}");
        }
        Ok(db) => {
            let (mut failed, mut poisoned) = (false, false);
            let mut bound = try_load(&db);
            if let Ok(index) = &mut bound {
                for _ in 0..CALLS {
                    let call = Call::draw(&mut random);
                    match call.make(&db, index, path) {
                        Ok(durable) => match latest(index) {
                            Ok(commit) => ledger.acknowledge(&call, commit, durable),
                            // The answer of the check was lost; the call was not.
                            Err(error) => assert!(is_storage(&error), "{error}"),
                        },
                        Err(error) => {
                            assert!(fs.failed() > 0 && is_storage(&error), "{call:?}: {error}");
                            failed = true;
                            let _ = std::fs::remove_dir_all(path.with_extension("copy"));
                            poisoned = db.flush().is_err();
                            // It may be done all the same, as when what follows it fails.
                            if poisoned || latest(index).ok() != Some(ledger.latest()) {
                                running = Some(call);
                                break;
                            }
                        }
                    }
                }
                if poisoned && kinds & kind::READ == 0 {
                    // Reads go on, and writes do not.
                    assert_eq!(db.flush().unwrap_err().code(), "poisoned");
                    let refused = Call::Grant(0, true).make(&db, index, path).unwrap_err();
                    assert_eq!(refused.code(), "poisoned");
                    index.query(&[0.0; 4]).run().unwrap();
                    assert_eq!(index.describe().unwrap().item_count, *index.count().unwrap());
                }
            }
            tally.poisoned += u64::from(poisoned);
            tally.survived += u64::from(failed && !poisoned);
            tally.unharmed += u64::from(!failed && fs.failed() > 0);
            drop(bound);
            if cut {
                fs.cut();
            }
            let _ = db.close();
            if cut {
                let _ = fs.restore(Left::Torn, nth);
            }
        }
    }
    let untouched = fs.failed() == 0;
    drop(fs);
    let db = Database::open(path, options(durability)).unwrap_or_else(|error| {
        panic!("kinds {kinds}, the {nth}th, on {on}, full {no_space}, cut {cut}: {error}")
    });
    let mut index = load(&db);
    ledger.check(&index, running.as_ref(), Loss::Unsynced);
    // It can be written again.
    Call::Grant(0, true).make(&db, &mut index, path).unwrap();
    drop(index);
    db.close().unwrap();
    !untouched
}

fn is_storage(error: &Error) -> bool {
    ["io", "no_space", "integrity", "poisoned", "purge_incomplete"].contains(&error.code())
}

fn sweep(name: &str, kinds: u32) -> Tally {
    let place = directory();
    let base = place.path().join("base");
    let before = create(&base);
    let step = cases(STEP, 1);
    let tally = Mutex::new(Tally::default());
    for (on, no_space, cut) in [(false, false, true), (true, false, false), (true, true, true)] {
        until_done(|number| {
            let path = place.path().join(format!("db-{number}"));
            copy_directory(&base, &path);
            let nth = 1 + number * step;
            let case = Case { path: &path, kinds, nth, on, no_space, cut };
            let mut here = Tally::default();
            let harmed = run(&case, &before, &mut here);
            std::fs::remove_dir_all(&path).unwrap();
            tally.lock().unwrap().add(&here);
            harmed
        });
    }
    let tally = tally.into_inner().unwrap();
    println!("{name} that fail: {tally:?}");
    tally
}

#[test]
fn the_nth_write_fails() {
    let tally = sweep("writes", kind::WRITES);
    assert!(tally.at_open > 0 && tally.poisoned > tally.cases / 4, "{tally:?}");
}

#[test]
fn the_nth_sync_fails() {
    let tally = sweep("syncs", kind::SYNC | kind::DIRECTORY);
    assert!(tally.poisoned > 3, "{tally:?}");
}

#[test]
fn the_nth_read_fails() {
    let tally = sweep("reads", kind::READ);
    assert!(tally.at_open > 0, "{tally:?}");
}
