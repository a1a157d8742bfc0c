//! The APIC, and the cores' states, before any other core can come.

use crate::contract::settings::Keep;
use crate::entry::fast;
use crate::hw::apic::{self, Mode, Registers};
use crate::hw::control;
use crate::hw::hpet::Hpet;
use crate::hw::pm_timer::PmTimer;
use crate::sampler::Sampler;
use crate::sampler::clock::Timers;
use crate::sampler::config::Config;
use crate::sampler::error::{CoresError, StartError};
use crate::sampler::handler::fast_counters;
use crate::sampler::memory::Memory;
use crate::sampler::per_core::Core;
use crate::sampler::target::Target;
use crate::unwind::assembly;

impl<T: Target> Sampler<T> {
    /// Makes the state of each core. Returns the memory that is left.
    pub(in crate::sampler) fn set_up<'a>(
        &'static self,
        memory: &Memory,
        config: &Config<'_>,
        keep: Keep,
    ) -> Result<Memory, StartError<'a>> {
        if !assembly::is_sorted() {
            return Err(StartError::AssemblyNotSorted);
        }
        assembly::make_map();
        let registers = Registers::detect(config.xapic).map_err(StartError::Apic)?;
        // SAFETY: that mode was found on this core, and is that of all; `Config::xapic`
        // says that its page is mapped.
        unsafe { apic::set_registers(registers) };
        // SAFETY: gates for the sampler's vectors are what it asks of a kernel.
        unsafe { registers.enable() };
        let timers = timers_of(config.hpet, config.pm_timer);
        let own = [registers.id()];
        let apic_ids = if config.apic_ids.is_empty() {
            &own
        } else {
            config.apic_ids
        };
        check_cores(apic_ids, own[0], registers.mode()).map_err(StartError::Cores)?;
        let there = memory.len();
        let (rest, cores) = memory
            .split_cores(apic_ids)
            .ok_or(StartError::RegionTooSmall {
                needed: size_of::<Core>() * apic_ids.len(),
                there,
            })?;
        if !self.engine.cores.set(cores, timers) {
            return Err(StartError::StartedBefore);
        }
        for core in cores {
            fast::connect(core.index, core.apic_id, &core.path);
            core.pmu.handlers.set(fast_counters::handlers::<T>(keep));
        }
        // The trials of sources wait for interrupts, maskable ones too.
        control::enable_interrupts();
        Ok(rest)
    }
}

/// Checks the list of cores, `apic_ids`, on the core with the APIC id `running`.
fn check_cores(apic_ids: &[u32], running: u32, mode: Mode) -> Result<(), CoresError> {
    if let Some(&listed) = apic_ids.first().filter(|&&first| first != running) {
        return Err(CoresError::FirstElsewhere { listed, running });
    }
    for (index, &id) in apic_ids.iter().enumerate() {
        if apic_ids[..index].contains(&id) {
            return Err(CoresError::Twice(id));
        }
        if !mode.reaches(id) {
            return Err(CoresError::NoXApicId(id));
        }
    }
    Ok(())
}

/// The timers that the kernel says there are; those of the HPET, whose registers are at `hpet`, do
/// not interrupt.
fn timers_of(hpet: Option<u64>, pm_timer: Option<PmTimer>) -> Timers {
    let hpet = hpet.map(|address| {
        // SAFETY: as `Config::hpet` says.
        let hpet = unsafe { Hpet::at(address) };
        hpet.check().map(|()| hpet)
    });
    if let Some(Ok(hpet)) = hpet {
        hpet.take_over();
    }
    Timers { hpet, pm_timer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hw::hpet::tests::Registers as HpetRegisters;
    use crate::hw::hpet::{Problem, Register};

    #[test]
    fn an_hpet_is_taken_over_if_it_is_one() {
        let hpet_at = |registers: &HpetRegisters| timers_of(Some(registers.address()), None).hpet;
        let registers = HpetRegisters::new(3);
        let timer = Register::TimerConfiguration(2);
        registers.set(timer, 1 << 15 | 1 << 2);
        assert_eq!(hpet_at(&registers), Some(Ok(registers.hpet())));
        assert_eq!(registers.get(timer), 1 << 15);
        let absent = HpetRegisters::absent();
        assert_eq!(hpet_at(&absent), Some(Err(Problem::Absent)));
        assert_eq!(absent.get(timer), u64::MAX);
        assert_eq!(timers_of(None, None).hpet, None);
    }

    #[test]
    fn a_list_that_is_not_the_cores_is_refused() {
        let x2apic = |ids: &[u32], running| check_cores(ids, running, Mode::X2Apic);
        assert_eq!(x2apic(&[4], 4), Ok(()));
        assert_eq!(x2apic(&[4, 0, 300], 4), Ok(()));
        let first = CoresError::FirstElsewhere {
            listed: 0,
            running: 4,
        };
        assert_eq!(x2apic(&[0, 4], 4), Err(first));
        assert_eq!(x2apic(&[4, 1, 2, 1], 4), Err(CoresError::Twice(1)));
        let xapic = |ids: &[u32]| check_cores(ids, 0, Mode::XApic);
        assert_eq!(xapic(&[0, 254]), Ok(()));
        assert_eq!(xapic(&[0, 255]), Err(CoresError::NoXApicId(255)));
    }
}
