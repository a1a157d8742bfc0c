//! What a core holds, and what time does to it.

use std::collections::VecDeque;

use super::apic::Apic;
use super::counters::{Counter, Wanted};
use super::events::{Cycle, Event};
use super::ibs::{self, Ibs};
use super::kinds::{Freezing, Latency, Model};
use super::map::{Register, debug, status};
use super::processor::Fault;
use super::truth::{Accesses, Context, Truth};

/// Accesses that a panic shows.
const LOGGED: usize = 64;

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    pub now: u64,
    random: u64,
    pub context: Context,
    /// By their bits in the global registers.
    pub counters: [Counter; 48],
    pub selects: [u64; 32],
    pub fixed_control: u64,
    pub control: u64,
    pub status: u64,
    debug_control: u64,
    is_in_smm: bool,
    /// The counters that count, and what.
    active: Vec<(u8, Wanted)>,
    flights: Vec<Flight>,
    pub apic: Apic,
    pub ibs: Ibs,
    pub truth: Truth,
    /// Accesses since the reset.
    pub accesses: Accesses,
    log: VecDeque<Access>,
}

/// An overflow on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// The counter's bit.
    bit: u8,
    /// Cycles until it arrives.
    left: u32,
    /// Where it arrives.
    to: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// At the global status; from there on, if it interrupts.
    Status {
        /// It does.
        interrupts: bool,
    },
    /// At the APIC.
    Apic,
}

/// An access to a register.
#[derive(Clone, Debug)]
struct Access {
    at: u64,
    what: &'static str,
    number: u32,
    result: Result<u64, Fault>,
}

impl State {
    /// As after a reset.
    pub(super) fn reset(model: &Model) -> Self {
        Self {
            now: 0,
            random: model.quirks.seed,
            context: Context::Program,
            counters: [Counter::default(); 48],
            selects: [0; 32],
            fixed_control: 0,
            // So that software that does not know the register finds the counters
            // enabled that it knows.
            control: u64::from(model.counters().0),
            status: 0,
            debug_control: 0,
            is_in_smm: false,
            active: Vec::new(),
            flights: Vec::new(),
            apic: Apic::reset(),
            ibs: Ibs::default(),
            truth: Truth::default(),
            accesses: Accesses::default(),
            log: VecDeque::new(),
        }
    }

    /// One cycle, or up to `most` if in the others like it nothing can happen. Returns
    /// the number of cycles.
    pub(super) fn advance(&mut self, model: &Model, cycle: &Cycle<'_>, most: u64) -> u64 {
        for (event, _) in cycle.events {
            if let Event::Raw(code) = *event {
                let named = model.selected(code);
                assert_eq!(named, *event, "the event has a name");
            }
        }
        for (bit, wanted) in &self.active {
            let counter = &mut self.counters[usize::from(*bit)];
            if counter.count(wanted, cycle, model.width(*bit >= 32)) {
                let interrupts = wanted.interrupt;
                self.flights.push(Flight {
                    bit: *bit,
                    left: pick(&mut self.random, model.quirks.status),
                    to: Stage::Status { interrupts },
                });
            }
        }
        let is_program = self.context == Context::Program;
        if self.ibs.count(cycle, self.now, is_program) {
            self.flights.push(Flight {
                bit: ibs::BIT,
                left: pick(&mut self.random, model.quirks.interrupt),
                to: Stage::Apic,
            });
        }
        let quiet = self.quiet(model, cycle).min(most - 1);
        if quiet > 0 {
            for (bit, wanted) in &self.active {
                let counter = &mut self.counters[usize::from(*bit)];
                let (_, increment) = counter.quiet(wanted, cycle, model.width(*bit >= 32));
                counter.add(increment, quiet);
            }
            self.ibs.add(cycle, quiet);
        }
        self.now += 1 + quiet;
        self.truth.executed(cycle, 1 + quiet, self.context);
        self.arrive(model);
        1 + quiet
    }

    /// How many more cycles like this one bring no overflow.
    fn quiet(&self, model: &Model, cycle: &Cycle<'_>) -> u64 {
        if !self.flights.is_empty() {
            return 0;
        }
        let counters = self.active.iter().map(|(bit, wanted)| {
            let width = model.width(*bit >= 32);
            self.counters[usize::from(*bit)]
                .quiet(wanted, cycle, width)
                .0
        });
        counters
            .chain([self.ibs.quiet(cycle)])
            .min()
            .unwrap_or(u64::MAX)
    }

