//! What a kernel tells the sampler when it starts it.

use crate::address::CodeRange;
use crate::contract::capabilities::Reason;
use crate::format::Text;
use crate::hw::pm_timer::PmTimer;
use crate::linked;

/// What a kernel tells the sampler when it starts it.
///
/// ```no_run
/// use profiler::sampler::Config;
///
/// // Four cores whose APIC ids the boot loader told, the running one's first.
/// let config = Config {
///     command_line: "period=500 samples=20000",
///     apic_ids: &[0, 1, 2, 3],
///     xapic: Some(0xffff_8000_fee0_0000),
///     ..Config::new()
/// };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The kernel's GNU build-id, by which the host knows its ELF.
    pub build_id: [u8; 20],
    /// The words by which a run is described: see [`crate::contract::settings`].
    pub command_line: &'a str,
    /// The local APIC ids of all cores that take part, the running one's first; empty: it
    /// alone. The others call [`super::Sampler::join`].
    pub apic_ids: &'a [u32],
    /// The virtual address at which the page of the local APIC's registers is mapped,
    /// uncached. Not needed in x2APIC mode.
    pub xapic: Option<u64>,
    /// The virtual address at which the page of the HPET's registers is mapped, uncached,
    /// if there is one. Needed by the source `hpet`. Where the time stamp counter is time, and
    /// neither CPUID nor a hypervisor says how fast it runs, that is measured by the HPET;
    /// without one by [`Self::pm_timer`], or by channel 2 of the PIT, which needs nothing here.
    ///
    /// Its timers are the sampler's: those that were armed before are stopped, and none replaces
    /// the PIT or the RTC any more. A kernel that has its own ticks by one leaves this out.
    pub hpet: Option<u64>,
    /// ACPI's power management timer, if there is one and the kernel knows where: reading its
    /// port has no effect, or its register is mapped, uncached.
    pub pm_timer: Option<PmTimer>,
    /// Why there is no HPET, for [`super::Sampler::list`].
    pub no_hpet: Option<Reason>,
    /// The kernel's text, for the description of the run.
    pub text: CodeRange,
    /// The bytes of address space that each stack has for itself, a power of two, which
    /// is the alignment of that as well: `pmiscope verify` tells stacks apart by it.
    pub stack_slot: u64,
    /// The boot loader's name and version, for the report.
    pub bootloader: Text<64>,
    /// The workload that runs, of those that `workload=` of the command line can choose;
    /// empty where the kernel has no choice, so that the tool says so to who chooses one.
    pub workload: &'a str,
    /// The name of what cores can work on, by its number: see [`super::Target::task`].
    pub task_name: fn(u16) -> &'static str,
}

impl Config<'_> {
    /// The defaults: one core, no words on the command line, build-id and text as the
    /// fragment `pmiscope.ld` has them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            build_id: linked::build_id(),
            command_line: "",
            apic_ids: &[],
            xapic: None,
            hpet: None,
            pm_timer: None,
            no_hpet: None,
            text: linked::text(),
            stack_slot: 1 << 16,
            bootloader: Text::EMPTY,
            workload: "",
            task_name: |_| "",
        }
    }
}

impl Default for Config<'_> {
    fn default() -> Self {
        Self::new()
    }
}
