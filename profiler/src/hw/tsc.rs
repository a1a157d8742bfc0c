//! The time stamp counter, as a measure that every core has at hand.
//!
//! Its rate is not known here: 1 to 5 GHz on real machines, the instructions of all
//! cores under QEMU's instruction counting. It is good for timeouts and differences.

/// The time stamp counter, read in program order or nearly so.
#[must_use]
#[inline]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has it, and CR4.TSD restricts ring 3 only.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The time stamp counter, read behind everything before it, and before everything behind it: for
/// what is compared with another clock.
///
/// On Intel, nothing behind an LFENCE executes before all before it has completed, and one behind
/// an MFENCE waits for stores as well (SDM vol. 2, RDTSC). On AMD an LFENCE does so only where
/// bit 1 of MSR C001_1029 is set, which kernels do or not; an RDTSC waits for an MFENCE in any
/// case, which is what Linux and Xen rely on there (`X86_FEATURE_MFENCE_RDTSC`). No feature bit
/// is asked: CPUID would be a hypervisor's exit.
#[must_use]
pub fn ordered_ticks() -> u64 {
    let wait = || {
        // SAFETY: every x86-64 processor has it; it orders, and does nothing else.
        unsafe { core::arch::x86_64::_mm_mfence() };
        // SAFETY: as above.
        unsafe { core::arch::x86_64::_mm_lfence() };
    };
    wait();
    let ticks = ticks();
    wait();
    ticks
}

/// The end of a wait.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use profiler::hw::tsc::Deadline;
///
/// static HAS_STARTED: AtomicBool = AtomicBool::new(false);
/// let has_started = || HAS_STARTED.load(Ordering::Acquire);
/// assert!(!Deadline::after(1000).wait_for(has_started));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: u64,
    ticks: u64,
}

impl Deadline {
    /// `ticks` of the time stamp counter from now.
    #[must_use]
    pub fn after(ticks: u64) -> Self {
        Self {
            start: self::ticks(),
            ticks,
        }
    }

    /// Returns true if the deadline has passed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        // Another core's counter may be a little behind: that is no time at all.
        let passed = ticks().wrapping_sub(self.start).cast_signed();
        passed > 0 && passed.cast_unsigned() > self.ticks
    }

    /// Waits for `condition`. Returns true if it came true in time.
    ///
    /// Under instruction counting a `pause` lets another core run, but takes an
    /// emulator so long that a deadline of many ticks would hardly ever come. So
    /// once a wait has become long, most of it is spent in plain instructions.
    #[must_use]
    pub fn wait_for(&self, condition: impl Fn() -> bool) -> bool {
        const SHORT_WAIT: u32 = 100_000;
        const INSTRUCTIONS: u32 = 20_000;
        let mut looks = 0_u32;
        loop {
            if condition() {
                return true;
            }
            if self.is_over() {
                return false;
            }
            looks = looks.saturating_add(1);
            if looks > SHORT_WAIT {
                (0..INSTRUCTIONS).for_each(|n| _ = core::hint::black_box(n));
            }
            core::hint::spin_loop();
        }
    }

    /// Waits until the deadline.
    pub fn wait(&self) {
        let _ = self.wait_for(|| false);
    }
}
