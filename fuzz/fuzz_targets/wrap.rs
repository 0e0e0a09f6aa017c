//! See `sealvec::fuzz_support::wrap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealvec::fuzz_support::wrap(bytes));
