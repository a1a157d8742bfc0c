//! What an interrupt costs while the run lasts: now and then a handler sends its own core one
//! more, which comes as it returns (see [`crate::pmu::driver`]).

use core::sync::atomic::Ordering::Relaxed;

use super::Pmu;
use crate::format::Delivery;
use crate::format::region::{CoreCounters, OverheadCounters};
use crate::hw::{apic, tsc};
use crate::pmu::cost::Cost;
use crate::pmu::detect::CoreKind;
use crate::pmu::driver::Place;
use crate::pmu::fast_form::FastForm;
use crate::pmu::plan::{Plan, PmuState};
use crate::pmu::this_core::ThisCore;
use crate::sampler::per_core::{Core, Output};
use crate::sampler::vector;
use crate::sync::CoreLocal as _;

/// A core checks once in this many samples of each event. A check is an exact handler, which asks
/// for it, and another that notes what it has counted: what about 18 fast ones cost.
const CHECK_PERIOD: u64 = 1024;
/// The samples before the first check.
const FIRST_CHECK: u64 = 64;

impl Pmu {
    /// For the handler of the running core, `core`, which has taken samples and is about to let
    /// the counters count on, and to return to `place`: begins a check if one is due. Returns the
    /// ticks of the time stamp counter that this took, which are none of a sample's.
    #[inline]
    pub(crate) fn check_if_due(
        &self,
        core: &Core,
        output: &Output,
        first_event: u8,
        place: impl FnOnce() -> Place,
    ) -> u64 {
        if core.share.taken() < core.pmu.next_check.load(Relaxed) {
            return 0;
        }
        self.begin_check(core, output, first_event, place())
    }

    /// Lets the running core, `core`, take the samples fast that come before the next check. The
    /// number of the first event is `first_event`.
    pub(crate) fn allow_fast(&self, core: &Core, first_event: u8) {
        let fast = &core.fast;
        // So many may be due in one handler.
        let events = core.pmu.plan().map_or(0, Plan::event_count) as u64;
        let check = core.pmu.next_check.load(Relaxed);
        let last = core.share.last().min(check.saturating_sub(1));
        let last = if fast.is_prepared.load(Relaxed) {
            last.saturating_sub(events.saturating_sub(1))
        } else {
            0
        };
        fast.last.store(last, Relaxed);
        let form = core.pmu.plan().and_then(|plan| plan.form);
        let are_listed = form == Some(FastForm::Several);
        fast.set_first_event(first_event, are_listed);
        if are_listed {
            core.pmu.driver.number_from(first_event);
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_check(&self, core: &Core, output: &Output, first_event: u8, place: Place) -> u64 {
        let before = tsc::ticks();
        // The first time it is only known when to begin.
        let is_first = core.pmu.next_check.load(Relaxed) == 0;
        let plan = core.pmu.plan();
        let events = plan.map_or(1, |plan| plan.event_count() as u64);
        let next = if is_first {
            FIRST_CHECK
        } else {
            CHECK_PERIOD * events
        };
        let next = core.share.taken() + next;
        core.pmu.next_check.store(next, Relaxed);
        let plan = plan.filter(|_| !is_first);
        if plan.is_some_and(|plan| core.pmu.driver.begin_check(&ThisCore, plan, place)) {
            // Where there is no place to keep what it finds, it is made for the progress of the
            // code alone.
            if !output.overheads(first_event).is_empty() {
                output.counters.checks.add_local(1);
            }
            self.interrupt_on_return(core);
            if self.delivery() == Delivery::Irq && is_above(apic::registers().highest_requested()) {
                core.pmu.driver.lose_check();
            }
        }
        tsc::ticks().saturating_sub(before)
    }

    /// The check of the running core, `core`, is done: notes what it has counted. `rows` are
    /// those of its events, the first one first.
    #[cold]
    #[inline(never)]
    pub(crate) fn record_check(
        &self,
        core: &Core,
        counters: &CoreCounters,
        rows: &[OverheadCounters],
    ) {
        let assignments = core.pmu.plan().into_iter().flat_map(|it| it.assignments());
        for (index, _) in assignments {
            if let Some(row) = rows.get(index) {
                row.add_check(core.pmu.driver.checked(index));
            }
        }
        // A run that does not come to its end has them up to here.
        core.pmu.count_smis(counters);
    }
}

/// Returns true if `requested`, the highest vector that a core's APIC has been asked for, comes
/// before a maskable check's own. What is asked for later, while the handler returns, is not
/// seen; it counts as the overhead's if it is not longer than one can be.
fn is_above(requested: Option<u8>) -> bool {
    requested.is_some_and(|vector| vector > vector::OVERFLOW)
}

impl CoreCounters {
    /// Notes the interrupts that `core` has taken, from which on its events are counted that
    /// have `rows`; and what an interrupt costs in each. And what its counters are. Its fast handler
    /// has taken `fast` samples.
    pub(crate) fn note_costs(&self, core: &Core, rows: &[OverheadCounters], fast: u64) {
        if let Some(PmuState { capabilities, .. }) = core.pmu.state() {
            let maker = capabilities.interface.maker();
            self.maker.store(maker as u64, Relaxed);
            let kind = capabilities.core_kind.map_or(0, CoreKind::number);
            self.kind.store(kind.into(), Relaxed);
        }
        let since = self.taken.load(Relaxed).wrapping_add(fast);
        for (row, cost) in rows.iter().zip(core.pmu.trials.costs()) {
            let Cost {
                overhead, at_rest, ..
            } = cost;
            row.calibrate(at_rest, overhead, cost.spread(), since);
        }
    }
}
