//! What becomes of the machine at the end of a run: it stays, starts again or is switched off.
//!
//! All that is needed was found and mapped when the kernel started: these are the last steps of a
//! panic as well.

use kernel_core::acpi::{PowerOff, Reset};
use kernel_core::place::Place;
use kernel_core::words::AtEnd;
use profiler::hw::tsc::Deadline;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::port::Port;
use x86_64::instructions::{interrupts, tables};
use x86_64::structures::DescriptorTablePointer;

/// What is to be done at the end, and what there is to do it with.
#[derive(Clone, Copy, Default, Debug)]
pub struct Plan {
    /// What is to be done.
    pub at_end: AtEnd,
    /// ACPI's reset register, mapped if it is in memory.
    pub reset: Option<Reset>,
    /// What switches the machine off.
    pub off: Option<PowerOff>,
}

static PLAN: Once<Plan> = Once::new();

/// Sets what is done at the end. A register in memory is mapped at its address for ever.
pub fn start(plan: Plan) {
    PLAN.call_once(|| plan);
}

/// What is to be done at the end.
#[must_use]
pub fn at_end() -> AtEnd {
    PLAN.get().map_or(AtEnd::Exit, |plan| plan.at_end)
}

/// Time for the machine to do what it was told: some tens of milliseconds.
fn wait() {
    let _ = Deadline::after(1 << 27).wait_for(|| false);
}

fn out(port: u16, value: u8) {
    // SAFETY: only ports that start the machine again or hand its power over; nothing that runs
    // here is needed any more.
    unsafe { Port::new(port).write(value) };
}

fn input(port: u16) -> u8 {
    // SAFETY: the status of the keyboard controller, which reading does not change.
    unsafe { Port::new(port).read() }
}

/// Starts the machine again, by whatever does: the ways in which firmware and chipsets offer it,
/// in the order in which they are least likely to hang.
pub fn reboot() -> ! {
    if let Some(Reset { place, value }) = PLAN.get().and_then(|plan| plan.reset) {
        match place {
            Place::Port(port) => out(port, value),
            Place::Memory(address) => {
                let register: *mut u8 = VirtAddr::new_truncate(address).as_mut_ptr();
                // SAFETY: mapped there (`start`).
                unsafe { register.write_volatile(value) };
            }
        }
        wait();
    }
    // The chipset's reset control: of the whole machine, then now.
    out(0xcf9, 0x02);
    out(0xcf9, 0x06);
    wait();
    // The keyboard controller, once it takes a command: the line that is the processor's reset.
    for _ in 0..100_000 {
        if input(0x64) & 0b10 == 0 {
            break;
        }
    }
    out(0x64, 0xfe);
    wait();
    triple_fault()
}

/// The processor shuts down, and what is around it takes that for a reset.
fn triple_fault() -> ! {
    let nothing = DescriptorTablePointer {
        limit: 0,
        base: VirtAddr::zero(),
    };
    // SAFETY: the next exception is to find no gate.
    unsafe { tables::lidt(&nothing) };
    loop {
        interrupts::int3();
    }
}

/// Switches the machine off, if ACPI has said how. Returns if it has not, or did not work.
pub fn off() {
    /// In the control register: ACPI has these registers (firmware has handed them over).
    const ENABLED: u16 = 1 << 0;
    /// Go to sleep, of the type that the bits below say.
    const SLEEP: u16 = 1 << 13;
    const TYPE: u16 = 0b111 << 10;
    let Some(off) = PLAN.get().and_then(|plan| plan.off) else {
        return;
    };
    // SAFETY: reading it changes nothing.
    let read = |port: u16| -> u16 { unsafe { Port::new(port).read() } };
    if let Some((port, value)) = off.enable.filter(|_| read(off.control.0) & ENABLED == 0) {
        out(port, value);
        // Firmware does so in an SMI; some seconds at most (ACPI specification 4.8.2.5).
        let _ = Deadline::after(1 << 32).wait_for(|| read(off.control.0) & ENABLED != 0);
    }
    for (port, kind) in [Some(off.control), off.second].into_iter().flatten() {
        let value = read(port) & !(TYPE | SLEEP) | u16::from(kind) << 10;
        // SAFETY: nothing that runs here is needed any more.
        unsafe { Port::new(port).write(value | SLEEP) };
    }
    wait();
}
