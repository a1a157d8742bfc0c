//! `import`: makes a profile of what a kernel has sent by a serial line.

mod memory;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use profiler::format::region::RunState;
use profiler::format::wire::{FRAME_BYTES, REQUEST_RANGES, done, request};

use super::attach::{conclude, end_of_copy, host, without_log};
use super::run::Session;
use super::run::plan::Recording;
use crate::cli::{ImportArgs, ReportFormat};
use crate::exit::Exit;
use crate::import::{Arrived, Blocks, Image, ImageError, Line, Missing, is_line};
use crate::output::say;
use crate::profile::{Host, Outcome};
use crate::qemu::{End, Look, Observer as _};
use crate::signals::Interrupt;
use crate::units::{counted, grouped};

/// How long nothing may come by a port, if the user does not say so.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a port may be silent in the middle before what is missing is asked for: the kernel
/// may have ended what it sends with a frame that was lost.
const PAUSE: Duration = Duration::from_millis(300);
/// How often that is done without an answer.
const ASKED: u32 = 5;
/// How long nothing may come in the middle: the kernel has given up long before.
const QUIET: Duration = Duration::from_secs(10);
/// Between two lines of progress where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn import(arguments: &ImportArgs) -> Result<Exit> {
    match (&arguments.memory, &arguments.input) {
        (Some(place), _) => memory::import(place, arguments),
        (None, Some(input)) => import_line(input, arguments),
        (None, None) => bail!("neither a file or a port, nor --memory"),
    }
}

fn import_line(input: &Path, arguments: &ImportArgs) -> Result<Exit> {
    let is_line = is_line(input);
    if is_line && arguments.run.is_some() {
        bail!("--run is for a file: from a port the first run that is whole is taken");
    }
    let read = ("what has come by the line", input.to_owned());
    let recording = Recording::of_other_guest(
        arguments.kernel.as_deref(),
        arguments.output.as_deref(),
        &arguments.debug_file,
        Some(read).filter(|_| !is_line),
    )?;
    let interrupt = Interrupt::catch().context("cannot catch signals")?;
    let name = input.display();
    let arrived = if is_line {
        let silence = arguments.timeout.map_or(SILENCE, Duration::from_secs);
        receive(input, silence, &interrupt)
    } else {
        read_file(input)
    };
    let arrived = arrived.with_context(|| format!("cannot read {name}"))?;
    let blocks = chosen(&arrived, input, arguments.run)?;
    profile(
        blocks,
        (&arrived, input),
        (&recording, arguments.format),
        interrupt,
    )
}

fn read_file(path: &Path) -> Result<Arrived> {
    let mut file = File::open(path)?;
    let mut arrived = Arrived::default();
    let mut bytes = vec![0; 1 << 16];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(arrived),
            len => {
                arrived.add(&bytes[..len]);
            }
        }
    }
}

/// Receives by a port until all is here, nothing more comes, or the user wants an end.
fn receive(path: &Path, silence: Duration, interrupt: &Interrupt) -> Result<Arrived> {
    let mut line = Line::open(path)?;
    say!("pmiscope: listening at {}", path.display());
    let mut arrived = Arrived::default();
    let mut progress = Progress::new();
    let mut heard = Instant::now();
    let mut asked = 0;
    while interrupt.wanted_by().is_none() {
        let patience = arrived.last().map_or(silence, |_| silence.min(QUIET));
        if heard.elapsed() >= patience {
            break;
        }
        let bytes = match line.receive(PAUSE) {
            Ok(bytes) => bytes,
            // A machine that was switched off: what has come is here.
            Err(problem) if arrived.last().is_some() => {
                say!("pmiscope: the line has ended: {problem}");
                break;
            }
            Err(problem) => return Err(problem.into()),
        };
        if !bytes.is_empty() {
            (heard, asked) = (Instant::now(), 0);
        }
        let is_at_end = arrived.add(&bytes).is_some();
        let Some(blocks) = arrived.last() else {
            continue;
        };
        progress.update(blocks.here.len(), blocks.of);
        let is_whole = blocks.missing().is_empty();
        if is_whole || is_at_end || (bytes.is_empty() && asked < ASKED) {
            asked += 1;
            // A kernel that does not hear it waits for a while, and goes on.
            if let Err(problem) = line.send(&answer(blocks)) {
                say!("pmiscope: cannot send to {}: {problem}", path.display());
            }
        }
        if is_whole {
            break;
        }
    }
    Ok(arrived)
}

