//! The plan of a run: everything is checked before the guest starts.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use profiler::address::CodeAddress;
use profiler::contract::settings::{Aim, Keep, RunKind, Settings, SourceChoice};
use profiler::format::Source;
use profiler::format::sample::MAX_WORDS;

use super::attended::Attended;
pub(in crate::commands) use super::outputs::Outputs;
use super::places::Places;
use super::programs;
use super::unsampled::{self, has_sampler};
use crate::cli::{BootArgs, MachineArgs, Monitor, ReportFormat, RunArgs};
use crate::commands::kernel::{Kernel, load};
use crate::commands::programs::file_name;
use crate::commands::symbols::separate_files;
use crate::control::SerialSocket;
use crate::doctor::Finding;
use crate::doctor::host::Kvm;
use crate::exit::Usage;
use crate::input;
use crate::output::say;
use crate::profile::programs::embedded_name;
use crate::profile::{Asked, Embedded, Mode};
use crate::qemu::{
    self, Additions, Boot, Choice, Disc, Drive, Limits, Load, Machine, Menu, Module, PmuModel,
    Protocol, Qemu, has_lab,
};
use crate::symbols::{self, BuildId, SymbolFile, SymbolFiles};
use crate::units::size;

/// Bytes of a ring for each sample that it is to hold, with the longest chain.
const SAMPLE_BYTES: u64 = 8 * MAX_WORDS as u64;
/// The sizes of a ring that are chosen here.
const RING_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=64 << 20;
/// Memory that the kernel needs beside the cores: its image, twice while it is
/// loaded, its heap, the page tables.
pub(in crate::commands) const BASE_MEMORY: u64 = 64 << 20;
/// As above, with a firmware and a boot loader.
const FIRMWARE_MEMORY: u64 = 256 << 20;
/// Where the loader ends in memory (`tools/loader/linker.ld`).
const LOADER_END: u64 = 0x18_0000;
/// What QEMU keeps free behind the kernel's file, for tables of ACPI (`acpi_data_size`).
const QEMU_TABLES: u64 = 0x2_8000;
/// What QEMU rounds a machine's memory to.
const MEMORY_STEP: u64 = 8 << 10;
/// Memory that each core needs beside its ring: its stacks.
pub(in crate::commands) const CORE_MEMORY: u64 = 1 << 20;
/// Of that, what the kernel's image has.
const ROOM_FOR_KERNEL: u64 = 32 << 20;
/// How long a guest may be silent: one that is sampled, one that counts, and one of which
/// neither is likely.
const TIMEOUT: Duration = Duration::from_secs(60);
const COUNTING_TIMEOUT: Duration = Duration::from_secs(600);
const UNLIKELY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a kernel that an emulated loader copies in a second on a slow host.
const LOADED_A_SECOND: u64 = 10 << 20;
/// Instructions that a slow host emulates in a second, where they are counted.
const INSTRUCTIONS_A_SECOND: u64 = 10_000_000;
/// A ring that is to hold what does not fit a table of chains.
const RING_BESIDE_TABLE: u64 = 1 << 20;
/// The kernel's default ring size.
const DEFAULT_RING: u64 = 8 << 20;
/// Nanoseconds between samples in realtime mode, which an emulated timer keeps up with
/// on every host; cycles, where KVM has counters.
const REALTIME_PERIOD: u64 = 1_000_000;
/// Samples in realtime mode: 10 s of one core's time.
const REALTIME_SAMPLES: u64 = 10_000;
/// Instructions between samples in deterministic mode.
const DETERMINISTIC_PERIOD: u64 = 1000;
/// Samples in deterministic mode: a second or two.
const DETERMINISTIC_SAMPLES: u64 = 100_000;

pub(super) struct Plan {
    pub(super) qemu: Qemu,
    pub(super) machine: Machine,
    /// What the kernel is asked for.
    pub(super) asked: Asked,
    /// What is known of the boot.
    pub(super) boot: unsampled::Boot,
    pub(super) recording: Recording,
    /// Where the guest has its serial port, if somebody is to type there.
    pub(super) serial: Option<Attended>,
    pub(super) limits: Limits,
}

