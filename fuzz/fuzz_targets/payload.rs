//! See `sealvec::fuzz_support::payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealvec::fuzz_support::payload(bytes));
