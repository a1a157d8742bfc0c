//! Which registers there are, and which of their bits can be written: SDM vol. 4,
//! table 2-2; APM vol. 2, 13.2; PPR for family 19h, "MSRs".

use super::ibs;
use super::kinds::{Amd, AmdInterface, Intel, Kind, Model};

/// A register of the PMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Register {
    /// IA32_PERFEVTSELn, PERF_CTLn.
    Select(u8),
    /// IA32_PMCn: a write sets the low 32 bits, and the others to bit 31.
    ShortCounter(u8),
    /// IA32_A_PMCn, PERF_CTRn.
    Counter(u8),
    /// IA32_FIXED_CTRn.
    Fixed(u8),
    /// IA32_FIXED_CTR_CTRL.
    FixedControl,
    /// IA32_PERF_CAPABILITIES.
    Capabilities,
    /// IA32_PERF_GLOBAL_CTRL, PerfCntrGlobalCtl.
    Control,
    /// IA32_PERF_GLOBAL_STATUS, PerfCntrGlobalStatus.
    Status,
    /// IA32_PERF_GLOBAL_STATUS_RESET, PerfCntrGlobalStatusClr.
    StatusReset,
    /// IA32_PERF_GLOBAL_STATUS_SET.
    StatusSet,
    /// IA32_PERF_GLOBAL_INUSE.
    InUse,
    /// IA32_DEBUGCTL.
    DebugControl,
    /// IbsOpCtl.
    IbsOpControl,
    /// IbsOpRip.
    IbsOpAddress,
    /// IbsOpData.
    IbsOpData,
    /// IBS Control.
    IbsControl,
}

/// Bits of the global status, and of the registers that reset and set it.
pub(super) mod status {
    /// Trace_ToPA_PMI.
    pub const TRACE: u64 = 1 << 55;
    /// LBR_Frz, LbrFreeze.
    pub const LBR_FROZEN: u64 = 1 << 58;
    /// CTR_Frz, PerfCntrFreeze.
    pub const FROZEN: u64 = 1 << 59;
    /// ASCI.
    pub const ENCLAVE: u64 = 1 << 60;
    /// Ovf_Uncore.
    pub const UNCORE: u64 = 1 << 61;
    /// OvfBuf.
    pub const DEBUG_STORE: u64 = 1 << 62;
    /// CondChgd.
    pub const CONDITION_CHANGED: u64 = 1 << 63;
}

/// Bits of IA32_DEBUGCTL.
pub(super) mod debug {
    /// LBR and BTF.
    pub const LBR_BTF: u64 = 0b11;
    /// TR, BTS, BTINT, BTS_OFF_OS, BTS_OFF_USR.
    pub const BRANCH_TRACE: u64 = 0b1_1111 << 6;
    /// FREEZE_LBRS_ON_PMI.
    pub const FREEZE_LBRS: u64 = 1 << 11;
    /// FREEZE_PERFMON_ON_PMI.
    pub const FREEZE: u64 = 1 << 12;
    /// ENABLE_UNCORE_PMI.
    pub const UNCORE: u64 = 1 << 13;
    /// FREEZE_WHILE_SMM.
    pub const FREEZE_SMM: u64 = 1 << 14;
}

/// Which of `count` registers from `first` on `number` is, `stride` apart.
fn nth(number: u32, first: u32, count: u32, stride: u32) -> Option<u8> {
    let offset = number.checked_sub(first)?;
    let is_one = offset % stride == 0 && offset / stride < count;
    is_one.then(|| u8::try_from(offset / stride).unwrap())
}

impl Model {
    /// The register with that number.
    pub(super) fn register(&self, number: u32) -> Option<Register> {
        match &self.kind {
            Kind::Intel(intel) => intel.register(number),
            Kind::Amd(amd) => amd.register(number),
        }
    }

