//! `diff`: two profiles, by the names of their functions.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use profiler::format::Clock;

use super::print;
use super::show::{CountedProfile, LoadedProfile, destination};
use super::views::OfEvents;
use crate::cli::{DiffArgs, ProfileArgs, ReportFormat};
use crate::exit::{Exit, Usage};
use crate::flame::{self, Stacks};
use crate::output::{Destination, json, say};
use crate::report::counts::Counts;
use crate::report::diff::{self, Diff, DiffOptions, Side};
use crate::report::event;
use crate::report::model::Identity;

/// Functions in a text, unless asked otherwise.
const TOP: usize = 30;

pub(super) fn diff(arguments: &DiffArgs) -> Result<Exit> {
    let is_drawn_alone = arguments.output.as_deref() == Some(Path::new("-"));
    if is_drawn_alone && arguments.format != ReportFormat::Text {
        bail!(Usage(
            "--format: -o - writes the flame graph in place of what it is for: leave one of them out"
                .to_owned()
        ));
    }
    let profiles = arguments.profiles();
    let output = arguments.output.as_deref();
    // Over neither of the two.
    let output = output.map(|path| {
        destination(path, &profiles[0])?;
        destination(path, &profiles[1])
    });
    let output = output.transpose()?;
    let mut before = Counted::new(&profiles[0], arguments)?;
    let mut after = Counted::new(&profiles[1], arguments)?;
    let pairs = pairs(&before, &after)?;
    if let Some(output) = &output {
        if pairs.len() > 1 {
            bail!(
                "a flame graph is of one event: say which by --event ({})",
                event::names(&before.counted.profile, &firsts(&pairs)).join(", ")
            );
        }
        if let Some(lacking) = before.lacking().or_else(|| after.lacking()) {
            bail!("there is nothing to draw: {lacking}");
        }
        draw(
            &before.of(first(&pairs, 0))?,
            &after.of(first(&pairs, 1))?,
            output,
        )?;
    }
    if !matches!(output, Some(Destination::Stdout)) {
        for lacking in [before.lacking(), after.lacking()].into_iter().flatten() {
            say!("pmiscope: {lacking}");
        }
        let text = text(&mut before, &mut after, (&pairs, arguments))?;
        print(&text).context("cannot write the difference")?;
    }
    let exit = before.counted.leave();
    Ok(exit.or(after.counted.leave()))
}

/// Which events of the two are compared: numbers of the first, and of the second; none, if all samples
/// of each are of one.
type Pairs = Vec<[u8; 2]>;

fn firsts(pairs: &Pairs) -> Vec<u8> {
    pairs.iter().map(|&[first, _]| first).collect()
}

fn first(pairs: &Pairs, side: usize) -> Option<u8> {
    pairs.first().map(|pair| pair[side])
}

/// What all samples of a profile are taken by, if they are by one thing that is known.
fn taken_by(counted: &CountedProfile) -> Option<String> {
    if counted.tally.samples() == 0 || counted.profile.host.imported.is_some() {
        return None;
    }
    let clock = || match counted.profile.description.clock {
        Clock::Instructions => "instructions executed",
        Clock::Time | Clock::Ticks => "time",
    };
    let names = event::names(&counted.profile, &counted.events());
    match &names[..] {
        [] if counted.profile.events().is_empty() => Some(clock().to_owned()),
        [name] => Some(name.clone()),
        _ => None,
    }
}

/// Refuses to compare shares of different events; says where they are of different clocks.
pub(super) fn are_comparable(sides: [(&str, &CountedProfile); 2]) -> Result<()> {
    let [Some(first), Some(second)] = sides.map(|(_, counted)| taken_by(counted)) else {
        return Ok(());
    };
    if event::are_same(&first, &second) {
        return Ok(());
    }
    let [before, after] = sides.map(|(path, _)| path);
    let have_events = sides.map(|(_, counted)| !counted.events().is_empty());
    if have_events == [true; 2] {
        bail!("the two have no event in common: {before} has {first}, {after} has {second}");
    }
    say!(
        "pmiscope: note: shares of {before} are of {first}, those of {after} of {second}: they differ where code takes more of one than of the other"
    );
    Ok(())
}

