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

# strict WORDS QEMU-OPTIONS... has the guest judge a property of a device
strict() {
    words=$1
    shift
    status=0
    timeout -s KILL 60 "$qemu" -machine q35 -accel tcg,thread=single -icount shift=0,sleep=off \
        -m 128 -display none -nodefaults -no-reboot -global hpet.msi=on \
        -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1 \
        -kernel "$binaries/loader" -initrd "$binaries/pmu-guest" -append "$words" "$@" \
        </dev/null >"$work/strict" 2>&1 || status=$?
}

# good WORDS QEMU-OPTIONS... where it has to find what it expects
good() {
    strict "$@"
    if [ "$status" -ne 33 ] || grep -q '^not ok' "$work/strict" || ! grep -q '^1\.\.' "$work/strict"; then
        failed=1
        echo "qemu-pmu-test: strict: FAILED ($status): $*"
        grep -v '^ok' "$work/strict"
    fi
    tests=$((tests + $(grep -c '^ok' "$work/strict"))) || true
}

# overwritten WORDS QEMU-OPTIONS... where the emulator has to end itself
overwritten() {
    strict "$@" -global apic.x-thermal-smi=on
    if [ "$status" -ne 1 ] || ! grep -q "firmware's SMI entry was overwritten" "$work/strict"; then
        failed=1
        echo "qemu-pmu-test: not ended ($status) by an overwritten SMI entry: $*"
        cat "$work/strict"
    fi
    tests=$((tests + 1))
}

# What makes devices strict: judged if it is on, and if it is off.
strict_devices() {
    before=$tests
    for cpu in max max,-x2apic; do
        good 'strict=apic on=no' -cpu "$cpu"
        good 'strict=apic on=yes' -cpu "$cpu" -global apic.x-strict=on
        # With AMD's extension of the local vector table.
        good 'strict=apic on=no' -cpu "$cpu,x-pmu=amd-v2,x-ibs=on"
        good 'strict=apic on=yes' -cpu "$cpu,x-pmu=amd-v2,x-ibs=on" -global apic.x-strict=on
        good 'strict=pending on=no' -cpu "$cpu" -smp 3
        good 'strict=pending on=yes vector=49' -cpu "$cpu" -smp 3 -global apic.x-pending=49
        good 'strict=thermal on=no write=10000' -cpu "$cpu"
        good 'strict=thermal on=yes' -cpu "$cpu" -global apic.x-thermal-smi=on
        overwritten 'strict=thermal on=yes write=10000' -cpu "$cpu"
        overwritten 'strict=thermal on=yes write=10200' -cpu "$cpu"
        overwritten 'strict=thermal on=yes disable=yes' -cpu "$cpu" -global apic.x-strict=on
        good 'strict=arat on=no' -cpu "$cpu"
        good 'strict=arat on=yes' -cpu "$cpu" -global apic.x-no-arat=on
    done
    good 'strict=delay on=no' -cpu max
    for delay in 100 1000 10000; do
        good "strict=delay on=yes delay=$delay" -cpu max -global hpet.x-delay=$delay
    done
    start='-global hpet.x-start=0xfffff000'
    # shellcheck disable=SC2086 # words
    {
        good 'strict=32-bit on=no' -cpu max $start
        good 'strict=32-bit on=yes' -cpu max $start -global hpet.x-32-bit=on
        good 'strict=32-bit on=yes delay=10' -cpu max $start -global hpet.x-32-bit=on -global hpet.x-delay=10
    }
    good 'strict=absent on=no' -cpu max
    good 'strict=absent on=yes' -cpu max -global hpet.x-absent=on
    for model in off intel-v2 intel-v5 amd-legacy amd-v2; do
        good 'strict=msr on=no' -cpu "max,x-pmu=$model"
        good 'strict=msr on=yes' -cpu "max,x-pmu=$model" -global max-x86_64-cpu.x-msr-strict=on
    done
    good 'strict=skew on=no' -cpu max -smp 4
    good 'strict=skew on=yes skew=1000000000' -cpu max -smp 4 -global max-x86_64-cpu.x-tsc-skew=1000000000
    hybrid='-global max-x86_64-cpu.x-hybrid=2'
    # shellcheck disable=SC2086 # words
    {
        good 'strict=hybrid on=no counters=8' -cpu max,x-pmu=intel-v5 -smp 3
        good 'strict=hybrid on=yes performance=2 counters=8 efficient=4' -cpu max,x-pmu=intel-v5 -smp 4 $hybrid
        good 'strict=hybrid on=yes performance=2 counters=4 efficient=2' -cpu max,x-pmu=intel-v4 -smp 3 $hybrid
    }
    window='-global max-x86_64-cpu.x-nmi-window=0xffffffff80000000'
    good 'strict=window on=no' -cpu max
    # shellcheck disable=SC2086 # words
    {
        good 'strict=window on=yes pass=1' -cpu max $window
        good 'strict=window on=yes pass=3' -cpu max $window -global max-x86_64-cpu.x-nmi-window-pass=3
    }
    echo "qemu-pmu-test: strict devices: $((tests - before)) tests"
}

strict_devices
for model; do
    check "$model" 1 '' ''
    check "$model" 4 '' long=25000
    check "$model" 2 ,x-pmu-skid=7,-x2apic skid=7
    check "$model" 2 ,x-pmu-lvtpc-mask=on mask=on
    check "$model" 2 ,x-pmu-lvtpc-mask=off mask=off
    case $model in
    amd-*)
        check "$model" 1 ,x-ibs=on ibs=on
        check "$model" 1 ,x-ibs=on,x-ibs-abort=2 'ibs=on aborts=on'
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
    refuse "x-hybrid needs a PMU of Intel's" $counted -cpu max,x-pmu=amd-v2 -global max-x86_64-cpu.x-hybrid=1
    refuse "x-hybrid needs a PMU of Intel's" $counted -cpu max -global max-x86_64-cpu.x-hybrid=1
    refuse 'no vector that an APIC can request' $counted -cpu max -global apic.x-pending=15
}
[ "$failed" -eq 0 ] || die "failed"
echo "qemu-pmu-test: all $tests tests good"
