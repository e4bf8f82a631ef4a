#!/usr/bin/env bash
# Runs the exhaustive small cases of scatter and gather where memory errors show.
# Uses miri where it is installed, else valgrind; says which, and fails when no test ran.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTUP_AUTO_INSTALL=0
# Where the tests are, and which: tests/rust/scatter_gather.rs, src/strided_tests.rs.
checks=("--test rust scatter_gather" "--lib strided")
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if cargo +nightly miri --version >/dev/null 2>&1; then
    checker=miri
elif command -v valgrind >/dev/null 2>&1; then
    checker="valgrind (miri is not installed)"
else
    echo "neither miri nor valgrind is here: nothing was checked" >&2
    exit 1
fi

echo "checking scatter and gather under $checker"
for check in "${checks[@]}"; do
    filter=${check##* }
    read -ra target <<<"${check% *}"
    if [ "$checker" = miri ]; then
        MIRIFLAGS="-Zmiri-disable-isolation" \
            cargo +nightly miri test --locked --no-default-features "${target[@]}" -- "$filter" 2>&1 | tee "$log"
    else
        binary=$(cargo test --locked --no-default-features "${target[@]}" --no-run --message-format=json |
            sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
        valgrind --quiet --error-exitcode=9 --leak-check=no \
            "$binary" --test-threads=1 "$filter" 2>&1 | tee "$log"
    fi
    grep -Eq '^test result: ok\. [1-9]' "$log" || { echo "no test of $filter ran" >&2; exit 1; }
done