/// Events that count the same, if either has several; says which the other lacks.
fn pairs(before: &Counted, after: &Counted) -> Result<Pairs> {
    let sides = [before, after].map(|side| {
        let events = side.counted.events();
        let names = event::names(&side.counted.profile, &events);
        events.into_iter().zip(names).collect::<Vec<_>>()
    });
    if sides.iter().all(|events| events.len() < 2) {
        are_comparable([
            (&before.path, &before.counted),
            (&after.path, &after.counted),
        ])?;
        return Ok(Pairs::new());
    }
    let find = |name: &str, side: usize| {
        let mut events = sides[side].iter();
        let found = events.find(|(_, other)| event::are_same(name, other));
        found.map(|&(number, _)| number)
    };
    let of_both = sides[0]
        .iter()
        .filter_map(|(number, name)| Some([*number, find(name, 1)?]));
    let pairs: Pairs = of_both.collect();
    if pairs.is_empty() {
        let names = |side: usize| {
            let names: Vec<_> = sides[side].iter().map(|(_, name)| &**name).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        bail!(
            "the two have no event in common: {} has {}, {} has {}",
            before.path,
            names(0),
            after.path,
            names(1)
        );
    }
    for (side, path) in [(0, &before.path), (1, &after.path)] {
        for (_, name) in &sides[side] {
            if find(name, 1 - side).is_none() {
                say!("pmiscope: note: {name} is of {path} alone, and is not compared");
            }
        }
    }
    Ok(pairs)
}

fn draw(before: &OfSide, after: &OfSide, output: &Destination) -> Result<()> {
    let mut picture = Vec::new();
    flame::draw_diff([&before.stacks, &after.stacks], &mut picture)
        .context("cannot draw the flame graph")?;
    output.write(&picture)
}

fn text(
    before: &mut Counted,
    after: &mut Counted,
    (pairs, arguments): (&Pairs, &DiffArgs),
) -> Result<String> {
    let names = event::names(&before.counted.profile, &firsts(pairs));
    let mut compare = |pair: Option<[u8; 2]>| {
        let sides = [
            before.of(pair.map(|pair| pair[0]))?,
            after.of(pair.map(|pair| pair[1]))?,
        ];
        let only = after.counted.only();
        let sides = sides.each_ref().map(|it| (it.side.clone(), &it.stacks));
        Ok(Diff::new(sides, only, options(arguments)))
    };
    let as_text = |diff: &Diff| diff::text::text(diff, arguments.sort);
    if pairs.is_empty() {
        let diff = compare(None)?;
        return Ok(match arguments.format {
            ReportFormat::Text => as_text(&diff),
            ReportFormat::Json => json(&diff)?,
        });
    }
    let diffs = OfEvents::new(names, |place| compare(Some(pairs[place])))?;
    Ok(match arguments.format {
        ReportFormat::Text => diffs.text(as_text),
        ReportFormat::Json => json(&diffs)?,
    })
}

fn options(arguments: &DiffArgs) -> DiffOptions {
    let top = match arguments.format {
        ReportFormat::Text => Some(arguments.top.unwrap_or(TOP)),
        ReportFormat::Json => arguments.top,
    };
    DiffOptions {
        sort: arguments.sort,
        functions: top,
        stacks: top.map(|top| top.div_ceil(3)),
    }
}

/// One of the profiles, counted.
struct Counted {
    counted: CountedProfile,
    path: String,
}

/// What is compared of it.
struct OfSide {
    stacks: Stacks,
    side: Side,
}

impl Counted {
    fn new(profile: &ProfileArgs, arguments: &DiffArgs) -> Result<Self> {
        let path = profile.profile.display().to_string();
        let mut loaded = LoadedProfile::new(profile)?;
        if Counts::are_in(&loaded.profile.description) {
            bail!("{path} has counts of events and no samples: nothing to compare");
        }
        let selection = loaded
            .select(&arguments.select)
            .with_context(|| path.clone())?;
        let counted = loaded.count(selection).with_context(|| path.clone())?;
        Ok(Self { counted, path })
    }

    /// Why it has nothing to compare, if it has nothing.
    fn lacking(&self) -> Option<String> {
        let is_empty = self.counted.tally.samples() == 0;
        is_empty.then(|| format!("{}: {}", self.path, self.counted.lacks_samples()))
    }

    /// The samples of this event, or all.
    fn of(&mut self, event: Option<u8>) -> Result<OfSide> {
        if let Some(event) = event {
            self.counted.count_event(event)?;
        }
        let CountedProfile {
            profile,
            tally,
            symbols,
            ..
        } = &self.counted;
        Ok(OfSide {
            stacks: Stacks::by_name(profile, tally, symbols)?,
            side: Side {
                profile: self.path.clone(),
                build_id: Identity::new(profile).build_id,
                samples: tally.samples(),
            },
        })
    }
}
