//! A timeline as a heat map: a line for each core, a character for each piece of time.

use std::fmt::Write as _;

use super::{CoreTimeline, Show, Timeline};
use crate::report::groups::text::samples;
use crate::report::text::Out;
use crate::units::{duration, grouped, percent};

/// Characters for shares, from next to nothing to all.
const SHADES: [char; 10] = ['.', ':', '-', '=', '+', '*', 'o', '#', '%', '@'];

/// Colours for the same (of a terminal's 256), from blue to red.
const COLOURS: [u8; 10] = [17, 19, 26, 31, 36, 71, 142, 178, 208, 196];

/// Columns of time, unless the terminal has room for fewer.
const COLUMNS: u64 = 80;
/// What a line has beside them: the core before, the share or the number of samples behind.
const BESIDE: u64 = "core 100 || 999,999,999".len() as u64;

/// How many columns of time fit a terminal of this width, if it is one.
#[must_use]
pub fn columns(terminal: Option<u64>) -> u64 {
    let room = terminal.map_or(COLUMNS, |width| width.saturating_sub(BESIDE));
    room.clamp(1, COLUMNS)
}

/// The timeline as text; with colours it is for a terminal alone.
#[must_use]
pub fn text(timeline: &Timeline, has_colours: bool) -> String {
    let mut out = Out::default();
    let all = timeline.cores.iter().flat_map(|core| &core.samples).sum();
    samples(&mut out, all, &[]);
    out.fact("shown", &shown(timeline));
    let time = |ticks| match timeline.has_unit() {
        true => duration(ticks),
        false => format!("{} ticks", grouped(ticks)),
    };
    let span = format!(
        "{} to {}; each column {}",
        time(timeline.from),
        time(timeline.to),
        time(timeline.ticks_per_column)
    );
    out.fact("time", &span);
    let scale: String = (0..SHADES.len()).map(|it| cell(it, has_colours)).collect();
    // What stands in these lines is ours: no name, and colours that a terminal is to obey.
    let _ = writeln!(
        out.0,
        "scale       {scale}  up to 100%; blank: no samples\n"
    );
    let most = timeline.most();
    for core in &timeline.cores {
        let line = line(core, (timeline.show, most), has_colours);
        let _ = writeln!(out.0, "{line}");
    }
    out.0
}

/// What the shares are of.
fn shown(timeline: &Timeline) -> String {
    let what = match timeline.show {
        Show::Busy => "samples of cores that were not halted",
        Show::Selected | Show::Samples => "samples",
        Show::User => "samples in user mode",
        Show::InterruptsOff => "samples with interrupts off",
    };
    let only = match timeline.only.is_empty() {
        true => String::new(),
        false => format!(" ({} only)", timeline.only.join(", ")),
    };
    let of = match timeline.show {
        Show::Samples => format!("the most in a column, {}", grouped(timeline.most())),
        _ => "the core's samples".to_owned(),
    };
    format!("{what}{only}, of {of}")
}

/// A core's line: its cells, and the share of all of them.
fn line(core: &CoreTimeline, (show, most): (Show, u64), has_colours: bool) -> String {
    let mut line = format!("core {:>3} |", core.core);
    for (&part, &samples) in core.shown.iter().zip(&core.samples) {
        let of = if show == Show::Samples { most } else { samples };
        let shade = shade(part, of).filter(|_| show != Show::Samples || part > 0);
        line.push_str(&match shade {
            None => " ".to_owned(),
            Some(shade) => cell(shade, has_colours),
        });
    }
    let [part, of] = [&core.shown, &core.samples].map(|it| it.iter().sum());
    match show {
        Show::Samples => format!("{line}| {}", grouped(part)),
        _ => format!("{line}| {:.2}%", percent(part, of)),
    }
}

/// The place of a share among [`SHADES`]; `None` without samples.
fn shade(part: u64, of: u64) -> Option<usize> {
    let steps = SHADES.len() as u64 - 1;
    let place = u128::from(part) * u128::from(steps);
    let place = usize::try_from(place.div_ceil(u128::from(of.max(1)))).ok()?;
    (of > 0).then_some(place.min(SHADES.len() - 1))
}

fn cell(shade: usize, has_colours: bool) -> String {
    match has_colours {
        true => format!("\x1b[48;5;{}m \x1b[0m", COLOURS[shade]),
        false => SHADES[shade].to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_the_terminal() {
        for (terminal, columns) in [(None, 80), (Some(300), 80), (Some(80), 57), (Some(7), 1)] {
            assert_eq!(super::columns(terminal), columns, "{terminal:?}");
        }
    }

    #[test]
    fn shades_say_none_and_all_apart_from_some() {
        assert_eq!(shade(0, 0), None);
        assert_eq!(shade(0, 10), Some(0));
        assert_eq!(shade(1, u64::MAX), Some(1));
        assert_eq!(shade(5, 9), Some(5));
        assert_eq!(shade(8, 9), Some(8));
        assert_eq!(shade(u64::MAX, u64::MAX), Some(9));
    }
}
