//! The functions of `pmiscope.h`. Their comments are for readers of C.

use core::ffi::{c_char, c_void};
use core::fmt;
use core::ptr::NonNull;
use core::slice;

use profiler::contract::settings::Settings;
use profiler::format::Text;
use profiler::hw::exit;
use profiler::hw::pm_timer::PmTimer;
use profiler::sampler::{
    self, Config as SamplerConfig, Interrupted, Memory, Refusal, StartError, region_bytes,
};

use crate::kernel::{self, SAMPLER, STACKS};
use crate::text::{self, Room};
use crate::types::{
    Config, GATES, Gate, GateStack, MAX_CORES, Port, REGION_BYTES_ONCE, REGION_BYTES_PER_CORE,
    Registers, Sent, Source, Status, Tops,
};
use crate::wire;

// The header's macro is enough for what the function says: rings are whole pages.
const _: () = {
    let ring = 64 << 10;
    assert!(region_bytes(1, ring) as u64 <= macro_bytes(1, ring));
    assert!(region_bytes(MAX_CORES, ring) as u64 <= macro_bytes(MAX_CORES, ring));
};

/// What the header's macro PMISCOPE_REGION_BYTES says.
const fn macro_bytes(cores: u32, ring_bytes: u64) -> u64 {
    REGION_BYTES_ONCE + cores as u64 * (REGION_BYTES_PER_CORE + ring_bytes)
}

/// Returns the bytes of the memory for pmiscope_start: for so many cores with rings of so
/// many bytes each, a power of two of 64 KiB or more. PMISCOPE_REGION_BYTES is a constant
/// expression which is a little more. Returns 0 if there are no such rings: more than
/// PMISCOPE_MAX_CORES cores, or 1 GiB. May be called anywhere.
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_region_bytes(cores: u32, ring_bytes: u64) -> u64 {
    if cores > MAX_CORES || !Settings::RING_BYTES.contains(&ring_bytes) {
        return 0;
    }
    region_bytes(cores, ring_bytes) as u64
}

/// Prepares the interrupt stacks of the core with this index, before its TSS has them: writes
/// where they begin. Each core needs that before its gates are used. May be called on any
/// core, once for each.
///
///     struct pmiscope_gate gates[PMISCOPE_GATES];
///     struct pmiscope_tops tops;
///     for (uint32_t core = 0; core < cores; core++) {
///         pmiscope_set_up_core(core, &tops);
///         set_interrupt_stack(core, PMISCOPE_GATE_STACK_NMI, tops.nmi);
///         set_interrupt_stack(core, PMISCOPE_GATE_STACK_DEBUG, tops.debug);
///     }
///     pmiscope_gates(gates, PMISCOPE_GATES);
///     for (int i = 0; i < PMISCOPE_GATES; i++)
///         set_gate(gates[i].vector, gates[i].entry, gates[i].stack);
///
/// Returns false, and writes nothing, if core is PMISCOPE_MAX_CORES or more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_set_up_core(core: u32, tops: *mut Tops) -> bool {
    if core >= MAX_CORES {
        return false;
    }
    let set_up = STACKS.set_up(core);
    // SAFETY: the caller's room for it.
    unsafe {
        tops.write(Tops {
            nmi: set_up.nmi,
            debug: set_up.debug,
        });
    }
    true
}

/// Writes the first max gates that the interrupt table of each core needs before
/// pmiscope_start and pmiscope_join: NMI, debug exceptions, vectors 0xf0 to 0xf7 and the
/// spurious interrupt's, 0xff. Returns the number of all, PMISCOPE_GATES. May be called
/// anywhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_gates(gates: *mut Gate, max: u32) -> u32 {
    let mut place = gates;
    for gate in sampler::gates().take(max as usize) {
        let gate = Gate {
            entry: gate.entry,
            stack: match gate.stack {
                sampler::GateStack::Interrupted => GateStack::Interrupted,
                sampler::GateStack::Nmi => GateStack::Nmi,
                sampler::GateStack::Debug => GateStack::Debug,
            },
            vector: gate.vector,
        };
        // SAFETY: the caller has room for `max`.
        unsafe { place.write(gate) };
        place = place.wrapping_add(1);
    }
    GATES
}

