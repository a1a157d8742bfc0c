/*
 * A vCPU that runs while all others are idle.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The time until the next timer is divided among all vCPUs, idle ones too: each
 * gets a slice, and in the next round a slice of what is left. If one alone has
 * anything to execute, that is many rounds, each shorter than the one before: of
 * 64 vCPUs, 176 rounds of 64 for a timer that is 1000 instructions away, and a
 * block to be cut at the end of each. Nothing can be seen of them but where they
 * end, and only by another vCPU that is woken, since it begins there. So the one
 * that is alone gets all of its slices at once, and when something happens that
 * a new round would see, it is stopped at the end of the slice that it would be in.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "accel/tcg/tcg-accel-ops-icount.h"
#include "system/cpus.h"
#include "system/icount-alone.h"
#include "system/icount-deadline.h"
#include "system/replay.h"

static struct {
    CPUState *cpu;   /* the one that runs alone; NULL if none does */
    bool is_cut;     /* it stops at the end of its slice */
    int vcpus;       /* that would share */
    int64_t begin;   /* what it had executed */
    int64_t first;   /* its slice of the round that it began in */
    int64_t limit;   /* instructions until the next timer */
} alone;

/* A slice of @left instructions until the next timer: see icount_percpu_budget(). */
static int64_t share(int64_t left)
{
    return left / alone.vcpus ?: left;
}

/*
 * Returns the slice in which the vCPU that is alone has executed its last
 * instruction, and in *@end how many instructions after its begin that slice ends.
 */
static int64_t current_slice(int64_t *end)
{
    int64_t done = icount_cpu_executed(alone.cpu) - alone.begin;
    int64_t slice = alone.first;

    *end = slice;
    while (*end < done) {
        slice = share(alone.limit - *end);
        *end += slice;
    }
    return slice;
}

void icount_alone_begin(CPUState *cpu)
{
    CPUState *other;
    int64_t limit;
    int vcpus = 0;

    /* A budget of nothing lets timers run, and is followed by another round. */
    if (replay_mode != REPLAY_MODE_NONE || !cpu->icount_budget) {
        return;
    }
    CPU_FOREACH(other) {
        /* One that was kicked has a round begin that is not the next one. */
        if (other != cpu && (other->exit_request || !cpu_thread_is_idle(other))) {
            return;
        }
        vcpus++;
    }
    limit = icount_get_limit();
    /* Without a timer that is near, the limit does not come closer. */
    if (limit <= cpu->icount_budget || limit >= INT32_MAX) {
        return;
    }
    alone.cpu = cpu;
    alone.is_cut = false;
    alone.vcpus = vcpus;
    alone.begin = icount_cpu_executed(cpu);
    alone.first = cpu->icount_budget;
    alone.limit = limit;
    timer_removed = icount_alone_cut;
    icount_cpu_set_budget(cpu, limit);
}

void icount_alone_cut(void)
{
    int64_t end;

    /* Other threads make it leave its execution loop, if they have to. */
    if (alone.cpu && qemu_cpu_is_self(alone.cpu)) {
        alone.is_cut = true;
        current_slice(&end);
        icount_cpu_set_budget(alone.cpu,
                              end - (icount_cpu_executed(alone.cpu) - alone.begin));
    }
}

bool icount_alone_yield(CPUState *cpu)
{
    int64_t done;

    if (alone.cpu != cpu || alone.is_cut || cpu->exit_request) {
        return false;
    }
    done = icount_cpu_executed(cpu) - alone.begin;
    if (done >= alone.limit) {
        return false;
    }
    /* The next round begins here. */
    alone.begin += done;
    alone.limit -= done;
    alone.first = share(alone.limit);
    return true;
}

int64_t icount_alone_end(CPUState *cpu, int64_t slice)
{
    int64_t end;

    if (alone.cpu) {
        slice = current_slice(&end);
        alone.cpu = NULL;
    }
    return slice;
}
