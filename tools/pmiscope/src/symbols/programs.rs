//! The user's programs that a kernel ran: each has symbols of its own.

use profiler::address::{CodeAddress, UserAddress};

use super::functions::Identity;
use super::{
    BuildId, DebugNames, ElfError, Frame, Resolved, SymbolFile, SymbolFiles, Symbols, build_id,
};

/// A program.
pub(super) struct Program {
    number: u16,
    name: String,
    files: SymbolFiles,
    symbols: Symbols,
}

/// What is known of a program.
pub(crate) struct ProgramFile<'a> {
    /// As addresses have it.
    pub number: u16,
    /// Its ELF file; none if its names are a profile's.
    pub files: &'a SymbolFiles,
}

impl ProgramFile<'_> {
    pub(crate) fn build_id(&self) -> Option<BuildId> {
        let parts = self.files.parts();
        build_id(&parts.first()?.file.bytes).ok()
    }
}

/// An address of [`Symbols::place`], as the file has it whose code it is.
pub(crate) fn in_its_file(place: u64) -> u64 {
    UserAddress::of_program(CodeAddress(place)).map_or(place, |user| user.address)
}

/// A process of a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    program: u16,
    pid: u32,
}

impl Symbols {
    /// Says which program a process runs that addresses have by this number, in place of the program's.
    /// Behind the programs.
    pub fn add_process(&mut self, number: u16, program: u16, pid: u32) {
        self.callers.add_process(number, program);
        self.processes.insert(number, Process { program, pid });
    }

    /// The program that addresses have by this number, or a process of it.
    pub(crate) fn program_of(&self, number: u16) -> u16 {
        let process = self.processes.get(&number);
        process.map_or(number, |process| process.program)
    }

    /// The address that is the same for all processes of a program.
    pub(crate) fn of_any_process(&self, address: CodeAddress) -> CodeAddress {
        UserAddress::of_program(address).map_or(address, |user| {
            let program = self.program_of(user.program);
            UserAddress { program, ..user }.code()
        })
    }

    /// By which address the code is known that ran at `address`: the ELF file's, of a program with
    /// that one's number.
    pub(crate) fn place(&self, address: CodeAddress) -> u64 {
        match UserAddress::of_program(address) {
            Some(_) => self.of_any_process(address).0,
            None => self.slide.shown(address),
        }
    }

