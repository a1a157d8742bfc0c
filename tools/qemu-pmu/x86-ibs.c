/*
 * AMD's Instruction-Based Sampling of ops for x86 CPUs under TCG with icount.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * AMD64 Architecture Programmer's Manual (APM), volume 2, section 13.3, and 16.4
 * for the APIC's extended local vector table; PPR for family 19h for the registers.
 *
 * Under icount an instruction is an op and takes a cycle. The count goes from
 * IbsOpCurCnt to IbsOpMaxCnt; the instruction by which it gets there is the tagged
 * one. Its address is that of the next instruction when all but one have been
 * executed, so the vCPU stops there (tag), and again behind it (sample); what is
 * delivered between the two makes another instruction the tagged one. From
 * then on nothing is counted until IbsOpCtl is written. The interrupt comes when the
 * skid is over, whatever was written in between.
 *
 * Where the manual leaves something open, this is as strict as it allows: a maximum
 * that is reserved counts nothing, and what a sample has left behind is lost when
 * its valid bit is cleared.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object.h"
#include "system/icount-deadline.h"
#include "hw/i386/apic.h"
#include "cpu.h"

#define IBS_FETCH_CTL   0xc0011030 /* and two more: fetch sampling is not there */
#define IBS_OP_CTL      0xc0011033
#define IBS_OP_RIP      0xc0011034
#define IBS_OP_DATA1    0xc0011035
#define IBS_DC_PHYS_AD  0xc0011039
#define IBS_CONTROL     0xc001103a
#define IBS_BR_TARGET   0xc001103b /* not announced */

#define CTL_MAX_LOW     MAKE_64BIT_MASK(0, 16) /* IbsOpMaxCnt[19:4] */
#define CTL_ENABLE      BIT_ULL(17)
#define CTL_VALID       BIT_ULL(18)
#define CTL_COUNT_OPS   BIT_ULL(19)
#define CTL_MAX_HIGH    MAKE_64BIT_MASK(20, 7) /* IbsOpMaxCnt[26:20] */
#define CTL_CURRENT     MAKE_64BIT_MASK(32, 27)
#define MIN_MAX         (9 << 4) /* lower ones are reserved */
#define CTL_BITS        (CTL_MAX_LOW | CTL_ENABLE | CTL_VALID | CTL_COUNT_OPS | \
                         CTL_MAX_HIGH | CTL_CURRENT)

#define DATA1_RIP_INVALID   BIT_ULL(38)

/* What IbsOpRip holds once the valid bit was cleared: no address of anything. */
#define SPOILED         0x5bad5bad5badULL

#define CONTROL_LVT_VALID   BIT_ULL(8)

/* CPUID Fn8000_001B_EAX */
#define CAPS_FFV            BIT(0)
#define CAPS_OP_SAM         BIT(2)
#define CAPS_RD_WR_OP_CNT   BIT(3)
#define CAPS_OP_CNT         BIT(4)
#define CAPS_OP_CNT_EXT     BIT(6)
#define CAPS_RIP_INVALID    BIT(7)

/* APM 16.4.5 and 16.4.6 */
#define APIC_EXTENDED_FEATURE   0x40
#define APIC_EXTENDED_CONTROL   0x41
#define APIC_EXTENDED_LVT       0x50
#define EXTENDED_LVTS           4
#define APIC_VERSION_EXTENDED   BIT(31)
#define LVT_MASKED              BIT(16)
#define LVT_MODE                MAKE_64BIT_MASK(8, 3)
#define LVT_BITS                (0xff | LVT_MODE | LVT_MASKED)
#define LVT_MODE_SHIFT          8

typedef struct X86IBS {
    /* Properties. */
    bool wanted;
    uint32_t lvt_offset;
    uint32_t invalid_each; /* of so many samples one has no address; 0: none */
    uint32_t abort_each; /* of so many tagged ops one does not retire; 0: all do */

    bool present;
    uint32_t skid;

    /* Registers. */
    uint64_t ctl; /* without the current count */
    uint64_t rip;
    uint64_t data[IBS_DC_PHYS_AD - IBS_OP_DATA1 + 1];
    uint32_t lvt[EXTENDED_LVTS];

    uint64_t current; /* the count, after `synced` instructions */
    int64_t synced;
    bool tagged; /* `tag_rip` is the address of the one that will be sampled */
    uint64_t tag_rip;
    int64_t interrupt_at; /* 0: none is due */
    uint32_t samples;
    uint32_t tags;
} X86IBS;

