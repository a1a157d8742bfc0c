//! A storm of NMIs: every core interrupts every other one by NMIs, all the time,
//! while all of them yield, switch and idle as in `yield-storm`.
//!
//! For cores that run in parallel. With the source `ipi` each of these NMIs asks for
//! a sample, and most of those that come while another one is handled are one with
//! it; with other sources they are unclaimed, and counted. Whatever comes, a core's interrupts are
//! samples that were stored, samples that were lost, or unclaimed.

use spin::Once;

use super::scratch::Scratch;
use super::yield_storm;
use crate::cpu::{self, CoreBlock};

/// Interrupts a core by an NMI that asks it for a sample.
pub type Request = fn(&CoreBlock);

static REQUEST: Once<Request> = Once::new();

/// Says how a core is asked for a sample. Without, the workload sends none.
pub fn set_request(request: Request) {
    REQUEST.call_once(|| request);
}

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    yield_storm::unit(scratch);
    let Some(request) = REQUEST.get() else { return };
    let me = cpu::current_index();
    for core in cpu::cores().iter().filter(|core| core.index != me) {
        request(core);
    }
}
