#!/bin/sh
# Builds qemu-system-x86_64 with the PMU of this folder, from the source of
# Debian's package, and keeps it in the user's cache. Asks nothing; is quick when
# it is there. The last line that it prints is the emulator's path.
#
# usage: tools/qemu-pmu/build.sh         builds it, if it is not there
#        tools/qemu-pmu/build.sh path    builds nothing: prints the path, or fails
#        tools/qemu-pmu/build.sh hash    prints the hash of these sources, by which the
#                                        host tool knows what was built from them
#
# QEMU_SOURCE=DIR takes that unpacked source of QEMU in place of Debian's.
#
# Exit status 75 if what is to be fetched cannot be had, else 1 if something fails.
set -eu
cd "$(dirname "$0")/../.."
me=qemu-pmu
. tools/apt.sh

# The pin. The hooks fit the 10.0 series: QEMU of Debian 13, whose source package
# apt fetches on Debian 12 as well. Debian 12's own 7.2 has no x2APIC under TCG,
# and its translator does not end blocks where MSRs are read.
suite=trixie
series=10.0
meson=1.5.0 # what QEMU 10.0 asks for; Debian 12's is older

here=tools/qemu-pmu
parts="$here/build.sh $here/x86-pmu.c $here/x86-pmu.h $here/x86-ibs.c $here/x86-ibs.h $here/icount-deadline.c $here/icount-deadline.h
    $here/icount-alone.c $here/icount-alone.h
    $here/x86-strict.c $here/x86-strict.h $here/apic-strict.c $here/apic-strict.h
    $here/hpet-strict.c.inc $here/hpet-strict.h
    $here/hooks/icount.patch $here/hooks/apic.patch $here/hooks/hpet.patch $here/hooks/i386.patch
    $here/hooks/ibs.patch $here/hooks/rr.patch"
# shellcheck disable=SC2086 # words
hash=$(cat $parts | sha256sum | cut -c1-12)
[ "${1-}" != hash ] || { echo "$hash" && exit; }
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/pmiscope
source=${QEMU_SOURCE:+$(cd "$QEMU_SOURCE" 2>/dev/null && pwd)} || die "no directory: QEMU_SOURCE=$QEMU_SOURCE"
version='*'
[ -z "$source" ] || version=$(cat "$source/VERSION" 2>/dev/null) || die "no source of QEMU: $source has no file VERSION"

# The newest of those that were built from these parts.
built() {
    # shellcheck disable=SC2086 # the star is one
    emulator=$(ls -d "$cache"/qemu-pmu-$version-$hash/bin/qemu-system-x86_64 2>/dev/null | sort -V | tail -n 1)
    [ -n "$emulator" ] && [ -x "$emulator" ]
}

case ${1-} in
'') ;;
path)
    built || die "not built yet; please run: make qemu-pmu"
    echo "$emulator"
    exit
    ;;
*) die "unknown word '$1'; usage: $here/build.sh [path|hash]" ;;
esac
if built; then
    echo "$emulator"
    exit
fi

# --- What building needs -------------------------------------------------------

wanted=
cc_links || wanted="gcc libc6-dev"
have ninja || wanted="$wanted ninja-build"
have pkg-config || wanted="$wanted pkg-config"
have patch || wanted="$wanted patch"
have dpkg-source || wanted="$wanted dpkg-dev"
have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null || wanted="$wanted python3-venv"
have pkg-config && pkg-config --exists 'glib-2.0 >= 2.66' || wanted="$wanted libglib2.0-dev"
# x86 machines need libfdt too; without it QEMU's configure fetches dtc by git. It has
# no pkg-config file.
[ -f /usr/include/libfdt.h ] || wanted="$wanted libfdt-dev"
# Firmware: the package's source comes without, as packages of their own have it.
firmware="/usr/share/seabios/bios-256k.bin
    /usr/share/qemu/kvmvapic.bin /usr/share/qemu/linuxboot_dma.bin
    /usr/share/qemu/multiboot_dma.bin /usr/share/qemu/pvh.bin"
for blob in $firmware; do
    [ -f "$blob" ] || { wanted="$wanted seabios qemu-system-data" && break; }
done
# shellcheck disable=SC2086 # words
[ -z "$wanted" ] || install_packages $wanted
make_work

# Runs a step of the build; if it fails, shows the end of its log. In the
# background, because a shell that waits for a command in the foreground heeds no
# signal before its end, which may be minutes away.
child=
step() {
    "$@" >>"$work/log" 2>&1 </dev/null &
    child=$!
    wait "$child" || {
        tail -n 20 "$work/log" >&2
        echo "$me: failed: $*" >&2
        exit "$failure"
    }
    child=
}
failure=1 # the exit status, if a step fails
# The same of what has to be fetched.
fetching() {
    failure=75
    step "$@"
    failure=1
}
new= # what is being installed
finish() {
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null && wait "$child" || true
    fi
    rm -rf "$work" "${new:-$work}"
}
trap finish EXIT