/// What is recorded of a run, and where.
pub(in crate::commands) struct Recording {
    /// The ELF file of the kernel, for its symbols.
    pub(in crate::commands) kernel: Arc<[u8]>,
    /// What was taken out of it.
    pub(in crate::commands) debug_files: Vec<SymbolFile>,
    /// The user's programs among the modules, by the names that the profile has for them.
    pub(in crate::commands) programs: Vec<SymbolFile>,
    pub(in crate::commands) build_id: BuildId,
    /// What it writes.
    pub(in crate::commands) outputs: Outputs,
    pub(in crate::commands) verbose: bool,
    /// Whether it boots from a disc, and not by the loader.
    pub(in crate::commands) is_disc: bool,
    /// Whether somebody else has started the guest.
    pub(in crate::commands) is_attached: bool,
    /// Whether the profile is to have names and no kernel at its end.
    pub(in crate::commands) embeds_names: bool,
    /// Whether somebody watches it.
    pub(in crate::commands) has_view: bool,
}

impl Recording {
    /// That of a guest that somebody else has started, with the profile at `output`; `read` is what
    /// is read of it, which is not written over.
    pub(in crate::commands) fn of_other_guest(
        kernel: Option<&Path>,
        output: Option<&Path>,
        debug_file: &[PathBuf],
        read: Option<(&str, PathBuf)>,
    ) -> Result<Self> {
        let path = built(kernel, "kernel")?;
        let (mut kernel, build_id) = read_kernel(&path)?;
        let read: Vec<_> = read
            .into_iter()
            .chain([("the kernel", path.clone())])
            .collect();
        let outputs = Outputs::new(&self::output(output, "profile.pmi")?, true, &read)?;
        Ok(Self {
            debug_files: separate_files(&mut kernel, (&path, build_id), debug_file)?,
            programs: Vec::new(),
            kernel,
            build_id,
            outputs,
            verbose: false,
            is_disc: false,
            is_attached: true,
            embeds_names: false,
            has_view: false,
        })
    }

    /// The files that the profile embeds, packed before there is anything to sample.
    pub(in crate::commands) fn embedded(&self) -> Result<Embedded> {
        let files = self.debug_files.iter().chain(&self.programs);
        let files = files.map(|file| (&*file.name, &*file.bytes));
        Embedded::new(&self.kernel, files).context("cannot pack the kernel")
    }
}

impl Plan {
    /// Makes the plan that `arguments` ask for.
    pub(super) fn new(arguments: &RunArgs) -> Result<Self> {
        may_count(arguments)?;
        may_be_attended(arguments)?;
        may_share(arguments)?;
        may_have_table(&arguments.boot)?;
        is_of_a_disc(&arguments.boot)?;
        let wanted = &arguments.machine;
        let kernel_path = built(wanted.kernel.as_deref(), "kernel")?;
        let (mut kernel, build_id) = read_kernel(&kernel_path)?;
        let debug_files = match arguments.work.units {
            None => separate_files(
                &mut kernel,
                (&kernel_path, build_id),
                &arguments.boot.debug_file,
            )?,
            // Counts have no names.
            Some(_) => Vec::new(),
        };
        let (choice, pmu) = emulator(wanted, arguments.boot.disc.is_some(), has_lab)?;
        let qemu = Qemu::find(&choice)?;
        may_accelerate(wanted.mode, &qemu)?;
        let loaded = Kernel::new(&kernel, &wanted.load)?;
        let aim = arguments.aim.as_deref();
        let aim = aim.map(|text| aim_at(text, (&kernel, &debug_files), loaded.slide));
        let settings = settings(arguments, aim.transpose()?);
        let booted = booted(arguments, &settings, (&kernel_path, &kernel))?;
        let mut machine = machine(arguments, &settings, (booted, &kernel, &loaded), pmu)?;
        let serial = serial(arguments, &mut machine)?;
        let boot = known_of_boot(arguments, &kernel)?;
        let outputs = outputs(arguments, &machine, kernel_path)?;
        let of_modules = match &machine.boot {
            Boot::Loader { load, .. } => programs(&load.modules)?,
            Boot::Disc(_) | Boot::Pvh { .. } => programs(&wanted.load.module)?,
        };
        Ok(Self {
            qemu,
            asked: asked(arguments, &machine),
            machine,
            serial,
            limits: limits(arguments, (settings.period, &kernel), &boot),
            recording: Recording {
                kernel,
                debug_files,
                programs: of_modules,
                build_id,
                outputs,
                verbose: wanted.verbose,
                is_disc: boot.is_disc,
                is_attached: false,
                embeds_names: arguments.embed_symbols,
                has_view: false,
            },
            boot,
        })
    }
}

