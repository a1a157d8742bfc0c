//! What handlers in assembly find of several events, one after the other.
//!
//! They advance each event as soon as it is read, and list it if it has overflowed, so an event
//! that is unusual may come behind others that are done. These are not undone: what is left is
//! finished here, and the exact handler has the list.

use core::sync::atomic::Ordering::Relaxed;

use super::{EventState, Overflows, PmuDriver};
use crate::format::further;
use crate::pmu::plan::Plan;
use crate::pmu::registers::Registers;

impl PmuDriver {
    /// A handler in assembly leaves what it has found of several events: those before the one that
    /// is at `next` are where they are now, and the list has those of them that have overflowed, by
    /// numbers from `first` on. Does with the others what the exact path does. Returns all that
    /// have overflowed.
    #[cold]
    #[inline(never)]
    pub(crate) fn finish_list<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        next: u64,
        first: u8,
    ) -> Overflows {
        let found = &self.fast.found;
        let listed = found.further.load(Relaxed) / 4 + 1;
        let mut overflows = Overflows::default();
        for entry in found.list.iter().take(listed as usize) {
            let entry = entry.load(Relaxed);
            let index = entry.to_le_bytes()[3].wrapping_sub(first);
            if let Some(event) = self.events.get(usize::from(index)) {
                let ran = u64::from(entry & further::PERIOD);
                event.progress.ran.store(ran, Relaxed);
                overflows.0 |= 1 << index;
            }
        }
        let mut wrapped = overflows;
        let done = (next - self.base().addr() as u64) / size_of::<EventState>() as u64;
        self.has_missed.store(false, Relaxed);
        // One of those in the list has moved, so there is no backoff.
        for (index, assignment) in plan.assignments() {
            if (index as u64) < done {
                continue;
            }
            let (_, has_wrapped) = self.advance(registers, index, assignment, assignment.overhead);
            let bit = u16::from(has_wrapped) << index;
            wrapped.0 |= bit;
            if let Some(period) = assignment.period.filter(|_| has_wrapped)
                && self.has_come(index, assignment)
            {
                self.note_overflow(index, assignment, period);
                overflows.0 |= bit;
            }
            if has_wrapped || assignment.overhead != 0 {
                self.compute_reload(plan, index, assignment, 0);
                self.load(registers, index, assignment);
            }
        }
        self.cause(true, wrapped);
        overflows
    }

    /// For tests: what a handler in assembly does, where the event behind the first `most` is
    /// unusual at the latest. `None`: none in the list, and [`PmuDriver::give_up_fast`] must follow.
    #[cfg(test)]
    pub fn advance_list<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        most: usize,
    ) -> Option<Overflows> {
        let core::ops::Range { start, end } = self.fast.events();
        self.number_from(0);
        let mut listed = Overflows::default();
        let mut next = start;
        while next < end.min(start + most) {
            let place = self.fast.found.list.get(listed.0.count_ones() as usize);
            match self.advance_listed(registers, next) {
                None => break,
                Some(None) => {}
                Some(Some(ran)) => {
                    let number = self.events[next].terms.number.load(Relaxed);
                    place.unwrap().store(number | ran, Relaxed);
                    // Where it is recorded, the list has it.
                    self.events[next].progress.ran.store(ran.into(), Relaxed);
                    listed.0 |= 1 << next;
                }
            }
            next += 1;
        }
        let further = listed.0.count_ones().checked_sub(1)?;
        self.fast.found.further.store(4 * further, Relaxed);
        if next == end {
            return Some(listed);
        }
        let place = self.base().addr() + next * size_of::<EventState>();
        Some(self.finish_list(registers, plan, place as u64, 0))
    }

    /// For tests: the same with one event. Returns what it has run if it has overflowed; `None` if it
    /// is unusual, and unchanged.
    #[cfg(test)]
    fn advance_listed<R: Registers>(&self, registers: &R, index: usize) -> Option<Option<u32>> {
        let EventState { progress, terms } = &self.events[index];
        let value = |of: &core::sync::atomic::AtomicU64| of.load(Relaxed);
        let now = terms.counter.read(registers, true);
        let (mask, raw) = (value(&terms.counter.mask), value(&progress.raw));
        let counted = (now & 0xffff_ffff).wrapping_sub(raw & 0xffff_ffff) & 0xffff_ffff;
        let borrows = now & 0xffff_ffff < raw & 0xffff_ffff;
        let overhead = value(&terms.overhead);
        let (due, jitter) = (value(&progress.due), value(&terms.jitter));
        let min_left = value(&terms.latest).wrapping_neg();
        let target = if jitter == 0 {
            due
        } else {
            value(&progress.target)
        };
        let reload = |left: u64| {
            let events = left.max(min_left).wrapping_add(value(&terms.latency));
            progress.raw.store(events.wrapping_neg(), Relaxed);
            let [low, high] = [
                events.wrapping_neg(),
                terms.counter.written_high.load(Relaxed).into(),
            ];
            let low = u32::try_from(low & 0xffff_ffff).unwrap();
            let high = u32::try_from(high).unwrap();
            registers.write_halves(terms.counter.write.msr(), low, high);
        };
        if now >> 32 != 0 {
            if now >> 32 != mask >> 32 || borrows {
                return None;
            }
            let position = value(&progress.position) + counted.saturating_sub(overhead);
            progress.position.store(position, Relaxed);
            if overhead == 0 {
                progress.raw.store(raw + counted, Relaxed);
            } else {
                reload(target.saturating_sub(position));
            }
            return Some(None);
        }
        if !borrows || counted <= value(&terms.least) {
            return None;
        }
        let position = value(&progress.position) + counted - overhead;
        let period = value(&terms.period);
        let has_come =
            target.cast_signed() - position.cast_signed() <= value(&terms.tolerance).cast_signed();
        let is_next_near = match jitter {
            0 => (due + period).saturating_sub(position) < min_left,
            _ => position >= due + period,
        };
        if !has_come || is_next_near {
            return None;
        }
        let ran = position - progress.last.swap(position, Relaxed);
        progress.position.store(position, Relaxed);
        progress.due.store(due + period, Relaxed);
        let target = self.jittered(due + period, jitter);
        if jitter != 0 {
            progress.target.store(target, Relaxed);
        }
        reload(target.saturating_sub(position));
        Some(Some(u32::try_from(ran).unwrap()))
    }
}
