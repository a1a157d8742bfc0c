//! The report for people: 100 columns, aligned, what matters first.

use std::fmt::Write as _;

use profiler::format::{Delivery, Source};

use super::model::{
    Core, CounterTotals, Counters, End, FunctionRow, Image, KeptChains, Period, Report, SortBy,
};
use super::only;
use super::{accounts, processes};
use crate::output::{one_line, padded, width, width_of};
use crate::profile::{Mode, Outcome};
use crate::qemu::{Emulator, PmuModel};
use crate::units::{counted, duration, grouped, percent, percent_text};

/// The columns that a line may have.
pub(crate) const WIDTH: usize = 100;
/// The columns of a label and what follows it.
const LABEL: usize = 12;

/// The report as text.
#[must_use]
pub fn text(report: &Report, sort: SortBy) -> String {
    let mut out = Out::default();
    out.facts(report);
    out.cores(&report.cores);
    out.chains(report);
    out.tasks(report);
    out.processes(report);
    out.accounts(&report.cores);
    out.functions(report, sort);
    out.0
}

/// How ticks of the run are written, and what is behind that.
fn ticks(report: &Report) -> (fn(u64) -> String, &'static str) {
    match report.sampling.clock {
        "instructions" => (grouped, " instructions"),
        "ticks" => (grouped, " ticks"),
        _ => (duration, ""),
    }
}

/// What a sample's handler costs, if that is known.
pub(crate) fn handler(report: &Report) -> Option<String> {
    let (number, unit) = ticks(report);
    let cost = report.sampling.handler_ticks?;
    let samples = report.totals.samples;
    let fast = match report.fast_samples {
        None => String::new(),
        Some(0) => "; all the slow way".into(),
        // More, where some of the samples that were written cannot be read.
        Some(fast) => format!("; {} the fast way", percent_text(fast, samples.max(fast))),
    };
    let median = number(cost.median);
    let line = match cost.max.map(number) {
        Some(at_most) => format!("{median}{unit} a sample (median), at most {at_most}"),
        None => format!("{median}{unit} a sample (median; other cores' may be among them)"),
    };
    Some(line + &fast)
}

/// How far the workload comes between samples, where it is sampled by time alone.
pub(crate) fn progress(report: &Report) -> Option<String> {
    if !report.sampling.events.is_empty() {
        return None;
    }
    let (number, unit) = ticks(report);
    let cost = number(report.sampling.handler_ticks?.median);
    let median = number(report.totals.period.median?);
    Some(format!(
        "the workload ran {median}{unit} between samples, the handler {cost}"
    ))
}

/// Text that grows.
#[derive(Default)]
pub(crate) struct Out(pub(crate) String);

impl Out {
    pub(crate) fn line(&mut self, text: &str) {
        self.0.push_str(&one_line(text.trim_end()));
        self.0.push('\n');
    }

    /// A label and what it says, wrapped beside it.
    pub(crate) fn fact(&mut self, label: &str, text: &str) {
        let mut label = label;
        for line in wrap(text, WIDTH - LABEL) {
            self.line(&format!("{label:<LABEL$}{line}"));
            label = "";
        }
    }

