/*
 * AMD's Instruction-Based Sampling of ops for x86 CPUs under TCG with icount.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A part of the PMU: x86-pmu.c calls it, and hooks/ibs.patch. All of it does
 * nothing for a CPU without the property x-ibs. x86-pmu.h includes this file.
 */
#ifndef X86_IBS_H
#define X86_IBS_H

#if defined(CONFIG_TCG) && !defined(CONFIG_USER_ONLY)

/* Adds the properties x-ibs, x-ibs-lvt, x-ibs-invalid and x-ibs-abort. */
void x86_ibs_class_init(ObjectClass *oc);
/* The CPU has a PMU of AMD's if @amd; an interrupt comes @skid late. */
bool x86_ibs_realize(X86CPU *cpu, bool amd, uint32_t skid, Error **errp);
void x86_ibs_reset(X86CPU *cpu);
void x86_ibs_finalize(X86CPU *cpu);
void x86_ibs_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax, uint32_t *ecx);
X86PMUAccess x86_ibs_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *value);
X86PMUAccess x86_ibs_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value);

/* The vCPU is between two instructions, @now of which it has executed. */
void x86_ibs_stopped_at(X86CPU *cpu, int64_t now);
/* The instruction to stop at next, as icount_cpu_executed() counts; 0: none. */
int64_t x86_ibs_deadline(X86CPU *cpu);
/* An interrupt or exception was delivered: the next instruction is another. */
void x86_ibs_redirected(X86CPU *cpu);

/* The APIC's registers that it adds, by their offset / 16. */
uint32_t x86_ibs_apic_version(X86CPU *cpu);
/* There is this register; it is an entry of the local vector table. */
bool x86_ibs_apic_has(X86CPU *cpu, int index);
bool x86_ibs_apic_is_entry(X86CPU *cpu, int index);
/* Masks all entries. */
void x86_ibs_apic_mask(X86CPU *cpu);
bool x86_ibs_apic_read(X86CPU *cpu, int index, uint64_t *value);
/* @fault: the value has reserved bits. */
bool x86_ibs_apic_write(X86CPU *cpu, int index, uint64_t value, bool *fault);

#endif

#endif
