/*
 * x86 CPUs under TCG as strict, and as awkward, as real ones.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Manuals, by the names they have in the comments below:
 *   SDM   Intel 64 and IA-32 Architectures Software Developer's Manual; volume
 *         4 has the MSRs
 *   APM   AMD64 Architecture Programmer's Manual, volume 2
 *
 * x-msr-strict   #GP for reserved bits and what is read-only, and for MSRs that
 *                are not there
 * x-tsc-skew     each core's TSC is behind the one before it
 * x-nmi-window   NMIs are let in where they are blocked, as by an SMI handler's
 *                IRET
 *
 * And what apic-strict.c has to know of the CPU.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object.h"
#include "exec/breakpoint.h"
#include "system/cpu-timers.h"
#include "system/icount-deadline.h"
#include "hw/i386/apic.h"
#include "cpu.h"

/* --- MSRs: which there are ---------------------------------------------------- */

#define MSR_IA32_PLATFORM_ID    0x17
#define MSR_IA32_DEBUGCTL       0x1d9
#define MSR_AMD_PERF_LEGACY     0xc0010000
#define MSR_AMD_SYSCFG          0xc0010010
#define MSR_AMD_TOP_MEM         0xc001001a

typedef enum { BOTH, INTEL, AMD } Vendor;

typedef struct Msrs {
    uint32_t first;
    uint32_t n;
    Vendor vendor;
    bool read_only;
    /* Bits of which the CPU has one, if there are any. */
    FeatureWord word;
    uint64_t features;
} Msrs;

