/*
 * A performance-monitoring unit for x86 CPUs under TCG with icount.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The hooks: what the rest of QEMU calls. All of them do nothing for a CPU
 * without a model. target/i386/cpu.h includes this file.
 */
#ifndef X86_PMU_H
#define X86_PMU_H

/* What came of an instruction that may be the PMU's. */
typedef enum {
    X86_PMU_OTHER, /* it is not: go on as without a PMU */
    X86_PMU_DONE,
    X86_PMU_GP,    /* #GP(0); nothing has changed */
} X86PMUAccess;

#include "x86-ibs.h"

#if defined(CONFIG_TCG) && !defined(CONFIG_USER_ONLY)

/* Adds the properties x-pmu, x-pmu-skid and x-pmu-lvtpc-mask. */
void x86_pmu_class_init(ObjectClass *oc);
/* Before the CPU's features are expanded: may set vendor, family, levels. */
void x86_pmu_realize(X86CPU *cpu, Error **errp);
/* Power-up and RESET. INIT leaves a PMU as it is. */
void x86_pmu_reset(X86CPU *cpu);
/* Changes what a leaf says without a PMU to what it says with it. */
void x86_pmu_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax, uint32_t *ebx,
                   uint32_t *ecx, uint32_t *edx);
/* From helpers of instructions that end their translation block. */
X86PMUAccess x86_pmu_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *value);
X86PMUAccess x86_pmu_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value);
X86PMUAccess x86_pmu_rdpmc(X86CPU *cpu, uint32_t which, uint64_t *value);
/* Returns true if the PMU answers for this MSR, be it by #GP. */
bool x86_pmu_has(X86CPU *cpu, uint32_t msr);
/* TCGCPUOps.icount_deadline */
void x86_pmu_icount_deadline(CPUState *cs);

void x86_pmu_set_cpl(X86CPU *cpu, int cpl);

/* From wherever the CPL is set. */
static inline void x86_pmu_cpl_changed(CPUX86State *env, int cpl)
{
    X86CPU *cpu = container_of(env, X86CPU, env);

    if (unlikely(cpu->pmu)) {
        x86_pmu_set_cpl(cpu, cpl);
    }
}

#else

static inline void x86_pmu_class_init(ObjectClass *oc)
{
}

static inline void x86_pmu_realize(X86CPU *cpu, Error **errp)
{
}

static inline void x86_pmu_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax,
                                 uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
}

static inline X86PMUAccess x86_pmu_rdpmc(X86CPU *cpu, uint32_t which,
                                         uint64_t *value)
{
    return X86_PMU_OTHER;
}

static inline void x86_pmu_cpl_changed(CPUX86State *env, int cpl)
{
}

#endif

#endif