    /// What a kernel need not say.
    fn known_fact(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            self.fact(label, text);
        }
    }

    /// What is known where another profiler has sampled.
    fn imported(&mut self, report: &Report, from: &str) {
        self.fact("imported", from);
        self.build_id(report);
        self.events(report);
        let [samples, lost] = [report.totals.samples, report.totals.lost].map(grouped);
        self.fact("samples", &format!("{samples}, {lost} lost"));
        if let Some(hash) = &report.totals.sample_hash {
            self.fact("hash", hash);
        }
        if let Some(kept) = &report.totals.kept_chains {
            self.fact(
                "hash",
                &format!("{} (of chains and counts)", kept.chain_hash),
            );
        }
        self.end(&report.end);
    }

    fn build_id(&mut self, report: &Report) {
        if let Some(id) = &report.identity.build_id {
            self.fact("kernel", &format!("build-id {id}"));
        }
    }

    fn facts(&mut self, report: &Report) {
        if let Some(from) = &report.machine.imported {
            return self.imported(report, from);
        }
        self.build_id(report);
        self.known_fact("booted by", &report.machine.bootloader);
        if let (Some(qemu), Some(mode)) = (&report.machine.qemu, report.identity.mode) {
            let qemu = format!("{qemu}{}", counters(report));
            self.fact(
                "machine",
                &machine(&qemu, mode, report.machine.cores_online),
            );
        }
        if let Some(kinds) = kinds_of_cores(&report.cores) {
            self.fact("", &kinds);
        }
        self.image(&report.machine.image);
        self.known_fact("workload", &report.machine.workload);
        self.source(report);
        if let Some(clock) = &report.sampling.clock_known.said {
            self.fact("clock", clock);
        }
        self.period(report);
        self.samples(report);
        if let Some(hash) = &report.totals.sample_hash {
            self.fact("hash", hash);
        }
        if let Some(kept) = &report.totals.kept_chains {
            self.kept_chains(kept);
        }
        self.end(&report.end);
    }

    /// Where samples came from.
    fn source(&mut self, report: &Report) {
        let interrupts = &report.sampling.interrupts;
        if let (Some(source), Some(delivery)) = (report.identity.source, interrupts.delivery) {
            let delivery = delivery.to_uppercase();
            self.fact("source", &format!("{source} as {delivery}"));
        }
        if !interrupts.source_reason.is_empty() {
            self.fact("", &interrupts.source_reason);
        }
        if interrupts.delivery == Some(Delivery::Irq.name()) {
            self.fact("", BIAS_OF_IRQ);
        }
        if lacks_counters(report) {
            self.fact("", GET_COUNTERS);
        }
        if let Some(addresses) = &interrupts.addresses {
            self.fact("address", &addresses.to_string());
        }
    }

    fn end(&mut self, end: &End) {
        self.fact("run", &outcome(end.outcome, &end.message));
        if let Some(incomplete) = &end.incomplete {
            self.fact("incomplete", incomplete);
        }
        for warning in &end.warnings {
            self.fact("warning", warning);
        }
        if let Some(note) = &end.note {
            self.fact("note", note);
        }
    }

    fn samples(&mut self, report: &Report) {
        let mut samples = format!(
            "{}, {} lost",
            grouped(report.totals.samples),
            grouped(report.totals.lost)
        );
        match report.totals.unclaimed {
            Some(unclaimed) => {
                let _ = write!(samples, ", {} unclaimed", counted(unclaimed, "interrupt"));
            }
            None => samples += ", unclaimed interrupts not known",
        }
        let chosen = &report.shares.chosen;
        let cores = chosen.only_core.as_slice().iter().chain(&chosen.only_cores);
        let cores: Vec<_> = cores.copied().collect();
        let cores = (!cores.is_empty()).then(|| only::cores(&cores));
        let only: Vec<_> = cores
            .into_iter()
            .chain(report.sampling.only_event.clone())
            .chain(chosen.only_events.iter().cloned())
            .chain(chosen.only.iter().cloned())
            .collect();
        if !only.is_empty() {
            let _ = write!(samples, " ({} only)", only.join(", "));
        }
        self.fact("samples", &samples);
        if let Some(aimed) = &report.totals.aimed {
            self.fact("aimed", &aimed.line());
        }
        if let CounterTotals::Known(counters) = report.totals.counters {
            let samples_ops = report.sampling.events.iter().any(|it| it.exact.is_some());
            self.counters(counters, samples_ops);
        }
    }

    fn kept_chains(&mut self, kept: &KeptChains) {
        let [in_place, in_rings] = [kept.counted_in_place, kept.counted_in_rings].map(grouped);
        let line = format!(
            "chains: {in_place} counted in place, {in_rings} in the rings; order, times and periods are not there"
        );
        self.fact("kept", &line);
        self.fact(
            "hash",
            &format!("{} (of chains and counts)", kept.chain_hash),
        );
    }

    /// What makes addresses and callers others than the ELF file has.
    fn image(&mut self, image: &Image) {
        let moved = image.text_moved_by.as_deref();
        if let Some(distance) = moved.filter(|&distance| distance != "0x0") {
            self.fact("text", &format!("moved by {distance}"));
        }
        if let Some(listed) = image.symbols_from.listed() {
            self.fact("symbols", &listed);
        }
        if image.call_frames == Some(false) {
            self.fact("callers", BY_CODE);
        }
    }

    /// The counters' interrupts that made no sample, if any; an op that was sampled may not
    /// retire.
    fn counters(&mut self, counters: Counters, samples_ops: bool) {
        let Counters {
            late,
            early,
            missed,
            checks_lost,
            smis,
        } = counters;
        let missed_for = if samples_ops {
            "due and missed: too soon after another, or the op did not retire"
        } else {
            "due too soon after another and missed"
        };
        let said: Vec<_> = [
            (missed, "overflow", missed_for),
            (late, "interrupt", "for an overflow seen before"),
            (early, "interrupt", "before the event was due"),
            (
                checks_lost,
                "check",
                "of the overhead disturbed and left out",
            ),
            (smis.unwrap_or(0), "SMI", "by the firmware meanwhile"),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, how)| format!("{} {how}", counted(count, what)))
        .collect();
        if !said.is_empty() {
            self.fact("", &said.join(", "));
        }
    }

    fn period(&mut self, report: &Report) {
        if !report.sampling.events.is_empty() {
            self.events(report);
            if let Some(line) = handler(report) {
                self.fact("handler", &line);
            }
            return;
        }
        let (number, unit) = ticks(report);
        let period = &report.totals.period;
        let line = format!("{}{unit} requested", number(period.requested));
        let line = line + &achieved(period, number);
        self.fact("period", &line);
        if let (Some(handler), Some(progress)) = (handler(report), progress(report)) {
            self.fact("handler", &handler);
            self.fact("progress", &progress);
        }
    }

    fn events(&mut self, report: &Report) {
        for event in &report.sampling.events {
            let samples = counted(event.samples, "sample");
            let share = percent(event.samples, report.totals.samples);
            self.fact(
                &format!("event {}", event.index),
                &format!("{}: {samples}, {share:.2}%", event.name),
            );
            // As perf does it by a frequency.
            let mut period = match event.period.requested {
                0 => "no fixed period".to_owned(),
                requested => grouped(requested) + " requested",
            };
            if event.period_set != event.period.requested {
                let set = grouped(event.period_set);
                let _ = write!(period, ", {set} set: no shorter one makes progress here");
            }
            self.fact("", &(period + &achieved(&event.period, grouped)));
            match (event.overhead, event.unknown) {
                (Some(overhead), _) => self.fact("", &overhead.line()),
                (None, Some(why)) => self.fact("", &format!("overhead: {}", why.line())),
                (None, None) => {}
            }
            if let Some(exact) = event.exact {
                // They are counted of all events together.
                let have_exact = report
                    .sampling
                    .events
                    .iter()
                    .filter(|it| it.exact > Some(0));
                let elsewhere = match have_exact.count() {
                    1 => report.shares.exact_elsewhere,
                    _ => 0,
                };
                self.exact_addresses(event.samples, exact, elsewhere);
            }
        }
    }

    /// What the addresses of an event's samples mean, where they are exact.
    fn exact_addresses(&mut self, samples: u64, exact: u64, elsewhere: u64) {
        if exact == 0 {
            let line = format!(
                "none of {} has an exact address",
                counted(samples, "sample")
            );
            return self.fact("", &line);
        }
        let mut line = String::from("addresses are exact: the sampled op's own, without skid");
        if exact != samples {
            let _ = write!(line, "; {} without one", counted(samples - exact, "sample"));
        }
        if elsewhere > 0 {
            let samples = counted(elsewhere, "sample");
            let _ = write!(line, "; {samples} interrupted in another function");
        }
        self.fact("", &line);
    }

    /// A table of the cores, as many side by side as fit when there are many.
    fn cores(&mut self, cores: &[Core]) {
        const BESIDE: usize = 8;
        self.line("");
        if cores.len() <= BESIDE {
            self.line("core  APIC id      samples         lost    unclaimed       nested");
            for core in cores {
                self.line(&format!(
                    "{:>4}  {:>7} {:>12} {:>12} {:>12} {:>12}",
                    core.id,
                    known(core.apic_id),
                    grouped(core.samples),
                    grouped(core.lost),
                    known(core.unclaimed),
                    known(core.nested),
                ));
            }
            return;
        }
        const COLUMNS: usize = 3;
        let rows = cores.len().div_ceil(COLUMNS);
        let block = |text: String| format!("{text:<34}");
        let head = "core  APIC     samples      lost";
        self.line(&block(head.into()).repeat(COLUMNS));
        for row in 0..rows {
            let in_row = cores.iter().skip(row).step_by(rows);
            let line: String = in_row
                .map(|core| {
                    block(format!(
                        "{:>4}  {:>4} {:>11} {:>9}",
                        core.id,
                        known(core.apic_id),
                        grouped(core.samples),
                        grouped(core.lost)
                    ))
                })
                .collect();
            self.line(&line);
        }
    }

    fn chains(&mut self, report: &Report) {
        self.line("");
        self.line("      share      samples  chains");
        for &(end, samples) in &report.chain_ends {
            self.share(samples, report.totals.samples, end);
        }
        for (samples, what) in [
            (
                report.shares.callers_from_stack_top,
                "(caller from the top of the stack)",
            ),
            (report.shares.callers_doubtful, "(caller doubtful)"),
        ] {
            if samples > 0 {
                self.share(samples, report.totals.samples, what);
            }
        }
    }

    fn tasks(&mut self, report: &Report) {
        self.line("");
        self.line("      share      samples  tasks and states");
        for task in &report.shares.tasks {
            self.share(task.samples, report.totals.samples, &task.name);
        }
        self.share(
            report.shares.interrupts_off,
            report.totals.samples,
            "(interrupts off)",
        );
        self.share(report.shares.idle, report.totals.samples, "(halted)");
        if report.shares.locks.is_empty() {
            return;
        }
        self.line("");
        self.line("      share      samples  locks that were held");
        for lock in &report.shares.locks {
            self.share(lock.samples, report.totals.samples, &lock.name);
        }
    }

    /// The user's programs; nothing if none ran.
    fn processes(&mut self, report: &Report) {
        if report.shares.processes.is_empty() {
            return;
        }
        self.line("");
        self.line("      share      samples  programs");
        for sum in processes::by_program(&report.shares.processes) {
            let [user, kernel] = [sum.user, sum.kernel].map(grouped);
            let more = if sum.has_more { " and more" } else { "" };
            let processes = match sum.processes {
                0 => String::new(),
                1 => format!("1 process{more}, "),
                count => format!("{count} processes{more}, "),
            };
            let what = format!(
                "{} ({processes}{user} in the program, {kernel} in the kernel)",
                sum.name
            );
            self.share(sum.user + sum.kernel, report.totals.samples, &what);
        }
    }

    /// What the kernel has accounted for; nothing if it has not.
    fn accounts(&mut self, cores: &[Core]) {
        let accounts = accounts::together(cores);
        if accounts.is_empty() {
            return;
        }
        self.line("");
        self.line("      share        ticks  time by the kernel's accounts");
        let all = accounts
            .iter()
            .fold(0_u64, |sum, it| sum.saturating_add(it.1));
        for (name, ticks) in accounts {
            self.share(ticks, all, &name);
        }
    }

    fn share(&mut self, samples: u64, of: u64, what: &str) {
        let share = percent(samples, of);
        self.line(&format!("{share:>10.2}% {:>12}  {what}", grouped(samples)));
    }

    fn functions(&mut self, report: &Report, sort: SortBy) {
        let rows = &report.functions;
        self.line("");
        if report.shares.functions_in_all == 0 {
            self.line("no functions: no samples");
            return;
        }
        let by = match sort {
            SortBy::Own => "self",
            SortBy::Total => "total",
        };
        self.line(&format!(
            "{} of {} by {by} share; i: inlined wherever it was seen",
            grouped(rows.len() as u64),
            counted(report.shares.functions_in_all as u64, "function"),
        ));
        let with_samples = report.sampling.events.iter().filter(|it| it.samples > 0);
        if with_samples.count() > 1 {
            self.line("samples of all events added: --event takes one's alone, --by function has them side by side");
        }
        if rows.is_empty() {
            return;
        }
        // Percentages and the mark take 20 columns; two stand between the others.
        let room = WIDTH - 22;
        let widest = |texts: &[String]| texts.iter().map(|text| width(text)).max().unwrap_or(0);
        let names: Vec<_> = rows
            .iter()
            .map(|row| one_line(&row.name).into_owned())
            .collect();
        let places: Vec<_> = rows
            .iter()
            .map(|row| one_line(&place(row)).into_owned())
            .collect();
        // Where not all fits, names get three fifths, or what the places leave.
        let places_room = (room * 2 / 5).max(room.saturating_sub(widest(&names)));
        let places: Vec<_> = places
            .iter()
            .map(|place| keep_end(place, places_room))
            .collect();
        let names_room = room - widest(&places);
        let names: Vec<_> = names
            .iter()
            .map(|name| keep_ends(name, names_room))
            .collect();
        let names_width = widest(&names);
        self.line(&format!(
            "   self    total    {:<names_width$}  declared in",
            "function"
        ));
        for ((row, name), place) in rows.iter().zip(&names).zip(&places) {
            self.line(&format!(
                "{:>6.2}%  {:>6.2}%  {} {}  {place}",
                percent(row.own, report.totals.samples),
                percent(row.total, report.totals.samples),
                if row.inlined { 'i' } else { ' ' },
                padded(name, names_width),
            ));
        }
    }
}

