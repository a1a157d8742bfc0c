//! A guest from its start to its end: the one way in which commands and tests run QEMU.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use profiler::format::Description;
use profiler::format::region::Region;

use super::control::Control;
use super::ending::{End, Exited, Said, Seen, of_exit, of_region, of_silence};
use super::failure::{Remains, Trace};
use super::log::{Heard, Log};
use super::{Machine, Process, Qemu, messages};
use crate::attach::Image;
use crate::collect::{
    InheritedFile, MAKE_ROOM, Mapping, Pace, Search, find, guest_memory, log_file,
};
use crate::input::data_from;
use crate::output::shell_word;
use crate::profile::Outcome;
use crate::signals::Halts;
use crate::units::size;

/// Between two looks at the guest. A ring holds some thousand samples; at the fastest
/// (a sample every 4 µs) this is some hundred.
const POLL: Duration = Duration::from_millis(2);
/// A pause between two looks that is longer was none of the guest's.
const AWAY: Duration = Duration::from_secs(1);

/// The wait between two searches for the region, by what one takes: the time of a processor is to
/// be the guest's, which boots until its region is there.
const SEARCH_SHARE: u32 = 9;

/// How long a guest whose region says that it is at its end may be silent until it ends.
const GRACE: Duration = Duration::from_secs(1);
/// How long one may take that has finished, and is not silent.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

/// How long a guest may be silent that has panicked: nothing more is to be expected of it.
const PANIC_SILENCE: Duration = Duration::from_secs(5);

/// The memory of a guest: a file that QEMU and the tool both map.
pub struct GuestMemory {
    file: InheritedFile,
    mapping: Mapping,
}

impl GuestMemory {
    /// Makes a guest's memory.
    ///
    /// # Errors
    ///
    /// No folder has room for it, or it cannot be mapped.
    pub fn new(bytes: u64) -> Result<Self> {
        let file = guest_memory(bytes)?;
        let length = usize::try_from(bytes).context("too much memory")?;
        let mapping = Mapping::new(&file.file, length).context(
            "cannot map the guest's memory (ask for less by --memory, --ring or --smp, or raise `ulimit -v`)",
        )?;
        Ok(Self { file, mapping })
    }

    /// Reads what is at a physical address below 2 GiB.
    ///
    /// # Errors
    ///
    /// Those of reading a file.
    pub fn read(&self, address: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.file.file.read_exact_at(into, address)
    }

    /// The same memory as of any guest, for reading.
    ///
    /// # Errors
    ///
    /// Those of asking for its length.
    pub fn image(&self) -> Result<Image> {
        Image::of_guest(&self.file.file)
    }

    /// Returns true if anything has written to it, or if that is not known.
    fn is_written(&self) -> bool {
        !matches!(data_from(&self.file.file, 0), Ok(None))
    }

    /// Looks for the region that the kernel shares.
    ///
    /// # Errors
    ///
    /// Those of asking the file system for holes.
    pub fn find_region(&self) -> Result<Search<'_>> {
        find(&self.file.file, &self.mapping).context("cannot search the guest's memory")
    }
}

/// How long a guest may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest time without a sign of life.
    pub silence: Duration,
    /// What is missing then, for the message.
    pub silence_means: &'static str,
    /// How long it may run.
    pub total: Option<Duration>,
}

/// What an observer saw in a look at its guest.
pub enum Look {
    /// Nothing new.
    Idle,
    /// The guest did something: it does not hang.
    Active,
    /// The guest is to be ended.
    End(End),
}

/// What a command does while its guest runs. The methods are called in this order at
/// each look.
pub trait Observer<'memory> {
    /// Called with each line of the guest's log, once it is complete.
    fn on_line(&mut self, line: &str);

    /// Called with what is to be said of the guest meanwhile.
    fn on_note(&mut self, text: &str) {
        let _ = text;
    }

    /// Called once, when the guest has made its region.
    ///
    /// # Errors
    ///
    /// Errors end the guest.
    fn on_region(&mut self, region: Region<'memory>, description: &Description) -> Result<Look> {
        let _ = (region, description);
        Ok(Look::Active)
    }

    /// Returns true while somebody may still type something for the guest, which is not ended then for
    /// being silent, or for being at its end.
    fn is_attended(&self) -> bool {
        false
    }

    /// Called at each look, also at the last one, after the guest has ended.
    ///
    /// # Errors
    ///
    /// Errors end the guest.
    fn on_look(&mut self) -> Result<Look> {
        Ok(Look::Idle)
    }
}

