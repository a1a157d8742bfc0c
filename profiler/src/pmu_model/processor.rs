//! A core, as code on it and its surroundings see it.

use core::fmt;
use std::cell::RefCell;
use std::collections::BTreeMap;

use super::apic::Delivered;
use super::events::{Cycle, Event, Privilege};
use super::kinds::Model;
use super::map::{Register, debug};
use super::state::State;
use super::truth::{Accesses, Context, Deliveries, Id};
use crate::hw::apic::{ExtendedEntry, PerformanceEntry};
use crate::pmu::registers::{
    CounterFault, CounterNumber, Freeze, Msr, MsrFault, Registers, debug_control,
};

/// #GP, and what for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault(pub String);

/// What the registers hold, by their numbers; under two numbers, by the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The model-specific registers.
    pub msrs: BTreeMap<u32, u64>,
    /// LVTPC.
    pub lvtpc: u32,
    /// The entries of the extended local vector table.
    pub extended: [u32; 4],
}

impl Snapshot {
    /// The same once the driver has written back what it found: it does not write LVTPC with
    /// an illegal vector, which is what a reset leaves.
    #[must_use]
    pub fn restored(self) -> Self {
        Self {
            lvtpc: PerformanceEntry::as_left(self.lvtpc).bits(),
            ..self
        }
    }
}

/// A core.
#[derive(Debug)]
pub struct Core {
    model: Model,
    state: RefCell<State>,
}

impl Core {
    /// A core as after a reset.
    ///
    /// Panics if there is no such processor.
    #[must_use]
    pub fn new(model: Model) -> Self {
        model.check();
        let state = State::reset(&model);
        Self {
            model,
            state: RefCell::new(state),
        }
    }

    /// Which processor it is.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Executes `cycles` cycles like this one. Interrupts stay pending.
    pub fn execute(&self, cycle: &Cycle<'_>, cycles: u64) {
        let mut left = cycles;
        while left > 0 {
            left -= self.state.borrow_mut().advance(&self.model, cycle, left);
        }
    }

    /// Executes up to `cycles` cycles, until an interrupt can be taken. Returns their number.
    pub fn execute_until_interrupt(&self, cycle: &Cycle<'_>, cycles: u64) -> u64 {
        let mut left = cycles;
        while left > 0 && self.pending(cycle.interrupts).is_none() {
            left -= self.state.borrow_mut().advance(&self.model, cycle, left);
        }
        cycles - left
    }