    /// A cycle passes for what is on its way.
    fn arrive(&mut self, model: &Model) {
        let mut at = 0;
        // What the status passes to the APIC at once is seen below.
        while at < self.flights.len() {
            if self.flights[at].left == 0 {
                let flight = self.flights.remove(at);
                self.land(model, flight);
            } else {
                self.flights[at].left -= 1;
                at += 1;
            }
        }
    }

    /// An overflow arrives where it was on its way to.
    fn land(&mut self, model: &Model, flight: Flight) {
        match flight.to {
            Stage::Status { interrupts } => {
                let bit = 1 << flight.bit;
                let was_set = self.status & bit != 0;
                if model.has_global() {
                    self.status |= bit;
                }
                if interrupts && !(was_set && model.quirks.needs_clear_status) {
                    let left = pick(&mut self.random, model.quirks.interrupt);
                    let to = Stage::Apic;
                    self.flights.push(Flight { left, to, ..flight });
                }
            }
            Stage::Apic if flight.bit == ibs::BIT => {
                let entry = model.ibs_entry();
                let deliveries = &mut self.truth.deliveries;
                deliveries.raised += 1;
                self.apic.raise_extended(entry, 1 << ibs::BIT, deliveries);
            }
            Stage::Apic => {
                self.truth.raised_by(flight.bit);
                self.raise(model, 1 << flight.bit);
            }
        }
    }

    /// Counters were stopped by a write: what of theirs is on its way arrives now,
    /// or late.
    fn settle(&mut self, model: &Model, stopped: u64) {
        if let Some(late) = model.quirks.late {
            for flight in &mut self.flights {
                if stopped >> flight.bit & 1 != 0 {
                    flight.left += pick(&mut self.random, late);
                }
            }
            return;
        }
        while let Some(at) = self
            .flights
            .iter()
            .position(|flight| stopped >> flight.bit & 1 != 0)
        {
            let flight = self.flights.remove(at);
            self.land(model, flight);
        }
    }

    /// An interrupt of the PMU: counters freeze, and the APIC gets it.
    pub(super) fn raise(&mut self, model: &Model, overflows: u64) {
        let quirks = &model.quirks;
        let freezes = match quirks.freezing {
            Freezing::Always => true,
            Freezing::Sometimes => pick(&mut self.random, Latency::random(0, 1)) == 0,
            Freezing::Never => false,
        };
        if freezes {
            self.freeze(model);
        }
        let deliveries = &mut self.truth.deliveries;
        deliveries.raised += 1;
        if quirks.delivers {
            self.apic
                .raise(overflows, quirks.masks_on_delivery, deliveries);
        } else {
            deliveries.undelivered += 1;
        }
    }

    fn freeze(&mut self, model: &Model) {
        let is_legacy = matches!(model.version(), Some(..4));
        if self.debug_control & debug::FREEZE != 0 {
            if is_legacy {
                self.control = 0;
            } else {
                self.status |= status::FROZEN;
            }
        }
        if self.debug_control & debug::FREEZE_LBRS != 0 && !is_legacy {
            self.status |= status::LBR_FROZEN;
        }
        self.refresh(model);
    }

    /// The counters that count, by their bits.
    fn running(&self) -> u64 {
        let bits = self.active.iter().map(|(bit, _)| 1 << bit);
        bits.fold(0, |all, bit: u64| all | bit)
    }

    /// Finds the counters that count, after a register changed.
    pub(super) fn refresh(&mut self, model: &Model) {
        let counters = model.counter_bits();
        let enabled = if !model.has_global() {
            counters
        } else if self.status & status::FROZEN != 0
            || self.is_in_smm && self.debug_control & debug::FREEZE_SMM != 0
        {
            0
        } else {
            counters & self.control
        };
        self.active.clear();
        for bit in 0..48_u8 {
            let wanted = if enabled >> bit & 1 == 0 {
                None
            } else if bit < 32 {
                Wanted::select(model, self.selects[usize::from(bit)])
            } else {
                Wanted::fixed(bit - 32, self.fixed_control)
            };
            match wanted {
                Some(wanted) => self.active.push((bit, wanted)),
                None => self.counters[usize::from(bit)].pause(),
            }
        }
    }

    /// The core enters system management mode, or leaves it.
    pub(super) fn set_smm(&mut self, model: &Model, is_in_smm: bool) {
        self.is_in_smm = is_in_smm;
        self.refresh(model);
    }

