/*
 * A performance-monitoring unit for x86 CPUs under TCG with icount.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Manuals, by the names they have in the comments below:
 *   SDM   Intel 64 and IA-32 Architectures Software Developer's Manual,
 *         volume 3, chapter "Performance Monitoring", if no other is named;
 *         volume 4 has the MSRs
 *   APM   AMD64 Architecture Programmer's Manual, volume 2, section 13.2
 *   PPR   Processor Programming Reference for AMD Family 19h
 *
 * Under icount a cycle is an instruction, so an event happens a fixed number
 * of times for each instruction: its rate. The counters' registers hold what
 * they had when `synced` instructions had been executed; what has happened
 * since is added (count_up_to) before a register is looked at and before a rate
 * changes. The next overflow that interrupts is therefore known beforehand, as
 * an instruction of this vCPU, and icount stops the vCPU there (arm).
 *
 * Whose instruction is it? One that reads a counter is not in what it reads,
 * for it has not retired. One that changes what is counted is counted by the
 * rules before the change. So between the end of a WRMSR that starts a counter
 * and an RDPMC lie exactly the instructions between the two.
 *
 * Interrupts are not raised where an overflow is found, which may be in the
 * middle of a helper, but in the execution loop before the next instruction.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qapi-types-common.h"
#include "qapi/qapi-visit-common.h"
#include "qapi/visitor.h"
#include "qom/object.h"
#include "migration/blocker.h"
#include "system/cpu-timers.h"
#include "system/icount-deadline.h"
#include "system/tcg.h"
#include "hw/i386/apic.h"
#include "cpu.h"

/* --- Models -------------------------------------------------------------- */

enum {
    MODEL_OFF,
    MODEL_INTEL_V2,
    MODEL_INTEL_V4,
    MODEL_INTEL_V5,
    MODEL_AMD_LEGACY,
    MODEL_AMD_CORE_EXT,
    MODEL_AMD_V2,
    MODEL__MAX,
};

typedef struct Model {
    bool amd;
    /* Intel: CPUID.0AH:EAX[7:0]. AMD: PerfMonV2 is 2, what is older 0. */
    int version;
    int generals;
    int fixed;
    /* Intel: IA32_PMCx can be written in full, through IA32_A_PMCx. */
    bool full_width;
    /* AMD: PerfCtrExtCore, the registers from C001_0200h on. */
    bool core_ext;
    /* CPUID.01H:EAX for a CPU whose own family has no such PMU. */
    uint32_t signature;
} Model;

/*
 * Family 6, model FFh is no processor's: software that has tables of models
 * finds nothing there and takes CPUID.0AH at its word.
 */
#define SIGNATURE_INTEL 0x000f06f1
#define SIGNATURE_K8    0x00060fb1 /* family 0Fh, model 6Bh */
#define SIGNATURE_MILAN 0x00a00f11 /* family 19h, model 01h */
#define SIGNATURE_GENOA 0x00a10f11 /* family 19h, model 11h */

static const Model models[MODEL__MAX] = {
    /* As Core 2. */
    [MODEL_INTEL_V2] = { .version = 2, .generals = 2, .fixed = 3,
                         .signature = SIGNATURE_INTEL },
    /* As Skylake with two threads a core. */
    [MODEL_INTEL_V4] = { .version = 4, .generals = 4, .fixed = 3,
                         .full_width = true, .signature = SIGNATURE_INTEL },
    /* As Ice Lake. */
    [MODEL_INTEL_V5] = { .version = 5, .generals = 8, .fixed = 4,
                         .full_width = true, .signature = SIGNATURE_INTEL },
    [MODEL_AMD_LEGACY] = { .amd = true, .generals = 4,
                           .signature = SIGNATURE_K8 },
    [MODEL_AMD_CORE_EXT] = { .amd = true, .generals = 6, .core_ext = true,
                             .signature = SIGNATURE_MILAN },
    [MODEL_AMD_V2] = { .amd = true, .version = 2, .generals = 6,
                       .core_ext = true, .signature = SIGNATURE_GENOA },
};

static const char *const model_names[] = {
    [MODEL_OFF] = "off",
    [MODEL_INTEL_V2] = "intel-v2",
    [MODEL_INTEL_V4] = "intel-v4",
    [MODEL_INTEL_V5] = "intel-v5",
    [MODEL_AMD_LEGACY] = "amd-legacy",
    [MODEL_AMD_CORE_EXT] = "amd-core-ext",
    [MODEL_AMD_V2] = "amd-v2",
};

static const QEnumLookup model_lookup = {
    .array = model_names,
    .size = MODEL__MAX,
};

/* --- State --------------------------------------------------------------- */

/*
 * Counters are numbered as the bits of the global registers are: general ones
 * from 0, fixed ones from 32.
 */
#define FIXED 32
#define COUNTERS (FIXED + 4)
#define GENERALS_MAX 8

#define WIDTH 48
#define COUNTER_MASK MAKE_64BIT_MASK(0, WIDTH)