    /// The cycles that were executed.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.state.borrow().now
    }

    /// Whose code executes from now on.
    pub fn set_context(&self, context: Context) -> Context {
        core::mem::replace(&mut self.state.borrow_mut().context, context)
    }

    /// Whose code executes.
    #[must_use]
    pub fn context(&self) -> Context {
        self.state.borrow().context
    }

    /// The interrupt that the core would take, if interrupts are on or off.
    #[must_use]
    pub fn pending(&self, interrupts: bool) -> Option<Delivered> {
        self.state.borrow().apic.pending(interrupts)
    }

    /// Returns true if an NMI is pending.
    #[must_use]
    pub fn pending_nmi(&self) -> bool {
        self.pending(false).is_some()
    }

    /// Takes the interrupt that is pending, if one can be taken.
    pub fn take(&self, interrupts: bool) -> Option<Delivered> {
        let state = &mut *self.state.borrow_mut();
        state.apic.take(interrupts, &mut state.truth.deliveries)
    }

    /// Takes the NMI that is pending. Panics if there is none or NMIs are blocked.
    pub fn take_nmi(&self) -> Delivered {
        let nmi = self.take(false);
        nmi.unwrap_or_else(|| self.die("there is no NMI to be taken"))
    }

    /// IRET, from whatever: NMIs can be taken again.
    pub fn iret(&self) {
        self.state.borrow_mut().apic.iret();
    }

    /// The end of an interrupt by a vector is written to the APIC.
    pub fn end_of_interrupt(&self) {
        self.state.borrow_mut().apic.end_of_interrupt();
    }

    /// The firmware has the core for `cycles` cycles, in system management mode. Interrupts
    /// stay pending.
    pub fn in_smm(&self, cycles: u64) {
        let events = [(Event::Cycles, 1)];
        let cycle = Cycle {
            privilege: Privilege::Kernel,
            interrupts: false,
            events: &events,
        };
        let context = self.set_context(Context::Firmware);
        self.state.borrow_mut().set_smm(&self.model, true);
        self.execute(&cycle, cycles);
        self.state.borrow_mut().set_smm(&self.model, false);
        self.set_context(context);
    }

    /// Somebody else sends an NMI.
    pub fn send_nmi(&self) {
        let state = &mut *self.state.borrow_mut();
        state.apic.send_nmi(&mut state.truth.deliveries);
    }

    /// Something outside this model sets bits of the global status: the uncore, the
    /// debug store, a change of condition, another's freezing; it may interrupt.
    pub fn set_status(&self, bits: u64, interrupts: bool) {
        assert!(self.model.has_global(), "there is no global status");
        let state = &mut *self.state.borrow_mut();
        state.status |= bits;
        state.refresh(&self.model);
        if interrupts {
            state.raise(&self.model, bits);
        }
    }

    /// The firmware has set up a counter and lets it count in both privileges, from
    /// `value` on.
    pub fn firmware_owns(&self, counter: Id, event: Event, value: u64, interrupts: bool) {
        let state = &mut *self.state.borrow_mut();
        match counter {
            Id::General(number) => {
                let code = self.model.code(event).expect("an event that there is");
                let interrupt = u64::from(interrupts) << 20;
                state.selects[usize::from(number)] = code | 0b11 << 16 | 1 << 22 | interrupt;
            }
            Id::Fixed(number) => {
                assert_eq!(Model::fixed_event(number), event);
                let field = 0b11 | u64::from(interrupts) << 3;
                state.fixed_control |= field << (number * 4);
            }
        }
        state.control |= 1 << counter.bit();
        state.counters[usize::from(counter.bit())].value = value;
        state.refresh(&self.model);
    }

    /// Instruction-Based Sampling has no address for ops from now on, or has one.
    pub fn lose_addresses(&self, loses: bool) {
        self.state.borrow_mut().ibs.has_no_address = loses;
    }

    /// So many ops are dispatched for a hundred that retire.
    pub fn dispatch(&self, percent: u64) {
        self.state.borrow_mut().ibs.dispatch.percent = percent;
    }

    /// The count of Instruction-Based Sampling cannot be written.
    pub fn forget_count(&self) {
        self.state.borrow_mut().ibs.forgets = true;
    }

    /// Of so many ops that are tagged one does not retire; 0: all do.
    pub fn abort_tagged(&self, each: u64) {
        self.state.borrow_mut().ibs.abort_each = each;
    }

    /// What all registers hold.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.borrow();
        let numbers = self.model.numbers();
        let msrs = numbers.map(|number| {
            let register = self.model.register(number).unwrap();
            (number, state.get(&self.model, register))
        });
        Snapshot {
            msrs: msrs.collect(),
            lvtpc: state.apic.lvtpc(),
            extended: state.apic.extended,
        }
    }

    /// How often `event` occurred.
    #[must_use]
    pub fn occurred(&self, event: Event, privilege: Privilege, context: Context) -> u64 {
        self.state.borrow().truth.events(event, privilege, context)
    }

    /// How much a counter has counted since the reset, whatever was written to it.
    #[must_use]
    pub fn counted(&self, counter: Id) -> u64 {
        self.state.borrow().counters[usize::from(counter.bit())].counted
    }

    /// How often a counter wrapped.
    #[must_use]
    pub fn wraps(&self, counter: Id) -> u64 {
        self.state.borrow().counters[usize::from(counter.bit())].wraps
    }

    /// How often a counter interrupted, delivered or not.
    #[must_use]
    pub fn raised(&self, counter: Id) -> u64 {
        self.state.borrow().truth.raised(counter.bit())
    }

    /// What became of the PMU's interrupts.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        self.state.borrow().truth.deliveries
    }

    /// The counters that overflowed and whose status or interrupt is on its way.
    #[must_use]
    pub fn on_their_way(&self) -> Vec<Id> {
        let bits = self.state.borrow().on_their_way();
        bits.into_iter().map(Id::from_bit).collect()
    }

    /// The accesses to registers since the reset.
    #[must_use]
    pub fn accesses(&self) -> Accesses {
        self.state.borrow().accesses
    }

    /// Reads a model-specific register.
    ///
    /// # Errors
    ///
    /// #GP.
    pub fn rdmsr(&self, number: u32) -> Result<u64, Fault> {
        let mut state = self.state.borrow_mut();
        let result = self
            .announced(number)
            .map(|register| register.map_or(0, |register| state.get(&self.model, register)));
        state.record("rdmsr", number, result.clone());
        result
    }

    /// Reads a counter by RDPMC.
    ///
    /// # Errors
    ///
    /// #GP.
    pub fn rdpmc(&self, number: u32) -> Result<u64, Fault> {
        let mut state = self.state.borrow_mut();
        // SDM vol. 2, RDPMC: bit 30 for the fixed ones; APM vol. 3: the number.
        let bit = match number {
            0..32 => number,
            0x4000_0000..0x4000_0010 => number - 0x4000_0000 + 32,
            _ => 48,
        };
        let has_it = bit < 48 && self.model.counter_bits() >> bit & 1 != 0;
        let result = if has_it && self.model.quirks.has_rdpmc {
            Ok(state.counters[bit as usize].value)
        } else {
            Err(Fault("there is no such counter".into()))
        };
        state.record("rdpmc", number, result.clone());
        result
    }

    /// Writes a model-specific register.
    ///
    /// # Errors
    ///
    /// #GP.
    pub fn wrmsr(&self, number: u32, value: u64) -> Result<(), Fault> {
        let mut state = self.state.borrow_mut();
        let result = self.accepted(number, value).map(|accepted| {
            if let Some((register, value)) = accepted {
                state.write(&self.model, register, value);
            }
        });
        state.record("wrmsr", number, result.clone().map(|()| value));
        result
    }

    /// The register with that number; `None`: it is not there, and that is ignored.
    fn announced(&self, number: u32) -> Result<Option<Register>, Fault> {
        let quirks = &self.model.quirks;
        let register = self.model.register(number);
        if quirks.refused.contains(&number) {
            Err(Fault("the hypervisor refuses it".into()))
        } else if register.is_none() && !quirks.ignores_unknown {
            Err(Fault("there is no such register".into()))
        } else {
            Ok(register)
        }
    }

    /// The register, and what a write of `value` would put there.
    fn accepted(&self, number: u32, value: u64) -> Result<Option<(Register, u64)>, Fault> {
        let Some(register) = self.announced(number)? else {
            return Ok(None);
        };
        let writable = self.model.writable(register);
        let reserved = value & !writable.unwrap_or(0);
        match writable {
            Some(bits) if reserved == 0 || self.model.quirks.drops_reserved => {
                Ok(Some((register, value & bits)))
            }
            Some(_) => Err(Fault(format!("reserved bits {reserved:#x}"))),
            None if self.model.quirks.drops_reserved => Ok(None),
            None => Err(Fault("the register is read-only".into())),
        }
    }

    /// What the driver reads of IA32_DEBUGCTL.
    pub(super) fn debug_control(&self) -> Result<u64, MsrFault> {
        let read = self.rdmsr(debug_control::NUMBER);
        read.map_err(|_| debug_control::REFUSED)
    }

    /// The driver writes it, to let counters freeze or not: panics if a bit of anything else
    /// is not as it is.
    pub(super) fn set_debug_control(&self, value: u64) -> Result<(), MsrFault> {
        let before = self.state.borrow().get(&self.model, Register::DebugControl);
        let others = (before ^ value) & !(debug::FREEZE | debug::FREEZE_SMM);
        if others != 0 {
            self.die(format_args!(
                "the driver changes bits {others:#x} of IA32_DEBUGCTL"
            ));
        }
        let written = self.wrmsr(debug_control::NUMBER, value);
        written.map_err(|_| debug_control::REFUSED)
    }

    /// Panics, with what was done before.
    fn die(&self, why: impl fmt::Display) -> ! {
        let log = self.state.borrow().history();
        panic!("{why}; the accesses before, by cycle:\n{log}")
    }

    /// Code writes these bits to LVTPC, legal or not.
    pub fn write_lvtpc_bits(&self, entry: u32) {
        let mut state = self.state.borrow_mut();
        state.record("write LVTPC", 0x834, Ok(entry.into()));
        let was_masked = state.apic.is_masked();
        let written = state.apic.write_lvtpc(entry);
        let is_unmasked = was_masked && !state.apic.is_masked();
        let shown = state.status & self.model.counter_bits();
        if is_unmasked && shown != 0 && self.model.quirks.unmasking_interrupts {
            state.raise(&self.model, shown);
        }
        drop(state);
        if let Err(why) = written {
            self.die(format_args!("{entry:#x} sets {why}"));
        }
    }
}

