//! The kernel's code, decoded: where each instruction leads, and what it does to
//! the stack of calls.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind, Register};
use profiler::address::{CodeAddress, UserAddress};

use crate::symbols::callframe::Callers;
use crate::symbols::{self, Slide};

/// How an instruction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// In the next instruction.
    Next,
    /// In the next instruction, or once more in itself: a string instruction that
    /// is interrupted between two of its steps.
    Repeat,
    /// In the next instruction or here.
    Branch(CodeAddress),
    /// Here, or wherever a register or memory says.
    Jump(Option<CodeAddress>),
    /// The same, with the address of the next instruction pushed.
    Call(Option<CodeAddress>),
    /// Where the word on top of the stack says; so many bytes are popped.
    Return(u64),
    /// Where the words that an interrupt pushed say.
    InterruptReturn,
    /// Where the kernel has SYSCALL enter it.
    SystemCall,
    /// By SYSRET, where a register says.
    SystemReturn,
    /// In a trap.
    Trap,
}

/// An instruction, as far as it says where it leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Instruction {
    /// The address behind it.
    pub next: CodeAddress,
    pub flow: Flow,
    /// Whether it can hold the trap of the trap flag off for one instruction, as it
    /// does interrupts (SDM vol. 3, 7.8.3), or does in QEMU, which leaves `pause` in a
    /// way of its own; or is a `hlt`, which the sampler resumes behind without a trap there.
    pub holds_traps_off: bool,
    /// Whether it takes the stack pointer from where neither the stack pointer nor the frame
    /// pointer was: it can be of another stack.
    pub loads_stack_pointer: bool,
}

/// The code of a kernel and of the user's programs, by the addresses at which it ran. Each
/// instruction is decoded once.
pub(super) struct Code<'a> {
    bytes: &'a symbols::Code,
    slide: &'a Slide,
    /// What knows the programs.
    callers: &'a Callers,
    decoded: HashMap<CodeAddress, Option<Instruction>>,
    vectors: HashMap<CodeAddress, Option<u8>>,
}

impl<'a> Code<'a> {
    pub(super) fn new(bytes: &'a symbols::Code, callers: &'a Callers) -> Self {
        Self {
            bytes,
            slide: callers.slide(),
            callers,
            decoded: HashMap::new(),
            vectors: HashMap::new(),
        }
    }

    /// The instruction at `pc`; `None` if there is none.
    pub(super) fn at(&mut self, pc: CodeAddress) -> Option<Instruction> {
        if let Some(&known) = self.decoded.get(&pc) {
            return known;
        }
        let instruction = self.decode(pc).map(|raw| Instruction {
            next: CodeAddress(raw.next_ip()),
            flow: flow(&raw),
            holds_traps_off: holds_traps_off(&raw),
            loads_stack_pointer: loads_stack_pointer(&raw),
        });
        self.decoded.insert(pc, instruction);
        instruction
    }

    fn decode(&self, pc: CodeAddress) -> Option<iced_x86::Instruction> {
        let bytes = match UserAddress::of_program(pc) {
            Some(user) => {
                let (code, slide) = self.callers.code_of(user.program)?;
                code.at(slide.link(CodeAddress(user.address))?)?
            }
            None => self.bytes.at(self.slide.link(pc)?)?,
        };
        let raw = Decoder::with_ip(64, bytes, pc.0, DecoderOptions::NONE).decode();
        (!raw.is_invalid()).then_some(raw)
    }

    /// The vector of the interrupt that enters the kernel at `entry`: the entry
    /// pushes it last before it leaves, or goes to another one that does.
    pub(super) fn vector(&mut self, entry: CodeAddress, callers: &Callers) -> Option<u8> {
        if let Some(&known) = self.vectors.get(&entry) {
            return known;
        }
        let vector = self.find_vector(entry, callers);
        self.vectors.insert(entry, vector);
        vector
    }

    fn find_vector(&self, entry: CodeAddress, callers: &Callers) -> Option<u8> {
        /// An entry that pushes no vector within so many instructions has none.
        const MOST: usize = 64;
        let mut pc = entry;
        let mut pushed = None;
        for _ in 0..MOST {
            let raw = self.decode(pc)?;
            let target = CodeAddress(raw.near_branch_target());
            match raw.flow_control() {
                FlowControl::UnconditionalBranch if pushed.is_some() => break,
                FlowControl::UnconditionalBranch if is_entry(target, callers) => {
                    pc = target;
                    continue;
                }
                FlowControl::Call | FlowControl::Return => break,
                _ => {}
            }
            if raw.mnemonic() == Mnemonic::Push
                && !matches!(raw.op0_kind(), OpKind::Register | OpKind::Memory)
            {
                // A byte's worth, as the stubs push it.
                pushed = Some(raw.immediate(0).to_le_bytes()[0]);
            }
            pc = CodeAddress(raw.next_ip());
        }
        pushed
    }
}