/// What the machine boots: a disc, or the kernel with its command line and modules.
fn booted(
    arguments: &RunArgs,
    settings: &Settings<'_>,
    (kernel_path, kernel): (&Path, &[u8]),
) -> Result<Boot> {
    if let Some(image) = &arguments.boot.disc {
        return Ok(Boot::Disc(disc(image, arguments.boot.disc_as)?));
    }
    let wanted = &arguments.machine;
    let mut load = load(&wanted.load)?;
    if programs::are_wanted(settings) {
        programs::add(&mut load, kernel_path)?;
    }
    let words = command_line(settings, arguments.monitor, &arguments.boot);
    boot(wanted, (kernel_path.to_owned(), kernel), load, words)
}

/// The socket that the guest has its serial port on, where somebody is to type at it.
fn serial(arguments: &RunArgs, machine: &mut Machine) -> Result<Option<Attended>> {
    let Some(when) = arguments.monitor else {
        return Ok(None);
    };
    let socket = SerialSocket::new().context("no place for the socket of --monitor")?;
    machine.additions.serial = Some(socket.path().to_owned());
    Ok(Some(Attended::new(socket, when)))
}

/// Refuses what cannot be read beside what the guest writes.
fn may_be_attended(arguments: &RunArgs) -> Result<()> {
    if arguments.monitor.is_some() && arguments.format == ReportFormat::Json {
        bail!(Usage(
            "--monitor: what the guest writes would stand in the JSON: leave out --format, and say pmiscope report --format json".into()
        ));
    }
    Ok(())
}

/// The kernel's ELF file, and its build-id.
pub(in crate::commands) fn read_kernel(path: &Path) -> Result<(Arc<[u8]>, BuildId)> {
    let kernel: Arc<[u8]> = input::read(path)
        .with_context(|| format!("cannot read the kernel {}", path.display()))?
        .into();
    let name = || format!("the kernel {}", path.display());
    is_kernel(&kernel).with_context(name)?;
    let build_id = symbols::build_id(&kernel).with_context(name)?;
    Ok((kernel, build_id))
}

/// Refuses a file that is no kernel.
pub(in crate::commands) fn is_kernel(file: &[u8]) -> Result<()> {
    // By PVH's note, or as a request of the Limine protocol says.
    let may_be_entered = Protocol::is_known(file);
    Ok(symbols::check_kernel(file, may_be_entered)?)
}

/// Where the profile goes: by default to this name in the build directory, or in the current one if
/// the tool is in none.
pub(in crate::commands) fn output(wanted: Option<&Path>, default: &str) -> Result<PathBuf> {
    match wanted {
        Some(path) => Ok(path.to_owned()),
        None => Ok(Places::of_this_tool()?.output(default)),
    }
}

/// What the run writes, none of which may be what it reads.
fn outputs(arguments: &RunArgs, machine: &Machine, kernel: PathBuf) -> Result<Outputs> {
    let counts = arguments.work.units.is_some();
    let default = if counts { "stat.pmi" } else { "profile.pmi" };
    let path = output(arguments.output.as_deref(), default)?;
    let mut read = vec![("the kernel", kernel)];
    match &machine.boot {
        Boot::Loader { loader, load, .. } => {
            read.push(("the loader", loader.clone()));
            let modules = load.modules.iter();
            read.extend(modules.map(|module| ("a module", module.file.clone())));
        }
        Boot::Disc(disc) => read.push(("the disc", disc.image.clone())),
        Boot::Pvh { .. } => {}
    }
    let debug = arguments.boot.debug_file.iter();
    read.extend(debug.map(|file| ("a file with debug information", file.clone())));
    read.extend(
        machine
            .firmware
            .iter()
            .map(|file| ("the firmware", file.clone())),
    );
    Outputs::new(&path, !counts, &read)
}

/// What is known before the guest starts.
fn known_of_boot(arguments: &RunArgs, kernel: &[u8]) -> Result<unsampled::Boot> {
    let disc = arguments.boot.disc.as_deref();
    let menu = disc
        .map(|image| Menu::find(image).with_context(|| format!("cannot read {}", image.display())));
    Ok(unsampled::Boot {
        has_sampler: has_sampler(kernel),
        is_disc: disc.is_some(),
        menu: menu.transpose()?.flatten(),
        mode: arguments.machine.mode,
    })
}

/// How long the guest may take. One that is not likely to sample is not waited for.
fn limits(
    arguments: &RunArgs,
    (period, kernel): (Option<u64>, &[u8]),
    boot: &unsampled::Boot,
) -> Limits {
    let loaded = symbols::loaded_bytes(kernel).unwrap_or_default();
    let loading = Duration::from_secs(loaded / LOADED_A_SECOND);
    let silence = match (boot.is_likely(), arguments.work.units) {
        (false, _) => UNLIKELY_TIMEOUT,
        (true, None) => TIMEOUT + longest(period.unwrap_or_default(), &arguments.machine),
        (true, Some(_)) => COUNTING_TIMEOUT,
    };
    let silence = silence + loading;
    Limits {
        silence: arguments.timeout.map_or(silence, Duration::from_secs),
        silence_means: "no sample and no line of the log",
        total: arguments.time_limit.map(Duration::from_secs),
    }
}

