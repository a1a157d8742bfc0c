//! A core's PMU is started by a plan, and stopped: all registers are as they were then.

use core::sync::atomic::Ordering::Relaxed;

use super::{PmuDriver, Stage};
use crate::hw::apic::PerformanceEntry;
use crate::pmu::counter_msrs::CounterMsrs;
use crate::pmu::counters::Counter;
use crate::pmu::ibs::Stopped;
use crate::pmu::plan::{Assignment, Plan};
use crate::pmu::registers::{Freeze, MsrFault, Registers, intel, select};

/// Makes a state of the random numbers of a seed: never zero, and far apart for
/// neighbouring seeds (the finalizer of `SplitMix64`).
const fn mix_seed(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    match mixed ^ (mixed >> 31) {
        0 => 1,
        state => state,
    }
}

impl PmuDriver {
    /// Programs the running core by `plan`. The counters stay stopped until
    /// [`Self::resume`], which must follow.
    ///
    /// # Errors
    ///
    /// The processor refuses a value. All registers are restored.
    pub fn start<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        self.stage.store(Stage::Busy);
        let outcome = self.save(registers, plan).and_then(|()| {
            self.program(registers, plan)
                .inspect_err(|_| self.restore(registers, plan))
        });
        match outcome {
            Ok(()) => {
                self.stale_interrupts.store(0, Relaxed);
                self.running.store(true, Relaxed);
            }
            Err(_) => self.stage.store(Stage::Off),
        }
        outcome
    }

    /// Stops counting and restores all registers to their values before the start. The
    /// counts stay readable.
    pub fn stop<R: Registers>(&self, registers: &R, plan: &Plan) {
        let before = self.stage.load();
        self.stage.store(Stage::Busy);
        if !self.running.load(Relaxed) {
            self.stage.store(before);
            return;
        }
        plan.stop(registers, self.others.load(Relaxed));
        if let Some((_, Stopped::Sample)) = self.stop_ibs(registers, plan) {
            self.ibs.note_late();
        }
        for (index, assignment) in plan.assignments() {
            self.advance(registers, index, assignment, 0);
        }
        self.ack_overflows(registers, plan);
        self.restore(registers, plan);
        self.running.store(false, Relaxed);
        self.stage.store(Stage::Off);
    }

    /// Saves the registers that `plan` changes.
    fn save<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        let saved = &self.saved;
        let msrs = &plan.msrs;
        saved.freezes_in_smm.store(false, Relaxed);
        let control = match &plan.global {
            Some(global) => registers.try_read(global.control)?,
            None => 0,
        };
        saved.control.store(control, Relaxed);
        self.others
            .store(control & !plan.counters.global_bits(), Relaxed);
        saved.lvtpc.store(registers.read_lvtpc(), Relaxed);
        if plan.counters.fixed != 0 {
            let fixed = registers.try_read(intel::FIXED_CONTROL)?;
            saved.fixed_control.store(fixed, Relaxed);
        }
        if msrs.has_freeze() {
            saved
                .freezes
                .store(registers.try_freezes(Freeze::OnInterrupt)?, Relaxed);
        }
        if let Some(sampling) = &plan.ibs {
            self.ibs.save(registers, sampling)?;
        }
        for (index, assignment) in plan.assignments() {
            let counter = registers.try_read(assignment.registers.read)?;
            saved.counters[index].store(counter, Relaxed);
            if let Some(select) = assignment.registers.select {
                let select = registers.try_read(select)?;
                saved.selects[index].store(select, Relaxed);
            }
        }
        Ok(())
    }

    /// Programs the counters, without starting them.
    fn program<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        let msrs = &plan.msrs;
        // Stopped and masked first: a counter starts when its select is written if its bit
        // of the global control is set, as it is after a reset.
        registers.write_lvtpc(PerformanceEntry::NMI.masked());
        if let Some(global) = &plan.global {
            registers.write(global.control, self.others.load(Relaxed));
        }
        if let Some(sampling) = &plan.ibs {
            self.ibs.program(registers, sampling)?;
        }
        self.random.store(mix_seed(plan.seed), Relaxed);
        self.stalls.store(0, Relaxed);
        self.barren.store(0, Relaxed);
        self.deferred.store(0, Relaxed);
        self.has_missed.store(false, Relaxed);
        self.check.reset();
        let mut fixed_control = self.saved.fixed_control.load(Relaxed);
        for (index, assignment) in plan.assignments() {
            let progress = &self.events[index].progress;
            for zero in [
                &progress.position,
                &progress.last,
                &progress.due,
                &progress.missed,
                &progress.ran,
                &progress.checked,
            ] {
                zero.store(0, Relaxed);
            }
            progress.noise.store(assignment.noise, Relaxed);
            self.schedule_first(plan, index, assignment);
            let (register, value) = self.reload(index, assignment);
            registers.try_write(register, value)?;
            match assignment.counter {
                Counter::General(number) => {
                    let control = if plan.global.is_some() {
                        assignment.control
                    } else {
                        // Nothing else keeps it from counting.
                        assignment.control & !select::ENABLE
                    };
                    registers.try_write(msrs.event_select(number), control)?;
                }
                Counter::Fixed(number) => {
                    fixed_control &= !CounterMsrs::fixed_field(number);
                    fixed_control |= assignment.control << (4 * number);
                }
            }
        }
        if plan.counters.fixed != 0 {
            registers.try_write(intel::FIXED_CONTROL, fixed_control)?;
        }
        if msrs.has_freeze() && self.saved.freezes.load(Relaxed) {
            registers.try_set_freezing(Freeze::OnInterrupt, false)?;
        }
        self.set_fast(plan);
        let freezes_in_smm = self.freeze_in_smm(registers, plan);
        self.saved.freezes_in_smm.store(freezes_in_smm, Relaxed);
        Ok(())
    }

    /// Lets the counters stand still in system management mode, where they can: what the
    /// firmware does there is not the interrupted code's. Returns true if they did not before.
    /// A hypervisor that announces it and refuses costs nothing more.
    fn freeze_in_smm<R: Registers>(&self, registers: &R, plan: &Plan) -> bool {
        plan.msrs.has_smm_freeze()
            && registers.try_freezes(Freeze::InSmm) == Ok(false)
            && registers.try_set_freezing(Freeze::InSmm, true).is_ok()
    }

    /// The first overflow is due after the period.
    fn schedule_first(&self, plan: &Plan, index: usize, assignment: &Assignment) {
        let progress = &self.events[index].progress;
        let period = assignment.period.unwrap_or(0);
        progress.due.store(period, Relaxed);
        let target = self.jittered(period, assignment.jitter);
        progress.target.store(target, Relaxed);
        self.compute_reload(plan, index, assignment, 0);
    }

    /// Restores what [`Self::save`] has saved. The counters are stopped.
    pub(super) fn restore<R: Registers>(&self, registers: &R, plan: &Plan) {
        let saved = &self.saved;
        let msrs = &plan.msrs;
        if let Some(sampling) = &plan.ibs {
            self.ibs.restore(registers, sampling);
        }
        // A value that the register held cannot be refused; nothing could be done if it were.
        for (index, assignment) in plan.assignments() {
            if let Some(select) = assignment.registers.select {
                let before = saved.selects[index].load(Relaxed);
                let _ = registers.try_write(select, before);
            }
            let counter = saved.counters[index].load(Relaxed);
            let _ = msrs.try_set(registers, assignment.counter, counter);
        }
        if plan.counters.fixed != 0 {
            let fixed = saved.fixed_control.load(Relaxed);
            let _ = registers.try_write(intel::FIXED_CONTROL, fixed);
        }
        if msrs.has_freeze() && saved.freezes.load(Relaxed) {
            let _ = registers.try_set_freezing(Freeze::OnInterrupt, true);
        }
        if saved.freezes_in_smm.load(Relaxed) {
            let _ = registers.try_set_freezing(Freeze::InSmm, false);
        }
        if let Some(global) = &plan.global {
            registers.write(global.control, saved.control.load(Relaxed));
        }
        // After a reset that is an illegal vector.
        registers.write_lvtpc(PerformanceEntry::as_left(saved.lvtpc.load(Relaxed)));
    }
}
