#!/bin/sh
# Boots that Linux on the emulator, with a script for its first program and
# linux-loop in the folder /lab; prints what it prints. The script ends the run by
# the status that it writes to the port: 33 is good.
#
# usage: tools/qemu-pmu/linux/boot.sh DIRECTORY SCRIPT MODEL CORES [PARAMETERS...]
#        DIRECTORY has linux-loop (make build); parameters are for the script
set -eu
cd "$(dirname "$0")/../../.."
here=tools/qemu-pmu/linux
me=lab-linux
. tools/apt.sh

[ $# -ge 4 ] || die "usage: $here/boot.sh DIRECTORY SCRIPT MODEL CORES [PARAMETERS...]"
loop=$1/linux-loop script=$2 model=$3 cores=$4
shift 4
[ -f "$loop" ] || die "not built: $loop; please run: make build"
qemu=$(tools/qemu-pmu/build.sh path)
image=$($here/image.sh path)

make_work
mkdir -p "$work/root/lab"
cp "$loop" "$work/root/lab/"
{
    sed "s/^parameters=.*/parameters='$*'/" "$here/init.sh"
    cat "$script"
} >"$work/root/init"
chmod +x "$work/root/init"
# busybox is the first program of the image that runs on any machine, and the
# kernel takes one archive behind another.
(cd "$work/root" && find . | "$image/busybox" cpio -o -H newc -R 0:0 2>"$work/log") >"$work/lab.cpio" || {
    cat "$work/log" >&2
    die "could not pack linux-loop"
}
cat "$image/root.cpio" "$work/lab.cpio" >"$work/initrd"

# A panic resets the machine, and that ends QEMU with another status.
status=0
timeout "${LAB_TIMEOUT:-300}" "$qemu" -machine q35 -accel tcg,thread=single -icount shift=0,sleep=off \
    -cpu "max,x-pmu=$model" -smp "$cores" -m 1024 -display none -nodefaults -no-reboot \
    -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1 \
    -kernel "$image/vmlinuz" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 nmi_watchdog=1" </dev/null 2>&1 || status=$?
case $status in
33) ;;
124) die "$model: Linux did not come to its end in ${LAB_TIMEOUT:-300} seconds" ;;
*) die "$model: Linux ended QEMU with status $status" ;;
esac