/// How long a period takes at most: of counted instructions, with all cores in turn, on a slow
/// host; else by the clock, of which a cycle is at most a nanosecond.
fn longest(period: u64, machine: &MachineArgs) -> Duration {
    match machine.mode {
        Mode::Deterministic => {
            let instructions = period.saturating_mul(machine.smp.into());
            Duration::from_secs(instructions / INSTRUCTIONS_A_SECOND)
        }
        Mode::Realtime | Mode::Kvm => Duration::from_nanos(period),
    }
}

/// What the kernel of this machine is asked for.
fn asked(arguments: &RunArgs, machine: &Machine) -> Asked {
    let words = match &machine.boot {
        Boot::Loader { command_line, .. } | Boot::Pvh { command_line, .. } => command_line.clone(),
        Boot::Disc(_) => String::new(),
    };
    let sampling = &arguments.sampling;
    let by_user = [
        ("source", sampling.source != SourceChoice::Auto),
        ("delivery", sampling.delivery.is_some()),
        ("period", sampling.period.is_some()),
        ("event", sampling.event.is_some()),
        ("jitter", sampling.jitter.is_some()),
        ("seed", sampling.seed.is_some()),
        ("workload", arguments.work.workload.is_some()),
        ("samples", arguments.work.samples.is_some()),
        ("keep", arguments.boot.keep != Keep::Samples),
        ("aim", arguments.aim.is_some()),
    ];
    let named = by_user.iter().filter(|(_, is_named)| *is_named);
    Asked {
        words,
        by_user: named.map(|&(key, _)| key.to_owned()).collect(),
        cores: machine.cores,
    }
}

/// Memory that a kernel needs which is larger than [`BASE_MEMORY`] has room for: QEMU keeps
/// its file, the loader copies what is loaded.
pub(in crate::commands) fn kernel_memory(elf: &[u8]) -> u64 {
    let loaded = symbols::loaded_bytes(elf).unwrap_or_default();
    let needed = (elf.len() as u64).saturating_add(loaded.saturating_mul(2));
    let more = needed.saturating_sub(ROOM_FOR_KERNEL);
    more.next_multiple_of(1 << 20)
}

/// The memory of a machine that has so much in a row: QEMU's q35 has a part of much memory
/// behind the devices, which end at 4 GiB, and leaves only so much before them.
const fn in_a_row(needed: u64) -> u64 {
    const SPLIT_FROM: u64 = 0xb000_0000;
    const BEFORE_DEVICES: u64 = 0x8000_0000;
    if needed < SPLIT_FROM {
        needed
    } else {
        needed + BEFORE_DEVICES
    }
}

/// The machine, and what it boots.
fn machine(
    arguments: &RunArgs,
    settings: &Settings<'_>,
    (booted, elf, loaded): (Boot, &[u8], &Kernel),
    pmu: Option<PmuModel>,
) -> Result<Machine> {
    let (wanted, boot) = (&arguments.machine, &arguments.boot);
    let (base, ring) = match boot.disc {
        None => (BASE_MEMORY, settings.bytes_per_core()),
        Some(_) => (FIRMWARE_MEMORY, DEFAULT_RING),
    };
    let of_kernel = kernel_memory(elf) + loaded.memory(wanted, booted.load())?;
    let needed = in_a_row(base + of_kernel + u64::from(wanted.smp) * (ring + CORE_MEMORY));
    Ok(Machine {
        mode: wanted.mode,
        pmu,
        cores: wanted.smp,
        memory: boot
            .memory
            .map_or(Ok(needed), |memory| has_room(memory, &booted, elf))?,
        boot: booted,
        firmware: boot.firmware.as_deref().map(readable).transpose()?,
        hpet: boot.disc.is_some() || may_use_hpet(settings),
        framebuffer: loaded.gets_framebuffer(wanted),
        additions: additions(wanted)?,
    })
}