typedef struct X86PMU {
    /* Properties. */
    int model_number;
    uint32_t skid;
    OnOffAuto lvtpc_mask;
    uint32_t hybrid; /* so many cores are for performance; 0: all are alike */

    const Model *model; /* NULL while there is no PMU */
    X86CPU *cpu;
    Error *blocker;

    /* Registers. */
    uint64_t counter[COUNTERS];
    uint64_t select[GENERALS_MAX];
    uint64_t fixed_ctrl;
    uint64_t global_ctrl;
    uint64_t global_status;
    uint64_t debugctl;

    /* Derived from them and the CPL: counts for each instruction. */
    uint8_t rate[COUNTERS];
    bool user;

    /* Instructions of this vCPU, as icount_cpu_executed() counts them. */
    int64_t synced;
    int64_t pmi_at; /* when an interrupt is due; 0 if none is */
} X86PMU;

/* Not more than the CPU has; in the order of the bits. */
#define FOR_EACH_COUNTER(pmu, i)                                         \
    for (int i = 0; i < FIXED + (pmu)->model->fixed;                     \
         i = i + 1 == (pmu)->model->generals ? FIXED : i + 1)

/* CPUID.07H.0H:EDX */
#define FEATURE_HYBRID BIT(15)

/* CPUID.1AH:EAX, native model id, core type */
#define CORE_ATOM (0x20u << 24)
#define CORE_CORE (0x40u << 24)

/* The cores behind the first ones are for efficiency. */
static bool is_atom(X86CPU *cpu)
{
    return cpu->pmu->hybrid && CPU(cpu)->cpu_index >= cpu->pmu->hybrid;
}

static const Model *model_of(X86CPU *cpu)
{
    return cpu->pmu ? cpu->pmu->model : NULL;
}

/* A bit for each counter. */
static uint64_t counters_mask(const Model *model)
{
    return MAKE_64BIT_MASK(0, model->generals) |
           (model->fixed ? MAKE_64BIT_MASK(FIXED, model->fixed) : 0);
}

/* --- Event selects (SDM "Architectural Performance Monitoring"; APM 13.2.1) */

#define SELECT_USR      BIT_ULL(16)
#define SELECT_OS       BIT_ULL(17)
#define SELECT_EDGE     BIT_ULL(18)
#define SELECT_PC       BIT_ULL(19) /* pin control: no pin here */
#define SELECT_INT      BIT_ULL(20)
#define SELECT_ANY      BIT_ULL(21) /* of one thread a core: no difference */
#define SELECT_EN       BIT_ULL(22)
#define SELECT_INV      BIT_ULL(23)
#define SELECT_AMD_GUEST_HOST (BIT_ULL(40) | BIT_ULL(41)) /* no difference */

/* IA32_FIXED_CTR_CTRL has four bits for each counter. */
#define FIXED_OS        BIT_ULL(0)
#define FIXED_USR       BIT_ULL(1)
#define FIXED_ANY       BIT_ULL(2)
#define FIXED_PMI       BIT_ULL(3)

/* IA32_PERF_GLOBAL_STATUS, beside the counters' bits. */
#define STATUS_LBR_FRZ  BIT_ULL(58)
#define STATUS_CTR_FRZ  BIT_ULL(59)
#define STATUS_UNCORE   BIT_ULL(61)
#define STATUS_OVF_BUF  BIT_ULL(62)
#define STATUS_COND_CHG BIT_ULL(63)

#define DEBUGCTL_FREEZE_LBRS    BIT_ULL(11)
#define DEBUGCTL_FREEZE_PERFMON BIT_ULL(12)

/* Issue slots in a cycle, of which all are used. */
#define SLOTS 4

/* AnyThread came with version 3 and went with CPUID.0AH:EDX[15]. */
static bool has_any_thread(const Model *model)
{
    return !model->amd && model->version >= 3 && model->version < 5;
}

static uint64_t select_mask(const Model *model)
{
    uint64_t mask = MAKE_64BIT_MASK(0, 32);

    if (!has_any_thread(model)) {
        mask &= ~SELECT_ANY;
    }
    if (model->amd) {
        mask |= MAKE_64BIT_MASK(32, 4) | SELECT_AMD_GUEST_HOST;
    }
    if (model->core_ext) {
        mask &= ~SELECT_PC;
    }
    return mask;
}

static uint64_t fixed_ctrl_mask(const Model *model)
{
    uint64_t one = FIXED_OS | FIXED_USR | FIXED_PMI |
                   (has_any_thread(model) ? FIXED_ANY : 0);
    uint64_t mask = 0;

    for (int i = 0; i < model->fixed; i++) {
        mask |= one << (4 * i);
    }
    return mask;
}

/* How often an event happens in each instruction. */
static int increment(const Model *model, uint64_t select)
{
    int event = select & 0xff;
    int umask = (select >> 8) & 0xff;

    if (model->amd) {
        event |= (select >> 24) & 0xf00;
        switch (event) {
        case 0x076: /* cycles not in halt; no unit mask */
        case 0x0c0: /* retired instructions; no unit mask */
        case 0x0c1: /* retired ops; no unit mask */
            return 1;
        case 0x120: /* cycles at the reference frequency */
            return umask == 0x01;
        }
        return 0;
    }
    switch (event | umask << 8) {
    case 0x003c: /* core cycles */
    case 0x013c: /* reference cycles */
    case 0x00c0: /* instructions retired */
        return 1;
    case 0x01a4: /* topdown slots */
        return model->version >= 5 ? SLOTS : 0;
    }
    return 0;
}

