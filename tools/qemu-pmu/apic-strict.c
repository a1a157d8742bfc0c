/*
 * A local APIC as strict as the manuals.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SDM is the Intel 64 and IA-32 Architectures Software Developer's Manual,
 * volume 3, chapter "Advanced Programmable Interrupt Controller (APIC)". Where it
 * says that the APIC may do something, this one does.
 *
 * x-strict     errors, reserved bits, registers that are read-only, masks of an
 *              APIC that is disabled
 * x-pending    the APIC is handed over with an interrupt requested
 * x-thermal-smi  the thermal entry is the firmware's, and not to be overwritten
 * x-no-arat    the timer stands still while the processor is halted
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "hw/i386/apic_internal.h"
#include "hw/i386/apic.h"
#include "hw/qdev-properties.h"
#include "cpu.h"

/* --- Registers ------------------------------------------------------------ */

/* As apic.c has them: offset / 10H in memory, number - 800H of the MSR. */
enum {
    REG_ID = 0x02,
    REG_TPR = 0x08,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_SVR = 0x0f,
    REG_ISR = 0x10, /* ISR, TMR, IRR: to 27H */
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32, /* to 37H */
    REG_INITIAL_COUNT = 0x38,
    REG_CURRENT_COUNT = 0x39,
    REG_DIVIDE = 0x3e,
    REG_SELF_IPI = 0x3f,
};

/* The lowest that is a legal vector (SDM "Valid Interrupt Vectors"). */
#define FIRST_VECTOR 16

static bool is_lvt(int index)
{
    return index >= REG_LVT && index < REG_LVT + APIC_LVT_NB;
}

/* What software sets of an entry (SDM, figure "Local Vector Table (LVT)"). */
static uint32_t lvt_writable(int entry)
{
    uint32_t bits = APIC_VECTOR_MASK | APIC_LVT_MASKED;

    switch (entry) {
    case APIC_LVT_TIMER: /* no delivery mode; no TSC-deadline in this CPU */
        return bits | APIC_LVT_TIMER_PERIODIC;
    case APIC_LVT_ERROR: /* no delivery mode */
        return bits;
    case APIC_LVT_LINT0:
    case APIC_LVT_LINT1:
        return bits | APIC_LVT_DELIV_MOD | APIC_LVT_INT_POLARITY |
               APIC_LVT_LEVEL_TRIGGER;
    default:
        return bits | APIC_LVT_DELIV_MOD;
    }
}

/* The bits that are there and that a write does not change. */
static uint32_t lvt_read_only(int entry)
{
    bool lint = entry == APIC_LVT_LINT0 || entry == APIC_LVT_LINT1;

    return APIC_LVT_DELIV_STS | (lint ? APIC_LVT_REMOTE_IRR : 0);
}

/* What software sets of a register; the rest is reserved or read-only. */
static uint64_t writable(int index, bool x2apic)
{
    switch (index) {
    case REG_TPR:
    case REG_SELF_IPI:
        return 0xff;
    case REG_EOI:
    case REG_ESR:
        return 0;
    case REG_SVR: /* no focus processor checking, no EOI without broadcast */
        return APIC_SV_ENABLE | APIC_VECTOR_MASK;
    case REG_ICR:
        return APIC_VECTOR_MASK | APIC_ICR_DELIV_MOD | APIC_ICR_DEST_MOD |
               APIC_ICR_LEVEL | APIC_ICR_TRIGGER_MOD | APIC_ICR_DEST_SHORT |
               (x2apic ? MAKE_64BIT_MASK(32, 32) : 0);
    case REG_ICR_HIGH:
        return MAKE_64BIT_MASK(APIC_ICR_DEST_SHIFT, 8);
    case REG_DIVIDE:
        return 0xb;
    default:
        return is_lvt(index) ? lvt_writable(index - REG_LVT) : UINT32_MAX;
    }
}

/* SDM, table "Local APIC Register Address Map Supported by x2APIC" */
static bool x2apic_readable(int index)
{
    switch (index) {
    case REG_ID ... REG_ID + 1:
    case REG_TPR:
    case REG_PPR:
    case REG_LDR:
    case REG_SVR:
    case REG_ISR ... REG_ESR:
    case REG_ICR:
    case REG_INITIAL_COUNT ... REG_CURRENT_COUNT:
    case REG_DIVIDE:
        return true;
    default:
        return is_lvt(index);
    }
}