/// Checks the machine's memory, which the user has named. QEMU puts the kernel's file near its
/// end, over the loader if need be.
fn has_room(memory: u64, booted: &Boot, elf: &[u8]) -> Result<u64> {
    if !memory.is_multiple_of(MEMORY_STEP) {
        bail!(
            "--memory: QEMU's memory is in steps of {}",
            size(MEMORY_STEP)
        );
    }
    let needed = match booted {
        Boot::Loader { .. } => LOADER_END + elf.len() as u64 + QEMU_TABLES,
        Boot::Pvh { .. } | Boot::Disc(_) => 0,
    };
    if memory < needed {
        let least = needed.next_multiple_of(1 << 20);
        bail!(
            "--memory {}: the kernel's file alone has {}: say {}M or more",
            size(memory),
            size(elf.len() as u64),
            least >> 20
        );
    }
    Ok(memory)
}

/// The disc to boot from.
fn disc(image: &Path, wanted: Option<Drive>) -> Result<Disc> {
    Disc::new(image, wanted).with_context(|| format!("{}", image.display()))
}

/// What is added to the machine; what would break the run is refused.
pub(in crate::commands) fn additions(wanted: &MachineArgs) -> Result<Additions> {
    let arguments = &wanted.qemu_arguments;
    qemu::check(arguments).map_err(|refused| Usage(refused.to_string()))?;
    let outside = qemu::from_outside(arguments);
    if wanted.mode == Mode::Deterministic && !outside.is_empty() {
        say!(
            "pmiscope: runs need not repeat, though instructions are counted: the world outside reaches the guest by {}",
            outside.join(", ")
        );
    }
    Ok(Additions {
        display: wanted.display.clone().filter(|display| display != "none"),
        arguments: arguments.clone(),
        serial: None,
    })
}

/// How a kernel is booted that is on no image: by QEMU itself if it is made for that and no
/// loader is named, else by the loader.
///
/// # Errors
///
/// The loader is missing.
pub(in crate::commands) fn boot(
    machine: &MachineArgs,
    (kernel, elf): (PathBuf, &[u8]),
    load: Load,
    command_line: String,
) -> Result<Boot> {
    let protocol = match machine.loader {
        Some(_) => Protocol::Limine,
        None => Protocol::of(elf),
    };
    if protocol == Protocol::Pvh && load != Load::default() {
        bail!(
            "--kaslr, --module: the kernel has no Limine requests, and is started by QEMU itself: leave them out, or give --loader"
        );
    }
    Ok(match protocol {
        Protocol::Pvh => Boot::Pvh {
            kernel,
            command_line,
        },
        Protocol::Limine => Boot::Loader {
            loader: built(machine.loader.as_deref(), "loader")?,
            kernel,
            command_line,
            load,
        },
    })
}

fn settings(arguments: &RunArgs, aim: Option<Aim>) -> Settings<'_> {
    let default = Settings::default();
    let default_period = match (arguments.sampling.source, arguments.machine.mode) {
        (SourceChoice::Only(Source::Step), _) => 1,
        (_, Mode::Deterministic) => DETERMINISTIC_PERIOD,
        (_, Mode::Realtime | Mode::Kvm) => REALTIME_PERIOD,
    };
    let period = match arguments.work.units {
        None => Some(arguments.sampling.period.unwrap_or(default_period)),
        Some(_) => None,
    };
    let samples = arguments
        .work
        .samples
        .unwrap_or(match arguments.machine.mode {
            Mode::Deterministic => DETERMINISTIC_SAMPLES,
            Mode::Realtime | Mode::Kvm => REALTIME_SAMPLES,
        });
    Settings {
        source: arguments.sampling.source,
        delivery: arguments.sampling.delivery.unwrap_or(default.delivery),
        period,
        events: arguments.sampling.event,
        kind: match arguments.work.units {
            None => RunKind::Samples,
            Some(_) => RunKind::Counts,
        },
        jitter: arguments.sampling.jitter.unwrap_or_default(),
        seed: arguments.sampling.seed.unwrap_or_default(),
        workload: arguments
            .work
            .workload
            .as_deref()
            .unwrap_or(default.workload),
        samples,
        units: arguments.work.units.unwrap_or(Settings::DEFAULT_UNITS),
        by_process: arguments.work.by_process,
        aim,
        ring_bytes: arguments
            .boot
            .ring
            .unwrap_or_else(|| match arguments.boot.keep {
                Keep::Samples => ring_for(samples, arguments.machine.smp),
                Keep::Chains => RING_BESIDE_TABLE,
            }),
        keep: arguments.boot.keep,
        table_bytes: arguments.boot.table.unwrap_or(default.table_bytes),
        send: default.send,
        test: arguments.self_test.as_deref(),
    }
}

