/* Segments, the task state and the interrupt table. */

#include "kernel.h"

enum { CODE = 8, DATA = 16, TASK = 24, FIRST_VECTOR = 32, SPURIOUS = 255 };

static struct {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t reserved2;
    uint64_t interrupt_stacks[7]; /* From number 1 on. */
    uint64_t reserved3;
    uint16_t reserved4;
    uint16_t io_map;
} __attribute__((packed)) task;

struct gate {
    uint16_t low;
    uint16_t selector;
    uint8_t stack;
    uint8_t type;
    uint16_t middle;
    uint32_t high;
    uint32_t reserved;
};

struct table {
    uint16_t limit;
    const void *base;
} __attribute__((packed));

static struct gate gates[256];
static uint64_t segments[5] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};

void tables_set_interrupt_stack(unsigned number, uint64_t top)
{
    task.interrupt_stacks[number - 1] = top;
}

/* An interrupt gate; stack 0 is the one that is interrupted. */
void tables_set_gate(uint8_t vector, uint64_t entry, unsigned stack)
{
    gates[vector] = (struct gate){
        .low = (uint16_t)entry,
        .selector = CODE,
        .stack = (uint8_t)stack,
        .type = 0x8e,
        .middle = (uint16_t)(entry >> 16),
        .high = (uint32_t)(entry >> 32),
    };
}

/* It never returns, so it saves nothing. */
__asm__(".text\n\t"
        ".global exception_entry\n"
        "exception_entry:\n\t"
        "mov %rsp, %rdi\n\t"
        "call on_exception");

/* The frame has the error code first, if there is one. */
__attribute__((noreturn, used)) void on_exception(const uint64_t *frame)
{
    print("c-multiboot2: an exception: ");
    for (int i = 0; i < 5; i++) {
        print_number(frame[i]);
        print(i < 4 ? ", " : "\n");
    }
    halt();
}

/* What firmware has left pending comes when interrupts are let in first. It is ended. */
__attribute__((interrupt)) static void on_leftover(void *frame)
{
    uint32_t base, high;
    __asm__ volatile("rdmsr" : "=a"(base), "=d"(high) : "c"(0x1b));
    if (base & 1 << 10) /* x2APIC mode */
        __asm__ volatile("wrmsr" : : "c"(0x80b), "a"(0), "d"(0));
    else
        *(volatile uint32_t *)(APIC + 0xb0) = 0;
}

/* Lets no interrupt of the old controller in: the firmware has left its timer on, whose vector is
 * that of double faults. */
static void mask_pic(void)
{
    __asm__ volatile("outb %0, $0x21\n\t"
                     "outb %0, $0xa1"
                     :
                     : "a"((uint8_t)0xff));
}

/* Makes the core use them. */
void tables_load(void)
{
    mask_pic();
    uint64_t base = (uint64_t)&task;
    segments[TASK / 8] = (sizeof task - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
                         (base >> 24 & 0xff) << 56;
    segments[TASK / 8 + 1] = base >> 32;
    for (unsigned vector = 0; vector < FIRST_VECTOR; vector++)
        tables_set_gate((uint8_t)vector, (uint64_t)exception_entry, 0);
    for (unsigned vector = FIRST_VECTOR; vector < SPURIOUS; vector++)
        tables_set_gate((uint8_t)vector, (uint64_t)on_leftover, 0);
    struct table gdt = {sizeof segments - 1, segments};
    struct table idt = {sizeof gates - 1, gates};
    __asm__ volatile("lgdt %0\n\t"
                     "pushq %2\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "push %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "mov %3, %%ss\n\t"
                     "mov %3, %%ds\n\t"
                     "mov %3, %%es\n\t"
                     "ltr %4\n\t"
                     "lidt %1"
                     :
                     : "m"(gdt), "m"(idt), "i"(CODE), "r"(DATA), "r"((uint16_t)TASK)
                     : "rax", "memory");
}

void halt(void)
{
    for (;;)
        __asm__ volatile("cli\n\thlt");
}