static X86IBS *present(X86CPU *cpu)
{
    return cpu->ibs && cpu->ibs->present ? cpu->ibs : NULL;
}

static uint64_t max_count(X86IBS *ibs)
{
    return (ibs->ctl & CTL_MAX_LOW) << 4 | (ibs->ctl & CTL_MAX_HIGH);
}

static bool counts(X86IBS *ibs)
{
    return (ibs->ctl & CTL_ENABLE) && !(ibs->ctl & CTL_VALID) &&
           max_count(ibs) >= MIN_MAX;
}

/* The number of the instruction that is sampled. It counts. */
static int64_t sample_at(X86IBS *ibs)
{
    uint64_t max = max_count(ibs);

    return ibs->synced + (ibs->current < max ? max - ibs->current : 1);
}

/* The tagged instruction was the one with this number. */
static void end_tag(X86IBS *ibs, int64_t at)
{
    bool invalid;

    /* Rolled over, the low seven bits at random: none that is to be relied on. */
    ibs->current = (at * 29) & 0x7f;
    if (ibs->abort_each && ++ibs->tags % ibs->abort_each == 0) {
        /* It did not retire: no sample, and the count goes on. */
        ibs->tagged = false;
        return;
    }
    invalid = !ibs->tagged || (ibs->invalid_each &&
                               ++ibs->samples % ibs->invalid_each == 0);
    ibs->ctl |= CTL_VALID;
    ibs->rip = invalid ? 0 : ibs->tag_rip;
    memset(ibs->data, 0, sizeof(ibs->data));
    ibs->data[0] = invalid ? DATA1_RIP_INVALID : 0;
    ibs->tagged = false;
    ibs->interrupt_at = at + ibs->skid;
}

static void count_up_to(X86IBS *ibs, int64_t now)
{
    if (now <= ibs->synced) {
        return;
    }
    while (counts(ibs) && now >= sample_at(ibs)) {
        int64_t at = sample_at(ibs);

        end_tag(ibs, at);
        ibs->synced = at;
    }
    if (counts(ibs)) {
        ibs->current += now - ibs->synced;
    }
    ibs->synced = now;
}

/* The sample has been taken. */
static void spoil(X86IBS *ibs)
{
    ibs->rip = SPOILED;
    memset(ibs->data, 0, sizeof(ibs->data));
}

static void tag(X86CPU *cpu)
{
    cpu->ibs->tagged = true;
    cpu->ibs->tag_rip = cpu->env.segs[R_CS].base + cpu->env.eip;
}

static void raise_interrupt(X86CPU *cpu, X86IBS *ibs)
{
    uint32_t lvt;

    ibs->interrupt_at = 0;
    if (!cpu->apic_state || ibs->lvt_offset >= EXTENDED_LVTS) {
        return;
    }
    lvt = ibs->lvt[ibs->lvt_offset];
    if (!(lvt & LVT_MASKED)) {
        BQL_LOCK_GUARD();
        apic_deliver_extended(cpu->apic_state, lvt & 0xff,
                              (lvt & LVT_MODE) >> LVT_MODE_SHIFT);
    }
}

void x86_ibs_stopped_at(X86CPU *cpu, int64_t now)
{
    X86IBS *ibs = present(cpu);

    if (!ibs) {
        return;
    }
    count_up_to(ibs, now);
    if (counts(ibs) && !ibs->tagged && now == sample_at(ibs) - 1) {
        tag(cpu);
    }
    /* A halted CPU does not wait for instructions that it will not execute. */
    if (ibs->interrupt_at && (ibs->interrupt_at <= now || CPU(cpu)->halted)) {
        raise_interrupt(cpu, ibs);
    }
}

int64_t x86_ibs_deadline(X86CPU *cpu)
{
    X86IBS *ibs = present(cpu);
    int64_t deadline;

    if (!ibs) {
        return 0;
    }
    deadline = ibs->interrupt_at;
    if (counts(ibs)) {
        int64_t at = ibs->tagged ? sample_at(ibs) : sample_at(ibs) - 1;

        deadline = deadline ? MIN(deadline, at) : at;
    }
    return deadline;
}

