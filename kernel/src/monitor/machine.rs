//! The commands that ask the processor.

use core::arch::x86_64::__cpuid_count;
use core::fmt::Write;

use kernel_core::monitor::{Arguments, Command, Problem};
use profiler::hw::msr;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "msr",
        arguments: "N [VALUE]",
        summary: "read a model-specific register, or write it; a wrong value can end all",
        run: register,
    },
    Command {
        name: "cpuid",
        arguments: "LEAF [SUBLEAF]",
        summary: "what the processor says of itself",
        run: cpuid,
    },
];

fn number(arguments: &mut Arguments<'_>, name: &str) -> Result<Option<u32>, Problem> {
    let Some(number) = arguments.number(name)? else {
        return Ok(None);
    };
    match u32::try_from(number) {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Problem::new(format_args!("{name} has 32 bits at most"))),
    }
}

fn register(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let missing = || Problem::new(format_args!("N is missing"));
    let register = number(&mut arguments, "N")?.ok_or_else(missing)?;
    let value = arguments.number("VALUE")?;
    arguments.end()?;
    if let Some(value) = value {
        // SAFETY: not safe at all, as help says: somebody wants it.
        let written = unsafe { msr::try_write(register, value) };
        return written.map_err(|_| {
            Problem::new(format_args!(
                "the processor refuses {value:#x} for MSR {register:#x}"
            ))
        });
    }
    // SAFETY: reading those that have an effect is what somebody wants.
    let value = unsafe { msr::try_read(register) };
    let value = value.map_err(|_| {
        Problem::new(format_args!(
            "the processor refuses to read MSR {register:#x}"
        ))
    })?;
    writeln!(out, "MSR {register:#x}: {value:#018x}")?;
    Ok(())
}

fn cpuid(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let missing = || Problem::new(format_args!("LEAF is missing"));
    let leaf = number(&mut arguments, "LEAF")?.ok_or_else(missing)?;
    let subleaf = number(&mut arguments, "SUBLEAF")?.unwrap_or(0);
    arguments.end()?;
    let answer = __cpuid_count(leaf, subleaf);
    writeln!(
        out,
        "CPUID {leaf:#x}.{subleaf:#x}: eax {:08x}  ebx {:08x}  ecx {:08x}  edx {:08x}",
        answer.eax, answer.ebx, answer.ecx, answer.edx
    )?;
    Ok(())
}
