//! Which vector is what.

/// #DB.
pub const DEBUG: u8 = 1;
/// The non-maskable interrupt.
pub const NMI: u8 = 2;
/// #BP.
pub const BREAKPOINT: u8 = 3;
/// #OF. No instruction of 64-bit code raises it, but `int 4`.
pub const OVERFLOW_EXCEPTION: u8 = 4;
/// #DF.
pub const DOUBLE_FAULT: u8 = 8;
/// #GP.
pub const GENERAL_PROTECTION: u8 = 13;
/// #PF.
pub const PAGE_FAULT: u8 = 14;
/// #MC.
pub const MACHINE_CHECK: u8 = 18;
/// Another core wants attention: see [`crate::smp`].
pub const CALL: u8 = 0x40;
/// A ball in the workload `ping-pong`.
pub const PING: u8 = 0x41;
/// What a core wakes itself with in the workload `idle`.
pub const NUDGE: u8 = 0x42;
/// What interrupts the handler of an exception in the workload `layers`.
pub const LAYER: u8 = 0x44;
/// A core has a task to run: see [`crate::task`].
pub const RESCHEDULE: u8 = 0x43;
/// The core's own timer, which ends its halts: see [`crate::cpu::tick`].
pub const TICK: u8 = 0x45;
/// The host may have asked for something: see [`crate::sampling::control`].
pub const CONTROL: u8 = 0x46;
/// A request to the kernel: see [`crate::task::syscall`].
pub const SYSTEM_CALL: u8 = 0x80;
/// An overflow, where overflows come as maskable interrupts.
pub const SAMPLING: u8 = 0xf0;
/// The core's turn has come: see [`crate::sampling::turns`].
pub const TURN: u8 = 0xf1;
/// A group of events has had its turn: see [`crate::sampling::counting`], as for the
/// four that follow.
pub const COUNT_TIMER: u8 = 0xf2;
/// A counter has gone round.
pub const COUNT_OVERFLOW: u8 = 0xf3;
/// What a core begins to count itself by.
pub const COUNT_BEGIN: u8 = 0xf4;
/// What it ends by.
pub const COUNT_END: u8 = 0xf5;
/// The last core has done its work.
pub const COUNT_DONE: u8 = 0xf6;
/// The local APIC found an error.
pub const APIC_ERROR: u8 = 0xfe;
/// An interrupt that went away before the core took it. It is not to be ended.
pub const SPURIOUS: u8 = 0xff;

/// What the vector is called.
#[must_use]
pub const fn name(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        DEBUG => "debug exception",
        NMI => "NMI",
        BREAKPOINT => "breakpoint",
        OVERFLOW_EXCEPTION => "overflow exception",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        DOUBLE_FAULT => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack fault",
        GENERAL_PROTECTION => "general protection fault",
        PAGE_FAULT => "page fault",
        16 => "x87 error",
        17 => "alignment check",
        MACHINE_CHECK => "machine check",
        19 => "SIMD error",
        20 => "virtualization exception",
        21 => "control protection exception",
        9 | 15 | 22..=31 => "reserved exception",
        CALL => "call from another core",
        PING => "ping-pong",
        NUDGE => "nudge from itself",
        LAYER => "layer",
        TICK => "tick",
        CONTROL => "control",
        RESCHEDULE => "reschedule",
        SYSTEM_CALL => "system call",
        SAMPLING => "overflow",
        TURN => "wake-up of a parked core",
        COUNT_TIMER => "end of a group's turn",
        COUNT_OVERFLOW => "overflow of what is counted",
        COUNT_BEGIN => "begin of counting",
        COUNT_END => "end of counting",
        COUNT_DONE => "end of all counting",
        APIC_ERROR => "local APIC error",
        SPURIOUS => "spurious interrupt",
        _ => "interrupt",
    }
}