void x86_ibs_redirected(X86CPU *cpu)
{
    X86IBS *ibs = present(cpu);

    if (ibs && ibs->tagged && counts(ibs) &&
        icount_cpu_executed(CPU(cpu)) < sample_at(ibs)) {
        tag(cpu);
    }
}

/* --- Registers ------------------------------------------------------------ */

X86PMUAccess x86_ibs_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *value)
{
    X86IBS *ibs = present(cpu);

    if (!ibs || msr < IBS_FETCH_CTL || msr > IBS_BR_TARGET) {
        return X86_PMU_OTHER;
    }
    count_up_to(ibs, icount_cpu_executed(CPU(cpu)) - 1);
    switch (msr) {
    case IBS_OP_CTL:
        *value = ibs->ctl | ibs->current << 32;
        return X86_PMU_DONE;
    case IBS_OP_RIP:
        *value = ibs->rip;
        return X86_PMU_DONE;
    case IBS_OP_DATA1 ... IBS_DC_PHYS_AD:
        *value = ibs->data[msr - IBS_OP_DATA1];
        return X86_PMU_DONE;
    case IBS_CONTROL:
        *value = ibs->lvt_offset < EXTENDED_LVTS ?
                 CONTROL_LVT_VALID | ibs->lvt_offset : 0;
        return X86_PMU_DONE;
    }
    return X86_PMU_GP;
}

X86PMUAccess x86_ibs_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value)
{
    X86IBS *ibs = present(cpu);

    if (!ibs || msr < IBS_FETCH_CTL || msr > IBS_BR_TARGET) {
        return X86_PMU_OTHER;
    }
    switch (msr) {
    case IBS_OP_CTL:
        if (value & ~CTL_BITS) {
            return X86_PMU_GP;
        }
        count_up_to(ibs, icount_cpu_executed(CPU(cpu)));
        if ((ibs->ctl & CTL_VALID) && !(value & CTL_VALID)) {
            spoil(ibs);
        }
        ibs->ctl = value & ~CTL_CURRENT;
        ibs->current = value >> 32;
        ibs->tagged = false;
        return X86_PMU_DONE;
    case IBS_OP_RIP:
        ibs->rip = value;
        return X86_PMU_DONE;
    case IBS_OP_DATA1 ... IBS_DC_PHYS_AD:
        ibs->data[msr - IBS_OP_DATA1] = value;
        return X86_PMU_DONE;
    }
    /* Read-only, as the firmware has set it, or not there. */
    return X86_PMU_GP;
}

void x86_ibs_cpuid(X86CPU *cpu, uint32_t leaf, uint32_t *eax, uint32_t *ecx)
{
    if (!present(cpu)) {
        return;
    }
    if (leaf == 0x80000001) {
        *ecx |= CPUID_EXT3_IBS;
    } else if (leaf == 0x8000001b) {
        *eax = CAPS_FFV | CAPS_OP_SAM | CAPS_RD_WR_OP_CNT | CAPS_OP_CNT |
               CAPS_OP_CNT_EXT | CAPS_RIP_INVALID;
    }
}

uint32_t x86_ibs_apic_version(X86CPU *cpu)
{
    return present(cpu) ? APIC_VERSION_EXTENDED : 0;
}

bool x86_ibs_apic_is_entry(X86CPU *cpu, int index)
{
    return present(cpu) && index >= APIC_EXTENDED_LVT &&
           index < APIC_EXTENDED_LVT + EXTENDED_LVTS;
}

bool x86_ibs_apic_has(X86CPU *cpu, int index)
{
    return x86_ibs_apic_is_entry(cpu, index) ||
           (present(cpu) && (index == APIC_EXTENDED_FEATURE ||
                             index == APIC_EXTENDED_CONTROL));
}

void x86_ibs_apic_mask(X86CPU *cpu)
{
    X86IBS *ibs = present(cpu);

    for (int i = 0; ibs && i < EXTENDED_LVTS; i++) {
        ibs->lvt[i] |= LVT_MASKED;
    }
}

