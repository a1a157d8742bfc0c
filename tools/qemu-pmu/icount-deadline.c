/*
 * What one vCPU has executed, and a stop at an exact instruction of it.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A vCPU's budget lies in two places: the decrementer, which every translation
 * block takes its length from before it starts, and icount_extra, from which
 * the decrementer is filled again. A block that finds too little goes back to
 * the execution loop, which cuts one of the right length. So whatever the
 * decrementer is given is where the vCPU comes to a stop, to the
 * instruction, and a deadline is no more than a smaller portion.
 */

#include "qemu/osdep.h"
#include "accel/tcg/cpu-ops.h"
#include "system/cpu-timers.h"
#include "system/icount-deadline.h"

/* The decrementer has 16 bits. */
#define PORTION_MAX 0xffff

static int64_t budget_left(CPUState *cpu)
{
    return cpu->neg.icount_decr.u16.low + cpu->icount_extra;
}

int64_t icount_cpu_executed(CPUState *cpu)
{
    return cpu->icount_executed + cpu->icount_budget - budget_left(cpu);
}

/* Divides @left, instructions that @cpu still may execute. */
static int divide(CPUState *cpu, int64_t executed, int64_t left)
{
    int64_t portion = MIN(left, PORTION_MAX);

    if (cpu->icount_deadline) {
        portion = MIN(portion, MAX(cpu->icount_deadline - executed, 0));
    }
    cpu->neg.icount_decr.u16.low = portion;
    cpu->icount_extra = left - portion;
    return portion;
}

int icount_load_budget(CPUState *cpu)
{
    return divide(cpu, cpu->icount_executed, cpu->icount_budget);
}

void icount_cpu_set_budget(CPUState *cpu, int64_t left)
{
    int64_t executed = icount_cpu_executed(cpu);

    cpu->icount_budget += left - budget_left(cpu);
    divide(cpu, executed, left);
}

void icount_cpu_set_deadline(CPUState *cpu, int64_t deadline)
{
    int64_t executed = icount_cpu_executed(cpu);

    cpu->icount_deadline = deadline;
    divide(cpu, executed, budget_left(cpu));
}

void icount_check_deadline(CPUState *cpu)
{
    /* A vCPU that has halted executes no more, however far its deadline is. */
    if (cpu->icount_deadline &&
        (cpu->halted || icount_cpu_executed(cpu) >= cpu->icount_deadline)) {
        cpu->cc->tcg_ops->icount_deadline(cpu);
    }
}
