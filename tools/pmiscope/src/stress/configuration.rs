//! What a boot is of: a value of each axis.

use std::fmt;

use profiler::contract::settings::SourceChoice;
use profiler::format::{Delivery, Source};

use super::at_hand::{AtHand, Emulator};
use super::deck::Deck;
use crate::profile::Mode;
use crate::qemu::PmuModel;

/// Cores: mostly few, powers of two and what is beside them, some to the most that there are.
const CORES: [u32; 40] = [
    1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
    20, 23, 24, 25, 31, 32, 33, 48, 64, 65, MOST,
];
/// The most that there are.
const MOST: u32 = 255;
/// Rarer ones, in place of the most.
const MANY_CORES: [u32; 11] = [63, 96, 127, 128, 129, 192, 200, 252, 253, 254, MOST];
/// UEFI starts cores one after the other, which it waits for.
const MOST_BY_UEFI: u32 = 8;
/// Those that Limine has started spin until all are, in turns where instructions are counted.
const MOST_BY_BIOS: u32 = 25;
/// Each of these is a thread of the host.
const MOST_BY_TIME: u32 = 48;
/// A round of NMIs to all cores takes milliseconds; seconds where instructions are counted.
const MOST_BY_IPI: u32 = 32;
const MOST_BY_COUNTED_IPI: u32 = 5;

/// The machine's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// What the tool gives by itself.
    Default,
    /// Less than that, of which it is not known whether it is enough.
    Less(u64),
    /// So many bytes, which are enough.
    Bytes(u64),
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MEMORY: [Memory; 13] = [
    Memory::Default,
    Memory::Default,
    Memory::Default,
    Memory::Default,
    Memory::Less(0),
    Memory::Bytes(GIB),
    Memory::Bytes(2 * GIB),
    Memory::Bytes(3 * GIB),
    Memory::Bytes(4 * GIB + 8 * MIB),
    Memory::Bytes(7 * GIB),
    Memory::Bytes(16 * GIB),
    Memory::Bytes(33 * GIB),
    Memory::Bytes(64 * GIB),
];

/// How it boots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By the tool's loader.
    Loader,
    /// By the disc, and QEMU's BIOS.
    Bios,
    /// By the disc, and a UEFI.
    Uefi,
}

const WAYS: [Way; 12] = [
    Way::Loader,
    Way::Loader,
    Way::Loader,
    Way::Loader,
    Way::Loader,
    Way::Loader,
    Way::Loader,
    Way::Loader,
    Way::Loader,
    Way::Bios,
    Way::Bios,
    Way::Uefi,
];

/// What the processor has, and lacks: properties of QEMU's `max`.
const PROCESSORS: [&[&str]; 17] = [
    &[],
    &[],
    &[],
    &["x2apic=off"],
    &["pdpe1gb=off"],
    &["smep=off"],
    &["smap=off"],
    &["smep=off", "smap=off"],
    &["umip=off"],
    &["la57=off"],
    &["tsc-deadline=off"],
    &["pcid=off", "fsgsbase=off"],
    &["xsave=off"],
    &["rdtscp=off"],
    &["vendor=GenuineIntel"],
    &[
        "x2apic=off",
        "pdpe1gb=off",
        "smep=off",
        "smap=off",
        "umip=off",
        "la57=off",
        "pcid=off",
    ],
    &["nx=off"],
];
/// By this no kernel of ours runs.
pub(super) const NO_EXECUTE: &str = "nx=off";

/// What the machine has beside it.
const DEVICES: [&[&str]; 10] = [
    &[],
    &[],
    &[],
    NO_HPET,
    NO_HPET,
    &["-machine", "smm=off"],
    &["-machine", "pit=off"],
    &["-machine", "vmport=off,graphics=off"],
    &["-device", "vmgenid"],
    &["-device", "ramfb"],
];
pub(super) const NO_HPET: &[&str] = &["-machine", "hpet=off"];

