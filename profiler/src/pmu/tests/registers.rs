//! Which registers the driver can write to, and what of them.

use std::ops::RangeInclusive;
use std::panic::catch_unwind;

use proptest::prelude::*;

use crate::pmu::registers::{Freeze, Msr, amd, debug_control, intel};

/// Makes a counter's register.
type OfCounter = fn(u8) -> Msr;

/// All of these, and the first and the last register that there is: SDM vol. 4, table 2-2;
/// APM vol. 2, appendix A.
const OF_COUNTERS: [(OfCounter, RangeInclusive<u32>); 11] = [
    (intel::event_select, 0x186..=0x18d),
    (intel::counter, 0xc1..=0xc8),
    (intel::full_width_counter, 0x4c1..=0x4c8),
    (intel::fixed_counter, 0x309..=0x318),
    (intel::v6::event_select, 0x1901..=0x193d),
    (intel::v6::counter, 0x1900..=0x193c),
    (intel::v6::fixed_counter, 0x1980..=0x19bc),
    (amd::legacy_event_select, 0xc001_0000..=0xc001_0003),
    (amd::legacy_counter, 0xc001_0004..=0xc001_0007),
    (amd::event_select, 0xc001_0200..=0xc001_021e),
    (amd::counter, 0xc001_0201..=0xc001_021f),
];

#[test]
fn a_counter_that_there_is_not_has_no_register() {
    // Behind the counters' registers are those of system calls, of branch traces, of
    // memory types.
    for (register, numbers) in OF_COUNTERS {
        let made = (0..=u8::MAX).map(|counter| catch_unwind(|| register(counter).number()).ok());
        let made: Vec<_> = made.collect();
        let count = made.iter().flatten().count();
        assert!(made[..count].iter().all(Option::is_some), "{numbers:x?}");
        assert_eq!(made[0], Some(*numbers.start()));
        assert_eq!(made[count - 1], Some(*numbers.end()));
    }
}

proptest! {
    #[test]
    fn of_the_debug_control_freezing_alone_is_changed(
        value in any::<u64>(),
        freezes in any::<bool>(),
        (when, bit) in prop_oneof![Just((Freeze::OnInterrupt, 12)), Just((Freeze::InSmm, 14))],
    ) {
        let after = debug_control::with_freezing(value, when, freezes);
        prop_assert_eq!(debug_control::freezes(after, when), freezes);
        let before = debug_control::with_freezing(after, when, debug_control::freezes(value, when));
        prop_assert_eq!(before, value);
        prop_assert_eq!((value ^ after) & !(1 << bit), 0);
    }
}
