//! Where a function keeps its return address, according to its instructions: for code that no
//! call-frame information covers.
//!
//! From where a function starts, called, its instructions are followed to all that they lead
//! to (`function.rs`), with what they do to the stack pointer and the frame pointer
//! (`state.rs`). What leads to its midst from elsewhere, and what is called, is known by a look
//! at all code (`sweep.rs`). In any doubt the answer is [`Caller::Unknown`].

mod function;
mod state;
mod sweep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::callframe::Caller;
use super::code::Code;
use super::names::{CodeSymbol, SymbolTable};
use super::slide::LinkAddress;
use function::Function;
use sweep::Sweep;

/// Finds return addresses by instructions. Each function is decoded once, when it is first
/// asked for.
#[derive(Debug, Default)]
pub(super) struct ByCode {
    code: Arc<Code>,
    table: Arc<SymbolTable>,
    sweep: OnceLock<Sweep>,
    known: Mutex<Known>,
}

/// What was asked for before.
#[derive(Debug, Default)]
struct Known {
    /// By where they start.
    functions: HashMap<LinkAddress, Arc<Function>>,
    /// Samples are at few different addresses.
    answers: HashMap<LinkAddress, Caller>,
}

impl ByCode {
    pub(super) fn new(code: Arc<Code>, table: Arc<SymbolTable>) -> Self {
        Self {
            code,
            table,
            ..Self::default()
        }
    }

    pub(super) fn code(&self) -> &Code {
        &self.code
    }

    /// Where the code that is about to execute `address` keeps its return address.
    pub(super) fn of(&self, address: LinkAddress) -> Caller {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&answer) = known.answers.get(&address) {
            return answer;
        }
        let answer = self.find(&mut known, address);
        known.answers.insert(address, answer);
        answer
    }

    fn find(&self, known: &mut Known, address: LinkAddress) -> Caller {
        let Some(symbol) = self.table.at(address) else {
            return Caller::Unknown;
        };
        // What the compiler has put far from the function that it is a part of is not called.
        let parent = symbol.name.split_once(".cold").map(|(parent, _)| parent);
        let parents = self.table.all().iter();
        let parents = parents.filter(|it| it.is_function && Some(&*it.name) == parent);
        let answers = parents.filter_map(|it| self.function(known, it).visited(address));
        let mut answers = answers.collect::<Vec<_>>().into_iter();
        match answers.next() {
            None => self.function(known, symbol).at(address),
            Some(first) if answers.all(|other| other == first) => first,
            Some(_) => Caller::Unknown,
        }
    }

    fn function(&self, known: &mut Known, symbol: &CodeSymbol) -> Arc<Function> {
        let function = known.functions.entry(symbol.start).or_insert_with(|| {
            let sweep = self
                .sweep
                .get_or_init(|| Sweep::new(&self.code, &self.table));
            Arc::new(Function::new(&self.code, &self.table, sweep, symbol))
        });
        Arc::clone(function)
    }
}
