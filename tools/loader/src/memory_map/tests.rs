//! Property tests: the map against what it promises, address by address.

use proptest::prelude::*;

use super::*;

/// To go from page to page.
const STEP: usize = 4096;

const KINDS: [Kind; 5] = [
    Kind::Usable,
    Kind::AcpiReclaimable,
    Kind::AcpiNvs,
    Kind::Reserved,
    Kind::Bad,
];

/// Small addresses, so that regions meet; on no particular boundary.
fn firmware() -> impl Strategy<Value = Vec<Region>> {
    let region =
        (0u64..0x40_0000, 0u64..0x10_0000, 0usize..8).prop_map(|(start, size, kind)| Region {
            start: PhysAddr::new(start),
            end: PhysAddr::new(start + size),
            kind: *KINDS.get(kind).unwrap_or(&Kind::Usable),
        });
    prop::collection::vec(region, 0..24)
}

fn contains(region: &Region, page: u64) -> bool {
    region.start.as_u64() <= page && page + PAGE <= region.end.as_u64()
}

fn touches(region: &Region, page: u64) -> bool {
    region.start.as_u64() < page + PAGE && page < region.end.as_u64()
}

fn kind_of_page(map: &MemoryMap, page: u64) -> Option<Kind> {
    map.regions()
        .iter()
        .find(|region| contains(region, page))
        .map(|region| region.kind)
}

fn bytes_of(map: &MemoryMap, kind: Kind) -> u64 {
    map.regions()
        .iter()
        .filter(|region| region.kind == kind)
        .map(|r| r.end - r.start)
        .sum()
}

fn check_promises(map: &MemoryMap) {
    for region in map.regions() {
        assert!(region.start < region.end, "empty: {region:?}");
        let paged = [
            Kind::Usable,
            Kind::BootloaderReclaimable,
            Kind::ExecutableAndModules,
        ];
        if paged.contains(&region.kind) {
            assert!(
                region.start.is_aligned(PAGE) && region.end.is_aligned(PAGE),
                "{region:?}"
            );
            assert!(region.start.as_u64() >= PAGE, "page zero: {region:?}");
        }
    }
    for pair in map.regions().windows(2) {
        assert!(
            pair[0].end <= pair[1].start,
            "overlap or disorder: {pair:?}"
        );
        assert!(
            pair[0].kind != pair[1].kind || pair[0].end < pair[1].start,
            "split: {pair:?}"
        );
    }
}

proptest! {
    /// A page is usable if all of it was said to be and nothing else was said of
    /// any byte in it; and a byte that was spoken of is not forgotten.
    #[test]
    fn firmware_is_believed(firmware in firmware()) {
        let map = MemoryMap::new(firmware.iter().copied()).unwrap();
        check_promises(&map);
        for page in (0..0x50_0000).step_by(STEP) {
            let reserved = firmware.iter().any(|r| {
                r.kind != Kind::Usable && r.start < r.end && touches(r, page)
            });
            // Usable regions may meet within a page.
            let usable = (page..page + PAGE).step_by(512).chain([page + PAGE - 1]).all(|byte| {
                firmware.iter().any(|r| {
                    r.kind == Kind::Usable && (r.start.as_u64()..r.end.as_u64()).contains(&byte)
                })
            });
            let kind = kind_of_page(&map, page);
            if kind == Some(Kind::Usable) {
                prop_assert!(usable && !reserved && page != 0, "page {page:#x}");
            }
            let alone = firmware.iter().any(|r| r.kind == Kind::Usable && contains(r, page));
            if alone && !reserved && page != 0 {
                prop_assert_eq!(kind, Some(Kind::Usable), "page {:#x}", page);
            }
        }
        for region in firmware.iter().filter(|r| r.kind == Kind::Bad && r.start < r.end) {
            let covered = map.regions().iter().any(|r| {
                r.kind == Kind::Bad && r.start <= region.start && region.end <= r.end
            });
            prop_assert!(covered, "lost: {region:?}");
        }
    }

    /// An allocation is usable memory, the lowest that fits, counted once.
    #[test]
    fn allocations_are_the_lowest(
        firmware in firmware(),
        requests in prop::collection::vec((1u64..0x2_0000, 12u32..22), 1..12),
    ) {
        let mut map = MemoryMap::new(firmware.into_iter()).unwrap();
        let within = PhysAddr::new(0x10_0000)..PhysAddr::new(0x38_0000);
        for (size, align) in requests {
            let align = 1u64 << align;
            let pages = size.div_ceil(PAGE) * PAGE;
            let fits = |start: u64| {
                start.is_multiple_of(align)
                    && start + pages <= within.end.as_u64()
                    && map.regions().iter().any(|r| {
                        r.kind == Kind::Usable
                            && r.start.as_u64() <= start
                            && start + pages <= r.end.as_u64()
                    })
            };
            let lowest = (within.start.as_u64()..within.end.as_u64())
                .step_by(STEP)
                .find(|&start| fits(start));
            let (usable, taken) =
                (bytes_of(&map, Kind::Usable), bytes_of(&map, Kind::BootloaderReclaimable));
            let place = map.allocate(size, align, within.clone(), Kind::BootloaderReclaimable);
            check_promises(&map);
            match lowest {
                Some(lowest) => {
                    prop_assert_eq!(place, Ok(PhysAddr::new(lowest)));
                    prop_assert_eq!(bytes_of(&map, Kind::Usable), usable - pages);
                    prop_assert_eq!(bytes_of(&map, Kind::BootloaderReclaimable), taken + pages);
                }
                None => prop_assert_eq!(place, Err(Error::OutOfMemory(size))),
            }
        }
    }

    /// A claim changes usable pages and nothing else.
    #[test]
    fn claims_take_what_is_usable(
        firmware in firmware(),
        start in 0u64..0x40_0000,
        size in 1u64..0x10_0000,
    ) {
        let before = MemoryMap::new(firmware.iter().copied()).unwrap();
        let mut after = MemoryMap::new(firmware.into_iter()).unwrap();
        let range = PhysAddr::new(start)..PhysAddr::new(start + size);
        after.claim(range, Kind::ExecutableAndModules).unwrap();
        check_promises(&after);
        for page in (0..0x50_0000).step_by(STEP) {
            let claimed = start < page + PAGE && page < start + size;
            let expected = match kind_of_page(&before, page) {
                Some(Kind::Usable) if claimed => Some(Kind::ExecutableAndModules),
                kind => kind,
            };
            prop_assert_eq!(kind_of_page(&after, page), expected, "page {:#x}", page);
        }
    }
}

