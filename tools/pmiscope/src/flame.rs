//! Folded stacks and flame graphs.
//!
//! The folded form is one line per stack: the frames outermost first, between
//! semicolons, then the number of samples. Many tools read it; the flame graph
//! is drawn from it.

use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;

use hashbrown::HashMap;
use inferno::flamegraph;
use profiler::format::Clock;

use crate::output::folded::{self, Place};
use crate::output::svg;
use crate::profile::{Profile, ReadError};
use crate::report::model::{task_name, task_numbers};
use crate::report::{Only, Stack, Step, Tally};
use crate::symbols::{FunctionId, Symbols};
use crate::units::{counted, grouped};

/// The frame below all stacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Root {
    /// The core that took the sample.
    Core,
    /// The task that ran.
    Task,
}

/// The stacks of a profile, by their frames' names.
pub struct Stacks {
    /// The frames, outermost first, and the samples.
    samples: BTreeMap<Vec<Rc<str>>, u64>,
    has_root: bool,
}

impl Stacks {
    /// The stacks of a profile's tally.
    ///
    /// # Errors
    ///
    /// Samples cannot be read that were there when the profile was opened.
    pub fn new(
        profile: &Profile,
        tally: &Tally,
        symbols: &mut Symbols,
        root: Option<Root>,
    ) -> Result<Self, ReadError> {
        symbols.resolve(tally.addresses());
        Self::with_names(profile, tally, symbols, (root, Names::default()))
    }

    /// The same by the names of functions alone, whatever others have the same: where they are
    /// declared, and their addresses, are others in another kernel. Addresses must have been resolved.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn by_name(profile: &Profile, tally: &Tally, symbols: &Symbols) -> Result<Self, ReadError> {
        let names = Names {
            is_short: true,
            ..Names::default()
        };
        Self::with_names(profile, tally, symbols, (None, names))
    }

    fn with_names(
        profile: &Profile,
        tally: &Tally,
        symbols: &Symbols,
        (root, mut names): (Option<Root>, Names),
    ) -> Result<Self, ReadError> {
        let chains: Vec<_> = tally
            .chains()
            .map(|chain| names.outermost_first(chain.steps(symbols), symbols))
            .collect();
        // Most stacks differ in addresses of the same functions.
        let mut samples: HashMap<Vec<Name>, u64> = HashMap::new();
        for (root, stack) in stacks_of(profile, tally, root)? {
            let mut frames: Vec<Name> = Vec::new();
            frames.extend(root.map(|root| names.add(root)));
            frames.extend(stack.cut_label().map(|label| names.add(label)));
            frames.extend(&chains[stack.outer.number]);
            frames.extend(names.outermost_first(stack.innermost(symbols), symbols));
            *samples.entry(frames).or_default() += stack.samples;
        }
        let samples = samples.into_iter().map(|(frames, samples)| {
            let frames = frames.into_iter().map(|name| names.get(name));
            (frames.collect(), samples)
        });
        // Different functions may have one name.
        let mut by_name: BTreeMap<Vec<Rc<str>>, u64> = BTreeMap::new();
        for (frames, count) in samples {
            *by_name.entry(frames).or_default() += count;
        }
        Ok(Self {
            samples: by_name,
            has_root: root.is_some(),
        })
    }

    /// The frames of each, outermost first, and its samples.
    pub fn iter(&self) -> impl Iterator<Item = (&[Rc<str>], u64)> {
        let stacks = self.samples.iter();
        stacks.map(|(frames, &samples)| (&**frames, samples))
    }

    /// The samples of all.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples.values().sum()
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Folded, sorted, one line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |frames: &[Rc<str>], samples: u64| {
            let frames = frames.iter().enumerate().map(|(depth, name)| {
                let is_root = self.has_root && depth == 0 && frames.len() > 1;
                let place = if is_root { Place::Root } else { Place::Frame };
                folded::escape(name, place)
            });
            let frames = frames.collect::<Vec<_>>().join(";");
            format!("{frames} {samples}")
        };
        let lines = self.samples.iter();
        let mut lines: Vec<_> = lines
            .map(|(frames, &samples)| line(frames, samples))
            .collect();
        lines.sort_unstable();
        lines
    }

    /// Folded, for the picture. Equal frames stand together, which sorted lines do not see to:
    /// `f` and `f;g` have `f::h` between them.
    fn drawn(&self) -> Vec<String> {
        let line = |(frames, samples): (&Vec<Rc<str>>, &u64)| {
            let frames: Vec<_> = frames.iter().map(|name| svg::frame(name)).collect();
            format!("{} {samples}", frames.join(";"))
        };
        self.samples.iter().map(line).collect()
    }
}

