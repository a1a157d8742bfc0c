#!/bin/sh
# Looks for bytes from outside on which pmiscope breaks a promise (tools/fuzz), by libFuzzer.
# What it learns stays in the build directory, and the next time goes on from there.
#
# usage: tools/fuzz.sh [SECONDS for each target; 60 if there are none] [targets; all if there are none]
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:${HOME:?}/.cargo/bin # rustup's, for shells that did not read ~/.profile

seconds=${1:-60}
[ $# = 0 ] || shift
case $seconds in
'' | *[!0-9]*) echo "fuzz: '$seconds' is no number of seconds; usage: tools/fuzz.sh [SECONDS] [targets]" >&2 && exit 2 ;;
esac
mkdir -p "${CARGO_TARGET_DIR:=target}"
out=$(cd "$CARGO_TARGET_DIR" && pwd)/fuzz
mkdir -p "$out/found"
log=$out/log

# Without a sanitizer: what they look for is in unsafe code alone, and Miri sees to that.
cargo fuzz build --fuzz-dir tools/fuzz/fuzz --target-dir "$out/build" --sanitizer none

if [ $# = 0 ]; then
    # shellcheck disable=SC2046 # words
    set -- $(for file in tools/fuzz/fuzz/fuzz_targets/*.rs; do basename "$file" .rs; done)
fi
total=0
failed=
for target in "$@"; do
    learned=$out/corpus/$target
    mkdir -p "$learned"
    status=0
    "$out/build/x86_64-unknown-linux-gnu/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$out/found/$target-" "$learned" "tools/fuzz/corpus/$target" >"$log" 2>&1 || status=$?
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    total=$((total + ${executed:-0}))
    echo "fuzz: $target: ${executed:-no} executions"
    if [ "$status" != 0 ]; then
        failed="$failed $target"
        grep -A1 -E 'panicked at|ERROR: libFuzzer|Test unit written' "$log" | cut -c1-300 | sed 's/^/    /'
    fi
done
echo "fuzz: $total executions in all"
if [ -n "$failed" ]; then
    echo "fuzz: found something in:$failed; once it is mended, put the file into tools/fuzz/corpus/TARGET: make test then tries it" >&2
    exit 1
fi