/*
 * With a counter mask a count is a cycle in which the event happened at least
 * (inverted: less than) so many times. As each cycle is like all others, the
 * condition holds in all or in none, and its edges, which an edge detector
 * counts, do not exist.
 */
static int select_rate(const Model *model, uint64_t select)
{
    int inc = increment(model, select);
    int cmask = (select >> 24) & 0xff;

    if (!inc || (select & SELECT_EDGE)) {
        return 0;
    }
    if (!cmask) {
        return inc; /* INV is ignored */
    }
    return (inc >= cmask) != !!(select & SELECT_INV);
}

/* Fixed counters' events: instructions, core and reference cycles, slots. */
static int fixed_rate(int n)
{
    return n == 3 ? SLOTS : 1;
}

static uint64_t fixed_field(X86PMU *pmu, int counter)
{
    return pmu->fixed_ctrl >> (4 * (counter - FIXED));
}

static int counter_rate(X86PMU *pmu, int i)
{
    const Model *model = pmu->model;

    if (model->version >= 2 && !(pmu->global_ctrl & BIT_ULL(i))) {
        return 0;
    }
    if (pmu->global_status & STATUS_CTR_FRZ) {
        return 0;
    }
    if (i >= FIXED) {
        uint64_t field = fixed_field(pmu, i);

        return field & (pmu->user ? FIXED_USR : FIXED_OS) ?
               fixed_rate(i - FIXED) : 0;
    }
    if (!(pmu->select[i] & SELECT_EN) ||
        !(pmu->select[i] & (pmu->user ? SELECT_USR : SELECT_OS))) {
        return 0;
    }
    return select_rate(model, pmu->select[i]);
}

static bool counter_interrupts(X86PMU *pmu, int i)
{
    return i >= FIXED ? fixed_field(pmu, i) & FIXED_PMI
                      : pmu->select[i] & SELECT_INT;
}

/* --- Counting ------------------------------------------------------------- */

/* Instructions until counter @i overflows. It counts. */
static int64_t distance(X86PMU *pmu, int i)
{
    return DIV_ROUND_UP(COUNTER_MASK + 1 - pmu->counter[i], pmu->rate[i]);
}

/* Counts the instructions up to the @now-th. */
static void count_up_to(X86PMU *pmu, int64_t now)
{
    int64_t executed = now - pmu->synced;

    if (executed <= 0) {
        return;
    }
    FOR_EACH_COUNTER(pmu, i) {
        if (!pmu->rate[i]) {
            continue;
        }
        if (executed >= distance(pmu, i)) {
            if (pmu->model->version >= 2) {
                pmu->global_status |= BIT_ULL(i);
            }
            if (counter_interrupts(pmu, i)) {
                int64_t at = pmu->synced + distance(pmu, i) + pmu->skid;

                pmu->pmi_at = pmu->pmi_at ? MIN(pmu->pmi_at, at) : at;
            }
        }
        pmu->counter[i] += executed * pmu->rate[i];
        pmu->counter[i] &= COUNTER_MASK;
    }
    pmu->synced = now;
}

/*
 * Asks for a stop at the next interrupt, or the next overflow that asks for
 * one, whichever is first. Other overflows are found when somebody looks.
 */
static void arm(X86PMU *pmu)
{
    int64_t deadline = pmu->pmi_at;
    int64_t ibs = x86_ibs_deadline(pmu->cpu);

    FOR_EACH_COUNTER(pmu, i) {
        pmu->rate[i] = counter_rate(pmu, i);
        if (pmu->rate[i] && counter_interrupts(pmu, i)) {
            int64_t at = pmu->synced + distance(pmu, i);

            deadline = deadline ? MIN(deadline, at) : at;
        }
    }
    if (ibs) {
        deadline = deadline ? MIN(deadline, ibs) : ibs;
    }
    icount_cpu_set_deadline(CPU(pmu->cpu), deadline);
}

/*
 * SDM "Freezing LBR and Performance Counters on PMI": from version 4 on the
 * counters freeze by a status bit of its own, before that by losing their enable
 * bits.
 */
static void freeze(X86PMU *pmu)
{
    if (!(pmu->debugctl & DEBUGCTL_FREEZE_PERFMON)) {
        return;
    }
    if (pmu->model->version >= 4) {
        pmu->global_status |= STATUS_CTR_FRZ;
    } else {
        pmu->global_ctrl = 0;
    }
}

/*
 * SDM, chapter on the APIC, "Local Vector Table": the APIC masks its entry when it
 * handles a performance-monitoring interrupt. AMD's does not.
 */
static void raise_pmi(X86PMU *pmu)
{
    bool mask = pmu->lvtpc_mask == ON_OFF_AUTO_AUTO ?
                !pmu->model->amd : pmu->lvtpc_mask == ON_OFF_AUTO_ON;

    pmu->pmi_at = 0;
    freeze(pmu);
    if (pmu->cpu->apic_state) {
        BQL_LOCK_GUARD();
        apic_deliver_pmi(pmu->cpu->apic_state, mask);
    }
}

