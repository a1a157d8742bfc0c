/* In place of src/profiling.c, for tests: all that the sampler can be given and asked for. */

#include "kernel.h"
#include "pmiscope.h"

static char memory[PMISCOPE_REGION_BYTES(MAX_CORES, 2 << 20)] __attribute__((aligned(4096)));

void rounds(uint64_t count);

/* The page of the APIC's registers, where the kernel has a tick by its timer, else 0. */
static uint64_t tick_apic;

static void print_named(const char *name, uint64_t number)
{
    print(name);
    print(" ");
    print_number(number);
    print_line("");
}

static bool stack_of(uint32_t core, uint64_t address, struct pmiscope_stack *stack)
{
    stack->low = address - address % STACK_SIZE;
    stack->high = stack->low + STACK_SIZE;
    return cpu_is_stack(address);
}

static uint16_t task(uint32_t core)
{
    return (uint16_t)(core + 1);
}

static const char *task_name(uint16_t task)
{
    return task == 1 ? "one" : task == 2 ? "two" : NULL;
}

/* No core ever halts; so all that rounds has of its own is marked. */
static bool is_halted_at(uint64_t pc)
{
    return pc - (uint64_t)rounds < 64;
}

static void begin(uint32_t core, enum pmiscope_source_kind source, bool counts_instructions)
{
    if (core == 0)
        print_named(counts_instructions ? "begin: by instructions, source" : "begin: source", source);
}

static void set_paused(bool is_paused)
{
    print_named("paused:", is_paused);
}

static volatile uint32_t *apic_register(uint32_t offset)
{
    return (volatile uint32_t *)(tick_apic + offset);
}

/* A periodic one, whose interrupts are ended as those that firmware leaves. */
static void start_tick(uint64_t apic)
{
    tick_apic = apic;
    *apic_register(0x3e0) = 3; /* Divides by 16. */
    *apic_register(0x320) = 1 << 17 | 0x40;
    *apic_register(0x380) = 1000000;
}

static void print_tick(void)
{
    if (tick_apic == 0)
        return;
    print_named("tick, divided by:", *apic_register(0x3e0));
    print_named("tick, entry:", *apic_register(0x320) & 0x3ffff & ~(1u << 12));
    print_named("tick, count:", *apic_register(0x380));
}

static void failed(const char *problem)
{
    print("failed: ");
    print_line(problem);
    pmiscope_exit_qemu(PMISCOPE_STATUS_UNAVAILABLE);
}

/* By the workload's name: the kernel goes on when the run has ended, and sends it. */
static bool sends;
static bool is_over;

static void finished(void)
{
    __atomic_store_n(&is_over, sends, __ATOMIC_RELEASE);
    if (sends)
        return;
    print_line("finished");
    print_tick();
    pmiscope_exit_qemu(PMISCOPE_STATUS_OK);
}

static const struct pmiscope_callbacks callbacks = {
    .stack_of = stack_of,
    .task = task,
    .task_name = task_name,
    .is_halted_at = is_halted_at,
    .begin = begin,
    .set_paused = set_paused,
    .failed = failed,
    .show = print_line,
    .finished = finished,
};
static const struct pmiscope_callbacks no_callbacks;

static bool has_word(const char *line, const char *word)
{
    size_t length = 0;
    for (; *line != 0; line++) {
        length = *line == word[length] ? length + 1 : *line == word[0];
        if (word[length] == 0)
            return true;
    }
    return false;
}

