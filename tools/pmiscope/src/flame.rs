//! Folded stacks and flame graphs.
//!
//! The folded form is one line per stack: the frames outermost first, between
//! semicolons, then the number of samples. Many tools read it; the flame graph
//! is drawn from it.

use std::collections::BTreeMap;
use std::io::Write;

use inferno::flamegraph;
use profiler::format::{ChainEnd, Clock};

use crate::profile::Profile;
use crate::report::model::task_name;
use crate::report::{Stack, Step, Tally};
use crate::symbols::Symbols;
use crate::units::{counted, grouped};

/// The frame below all stacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Root {
    /// The core that took the sample.
    Core,
    /// The task that ran.
    Task,
}

/// The folded stacks of a profile's tally, sorted, one line each.
#[must_use]
pub fn folded(
    profile: &Profile,
    tally: &Tally,
    symbols: &mut Symbols,
    root: Option<Root>,
) -> Vec<String> {
    symbols.resolve(tally.stacks.iter().flat_map(|stack| stack.addresses()));
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for stack in &tally.stacks {
        let mut frames = Vec::new();
        match root {
            Some(Root::Core) => frames.push(format!("core {}", stack.core)),
            Some(Root::Task) => frames.push(plain(&task_name(&profile.description, stack.task))),
            None => {}
        }
        frames.extend(fold(stack, symbols));
        *lines.entry(frames.join(";")).or_default() += stack.samples;
    }
    let line = |(frames, samples)| format!("{frames} {samples}");
    lines.into_iter().map(line).collect()
}

/// A stack's frames, outermost first.
fn fold(stack: &Stack, symbols: &Symbols) -> Vec<String> {
    let mut frames: Vec<_> = stack
        .steps(symbols)
        .map(|step| match step {
            Step::Frame(frame) => plain(symbols.label(frame.function)),
            Step::Interrupt(vector @ 0..32) => format!("[exception {vector:#04x}]"),
            Step::Interrupt(vector) => format!("[interrupt {vector:#04x}]"),
        })
        .collect();
    if stack.end != ChainEnd::Complete {
        frames.push(format!("[cut: {}]", stack.end.name()));
    }
    frames.reverse();
    frames
}

/// The name without semicolons, which separate frames: a type such as `[u8; 4]` has one.
fn plain(name: &str) -> String {
    name.replace(';', ":").replace(['\n', '\r'], " ")
}

/// Draws a flame graph, as SVG, from folded stacks: those of this event, if it says so.
///
/// # Errors
///
/// Those of `out`; no stack to draw.
pub fn draw(
    profile: &Profile,
    folded: &[String],
    event: Option<u8>,
    out: impl Write,
) -> std::io::Result<()> {
    let run = &profile.description;
    let host = &profile.host;
    let samples = folded
        .iter()
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum();
    let mut options = flamegraph::Options::default();
    options.title = format!("pmiscope: {}", run.workload.as_str());
    options.subtitle = Some(format!(
        "{} on {} · {} every {} · QEMU {}, {}",
        counted(samples, "sample"),
        counted(run.cores.into(), "core"),
        run.source,
        every(profile, event),
        host.qemu,
        host.mode,
    ));
    options.count_name = "samples".into();
    options.colors = flamegraph::Palette::Multi(flamegraph::color::MultiPalette::Rust);
    // The same profile gives the same picture.
    options.hash = true;
    options.deterministic = true;
    flamegraph::from_lines(&mut options, folded.iter().map(String::as_str), out)
}

/// What lies between two samples.
fn every(profile: &Profile, event: Option<u8>) -> String {
    let run = &profile.description;
    let events = profile.events();
    let counted = match event {
        Some(event) => events
            .get(usize::from(event))
            .map_or(&[][..], std::slice::from_ref),
        None => events,
    };
    if events.is_empty() {
        let unit = match run.clock {
            Clock::Instructions => "instructions",
            Clock::Time => "ns",
        };
        return format!("{} {unit}", grouped(run.period));
    }
    let counted = counted
        .iter()
        .map(|event| format!("{} {}", grouped(event.period), event.name.as_str()));
    counted.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_name_is_one_frame() {
        assert_eq!(plain("<[u8; 4] as Hash>::hash"), "<[u8: 4] as Hash>::hash");
    }
}
