//! `import`: makes a profile of what a kernel has sent by a serial line.

mod foreign;
mod memory;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use profiler::format::region::RunState;
use profiler::format::wire::{FRAME_BYTES, REQUEST_RANGES, done, request};
use rustix::event::PollFlags;

use super::attach::{conclude, end_of_copy, host, without_log};
use super::run::Session;
use super::run::plan::Recording;
use crate::cli::ImportArgs;
use crate::exit::Exit;
use crate::import::{Arrived, Blocks, Image, ImageError, Line, Missing, wait_for};
use crate::input;
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
/// How long there may be no frame in the middle for what else comes, before that is done.
const NOISE: Duration = Duration::from_secs(3);
/// How often that is done without an answer.
const ASKED: u32 = 5;
/// How long nothing may come in the middle: the kernel has given up long before.
const QUIET: Duration = Duration::from_secs(10);
/// And how long no frame, whatever else does: a kernel that goes on may log for ever.
const FRAMELESS: Duration = Duration::from_secs(30);
/// How long a kernel may take to go on that has been told that all is here.
const HEARD: Duration = Duration::from_secs(5);
/// Between two lines of progress where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);
/// What is read of a file at once.
const CHUNK: usize = 1 << 16;

pub(super) fn import(arguments: &ImportArgs) -> Result<Exit> {
    match (&arguments.memory, &arguments.perf, &arguments.folded) {
        (Some(place), ..) => memory::import(place, arguments),
        (_, Some(perf), _) => foreign::import_perf(perf, arguments),
        (.., Some(folded)) => foreign::import_folded(folded, arguments),
        _ => import_line(arguments),
    }
}

/// The file or the port.
fn line_of(arguments: &ImportArgs) -> &Path {
    input::named(arguments.line())
}

fn import_line(arguments: &ImportArgs) -> Result<Exit> {
    let read = ("what has come by the line", line_of(arguments).to_owned());
    let mut recording = Recording::of_other_guest(
        arguments.kernel.as_deref(),
        arguments.output.as_deref(),
        &arguments.debug_file,
        Some(read),
    )?;
    recording.embeds_names = arguments.embed_symbols;
    let interrupt = Interrupt::catch().context("cannot catch signals")?;
    let arrived = match Line::open(line_of(arguments), arguments.speed) {
        Ok(Some(line)) => receive(line, arguments, &interrupt),
        Ok(None) => read_file(arguments, &interrupt),
        Err(problem) => Err(problem),
    };
    let arrived =
        arrived.with_context(|| format!("cannot read {}", line_of(arguments).display()))?;
    profile(&arrived, arguments, &recording, interrupt)
}

/// Nothing has come yet; of several runs the one is kept that the user names.
fn nothing(arguments: &ImportArgs) -> Arrived {
    Arrived::of_run(arguments.run.map(|number| number as usize))
}

/// Reads a file to its end, or a pipe until the user wants an end.
fn read_file(arguments: &ImportArgs, interrupt: &Interrupt) -> io::Result<Arrived> {
    let mut file = File::open(line_of(arguments))?;
    let mut arrived = nothing(arguments);
    let progress = Reading::new(file.metadata()?.len());
    let mut bytes = vec![0; CHUNK];
    while interrupt.wanted_by().is_none() {
        if !wait_for(&file, PollFlags::IN, PAUSE)? {
            continue;
        }
        let len = file.read(&mut bytes)?;
        if len == 0 {
            break;
        }
        arrived.add(&bytes[..len]);
        progress.add(len);
    }
    Ok(arrived)
}

/// When something has come by a port.
struct Heard {
    bytes: Instant,
    frame: Instant,
    /// How often what is missing was asked for since the last frame.
    asked: u32,
    /// How long a frame takes at most.
    frame_time: Duration,
}

impl Heard {
    fn new(speed: u32) -> Self {
        let now = Instant::now();
        // A byte is 10 bits.
        let bits = u32::try_from(FRAME_BYTES * 10).unwrap_or(u32::MAX);
        Self {
            bytes: now,
            frame: now,
            asked: 0,
            frame_time: Duration::from_secs(1) * bits / speed,
        }
    }

