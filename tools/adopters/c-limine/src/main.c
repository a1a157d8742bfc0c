/* A small kernel for all cores of a machine, booted by Limine: it prints to the serial port,
 * has its own stacks, segments and interrupt table, starts every core, and lets each do the
 * same work for ever. */

#include "kernel.h"
#include "limine.h"
#include "pmiscope.h" /* pmiscope */

/* The last one whose direct map has the devices, too. */
__attribute__((used, section(".requests"))) static volatile uint64_t base_revision[] = {
    LIMINE_BASE_REVISION, 2};

#define REQUEST(name, id)                                                     \
    __attribute__((used, section(".requests"))) static volatile struct limine_request name = { \
        {id}, 0, NULL, 0}

REQUEST(kernel, LIMINE_FILE);
REQUEST(direct_map, LIMINE_DIRECT_MAP);
REQUEST(cores, LIMINE_CORES);

static struct boot boot;
static uint32_t online;

static void come_online(void)
{
    __atomic_fetch_add(&online, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&online, __ATOMIC_ACQUIRE) < boot.cores)
        __builtin_ia32_pause();
}

static void other_core(uint32_t core)
{
    cpu_start(core);
    come_online();
    pmiscope_join(core); /* pmiscope */
    __asm__ volatile("sti");
    workload_run();
}

static void enter_other_core(struct limine_core *core)
{
    cpu_enter((uint32_t)core->argument, other_core);
}

static void start_others(void)
{
    const struct limine_cores *all = cores.response;
    uint32_t index = 1;
    for (uint64_t i = 0; i < all->count && index < boot.cores; i++) {
        struct limine_core *core = all->cores[i];
        if (core->apic_id == all->first_apic_id)
            continue;
        core->argument = index++;
        __atomic_store_n(&core->entry, enter_other_core, __ATOMIC_SEQ_CST);
    }
}

static void read_boot(void)
{
    const struct limine_kernel *file = kernel.response;
    const struct limine_direct_map *map = direct_map.response;
    const struct limine_cores *all = cores.response;
    if (base_revision[2] != 0 || map == NULL || all == NULL) {
        print_line("c-limine: the boot loader does not know what is needed");
        cpu_halt();
    }
    boot.command_line = file == NULL ? "" : file->file->command_line;
    boot.direct_map = map->offset;
    boot.apic_ids[boot.cores++] = all->first_apic_id;
    for (uint64_t i = 0; i < all->count && boot.cores < MAX_CORES; i++)
        if (all->cores[i]->apic_id != all->first_apic_id)
            boot.apic_ids[boot.cores++] = all->cores[i]->apic_id;
}

static void first_core(uint32_t core)
{
    cpu_start(core);
    read_boot();
    cpu_expect_leftovers(boot.direct_map + 0xfee00000);
    workload_print_truth();
    start_others();
    come_online();
    print("c-limine: ");
    print_number(boot.cores);
    print_line(" cores online");
    profiling_start(&boot); /* pmiscope */
    __asm__ volatile("sti");
    workload_run();
}

void kmain(void)
{
    cpu_enter(0, first_core);
}
