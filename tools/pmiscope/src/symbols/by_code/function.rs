//! A function's instructions, followed from its start.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
};

use super::super::callframe::Caller;
use super::super::code::Code;
use super::super::names::{CodeSymbol, SymbolTable};
use super::super::slide::LinkAddress;
use super::state::State;
use super::sweep::Sweep;

/// A function of more instructions is not understood.
const MOST: usize = 1 << 17;
/// Instructions that are tried to find out whether code can be jumped to.
const MOST_TRIED: usize = 1 << 10;

/// What is known of a function's instructions.
#[derive(Debug, Default)]
pub(super) struct Function {
    answers: HashMap<LinkAddress, Caller>,
}

impl Function {
    pub(super) fn new(
        code: &Code,
        table: &SymbolTable,
        sweep: &Sweep,
        symbol: &CodeSymbol,
    ) -> Self {
        let mut walk = Walk::new(code, table, symbol);
        let Ok(returns) = walk.run() else {
            return Self::default();
        };
        if walk.is_entered_elsewhere(sweep) {
            return Self::default();
        }
        // The start alone does not say that it is called, and not entered by an interrupt.
        let is_called = returns || sweep.is_called(symbol.start) || walk.leaves_to_what_returns();
        // A compiled function that sets up a frame has it, whoever has called it.
        let has_frame = symbol.is_function && symbol.size > 0;
        let jumps = walk.states_at_jumps();
        let answers = walk.states.iter().map(|(&address, state)| {
            let answer = state.caller();
            let is_trusted = is_called || answer == Caller::InFrame && has_frame;
            let can_be_target =
                |&jump: &State| jump.caller() != answer && !walk.contradicts(address, jump);
            if is_trusted && !jumps.iter().any(can_be_target) {
                (address, answer)
            } else {
                (address, Caller::Unknown)
            }
        });
        Self {
            answers: answers.collect(),
        }
    }

    /// Where the code that is about to execute `address` keeps its return address.
    pub(super) fn at(&self, address: LinkAddress) -> Caller {
        self.visited(address).unwrap_or(Caller::Unknown)
    }

    /// The same; `None` if the function does not come there, as far as is known.
    pub(super) fn visited(&self, address: LinkAddress) -> Option<Caller> {
        self.answers.get(&address).copied()
    }
}

/// The function does what is not understood.
struct Doubt;

/// Where an instruction leads.
#[derive(Default)]
struct Successors {
    /// By itself or by a jump.
    certain: Vec<LinkAddress>,
    /// By a call, unless what is called does not return.
    behind_call: Option<LinkAddress>,
}

/// The instructions by which a function is left, or may be.
#[derive(Default)]
struct Ends {
    returns: HashSet<LinkAddress>,
    /// Jumps to other functions, and what they lead to.
    leaves: HashMap<LinkAddress, LinkAddress>,
    /// Jumps to what is not known.
    jumps: HashSet<LinkAddress>,
    /// What these are taken to lead to.
    from_tables: Vec<LinkAddress>,
    /// What stands right behind the end of the function's frame.
    behind_frame: HashSet<LinkAddress>,
}

/// The instructions that a function leads to.
struct Walk<'a> {
    code: &'a Code,
    table: &'a SymbolTable,
    /// The function's own code.
    own: Range<LinkAddress>,
    has_size: bool,
    /// Before each instruction.
    states: HashMap<LinkAddress, State>,
    ends: Ends,
    todo: Vec<(LinkAddress, State)>,
    /// What is behind calls comes last.
    behind_calls: Vec<(LinkAddress, State)>,
    info: InstructionInfoFactory,
}

impl<'a> Walk<'a> {
    fn new(code: &'a Code, table: &'a SymbolTable, symbol: &CodeSymbol) -> Self {
        let mut behind = table.all_behind(symbol.start);
        let next = behind.find(|next| next.is_function);
        let end = match symbol.size {
            0 => next.map_or(symbol.limit, |next| next.start.0.min(symbol.limit)),
            _ => symbol.end(),
        };
        Self {
            code,
            table,
            own: symbol.start..LinkAddress(end),
            has_size: symbol.size > 0,
            states: HashMap::new(),
            ends: Ends::default(),
            todo: vec![(symbol.start, State::CALLED)],
            behind_calls: Vec::new(),
            info: InstructionInfoFactory::new(),
        }
    }