/// The bias of maskable interrupts.
const BIAS_OF_IRQ: &str =
    "(code with interrupts off is not seen: its samples come where they are on again)";
/// Where callers come from without call-frame information.
const BY_CODE: &str = "by decoding instructions: the kernel's ELF has no call-frame information";
/// How to get what the stock QEMU does not have.
const GET_COUNTERS: &str =
    "(`make qemu-pmu` builds a QEMU that has performance counters, which runs then take)";

/// Returns true if the kernel looked for performance counters in vain, on a QEMU that
/// cannot have any.
fn lacks_counters(report: &Report) -> bool {
    let looked = report.sampling.interrupts.source_reason.starts_with("pmu:")
        && report.identity.source != Some(Source::Pmu.name());
    looked
        && report.identity.mode == Some(Mode::Deterministic)
        && report.machine.emulator == Some(Emulator::Stock)
}

/// Which cores are of which kind, where there are several kinds.
fn kinds_of_cores(cores: &[Core]) -> Option<String> {
    let mut runs: Vec<(&str, u32, u32)> = Vec::new();
    for core in cores {
        let kind = core.kind.as_deref()?;
        match runs.last_mut() {
            Some((last, _, end)) if *last == kind => *end = core.id,
            _ => runs.push((kind, core.id, core.id)),
        }
    }
    let listed: Vec<_> = runs
        .iter()
        .map(|&(kind, first, last)| match last - first {
            0 => format!("{first} {kind}"),
            _ => format!("{first}-{last} {kind}"),
        })
        .collect();
    (runs.len() > 1).then(|| format!("cores {}", listed.join(", ")))
}