/* Those that QEMU has, and those that every such processor has. */
static const Msrs there[] = {
    { MSR_IA32_TSC, 1 },
    { MSR_IA32_PLATFORM_ID, 1, INTEL, true },
    { MSR_IA32_APICBASE, 1 },
    { MSR_SMI_COUNT, 1, INTEL, true },
    { MSR_CORE_THREAD_COUNT, 1, INTEL, true },
    { MSR_IA32_FEATURE_CONTROL, 1, INTEL },
    { MSR_TSC_ADJUST, 1, BOTH, false, FEAT_7_0_EBX, CPUID_7_0_EBX_TSC_ADJUST },
    { MSR_IA32_SPEC_CTRL, 1, BOTH, false,
      FEAT_7_0_EDX, CPUID_7_0_EDX_SPEC_CTRL },
    { MSR_IA32_SPEC_CTRL, 1, AMD, false,
      FEAT_8000_0008_EBX, CPUID_8000_0008_EBX_IBRS },
    { MSR_IA32_PRED_CMD, 1, BOTH, false, FEAT_7_0_EDX, CPUID_7_0_EDX_SPEC_CTRL },
    { MSR_IA32_PRED_CMD, 1, AMD, false,
      FEAT_8000_0008_EBX, CPUID_8000_0008_EBX_IBPB },
    { MSR_IA32_UCODE_REV, 1 },
    { MSR_MTRRcap, 1, BOTH, true, FEAT_1_EDX, CPUID_MTRR },
    { MSR_IA32_ARCH_CAPABILITIES, 1, INTEL, true,
      FEAT_7_0_EDX, CPUID_7_0_EDX_ARCH_CAPABILITIES },
    { MSR_IA32_SYSENTER_CS, 3, BOTH, false, FEAT_1_EDX, CPUID_SEP },
    { MSR_MCG_CAP, 1, BOTH, true, FEAT_1_EDX, CPUID_MCA },
    { MSR_MCG_STATUS, 2, BOTH, false, FEAT_1_EDX, CPUID_MCA },
    { MSR_IA32_PERF_STATUS, 1, INTEL, true },
    { MSR_IA32_MISC_ENABLE, 1, INTEL },
    { MSR_IA32_DEBUGCTL, 1 },
    { MSR_MTRRphysBase(0), 16, BOTH, false, FEAT_1_EDX, CPUID_MTRR },
    { MSR_MTRRfix64K_00000, 1, BOTH, false, FEAT_1_EDX, CPUID_MTRR },
    { MSR_MTRRfix16K_80000, 2, BOTH, false, FEAT_1_EDX, CPUID_MTRR },
    { MSR_MTRRfix4K_C0000, 8, BOTH, false, FEAT_1_EDX, CPUID_MTRR },
    { MSR_PAT, 1, BOTH, false, FEAT_1_EDX, CPUID_PAT },
    { MSR_MTRRdefType, 1, BOTH, false, FEAT_1_EDX, CPUID_MTRR },
    { MSR_MC0_CTL, 4 * MCE_BANKS_DEF, BOTH, false, FEAT_1_EDX, CPUID_MCA },
    { MSR_IA32_TSCDEADLINE, 1, BOTH, false,
      FEAT_1_ECX, CPUID_EXT_TSC_DEADLINE_TIMER },
    { MSR_IA32_PKRS, 1, BOTH, false, FEAT_7_0_ECX, CPUID_7_0_ECX_PKS },
    { MSR_APIC_START, MSR_APIC_END - MSR_APIC_START + 1, BOTH, false,
      FEAT_1_ECX, CPUID_EXT_X2APIC },
    { MSR_IA32_BNDCFGS, 1, BOTH, false, FEAT_7_0_EBX, CPUID_7_0_EBX_MPX },
    { MSR_IA32_XSS, 1, BOTH, false, FEAT_XSAVE, CPUID_XSAVE_XSAVES },
    { MSR_EFER, 1, BOTH, false,
      FEAT_8000_0001_EDX, CPUID_EXT2_LM | CPUID_EXT2_NX | CPUID_EXT2_SYSCALL },
    { MSR_STAR, 4, BOTH, false, FEAT_8000_0001_EDX, CPUID_EXT2_SYSCALL },
    { MSR_FSBASE, 3, BOTH, false, FEAT_8000_0001_EDX, CPUID_EXT2_LM },
    { MSR_TSC_AUX, 1, BOTH, false, FEAT_8000_0001_EDX, CPUID_EXT2_RDTSCP },
    { MSR_TSC_AUX, 1, BOTH, false, FEAT_7_0_ECX, CPUID_7_0_ECX_RDPID },
    { MSR_AMD_PERF_LEGACY, 8, AMD },
    { MSR_AMD_SYSCFG, 1, AMD },
    { MSR_K7_HWCR, 1, AMD },
    { MSR_AMD_TOP_MEM, 4, AMD },
    { MSR_VM_HSAVE_PA, 1, AMD, false, FEAT_8000_0001_ECX, CPUID_EXT3_SVM },
};

static bool covers(X86CPU *cpu, const Msrs *msrs, uint32_t msr)
{
    CPUX86State *env = &cpu->env;

    return msr - msrs->first < msrs->n &&
           (msrs->vendor == BOTH ||
            (msrs->vendor == AMD) == !!IS_AMD_CPU(env)) &&
           (!msrs->features || (env->features[msrs->word] & msrs->features));
}

/* Returns NULL if there is none. */
static const Msrs *find(X86CPU *cpu, uint32_t msr)
{
    for (size_t i = 0; i < ARRAY_SIZE(there); i++) {
        if (covers(cpu, &there[i], msr)) {
            return &there[i];
        }
    }
    return NULL;
}

/* --- MSRs: what they take ------------------------------------------------------ */

static bool has(CPUX86State *env, FeatureWord word, uint64_t feature)
{
    return env->features[word] & feature;
}

/* SDM volume 4, IA32_EFER; APM "Extended Feature Enable Register (EFER)" */
static bool good_efer(CPUX86State *env, uint64_t value)
{
    uint64_t changed = env->efer ^ value;
    uint64_t may = 0;

    if (has(env, FEAT_8000_0001_EDX, CPUID_EXT2_SYSCALL)) {
        may |= MSR_EFER_SCE;
    }
    /* SDM volume 3, "Initializing IA-32e Mode": before paging is on */
    if (has(env, FEAT_8000_0001_EDX, CPUID_EXT2_LM) &&
        !(env->cr[0] & CR0_PG_MASK)) {
        may |= MSR_EFER_LME;
    }
    if (has(env, FEAT_8000_0001_EDX, CPUID_EXT2_NX)) {
        may |= MSR_EFER_NXE;
    }
    if (has(env, FEAT_8000_0001_EDX, CPUID_EXT2_FFXSR)) {
        may |= MSR_EFER_FFXSR;
    }
    if (has(env, FEAT_8000_0001_ECX, CPUID_EXT3_SVM)) {
        may |= MSR_EFER_SVME;
    }
    return !(changed & ~may);
}