    /// All programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = ProgramFile<'_>> {
        self.programs.iter().map(|program| ProgramFile {
            number: program.number,
            files: &program.files,
        })
    }

    /// The number by which the kernel knows the process that addresses have by this number.
    pub(crate) fn pid_of(&self, number: u16) -> Option<u32> {
        self.processes.get(&number).map(|process| process.pid)
    }

    /// The program that the process with this pid ran first.
    pub(crate) fn first_program_of(&self, pid: u32) -> Option<u16> {
        let mut processes = self.processes.values();
        processes.find(|it| it.pid == pid).map(|it| it.program)
    }

    /// Adds the functions of the program that records have by this number: the last one of a number
    /// stays.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is no ELF file that can be read.
    pub fn add_program(&mut self, number: u16, name: &str, elf: &[u8]) -> Result<(), ElfError> {
        let files = SymbolFiles::of(SymbolFile {
            name: name.to_owned(),
            path: None,
            bytes: elf.into(),
        })?;
        let symbols = Self::of_files(&files, None);
        self.callers.add_program(number, symbols.callers().clone());
        self.programs.retain(|program| program.number != number);
        self.programs.push(Program {
            number,
            name: name.to_owned(),
            files,
            symbols,
        });
        Ok(())
    }

    /// The names of all programs.
    pub fn program_names(&self) -> impl Iterator<Item = &str> {
        self.programs.iter().map(|program| &*program.name)
    }

    /// The numbers that addresses have of a process: of the one with this pid, or of all that run the
    /// program with this name.
    #[must_use]
    pub fn numbers_of(&self, name_or_pid: &str) -> Vec<u16> {
        let pid = name_or_pid.parse().ok();
        let processes = self.processes.iter();
        let of_pid = processes.filter(|(_, process)| Some(process.pid) == pid);
        let numbers: Vec<_> = of_pid.map(|(&number, _)| number).collect();
        if !numbers.is_empty() {
            return numbers;
        }
        // One of which no file is known is named by its number.
        let by_number = name_or_pid.strip_prefix("program ");
        let programs = self.programs.iter().map(|program| program.number);
        let mut numbers: Vec<_> = programs
            .chain(self.processes.values().map(|process| process.program))
            .chain(by_number.and_then(|number| number.parse().ok()))
            .filter(|&number| self.program_name(number) == name_or_pid)
            .collect();
        let processes = self.processes.iter();
        let running = processes.filter(|(_, process)| numbers.contains(&process.program));
        let running: Vec<_> = running.map(|(&number, _)| number).collect();
        numbers.extend(running);
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The name of the process that addresses have by this number, with its pid if that is known.
    #[must_use]
    pub fn process_name(&self, number: u16) -> String {
        let name = self.program_name(number);
        match self.pid_of(number) {
            Some(pid) => format!("{name} {pid}"),
            None => name,
        }
    }

    /// The name of a program, by its number or by one of its processes'.
    #[must_use]
    pub fn program_name(&self, number: u16) -> String {
        let number = self.program_of(number);
        let mut programs = self.programs.iter();
        match programs.find(|program| program.number == number) {
            Some(program) => program.name.clone(),
            None if number == 0 => "a program".to_owned(),
            None => format!("program {number}"),
        }
    }

    /// The symbols of the program that addresses have by this number, or a process of it.
    pub(super) fn symbols_of_program(&self, number: u16) -> Option<&Self> {
        let number = self.program_of(number);
        let mut programs = self.programs.iter();
        let program = programs.find(|program| program.number == number)?;
        Some(&program.symbols)
    }

    /// What an address of a program is: its functions, with the program's name behind theirs, as
    /// different programs have functions of one name.
    pub(super) fn look_up_in_program(&mut self, user: UserAddress) -> Resolved {
        let name = self.program_name(user.program);
        let number = self.program_of(user.program);
        let mut programs = self.programs.iter_mut();
        let program = programs.find(|program| program.number == number);
        let frames = program.map_or_else(
            || vec![(Named::address(user.address), false)],
            |program| program.frames(user.address),
        );
        let frames = frames.into_iter().map(|(named, inlined)| {
            let Named { identity, file } = named;
            let identity = Identity {
                name: format!("{} [{name}]", identity.name),
                ..identity
            };
            Frame {
                function: self.functions.intern(identity, file),
                inlined,
            }
        });
        Resolved {
            frames: frames.collect(),
            names: DebugNames::Unknown,
        }
    }
}

impl Program {
    /// One whose names are those of a profile.
    pub(super) fn named(number: u16, name: String) -> Self {
        Self {
            number,
            name,
            files: SymbolFiles::default(),
            symbols: Symbols::without_elf(),
        }
    }

    /// Its number and its name.
    pub(super) fn numbered(&self) -> (u16, String) {
        (self.number, self.name.clone())
    }

    /// The functions at an address, innermost first, and whether each is inlined into the next.
    fn frames(&mut self, address: u64) -> Vec<(Named, bool)> {
        let address = CodeAddress(address);
        self.symbols.resolve([address]);
        let frames = self.symbols.frames(address).iter();
        let named = frames.map(|frame| {
            let (identity, file) = self.symbols.functions.identity(frame.function);
            let named = Named {
                identity: identity.clone(),
                file: file.map(str::to_owned),
            };
            (named, frame.inlined)
        });
        named.collect()
    }
}

/// A function of a program, as the program itself has it.
struct Named {
    identity: Identity,
    /// The file in which it is declared, shortened.
    file: Option<String>,
}

impl Named {
    /// What stands for code without a name.
    fn address(address: u64) -> Self {
        let identity = Identity {
            name: format!("{address:#x}"),
            ..Identity::default()
        };
        Self {
            identity,
            file: None,
        }
    }
}
