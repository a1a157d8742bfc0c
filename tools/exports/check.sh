#!/bin/sh
# Lets programs that nobody here wrote read the exports of a run: speedscope's importer, Perfetto's
# published schema, stock perf. `make test` has what needs no packages of npm and PyPI.
#
# usage: tools/exports/check.sh TARGET      the folder that `make build` fills
set -eu
cd "$(dirname "$0")/../.."
target=${1:?the folder that was built into}
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/pmiscope/exports
speedscope=1.25.0
perfetto=0.59.1
me=exports
. tools/apt.sh
make_work

have node && have npm || install_packages nodejs npm
have perf || install_packages linux-perf
python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
modules=$cache/npm-$speedscope/node_modules
if [ ! -d "$modules/speedscope" ]; then
    say "installing speedscope $speedscope by npm into $cache"
    mkdir -p "$cache/npm-$speedscope"
    quietly npm install --prefix "$cache/npm-$speedscope" --ignore-scripts --no-audit --no-fund "speedscope@$speedscope" ||
        die "npm could not install speedscope"
fi
python=$cache/py-$perfetto/bin/python
if ! "$python" -c 'import perfetto.protos' 2>/dev/null; then
    say "installing perfetto $perfetto by pip into $cache"
    python3 -m venv "$cache/py-$perfetto"
    quietly "$python" -m pip install "perfetto==$perfetto" || die "pip could not install perfetto"
fi

tool=$target/release/pmiscope
# The kernel alone, and user programs beside it, whose code is of files of their own.
for workload in mix processes; do
    run=$work/$workload
    quietly "$tool" run --workload "$workload" -o "$run.pmi" || die "the run of $workload failed"
    for form in csv speedscope perfetto perf; do
        quietly "$tool" export "$run.pmi" --format "$form" -o "$run.$form"
    done
    node tools/exports/speedscope.cjs "$modules" "$run.speedscope" >"$run.speedscope.json"
    "$python" tools/exports/read_perfetto.py "$run.perfetto" >"$run.perfetto.json"
    python3 tools/exports/compare.py "$run.csv" "$run.speedscope.json" "$run.perfetto.json"
done

run=$work/mix
perf script -i "$run.perf" --vmlinux "$run.perf.vmlinux" --no-inline >"$run.script" 2>"$work/log" ||
    die "perf does not read its file"
samples=$(grep -c '^[^[:space:]].*: *[0-9]* ' "$run.script")
unnamed=$(grep -c '\[unknown\]' "$run.script" || true)
say "perf script has $samples samples, and $unnamed frames without a name"
node tools/exports/speedscope.cjs "$modules" "$run.script" >/dev/null
say "speedscope reads what perf script prints"
