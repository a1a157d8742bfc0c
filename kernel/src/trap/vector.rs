//! The vectors of the architecture. Those of interrupts are declared by their owners.

/// #DB.
pub const DEBUG: u8 = 1;
/// The non-maskable interrupt.
pub const NMI: u8 = 2;
/// #BP.
pub const BREAKPOINT: u8 = 3;
/// #OF. No instruction of 64-bit code raises it, but `int 4`.
pub const OVERFLOW_EXCEPTION: u8 = 4;
/// #NM: floating point, or vectors, where that is forbidden.
pub const DEVICE_NOT_AVAILABLE: u8 = 7;
/// #DF.
pub const DOUBLE_FAULT: u8 = 8;
/// #GP.
pub const GENERAL_PROTECTION: u8 = 13;
/// #PF.
pub const PAGE_FAULT: u8 = 14;
/// #MC.
pub const MACHINE_CHECK: u8 = 18;

/// The name of what the vector is for, for a message.
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
        DEVICE_NOT_AVAILABLE => "device not available",
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
        _ => "interrupt",
    }
}