/// Returns true if interrupts enter at `pc`.
fn is_entry(pc: CodeAddress, callers: &Callers) -> bool {
    callers.entry(pc).is_some_and(|(entry, _)| entry == pc)
}

fn loads_stack_pointer(raw: &iced_x86::Instruction) -> bool {
    const OF_THIS_STACK: [Register; 2] = [Register::RSP, Register::RBP];
    if raw.mnemonic() != Mnemonic::Mov || raw.op0_register() != Register::RSP {
        return false;
    }
    match raw.op1_kind() {
        OpKind::Register => !OF_THIS_STACK.contains(&raw.op1_register()),
        OpKind::Memory => !OF_THIS_STACK.contains(&raw.memory_base()),
        _ => true,
    }
}

fn holds_traps_off(raw: &iced_x86::Instruction) -> bool {
    match raw.mnemonic() {
        Mnemonic::Sti | Mnemonic::Pause | Mnemonic::Hlt => true,
        Mnemonic::Mov | Mnemonic::Pop => raw.op0_register() == Register::SS,
        _ => false,
    }
}

fn flow(raw: &iced_x86::Instruction) -> Flow {
    let target = CodeAddress(raw.near_branch_target());
    match raw.mnemonic() {
        Mnemonic::Syscall => return Flow::SystemCall,
        Mnemonic::Sysret | Mnemonic::Sysretq => return Flow::SystemReturn,
        _ => {}
    }
    match raw.flow_control() {
        FlowControl::Next if raw.has_rep_prefix() || raw.has_repne_prefix() => Flow::Repeat,
        FlowControl::Next => Flow::Next,
        FlowControl::ConditionalBranch => Flow::Branch(target),
        FlowControl::UnconditionalBranch => Flow::Jump(Some(target)),
        FlowControl::IndirectBranch => Flow::Jump(None),
        FlowControl::Call => Flow::Call(Some(target)),
        FlowControl::IndirectCall => Flow::Call(None),
        FlowControl::Return if raw.mnemonic() == Mnemonic::Ret => {
            let more = if raw.op_count() == 0 {
                0
            } else {
                raw.immediate16()
            };
            Flow::Return(8 + u64::from(more))
        }
        FlowControl::Return => Flow::InterruptReturn,
        FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => {
            Flow::Trap
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::LinkAddress;

    /// The instruction that these bytes are, at address 0x1000.
    fn decoded(bytes: &[u8]) -> Option<Instruction> {
        let bytes = symbols::Code::of_bytes(LinkAddress(0x1000), bytes.to_vec());
        let callers = Callers::default();
        let mut code = Code::new(&bytes, &callers);
        code.at(CodeAddress(0x1000))
    }

    #[test]
    fn instructions_say_where_they_lead() {
        let there = CodeAddress(0x1012);
        for (bytes, flow) in [
            (&[0x90][..], Flow::Next),
            (&[0xf3, 0xa4], Flow::Repeat),            // rep movsb
            (&[0xf3, 0x90], Flow::Next),              // pause
            (&[0xf4], Flow::Next),                    // hlt
            (&[0x74, 0x10], Flow::Branch(there)),     // je
            (&[0xeb, 0x10], Flow::Jump(Some(there))), // jmp
            (&[0xff, 0xe0], Flow::Jump(None)),        // jmp rax
            (&[0xe8, 0x0d, 0, 0, 0], Flow::Call(Some(there))), // call
            (&[0xff, 0xd0], Flow::Call(None)),        // call rax
            (&[0xc3], Flow::Return(8)),               // ret
            (&[0xc2, 0x10, 0], Flow::Return(24)),     // ret 16
            (&[0x48, 0xcf], Flow::InterruptReturn),   // iretq
            (&[0x0f, 0x05], Flow::SystemCall),        // syscall
            (&[0x48, 0x0f, 0x07], Flow::SystemReturn), // sysretq
            (&[0xcd, 0x02], Flow::Trap),              // int 2
            (&[0x0f, 0x0b], Flow::Trap),              // ud2
        ] {
            let next = CodeAddress(0x1000 + bytes.len() as u64);
            let instruction = decoded(bytes).map(|it| (it.next, it.flow));
            assert_eq!(instruction, Some((next, flow)), "{bytes:x?}");
        }
        assert!(decoded(&[0xfb]).unwrap().holds_traps_off); // sti
        assert!(decoded(&[0x8e, 0xd0]).unwrap().holds_traps_off); // mov ss, eax
        assert!(decoded(&[0xf3, 0x90]).unwrap().holds_traps_off); // pause
        assert!(decoded(&[0xf4]).unwrap().holds_traps_off); // hlt
        assert!(!decoded(&[0x90]).unwrap().holds_traps_off);
        assert_eq!(decoded(&[0x06]), None); // no instruction in 64-bit mode
        assert_eq!(decoded(&[]), None);
    }
}
