#!/bin/sh
# Builds the kernels that are not ours, each by its own means, into
# target/adopters/x86_64-unknown-none/release.
#
# usage: tools/adopters/build.sh [build|clippy|... [arguments of the command]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..

# They are for a nightly cargo, as most kernels are; ours will do if it is told.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}/adopters"

# Where the source of the standard library is: see tools/freestanding.sh.
source=$("$root/tools/setup.sh" std-source) || {
    echo "adopters: no source of the standard library; please run: tools/setup.sh" >&2
    exit 1
}
case $source in
"$(rustc --print sysroot)"/*) ;;
*) export __CARGO_TESTS_ONLY_SRC_ROOT="$source" ;;
esac

command=${1:-build}
[ $# = 0 ] || shift
cd "$here/rust-smp"
exec cargo "$command" --locked --release "$@"