const STRICT: [&str; 6] = [
    "-global",
    "apic.x-strict=on",
    "-global",
    "hpet.x-delay=10",
    "-global",
    "max-x86_64-cpu.x-msr-strict=on",
];

const MODELS: [PmuModel; 9] = [
    PmuModel::Off,
    PmuModel::Off,
    PmuModel::Off,
    PmuModel::IntelV2,
    PmuModel::IntelV4,
    PmuModel::IntelV5,
    PmuModel::AmdLegacy,
    PmuModel::AmdCoreExt,
    PmuModel::AmdV2,
];

const SOURCES: [SourceChoice; 12] = [
    SourceChoice::Auto,
    SourceChoice::Auto,
    SourceChoice::Auto,
    SourceChoice::Auto,
    SourceChoice::Only(Source::Pmu),
    SourceChoice::Only(Source::Pmu),
    SourceChoice::Only(Source::ApicTimer),
    SourceChoice::Only(Source::ApicTimer),
    SourceChoice::Only(Source::Hpet),
    SourceChoice::Only(Source::Hpet),
    SourceChoice::Only(Source::Ipi),
    SourceChoice::Only(Source::Step),
];

const WORKLOADS: [&str; 17] = [
    "mix",
    "mix",
    "mix",
    "mix",
    "mix",
    "arithmetic",
    "hash",
    "recursion",
    "contention",
    "copy",
    "interrupts-off",
    "ping-pong",
    "heap",
    "idle",
    "yield-storm",
    "layers",
    "corruption",
];

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    pub emulator: Emulator,
    pub mode: Mode,
    /// Its counters; `None` where none can be asked for.
    pub pmu: Option<PmuModel>,
    pub cores: u32,
    pub memory: Memory,
    pub way: Way,
    pub processor: &'static [&'static str],
    pub devices: &'static [&'static str],
}

/// How it is sampled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sampling {
    pub source: SourceChoice,
    pub delivery: Delivery,
    /// The tool's own if it is not named.
    pub period: Option<u64>,
    pub workload: &'static str,
    pub samples: u64,
}

/// A boot. What is sampled by a disc is what its own command line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration {
    pub machine: Machine,
    pub sampling: Option<Sampling>,
}

impl Configuration {
    pub(super) fn draw(at_hand: &AtHand, deck: Deck) -> Self {
        let machine = Machine::draw(at_hand, deck);
        let sampling = match machine.way {
            Way::Loader => Some(Sampling::draw(&machine, deck)),
            Way::Bios | Way::Uefi => None,
        };
        let mut drawn = Self { machine, sampling };
        if drawn.may_be_by_ipi() {
            let most = match drawn.machine.mode {
                Mode::Deterministic => MOST_BY_COUNTED_IPI,
                Mode::Realtime | Mode::Kvm => MOST_BY_IPI,
            };
            drawn.machine.cores = drawn.machine.cores.min(most);
            if let Some(sampling) = &mut drawn.sampling {
                sampling.samples = 2 * u64::from(drawn.machine.cores);
            }
        }
        drawn
    }

    /// The words of `pmiscope run`.
    pub(super) fn words(&self, at_hand: &AtHand) -> Vec<String> {
        let machine = &self.machine;
        let mut words = at_hand.files(machine.way);
        words.extend(at_hand.emulator_words(machine.emulator));
        let mut add = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
        if let Some(model) = machine.pmu {
            add(&["--pmu", model.name()]);
        }
        add(&["--mode", &machine.mode.to_string()]);
        add(&["--smp", &machine.cores.to_string()]);
        if let Memory::Less(bytes) | Memory::Bytes(bytes) = machine.memory {
            add(&["--memory", &format!("{}K", bytes >> 10)]);
        }
        if let Some(sampling) = &self.sampling {
            add(&["--source", &sampling.source.to_string()]);
            add(&["--delivery", sampling.delivery.name()]);
            if let Some(period) = sampling.period {
                add(&["--period", &period.to_string()]);
            }
            add(&["--workload", sampling.workload]);
            add(&["--samples", &sampling.samples.to_string()]);
        }
        // Silence is no sign of a hang where the host has others to serve.
        let seconds = self.seconds().to_string();
        add(&["--timeout", &seconds, "--time-limit", &seconds]);
        let more = machine.words();
        if !more.is_empty() {
            add(&["--"]);
            more.iter().for_each(|word| add(&[word]));
        }
        words
    }

