//! Code by its names: each different list of functions has an address.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use profiler::address::{CodeAddress, CodeRange, UserAddress};

use crate::profile::names::{Known, NamedCaller, NamedCode, NamedFrom, NamedFunction, Names};
use crate::symbols::BuildId;

/// Where the code of kernels begins, and that of programs.
const KERNEL: u64 = 0xffff_ffff_8000_0000;
const PROGRAM: u64 = 0x1000;

/// Bytes of address space that a list of functions has: its address is the first, and a call in it
/// returns behind that.
const STEP: u64 = 16;

/// Whose code it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Owner {
    Kernel,
    /// The program with this number, from 1 on.
    Program(u16),
}

/// A list of functions, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Code(u32);

/// All of a profile's.
#[derive(Default)]
pub(super) struct CodeTable {
    functions: Vec<NamedFunction>,
    numbers: HashMap<(String, Option<String>, Option<u32>), u32>,
    lists: Vec<Vec<u32>>,
    codes: HashMap<Vec<u32>, u32>,
    used: BTreeSet<(Owner, Code)>,
}

impl CodeTable {
    /// The number of a list of functions, innermost first.
    pub(super) fn code(&mut self, functions: impl IntoIterator<Item = NamedFunction>) -> Code {
        let list: Vec<_> = functions.into_iter().map(|it| self.function(it)).collect();
        if let Some(&known) = self.codes.get(&list) {
            return Code(known);
        }
        let number = u32::try_from(self.lists.len()).expect("fewer than 2³²");
        self.codes.insert(list.clone(), number);
        self.lists.push(list);
        Code(number)
    }

    fn function(&mut self, function: NamedFunction) -> u32 {
        let key = (function.name.clone(), function.path.clone(), function.line);
        let next = u32::try_from(self.functions.len()).expect("fewer than 2³²");
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.functions.push(function);
        }
        number
    }

    /// The address of code that was executing.
    pub(super) fn at(&mut self, owner: Owner, code: Code) -> CodeAddress {
        self.used.insert((owner, code));
        address(owner, code)
    }

    /// The address to which what it has called returns.
    pub(super) fn behind(&mut self, owner: Owner, code: Code) -> CodeAddress {
        CodeAddress(self.at(owner, code).0 + 1)
    }

    /// The addresses of all code of the kernel.
    pub(super) fn text(&self) -> CodeRange {
        let end = KERNEL + STEP * self.lists.len() as u64;
        CodeRange {
            start: CodeAddress(KERNEL),
            end: CodeAddress(end),
        }
    }

    /// The names of all that was asked for.
    pub(super) fn names(&self, build_id: BuildId, programs: Vec<(u16, String)>) -> Names {
        let mut code: Vec<_> = self
            .used
            .iter()
            .map(|&(owner, code)| NamedCode {
                address: address(owner, code).0,
                functions: self.lists[code.0 as usize].clone(),
                caller: NamedCaller::InFrame,
                known: Known::ALL,
            })
            .collect();
        code.sort_unstable_by_key(|it| it.address);
        let CodeRange { start, end } = self.text();
        Names {
            build_id: build_id.to_string(),
            functions: self.functions.clone(),
            code,
            programs,
            text: vec![(start.0, end.0)],
            slide: Some(0),
            has_call_frames: true,
            from: NamedFrom::default(),
        }
    }
}

fn address(owner: Owner, Code(number): Code) -> CodeAddress {
    let offset = STEP * u64::from(number);
    match owner {
        Owner::Kernel => CodeAddress(KERNEL + offset),
        Owner::Program(program) => UserAddress {
            program,
            address: PROGRAM + offset,
        }
        .code(),
    }
}
