//! What it costs to come through the handler of counting.

use core::arch::asm;

use crate::pmu::event::{EventList, MAX_EVENTS};
use crate::pmu::multiplex::{Cost, Group, Groups};
use crate::pmu::plan::PmuState;
use crate::sampler::per_core::Core;
use crate::sampler::per_core::counting::CoreCounting;
use crate::sampler::vector;

/// How often the way through the handler is measured; what is least is taken.
const TRIALS: u32 = 16;

/// Splits `events` into groups, and measures on the running core, `core`, what an
/// interrupt costs in each event of each.
pub(super) fn measure_groups(core: &Core, state: &PmuState, events: &EventList) {
    let split = Groups::split(state, events);
    let mut count = 0;
    for number in 0..split.len() {
        if let Some(group) = split.group(state, events, number) {
            let measured = measured(&core.counting, count, group);
            core.counting.groups.put(count, measured);
            count += 1;
        }
    }
    core.counting.groups.show_first(count);
}

/// Measures what an interrupt costs in each event of `group`, at `place`. It
/// is the least of what is counted between two `int`s, one right behind the other; and
/// what one instruction more adds to that is what an `int` itself is. By how much more the
/// most is, a count may be too high for each.
fn measured(counting: &CoreCounting, place: usize, mut group: Group) -> Group {
    counting.groups.put(place, group.clone());
    let mut least = [[u64::MAX; 2]; MAX_EVENTS];
    let mut most = [[0; 2]; MAX_EVENTS];
    let mut least_time = [u64::MAX; 2];
    for trial in 0..TRIALS {
        for (way, call) in [at_once, after_an_instruction].into_iter().enumerate() {
            call();
            for (assignment, event) in group.events() {
                let reading = counting.multiplexer.reading(event);
                let least = &mut least[assignment][way];
                *least = reading.count.min(*least);
                // The first finds nothing in the caches.
                if trial > 0 {
                    let most = &mut most[assignment][way];
                    *most = reading.count.max(*most);
                }
                least_time[way] = least_time[way].min(reading.enabled);
            }
        }
    }
    for (assignment, (least, most)) in least.into_iter().zip(most).enumerate() {
        if least[0] != u64::MAX {
            let spread = |way: usize| most[way].saturating_sub(least[way]);
            let mut cost = cost(least);
            cost.spread = spread(0).max(spread(1));
            group.set_cost(assignment, cost);
        }
    }
    group.set_time(cost(least_time));
    group
}

/// The cost of coming through the handler, from what was counted without anything
/// between, and with one instruction.
const fn cost([between, with_one]: [u64; 2]) -> Cost {
    let call = with_one.saturating_sub(between);
    Cost {
        overhead: between.saturating_sub(call),
        call,
        spread: 0,
    }
}

fn at_once() {
    // SAFETY: the gates' handler returns; its end of interrupt finds nothing to end.
    unsafe {
        asm!("int {begin}", "int {end}", begin = const vector::COUNT_BEGIN, end = const vector::COUNT_END);
    };
}

fn after_an_instruction() {
    // SAFETY: as above.
    unsafe {
        asm!("int {begin}", "nop", "int {end}", begin = const vector::COUNT_BEGIN, end = const vector::COUNT_END);
    };
}