/* As software that asks CPUID finds it, with a PMU's properties in it. */
static int perfmon_version(CPUX86State *env)
{
    uint32_t eax, ebx, ecx, edx;

    cpu_x86_cpuid(env, 0, 0, &eax, &ebx, &ecx, &edx);
    if (eax < 0xa) {
        return 0;
    }
    cpu_x86_cpuid(env, 0xa, 0, &eax, &ebx, &ecx, &edx);
    return eax & 0xff;
}

/* SDM volume 4, IA32_DEBUGCTL; APM "Debug-Control MSR (DebugCtl)" */
static bool good_debugctl(CPUX86State *env, uint64_t value)
{
    uint64_t may = MAKE_64BIT_MASK(0, 2); /* LBR, BTF */

    if (IS_AMD_CPU(env)) {
        may |= MAKE_64BIT_MASK(2, 4); /* pins */
        return !(value & ~may);
    }
    if (has(env, FEAT_1_EDX, CPUID_DTS)) {
        may |= MAKE_64BIT_MASK(6, 5); /* branch trace messages and store */
    }
    if (perfmon_version(env) >= 2) {
        may |= MAKE_64BIT_MASK(11, 2); /* freeze LBRs, counters */
    }
    /* FREEZE_WHILE_SMM only with IA32_PERF_CAPABILITIES[12], which no model has */
    if (has(env, FEAT_7_0_EBX, CPUID_7_0_EBX_RTM)) {
        may |= BIT_ULL(15);
    }
    return !(value & ~may);
}

/* SDM volume 4, IA32_MISC_ENABLE: what can be changed at all */
static bool good_misc_enable(X86CPU *cpu, uint64_t value)
{
    CPUX86State *env = &cpu->env;
    uint64_t now = env->msr_ia32_misc_enable;
    uint64_t may = BIT_ULL(0) |  /* fast strings */
                   BIT_ULL(3) |  /* automatic thermal control */
                   BIT_ULL(22) | /* limit CPUID */
                   BIT_ULL(23) | /* no xTPR messages */
                   BIT_ULL(38);  /* no turbo */

    if (has(env, FEAT_1_ECX, CPUID_EXT_EST)) {
        may |= BIT_ULL(16);
    }
    if (has(env, FEAT_1_ECX, CPUID_EXT_MONITOR)) {
        may |= MSR_IA32_MISC_ENABLE_MWAIT;
    }
    if (has(env, FEAT_8000_0001_EDX, CPUID_EXT2_NX)) {
        may |= BIT_ULL(34);
    }
    /* With a PMU there are bits of it, read-only. */
    x86_pmu_rdmsr(cpu, MSR_IA32_MISC_ENABLE, &now);
    return !((now ^ value) & ~may);
}

