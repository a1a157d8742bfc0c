//! Which fast path the interrupts of a plan have: see [`super::driver`].
//!
//! The counters are stopped at another distance from an interrupt's entry by each. So it is chosen
//! before it is measured what an interrupt costs, by what is known to come ([`Plan::choose_form`]). Where
//! it turns out to be the wrong one, all interrupts are unusual.

use super::plan::{Assignment, Plan};

/// Which fast path a plan has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastForm {
    /// One event without jitter whose counter is loaded with less than 2³² and is read by `rdpmc`.
    One,
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
        // What starts and stops it is one register.
        let has_gate = |it: &Assignment| plan.global.is_some() || it.registers.select.is_some();
        let is_quick = plan.quick && plan.assignment(0).is_some_and(has_gate);
        let is_plain = || plan.assignment(0).is_some_and(is_plain);
        Some(if is_one && is_quick && is_plain() {
            Self::One
        } else {
            Self::Any
        })
    }
}

/// Returns true if an event is without jitter, and never farther from its next overflow than its
/// counter, or 32 bits, can count.
fn is_plain(assignment: &Assignment) -> bool {
    const FAR: u64 = 1 << 31;
    let Assignment {
        period: Some(period),
        jitter: 0,
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
    let most = period.saturating_add(tolerance).saturating_add(latency);
    // A check adds some overheads.
    all.iter().all(|&it| it < FAR / 16) && most <= registers.max_count
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
