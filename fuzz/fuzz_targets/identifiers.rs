//! See `sealvec::fuzz_support::identifiers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealvec::fuzz_support::identifiers(bytes));
