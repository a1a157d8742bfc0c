//! The commands that show code, and where it was.

use core::fmt::Write;

use kernel_core::caller::LONGEST;
use kernel_core::exceptions::Flags;
use kernel_core::monitor::names::fit;
use kernel_core::monitor::{Arguments, Command, Problem};
use profiler::format::Text;
use yaxpeax_arch::{Decoder as _, LengthedInstruction as _, U8Reader};
use yaxpeax_x86::long_mode::{InstDecoder, Instruction};

use super::cores::{address_of, core_or_this, is_address, registers_of};
use crate::cpu::{self, CoreBlock, stop};
use crate::memory::image;
use crate::memory::paging::look;
use crate::task;
use crate::trap::{Backtrace, Symbol};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "bt",
        arguments: "[CORE|task N]",
        summary: "how this core, another one or a task came where it is",
        run: backtrace,
    },
    Command {
        name: "regs",
        arguments: "[CORE]",
        summary: "the registers of this core or another one",
        run: registers,
    },
    Command {
        name: "sym",
        arguments: "ADDR|NAME",
        summary: "the function at an address, or those with a part of a name",
        run: symbols,
    },
    Command {
        name: "disasm",
        arguments: "ADDR|NAME [N]",
        summary: "N instructions, 16 without",
        run: disassemble,
    },
];

fn backtrace(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let is_task = arguments.clone().word() == Some("task");
    let core = if is_task {
        let _ = arguments.word();
        let number = arguments.required_number("N")?;
        arguments.end()?;
        let seen = u16::try_from(number).ok().and_then(task::look);
        let seen =
            seen.ok_or_else(|| Problem::new(format_args!("no task {number}; `tasks` lists them")))?;
        if let Some(at) = seen.at {
            let core = seen.home;
            writeln!(out, "{}", Backtrace { core, at })?;
            return Ok(());
        }
        cpu::core(seen.home)
    } else {
        let core = core_or_this(&mut arguments)?;
        arguments.end()?;
        core
    };
    let at = registers_of(core)?;
    let core = core.index;
    writeln!(out, "{}", Backtrace { core, at })?;
    Ok(())
}

fn registers(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let core = core_or_this(&mut arguments)?;
    arguments.end()?;
    let at = registers_of(core)?;
    show_place(core, out)?;
    match stop::frame_of(core) {
        Some(frame) => {
            writeln!(out, "{frame}")?;
            writeln!(out, "  rflags {}", Flags(frame.rflags))?;
        }
        None => writeln!(
            out,
            "  rip {:016x}  rsp {:016x}  rbp {:016x}\n  the others are not known: it came here by a call",
            at.pc.0, at.sp.0, at.fp.0
        )?,
    }
    Ok(())
}

fn show_place(core: &CoreBlock, out: &mut dyn Write) -> Result<(), Problem> {
    let (index, id) = (core.index, core.apic_id);
    let pc = registers_of(core)?.pc.0;
    let place = Symbol::of_instruction(pc);
    let source = place.source();
    writeln!(
        out,
        "core {index} (APIC id {id}) at {pc:#018x}{place}{source}"
    )?;
    Ok(())
}

/// The most functions of a list.
const MOST_LISTED: usize = 40;

fn symbols(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let word = arguments.clone().required("ADDR|NAME")?;
    if is_address(word) {
        let address = address_of(&mut arguments)?;
        arguments.end()?;
        let Some(function) = image::function_at(address) else {
            return Err(Problem::new(format_args!("no function at {address:#x}")));
        };
        let into = address - function.start;
        let source = Symbol::of_instruction(address).source();
        writeln!(
            out,
            "{address:#018x} {}+{into:#x} of {:#x} bytes{source}",
            function.name, function.bytes
        )?;
        return Ok(());
    }
    let _ = arguments.word();
    arguments.end()?;
    let mut count = 0;
    for function in image::functions().filter(|function| fit(&function.name, word).is_some()) {
        count += 1;
        if count <= MOST_LISTED {
            let (start, bytes) = (function.start, function.bytes);
            writeln!(out, "{start:#018x} {bytes:5} {}", function.name)?;
        }
    }
    match count {
        0 => Err(Problem::new(format_args!(
            "no function's name has `{word}`"
        ))),
        1..=MOST_LISTED => Ok(()),
        _ => {
            let more = count - MOST_LISTED;
            writeln!(out, "and {more} more: type more of the name")?;
            Ok(())
        }
    }
}

fn disassemble(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    const USUAL: u64 = 16;
    const MOST: u64 = 256;
    let mut address = address_of(&mut arguments)?;
    let count = arguments.number("N")?.unwrap_or(USUAL);
    arguments.end()?;
    if !(1..=MOST).contains(&count) {
        return Err(Problem::new(format_args!("N must be from 1 to {MOST}")));
    }
    let mut function = None;
    for _ in 0..count {
        let mut bytes = [0; LONGEST];
        let read = look::read(address, &mut bytes)?;
        let bytes = &bytes[..read];
        let start = image::function_at(address).map(|it| it.start);
        if start != function {
            function = start;
            writeln!(
                out,
                "{}:",
                Text::<404>::of(&Symbol::of_instruction(address))
                    .as_str()
                    .trim()
            )?;
        }
        let decoded = InstDecoder::default().decode(&mut U8Reader::new(bytes));
        let length = match &decoded {
            Ok(instruction) => usize::try_from(instruction.len().to_const()).unwrap_or(1),
            Err(_) => 1,
        };
        let coded = Coded(bytes.get(..length).unwrap_or(bytes));
        write!(out, "  {address:016x}  {coded} ")?;
        match decoded {
            Ok(instruction) => show(&instruction, address + length as u64, out)?,
            Err(_) => writeln!(out, "(bad)")?,
        }
        let Some(next) = address.checked_add(length as u64) else {
            break;
        };
        address = next;
    }
    Ok(())
}

/// An instruction, and where it goes if that is a number in it. The next one is at `next`.
fn show(instruction: &Instruction, next: u64, out: &mut dyn Write) -> Result<(), Problem> {
    let text = Text::<120>::of(instruction);
    let text = text.as_str();
    let Some((operation, distance)) = text.split_once('$') else {
        writeln!(out, "{text}")?;
        return Ok(());
    };
    let (is_back, digits) = match distance.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, distance.trim_start_matches('+')),
    };
    let digits = digits.trim_start_matches("0x");
    let Ok(distance) = u64::from_str_radix(digits, 16) else {
        writeln!(out, "{text}")?;
        return Ok(());
    };
    let target = if is_back {
        next.wrapping_sub(distance)
    } else {
        next.wrapping_add(distance)
    };
    writeln!(
        out,
        "{operation}{target:#x}{}",
        Symbol::of_instruction(target)
    )?;
    Ok(())
}

/// Bytes of an instruction, in a column.
struct Coded<'a>(&'a [u8]);

impl core::fmt::Display for Coded<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        /// Of most instructions.
        const COLUMN: usize = 8;
        for byte in self.0 {
            write!(f, "{byte:02x} ")?;
        }
        (self.0.len()..COLUMN).try_for_each(|_| f.write_str("   "))
    }
}
