#!/bin/sh
# Puts what was built where programs are: the tool, `cargo pmiscope`, the kernel with its loader and
# programs, completions of shells, man pages. The tool finds the kernel by where it is itself.
#
# usage: tools/install.sh BUILD PREFIX       BUILD is the build directory
#        tools/install.sh --remove PREFIX
#
# DESTDIR stands before PREFIX where packages are made.
set -eu
me=install
die() {
    echo "$me: $*" >&2
    exit 1
}

[ $# = 2 ] && [ -n "$2" ] || die "usage: tools/install.sh BUILD|--remove PREFIX"
build=$1
prefix=${DESTDIR:-}$2
case $prefix in /*) ;; *) die "PREFIX must be a whole path, and $prefix is none" ;; esac

library=$prefix/lib/pmiscope
man=$prefix/share/man/man1
bash=$prefix/share/bash-completion/completions/pmiscope
zsh=$prefix/share/zsh/site-functions/_pmiscope
fish=$prefix/share/fish/vendor_completions.d/pmiscope.fish

if [ "$build" = --remove ]; then
    rm -f "$prefix/bin/pmiscope" "$prefix/bin/cargo-pmiscope" "$bash" "$zsh" "$fish" \
        "$man"/pmiscope.1 "$man"/pmiscope-*.1
    rm -f "$library/kernel" "$library/loader" "$library"/process-*
    [ ! -d "$library" ] || rmdir "$library" || die "$library has files that are not pmiscope's: they stay"
    exit 0
fi

freestanding=$build/x86_64-unknown-none/release
for file in "$build/release/pmiscope" "$build/release/cargo-pmiscope" "$freestanding/kernel" "$freestanding/loader"; do
    [ -f "$file" ] || die "no $file: run make build"
done
install -d "$prefix/bin" "$library" "$man" "$(dirname "$bash")" "$(dirname "$zsh")" "$(dirname "$fish")" ||
    die "cannot write to $prefix: say another PREFIX, or run this as root"
install "$build/release/pmiscope" "$build/release/cargo-pmiscope" "$prefix/bin"
install -m 644 "$freestanding/kernel" "$freestanding/loader" "$library"
for program in "$freestanding"/process-*; do
    case $program in *.d | *'*') ;; *) install -m 644 "$program" "$library" ;; esac
done
tool=$build/release/pmiscope
"$tool" completions bash >"$bash"
"$tool" completions zsh >"$zsh"
"$tool" completions fish >"$fish"
"$tool" man -o "$man"
echo "$me: pmiscope is in $prefix/bin"
