//! What was ever stored, and where it still is.
//!
//! A [`Witness`] looks below sealvec after every step and remembers each record that it finds.
//! What it has seen and is not stored any more was deleted or overwritten. Every file below the
//! directory is then searched for three pieces of 24 bytes of each such value: at different offsets,
//! because the write-ahead log cuts records at blocks of 32 KiB. Values and not keys, because tables
//! compress the prefixes of keys.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rocksdb::{ColumnFamilyDescriptor, DB, MergeOperands, Options as RawOptions};

use crate::support::{FAMILIES, Stored, files, records};

pub(super) const ITEM: u8 = 0x20;
pub(super) const NODE: u8 = 0x30;
pub(super) const WRAP: u8 = 0x13;
pub(super) const ROSTER: u8 = 0x14;
pub(super) const POSTING: u8 = 0x40;
pub(super) const DIRECTORY: u8 = 0x41;
pub(super) const COLUMN: u8 = 0x42;
pub(super) const PAYLOAD: [u8; 3] = [0x50, 0x51, 0x52];

const PIECE: usize = 24;

/// What the engine does with values that are appended to.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a merge operator")]
fn append(_key: &[u8], first: Option<&[u8]>, more: &MergeOperands) -> Option<Vec<u8>> {
    Some(first.into_iter().chain(more).flatten().copied().collect())
}

/// The signature of a grant table, which is made by the index key.
pub(super) const SIGNATURE: u8 = 0x17;
/// The kinds of record that keep something secret, or lead to it, or are made by the index key.
const SECRET: [u8; 11] = [
    ITEM, NODE, POSTING, DIRECTORY, COLUMN, WRAP, ROSTER, SIGNATURE, PAYLOAD[0], PAYLOAD[1],
    PAYLOAD[2],
];
/// The others that are sealed.
pub(super) const COMMIT: u8 = 0x11;
pub(super) const TABLE: u8 = 0x12;
pub(super) const FOLD: u8 = 0x16;

/// The offsets of the pieces.
fn pieces(value: &[u8]) -> Vec<&[u8]> {
    let last = value.len().checked_sub(PIECE).expect("every value that matters is longer");
    [last / 4, last / 2, last].map(|start| &value[start..start + PIECE]).into()
}

#[derive(Default)]
pub(super) struct Witness {
    seen: BTreeSet<Stored>,
    stored: BTreeSet<Stored>,
    /// Kinds it looks at besides those that keep something secret.
    besides: Vec<u8>,
}

impl Witness {
    /// One that looks at every kind of record that is sealed.
    pub(super) fn of_all_that_is_sealed() -> Self {
        Self { besides: vec![COMMIT, TABLE, FOLD], ..Self::default() }
    }

    /// Looks at what is stored now, while the database is open.
    pub(super) fn look(&mut self, path: &Path) {
        let mut options = RawOptions::default();
        // As the database has it: without it RocksDB does not survive reading what tracks its logs.
        options.set_track_and_verify_wals_in_manifest(true);
        let families = || {
            FAMILIES.map(|name| {
                let mut options = RawOptions::default();
                options.set_merge_operator_associative("sealvec.append", append);
                ColumnFamilyDescriptor::new(name, options)
            })
        };
        // RocksDB may take a file away between the reading of its name and its opening.
        let open = || DB::open_cf_descriptors_read_only(&options, path, families(), false).ok();
        let raw = iter::repeat_with(open).take(100).find_map(|raw| {
            if raw.is_none() {
                thread::sleep(Duration::from_millis(10));
            }
            raw
        });
        let raw = raw.expect("the files can be read");
        let matters = |kind: u8| SECRET.contains(&kind) || self.besides.contains(&kind);
        let found = records(&raw).into_iter().filter(|record| matters(record.kind()));
        self.stored = found.collect();
        self.seen.extend(self.stored.iter().cloned());
    }

    /// What was seen and is not stored any more, nor the beginning of what it was appended to.
    fn gone(&self) -> impl Iterator<Item = &Stored> {
        let place = |record: &Stored| (record.family, record.key.clone());
        let live: BTreeMap<_, &[u8]> =
            self.stored.iter().map(|record| (place(record), &record.value[..])).collect();
        self.seen.iter().filter(move |record| {
            !live.get(&place(record)).is_some_and(|value| value.starts_with(&record.value))
        })
    }

    /// The first bytes of everything of this kind that is stored.
    pub(super) fn heads(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        let of_kind = self.stored.iter().filter(move |record| record.kind() == kind);
        of_kind.filter_map(|record| record.value.get(..7))
    }

    /// Of what is gone, how many records of each kind there are, and how many of those are still
    /// in some file, in part at least.
    pub(super) fn traces(&self, path: &Path) -> BTreeMap<u8, (usize, usize)> {
        let files = Haystack::new(path);
        let mut found: BTreeMap<u8, (usize, usize)> = BTreeMap::new();
        for record in self.gone() {
            let (all, traced) = found.entry(record.kind()).or_default();
            *all += 1;
            *traced += usize::from(pieces(&record.value).iter().any(|piece| files.hold(piece)));
        }
        found
    }

    /// Whether everything that is stored is found in the files: the search works.
    pub(super) fn finds_what_is_stored(&self, path: &Path) -> bool {
        let files = Haystack::new(path);
        let all = |record: &Stored| pieces(&record.value).iter().any(|piece| files.hold(piece));
        !self.stored.is_empty() && self.stored.iter().all(all)
    }
}

/// All files as one, with the places of every pair of bytes, so that a search looks at few.
struct Haystack {
    bytes: Vec<u8>,
    starts: Vec<Vec<u32>>,
}

impl Haystack {
    fn new(path: &Path) -> Self {
        let mut bytes = Vec::new();
        for (_, file) in files(path) {
            bytes.extend(file);
            // No piece is found over the end of a file.
            bytes.extend([0; PIECE]);
        }
        let mut starts = vec![Vec::new(); 1 << 16];
        for (start, pair) in bytes.windows(2).enumerate() {
            starts[usize::from(u16::from_le_bytes([pair[0], pair[1]]))]
                .push(u32::try_from(start).unwrap());
        }
        Self { bytes, starts }
    }

    fn hold(&self, piece: &[u8]) -> bool {
        let pair = usize::from(u16::from_le_bytes([piece[0], piece[1]]));
        self.starts[pair].iter().any(|start| {
            let start = usize::try_from(*start).unwrap();
            self.bytes[start..].starts_with(piece)
        })
    }
}
