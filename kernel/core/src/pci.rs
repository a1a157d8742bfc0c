//! PCI, as far as to find a serial port (PCI Local Bus Specification 3.0, chapter 6; class codes:
//! PCI Code and ID Assignment).

use crate::place::Place;
use crate::uart::Registers;

/// A function of a device, and a register in its configuration space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    /// 0 to 255.
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl Function {
    /// What the address port is written for a register of it, at a multiple of 4.
    #[must_use]
    pub fn address(self, register: u8) -> u32 {
        const ENABLE: u32 = 1 << 31;
        let device = u32::from(self.device) << 11 | u32::from(self.function) << 8;
        ENABLE | u32::from(self.bus) << 16 | device | u32::from(register & !3)
    }
}

/// A serial port on PCI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SerialPort {
    /// The function that it is.
    pub function: Function,
    /// Its registers.
    pub registers: Registers,
}

impl SerialPort {
    /// What its command register needs so that the registers are decoded.
    #[must_use]
    pub fn decode(&self) -> u32 {
        match self.registers.place {
            Place::Port(_) => 1 << 0,
            Place::Memory(_) => 1 << 1,
        }
    }
}

/// The command register, with the status above it.
pub const COMMAND: u8 = 0x04;

const NOTHING: u32 = u32::MAX;

/// The first serial port that is a 16550, where `read` reads a register of a function.
pub fn find_serial_port(mut read: impl FnMut(Function, u8) -> u32) -> Option<SerialPort> {
    for bus in 0..=u8::MAX {
        for device in 0..32 {
            let of = |function| Function {
                bus,
                device,
                function,
            };
            if read(of(0), 0) == NOTHING {
                continue;
            }
            let has_more = read(of(0), 0x0c) & 0x80_0000 != 0;
            for function in 0..if has_more { 8 } else { 1 } {
                if let Some(registers) = serial_port(|register| read(of(function), register)) {
                    let function = of(function);
                    return Some(SerialPort {
                        function,
                        registers,
                    });
                }
            }
        }
    }
    None
}

/// The registers of a function, if it is a 16550.
fn serial_port(mut read: impl FnMut(u8) -> u32) -> Option<Registers> {
    if read(0) == NOTHING {
        return None;
    }
    // A communication controller, serial, compatible with a 16550 or a later one.
    let class = read(0x08) >> 8;
    let is_16550 = class >> 8 == 0x0700 && (2..=6).contains(&(class & 0xff));
    let is_device = read(0x0c) >> 16 & 0x7f == 0;
    if !is_16550 || !is_device {
        return None;
    }
    let mut bar = 0x10;
    while bar <= 0x24 {
        let low = read(bar);
        let is_wide = low & 0b111 == 0b100;
        let high = if is_wide && bar < 0x24 {
            read(bar + 4)
        } else {
            0
        };
        let place = if low & 1 == 1 {
            u16::try_from(low & !0b11).ok().map(Place::Port)
        } else {
            let low = u64::from(low & !0xf);
            Some(Place::Memory(u64::from(high) << 32 | low))
        };
        let registers = place.and_then(|place| Registers::new(place, 1));
        if registers.is_some() {
            return registers;
        }
        bar += if is_wide { 8 } else { 4 };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions of a machine, each with its configuration space.
    struct Machine(Vec<(Function, [u32; 16])>);

    fn at(bus: u8, device: u8, function: u8) -> Function {
        Function {
            bus,
            device,
            function,
        }
    }

    fn device(class: u32, bars: [u32; 6]) -> [u32; 16] {
        let mut space = [0; 16];
        space[0] = 0x0002_1b36;
        space[2] = class << 8 | 1;
        space[4..10].copy_from_slice(&bars);
        space
    }

    impl Machine {
        fn find(&self) -> Option<SerialPort> {
            find_serial_port(|function, register| {
                let found = self.0.iter().find(|(it, _)| *it == function);
                found.map_or(NOTHING, |(_, space)| space[usize::from(register / 4)])
            })
        }
    }

    fn port(function: Function, place: Place) -> Option<SerialPort> {
        let registers = Registers { place, bytes: 1 };
        Some(SerialPort {
            function,
            registers,
        })
    }

    #[test]
    fn the_first_16550_is_taken() {
        let mut machine = Machine(vec![
            (at(0, 0, 0), device(0x06_0000, [0; 6])),
            // A modem, a 16450, a parallel port.
            (at(0, 1, 0), device(0x07_0300, [0xc001, 0, 0, 0, 0, 0])),
            (at(0, 2, 0), device(0x07_0001, [0xc011, 0, 0, 0, 0, 0])),
            (at(0, 3, 0), device(0x07_0102, [0xc021, 0, 0, 0, 0, 0])),
        ]);
        assert_eq!(machine.find(), None);
        let serial = device(0x07_0002, [0xc041, 0, 0, 0, 0, 0]);
        machine.0.push((at(2, 31, 0), serial));
        let found = machine.find();
        assert_eq!(found, port(at(2, 31, 0), Place::Port(0xc040)));
        assert_eq!(found.unwrap().decode(), 1);
        assert_eq!(at(2, 31, 0).address(0x07), 0x8002_f804);
    }

    #[test]
    fn other_functions_are_only_looked_at_where_the_first_says_so() {
        let serial = device(0x07_0002, [0, 0xc041, 0, 0, 0, 0]);
        let mut machine = Machine(vec![
            (at(0, 22, 0), device(0x07_8000, [0; 6])),
            (at(0, 22, 3), serial),
        ]);
        assert_eq!(machine.find(), None);
        machine.0[0].1[3] = 0x80_0000;
        assert_eq!(machine.find(), port(at(0, 22, 3), Place::Port(0xc040)));
    }

    #[test]
    fn registers_in_memory_may_be_above_4_gib() {
        let of = |bars| {
            let machine = Machine(vec![(at(0, 4, 0), device(0x07_0002, bars))]);
            machine.find()
        };
        let memory = |address| port(at(0, 4, 0), Place::Memory(address));
        let found = of([0xfebd_1000, 0, 0, 0, 0, 0]);
        assert_eq!(found, memory(0xfebd_1000));
        assert_eq!(found.unwrap().decode(), 2);
        assert_eq!(of([0x0000_100c, 0x8, 0, 0, 0, 0]), memory(0x8_0000_1000));
        // The upper half is no register of its own; without an address it is not there.
        assert_eq!(
            of([0x0000_0004, 0, 0xc041, 0, 0, 0]),
            port(at(0, 4, 0), Place::Port(0xc040))
        );
        assert_eq!(of([0; 6]), None);
        assert_eq!(of([1, 0, 0, 0, 0, 0x0000_0004]), None);
        // A port beyond what there are.
        assert_eq!(of([0x1_0001, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_bridge_is_no_port() {
        let mut space = device(0x07_0002, [0xc041, 0, 0, 0, 0, 0]);
        space[3] = 0x01_0000;
        assert_eq!(Machine(vec![(at(0, 0, 0), space)]).find(), None);
    }
}
