//! The user's programs that a kernel ran: each has symbols of its own.

use profiler::address::{CodeAddress, UserAddress};

use super::functions::Identity;
use super::{ElfError, Frame, Resolved, Symbols};

/// A program.
pub(super) struct Program {
    number: u16,
    name: String,
    symbols: Symbols,
}

impl Symbols {
    /// Adds the functions of the program that records have by this number: the last one of a number
    /// stays.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is no ELF file that can be read.
    pub fn add_program(&mut self, number: u16, name: &str, elf: &[u8]) -> Result<(), ElfError> {
        let symbols = Self::new(elf)?;
        self.callers.add_program(number, symbols.callers().clone());
        self.programs.retain(|program| program.number != number);
        self.programs.push(Program {
            number,
            name: name.to_owned(),
            symbols,
        });
        Ok(())
    }

    /// The name of a program.
    #[must_use]
    pub fn program_name(&self, number: u16) -> String {
        let mut programs = self.programs.iter();
        match programs.find(|program| program.number == number) {
            Some(program) => program.name.clone(),
            None if number == 0 => "a program".to_owned(),
            None => format!("program {number}"),
        }
    }

    /// What an address of a program is: its functions, with the program's name behind theirs, as
    /// different programs have functions of one name.
    pub(super) fn look_up_in_program(&mut self, user: UserAddress) -> Resolved {
        let name = self.program_name(user.program);
        let mut programs = self.programs.iter_mut();
        let program = programs.find(|program| program.number == user.program);
        let frames = program.map_or_else(
            || vec![(format!("{:#x}", user.address), false)],
            |program| program.frames(user.address),
        );
        let frames = frames.into_iter().map(|(function, inlined)| {
            let identity = Identity {
                name: format!("{function} [{name}]"),
                ..Identity::default()
            };
            Frame {
                function: self.functions.intern(identity, None),
                inlined,
            }
        });
        Resolved {
            frames: frames.collect(),
            is_named_by_debug_info: false,
        }
    }
}

impl Program {
    /// One whose names are those of a profile.
    pub(super) fn named(number: u16, name: String) -> Self {
        Self {
            number,
            name,
            symbols: Symbols::without_elf(),
        }
    }

    /// Its number and its name.
    pub(super) fn numbered(&self) -> (u16, String) {
        (self.number, self.name.clone())
    }

    /// The functions at an address, innermost first, and whether each is inlined into the next.
    fn frames(&mut self, address: u64) -> Vec<(String, bool)> {
        let address = CodeAddress(address);
        self.symbols.resolve([address]);
        let frames = self.symbols.frames(address).iter();
        let named = frames.map(|frame| {
            let label = self.symbols.label(frame.function).to_owned();
            (label, frame.inlined)
        });
        named.collect()
    }
}