    /// The numbers of all registers that hold state, each once.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let ranges = [0xc1..0xc9, 0x186..0x18e, 0x1d9..0x1da, 0x309..0x319];
        let all = ranges.into_iter().flatten();
        let all = all.chain([0x38d, 0x38e, 0x38f]).chain(0x1900..0x19c0);
        let all = all.chain([0xc000_0300, 0xc000_0301, 0xc001_1033]);
        let all = all.chain(0xc001_0000..0xc001_0008);
        let all = all.chain(0xc001_0200..0xc001_0220);
        let mut seen = Vec::new();
        all.filter(move |number| {
            let register = match self.register(*number) {
                // The same under another number.
                Some(Register::ShortCounter(counter)) => Register::Counter(counter),
                Some(register) => register,
                None => return false,
            };
            let is_new = !seen.contains(&register);
            seen.push(register);
            is_new
        })
    }

    /// The bits that a write may set; `None`: the register is read-only.
    pub(super) fn writable(&self, register: Register) -> Option<u64> {
        match &self.kind {
            Kind::Intel(intel) => intel.writable(register, self.counter_bits()),
            Kind::Amd(amd) => amd.writable(register, self.counter_bits()),
        }
    }

    /// IA32_PERF_CAPABILITIES, of which there are FW_WRITE and FREEZE_WHILE_SMM.
    pub(super) const fn capabilities(&self) -> u64 {
        match &self.kind {
            Kind::Intel(intel) => {
                let announced = intel.freezes_in_smm || intel.refuses_smm_freeze;
                (intel.full_width_writes as u64) << 13 | (announced as u64) << 12
            }
            Kind::Amd(_) => 0,
        }
    }

    /// Bits of a counter.
    pub(super) const fn width(&self, is_fixed: bool) -> u8 {
        match &self.kind {
            Kind::Intel(intel) if is_fixed => intel.fixed_width,
            Kind::Intel(intel) => intel.general_width,
            Kind::Amd(_) => 48,
        }
    }
}

impl Intel {
    fn register(&self, number: u32) -> Option<Register> {
        let version = self.version;
        let general = |counter: u8| self.general >> counter & 1 != 0;
        let fixed = |counter: u8| self.fixed >> counter & 1 != 0;
        let at = |first, count, stride| nth(number, first, count, stride);
        if let Some(counter) = at(0x186, 8, 1) {
            return general(counter).then_some(Register::Select(counter));
        }
        if let Some(counter) = at(0xc1, 8, 1) {
            return general(counter).then_some(Register::ShortCounter(counter));
        }
        if let Some(counter) = at(0x4c1, 8, 1) {
            let is_there = self.full_width_writes && general(counter);
            return is_there.then_some(Register::Counter(counter));
        }
        if let Some(counter) = at(0x309, 16, 1) {
            return fixed(counter).then_some(Register::Fixed(counter));
        }
        if version >= 6 {
            if let Some(counter) = at(0x1900, 32, 4) {
                return general(counter).then_some(Register::Counter(counter));
            }
            if let Some(counter) = at(0x1901, 32, 4) {
                return general(counter).then_some(Register::Select(counter));
            }
            if let Some(counter) = at(0x1980, 16, 4) {
                return fixed(counter).then_some(Register::Fixed(counter));
            }
        }
        match number {
            0x1d9 => Some(Register::DebugControl),
            0x345 if self.capabilities => Some(Register::Capabilities),
            0x38d if version >= 2 => Some(Register::FixedControl),
            0x38e if version >= 2 => Some(Register::Status),
            0x38f if version >= 2 => Some(Register::Control),
            0x390 if version >= 2 => Some(Register::StatusReset),
            0x391 if version >= 4 => Some(Register::StatusSet),
            0x392 if version >= 4 => Some(Register::InUse),
            _ => None,
        }
    }

