//! The vectors of traps that have stacks of their own, and of #GP (SDM vol. 3, table 7-1); and the
//! sampler's of overflows.

/// The non-maskable interrupt's vector.
pub const NMI: u8 = 2;
/// The debug exception's vector.
pub const DEBUG: u8 = 1;
/// The general protection fault's vector.
pub const PROTECTION: u8 = 13;
/// The double fault's vector.
pub const DOUBLE_FAULT: u8 = 8;
/// The machine-check exception's vector.
pub const MACHINE_CHECK: u8 = 18;
/// An overflow, where overflows come as maskable interrupts.
pub const OVERFLOW: u8 = 0xf0;