/// The stacks, each with the frame below it.
fn stacks_of<'a>(
    profile: &Profile,
    tally: &'a Tally,
    root: Option<Root>,
) -> Result<Vec<(Option<String>, Stack<'a>)>, ReadError> {
    let Some(root) = root else {
        return Ok(tally.stacks().map(|stack| (None, stack)).collect());
    };
    let numbers = task_numbers(&profile.description);
    let stacks = tally.stacks_by(profile, |of| match root {
        Root::Core => of.core,
        Root::Task => numbers.map_or(of.task, |it| it.task(of.task)).into(),
    })?;
    let name = |key: u32| match root {
        Root::Core => format!("core {key}"),
        // It was made of one.
        Root::Task => task_name(&profile.description, u16::try_from(key).unwrap_or(u16::MAX)),
    };
    let named = stacks
        .into_iter()
        .map(|(key, stack)| (Some(name(key)), stack));
    Ok(named.collect())
}

/// A frame's name, by its place in the list of [`Names`].
type Name = usize;

/// The names of frames, each kept once.
#[derive(Default)]
struct Names {
    all: Vec<Rc<str>>,
    by_text: HashMap<Rc<str>, Name>,
    of_functions: HashMap<FunctionId, Name>,
    /// Functions that have one name are one.
    is_short: bool,
}

impl Names {
    fn get(&self, name: Name) -> Rc<str> {
        Rc::clone(&self.all[name])
    }

    fn add(&mut self, text: String) -> Name {
        let text: Rc<str> = text.into();
        let all = &mut self.all;
        *self.by_text.entry(text).or_insert_with_key(|text| {
            all.push(Rc::clone(text));
            all.len() - 1
        })
    }

    /// The frames of these steps, outermost first.
    fn outermost_first(
        &mut self,
        steps: impl Iterator<Item = Step>,
        symbols: &Symbols,
    ) -> Vec<Name> {
        let mut names: Vec<_> = steps.map(|step| self.of(step, symbols)).collect();
        names.reverse();
        names
    }

    fn of(&mut self, step: Step, symbols: &Symbols) -> Name {
        match step {
            Step::Frame(frame) => {
                let id = frame.function;
                if let Some(&name) = self.of_functions.get(&id) {
                    return name;
                }
                let name = match self.is_short {
                    true => &symbols.function(id).name,
                    false => symbols.label(id),
                };
                let name = self.add(name.to_owned());
                self.of_functions.insert(id, name);
                name
            }
            Step::Interrupt(_) | Step::Border(_) => self.add(step.label(symbols).into_owned()),
        }
    }
}

/// Draws a flame graph, as SVG, of the samples of these events.
///
/// # Errors
///
/// Those of `out`; no stack to draw.
pub fn draw(
    profile: &Profile,
    stacks: &Stacks,
    events: &Only<u8>,
    out: impl Write,
) -> std::io::Result<()> {
    let run = &profile.description;
    let host = &profile.host;
    let samples = stacks.samples.values().sum();
    let mut options = flamegraph::Options::default();
    options.title = svg::text(&format!("pmiscope: {}", run.workload.as_str()));
    let samples = counted(samples, "sample");
    let cores = counted(run.cores.into(), "core");
    options.subtitle = Some(svg::text(&match &host.imported {
        Some(from) => format!("{samples} on {cores} · imported: {from}"),
        None => format!(
            "{samples} on {cores} · {} every {} · QEMU {}, {}",
            run.source,
            every(profile, events),
            host.qemu,
            host.mode,
        ),
    }));
    draw_with(&mut options, stacks, out)
}

