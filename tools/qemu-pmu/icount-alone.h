/*
 * A vCPU that runs while all others are idle.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SYSTEM_ICOUNT_ALONE_H
#define SYSTEM_ICOUNT_ALONE_H

#include "hw/core/cpu.h"

/**
 * icount_alone_begin: @cpu is about to execute its slice
 *
 * If all other vCPUs are idle it gets all slices until the next timer in one.
 */
void icount_alone_begin(CPUState *cpu);

/**
 * icount_alone_cut: something has changed that the next round would see
 *
 * Another vCPU was interrupted, or a timer removed: the vCPU that runs alone stops
 * at the end of the slice that it would be in by itself. Costs nothing but time if
 * it is called without a need, or if none runs alone.
 */
void icount_alone_cut(void);

/**
 * icount_alone_yield: @cpu gives up the rest of its slice
 *
 * Returns: whether it would be the next to execute anything, and goes on
 */
bool icount_alone_yield(CPUState *cpu);

/**
 * icount_alone_end: @cpu has left its execution loop
 * @slice: what the vCPUs of this round were to get
 *
 * Returns: what those behind @cpu get in the round that it would be in by itself
 */
int64_t icount_alone_end(CPUState *cpu, int64_t slice);

#endif
