#!/bin/sh
# Prints a folder that is a cache, for XDG_CACHE_HOME, in which the lab emulator has all
# properties that change nothing of what a machine has and are as strict as the manuals:
# everything that boots the lab emulator then boots it so.
#
# usage: tools/qemu-pmu/strict.sh xapic|x2apic
#        x2apic: also where pmiscope asks for a processor without it
set -eu
cd "$(dirname "$0")/../.."
me=qemu-pmu
. tools/apt.sh

mode=${1:-}
case $mode in
xapic | x2apic) ;;
*) die "which kind of APIC? usage: tools/qemu-pmu/strict.sh xapic|x2apic" ;;
esac
real=$(tools/qemu-pmu/build.sh path)
built=${real%/bin/qemu-system-x86_64}
cache=${built%/*}/strict-$mode
program=$cache/pmiscope/${built##*/}/bin/qemu-system-x86_64

make_work
# A vector that no kernel here has an interrupt by.
cat >"$work/program" <<END
#!/bin/sh
mode=$mode
# Each word, in turn, from the front to the back.
count=\$#
while [ "\$count" -gt 0 ]; do
    word=\$1
    shift
    case \$mode,\$word in
    x2apic,max,-x2apic*) word=max\${word#max,-x2apic} ;;
    esac
    set -- "\$@" "\$word"
    count=\$((count - 1))
done
exec '$real' "\$@" \\
    -global apic.x-strict=on -global apic.x-pending=49 -global apic.x-thermal-smi=on \\
    -global hpet.x-delay=10 -global max-x86_64-cpu.x-msr-strict=on
END
mkdir -p "${program%/*}"
cmp -s "$work/program" "$program" || {
    # In one step: a test at the same time may be about to start it.
    chmod 755 "$work/program"
    cp -p "$work/program" "$program.$$"
    mv "$program.$$" "$program"
}
echo "$cache"
