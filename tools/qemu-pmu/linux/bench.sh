# What a sample costs Linux: the time-stamp counter, which counts every guest
# instruction, around a loop that is sampled and one that is not. A line for each
# run: workload, settings, period, samples, how many were due, lost, throttlings,
# counter without, counter with sampling. Parameters: PERIOD:UNITS, the units of
# each workload that are sampled at that period.

echo 0 >/proc/sys/kernel/nmi_watchdog
runs=$*

# row SETTINGS OPTIONS...: samples the loop.
row() {
    settings=$1
    shift
    # A ring that holds all: nothing is written out before the loop's end.
    # shellcheck disable=SC2086 # $loop is words
    with=$(perf record -q -B -m 64M "$@" -c "$period" -e instructions:u -o data $loop 2>log) || cat log
    statistics data
    echo "row $workload $settings $period $(records SAMPLE) $((all / period))" \
        "$(records LOST) $(records THROTTLE) $without $with"
    rm -f data
}
for workload in arithmetic recursion; do
    for run in $runs; do
        period=${run%:*}
        loop="/lab/linux-loop time $workload ${run#*:}"
        # shellcheck disable=SC2086 # $loop is words
        {
            all=$(perf stat -x, -e instructions:u $loop 2>&1 >/dev/null | awk -F, 'NF >= 5 { print $1 }')
            without=$($loop)
        }
        # As Linux comes. It lowers its limit for good when interrupts take long.
        echo 25 >/proc/sys/kernel/perf_cpu_time_max_percent
        echo 100000 >/proc/sys/kernel/perf_event_max_sample_rate
        row stock -g
        unthrottled
        row no-chains
        row chains -g
    done
done
end 16
