#!/bin/sh
# Lets Linux judge the emulator's PMU: boots Debian's kernel on every model, where
# its own driver takes the counters, and compares what perf counts and samples with
# code of known length. Fails by a line that says what differs.
#
# usage: tools/qemu-pmu/linux/test.sh DIRECTORY [MODEL...]
#        DIRECTORY has linux-loop (make build)
set -eu
cd "$(dirname "$0")/../../.."
here=tools/qemu-pmu/linux
me=lab-linux
. tools/apt.sh

binaries=${1:-}
[ -f "$binaries/linux-loop" ] || die "not built: $binaries/linux-loop; please run: make build"
shift
[ $# -gt 0 ] || set -- intel-v2 intel-v4 intel-v5 amd-legacy amd-core-ext amd-v2
tools/qemu-pmu/build.sh path >/dev/null
$here/image.sh
make_work

checks=0 skipped=0
for model; do
    # Linux's name for the driver, and its mask of the counters: the general ones,
    # from bit 32 on the fixed ones.
    case $model in
    intel-v2) expected='Intel 700000003' ;;
    intel-v4) expected='Intel 70000000f' ;;
    intel-v5) expected='Intel f000000ff' ;;
    amd-legacy) expected='AMD f' ;;
    amd-core-ext | amd-v2) expected='AMD 3f' ;;
    off) expected='Intel f000000ff' ;; # to see it fail
    *) die "no such model: $model" ;;
    esac
    echo "lab-linux: $model"
    error=
    # shellcheck disable=SC2086 # words
    $here/boot.sh "$binaries" $here/judge.sh "$model" 2 $expected >"$work/said" 2>"$work/error" ||
        error=$(sed -n 's/^lab-linux: //; $p' "$work/error")
    cat "$work/said"
    count=$(grep -c '^ok' "$work/said") || true
    planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$work/said")
    wrong=$(sed -n 's/^not ok //p' "$work/said" | tr -s ' ' | head -n 1)
    [ -z "$wrong" ] ||
        die "$model differs: $wrong (and $(($(grep -c '^not ok' "$work/said") - 1)) more; $count agree)"
    [ -z "$error" ] || die "$error"
    [ "$count" = "$planned" ] || die "$model: $count checks are there of ${planned:-an unknown number}"
    checks=$((checks + count))
    count=$(grep -c ': Skip' "$work/said") || true
    skipped=$((skipped + count))
done
echo "lab-linux: Linux agrees: $checks checks on $# models; perf itself skipped $skipped of its tests"
