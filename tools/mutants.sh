#!/bin/sh
# Breaks the code on purpose, one patch at a time, and demands that a test sees it: a
# mechanism whose loss no test notices is not tested.
#
# usage: tools/mutants.sh [names of patches, without .patch; all if there are none]
#
# Each of tools/mutants/*.patch is what `git diff` prints, below lines that say
#
#   # breaks: what no longer holds
#   # built by: a command that builds what the test runs, if `cargo test` does not
#   # caught by: a command that runs tests, `cargo test …`
#
# The tree with the patch must build, and then the tests must fail, by themselves and
# not by a time-out. Without any patch they must pass. All that happens in copies of
# the tree in the build directory, and what was printed is kept there, in mutants/logs.
# Patches whose tests run on the host come first: they take seconds, those that boot
# QEMU up to minutes. To change a patch, or to mend one that no longer applies: make the
# change in the tree, `git diff` it below the patch's first lines, and take it back.
set -eu
cd "$(dirname "$0")/.."

limit=900 # seconds, for one command
out=${CARGO_TARGET_DIR:-target}
mkdir -p "$out/mutants"
scratch=$(cd "$out/mutants" && pwd)
tree=$scratch/tree
# Another copy, which no patch changes. What `# built by:` has built with the patch is tested
# from there, by a tool and tests that need not be built again for each patch, nor are broken.
unbroken=$scratch/unbroken
# Those of the copy: who works on in the tree does not disturb.
patches=$tree/tools/mutants
logs=$scratch/logs
log=$logs/tree
# Nobody debugs the tests here, and with one way to panic the tool is built once, not for
# itself and again for its tests. The kernel is built in release, as always.
export CARGO_PROFILE_DEV_DEBUG=none CARGO_PROFILE_DEV_PANIC=unwind
# A test that is skipped catches nothing.
export PMISCOPE_LAB=required

die() {
    echo "mutants: $*" >&2
    exit 1
}

# What a patch says in its lines `# KEY: …`.
told() { sed -n "s/^# $1: //p" "$2"; }

# Runs a command in a copy. Its build directory is one for all patches: only what a patch
# changes is built again.
in_copy() {
    (cd "$1" && CARGO_TARGET_DIR="$1-target" timeout "$limit" sh -c "$2") >"$log" 2>&1 </dev/null
}

# The copy from which the tests of a patch are run.
tested_from() { if [ -n "$(told "built by" "$1")" ]; then echo "$unbroken"; else echo "$tree"; fi; }

# Builds what the tests of a patch need, and the tests.
built() {
    build=$(told "built by" "$1")
    [ -z "$build" ] || in_copy "$tree" "$build" || return 1
    in_copy "$(tested_from "$1")" "$(told "caught by" "$1" | sed 's/cargo test/cargo test --no-run/')"
}

tested() { in_copy "$(tested_from "$1")" "$(told "caught by" "$1")"; }

# Makes the copies what the tree is now. Only files whose content differs are written: one
# that got back its old time with its old content would be taken for what was built last.
copy() {
    for copy in "$tree" "$unbroken"; do
        mkdir -p "$copy-target"
        [ -d "$copy/.git" ] || git init -q "$copy"
    done
    for folder in x86_64-unknown-none adopters; do
        ln -sfn "$tree-target/$folder" "$unbroken-target/$folder"
    done
    cp "$(git rev-parse --git-path index)" "$scratch/index"
    commit=$(
        GIT_ALTERNATE_OBJECT_DIRECTORIES=$(cd "$(git rev-parse --git-path objects)" && pwd)
        GIT_OBJECT_DIRECTORY=$tree/.git/objects GIT_INDEX_FILE=$scratch/index
        export GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_OBJECT_DIRECTORY GIT_INDEX_FILE
        echo "$GIT_ALTERNATE_OBJECT_DIRECTORIES" >"$tree/.git/objects/info/alternates"
        git add -A
        git write-tree
    )
    echo "$tree/.git/objects" >"$unbroken/.git/objects/info/alternates"
    for copy in "$tree" "$unbroken"; do
        git -C "$copy" read-tree --reset -u "$commit"
        git -C "$copy" clean -qfd
    done
}

# The patched copy as it was: the index has it.
restore() {
    git -C "$tree" checkout -q -- .
    git -C "$tree" clean -qfd
}

report() { printf '%-9s %7s  %-34s %s\n' "$@"; }

rm -rf "$logs"
mkdir -p "$logs"
copy

names=$*
if [ -z "$names" ]; then
    # Those with a line `# built by:` last.
    names=$(cd "$patches" && { grep -L '^# built by: ' -- *.patch; grep -l '^# built by: ' -- *.patch; } |
        sed 's/\.patch$//')
fi
for name in $names; do
    patch=$patches/$name.patch
    [ -f "$patch" ] || die "there is no tools/mutants/$name.patch"
    for key in breaks "caught by"; do
        [ "$(told "$key" "$patch" | wc -l)" = 1 ] || die "$name: needs one line '# $key: …'"
    done
    case $(told "caught by" "$patch") in
    *"cargo test "*) ;;
    *) die "$name: '# caught by:' must be a 'cargo test …'" ;;
    esac
    if [ -n "$(told "built by" "$patch")" ] && grep -q '^+++ b/tools/pmiscope/' "$patch"; then
        die "$name: breaks the tool, and with '# built by:' the unbroken one is tested"
    fi
done

began=$(date +%s)
# Tests that fail without a patch catch nothing.
: >"$scratch/passed"
for name in $names; do
    patch=$patches/$name.patch
    command=$(told "caught by" "$patch")
    grep -qxF "$command" "$scratch/passed" && continue
    built "$patch" && tested "$patch" || {
        tail -n 30 "$log" >&2
        die "without any patch this fails: $command"
    }
    grep -q '^running [1-9]' "$log" || die "$name: this runs no test: $command"
    echo "$command" >>"$scratch/passed"
    restore
done

bad=0
echo "without any patch all tests pass: $(($(date +%s) - began)) s"
report result seconds patch "what is broken"
for name in $names; do
    patch=$patches/$name.patch
    log=$logs/$name
    start=$(date +%s)
    breaks=$(told breaks "$patch")
    status=0
    if ! git -C "$tree" apply "$patch" 2>"$log"; then
        result=STALE why="the patch does not apply: $(head -n 1 "$log")"
    elif ! built "$patch"; then
        result=UNBUILT why="with the patch the build fails: $(grep -m 1 '^error' "$log" || :)"
    else
        tested "$patch" || status=$?
        # A test whose process crashes does not say its name.
        failed=$(sed -n -e 's/^test \(.*\) \.\.\. FAILED$/\1/p' -e "s/^  process didn't .*(\(signal: .*\))$/\1/p" "$log")
        if [ "$status" = 0 ]; then
            result=SURVIVED why="no test fails: $(told "caught by" "$patch")"
        elif [ "$status" = 124 ]; then
            result=HUNG why="the tests did not end in $limit seconds"
        elif [ -z "$failed" ]; then
            result=UNCLEAR why="it failed, but no test did: $(tail -n 1 "$log")"
        else
            result=caught
        fi
    fi
    report "$result" "$(($(date +%s) - start))" "$name" "$breaks"
    if [ "$result" = caught ]; then
        echo "$failed" | sed 's/^/          by /'
    else
        bad=1
        report "" "" "" "$why"
    fi
    restore
done
echo "in all $(($(date +%s) - began)) s"
exit $bad