/// Starts a run as the command line says, on core 0. The other cores come to pmiscope_join,
/// before or meanwhile. Returns when this core is sampled, interrupts on.
///
/// memory: bytes that are the sampler's for ever, aligned to 4096 and contiguous in physical
/// memory too, as a static array is where the boot loader loads the kernel so. Rings that do
/// not fit are made smaller.
/// error: room for the text of an error, error_bytes long, which is cut if it does not fit
/// and always ends in a zero; empty if there is none. Or NULL.
///
///     static char memory[PMISCOPE_REGION_BYTES(4, 2 << 20)] __attribute__((aligned(4096)));
///     static const struct pmiscope_callbacks callbacks = {.stack_of = stack_of};
///     struct pmiscope_config config = {
///         .callbacks = &callbacks,
///         .command_line = command_line,
///         .apic_ids = apic_ids,
///         .cores = cores,
///         .xapic = direct_map + 0xfee00000,
///     };
///     char error[256];
///     int status = pmiscope_start(memory, sizeof memory, &config, error, sizeof error);
///     if (status != PMISCOPE_STATUS_OK) {
///         print_line(error);
///         pmiscope_exit_qemu(status);
///     }
///
/// Returns PMISCOPE_STATUS_OK, PMISCOPE_STATUS_BAD_COMMAND_LINE or
/// PMISCOPE_STATUS_UNAVAILABLE; cores that wait in pmiscope_join then return as well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_start(
    memory: *mut c_void,
    bytes: u64,
    config: *const Config,
    error: *mut c_char,
    error_bytes: usize,
) -> Status {
    // SAFETY: of the caller, all of it.
    unsafe {
        with_config(
            memory,
            bytes,
            config,
            error,
            error_bytes,
            |memory, config| SAMPLER.start(memory, config),
        )
    }
}

/// Shows what the machine has to sample by, in lines for callbacks.show, and samples nothing:
/// in place of pmiscope_start where the command line says take=survey, with the same
/// arguments, errors and calls on other cores.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_list(
    memory: *mut c_void,
    bytes: u64,
    config: *const Config,
    error: *mut c_char,
    error_bytes: usize,
) -> Status {
    // SAFETY: of the caller, all of it.
    unsafe {
        with_config(
            memory,
            bytes,
            config,
            error,
            error_bytes,
            |memory, config| SAMPLER.list(memory, config),
        )
    }
}

/// Takes part in the run that core 0 starts, on every other core, and waits for it. core is
/// the index of the running core. Returns when this core is sampled, interrupts on.
///
/// Returns PMISCOPE_STATUS_OK, or PMISCOPE_STATUS_NOT_STARTED if there is no run.
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_join(core: u32) -> Status {
    match SAMPLER.join(core) {
        Ok(()) => Status::Ok,
        Err(sampler::NotStarted) => Status::NotStarted,
    }
}

/// For kernels whose interrupt table leads the vectors 0xf0 to 0xf6 to entries of their own:
/// an interrupt with that vector, of the core with this index. In its handler, on that core,
/// interrupts off. The gates of pmiscope_gates do that themselves.
///
///     struct pmiscope_registers registers = {
///         .pc = frame->rip,
///         .sp = frame->rsp,
///         .fp = frame->rbp,
///         .flags = frame->rflags,
///         .privilege = frame->cs & 3,
///     };
///     pmiscope_on_interrupt(core, 0xf0, &registers);
///     frame->rflags = registers.flags;
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_on_interrupt(core: u32, vector: u8, registers: *mut Registers) {
    // SAFETY: the caller's, during the call.
    let registers = unsafe { &mut *registers };
    let mut interrupted =
        Interrupted::new(registers.pc, registers.sp, registers.fp, registers.flags);
    interrupted.privilege = registers.privilege;
    SAMPLER.on_interrupt(core, vector.into(), &mut interrupted);
    registers.flags = interrupted.flags;
}

/// For the handler of general protection faults, where pmiscope_protection_entry_before is not
/// its gate's. It comes first to this: returns where
/// the code that was interrupted at pc resumes, which is then the new rip; 0 if the fault is
/// not the sampler's, which may be refused a register. In that handler, on any core.
///
///     uint64_t resume = pmiscope_on_general_protection(frame->rip);
///     if (resume != 0) {
///         frame->rip = resume;
///         return;
///     }
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_on_general_protection(pc: u64) -> u64 {
    SAMPLER.on_general_protection(pc).unwrap_or(0)
}

/// Returns the address of an entry for the gate of general protection faults (13, an interrupt
/// gate), from which a fault that is not the sampler's goes on at handler: the entry that the gate
/// had. May be called anywhere.
///
///     set_gate(13, pmiscope_protection_entry_before((uint64_t)protection_entry),
///              PMISCOPE_GATE_STACK_INTERRUPTED);
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_protection_entry_before(handler: u64) -> u64 {
    profiler::entry::protection::entry_before(handler)
}

/// Ends the run: no interrupt is a sample any more, and no core waits in a handler of the
/// sampler. May be called anywhere, in a panic too.
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_stop() {
    SAMPLER.stop();
}

/// As pmiscope_stop, and tells the host that the run has failed; what was sampled is kept. May
/// be called anywhere.
///
///     // In a panic: 0x12 tells the host so.
///     pmiscope_fail();
///     pmiscope_exit_qemu(0x12);
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_fail() {
    SAMPLER.fail();
}

