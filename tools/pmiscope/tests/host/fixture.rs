//! A small kernel with known frames, and profiles of it.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

pub use crate::folder::folder;
use memmap2::MmapOptions;
use object::{Object as _, ObjectSymbol as _};
use pmiscope::profile::{Asked, CoreEnd, Embedded, Head, Host, Mode, Outcome, RunEnd, Writer};
use pmiscope::qemu::Emulator;
use pmiscope::symbols::build_id;
use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::format::description::MAX_TASKS;
use profiler::format::event::NewEvent;
use profiler::format::region::{MAGIC, PAGE, Region, RegionLayout};
use profiler::format::sample::{Chain, MAX_WORDS};
use profiler::format::{
    ChainEnd, ChainEntry, Clock, Description, EventDescription, Sample, Source, State, Text,
};

/// The compiled `fixture.c`.
pub struct Kernel {
    pub path: PathBuf,
    pub elf: Vec<u8>,
}

/// The kernel of the tests.
pub fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| Kernel::compile("kernel", &[]))
}

/// One that differs only in its build-id and an unused variable.
pub fn other_kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| Kernel::compile("other", &["-DOTHER"]))
}

/// One without call-frame information.
pub fn bare_kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| Kernel::compile("bare", &["-g0", "-DBARE"]))
}

/// One without the sampler in it.
pub fn kernel_without_sampler() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| Kernel::compile("without", &["-DWITHOUT_SAMPLER"]))
}

/// One without a build-id: a linker script that discards notes leaves none either.
pub fn kernel_without_note() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| Kernel::compile("no-note", &["-Wl,--build-id=none"]))
}

/// One whose build-id is no SHA-1.
pub fn kernel_with_short_note() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| Kernel::compile("md5", &["-Wl,--build-id=md5"]))
}

impl Kernel {
    fn compile(name: &str, flags: &[&str]) -> Self {
        let path = folder().join(name);
        let compiled = Command::new("cc")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host"))
            .args([
                "-g",
                "-O1",
                "-ffreestanding",
                "-nostdlib",
                "-static",
                "-no-pie",
            ])
            .args([
                "-fno-pie",
                "-mcmodel=kernel",
                "-fno-asynchronous-unwind-tables",
            ])
            .args(["-fno-toplevel-reorder", "-fno-reorder-functions"])
            .args(["-Wl,--build-id=sha1", "-Wl,-Ttext=0xffffffff80100000"])
            .args(flags)
            .arg("fixture.c")
            .arg("-o")
            .arg(&path)
            .output()
            .expect("cc, which Rust links with");
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        let elf = std::fs::read(&path).unwrap();
        Self { path, elf }
    }

    /// The address of a symbol.
    pub fn at(&self, name: &str) -> CodeAddress {
        let file = object::File::parse(&*self.elf).unwrap();
        let mut symbols = file.symbols();
        let symbol = symbols.find(|symbol| symbol.name() == Ok(name));
        CodeAddress(
            symbol
                .unwrap_or_else(|| panic!("no symbol {name}"))
                .address(),
        )
    }

    /// What a call leaves on the stack if `name` labels its last byte.
    pub fn return_to(&self, name: &str) -> ChainEntry {
        ChainEntry::Return(CodeAddress(self.at(name).0 + 1))
    }
}

/// A run on two cores.
pub fn description() -> Description {
    let mut tasks = [Text::EMPTY; MAX_TASKS];
    tasks[1] = Text::new("hash");
    tasks[2] = Text::new("idle");
    let text = CodeRange {
        start: CodeAddress(0xffff_ffff_8010_0000),
        end: CodeAddress(0xffff_ffff_8020_0000),
    };
    Description {
        clock: Clock::Instructions,
        turns: true,
        period: 100,
        period_floor: 20,
        overhead: 60,
        stack_slot: 1 << 17,
        samples: 6,
        reason: Text::new("no PMU here"),
        bootloader: Text::new("fixture 1.0"),
        workload: Text::new("mix"),
        command_line: Text::new("period=100"),
        tasks,
        ..Description::new(build_id(&kernel().elf).unwrap().0, text, 2, 1 << 10)
    }
}

/// The same run, by performance counters: two events, one more frequent than makes
/// progress.
pub fn two_events() -> Description {
    let event = |name, requested_period, period| EventDescription {
        name: Text::new(name),
        requested_period,
        period,
        floor: 50,
    };
    let mut description = Description {
        source: Source::Pmu,
        turns: false,
        clock: Clock::Time,
        event_count: 2,
        ..description()
    };
    description.event_table[0] = event("cycles:k", 100, 100);
    description.event_table[1] = event("cpu/event=0xc4,umask=0x20/u", 10, 50);
    description
}

