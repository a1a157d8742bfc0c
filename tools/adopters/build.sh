#!/bin/sh
# Builds the kernels that are not ours, each by its own means: those in Rust into
# target/adopters/x86_64-unknown-none/release, those in C into target/adopters/NAME, by gcc,
# and by clang if it is there.
#
# usage: tools/adopters/build.sh [build|clippy|... [arguments of the command]]
#        tools/adopters/build.sh pie     builds some of those in Rust so that a boot loader can
#                                        move them, into target/adopters/pie
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
    for makefile in "$here"/*/Makefile; do
        folder=$(dirname "$makefile")
        name=$(basename "$folder")
        for compiler in gcc clang; do
            kernel=$out/adopters/$name/$compiler
            if [ "$compiler" = gcc ] || command -v "$compiler" >/dev/null 2>&1; then
                make -s -C "$folder" CC="$compiler" OUT="$kernel" \
                    LIBRARY="$out/x86_64-unknown-none/release/libpmiscope.a"
            else
                # What an earlier build left is not of this source.
                rm -rf "$kernel"
                echo "adopters: $name by $compiler: skipped, there is none"
            fi
        done
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

if [ "$command" = pie ]; then
    for kernel in rust-smp rust-irq; do
        # In place of the kernel's own flags.
        (cd "$here/$kernel" && CARGO_TARGET_DIR="$out/adopters/pie" \
            RUSTFLAGS="-Crelocation-model=pie -Cforce-frame-pointers=yes" \
            cargo build --locked --release)
    done
    exit
fi

for manifest in "$here"/*/Cargo.toml; do
    kernel=$(dirname "$manifest")
    # Only the kernels have flags of their own; what they share is built with them.
    [ -d "$kernel/.cargo" ] || continue
    (cd "$kernel" && cargo "$command" --locked --release "$@")
done
