//! The oracle for what an instruction is: at a period of one, every instruction
//! is a sample, so the samples must follow the code.
//!
//! The code is decoded from the kernel's ELF file. From each sample's program
//! counter there is one way on, or two where it may branch; where the code takes
//! an address from the stack, the sample itself has that word.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use object::{Object as _, ObjectSection as _, SectionKind};
use pmiscope::profile::Outcome;

use crate::fixture::{Guest, Seen, built};

/// The kernel's code.
struct Code {
    start: u64,
    bytes: Vec<u8>,
}

impl Code {
    fn of_kernel() -> Self {
        let elf = std::fs::read(built("kernel")).unwrap();
        let file = object::File::parse(&*elf).unwrap();
        let mut sections = file.sections();
        let text = sections.find(|section| section.kind() == SectionKind::Text);
        let text = text.expect("a section of code");
        Self {
            start: text.address(),
            bytes: text.data().unwrap().to_vec(),
        }
    }

    fn at(&self, pc: u64) -> Instruction {
        let offset = usize::try_from(pc.wrapping_sub(self.start)).unwrap();
        let bytes = self.bytes.get(offset..);
        let bytes = bytes.unwrap_or_else(|| panic!("{pc:#x} is not in the kernel's code"));
        let instruction = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode();
        assert!(!instruction.is_invalid(), "no instruction at {pc:#x}");
        instruction
    }
}

/// What was seen to be executed.
#[derive(Default)]
struct Ways {
    calls: u32,
    returns: u32,
    taken: u32,
    not_taken: u32,
    /// String instructions that were interrupted between two of their steps.
    repeated: u32,
    addresses: BTreeSet<u64>,
}

impl Ways {
    /// Asserts that executing the instruction that `before` was about to execute
    /// leads to `after`.
    #[track_caller]
    fn step(&mut self, code: &Code, before: &Seen, after: &Seen) {
        let instruction = code.at(before.pc.0);
        let next = instruction.next_ip();
        let target = instruction.near_branch_target();
        let to = after.pc.0;
        self.addresses.insert(before.pc.0);
        let is_right = match instruction.flow_control() {
            FlowControl::Next if is_string(&instruction) && to == before.pc.0 => {
                self.repeated += 1;
                true
            }
            FlowControl::Next => to == next,
            FlowControl::ConditionalBranch => {
                *if to == next {
                    &mut self.not_taken
                } else {
                    &mut self.taken
                } += 1;
                to == next || to == target
            }
            FlowControl::UnconditionalBranch => to == target,
            FlowControl::Call | FlowControl::IndirectCall => {
                self.calls += 1;
                let is_indirect = instruction.flow_control() == FlowControl::IndirectCall;
                // The call has pushed where to come back to.
                (is_indirect || to == target) && after.stack_top[0] == next
            }
            FlowControl::Return => {
                self.returns += 1;
                to == before.stack_top[0]
            }
            // Through a register: the sample does not have it.
            FlowControl::IndirectBranch => true,
            FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => {
                false
            }
        };
        assert!(
            is_right,
            "sample {} was about to execute {:?} ({} bytes, to {target:#x}) and the next one is \
             not behind it:\n{before:x?}\n{after:x?}",
            before.sequence,
            instruction.code(),
            instruction.len()
        );
    }
}

/// Whether it is an instruction that does the same several times, and can be
/// interrupted between.
fn is_string(instruction: &Instruction) -> bool {
    instruction.has_rep_prefix() || instruction.has_repne_prefix()
}

/// Follows a workload on one core, instruction by instruction.
#[track_caller]
fn follow(workload: &str, samples: u64) -> Ways {
    let line = format!("workload={workload} period=1 samples={samples} ring=67108864");
    let guest = Guest::boot(1, 160, &line, None).ended_with(Outcome::Finished, &[]);
    let taken = guest.samples(&line);
    taken.assert_whole(1, samples);
    taken.assert_exact(1);
    let code = Code::of_kernel();
    let mut ways = Ways::default();
    let seen: Vec<_> = taken.of(0).collect();
    for pair in seen.windows(2) {
        ways.step(&code, &pair[0], &pair[1]);
    }
    ways
}

#[test]
fn arithmetic_is_followed_instruction_by_instruction() {
    let ways = follow("arithmetic", 40_000);
    // From the start of the core's work into the first loop.
    assert!(ways.calls >= 3 && ways.returns >= 1);
    assert!(ways.taken > 1000 && ways.not_taken >= 1);
    assert!(ways.addresses.len() > 50, "{}", ways.addresses.len());
}

#[test]
fn recursion_is_followed_through_calls_and_returns() {
    let ways = follow("recursion", 40_000);
    assert!(
        ways.calls > 500 && ways.returns > 500,
        "{} calls, {} returns",
        ways.calls,
        ways.returns
    );
    assert!(ways.taken > 500 && ways.not_taken > 500);
}

#[test]
fn string_instructions_are_followed_step_by_step() {
    let ways = follow("copy", 40_000);
    assert!(ways.repeated > 1000, "{} steps", ways.repeated);
}

#[test]
fn sections_with_interrupts_off_are_followed_as_well() {
    let ways = follow("interrupts-off", 40_000);
    assert!(ways.calls >= 3 && ways.returns >= 3);
}
