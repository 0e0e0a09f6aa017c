//! See `sealvec::fuzz_support::attributes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealvec::fuzz_support::attributes(bytes));
