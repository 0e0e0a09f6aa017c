//! Bench: what an index of the user's own vectors finds, how fast, and in how much space.
//!
//! Everything is measured in one run, the plain scan included, because machines differ from hour to
//! hour: ratios within a run mean something, numbers of two runs beside each other little. Nothing
//! is measured while RocksDB still compacts what came before, and vectors are read from the file as
//! they are needed, so that the peak memory is the index's and not the bench's own.
//!
//! The database is under a key that is thrown away, so what is left of it can be read by nobody.

mod data;
mod measure;
mod phases;
mod place;
mod plain;
mod report;

use sealvec::{DEFAULT_EFFORT, Options};

use crate::args::Bench;
use crate::failure::Result;
use crate::session::Caller;

use data::Data;
use measure::{peak_memory, reset_peak_memory};
use phases::{Rounds, Subject};
use place::Place;
use report::{Report, Setup};

/// As much as databases have by default.
const BLOCK_CACHE: usize = 256 << 20;

pub(crate) fn run(caller: &Caller, args: &Bench) -> Result<()> {
    let threads = caller.global.threads.unwrap_or(1);
    let block_cache = caller.global.block_cache.unwrap_or(BLOCK_CACHE);
    let options = || Options::new().threads(threads).block_cache(block_cache);
    let mut data = Data::open(args, options())?;
    let place = Place::new(args.directory.as_deref())?;
    let rounds = if args.quick { Rounds::QUICK } else { Rounds::FULL };
    let rounds = args.singles.map_or(rounds, |single| rounds.singles(single));
    let efforts = efforts(args);

    let mut subject = Subject::create(&place, options(), args, data.columns())?;
    let import = subject.import(&mut data)?;
    place.settle(subject.database())?;
    let disk_bytes = place.bytes();
    let sweep = subject.sweep(&data, &efforts)?;
    let mut sweep_cached = None;
    if args.cache > 0 {
        subject = subject.reopen(options().plaintext_cache(args.cache))?;
        sweep_cached = Some(subject.sweep(&data, &efforts)?);
        subject = subject.reopen(options())?;
    }

    let before_scan = peak_memory();
    let exact_plain = plain::scan(&mut data)?;
    reset_peak_memory();

    let stateless = subject.stateless(&data, &rounds)?;
    let get = subject.get(&data, &rounds)?;
    let upsert = subject.upsert(&mut data, &rounds)?;
    let delete = subject.delete(&data, &rounds)?;
    let peak_rss_bytes = before_scan.max(peak_memory());
    subject.close()?;

    let setup = Setup {
        items: data.items(),
        dimension: data.columns(),
        queries: data.queries().len(),
        metric: args.metric,
        precision: args.precision,
        top_k: args.top_k,
        threads,
        block_cache,
        cache: args.cache,
    };
    let truth = data.truth().unwrap_or(&exact_plain.hits);
    let report = Report {
        setup,
        import,
        disk_bytes,
        sweep,
        sweep_cached,
        exact_plain: &exact_plain,
        stateless,
        get,
        upsert,
        delete,
        peak_rss_bytes,
    };
    report.print(truth, args.json)
}

/// The efforts asked for; else some below and above the default, and it.
fn efforts(args: &Bench) -> Vec<u32> {
    if !args.efforts.is_empty() {
        return args.efforts.clone();
    }
    let (least, most) = if args.quick { (-1, 1) } else { (-2, 4) };
    let effort = |power: i32| match u32::try_from(power) {
        Ok(up) => DEFAULT_EFFORT.saturating_mul(1 << up),
        Err(_) => (DEFAULT_EFFORT >> power.unsigned_abs()).max(1),
    };
    (least..=most).map(effort).collect()
}