impl Registers for Core {
    fn read(&self, register: Msr) -> u64 {
        let number = register.number();
        let read = self.rdmsr(number);
        read.unwrap_or_else(|Fault(why)| self.die(format_args!("#GP: rdmsr {number:#x}: {why}")))
    }

    fn write(&self, register: Msr, value: u64) {
        let number = register.number();
        if let Err(Fault(why)) = self.wrmsr(number, value) {
            self.die(format_args!("#GP: wrmsr {number:#x} {value:#x}: {why}"));
        }
    }

    fn read_counter(&self, counter: CounterNumber) -> u64 {
        let number = counter.number();
        let read = self.rdpmc(number);
        read.unwrap_or_else(|Fault(why)| self.die(format_args!("#GP: rdpmc {number:#x}: {why}")))
    }

    fn try_read_counter(&self, counter: CounterNumber) -> Result<u64, CounterFault> {
        self.rdpmc(counter.number()).map_err(|_| CounterFault)
    }

    fn try_read(&self, register: Msr) -> Result<u64, MsrFault> {
        let read = self.rdmsr(register.number());
        read.map_err(|_| MsrFault::of(register))
    }

    fn try_write(&self, register: Msr, value: u64) -> Result<(), MsrFault> {
        let written = self.wrmsr(register.number(), value);
        written.map_err(|_| MsrFault::of(register))
    }

