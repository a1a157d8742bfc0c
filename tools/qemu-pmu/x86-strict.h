/*
 * x86 CPUs under TCG as strict, and as awkward, as real ones.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The hooks: what the rest of QEMU calls. All of them do nothing for a CPU
 * without such properties. target/i386/cpu.h includes this file.
 */
#ifndef X86_STRICT_H
#define X86_STRICT_H

#if defined(CONFIG_TCG) && !defined(CONFIG_USER_ONLY)

/* Adds the properties. */
void x86_strict_class_init(ObjectClass *oc);
/* RESET and INIT */
void x86_strict_reset(X86CPU *cpu);
/* Changes what a leaf says without it. */
void x86_strict_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax);
/* In the instruction, and before the one after it. */
void x86_strict_halts(X86CPU *cpu);
void x86_strict_wakes(X86CPU *cpu);
/* Return false if it is #GP: then nothing has changed. */
bool x86_strict_rdmsr(X86CPU *cpu, uint32_t msr);
bool x86_strict_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value);
/* Returns true if a breakpoint is there for us only. */
bool x86_strict_breakpoint(X86CPU *cpu);

#else

static inline void x86_strict_class_init(ObjectClass *oc)
{
}

static inline void x86_strict_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax)
{
}

#endif

#endif
