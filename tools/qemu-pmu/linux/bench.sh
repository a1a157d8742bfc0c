# What a sample costs Linux: the time-stamp counter, which counts every guest
# instruction, around a loop that is sampled and one that is not. A line for each
# run: workload, event, settings, period, samples, those that are not of the loop,
# how many were due, lost, throttlings, counter without, counter with sampling.
# Parameters: WORKLOAD=EVENT:PERIOD:UNITS, the units of a workload that are sampled
# by that event at that period.

echo 0 >/proc/sys/kernel/nmi_watchdog
runs=$*

# record UNITS OPTIONS...: samples the loop, and prints its time.
record() {
    units=$1
    shift
    # A ring that holds all: nothing is written out before the loop's end.
    # shellcheck disable=SC2086 # $loop is words
    perf record -q -B -m 64M "$@" -c "$period" -e "$event" -o data $loop "$units" 2>log || cat log
    statistics data
    rm -f data
}
# row SETTINGS OPTIONS...: samples the loop.
row() {
    settings=$1
    shift
    record "$units_of_run" "$@" >with
    echo "row $workload $event $settings $period $(records SAMPLE) $outside $((all / period))" \
        "$(records LOST) $(records THROTTLE) $without $(cat with)"
}
for run in $runs; do
    workload=${run%%=*}
    of=${run#*=} units_of_run=${run##*:}
    of=${of%:*}
    period=${of##*:} event=${of%:*}
    loop="/lab/linux-loop time $workload"
    # shellcheck disable=SC2086 # $loop is words
    {
        all=$(perf stat -x, -e "$event" $loop "$units_of_run" 2>&1 >/dev/null | awk -F, 'NF >= 5 { print $1 }')
        without=$($loop "$units_of_run")
    }
    outside=0
    # As Linux comes. It lowers its limit for good when interrupts take long.
    echo 25 >/proc/sys/kernel/perf_cpu_time_max_percent
    echo 100000 >/proc/sys/kernel/perf_event_max_sample_rate
    row stock -g
    unthrottled
    # Without a turn: the program's start and end.
    record 0 >none
    outside=$(records SAMPLE)
    row no-chains
    row chains -g
done
end 16
