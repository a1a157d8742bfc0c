#!/bin/sh
# The start of every script that boot.sh lets Linux run: mounts, then these
# functions. busybox's shell.
export PATH=/bin HOME=/root
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
cd /tmp || exit
parameters=
# shellcheck disable=SC2086 # words
set -- $parameters

# end STATUS: ends QEMU; 16 is good (QEMU doubles it and adds one).
end() {
    # shellcheck disable=SC2059 # an octal number
    printf "\\$(printf %o "$1")" | dd of=/dev/port bs=1 seek=244 conv=notrunc 2>/dev/null
}
trap 'end 17' EXIT # a script that goes wrong
# Samples as often as asked. The rate first: with the other at 0 it cannot be set.
unthrottled() {
    echo 1000000000 >/proc/sys/kernel/perf_event_max_sample_rate
    echo 0 >/proc/sys/kernel/perf_cpu_time_max_percent
}
# statistics FILE: what perf finds in the file, for `records`.
statistics() { perf report -i "$1" --stats >statistics 2>/dev/null; }
# records NAME: how many records of that name those are.
records() { awk -v name="$1" '$1 == name && $2 == "events:" { n = $3 } END { print n + 0 }' statistics; }
