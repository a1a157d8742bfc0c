//! Where a device's register is.

/// A register, or the first of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// An I/O port.
    Port(u16),
    /// An address in memory.
    Memory(u64),
}
