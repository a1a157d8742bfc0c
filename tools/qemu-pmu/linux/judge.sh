# Linux's part of the comparison: what its PMU driver finds, what perf counts and
# samples, next to what is true. A line for each check, `ok` or `not ok`, then
# `1..N`. Parameters: the driver's words, and its mask of counters.

tests=0
say() {
    tests=$((tests + 1))
    printf '%-6s %-62s Linux %11s   true %11s\n' "$1" "$2" "$3" "$4"
}
equal() { if [ "$2" = "$3" ]; then say ok "$@"; else say 'not ok' "$@"; fi; }
# What there is no true number for.
note() { echo "#      $*"; }

# count EVENTS COMMAND...: perf's counts, one a line, and how much of the time each was counted.
count() {
    events=$1
    shift
    perf stat -x, -e "$events" "$@" 2>&1 |
        awk -F, 'NF >= 5 { print ($1 ~ /^[0-9]+$/ ? $1 : "none"), $5 }'
}
nth() { awk -v line="$1" 'NR == line { count = $1 } END { print count == "" ? "none" : count }' counts; }

driver=$(dmesg | sed -n 's/.*Performance Events: *//p')
mask=$(dmesg | sed -n 's/.*\.\.\. event mask: *0*//p')
note "${driver:-Linux has no driver for performance counters}"
case $driver in
*"$1 PMU driver."*) equal "the driver that takes the counters" "$1" "$1" ;;
*)
    equal "the driver that takes the counters" none "$1"
    end 16
    ;;
esac
equal "which counters it finds (mask)" "${mask:-none}" "$2"
watchdog=$(dmesg | grep -c 'NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.')
equal "the NMI watchdog takes a counter" "$watchdog" 1
echo 0 >/proc/sys/kernel/nmi_watchdog

# The code of known length: ITERATIONS CALLS, and how long it is in all, until it
# is in its innermost call, and until it leaves that.
known() {
    loop="/lab/linux-loop $1 $2"
    # shellcheck disable=SC2046 # words
    set -- $(/lab/linux-loop length "$1" "$2")
    all=$1 deepest=$2 left=$3
}
calls=16
known 0007a120 00000010

# shellcheck disable=SC2086 # $loop is words
{
    count instructions:u $loop >counts
    equal "perf stat instructions:u, from exec to exit" "$(nth 1)" "$all"
    count cycles:u $loop >counts
    equal "perf stat cycles:u, one an instruction" "$(nth 1)" "$all"
    count instructions:u,cycles:u $loop >counts
    equal "both at once: instructions:u" "$(nth 1)" "$all"
    equal "both at once: cycles:u" "$(nth 2)" "$all"
    count '{instructions:u,instructions:k,instructions}' $loop >counts
    equal "user and kernel apart and together: instructions:u" "$(nth 1)" "$all"
    both=$(($(nth 1) + $(nth 2)))
    off=$(($(nth 3) - both))
    note "instructions:u + instructions:k = $both, instructions = $(nth 3): $off apart"
    [ "$off" -gt -100 ] && [ "$off" -lt 100 ] && off=0
    equal "together less apart, give or take 100 (starting one by one)" "$off" 0
}

# On two processors at the same time.
for cpu in 0 1; do
    # shellcheck disable=SC2086 # $loop is words
    taskset -c $cpu perf stat -x, -o stat$cpu -e instructions:u $loop &
done
wait
for cpu in 0 1; do
    equal "on two processors at once: instructions:u, processor $cpu" \
        "$(awk -F, 'NF >= 5 { print $1 }' stat$cpu)" "$all"
done

# More events than counters: they take turns, and perf scales what it has seen.
known 01312d00 00000010
events=instructions:u
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13; do events=$events,instructions:u; done
# shellcheck disable=SC2086 # $loop is words
count $events $loop >counts
scaled=$(awk '$2 < 100' counts | wc -l)
note "14 events in turns, $scaled of them scaled by perf, counted $(sort -k2n counts | awk 'NR == 1 { a = $2 } { z = $2 } END { print a "% to " z "%" }') of the time"
worst=$(awk -v all="$all" '{ d = 1000 * ($1 - all) / all; if (d < 0) d = -d; if (d > w) w = d } END { printf "%.1f", w }' counts)
note "scaled, they are at most $worst per mille from $all, which is true"
equal "events that perf marks as scaled, of 14" "$scaled" 14