/// The words that the kernel is started with: the sampler's, and its own.
fn command_line(settings: &Settings<'_>, monitor: Option<Monitor>, boot: &BootArgs) -> String {
    let monitor = monitor.map(|when| format!("monitor={}", when.name()));
    let log = boot.log.as_ref().map(|filter| format!("log={filter}"));
    let own = monitor.into_iter().chain(log).chain(boot.append.clone());
    own.fold(settings.to_string(), |line, words| line + " " + &words)
}

/// Refuses options of a disc where there is none: clap does not miss it if another option
/// excludes it.
fn is_of_a_disc(boot: &BootArgs) -> Result<()> {
    let option = match (&boot.firmware, boot.disc_as) {
        (Some(_), _) => "--firmware",
        (None, Some(_)) => "--disc-as",
        (None, None) => return Ok(()),
    };
    if boot.disc.is_none() {
        bail!(Usage(format!(
            "{option} is of use with a disc only: say --disc FILE, or leave it out"
        )));
    }
    Ok(())
}

/// Refuses the size of a table where there is none.
fn may_have_table(boot: &BootArgs) -> Result<()> {
    match boot.table {
        Some(bytes) if boot.keep != Keep::Chains => bail!(Usage(format!(
            "--table {}: only --keep chains has tables: say that as well, or leave it out",
            size(bytes)
        ))),
        _ => Ok(()),
    }
}

/// Refuses fewer samples than cores.
fn may_share(arguments: &RunArgs) -> Result<()> {
    let cores = arguments.machine.smp;
    match (arguments.work.samples, arguments.work.units) {
        (Some(samples), None) if samples < u64::from(cores) => bail!(Usage(format!(
            "--samples {samples}: each of the {cores} cores takes one at least: say --samples {cores} or more, or --smp {samples}"
        ))),
        _ => Ok(()),
    }
}

/// Refuses options of performance counters if another source is asked for.
fn may_count(arguments: &RunArgs) -> Result<()> {
    let option = match (arguments.sampling.event, arguments.sampling.jitter) {
        (Some(events), _) => format!("--event {events}"),
        (None, Some(jitter)) => format!("--jitter {jitter}"),
        (None, None) => return Ok(()),
    };
    let source = arguments.sampling.source;
    if !source.may_be_pmu() {
        bail!(Usage(format!(
            "{option}: only the source pmu counts events, and --source is {source}: say --source pmu, or leave one of them out"
        )));
    }
    Ok(())
}

/// The QEMU to use, and the performance counters that it is asked for. By default the lab
/// emulator, where it has counters that the stock QEMU lacks.
pub(in crate::commands) fn emulator(
    machine: &MachineArgs,
    is_image: bool,
    has_lab: impl FnOnce() -> bool,
) -> Result<(Choice, Option<PmuModel>)> {
    let MachineArgs { mode, emulator, .. } = machine;
    let counts = *mode == Mode::Deterministic;
    if let Some(model) = emulator.pmu.filter(|_| !counts) {
        bail!(
            "--pmu {model}: the lab emulator's counters are there in deterministic mode only: leave out --pmu or --mode {mode}"
        );
    }
    let choice = match (&emulator.qemu, emulator.pmu) {
        (Some(choice), _) => choice.clone(),
        // If it is missing, `Qemu::find` says so.
        (None, Some(_)) => Choice::Lab,
        (None, None) if counts && !is_image && has_lab() => Choice::Lab,
        (None, None) => Choice::Stock,
    };
    let pmu = match (&choice, emulator.pmu) {
        (Choice::Stock, Some(model)) => bail!(
            "--pmu {model}: the stock QEMU has no performance counters: say --qemu lab (`make qemu-pmu` builds it)"
        ),
        (Choice::Lab, model) if counts => Some(model.unwrap_or_default()),
        // Another QEMU accepts the property or refuses it.
        (_, model) => model,
    };
    Ok((choice, pmu))
}

/// Refuses the mode kvm early if QEMU cannot use KVM.
pub(in crate::commands) fn may_accelerate(mode: Mode, qemu: &Qemu) -> Result<()> {
    if mode != Mode::Kvm {
        return Ok(());
    }
    let kvm = Kvm::find(Some(qemu));
    if kvm.is_usable() {
        return Ok(());
    }
    let Finding { says, remedy, .. } = kvm.finding();
    let remedy = remedy.unwrap_or_default();
    bail!("--mode {mode}: {says}: {remedy}")
}

