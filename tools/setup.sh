#!/bin/sh
# Makes a fresh Debian 12 machine able to build and run pmiscope. It installs
# only what is missing, asks nothing, and is quick when all is there, because
# every `make` calls it first. POSIX shell: it has to run before Rust can link.
#
# usage: tools/setup.sh              what `make build` and `make run` need
#        tools/setup.sh test         and what `make test` needs besides
#        tools/setup.sh iso          and what `make iso` needs besides
#        tools/setup.sh stress      and what `make stress-boot` needs besides
#        tools/setup.sh names        and what `make names` needs besides
#        tools/setup.sh fuzz         and what `make fuzz` needs besides
#        tools/setup.sh bench        and what `make bench` needs besides
#        tools/setup.sh page         and what `make page-test` needs besides
#        tools/setup.sh std-source   installs nothing; prints where the source of
#                                    the standard library is
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:${HOME:?}/.cargo/bin # rustup's, for shells that did not read ~/.profile

rust=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pmiscope/rust-src-$rust
cargo_fuzz=0.13.2
me=setup
. tools/apt.sh

# --- Debian packages ---------------------------------------------------------

qemu_version() { qemu-system-x86_64 --version 2>/dev/null | sed -n '1s/.*version \([0-9.]*\).*/\1/p'; }
# QEMU 7.2 is Debian 12's. An older one has other timers under -icount.
qemu_is_old() { qemu_version | awk -F. '{ exit !($1 < 7 || $1 == 7 && $2 < 2) }'; }

setup_packages() {
    wanted=
    have gcc && cc_links || wanted="gcc libc6-dev"
    have qemu-system-x86_64 || wanted="$wanted qemu-system-x86"
    case $1 in test | iso | stress) have xorriso || wanted="$wanted xorriso" ;; esac
    [ "$1" != stress ] || [ -d /usr/share/OVMF ] || wanted="$wanted ovmf"
    # Tests make an image with GRUB.
    [ "$1" != test ] || have grub-mkrescue || wanted="$wanted grub-common"
    [ "$1" != test ] || [ -d /usr/lib/grub/i386-pc ] || wanted="$wanted grub-pc-bin"
    [ "$1" != test ] || have mformat || wanted="$wanted mtools"
    # Tests of symbols take what these make.
    [ "$1" != test ] || have g++ || wanted="$wanted g++"
    [ "$1" != test ] || have dwz || wanted="$wanted dwz"
    [ "$1" != test ] || have eu-strip || wanted="$wanted elfutils"
    # Exports are read by these; reports are compared with perf's.
    case $1 in test | bench) have perf || wanted="$wanted linux-perf" ;; esac
    [ "$1" != test ] || have callgrind_annotate || wanted="$wanted valgrind"
    # libFuzzer is written in C++.
    [ "$1" != fuzz ] || have c++ || wanted="$wanted g++"
    # Tests of the page are skipped without it: it takes 300 MB.
    [ "$1" != page ] || have chromium || have google-chrome || wanted="$wanted chromium"
    [ "$1" != names ] || have llvm-symbolizer || wanted="$wanted llvm"
    # shellcheck disable=SC2086 # words
    [ -z "$wanted" ] || install_packages $wanted
    ! qemu_is_old || die "QEMU $(qemu_version) is too old: 7.2 or newer is needed (Debian 12's qemu-system-x86)"
}

# --- The Rust toolchain ------------------------------------------------------

# Without RUSTUP_AUTO_INSTALL=0 the question alone would install, unannounced.
rust_version() { RUSTUP_AUTO_INSTALL=0 rustc --version 2>/dev/null | cut -d' ' -f2; }

setup_rust() {
    have cargo || die "Rust is missing; please install rustup, then: rustup toolchain install $rust"
    [ "$(rust_version)" != "$rust" ] || return 0
    [ -z "${RUSTUP_TOOLCHAIN:-}" ] ||
        die "RUSTUP_TOOLCHAIN=$RUSTUP_TOOLCHAIN is not Rust $rust, which pmiscope is pinned to; please unset it"
    have rustup || die "Rust $rust is needed and this is $(rust_version); please install it (rustup toolchain install $rust)"
    say "installing Rust $rust by rustup"
    make_work
    quietly timeout 900 rustup toolchain install "$rust" --no-self-update --profile minimal \
        --component clippy --component rustfmt --component rust-src || true
    [ "$(rust_version)" != "$rust" ] || return 0
    tail -n 5 "$work/log" >&2
    other=
    [ "$(RUSTUP_TOOLCHAIN=stable rust_version)" != "$rust" ] ||
        other=" (or, as your stable is that version: export RUSTUP_TOOLCHAIN=stable)"
    die "rustup could not install Rust $rust; please run: rustup toolchain install $rust$other"
}

