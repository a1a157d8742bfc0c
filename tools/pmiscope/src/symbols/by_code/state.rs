//! What an instruction does to the stack pointer and to the frame pointer.

use iced_x86::{
    Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, OpKind, Register,
};

use super::super::callframe::Caller;

const WORD: i64 = 8;
/// Where the frame of a function begins that saves the frame pointer first: its caller's is
/// there, and the return address above it.
const FRAME: i64 = -WORD;

/// The stack and the frame pointer before an instruction. Offsets are from where the stack
/// pointer was when the function was called: where its return address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// `None` if it is not known.
    sp: Option<i64>,
    fp: FramePointer,
    /// Where the caller's frame pointer was pushed.
    saved: Option<i64>,
    /// Whether another register may hold a pointer to the stack.
    is_leaked: bool,
}

/// What the frame pointer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FramePointer {
    /// What the caller had in it.
    Caller,
    /// The address with this offset.
    At(i64),
    /// What is no address on the stack.
    Other,
    Unknown,
}

impl State {
    /// That of a function that was called just now.
    pub(super) const CALLED: Self = Self {
        sp: Some(0),
        fp: FramePointer::Caller,
        saved: None,
        is_leaked: false,
    };

    /// Nothing is known.
    const UNKNOWN: Self = Self {
        sp: None,
        fp: FramePointer::Unknown,
        saved: None,
        is_leaked: true,
    };

    /// Where the return address is.
    pub(super) fn caller(&self) -> Caller {
        let is_intact = self.sp.is_none_or(|sp| sp <= FRAME) && self.saved == Some(FRAME);
        match (self.fp, self.sp) {
            (FramePointer::At(FRAME), _) if is_intact => Caller::InFrame,
            (FramePointer::At(FRAME) | FramePointer::Unknown, _) | (_, None) => Caller::Unknown,
            (_, Some(0)) => Caller::OnTop(0),
            (_, Some(FRAME)) => Caller::OnTop(1),
            (_, Some(sp)) if sp < FRAME && sp % WORD == 0 => Caller::OutOfReach,
            _ => Caller::Unknown,
        }
    }

    /// Whether a return here leads to the caller, with its frame pointer; `None` if that is
    /// not known.
    pub(super) fn can_return(&self) -> Option<bool> {
        let is_caller = match self.fp {
            FramePointer::Caller => true,
            FramePointer::Unknown => return None,
            FramePointer::At(_) | FramePointer::Other => false,
        };
        Some(self.sp? == 0 && is_caller)
    }

    /// What is known where one came by two ways.
    pub(super) fn merged(self, other: Self) -> Self {
        if self.sp != other.sp {
            return Self::UNKNOWN;
        }
        Self {
            sp: self.sp,
            fp: if self.fp == other.fp {
                self.fp
            } else {
                FramePointer::Unknown
            },
            saved: self.saved.filter(|_| self.saved == other.saved),
            is_leaked: self.is_leaked || other.is_leaked,
        }
    }

    /// The state behind an instruction that is not a jump.
    pub(super) fn behind(mut self, code: &Instruction, info: &mut InstructionInfoFactory) -> Self {
        let before = self;
        match code.mnemonic() {
            Mnemonic::Push => self.push(code, before),
            Mnemonic::Pop => self.pop(code),
            Mnemonic::Pushfq => self.move_sp(-WORD),
            Mnemonic::Popfq => self.move_sp(WORD),
            Mnemonic::Leave => {
                self.sp = self.of_register(Register::RBP);
                self.pop_fp();
            }
            // What is called leaves both as they were.
            Mnemonic::Call => {}
            _ => self.execute(code, info),
        }
        // What lies below the stack pointer is anybody's.
        if let (Some(sp), Some(saved)) = (self.sp, self.saved)
            && sp > saved
        {
            self.saved = None;
        }
        self
    }

    fn push(&mut self, code: &Instruction, before: Self) {
        if code.stack_pointer_increment() != -8 {
            self.sp = None;
            return;
        }
        self.move_sp(-WORD);
        let is_fp = code.op0_kind() == OpKind::Register && code.op0_register() == Register::RBP;
        if is_fp && before.fp == FramePointer::Caller && before.saved.is_none() {
            self.saved = self.sp;
        }
    }

    fn pop(&mut self, code: &Instruction) {
        if code.stack_pointer_increment() != 8 {
            *self = Self::UNKNOWN;
        } else if code.op0_kind() != OpKind::Register {
            self.move_sp(WORD);
        } else {
            match code.op0_register().full_register() {
                Register::RBP => self.pop_fp(),
                Register::RSP => self.sp = None,
                _ => self.move_sp(WORD),
            }
        }
    }

    fn pop_fp(&mut self) {
        self.fp = self.loaded(self.sp);
        self.move_sp(WORD);
    }

    /// The frame pointer that is loaded from this place of the stack.
    fn loaded(&self, from: Option<i64>) -> FramePointer {
        match (from, self.saved) {
            (Some(from), Some(saved)) if from == saved => FramePointer::Caller,
            (Some(_), _) => FramePointer::Other,
            (None, _) => FramePointer::Unknown,
        }
    }

