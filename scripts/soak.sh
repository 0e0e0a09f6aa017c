#!/bin/sh
# The fault suites with ten times as many cases, one of them under valgrind, where it is installed,
# and the measurements of constant time, which want a quiet machine. Needs no network. Prints the
# cases of each suite.
set -eu

SEALVEC_SOAK=1 cargo test --release --locked --lib -- constant_time --nocapture --test-threads 1
SEALVEC_SOAK=1 cargo test --release --locked --package sealvec-faults -- --nocapture

if command -v valgrind >/dev/null 2>&1; then
    target=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${target}_RUNNER=valgrind --quiet --error-exitcode=9 --leak-check=no"
    cargo test --release --locked --package sealvec-faults -- \
        --nocapture --test-threads 1 a_disk_that_does_not_sync_is_found_out
else
    echo 'soak: no valgrind here; the suite that runs under it is skipped' >&2
fi
