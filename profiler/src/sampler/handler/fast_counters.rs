//! The fast handler of performance counters: stop them, look, write the sample, let them count on.
//!
//! It shares what it records with that of timers ([`super::fast`]). The counters are stopped by
//! the same accesses, as far from the entry, whatever it finds: so what is counted on the way into
//! a handler is one number. It is the same from the trials that measure it on.
//!
//! | | what is unusual |
//! |---|---|
//! | nothing is changed | what the driver is at ([`crate::pmu::driver::Stage`]) |
//! | the counters are stopped | what the driver finds ([`FastStop::Unsettled`], [`PmuDriver::advance_one`]) |
//! | | the phase, a command, an NMI that cannot be theirs |
//! | | the core's last sample, or one behind which there is a check; a request |
//! | | what was interrupted is not [`Ordinary`] (in assembly, the overflows are taken by then) |
//! | the overflows are taken, the first one's sample has its number | a record that does not fit, as with timers |

use core::sync::atomic::Ordering::Relaxed;

use super::fast::{FastExit, Fields, Handler, Ordinary, output_of};
use crate::contract::settings::Keep;
use crate::entry::fast::Unusual;
use crate::entry::{TrapFrame, end_of_call};
use crate::format::State;
use crate::format::further;
use crate::format::sample::compact::{self, Width};
use crate::hw::apic::{self, PerformanceEntry, Vector};
use crate::pmu::driver::{FastStop, Overflows, PmuDriver, Stage};
use crate::pmu::event::MAX_EVENTS;
use crate::pmu::this_core::ThisCore;
use crate::sampler::per_core::Core;
use crate::sampler::per_core::fast::Place;
use crate::sampler::per_core::overflow::ARMED;
use crate::sampler::per_core::pmu::CounterHandlers;
use crate::sampler::run::Run;
use crate::sampler::source::leave;
use crate::sampler::target::Target;
use crate::sampler::vector::OVERFLOW;
use crate::sync::CoreLocal as _;

/// The entry of the local vector table for a delivery.
#[inline(always)]
const fn entry(is_nmi: bool) -> PerformanceEntry {
    if is_nmi {
        PerformanceEntry::NMI
    } else {
        PerformanceEntry::new(apic::Delivery::Fixed(Vector::new(OVERFLOW)))
    }
}

/// Something is unusual, and the counters are stopped.
#[inline(always)]
fn give_up(driver: &PmuDriver) -> Unusual {
    driver.give_up_fast();
    Unusual::Untouched
}

/// The overflows that are `left` have no samples yet, and the first of them has this number.
#[inline(always)]
fn unrecorded(core: &Core, left: Overflows, number: u32) -> Unusual {
    core.pmu.set_unrecorded(left);
    Unusual::Claimed(number)
}

/// The time of the sample, and what the handler before it took, in ticks of the run; `None` if
/// one of them is not what it seems.
#[inline(always)]
fn time_and_cost(core: &Core, entry_tsc: u64) -> Option<[u64; 2]> {
    let timing = &core.timing;
    let since = entry_tsc.wrapping_sub(core.fast.origin.load(Relaxed));
    let own = u64::from(timing.own_ticks.load(Relaxed));
    let cost = own + core.fast.overhead.load(Relaxed);
    if core.fast.is_scaled.load(Relaxed) {
        return scaled(core, [since, cost]);
    }
    Some([since, cost])
}

#[cold]
#[inline(never)]
fn scaled(core: &Core, ticks: [u64; 2]) -> Option<[u64; 2]> {
    // SAFETY: `prepare` has set it before samples were fast.
    let run: &'static Run = unsafe { core.fast.at(Place::Run) };
    // What is less than 0 is none of these, scaled or not.
    let is_one = ticks.iter().all(|ticks| ticks.cast_signed() >= 0);
    is_one.then(|| ticks.map(|ticks| run.timing.clock.ticks(ticks)))
}

