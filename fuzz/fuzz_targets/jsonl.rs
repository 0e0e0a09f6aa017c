//! The reader is part of the program, not of the library, so its files are compiled here.
#![no_main]
#![allow(dead_code, reason = "the program uses the rest")]

#[path = "../../src/bin/sealvec/failure.rs"]
mod failure;
#[path = "../../src/bin/sealvec/fuzz.rs"]
mod fuzz;
#[path = "../../src/bin/sealvec/jsonl.rs"]
mod jsonl;
#[path = "../../src/bin/sealvec/npy.rs"]
mod npy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::jsonl(bytes));