/// Draws how the stacks of two profiles differ, as SVG: as wide as in the second, red where it has
/// more than the first, blue where it has less. The first's samples count as if it had as many.
///
/// # Errors
///
/// Those of `out`; no stack to draw.
pub fn draw_diff([before, after]: [&Stacks; 2], out: impl Write) -> std::io::Result<()> {
    let (of, to) = (before.samples(), after.samples());
    let mut both: BTreeMap<&[Rc<str>], [u64; 2]> = BTreeMap::new();
    for (frames, samples) in before.iter() {
        #[allow(clippy::cast_possible_truncation)] // no more than `to`
        let scaled = (u128::from(samples) * u128::from(to) / u128::from(of.max(1))) as u64;
        both.entry(frames).or_default()[0] += scaled;
    }
    for (frames, samples) in after.iter() {
        both.entry(frames).or_default()[1] += samples;
    }
    let line = |(frames, [before, after]): (&&[Rc<str>], &[u64; 2])| {
        let frames: Vec<_> = frames.iter().map(|name| svg::frame(name)).collect();
        format!("{} {before} {after}", frames.join(";"))
    };
    let lines: Vec<_> = both.iter().map(line).collect();
    let mut options = flamegraph::Options::default();
    options.title = "pmiscope: difference".into();
    options.subtitle = Some(svg::text(&format!(
        "{} before, {} after · red: more, blue: less than before, by share",
        counted(of, "sample"),
        counted(to, "sample")
    )));
    draw_lines(&mut options, &lines, out)
}

fn draw_with(
    options: &mut flamegraph::Options<'_>,
    stacks: &Stacks,
    out: impl Write,
) -> std::io::Result<()> {
    draw_lines(options, &stacks.drawn(), out)
}

fn draw_lines(
    options: &mut flamegraph::Options<'_>,
    lines: &[String],
    mut out: impl Write,
) -> std::io::Result<()> {
    options.count_name = "samples".into();
    options.colors = flamegraph::Palette::Multi(flamegraph::color::MultiPalette::Rust);
    // The same profile gives the same picture.
    options.hash = true;
    options.deterministic = true;
    // Takes the lines as they are, from the last to the first.
    options.flame_chart = true;
    let mut picture = Vec::new();
    let backwards = lines.iter().rev().map(String::as_str);
    flamegraph::from_lines(options, backwards, &mut picture)?;
    svg::reveal(&mut picture);
    out.write_all(&picture)
}

