//! What there is to be said of a dead kernel, as text.

use std::fmt::Write as _;

use anyhow::Result;
use kernel_core::log_ring::{Level, Messages};
use kernel_core::rest::CoreState;
use profiler::address::CodeAddress;
use profiler::unwind::Registers;

use super::find::{Dead, find_in, is_mapped};
use super::kernel::{self, Core, Task, Unreadable};
use super::memory::Memory;
use super::newest::Newest;
use super::walk::{self, Stacks, Walked};
use super::{log, log_of};
use crate::chain::Link;
use crate::output::one_line;
use crate::symbols::{Lines, SymbolFiles, Symbols};

/// Lines of the log that are shown.
const LOG_LINES: usize = 30;
/// Lines of what the kernel has said when it failed.
const WORDS_LINES: usize = 12;
/// Functions of a sample that are shown in its line.
const SAMPLE_FRAMES: usize = 4;
/// Lines of a chain in a short story.
const SHORT_LINES: usize = 16;
/// The most tasks that are shown: a number in a memory is not believed as far as any size.
const MOST_TASKS: usize = 1024;
/// The most cores whose chains are shown there, and the lines of each.
const FEW_CORES: usize = 4;
const FEW_LINES: usize = 8;

/// The names of a kernel's code.
pub struct Files {
    pub symbols: Symbols,
    pub lines: Lines,
}

impl Files {
    /// Those of a kernel that ran with this text.
    #[must_use]
    pub fn new(files: &SymbolFiles, dead: &Dead<'_>) -> Self {
        let image = &dead.root.image;
        let run = profiler::address::CodeRange {
            start: CodeAddress(image.text_start),
            end: CodeAddress(image.text_end),
        };
        Self {
            symbols: Symbols::of_files(files, Some(run)),
            lines: Lines::of_files(files),
        }
    }
}

/// All that there is to be told of a memory without any file, and what cannot be read, a line each.
///
/// # Errors
///
/// No kernel has left word in it.
pub fn told_without_files<'a>(memory: Box<dyn Memory + 'a>) -> Result<(String, Vec<String>)> {
    let dead = find_in(memory, None)?;
    let mut files = Files {
        symbols: Symbols::without_elf(),
        lines: Lines::default(),
    };
    Ok(Story::new(&dead, &mut files, &[]).whole())
}

/// What is told of a kernel.
pub struct Story<'a> {
    dead: &'a Dead<'a>,
    files: &'a mut Files,
    newest: &'a [Newest],
    text: String,
    /// What cannot be read, a line each.
    lacks: Vec<String>,
}

impl<'a> Story<'a> {
    /// By the last samples of each core, as far as there are any.
    pub fn new(dead: &'a Dead<'a>, files: &'a mut Files, newest: &'a [Newest]) -> Self {
        Self {
            dead,
            files,
            newest,
            text: String::new(),
            lacks: dead.notes.clone(),
        }
    }

    /// All that there is, and what cannot be read, a line each.
    #[must_use]
    pub fn whole(mut self) -> (String, Vec<String>) {
        let log = log_of(self.dead);
        self.lacks.extend(log::lacks(&log));
        let _ = writeln!(self.text, "kernel: build-id {}", self.dead.build_id());
        self.last_words(&log);
        if is_mapped(self.dead) {
            self.cores(&log);
            self.tasks();
        } else {
            self.lacks
                .push("no core and no task can be shown: the page tables are lost".to_owned());
        }
        self.log(&log);
        (self.text, self.lacks)
    }

    /// In a few lines: the core that has failed, or else what each did last.
    #[must_use]
    pub fn short(mut self) -> String {
        if !is_mapped(self.dead) {
            return self.text;
        }
        let (cores, _) = kernel::cores(self.dead);
        let cores: Vec<_> = cores.into_iter().flatten().collect();
        let failed = cores
            .iter()
            .filter(|core| core.fails && core.left.is_some());
        // The one that ends the run is not stopped.
        let failed = failed.min_by_key(|core| (core.state == CoreState::Stopped, core.index));
        if let (Some(core), Ok(stacks)) = (failed, self.stacks())
            && let Some(at) = core.left
        {
            let _ = writeln!(self.text, "core {} has failed here:", core.index);
            let walked = stacks.walk(core.index, at, &self.files.symbols);
            self.chain(&walked, SHORT_LINES);
            return self.text;
        }
        let stacks = self.stacks().ok();
        let is_crowd = cores.len() > FEW_CORES;
        for core in cores.iter().filter(|core| core.is_online) {
            if let (Some(at), Some(stacks)) = (core.dumped, &stacks) {
                let walked = stacks.walk(core.index, at, &self.files.symbols);
                self.place(core.index, &walked, is_crowd);
                continue;
            }
            let newest = self.newest.get(core.index as usize);
            if let Some(sample) = newest.and_then(|newest| newest.samples().next()) {
                let line = self.sample(&sample);
                let (core, number) = (core.index, sample.sequence);
                let _ = writeln!(
                    self.text,
                    "core {core}, its newest sample ({number}): {line}"
                );
            }
        }
        self.text
    }

