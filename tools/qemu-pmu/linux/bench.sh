# What a sample costs Linux: the time-stamp counter, which counts every guest
# instruction, around a loop that is sampled and one that is not. A line for each
# run: workload, settings, period, samples, how many were due, lost, throttlings,
# counter without, counter with sampling. Parameters: units of each workload, then
# periods.

echo 0 >/proc/sys/kernel/nmi_watchdog
arithmetic=$1 recursion=$2
shift 2

# row SETTINGS OPTIONS...: samples the loop at each period.
row() {
    settings=$1
    shift
    for period in $periods; do
        # Linux lowers its limit for good when interrupts take long.
        if [ "$settings" = stock ]; then
            echo 25 >/proc/sys/kernel/perf_cpu_time_max_percent
            echo 100000 >/proc/sys/kernel/perf_event_max_sample_rate
        fi
        # shellcheck disable=SC2086 # $loop is words
        with=$(perf record -q "$@" -c "$period" -e instructions:u -o data $loop 2>log) || cat log
        statistics data
        echo "row $workload $settings $period $(records SAMPLE) $((all / period))" \
            "$(records LOST) $(records THROTTLE) $without $with"
        rm -f data
    done
}
periods=$*
for workload in arithmetic recursion; do
    eval "loop=\"/lab/linux-loop time $workload \$$workload\""
    # shellcheck disable=SC2086 # $loop is words
    {
        $loop >/dev/null # its pages are there from now on
        without=$($loop)
        all=$(perf stat -x, -e instructions:u $loop 2>&1 >/dev/null | awk -F, 'NF >= 5 { print $1 }')
    }
    # A ring that holds all: nothing is written out before the loop's end.
    row stock -m 128M -g
    unthrottled
    row no-chains -m 128M
    row chains -m 128M -g
    row written -g
done
end 16
