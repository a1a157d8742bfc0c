//! The registers of a core's PMU: their numbers, what their bits mean, and the
//! trait that accesses them.
//!
//! Names and numbers: SDM vol. 3, chapter "Performance Monitoring", and vol. 4;
//! AMD64 APM vol. 2, 13.2, and appendix A.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::counters::{Counter, Counters};
use crate::hw::apic::{ExtendedEntry, PerformanceEntry};

/// A model-specific register of the PMU: a counter, or one that says what counters can
/// do, what they count, whether they do, and which have overflowed.
///
/// Only this module makes one, and no other register is one. So writing any value to
/// any of them, on a processor that has it, changes what is counted and what is known of
/// that, or is refused (#GP). It touches neither memory nor control flow, but for what an
/// overflow brings:
///
/// * an interrupt, as the performance counters' entry of the local vector table says, or of
///   IBS the entry of the table's extension that firmware has given it;
/// * a record in memory, if somebody has switched that on for the counter (PEBS). The
///   registers by which it is done are none of these: IA32_PEBS_ENABLE, from version 6
///   on IA32_PMC_GPn_CFG_C and IA32_PMC_FXm_CFG_C.
///
/// IA32_DEBUGCTL is none of them either: see [`debug_control`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Msr(u32);

impl Msr {
    /// The register's number, as `rdmsr` takes it.
    #[must_use]
    #[inline]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The register of a counter, of `count` counters of which this is the first one's:
    /// they are `stride` apart. What is behind the last one may be none of the PMU.
    ///
    /// # Panics
    ///
    /// If the counter is none of them.
    #[inline]
    const fn nth(self, counter: u8, stride: u32, count: u8) -> Self {
        assert!(counter < count, "no such counter");
        Self(self.0 + counter as u32 * stride)
    }
}

impl fmt::Debug for Msr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MSR {:#x}", self.0)
    }
}

/// The processor refused an access: #GP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsrFault {
    /// The register's number: it need not be an [`Msr`].
    register: u32,
}

impl MsrFault {
    /// The fault of an access to `register`.
    #[must_use]
    pub const fn of(register: Msr) -> Self {
        Self {
            register: register.0,
        }
    }

    /// The number of the register; never 0.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.register
    }

    /// The fault with this [number](Self::number); `None` for 0.
    #[must_use]
    pub const fn from_number(register: u32) -> Option<Self> {
        match register {
            0 => None,
            _ => Some(Self { register }),
        }
    }
}

impl fmt::Display for MsrFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the processor refuses MSR {:#x}", self.register)
    }
}

impl core::error::Error for MsrFault {}

/// A counter, as `rdpmc` takes it (SDM vol. 2, RDPMC; APM vol. 3, RDPMC). CR4.PCE says who else
/// may execute it: the kernel always may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterNumber(u32);

impl CounterNumber {
    /// Bit 30: a fixed counter.
    const FIXED: u32 = 1 << 30;
    /// AMD's counters behind these have other numbers.
    pub const MOST_AMD: u8 = 6;

    /// The number of `counter`.
    #[must_use]
    pub const fn of(counter: Counter) -> Self {
        match counter {
            Counter::General(number) => Self(number as u32),
            Counter::Fixed(number) => Self(Self::FIXED | number as u32),
        }
    }

    /// As `rdpmc` takes it.
    #[must_use]
    #[inline]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The processor refused `rdpmc`: #GP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterFault;

/// An [`Msr`], or a [`CounterNumber`], that is known once a core is started: for handlers, which
/// read it again and again.
#[derive(Default, Debug)]
#[repr(transparent)]
pub struct Stored(AtomicU32);

impl Stored {
    /// Keeps a register.
    pub fn set_msr(&self, register: Msr) {
        self.0.store(register.0, Relaxed);
    }

    /// The register that was kept.
    #[inline]
    pub fn msr(&self) -> Msr {
        Msr(self.0.load(Relaxed))
    }

    /// Keeps a counter.
    pub fn set_counter(&self, counter: CounterNumber) {
        self.0.store(counter.0, Relaxed);
    }

