//! Damaged files: bytes flipped, zeroed or cut off at any place of any file of a database.
//!
//! The database then does not open, or a call reports the damage, or what is read is right: the state
//! of the latest commit or, after damage to a log, of an earlier one. For a log is read up to its
//! first bad record, wherever that is, and what follows is gone, synced or not. That earlier state is
//! one whole commit of those that were made, `verify` finds nothing wrong with it, and a caller who
//! kept the version token of the latest commit is told `Stale`. Never other data, and never a panic.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use sealvec::{Database, Durability, Error, VersionToken};

use crate::ledger::{Ledger, Loss, latest};
use crate::workload::{
    Call, NAME, Random, cases, copy_directory, create, directory, load, options, root, try_load,
};

/// What kind of file it is: `sst`, `log`, `MANIFEST`, `CURRENT`, ...
fn kind(name: &str) -> String {
    let kind = name.rsplit_once('.').map_or(name, |(_, end)| end);
    kind.split('-').next().unwrap().to_owned()
}

/// Damages a file, and says how.
fn damage(file: &Path, random: &mut Random) -> &'static str {
    let mut bytes = std::fs::read(file).unwrap();
    let at = random.below(bytes.len());
    let how = match random.below(4) {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            "flip"
        }
        2 => {
            let end = bytes.len().min(at + 1 + random.below(200));
            bytes[at..end].fill(0);
            "zero"
        }
        _ => {
            bytes.truncate(at);
            "cut"
        }
    };
    std::fs::write(file, bytes).unwrap();
    how
}

/// Opens, reads and checks; how many commits are gone.
fn check(path: &Path, ledger: &mut Ledger, seen: VersionToken) -> Result<u64, Error> {
    let db = Database::open(path, options(Durability::Synced))?;
    let index = try_load(&db)?;
    let lost = ledger.try_check(&index, None, Loss::Unsynced)?;
    let found = index.verify(|_| ControlFlow::Continue(()))?;
    let aware = index.at_least(seen).count().map(drop);
    let loaded = db.load_index(NAME, root(index.key).at_least(seen)).map(drop);
    assert_eq!(aware, loaded);
    if lost > 0 {
        assert!(found.is_sound(), "a commit that was made is sound: {found:?}");
        assert_eq!(aware, Err(Error::Stale));
    } else {
        assert_eq!(aware, Ok(()));
        if !found.is_sound() {
            return Err(Error::Integrity(found.findings[0].fault));
        }
    }
    Ok(lost)
}

#[test]
fn damage_is_refused_or_harmless_and_never_other_data() {
    let place = directory();
    let base = place.path().join("base");
    let state = create(&base);
    let mut random = Random(3);
    // Tables of several levels, and a log with something in it.
    let db = Database::open(&base, options(Durability::Synced)).unwrap();
    let mut index = load(&db);
    let mut ledger = Ledger::new(state, latest(&index).unwrap());
    for number in 0..120 {
        let call = if number == 80 { Call::PurgeOwed } else { Call::draw(&mut random) };
        if number > 80 && call.purges() {
            continue;
        }
        call.make(&db, &mut index, &base).unwrap();
        ledger.acknowledge(&call, latest(&index).unwrap(), true);
    }
    // While it is open: closing loses nothing, but opening would empty the log.
    let image = place.path().join("image");
    copy_directory(&base, &image);
    let seen = index.describe().unwrap().version;
    drop(index);
    db.close().unwrap();
    ledger.promise_nothing();

    let mut names: Vec<(String, u64)> = std::fs::read_dir(&image)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len()))
        .filter(|(name, bytes)| *bytes > 0 && !name.starts_with("LOG"))
        .collect();
    names.sort();
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, _) in names {
        kinds.entry(kind(&name)).or_default().push(name);
    }
    let wanted = ["sst", "log", "MANIFEST", "CURRENT", "IDENTITY", "OPTIONS"];
    assert!(wanted.iter().all(|kind| kinds.contains_key(*kind)), "{:?}", kinds.keys());
    let kinds: Vec<(&String, &Vec<String>)> = kinds.iter().collect();

    let mut tally: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for number in 0..cases(1000, 20_000) {
        // Half of them in tables, which are most of a database.
        let (kind, files) = match number % 4 {
            0 | 2 => kinds.iter().find(|(kind, _)| *kind == "sst").unwrap(),
            1 => kinds.iter().find(|(kind, _)| *kind == "log").unwrap(),
            _ => &kinds[random.below(kinds.len())],
        };
        let path = place.path().join("db");
        copy_directory(&image, &path);
        let file = &files[random.below(files.len())];
        damage(&path.join(file), &mut random);
        let mut ledger = ledger.clone();
        let end = match check(&path, &mut ledger, seen) {
            Ok(0) => "right",
            Ok(_) => "an earlier commit",
            Err(error) => match error.code() {
                code @ ("integrity" | "io") => code,
                code => panic!("{file}: {code}, {error}"),
            },
        };
        *tally.entry(((*kind).clone(), end)).or_default() += 1;
        std::fs::remove_dir_all(&path).unwrap();
    }
    println!("damaged files: {} cases: {tally:?}", cases(1000, 20_000));
    let ended =
        |what: &str| tally.iter().filter(|((_, end), _)| *end == what).map(|(_, n)| n).sum();
    let (refused, right): (u64, u64) = (ended("integrity"), ended("right"));
    assert!(refused > 100 && right > 0 && ended("an earlier commit") > 100, "{tally:?}");
    // The control: with nothing damaged it is as it was.
    assert_eq!(check(&image, &mut ledger, seen), Ok(0));
}
