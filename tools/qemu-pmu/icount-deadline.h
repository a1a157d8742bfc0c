/*
 * What one vCPU has executed, and a stop at an exact instruction of it.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SYSTEM_ICOUNT_DEADLINE_H
#define SYSTEM_ICOUNT_DEADLINE_H

#include "hw/core/cpu.h"

/*
 * icount has one clock for the machine: it advances by what any vCPU executes,
 * and a QEMU_CLOCK_VIRTUAL timer bounds how far the one that runs may go. A
 * device inside a vCPU that counts that vCPU's instructions needs the same for
 * it alone. With several vCPUs in turns no timer can serve: its time would come
 * while another vCPU runs.
 */

/**
 * icount_cpu_executed: the instructions that @cpu has executed so far
 *
 * In a helper of an instruction that ends its translation block (see
 * translator_io_start) this includes that instruction, otherwise all of the
 * block. Instructions that faulted are not included.
 */
int64_t icount_cpu_executed(CPUState *cpu);

/**
 * icount_cpu_set_deadline: stop @cpu at an instruction
 * @deadline: a count of icount_cpu_executed(), or 0 for none
 *
 * When @cpu has executed that many, and before it takes an interrupt or
 * executes another one, TCGCPUOps.icount_deadline is called. A deadline
 * that has passed counts as now. May be called from a helper under the same
 * conditions as icount_cpu_executed().
 */
void icount_cpu_set_deadline(CPUState *cpu, int64_t deadline);

/**
 * icount_cpu_set_budget: change what @cpu may still execute, to @left
 *
 * May be called under the same conditions.
 */
void icount_cpu_set_budget(CPUState *cpu, int64_t left);

/**
 * icount_load_budget: give @cpu its budget to execute
 *
 * Splits @cpu->icount_budget, none of which is in the decrementer yet, into
 * what the decrementer may hold and the rest. The decrementer gets no more than
 * remains until the deadline, so that it runs out there.
 *
 * Returns: what the decrementer got
 */
int icount_load_budget(CPUState *cpu);

/**
 * icount_check_deadline: call TCGCPUOps.icount_deadline if it is time
 *
 * Costs a load and a branch where it is not: while instructions are left in the
 * decrementer no deadline can have been reached.
 */
static inline bool icount_deadline_may_be_due(CPUState *cpu)
{
    return cpu->icount_deadline && cpu->neg.icount_decr.u16.low == 0;
}
void icount_check_deadline(CPUState *cpu);

#endif