    fn writable(&self, register: Register, counters: u64) -> Option<u64> {
        let bit = |is_there: bool, bits: u64| if is_there { bits } else { 0 };
        Some(match register {
            // All of the low half but ANY.
            Register::Select(_) => {
                0xffdf_ffff
                    | bit(self.any_thread, 1 << 21)
                    | bit(self.equal, 1 << 36)
                    | bit(self.unit_mask_2, 0xff << 40)
            }
            // EDX is ignored.
            Register::ShortCounter(_) => u64::MAX,
            Register::Counter(_) => (1 << self.general_width) - 1,
            Register::Fixed(_) => (1 << self.fixed_width) - 1,
            Register::FixedControl => {
                let field = 0b1011 | bit(self.any_thread, 0b100);
                let numbers = (0..16).filter(|number| self.fixed >> number & 1 != 0);
                numbers.fold(0, |bits, number| bits | field << (number * 4))
            }
            Register::Control => counters,
            Register::StatusReset => {
                self.status(counters) | status::DEBUG_STORE | status::CONDITION_CHANGED
            }
            Register::StatusSet => self.status(counters) | status::DEBUG_STORE,
            Register::DebugControl => {
                let freezes = self.capabilities && self.version >= 2;
                debug::LBR_BTF
                    | debug::BRANCH_TRACE
                    | bit(freezes, debug::FREEZE_LBRS | debug::FREEZE)
                    | bit(self.uncore, debug::UNCORE)
                    | bit(self.freezes_in_smm, debug::FREEZE_SMM)
            }
            _ => return None,
        })
    }

    /// Bits of the status that depend on what else there is.
    fn status(&self, counters: u64) -> u64 {
        let bit = |is_there: bool, bits: u64| if is_there { bits } else { 0 };
        counters
            | bit(self.trace, status::TRACE)
            | bit(self.version >= 4, status::LBR_FROZEN | status::FROZEN)
            | bit(self.version >= 4 && self.sgx, status::ENCLAVE)
            | bit(self.uncore, status::UNCORE)
    }
}

impl Amd {
    fn register(&self, number: u32) -> Option<Register> {
        let at = |first, count, stride| nth(number, first, count, stride);
        if let Some(counter) = at(0xc001_0000, 4, 1) {
            return Some(Register::Select(counter));
        }
        if let Some(counter) = at(0xc001_0004, 4, 1) {
            return Some(Register::Counter(counter));
        }
        if self.interface >= AmdInterface::Core {
            if let Some(counter) = at(0xc001_0200, self.counters.into(), 2) {
                return Some(Register::Select(counter));
            }
            if let Some(counter) = at(0xc001_0201, self.counters.into(), 2) {
                return Some(Register::Counter(counter));
            }
        }
        let is_v2 = self.interface == AmdInterface::V2;
        match number {
            0x1d9 => Some(Register::DebugControl),
            0xc000_0300 if is_v2 => Some(Register::Status),
            0xc000_0301 if is_v2 => Some(Register::Control),
            0xc000_0302 if is_v2 => Some(Register::StatusReset),
            0xc001_1033 if self.ibs.is_some() => Some(Register::IbsOpControl),
            0xc001_1034 if self.ibs.is_some() => Some(Register::IbsOpAddress),
            0xc001_1035 if self.ibs.is_some() => Some(Register::IbsOpData),
            0xc001_103a if self.ibs.is_some() => Some(Register::IbsControl),
            _ => None,
        }
    }

    fn writable(&self, register: Register, counters: u64) -> Option<u64> {
        let freeze = |bits: u64| if self.freeze { bits } else { 0 };
        match register {
            // Not 19, 21, 39:36 and 63:42.
            Register::Select(_) => Some(0x30f_ffd7_ffff),
            Register::Counter(_) => Some((1 << 48) - 1),
            Register::Control => Some(counters),
            Register::StatusReset => Some(counters | freeze(status::LBR_FROZEN | status::FROZEN)),
            Register::DebugControl => {
                Some(debug::LBR_BTF | freeze(debug::FREEZE_LBRS | debug::FREEZE))
            }
            Register::IbsOpControl => Some(ibs::BITS),
            Register::IbsOpAddress | Register::IbsOpData => Some(u64::MAX),
            _ => None,
        }
    }
}