/// What the kernel is told: what is missing, or that nothing is.
fn answer(blocks: &Blocks) -> [u8; FRAME_BYTES] {
    let missing = blocks.missing();
    if missing.is_empty() {
        return done(blocks.run);
    }
    let ranges = missing.iter().take(REQUEST_RANGES);
    let ranges: Vec<_> = ranges.map(|range| (range.start, range.end)).collect();
    request(blocks.run, &ranges)
}

/// The run that is wanted: the last one, or that with a number. Says which it is, if there are others.
fn chosen<'a>(arrived: &'a Arrived, input: &Path, wanted: Option<u64>) -> Result<&'a Blocks> {
    let (name, runs) = (input.display(), arrived.runs());
    let Some(last) = runs.last() else {
        bail!(
            "{name} has no frame of a region: the kernel sends one if its command line has send=serial, at 115200 baud, 8 bits, no parity"
        );
    };
    let all = counted(runs.len() as u64, "run");
    let Some(wanted) = wanted else {
        if runs.len() > 1 {
            say!(
                "pmiscope: {} before the last one in {name}: left alone (--run 1 is the first of {all})",
                counted(runs.len() as u64 - 1, "run")
            );
        }
        return Ok(last);
    };
    let index = usize::try_from(wanted - 1).unwrap_or(usize::MAX);
    let chosen = runs.get(index);
    chosen.with_context(|| format!("{name} has {all}: there is no --run {wanted}"))
}

/// Makes the profile.
fn profile(
    blocks: &Blocks,
    (arrived, input): (&Arrived, &Path),
    (recording, format): (&Recording, ReportFormat),
    interrupt: Interrupt,
) -> Result<Exit> {
    let name = input.display();
    let image = match Image::new(blocks) {
        Ok(image) => image,
        Err(ImageError::NoHeader) => bail!(
            "{name}: {}: {} of {} did not arrive",
            ImageError::NoHeader,
            counted(u64::from(blocks.of) - blocks.here.len() as u64, "block"),
            blocks.of
        ),
        Err(problem) => bail!("{name}: {problem}"),
    };
    say!(
        "pmiscope: {} of {} here, {} mended",
        grouped(blocks.here.len() as u64),
        counted(blocks.of.into(), "block"),
        counted(arrived.mended(), "damaged byte")
    );
    let (region, description) = image.memory.open(0).context("the region")?;
    let host = Host {
        qemu: "(what has come by a serial line)".into(),
        ..host(&[])
    };
    let state = region.state();
    let mut session = Session::new(
        recording,
        (host, recording.embedded()?),
        interrupt.clone(),
        None,
    );
    let end = match session.on_region(region, &description)? {
        Look::End(end) => end,
        Look::Idle | Look::Active => end_of(state, &image.missing),
    };
    let run = session.finish(without_log(end))?;
    interrupt.is_over();
    for core in image.missing.cores() {
        say!("pmiscope: {core}");
    }
    conclude(&run, format, recording)
}

/// How a run ended of which that is missing.
fn end_of(state: RunState, missing: &Missing) -> End {
    let end = end_of_copy(state);
    if missing.is_nothing() {
        return end;
    }
    match end.outcome {
        Outcome::Finished => End {
            outcome: Outcome::Partial,
            message: missing.in_words(),
        },
        outcome => End {
            outcome,
            message: format!("{}; {}", end.message, missing.in_words()),
        },
    }
}

/// How much has come by a port.
struct Progress {
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    fn new() -> Self {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let bar = is_terminal.then(|| {
            let style = "receiving {bar:32} {human_pos} of {human_len} blocks";
            let style = indicatif::ProgressStyle::with_template(style);
            ProgressBar::new(0).with_style(style.expect("the template is a constant"))
        });
        Self {
            bar,
            said: Instant::now(),
        }
    }

    fn update(&mut self, here: usize, of: u32) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(of.into());
                bar.set_position(here as u64);
            }
            None if self.said.elapsed() >= INTERVAL => {
                self.said = Instant::now();
                say!(
                    "pmiscope: {} of {}",
                    grouped(here as u64),
                    counted(of.into(), "block")
                );
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
