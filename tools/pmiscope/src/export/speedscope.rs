//! speedscope's own form (<https://www.speedscope.app/file-format-schema.json>): a profile for each core.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::Export;
use super::samples::Weighted;
use crate::output::compact_json;

/// The most samples that are written in order, each with its stack. A browser reads no file of more
/// than about 500 MB; of more samples each stack stands once a core.
const MOST_IN_ORDER: u64 = 500_000;

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// A stack that was seen, by its innermost node, and how often.
#[derive(Clone, Copy)]
struct Seen {
    leaf: u32,
    samples: u64,
}

/// Writes it.
pub(super) fn write(export: &Export<'_>, out: &mut dyn Write) -> Result<()> {
    let tree = &export.tree;
    let frames = tree.functions.iter().map(|function| {
        let (file, line) = tree.declared(function);
        Frame {
            name: &function.name,
            file,
            line,
        }
    });
    let frames: Vec<_> = frames.collect();
    write!(
        out,
        "{{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\"exporter\":\"pmiscope {}\",\"name\":",
        env!("CARGO_PKG_VERSION")
    )?;
    compact_json(&mut *out, &export.title())?;
    out.write_all(b",\"activeProfileIndex\":0,\"shared\":{\"frames\":")?;
    compact_json(&mut *out, &frames)?;
    out.write_all(b"},\"profiles\":[")?;
    let cores = of_cores(export)?;
    let seen = (0..).zip(&cores).filter(|(_, seen)| !seen.is_empty());
    for (place, (core, seen)) in seen.enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        write_core(export, core, seen, out)?;
    }
    out.write_all(b"]}\n")?;
    Ok(())
}

/// The stacks of each core: in the order of time, if they are not too many.
fn of_cores(export: &Export<'_>) -> Result<Vec<Vec<Seen>>> {
    let mut cores = vec![Vec::new(); export.profile.cores() as usize];
    let mut add = |sample: &Weighted| {
        if let Some(leaf) = export.tree.leaf(sample.stack) {
            cores[sample.core as usize].push(Seen {
                leaf,
                samples: sample.samples,
            });
        }
    };
    if export.tally.samples() <= MOST_IN_ORDER {
        export.for_each_in_time(|seen| {
            add(&seen.sample);
            Ok(())
        })?;
    } else {
        export.counted()?.iter().for_each(add);
    }
    Ok(cores)
}

fn write_core(export: &Export<'_>, core: u32, seen: &[Seen], out: &mut dyn Write) -> Result<()> {
    let all: u64 = seen.iter().map(|it| it.samples).sum();
    write!(
        out,
        "{{\"type\":\"sampled\",\"name\":\"core {core}\",\"unit\":\"none\",\"startValue\":0,\"endValue\":{all},\"samples\":["
    )?;
    let mut stack: Vec<u32> = Vec::new();
    for (place, it) in seen.iter().enumerate() {
        stack.clear();
        stack.extend(export.tree.frames_of(it.leaf).map(|frame| frame.function));
        stack.reverse();
        if place > 0 {
            out.write_all(b",")?;
        }
        numbers(stack.iter().copied().map(u64::from), out)?;
    }
    out.write_all(b"],\"weights\":")?;
    numbers(seen.iter().map(|it| it.samples), out)?;
    out.write_all(b"}")?;
    Ok(())
}

/// An array.
pub(super) fn numbers(all: impl Iterator<Item = u64>, out: &mut dyn Write) -> Result<()> {
    out.write_all(b"[")?;
    for (place, number) in all.enumerate() {
        let comma = if place > 0 { "," } else { "" };
        write!(out, "{comma}{number}")?;
    }
    out.write_all(b"]")?;
    Ok(())
}