void x86_pmu_icount_deadline(CPUState *cs)
{
    X86PMU *pmu = X86_CPU(cs)->pmu;
    int64_t now = icount_cpu_executed(cs);

    count_up_to(pmu, now);
    /* A halted CPU does not wait for instructions that it will not execute. */
    if (pmu->pmi_at && (pmu->pmi_at <= now || cs->halted)) {
        raise_pmi(pmu);
    }
    x86_ibs_stopped_at(X86_CPU(cs), now);
    arm(pmu);
}

void x86_pmu_set_cpl(X86CPU *cpu, int cpl)
{
    X86PMU *pmu = cpu->pmu;
    /* APM 13.2.1 and SDM alike: USR is CPL above 0. */
    bool user = cpl != 0;

    if (!pmu->model || pmu->user == user) {
        return;
    }
    count_up_to(pmu, icount_cpu_executed(CPU(cpu)));
    pmu->user = user;
    arm(pmu);
}

/* --- Registers ------------------------------------------------------------ */

#define IA32_PMC(n)                 (0x0c1 + (n))
#define IA32_PERFEVTSEL(n)          (0x186 + (n))
#define IA32_MISC_ENABLE            0x1a0
#define IA32_DEBUGCTL               0x1d9
#define IA32_FIXED_CTR(n)           (0x309 + (n))
#define IA32_PERF_METRICS           0x329
#define IA32_PERF_CAPABILITIES      0x345
#define IA32_FIXED_CTR_CTRL         0x38d
#define IA32_PERF_GLOBAL_STATUS     0x38e
#define IA32_PERF_GLOBAL_CTRL       0x38f
#define IA32_PERF_GLOBAL_OVF_CTRL   0x390 /* STATUS_RESET from version 4 on */
#define IA32_PERF_GLOBAL_STATUS_SET 0x391
#define IA32_PERF_GLOBAL_INUSE      0x392
#define IA32_PEBS_ENABLE            0x3f1
#define IA32_A_PMC(n)               (0x4c1 + (n))

#define AMD_PERF_LEGACY_CTL(n)      (0xc0010000 + (n))
#define AMD_PERF_LEGACY_CTR(n)      (0xc0010004 + (n))
#define AMD_PERF_CTL(n)             (0xc0010200 + 2 * (n))
#define AMD_PERF_CTR(n)             (0xc0010201 + 2 * (n))
#define AMD_GLOBAL_STATUS           0xc0000300
#define AMD_GLOBAL_CTL              0xc0000301
#define AMD_GLOBAL_STATUS_CLR       0xc0000302
#define AMD_GLOBAL_STATUS_SET       0xc0000303

#define AMD_LEGACY_COUNTERS 4
#define AMD_COUNTERS 6

#define MISC_ENABLE_EMON            BIT_ULL(7)  /* there is a PMU */
#define MISC_ENABLE_NO_BTS          BIT_ULL(11)
#define MISC_ENABLE_NO_PEBS         BIT_ULL(12)
#define CAPABILITIES_FW_WRITE       BIT_ULL(13)

typedef enum {
    REG_OTHER,
    REG_MISSING, /* a PMU's, which this model does not have */
    REG_COUNTER,
    REG_FULL_COUNTER,
    REG_SELECT,
    REG_FIXED_CTRL,
    REG_GLOBAL_CTRL,
    REG_GLOBAL_STATUS,
    REG_STATUS_RESET,
    REG_STATUS_SET,
    REG_INUSE,
    REG_CAPABILITIES,
    REG_MISC_ENABLE,
    REG_DEBUGCTL,
} Register;

static bool between(uint32_t msr, uint32_t first, uint32_t n)
{
    return msr - first < n;
}

static Register intel_register(const Model *model, uint32_t msr, int *n)
{
    if (between(msr, IA32_PMC(0), GENERALS_MAX)) {
        *n = msr - IA32_PMC(0);
        return *n < model->generals ? REG_COUNTER : REG_MISSING;
    }
    if (between(msr, IA32_A_PMC(0), GENERALS_MAX)) {
        *n = msr - IA32_A_PMC(0);
        return *n < model->generals && model->full_width ? REG_FULL_COUNTER
                                                         : REG_MISSING;
    }
    if (between(msr, IA32_PERFEVTSEL(0), GENERALS_MAX)) {
        *n = msr - IA32_PERFEVTSEL(0);
        return *n < model->generals ? REG_SELECT : REG_MISSING;
    }
    if (between(msr, IA32_FIXED_CTR(0), COUNTERS - FIXED)) {
        *n = FIXED + msr - IA32_FIXED_CTR(0);
        return *n < FIXED + model->fixed ? REG_FULL_COUNTER : REG_MISSING;
    }
    switch (msr) {
    case IA32_FIXED_CTR_CTRL:
        return REG_FIXED_CTRL;
    case IA32_PERF_GLOBAL_CTRL:
        return REG_GLOBAL_CTRL;
    case IA32_PERF_GLOBAL_STATUS:
        return REG_GLOBAL_STATUS;
    case IA32_PERF_GLOBAL_OVF_CTRL:
        return REG_STATUS_RESET;
    case IA32_PERF_GLOBAL_STATUS_SET:
        return model->version >= 4 ? REG_STATUS_SET : REG_MISSING;
    case IA32_PERF_GLOBAL_INUSE:
        return model->version >= 4 ? REG_INUSE : REG_MISSING;
    case IA32_PERF_CAPABILITIES:
        return model->full_width ? REG_CAPABILITIES : REG_MISSING;
    case IA32_MISC_ENABLE:
        return REG_MISC_ENABLE;
    case IA32_DEBUGCTL:
        return REG_DEBUGCTL;
    case IA32_PERF_METRICS:
    case IA32_PEBS_ENABLE:
        return REG_MISSING;
    }
    return between(msr, AMD_PERF_LEGACY_CTL(0), 2 * AMD_LEGACY_COUNTERS) ||
           between(msr, AMD_PERF_CTL(0), 2 * AMD_COUNTERS) ||
           between(msr, AMD_GLOBAL_STATUS, 4) ? REG_MISSING : REG_OTHER;
}