    /// The counter that was kept.
    #[inline]
    pub fn counter(&self) -> CounterNumber {
        CounterNumber(self.0.load(Relaxed))
    }
}

/// Access to the PMU of the running core.
///
/// An implementation executes `rdmsr` and `wrmsr` with the given number, or
/// [`debug_control::NUMBER`], and reads and writes the performance counters' entry of the
/// core's local vector table, and the entries of its extension.
pub trait Registers {
    /// Reads a register that is known to exist.
    fn read(&self, register: Msr) -> u64;

    /// Writes a register that is known to exist, with a value that it is known to take.
    fn write(&self, register: Msr, value: u64);

    /// Reads such a register. Returns its low and its high half.
    #[allow(clippy::cast_possible_truncation)] // it is cut in two
    #[inline]
    fn read_halves(&self, register: Msr) -> [u32; 2] {
        let value = self.read(register);
        [value as u32, (value >> 32) as u32]
    }

    /// Writes such a register, by its halves.
    #[inline]
    fn write_halves(&self, register: Msr, low: u32, high: u32) {
        self.write(register, u64::from(high) << 32 | u64::from(low));
    }

    /// Reads a counter that [`Self::try_read_counter`] has found.
    fn read_counter(&self, counter: CounterNumber) -> u64;

    /// Reads a counter by `rdpmc`, which costs less than its register. Hypervisors may not have it.
    ///
    /// # Errors
    ///
    /// The processor refuses it.
    fn try_read_counter(&self, counter: CounterNumber) -> Result<u64, CounterFault>;

    /// Reads a register that CPUID announces. Hypervisors may be wrong.
    ///
    /// # Errors
    ///
    /// The processor refuses it.
    fn try_read(&self, register: Msr) -> Result<u64, MsrFault>;

    /// Writes a register that CPUID announces.
    ///
    /// # Errors
    ///
    /// The processor refuses it.
    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault>;

    /// Returns true if counters freeze then ([`debug_control::freezes`]), by IA32_DEBUGCTL,
    /// which CPUID announces.
    ///
    /// # Errors
    ///
    /// The processor refuses the register.
    fn try_freezes(&self, when: Freeze) -> Result<bool, MsrFault>;

    /// Makes counters freeze then, or not. Reads the register and writes it back with that one
    /// bit changed ([`debug_control::with_freezing`]).
    ///
    /// # Errors
    ///
    /// The processor refuses the register, or the bit. Nothing is changed.
    fn try_set_freezing(&self, when: Freeze, freezes: bool) -> Result<(), MsrFault>;

    /// The entry for performance counters of the core's local vector table (LVTPC;
    /// SDM vol. 3, "Local Vector Table").
    fn read_lvtpc(&self) -> u32;

    /// Writes that entry.
    fn write_lvtpc(&self, entry: PerformanceEntry);

    /// An entry of the local vector table's extension, which AMD's have (APM vol. 2,
    /// "Extended Interrupts"); `None` if the APIC has no such entry.
    fn read_extended_lvt(&self, entry: ExtendedEntry) -> Option<u32>;

    /// Writes that entry, which is there.
    fn write_extended_lvt(&self, entry: ExtendedEntry, value: PerformanceEntry);
}

/// When counters stand still by themselves: a bit of IA32_DEBUGCTL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freeze {
    /// When they interrupt: FREEZE_PERFMON_ON_PMI.
    OnInterrupt,
    /// While the processor is in system management mode: FREEZE_WHILE_SMM.
    InSmm,
}

/// IA32_DEBUGCTL; AMD's DebugCtl, which has the same number and the first of the same bits
/// (SDM vol. 4, table 2-2; APM vol. 2, 13.2).
///
/// It is no [`Msr`]: by others of its bits the processor writes branches to memory or to
/// the bus (BTS, TR), or traps at them (BTF). The driver is concerned with those of
/// [`Freeze`], and changes no other.
pub mod debug_control {
    use super::{Freeze, MsrFault};

    /// The register's number, as `rdmsr` takes it.
    pub const NUMBER: u32 = 0x1d9;
    /// The processor refused it.
    pub const REFUSED: MsrFault = MsrFault { register: NUMBER };

    const fn bit(when: Freeze) -> u64 {
        match when {
            Freeze::OnInterrupt => 1 << 12,
            Freeze::InSmm => 1 << 14,
        }
    }

    /// Returns true if counters freeze then, where the register holds `value`.
    #[must_use]
    pub const fn freezes(value: u64, when: Freeze) -> bool {
        value & bit(when) != 0
    }

