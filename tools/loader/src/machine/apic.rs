//! Local APICs, as far as starting other cores and base revision 5 need them, and IO
//! APICs, as far as masking them does. (The `x2apic` crate takes x2APIC mode from what the
//! processor can; here the kernel decides, by its request.)

use core::hint::spin_loop;

use loader::{acpi, local_apic};
use x86_64::PhysAddr;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags, Msr};

use super::memory::pointer;

/// Registers by their offsets in xAPIC mode (SDM vol. 3, table 11-1).
const ID: u64 = 0x20;
const COMMAND: u64 = 0x300;
const COMMAND_DESTINATION: u64 = 0x310;
const VERSION: u32 = 0x30;
const TASK_PRIORITY: u32 = 0x80;
const SPURIOUS: u32 = 0xf0;
/// The same in x2APIC mode (SDM vol. 3, table 11-6).
const ID_MSR: Msr = Msr::new(0x802);
const COMMAND_MSR: Msr = Msr::new(0x830);

/// Commands: INIT or start-up, to one core, level assert.
const INIT: u32 = 0x4500;
const START_UP: u32 = 0x4600;
/// The last command is still on its way; in xAPIC mode only.
const PENDING: u32 = 1 << 12;

/// The local APIC of the core that this runs on.
pub struct LocalApic {
    registers: PhysAddr,
    x2apic: bool,
}

impl LocalApic {
    /// Finds it, and switches it to x2APIC mode if that is wanted and not so yet.
    /// The mode cannot be left: if the firmware chose it, it stays.
    pub fn new(x2apic: bool) -> Self {
        let (frame, flags) = ApicBase::read();
        let wanted = ApicBaseFlags::LAPIC_ENABLE | ApicBaseFlags::X2APIC_ENABLE;
        if x2apic {
            // SAFETY: the registers stay where they are; nobody but this type uses
            // them, and it does not use their addresses from now on.
            unsafe { ApicBase::write(frame, flags | wanted) };
        }
        let x2apic = x2apic || flags.contains(wanted);
        Self {
            registers: frame.start_address(),
            x2apic,
        }
    }

    /// Whether it is in x2APIC mode.
    pub fn is_x2apic(&self) -> bool {
        self.x2apic
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        if self.x2apic {
            // SAFETY: the register exists in this mode.
            let id = unsafe { ID_MSR.read() };
            u32::try_from(id).expect("has 32 bits")
        } else {
            self.read(ID) >> 24
        }
    }

    /// Resets another core, which then waits to be started.
    pub fn init(&self, apic_id: u32) {
        self.command(apic_id, INIT);
    }

    /// Starts a waiting core in real mode at `page`, which is below 1 MiB. A core
    /// that does not wait ignores it.
    pub fn start_up(&self, apic_id: u32, page: PhysAddr) {
        let number = u32::try_from(page.as_u64() / 4096).expect("is below 1 MiB");
        self.command(apic_id, START_UP | number);
    }

    /// Brings it into the state that kernels of base revision 5 and newer find it in: on,
    /// nothing pending that could interrupt, and its pins set up as ACPI says.
    pub fn set_up(&self, madt: &[u8], processor_id: u32) {
        let (frame, flags) = ApicBase::read();
        // SAFETY: it stays where it is and in its mode, if it was on; else it is
        // switched on in the mode that it has then.
        unsafe { ApicBase::write(frame, flags | ApicBaseFlags::LAPIC_ENABLE) };
        self.set(SPURIOUS, local_apic::SPURIOUS);
        self.set(TASK_PRIORITY, 0);
        for register in local_apic::entries(self.get(VERSION)) {
            self.set(register, local_apic::entry(self.get(register)));
        }
        for (number, register) in (0..).zip(local_apic::PINS) {
            let nmi = acpi::nmi_pins(madt, processor_id).find(|nmi| nmi.pin == number);
            self.set(register, local_apic::pin(self.get(register), nmi));
        }
    }

    /// A register in either mode, by its offset in xAPIC mode.
    fn get(&self, register: u32) -> u32 {
        if self.x2apic {
            // SAFETY: the register exists in this mode.
            let value = unsafe { x2apic_register(register).read() };
            u32::try_from(value).expect("has 32 bits")
        } else {
            self.read(register.into())
        }
    }

    fn set(&self, register: u32, value: u32) {
        if self.x2apic {
            // SAFETY: the register exists in this mode, and what is written was read
            // there, or enables less.
            unsafe { x2apic_register(register).write(value.into()) };
        } else {
            self.write(register.into(), value);
        }
    }

    fn command(&self, apic_id: u32, command: u32) {
        if self.x2apic {
            let mut register = COMMAND_MSR;
            let value = u64::from(apic_id) << 32 | u64::from(command);
            // SAFETY: the register exists in this mode, and the core that the
            // command goes to runs nothing that matters.
            unsafe { register.write(value) };
        } else {
            self.write(COMMAND_DESTINATION, apic_id << 24);
            self.write(COMMAND, command);
            while self.read(COMMAND) & PENDING != 0 {
                spin_loop();
            }
        }
    }

    fn read(&self, register: u64) -> u32 {
        // SAFETY: a register of the local APIC, mapped as it is below 4 GiB.
        unsafe { pointer::<u32>(self.registers + register).read_volatile() }
    }

    fn write(&self, register: u64, value: u32) {
        // SAFETY: as in `read`; what a command does is its caller's matter.
        unsafe { pointer::<u32>(self.registers + register).write_volatile(value) }
    }
}

/// A register of x2APIC mode, by its offset in xAPIC mode (SDM vol. 3, table 11-6).
fn x2apic_register(offset: u32) -> Msr {
    Msr::new(0x800 + (offset >> 4))
}

/// Masks an IO APIC's interrupts, as far as kernels of this base revision find them masked.
pub fn mask_io_apic(registers: PhysAddr, base_revision: u64) {
    /// A window to all others (82093AA datasheet, chapter 3).
    const DATA: u64 = 0x10;
    const VERSION: u32 = 1;
    const REDIRECTION: u32 = 0x10;

    let select = |register: u32| {
        // SAFETY: the IO APIC's register select, mapped as it is below 4 GiB.
        unsafe { pointer::<u32>(registers).write_volatile(register) };
        pointer::<u32>(registers + DATA)
    };
    // SAFETY: the window, as selected.
    let version = unsafe { select(VERSION).read_volatile() };
    let last = version >> 16 & 0xff;
    for entry in 0..=last {
        let window = select(REDIRECTION + 2 * entry);
        // SAFETY: the window, as selected.
        let left = unsafe { window.read_volatile() };
        // SAFETY: the same; no more of its interrupts come in than before.
        unsafe { window.write_volatile(local_apic::redirection(left, base_revision)) };
    }
}
