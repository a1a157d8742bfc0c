//! Folded stacks: a line each, `outermost;…;innermost COUNT`, as many tools write them.

use anyhow::{Context as _, Result, bail};
use hashbrown::HashMap;
use profiler::format::ChainEnd;

use super::Foreign;
use super::table::Owner;
use super::writer::{Described, ForeignSample, ForeignStack};
use crate::output::folded::unescape;
use crate::profile::names::NamedFunction;

/// Reads folded stacks.
///
/// # Errors
///
/// A line that is none, with its number; there is none at all.
pub(crate) fn read(text: &str) -> Result<Foreign> {
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
    let mut total = 0_u64;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (stack, count) = split(line).with_context(|| format!("line {number}"))?;
        let sum = total.checked_add(count);
        total =
            sum.with_context(|| format!("line {number}: more samples than a number has room for"))?;
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
    Ok(foreign)
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
    Ok((stack, number))
}