/// What is left of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub end: End,
    /// What its memory says of the run.
    pub seen: Seen,
    /// Who has written to its log.
    pub heard: Heard,
    /// The lines of its log that say most of how it ended.
    pub log: Vec<String>,
    /// What QEMU printed, in a line; empty if nothing, or if the end's message has it.
    pub qemu_said: String,
    /// What the kernel asked the loader for and did not get.
    pub unanswered: Option<String>,
    /// Of a guest that hangs, what QEMU says of the registers of its processors; empty if nothing.
    pub registers: String,
}

/// A guest that runs.
pub struct Guest<'memory> {
    memory: &'memory GuestMemory,
    process: Process,
    halts: Halts,
    qemu: Qemu,
    arguments: Vec<String>,
    log: Log,
    /// What QEMU prints.
    messages: File,
    control: Option<Control>,
    /// The region, once it is found.
    region: Option<Region<'memory>>,
    /// What is found in its memory meanwhile: no run.
    without_run: Seen,
}

impl<'memory> Guest<'memory> {
    /// Starts QEMU.
    ///
    /// # Errors
    ///
    /// The files for its output cannot be made, or QEMU cannot be started.
    pub fn start(qemu: &Qemu, machine: &Machine, memory: &'memory GuestMemory) -> Result<Self> {
        let serial = log_file().context("cannot make a file for the guest's log")?;
        let messages = log_file().context("cannot make a file for QEMU's messages")?;
        let arguments = machine.arguments(&memory.file.path, &serial.path);
        let mut command = Command::new(&qemu.program);
        let control = Control::new();
        command
            .args(control.iter().flat_map(Control::arguments))
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(messages.file.try_clone()?)
            .stderr(messages.file.try_clone()?);
        let process = Process::start(command)
            .with_context(|| format!("cannot start {}", qemu.program.display()))?;
        let shown = arguments.iter().map(|word| word.to_string_lossy());
        Ok(Self {
            memory,
            process,
            halts: Halts::catch(),
            qemu: qemu.clone(),
            arguments: shown.map(|word| word.into_owned()).collect(),
            log: Log::new(serial.file),
            messages: messages.file,
            control,
            region: None,
            without_run: Seen::Nothing,
        })
    }