# Sampling, as Linux is: at most so many samples a second, or it throttles.
known 0007a120 00000010
sample() {
    # shellcheck disable=SC2086 # $loop is words
    perf record -q -m 16M -c "$1" -g -e instructions:u -o "$1.data" $loop >log 2>&1 || cat log
    due=$((all / $1))
    statistics "$1.data"
    got=$(records SAMPLE)
    lost=$(records LOST)
    throttled=$(records THROTTLE)
}
sample 1000
note "stock settings ($(cat /proc/sys/kernel/perf_event_max_sample_rate) samples a second): $got of $due samples due, THROTTLED $throttled times by Linux"
if [ "$throttled" -gt 0 ] && [ "$got" -lt "$due" ]; then shown=yes; else shown=no; fi
equal "perf record -c 1000, stock settings: throttling shows" $shown yes

# Without throttling every sample comes, and every chain is known: it is whole from
# the innermost call's frame on until that is taken down.
unthrottled
chain() {
    perf script -i "$1.data" -F ip,sym 2>/dev/null | awk -v calls=$calls '
        /^$/ { if (n && chain == whole) good++; chain = ""; n = 0; next }
        { chain = chain " " $2; n++ }
        BEGIN { whole = " turn"; for (i = 0; i < calls; i++) whole = whole " descend"; whole = whole " _start" }
        END { print good + 0 }'
}
check_samples() {
    sample "$1"
    equal "perf record -c $1 -g: samples" "$got" "$due"
    equal "perf record -c $1 -g: lost" "$lost" 0
    equal "perf record -c $1 -g: throttled" "$throttled" 0
    equal "perf record -c $1 -g: chains of turn, $calls x descend, _start" "$(chain "$1")" \
        $((left / $1 - (deepest - 1) / $1))
}
check_samples 1000
# With the kernel in it there is no true number. A handler that cannot stop all
# counters at once is counted too.
# shellcheck disable=SC2086 # $loop is words
{
    count instructions $loop >counts
    perf record -q -m 16M -c 10000 -e instructions -o kernel.data $loop >log 2>&1 || cat log
    statistics kernel.data
}
note "user and kernel, -c 10000: $(records SAMPLE) samples; without sampling it is $(($(nth 1) / 10000)) periods long"
known 00019a28 00000010
check_samples 100

# perf's own tests, of those that need no other events and no other programs. By
# number: by name it does not find those that have parts.
perf test list >tests 2>&1
while read -r name; do
    number=$(sed -n "s/^ *\([0-9]*\): $name.*/\1/p" tests)
    # Some wait for another process by so many turns of a loop, and here processors
    # take turns. So a test has three tries, and those that fail are shown.
    perf test "$number" >log 2>&1
    for try in 1 2; do
        grep -q ': FAILED!' log || break
        note "perf test $number: FAILED at try $try"
        perf test -v "$number" >log 2>&1
    done
    ! grep -q ': FAILED!' log || sed 's/^/#      /' log | tail -n 20
    # Each case or part of one is a line; the head of one that has parts is not.
    grep -E ': (Ok|Skip|FAILED!)' log >cases || echo "$name: no such test" >>cases
    while read -r line; do
        case $line in
        *': Skip'*) note "perf test: $line" ;;
        *)
            what=$(echo "$line" | sed 's/^[0-9. ]*: *//; s/ *: [A-Za-z!]*$//')
            equal "perf test: $what" "${line##*: }" Ok
            ;;
        esac
    done <cases
done <<END
mmap interface tests
PERF_RECORD_.* events
Parse event definition strings
Parse perf pmu format
Number of exit events
Software clock events period values
Sample parsing
x86 Sample parsing
Use a dummy software event
Parse with no sample_id_all bit set
Track with sched_switch
Event times
Read backward ring buffer
Convert perf time to TSC
Sigtrap
END
echo "1..$tests"
end 16
