//! The answers, read as the kernel reads them: by following pointers.

use super::*;
use crate::bytes::u64_at;
use crate::memory_map::Kind;

const START: u64 = 0x20_0000;
const ALL: [Id; 13] = [
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

fn file(start: u64, command_line: &[u8]) -> File<'_> {
    File {
        content: Block {
            start: PhysAddr::new(start),
            size: 77,
        },
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
}

impl Answered {
    fn new(ids: &[Id], facts: &Facts<'_>) -> Self {
        Self::with_map(ids, facts, &map())
    }

    fn with_map(ids: &[Id], facts: &Facts<'_>, map: &MemoryMap) -> Self {
        let mut image = image(ids);
        let size = image.len();
        let mut requests = Requests::scan(&mut image, size).unwrap();
        let mut memory = vec![0xee; usize::try_from(facts.room()).unwrap()];
        write(&mut requests, facts, map, &mut memory, PhysAddr::new(START));
        Self { image, memory }
    }

    /// The words of the response to request `n`, without its revision.
    fn response<const N: usize>(&self, n: usize) -> [u64; N] {
        let response = u64_at(&self.image, n * 14 * 8 + 40).unwrap();
        let [revision] = self.words(response);
        assert_eq!(revision, 0);
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

fn facts() -> Facts<'static> {
    Facts {
        executable: file(0x7000_0000, b"workload=mix"),
        image: (
            PhysAddr::new(0x20_0000),
            VirtAddr::new(0xffff_ffff_8000_0000),
        ),
        modules: &[],
        rsdp: None,
        cores: None,
    }
}

#[test]
fn each_request_gets_its_answer() {
    let modules = [file(0x7100_0000, b""), file(0x7200_0000, b"12345678")];
    let places = [PhysAddr::new(0x5000), PhysAddr::new(0x5020)];
    let facts = Facts {
        modules: &modules,
        rsdp: Some(PhysAddr::new(0xf_5000)),
        cores: Some(Cores {
            x2apic: true,
            first: 3,
            places: &places,
        }),
        ..facts()
    };
    let answered = Answered::new(&ALL, &facts);
    let high = DIRECT_MAP.as_u64();

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
    let [count, modules] = answered.response(10);
    let [first, second] = answered.words(modules);
    assert_eq!(
        (count, answered.words(first + 8)),
        (2, [high + 0x7100_0000])
    );
    let [command_line] = answered.words(second + 32);
    assert_eq!(answered.string(command_line), b"12345678");
    assert_eq!(answered.response(11), [high + 0xf_5000]);
    assert_eq!(answered.response(12), [0x20_0000, 0xffff_ffff_8000_0000]);
}

#[test]
fn what_is_not_there_or_not_known_stays_unanswered() {
    let ids = [id::MODULES, id::RSDP, id::MP, UNKNOWN];
    assert_eq!(Answered::new(&ids, &facts()).image, image(&ids));
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
        let modules = [file(0x1000, line); MAX_MODULES];
        let facts = Facts {
            executable: file(0x1000, line),
            modules: &modules,
            rsdp: Some(PhysAddr::zero()),
            cores: Some(Cores {
                x2apic: false,
                first: 0,
                places: &places[..cores],
            }),
            ..facts()
        };
        Answered::with_map(&ALL, &facts, &map); // panics if not
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
    let file = arena.place_file(&file(0x1000, b"abc"), "/kernel");
    assert_eq!(file - start, 16 + 8 + 8, "behind the strings");
    assert_eq!(arena.place([]) - file, 112, "the size of limine_file");
    assert_eq!(memory[..24], *b"12345678\0\0\0\0\0\0\0\0/kernel\0");
}

#[test]
fn stacks_are_at_least_what_was_asked_for() {
    let mut bytes = image(&[id::STACK_SIZE]);
    for (asked, size) in [(0_u64, 0x1_0000), (0x1_0001, 0x1_0001)] {
        bytes[48..56].copy_from_slice(&asked.to_le_bytes());
        let end = bytes.len();
        assert_eq!(stack_size(&Requests::scan(&mut bytes, end).unwrap()), size);
    }
    assert_eq!(stack_size(&Requests::scan(&mut [], 0).unwrap()), 0x1_0000);
}

#[test]
fn five_levels_are_refused_only_if_insisted_on() {
    let mut bytes = image(&[id::PAGING_MODE]);
    let end = bytes.len();
    for (revision, preferred, smallest, fits) in [
        (0, 1, 1, true),
        (1, 1, 0, true),
        (1, 1, 1, false),
        (1, 0, 0, true),
    ] {
        bytes[32] = revision;
        bytes[48] = preferred;
        bytes[64] = smallest;
        let requests = Requests::scan(&mut bytes, end).unwrap();
        assert_eq!(check_paging_mode(&requests).is_ok(), fits);
    }
}