# --- The source of the standard library --------------------------------------
#
# The kernel's core and alloc are built from source, for frame pointers
# (-Zbuild-std), and the source must be the compiler's own version to the letter.
# It is looked for in three places:
#  1. the toolchain, where `rustup component add rust-src` puts it;
#  2. rustup, if it can still download for this toolchain;
#  3. Debian's package rust-src of the same upstream version. It differs from
#     rustup's in tests, licence files, a vendor folder and a dependency on
#     Windows: core, alloc, compiler_builtins and Cargo.lock are the same to the
#     byte. It goes to the user's cache and not into the toolchain, which is
#     rustup's and where a later `rustup component add` would stumble over it;
#     tools/freestanding.sh tells cargo about it.

in_toolchain() { echo "$(rustc --print sysroot)/lib/rustlib/src/rust/library"; }

std_source() {
    for dir in "$(in_toolchain)" "$cache/library"; do
        if [ -f "$dir/Cargo.lock" ]; then
            echo "$dir"
            return
        fi
    done
    return 1
}

# Debian's suites that may carry it, the likeliest first.
suites="trixie-backports forky-backports forky sid experimental"

std_source_from_debian() {
    have apt-get && have dpkg-deb || return 1
    mkdir -p "$work/sources" "$work/lists" "$work/apt"
    # apt with lists and sources of its own: the machine's are not touched.
    set -- -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/apt" \
        -o Acquire::Languages=none
    for suite in $suites; do
        write_sources "$suite" "$work/sources/debian" deb
        # It fails when one archive of several does not have the suite.
        quietly apt-get -qq "$@" update || true
        package=$(apt-cache "$@" madison rust-src 2>/dev/null |
            awk -v want="$rust" '$3 == want || index($3, want "+") == 1 || index($3, want "-") == 1 { print $3; exit }')
        [ -n "$package" ] || continue
        say "taking rust-src $package from Debian's $suite into $cache"
        # apt checks the package against the archive's signature.
        (cd "$work/apt" && quietly apt-get "$@" download "rust-src=$package") || continue
        new=$cache.$$
        mkdir -p "$new"
        dpkg-deb --fsys-tarfile "$work"/apt/rust-src_*.deb |
            tar -x -C "$new" --strip-components=4 --wildcards --no-wildcards-match-slash \
                --exclude './usr/src/*/library/vendor' './usr/src/*/library' &&
            [ -f "$new/library/Cargo.lock" ] && mv -T "$new" "$cache" 2>/dev/null && return
        rm -rf "$new"
        # Another setup at the same time may have been first.
        [ ! -f "$cache/library/Cargo.lock" ] || return 0
    done
    return 1
}

setup_std_source() {
    ! std_source >/dev/null || return 0
    make_work
    if have rustup; then
        say "rust-src is missing: asking rustup for it"
        # A time limit: behind a closed network rustup tries for minutes.
        quietly timeout 90 rustup component add rust-src || true
        ! std_source >/dev/null || return 0
        say "rustup could not get it"
    fi
    std_source_from_debian || {
        tail -n 5 "$work/log" >&2
        die "no source of Rust $rust's standard library to be had; please run: rustup component add rust-src --toolchain $rust"
    }
}

# `make test` checks the lints and the format too.
setup_lints() {
    bin=$(rustc --print sysroot)/bin
    [ ! -x "$bin/cargo-clippy" ] || [ ! -x "$bin/rustfmt" ] || return 0
    say "installing clippy and rustfmt by rustup"
    make_work
    quietly timeout 300 rustup component add clippy rustfmt ||
        die "clippy and rustfmt are missing; please run: rustup component add clippy rustfmt --toolchain $rust"
}

setup_fuzz() {
    ! have cargo-fuzz || return 0
    say "installing cargo-fuzz $cargo_fuzz by cargo"
    make_work
    quietly cargo install --locked --version "$cargo_fuzz" cargo-fuzz || {
        tail -n 5 "$work/log" >&2
        die "cargo-fuzz is missing; please run: cargo install --locked cargo-fuzz"
    }
}

purpose=${1:-run}
case $purpose in
std-source) std_source ;;
run | test | iso | stress | names | fuzz | bench | page)
    setup_packages "$purpose"
    setup_rust
    setup_std_source
    [ "$purpose" != test ] || setup_lints
    [ "$purpose" != fuzz ] || setup_fuzz
    say "ready: Rust $rust, QEMU $(qemu_version), standard library from $(std_source)"
    ;;
*) die "unknown word '$purpose'; usage: tools/setup.sh [test|iso|stress|names|fuzz|bench|page|std-source]" ;;
esac