/// Does what the host asks for, if it does: on core 0, in a maskable interrupt or in a task;
/// on others nothing. core is the index of the running core.
///
///     // In the idle loop, for a run that is paused: pmiscope ctl stop.
///     pmiscope_poll(core);
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_poll(core: u32) {
    SAMPLER.poll(core);
}

/// Stops the counters of all cores. For runs by performance counters, on core 0, in a
/// maskable interrupt or in a task, as pmiscope_resume and pmiscope_set_period.
///
///     // What comes now is not to be seen.
///     char error[256];
///     if (pmiscope_pause(error, sizeof error) != PMISCOPE_STATUS_OK)
///         print_line(error);
///
/// Returns PMISCOPE_STATUS_OK, or PMISCOPE_STATUS_REFUSED if there are no counters in the run
/// or a core does not answer. The text of the error is written as by pmiscope_start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_pause(error: *mut c_char, error_bytes: usize) -> Status {
    // SAFETY: of the caller.
    unsafe { refusal(SAMPLER.pause(), error, error_bytes) }
}

/// Samples on all cores again, after pmiscope_pause, and is called where that is. Returns what
/// it returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_resume(error: *mut c_char, error_bytes: usize) -> Status {
    // SAFETY: of the caller.
    unsafe { refusal(SAMPLER.resume(), error, error_bytes) }
}

/// Samples every so many events from now on, those that have no period of their own. Is called
/// where pmiscope_pause is, and returns what it returns; PMISCOPE_STATUS_REFUSED for a period
/// that cannot be counted as well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_set_period(
    period: u64,
    error: *mut c_char,
    error_bytes: usize,
) -> Status {
    // SAFETY: of the caller.
    unsafe { refusal(SAMPLER.set_period(period), error, error_bytes) }
}

/// Returns the source of the run, on which it depends what ends a halt. May be called
/// anywhere.
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_source() -> Source {
    SAMPLER.source().map_or(Source::None, Into::into)
}

/// Returns true if an interrupt of the sampler will come to the core with this index, and end
/// its halt. May be called anywhere.
///
///     // The idle loop of a kernel without a timer of its own.
///     if (pmiscope_will_interrupt(core) && pmiscope_source() != PMISCOPE_SOURCE_KIND_STEP)
///         __asm__ volatile("hlt");
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_will_interrupt(core: u32) -> bool {
    SAMPLER.will_interrupt(core)
}

/// Returns the units of the workload that each core is counted for, between
/// pmiscope_begin_counting and pmiscope_end_counting, where the run counts events (pmiscope
/// stat); else 0. May be called anywhere.
///
///     // On each core, in a task.
///     if (pmiscope_units() != 0) {
///         pmiscope_begin_counting();
///         for (uint64_t unit = 0; unit < pmiscope_units(); unit++)
///             work();
///         pmiscope_end_counting();
///     }
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_units() -> u64 {
    SAMPLER.units()
}

/// The running core begins its units: in a task, only where pmiscope_units is not 0.
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_begin_counting() {
    SAMPLER.begin_counting();
}

/// The running core has done its units: in the same task, after pmiscope_begin_counting.
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_end_counting() {
    SAMPLER.end_counting();
}

/// Sends what was sampled or counted by a port of the kernel's, for pmiscope import on the other
/// side: where no host shares the memory. sent is room for how that has ended, or NULL. May be
/// called when the run has ended, once at a time, in a task or the idle loop: it takes as long as
/// the port does, and 12 KiB of the stack, more than callbacks.finished has. The log may go by the
/// same port.
///
///     // Once callbacks.finished was called.
///     static const struct pmiscope_port port = {.send = send_bytes, .receive = receive_byte};
///     struct pmiscope_sent sent;
///     if (pmiscope_send(&port, &sent) != PMISCOPE_STATUS_OK)
///         print_line("nothing was sampled");
///     else if (!sent.is_confirmed)
///         print_line("nobody says what has arrived");
///
/// Returns PMISCOPE_STATUS_OK, or PMISCOPE_STATUS_NOT_STARTED if there was no run, the port has
/// no send, or another core sends it just now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmiscope_send(port: *const Port, sent: *mut Sent) -> Status {
    // SAFETY: the caller's, during the call.
    let port = unsafe { port.as_ref() }.and_then(wire::CPort::new);
    let Some(outcome) = port.and_then(|mut port| wire::send(&mut port)) else {
        return Status::NotStarted;
    };
    // SAFETY: NULL, or the caller's room for it.
    if let Some(sent) = unsafe { sent.as_mut() } {
        *sent = Sent {
            blocks: outcome.blocks,
            again: outcome.again,
            is_confirmed: outcome.is_confirmed,
        };
    }
    Status::Ok
}

