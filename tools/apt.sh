# shellcheck shell=sh
# What the scripts that install something share: read by them with `.`, in the
# repository's root, after they have set $me to the name that they speak under.
# Needs nothing that Debian 12 does not have from the start.

work= # a temporary directory, once there is a reason for one

say() { echo "$me: $*"; }
die() {
    echo "$me: $*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Runs a command without its chatter, which is in $work/log if it matters.
quietly() { "$@" >>"$work/log" 2>&1 </dev/null; }

make_work() {
    [ -z "$work" ] || return 0
    work=$(mktemp -d)
    chmod 755 "$work" # apt downloads as its own user
}

# Rust links host programs with cc, against the C library's start files.
cc_links() { have cc && case $(cc -print-file-name=crt1.o) in /*) ;; *) false ;; esac }

# Sets $apt to words that run apt-get as root, or says to run apt-get with words $*.
find_apt() {
    have apt-get || die "no apt-get here; on Debian it would be: apt-get $*"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif have sudo && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        die "not root, and no sudo without a password; please run: sudo apt-get $*"
    fi
    make_work
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300"
}

install_packages() {
    find_apt install --no-install-recommends "$@"
    say "installing by apt-get: $*"
    # The lists of a fresh machine are empty, those of an old one are stale: both
    # show as a failure to install.
    # shellcheck disable=SC2086 # $apt is words
    quietly $apt install --no-install-recommends "$@" || {
        quietly $apt update || true
        quietly $apt install --no-install-recommends "$@"
    } || {
        tail -n 20 "$work/log" >&2
        die "apt-get could not install: $*"
    }
}

# For packages that are looked up or downloaded and not installed.
update_lists() {
    find_apt update
    # shellcheck disable=SC2086 # $apt is words
    quietly $apt update || true
}

# Writes the Debian archive's entries of this machine's apt configuration, with
# suite $1 in the place of theirs, and of type $3 (deb or deb-src): one-line style
# from *.list, to $2.list, and stanzas from *.sources, to $2.sources. Addresses,
# keys and options stay. An entry is the Debian archive's if it has this release in
# the component main (the security archive's suites have another suffix).
write_sources() {
    list=/etc/apt/sources.list parts=/etc/apt/sources.list.d
    eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    ours="^(${release:-stable}|oldstable|stable|testing|unstable|sid)(-updates|-backports)?/?\$"

    cat "$list" "$parts"/*.list 2>/dev/null | awk -v ours="$ours" -v suite="$1" -v type="$3" '
        $1 != "deb" || /cdrom:/ { next }
        {
            sub(/#.*/, "")
            options = ""
            if (match($0, /^[ \t]*deb[ \t]+\[[^]]*\]/)) {
                options = substr($0, 1, RLENGTH)
                sub(/^[ \t]*deb[ \t]+/, "", options)
                $0 = "deb " substr($0, RLENGTH + 1)
            }
            for (i = 4; i <= NF; i++)
                if ($3 ~ ours && $i == "main")
                    print type, options, $2, suite, "main"
        }' | sort -u >"$2.list"

    for file in "$parts"/*.sources; do
        [ ! -f "$file" ] || { cat "$file" && echo; }
    done | awk -v ours="$ours" -v suite="$1" -v type="$3" '
        function finish() {
            if (kept != "" && binary && release && main && !disabled)
                printf "Types: %s\nSuites: %s\nComponents: main\n%s\n", type, suite, kept
            kept = ""; binary = release = main = disabled = 0
        }
        /^#/ { next }
        /^[ \t]*$/ { finish(); next }
        /^[^ \t]/ { field = tolower(substr($0, 1, index($0, ":") - 1)) }
        {
            value = $0
            if (value ~ /^[^ \t]/) sub(/^[^:]*:/, "", value)
            n = split(value, word)
            for (i = 1; i <= n; i++) {
                if (field == "types" && word[i] == "deb") binary = 1
                if (field == "suites" && word[i] ~ ours) release = 1
                if (field == "components" && word[i] == "main") main = 1
                if (field == "enabled" && word[i] ~ /^(no|false|off|0|without|disable)$/) disabled = 1
            }
            if (field !~ /^(types|suites|components|enabled)$/) kept = kept $0 "\n"
        }
        END { finish() }' >"$2.sources"
}