/// The modules that are ELF files, for their names: others hold something else.
fn programs(modules: &[Module]) -> Result<Vec<SymbolFile>> {
    const ELF: [u8; 4] = *b"\x7fELF";
    let mut programs = Vec::new();
    for (number, module) in (1..).zip(modules) {
        let path = &module.file;
        let is_elf = || {
            let mut start = [0; ELF.len()];
            let mut file = File::open(path)?;
            file.read_exact(&mut start).map(|()| start == ELF)
        };
        // One that cannot be read is refused where it is loaded.
        if is_elf().unwrap_or(false) {
            let bytes = input::read(path);
            let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
            let mut file = SymbolFile::at(path, bytes);
            file.name = embedded_name(number, &file_name(path));
            programs.push(file);
        }
    }
    Ok(programs)
}

/// Resolves `--aim` in this kernel, which the loader moves.
fn aim_at(text: &str, (kernel, debug_files): (&[u8], &[SymbolFile]), slide: u64) -> Result<Aim> {
    let parsed = text
        .rsplit_once(':')
        .and_then(|(function, behind)| Some((function, Aim::parse_behind(behind)?)));
    let Some((function, (first, end))) = parsed else {
        bail!(Usage(format!(
            "--aim {text}: must be FUNCTION:N or FUNCTION:N..M, at most {}",
            Aim::MAX
        )));
    };
    let files = debug_files.iter().map(|file| &*file.bytes);
    let mut files = files.chain([kernel]);
    if !files.any(SymbolFiles::has_names) {
        bail!(
            "--aim {text}: the kernel has no symbol table (it was stripped?): give the unstripped one, or its debug file by --debug-file"
        );
    }
    let address = symbols::entry_of(kernel, function).or_else(|error| {
        let mut others = debug_files.iter();
        let found = others.find_map(|file| symbols::entry_of(&file.bytes, function).ok());
        found.ok_or(error)
    });
    let address = address.context("--aim")?;
    Ok(Aim {
        address: CodeAddress(address.0.wrapping_add(slide)),
        first,
        end,
    })
}

/// A ring that holds a core's share of the samples even if it is never drained.
fn ring_for(samples: u64, cores: u32) -> u64 {
    let bytes = samples.div_ceil(cores.into()).saturating_mul(SAMPLE_BYTES);
    let (low, high) = RING_BYTES.into_inner();
    bytes.clamp(low, high).next_power_of_two()
}

/// Returns true if the kernel may choose the HPET, or name it in place of a PMU.
fn may_use_hpet(settings: &Settings<'_>) -> bool {
    matches!(
        settings.source,
        SourceChoice::Auto | SourceChoice::Only(Source::Hpet | Source::Pmu)
    )
}

/// A file of the build: the named one, else the one that `make build` makes or `make install` has
/// put where this tool is.
pub(in crate::commands) fn built(named: Option<&Path>, name: &str) -> Result<PathBuf> {
    match named {
        Some(path) => readable(path),
        None => Places::of_this_tool()?.find(name),
    }
}

