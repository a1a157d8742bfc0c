//! The loader, as a kernel sees it that says what it was given (`tools/loader/probe`): in each
//! base revision, position-independent and moved, with a screen and modules; and what the
//! command says of kernels that cannot be loaded, or do not get what they ask for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use pmiscope::internals::qemu::{Boot, Disc, Load, Machine};
use pmiscope::profile::Outcome;
use pmiscope::qemu::Module;

use crate::elsewhere::image_of;
use crate::fixture::{Guest, Run, built, folder, start};

/// How the probe is linked.
#[derive(Clone, Copy)]
enum Link {
    Fixed,
    /// Relocatable, at this address.
    Pie(u64),
    /// The same, with compact relocations.
    PieCompact(u64),
    /// As a shared library, which has relocations that only a linker can apply.
    Shared,
}

/// Where the top 2 GiB begin.
const TOP: u64 = 0xffff_ffff_8000_0000;

/// Builds the probe. The name is this build's alone.
#[track_caller]
fn probe(name: &str, link: Link, defines: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loader/probe");
    let path = folder().join(format!("probe-{name}"));
    let base = |base: u64| format!("-Wl,--defsym=BASE={base:#x}");
    let pie = [
        "-fpie",
        "-static-pie",
        "-Wl,--no-dynamic-linker",
        "-Wl,-z,text",
    ];
    let link: Vec<String> = match link {
        Link::Fixed => ["-fno-pie", "-no-pie", "-static", "-mcmodel=kernel"]
            .map(String::from)
            .into(),
        Link::Pie(at) => pie
            .map(String::from)
            .into_iter()
            .chain([base(at)])
            .collect(),
        Link::PieCompact(at) => {
            let more = [base(at), "-Wl,-z,pack-relative-relocs".into()];
            pie.map(String::from).into_iter().chain(more).collect()
        }
        Link::Shared => ["-fpic", "-shared"].map(String::from).into(),
    };
    let built = Command::new("cc")
        .current_dir(source)
        .args([
            "-ffreestanding",
            "-nostdlib",
            "-fno-stack-protector",
            "-fcf-protection=none",
            "-fno-toplevel-reorder",
            "-fvisibility=hidden",
        ])
        .args([
            "-mno-red-zone",
            "-mgeneral-regs-only",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args([
            "-Wl,--build-id=sha1",
            "-Wl,-z,noexecstack",
            "-Wl,-z,max-page-size=0x1000",
        ])
        .args(link)
        .args(defines.iter().map(|define| format!("-D{define}")))
        .args(["-T", "probe.ld", "probe.c", "-o"])
        .arg(&path)
        .output()
        .expect("cc, which Rust links with");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    path
}

/// What the probe has said: for each name the numbers behind it, in the order of the lines.
struct Said {
    guest: Guest,
    lines: BTreeMap<String, Vec<Vec<u64>>>,
}

/// Boots a probe in a machine of two cores.
#[track_caller]
fn boot(kernel: PathBuf, change: impl FnOnce(&mut Machine)) -> Said {
    let guest = Guest::boot_machine(kernel, 2, 128, "a line of words", change);
    let guest = guest.ended_with(Outcome::Finished, &["probe", "\nend"]);
    let lines = lines(&guest.log);
    Said { guest, lines }
}

fn lines(log: &str) -> BTreeMap<String, Vec<Vec<u64>>> {
    let mut lines = BTreeMap::<_, Vec<_>>::new();
    // A boot loader may have talked before.
    for line in log.lines().skip_while(|&line| line != "probe") {
        let mut words: Vec<_> = line.split(' ').collect();
        let is_number = |word: &&str| u64::from_str_radix(word, 16).is_ok();
        let name = words.iter().rposition(|word| !is_number(word)).unwrap_or(0) + 1;
        let numbers = words.split_off(name);
        let numbers = numbers
            .iter()
            .map(|word| u64::from_str_radix(word, 16).unwrap());
        lines
            .entry(words.join(" "))
            .or_default()
            .push(numbers.collect());
    }
    lines
}

impl Said {
    /// The numbers of the only line of this name.
    #[track_caller]
    fn one(&self, name: &str) -> &[u64] {
        match self.lines.get(name).map(Vec::as_slice) {
            Some([numbers]) => numbers,
            other => panic!("{name}: {other:?}; the log: {}", self.guest.log),
        }
    }

    /// What the loader said before the kernel did.
    fn loader(&self) -> Vec<&str> {
        let lines = self.guest.log.lines();
        lines
            .filter_map(|line| line.strip_prefix("loader: "))
            .collect()
    }
}

fn load(machine: &mut Machine) -> &mut Load {
    match &mut machine.boot {
        Boot::Loader { load, .. } => load,
        Boot::Pvh { .. } | Boot::Disc(_) => unreachable!(),
    }
}

/// The kinds of regions that are mapped in a base revision, by the protocol's numbers.
fn mapped_kinds(revision: u64) -> &'static [u64] {
    match revision {
        0 => &[0, 1, 2, 3, 4, 5, 6, 7],
        1 | 2 => &[0, 2, 3, 5, 6, 7],
        3 => &[0, 5, 6, 7],
        _ => &[0, 2, 3, 5, 6, 7, 8],
    }
}

fn revision_of(number: u64) -> PathBuf {
    let define = format!("REVISION={number}");
    probe(&format!("revision-{number}"), Link::Fixed, &[&define])
}

#[test]
fn each_base_revision_is_as_the_protocol_says() {
    for revision in 0..=6 {
        let said = boot(revision_of(revision), |_| {});
        assert_eq!(said.one("revision"), [revision, 0]);
        check_memory(&said, revision);
        check_state(&said, revision);
        assert_eq!(said.loader(), [""; 0], "all is answered");
        let is_physical = |first: u64, last: u64| (first..=last).contains(&revision);
        // Whether it is an address of the direct map, and is mapped there.
        let rsdp = said.one("rsdp");
        let is_high = u64::from(!is_physical(3, 3));
        assert_eq!(rsdp[..2], [is_high, is_high], "{revision}");
        let smbios = said.one("smbios");
        let is_high = u64::from(!is_physical(3, 4));
        assert_eq!(smbios[..2], [is_high, is_high], "{revision}");
        for place in [rsdp[2], smbios[2]] {
            assert!((0xf_0000..0x10_0000).contains(&place), "{place:#x}");
        }
    }
}

/// What is mapped, by the kinds of regions; what tables are in which kind.
#[track_caller]
fn check_memory(said: &Said, revision: u64) {
    let maps = &said.lines["map"];
    let mut end = 0;
    for map in maps {
        let &[start, size, kind, first, last, caching] = &map[..] else {
            panic!("{map:?}")
        };
        assert!(start >= end && size > 0, "revision {revision}: {map:x?}");
        end = start + size;
        let below_4_gib = end <= 1 << 32;
        let is_mapped = mapped_kinds(revision).contains(&kind) || (revision <= 2 && below_4_gib);
        let seen = [first, last].map(|it| it == 1);
        assert_eq!(seen, [is_mapped; 2], "revision {revision}: {map:x?}");
        assert_eq!(caching, 0, "revision {revision}: {map:x?}");
    }
    // A device, and page 0, in the direct map; pages 0 and 1 and the device at themselves.
    let elsewhere = match revision {
        0 => [1, 1, 0, 1, 1],
        1 | 2 => [1, 1, 0, 0, 0],
        _ => [0; 5],
    };
    assert_eq!(said.one("elsewhere"), elsewhere, "revision {revision}");
    let kind_of = |place: u64| {
        let at = maps
            .iter()
            .find(|map| (map[0]..map[0] + map[1]).contains(&place));
        at.map(|map| map[2])
    };
    let (reserved, shown) = (Some(1), Some(8));
    let rsdp = if revision >= 4 { shown } else { reserved };
    assert_eq!(kind_of(said.one("rsdp")[2]), rsdp, "revision {revision}");
    // SeaBIOS has all of SMBIOS in the RSDP's page, as long as it is short.
    assert_eq!(kind_of(said.one("smbios")[2]), rsdp, "revision {revision}");
    let structures = match revision {
        0..=2 => Some((reserved, 1)),
        3 | 4 => None, // the address is physical
        _ => Some((shown, 1)),
    };
    let lines = said.lines.get("structures");
    let found = lines.map(|line| (kind_of(line[0][0]), line[0][1]));
    assert_eq!(found, structures, "revision {revision}");
}

/// Processors and interrupt controllers, of both cores.
#[track_caller]
fn check_state(said: &Said, revision: u64) {
    for core in ["", "other."] {
        let one = |name: &str| said.one(&format!("{core}{name}"));
        // PG, WP, ET, PE; PAE; NXE, LMA, LME.
        assert_eq!(one("control"), [0x8001_0011, 0x20, 0xd00]);
        assert_eq!(one("selectors"), [0x28, 0x30, 0x30, 0x30, 0x30, 0x30]);
        // No IDT; a GDT in the direct map, of at least seven entries.
        assert_eq!(one("tables"), [0, 0, 1, 1]);
        // A task segment of limit and base 0, and no LDT.
        assert_eq!(one("task"), [0, 0, 0]);
        assert_eq!(one("bases"), [0, 0]);
        // RFLAGS, the return address, all general registers.
        assert_eq!(one("entry"), [2, 0, 0]);
    }
    assert_eq!(said.one("stack"), [1, 0, 1]);
    assert_eq!(said.one("other.argument"), [1]);
    assert_eq!(said.one("pat"), [0x0105_0007_0406]);
    assert_eq!(said.one("cores"), [0, 2]);
    assert_eq!(said.one("firmware"), [0]);
    assert_eq!(said.one("io-apic"), [24, 0], "none is open");
    // Enabled; spurious, task priority; timer, thermal, counters, LINT0, LINT1, error.
    // SeaBIOS left LINT0 as ExtINT and LINT1 as NMI, both as levels, on the first core;
    // ACPI says that LINT1 is for NMIs, by edges.
    let masked = 0x1_0000;
    let (first, other) = if revision >= 5 {
        ((0x1ff, [0x1_8700, 0x1_0400]), (0x1ff, [masked, 0x1_0400]))
    } else {
        ((0x1ff, [0x8700, 0x8400]), (0xff, [masked, masked]))
    };
    for (core, enabled, (spurious, [lint0, lint1])) in
        [("", 0x800, first), ("other.", 0x800, other)]
    {
        let expected = [
            enabled, spurious, 0, masked, masked, masked, lint0, lint1, masked,
        ];
        let found = said.one(&format!("{core}apic"));
        assert_eq!(found, expected, "revision {revision}, {core}: {found:x?}");
    }
}

#[test]
fn a_kernel_without_a_tag_is_of_revision_0_and_may_list_its_requests() {
    for (name, defines) in [("plain", &[][..]), ("listed", &["LISTED"])] {
        let said = boot(probe(name, Link::Fixed, defines), |_| {});
        assert_eq!(said.lines.get("revision"), None);
        assert_eq!(said.one("elsewhere"), [1, 1, 0, 1, 1], "as in revision 0");
        let is_listed = !defines.is_empty();
        // These two are not on the list.
        for name in ["smbios", "firmware"] {
            assert_eq!(said.lines.contains_key(name), !is_listed, "{name}");
        }
    }
}

/// The first numbers of SplitMix64 for the seeds 1 and 2.
const FIRST_OF_1: u64 = 0x910a_2dec_8902_5cc1;
const FIRST_OF_2: u64 = 0x9758_35de_1c97_56ce;

/// Where the probe is moved by such a number: 1023 steps of 2 MiB fit behind it.
fn moved(first: u64) -> u64 {
    TOP + (first % 1023 + 1) * (2 << 20)
}

#[test]
fn position_independent_kernels_are_relocated_and_moved() {
    let (by_1, by_2) = (moved(FIRST_OF_1), moved(FIRST_OF_2));
    for (name, link, seed, expected) in [
        ("fixed", Link::Fixed, None, TOP),
        ("low", Link::Pie(0), None, TOP),
        ("low-compact", Link::PieCompact(0), None, TOP),
        ("above", Link::Pie(0x20_0000), None, TOP + 0x20_0000),
        ("high", Link::Pie(TOP), None, TOP),
        ("low-1", Link::Pie(0), Some(1), by_1),
        ("low-2", Link::PieCompact(0), Some(2), by_2),
        ("high-1", Link::Pie(TOP), Some(1), by_1),
        ("high-2", Link::PieCompact(TOP), Some(2), by_2),
    ] {
        let kernel = probe(name, link, &["REVISION=6"]);
        let said = boot(kernel, |machine| load(machine).seed = seed);
        // Where it is said to be, and where it is; where in a page of memory.
        assert_eq!(said.one("image"), [expected, expected, 0], "{name}");
        // Its pointers have gone with it.
        assert_eq!(said.one("onetwothree"), [1], "{name}");
        let line = format!(
            "the kernel is moved by {:#x}",
            match link {
                Link::Pie(0) | Link::PieCompact(0) => expected,
                _ => expected - TOP,
            }
        );
        let line = seed.map(|_| line);
        assert_eq!(said.loader(), line.as_slice(), "{name}");
    }
}

#[test]
fn a_kernel_that_asks_for_a_screen_has_one() {
    for revision in [2, 6] {
        let define = format!("REVISION={revision}");
        let kernel = probe(
            &format!("screen-{revision}"),
            Link::Fixed,
            &["FRAMEBUFFER", &define],
        );
        let said = boot(kernel.clone(), |machine| machine.framebuffer = true);
        let screen = said.one("framebuffer");
        let start = screen[2];
        // Revision 1, one of them; 1280 by 800, 5120 bytes a row; 32 bits, RGB, 8 of each;
        // one mode; write-combining.
        let expected = [1, 1, start, 1280, 800, 5120, 0x0808_0810_0801_0020, 0, 1, 5];
        assert_eq!(screen, expected, "{screen:x?}");
        let region = said.lines["map"].iter().find(|map| map[2] == 7).unwrap();
        assert_eq!(region[..], [start, 4 << 20, 7, 1, 1, 5]);
        let place = start + 3 * 5120 + 5 * 4;
        assert_eq!(said.one("pixel"), [place, 0xc0_ffee]);
        assert_eq!(
            said.guest.word_at(place),
            0xc0_ffee,
            "in the machine's memory"
        );
        let line = format!("framebuffer: 1280 x 800, 32 bits a pixel, at {start:#x}");
        assert_eq!(said.loader(), [line]);

        let said = boot(kernel, |_| {});
        assert!(!said.lines.contains_key("framebuffer"));
        let line = "not answered: framebuffer (this machine has no ramfb)";
        assert_eq!(said.loader(), [line]);
    }
}

/// Three files, with what the probe makes of their bytes.
fn files() -> [(Module, u64); 3] {
    let sum = |bytes: &[u8]| {
        let add = |sum: u64, &byte: &u8| sum.wrapping_mul(31).wrapping_add(byte.into());
        bytes.iter().fold(0, add)
    };
    let big: Vec<u8> = (0..100_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let directory = folder().join("modules");
    std::fs::create_dir_all(&directory).unwrap();
    [
        ("first,comma.img", &big[..], "root=a,b c"),
        ("second.img", b"second", ""),
        ("empty.img", b"", "x"),
    ]
    .map(|(name, bytes, line)| {
        let file = directory.join(name);
        std::fs::write(&file, bytes).unwrap();
        let module = Module {
            file,
            command_line: line.into(),
        };
        (module, sum(bytes))
    })
}

#[test]
fn modules_are_loaded_whole_with_their_lines() {
    let files = files();
    let sums = files.each_ref().map(|&(_, sum)| sum);
    let modules = files.map(|(module, _)| module).to_vec();
    let kernel = probe("modules", Link::Fixed, &["MODULES", "REVISION=6"]);
    let said = boot(kernel, |machine| load(machine).modules = modules.clone());
    assert_eq!(said.one("modules"), [1, 3]);
    // Size, sum, on a page, a generic medium.
    for (name, expected) in [
        (
            "module /first,comma.img [root=a,b c]",
            [100_000, sums[0], 0, 0],
        ),
        ("module /second.img []", [6, sums[1], 0, 0]),
        ("module /empty.img [x]", [0, 0, 0, 0]),
    ] {
        assert_eq!(said.one(name), expected, "{name}");
    }
    assert_eq!(said.loader(), [""; 0]);

    // The kernel names two of them, and a third that it can do without.
    let kernel = probe(
        "named",
        Link::Pie(0),
        &["NAMED=\"/empty.img\"", "REVISION=6"],
    );
    let said = boot(kernel, |machine| load(machine).modules = modules);
    assert_eq!(said.one("modules"), [1, 3]);
    let order: Vec<_> = said
        .guest
        .log
        .lines()
        .filter(|line| line.starts_with("module "))
        .collect();
    let expected = [
        format!(
            "module /boot/second.img [as the kernel calls it] 6 {:x} 0 0",
            sums[1]
        ),
        "module /empty.img [] 0 0 0 0".into(),
        format!(
            "module /first,comma.img [root=a,b c] 186a0 {:x} 0 0",
            sums[0]
        ),
    ];
    assert_eq!(order, expected);
    let line = "not answered: module not-there.img (not given: --module FILE)";
    assert_eq!(said.loader(), [line]);
}

#[test]
fn what_cannot_be_answered_is_named() {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let before = now();
    let kernel = probe(
        "others",
        Link::Fixed,
        &["OTHERS", "MODULES", "FIVE", "REVISION=6"],
    );
    let said = boot(kernel, |_| {});
    let line = "not answered: modules (none was given: --module FILE); \
        EFI system table (this machine has no UEFI); \
        device tree blob (this machine has none); \
        request 0x0123456789abcdef 0xfedcba9876543210 (this loader does not know it); \
        5-level paging (this loader has 4 levels); x2APIC (this processor has none)";
    assert_eq!(said.loader(), [line]);
    assert_eq!(said.one("answered"), [1, 0, 0, 0]);
    assert_eq!(said.one("paging"), [0]);
    let date = said.one("date")[0];
    assert!(
        (before - 1..=now() + 1).contains(&date),
        "{date} is not {before}"
    );
    let &[reset, begun, entered] = said.one("performance") else {
        panic!("{}", said.guest.log)
    };
    // It counts microseconds of the machine, which instructions are.
    assert!(reset == 0 && begun > 1000 && entered > begun && entered < 1_000_000);
}

/// `pmiscope run` of a probe, on the stock QEMU, by the loader that was built.
fn command(kernel: &Path, arguments: &str) -> Run {
    let loader = built("loader");
    let files = [
        "--kernel".into(),
        kernel.into(),
        "--loader".into(),
        loader.into_os_string(),
    ];
    start(arguments, &files)
}

#[test]
fn a_kernel_that_cannot_be_loaded_is_refused_in_one_line() {
    let shared = probe("shared", Link::Shared, &["REVISION=6", "WEAK"]);
    let modules = &["NAMED=\"boot/initial.img\"", "REVISION=6"];
    for (kernel, says) in [
        (
            revision_of(7),
            "the kernel asks for base revision 7 of the Limine protocol, and this loader knows 0 \
             to 6: ask for 6, or boot it from an image with a newer Limine (--disc)",
        ),
        (
            shared,
            "of type R_X86_64_64, and only R_X86_64_RELATIVE can be applied: link it by -static-pie",
        ),
        (
            probe("requires", Link::Fixed, modules),
            "the kernel requires the module boot/second.img: give it by --module FILE, with a \
             FILE of that name",
        ),
    ] {
        let run = command(&kernel, "--timeout 20").ended_with(4);
        let said = run.said();
        assert!(
            said.contains("the loader could not load the kernel: "),
            "{said}"
        );
        assert!(said.contains(says), "{said}");
        assert!(!run.profile.exists());
    }
}

#[test]
fn what_the_kernel_cannot_have_is_refused_before_the_machine_starts() {
    let kernel = revision_of(6);
    for (arguments, says) in [
        (
            "--kaslr",
            "pmiscope: --kaslr: the kernel is linked for a fixed address and cannot be moved: \
             link it as PIE, or leave out --kaslr\n",
        ),
        (
            "--module /etc/passwd",
            "pmiscope: --module /etc/passwd: the kernel does not ask the boot loader for modules: \
             leave the option out, or give the kernel a module request\n",
        ),
    ] {
        let run = command(&kernel, arguments).ended_with(1);
        assert_eq!(run.said(), says);
    }
    let kernel = probe("asks", Link::Fixed, &["MODULES"]);
    let run = command(&kernel, "--module /nowhere").ended_with(1);
    let says = "pmiscope: --module: cannot read /nowhere: No such file or directory (os error 2)\n";
    assert_eq!(run.said(), says);
}

#[test]
fn an_aim_is_at_where_the_kernel_is_moved_to() {
    let kernel = probe("aimed", Link::Pie(0), &["REVISION=6"]);
    let file = std::fs::read(&kernel).unwrap();
    let linked_at = pmiscope::internals::entry_of(&file, "probe").unwrap().0;
    for (arguments, place) in [
        ("", TOP),
        ("--kaslr ", moved(FIRST_OF_1)),
        ("--kaslr=2 ", moved(FIRST_OF_2)),
    ] {
        let arguments = format!("{arguments}--aim probe:3..5 --smp 1 --verbose");
        let aim = format!(" aim={:#x}:3..5", place + linked_at);
        command(&kernel, &arguments).ended_with(1).saying(&[&aim]);
    }
}

#[test]
fn a_run_that_fails_says_what_the_loader_did_not_answer() {
    let list = "the kernel asked for what the loader did not answer: \
        modules (none was given: --module FILE)\n";
    let kernel = probe("ends", Link::Pie(0), &["MODULES", "REVISION=6"]);
    command(&kernel, "").ended_with(1).saying(&[list]);
    let kernel = probe("hangs", Link::Pie(0), &["MODULES", "HANG", "REVISION=6"]);
    command(&kernel, "--kaslr=2 --smp 1 --timeout 8")
        .ended_with(6)
        .saying(&[list]);
    // The machine has a screen because the kernel asks for one.
    let kernel = probe(
        "shows",
        Link::Fixed,
        &["MODULES", "FRAMEBUFFER", "REVISION=6"],
    );
    let run = command(&kernel, "").ended_with(1).saying(&[list]);
    assert!(!run.said().contains("ramfb"), "{}", run.said());
}

/// What is not as in stock Limine, and why.
const OWN: [&str; 6] = [
    "revision",    // a boot loader that knows revision 3 says which one applies
    "entry",       // revision 5 prescribes flags, and the loader always has them so
    "other.entry", // so
    "task",        // and an empty task register
    "other.task",  // so
    "map",         // memory is laid out otherwise
];

#[test]
#[ignore = "needs LIMINE_DIR, an unpacked binary release of Limine 7 or 8, and xorriso"]
fn the_loader_is_as_stock_limine_where_that_knows_the_revision() {
    for revision in 0..=2 {
        let kernel = revision_of(revision);
        let image = image_of(&kernel, &format!("probe-{revision}.iso"));
        let ours = boot(kernel.clone(), |_| {});
        let theirs = boot(kernel, |machine| {
            machine.memory = 256 << 20;
            machine.boot = Boot::Disc(Disc::new(&image, None).unwrap());
        });
        check_memory(&theirs, revision);
        let compared = |said: &Said| {
            let mut lines = said.lines.clone();
            lines.retain(|name, _| !OWN.contains(&name.as_str()));
            lines
        };
        assert!(compared(&ours).len() > 15, "{}", ours.guest.log);
        assert_eq!(compared(&theirs), compared(&ours), "revision {revision}");
    }
}
