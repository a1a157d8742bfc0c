/* What this kernel uses of the Limine boot protocol. */
#ifndef LIMINE_H
#define LIMINE_H

#include <stdint.h>

#define LIMINE_COMMON 0xc7b1dd30df4c8b88, 0x0a82e883a194f07b
#define LIMINE_BASE_REVISION 0xf9562b2d5c95a6c8, 0x6a7b384944536bdc
#define LIMINE_FILE LIMINE_COMMON, 0xad97e90e83f1ed67, 0x31eb5d1c5ff23b69
#define LIMINE_DIRECT_MAP LIMINE_COMMON, 0x48dcf1cb8ad2b852, 0x63984e959a98244b
#define LIMINE_CORES LIMINE_COMMON, 0x95a67b819a1b857e, 0xa0b61b723b6a73e0

struct limine_file {
    uint64_t revision;
    void *address;
    uint64_t size;
    const char *path;
    const char *command_line;
};

struct limine_kernel {
    uint64_t revision;
    const struct limine_file *file;
};

struct limine_direct_map {
    uint64_t revision;
    uint64_t offset;
};

struct limine_core {
    uint32_t acpi_id;
    uint32_t apic_id;
    uint64_t reserved;
    void (*entry)(struct limine_core *); /* Written last: the core enters the kernel there. */
    uint64_t argument;
};

struct limine_cores {
    uint64_t revision;
    uint32_t flags;
    uint32_t first_apic_id;
    uint64_t count;
    struct limine_core **cores;
};

struct limine_request {
    uint64_t id[4];
    uint64_t revision;
    const void *response;
    uint64_t flags;
};

#endif
