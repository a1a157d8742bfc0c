#!/bin/sh
# Runs a cargo command on the freestanding part, the kernel and its loader, with
# what only they need: their target, and a core and alloc built from source (a
# prebuilt core has no frame pointers, whatever .cargo/config.toml says).
#
# What it builds gets the names of the kernel's functions behind the linker
# (tools/symbol-table); a plain `cargo build` leaves them out.
#
# usage: tools/freestanding.sh build|clippy|... [arguments of the command]
set -eu
cd "$(dirname "$0")/.."

# -Zbuild-std wants a nightly cargo, or to be told that this one will do.
export RUSTC_BOOTSTRAP=1

# Cargo looks for the standard library's source in the toolchain alone. For its
# own tests it has this variable to look elsewhere; setup.sh says where else it
# may be, and the toolchain's version is pinned, so the variable is there.
source=$(tools/setup.sh std-source) || {
    echo "freestanding: no source of the standard library; please run: tools/setup.sh" >&2
    exit 1
}
case $source in
"$(rustc --print sysroot)"/*) ;;
*) export __CARGO_TESTS_ONLY_SRC_ROOT="$source" ;;
esac

command=$1
shift
cargo "$command" --locked --release -p pmiscope-kernel -p pmiscope-programs -p pmiscope-loader -p pmiscope-pmu-guest -p pmiscope-linux-loop -p pmiscope-c \
    --target x86_64-unknown-none -Zbuild-std=core,alloc,compiler_builtins \
    -Zbuild-std-features=compiler-builtins-mem "$@"

[ "$command" = build ] || exit 0
kernel=${CARGO_TARGET_DIR:-target}/x86_64-unknown-none/release/kernel
# It is a program of the host, of the stable language.
unset RUSTC_BOOTSTRAP __CARGO_TESTS_ONLY_SRC_ROOT
cargo run --locked --release --quiet -p pmiscope-symbol-table -- "$kernel"
