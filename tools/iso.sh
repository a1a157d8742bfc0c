#!/bin/sh
# Builds a hybrid image that boots the kernel by BIOS and by UEFI, as a CD or as
# a disk, from an unpacked binary release of Limine, version 7 or 8.
#
# usage: tools/iso.sh LIMINE_DIR KERNEL IMAGE [CONFIG [MODULE ...]]
#        CONFIG, in the syntax of Limine 7, in place of the repository's limine.cfg
#        MODULE, a file that its last entry hands to the kernel
#        tools/iso.sh LIMINE_DIR        only looks whether Limine is there
set -eu
limine=${1-} kernel=${2-} image=${3-}
config=${4-$(dirname "$0")/../limine.cfg}
# What is left are the modules.
shift "$(($# < 4 ? $# : 4))"

die() {
    echo "iso: $*" >&2
    exit 1
}

[ -n "$limine" ] ||
    die "say where Limine is: get the Limine project's binary release (version 7 or 8), unpack it, then: make iso LIMINE_DIR=its-directory"
[ -d "$limine" ] || die "$limine is no directory"
for file in limine-bios.sys limine-bios-cd.bin limine-uefi-cd.bin BOOTX64.EFI; do
    [ -f "$limine/$file" ] ||
        die "$limine/$file is missing: is this an unpacked binary release of Limine, not its source?"
done
[ -n "$kernel" ] || exit 0
[ -n "$image" ] || die "no image named; usage: tools/iso.sh LIMINE_DIR KERNEL IMAGE"
[ -f "$kernel" ] || die "the kernel is not built: $kernel is missing"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

root=$work/root
mkdir -p "$root/boot" "$root/EFI/BOOT" "$(dirname "$image")"
cp "$kernel" "$root/boot/kernel"
cp "$limine/limine-bios.sys" "$limine/limine-bios-cd.bin" "$limine/limine-uefi-cd.bin" "$root/boot/"
cp "$limine/BOOTX64.EFI" "$root/EFI/BOOT/"

# Each Limine reads its own of the two files. The later syntax: "/" opens an
# entry, "key: value" sets an option, "boot():/" is the volume that the file is
# on (CONFIG.md of Limine 7 and 8).
cat "$config" >"$root/boot/limine.cfg"
for module; do
    name=$(basename "$module")
    [ -f "$module" ] || die "no such module: $module"
    [ ! -e "$root/boot/$name" ] || die "two files of the image are called $name: rename the module"
    cp "$module" "$root/boot/"
    printf '\nMODULE_PATH=boot:///boot/%s\n' "$name" >>"$root/boot/limine.cfg"
done
sed -e '/^#/d' -e 's|^:|/|' -e 's|^\([A-Z_]*\)=|\1: |' -e 's|boot:///|boot():/|' \
    "$root/boot/limine.cfg" >"$root/boot/limine.conf"

# As USAGE.md of Limine says, "BIOS/UEFI hybrid ISO creation".
xorriso -as mkisofs -R -J -V PMISCOPE -b boot/limine-bios-cd.bin \
    -no-emul-boot -boot-load-size 4 -boot-info-table \
    --efi-boot boot/limine-uefi-cd.bin -efi-boot-part --efi-boot-image \
    --protective-msdos-label "$root" -o "$work/image" >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    die "xorriso failed"
}

# A BIOS that boots the image as a disk, not as a CD, wants Limine in its first
# sectors too: the work of the release's own utility, which comes as C source.
if [ -x "$limine/limine" ]; then
    "$limine/limine" bios-install "$work/image" >"$work/log" 2>&1 || {
        tail -n 5 "$work/log" >&2
        die "$limine/limine bios-install failed"
    }
    boots="as a CD and as a disk, by BIOS and by UEFI"
else
    boots="as a CD by BIOS, as a CD or a disk by UEFI (for BIOS from a USB stick: make -C $limine, then again)"
fi

mv "$work/image" "$image"
echo "iso: $image boots $boots"
