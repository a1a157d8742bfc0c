//! The key that leads to the monitor: `^C` on the serial port of the log. The port's interrupt
//! arrives as an NMI on the first core, so that interrupts may be off there.

use core::fmt::{self, Display};
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_core::acpi::{Error, Pin};
use kernel_core::monitor::editor::CONTROL_C;
use x86_64::PhysAddr;

use crate::boot::BootInfo;
use crate::cpu::{self, io_apic};
use crate::memory::paging;
use crate::serial;

/// The port's interrupt arrives as an NMI.
static IS_ROUTED: AtomicBool = AtomicBool::new(false);

/// NMIs of the first core may be the port's.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Returns true if an NMI of this core may be the port's: one load.
#[inline]
#[must_use]
pub fn is_expected(core: u32) -> bool {
    core == 0 && IS_ON.load(Ordering::Relaxed)
}

/// Lets the key lead to the monitor, or logs why it does not.
pub fn start(boot: &BootInfo) {
    let routed = match boot.firmware.console_pin {
        None => Err(Problem::Port),
        Some(Err(problem)) => Err(Problem::Acpi(problem)),
        Some(Ok(pin)) => route(pin),
    };
    match routed {
        Ok(()) => {
            IS_ROUTED.store(true, Ordering::Relaxed);
            restart();
            log::info!("monitor: ^C on the serial port holds all cores and shows its prompt");
        }
        Err(problem) => log::warn!("monitor: no key leads to it: {problem}"),
    }
}

/// Lets it do so from now on, after a session as well.
pub fn restart() {
    let is_on = IS_ROUTED.load(Ordering::Relaxed);
    IS_ON.store(is_on, Ordering::Relaxed);
    serial::set_receive_interrupt(is_on);
}

/// Bytes that come belong to somebody else from now on.
pub fn stop() {
    if IS_ON.swap(false, Ordering::Relaxed) {
        serial::set_receive_interrupt(false);
    }
}

/// What has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    Nothing,
    /// Bytes that are not the key.
    Others,
    Key,
}

/// The last NMI found bytes. One that comes meanwhile is the port's as well, and finds none: they were
/// taken with those before.
static MAY_FOLLOW: AtomicBool = AtomicBool::new(false);

/// For an NMI's handler: what has come, if that NMI was the port's.
pub fn take_by_nmi() -> Came {
    let came = take();
    let follows = MAY_FOLLOW.swap(came != Came::Nothing, Ordering::Relaxed);
    if came == Came::Nothing && follows {
        Came::Others
    } else {
        came
    }
}

/// Takes the bytes that have come, up to the key: what is behind it is for the prompt.
pub fn take() -> Came {
    /// More than a port keeps.
    const MOST: u32 = 256;
    let mut came = Came::Nothing;
    for _ in 0..MOST {
        match serial::receive() {
            Some(CONTROL_C) => return Came::Key,
            Some(_) => came = Came::Others,
            None => break,
        }
    }
    came
}

/// Why no key leads to the monitor.
enum Problem {
    Port,
    Acpi(Error),
    Core,
    Entry,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("the port must be one of com1 to com4"),
            Self::Acpi(problem) => write!(f, "{problem}"),
            Self::Core => f.write_str("the first core's APIC id is too high"),
            Self::Entry => f.write_str("the I/O APIC does not take it"),
        }
    }
}

fn route(pin: Pin) -> Result<(), Problem> {
    let apic_id = u8::try_from(cpu::core(0).apic_id).ok();
    let apic_id = apic_id.filter(|&id| id < u8::MAX).ok_or(Problem::Core)?;
    let address = PhysAddr::try_new(pin.io_apic).map_err(|_| Problem::Entry)?;
    let registers = paging::map_device(address);
    // SAFETY: mapped just now, for ever; no one else uses them; all cores have a gate for NMIs.
    let is_routed = unsafe { io_apic::raise_nmi(registers, pin.input, pin.is_active_low, apic_id) };
    if is_routed {
        Ok(())
    } else {
        Err(Problem::Entry)
    }
}