    /// QEMU's command line, the program left out.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// QEMU's command line, as a shell takes it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let program = self.qemu.program.to_string_lossy();
        let words = std::iter::once(&*program).chain(self.arguments.iter().map(String::as_str));
        words.map(shell_word).collect::<Vec<_>>().join(" ")
    }

    /// Follows the guest until it ends, or until a limit or the observer ends it.
    ///
    /// # Errors
    ///
    /// The guest cannot be followed, or the observer's.
    pub fn follow(
        mut self,
        limits: &Limits,
        observer: &mut impl Observer<'memory>,
    ) -> Result<Ended> {
        let mut started = Instant::now();
        let mut active = started;
        let mut pace = Pace::new(SEARCH_SHARE);
        let mut settled = Settled::default();
        let end = loop {
            // First: what an ended guest has left behind is seen in the same look.
            let status = self.process.ended().context("cannot wait for QEMU")?;
            let mut is_active = self.read_log(observer)?;
            if self.region.is_none()
                && (status.is_some() || pace.is_due(Instant::now()))
                && let Look::End(end) = self.search(&mut pace, observer)?
            {
                break end;
            }
            let look = observer.on_look()?;
            if let Some(status) = status {
                break self.meaning(status, observer);
            }
            match look {
                Look::Idle => {}
                Look::Active => is_active = true,
                Look::End(end) => break end,
            }
            let is_attended = observer.is_attended();
            if is_active || is_attended {
                active = Instant::now();
            }
            if is_attended {
                settled = Settled::default();
            } else if let Some(end) = settled.end(&self.seen(), self.log.said(), active) {
                break end;
            }
            let panicked = limits.panicked(active, self.log.said());
            if let Some(end) = panicked.or_else(|| limits.exceeded(started, active)) {
                break end;
            }
            let away = self.rest();
            started += away;
            active += away;
            settled.shift(away);
        };
        let registers = self.registers(&end);
        self.process.kill();
        self.read_log(observer)?;
        self.log.finish();
        Ok(Ended {
            qemu_said: self.qemu_said(&end),
            end,
            seen: self.seen(),
            heard: self.log.heard(),
            log: self.log.ending(),
            unanswered: self.log.unanswered().map(str::to_owned),
            registers,
        })
    }

    /// What QEMU says of the registers, if the guest hangs.
    fn registers(&mut self, end: &End) -> String {
        let hangs = end.outcome == Outcome::Hung;
        let control = self.control.as_mut().filter(|_| hangs);
        control.map_or_else(String::new, Control::registers)
    }

    /// How QEMU ended.
    fn exited(&self, status: ExitStatus) -> Exited {
        let is_heard = self.seen() != Seen::Nothing || self.log.tail().next().is_some();
        let trace = match (is_heard, self.memory.is_written()) {
            (true, _) => Trace::Heard,
            (false, true) => Trace::Silent,
            (false, false) => Trace::Nothing,
        };
        let remains = Remains {
            status,
            said: &messages::said(&self.messages),
            is_script: self.qemu.is_script(),
            has_left_qemu: self.process.has_left_qemu(),
            trace,
            memory: &of_bus_error(&self.memory.file.folder, self.memory.file.missing()),
        };
        remains.exited()
    }

    /// What QEMU has printed, if that is not in the message of the end.
    fn qemu_said(&self, end: &End) -> String {
        match end.outcome {
            Outcome::QemuFailed => String::new(),
            _ => messages::said(&self.messages),
        }
    }

    /// Waits until the next look. Returns how long the tool was away meanwhile: stopped, and
    /// QEMU with it. A guest is not blamed for that time.
    fn rest(&self) -> Duration {
        let before = Instant::now();
        thread::sleep(POLL);
        if self.halts.take() {
            self.process.halt();
        }
        let slept = before.elapsed();
        if slept >= AWAY { slept } else { Duration::ZERO }
    }

    /// Reads the guest's log. Returns true if there was anything new.
    fn read_log(&mut self, observer: &mut impl Observer<'memory>) -> Result<bool> {
        let lines = self.log.poll().context("cannot read the guest's log")?;
        lines.iter().for_each(|line| observer.on_line(line));
        Ok(!lines.is_empty())
    }

    fn search(&mut self, pace: &mut Pace, observer: &mut impl Observer<'memory>) -> Result<Look> {
        self.without_run = match pace.search(|| self.memory.find_region())? {
            Search::Nothing => Seen::Nothing,
            Search::Unreadable(problem) => Seen::Unreadable(problem),
            Search::Refused(reason) => Seen::Refused(reason),
            Search::Found(region, description) => {
                self.region = Some(region);
                return observer.on_region(region, &description);
            }
        };
        Ok(Look::Idle)
    }

    /// What the guest's memory says of the run.
    fn seen(&self) -> Seen {
        match self.region {
            None => self.without_run.clone(),
            Some(region) => match region.refusal() {
                Some(reason) => Seen::Refused(reason.as_str().to_owned()),
                None => Seen::Run(region.state()),
            },
        }
    }

    /// What it means that QEMU has ended.
    fn meaning(&mut self, status: ExitStatus, observer: &mut impl Observer<'memory>) -> End {
        if let Some(line) = self.log.finish() {
            observer.on_line(&line);
        }
        of_exit(&self.exited(status), &self.seen(), self.log.said())
    }
}

