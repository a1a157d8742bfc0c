/* What the kernels in C do: rounds of the same functions, compiled C. Nearly all that a
 * function executes is a loop in assembly of known length:
 *
 *     hash     4 instructions, 700 times     a leaf, without a frame
 *     outer    2 instructions, 300 times     between two calls of inner
 *     inner    3 instructions, 450 times     called twice in a round
 *     masked   4 instructions, 250 times     interrupts off
 */

/* The kernel's: how it prints. */
#include "kernel.h"

#define FUNCTION __attribute__((noinline)) uint64_t

FUNCTION hash(uint64_t value)
{
    uint64_t steps = 700;
    __asm__ volatile("1:\n\t"
                     "rol $5, %0\n\t"
                     "xor %1, %0\n\t"
                     "dec %1\n\t"
                     "jnz 1b"
                     : "+r"(value), "+r"(steps));
    return value;
}

FUNCTION inner(uint64_t value)
{
    uint64_t steps = 450;
    __asm__ volatile("1:\n\t"
                     "lea 1(%0, %0, 2), %0\n\t"
                     "dec %1\n\t"
                     "jnz 1b"
                     : "+r"(value), "+r"(steps));
    return value;
}

FUNCTION outer(uint64_t value)
{
    uint64_t steps = 300;
    value = inner(value);
    __asm__ volatile("1:\n\t"
                     "dec %0\n\t"
                     "jnz 1b"
                     : "+r"(steps));
    return inner(value) + 1;
}

FUNCTION masked(uint64_t value)
{
    uint64_t steps = 250;
    __asm__ volatile("cli\n"
                     "1:\n\t"
                     "imul $31, %0, %0\n\t"
                     "add %1, %0\n\t"
                     "dec %1\n\t"
                     "jnz 1b\n\t"
                     "sti"
                     : "+r"(value), "+r"(steps));
    return value;
}

__attribute__((noinline)) void rounds(uint64_t count)
{
    uint64_t value = count;
    do
        value = masked(outer(hash(value)));
    while (--count != 0);
}

static uint64_t ticks_of(volatile uint64_t count)
{
    uint64_t before = __builtin_ia32_rdtsc();
    rounds(count);
    return __builtin_ia32_rdtsc() - before;
}

/* Prints how many instructions a round is, where the time stamp counter counts them. What the
 * counter is read by cancels out. */
void workload_print_truth(void)
{
    print("truth: round ");
    print_number(ticks_of(3) - ticks_of(2));
    print_line("");
    __asm__ volatile("cli"); /* masked has let interrupts in. */
}

void workload_run(void)
{
    for (;;)
        rounds(~0ull);
}
