/* What the sampler and this kernel know of each other. */

#include "kernel.h"
#include "pmiscope.h"

static char memory[PMISCOPE_REGION_BYTES(1, 4 << 20)] __attribute__((aligned(4096)));

static bool stack_of(uint32_t core, uint64_t address, struct pmiscope_stack *bounds)
{
    bounds->low = (uint64_t)stack;
    bounds->high = bounds->low + STACK_SIZE;
    return bounds->low <= address && address <= bounds->high;
}

static const struct pmiscope_callbacks callbacks = {.stack_of = stack_of};

/* Samples as the command line says. */
void profiling_start(const char *command_line)
{
    struct pmiscope_gate gates[PMISCOPE_GATES];
    struct pmiscope_tops tops;
    pmiscope_set_up_core(0, &tops);
    tables_set_interrupt_stack(PMISCOPE_GATE_STACK_NMI, tops.nmi);
    tables_set_interrupt_stack(PMISCOPE_GATE_STACK_DEBUG, tops.debug);
    pmiscope_gates(gates, PMISCOPE_GATES);
    for (int i = 0; i < PMISCOPE_GATES; i++)
        tables_set_gate(gates[i].vector, gates[i].entry, gates[i].stack);
    tables_set_gate(PROTECTION, pmiscope_protection_entry_before((uint64_t)exception_entry), 0);

    struct pmiscope_config config = {
        .callbacks = &callbacks,
        .command_line = command_line,
        .xapic = APIC,
    };
    char error[256];
    int status = pmiscope_start(memory, sizeof memory, &config, error, sizeof error);
    if (status != PMISCOPE_STATUS_OK) {
        print_line(error);
        pmiscope_exit_qemu(status);
    }
}