/// Handles the interrupt, if it is a usual one. Chains are counted, if `CHAINS`.
#[inline(always)]
fn sample<T: Target, const ONE: bool, const NMI: bool, const CHAINS: bool>(
    core: &'static Core,
    frame: &TrapFrame,
    entry_tsc: u64,
) -> Result<u64, Unusual> {
    let driver = &core.pmu.driver;
    let stopped = if ONE {
        driver.stop_one(&ThisCore)
    } else {
        driver.stop_any(&ThisCore)
    };
    match stopped {
        FastStop::Untouched => return Err(Unusual::Untouched),
        FastStop::Unsettled => return Err(give_up(driver)),
        FastStop::Settled => {}
    }
    let fast = &core.fast;
    if !core.overflow.is::<ARMED>() || core.share.taken() >= fast.last.load(Relaxed) {
        return Err(give_up(driver));
    }
    // SAFETY: `prepare` has set them, before there was a last sample.
    if unsafe { fast.has_request() } {
        return Err(give_up(driver));
    }
    // SAFETY: `prepare` has set it, before there was a last sample.
    let target: &'static T = unsafe { fast.at(Place::Target) };
    let Some(ordinary) = Ordinary::look(core, target, frame) else {
        return Err(give_up(driver));
    };
    let taken = if ONE {
        let ran = driver.advance_one(&ThisCore);
        ran.map(|ran| (Overflows::FIRST, ran))
    } else {
        driver.advance_any(&ThisCore).map(|it| (it, 0))
    };
    let Some((overflows, ran)) = taken else {
        return Err(give_up(driver));
    };
    let samples = Samples {
        ordinary,
        core,
        target,
        state: if NMI { State::NMI } else { 0 },
    };
    if CHAINS {
        samples.count(overflows)?;
    } else if ONE {
        samples.write_one(entry_tsc, ran)?;
    } else {
        samples.write_all(entry_tsc, overflows)?;
    }
    if !NMI {
        apic::registers().end_of_interrupt();
    }
    let timing = &core.timing;
    timing.entry_tsc.store(entry_tsc, Relaxed);
    if ONE {
        driver.unmask_one(&ThisCore, entry(NMI));
    } else {
        driver.unmask_any(&ThisCore, entry(NMI));
    }
    Ok(leave::after_sample(Stage::Settled).into())
}

/// Counts a sample. Returns its number.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // a sequence number wraps
fn take_number(core: &Core) -> u32 {
    core.share.take_fast() as u32
}

/// What the samples of one handler are of.
struct Samples<T: 'static> {
    ordinary: Ordinary,
    core: &'static Core,
    target: &'static T,
    state: u8,
}

impl<T: Target> Samples<T> {
    /// Writes the sample of the first event, which has run so far since the one before.
    #[inline(always)]
    fn write_one(self, entry_tsc: u64, ran: u64) -> Result<(), Unusual> {
        let core = self.core;
        let sequence = take_number(core);
        let Some([time, cost]) = time_and_cost(core, entry_tsc) else {
            return Err(unrecorded(core, Overflows::FIRST, sequence));
        };
        let fields = Fields {
            sequence,
            event: core.fast.first_event.load(Relaxed),
            state: self.state,
            time,
            cost,
            period: ran,
        };
        if self.ordinary.record(core, self.target, fields) {
            Ok(())
        } else {
            Err(unrecorded(core, Overflows::FIRST, sequence))
        }
    }

    /// Counts the chain of the event that has overflowed. Several are left to the other handler: each
    /// has its own count.
    #[inline(always)]
    fn count(self, overflows: Overflows) -> Result<(), Unusual> {
        let core = self.core;
        let Some(event) = overflows.first() else {
            return Ok(());
        };
        let sequence = take_number(core);
        let event = core.fast.first_event.load(Relaxed) + event;
        let is_one = overflows.without_first().is_empty();
        if is_one && self.ordinary.count(core, self.target, event, self.state) {
            Ok(())
        } else {
            Err(unrecorded(core, overflows, sequence))
        }
    }