/* What is refused before anything is touched. */
static void try_errors(struct pmiscope_config config)
{
    char error[64] = "?";
    char cut[8];
    const struct pmiscope_callbacks *const all = config.callbacks;
    int status = pmiscope_start(memory + 1, 0, &config, error, sizeof error);
    print_named(error, status);
    pmiscope_start(memory + 1, 0, &config, cut, sizeof cut);
    print_line(cut);
    pmiscope_start(memory, 0, NULL, NULL, 0);
    config.callbacks = NULL;
    print_named(error, pmiscope_start(memory, 0, &config, error, sizeof error));
    config.callbacks = &no_callbacks;
    print_named(error, pmiscope_start(memory, 0, &config, error, sizeof error));
    config.callbacks = all;
    config.cores = PMISCOPE_MAX_CORES + 1;
    print_named(error, pmiscope_start(memory, 0, &config, error, sizeof error));
    config.cores = 1;
    config.workload = "\xff";
    print_named(error, pmiscope_list(memory, 0, &config, error, sizeof error));
    struct pmiscope_tops tops = {1, 2};
    print_named("set up core 64:", pmiscope_set_up_core(PMISCOPE_MAX_CORES, &tops));
    print_named("its stacks:", tops.nmi + tops.debug);
    print_named("not a fault of the sampler:", pmiscope_on_general_protection(0));
    print_named("source before:", pmiscope_source());
    print_named("too many cores:", pmiscope_region_bytes(PMISCOPE_MAX_CORES + 1, 64 << 10));
    print_named("too small a ring:", pmiscope_region_bytes(1, 32 << 10));
    print_named("room is enough:",
                pmiscope_region_bytes(MAX_CORES, 2 << 20) <= sizeof memory);
}

/* What an author may get wrong, by the workload's name: cores in another order than they
 * join, or one of them twice. */
static void spoil(uint32_t *ids, const char *line)
{
    uint32_t first = ids[0], second = ids[1], third = ids[2];
    if (has_word(line, "workload=first-elsewhere")) {
        ids[0] = second;
        ids[1] = first;
    } else if (has_word(line, "workload=others-swapped")) {
        ids[1] = third;
        ids[2] = second;
    } else if (has_word(line, "workload=one-twice")) {
        ids[2] = second;
    }
}

/* Another mistake: this core's APIC alone is in x2APIC mode. */
static void enter_x2apic(void)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0x1b));
    __asm__ volatile("wrmsr" ::"a"(low | 1 << 10), "d"(high), "c"(0x1b));
}

struct interrupt_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

#ifdef __clang__
#pragma clang diagnostic ignored "-Winterrupt-service-routine" /* It saves what a call may change. */
#endif

/* An entry of the kernel's own, in place of the sampler's: its first core is sampled by it. */
__attribute__((interrupt)) static void own_entry(struct interrupt_frame *frame)
{
    struct pmiscope_registers registers = {
        .pc = frame->rip,
        .sp = frame->rsp,
        .fp = *(uint64_t *)__builtin_frame_address(0),
        .flags = frame->rflags,
        .privilege = frame->cs & 3,
    };
    pmiscope_on_interrupt(0, 0xf0, &registers);
    frame->rflags = registers.flags;
}

/* What a free word of a stack has. */
static const uint64_t PAINT = 0x5a5a5a5a5a5a5a5a;

/* The words of this stack below its pointer, but for those of this function. */
__attribute__((noinline)) static volatile uint64_t *stack_low(void)
{
    uint64_t sp = (uint64_t)__builtin_frame_address(0);
    return (volatile uint64_t *)(sp - sp % STACK_SIZE);
}

__attribute__((noinline)) static void paint_stack(void)
{
    uint64_t end = (uint64_t)__builtin_frame_address(0) - 512;
    for (volatile uint64_t *word = stack_low(); (uint64_t)word < end; word++)
        *word = PAINT;
}

/* The bytes of the stack that were used since it was painted. */
__attribute__((noinline)) static uint64_t used_stack(void)
{
    volatile uint64_t *word = stack_low();
    while (*word == PAINT)
        word++;
    return (uint64_t)__builtin_frame_address(0) - (uint64_t)word;
}

enum { PORT = 0x3f8, LINE_STATUS = PORT + 5, HAS_BYTE = 1 << 0, HAS_ROOM = 1 << 5 };

static uint8_t in(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void send_bytes(const uint8_t *bytes, size_t count)
{
    for (; count != 0; bytes++, count--) {
        while (!(in(LINE_STATUS) & HAS_ROOM))
            __builtin_ia32_pause();
        __asm__ volatile("outb %0, %1" : : "a"(*bytes), "Nd"((uint16_t)PORT));
    }
}

static int32_t receive_byte(void)
{
    for (int tries = 0; tries < 100000; tries++)
        if (in(LINE_STATUS) & HAS_BYTE)
            return in(PORT);
    return -1;
}

static const struct pmiscope_port port = {.send = send_bytes, .receive = receive_byte};

static void send_what_was_sampled(void)
{
    static const struct pmiscope_port no_port;
    struct pmiscope_sent sent = {0};
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE))
        rounds(1);
    print_named("send without a port:", pmiscope_send(&no_port, NULL));
    paint_stack();
    int status = pmiscope_send(&port, &sent);
    print_named("stack of send:", used_stack());
    print_named("sent:", status);
    print_named("blocks:", sent.blocks);
    print_named("confirmed:", sent.is_confirmed);
    pmiscope_exit_qemu(PMISCOPE_STATUS_OK);
}

