//! Which core, task or place a command means.

use kernel_core::monitor::names::{Fit, fit};
use kernel_core::monitor::place::{Base, Place};
use kernel_core::monitor::{Arguments, Problem};
use profiler::entry::TrapFrame;
use profiler::unwind::Registers;

use crate::cpu::{self, CoreBlock, stop};
use crate::memory::image::{self, Function};

/// The core whose number comes next.
pub fn core_of(arguments: &mut Arguments<'_>) -> Result<&'static CoreBlock, Problem> {
    find(arguments.required_number("CORE")?)
}

/// The same, if a number comes next.
pub fn core_if_named(arguments: &mut Arguments<'_>) -> Result<Option<&'static CoreBlock>, Problem> {
    arguments.number("CORE")?.map(find).transpose()
}

/// The same, or the running one.
pub fn core_or_this(arguments: &mut Arguments<'_>) -> Result<&'static CoreBlock, Problem> {
    Ok(core_if_named(arguments)?.unwrap_or_else(cpu::current))
}

fn find(number: u64) -> Result<&'static CoreBlock, Problem> {
    let core = usize::try_from(number).ok();
    let core = core.and_then(|core| cpu::cores().get(core).copied());
    core.ok_or_else(|| {
        let last = cpu::count() - 1;
        Problem::new(format_args!(
            "no core {number}; there are cores 0 to {last}"
        ))
    })
}

/// Why nothing is known of a core.
pub fn not_at_rest(core: &CoreBlock) -> Problem {
    let index = core.index;
    Problem::new(format_args!(
        "core {index} is not held: it has not answered, or executes a command"
    ))
}

/// Where a core was before it was held, or came to the monitor.
pub fn registers_of(core: &CoreBlock) -> Result<Registers, Problem> {
    let is_this = core.index == cpu::current_index();
    let registers = stop::registers_of(core).filter(|_| is_this || stop::is_at_rest(core));
    registers.ok_or_else(|| not_at_rest(core))
}

/// The address that the next word stands for: a number, a register, a function.
pub fn address_of(arguments: &mut Arguments<'_>) -> Result<u64, Problem> {
    let word = arguments.required("ADDR|NAME")?;
    let place = Place::parse(word);
    let name = match place.base {
        Base::Number(address) => return Ok(place.from(address)),
        Base::Name(name) => name,
    };
    if let Some(value) = register(name) {
        return Ok(place.from(value));
    }
    Ok(place.from(function(name)?.start))
}

/// Returns true if a word stands for an address by more than a name.
#[must_use]
pub fn is_address(word: &str) -> bool {
    let place = Place::parse(word);
    match place.base {
        Base::Number(_) => true,
        Base::Name(name) => place.offset != 0 || register(name).is_some(),
    }
}

/// What the running core had in the register with this name when it came to the monitor.
fn register(name: &str) -> Option<u64> {
    let core = cpu::current();
    let known = stop::registers_of(core)?;
    match name {
        "rip" => return Some(known.pc.0),
        "rsp" => return Some(known.sp.0),
        "rbp" => return Some(known.fp.0),
        _ => {}
    }
    let frame = stop::frame_of(core)?;
    Some(match name {
        "rax" => frame.rax,
        "rbx" => frame.rbx,
        "rcx" => frame.rcx,
        "rdx" => frame.rdx,
        "rsi" => frame.rsi,
        "rdi" => frame.rdi,
        _ => return numbered(&frame, name),
    })
}

fn numbered(frame: &TrapFrame, name: &str) -> Option<u64> {
    Some(match name {
        "r8" => frame.r8,
        "r9" => frame.r9,
        "r10" => frame.r10,
        "r11" => frame.r11,
        "r12" => frame.r12,
        "r13" => frame.r13,
        "r14" => frame.r14,
        "r15" => frame.r15,
        _ => return None,
    })
}

/// The function whose name this is, all of it, its last parts, or a part that no other has.
fn function(typed: &str) -> Result<Function, Problem> {
    let mut best: Option<(Fit, Function)> = None;
    let mut count = 0;
    for function in image::functions() {
        let Some(how) = fit(&function.name, typed) else {
            continue;
        };
        match best.as_ref().map(|(before, _)| how.cmp(before)) {
            Some(core::cmp::Ordering::Less) => {}
            Some(core::cmp::Ordering::Equal) => count += 1,
            Some(core::cmp::Ordering::Greater) | None => {
                best = Some((how, function));
                count = 1;
            }
        }
    }
    match best {
        Some((_, function)) if count == 1 => Ok(function),
        Some(_) => Err(Problem::new(format_args!(
            "{count} functions fit `{typed}`: `sym {typed}` lists them"
        ))),
        None => Err(Problem::new(format_args!(
            "no function or register fits `{typed}`"
        ))),
    }
}
