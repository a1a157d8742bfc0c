//! The types of `pmiscope.h`. Their comments are for readers of C.

use core::ffi::c_char;

/// The most cores that are sampled.
pub const MAX_CORES: u32 = 64;

/// The number of gates that pmiscope_gates writes.
pub const GATES: u32 = 11;

/// The bytes of a region that are there once: the header page, the sampler's own stack, and
/// what aligns the rest.
pub const REGION_BYTES_ONCE: u64 = 204_800;

/// The bytes of a region that each core needs beside its ring.
pub const REGION_BYTES_PER_CORE: u64 = 106_496;

/// What came of a call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is done.
    Ok = 0,
    /// There is no run: the first core could not start it, or it has ended.
    NotStarted = 1,
    /// The run cannot be changed so; it is as before.
    Refused = 2,
    /// The command line has a word that cannot be taken. With this status pmiscope_exit_qemu
    /// tells the host tool so.
    BadCommandLine = 0x11,
    /// Sampling is not possible: the error's text says why. With this status
    /// pmiscope_exit_qemu tells the host tool so.
    Unavailable = 0x14,
}

/// What interrupts the cores.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// No run has begun.
    None = 0,
    /// A performance counter of each core. It does not end a halt: the kernel's own timer
    /// should, now and then.
    Pmu = 1,
    /// The timer of each core's local APIC, which is the sampler's from now on.
    ApicTimer = 2,
    /// A timer of the HPET, by messages to the cores.
    Hpet = 3,
    /// Core 0, by interrupts to the others.
    Ipi = 4,
    /// The trap flag: each instruction is a sample. Nothing ends a halt: the kernel should
    /// not halt.
    Step = 5,
}

/// The stack of a gate. The values are the numbers of the interrupt stacks (IST), in a
/// kernel that gives 1 and 2 to the sampler.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum GateStack {
    /// The one that is interrupted: the gate names no interrupt stack.
    Interrupted = 0,
    /// struct pmiscope_tops, nmi.
    Nmi = 1,
    /// struct pmiscope_tops, debug.
    Debug = 2,
}

/// An entry of the interrupt table: an interrupt gate (type 14, which keeps maskable
/// interrupts out) of privilege level 0.
#[repr(C)]
pub struct Gate {
    /// The address of the code.
    pub entry: u64,
    /// The stack that the processor is to switch to.
    pub stack: GateStack,
    /// The interrupt's vector, the index into the table.
    pub vector: u8,
}

/// Where interrupt stacks of a core begin: words of its TSS.
#[repr(C)]
pub struct Tops {
    /// For the gate with PMISCOPE_GATE_STACK_NMI.
    pub nmi: u64,
    /// For the gate with PMISCOPE_GATE_STACK_DEBUG.
    pub debug: u64,
}

/// A stack.
#[repr(C)]
pub struct Stack {
    /// Its lowest address, a multiple of 8.
    pub low: u64,
    /// The first address past it, a multiple of 8.
    pub high: u64,
}

/// The code that was interrupted.
#[repr(C)]
pub struct Registers {
    /// rip.
    pub pc: u64,
    /// rsp.
    pub sp: u64,
    /// rbp.
    pub fp: u64,
    /// rflags. The sampler may change them: they are to be restored from here.
    pub flags: u64,
    /// The privilege level, 0 to 3: the low two bits of cs.
    pub privilege: u8,
}

impl From<&profiler::sampler::Interrupted> for Registers {
    fn from(interrupted: &profiler::sampler::Interrupted) -> Self {
        Self {
            pc: interrupted.registers.pc.0,
            sp: interrupted.registers.sp.0,
            fp: interrupted.registers.fp.0,
            flags: interrupted.flags,
            privilege: interrupted.privilege,
        }
    }
}