    fn add(&mut self, has_bytes: bool, has_frame: bool) {
        let now = Instant::now();
        if has_bytes {
            self.bytes = now;
        }
        if has_frame {
            (self.frame, self.asked) = (now, 0);
        }
    }

    /// Returns true if nothing more is to be expected.
    fn is_over(&self, has_begun: bool, silence: Duration) -> bool {
        if !has_begun {
            return self.bytes.elapsed() >= silence;
        }
        let is_frameless = self.frame.elapsed() >= FRAMELESS + 10 * self.frame_time;
        self.bytes.elapsed() >= silence.min(QUIET) || is_frameless
    }

    /// Returns true if it is time to ask for what is missing, unless it was already in vain.
    fn is_to_ask(&self, is_silent: bool) -> bool {
        let noise = (NOISE + 2 * self.frame_time) * (self.asked + 1);
        self.asked < ASKED && (is_silent || self.frame.elapsed() >= noise)
    }
}

/// Receives by a port until all is here, nothing more comes, or the user wants an end.
fn receive(mut line: Line, arguments: &ImportArgs, interrupt: &Interrupt) -> io::Result<Arrived> {
    let name = line_of(arguments).display();
    let silence = arguments.timeout.map_or(SILENCE, Duration::from_secs);
    say!("pmiscope: listening at {name}, {} baud", arguments.speed);
    let mut arrived = nothing(arguments);
    let mut progress = Progress::new();
    let mut heard = Heard::new(arguments.speed);
    while interrupt.wanted_by().is_none() && !heard.is_over(arrived.kept().is_some(), silence) {
        let bytes = match line.receive(PAUSE) {
            Ok(bytes) => bytes,
            // A machine that was switched off: what has come is here.
            Err(problem) if arrived.kept().is_some() => {
                say!("pmiscope: the line has ended: {problem}");
                break;
            }
            Err(problem) => return Err(problem),
        };
        let frames = arrived.frames();
        let is_at_end = arrived.add(&bytes);
        heard.add(!bytes.is_empty(), arrived.frames() != frames);
        let Some(blocks) = arrived.kept() else {
            continue;
        };
        progress.update(blocks.here.len(), blocks.of);
        // While it sends, a kernel does not listen.
        let is_to_answer = is_at_end || heard.is_to_ask(bytes.is_empty());
        if is_to_answer {
            heard.asked += 1;
            let answer = answer(blocks);
            let is_whole = blocks.is_whole();
            // A kernel that does not hear it waits for a while, and goes on.
            if let Err(problem) = line.send(&answer) {
                say!("pmiscope: cannot send to {name}: {problem}");
            }
            if is_whole {
                wait_until_heard(&mut line, &mut arrived, &answer, interrupt);
                break;
            }
        }
    }
    Ok(arrived)
}

/// Waits until the kernel goes on, which has been told that all is here. A port that is closed
/// before may lose the answer: an emulator takes it from there as slowly as its guest does.
fn wait_until_heard(
    line: &mut Line,
    arrived: &mut Arrived,
    answer: &[u8; FRAME_BYTES],
    interrupt: &Interrupt,
) {
    let since = Instant::now();
    while interrupt.wanted_by().is_none() && since.elapsed() < HEARD {
        // A machine that was switched off has gone on.
        let Ok(bytes) = line.receive(PAUSE) else {
            return;
        };
        let frames = arrived.frames();
        if arrived.add(&bytes) {
            // It asks once more.
            if line.send(answer).is_err() {
                return;
            }
        } else if !bytes.is_empty() && arrived.frames() == frames {
            return;
        }
    }
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

/// The run that a profile is made of.
fn taken<'a>(arrived: &'a Arrived, arguments: &ImportArgs) -> Result<&'a Blocks> {
    if let Some(blocks) = arrived.kept() {
        return Ok(blocks);
    }
    let name = line_of(arguments).display();
    let runs = arrived.runs();
    if runs > 0 {
        bail!(
            "{name} has {}: --run takes 1 to {runs}",
            counted(runs as u64, "run")
        );
    }
    let said = arrived.said().map(|said| format!("; its log says: {said}"));
    bail!(
        "{name} has no frame of a region: the kernel sends one if its command line has send=serial, 8 bits, no parity, at the speed of both sides ({} baud here){}",
        arguments.speed,
        said.unwrap_or_default()
    )
}