    /// Writes the samples of the events that have overflowed: the same place, once for each, in one
    /// record.
    #[inline(always)]
    fn write_all(self, entry_tsc: u64, overflows: Overflows) -> Result<(), Unusual> {
        let core = self.core;
        let driver = &core.pmu.driver;
        let first_event = core.fast.first_event.load(Relaxed);
        let Some(event) = overflows.first() else {
            return Ok(());
        };
        let sequence = take_number(core);
        let Some([time, cost]) = time_and_cost(core, entry_tsc) else {
            return Err(unrecorded(core, overflows, sequence));
        };
        let fields = Fields {
            sequence,
            event: first_event + event,
            state: self.state,
            time,
            cost,
            period: driver.ran(event.into()),
        };
        if self.write_record(fields, overflows.without_first(), first_event) {
            Ok(())
        } else {
            Err(unrecorded(core, overflows, sequence))
        }
    }

    /// Writes a record with the sample of an event, and of those that have overflowed with it.
    /// Returns false if nothing was written.
    #[inline(always)]
    fn write_record(&self, fields: Fields, others: Overflows, first_event: u8) -> bool {
        let core = self.core;
        let output = output_of(core);
        let Some(in_place) = output.writer.begin() else {
            return false;
        };
        let place = in_place.bytes();
        // SAFETY: an extent may be written there.
        let Some(mut units) = (unsafe {
            self.ordinary
                .encode(core, self.target, fields, in_place.base(), place)
        }) else {
            return false;
        };
        let (mut more, mut left) = (0, others);
        while let Some(event) = left.first() {
            let period = core.pmu.driver.ran(event.into());
            let Some(period) = u32::try_from(period).ok().filter(|it| it >> 24 == 0) else {
                return false;
            };
            let number = u32::from(first_event + event);
            let to = place.wrapping_add(4 * units as usize);
            // SAFETY: an extent has room for the longest chain, and for as many units as there can be
            // events.
            unsafe { compact::put(to, number << 24 | period) };
            units += 1;
            more += 1;
            left = left.without_first();
        }
        // SAFETY: the first unit is written.
        let head = unsafe { place.cast::<u32>().read_unaligned() };
        let head = head + more + (more << further::SHIFT);
        // SAFETY: within the extent.
        unsafe { compact::put(place, head) };
        let next = fields.sequence.wrapping_add(1 + more);
        if in_place.finish(units, next).is_err() {
            return false;
        }
        output.writer.count_fast();
        for _ in 0..more {
            core.share.take_fast();
            output.writer.count_fast();
            // It is no interrupt of its own.
            output.counters.taken.add_local(u64::MAX);
        }
        true
    }
}

// An extent has room for what `write_record` writes.
const _: () = assert!(
    Width::Bits24.chain() + compact::MOST_CHAIN_BYTES + 4 * (MAX_EVENTS + 1)
        <= 4 * compact::EXTENT_UNITS
);
const _: () = assert!(MAX_EVENTS <= further::END as usize);

/// The handler.
#[unsafe(link_section = ".pmiscope.calls")]
unsafe extern "C" fn on_interrupt<
    T: Target,
    const ONE: bool,
    const NMI: bool,
    const CHAINS: bool,
>(
    core: &'static Core,
    frame: &TrapFrame,
    entry_tsc: u64,
) -> FastExit {
    let exit = FastExit::of(
        core,
        entry_tsc,
        sample::<T, ONE, NMI, CHAINS>(core, frame, entry_tsc),
    );
    end_of_call();
    exit
}

/// The fast handlers of counters, for the plans that come, in a run that keeps that.
pub(in crate::sampler) fn handlers<T: Target>(keep: Keep) -> CounterHandlers {
    match keep {
        Keep::Samples => handlers_that::<T, false>(),
        Keep::Chains => handlers_that::<T, true>(),
    }
}

fn handlers_that<T: Target, const CHAINS: bool>() -> CounterHandlers {
    // They are called with what they take: `FastPath::set_rust`.
    let code = |handler: Handler| -> unsafe extern "C" fn() {
        // SAFETY: a function's address is one, whatever it takes.
        unsafe { core::mem::transmute(handler) }
    };
    CounterHandlers {
        assembly: super::xapic::COUNTERS[usize::from(CHAINS)],
        one: [
            code(on_interrupt::<T, true, false, CHAINS>),
            code(on_interrupt::<T, true, true, CHAINS>),
        ],
        any: [
            code(on_interrupt::<T, false, false, CHAINS>),
            code(on_interrupt::<T, false, true, CHAINS>),
        ],
    }
}