/* SDM volume 3, "IA32_PAT MSR": reserved bits and types */
static bool good_pat(uint64_t value)
{
    for (int i = 0; i < 64; i += 8) {
        int type = (value >> i) & 0xff;

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

/* SDM volume 2, WRMSR; by 48 bits, which all processors have */
static bool canonical(CPUX86State *env, uint64_t value)
{
    int bits = env->cr[4] & CR4_LA57_MASK ? 57 : 48;

    return sextract64(value, 0, bits) == (int64_t)value;
}

static bool good_spec_ctrl(CPUX86State *env, uint64_t value)
{
    uint64_t may = BIT_ULL(0); /* IBRS */

    if (has(env, FEAT_7_0_EDX, CPUID_7_0_EDX_STIBP) ||
        has(env, FEAT_8000_0008_EBX, CPUID_8000_0008_EBX_STIBP)) {
        may |= BIT_ULL(1);
    }
    if (has(env, FEAT_7_0_EDX, CPUID_7_0_EDX_SPEC_CTRL_SSBD) ||
        has(env, FEAT_8000_0008_EBX, CPUID_8000_0008_EBX_AMD_SSBD)) {
        may |= BIT_ULL(2);
    }
    return !(value & ~may);
}

/* Of an MSR that is there. */
static bool good(X86CPU *cpu, uint32_t msr, uint64_t value)
{
    CPUX86State *env = &cpu->env;

    switch (msr) {
    case MSR_EFER:
        return good_efer(env, value);
    case MSR_IA32_APICBASE: /* QEMU's own check does the rest */
        return !(value >> MIN(cpu->phys_bits, 63));
    case MSR_IA32_DEBUGCTL:
        return good_debugctl(env, value);
    case MSR_IA32_MISC_ENABLE:
        return good_misc_enable(cpu, value);
    case MSR_PAT:
        return good_pat(value);
    case MSR_IA32_SPEC_CTRL:
        return good_spec_ctrl(env, value);
    case MSR_IA32_PRED_CMD:
        return !(value & ~1ULL);
    case MSR_TSC_AUX:
    case MSR_FMASK:
        return value <= UINT32_MAX;
    case MSR_FSBASE:
    case MSR_GSBASE:
    case MSR_KERNELGSBASE:
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_IA32_SYSENTER_ESP:
    case MSR_IA32_SYSENTER_EIP:
        return canonical(env, value);
    default:
        return true;
    }
}

/* --- State ----------------------------------------------------------------------- */

typedef struct X86Strict {
    bool msr;
    uint64_t tsc_skew;
    uint64_t window;
    uint32_t pass;
    int64_t passed_at; /* instructions executed at the last pass; -1: none */
} X86Strict;

/* The passes of all cores. */
static uint32_t passes;

static X86Strict *properties(Object *obj)
{
    X86CPU *cpu = X86_CPU(obj);

    if (!cpu->strict) {
        cpu->strict = g_new0(X86Strict, 1);
        cpu->strict->pass = 1;
    }
    return cpu->strict;
}

bool x86_strict_rdmsr(X86CPU *cpu, uint32_t msr)
{
    if (!cpu->strict || !cpu->strict->msr || x86_pmu_has(cpu, msr)) {
        return true;
    }
    return find(cpu, msr) && msr != MSR_IA32_PRED_CMD;
}

bool x86_strict_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value)
{
    CPUX86State *env = &cpu->env;

    if (cpu->strict && cpu->strict->msr) {
        const Msrs *msrs = find(cpu, msr);

        if (!msrs ? !x86_pmu_has(cpu, msr)
                  : msrs->read_only || !good(cpu, msr, value)) {
            return false;
        }
    }
    if (msr == MSR_EFER && (value & ~env->efer & MSR_EFER_LME)) {
        BQL_LOCK_GUARD();
        apic_strict_handed_over(cpu->apic_state);
    }
    return true;
}

/* --- NMIs where they are blocked --------------------------------------------------- */

static bool guest_breakpoint(CPUX86State *env)
{
    for (int i = 0; i < DR7_MAX_BP; i++) {
        if (env->dr[i] == env->eip && ((env->dr[7] >> (2 * i)) & 3) &&
            !((env->dr[7] >> (DR7_TYPE_SHIFT + 4 * i)) & 3)) {
            return true;
        }
    }
    return false;
}

/*
 * SDM volume 3, "NMI Handling While in SMM": "the processor saves the SMRAM
 * state save map but does not save the attribute to keep NMI interrupts disabled".
 */
static void let_nmi_in(X86CPU *cpu)
{
    CPUState *cs = CPU(cpu);
    X86Strict *strict = cpu->strict;

    if (!(cpu->env.hflags2 & HF2_NMI_MASK)) {
        return;
    }
    if (icount_enabled()) {
        /* An instruction may be looked at several times before it executes. */
        int64_t executed = icount_cpu_executed(cs);

        if (executed == strict->passed_at) {
            return;
        }
        strict->passed_at = executed;
    }
    if (qatomic_fetch_inc(&passes) + 1 == strict->pass) {
        BQL_LOCK_GUARD();
        cpu->env.hflags2 &= ~HF2_NMI_MASK;
        cpu_interrupt(cs, CPU_INTERRUPT_NMI);
    }
}

bool x86_strict_breakpoint(X86CPU *cpu)
{
    if (!cpu->strict || !cpu->strict->window ||
        cpu->env.eip != cpu->strict->window) {
        return false;
    }
    let_nmi_in(cpu);
    return !guest_breakpoint(&cpu->env);
}

/* --- What the APIC's properties change ---------------------------------------------- */

void x86_strict_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax)
{
    if (leaf == 6 && !apic_strict_has_arat(cpu->apic_state)) {
        *eax &= ~CPUID_6_EAX_ARAT;
    }
}

