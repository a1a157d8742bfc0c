//! Sets of counters, as messages have them.

use crate::pmu::counters::Counters;

#[test]
fn counters_in_a_row_are_said_as_a_range() {
    for (general, fixed, said) in [
        (0, 0, ""),
        (0b1, 0, "counter 0"),
        (0b1111, 0, "counters 0-3"),
        (0b1011, 0, "counters 0-1 and 3"),
        (0b1010_0110, 0, "counters 1-2, 5 and 7"),
        (0, 0b100, "fixed counter 2"),
        (0, 0b1101, "fixed counters 0 and 2-3"),
        // A row does not go on from one kind to the other.
        (0b1000, 0b1111, "counter 3 and fixed counters 0-3"),
        (0b1111, 0b1, "counters 0-3 and fixed counter 0"),
        (0b111, 0b1011, "counters 0-2 and fixed counters 0-1 and 3"),
        (0b1011, 0b1, "counters 0-1 and 3, and fixed counter 0"),
        (
            0b10101,
            0b101,
            "counters 0, 2 and 4, and fixed counters 0 and 2",
        ),
        (u32::MAX, 1 << 31, "counters 0-31 and fixed counter 31"),
    ] {
        let counters = Counters { general, fixed };
        assert_eq!(counters.to_string(), said, "{counters:x?}");
    }
}