static Register amd_register(const Model *model, uint32_t msr, int *n)
{
    /* With PerfCtrExtCore these are other names of the first four. */
    if (between(msr, AMD_PERF_LEGACY_CTL(0), 2 * AMD_LEGACY_COUNTERS)) {
        *n = msr % AMD_LEGACY_COUNTERS;
        return msr < AMD_PERF_LEGACY_CTR(0) ? REG_SELECT : REG_FULL_COUNTER;
    }
    if (between(msr, AMD_PERF_CTL(0), 2 * AMD_COUNTERS)) {
        *n = (msr - AMD_PERF_CTL(0)) / 2;
        return !model->core_ext ? REG_MISSING
               : msr % 2 ? REG_FULL_COUNTER : REG_SELECT;
    }
    switch (msr) {
    case AMD_GLOBAL_STATUS:
        return model->version >= 2 ? REG_GLOBAL_STATUS : REG_MISSING;
    case AMD_GLOBAL_CTL:
        return model->version >= 2 ? REG_GLOBAL_CTRL : REG_MISSING;
    case AMD_GLOBAL_STATUS_CLR:
        return model->version >= 2 ? REG_STATUS_RESET : REG_MISSING;
    case AMD_GLOBAL_STATUS_SET:
        return model->version >= 2 ? REG_STATUS_SET : REG_MISSING;
    case IA32_FIXED_CTR_CTRL:
    case IA32_PERF_GLOBAL_CTRL:
    case IA32_PERF_GLOBAL_STATUS:
    case IA32_PERF_GLOBAL_OVF_CTRL:
    case IA32_PERF_GLOBAL_STATUS_SET:
    case IA32_PERF_GLOBAL_INUSE:
    case IA32_PERF_CAPABILITIES:
    case IA32_PERF_METRICS:
    case IA32_PEBS_ENABLE:
        return REG_MISSING;
    }
    return between(msr, IA32_PMC(0), GENERALS_MAX) ||
           between(msr, IA32_PERFEVTSEL(0), GENERALS_MAX) ||
           between(msr, IA32_FIXED_CTR(0), COUNTERS - FIXED) ||
           between(msr, IA32_A_PMC(0), GENERALS_MAX) ? REG_MISSING : REG_OTHER;
}

static Register which_register(const Model *model, uint32_t msr, int *n)
{
    return model->amd ? amd_register(model, msr, n)
                      : intel_register(model, msr, n);
}

bool x86_pmu_has(X86CPU *cpu, uint32_t msr)
{
    const Model *model = model_of(cpu);
    int n;

    return model && which_register(model, msr, &n) != REG_OTHER;
}

/* SDM "IA32_PERF_GLOBAL_INUSE MSR" */
static uint64_t in_use(X86PMU *pmu)
{
    uint64_t used = 0;

    FOR_EACH_COUNTER(pmu, i) {
        bool uses = i >= FIXED ? fixed_field(pmu, i) & (FIXED_OS | FIXED_USR)
                               : pmu->select[i] & 0xff;

        if (uses) {
            used |= BIT_ULL(i);
        }
        if (counter_interrupts(pmu, i)) {
            used |= BIT_ULL(63);
        }
    }
    return used;
}