/// Ends QEMU with this status of pmiscope_start, by its device isa-debug-exit, which the host
/// tool provides; PMISCOPE_STATUS_OK is success, 0x12 a panic, 0x13 an exception. Returns
/// where there is no such device. May be called anywhere.
#[unsafe(no_mangle)]
pub extern "C" fn pmiscope_exit_qemu(status: u8) {
    exit::exit_qemu(if status == 0 { exit::SUCCESS } else { status });
}

impl From<profiler::format::Source> for Source {
    fn from(source: profiler::format::Source) -> Self {
        use profiler::format::Source as Format;
        match source {
            Format::Pmu => Self::Pmu,
            Format::ApicTimer => Self::ApicTimer,
            Format::Hpet => Self::Hpet,
            Format::Ipi => Self::Ipi,
            Format::Step => Self::Step,
        }
    }
}

/// # Safety
///
/// The text's room is the caller's, so many bytes or NULL.
unsafe fn refusal(outcome: Result<(), Refusal>, error: *mut c_char, size: usize) -> Status {
    // SAFETY: of the caller.
    let mut room = unsafe { Room::at(error, size) };
    match outcome {
        Ok(()) => Status::Ok,
        Err(refusal) => {
            room.show(&refusal.as_str());
            Status::Refused
        }
    }
}

/// Calls `call` with memory and configuration as Rust has them.
///
/// # Safety
///
/// As the header says of pmiscope_start.
unsafe fn with_config(
    memory: *mut c_void,
    bytes: u64,
    config: *const Config,
    error: *mut c_char,
    error_bytes: usize,
    call: impl FnOnce(Memory, &SamplerConfig<'static>) -> Result<(), StartError<'static>>,
) -> Status {
    // SAFETY: of the caller.
    let mut room = unsafe { Room::at(error, error_bytes) };
    let mut refuse = |problem: &dyn fmt::Display, status| {
        room.show(problem);
        status
    };
    let Some(memory) = NonNull::new(memory.cast::<u8>()).filter(|it| it.addr().get() % 4096 == 0)
    else {
        return refuse(&"memory is not aligned to 4096", Status::Unavailable);
    };
    let Ok(bytes) = usize::try_from(bytes) else {
        return refuse(&"so much memory is not there", Status::Unavailable);
    };
    let memory = NonNull::slice_from_raw_parts(memory, bytes);
    // SAFETY: of the caller.
    let memory = unsafe { Memory::new(memory) };
    // SAFETY: of the caller.
    let config = match unsafe { read_config(config) } {
        Ok(config) => config,
        Err(problem) => {
            memory.refuse(&problem);
            return refuse(&problem, Status::Unavailable);
        }
    };
    match call(memory, &config) {
        Ok(()) => Status::Ok,
        Err(problem) if problem.exit_status() == exit::BAD_COMMAND_LINE => {
            refuse(&problem, Status::BadCommandLine)
        }
        Err(problem) => refuse(&problem, Status::Unavailable),
    }
}

/// # Safety
///
/// As the header says of struct pmiscope_config.
unsafe fn read_config(config: *const Config) -> Result<SamplerConfig<'static>, &'static str> {
    // SAFETY: of the caller.
    let config = unsafe { config.as_ref() }.ok_or("no configuration")?;
    // SAFETY: of the caller.
    let callbacks = unsafe { config.callbacks.as_ref() }.ok_or("no callbacks")?;
    if callbacks.stack_of.is_none() {
        return Err("no callback stack_of");
    }
    if config.cores > MAX_CORES {
        return Err("more cores than PMISCOPE_MAX_CORES");
    }
    let apic_ids = if config.apic_ids.is_null() {
        &[]
    } else {
        // SAFETY: of the caller.
        unsafe { slice::from_raw_parts(config.apic_ids, config.cores as usize) }
    };
    // SAFETY: of the caller.
    let string = |string| unsafe { text::read(string) };
    let some = |value: u64| (value != 0).then_some(value);
    let config = SamplerConfig {
        command_line: string(config.command_line).ok_or("the command line is not UTF-8")?,
        apic_ids,
        xapic: some(config.xapic),
        hpet: some(config.hpet),
        pm_timer: (config.pm_timer != 0).then_some(PmTimer::Port(config.pm_timer)),
        stack_slot: some(config.stack_slot).unwrap_or(1 << 16),
        bootloader: Text::new(string(config.bootloader).ok_or("the boot loader is not UTF-8")?),
        workload: string(config.workload).ok_or("the workload is not UTF-8")?,
        task_name: kernel::task_name,
        ..SamplerConfig::new()
    };
    kernel::set_callbacks(callbacks);
    Ok(config)
}
