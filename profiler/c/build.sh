#!/bin/sh
# Makes the library for kernels in C, target/x86_64-unknown-none/release/libpmiscope.a; the
# header is pmiscope.h here, and the fragment for linker scripts pmiscope.ld one up.
#
# usage: profiler/c/build.sh
set -eu
cd "$(dirname "$0")/../.."

out=${CARGO_TARGET_DIR:-target}/x86_64-unknown-none/release
tools/freestanding.sh build

# Made anew only if it is old: kernels are linked anew otherwise.
made=$out/libpmiscope.a
is_new=true
for source in "$out/libpmiscope_c.a" profiler/c/pmiscope.h profiler/c/build.sh; do
    [ "$made" -nt "$source" ] || is_new=false
done
! $is_new || exit 0

# One object, of what the header's functions need, in which these are the only global
# symbols: memcpy and its like are the library's own, and not those of the kernel, which
# might use registers that an interrupt does not save.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep -o 'pmiscope_[a-z_]*(.*' profiler/c/pmiscope.h | grep -v '^[^(]*(\*' | sed 's/(.*//' | sort -u >"$work/symbols"
# shellcheck disable=SC2046 # words
ld -r -o "$work/pmiscope.o" $(sed 's/^/-u /' "$work/symbols") --require-defined=pmiscope_start "$out/libpmiscope_c.a"
objcopy --keep-global-symbols="$work/symbols" "$work/pmiscope.o"
# All that the library needs of a kernel is in the fragment for its linker script.
if nm -u "$work/pmiscope.o" | grep -v ' U __pmiscope_' >&2; then
    echo "build: the library needs these symbols" >&2
    exit 1
fi
ar rcsD "$work/libpmiscope.a" "$work/pmiscope.o"
mv "$work/libpmiscope.a" "$made"
