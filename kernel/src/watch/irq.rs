//! The command `irq`: how often each vector has interrupted each core.

use core::fmt::{self, Write};

use kernel_core::monitor::{Arguments, Command, Problem};
use profiler::format::Text;
use profiler::sampler;

use super::sampling::sampling;
use crate::cpu::{self, CoreBlock};
use crate::monitor::core_if_named;
use crate::trap::{counts, vector};

/// `irq`.
pub(super) const COMMAND: Command = Command {
    name: "irq",
    arguments: "[CORE]",
    summary: "how often each vector has interrupted each core, or one",
    run,
};

/// The most cores in a line.
const COLUMNS: usize = 8;

fn run(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let core = core_if_named(&mut arguments)?;
    arguments.end()?;
    let all = cpu::cores();
    let shown = match core {
        Some(core) => &all[core.index as usize..][..1],
        None => &all[..all.len().min(COLUMNS)],
    };
    row(out, &"vector", shown, |core, out| {
        write!(out, "    core {:<3}", core.index)
    })?;
    for vector in 0..=u8::MAX {
        if shown.iter().any(|core| counts::of(core, vector) != 0) {
            let name = format_args!("{vector:>3} {}", name(vector));
            row(out, &name, shown, |core, out| {
                write!(out, "{:>12}", counts::of(core, vector))
            })?;
        }
    }
    row(out, &"samples, fast ones too", shown, |core, out| {
        write!(
            out,
            "{:>12}",
            sampling().map_or(0, |sampling| (sampling.interrupts)(core))
        )
    })?;
    if shown.len() < all.len() && core.is_none() {
        writeln!(out, "{} cores more: irq CORE", all.len() - shown.len())?;
    }
    Ok(())
}

fn row(
    out: &mut dyn Write,
    head: &dyn fmt::Display,
    cores: &[&'static CoreBlock],
    cell: impl Fn(&CoreBlock, &mut dyn Write) -> fmt::Result,
) -> fmt::Result {
    write!(out, "{:<34}", Text::<32>::of(head).as_str())?;
    cores.iter().try_for_each(|core| cell(core, out))?;
    writeln!(out)
}

fn name(vector: u8) -> &'static str {
    if vector == vector::NMI {
        return "NMI, without fast samples";
    }
    sampler::vector::name(vector).unwrap_or_else(|| vector::name(vector))
}