#[test]
fn page_zero_is_not_usable() {
    let low = Region {
        start: PhysAddr::zero(),
        end: PhysAddr::new(0x9fc00),
        kind: Kind::Usable,
    };
    let map = MemoryMap::new([low].into_iter()).unwrap();
    let expected = Region {
        start: PhysAddr::new(PAGE),
        end: PhysAddr::new(0x9f000),
        kind: Kind::Usable,
    };
    assert_eq!(map.regions(), [expected]);
}

#[test]
fn too_many_regions_are_an_error() {
    let region = |n: u64| Region {
        start: PhysAddr::new(n * 0x2000 + 0x1000),
        end: PhysAddr::new(n * 0x2000 + 0x2000),
        kind: Kind::Usable,
    };
    assert!(MemoryMap::new((0..256).map(region)).is_ok());
    let Err(error) = MemoryMap::new((0..257).map(region)) else {
        panic!("there is no room")
    };
    assert_eq!(error, Error::MemoryMapTooLong);
}

#[test]
fn tables_are_shown_where_nothing_else_is() {
    let region = |start, end, kind| Region {
        start: PhysAddr::new(start),
        end: PhysAddr::new(end),
        kind,
    };
    let firmware = [
        region(0x1000, 0x8000, Kind::Usable),
        region(0x8000, 0xa000, Kind::Reserved),
        region(0xa000, 0xb000, Kind::AcpiNvs),
        region(0xb000, 0xc000, Kind::AcpiReclaimable),
        region(0xc000, 0xd000, Kind::Bad),
    ];
    let mut map = MemoryMap::new(firmware.into_iter()).unwrap();
    map.claim(
        PhysAddr::new(0x2000)..PhysAddr::new(0x3000),
        Kind::BootloaderReclaimable,
    )
    .unwrap();
    // Nothing is said of what is behind 0xd000.
    for (start, end) in [(0x1fff, 0x3001), (0x9123, 0xd001)] {
        map.show_tables(PhysAddr::new(start)..PhysAddr::new(end))
            .unwrap();
    }
    let expected = [
        region(0x1000, 0x2000, Kind::ReservedMapped),
        region(0x2000, 0x3000, Kind::BootloaderReclaimable),
        region(0x3000, 0x4000, Kind::ReservedMapped),
        region(0x4000, 0x8000, Kind::Usable),
        region(0x8000, 0x9000, Kind::Reserved),
        region(0x9000, 0xa000, Kind::ReservedMapped),
        region(0xa000, 0xb000, Kind::AcpiNvs),
        region(0xb000, 0xc000, Kind::AcpiReclaimable),
        region(0xc000, 0xd000, Kind::Bad),
        region(0xd000, 0xe000, Kind::ReservedMapped),
    ];
    assert_eq!(map.regions(), expected);
}
