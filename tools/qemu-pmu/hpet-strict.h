/*
 * An HPET as strict as the manuals: what a block and a timer of it have more.
 *
 * Copyright (c) 2026 The pmiscope authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HPET_STRICT_H
#define HPET_STRICT_H

typedef struct HPETStrict {
    /* Properties. */
    uint32_t delay;
    bool only_32_bit;
    uint64_t start;
    bool absent;
} HPETStrict;

typedef struct HPETStrictTimer {
    bool landing;      /* a write of the comparator has not landed yet */
    uint64_t next;     /* what it wrote */
    uint64_t lands_at; /* when it does, by the counter */
    uint64_t seen;     /* up to here the counter was compared */
} HPETStrictTimer;

#endif
