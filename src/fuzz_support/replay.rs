//! Runs a fuzz target on its seeds, and on seeds that were changed at random.
//!
//! The changes are those that find faults in decoders: flipped bits, bytes and integers at their
//! limits, pieces removed, repeated, moved and taken from other seeds. The random numbers are fixed,
//! so a run is repeatable. `SEALVEC_FUZZ_MUTATIONS` asks for another number of changed seeds. This
//! file uses nothing of the library: the program's tests compile it, too.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Longer inputs are cut.
const LONGEST: usize = 16 << 10;

pub(crate) fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

/// Runs a target on every seed and on so many changed ones. What fails is printed with all that is
/// needed to run it again.
pub(crate) fn replay(target: &str, run: fn(&[u8]), mutations: usize) {
    let files = fs::read_dir(directory(target)).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{target}: too few seeds");
    let seeds: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, seed) in files.iter().zip(&seeds) {
        attempt(target, run, seed, &path.display().to_string());
    }
    let asked = env::var("SEALVEC_FUZZ_MUTATIONS").ok().map(|text| text.parse().unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..asked.unwrap_or(mutations) {
        let seed = number % seeds.len();
        let changed = random.changed(&seeds[seed], &seeds);
        attempt(target, run, &changed, &format!("{}, change {number}", files[seed].display()));
    }
}

fn attempt(target: &str, run: fn(&[u8]), bytes: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(bytes))) {
        let hex: String = bytes
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .map(char::from)
            .collect();
        eprintln!("fuzz target {target} fails on {what}: {hex}");
        resume_unwind(panic);
    }
}

struct Random(u64);

impl Random {
    /// xorshift64*
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 32) % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        let extremes = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff];
        let any = self.next().to_be_bytes()[0];
        if self.below(2) == 0 { extremes[self.below(extremes.len())] } else { any }
    }

    fn span(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }

    fn changed(&mut self, seed: &[u8], seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(9) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.byte(),
                2 if bytes.len() >= 8 => {
                    // A whole integer at once.
                    let at = self.below(bytes.len() - 7);
                    let (width, value) = (1 << self.below(4), self.byte());
                    bytes[at..at + width].fill(value);
                }
                3 => bytes.truncate(at),
                4 => drop(bytes.drain(self.span(bytes.len()))),
                5 => {
                    let piece = bytes[self.span(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                6 => {
                    let other = &seeds[self.below(seeds.len())];
                    let piece = other[self.span(other.len())].to_vec();
                    let end = (at + piece.len()).min(bytes.len());
                    bytes.splice(at..end, piece);
                }
                7 => {
                    let count = self.below(12);
                    bytes.extend((0..count).map(|_| self.byte()));
                }
                _ => bytes.insert(at, self.byte()),
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }
}