X86PMUAccess x86_pmu_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *value)
{
    X86PMU *pmu = cpu->pmu;
    int n = 0;
    Register reg;

    if (!model_of(cpu)) {
        return X86_PMU_OTHER;
    }
    reg = which_register(pmu->model, msr, &n);
    if (reg == REG_OTHER) {
        return x86_ibs_rdmsr(cpu, msr, value);
    }
    if (reg == REG_MISSING) {
        return X86_PMU_GP;
    }
    count_up_to(pmu, icount_cpu_executed(CPU(cpu)) - 1);
    switch (reg) {
    case REG_COUNTER:
    case REG_FULL_COUNTER:
        *value = pmu->counter[n];
        break;
    case REG_SELECT:
        *value = pmu->select[n];
        break;
    case REG_FIXED_CTRL:
        *value = pmu->fixed_ctrl;
        break;
    case REG_GLOBAL_CTRL:
        *value = pmu->global_ctrl;
        break;
    case REG_GLOBAL_STATUS:
        *value = pmu->global_status;
        break;
    case REG_INUSE:
        *value = in_use(pmu);
        break;
    case REG_CAPABILITIES:
        *value = CAPABILITIES_FW_WRITE;
        break;
    case REG_MISC_ENABLE:
        *value = cpu->env.msr_ia32_misc_enable | MISC_ENABLE_EMON |
                 MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS;
        break;
    case REG_DEBUGCTL:
        *value = pmu->debugctl;
        break;
    case REG_STATUS_RESET:
    case REG_STATUS_SET:
        *value = 0;
        break;
    case REG_OTHER:
    case REG_MISSING:
        g_assert_not_reached();
    }
    return X86_PMU_DONE;
}

/* The status bits that software can clear, or set. */
static uint64_t status_mask(const Model *model, Register reg)
{
    uint64_t mask = counters_mask(model);

    if (model->amd) {
        return mask | STATUS_LBR_FRZ | STATUS_CTR_FRZ;
    }
    mask |= STATUS_OVF_BUF;
    if (reg == REG_STATUS_RESET) {
        mask |= STATUS_COND_CHG;
    }
    if (model->version >= 3) {
        mask |= STATUS_UNCORE;
    }
    if (model->version >= 4) {
        mask |= STATUS_LBR_FRZ | STATUS_CTR_FRZ;
    }
    return mask;
}

/*
 * What a register takes. Other bits are reserved: #GP, except where the PPR has
 * them ignored.
 */
static uint64_t writable_mask(const Model *model, Register reg)
{
    switch (reg) {
    case REG_FULL_COUNTER:
        return COUNTER_MASK;
    case REG_SELECT:
        return select_mask(model);
    case REG_FIXED_CTRL:
        return fixed_ctrl_mask(model);
    case REG_GLOBAL_CTRL:
        return counters_mask(model);
    case REG_STATUS_RESET:
    case REG_STATUS_SET:
        return status_mask(model, reg);
    default:
        return UINT64_MAX;
    }
}

X86PMUAccess x86_pmu_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value)
{
    X86PMU *pmu = cpu->pmu;
    int n = 0;
    Register reg;
    X86PMUAccess access;
    uint64_t mask;

    if (!model_of(cpu)) {
        return X86_PMU_OTHER;
    }
    reg = which_register(pmu->model, msr, &n);
    switch (reg) {
    case REG_OTHER:
        access = x86_ibs_wrmsr(cpu, msr, value);
        if (access == X86_PMU_DONE) {
            count_up_to(pmu, icount_cpu_executed(CPU(cpu)));
            arm(pmu);
        }
        return access;
    case REG_MISC_ENABLE: /* the PMU's bits there are read-only */
        return X86_PMU_OTHER;
    case REG_MISSING:
    case REG_INUSE:
    case REG_CAPABILITIES:
        return X86_PMU_GP;
    case REG_GLOBAL_STATUS:
        if (!pmu->model->amd) {
            return X86_PMU_GP;
        }
        return X86_PMU_DONE; /* PPR: read-only, writes are ignored */
    default:
        break;
    }
    mask = writable_mask(pmu->model, reg);
    if (value & ~mask) {
        if (!pmu->model->amd || reg == REG_SELECT) {
            return X86_PMU_GP;
        }
        value &= mask;
    }

    count_up_to(pmu, icount_cpu_executed(CPU(cpu)));
    switch (reg) {
    case REG_COUNTER:
        /* SDM "Full-Width Writes to Performance Counter Registers" */
        pmu->counter[n] = (int64_t)(int32_t)value & COUNTER_MASK;
        break;
    case REG_FULL_COUNTER:
        pmu->counter[n] = value;
        break;
    case REG_SELECT:
        pmu->select[n] = value;
        break;
    case REG_FIXED_CTRL:
        pmu->fixed_ctrl = value;
        break;
    case REG_GLOBAL_CTRL:
        pmu->global_ctrl = value;
        break;
    case REG_STATUS_RESET:
        pmu->global_status &= ~value;
        break;
    case REG_STATUS_SET:
        pmu->global_status |= value;
        break;
    case REG_DEBUGCTL:
        /* The others' functions are not there, as without a PMU. */
        pmu->debugctl = value &
                        (DEBUGCTL_FREEZE_LBRS | DEBUGCTL_FREEZE_PERFMON);
        break;
    default:
        g_assert_not_reached();
    }
    arm(pmu);
    return X86_PMU_DONE;
}

/* The caller has looked at CR4.PCE. */
X86PMUAccess x86_pmu_rdpmc(X86CPU *cpu, uint32_t which, uint64_t *value)
{
    X86PMU *pmu = cpu->pmu;
    const Model *model = model_of(cpu);
    /* SDM volume 2, RDPMC: bit 30 for the fixed counters; APM: the number. */
    uint32_t n = which & ~BIT(30);
    bool fixed = which & BIT(30);

    if (!model) {
        return X86_PMU_OTHER;
    }
    if (n >= (fixed ? model->fixed : model->generals)) {
        return X86_PMU_GP;
    }
    count_up_to(pmu, icount_cpu_executed(CPU(cpu)) - 1);
    *value = pmu->counter[fixed ? FIXED + n : n];
    return X86_PMU_DONE;
}

