//! Why a core's PMU cannot be used.

use core::fmt;

use crate::pmu::detect::NoPmu;
use crate::pmu::plan::PlanError;
use crate::pmu::registers::MsrFault;

/// Why a core's PMU cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PmuError {
    /// It has none.
    NoPmu(NoPmu),
    /// The processor refuses a register that it announces.
    Fault(MsrFault),
    /// It cannot count what it was asked for.
    Plan(PlanError),
}

impl fmt::Display for PmuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPmu(problem) => problem.fmt(f),
            Self::Fault(problem) => problem.fmt(f),
            Self::Plan(problem) => problem.fmt(f),
        }
    }
}

impl core::error::Error for PmuError {}

impl From<NoPmu> for PmuError {
    fn from(problem: NoPmu) -> Self {
        Self::NoPmu(problem)
    }
}

impl From<MsrFault> for PmuError {
    fn from(problem: MsrFault) -> Self {
        Self::Fault(problem)
    }
}

impl From<PlanError> for PmuError {
    fn from(problem: PlanError) -> Self {
        Self::Plan(problem)
    }
}
