//! Model-specific registers, a file per group.

pub mod apic_base;
pub mod checked;
pub mod efer;
pub mod gs;
pub mod pmu;
