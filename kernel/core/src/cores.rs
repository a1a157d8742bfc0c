//! Which of the machine's cores are used, and the mode of their APICs.

use alloc::vec::Vec;
use core::fmt;

use profiler::hw::apic::Mode;

/// The most cores that are used.
pub const MAX_CORES: usize = 255;

/// What is made of the cores that the boot loader told of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The mode of all APICs.
    pub mode: Mode,
    /// The APIC ids of the cores that are used, the first core's first.
    pub used: Vec<u32>,
    /// Those of the others.
    pub left_out: Vec<u32>,
}

impl Plan {
    /// Plans for cores with these APIC ids. The mode in which the boot loader has handed the
    /// first core's APIC over is kept where it can be: firmware may have asked for xAPIC mode.
    ///
    /// | handed over in | an id above 254 | CPUID has x2APIC | mode | left out |
    /// |---|---|---|---|---|
    /// | x2APIC | | | x2APIC | |
    /// | xAPIC | no | | xAPIC | |
    /// | xAPIC | yes | yes | x2APIC | |
    /// | xAPIC | yes | no | xAPIC | ids above 254 |
    ///
    /// and of what is left those above [`MAX_CORES`] in number.
    pub fn new(handed_over: Mode, has_x2apic: bool, ids: impl IntoIterator<Item = u32>) -> Self {
        let ids: Vec<u32> = ids.into_iter().collect();
        let needs_x2apic = !ids.iter().all(|&id| Mode::XApic.reaches(id));
        let mode = if needs_x2apic && has_x2apic {
            Mode::X2Apic
        } else {
            handed_over
        };
        let (mut used, mut left_out): (Vec<u32>, Vec<u32>) =
            ids.iter().partition(|&&id| mode.reaches(id));
        let surplus = used.split_off(used.len().min(MAX_CORES));
        left_out.extend(surplus);
        left_out.sort_unstable();
        Self {
            mode,
            used,
            left_out,
        }
    }
}

/// A list of numbers in ascending order, as ranges: `1, 4-7`. Long ones are cut short.
pub struct Ranges<'a>(pub &'a [u32]);

/// More ranges than these are not listed: the message stays one line.
const MAX_RANGES: usize = 16;

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.chunk_by(|before, after| before + 1 == *after);
        for (index, range) in ranges.enumerate() {
            if index == MAX_RANGES {
                return f.write_str(", …");
            }
            let comma = if index == 0 { "" } else { ", " };
            match range {
                [only] => write!(f, "{comma}{only}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::hw::apic::Mode::{X2Apic, XApic};

    #[test]
    fn the_mode_is_the_boot_loaders_unless_ids_need_another() {
        let mode = |handed_over, has_x2apic, ids: &[u32]| {
            let plan = Plan::new(handed_over, has_x2apic, ids.iter().copied());
            (plan.mode, plan.used, plan.left_out)
        };
        // Firmware that opts out of x2APIC has the boot loader leave xAPIC mode on.
        assert_eq!(mode(XApic, true, &[0, 254]), (XApic, vec![0, 254], vec![]));
        assert_eq!(mode(X2Apic, true, &[0, 1]), (X2Apic, vec![0, 1], vec![]));
        assert_eq!(mode(XApic, true, &[0, 255]), (X2Apic, vec![0, 255], vec![]));
        assert_eq!(
            mode(XApic, false, &[3, 0, 255, 512, 1]),
            (XApic, vec![3, 0, 1], vec![255, 512])
        );
    }

    #[test]
    fn the_first_255_are_used() {
        let plan = Plan::new(X2Apic, true, 0..255);
        assert_eq!((plan.used.len(), plan.left_out.len()), (255, 0));
        // The first core is where it stands, not by its id.
        let plan = Plan::new(X2Apic, true, core::iter::once(600).chain(0..257));
        assert_eq!(plan.used.len(), MAX_CORES);
        assert_eq!((plan.used[0], plan.used[1], plan.used[254]), (600, 0, 253));
        assert_eq!(plan.left_out, [254, 255, 256]);
    }

    #[test]
    fn those_left_out_are_shown_as_ranges() {
        let shown = |numbers: &[u32]| Ranges(numbers).to_string();
        assert_eq!(shown(&[]), "");
        assert_eq!(shown(&[7]), "7");
        assert_eq!(
            shown(&[255, 256, 257, 300, 512, 513]),
            "255-257, 300, 512-513"
        );
        let even: Vec<u32> = (0..100).map(|number| 2 * number).collect();
        assert!(shown(&even).ends_with("28, 30, …"), "{}", shown(&even));
        assert_eq!(shown(&even[..16]).matches(", ").count(), 15);
    }
}
