//! The result of a verification, with names, as text or JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use profiler::address::{CodeAddress, UserAddress};
use profiler::format::ChainEnd;
use serde::Serialize;

use super::{Assumed, Difference, Executed, UserMode, Verification};
use crate::chain::Link;
use crate::output::one_line;
use crate::profile::Profile;
use crate::symbols::Symbols;
use crate::units::{counted, grouped, percent};

/// Links of a chain that an example shows.
const SHOWN: usize = 12;

/// The output of `pmiscope verify`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub run: Run,
    /// Instructions, each of which is a sample.
    pub instructions: u64,
    /// Those whose chain is the true one.
    pub exact: u64,
    /// Those whose chain is the true one as far as a record can hold it.
    pub cut_at_depth_limit: u64,
    /// Those whose chain is not the true one.
    pub different: u64,
    /// What instructions did that makes the true chains.
    pub executed: ExecutedRow,
    /// What was not seen, and assumed true.
    pub assumed: AssumedRow,
    /// What call-frame information is missing.
    pub lacks: LacksRow,
    /// The kinds of differences.
    pub differences: Vec<Row>,
    /// Records that cannot be read.
    pub unreadable: u64,
}

/// The run that was verified.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The kernel's GNU build-id.
    pub build_id: String,
    /// Where overflows came from.
    pub source: &'static str,
    pub workload: String,
    pub cores: u32,
}

/// See [`Assumed`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AssumedRow {
    pub starts: u64,
    pub stacks: u64,
    pub links: u64,
    pub instructions_lost: u64,
    pub entries_not_stepped: u64,
    pub instructions_not_stepped: u64,
    pub roots: u64,
    pub threads: u64,
}

/// See [`Executed`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ExecutedRow {
    pub calls: u64,
    pub returns: u64,
    pub interrupts: u64,
    pub repeated: u64,
    /// In the user's programs.
    pub user_mode: UserMode,
}

/// What the kernel's ELF does not say, for want of call-frame information.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LacksRow {
    /// True if it has none at all: callers are found by decoding instructions.
    pub call_frames: bool,
    /// True if it does not say which code interrupts enter.
    pub interrupt_entries: bool,
    /// Instructions of which neither says where their callers are.
    pub callers_undecided: u64,
}

/// A kind of difference.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub kind: &'static str,
    pub count: u64,
    /// In which functions, how many of them; most first.
    pub functions: Vec<(String, u64)>,
    pub examples: Vec<Example>,
}

/// An instruction with a wrong chain.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    pub core: u32,
    /// The number of the sample on it.
    pub sequence: u32,
    /// The instruction, in words.
    pub at: String,
    /// The one before.
    pub before: Option<String>,
    /// The true links, innermost first.
    pub expected: Vec<String>,
    pub reported: Vec<String>,
    pub end: &'static str,
}

impl From<Executed> for ExecutedRow {
    fn from(executed: Executed) -> Self {
        let Executed {
            calls,
            returns,
            interrupts,
            repeated,
            user,
        } = executed;
        Self {
            calls,
            returns,
            interrupts,
            repeated,
            user_mode: user,
        }
    }
}

impl From<Assumed> for AssumedRow {
    fn from(assumed: Assumed) -> Self {
        Self {
            starts: assumed.starts,
            stacks: assumed.stacks,
            links: assumed.links,
            instructions_lost: assumed.lost,
            entries_not_stepped: assumed.entries,
            instructions_not_stepped: assumed.unseen,
            roots: assumed.roots,
            threads: assumed.threads,
        }
    }
}

impl Row {
    fn new(kind: super::Kind, differences: &super::Differences, symbols: &mut Symbols) -> Self {
        let mut functions = BTreeMap::new();
        for (&pc, count) in &differences.places {
            *functions.entry(function(pc, symbols)).or_insert(0) += count;
        }
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let examples = differences.examples.iter();
        Self {
            kind: kind.name(),
            count: differences.count,
            functions,
            examples: examples
                .map(|(core, difference)| example(*core, difference, symbols))
                .collect(),
        }
    }
}

