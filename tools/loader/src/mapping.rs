//! What of physical memory the kernel finds in the direct map, and in revision 0 mapped
//! to itself as well:
//!
//! | region | base revision 0 | 1, 2 | 3 | 4 to 6 |
//! |---|---|---|---|---|
//! | all below 4 GiB, whatever it is | yes | yes | | |
//! | usable, of the boot loader, executable and modules, framebuffer | yes | yes | yes | yes |
//! | ACPI reclaimable, ACPI NVS | yes | yes | | yes |
//! | reserved (mapped): there from revision 4 on | | | | yes |
//! | reserved, bad | yes | | | |
//!
//! Framebuffers are write-combining, all else is write-back.

use arrayvec::ArrayVec;
use x86_64::PhysAddr;

use crate::memory_map::{CAPACITY, Kind, PAGE, Region};

const FOUR_GIB: PhysAddr = PhysAddr::new(1 << 32);

/// How a range is cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// As memory is.
    WriteBack,
    /// Writes may be collected: for framebuffers.
    WriteCombining,
}

/// Whole pages that are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first address.
    pub start: PhysAddr,
    /// The first address past it.
    pub end: PhysAddr,
    /// How it is cached.
    pub caching: Caching,
}

/// As many as there may be: each region, and what is between them below 4 GiB.
pub type Ranges = ArrayVec<Range, { 2 * CAPACITY + 1 }>;

/// What is mapped in a base revision, in ascending order, if these are the regions.
#[must_use]
pub fn ranges(base_revision: u64, regions: &[Region]) -> Ranges {
    let floor = if base_revision <= 2 {
        FOUR_GIB
    } else {
        PhysAddr::zero()
    };
    let mut ranges = Ranges::new();
    for region in regions {
        let (start, end) = (region.start.align_down(PAGE), region.end.align_up(PAGE));
        if region.kind == Kind::Framebuffer {
            extend(
                &mut ranges,
                PhysAddr::zero(),
                start.min(floor),
                Caching::WriteBack,
            );
            extend(&mut ranges, start, end, Caching::WriteCombining);
        } else if is_mapped(base_revision, region.kind) {
            // Below the floor this may leave a hole, which the floor fills.
            let until = start.min(floor);
            extend(&mut ranges, PhysAddr::zero(), until, Caching::WriteBack);
            extend(&mut ranges, start, end, Caching::WriteBack);
        }
    }
    extend(&mut ranges, PhysAddr::zero(), floor, Caching::WriteBack);
    ranges
}

/// The table above, but for what is mapped whatever it is.
fn is_mapped(base_revision: u64, kind: Kind) -> bool {
    match kind {
        Kind::Usable | Kind::BootloaderReclaimable | Kind::ExecutableAndModules => true,
        Kind::Framebuffer => true,
        Kind::AcpiReclaimable | Kind::AcpiNvs => base_revision != 3,
        Kind::ReservedMapped => base_revision >= 4,
        Kind::Reserved | Kind::Bad => base_revision == 0,
    }
}