pub fn host() -> Host {
    Host {
        pmiscope: "0.1.0".into(),
        qemu: "7.2.22".into(),
        emulator: Emulator::Stock,
        pmu: None,
        mode: Mode::Deterministic,
        arguments: vec!["-smp".into(), "2".into()],
        asked: Asked::default(),
        imported: None,
    }
}

/// A sample, with fewer fields.
#[derive(Clone, Debug)]
pub struct Seen {
    pub sequence: u32,
    pub event: u8,
    pub task: u16,
    pub state: u8,
    pub period: u64,
    pub handler_cost: u32,
    pub stack_top: [u64; 2],
    pub pc: CodeAddress,
    pub exact: Option<CodeAddress>,
    pub chain: Vec<ChainEntry>,
    pub end: ChainEnd,
}

impl Seen {
    pub fn new(sequence: u32, pc: CodeAddress, chain: &[ChainEntry]) -> Self {
        Self {
            sequence,
            event: 0,
            task: 1,
            state: State::NMI | State::INTERRUPTS_ON,
            period: 100,
            handler_cost: 300,
            stack_top: [1, 2],
            pc,
            exact: None,
            chain: chain.to_vec(),
            end: ChainEnd::Complete,
        }
    }

    pub fn record(&self) -> Vec<u64> {
        let mut chain = Chain::new();
        self.chain
            .iter()
            .for_each(|&entry| chain.push(entry).unwrap());
        let sample = Sample {
            sequence: self.sequence,
            handler_cost: self.handler_cost,
            event: self.event,
            task: self.task,
            state: State(self.state),
            time: u64::from(self.sequence) * 1000,
            period: self.period,
            sp: StackAddress(0),
            stack_top: self.stack_top,
            pc: self.pc,
            exact: self.exact,
            end: self.end,
            chain_words: chain.words(),
        };
        let mut record = [0; MAX_WORDS];
        let words = sample.encode(&mut record);
        record[..words].to_vec()
    }
}

/// Samples of the two cores: what each test knows the answer to.
pub fn samples() -> [Vec<Seen>; 2] {
    let kernel = kernel();
    let root = kernel.return_to("in_idle");
    let hash = Seen::new(0, kernel.at("in_innermost"), &[root]);
    let again = Seen {
        sequence: 1,
        ..hash.clone()
    };
    let recursive = Seen::new(
        2,
        kernel.at("in_hash"),
        &[
            kernel.return_to("in_hash"),
            kernel.return_to("in_middle"),
            root,
        ],
    );
    let interrupted = Seen {
        task: 2,
        state: State::NMI | State::IDLE,
        period: 104,
        handler_cost: 310,
        ..Seen::new(
            0,
            kernel.at("stub"),
            &[
                kernel.return_to("stub"),
                ChainEntry::Crossing {
                    vector: 0x40,
                    pc: kernel.at("in_never_returns"),
                    caller_known: false,
                    stack_top: [0; 2],
                },
                // Behind the last instruction of `idle`: the next function's first.
                ChainEntry::Return(kernel.at("stub")),
            ],
        )
    };
    let cut = Seen {
        sequence: 1,
        end: ChainEnd::FrameBelow,
        period: 90,
        ..interrupted.clone()
    };
    let unnamed = Seen {
        sequence: 4, // 2 and 3 were lost
        task: 7,
        period: 101,
        handler_cost: 280,
        ..Seen::new(0, CodeAddress(0xffff_ffff_8fff_0000), &[])
    };
    [
        vec![hash, again, recursive],
        vec![interrupted, cut, unnamed],
    ]
}

pub fn run_end() -> RunEnd {
    let core = |apic_id, lost, fast| CoreEnd {
        apic_id,
        taken: 3 + lost,
        stored: 3,
        lost,
        fast: Some(fast),
        unclaimed: 1,
        nested: 0,
        late: 2,
        early: 0,
        missed: lost,
        checks: 0,
        smis: None,
        maker: 0,
        kind: 0,
        overheads: Vec::new(),
        ring_bytes: 0,
        corrupt_at: None,
        damaged_chains: 0,
        accounts: Vec::new(),
        processes: Vec::new(),
    };
    RunEnd {
        outcome: Outcome::Finished,
        message: String::new(),
        cores: vec![core(0, 0, 2), core(4, 2, 1)],
    }
}