/// The performance counters that QEMU has.
fn counters(report: &Report) -> String {
    model(report.machine.pmu)
}

/// The same, of any run.
pub(super) fn model(pmu: Option<PmuModel>) -> String {
    match pmu {
        None | Some(PmuModel::Off) => String::new(),
        Some(model) => format!(" (PMU {model})"),
    }
}

/// The achieved periods, if any, to stand behind the requested one.
fn achieved(period: &Period, number: fn(u64) -> String) -> String {
    let (Some(min), Some(median), Some(max)) = (period.min, period.median, period.max) else {
        return String::new();
    };
    let [min, median, max] = [min, median, max].map(number);
    let within = match period.known_to_within {
        None | Some(0) => String::new(),
        Some(within) => format!(", each ±{}", number(within)),
    };
    format!("; achieved: minimum {min}, median {median}, maximum {max}{within}")
}

/// What a run ran on.
pub(super) fn machine(qemu: &str, mode: Mode, cores: u32) -> String {
    let mode = match mode {
        Mode::Deterministic => "deterministic (counted instructions; cores in turn)",
        Mode::Realtime => "realtime (cores in parallel)",
        Mode::Kvm => "kvm (cores in parallel, on the host's processor)",
    };
    let cores = counted(cores.into(), "core");
    format!("QEMU {qemu}, {mode}, {cores} online")
}