# --- The source ------------------------------------------------------------------

fetch() {
    have apt-get || die "no apt-get here; please unpack a source of QEMU $series and set QEMU_SOURCE to it"
    mkdir -p "$work/sources" "$work/lists/partial" "$work/apt/archives/partial" "$work/package"
    write_sources "$suite" "$work/sources/debian" deb-src
    # apt with lists and sources of its own: the machine's are not touched.
    set -- -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/apt" \
        -o Acquire::Languages=none
    # It fails when one archive of several does not have the suite.
    quietly apt-get -qq "$@" update || true
    package=$(apt-cache "$@" showsrc --only-source qemu 2>/dev/null |
        sed -n 's/^Version: //p' | grep -E "^([0-9]+:)?$series[.+]" | sort -V | tail -n 1) || true
    [ -n "$package" ] || {
        tail -n 5 "$work/log" >&2
        say "this machine's Debian archive has no source of QEMU $series in its suite $suite; please unpack one and set QEMU_SOURCE to it" >&2
        exit 75
    }
    say "fetching QEMU $package from Debian's $suite"
    # apt checks it against the archive's signature; dpkg-source need not.
    (cd "$work/package" && fetching apt-get "$@" source --download-only "qemu=$package")
    step dpkg-source --no-check --extract "$work"/package/qemu_*.dsc "$work/qemu"
}

if [ -n "$source" ]; then
    say "copying the source of QEMU $version"
    step cp -R "$source" "$work/qemu"
else
    fetch
    version=$(cat "$work/qemu/VERSION")
fi

# Without fuzz: a hook is placed where its lines are, and there alone.
for hooks in "$here"/hooks/*.patch; do
    quietly patch --batch --forward --fuzz=0 --strip=1 --directory="$work/qemu" --input="$PWD/$hooks" || {
        grep -E 'FAILED|^can.t find' "$work/log" >&2 || true
        die "$hooks does not fit QEMU $version (it fits $series)"
    }
done
cp "$here/x86-pmu.c" "$here/x86-ibs.c" "$here/x86-strict.c" "$work/qemu/target/i386/tcg/system/"
cp "$here/x86-pmu.h" "$here/x86-ibs.h" "$here/x86-strict.h" "$work/qemu/target/i386/"
cp "$here/apic-strict.c" "$work/qemu/hw/intc/"
cp "$here/apic-strict.h" "$work/qemu/include/hw/i386/"
cp "$here/hpet-strict.c.inc" "$work/qemu/hw/timer/"
cp "$here/hpet-strict.h" "$work/qemu/include/hw/timer/"
cp "$here/icount-deadline.c" "$here/icount-alone.c" "$work/qemu/accel/tcg/"
cp "$here/icount-deadline.h" "$here/icount-alone.h" "$work/qemu/include/system/"

# --- Building ----------------------------------------------------------------------

# The machine q35 and what it does not do without.
cat >"$work/qemu/configs/devices/x86_64-softmmu/pmu.mak" <<'END'
CONFIG_Q35=y
CONFIG_HPET=y
CONFIG_ISA_DEBUG=y
END
say "getting meson $meson by pip"
step python3 -m venv "$work/venv"
fetching "$work/venv/bin/pip" install --quiet --disable-pip-version-check "meson==$meson"

jobs=$(nproc)
say "building QEMU $version with $jobs jobs: minutes"
mkdir "$work/build"
cd "$work/build"
step ../qemu/configure --target-list=x86_64-softmmu --python="$work/venv/bin/python3" \
    --without-default-features --enable-system --enable-tcg \
    --without-default-devices --with-devices-x86_64=pmu \
    --disable-tools --disable-docs --disable-werror --disable-install-blobs --disable-qom-cast-debug \
    --with-pkgversion="pmu $hash"
step ninja -j "$jobs" qemu-system-x86_64
cd "$OLDPWD"

# --- Installing ----------------------------------------------------------------------

# QEMU looks for its firmware beside itself, in ../share/qemu. All of it comes
# into being in one step.
new=$cache/new-qemu-pmu-$$
mkdir -p "$new/bin" "$new/share/qemu"
strip -o "$new/bin/qemu-system-x86_64" "$work/build/qemu-system-x86_64"
# shellcheck disable=SC2086 # words
cp $firmware "$new/share/qemu/"
cp "$here/COPYING" "$new/"
step "$new/bin/qemu-system-x86_64" -display none -machine q35,accel=tcg -icount shift=0 \
    -cpu max,x-pmu=intel-v5 -S -monitor none -daemonize -pidfile "$work/pid"
kill "$(cat "$work/pid")"
# Another build at the same time may have been first.
mv -T "$new" "$cache/qemu-pmu-$version-$hash" 2>/dev/null || true
built || die "could not write to $cache"
say "built QEMU $version in $cache/qemu-pmu-$version-$hash"
echo "$emulator"
