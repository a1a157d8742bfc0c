/* What the files of this kernel know of each other. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_CORES = 16, STACK_SIZE = 64 << 10, PROTECTION = 13 };

/* What the boot loader told. */
struct boot {
    const char *command_line;
    uint64_t direct_map;
    uint32_t cores;
    uint32_t apic_ids[MAX_CORES]; /* The first core's first. */
};

/* cpu.c */
extern const char exception_entry[];
void cpu_enter(uint32_t core, void (*run)(uint32_t core)) __attribute__((noreturn));
void cpu_start(uint32_t core);
bool cpu_is_stack(uint64_t address);
void cpu_set_interrupt_stack(uint32_t core, unsigned number, uint64_t top);
void cpu_set_gate(uint8_t vector, uint64_t entry, unsigned stack);
void cpu_expect_leftovers(uint64_t registers);
void cpu_halt(void) __attribute__((noreturn));

/* serial.c */
void print(const char *text);
void print_line(const char *text);
void print_number(uint64_t number);

/* workload.c */
void workload_print_truth(void);
void workload_run(void) __attribute__((noreturn));

/* profiling.c */
void profiling_start(const struct boot *boot); /* pmiscope */

#endif