/* --- CPUID ---------------------------------------------------------------- */

/* SDM volume 2, CPUID leaf 0AH: bits of EBX, set if an event is not there. */
#define NO_LLC_REFERENCES   BIT(3)
#define NO_LLC_MISSES       BIT(4)
#define NO_BRANCHES         BIT(5)
#define NO_BRANCH_MISSES    BIT(6)
#define EVENTS_V2 7
#define EVENTS_V5 8 /* and slots */

void x86_pmu_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax, uint32_t *ebx,
                   uint32_t *ecx, uint32_t *edx)
{
    const Model *model = model_of(cpu);

    if (!model) {
        return;
    }
    switch (leaf) {
    case 0x1:
        *ecx &= ~CPUID_EXT_PDCM;
        if (model->full_width) {
            *ecx |= CPUID_EXT_PDCM;
        }
        break;
    case 0xa:
        *eax = *ebx = *ecx = *edx = 0;
        if (model->amd) {
            break;
        }
        *eax = model->version | model->generals << 8 | WIDTH << 16 |
               (model->version >= 5 ? EVENTS_V5 : EVENTS_V2) << 24;
        *ebx = NO_LLC_REFERENCES | NO_LLC_MISSES | NO_BRANCHES |
               NO_BRANCH_MISSES;
        *edx = model->fixed | WIDTH << 5;
        if (model->version >= 5) {
            *ecx = MAKE_64BIT_MASK(0, model->fixed);
            *edx |= BIT(15); /* AnyThread is gone */
        }
        break;
    case 0x1a:
        if (cpu->pmu->hybrid) {
            *eax = is_atom(cpu) ? CORE_ATOM : CORE_CORE;
        }
        break;
    case 0x80000001:
        *ecx &= ~CPUID_EXT3_PERFCORE;
        if (model->core_ext) {
            *ecx |= CPUID_EXT3_PERFCORE;
        }
        break;
    case 0x80000022:
        *eax &= ~CPUID_8000_0022_EAX_PERFMON_V2;
        if (model->amd && model->version >= 2) {
            *eax |= CPUID_8000_0022_EAX_PERFMON_V2;
            *ebx = model->generals;
        }
        break;
    }
    x86_ibs_cpuid(cpu, leaf, eax, ecx);
}

static void at_least(uint32_t *level, uint32_t *min_level, uint32_t needed)
{
    *min_level = MAX(*min_level, needed);
    *level = MAX(*level, needed); /* UINT32_MAX stands for: the minimum */
}

static int family(uint32_t signature)
{
    int base = (signature >> 8) & 0xf;

    return base == 0xf ? base + ((signature >> 20) & 0xff) : base;
}

/*
 * Software looks at the vendor first. -cpu max is nobody in particular, so it
 * becomes what the model needs; a named CPU stays what it is.
 */
static bool fit_identity(X86CPU *cpu, const Model *model, Error **errp)
{
    CPUX86State *env = &cpu->env;
    const char *vendor = model->amd ? CPUID_VENDOR_AMD : CPUID_VENDOR_INTEL;
    bool fits = model->amd ? IS_AMD_CPU(env) : IS_INTEL_CPU(env);
    bool old = model->amd &&
               family(env->cpuid_version) < family(model->signature);

    if (fits && !old) {
        return true;
    }
    if (!cpu->max_features) {
        error_setg(errp, "x-pmu=%s needs a CPU of %s, family %d or later; "
                   "-cpu max becomes one",
                   model_names[cpu->pmu->model_number], vendor,
                   family(model->signature));
        return false;
    }
    env->cpuid_version = model->signature;
    return object_property_set_str(OBJECT(cpu), "vendor", vendor, errp);
}

/* --- Life ----------------------------------------------------------------- */

void x86_pmu_reset(X86CPU *cpu)
{
    X86PMU *pmu = cpu->pmu;

    if (!model_of(cpu)) {
        return;
    }
    memset(pmu->counter, 0, sizeof(pmu->counter));
    memset(pmu->select, 0, sizeof(pmu->select));
    pmu->fixed_ctrl = pmu->global_status = pmu->debugctl = 0;
    /*
     * SDM "Processor State After Reset": the general counters' bits, so that
     * software of the time before there was such a register finds them
     * enabled. The PPR has the same.
     */
    pmu->global_ctrl = MAKE_64BIT_MASK(0, pmu->model->generals);
    if (pmu->hybrid && DEVICE(cpu)->realized) {
        /* Before, QEMU takes away what it does not know, and says so. */
        cpu->env.features[FEAT_7_0_EDX] |= FEATURE_HYBRID;
    }
    pmu->user = false;
    pmu->pmi_at = 0;
    pmu->synced = icount_cpu_executed(CPU(cpu));
    x86_ibs_reset(cpu);
    arm(pmu);
}

