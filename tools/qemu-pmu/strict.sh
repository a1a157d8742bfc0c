#!/bin/sh
# Prints a folder that is a cache, for XDG_CACHE_HOME, in which the lab emulator has all
# properties that change nothing of what a machine has and are as strict as the manuals:
# everything that boots the lab emulator then boots it so.
#
# usage: tools/qemu-pmu/strict.sh xapic|x2apic
#        x2apic: also where pmiscope asks for a processor without it
#
# What a test sets itself holds. What is left pending has a vector that no kernel uses, or else
# the one that an overflow's interrupt has as well.
set -eu
cd "$(dirname "$0")/../.."
me=qemu-pmu
. tools/apt.sh

mode=${1:-}
case $mode in
xapic) pending=49 ;;
x2apic) pending=240 ;;
*) die "which kind of APIC? usage: tools/qemu-pmu/strict.sh xapic|x2apic" ;;
esac
real=$(tools/qemu-pmu/build.sh path)
built=${real%/bin/qemu-system-x86_64}
cache=${built%/*}/strict-$mode
program=$cache/pmiscope/${built##*/}/bin/qemu-system-x86_64

make_work
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
    x2apic,max-x86_64-cpu,*,x2apic=off*) word=\${word%%,x2apic=off*}\${word#*,x2apic=off} ;;
    esac
    set -- "\$@" "\$word"
    count=\$((count - 1))
done
exec '$real' \\
    -global apic.x-strict=on -global apic.x-pending=$pending -global apic.x-thermal-smi=on \\
    -global hpet.x-delay=10 -global max-x86_64-cpu.x-msr-strict=on "\$@"
END
mkdir -p "${program%/*}"
cmp -s "$work/program" "$program" || {
    # In one step: a test at the same time may be about to start it.
    chmod 755 "$work/program"
    cp -p "$work/program" "$program.$$"
    mv "$program.$$" "$program"
}
echo "$cache"