/// A profile without its end.
pub fn unfinished() -> Writer<Vec<u8>> {
    unfinished_of(&description())
}

fn unfinished_of(description: &Description) -> Writer<Vec<u8>> {
    let host = host();
    let head = Head {
        description,
        host: &host,
        kernel: &kernel().elf,
    };
    Writer::new(Vec::new(), &head).unwrap()
}

/// A whole profile of these samples of the first core.
pub fn profile_of(description: &Description, samples: &[Seen]) -> Vec<u8> {
    profile_of_cores(description, &[samples])
}

/// A whole profile of these samples of each core.
pub fn profile_of_cores(description: &Description, cores: &[&[Seen]]) -> Vec<u8> {
    profile_of_kernel(&kernel().elf, description, cores)
}

/// A whole profile of these samples of one core, in one block: those of several events are counted
/// one by one there.
pub fn profile_in_one_block(description: &Description, samples: &[Seen]) -> Vec<u8> {
    let mut writer = unfinished_of(description);
    for seen in samples {
        writer.record(0, &seen.record()).unwrap();
    }
    let mut end = run_end();
    end.cores.truncate(1);
    end.cores[0].stored = samples.len() as u64;
    writer.finish(&end).unwrap()
}

/// The same of another kernel.
pub fn profile_of_kernel(elf: &[u8], description: &Description, cores: &[&[Seen]]) -> Vec<u8> {
    profile_of_files(description, (elf, &[]), cores)
}

/// The same with debug files of it and their names.
pub fn profile_of_files(
    description: &Description,
    (kernel, debug_files): (&[u8], &[(&str, Vec<u8>)]),
    cores: &[&[Seen]],
) -> Vec<u8> {
    let mut end = run_end();
    end.cores.truncate(description.cores as usize);
    profile_with_end((description, &end), (kernel, debug_files), cores)
}

/// The same, but for how much was stored, with this end.
pub fn profile_with_end(
    (description, end): (&Description, &RunEnd),
    (kernel, debug_files): (&[u8], &[(&str, Vec<u8>)]),
    cores: &[&[Seen]],
) -> Vec<u8> {
    let debug_files = debug_files.iter().map(|(name, file)| (*name, &**file));
    let files = Embedded::new(kernel, debug_files).unwrap();
    let mut writer = Writer::with(Vec::new(), description, &host(), files).unwrap();
    let mut end = end.clone();
    for core in &mut end.cores {
        core.stored = 0;
    }
    for (core, samples) in (0..).zip(cores) {
        for seen in *samples {
            writer.record(core, &seen.record()).unwrap();
            writer.flush().unwrap();
        }
        end.cores[core as usize].stored = samples.len() as u64;
    }
    writer.finish(&end).unwrap()
}

/// A whole profile; one sample a block, the cores in turn. It is the same each time: a
/// profile has the number of its run in it, which no other has.
pub fn profile() -> Vec<u8> {
    static PROFILE: OnceLock<Vec<u8>> = OnceLock::new();
    let profile = PROFILE.get_or_init(|| profile_of_both(unfinished(), samples()));
    profile.clone()
}

/// The same run as [`profile`] once more: another run, with other samples: those of the
/// first core in reverse.
pub fn another_profile() -> Vec<u8> {
    let [mut first, second] = samples();
    first.reverse();
    profile_of_both(unfinished(), [first, second])
}

/// A whole profile of two events, to which a third was added behind the first core's
/// first sample: those behind it are of that one.
pub fn profile_of_later_event() -> Vec<u8> {
    profile_of_event_numbered(2)
}

/// The same with another number of that event.
pub fn profile_of_event_numbered(number: u8) -> Vec<u8> {
    let [mut first, _] = samples();
    let third = NewEvent {
        number,
        event: EventDescription {
            name: Text::new("instructions:u"),
            requested_period: 7,
            period: 9,
            floor: 9,
        },
    };
    let description = Description {
        cores: 1,
        ..two_events()
    };
    let mut writer = unfinished_of(&description);
    writer.record(0, &first[0].record()).unwrap();
    writer.record(0, &third.encode()).unwrap();
    for seen in &mut first[1..] {
        seen.event = number;
        writer.record(0, &seen.record()).unwrap();
    }
    let mut end = run_end();
    end.cores.truncate(1);
    end.cores[0].stored = first.len() as u64 + 1;
    writer.finish(&end).unwrap()
}