    /// `value` with the bit by which counters freeze then set or cleared.
    #[must_use]
    pub const fn with_freezing(value: u64, when: Freeze, freezes: bool) -> u64 {
        if freezes {
            value | bit(when)
        } else {
            value & !bit(when)
        }
    }
}

/// Event selects: IA32_PERFEVTSELn and PERF_CTLn, which agree in these bits.
pub mod select {
    /// The event's number, its low eight bits.
    pub const EVENT: u64 = 0xff;
    /// Which of the event's conditions are counted.
    pub const UNIT_MASK: u64 = 0xff << 8;
    /// Count at privilege levels 1 to 3.
    pub const USER: u64 = 1 << 16;
    /// Count at privilege level 0.
    pub const KERNEL: u64 = 1 << 17;
    /// Count when the condition begins.
    pub const EDGE: u64 = 1 << 18;
    /// Interrupt at an overflow.
    pub const INTERRUPT: u64 = 1 << 20;
    /// Count.
    pub const ENABLE: u64 = 1 << 22;
    /// Count the cycles with fewer than the counter mask says.
    pub const INVERT: u64 = 1 << 23;
    /// Count the cycles with at least this many.
    pub const COUNTER_MASK: u64 = 0xff << 24;
    /// AMD: bits 8 to 11 of the event's number.
    pub const EVENT_HIGH: u64 = 0xf << 32;
    /// Intel, where CPUID leaf 0x23 has it: the second unit mask.
    pub const UNIT_MASK_2: u64 = 0xff << 40;
}

/// IA32_FIXED_CTR_CTRL: four bits a fixed counter.
pub mod fixed {
    /// Count at privilege level 0.
    pub const KERNEL: u64 = 1 << 0;
    /// Count at privilege levels 1 to 3.
    pub const USER: u64 = 1 << 1;
    /// Interrupt at an overflow.
    pub const INTERRUPT: u64 = 1 << 3;
    /// All four.
    pub const FIELD: u64 = 0xf;
}

/// Intel (SDM vol. 4, table 2-2). For a counter that there cannot be, its register's
/// function panics.
pub mod intel {
    use super::{Counters, Msr};

    /// IA32_PERF_CAPABILITIES. Read-only.
    pub const CAPABILITIES: Msr = Msr(0x345);
    /// In it: counters take writes of their full width, by other registers.
    pub const FULL_WIDTH_WRITE: u64 = 1 << 13;
    /// In it: counters can freeze in system management mode.
    pub const SMM_FREEZE: u64 = 1 << 12;
    /// IA32_FIXED_CTR_CTRL.
    pub const FIXED_CONTROL: Msr = Msr(0x38d);
    /// IA32_PERF_GLOBAL_STATUS. Read-only.
    pub const GLOBAL_STATUS: Msr = Msr(0x38e);
    /// IA32_PERF_GLOBAL_CTRL.
    pub const GLOBAL_CONTROL: Msr = Msr(0x38f);
    /// IA32_PERF_GLOBAL_OVF_CTRL; from version 4 on IA32_PERF_GLOBAL_STATUS_RESET.
    pub const GLOBAL_STATUS_RESET: Msr = Msr(0x390);

    /// IA32_PERFEVTSELn.
    #[must_use]
    #[inline]
    pub const fn event_select(counter: u8) -> Msr {
        Msr(0x186).nth(counter, 1, Counters::MOST_INTEL)
    }

    /// IA32_PMCn. A write takes 32 bits and extends their sign.
    #[must_use]
    #[inline]
    pub const fn counter(counter: u8) -> Msr {
        Msr(0xc1).nth(counter, 1, Counters::MOST_INTEL)
    }

    /// IA32_A_PMCn, which takes writes of the full width.
    #[must_use]
    #[inline]
    pub const fn full_width_counter(counter: u8) -> Msr {
        Msr(0x4c1).nth(counter, 1, Counters::MOST_INTEL)
    }

    /// IA32_FIXED_CTRn.
    #[must_use]
    #[inline]
    pub const fn fixed_counter(counter: u8) -> Msr {
        Msr(0x309).nth(counter, 1, Counters::MOST_FIXED)
    }

    /// The registers of version 6, four a counter (SDM vol. 3, "Architectural
    /// Performance Monitoring Version 6").
    pub mod v6 {
        use super::{Counters, Msr};

