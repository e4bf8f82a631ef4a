#!/usr/bin/env bash
# Runs the exhaustive small cases of scatter and gather where memory errors show.
# Uses miri where it is installed, else valgrind; says which, and fails when no test ran.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTUP_AUTO_INSTALL=0
filter=scatter_gather # tests/rust/scatter_gather.rs
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if cargo +nightly miri --version >/dev/null 2>&1; then
    echo "checking scatter and gather under miri"
    MIRIFLAGS="-Zmiri-disable-isolation" \
        cargo +nightly miri test --locked --no-default-features --test rust -- "$filter" 2>&1 | tee "$log"
elif command -v valgrind >/dev/null 2>&1; then
    echo "checking scatter and gather under valgrind (miri is not installed)"
    binary=$(cargo test --locked --no-default-features --test rust --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
    valgrind --quiet --error-exitcode=9 --leak-check=no \
        "$binary" --test-threads=1 "$filter" 2>&1 | tee "$log"
else
    echo "neither miri nor valgrind is here: nothing was checked" >&2
    exit 1
fi
grep -Eq '^test result: ok\. [1-9]' "$log" || { echo "no test of scatter or gather ran" >&2; exit 1; }
