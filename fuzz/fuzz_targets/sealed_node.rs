//! See `sealvec::fuzz_support::sealed_node`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealvec::fuzz_support::sealed_node(bytes));