/// A whole profile of two events. The second core's first and last samples are of the
/// second event, and an aimed overflow is among the first core's.
pub fn profile_of_events() -> Vec<u8> {
    let mut samples = samples();
    samples[0][1].event = Sample::AIMED;
    samples[1][0].event = 1;
    samples[1][2].event = 1;
    profile_of_both(unfinished_of(&two_events()), samples)
}

/// A whole profile of a run that kept these chains, each core's with how often there was each, and no
/// order.
pub fn profile_of_chains(cores: [&[(Seen, u64)]; 2]) -> Vec<u8> {
    let run = Description {
        table_bytes: 1 << 20,
        ..description()
    };
    let mut writer = unfinished_of(&run);
    let mut end = run_end();
    for (core, chains) in (0..).zip(cores) {
        for (seen, samples) in chains {
            let record = seen.record();
            let sample = Sample::decode(&record).unwrap();
            writer.chain(core, &sample, *samples).unwrap();
        }
        let samples = chains.iter().map(|(_, samples)| samples);
        end.cores[core as usize].stored = samples.sum();
    }
    writer.finish(&end).unwrap()
}

fn profile_of_both(mut writer: Writer<Vec<u8>>, [first, second]: [Vec<Seen>; 2]) -> Vec<u8> {
    for (a, b) in first.iter().zip(&second) {
        writer.record(0, &a.record()).unwrap();
        writer.flush().unwrap();
        writer.record(1, &b.record()).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(&run_end()).unwrap()
}

/// A file of the test with this content.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The memory of a guest whose kernel has written [`samples`] to its rings, as a
/// file.
pub fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let description = description();
        let layout = RegionLayout {
            cores: description.cores,
            ring_words: description.ring_words,
        };
        let start = 64 * PAGE;
        let bytes = layout.bytes().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len((start + bytes) as u64).unwrap();
        let memory = MmapOptions::new().map_raw(&file).unwrap();
        let rings = NonNull::new(memory.as_mut_ptr().wrapping_add(start)).unwrap();
        let rings = NonNull::slice_from_raw_parts(rings, bytes);
        // SAFETY: in the mapping, which outlives its use here; nothing else uses it.
        let shared = unsafe { Region::create(rings, &description) };
        for (core, (samples, end)) in (0..).zip(samples().iter().zip(run_end().cores)) {
            // SAFETY: one thread.
            let writer = unsafe { shared.writer(core) };
            for seen in samples {
                writer.write(&seen.record()).unwrap();
            }
            for _ in 0..end.lost {
                // Longer than the ring: does not fit.
                let too_long = vec![0; usize::try_from(description.ring_words).unwrap() + 1];
                writer.write(&too_long).unwrap_err();
            }
            let counters = shared.counters(core);
            counters.apic_id.store(end.apic_id, Ordering::Relaxed);
            counters.taken.store(end.taken, Ordering::Relaxed);
            counters.stored.store(end.stored, Ordering::Relaxed);
            counters.unclaimed.store(end.unclaimed, Ordering::Relaxed);
        }
        let mut content = vec![0; start + bytes];
        file.read_exact_at(&mut content, 0).unwrap();
        self::file("memory.image", &content)
    })
}

/// The memory of a guest whose kernel refuses the run for this reason, as a file: before
/// it has made the run's region, or after.
pub fn refusing_image(name: &str, reason: &str, has_region: bool) -> PathBuf {
    let description = description();
    let layout = RegionLayout {
        cores: description.cores,
        ring_words: description.ring_words,
    };
    let start = 64 * PAGE;
    let bytes = if has_region {
        layout.bytes().unwrap()
    } else {
        PAGE
    };
    let file = tempfile::tempfile().unwrap();
    file.set_len((start + bytes) as u64).unwrap();
    let memory = MmapOptions::new().map_raw(&file).unwrap();
    let block = NonNull::new(memory.as_mut_ptr().wrapping_add(start)).unwrap();
    let block = NonNull::slice_from_raw_parts(block, bytes);
    if has_region {
        // SAFETY: in the mapping, which outlives its use here; nothing else uses it.
        unsafe { Region::create(block, &description) }.refuse(reason);
    } else {
        // SAFETY: as above.
        unsafe { Region::create_refused(block, reason) };
    }
    let mut content = vec![0; start + bytes];
    file.read_exact_at(&mut content, 0).unwrap();
    self::file(name, &content)
}

/// A header page of this version, of which nothing else makes sense.
pub fn header_page(version: u32) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..16].copy_from_slice(&MAGIC);
    page[16..20].copy_from_slice(&version.to_le_bytes());
    page
}
