#!/bin/sh
# Compares the emulator's PMU with code of known length: runs the guest on every
# model, with one core and with four, with each variant at least once, and
# each twice, since two runs have to be the same to the byte.
#
# usage: tools/qemu-pmu/test.sh DIRECTORY [MODEL...]
#        DIRECTORY has the loader and the guest (make build)
set -eu
cd "$(dirname "$0")/../.."

die() {
    echo "qemu-pmu-test: $*" >&2
    exit 1
}
binaries=${1:-}
for file in loader pmu-guest; do
    [ -f "$binaries/$file" ] || die "not built: $binaries/$file; please run: make build"
done
shift
[ $# -gt 0 ] || set -- intel-v2 intel-v4 intel-v5 amd-legacy amd-core-ext amd-v2
qemu=$(tools/qemu-pmu/build.sh path)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
failed=0 tests=0

# run MODEL CORES CPU-PROPERTIES WORDS-FOR-THE-GUEST
run() {
    timeout 300 "$qemu" -machine q35 -accel tcg,thread=single -icount shift=0,sleep=off \
        -cpu "max,x-pmu=$1$3" -smp "$2" -m 128 -display none -nodefaults -no-reboot \
        -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1 \
        -kernel "$binaries/loader" -initrd "$binaries/pmu-guest" -append "model=$1 $4" \
        </dev/null 2>&1 || [ $? -eq 33 ] || echo "not ok: QEMU did not end as the guest should have ended it"
}

check() {
    name="$1, $2 cores$3"
    run "$@" >"$work/first"
    run "$@" >"$work/second"
    if ! grep -q '^1\.\.' "$work/first"; then
        echo "not ok: it did not come to its end" >>"$work/first"
    fi
    cmp -s "$work/first" "$work/second" || echo "not ok: a second run was another" >>"$work/first"
    count=$(grep -c '^ok' "$work/first") || true
    tests=$((tests + count))
    if grep -q '^not ok' "$work/first"; then
        failed=1
        echo "qemu-pmu-test: $name: FAILED"
        grep -v '^ok' "$work/first"
    else
        echo "qemu-pmu-test: $name: $count tests good, twice the same"
    fi
}

# refuse WORDS-IN-THE-MESSAGE OPTIONS...
refuse() {
    words=$1
    shift
    if "$qemu" -machine q35 -display none -nodefaults -S "$@" </dev/null >"$work/message" 2>&1 ||
        ! grep -q -e "$words" "$work/message"; then
        failed=1
        echo "qemu-pmu-test: not refused with '$words': $*"
        cat "$work/message"
    else
        tests=$((tests + 1))
    fi
}

for model; do
    check "$model" 1 '' ''
    check "$model" 4 '' long=25000
    check "$model" 2 ,x-pmu-skid=7,-x2apic skid=7
    check "$model" 2 ,x-pmu-lvtpc-mask=on mask=on
    check "$model" 2 ,x-pmu-lvtpc-mask=off mask=off
    case $model in
    amd-*)
        check "$model" 1 ,x-ibs=on ibs=on
        check "$model" 2 ,x-ibs=on,x-pmu-skid=7,-x2apic 'ibs=on skid=7'
        ;;
    esac
done
counted='-accel tcg,thread=single -icount shift=0,sleep=off'
# shellcheck disable=SC2086 # words
{
    refuse 'it needs -accel tcg and -icount' -accel tcg -cpu max,x-pmu=intel-v4
    refuse 'needs a CPU of GenuineIntel' $counted -cpu EPYC,x-pmu=intel-v4
    refuse 'family 25 or later' $counted -cpu Opteron_G1,x-pmu=amd-v2
    refuse "x-ibs needs a PMU of AMD's" $counted -cpu max,x-pmu=intel-v4,x-ibs=on
    refuse "x-ibs needs a PMU of AMD's" $counted -cpu max,x-ibs=on
    refuse 'nonsense' $counted -cpu max,x-pmu=nonsense
}
[ "$failed" -eq 0 ] || die "failed"
echo "qemu-pmu-test: all $tests tests good"
