//! What the processor can do, as values that exist only if it can.
//!
//! A function that sets a control bit takes the proof that the bit is there, so
//! that the question cannot be forgotten. The crate asks for the maximum leaf
//! before it reads any other: `-cpu max` of QEMU returns garbage above it.

use core::fmt;

use profiler::hw::vendor::Vendor;
use raw_cpuid::CpuId;
use spin::Once;

macro_rules! proofs {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $name(());
        )*
    };
}

proofs! {
    /// Proof that pages can be marked as not executed.
    NoExecute
    /// Proof of pages of 1 GiB.
    GigabytePages
    /// Proof that translations can stay when the page tables are switched.
    GlobalPages
    /// Proof that the supervisor can be kept from executing the user's pages.
    Smep
    /// Proof that the supervisor can be kept from using the user's pages.
    Smap
    /// Proof that the user can be kept from asking where descriptor tables are.
    Umip
    /// Proof of machine-check exceptions.
    MachineCheck
    /// Proof of the local APIC's MSR interface.
    X2Apic
    /// Proof that the time stamp counter runs at a constant rate.
    InvariantTsc
    /// Proof that the local APIC's timer runs while the core is halted.
    AlwaysRunningTimer
}

/// The last family of AMD's whose halts may stop the APIC timer.
const LAST_FAMILY_WITH_C1E: u8 = 0x11;

/// The processor's features. All cores are taken to have the first core's.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// Without it there is no kernel: see [`Features::get`].
    pub no_execute: NoExecute,
    /// Pages of 1 GiB.
    pub gigabyte_pages: Option<GigabytePages>,
    /// Global pages.
    pub global_pages: Option<GlobalPages>,
    /// Supervisor-mode execution prevention.
    pub smep: Option<Smep>,
    /// Supervisor-mode access prevention.
    pub smap: Option<Smap>,
    /// User-mode instruction prevention.
    pub umip: Option<Umip>,
    /// Machine-check exceptions.
    pub machine_check: Option<MachineCheck>,
    /// x2APIC.
    pub x2apic: Option<X2Apic>,
    /// Invariant time stamp counter.
    pub invariant_tsc: Option<InvariantTsc>,
    /// An APIC timer that ends halts.
    pub always_running_timer: Option<AlwaysRunningTimer>,
}

impl Features {
    /// The features of this machine, detected once.
    ///
    /// # Panics
    ///
    /// If pages cannot be marked as not executed: every x86-64 processor since
    /// 2004 can, unless firmware hides it.
    pub fn get() -> &'static Self {
        static FEATURES: Once<Features> = Once::new();
        FEATURES.call_once(Self::detect)
    }

    fn detect() -> Self {
        let cpuid = CpuId::new();
        let basic = cpuid.get_feature_info();
        let basic = basic.expect("CPUID has no leaf 1");
        let extended = cpuid.get_extended_feature_info();
        let identifiers = cpuid.get_extended_processor_and_feature_identifiers();
        let power = cpuid.get_advanced_power_mgmt_info();
        let no_execute = identifiers
            .as_ref()
            .is_some_and(|info| info.has_execute_disable());
        assert!(
            no_execute,
            "the processor cannot mark pages as not executed, or hides it: switch on XD, NX or \
             \"Execute Disable\" in the firmware's setup"
        );
        // AMD has had no bit for it for long: up to family 0x11 halted cores may get into C1E,
        // in which the timer stops (erratum 400), and not since.
        let runs_by_family =
            Vendor::of_this_core() == Vendor::Amd && basic.family_id() > LAST_FAMILY_WITH_C1E;
        let thermal = cpuid.get_thermal_power_info();
        let runs_by_bit = thermal.is_some_and(|info| info.has_arat());
        Self {
            no_execute: NoExecute(()),
            gigabyte_pages: identifiers
                .is_some_and(|info| info.has_1gib_pages())
                .then_some(GigabytePages(())),
            global_pages: basic.has_pge().then_some(GlobalPages(())),
            smep: extended
                .as_ref()
                .is_some_and(|info| info.has_smep())
                .then_some(Smep(())),
            smap: extended
                .as_ref()
                .is_some_and(|info| info.has_smap())
                .then_some(Smap(())),
            umip: extended
                .as_ref()
                .is_some_and(|info| info.has_umip())
                .then_some(Umip(())),
            machine_check: basic.has_mce().then_some(MachineCheck(())),
            x2apic: basic.has_x2apic().then_some(X2Apic(())),
            invariant_tsc: power
                .is_some_and(|info| info.has_invariant_tsc())
                .then_some(InvariantTsc(())),
            always_running_timer: (runs_by_bit || runs_by_family).then_some(AlwaysRunningTimer(())),
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nx")?;
        for (name, present) in [
            ("1gib-pages", self.gigabyte_pages.is_some()),
            ("global-pages", self.global_pages.is_some()),
            ("smep", self.smep.is_some()),
            ("smap", self.smap.is_some()),
            ("umip", self.umip.is_some()),
            ("mce", self.machine_check.is_some()),
            ("x2apic", self.x2apic.is_some()),
            ("invariant-tsc", self.invariant_tsc.is_some()),
            ("arat", self.always_running_timer.is_some()),
        ] {
            if present {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}
