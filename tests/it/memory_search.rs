//! Looks for keys in all memory of this process that can be written to.
//!
//! Whoever looks has the keys only masked, or the search would find what it looks for in itself.
//! Frames of the stack that have returned are out of anybody's reach (docs/security.md says so) and
//! are overwritten first, as the next calls would.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;

/// What every byte of a masked key differs from the key's by.
pub(crate) const MASK: u8 = 0xa5;

/// Half a key is as good as found.
const HALF: usize = 16;

/// Overwrites what calls have left below this frame.
#[inline(never)]
fn overwrite_stack() {
    #[expect(clippy::large_stack_arrays, reason = "the stack is what is overwritten")]
    let zeros = [0u8; 256 << 10];
    black_box(&zeros);
}

/// How often any half of each key is in memory.
pub(crate) fn found(masked: &[[u8; 32]]) -> Vec<usize> {
    overwrite_stack();
    let halves: Vec<(usize, &[u8])> = masked
        .iter()
        .enumerate()
        .flat_map(|(number, key)| key.chunks(HALF).map(move |half| (number, half)))
        .collect();
    // Masked first bytes, so that most places are passed by at a glance.
    let mut begins = [false; 256];
    for (_, half) in &halves {
        begins[usize::from(half[0])] = true;
    }
    let mut counts = vec![0; masked.len()];
    let memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0u8; 1 << 20];
    let own = buffer.as_ptr().addr();
    let own = own..own + buffer.len();
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") || line.contains("[vvar") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        let mut at = start;
        while at < end {
            if own.contains(&at) {
                at = own.end;
                continue;
            }
            // Up to the buffer itself, which is searched for nothing.
            let stop = if at < own.start { end.min(own.start) } else { end };
            let length = buffer.len().min(stop - at);
            let Ok(read) = memory.read_at(&mut buffer[..length], at as u64) else { break };
            if read == 0 {
                break;
            }
            for window in buffer[..read].windows(HALF) {
                if begins[usize::from(window[0] ^ MASK)] {
                    for (number, half) in &halves {
                        let same = window.iter().zip(*half).all(|(a, b)| a ^ MASK == *b);
                        counts[*number] += usize::from(same);
                    }
                }
            }
            // Windows overlap, but for the last piece.
            at += if at + read < stop && read >= HALF { read - (HALF - 1) } else { read };
        }
    }
    buffer.fill(0);
    black_box(&buffer);
    counts
}
