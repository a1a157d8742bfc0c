//! Functions that can be called by name: those that are listed here, and no others.

use core::fmt::Write;

use kernel_core::monitor::{Arguments, Command, Problem};
use profiler::hw::tsc;
use x86_64::instructions::port::Port;

use super::cores::core_of;
use crate::cpu::apic;
use crate::memory::stacks;

pub const COMMANDS: &[Command] = &[Command {
    name: "call",
    arguments: "[FUNCTION ARGS]",
    summary: "call one of the functions that are listed without",
    run: call,
}];

/// A function that can be called.
struct Callable {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    /// Returns what it shows.
    call: fn(Arguments<'_>) -> Result<u64, Problem>,
}

const CALLABLE: &[Callable] = &[
    Callable {
        name: "ticks",
        arguments: "",
        summary: "the time stamp counter of the core",
        call: |arguments| {
            arguments.end()?;
            Ok(tsc::ticks())
        },
    },
    Callable {
        name: "apic_id",
        arguments: "",
        summary: "the core's APIC id, by its APIC",
        call: |arguments| {
            arguments.end()?;
            Ok(apic::registers().id().into())
        },
    },
    Callable {
        name: "stray_nmis",
        arguments: "CORE",
        summary: "NMIs of a core that nothing has claimed",
        call: |mut arguments| {
            let core = core_of(&mut arguments)?;
            arguments.end()?;
            Ok(core.stray_nmis())
        },
    },
    Callable {
        name: "broken_canaries",
        arguments: "",
        summary: "the number of stacks whose canary is overwritten",
        call: |arguments| {
            arguments.end()?;
            Ok(stacks::usage().filter(|it| !it.is_canary_whole).count() as u64)
        },
    },
    Callable {
        name: "read_port",
        arguments: "PORT",
        summary: "a byte from an I/O port",
        call: read_port,
    },
];

fn read_port(mut arguments: Arguments<'_>) -> Result<u64, Problem> {
    let number = arguments.required_number("PORT")?;
    arguments.end()?;
    let Ok(port) = u16::try_from(number) else {
        return Err(Problem::new(format_args!("PORT must be from 0 to 0xffff")));
    };
    // SAFETY: a device may change by it, which somebody wants; memory does not.
    let byte: u8 = unsafe { Port::new(port).read() };
    Ok(byte.into())
}

fn call(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let Some(name) = arguments.word() else {
        for it in CALLABLE {
            writeln!(out, "  {} {}: {}", it.name, it.arguments, it.summary)?;
        }
        return Ok(());
    };
    let Some(found) = CALLABLE.iter().find(|it| it.name == name) else {
        return Err(Problem::new(format_args!(
            "`{name}` cannot be called; `call` lists what can"
        )));
    };
    let value = (found.call)(arguments)?;
    writeln!(out, "{name}: {value} ({value:#x})")?;
    Ok(())
}