void x86_strict_halts(X86CPU *cpu)
{
    /* As cpu_loop_exit() has it, which is next: the instruction was the last. */
    CPU(cpu)->neg.can_do_io = true;
    BQL_LOCK_GUARD();
    apic_strict_halts(cpu->apic_state);
}

void x86_strict_wakes(X86CPU *cpu)
{
    BQL_LOCK_GUARD();
    apic_strict_wakes(cpu->apic_state);
}

/* --- Life ---------------------------------------------------------------------------- */

void x86_strict_reset(X86CPU *cpu)
{
    CPUState *cs = CPU(cpu);

    if (!cpu->strict) {
        return;
    }
    cpu->env.tsc_offset = -(cs->cpu_index * cpu->strict->tsc_skew);
    cpu->strict->passed_at = -1;
    if (cpu->strict->window) {
        cpu_breakpoint_insert(cs, cpu->strict->window, BP_CPU, NULL);
    }
}

static bool get_msr(Object *obj, Error **errp)
{
    return properties(obj)->msr;
}

static void set_msr(Object *obj, bool value, Error **errp)
{
    properties(obj)->msr = value;
}

static void get_skew(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    visit_type_uint64(v, name, &properties(obj)->tsc_skew, errp);
}

static void set_skew(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    visit_type_uint64(v, name, &properties(obj)->tsc_skew, errp);
}

static void get_window(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    visit_type_uint64(v, name, &properties(obj)->window, errp);
}

static void set_window(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    visit_type_uint64(v, name, &properties(obj)->window, errp);
}

static void get_pass(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    visit_type_uint32(v, name, &properties(obj)->pass, errp);
}

static void set_pass(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    visit_type_uint32(v, name, &properties(obj)->pass, errp);
}

static void finalize(Object *obj, const char *name, void *opaque)
{
    X86CPU *cpu = X86_CPU(obj);

    g_free(cpu->strict);
    cpu->strict = NULL;
}

void x86_strict_class_init(ObjectClass *oc)
{
    object_class_property_add_bool(oc, "x-msr-strict", get_msr, set_msr);
    object_class_property_set_description(oc, "x-msr-strict",
        "#GP for reserved bits, read-only fields and MSRs that are not there");
    object_class_property_add(oc, "x-tsc-skew", "uint64", get_skew, set_skew,
                              finalize, NULL);
    object_class_property_set_description(oc, "x-tsc-skew",
        "Core k's TSC is k times so much behind the first core's");
    object_class_property_add(oc, "x-nmi-window", "uint64", get_window,
                              set_window, NULL, NULL);
    object_class_property_set_description(oc, "x-nmi-window",
        "Address of an instruction before which NMIs are let in, once");
    object_class_property_add(oc, "x-nmi-window-pass", "uint32", get_pass,
                              set_pass, NULL, NULL);
    object_class_property_set_description(oc, "x-nmi-window-pass",
        "At which of its executions with NMIs blocked, all cores counted");
}