static void try_changes(void)
{
    char error[128] = "?";
    int status = pmiscope_pause(error, sizeof error);
    print_named(error, status);
    status = pmiscope_resume(error, sizeof error);
    print_named(error, status);
    status = pmiscope_set_period(2003, error, sizeof error);
    print_named(error, status);
    pmiscope_poll(0);
    print_named("source:", pmiscope_source());
    print_named("will interrupt:", pmiscope_will_interrupt(0));
}

void profiling_start(const struct boot *boot)
{
    struct pmiscope_gate gates[PMISCOPE_GATES + 1] = {{0}};
    struct pmiscope_tops tops;
    for (uint32_t core = 0; core < boot->cores; core++) {
        pmiscope_set_up_core(core, &tops);
        cpu_set_interrupt_stack(core, PMISCOPE_GATE_STACK_NMI, tops.nmi);
        cpu_set_interrupt_stack(core, PMISCOPE_GATE_STACK_DEBUG, tops.debug);
    }
    print_named("gates:", pmiscope_gates(gates, 0));
    print_named("entry of none:", gates[0].entry);
    print_named("gates:", pmiscope_gates(gates, PMISCOPE_GATES + 1));
    print_named("entry of one more:", gates[PMISCOPE_GATES].entry);
    for (int i = 0; i < PMISCOPE_GATES; i++)
        cpu_set_gate(gates[i].vector, gates[i].entry, gates[i].stack);
    cpu_set_gate(PROTECTION, pmiscope_protection_entry_before((uint64_t)exception_entry), 0);
    if (has_word(boot->command_line, "workload=own-entries"))
        cpu_set_gate(0xf0, (uint64_t)own_entry, 0);

    uint32_t apic_ids[MAX_CORES];
    for (uint32_t core = 0; core < MAX_CORES; core++)
        apic_ids[core] = boot->apic_ids[core];
    spoil(apic_ids, boot->command_line);
    if (has_word(boot->command_line, "workload=other-mode"))
        enter_x2apic();
    if (has_word(boot->command_line, "workload=own-tick"))
        start_tick(boot->direct_map + 0xfee00000);
    struct pmiscope_config config = {
        .callbacks = &callbacks,
        .command_line = boot->command_line,
        .apic_ids = apic_ids,
        .cores = boot->cores,
        .xapic = boot->direct_map + 0xfee00000,
        .bootloader = "a boot loader",
        .workload = tick_apic == 0 ? "what runs" : "own-tick",
    };
    sends = has_word(boot->command_line, "workload=wire");
    if (sends)
        config.workload = "wire";
    if (has_word(boot->command_line, "workload=own-entries"))
        config.workload = "own-entries";
    char error[256] = "?";
    if (has_word(boot->command_line, "take=survey")) {
        print_named("list:", pmiscope_list(memory, sizeof memory, &config, error, sizeof error));
        print_tick();
        pmiscope_exit_qemu(PMISCOPE_STATUS_OK);
    }
    print_named("send of nothing:", pmiscope_send(&port, NULL));
    try_errors(config);
    paint_stack();
    int status = pmiscope_start(memory, sizeof memory, &config, error, sizeof error);
    if (has_word(boot->command_line, "workload=stack"))
        print_named("stack of start:", used_stack());
    if (status != PMISCOPE_STATUS_OK) {
        print_named(error, status);
        print_tick();
        pmiscope_exit_qemu(status);
    }
    if (sends)
        send_what_was_sampled();
    if (pmiscope_units() == 0) {
        try_changes();
        return;
    }
    print_named("units:", pmiscope_units());
    uint64_t units = pmiscope_units();
    pmiscope_begin_counting();
    rounds(units);
    pmiscope_end_counting();
}