    fn move_sp(&mut self, by: i64) {
        self.sp = self.sp.and_then(|sp| sp.checked_add(by));
    }

    /// The offset that a register has.
    fn of_register(&self, register: Register) -> Option<i64> {
        match (register, self.fp) {
            (Register::RSP, _) => self.sp,
            (Register::RBP, FramePointer::At(offset)) => Some(offset),
            _ => None,
        }
    }

    /// The offset of what an operand in memory means.
    fn of_memory(&self, code: &Instruction) -> Option<i64> {
        let plain = code.memory_index() == Register::None
            && matches!(
                code.segment_prefix(),
                Register::None | Register::SS | Register::DS
            );
        let displacement = i64::from_le_bytes(code.memory_displacement64().to_le_bytes());
        let base = self.of_register(code.memory_base()).filter(|_| plain)?;
        base.checked_add(displacement)
    }

    /// An instruction that is none of the stack's own.
    fn execute(&mut self, code: &Instruction, info: &mut InstructionInfoFactory) {
        let before = *self;
        let used = info.info(code);
        let writes = |register: Register| {
            used.used_registers().iter().any(|used| {
                let is_written = !matches!(
                    used.access(),
                    OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
                );
                is_written && used.register().full_register() == register
            })
        };
        let [writes_sp, writes_fp] = [Register::RSP, Register::RBP].map(writes);
        if writes_sp {
            self.sp = before.result(code, Register::RSP);
        }
        if writes_fp {
            self.fp = before.frame_pointer(code);
        }
        let reads = |register: Register| {
            let mut kinds = code.op_kinds().zip(0..);
            kinds.any(|(kind, number)| {
                kind == OpKind::Register
                    && code.op_register(number).full_register() == register
                    && number > 0
            })
        };
        let points = |register| before.of_register(register).is_some() || register == Register::RSP;
        let takes = [Register::RSP, Register::RBP].into_iter().any(|register| {
            let is_address = code.mnemonic() == Mnemonic::Lea && code.memory_base() == register;
            points(register) && (reads(register) || is_address)
        });
        self.is_leaked |= takes && !writes_sp && !writes_fp;
    }

    /// The offset that an instruction leaves in the stack pointer or the frame pointer.
    fn result(&self, code: &Instruction, register: Register) -> Option<i64> {
        if code.op0_kind() != OpKind::Register || code.op0_register() != register {
            return None;
        }
        let by_register = code.op_count() > 1 && code.op1_kind() == OpKind::Register;
        let immediate = || {
            let is_immediate = matches!(
                code.op1_kind(),
                OpKind::Immediate8to64 | OpKind::Immediate32to64 | OpKind::Immediate64
            );
            is_immediate.then(|| i64::from_le_bytes(code.immediate(1).to_le_bytes()))
        };
        match code.mnemonic() {
            Mnemonic::Mov if by_register => self.of_register(code.op1_register()),
            Mnemonic::Lea => self.of_memory(code),
            Mnemonic::Add => self.of_register(register)?.checked_add(immediate()?),
            Mnemonic::Sub => self.of_register(register)?.checked_sub(immediate()?),
            Mnemonic::Inc => self.of_register(register)?.checked_add(1),
            Mnemonic::Dec => self.of_register(register)?.checked_sub(1),
            _ => None,
        }
    }

    /// What an instruction that writes the frame pointer leaves in it.
    fn frame_pointer(&self, code: &Instruction) -> FramePointer {
        if let Some(offset) = self.result(code, Register::RBP) {
            return FramePointer::At(offset);
        }
        let is_load = code.mnemonic() == Mnemonic::Mov
            && code.op1_kind() == OpKind::Memory
            && code.memory_size() == MemorySize::UInt64
            && code.op0_register() == Register::RBP;
        if !is_load {
            return self.computed(code);
        }
        let base = code.memory_base();
        if matches!(base, Register::RSP | Register::RBP) {
            return match (self.of_register(base), code.memory_index()) {
                (Some(_), Register::None) => self.loaded(self.of_memory(code)),
                _ => FramePointer::Unknown,
            };
        }
        // Perhaps by a pointer to where it was saved.
        if self.is_leaked {
            FramePointer::Unknown
        } else {
            FramePointer::Other
        }
    }

    /// The same of one that does not load it.
    fn computed(&self, code: &Instruction) -> FramePointer {
        let is_move = code.mnemonic() == Mnemonic::Mov;
        let is_constant = is_move && code.op1_kind() != OpKind::Register;
        // All others but a copy compute with what it had. A zero (`xor ebp, ebp`) may be the
        // beginning of a new stack, at which there is no caller any more.
        let is_from_fp = !is_move;
        let is_from_sp = code.op_count() > 1
            && (code.op1_kind() == OpKind::Register && code.op1_register() == Register::RSP
                || code.op1_kind() == OpKind::Memory && code.memory_base() == Register::RSP);
        let may_point =
            is_from_sp || self.is_leaked || is_from_fp && self.fp != FramePointer::Other;
        if may_point && !is_constant {
            FramePointer::Unknown
        } else {
            FramePointer::Other
        }
    }
}