/// The kernel's functions that the sampler calls. All but stack_of may be NULL.
///
/// All of them may be called in a handler of an NMI, on any core, at any instruction of the
/// kernel or of a user's program, and between the two: GS and, where page tables are changed
/// there, these are then the user's. They take no lock, allocate nothing, cannot fault and return
/// soon. They are not to use registers that the kernel does not save at interrupts
/// (-mgeneral-regs-only).
///
/// The gates' code, its stacks and memory, these functions and the APIC's page are mapped under all
/// page tables that are in use while the sampler's interrupts can come. So is the section .text
/// from pmiscope_start on, and may be read: the handler of an NMI looks at the interrupted
/// instruction. Code that is unmapped later belongs into another section, before .text or behind
/// pmiscope.ld.
#[repr(C)]
pub struct Callbacks {
    /// Finds the stack that address is on, an address of the running core, whose index
    /// is core. Returns false if it is on none that may be looked at: the walk over callers
    /// ends there. The interrupt stacks of pmiscope_set_up_core are known already.
    ///
    /// Each word of the stack is mapped, and may be read at any time from then on, whatever
    /// the kernel does.
    pub stack_of: Option<unsafe extern "C" fn(core: u32, address: u64, stack: *mut Stack) -> bool>,
    /// The number of what the core works on, for the report. NULL: 0.
    pub task: Option<unsafe extern "C" fn(core: u32) -> u16>,
    /// The name of that number, a string that is valid for ever; NULL if it has none. Called
    /// by pmiscope_start alone. NULL: tasks have no names.
    pub task_name: Option<unsafe extern "C" fn(task: u16) -> *const c_char>,
    /// Returns true if a core that is about to execute the instruction at pc was halted: it
    /// stands behind the kernel's hlt. NULL: false.
    pub is_halted_at: Option<unsafe extern "C" fn(pc: u64) -> bool>,
    /// Called on each core, interrupts off, before its source is armed; that is the APIC timer
    /// where events are counted in place of samples. counts_instructions: periods are in
    /// instructions, else in nanoseconds, events, or ticks of the time stamp counter where
    /// nothing says how long one is. NULL: nothing.
    pub begin: Option<unsafe extern "C" fn(core: u32, source: Source, counts_instructions: bool)>,
    /// Called on core 0 when counters are stopped until the host asks for more, or count
    /// again. While paused, the kernel should call pmiscope_poll now and then. NULL: nothing.
    pub set_paused: Option<unsafe extern "C" fn(is_paused: bool)>,
    /// An NMI that is not the sampler's, of the core with this index: one by which the kernel stops
    /// its cores, or a watchdog's. What it changes of pc and flags is where and how the code
    /// resumes. Not in a run: there they are counted, until pmiscope_stop or pmiscope_fail. One
    /// of the sampler's own that comes late, when the run has ended, is such, too. NULL: nothing.
    pub other_nmi: Option<unsafe extern "C" fn(core: u32, registers: *mut Registers)>,
    /// The same for a debug exception: a breakpoint or single step of the kernel's. NULL: nothing.
    pub other_debug: Option<unsafe extern "C" fn(core: u32, registers: *mut Registers)>,
    /// Called where a run that has begun cannot go on, or the library has a bug. The string
    /// is valid during the call. NULL: ends QEMU, with PMISCOPE_STATUS_UNAVAILABLE.
    pub failed: Option<unsafe extern "C" fn(problem: *const c_char)>,
    /// Writes a line to the log, without a line feed: see pmiscope_list. The string is valid
    /// during the call. NULL: nothing.
    pub show: Option<unsafe extern "C" fn(line: *const c_char)>,
    /// Called on core 0, in the handler of its last sample, when every core has taken its
    /// share. If it returns, all cores resume what they did. NULL: ends QEMU with success.
    pub finished: Option<unsafe extern "C" fn()>,
}

/// What a kernel tells the sampler. What is 0 or NULL has a default.
///
/// Strings are UTF-8, end in a zero, are valid for ever and not written any more.
#[repr(C)]
pub struct Config {
    /// The kernel's functions, valid for ever and not written any more. Not NULL.
    pub callbacks: *const Callbacks,
    /// The words by which a run is described, which the host tool puts on the kernel's
    /// command line: source=, period=, samples=, ring= and so on. Words that are not the
    /// sampler's are refused.
    pub command_line: *const c_char,
    /// The local APIC ids of all cores that take part, the running core's first. The index
    /// of a core is its place here. NULL: the running core alone.
    pub apic_ids: *const u32,
    /// The number of those.
    pub cores: u32,
    /// The virtual address at which the page of the local APIC's registers is mapped,
    /// uncached. Not needed in x2APIC mode.
    pub xapic: u64,
    /// The virtual address at which the page of the HPET's registers is mapped, uncached.
    /// Needed by source=hpet; where time is measured, it is more exact than the others. Its timers
    /// are the sampler's, and those that were armed before are stopped. 0: none.
    pub hpet: u64,
    /// The I/O port of ACPI's power management timer (PM_TMR_BLK of the FADT): where time is
    /// measured and there is no HPET, it is more exact than the PIT. 0: none.
    pub pm_timer: u16,
    /// The bytes of address space that each stack has for itself, a power of two, to which
    /// it is aligned as well: pmiscope verify tells stacks apart by it. 0: 65536.
    pub stack_slot: u64,
    /// The boot loader's name and version, for the report.
    pub bootloader: *const c_char,
    /// The workload that runs, of those that workload= of the command line can choose. NULL
    /// where the kernel has no choice: pmiscope run says so to who chooses one.
    pub workload: *const c_char,
}

/// A port by which pmiscope_send sends, and by which the other side may answer.
#[repr(C)]
pub struct Port {
    /// Sends so many bytes, however long that takes. Not NULL.
    pub send: Option<unsafe extern "C" fn(bytes: *const u8, count: usize)>,
    /// Returns the next byte from the other side, 0 to 255; -1 if none comes for a while, half a
    /// second or so. NULL if none can come: then nothing is asked for again.
    pub receive: Option<unsafe extern "C" fn() -> i32>,
}

/// How sending has ended.
#[repr(C)]
pub struct Sent {
    /// The blocks of the region.
    pub blocks: u32,
    /// Those that were sent again, as the other side has asked for them.
    pub again: u32,
    /// The other side has said that all is there.
    pub is_confirmed: bool,
}
