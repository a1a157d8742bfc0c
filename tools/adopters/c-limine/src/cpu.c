/* What each core has of its own: a stack, segments; and the interrupt table of all. */

#include "kernel.h"

enum { CODE = 8, DATA = 16, TASK = 24, DOUBLE_FAULT = 8, DOUBLE_FAULT_STACK = 7 };
enum { FIRST_VECTOR = 32, SPURIOUS = 255 };

struct task_state {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t reserved2;
    uint64_t interrupt_stacks[7]; /* From number 1 on. */
    uint64_t reserved3;
    uint16_t reserved4;
    uint16_t io_map;
} __attribute__((packed));

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

struct stack {
    uint8_t bytes[STACK_SIZE];
};

__attribute__((section(".bss.stacks"))) static struct stack stacks[2 * MAX_CORES];
static struct task_state tasks[MAX_CORES];
static uint64_t segments[MAX_CORES][5];
static struct gate gates[256];
static uint64_t apic;

static uint64_t top_of(const struct stack *stack)
{
    return (uint64_t)(stack + 1);
}

/* Goes on in run, on the stack of the core, with no frame and no return address below it. */
void cpu_enter(uint32_t core, void (*run)(uint32_t core))
{
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "push $0\n\t"
                     "jmp *%1"
                     :
                     : "r"(top_of(&stacks[core])), "r"(run), "D"(core)
                     : "memory");
    __builtin_unreachable();
}

bool cpu_is_stack(uint64_t address)
{
    return address - (uint64_t)stacks < sizeof stacks;
}

void cpu_set_interrupt_stack(uint32_t core, unsigned number, uint64_t top)
{
    tasks[core].interrupt_stacks[number - 1] = top;
}

/* An interrupt gate; stack 0 is the one that is interrupted. */
void cpu_set_gate(uint8_t vector, uint64_t entry, unsigned stack)
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
    print("c-limine: an exception: ");
    for (int i = 0; i < 5; i++) {
        print_number(frame[i]);
        print(i < 4 ? ", " : "\n");
    }
    cpu_halt();
}

/* What firmware has left pending comes when interrupts are let in first. It is ended. */
__attribute__((interrupt)) static void on_leftover(void *frame)
{
    uint32_t base, high;
    __asm__ volatile("rdmsr" : "=a"(base), "=d"(high) : "c"(0x1b));
    if (base & 1 << 10) /* x2APIC mode */
        __asm__ volatile("wrmsr" : : "c"(0x80b), "a"(0), "d"(0));
    else
        *(volatile uint32_t *)(apic + 0xb0) = 0;
}

/* For all that nobody takes. The APIC's registers are at this address. */
void cpu_expect_leftovers(uint64_t registers)
{
    apic = registers;
    for (unsigned vector = FIRST_VECTOR; vector < SPURIOUS; vector++)
        cpu_set_gate((uint8_t)vector, (uint64_t)on_leftover, 0);
}

static void set_exceptions(void)
{
    for (unsigned vector = 0; vector < 32; vector++)
        cpu_set_gate((uint8_t)vector, (uint64_t)exception_entry,
                     vector == DOUBLE_FAULT ? DOUBLE_FAULT_STACK : 0);
}

/* Gives the running core its segments, its interrupt stacks and the interrupt table. */
void cpu_start(uint32_t core)
{
    uint64_t task = (uint64_t)&tasks[core];
    uint64_t *own = segments[core];
    own[CODE / 8] = 0x00af9b000000ffff;
    own[DATA / 8] = 0x00cf93000000ffff;
    own[TASK / 8] = (sizeof(struct task_state) - 1) | (task & 0xffffff) << 16 | 0x89ull << 40 |
                    (task >> 24 & 0xff) << 56;
    own[TASK / 8 + 1] = task >> 32;
    cpu_set_interrupt_stack(core, DOUBLE_FAULT_STACK, top_of(&stacks[MAX_CORES + core]));
    if (core == 0)
        set_exceptions();
    struct table gdt = {sizeof segments[0] - 1, own};
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
    /* An interrupt with a vector below 32 would be taken for an exception. */
    __asm__ volatile("mov %0, %%cr8" : : "r"(1ull));
}

void cpu_halt(void)
{
    for (;;)
        __asm__ volatile("cli\n\thlt");
}
