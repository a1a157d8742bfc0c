//! PCI's configuration space, by the two ports that every PC has for it.

use kernel_core::pci::Function;
use x86_64::instructions::port::Port;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// Reads a register of a function; all ones if there is none. Not while another core does.
#[must_use]
pub fn read(function: Function, register: u8) -> u32 {
    select(function, register);
    // SAFETY: reading what is configured changes nothing.
    unsafe { Port::new(DATA).read() }
}

/// Lets a function decode accesses: sets these bits of its command register.
pub fn let_decode(function: Function, bits: u32) {
    /// Above the command is the status, whose bits are cleared where ones are written.
    const COMMAND_BITS: u32 = 0xffff;
    let command = read(function, kernel_core::pci::COMMAND) & COMMAND_BITS;
    select(function, kernel_core::pci::COMMAND);
    // SAFETY: its registers answer where firmware has put them; it becomes no master.
    unsafe { Port::new(DATA).write(command | bits) };
}

fn select(function: Function, register: u8) {
    // SAFETY: selects what the data port is of.
    unsafe { Port::new(ADDRESS).write(function.address(register)) };
}
