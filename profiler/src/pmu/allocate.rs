//! Which counter counts which event: all of them, or none.
//!
//! A fixed counter is taken where it fits, to leave the general ones to events that
//! need them; an event that must have a certain counter gets it, if need be by
//! moving another one away (bipartite matching by augmenting paths, which is exact).

use core::fmt;

use super::counters::{Counter, Counters};
use super::event::MAX_EVENTS;

/// Not every event can have a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    /// The first event for which there is no counter, by its place in the list.
    pub event: usize,
    /// The counters that are free.
    pub free: Counters,
    /// Those of them that can count it.
    pub able: Counters,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, free, able } = self;
        if free.is_empty() {
            return f.write_str("no counter is free");
        }
        write!(f, "event {} finds no counter: only ", event + 1)?;
        let is_one = |counters: &Counters| counters.len() == 1;
        let are = if is_one(free) { "is" } else { "are" };
        if able.is_empty() {
            return write!(f, "{free} {are} free, and cannot count it");
        }
        if able == free {
            write!(f, "{free} {are} free")?;
        } else {
            write!(f, "{able} can count it")?;
        }
        f.write_str(if is_one(able) {
            ", and an event before it needs that"
        } else {
            ", and events before it need those"
        })
    }
}

impl core::error::Error for TooMany {}

/// Counters are numbered through here, general ones first.
const ALL: usize = (Counters::MOST_GENERAL + Counters::MOST_FIXED) as usize;

/// Assigns each event one of the counters in `free` that it allows.
///
/// # Errors
///
/// [`TooMany`] if there are not enough counters.
///
/// # Panics
///
/// If there are more than [`MAX_EVENTS`] events.
pub fn allocate(
    allowed: &[Counters],
    free: Counters,
) -> Result<[Option<Counter>; MAX_EVENTS], TooMany> {
    assert!(allowed.len() <= MAX_EVENTS, "more than {MAX_EVENTS} events");
    let mut matching = Matching {
        allowed,
        free,
        holder: [None; ALL],
    };
    for (event, its) in allowed.iter().enumerate() {
        let mut visited = [false; ALL];
        if !matching.place(event, &mut visited) {
            return Err(TooMany {
                event,
                free,
                able: free.and(*its),
            });
        }
    }
    let mut counters = [None; MAX_EVENTS];
    for (index, holder) in matching.holder.iter().enumerate() {
        if let Some(event) = *holder {
            counters[event] = Some(counter(index));
        }
    }
    Ok(counters)
}

struct Matching<'a> {
    allowed: &'a [Counters],
    free: Counters,
    /// By counter: the event that has it.
    holder: [Option<usize>; ALL],
}

impl Matching<'_> {
    /// Finds a counter for `event`, moving others if need be. Each counter is looked
    /// at once, so it ends.
    fn place(&mut self, event: usize, visited: &mut [bool; ALL]) -> bool {
        for index in fixed_first() {
            let is_allowed =
                self.free.contains(counter(index)) && self.allowed[event].contains(counter(index));
            if !is_allowed || core::mem::replace(&mut visited[index], true) {
                continue;
            }
            let is_free = match self.holder[index] {
                None => true,
                Some(other) => self.place(other, visited),
            };
            if is_free {
                self.holder[index] = Some(event);
                return true;
            }
        }
        false
    }
}

fn fixed_first() -> impl Iterator<Item = usize> {
    let general = usize::from(Counters::MOST_GENERAL);
    (general..ALL).chain(0..general)
}

fn counter(index: usize) -> Counter {
    // Below 32.
    #[allow(clippy::cast_possible_truncation)]
    let number = index as u8;
    match number.checked_sub(Counters::MOST_GENERAL) {
        None => Counter::General(number),
        Some(fixed) => Counter::Fixed(fixed),
    }
}
