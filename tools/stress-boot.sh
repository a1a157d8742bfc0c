#!/bin/sh
# Boots by the hundred, with all that is at hand: see docs/guide.md. What is missing is named in
# the summary.
#
# usage: tools/stress-boot.sh BUILD_DIRECTORY LIMINE_DIR [arguments of pmiscope stress-boot]
#        LIMINE_DIR: an unpacked release of Limine 7 or 8, or an empty word
set -eu
cd "$(dirname "$0")/.."
out=$1 limine=$2
shift 2

# The distribution's UEFI firmware: Debian 12's, and where others have it.
firmware=
for file in /usr/share/OVMF/OVMF_CODE.fd /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/edk2/x64/OVMF_CODE.4m.fd; do
    [ -n "$firmware" ] || [ ! -f "$file" ] || firmware=$file
done

if [ -n "$limine" ]; then
    # As the repository's, with as few samples as a boot needs.
    config=$out/stress-boot.cfg
    sed 's/samples=[0-9]*/samples=2040/' limine.cfg >"$config"
    tools/iso.sh "$limine" "$out/x86_64-unknown-none/release/kernel" "$out/stress-boot.iso" "$config"
    set -- --disc "$out/stress-boot.iso" "$@"
    [ -z "$firmware" ] || set -- --firmware "$firmware" "$@"
fi

# The lab emulator on devices that are strict, which has x2APIC where pmiscope asks for none.
if real=$(tools/qemu-pmu/build.sh path) && [ -x "$real" ]; then
    cache=$(tools/qemu-pmu/strict.sh x2apic)
    built=${real%/bin/qemu-system-x86_64}
    set -- --qemu "$cache/pmiscope/${built##*/}/bin/qemu-system-x86_64" "$@"
fi

exec "$out/release/pmiscope" stress-boot "$@"
