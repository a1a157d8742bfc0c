//! The answers, read as the kernel reads them: by following pointers.

use super::*;
use crate::bytes::u64_at;
use crate::memory_map::Kind;
use crate::requests::Image;
use crate::smbios::EntryPoint;
use crate::text::Text;
use crate::unanswered::Unanswered;

/// Where the answers go, and where the kernel's image is.
const START: u64 = 0x20_0000;
const IMAGE: u64 = 0xffff_ffff_8000_0000;
const ALL: [Id; 18] = [
    id::BOOTLOADER_INFO,
    id::EXECUTABLE_CMDLINE,
    id::FIRMWARE_TYPE,
    id::STACK_SIZE,
    id::HHDM,
    id::PAGING_MODE,
    id::MP,
    id::MEMORY_MAP,
    id::ENTRY_POINT,
    id::EXECUTABLE_FILE,
    id::MODULES,
    id::RSDP,
    id::EXECUTABLE_ADDRESS,
    id::FRAMEBUFFER,
    id::SMBIOS,
    id::DATE_AT_BOOT,
    id::PERFORMANCE,
    id::KEEP_IOMMU,
];
const UNKNOWN: Id = [1, 2];

/// An image in which each id is requested, with eight zeros as members.
fn image(ids: &[Id]) -> Vec<u8> {
    let request = |id: &Id| {
        let magic = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];
        [&magic[..], id, &[1], &[0; 9]].concat()
    };
    ids.iter()
        .flat_map(request)
        .flat_map(u64::to_le_bytes)
        .collect()
}

fn file<'a>(start: u64, path: &'a [u8], command_line: &'a [u8]) -> File<'a> {
    File {
        content: Block {
            start: PhysAddr::new(start),
            size: 77,
        },
        path,
        command_line,
    }
}

fn map() -> MemoryMap {
    let region = |start, end, kind| Region {
        start: PhysAddr::new(start),
        end: PhysAddr::new(end),
        kind,
    };
    let regions = [
        region(0x1000, 0x9f000, Kind::Usable),
        region(0x9fc00, 0xa_0000, Kind::Reserved),
    ];
    MemoryMap::new(regions.into_iter()).unwrap()
}

struct Answered {
    image: Vec<u8>,
    memory: Vec<u8>,
    unanswered: String,
}

fn whole(bytes: &mut [u8]) -> Requests<'_> {
    let from_file = bytes.len();
    Requests::scan(Image {
        bytes,
        start: VirtAddr::new(IMAGE),
        from_file,
        list: None,
    })
    .unwrap()
}

impl Answered {
    fn new(ids: &[Id], facts: &Facts<'_>) -> Self {
        Self::in_image(image(ids), facts, &map())
    }

    fn in_image(mut image: Vec<u8>, facts: &Facts<'_>, map: &MemoryMap) -> Self {
        let mut requests = whole(&mut image);
        let room = facts.room(&requests);
        let mut memory = vec![0xee; usize::try_from(room).unwrap()];
        write(&mut requests, facts, map, &mut memory, PhysAddr::new(START));
        let unanswered = Unanswered {
            requests: &requests,
            facts,
        };
        let said = unanswered.to_string();
        assert_eq!(unanswered.is_empty(), said.is_empty());
        Self {
            image,
            memory,
            unanswered: said,
        }
    }

    /// The words of the response to request `n`, without its revision.
    fn response<const N: usize>(&self, n: usize) -> [u64; N] {
        self.response_of(0, n)
    }

    /// The same of a response of another revision.
    fn response_of<const N: usize>(&self, expected: u64, n: usize) -> [u64; N] {
        let response = u64_at(&self.image, n * 14 * 8 + 40).unwrap();
        let [revision] = self.words(response);
        assert_eq!(revision, expected);
        self.words(response + 8)
    }

    fn offset(address: u64) -> usize {
        assert!(address.is_multiple_of(8));
        usize::try_from(address - DIRECT_MAP.as_u64() - START).unwrap()
    }

    fn words<const N: usize>(&self, address: u64) -> [u64; N] {
        let at = Self::offset(address);
        core::array::from_fn(|n| u64_at(&self.memory, at + 8 * n).unwrap())
    }

    fn string(&self, address: u64) -> &[u8] {
        self.memory[Self::offset(address)..]
            .split(|&byte| byte == 0)
            .next()
            .unwrap()
    }
}

fn facts(modules: &Modules) -> Facts<'_> {
    Facts {
        executable: file(0x7000_0000, b"/kernel", b"workload=mix"),
        image: (
            PhysAddr::new(0x20_0000),
            VirtAddr::new(0xffff_ffff_8000_0000),
        ),
        files: &[],
        modules,
        cores: None,
        machine: Machine::default(),
    }
}

