//! Power cuts: what was synced is there afterwards, and the rest is gone by whole commits.
//!
//! The database runs on a file system that keeps what is not synced out of the files. At some moment,
//! between two calls or in the middle of one, the power goes; the files are then left with what was
//! synced and with nothing, all, a torn or a garbled part of what was written after. The database is
//! opened on the real file system, checked, and goes on to the next cut.

use std::sync::Mutex;

use sealvec::{Database, Durability};
use sealvec_faults::{FaultFs, Left, kind};

use crate::ledger::{Ledger, Loss, latest};
use crate::workload::{Call, Random, cases, create, directory, load, options, until_done};

/// Cuts of one database.
const CUTS: usize = 10;
/// The most calls between two cuts.
const CALLS: usize = 24;
/// The most operations of the file system before one in the middle of a call.
const OPERATIONS: u64 = 120;

#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    /// In the middle of a call.
    amid: u64,
    acknowledged: u64,
    /// Acknowledged commits that were not synced and are gone.
    unsynced_lost: u64,
    /// Bytes that were written and are gone.
    bytes_lost: u64,
    synced: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.amid += other.amid;
        self.acknowledged += other.acknowledged;
        self.unsynced_lost += other.unsynced_lost;
        self.bytes_lost += other.bytes_lost;
        self.synced += other.synced;
    }
}

/// One database, cut so often.
fn life(seed: u64) -> Tally {
    let mut tally = Tally::default();
    let place = directory();
    let path = place.path().join("db");
    let state = create(&path);
    let db = Database::open(&path, options(Durability::Synced)).unwrap();
    let mut ledger = Ledger::new(state, latest(&load(&db)).unwrap());
    db.close().unwrap();
    let mut random = Random(seed);
    for left in Left::EACH.into_iter().cycle().take(CUTS) {
        let fs = FaultFs::new();
        let durability = [Durability::Synced, Durability::Buffered][random.below(2)];
        let (amid, calls) = (random.below(2) == 0, 1 + random.below(CALLS));
        let db = Database::open_on(&path, options(durability), fs.env()).unwrap();
        let mut index = load(&db);
        if amid {
            fs.fail(kind::WRITES, 1 + random.next() % OPERATIONS, true, false);
        }
        let mut running = None;
        for _ in 0..calls {
            let call = Call::draw(&mut random);
            match call.make(&db, &mut index, &path) {
                Ok(durable) => {
                    ledger.acknowledge(&call, latest(&index).unwrap(), durable);
                    tally.acknowledged += 1;
                    tally.synced += u64::from(durable);
                }
                Err(error) => {
                    assert!(amid && fs.failed() > 0, "{call:?}: {error}");
                    running = Some(call);
                    break;
                }
            }
        }
        fs.cut();
        drop(index);
        let _ = db.close();
        tally.cuts += 1;
        tally.amid += u64::from(running.is_some());
        tally.bytes_lost += fs.restore(left, random.next());
        let _ = std::fs::remove_dir_all(path.with_extension("copy"));

        let db = Database::open(&path, options(durability))
            .unwrap_or_else(|error| panic!("{left:?}, {running:?}: {error}"));
        let index = load(&db);
        tally.unsynced_lost += ledger.check(&index, running.as_ref(), Loss::Unsynced);
        drop(index);
        db.close().unwrap();
    }
    tally
}

#[test]
fn no_synced_commit_is_lost_when_the_power_goes() {
    let lives = cases(300, 3000) / CUTS as u64;
    let tally = Mutex::new(Tally::default());
    until_done(|number| {
        if number < lives {
            let of_life = life(number);
            tally.lock().unwrap().add(&of_life);
        }
        number < lives
    });
    let tally = tally.into_inner().unwrap();
    println!("power cuts: {tally:?}, synced commits lost: 0");
    assert_eq!(tally.cuts, cases(300, 3000));
    assert!(tally.amid > tally.cuts / 8 && tally.unsynced_lost > 0, "{tally:?}");
    assert!(tally.bytes_lost > 0 && tally.synced > tally.cuts, "{tally:?}");
}

/// The control: a file system that lies about its fsync loses commits, and the check sees it.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let place = directory();
    let path = place.path().join("db");
    let state = create(&path);
    let fs = FaultFs::new();
    let db = Database::open_on(&path, options(Durability::Buffered), fs.env()).unwrap();
    let mut index = load(&db);
    let mut ledger = Ledger::new(state, latest(&index).unwrap());
    let mut random = Random(5);
    let mut made = 0;
    while made < 5 {
        let call = Call::draw(&mut random);
        if !matches!(call, Call::Upsert(_) | Call::Batch(..)) {
            continue;
        }
        call.make(&db, &mut index, &path).unwrap();
        // As if it had been synced.
        ledger.acknowledge(&call, latest(&index).unwrap(), true);
        made += 1;
    }
    fs.cut();
    drop(index);
    let _ = db.close();
    assert!(fs.restore(Left::Nothing, 0) > 0);
    let db = Database::open(&path, options(Durability::Synced)).unwrap();
    let index = load(&db);
    let ledger = Mutex::new(ledger);
    let check = std::panic::AssertUnwindSafe(|| {
        ledger.lock().unwrap().check(&index, None, Loss::Unsynced);
    });
    assert!(std::panic::catch_unwind(check).is_err(), "the check misses a lost commit");
}