/// Adds what of the pages from `start` to `end` is behind all that is there.
fn extend(ranges: &mut Ranges, start: PhysAddr, end: PhysAddr, caching: Caching) {
    let covered = ranges.last().map_or(PhysAddr::zero(), |last| last.end);
    let start = start.max(covered);
    if start >= end {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end == start && last.caching == caching => last.end = end,
        _ => ranges.push(Range {
            start,
            end,
            caching,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn region(start: u64, end: u64, kind: Kind) -> Region {
        Region {
            start: PhysAddr::new(start),
            end: PhysAddr::new(end),
            kind,
        }
    }

    /// Every kind below and above 4 GiB, and holes between them.
    fn regions() -> Vec<Region> {
        const KINDS: [Kind; 8] = [
            Kind::Usable,
            Kind::Reserved,
            Kind::AcpiReclaimable,
            Kind::AcpiNvs,
            Kind::Bad,
            Kind::BootloaderReclaimable,
            Kind::ExecutableAndModules,
            Kind::ReservedMapped,
        ];
        let block = |base: u64| {
            let kinds = (base..).step_by(0x2000).zip(KINDS);
            kinds.map(|(at, kind)| region(at, at + 0x1000, kind))
        };
        block(0x1_0000).chain(block(5 * GIB)).collect()
    }

    fn mapped(base_revision: u64, regions: &[Region]) -> Vec<(u64, u64, bool)> {
        let ranges = ranges(base_revision, regions);
        let plain = |range: &Range| {
            let combines = range.caching == Caching::WriteCombining;
            (range.start.as_u64(), range.end.as_u64(), combines)
        };
        ranges.iter().map(plain).collect()
    }

    fn pages(base: u64, numbers: &[u64]) -> Vec<(u64, u64, bool)> {
        let page = |number| base + number * 0x2000;
        numbers
            .iter()
            .map(|&number| (page(number), page(number) + 0x1000, false))
            .collect()
    }

    #[test]
    fn each_revision_maps_what_the_table_says() {
        let low = vec![(0, 4 * GIB, false)];
        let (near, far) = (0x1_0000, 5 * GIB);
        for (revision, expected) in [
            (0, [low.clone(), pages(far, &[0, 1, 2, 3, 4, 5, 6])]),
            (1, [low.clone(), pages(far, &[0, 2, 3, 5, 6])]),
            (2, [low, pages(far, &[0, 2, 3, 5, 6])]),
            (3, [pages(near, &[0, 5, 6]), pages(far, &[0, 5, 6])]),
            (
                4,
                [
                    pages(near, &[0, 2, 3, 5, 6, 7]),
                    pages(far, &[0, 2, 3, 5, 6, 7]),
                ],
            ),
            (
                5,
                [
                    pages(near, &[0, 2, 3, 5, 6, 7]),
                    pages(far, &[0, 2, 3, 5, 6, 7]),
                ],
            ),
            (
                6,
                [
                    pages(near, &[0, 2, 3, 5, 6, 7]),
                    pages(far, &[0, 2, 3, 5, 6, 7]),
                ],
            ),
        ] {
            assert_eq!(
                mapped(revision, &regions()),
                expected.concat(),
                "{revision}"
            );
        }
    }

    #[test]
    fn a_framebuffer_is_write_combining_and_nothing_else_is() {
        let regions = [
            region(0x1000, 0x20_0000, Kind::Usable),
            region(0x20_0000, 0x60_0000, Kind::Framebuffer),
            region(0x60_0000, 0x70_0000, Kind::Usable),
            region(5 * GIB, 5 * GIB + 0x1000, Kind::Framebuffer),
        ];
        let far = (5 * GIB, 5 * GIB + 0x1000, true);
        for revision in 0..=2 {
            let expected = [
                (0, 0x20_0000, false),
                (0x20_0000, 0x60_0000, true),
                (0x60_0000, 4 * GIB, false),
                far,
            ];
            assert_eq!(mapped(revision, &regions), expected, "{revision}");
        }
        for revision in 3..=6 {
            let expected = [
                (0x1000, 0x20_0000, false),
                (0x20_0000, 0x60_0000, true),
                (0x60_0000, 0x70_0000, false),
                far,
            ];
            assert_eq!(mapped(revision, &regions), expected, "{revision}");
        }
    }

    #[test]
    fn ranges_are_whole_pages_and_none_twice() {
        let regions = [
            region(0x1000, 0x9_fc00, Kind::BootloaderReclaimable),
            region(0x9_fc00, 0xa_0000, Kind::ReservedMapped),
            region(0xa_0800, 0xa_0801, Kind::ReservedMapped),
            region(4 * GIB - 0x1000, 4 * GIB + 0x1000, Kind::Usable),
        ];
        let expected = [
            (0x1000, 0xa_1000, false),
            (4 * GIB - 0x1000, 4 * GIB + 0x1000, false),
        ];
        assert_eq!(mapped(4, &regions), expected);
        assert_eq!(mapped(2, &regions), [(0, 4 * GIB + 0x1000, false)]);
        assert_eq!(mapped(2, &[]), [(0, 4 * GIB, false)]);
        assert_eq!(mapped(3, &[]), []);
    }
}