    /// What a register reads as.
    pub(super) fn get(&self, model: &Model, register: Register) -> u64 {
        match register {
            Register::Select(counter) => self.selects[usize::from(counter)],
            Register::ShortCounter(counter) | Register::Counter(counter) => {
                self.counters[usize::from(counter)].value
            }
            Register::Fixed(counter) => self.counters[usize::from(32 + counter)].value,
            Register::FixedControl => self.fixed_control,
            Register::Capabilities => model.capabilities(),
            Register::Control => self.control,
            Register::Status => self.status,
            Register::StatusReset | Register::StatusSet => 0,
            Register::InUse => self.in_use(),
            Register::DebugControl => self.debug_control,
            Register::IbsOpControl => self.ibs.control(),
            Register::IbsOpAddress => self.ibs.address,
            Register::IbsOpData => self.ibs.data,
            Register::IbsControl => match model.ibs_entry() {
                entry @ 0..4 => 1 << 8 | u64::from(entry),
                _ => 0,
            },
        }
    }

    /// Writes a register, with all that follows.
    pub(super) fn write(&mut self, model: &Model, register: Register, value: u64) {
        let before = self.running();
        self.set(model, register, value);
        self.refresh(model);
        let stopped = before & !self.running();
        self.settle(model, stopped);
    }

    /// Puts there what a register takes.
    fn set(&mut self, model: &Model, register: Register, value: u64) {
        match register {
            Register::Select(counter) => self.selects[usize::from(counter)] = value,
            Register::ShortCounter(counter) => {
                // EAX, its bit 31 in all higher bits of the counter.
                let sign = if value >> 31 & 1 == 0 {
                    0
                } else {
                    u64::MAX << 32
                };
                let extended = value & 0xffff_ffff | sign;
                self.counters[usize::from(counter)].value =
                    extended & ((1 << model.width(false)) - 1);
            }
            Register::Counter(counter) => self.counters[usize::from(counter)].value = value,
            Register::Fixed(counter) => self.counters[usize::from(32 + counter)].value = value,
            Register::FixedControl => self.fixed_control = value,
            Register::Control => self.control = value,
            Register::StatusReset => self.status &= !value,
            Register::StatusSet => self.status |= value,
            Register::DebugControl => self.debug_control = value,
            Register::IbsOpControl => self.ibs.set_control(value),
            Register::IbsOpAddress => self.ibs.address = value,
            Register::IbsOpData => self.ibs.data = value,
            Register::Capabilities | Register::Status | Register::InUse | Register::IbsControl => {
                unreachable!()
            }
        }
    }

    /// IA32_PERF_GLOBAL_INUSE: an event select with an event number, a fixed counter
    /// that is enabled, an interrupt that is.
    fn in_use(&self) -> u64 {
        let mut bits = 0;
        let mut interrupts = false;
        for (counter, select) in self.selects.iter().enumerate() {
            bits |= u64::from(select & 0xff != 0) << counter;
            interrupts |= select >> 20 & 1 != 0;
        }
        for counter in 0..16 {
            let field = self.fixed_control >> (counter * 4) & 0xf;
            bits |= u64::from(field & 0b11 != 0) << (32 + counter);
            interrupts |= field & 0b1000 != 0;
        }
        bits | u64::from(interrupts) << 63
    }

    /// The counters of which something is on its way, by their bits.
    pub(super) fn on_their_way(&self) -> Vec<u8> {
        self.flights.iter().map(|flight| flight.bit).collect()
    }

    /// Remembers an access.
    pub(super) fn record(&mut self, what: &'static str, number: u32, result: Result<u64, Fault>) {
        self.accesses.count(what);
        if self.log.len() == LOGGED {
            self.log.pop_front();
        }
        let at = self.now;
        self.log.push_back(Access {
            at,
            what,
            number,
            result,
        });
    }

    /// The accesses before, a line each.
    pub(super) fn history(&self) -> String {
        let mut log = String::new();
        for access in &self.log {
            let Access {
                at, what, number, ..
            } = access;
            let line = match &access.result {
                Ok(value) => format!("{at:>8} {what} {number:#x} {value:#x}\n"),
                Err(Fault(why)) => format!("{at:>8} {what} {number:#x}: {why}\n"),
            };
            log.push_str(&line);
        }
        log
    }
}

/// A random number of cycles (SplitMix64).
pub(super) fn pick(random: &mut u64, latency: Latency) -> u32 {
    let Latency { least, most } = latency;
    if least == most {
        return least;
    }
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    least + u32::try_from(mixed % u64::from(most - least + 1)).unwrap()
}