/// The path, if it is that of a file that can be read.
pub(in crate::commands) fn readable(path: &Path) -> Result<PathBuf> {
    input::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use clap::Parser as _;

    use std::time::Duration;

    use super::{emulator, in_a_row, limits, may_share, ring_for, settings};
    use crate::cli::{Cli, Command, RunArgs};
    use crate::commands::run::unsampled;
    use crate::profile::Mode;
    use crate::qemu::{Choice, PmuModel};

    fn run(line: &str) -> Box<RunArgs> {
        let words = ["pmiscope", "run"].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace())).unwrap();
        match cli.command {
            Command::Run(arguments) => arguments,
            _ => unreachable!(),
        }
    }

    fn choice(line: &str, has_lab: bool) -> Result<(Choice, Option<PmuModel>)> {
        let run = run(line);
        emulator(&run.machine, run.boot.disc.is_some(), || has_lab)
    }

    #[test]
    fn the_lab_emulator_is_taken_where_it_has_counters() {
        use Choice::{Lab, Stock};
        let path = || Choice::Path("./q".into());
        let v5 = Some(PmuModel::IntelV5);
        let amd = Some(PmuModel::AmdV2);
        for (line, has_lab, expected) in [
            ("", true, (Lab, v5)),
            ("", false, (Stock, None)),
            ("--mode realtime", true, (Stock, None)),
            ("--mode kvm", true, (Stock, None)),
            ("--iso x.iso", true, (Stock, None)),
            ("--disc x.img --disc-as hd", true, (Stock, None)),
            ("--iso x.iso --qemu lab", true, (Lab, v5)),
            ("--qemu stock", true, (Stock, None)),
            ("--qemu lab", false, (Lab, v5)),
            ("--qemu lab --mode realtime", true, (Lab, None)),
            ("--pmu amd-v2", false, (Lab, amd)),
            ("--pmu off", true, (Lab, Some(PmuModel::Off))),
            ("--qemu ./q", true, (path(), None)),
            ("--qemu ./q --pmu amd-v2", true, (path(), amd)),
        ] {
            let found = choice(line, has_lab).unwrap();
            assert_eq!(found, expected, "{line}");
        }
        for (line, says) in [
            ("--qemu stock --pmu intel-v2", "has no performance counters"),
            (
                "--mode realtime --pmu intel-v2",
                "in deterministic mode only",
            ),
            ("--mode kvm --pmu intel-v2", "in deterministic mode only"),
        ] {
            let said = choice(line, true).unwrap_err().to_string();
            assert!(said.contains(says), "{line}: {said}");
        }
    }

    #[test]
    fn events_are_handed_to_the_kernel() {
        for (line, given) in [
            ("", ""),
            (
                "--source pmu --event cpu-cycles:k,r1a8 --jitter 5 --seed 9",
                " event=cycles:k,cpu/event=0xa8,umask=0x1/ jitter=5 seed=9",
            ),
        ] {
            let line = settings(&run(line), None).to_string();
            let expected = format!(" period=1000{given} workload=mix");
            assert!(line.contains(&expected), "{line}");
        }
    }

    #[test]
    fn what_is_to_be_counted_is_handed_to_the_kernel() {
        for (line, given) in [
            ("", "take=counts workload=mix samples=100000 units=100"),
            (
                "--event cpu-cycles:k --units 7 --workload heap",
                "event=cycles:k take=counts workload=heap samples=100000 units=7",
            ),
            (
                "--per-process --units 2 --workload processes",
                "event=instructions:u,instructions:k,cycles:u,cycles:k take=counts workload=processes samples=100000 units=2 per=process",
            ),
            (
                "--per-process --units 2 --event cycles,branches:k",
                "event=cycles:u,cycles:k,branches:k take=counts workload=mix samples=100000 units=2 per=process",
            ),
        ] {
            let words = ["pmiscope", "stat"].into_iter();
            let cli = Cli::try_parse_from(words.chain(line.split_whitespace())).unwrap();
            let Command::Stat(arguments) = cli.command else {
                unreachable!()
            };
            let line = settings(&arguments.run(), None).to_string();
            let ring = if given.contains("per=") {
                1 << 20
            } else {
                65536
            };
            assert_eq!(
                line,
                format!("source=auto delivery=nmi {given} ring={ring}")
            );
        }
    }

    #[test]
    fn a_core_takes_one_sample_at_least() {
        for (line, is_taken) in [
            ("", true),
            ("--samples 4", true),
            ("--samples 3", false),
            ("--samples 3 --smp 3", true),
            ("--samples 254 --smp 255", false),
        ] {
            assert_eq!(may_share(&run(line)).is_ok(), is_taken, "{line}");
        }
        let said = may_share(&run("--samples 2")).unwrap_err().to_string();
        let says = "--samples 2: each of the 4 cores takes one at least: say --samples 4 or more, or --smp 2";
        assert_eq!(said, says);
    }

    #[test]
    fn a_long_period_is_waited_for() {
        let boot = unsampled::Boot {
            has_sampler: true,
            is_disc: false,
            menu: None,
            mode: Mode::Deterministic,
        };
        for (line, seconds) in [
            ("", 60),
            ("--period 1000000000", 460),
            ("--period 1000000000 --smp 1", 160),
            ("--period 1000000000 --mode realtime", 61),
            ("--period 1000000000 --timeout 5", 5),
        ] {
            let run = run(line);
            let limits = limits(&run, (settings(&run, None).period, b""), &boot);
            assert_eq!(limits.silence, Duration::from_secs(seconds), "{line}");
        }
    }

    #[test]
    fn much_memory_is_in_one_row_behind_the_devices() {
        const GIB: u64 = 1 << 30;
        assert_eq!(in_a_row(0xafff_ffff), 0xafff_ffff);
        assert_eq!(in_a_row(3 * GIB), 5 * GIB);
    }

    #[test]
    fn a_ring_holds_a_cores_share_within_limits() {
        assert_eq!(ring_for(100_000, 4), 16 << 20);
        assert_eq!(ring_for(1, 64), 256 << 10);
        assert_eq!(ring_for(1_000_000_000, 1), 64 << 20);
        assert!(ring_for(12_345, 3) >= 12_345 / 3 * 576);
    }
}
