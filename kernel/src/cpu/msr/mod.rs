//! Model-specific registers, a file per group.

pub mod apic_base;
pub mod efer;
pub mod gs;
pub mod pat;