/// Makes the profile.
fn profile(
    arrived: &Arrived,
    arguments: &ImportArgs,
    recording: &Recording,
    interrupt: Interrupt,
) -> Result<Exit> {
    let blocks = taken(arrived, arguments)?;
    let name = line_of(arguments).display();
    let image = match Image::new(blocks) {
        Ok(image) => image,
        Err(ImageError::NoHeader) => bail!(
            "{name}: {}: {} of {} did not arrive{}",
            ImageError::NoHeader,
            counted(u64::from(blocks.of) - blocks.here.len() as u64, "block"),
            blocks.of,
            match arrived.runs() {
                0 | 1 => String::new(),
                runs => format!("; there are {runs} runs: --run takes another"),
            }
        ),
        Err(problem) => bail!("{name}: {problem}"),
    };
    say!(
        "pmiscope: {} of {} here, {} mended",
        grouped(blocks.here.len() as u64),
        counted(blocks.of.into(), "block"),
        counted(arrived.mended(), "damaged byte")
    );
    if arrived.runs() > 1 && arguments.run.is_none() {
        let before = arrived.runs() as u64 - 1;
        say!(
            "pmiscope: {} before the last one in {name}: left alone (--run takes another)",
            counted(before, "run")
        );
    }
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
    conclude(&run, arguments.format, recording)
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
        let bar = io::stderr().is_terminal().then(|| {
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

/// How much of a file was read, where there is a terminal to show it.
struct Reading(Option<ProgressBar>);

impl Reading {
    /// Of a file of so many bytes; 0 if that is not known.
    fn new(bytes: u64) -> Self {
        let bar = (bytes > 0 && io::stderr().is_terminal()).then(|| {
            let style = "reading {bar:32} {bytes} of {total_bytes}";
            let style = indicatif::ProgressStyle::with_template(style);
            ProgressBar::new(bytes).with_style(style.expect("the template is a constant"))
        });
        Self(bar)
    }

    fn add(&self, bytes: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes as u64);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has heard bytes, and a frame, so many seconds ago.
    fn heard(bytes: u64, frame: u64) -> Heard {
        let ago = |seconds| {
            Instant::now()
                .checked_sub(Duration::from_secs(seconds))
                .unwrap()
        };
        Heard {
            bytes: ago(bytes),
            frame: ago(frame),
            ..Heard::new(115_200)
        }
    }

    #[test]
    fn a_line_that_only_logs_ends() {
        let minute = Duration::from_secs(60);
        // Before a run has begun only silence is an end.
        assert!(!heard(0, 1000).is_over(false, minute));
        assert!(heard(61, 1000).is_over(false, minute));
        // In the middle, both.
        assert!(!heard(0, 25).is_over(true, minute));
        assert!(heard(0, 35).is_over(true, minute));
        assert!(heard(11, 11).is_over(true, minute));
        assert!(heard(3, 3).is_over(true, Duration::from_secs(2)));
    }

    #[test]
    fn what_is_missing_is_asked_for_in_noise_too() {
        assert!(heard(0, 0).is_to_ask(true));
        assert!(!heard(0, 2).is_to_ask(false));
        assert!(heard(0, 4).is_to_ask(false));
        let mut heard = heard(0, 4);
        heard.asked = 1;
        assert!(!heard.is_to_ask(false));
        heard.asked = ASKED;
        assert!(!heard.is_to_ask(true));
        heard.add(true, true);
        assert!(heard.is_to_ask(true));
    }

    #[test]
    fn a_slow_line_has_time_for_a_frame() {
        // 300 baud: 25 seconds a frame.
        let mut slow = heard(0, 200);
        slow.frame_time = Heard::new(300).frame_time;
        assert!(slow.frame_time > Duration::from_secs(25));
        assert!(!slow.is_over(true, Duration::from_secs(60)));
    }
}
