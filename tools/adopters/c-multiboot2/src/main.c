/* A small kernel for one core, booted by Multiboot 2 (GRUB, Limine): it prints to the serial
 * port, has its own stack, page tables, segments and interrupt table, and does the same work
 * for ever. */

#include "kernel.h"

/* What the boot loader tells: tags, each at a multiple of eight bytes. */
struct tag {
    uint32_t type;
    uint32_t size;
    char text[];
};
enum { END = 0, COMMAND_LINE = 1, HEADER_BYTES = 8 };

static const char *command_line(uint64_t information)
{
    const char *at = (const char *)(information + OFFSET + HEADER_BYTES);
    for (;;) {
        const struct tag *tag = (const struct tag *)at;
        if (tag->type == END)
            return "";
        if (tag->type == COMMAND_LINE)
            return tag->text;
        at += (tag->size + 7) & ~7u;
    }
}

void kmain(uint64_t information)
{
    const char *line = command_line(information);
    tables_load();
    print("c-multiboot2: command line `");
    print(line);
    print_line("`");
    workload_print_truth();
    profiling_start(line); /* pmiscope */
    __asm__ volatile("sti");
    workload_run();
}