/// What it says of the guest's memory that QEMU was killed by SIGBUS: it has touched a page
/// for which there was no room. `missing` is [`InheritedFile::missing`].
fn of_bus_error(folder: &Path, missing: Option<(u64, u64)>) -> String {
    let folder = folder.display();
    match missing {
        Some((free, missing)) if free < missing => format!(
            "there is no room for the guest's memory: {folder}, where it is, is full, with {} free: {MAKE_ROOM}",
            size(free)
        ),
        _ => format!(
            "a bus error; {folder}, where the guest's memory is, may have been full: {MAKE_ROOM}"
        ),
    }
}

/// How long the region has said that the guest is at its end.
#[derive(Default)]
struct Settled {
    since: Option<Instant>,
}

impl Settled {
    /// Leaves out a time in which nobody looked.
    fn shift(&mut self, away: Duration) {
        self.since = self.since.map(|since| since + away);
    }

    /// Waits for a guest that is at its end to end by itself, which says more: its end, if
    /// it did not, and was last `active` some time ago.
    fn end(&mut self, seen: &Seen, said: Said<'_>, active: Instant) -> Option<End> {
        let Some(end) = of_region(seen, said) else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let is_silent = since.max(active).elapsed() >= GRACE;
        // A kernel that goes on with other things may log them for ever.
        let is_over = end.outcome == Outcome::Finished && since.elapsed() >= LONGEST_GRACE;
        (is_silent || is_over).then_some(end)
    }
}

impl Limits {
    /// The end of a guest that has said so, and nothing since.
    fn panicked(&self, active: Instant, said: Said<'_>) -> Option<End> {
        of_silence(said).filter(|_| active.elapsed() >= PANIC_SILENCE.min(self.silence))
    }

    /// The end of a guest that takes too long.
    pub(crate) fn exceeded(&self, started: Instant, active: Instant) -> Option<End> {
        if active.elapsed() >= self.silence {
            let seconds = self.silence.as_secs();
            return Some(End {
                outcome: Outcome::Hung,
                message: format!("{} for {seconds} s (--timeout)", self.silence_means),
            });
        }
        let limit = self.total.filter(|&limit| started.elapsed() >= limit)?;
        Some(End {
            outcome: Outcome::TimeLimit,
            message: format!("{} s (--time-limit)", limit.as_secs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use profiler::format::region::RunState;

    use super::*;

    /// Returns true if a guest is ended whose region has said this for so many seconds, and
    /// that was last active so many seconds ago.
    fn is_ended(state: RunState, since: u64, active: u64) -> bool {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let mut settled = Settled { since: ago(since) };
        let active = ago(active).unwrap();
        let end = settled.end(&Seen::Run(state), Said::default(), active);
        let is_reset = settled.since.is_none();
        assert_eq!(is_reset, state == RunState::Sampling, "{state:?}");
        end.is_some()
    }

    #[test]
    fn a_folder_that_is_full_is_named() {
        let said = |missing| of_bus_error(Path::new("/m"), missing);
        let full = said(Some((4096, 8192)));
        assert!(
            full.contains("/m, where it is, is full, with 4 KiB free: free some"),
            "{full}"
        );
        for other in [Some((8192, 8192)), None] {
            assert!(said(other).contains("/m, where the guest's memory is, may have been full"));
        }
    }

    #[test]
    fn a_guest_at_its_end_has_a_time_of_grace() {
        for (state, since, active, ended) in [
            (RunState::Finished, 0, 60, false),
            (RunState::Finished, 2, 0, false),
            (RunState::Finished, 2, 2, true),
            // It has finished, and logs for ever.
            (RunState::Finished, 6, 0, true),
            // It may still say why.
            (RunState::Failed, 6, 0, false),
            (RunState::Failed, 6, 2, true),
            (RunState::Sampling, 60, 60, false),
        ] {
            assert_eq!(
                is_ended(state, since, active),
                ended,
                "{state:?}, {since}, {active}"
            );
        }
    }
}