/// What lies between two samples.
fn every(profile: &Profile, only: &Only<u8>) -> String {
    let run = &profile.description;
    let events = profile.events();
    if events.is_empty() {
        let unit = match run.clock {
            Clock::Instructions => "instructions",
            Clock::Time => "ns",
            Clock::Ticks => "ticks",
        };
        return format!("{} {unit}", grouped(run.period));
    }
    let counted = (0..).zip(events).filter(|&(number, _)| only.has(number));
    let counted =
        counted.map(|(_, event)| format!("{} {}", grouped(event.period), event.name.as_str()));
    counted.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use inferno::flamegraph;
    use proptest::prelude::*;

    use super::{Stacks, draw_with};
    use crate::output::folded::unescape;
    use crate::output::{one_line, svg};

    /// Names by their samples.
    type Shares = BTreeMap<String, u64>;

    fn stacks(of: &[(Vec<String>, u64)], has_root: bool) -> Stacks {
        let mut samples = BTreeMap::new();
        for (frames, count) in of {
            let frames = frames.iter().map(|name| name.as_str().into());
            *samples.entry(frames.collect()).or_default() += count;
        }
        Stacks { samples, has_root }
    }

    /// The frames of a picture: the name of each, and its samples.
    fn frames(picture: &[u8]) -> Vec<(String, u64)> {
        let text = std::str::from_utf8(picture).unwrap();
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..Default::default()
        };
        let picture = roxmltree::Document::parse_with_options(text, options).expect("XML");
        let titles = picture
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "title")));
        titles
            .map(|title| {
                let (name, behind) = title.text().unwrap().rsplit_once(" (").unwrap();
                let (samples, _) = behind.split_once(' ').unwrap();
                (name.to_owned(), samples.replace(',', "").parse().unwrap())
            })
            .collect()
    }

    /// The picture that inferno draws of folded stacks.
    fn drawn_from(lines: &[String]) -> Vec<u8> {
        let mut options = flamegraph::Options::default();
        options.count_name = "samples".into();
        options.min_width = 0.0;
        let mut picture = Vec::new();
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut picture)
            .unwrap();
        picture
    }

    /// Every frame of the stacks, by its depth and what it stands on.
    fn expected(stacks: &Stacks) -> BTreeMap<Vec<String>, u64> {
        let mut frames = BTreeMap::new();
        for (stack, samples) in &stacks.samples {
            for depth in 1..=stack.len() {
                let key = stack[..depth].iter().map(ToString::to_string).collect();
                *frames.entry(key).or_default() += samples;
            }
        }
        frames
    }

    fn by_name(frames: impl IntoIterator<Item = (String, u64)>) -> Shares {
        let mut shares = Shares::new();
        for (name, samples) in frames {
            *shares.entry(name).or_default() += samples;
        }
        shares
    }

    /// That names are the same behind folded stacks: read by ourselves, and by inferno; and
    /// that the picture has each frame once.
    fn assert_survive(stacks: &Stacks) {
        let lines = stacks.lines();
        let read: BTreeMap<Vec<std::rc::Rc<str>>, u64> = lines
            .iter()
            .map(|line| {
                assert_eq!(one_line(line), *line, "a line is a line");
                let (frames, samples) = line.rsplit_once(' ').unwrap();
                let frames = frames.split(';').map(|frame| unescape(frame).into());
                (frames.collect(), samples.parse().unwrap())
            })
            .collect();
        assert_eq!(read, stacks.samples);

        let all = ("all".to_owned(), stacks.samples.values().sum());
        let expected = expected(stacks);
        let name_of =
            |(path, samples): (&Vec<String>, &u64)| (path.last().unwrap().clone(), *samples);
        let seen = frames(&drawn_from(&lines)).into_iter();
        let seen = seen.map(|(name, samples)| (unescape(&name), samples));
        let of_all = expected.iter().map(name_of).chain([all.clone()]);
        assert_eq!(by_name(seen), by_name(of_all));

        let mut picture = Vec::new();
        let mut options = flamegraph::Options::default();
        options.min_width = 0.0;
        draw_with(&mut options, stacks, &mut picture).unwrap();
        let mut drawn = frames(&picture);
        drawn.sort();
        let shown = |(name, samples): (String, u64)| (svg::shown(&name), samples);
        let of_all = expected.iter().map(name_of).map(shown).chain([all]);
        let mut of_all: Vec<_> = of_all.collect();
        of_all.sort();
        assert_eq!(drawn, of_all);
    }

    fn of(lines: &[(&[&str], u64)]) -> Vec<(Vec<String>, u64)> {
        let own = |frames: &[&str]| frames.iter().map(ToString::to_string).collect();
        lines
            .iter()
            .map(|(frames, count)| (own(frames), *count))
            .collect()
    }

    #[test]
    fn names_survive_folded_stacks_and_the_picture() {
        let nasty = of(&[
            (&["start", "<[u8; 4] as Hash>::hash"], 1),
            (&["start", "<[u8: 4] as Hash>::hash"], 2),
            (&["start", "name 12"], 3),
            (&["start", "name 12", "g"], 4),
            (&[" blank ", ""], 5),
            (&[""], 6),
            (&["f_[k]", "f"], 7),
            (&["esc\x1b[m", "two\nlines\t", "<a & b> \"c\" 'd'"], 8),
            (&["-", "--"], 9),
            (&["# no comment"], 10),
            (&["名\u{ffff}\u{202e}"], 11),
        ]);
        assert_survive(&stacks(&nasty, false));
        let cores = of(&[(&["core 0", "f 1"], 1), (&["core 1", "f 1"], 2)]);
        let cores = stacks(&cores, true);
        assert_survive(&cores);
        assert_eq!(cores.lines(), ["core 0;f\\u{20}1 1", "core 1;f\\u{20}1 2"]);
    }

    #[test]
    fn a_frame_is_drawn_once_whatever_sorts_into_it() {
        let lines = of(&[(&["f"], 1), (&["f", "g"], 2), (&["f::h"], 4), (&["f i"], 8)]);
        assert_survive(&stacks(&lines, false));
    }

    proptest! {
        #[test]
        fn any_names_survive(
            of in prop::collection::vec(
                (prop::collection::vec("([ ;#a_\\[\\]k1.\\\\u{}\\t\\n<&\"'\u{a0}\u{200b}-]|\\PC){0,6}", 1..5), 1..100_u64),
                1..8,
            ),
            has_root: bool,
        ) {
            // One name of the picture stands for another: see `one_line`.
            let is_ambiguous = |name: &String| name.contains("\\u{") || name.contains("\\n") || name.contains("\\t");
            prop_assume!(!of.iter().flat_map(|(frames, _)| frames).any(is_ambiguous));
            assert_survive(&stacks(&of, has_root));
        }
    }
}
