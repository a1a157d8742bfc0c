//! Which serial port the log goes to, and how fast, by the word `serial=`. What cannot be had is said on the
//! first one, where it stays, and on the screen.

use core::fmt::{self, Display};

use kernel_core::pci::{self, SerialPort};
use kernel_core::place::Place;
use kernel_core::uart::{Registers, Speed};
use kernel_core::words::{PortName, Words};
use x86_64::PhysAddr;

use crate::boot::BootInfo;
use crate::cpu;
use crate::memory::paging;
use crate::serial;

/// Sends the log where the command line says. Behind the beginning of memory, for registers
/// that have to be mapped.
pub fn start(boot: &BootInfo, words: &Words<'_>) {
    let refused = |name: &dyn Display, problem: &dyn Display| {
        log::warn!("serial={name}: {problem}; the log stays on the first port");
    };
    let usual = Some(words.serial.speed.unwrap_or_default());
    match words.serial.name {
        name if name == PortName::default() && words.serial.speed.is_none() => {}
        // SAFETY: no registers.
        PortName::None => _ = unsafe { serial::set_registers(None, None) },
        PortName::Io(port) => {
            let name = fmt::from_fn(move |f| write!(f, "{port:#x}"));
            match Registers::new(Place::Port(port), 1) {
                Some(registers) if use_registers(registers, usual) => {}
                _ => refused(&name, &"nothing answers there"),
            }
        }
        PortName::Pci => match pci::find_serial_port(cpu::pci::read) {
            Some(found) if use_pci(&found, usual) => {}
            Some(_) => refused(&"pci", &"it does not answer"),
            None => refused(&"pci", &"there is no 16550"),
        },
        PortName::Spcr => match boot.firmware.console {
            // Its clock is not known: the speed stays as firmware has set it, if nobody says one.
            Some(Ok(registers)) if use_registers(registers, words.serial.speed) => {}
            Some(Err(problem)) => refused(&"spcr", &problem),
            _ => refused(&"spcr", &"it does not answer"),
        },
    }
}

fn use_pci(found: &SerialPort, speed: Option<Speed>) -> bool {
    cpu::pci::let_decode(found.function, found.decode());
    use_registers(found.registers, speed)
}

/// Returns false if nothing answers there.
fn use_registers(mut registers: Registers, speed: Option<Speed>) -> bool {
    if let Place::Memory(address) = registers.place {
        let Ok(address) = PhysAddr::try_new(address) else {
            return false;
        };
        registers.place = Place::Memory(paging::map_device(address).as_u64());
    }
    // SAFETY: mapped just now, and for ever.
    unsafe { serial::set_registers(Some(registers), speed) }
}