    /// How long it may take, on a slow host with others at work.
    pub(super) fn seconds(&self) -> u64 {
        let each = if self.may_be_by_ipi() { 60 } else { 6 };
        let firmware = match self.machine.way {
            Way::Loader => 0,
            Way::Bios => 120,
            Way::Uefi => 300,
        };
        300 + each * u64::from(self.machine.cores) + firmware
    }

    /// The value of each axis, for the summary.
    pub(super) fn axes(&self) -> Vec<(&'static str, String)> {
        let machine = &self.machine;
        let memory = match machine.memory {
            Memory::Default => "default".into(),
            Memory::Less(_) => "less than the default".into(),
            Memory::Bytes(bytes) => crate::units::size(bytes),
        };
        let list = |words: &[&str]| match words {
            [] => "as it is".to_owned(),
            words => words.join(" "),
        };
        let mut axes = vec![
            ("cores", machine.cores.to_string()),
            ("QEMU", machine.emulator.to_string()),
            ("mode", machine.mode.to_string()),
            ("boot", machine.way.to_string()),
            ("memory", memory),
            ("processor", list(machine.processor)),
            ("machine", list(machine.devices)),
        ];
        axes.extend(machine.pmu.map(|model| ("counters", model.to_string())));
        if let Some(sampling) = &self.sampling {
            let period = sampling.period;
            let period = period.map_or_else(|| "default".into(), |period| period.to_string());
            let source = format!("{} by {}", sampling.source, sampling.delivery.name());
            axes.extend([
                ("source", source),
                ("period", period),
                ("workload", sampling.workload.to_owned()),
            ]);
        }
        axes
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loader => "loader",
            Self::Bios => "Limine by BIOS",
            Self::Uefi => "Limine by UEFI",
        })
    }
}

impl Machine {
    fn draw(at_hand: &AtHand, deck: Deck) -> Self {
        let cores = deck.deal("cores", &CORES);
        let (way, mode) = match deck.deal("way", &ways(at_hand)) {
            // In a way that takes so many.
            _ if cores == MOST => (Way::Loader, Mode::Deterministic),
            // It waits by the clock, for minutes where instructions are counted.
            Way::Uefi => (Way::Uefi, Mode::Realtime),
            way => (way, deck.deal("mode", &at_hand.modes)),
        };
        let emulator = match (deck.deal("emulator", &at_hand.emulators), way) {
            // The disc asks for more samples than `ipi` takes in minutes.
            (Emulator::Strict | Emulator::Other(_), Way::Bios | Way::Uefi) => at_hand.emulators[0],
            (emulator, _) => emulator,
        };
        let cores = match (way, mode) {
            _ if cores == MOST => {
                let boot = deck.boot / CORES.len() as u64;
                Deck { boot, ..deck }.deal("many cores", &MANY_CORES)
            }
            (Way::Uefi, _) => cores.min(MOST_BY_UEFI),
            (Way::Bios, _) => cores.min(MOST_BY_BIOS),
            (_, Mode::Deterministic) => cores,
            (_, Mode::Realtime | Mode::Kvm) => cores.min(MOST_BY_TIME),
        };
        let counts = mode == Mode::Deterministic && emulator.is_lab();
        let memory: Vec<_> = MEMORY
            .into_iter()
            .filter(|memory| match memory {
                Memory::Bytes(bytes) => *bytes <= at_hand.memory,
                Memory::Default | Memory::Less(_) => true,
            })
            .collect();
        Self {
            emulator,
            mode,
            pmu: counts.then(|| deck.deal("counters", &MODELS)),
            cores,
            memory: memory_of(deck.deal("memory", &memory), (cores, way), deck),
            way,
            processor: processor(deck.deal("processor", &PROCESSORS), emulator, mode),
            devices: deck.deal("devices", &DEVICES),
        }
    }

