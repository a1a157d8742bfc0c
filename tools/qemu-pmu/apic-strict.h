/*
 * A local APIC as strict as the manuals.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The hooks: what apic.c and the CPU call. All of them do nothing, and refuse
 * nothing, while no property of apic-strict.c is set.
 */
#ifndef APIC_STRICT_H
#define APIC_STRICT_H

typedef struct APICCommonState APICCommonState;

typedef struct APICStrict {
    /* Properties. */
    bool on;
    uint8_t pending;
    bool thermal_smi;
    bool no_arat;

    uint32_t errors;    /* since the last write of the ESR */
    bool error_raised;  /* an error interrupt was, since then */
    int64_t stopped_at; /* the timer, by the virtual clock; -1: it runs */
} APICStrict;

/* Adds the properties to the class. */
void apic_strict_class_init(ObjectClass *oc);
/* Looks at what they were set to. */
bool apic_strict_realize(APICCommonState *s, Error **errp);
/* Returns false if the read has failed: #GP in x2APIC mode. */
bool apic_strict_read(APICCommonState *s, int index);
/* Before a write: the same, and takes from *@val what the register has not. */
bool apic_strict_write(APICCommonState *s, int index, uint64_t *val);
/* After it. */
void apic_strict_written(APICCommonState *s, int index);
/* The register is none. */
void apic_strict_illegal_register(APICCommonState *s);
/* Returns false if the APIC accepts no interrupt by this vector. */
bool apic_strict_accepts(APICCommonState *s, int vector);
/* Returns false if this core's registers are not in memory now. */
bool apic_strict_in_memory(void);

/* In apic.c: an interrupt by the error register's entry. */
void apic_deliver_error(APICCommonState *s);

#endif