    /// Follows all instructions. Returns true if the function is known to return.
    fn run(&mut self) -> Result<bool, Doubt> {
        self.follow()?;
        self.follow_tables()?;
        let mut returns = false;
        for address in &self.ends.returns {
            match self.states[address].can_return() {
                Some(true) => returns = true,
                Some(false) => return Err(Doubt),
                None => {}
            }
        }
        Ok(returns)
    }

    fn follow(&mut self) -> Result<(), Doubt> {
        loop {
            if let Some((address, state)) = self.todo.pop() {
                self.step(address, state)?;
            } else if let Some((address, state)) = self.behind_calls.pop() {
                // What else leads there knows better: a call that does not return has
                // something else behind it.
                if !self.states.contains_key(&address) {
                    self.step(address, state)?;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Follows what only tables of addresses lead to: what is left of the function's own code.
    fn follow_tables(&mut self) -> Result<(), Doubt> {
        let jumps = self.states_at_jumps();
        let ([at_jump], true) = (&jumps[..], self.has_size) else {
            return Ok(());
        };
        let mut at = self.own.start;
        while at < self.own.end {
            let Some(code) = self.decode(at) else { break };
            let is_padding = matches!(code.mnemonic(), Mnemonic::Nop | Mnemonic::Int3);
            if !self.states.contains_key(&at) && !is_padding {
                self.ends.from_tables.push(at);
                self.todo.push((at, *at_jump));
                self.follow()?;
            }
            at = LinkAddress(code.next_ip());
        }
        Ok(())
    }

    /// The states at jumps to what is not known. One right behind the end of a frame is a call
    /// in place of a return.
    fn states_at_jumps(&self) -> Vec<State> {
        let mut states = Vec::new();
        for jump in &self.ends.jumps {
            let state = self.states[jump];
            let is_call = self.ends.behind_frame.contains(jump) && state.can_return() == Some(true);
            if !is_call && !states.contains(&state) {
                states.push(state);
            }
        }
        states
    }

    /// Comes to an instruction in a state.
    fn step(&mut self, address: LinkAddress, state: State) -> Result<(), Doubt> {
        let state = match self.states.get(&address) {
            Some(&known) if known.merged(state) == known => return Ok(()),
            Some(known) => known.merged(state),
            None => state,
        };
        if self.states.len() >= MOST {
            return Err(Doubt);
        }
        // What cannot be decoded ends here: nothing is said of it.
        let Some(code) = self.decode(address) else {
            return Ok(());
        };
        self.states.insert(address, state);
        let successors = self.successors(&code, state)?;
        match code.flow_control() {
            FlowControl::Return if is_return(&code) => drop(self.ends.returns.insert(address)),
            FlowControl::IndirectBranch => drop(self.ends.jumps.insert(address)),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let target = LinkAddress(code.near_branch_target());
                if self.followed(target, state).is_none() {
                    self.ends.leaves.insert(address, target);
                }
            }
            _ => {}
        }
        let behind = state.behind(&code, &mut self.info);
        if state.can_return() != Some(true) && behind.can_return() == Some(true) {
            self.ends.behind_frame.insert(LinkAddress(code.next_ip()));
        }
        let certain = successors.certain.into_iter().map(|next| (next, behind));
        self.todo.extend(certain);
        let called = successors.behind_call.map(|next| (next, behind));
        self.behind_calls.extend(called);
        Ok(())
    }

    fn decode(&self, address: LinkAddress) -> Option<Instruction> {
        let bytes = self.code.at(address)?;
        let code = Decoder::with_ip(64, bytes, address.0, DecoderOptions::NONE).decode();
        (!code.is_invalid()).then_some(code)
    }

    fn successors(&self, code: &Instruction, state: State) -> Result<Successors, Doubt> {
        let next = LinkAddress(code.next_ip());
        let target = LinkAddress(code.near_branch_target());
        let mut to = Successors::default();
        match code.flow_control() {
            FlowControl::Next | FlowControl::Interrupt if code.mnemonic() != Mnemonic::Int3 => {
                to.certain.push(next);
            }
            FlowControl::ConditionalBranch => {
                to.certain.push(next);
                to.certain.extend(self.followed(target, state));
            }
            FlowControl::UnconditionalBranch => to.certain.extend(self.followed(target, state)),
            // It asks where it is, and is no call.
            FlowControl::Call if target == next && !self.is_start(target) => return Err(Doubt),
            FlowControl::Call | FlowControl::IndirectCall => {
                let is_own = !self.has_size || self.own.contains(&next);
                let starting = self.table.starting_at(next);
                let is_another = starting.iter().any(|symbol| symbol.is_function);
                to.behind_call = Some(next).filter(|_| is_own && !is_another);
            }
            // To what was pushed: what is behind it is not known from here.
            FlowControl::Return if code.mnemonic() == Mnemonic::Retf => {}
            FlowControl::Return if !is_return(code) => return Err(Doubt),
            FlowControl::XbeginXabortXend => return Err(Doubt),
            _ => {}
        }
        Ok(to)
    }

    /// The target of a jump, unless that is a call in place of a return.
    fn followed(&self, target: LinkAddress, state: State) -> Option<LinkAddress> {
        let is_function = !self.table.starting_at(target).is_empty();
        let is_call =
            is_function && !self.own.contains(&target) && state.can_return() == Some(true);
        (!is_call).then_some(target)
    }

    /// Returns true if the function leaves, by a jump in place of a call, to another one that
    /// returns: to where this one was called.
    fn leaves_to_what_returns(&self) -> bool {
        self.ends.leaves.iter().any(|(jump, target)| {
            let is_certain = self.states[jump].can_return() == Some(true);
            let target = self
                .table
                .starting_at(*target)
                .first()
                .filter(|_| is_certain);
            target.is_some_and(|it| {
                Walk::new(self.code, self.table, it)
                    .run()
                    .is_ok_and(|it| it)
            })
        })
    }

    fn is_start(&self, address: LinkAddress) -> bool {
        !self.table.starting_at(address).is_empty()
    }

    /// Returns true if jumps from elsewhere lead into the midst of it.
    fn is_entered_elsewhere(&self, sweep: &Sweep) -> bool {
        let addresses = || self.states.keys().copied();
        let (Some(first), Some(last)) = (addresses().min(), addresses().max()) else {
            return false;
        };
        let before = LinkAddress(first.0.wrapping_sub(1));
        let jumps = sweep.jumps_behind(before, last).iter();
        let mut foreign = jumps.filter(|(target, source)| {
            let is_own = self.states.contains_key(source) || self.own.contains(source);
            *target != self.own.start && !is_own
        });
        foreign.any(|(target, _)| self.states.contains_key(target))
    }

    /// Returns true if nothing can come to `address` in this state: it would return to what
    /// is no return address.
    fn contradicts(&self, address: LinkAddress, state: State) -> bool {
        let mut info = InstructionInfoFactory::new();
        let mut tried = HashSet::new();
        let mut todo = vec![(address, state)];
        while let Some((address, state)) = todo.pop() {
            if tried.len() >= MOST_TRIED || !tried.insert(address) {
                continue;
            }
            let Some(code) = self.decode(address) else {
                continue;
            };
            if is_return(&code) && state.can_return() == Some(false) {
                return true;
            }
            if self.ends.jumps.contains(&address) {
                todo.extend(self.ends.from_tables.iter().map(|&target| (target, state)));
            }
            let Ok(successors) = self.successors(&code, state) else {
                continue;
            };
            let behind = state.behind(&code, &mut info);
            let all = successors.certain.into_iter().chain(successors.behind_call);
            todo.extend(all.map(|next| (next, behind)));
        }
        false
    }
}

/// Returns true if the instruction returns from a call, and pops nothing else.
fn is_return(code: &Instruction) -> bool {
    code.mnemonic() == Mnemonic::Ret && code.op_count() == 0
}