    fn try_freezes(&self, when: Freeze) -> Result<bool, MsrFault> {
        let control = self.debug_control()?;
        Ok(debug_control::freezes(control, when))
    }

    fn try_set_freezing(&self, when: Freeze, freezes: bool) -> Result<(), MsrFault> {
        let before = self.debug_control()?;
        self.set_debug_control(debug_control::with_freezing(before, when, freezes))
    }

    fn read_lvtpc(&self) -> u32 {
        let mut state = self.state.borrow_mut();
        let entry = state.apic.lvtpc();
        state.record("read LVTPC", 0x834, Ok(entry.into()));
        entry
    }

    fn write_lvtpc(&self, entry: PerformanceEntry) {
        self.write_lvtpc_bits(entry.bits());
    }

    fn read_extended_lvt(&self, entry: ExtendedEntry) -> Option<u32> {
        let extended = self.state.borrow().apic.extended;
        extended.get(usize::from(entry.number())).copied()
    }

    fn write_extended_lvt(&self, entry: ExtendedEntry, value: PerformanceEntry) {
        let value = value.bits();
        let mut state = self.state.borrow_mut();
        let number = entry.number();
        state.record(
            "write extended LVT",
            0x850 + u32::from(number),
            Ok(value.into()),
        );
        let written = state.apic.write_extended(number, value);
        drop(state);
        if let Err(why) = written {
            self.die(format_args!("{value:#x} sets {why}"));
        }
    }
}
