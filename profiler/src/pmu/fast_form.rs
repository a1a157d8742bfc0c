//! Which fast path the interrupts of a plan have: see [`super::driver`].
//!
//! The counters are stopped at another distance from an interrupt's entry by each. So it is chosen
//! before it is measured what an interrupt costs, by what is known to come ([`Plan::choose_form`]). Where
//! it turns out to be the wrong one, all interrupts are unusual.

use super::plan::{Assignment, Plan};
use crate::format::sample::compact;

/// Which fast path a plan has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastForm {
    /// One event without jitter whose counter is loaded with less than 2³² and is read by `rdpmc`.
    One,
    /// Likewise several, or one with jitter, whose periods have 24 bits.
    Several,
    /// Whatever else there is, but for samples of ops.
    Any,
}

impl FastForm {
    /// That of `plan`; `None` if only the exact path is right.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Self> {
        let mut places = plan.assignments().map(|(index, _)| index);
        let first = places.next()?;
        let has_gaps = places.zip(first + 1..).any(|(index, next)| index != next);
        if plan.ibs.is_some() || has_gaps {
            return None;
        }
        let is_one = first == 0 && plan.assignments().count() == 1;
        // What starts and stops each is one register.
        let has_gate = |it: &Assignment| plan.global.is_some() || it.registers.select.is_some();
        let are_plain = || {
            let mut all = plan.assignments();
            all.all(|(_, it)| has_gate(it) && is_plain(it))
        };
        let has_jitter = || plan.assignments().any(|(_, it)| it.jitter != 0);
        let are_short = || plan.assignments().all(|(_, it)| is_short(it));
        Some(if !plan.quick || !are_plain() {
            Self::Any
        } else if is_one && !has_jitter() {
            Self::One
        } else if are_short() {
            Self::Several
        } else {
            Self::Any
        })
    }
}

impl FastForm {
    /// Returns true if the handler of the form that was chosen for `plan` is right for it as it is
    /// now: that of [`Self::Any`] is for each.
    #[must_use]
    pub fn is_right(plan: &Plan) -> bool {
        match (plan.form, Self::of(plan)) {
            (Some(Self::Any), now) => now.is_some(),
            (chosen, now) => chosen.is_some() && chosen == now,
        }
    }
}

/// Returns true if an event is never farther from its next overflow than its counter, or 32
/// bits, can count.
pub(super) fn is_plain(assignment: &Assignment) -> bool {
    const FAR: u64 = 1 << 31;
    let Assignment {
        period: Some(period),
        jitter,
        overhead,
        arm_latency,
        noise,
        tolerance,
        min_count,
        registers,
        ..
    } = *assignment
    else {
        return false;
    };
    let latency = arm_latency.unsigned_abs();
    let all = [period, overhead, latency, noise, tolerance, min_count];
    let most = [jitter, jitter, tolerance, latency]
        .into_iter()
        .fold(period, u64::saturating_add);
    // A check adds some overheads.
    let all_are_near = all.iter().all(|&it| it < FAR / 16);
    // A displaced overflow is not before the one before it.
    all_are_near && jitter < period && most <= registers.max_count
}

/// Returns true if what an event runs from one overflow to the next has 24 bits, if none is missed.
fn is_short(assignment: &Assignment) -> bool {
    let [period, jitter] = [assignment.period.unwrap_or(0), assignment.jitter];
    2 * (period + jitter) + assignment.tolerance < compact::END_24
}

impl Plan {
    /// Chooses the path for a plan that is the same, whose events have this period where they
    /// have none of their own, and are displaced by up to `jitter` percent of it.
    pub fn choose_form(&mut self, period: u64, jitter: u8) {
        let mut coming = *self;
        for index in 0..self.event_count() {
            if let Some(assignment) = coming.assignment_mut(index) {
                let period = assignment.event.period.unwrap_or(period);
                assignment.period = Some(period);
                assignment.jitter = period * u64::from(jitter) / 100;
            }
        }
        self.form = FastForm::of(&coming);
    }
}
