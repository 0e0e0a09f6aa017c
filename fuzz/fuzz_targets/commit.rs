//! See `sealvec::fuzz_support::commit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealvec::fuzz_support::commit(bytes));