/// All that a machine can have.
fn machine() -> Machine {
    let entry = |start| EntryPoint {
        itself: Block {
            start: PhysAddr::new(start),
            size: 31,
        },
        structures: Block {
            start: PhysAddr::new(0xf_6000),
            size: 1,
        },
    };
    Machine {
        rsdp: Some(PhysAddr::new(0xf_5000)),
        smbios: Smbios {
            narrow: Some(entry(0xf_5a00)),
            wide: Some(entry(0xf_5b00)),
        },
        framebuffer: Some(PhysAddr::new(0x40_0000)),
        opts_out_of_x2apic: false,
        date: Some(1_795_903_348),
        times: Some([150_000, 170_001]),
    }
}

fn cores(places: &[PhysAddr]) -> Cores<'_> {
    Cores {
        x2apic: true,
        first: 3,
        places,
    }
}

#[test]
fn each_request_gets_its_answer() {
    let files = [
        file(0x7100_0000, b"/a", b""),
        file(0x7200_0000, b"/b", b"12345678"),
    ];
    let places = [PhysAddr::new(0x5000), PhysAddr::new(0x5020)];
    let modules = Modules {
        others: [0, 1].into_iter().collect(),
        ..Modules::default()
    };
    let facts = Facts {
        files: &files,
        cores: Some(cores(&places)),
        machine: machine(),
        ..facts(&modules)
    };
    let answered = Answered::new(&ALL, &facts);
    let high = DIRECT_MAP.as_u64();
    assert_eq!(answered.unanswered, "");

    let [name, version] = answered.response(0);
    assert_eq!(answered.string(name), b"pmiscope-loader");
    assert_eq!(
        answered.string(version),
        env!("CARGO_PKG_VERSION").as_bytes()
    );
    let [command_line] = answered.response(1);
    assert_eq!(answered.string(command_line), b"workload=mix");
    assert_eq!(answered.response(2), [0], "firmware type");
    assert_eq!(answered.response(3), [], "stack size");
    assert_eq!(answered.response(4), [high]);
    assert_eq!(answered.response(5), [0], "paging mode");
    let [flags, count, cores] = answered.response(6);
    assert_eq!((flags, count), (1 | 3 << 32, 2));
    assert_eq!(answered.words(cores), [high + 0x5000, high + 0x5020]);
    let [count, regions] = answered.response(7);
    assert_eq!(count, 2);
    let [first, second] = answered.words(regions);
    assert_eq!(answered.words(first), [0x1000, 0x9e000, 0]);
    assert_eq!(answered.words(second), [0x9fc00, 0x400, 1]);
    assert_eq!(answered.response(8), [], "entry point");
    let [kernel] = answered.response(9);
    let [revision, address, size, path, command_line] = answered.words(kernel);
    assert_eq!((revision, address, size), (0, high + 0x7000_0000, 77));
    assert_eq!(answered.string(path), b"/kernel");
    assert_eq!(answered.string(command_line), b"workload=mix");
    assert_eq!(
        answered.words(kernel + 40),
        [0; 9],
        "a medium without UUIDs"
    );
    let [count, modules] = answered.response_of(1, 10);
    let [first, second] = answered.words(modules);
    assert_eq!(
        (count, answered.words(first + 8)),
        (2, [high + 0x7100_0000])
    );
    let [path, command_line] = answered.words(second + 24);
    assert_eq!(answered.string(path), b"/b");
    assert_eq!(answered.string(command_line), b"12345678");
    assert_eq!(answered.response(11), [high + 0xf_5000]);
    assert_eq!(answered.response(12), [0x20_0000, 0xffff_ffff_8000_0000]);
    let [count, framebuffers] = answered.response_of(1, 13);
    let [framebuffer] = answered.words(framebuffers);
    assert_eq!(count, 1);
    check_framebuffer(&answered, framebuffer);
    assert_eq!(answered.response(14), [high + 0xf_5a00, high + 0xf_5b00]);
    assert_eq!(answered.response(15), [1_795_903_348]);
    assert_eq!(answered.response(16), [0, 150_000, 170_001]);
    assert_eq!(answered.response(17), [], "IOMMUs stay as they are");
}

fn check_framebuffer(answered: &Answered, framebuffer: u64) {
    let [address, width, height, pitch] = answered.words(framebuffer);
    assert_eq!(address, DIRECT_MAP.as_u64() + 0x40_0000);
    assert_eq!([width, height, pitch], [1280, 800, 5120]);
    // 32 bits, RGB; 8 of red from 16 on, 8 of green from 8 on, 8 of blue.
    let format = [0x0808_0810_0801_0020, 0];
    assert_eq!(answered.words(framebuffer + 32), format);
    let [edid_size, edid, count, modes] = answered.words(framebuffer + 48);
    assert_eq!([edid_size, edid, count], [0, 0, 1]);
    let [mode] = answered.words(modes);
    let expected = [5120, 1280, 800, format[0], 0];
    assert_eq!(answered.words(mode), expected);
}