/* An efficiency core has the PMU of the version before. */
static const Model *choose_model(X86CPU *cpu)
{
    int number = cpu->pmu->model_number;

    return &models[is_atom(cpu) ? MAX(number - 1, MODEL_INTEL_V2) : number];
}

void x86_pmu_realize(X86CPU *cpu, Error **errp)
{
    X86PMU *pmu = cpu->pmu;
    const Model *model;
    CPUX86State *env = &cpu->env;

    if (pmu && pmu->hybrid &&
        (pmu->model_number < MODEL_INTEL_V2 ||
         pmu->model_number > MODEL_INTEL_V5)) {
        error_setg(errp, "x-hybrid needs a PMU of Intel's, such as "
                   "x-pmu=intel-v5");
        return;
    }
    if (!pmu || pmu->model_number == MODEL_OFF) {
        x86_ibs_realize(cpu, false, 0, errp);
        return;
    }
    if (!tcg_enabled() || !icount_enabled()) {
        error_setg(errp, "x-pmu counts instructions: it needs "
                   "-accel tcg and -icount, such as -icount shift=0,sleep=off");
        return;
    }
    model = choose_model(cpu);
    if (!fit_identity(cpu, model, errp) ||
        !x86_ibs_realize(cpu, model->amd, pmu->skid, errp)) {
        return;
    }
    error_setg(&pmu->blocker, "x-pmu has no migration state");
    if (migrate_add_blocker(&pmu->blocker, errp) < 0) {
        return;
    }
    if (!model->amd) {
        at_least(&env->cpuid_level, &env->cpuid_min_level,
                 pmu->hybrid ? 0x1a : 0xa);
    } else {
        at_least(&env->cpuid_xlevel, &env->cpuid_min_xlevel,
                 model->version >= 2 ? 0x80000022 : 0x8000001b);
    }
    pmu->cpu = cpu;
    pmu->model = model;
    x86_pmu_reset(cpu);
}

/* The properties' place is there from the first one that is set. */
static X86PMU *properties(Object *obj)
{
    X86CPU *cpu = X86_CPU(obj);

    if (!cpu->pmu) {
        cpu->pmu = g_new0(X86PMU, 1);
    }
    return cpu->pmu;
}

static int get_model(Object *obj, Error **errp)
{
    X86PMU *pmu = X86_CPU(obj)->pmu;

    return pmu ? pmu->model_number : MODEL_OFF;
}

static void set_model(Object *obj, int value, Error **errp)
{
    properties(obj)->model_number = value;
}

static int get_lvtpc_mask(Object *obj, Error **errp)
{
    X86PMU *pmu = X86_CPU(obj)->pmu;

    return pmu ? pmu->lvtpc_mask : ON_OFF_AUTO_AUTO;
}

static void set_lvtpc_mask(Object *obj, int value, Error **errp)
{
    properties(obj)->lvtpc_mask = value;
}

static void get_skid(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    X86PMU *pmu = X86_CPU(obj)->pmu;
    uint32_t value = pmu ? pmu->skid : 0;

    visit_type_uint32(v, name, &value, errp);
}

static void set_skid(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    visit_type_uint32(v, name, &properties(obj)->skid, errp);
}

static void get_hybrid(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    X86PMU *pmu = X86_CPU(obj)->pmu;
    uint32_t value = pmu ? pmu->hybrid : 0;

    visit_type_uint32(v, name, &value, errp);
}

static void set_hybrid(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    visit_type_uint32(v, name, &properties(obj)->hybrid, errp);
}

static void finalize(Object *obj, const char *name, void *opaque)
{
    X86CPU *cpu = X86_CPU(obj);

    if (cpu->pmu) {
        migrate_del_blocker(&cpu->pmu->blocker);
        g_free(cpu->pmu);
        cpu->pmu = NULL;
    }
    x86_ibs_finalize(cpu);
}

void x86_pmu_class_init(ObjectClass *oc)
{
    x86_ibs_class_init(oc);
    object_class_property_add_enum(oc, "x-pmu", "X86PMUModel", &model_lookup,
                                   get_model, set_model);
    object_class_property_set_description(oc, "x-pmu",
        "Emulated PMU: off, intel-v2, intel-v4, intel-v5, amd-legacy, "
        "amd-core-ext, amd-v2");
    object_class_property_add_enum(oc, "x-pmu-lvtpc-mask", "OnOffAuto",
                                   &OnOffAuto_lookup,
                                   get_lvtpc_mask, set_lvtpc_mask);
    object_class_property_set_description(oc, "x-pmu-lvtpc-mask",
        "Mask the LVT entry when it delivers; auto: as the model's vendor");
    object_class_property_add(oc, "x-pmu-skid", "uint32", get_skid, set_skid,
                              finalize, NULL);
    object_class_property_set_description(oc, "x-pmu-skid",
        "Instructions from an overflow to its interrupt");
    object_class_property_add(oc, "x-hybrid", "uint32", get_hybrid, set_hybrid,
                              NULL, NULL);
    object_class_property_set_description(oc, "x-hybrid",
        "So many cores are performance cores, all others efficiency cores with "
        "the PMU of the version before; 0: no hybrid processor");
}
