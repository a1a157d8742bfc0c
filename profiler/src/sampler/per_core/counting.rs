//! What a core knows of its counting.

use core::sync::atomic::AtomicBool;

use super::groups::CoreGroups;
use crate::pmu::multiplex::Multiplexer;

/// What a core knows of its counting. Written by that core.
pub(crate) struct CoreCounting {
    pub multiplexer: Multiplexer,
    /// What takes turns.
    pub groups: CoreGroups,
    /// The workload is counted, and not a trial.
    pub is_workload: AtomicBool,
}
