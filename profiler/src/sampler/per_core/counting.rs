//! What a core knows of its counting.

use core::sync::atomic::AtomicBool;

use super::groups::CoreGroups;
use super::process_counts::ProcessCounts;
use crate::pmu::multiplex::Multiplexer;

/// What a core knows of its counting. Written by that core.
pub(crate) struct CoreCounting {
    pub multiplexer: Multiplexer,
    /// What takes turns.
    pub groups: CoreGroups,
    /// What of it is of which process, where that was asked for.
    pub processes: ProcessCounts,
    /// The workload is counted, and not a trial.
    pub is_workload: AtomicBool,
}