impl Report {
    /// Names what a verification found. Addresses are resolved here.
    #[must_use]
    pub fn new(profile: &Profile, found: &Verification, symbols: &mut Symbols) -> Self {
        let run = &profile.description;
        let differences = found.differences.iter();
        Self {
            run: Run {
                build_id: crate::symbols::BuildId(run.build_id).to_string(),
                source: run.source.name(),
                workload: run.workload.as_str().to_owned(),
                cores: run.cores,
            },
            instructions: found.instructions,
            exact: found.exact,
            cut_at_depth_limit: found.cut,
            different: found.different(),
            executed: found.executed.into(),
            assumed: found.assumed.into(),
            lacks: LacksRow {
                call_frames: found.lacks.frames,
                interrupt_entries: found.lacks.entries,
                callers_undecided: found.undecided,
            },
            differences: differences
                .map(|(kind, differences)| Row::new(*kind, differences, symbols))
                .collect(),
            unreadable: found.unreadable,
        }
    }

    /// As JSON.
    ///
    /// # Errors
    ///
    /// None that a report can cause.
    pub fn json(&self) -> serde_json::Result<String> {
        crate::output::json(self)
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let cores = counted(self.run.cores.into(), "core");
        let workload = one_line(&self.run.workload);
        writeln!(out, "kernel      build-id {}", self.run.build_id)?;
        writeln!(
            out,
            "workload    {workload}, {cores}, by {}",
            self.run.source
        )?;
        let [calls, returns, interrupts] = [
            (self.executed.calls, "call"),
            (self.executed.returns, "return"),
            (self.executed.interrupts, "interrupt"),
        ]
        .map(|(count, noun)| counted(count, noun));
        writeln!(out, "executed    {calls}, {returns}, {interrupts}")?;
        self.write_user_mode(out)?;
        self.write_assumed(out)?;
        self.write_lacks(out)?;
        writeln!(out, "\n      share instructions  chains")?;
        let share = |out: &mut String, count, what: &str| {
            let share = percent(count, self.instructions);
            writeln!(out, "{share:>10.4}% {:>12}  {what}", grouped(count))
        };
        share(out, self.instructions, "all")?;
        share(out, self.exact, "exact")?;
        if self.cut_at_depth_limit > 0 {
            let what = "exact up to the depth limit";
            share(out, self.cut_at_depth_limit, what)?;
        }
        share(out, self.different, "different")?;
        for row in &self.differences {
            writeln!(out)?;
            share(out, row.count, row.kind)?;
            self.write_functions(out, row)?;
            for example in &row.examples {
                example.write(out)?;
            }
        }
        Ok(())
    }

    fn write_user_mode(&self, out: &mut String) -> std::fmt::Result {
        let user = &self.executed.user_mode;
        if *user == UserMode::default() {
            return Ok(());
        }
        let [instructions, calls, interrupts, by_sysret, by_iretq] = [
            (user.instructions, "instruction"),
            (user.system_calls, "system call"),
            (user.interrupts, "interrupt"),
            (user.system_returns, "return"),
            (user.interrupt_returns, "return"),
        ]
        .map(|(count, noun)| counted(count, noun));
        writeln!(
            out,
            "            in user mode {instructions}, {calls}, {interrupts}; {by_sysret} there by sysret, {by_iretq} by iretq"
        )?;
        if user.upcalls > 0 {
            let upcalls = counted(user.upcalls, "upcall");
            let back = grouped(user.upcall_returns);
            writeln!(out, "            {upcalls}, {back} of which went back")?;
        }
        Ok(())
    }

    fn write_assumed(&self, out: &mut String) -> std::fmt::Result {
        let assumed = &self.assumed;
        writeln!(
            out,
            "assumed     {} at {}",
            counted(assumed.links, "caller"),
            counted(assumed.starts, "start")
        )?;
        for (count, noun, what) in [
            (assumed.stacks, "stack", " taken up for the first time"),
            (assumed.roots, "root", " that a new stack returns to"),
            (
                assumed.threads,
                "thread",
                " of a program taken up for the first time",
            ),
            (assumed.instructions_lost, "instruction", " lost"),
            (
                assumed.entries_not_stepped,
                "interrupt",
                " entered without a step",
            ),
            (
                assumed.instructions_not_stepped,
                "instruction",
                " not stepped",
            ),
            (self.unreadable, "record", " not readable"),
        ] {
            if count > 0 {
                writeln!(out, "            {}{what}", counted(count, noun))?;
            }
        }
        Ok(())
    }