    /// Where a core is; in one line if there are many.
    fn place(&mut self, core: u32, walked: &Walked, is_crowd: bool) {
        let _ = write!(self.text, "core {core} is here:");
        if is_crowd {
            let line = self.names(walked);
            let _ = writeln!(self.text, " {line}");
        } else {
            self.text.push('\n');
            self.chain(walked, FEW_LINES);
        }
    }

    fn stacks(&self) -> Result<Stacks<'a>, super::space::Fault> {
        Stacks::new(self.dead.space(), &self.dead.root)
    }

    fn lack(&mut self, Unreadable { what, fault }: &Unreadable) {
        self.lacks
            .push(format!("{what}: what is known of it {}", fault.name()));
    }

    /// Why the run has ended, as the kernel has said it: what stands before its own backtrace.
    fn last_words(&mut self, log: &Messages) {
        let words = log
            .messages
            .iter()
            .filter(|it| it.level == Level::LastWords);
        for message in words {
            let shown = log::shown(message);
            let lines = shown.lines().take_while(|line| !line.starts_with("#0"));
            for (place, line) in lines.take(WORDS_LINES).enumerate() {
                let before = if place == 0 { "it has failed: " } else { "  " };
                let _ = writeln!(self.text, "{before}{}", one_line(line));
            }
        }
    }

    fn cores(&mut self, log: &Messages) {
        let (cores, others) = kernel::cores(self.dead);
        if cores.is_empty() {
            self.text.push_str("the kernel had not made its cores\n");
            return;
        }
        let stacks = match self.stacks() {
            Ok(stacks) => Some(stacks),
            Err(fault) => {
                let what = "no chain can be walked".to_owned();
                self.lack(&Unreadable { what, fault });
                None
            }
        };
        let has_ended = log.messages.iter().any(|it| it.level == Level::LastWords);
        for core in &cores {
            match core {
                Ok(core) => self.core(core, stacks.as_ref(), has_ended),
                Err(unreadable) => self.lack(unreadable),
            }
        }
        for processor in others {
            self.lacks.push(format!(
                "a processor at {:#x} is none of the kernel's cores",
                processor.at.pc.0
            ));
        }
    }

    fn core(&mut self, core: &Core, stacks: Option<&Stacks<'_>>, has_ended: bool) {
        let state = match (core.state, core.fails, core.is_online) {
            (CoreState::Stopped, true, _) => "has failed, and was stopped",
            (_, true, _) => "has failed",
            (CoreState::Stopped, false, _) => "was stopped",
            (CoreState::Held, false, _) => "was held",
            (CoreState::Working, false, _) => "was held, and executed a command",
            (CoreState::Running, false, true) if has_ended => "has not stopped",
            (CoreState::Running, false, true) => "online",
            (CoreState::Running, false, false) => "not started",
        };
        let task = core
            .task
            .map(|task| format!(", task {}", self.task_name(task)));
        let task = task.unwrap_or_else(|| ", no task".to_owned());
        let _ = writeln!(
            self.text,
            "\ncore {} (APIC id {}): {state}{task}",
            core.index, core.apic_id
        );
        let at = match (core.left, core.dumped) {
            (Some(at), _) if core.fails => Some((at, "where it failed")),
            (Some(at), _) => Some((at, "where it was stopped")),
            (None, Some(at)) => Some((at, "where it was when the dump was made")),
            (None, None) => None,
        };
        if let (Some((at, what)), Some(stacks)) = (at, stacks) {
            self.walked(core.index, at, what, stacks);
        }
        self.samples(core.index, at.is_none() && core.is_online);
    }

    fn walked(&mut self, core: u32, at: Registers, what: &str, stacks: &Stacks<'_>) {
        let _ = writeln!(self.text, "{what}:");
        let walked = stacks.walk(core, at, &self.files.symbols);
        self.chain(&walked, usize::MAX);
        if let Some(fault) = walked.fault {
            let what = format!("core {core}: its chain is cut: a word of its stack");
            self.lacks.push(format!("{what} {}", fault.name()));
        }
    }

    /// The last samples of a core; `is_all` if nothing else says where it was.
    fn samples(&mut self, core: u32, is_all: bool) {
        let Some(newest) = self.newest.get(core as usize).cloned() else {
            if is_all {
                self.text
                    .push_str("its registers are not known, and there are no samples\n");
            }
            return;
        };
        if newest.is_corrupt {
            self.lacks.push(format!(
                "core {core}: its ring is damaged: samples are missing"
            ));
        }
        let mut samples = newest.samples();
        if is_all {
            let Some(sample) = samples.next() else {
                self.text
                    .push_str("its registers are not known, and its ring has no sample\n");
                return;
            };
            let lost = match newest.lost {
                0 => String::new(),
                lost => format!(", and {lost} behind it are lost"),
            };
            let _ = writeln!(
                self.text,
                "its registers are not known; its newest sample (number {}{lost}):",
                sample.sequence
            );
            let walked = self.walked_sample(&sample);
            self.chain(&walked, usize::MAX);
        }
        for sample in samples {
            let line = self.sample(&sample);
            let _ = writeln!(self.text, "sample {}: {line}", sample.sequence);
        }
    }

    fn walked_sample(&self, sample: &profiler::format::Sample<'_>) -> Walked {
        let image = &self.dead.root.image;
        let text = profiler::address::CodeRange {
            start: CodeAddress(image.text_start),
            end: CodeAddress(image.text_end),
        };
        walk::of_sample(sample, text, &self.files.symbols)
    }

    /// A sample in a line.
    fn sample(&mut self, sample: &profiler::format::Sample<'_>) -> String {
        let walked = self.walked_sample(sample);
        self.names(&walked)
    }

    /// The first functions of a chain.
    fn names(&mut self, walked: &Walked) -> String {
        let names = walked.links.iter().take(SAMPLE_FRAMES);
        let names: Vec<_> = names.map(|link| self.name(link.lookup())).collect();
        let more = if walked.links.len() > SAMPLE_FRAMES {
            " < …"
        } else {
            ""
        };
        format!("{}{more}", names.join(" < "))
    }

    fn task_name(&self, number: u16) -> String {
        let tasks = &self.dead.root.tasks;
        let at = tasks
            .stride
            .wrapping_mul(number.into())
            .wrapping_add(tasks.table)
            .wrapping_add(tasks.name);
        let name = self.dead.space().short(at).ok();
        self.named(number, name)
    }

    fn named(&self, number: u16, name: Option<u16>) -> String {
        let name = name.and_then(|name| self.dead.root.name(name));
        name.map_or_else(
            || number.to_string(),
            |name| format!("{number} ({})", one_line(name)),
        )
    }

    fn tasks(&mut self) {
        let (cores, _) = kernel::cores(self.dead);
        let stacks = self.stacks().ok();
        let (mut shown, mut lost) = (0, Vec::new());
        for task in kernel::tasks(self.dead) {
            match task {
                Ok(_) if shown == MOST_TASKS => {
                    self.lacks
                        .push(format!("there are more than {MOST_TASKS} tasks"));
                    break;
                }
                Ok(task) => {
                    shown += 1;
                    let place = place_of(&task, &cores);
                    self.task(&task, &place, stacks.as_ref());
                }
                Err(unreadable) => lost.push(unreadable),
            }
        }
        if let Some(Unreadable { what, fault }) = lost.first() {
            let more = match lost.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            self.lacks.push(format!(
                "{what}{more}: what says whether there is one {}",
                fault.name()
            ));
        }
    }

    fn task(&mut self, task: &Task, place: &Place, stacks: Option<&Stacks<'_>>) {
        let name = self.named(task.number, Some(task.name));
        let _ = match place {
            Place::Runs(core) => writeln!(self.text, "\ntask {name}: runs on core {core}"),
            Place::Rests => {
                let state = if task.is_blocked { "blocked" } else { "ready" };
                writeln!(self.text, "\ntask {name}, of core {}: {state}", task.home)
            }
            Place::Unknown => {
                self.lacks.push(format!(
                    "task {name}: it is ready, or runs on a core that cannot be read"
                ));
                return;
            }
        };
        let Some(stacks) = stacks.filter(|_| matches!(place, Place::Rests)) else {
            return;
        };
        match kernel::registers_of(&self.dead.space(), task) {
            Ok(at) => {
                let mut walked = stacks.walk(task.home, at, &self.files.symbols);
                // It goes on behind a call.
                if let Some(first) = walked.links.first_mut() {
                    *first = Link::Return(at.pc);
                }
                self.chain(&walked, usize::MAX);
                if let Some(fault) = walked.fault {
                    let what = format!("task {name}: its chain is cut: a word of its stack");
                    self.lacks.push(format!("{what} {}", fault.name()));
                }
            }
            Err(fault) => {
                let what = format!("task {name}: the top of its stack");
                self.lacks.push(format!("{what} {}", fault.name()));
            }
        }
    }

    fn log(&mut self, log: &Messages) {
        let (text, _) = log::text(log);
        let lines: Vec<_> = text.lines().collect();
        let skipped = lines.len().saturating_sub(LOG_LINES);
        self.text.push_str("\nthe log");
        if skipped > 0 {
            let _ = write!(
                self.text,
                ", its last {LOG_LINES} lines (pmiscope log shows {skipped} more)"
            );
        }
        self.text.push_str(":\n");
        for line in &lines[skipped..] {
            let _ = writeln!(self.text, "  {line}");
        }
    }

    /// A chain, a line for each function that was called or inlined; `most` lines, or a few more.
    fn chain(&mut self, walked: &Walked, most: usize) {
        let mut number = 0;
        let mut repeated = 0;
        let start = self.text.len();
        for (place, link) in walked.links.iter().enumerate() {
            if place > 0 && walked.links[place - 1] == *link {
                repeated += 1;
                continue;
            }
            self.end_of_repeated(&mut repeated);
            if self.text[start..].lines().count() >= most {
                let more = walked.links.len() - place;
                let _ = writeln!(self.text, "  and {more} more");
                break;
            }
            if let (Link::Interrupted { vector, .. }, true) = (link, place > 0) {
                let _ = writeln!(self.text, "  -- interrupt (vector {vector}) --");
            }
            if let Link::Border { vector, .. } = link {
                let by = match vector {
                    Some(vector) => format!("interrupt (vector {vector})"),
                    None => "system call".to_owned(),
                };
                let _ = writeln!(self.text, "  -- {by} from user code --");
            }
            self.frames(*link, &mut number);
        }
        self.end_of_repeated(&mut repeated);
        let end = match walked.fault {
            Some(_) => "cut",
            None => walked.end.name(),
        };
        let doubt = if walked.is_doubtful {
            "; a caller may be missing"
        } else {
            ""
        };
        let _ = writeln!(self.text, "  -- chain: {end}{doubt} --");
    }

    fn end_of_repeated(&mut self, repeated: &mut usize) {
        if *repeated > 0 {
            let _ = writeln!(self.text, "      and {repeated} times more");
            *repeated = 0;
        }
    }

    /// The functions at a link: the one that has the code, and before it those inlined into it.
    fn frames(&mut self, link: Link, number: &mut usize) {
        let shown = match link {
            Link::Return(address) | Link::UserReturn(address) => address,
            Link::Interrupted { pc, .. } | Link::Border { pc, .. } => pc,
        };
        let address = link.lookup();
        let symbols = &mut self.files.symbols;
        symbols.resolve([address]);
        let link_address = symbols.slide().link(address);
        let lines = link_address.map_or_else(Vec::new, |link| self.files.lines.at(link));
        let frames = symbols.frames(address);
        for (place, frame) in frames.iter().enumerate() {
            let name = one_line(symbols.label(frame.function)).into_owned();
            let line = (lines.len() == frames.len()).then(|| lines[place].clone());
            let at = line.flatten().map_or_else(String::new, |line| {
                format!(" at {}:{}", one_line(&line.file), line.line)
            });
            if frame.inlined {
                let _ = writeln!(self.text, "      (inlined) {name}{at}");
            } else {
                let _ = writeln!(self.text, "  #{number:02} [<{:#018x}>] {name}{at}", shown.0);
            }
        }
        *number += 1;
    }

    fn name(&mut self, address: CodeAddress) -> String {
        let symbols = &mut self.files.symbols;
        symbols.resolve([address]);
        let frame = symbols.frames(address).last();
        let name = frame.map(|frame| symbols.label(frame.function));
        one_line(name.unwrap_or("?")).into_owned()
    }
}

/// Where a task is.
enum Place {
    /// On this core.
    Runs(u32),
    /// Its stack is at rest.
    Rests,
    /// It may be on a core that cannot be read.
    Unknown,
}

fn place_of(task: &Task, cores: &[Result<Core, Unreadable>]) -> Place {
    let mut known = cores.iter().flatten();
    if let Some(core) = known.find(|core| core.task == Some(task.number)) {
        return Place::Runs(core.index);
    }
    if !task.is_blocked && cores.iter().any(Result::is_err) {
        return Place::Unknown;
    }
    Place::Rests
}
