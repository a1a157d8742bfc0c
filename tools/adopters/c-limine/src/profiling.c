/* What the sampler and this kernel know of each other. */

#include "kernel.h"
#include "pmiscope.h"

static char memory[PMISCOPE_REGION_BYTES(MAX_CORES, 2 << 20)] __attribute__((aligned(4096)));

static bool stack_of(uint32_t core, uint64_t address, struct pmiscope_stack *stack)
{
    stack->low = address - address % STACK_SIZE;
    stack->high = stack->low + STACK_SIZE;
    return cpu_is_stack(address);
}

static const struct pmiscope_callbacks callbacks = {.stack_of = stack_of};

/* Samples as the command line says, when all cores are online. */
void profiling_start(const struct boot *boot)
{
    struct pmiscope_gate gates[PMISCOPE_GATES];
    struct pmiscope_tops tops;
    for (uint32_t core = 0; core < boot->cores; core++) {
        pmiscope_set_up_core(core, &tops);
        cpu_set_interrupt_stack(core, PMISCOPE_GATE_STACK_NMI, tops.nmi);
        cpu_set_interrupt_stack(core, PMISCOPE_GATE_STACK_DEBUG, tops.debug);
    }
    pmiscope_gates(gates, PMISCOPE_GATES);
    for (int i = 0; i < PMISCOPE_GATES; i++)
        cpu_set_gate(gates[i].vector, gates[i].entry, gates[i].stack);
    cpu_set_gate(PROTECTION, pmiscope_protection_entry_before((uint64_t)exception_entry), 0);

    struct pmiscope_config config = {
        .callbacks = &callbacks,
        .command_line = boot->command_line,
        .apic_ids = boot->apic_ids,
        .cores = boot->cores,
        .xapic = boot->direct_map + 0xfee00000,
    };
    char error[256];
    int status = pmiscope_start(memory, sizeof memory, &config, error, sizeof error);
    if (status != PMISCOPE_STATUS_OK) {
        print_line(error);
        pmiscope_exit_qemu(status);
    }
}
