/* The sampler of pmiscope, for kernels in C: libpmiscope.a.
 *
 * A kernel includes the fragment pmiscope.ld in its linker script, links with
 * --build-id=sha1, is compiled with -g and -fno-omit-frame-pointer, and
 *
 * 1. for each core, puts what pmiscope_set_up_core writes into its TSS;
 * 2. puts what pmiscope_gates writes into the interrupt table;
 * 3. puts pmiscope_protection_entry_before, its own entry, into the gate of #GP: the sampler tries
 *    registers that the processor may refuse;
 * 4. calls pmiscope_start on core 0 and pmiscope_join on all others.
 *
 * Made by `make header` from profiler/c/src: changes belong there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef PMISCOPE_H
#define PMISCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The bytes of the memory for pmiscope_start, for so many cores with rings of so many bytes
// each, a power of two of 64 KiB or more: pmiscope_region_bytes as a constant expression.
#define PMISCOPE_REGION_BYTES(cores, ring_bytes) \
    (PMISCOPE_REGION_BYTES_ONCE + (uint64_t)(cores) * (PMISCOPE_REGION_BYTES_PER_CORE + (ring_bytes)))

// The most cores that are sampled.
#define PMISCOPE_MAX_CORES 64

// The number of gates that pmiscope_gates writes.
#define PMISCOPE_GATES 11

// The bytes of a region that are there once: the header page, the sampler's own stack, and
// what aligns the rest.
#define PMISCOPE_REGION_BYTES_ONCE 204800

// The bytes of a region that each core needs beside its ring.
#define PMISCOPE_REGION_BYTES_PER_CORE 106496

// The stack of a gate. The values are the numbers of the interrupt stacks (IST), in a
// kernel that gives 1 and 2 to the sampler.
enum pmiscope_gate_stack {
    // The one that is interrupted: the gate names no interrupt stack.
    PMISCOPE_GATE_STACK_INTERRUPTED = 0,
    // struct pmiscope_tops, nmi.
    PMISCOPE_GATE_STACK_NMI = 1,
    // struct pmiscope_tops, debug.
    PMISCOPE_GATE_STACK_DEBUG = 2,
};

// What came of a call.
enum pmiscope_status {
    // It is done.
    PMISCOPE_STATUS_OK = 0,
    // There is no run: the first core could not start it, or it has ended.
    PMISCOPE_STATUS_NOT_STARTED = 1,
    // The run cannot be changed so; it is as before.
    PMISCOPE_STATUS_REFUSED = 2,
    // The command line has a word that cannot be taken. With this status pmiscope_exit_qemu
    // tells the host tool so.
    PMISCOPE_STATUS_BAD_COMMAND_LINE = 17,
    // Sampling is not possible: the error's text says why. With this status
    // pmiscope_exit_qemu tells the host tool so.
    PMISCOPE_STATUS_UNAVAILABLE = 20,
};

// What interrupts the cores.
enum pmiscope_source_kind {
    // No run has begun.
    PMISCOPE_SOURCE_KIND_NONE = 0,
    // A performance counter of each core. It does not end a halt: the kernel's own timer
    // should, now and then.
    PMISCOPE_SOURCE_KIND_PMU = 1,
    // The timer of each core's local APIC, which is the sampler's from now on.
    PMISCOPE_SOURCE_KIND_APIC_TIMER = 2,
    // A timer of the HPET, by messages to the cores.
    PMISCOPE_SOURCE_KIND_HPET = 3,
    // Core 0, by interrupts to the others.
    PMISCOPE_SOURCE_KIND_IPI = 4,
    // The trap flag: each instruction is a sample. Nothing ends a halt: the kernel should
    // not halt.
    PMISCOPE_SOURCE_KIND_STEP = 5,
};

// Where interrupt stacks of a core begin: words of its TSS.
struct pmiscope_tops {
    // For the gate with PMISCOPE_GATE_STACK_NMI.
    uint64_t nmi;
    // For the gate with PMISCOPE_GATE_STACK_DEBUG.
    uint64_t debug;
};

// An entry of the interrupt table: an interrupt gate (type 14, which keeps maskable
// interrupts out) of privilege level 0.
struct pmiscope_gate {
    // The address of the code.
    uint64_t entry;
    // The stack that the processor is to switch to.
    enum pmiscope_gate_stack stack;
    // The interrupt's vector, the index into the table.
    uint8_t vector;
};

// A stack.
struct pmiscope_stack {
    // Its lowest address, a multiple of 8.
    uint64_t low;
    // The first address past it, a multiple of 8.
    uint64_t high;
};

// The code that was interrupted.
struct pmiscope_registers {
    // rip.
    uint64_t pc;
    // rsp.
    uint64_t sp;
    // rbp.
    uint64_t fp;
    // rflags. The sampler may change them: they are to be restored from here.
    uint64_t flags;
    // The privilege level, 0 to 3: the low two bits of cs.
    uint8_t privilege;
};

// The kernel's functions that the sampler calls. All but stack_of may be NULL.
//
// All of them may be called in a handler of an NMI, on any core, at any instruction of the
// kernel or of a user's program, and between the two: GS and, where page tables are changed
// there, these are then the user's. They take no lock, allocate nothing, cannot fault and return
// soon. They are not to use registers that the kernel does not save at interrupts
// (-mgeneral-regs-only).
//
// The gates' code, its stacks and memory, these functions and the APIC's page are mapped under all
// page tables that are in use while the sampler's interrupts can come. So is the section .text
// from pmiscope_start on, and may be read: the handler of an NMI looks at the interrupted
// instruction. Code that is unmapped later belongs into another section, before .text or behind
// pmiscope.ld.
struct pmiscope_callbacks {
    // Finds the stack that address is on, an address of the running core, whose index
    // is core. Returns false if it is on none that may be looked at: the walk over callers
    // ends there. The interrupt stacks of pmiscope_set_up_core are known already.
    //
    // Each word of the stack is mapped, and may be read at any time from then on, whatever
    // the kernel does.
    bool (*stack_of)(uint32_t core, uint64_t address, struct pmiscope_stack *stack);
    // The number of what the core works on, for the report. NULL: 0.
    uint16_t (*task)(uint32_t core);
    // The name of that number, a string that is valid for ever; NULL if it has none. Called
    // by pmiscope_start alone. NULL: tasks have no names.
    const char *(*task_name)(uint16_t task);
    // Returns true if a core that is about to execute the instruction at pc was halted: it
    // stands behind the kernel's hlt. NULL: false.
    bool (*is_halted_at)(uint64_t pc);
    // Called on each core, interrupts off, before its source is armed; that is the APIC timer
    // where events are counted in place of samples. counts_instructions: periods are in
    // instructions, else in nanoseconds, events, or ticks of the time stamp counter where
    // nothing says how long one is. NULL: nothing.
    void (*begin)(uint32_t core, enum pmiscope_source_kind source, bool counts_instructions);
    // Called on core 0 when counters are stopped until the host asks for more, or count
    // again. While paused, the kernel should call pmiscope_poll now and then. NULL: nothing.
    void (*set_paused)(bool is_paused);
    // An NMI that is not the sampler's, of the core with this index: one by which the kernel stops
    // its cores, or a watchdog's. What it changes of pc and flags is where and how the code
    // resumes. Not in a run: there they are counted, until pmiscope_stop or pmiscope_fail. One
    // of the sampler's own that comes late, when the run has ended, is such, too. NULL: nothing.
    void (*other_nmi)(uint32_t core, struct pmiscope_registers *registers);
    // The same for a debug exception: a breakpoint or single step of the kernel's. NULL: nothing.
    void (*other_debug)(uint32_t core, struct pmiscope_registers *registers);
    // Called where a run that has begun cannot go on, or the library has a bug. The string
    // is valid during the call. NULL: ends QEMU, with PMISCOPE_STATUS_UNAVAILABLE.
    void (*failed)(const char *problem);
    // Writes a line to the log, without a line feed: see pmiscope_list. The string is valid
    // during the call. NULL: nothing.
    void (*show)(const char *line);
    // Called on core 0, in the handler of its last sample, when every core has taken its
    // share. If it returns, all cores resume what they did. NULL: ends QEMU with success.
    void (*finished)(void);
};

// What a kernel tells the sampler. What is 0 or NULL has a default.
//
// Strings are UTF-8, end in a zero, are valid for ever and not written any more.
struct pmiscope_config {
    // The kernel's functions, valid for ever and not written any more. Not NULL.
    const struct pmiscope_callbacks *callbacks;
    // The words by which a run is described, which the host tool puts on the kernel's
    // command line: source=, period=, samples=, ring= and so on. Words that are not the
    // sampler's are refused.
    const char *command_line;
    // The local APIC ids of all cores that take part, the running core's first. The index
    // of a core is its place here. NULL: the running core alone.
    const uint32_t *apic_ids;
    // The number of those.
    uint32_t cores;
    // The virtual address at which the page of the local APIC's registers is mapped,
    // uncached. Not needed in x2APIC mode.
    uint64_t xapic;
    // The virtual address at which the page of the HPET's registers is mapped, uncached.
    // Needed by source=hpet; where time is measured, it is more exact than the others. Its timers
    // are the sampler's, and those that were armed before are stopped. 0: none.
    uint64_t hpet;
    // The I/O port of ACPI's power management timer (PM_TMR_BLK of the FADT): where time is
    // measured and there is no HPET, it is more exact than the PIT. 0: none.
    uint16_t pm_timer;
    // The bytes of address space that each stack has for itself, a power of two, to which
    // it is aligned as well: pmiscope verify tells stacks apart by it. 0: 65536.
    uint64_t stack_slot;
    // The boot loader's name and version, for the report.
    const char *bootloader;
    // The workload that runs, of those that workload= of the command line can choose. NULL
    // where the kernel has no choice: pmiscope run says so to who chooses one.
    const char *workload;
};

// A port by which pmiscope_send sends, and by which the other side may answer.
struct pmiscope_port {
    // Sends so many bytes, however long that takes. Not NULL.
    void (*send)(const uint8_t *bytes, size_t count);
    // Returns the next byte from the other side, 0 to 255; -1 if none comes for a while, half a
    // second or so. NULL if none can come: then nothing is asked for again.
    int32_t (*receive)(void);
};

// How sending has ended.
struct pmiscope_sent {
    // The blocks of the region.
    uint32_t blocks;
    // Those that were sent again, as the other side has asked for them.
    uint32_t again;
    // The other side has said that all is there.
    bool is_confirmed;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the bytes of the memory for pmiscope_start: for so many cores with rings of so
// many bytes each, a power of two of 64 KiB or more. PMISCOPE_REGION_BYTES is a constant
// expression which is a little more. Returns 0 if there are no such rings: more than
// PMISCOPE_MAX_CORES cores, or 1 GiB. May be called anywhere.
uint64_t pmiscope_region_bytes(uint32_t cores, uint64_t ring_bytes);

// Prepares the interrupt stacks of the core with this index, before its TSS has them: writes
// where they begin. Each core needs that before its gates are used. May be called on any
// core, once for each.
//
//     struct pmiscope_gate gates[PMISCOPE_GATES];
//     struct pmiscope_tops tops;
//     for (uint32_t core = 0; core < cores; core++) {
//         pmiscope_set_up_core(core, &tops);
//         set_interrupt_stack(core, PMISCOPE_GATE_STACK_NMI, tops.nmi);
//         set_interrupt_stack(core, PMISCOPE_GATE_STACK_DEBUG, tops.debug);
//     }
//     pmiscope_gates(gates, PMISCOPE_GATES);
//     for (int i = 0; i < PMISCOPE_GATES; i++)
//         set_gate(gates[i].vector, gates[i].entry, gates[i].stack);
//
// Returns false, and writes nothing, if core is PMISCOPE_MAX_CORES or more.
bool pmiscope_set_up_core(uint32_t core, struct pmiscope_tops *tops);

// Writes the first max gates that the interrupt table of each core needs before
// pmiscope_start and pmiscope_join: NMI, debug exceptions, vectors 0xf0 to 0xf7 and the
// spurious interrupt's, 0xff. Returns the number of all, PMISCOPE_GATES. May be called
// anywhere.
uint32_t pmiscope_gates(struct pmiscope_gate *gates, uint32_t max);

// Starts a run as the command line says, on core 0. The other cores come to pmiscope_join,
// before or meanwhile. Returns when this core is sampled, interrupts on.
//
// memory: bytes that are the sampler's for ever, aligned to 4096 and contiguous in physical
// memory too, as a static array is where the boot loader loads the kernel so. Rings that do
// not fit are made smaller.
// error: room for the text of an error, error_bytes long, which is cut if it does not fit
// and always ends in a zero; empty if there is none. Or NULL.
//
//     static char memory[PMISCOPE_REGION_BYTES(4, 2 << 20)] __attribute__((aligned(4096)));
//     static const struct pmiscope_callbacks callbacks = {.stack_of = stack_of};
//     struct pmiscope_config config = {
//         .callbacks = &callbacks,
//         .command_line = command_line,
//         .apic_ids = apic_ids,
//         .cores = cores,
//         .xapic = direct_map + 0xfee00000,
//     };
//     char error[256];
//     int status = pmiscope_start(memory, sizeof memory, &config, error, sizeof error);
//     if (status != PMISCOPE_STATUS_OK) {
//         print_line(error);
//         pmiscope_exit_qemu(status);
//     }
//
// Returns PMISCOPE_STATUS_OK, PMISCOPE_STATUS_BAD_COMMAND_LINE or
// PMISCOPE_STATUS_UNAVAILABLE; cores that wait in pmiscope_join then return as well.
enum pmiscope_status pmiscope_start(void *memory,
                                    uint64_t bytes,
                                    const struct pmiscope_config *config,
                                    char *error,
                                    size_t error_bytes);

// Shows what the machine has to sample by, in lines for callbacks.show, and samples nothing:
// in place of pmiscope_start where the command line says take=survey, with the same
// arguments, errors and calls on other cores.
enum pmiscope_status pmiscope_list(void *memory,
                                   uint64_t bytes,
                                   const struct pmiscope_config *config,
                                   char *error,
                                   size_t error_bytes);

// Takes part in the run that core 0 starts, on every other core, and waits for it. core is
// the index of the running core. Returns when this core is sampled, interrupts on.
//
// Returns PMISCOPE_STATUS_OK, or PMISCOPE_STATUS_NOT_STARTED if there is no run.
enum pmiscope_status pmiscope_join(uint32_t core);

// For kernels whose interrupt table leads the vectors 0xf0 to 0xf6 to entries of their own:
// an interrupt with that vector, of the core with this index. In its handler, on that core,
// interrupts off. The gates of pmiscope_gates do that themselves.
//
//     struct pmiscope_registers registers = {
//         .pc = frame->rip,
//         .sp = frame->rsp,
//         .fp = frame->rbp,
//         .flags = frame->rflags,
//         .privilege = frame->cs & 3,
//     };
//     pmiscope_on_interrupt(core, 0xf0, &registers);
//     frame->rflags = registers.flags;
void pmiscope_on_interrupt(uint32_t core, uint8_t vector, struct pmiscope_registers *registers);

// For the handler of general protection faults, where pmiscope_protection_entry_before is not
// its gate's. It comes first to this: returns where
// the code that was interrupted at pc resumes, which is then the new rip; 0 if the fault is
// not the sampler's, which may be refused a register. In that handler, on any core.
//
//     uint64_t resume = pmiscope_on_general_protection(frame->rip);
//     if (resume != 0) {
//         frame->rip = resume;
//         return;
//     }
uint64_t pmiscope_on_general_protection(uint64_t pc);

// Returns the address of an entry for the gate of general protection faults (13, an interrupt
// gate), from which a fault that is not the sampler's goes on at handler: the entry that the gate
// had. May be called anywhere.
//
//     set_gate(13, pmiscope_protection_entry_before((uint64_t)protection_entry),
//              PMISCOPE_GATE_STACK_INTERRUPTED);
uint64_t pmiscope_protection_entry_before(uint64_t handler);

// Ends the run: no interrupt is a sample any more, and no core waits in a handler of the
// sampler. May be called anywhere, in a panic too.
void pmiscope_stop(void);

// As pmiscope_stop, and tells the host that the run has failed; what was sampled is kept. May
// be called anywhere.
//
//     // In a panic: 0x12 tells the host so.
//     pmiscope_fail();
//     pmiscope_exit_qemu(0x12);
void pmiscope_fail(void);

// Does what the host asks for, if it does: on core 0, in a maskable interrupt or in a task;
// on others nothing. core is the index of the running core.
//
//     // In the idle loop, for a run that is paused: pmiscope ctl stop.
//     pmiscope_poll(core);
void pmiscope_poll(uint32_t core);

// Stops the counters of all cores. For runs by performance counters, on core 0, in a
// maskable interrupt or in a task, as pmiscope_resume and pmiscope_set_period.
//
//     // What comes now is not to be seen.
//     char error[256];
//     if (pmiscope_pause(error, sizeof error) != PMISCOPE_STATUS_OK)
//         print_line(error);
//
// Returns PMISCOPE_STATUS_OK, or PMISCOPE_STATUS_REFUSED if there are no counters in the run
// or a core does not answer. The text of the error is written as by pmiscope_start.
enum pmiscope_status pmiscope_pause(char *error, size_t error_bytes);

// Samples on all cores again, after pmiscope_pause, and is called where that is. Returns what
// it returns.
enum pmiscope_status pmiscope_resume(char *error, size_t error_bytes);

// Samples every so many events from now on, those that have no period of their own. Is called
// where pmiscope_pause is, and returns what it returns; PMISCOPE_STATUS_REFUSED for a period
// that cannot be counted as well.
enum pmiscope_status pmiscope_set_period(uint64_t period, char *error, size_t error_bytes);

// Returns the source of the run, on which it depends what ends a halt. May be called
// anywhere.
enum pmiscope_source_kind pmiscope_source(void);

// Returns true if an interrupt of the sampler will come to the core with this index, and end
// its halt. May be called anywhere.
//
//     // The idle loop of a kernel without a timer of its own.
//     if (pmiscope_will_interrupt(core) && pmiscope_source() != PMISCOPE_SOURCE_KIND_STEP)
//         __asm__ volatile("hlt");
bool pmiscope_will_interrupt(uint32_t core);

// Returns the units of the workload that each core is counted for, between
// pmiscope_begin_counting and pmiscope_end_counting, where the run counts events (pmiscope
// stat); else 0. May be called anywhere.
//
//     // On each core, in a task.
//     if (pmiscope_units() != 0) {
//         pmiscope_begin_counting();
//         for (uint64_t unit = 0; unit < pmiscope_units(); unit++)
//             work();
//         pmiscope_end_counting();
//     }
uint64_t pmiscope_units(void);

// The running core begins its units: in a task, only where pmiscope_units is not 0.
void pmiscope_begin_counting(void);

// The running core has done its units: in the same task, after pmiscope_begin_counting.
void pmiscope_end_counting(void);

// Sends what was sampled or counted by a port of the kernel's, for pmiscope import on the other
// side: where no host shares the memory. sent is room for how that has ended, or NULL. May be
// called when the run has ended, once at a time, in a task or the idle loop: it takes as long as
// the port does, and 12 KiB of the stack, more than callbacks.finished has. The log may go by the
// same port.
//
//     // Once callbacks.finished was called.
//     static const struct pmiscope_port port = {.send = send_bytes, .receive = receive_byte};
//     struct pmiscope_sent sent;
//     if (pmiscope_send(&port, &sent) != PMISCOPE_STATUS_OK)
//         print_line("nothing was sampled");
//     else if (!sent.is_confirmed)
//         print_line("nobody says what has arrived");
//
// Returns PMISCOPE_STATUS_OK, or PMISCOPE_STATUS_NOT_STARTED if there was no run, the port has
// no send, or another core sends it just now.
enum pmiscope_status pmiscope_send(const struct pmiscope_port *port, struct pmiscope_sent *sent);

// Ends QEMU with this status of pmiscope_start, by its device isa-debug-exit, which the host
// tool provides; PMISCOPE_STATUS_OK is success, 0x12 a panic, 0x13 an exception. Returns
// where there is no such device. May be called anywhere.
void pmiscope_exit_qemu(uint8_t status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PMISCOPE_H */
