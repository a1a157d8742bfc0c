//! Allocation against a search through all ways.

use crate::pmu::allocate::allocate;
use crate::pmu::counters::{Counter, Counters};
use proptest::prelude::*;

const fn general(general: u32) -> Counters {
    Counters { general, fixed: 0 }
}

#[test]
fn a_fixed_counter_is_taken_where_it_fits() {
    let free = Counters {
        general: 0b11,
        fixed: 0b111,
    };
    let instructions = Counters {
        general: 0b11,
        fixed: 0b001,
    };
    let counters = allocate(&[instructions, instructions, general(0b11)], free).unwrap();
    // The same event twice: one of them has to be content with a general counter.
    assert!(
        counters[..2].contains(&Some(Counter::Fixed(0))),
        "{counters:?}"
    );
    let all = counters.iter().flatten().count();
    assert_eq!(all, 3);
}

#[test]
fn an_event_moves_away_for_one_that_has_no_choice() {
    let counters = allocate(&[general(0b11), general(0b01)], general(0b11)).unwrap();
    assert_eq!(
        counters[..2],
        [Some(Counter::General(1)), Some(Counter::General(0))]
    );
}

#[test]
fn the_first_event_that_finds_no_counter_is_named() {
    let free = general(0b1011);
    let error = allocate(&[general(0xf); 5], free).unwrap_err();
    assert_eq!((error.event, error.free), (3, free));
}

#[test]
fn which_counters_there_are_is_said() {
    const NONE: Counters = Counters::NONE;
    const fn fixed(fixed: u32) -> Counters {
        Counters { general: 0, fixed }
    }
    const fn both(general: u32, fixed: u32) -> Counters {
        Counters { general, fixed }
    }
    // What each of some events allows, and what is free.
    for (allowed, free, said) in [
        (general(0b1), NONE, "no counter is free"),
        // None that can count it.
        (
            fixed(0b100),
            general(0b1),
            "event 1 finds no counter: only counter 0 is free, and cannot count it",
        ),
        (
            fixed(0b100),
            both(0b11, 0b1),
            "event 1 finds no counter: only counters 0-1 and fixed counter 0 are free, and cannot count it",
        ),
        // All that are free.
        (
            general(0b11),
            general(0b10),
            "event 2 finds no counter: only counter 1 is free, and an event before it needs that",
        ),
        (
            fixed(0b1),
            fixed(0b1),
            "event 2 finds no counter: only fixed counter 0 is free, and an event before it needs that",
        ),
        (
            general(0xf),
            general(0b1011),
            "event 4 finds no counter: only counters 0-1 and 3 are free, and events before it need those",
        ),
        (
            both(0b1, 0b1),
            both(0b1, 0b1),
            "event 3 finds no counter: only counter 0 and fixed counter 0 are free, and events before it need those",
        ),
        // Some of them.
        (
            general(0b1),
            both(0b1111, 0b111),
            "event 2 finds no counter: only counter 0 can count it, and an event before it needs that",
        ),
        (
            general(0b11),
            both(0b1111, 0b111),
            "event 3 finds no counter: only counters 0-1 can count it, and events before it need those",
        ),
        (
            fixed(0b100),
            both(0b1111, 0b111),
            "event 2 finds no counter: only fixed counter 2 can count it, and an event before it needs that",
        ),
        (
            fixed(0b101),
            both(0b1111, 0b111),
            "event 3 finds no counter: only fixed counters 0 and 2 can count it, and events before it need those",
        ),
        (
            both(0b11, 0b1),
            both(0b1111, 0b111),
            "event 4 finds no counter: only counters 0-1 and fixed counter 0 can count it, and events before it need those",
        ),
    ] {
        let error = allocate(&[allowed; 5], free).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

/// Whether there is any way at all.
fn is_possible(allowed: &[Counters], free: Counters) -> bool {
    let Some((first, others)) = allowed.split_first() else {
        return true;
    };
    free.iter()
        .filter(|&counter| first.contains(counter))
        .any(|counter| {
            let mut taken = Counters::NONE;
            taken.insert(counter);
            is_possible(others, free.without(taken))
        })
}

fn counters() -> impl Strategy<Value = Counters> {
    (0..32_u32, 0..8_u32).prop_map(|(general, fixed)| Counters { general, fixed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_is_possible_is_found(
        allowed in prop::collection::vec(counters(), 0..6),
        free in counters(),
    ) {
        match allocate(&allowed, free) {
            Ok(counters) => {
                let mut taken = Counters::NONE;
                for (index, counter) in counters.iter().enumerate() {
                    let Some(counter) = *counter else {
                        prop_assert!(index >= allowed.len());
                        continue;
                    };
                    prop_assert!(free.contains(counter) && allowed[index].contains(counter));
                    prop_assert!(!taken.contains(counter), "twice: {}", counter);
                    taken.insert(counter);
                }
            }
            Err(error) => {
                prop_assert!(!is_possible(&allowed[..=error.event], free));
                prop_assert!(is_possible(&allowed[..error.event], free));
            }
        }
    }
}