/// How a run ended, and the message about it.
pub(crate) fn outcome(outcome: Option<Outcome>, message: &str) -> String {
    let Some(outcome) = outcome else {
        return "how it ended is not known: the profile's end is missing".into();
    };
    match (outcome, message) {
        (outcome, "") => outcome_name(outcome).into(),
        (Outcome::Interrupted, signal) => format!("interrupted by {signal}"),
        (outcome, message) => format!("{}: {message}", outcome_name(outcome)),
    }
}

/// What ended a run, in words.
#[must_use]
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Finished => "finished",
        Outcome::BadCommandLine => "the kernel refused its command line",
        Outcome::SamplingUnavailable => "the kernel could not sample",
        Outcome::Panic => "the kernel panicked",
        Outcome::Exception => "the kernel met an exception",
        Outcome::LoaderFailed => "the loader could not load the kernel",
        Outcome::EndedEarly => "the kernel ended before it had taken all its samples",
        Outcome::Failed => "the kernel says that it failed",
        Outcome::UnknownValue => "the kernel ended with a value that means nothing",
        Outcome::Reset => "the guest reset or switched off the machine",
        Outcome::WrongKernel => "another kernel ran than the one that was given",
        Outcome::NoBuildId => "the kernel does not say which one it is",
        Outcome::Unreadable => "the kernel's region cannot be read",
        Outcome::Hung => "the guest hung and was ended",
        Outcome::TimeLimit => "ended at the time limit",
        Outcome::Interrupted => "interrupted by the user",
        Outcome::QemuFailed => "QEMU failed",
        Outcome::Unfinished => "the run had not finished",
        Outcome::Silent => "the guest fell silent",
        Outcome::Partial => "a part of the run is missing",
    }
}

fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "?".into(), grouped)
}

/// Where a function is declared.
fn place(row: &FunctionRow) -> String {
    match (&row.file, row.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        (None, _) => String::new(),
    }
}

/// At most `room` columns of `text`, its end rather than its beginning.
pub(crate) fn keep_end(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.into();
    }
    format!("…{}", last_columns(text, room.saturating_sub(1)))
}

/// At most `room` columns of `text`, its beginning and its end.
pub(crate) fn keep_ends(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.into();
    }
    let end = room / 2;
    let beginning = first_columns(text, (room - end).saturating_sub(1));
    format!("{beginning}…{}", last_columns(text, end))
}

/// As much of the beginning of `text` as fits into so many columns.
fn first_columns(text: &str, columns: usize) -> &str {
    let characters = text.char_indices().map(|(at, c)| (at + c.len_utf8(), c));
    &text[..fitting(characters, columns).unwrap_or(0)]
}

/// As much of the end.
fn last_columns(text: &str, columns: usize) -> &str {
    let start = fitting(text.char_indices().rev(), columns);
    &text[start.unwrap_or(text.len())..]
}

/// Where the last character is that still fits.
fn fitting(characters: impl Iterator<Item = (usize, char)>, columns: usize) -> Option<usize> {
    let mut taken = 0;
    let fits = characters.take_while(|&(_, c)| {
        taken += width_of(c);
        taken <= columns
    });
    fits.last().map(|(at, _)| at)
}

/// Lines of at most `room` columns, broken between words.
pub(crate) fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace().map(one_line) {
        let line = lines.last_mut().expect("there is one from the start");
        if !line.is_empty() && width(line) + 1 + width(&word) > room {
            lines.push(word.into_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wide_takes_its_columns() {
        assert_eq!(keep_ends("名名名名名", 6), "名…名");
        assert_eq!(keep_end("名名名名名", 6), "…名名");
        assert_eq!(keep_ends("名", 1), "…");
        assert_eq!(wrap("a\x1b[m 名名", 4), ["a\\u{1b}[m", "名名"]);
    }

    #[test]
    fn long_texts_are_shortened_where_it_hurts_least() {
        assert_eq!(
            keep_end("kernel/src/workload/hash.rs:12", 11),
            "…hash.rs:12"
        );
        assert_eq!(keep_ends("abcdefghij", 7), "abc…hij");
        assert_eq!(keep_ends("abc", 7), "abc");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
    }
}
