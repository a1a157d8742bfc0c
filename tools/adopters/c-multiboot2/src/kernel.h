/* What the files of this kernel know of each other. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the first GiB of memory is seen, which the kernel is in. */
#define OFFSET 0xffffffff80000000

/* Where the registers of the local APIC are seen. */
#define APIC (OFFSET + 0x40000000 + 0x3ee00000)

enum { STACK_SIZE = 64 << 10, PROTECTION = 13 };

/* entry.S */
extern char stack[STACK_SIZE];

/* tables.c */
extern const char exception_entry[];
void tables_load(void);
void tables_set_interrupt_stack(unsigned number, uint64_t top);
void tables_set_gate(uint8_t vector, uint64_t entry, unsigned stack);
void halt(void) __attribute__((noreturn));

/* serial.c */
void print(const char *text);
void print_line(const char *text);
void print_number(uint64_t number);

/* workload.c */
void workload_print_truth(void);
void workload_run(void) __attribute__((noreturn));

/* profiling.c */
void profiling_start(const char *command_line); /* pmiscope */

#endif