    fn write_lacks(&self, out: &mut String) -> std::fmt::Result {
        let lacks = &self.lacks;
        let undecided = counted(lacks.callers_undecided, "instruction");
        let callers = "callers     by decoding instructions: there is no call-frame information";
        let some = "callers     some code has no call-frame information";
        let label = match (lacks.call_frames, lacks.callers_undecided) {
            (true, _) => callers,
            (false, 0) => "",
            (false, _) => some,
        };
        if !label.is_empty() {
            writeln!(out, "{label}")?;
        }
        if lacks.callers_undecided > 0 {
            writeln!(
                out,
                "            {undecided} of which neither says where their callers are"
            )?;
        }
        if lacks.call_frames && lacks.interrupt_entries {
            writeln!(
                out,
                "            which code interrupts enter is not known: they are no successors"
            )?;
        }
        Ok(())
    }

    fn write_functions(&self, out: &mut String, row: &Row) -> std::fmt::Result {
        for (name, count) in row.functions.iter().take(SHOWN) {
            let name = one_line(name);
            writeln!(out, "            {:>12}  in {name}", grouped(*count))?;
        }
        let more = row.functions.len().saturating_sub(SHOWN);
        if more > 0 {
            let more = counted(more as u64, "function");
            writeln!(out, "            {:>12}  and {more} more", "")?;
        }
        Ok(())
    }
}

impl Example {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { core, sequence, .. } = self;
        writeln!(
            out,
            "  core {core}, sample {sequence}: {}",
            one_line(&self.at)
        )?;
        if let Some(before) = self.before.as_deref().map(one_line) {
            writeln!(out, "    after     {before}")?;
        }
        let mut chain = |label: &str, links: &[String], end: Option<&str>| {
            let mut label = label;
            for link in links.iter().take(SHOWN).map(|link| one_line(link)) {
                writeln!(out, "    {label:<9} {link}")?;
                label = "";
            }
            match end {
                _ if links.len() > SHOWN => writeln!(out, "    {label:<9} …"),
                Some(end) => writeln!(out, "    {label:<9} [{end}]"),
                None if links.is_empty() => writeln!(out, "    {label:<9} nothing"),
                None => Ok(()),
            }
        };
        chain("expected", &self.expected, None)?;
        chain("reported", &self.reported, Some(self.end))
    }
}

fn example(core: u32, difference: &Difference, symbols: &mut Symbols) -> Example {
    let mut links = |links: &[Link]| links.iter().map(|&it| link(it, symbols)).collect();
    let expected = links(&difference.expected);
    let reported = links(&difference.reported);
    Example {
        core,
        sequence: difference.sequence,
        at: place(difference.pc, symbols),
        before: difference.before.map(|pc| place(pc, symbols)),
        expected,
        reported,
        end: ChainEnd::name(difference.end),
    }
}

fn link(link: Link, symbols: &mut Symbols) -> String {
    match link {
        Link::Return(address) | Link::UserReturn(address) => {
            let name = function(CodeAddress(address.0.wrapping_sub(1)), symbols);
            format!("{:#x} in {name}", shown(address, symbols))
        }
        Link::Interrupted { vector, pc } => {
            format!("[interrupt {vector:#04x}] {}", place(pc, symbols))
        }
        Link::Border { vector, pc } => {
            let by = vector.map_or("system call".to_owned(), |it| {
                format!("interrupt {it:#04x}")
            });
            format!("[{by}] {}", place(pc, symbols))
        }
    }
}

fn place(pc: CodeAddress, symbols: &mut Symbols) -> String {
    format!("{:#x} in {}", shown(pc, symbols), function(pc, symbols))
}

/// The address, as its ELF file has it.
fn shown(address: CodeAddress, symbols: &Symbols) -> u64 {
    match UserAddress::of_program(address) {
        Some(user) => user.address,
        None => symbols.slide().shown(address),
    }
}

/// The function that has the code at `pc`, not one that is inlined there.
fn function(pc: CodeAddress, symbols: &mut Symbols) -> String {
    symbols.resolve([pc]);
    // There is at least one frame.
    let outermost = symbols.frames(pc).last().map(|frame| frame.function);
    outermost.map_or_else(String::new, |id| symbols.function(id).name.clone())
}