static bool x2apic_writable(int index)
{
    switch (index) {
    case REG_TPR:
    case REG_EOI:
    case REG_SVR:
    case REG_ESR:
    case REG_ICR:
    case REG_INITIAL_COUNT:
    case REG_DIVIDE:
    case REG_SELF_IPI:
        return true;
    default:
        return is_lvt(index);
    }
}

static bool in_x2apic_mode(APICCommonState *s)
{
    return is_x2apic_mode(DEVICE(s));
}

/* --- Errors (SDM "Error Handling") ------------------------------------------ */

/*
 * Logs an error, and interrupts: masked entries and the number of errors do not
 * count, only whether the ESR was written since the last interrupt.
 */
static void log_error(APICCommonState *s, uint32_t error)
{
    s->strict.errors |= error;
    if (!s->strict.error_raised && !(s->lvt[APIC_LVT_ERROR] & APIC_LVT_MASKED)) {
        s->strict.error_raised = true;
        apic_deliver_error(s);
    }
}

/* A write shows what was logged since the one before, whatever is written. */
static void latch_errors(APICCommonState *s)
{
    s->esr = s->strict.errors;
    s->strict.errors = 0;
    s->strict.error_raised = false;
}

void apic_strict_illegal_register(APICCommonState *s)
{
    if (!s->strict.on) {
        s->esr |= APIC_ESR_ILLEGAL_ADDRESS;
    } else if (!in_x2apic_mode(s)) {
        log_error(s, APIC_ESR_ILLEGAL_ADDRESS);
    }
}

/*
 * SDM "Valid Interrupt Vectors", "Error Status Register": by a message, by an
 * entry of the table, by an IPI to itself.
 */
bool apic_strict_accepts(APICCommonState *s, int vector)
{
    if (!s->strict.on || vector >= FIRST_VECTOR) {
        return true;
    }
    log_error(s, APIC_ESR_RECV_ILLEGAL_VECT);
    return false;
}

static void check_sent_vector(APICCommonState *s, int index, uint64_t val)
{
    int mode = (val & APIC_ICR_DELIV_MOD) >> APIC_ICR_DELIV_MOD_SHIFT;
    bool by_vector = index == REG_SELF_IPI || mode == APIC_DM_FIXED ||
                     mode == APIC_DM_LOWPRI;

    if (by_vector && (val & APIC_VECTOR_MASK) < FIRST_VECTOR) {
        log_error(s, APIC_ESR_SEND_ILLEGAL_VECT);
    }
}

/*
 * SDM "Valid Interrupt Vectors": the APIC may signal an illegal vector "without
 * regard to whether the mask bit is set or whether an interrupt is actually seen
 * on the input".
 */
static void check_entry(APICCommonState *s, uint32_t lvt)
{
    if (!(lvt & APIC_LVT_DELIV_MOD) && (lvt & APIC_VECTOR_MASK) < FIRST_VECTOR) {
        log_error(s, APIC_ESR_RECV_ILLEGAL_VECT);
    }
}

/* --- Reading and writing ----------------------------------------------------- */

/* SDM "x2APIC Register Address Space": there is nothing in memory then. */
bool apic_strict_in_memory(void)
{
    /* All cores share one region of memory. */
    DeviceState *dev = cpu_get_current_apic();
    APICCommonState *s = dev ? APIC_COMMON(dev) : NULL;

    return !s || !s->strict.on || !in_x2apic_mode(s);
}

bool apic_strict_read(APICCommonState *s, int index)
{
    if (!s->strict.on || !in_x2apic_mode(s)) {
        return true;
    }
    return x2apic_readable(index) || x86_ibs_apic_has(s->cpu, index);
}

bool apic_strict_write(APICCommonState *s, int index, uint64_t *val)
{
    bool x2apic = in_x2apic_mode(s);
    uint64_t bits = writable(index, x2apic);
    uint64_t kept = is_lvt(index) ? lvt_read_only(index - REG_LVT) : 0;

    if (!s->strict.on) {
        return true;
    }
    /* SDM "Reserved Bit Checking" */
    if (x2apic && ((!x2apic_writable(index) && !x86_ibs_apic_has(s->cpu, index)) ||
                   (*val & ~(bits | kept)))) {
        return false;
    }
    *val &= bits;
    if ((is_lvt(index) || x86_ibs_apic_is_entry(s->cpu, index)) &&
        !(s->spurious_vec & APIC_SV_ENABLE)) {
        *val |= APIC_LVT_MASKED;
    }
    if (index == REG_ESR) {
        latch_errors(s);
    }
    if (index == REG_ICR || (index == REG_SELF_IPI && x2apic)) {
        check_sent_vector(s, index, *val);
    }
    return true;
}