bool x86_ibs_apic_read(X86CPU *cpu, int index, uint64_t *value)
{
    X86IBS *ibs = present(cpu);

    if (!x86_ibs_apic_has(cpu, index)) {
        return false;
    }
    switch (index) {
    case APIC_EXTENDED_FEATURE:
        *value = EXTENDED_LVTS << 16;
        break;
    case APIC_EXTENDED_CONTROL:
        *value = 0;
        break;
    default:
        *value = ibs->lvt[index - APIC_EXTENDED_LVT];
    }
    return true;
}

bool x86_ibs_apic_write(X86CPU *cpu, int index, uint64_t value, bool *fault)
{
    X86IBS *ibs = present(cpu);

    if (!x86_ibs_apic_has(cpu, index)) {
        return false;
    }
    *fault = index < APIC_EXTENDED_LVT ? value != 0 : value & ~LVT_BITS;
    if (index >= APIC_EXTENDED_LVT) {
        ibs->lvt[index - APIC_EXTENDED_LVT] = value & LVT_BITS;
    }
    return true;
}

/* --- Life ----------------------------------------------------------------- */

void x86_ibs_reset(X86CPU *cpu)
{
    X86IBS *ibs = present(cpu);

    if (!ibs) {
        return;
    }
    ibs->ctl = ibs->rip = ibs->current = 0;
    memset(ibs->data, 0, sizeof(ibs->data));
    for (int i = 0; i < EXTENDED_LVTS; i++) {
        ibs->lvt[i] = LVT_MASKED;
    }
    ibs->synced = icount_cpu_executed(CPU(cpu));
    ibs->tagged = false;
    ibs->interrupt_at = 0;
    ibs->samples = ibs->tags = 0;
}

bool x86_ibs_realize(X86CPU *cpu, bool amd, uint32_t skid, Error **errp)
{
    X86IBS *ibs = cpu->ibs;

    if (!ibs || !ibs->wanted) {
        return true;
    }
    if (!amd) {
        error_setg(errp, "x-ibs needs a PMU of AMD's, such as x-pmu=amd-v2");
        return false;
    }
    ibs->skid = skid;
    ibs->present = true;
    return true;
}

void x86_ibs_finalize(X86CPU *cpu)
{
    g_free(cpu->ibs);
    cpu->ibs = NULL;
}

static X86IBS *properties(Object *obj)
{
    X86CPU *cpu = X86_CPU(obj);

    if (!cpu->ibs) {
        cpu->ibs = g_new0(X86IBS, 1);
    }
    return cpu->ibs;
}

static bool get_ibs(Object *obj, Error **errp)
{
    X86IBS *ibs = X86_CPU(obj)->ibs;

    return ibs && ibs->wanted;
}

static void set_ibs(Object *obj, bool value, Error **errp)
{
    properties(obj)->wanted = value;
}

static void get_number(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    X86IBS *ibs = X86_CPU(obj)->ibs;
    uint32_t value = 0;

    if (ibs) {
        value = *(uint32_t *)((char *)ibs + (uintptr_t)opaque);
    }
    visit_type_uint32(v, name, &value, errp);
}

static void set_number(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    uint32_t *place = (void *)((char *)properties(obj) + (uintptr_t)opaque);

    visit_type_uint32(v, name, place, errp);
}

void x86_ibs_class_init(ObjectClass *oc)
{
    object_class_property_add_bool(oc, "x-ibs", get_ibs, set_ibs);
    object_class_property_set_description(oc, "x-ibs",
        "Emulated Instruction-Based Sampling of ops");
    object_class_property_add(oc, "x-ibs-lvt", "uint32", get_number, set_number,
                              NULL, (void *)offsetof(X86IBS, lvt_offset));
    object_class_property_set_description(oc, "x-ibs-lvt",
        "The extended LVT entry that the firmware has given to IBS; above 3: none");
    object_class_property_add(oc, "x-ibs-invalid", "uint32", get_number,
                              set_number, NULL,
                              (void *)offsetof(X86IBS, invalid_each));
    object_class_property_set_description(oc, "x-ibs-invalid",
        "Of so many samples one has no valid address; 0: all have");
    object_class_property_add(oc, "x-ibs-abort", "uint32", get_number,
                              set_number, NULL,
                              (void *)offsetof(X86IBS, abort_each));
    object_class_property_set_description(oc, "x-ibs-abort",
        "Of so many tagged ops one does not retire; 0: all do");
}