        /// IA32_PMC_GPn_CFG_A.
        #[must_use]
        #[inline]
        pub const fn event_select(counter: u8) -> Msr {
            Msr(0x1901).nth(counter, 4, Counters::MOST_GENERAL)
        }

        /// IA32_PMC_GPn_CTR, which takes writes of the full width.
        #[must_use]
        #[inline]
        pub const fn counter(counter: u8) -> Msr {
            Msr(0x1900).nth(counter, 4, Counters::MOST_GENERAL)
        }

        /// IA32_PMC_FXm_CTR.
        #[must_use]
        #[inline]
        pub const fn fixed_counter(counter: u8) -> Msr {
            Msr(0x1980).nth(counter, 4, Counters::MOST_FIXED)
        }
    }

    /// Bits of the global registers that are no counter's (SDM vol. 3, "Full-Width
    /// Writes" to "Global Status").
    pub mod status {
        /// The first fixed counter's bit; general counters have those below.
        pub const FIXED_SHIFT: u8 = 32;
        /// LBRs are frozen (version 4 on).
        pub const LBR_FROZEN: u64 = 1 << 58;
        /// The counters are frozen (version 4 on).
        pub const FROZEN: u64 = 1 << 59;
    }
}

/// AMD (APM vol. 2, 13.2; PPR for family 19h model 11h, "PerfMonV2"). For a counter that
/// there cannot be, its register's function panics.
pub mod amd {
    use super::{Counters, Msr};

    /// PerfCntrGlobalStatus. Read-only.
    pub const GLOBAL_STATUS: Msr = Msr(0xc000_0300);
    /// PerfCntrGlobalCtl.
    pub const GLOBAL_CONTROL: Msr = Msr(0xc000_0301);
    /// PerfCntrGlobalStatusClr.
    pub const GLOBAL_STATUS_CLEAR: Msr = Msr(0xc000_0302);

    /// Instruction-Based Sampling of ops (APM vol. 2, 13.3; PPR for family 19h, MSRs
    /// C001_1033h and on).
    pub mod ibs {
        use super::Msr;

        /// IbsOpCtl: what it counts, and how far.
        pub const OP_CONTROL: Msr = Msr(0xc001_1033);
        /// IbsOpRip: the address of the op that was sampled.
        pub const OP_ADDRESS: Msr = Msr(0xc001_1034);
        /// IbsOpData: what is known of it.
        pub const OP_DATA: Msr = Msr(0xc001_1035);
        /// IBS Control: what the firmware has set up. Read-only.
        pub const CONTROL: Msr = Msr(0xc001_103a);

        /// In [`OP_CONTROL`]: count.
        pub const ENABLE: u64 = 1 << 17;
        /// In it: there is a sample. Nothing is counted until it is cleared.
        pub const VALID: u64 = 1 << 18;
        /// In it: count ops in place of cycles (IbsOpCntCtl).
        pub const COUNT_OPS: u64 = 1 << 19;
        /// In [`OP_DATA`]: the address is none (IbsRipInvalid).
        pub const ADDRESS_INVALID: u64 = 1 << 38;
        /// In [`CONTROL`]: the entry of the extended local vector table, and that it has
        /// one.
        pub const LVT_NUMBER: u64 = 0xf;
        /// See there.
        pub const LVT_VALID: u64 = 1 << 8;
    }

    /// PerfEvtSeln, of four.
    #[must_use]
    #[inline]
    pub const fn legacy_event_select(counter: u8) -> Msr {
        Msr(0xc001_0000).nth(counter, 1, 4)
    }

    /// PerfCtrn, of four.
    #[must_use]
    #[inline]
    pub const fn legacy_counter(counter: u8) -> Msr {
        Msr(0xc001_0004).nth(counter, 1, 4)
    }

    /// PERF_CTLn, of six and more.
    #[must_use]
    #[inline]
    pub const fn event_select(counter: u8) -> Msr {
        Msr(0xc001_0200).nth(counter, 2, Counters::MOST_GENERAL)
    }

    /// PERF_CTRn, of six and more.
    #[must_use]
    #[inline]
    pub const fn counter(counter: u8) -> Msr {
        Msr(0xc001_0201).nth(counter, 2, Counters::MOST_GENERAL)
    }
}