/* The processor's heat is the firmware's business, if it has said so. */
static void check_thermal(APICCommonState *s)
{
    uint32_t lvt = s->lvt[APIC_LVT_THERMAL];

    if (s->strict.thermal_smi &&
        (lvt & (APIC_LVT_DELIV_MOD | APIC_LVT_MASKED)) !=
            APIC_DM_SMI << APIC_LVT_DELIV_MOD_SHIFT) {
        error_report("firmware's SMI entry was overwritten: core %d has made "
                     "its thermal entry 0x%" PRIx32,
                     CPU(s->cpu)->cpu_index, lvt);
        exit(EXIT_FAILURE);
    }
}

void apic_strict_written(APICCommonState *s, int index)
{
    if (s->strict.on && index == REG_SVR && !(s->spurious_vec & APIC_SV_ENABLE)) {
        /* SDM "Local APIC State After It Has Been Software Disabled" */
        for (int i = 0; i < APIC_LVT_NB; i++) {
            s->lvt[i] |= APIC_LVT_MASKED;
        }
        x86_ibs_apic_mask(s->cpu);
    }
    if (s->strict.on && is_lvt(index)) {
        check_entry(s, s->lvt[index - REG_LVT]);
    }
    if (s->strict.on && x86_ibs_apic_is_entry(s->cpu, index)) {
        uint64_t lvt = 0;

        x86_ibs_apic_read(s->cpu, index, &lvt);
        check_entry(s, lvt);
    }
    if (index == REG_SVR || is_lvt(index)) {
        check_thermal(s);
    }
}

/* --- What firmware leaves ---------------------------------------------------- */

/*
 * Not at reset, for firmware has a handler for everything and would take it: when
 * the core gets ready for 64 bits, with interrupts off.
 */
void apic_strict_handed_over(DeviceState *dev)
{
    APICCommonState *s = dev ? APIC_COMMON(dev) : NULL;

    if (s && s->strict.pending) {
        apic_set_bit(s->irr, s->strict.pending);
        apic_poll_irq(dev);
    }
}

/* RESET and INIT. Firmware's entry is there for all cores, as its SMI is. */
static void apic_strict_reset(APICCommonState *s)
{
    s->strict.errors = 0;
    s->strict.error_raised = false;
    s->strict.stopped_at = -1;
    if (s->strict.thermal_smi) {
        s->lvt[APIC_LVT_THERMAL] = APIC_DM_SMI << APIC_LVT_DELIV_MOD_SHIFT;
    }
}

/* --- The timer of a halted processor ----------------------------------------- */

bool apic_strict_has_arat(DeviceState *dev)
{
    return !dev || !APIC_COMMON(dev)->strict.no_arat;
}

void apic_strict_halts(DeviceState *dev)
{
    APICCommonState *s = dev ? APIC_COMMON(dev) : NULL;

    if (!s || !s->strict.no_arat) {
        return;
    }
    s->strict.stopped_at = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    timer_del(s->timer);
}

void apic_strict_wakes(DeviceState *dev)
{
    APICCommonState *s = dev ? APIC_COMMON(dev) : NULL;
    int64_t stood;

    if (!s || !s->strict.no_arat || s->strict.stopped_at < 0) {
        return;
    }
    stood = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) - s->strict.stopped_at;
    s->strict.stopped_at = -1;
    s->initial_count_load_time += stood;
    if (s->timer_expiry != -1) {
        s->next_time += stood;
        s->timer_expiry += stood;
        timer_mod(s->timer, s->timer_expiry);
    }
}

/* --- Life ---------------------------------------------------------------------- */

static const Property properties[] = {
    DEFINE_PROP_BOOL("x-strict", APICCommonState, strict.on, false),
    DEFINE_PROP_UINT8("x-pending", APICCommonState, strict.pending, 0),
    DEFINE_PROP_BOOL("x-thermal-smi", APICCommonState, strict.thermal_smi, false),
    DEFINE_PROP_BOOL("x-no-arat", APICCommonState, strict.no_arat, false),
};

bool apic_strict_realize(APICCommonState *s, Error **errp)
{
    if (s->strict.pending && s->strict.pending < FIRST_VECTOR) {
        error_setg(errp, "x-pending=%d is no vector that an APIC can request; "
                   "there are 16 to 255", s->strict.pending);
        return false;
    }
    return true;
}

void apic_strict_class_init(ObjectClass *oc)
{
    device_class_set_props(DEVICE_CLASS(oc), properties);
    APIC_COMMON_CLASS(oc)->reset = apic_strict_reset;
}