#[test]
fn where_firmware_tables_are_depends_on_the_base_revision() {
    let modules = Modules::default();
    let facts = Facts {
        machine: machine(),
        ..facts(&modules)
    };
    let high = DIRECT_MAP.as_u64();
    for revision in 0..=6 {
        let tag = [0xf956_2b2d_5c95_a6c8, 0x6a7b_3849_4453_6bdc, revision];
        let mut image = image(&[id::RSDP, id::SMBIOS]);
        image.extend(tag.into_iter().flat_map(u64::to_le_bytes));
        let answered = Answered::in_image(image, &facts, &map());
        let base = |is_physical| if is_physical { 0 } else { high };
        let (rsdp, smbios) = (base(revision == 3), base(revision == 3 || revision == 4));
        assert_eq!(answered.response(0), [rsdp + 0xf_5000], "{revision}");
        let expected = [smbios + 0xf_5a00, smbios + 0xf_5b00];
        assert_eq!(answered.response(1), expected, "{revision}");
    }
}

#[test]
fn an_entry_point_that_is_not_there_is_null() {
    let modules = Modules::default();
    let mut facts = Facts {
        machine: machine(),
        ..facts(&modules)
    };
    facts.machine.smbios.wide = None;
    let answered = Answered::new(&[id::SMBIOS], &facts);
    let expected = [DIRECT_MAP.as_u64() + 0xf_5a00, 0];
    assert_eq!(answered.response(0), expected);
}