    /// What is said to QEMU itself.
    fn words(&self) -> Vec<String> {
        let properties = self.processor.iter();
        let properties = properties
            .flat_map(|property| ["-global".to_owned(), format!("max-x86_64-cpu.{property}")]);
        let strict: &[&str] = match self.emulator {
            Emulator::Strict => &STRICT,
            _ => &[],
        };
        let devices = self.devices.iter().chain(strict);
        properties
            .chain(devices.map(|&word| word.to_owned()))
            .collect()
    }
}

/// The ways to boot for which there is what they need.
fn ways(at_hand: &AtHand) -> Vec<Way> {
    let has = |way: &Way| match way {
        Way::Loader => true,
        Way::Bios => at_hand.disc.is_some(),
        Way::Uefi => at_hand.firmware.is_some(),
    };
    WAYS.into_iter().filter(has).collect()
}

/// What of a processor can be asked for.
fn processor(
    wanted: &'static [&'static str],
    emulator: Emulator,
    mode: Mode,
) -> &'static [&'static str] {
    let is_vendor = wanted.iter().any(|word| word.starts_with("vendor="));
    // The lab emulator's vendor is that of its counters; by KVM it is the host's processor.
    if mode == Mode::Kvm || (is_vendor && emulator != Emulator::Stock) {
        &[]
    } else {
        wanted
    }
}

/// Memory that is enough, or is said not to be known to be.
fn memory_of(drawn: Memory, (cores, way): (u32, Way), deck: Deck) -> Memory {
    // As the tool gives it, with the largest ring that is drawn.
    let cores = u64::from(cores);
    let enough = match way {
        Way::Loader => 64 * MIB + cores * (MIB + 256 * 1024),
        Way::Bios | Way::Uefi => 256 * MIB + cores * 9 * MIB,
    };
    match (drawn, way) {
        // Neither Limine nor a UEFI says that it lacks memory, and ends.
        (Memory::Less(_), Way::Bios | Way::Uefi) => Memory::Default,
        (Memory::Less(_), Way::Loader) => {
            Memory::Less(deck.number("memory", 12..enough >> 20) << 20)
        }
        // Behind the devices much of it is in a second part.
        (Memory::Bytes(bytes), _) if bytes < enough + 2 * GIB && bytes > 2 * GIB => Memory::Default,
        (Memory::Bytes(bytes), _) if bytes < enough => Memory::Default,
        (other, _) => other,
    }
}

impl Sampling {
    fn draw(machine: &Machine, deck: Deck) -> Self {
        let source = deck.deal("source", &SOURCES);
        let cores = u64::from(machine.cores);
        let each = deck.deal("samples", &[2, 5, 20, 100]);
        Self {
            source,
            delivery: deck.deal("delivery", &[Delivery::Nmi, Delivery::Nmi, Delivery::Irq]),
            period: period(machine, source, deck),
            workload: deck.deal("workload", &WORKLOADS),
            samples: (each * cores).clamp(cores, cores.max(2000)),
        }
    }
}

/// A period that the source has.
fn period(machine: &Machine, source: SourceChoice, deck: Deck) -> Option<u64> {
    let cards: &[Option<u64>] = match (machine.mode, source) {
        (_, SourceChoice::Only(Source::Step)) => &[None],
        (Mode::Deterministic, SourceChoice::Only(Source::ApicTimer)) => {
            &[None, Some(1), Some(100), Some(997), Some(20_000)]
        }
        (Mode::Deterministic, _) => &[None, Some(997), Some(5000), Some(20_000)],
        (Mode::Realtime | Mode::Kvm, _) => &[None, None, Some(2_000_000), Some(5_000_000)],
    };
    deck.deal("period", cards)
}
