/* The first serial port. */

#include "kernel.h"

enum { PORT = 0x3f8, LINE_STATUS = PORT + 5, TRANSMITTER_EMPTY = 1 << 5 };

static uint8_t in(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

void print(const char *text)
{
    for (; *text != 0; text++) {
        while (!(in(LINE_STATUS) & TRANSMITTER_EMPTY))
            __builtin_ia32_pause();
        out(PORT, (uint8_t)*text);
    }
}

void print_line(const char *text)
{
    print(text);
    print("\n");
}

void print_number(uint64_t number)
{
    char digits[21];
    char *first = digits + sizeof digits - 1;
    *first = 0;
    do
        *--first = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    print(first);
}