#[test]
fn modules_that_the_kernel_names_come_first_under_its_names() {
    let mut image = image(&[id::MODULES]);
    let strings = IMAGE + image.len() as u64;
    image.extend(b"./boot/b\0its string\0");
    let files = [
        file(0x7100_0000, b"/a", b"x"),
        file(0x7200_0000, b"/b", b"y"),
    ];
    let named = Named {
        file: 1,
        path: strings,
        string: strings + 9,
    };
    let modules = Modules {
        named: [named].into_iter().collect(),
        others: [0].into_iter().collect(),
        missing: ArrayVec::new(),
    };
    let facts = Facts {
        files: &files,
        ..facts(&modules)
    };
    let answered = Answered::in_image(image, &facts, &map());
    let [count, modules] = answered.response_of(1, 0);
    assert_eq!(count, 2);
    let seen = answered.words::<2>(modules).map(|module| {
        let [_, address, size, path, line] = answered.words(module);
        assert_eq!(size, 77);
        (address, answered.string(path), answered.string(line))
    });
    let high = DIRECT_MAP.as_u64();
    let expected = [
        (high + 0x7200_0000, &b"/boot/b"[..], &b"its string"[..]),
        (high + 0x7100_0000, b"/a", b"x"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn what_is_not_there_or_not_known_is_named() {
    let ids = [
        id::MODULES,
        id::RSDP,
        id::MP,
        id::FRAMEBUFFER,
        id::SMBIOS,
        id::DATE_AT_BOOT,
        id::PERFORMANCE,
        id::EFI_SYSTEM_TABLE,
        id::EFI_MEMORY_MAP,
        id::DEVICE_TREE,
        id::RISCV_HART,
        id::FLANTERM,
        id::TERMINAL,
        id::FIVE_LEVELS,
        UNKNOWN,
    ];
    let modules = Modules {
        missing: [Text::new(b"init.img")].into_iter().collect(),
        ..Modules::default()
    };
    let answered = Answered::new(&ids, &facts(&modules));
    assert_eq!(answered.image, image(&ids));
    let expected = "modules (none was given: --module FILE); RSDP (this machine has no ACPI); \
        MP (ACPI names no cores); framebuffer (this machine has no ramfb); \
        SMBIOS (this machine has none); date at boot (this machine's clock has no date); \
        bootloader performance (ACPI names no timer); \
        EFI system table (this machine has no UEFI); EFI memory map (this machine has no UEFI); \
        device tree blob (this machine has none); \
        RISC-V BSP hart ID (this is an x86-64 machine); \
        Flanterm parameters (this loader has no terminal); terminal (Limine dropped it); \
        5-level paging (this loader has 4 levels); \
        request 0x0000000000000001 0x0000000000000002 (this loader does not know it); \
        module init.img (not given: --module FILE)";
    assert_eq!(answered.unanswered, expected);
}

#[test]
fn what_a_kernel_does_without_is_not_missed() {
    let modules = Modules::default();
    let unanswered = |ids: &[Id]| Answered::new(ids, &facts(&modules)).unanswered;
    let both = [id::FRAMEBUFFER, id::FRAMEBUFFER_IS_OPTIONAL];
    assert_eq!(unanswered(&both), "");
    assert_eq!(unanswered(&both[1..]), "");
    let others = [both[0], both[1], id::SMBIOS];
    assert_eq!(unanswered(&others), "SMBIOS (this machine has none)");
    let both = [id::MODULES, id::MODULES_ARE_OPTIONAL];
    assert_eq!(unanswered(&both), "");
    let missed = "modules (none was given: --module FILE)";
    assert_eq!(unanswered(&both[..1]), missed);
    assert_eq!(unanswered(&[both[0], id::FRAMEBUFFER_IS_OPTIONAL]), missed);
}

#[test]
fn what_is_answered_by_less_is_named() {
    let modules = Modules::default();
    let places = [PhysAddr::new(0x5000)];
    for (x2apic, opts_out, levels, flags, expected) in [
        (
            false,
            false,
            1,
            1,
            "5-level paging (this loader has 4 levels); x2APIC (this processor has none)",
        ),
        (
            false,
            true,
            0,
            1,
            "x2APIC (firmware opts out of it, in its DMAR table)",
        ),
        (true, false, 0, 1, ""),
        // Firmware can be in that mode itself: then it stays.
        (true, true, 0, 1, ""),
        (false, true, 0, 0, ""),
    ] {
        let mut bytes = image(&[id::PAGING_MODE, id::MP]);
        bytes[48] = levels;
        bytes[14 * 8 + 48] = flags;
        let facts = Facts {
            cores: Some(Cores {
                x2apic,
                ..cores(&places)
            }),
            machine: Machine {
                opts_out_of_x2apic: opts_out,
                ..Machine::default()
            },
            ..facts(&modules)
        };
        let answered = Answered::in_image(bytes, &facts, &map());
        assert_eq!(answered.unanswered, expected);
        assert_eq!(answered.response(0), [0], "it has 4 levels all the same");
    }
}

#[test]
fn the_room_is_enough_for_all() {
    let region = |n: u64| Region {
        start: PhysAddr::new(n * 0x2000 + 0x1000),
        end: PhysAddr::new(n * 0x2000 + 0x2000),
        kind: Kind::Usable,
    };
    let map = MemoryMap::new((0..256).map(region)).unwrap();
    let places = [PhysAddr::zero(); 4096];
    for (line, cores) in [(&[b'x'; 5000][..], 4096), (b"", 1)] {
        let mut image = image(&ALL);
        let path = IMAGE + image.len() as u64;
        image.extend([line, &[0]].concat());
        let files = [file(0x1000, line, line); MAX_MODULES];
        let named = |file| Named {
            file,
            path,
            string: path,
        };
        let modules = Modules {
            named: (0..MAX_MODULES).map(named).collect(),
            others: (0..MAX_MODULES).collect(),
            missing: ArrayVec::new(),
        };
        let facts = Facts {
            executable: file(0x1000, line, line),
            files: &files,
            cores: Some(Cores {
                x2apic: false,
                first: 0,
                places: &places[..cores],
            }),
            machine: machine(),
            ..facts(&modules)
        };
        Answered::in_image(image, &facts, &map); // panics if not
    }
}

#[test]
fn what_is_placed_has_an_end() {
    let mut memory = [0xee; 256];
    let start = direct_map(PhysAddr::new(START));
    let mut arena = Arena {
        free: &mut memory,
        next: start,
    };
    arena.place_string(b"12345678");
    let file = arena.place_file(&file(0x1000, b"/kernel", b"abc"));
    assert_eq!(file - start, 16 + 8 + 8, "behind the strings");
    assert_eq!(arena.place([]) - file, 112, "the size of limine_file");
    assert_eq!(memory[..24], *b"12345678\0\0\0\0\0\0\0\0/kernel\0");
}

#[test]
fn stacks_are_at_least_what_was_asked_for() {
    let mut bytes = image(&[id::STACK_SIZE]);
    for (asked, size) in [(0_u64, 0x1_0000), (0x1_0001, 0x1_0001)] {
        bytes[48..56].copy_from_slice(&asked.to_le_bytes());
        assert_eq!(stack_size(&whole(&mut bytes)), size);
    }
    assert_eq!(stack_size(&whole(&mut [])), 0x1_0000);
}

#[test]
fn five_levels_are_refused_only_if_insisted_on() {
    let mut bytes = image(&[id::PAGING_MODE]);
    for (revision, preferred, smallest, fits) in [
        (0, 1, 1, true),
        (1, 1, 0, true),
        (1, 1, 1, false),
        (1, 0, 0, true),
    ] {
        bytes[32] = revision;
        bytes[48] = preferred;
        bytes[64] = smallest;
        assert_eq!(check_paging_mode(&whole(&mut bytes)).is_ok(), fits);
    }
}
