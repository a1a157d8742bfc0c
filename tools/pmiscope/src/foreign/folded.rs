//! Folded stacks: a line each, `outermost;…;innermost COUNT`, as many tools write them.

use anyhow::{Context as _, Result, bail};
use hashbrown::HashMap;
use profiler::format::ChainEnd;

use super::Foreign;
use super::table::Owner;
use super::writer::{Described, ForeignSample, ForeignStack};
use crate::output::folded::unescape;
use crate::profile::names::NamedFunction;
use crate::units::counted;

/// The most samples that a profile can have, whose reports add them up.
const MOST_SAMPLES: u64 = (1 << 62) - 1;

/// Reads folded stacks, and says what was left out.
///
/// # Errors
///
/// A line that is none, with its number; there is none at all.
pub(crate) fn read(text: &str) -> Result<(Foreign, Option<String>)> {
    let mut foreign = Foreign {
        from: "folded stacks".into(),
        described: Described {
            cores: 1,
            are_counts: true,
            ..Described::default()
        },
        ..Foreign::default()
    };
    let mut known: HashMap<&str, u32> = HashMap::new();
    let (mut total, mut comments) = (0_u64, 0);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        if is_comment(line) {
            comments += 1;
            continue;
        }
        let (stack, count) = split(line).with_context(|| format!("line {number}"))?;
        let sum = total.checked_add(count).filter(|&it| it <= MOST_SAMPLES);
        total = sum.with_context(|| {
            format!("line {number}: more samples than a profile has room for (2⁶²)")
        })?;
        if count == 0 {
            continue;
        }
        let next = u32::try_from(foreign.stacks.len()).context("too many stacks")?;
        let place = *known.entry(stack).or_insert(next);
        if place == next {
            let frames = stack
                .split(';')
                .rev()
                .map(|frame| foreign.table.code([named(frame)]));
            foreign.stacks.push(ForeignStack {
                places: frames.map(|code| (Owner::Kernel, code)).collect(),
                end: ChainEnd::Complete,
            });
            foreign.samples.push(ForeignSample {
                stack: place,
                ..ForeignSample::default()
            });
        }
        foreign.samples[place as usize].count += count;
    }
    if foreign.samples.is_empty() {
        bail!("it has no stack: a line is `outermost;…;innermost COUNT`");
    }
    let left_out = (comments > 0).then(|| {
        format!(
            "{} that # begins: taken as no stack",
            counted(comments, "line")
        )
    });
    Ok((foreign, left_out))
}

/// `# …`: a name may begin with the sign, as those of Ruby's objects do, but not with a blank.
fn is_comment(line: &str) -> bool {
    let rest = line.strip_prefix('#');
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '#']))
}

fn named(frame: &str) -> NamedFunction {
    NamedFunction {
        name: unescape(frame),
        ..NamedFunction::default()
    }
}

/// A line's stack and its count, which stands behind the last blank.
fn split(line: &str) -> Result<(&str, u64)> {
    let Some((stack, count)) = line.rsplit_once([' ', '\t']) else {
        bail!("no count behind a blank: `outermost;…;innermost COUNT` is a stack");
    };
    let number = count.parse();
    let number = number.with_context(|| {
        format!(
            "`{}` is no count of samples",
            crate::output::one_line(count)
        )
    })?;
    let stack = stack.trim();
    if stack.is_empty() {
        bail!("no stack before the count");
    }
    let innermost = stack.rsplit(';').next().unwrap_or(stack);
    if let Some((_, first)) = innermost.rsplit_once([' ', '\t'])
        && first.parse::<f64>().is_ok()
    {
        bail!(
            "two counts, `{} {number}`, as of two profiles (difffolded.pl): import the stacks of one; a blank of a name before a number at its end is written \\u{{20}}",
            crate::output::one_line(first)
        );
    }
    Ok((stack, number))
}
