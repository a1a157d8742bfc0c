#!/bin/sh
# Builds the kernels that are not ours, each by its own means: those in Rust into
# target/adopters/x86_64-unknown-none/release, the one in C into target/adopters/c-limine,
# by gcc, and by clang if it is there.
#
# usage: tools/adopters/build.sh [build|clippy|... [arguments of the command]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
mkdir -p "${CARGO_TARGET_DIR:=$root/target}"
out=$(cd "$CARGO_TARGET_DIR" && pwd)
export CARGO_TARGET_DIR="$out"

command=${1:-build}
[ $# = 0 ] || shift

if [ "$command" = build ]; then
    "$root/profiler/c/build.sh"
    for compiler in gcc clang; do
        kernel=$out/adopters/c-limine/$compiler
        if [ "$compiler" = gcc ] || command -v "$compiler" >/dev/null 2>&1; then
            make -s -C "$here/c-limine" CC="$compiler" OUT="$kernel" \
                LIBRARY="$out/x86_64-unknown-none/release/libpmiscope.a"
        else
            # What an earlier build left is not of this source.
            rm -rf "$kernel"
            echo "adopters: c-limine by $compiler: skipped, there is none"
        fi
    done
fi

# They are for a nightly cargo, as most kernels are; ours will do if it is told.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="$out/adopters"

# Where the source of the standard library is: see tools/freestanding.sh.
source=$("$root/tools/setup.sh" std-source) || {
    echo "adopters: no source of the standard library; please run: tools/setup.sh" >&2
    exit 1
}
case $source in
"$(rustc --print sysroot)"/*) ;;
*) export __CARGO_TESTS_ONLY_SRC_ROOT="$source" ;;
esac

for kernel in rust-smp template; do
    (cd "$here/$kernel" && cargo "$command" --locked --release "$@")
done
