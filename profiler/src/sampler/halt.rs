//! An NMI, or a step, between `sti` and `hlt` must not be slept on.
//!
//! A kernel that waits has interrupts off while it looks for what it waits for, and then
//! executes `sti` and `hlt`: no maskable interrupt is recognized between them, so one that
//! comes after the look ends the halt. But an NMI may come there, and ends the shadow of
//! `sti` (SDM vol. 2, STI: NMIs *may* be inhibited), as does the trap flag's debug exception.
//! What becomes pending while it is handled is then taken before `hlt`, and the core halts
//! though it was woken.
//!
//! So the sampler resumes behind a `hlt` at which its interrupt came. That is where one
//! returns to that came an instruction later, whatever led to the `hlt`: no kernel can
//! tell, and none has to name its own.

use super::target::{Interrupted, Target};
use crate::address::CodeAddress;

/// The instruction `hlt` (SDM vol. 2, HLT).
pub(super) const HLT: u8 = 0xf4;

/// The bytes of it.
const HLT_BYTES: u64 = 1;

/// Lets code that is about to execute `hlt` resume behind it.
pub(super) fn skip(interrupted: &mut Interrupted) {
    interrupted.registers.pc = behind(interrupted);
}

/// Where that is.
pub(super) fn behind(interrupted: &Interrupted) -> CodeAddress {
    CodeAddress(interrupted.registers.pc.0 + HLT_BYTES)
}

/// Returns true if the interrupted code is about to execute `hlt`.
#[inline]
pub(super) fn is_at<T: Target>(target: &T, interrupted: &Interrupted) -> bool {
    let pc = interrupted.registers.pc;
    // What is not in the text need not be mapped, though it would be executed next.
    interrupted.privilege == 0 && target.text().contains(pc) && {
        // The target's addresses are 64 bits.
        #[allow(clippy::cast_possible_truncation)]
        let instruction = core::ptr::with_exposed_provenance::<u8>(pc.0 as usize);
        // SAFETY: the text is mapped (`Target`, condition 1), and code is readable.
        unsafe { instruction.read_volatile() == HLT }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::address::{CodeRange, StackAddress};
    use crate::unwind::{Rule, StackBounds};

    /// `sti`, `hlt`, `ret`, and a `hlt` that is not of the text.
    static CODE: [u8; 4] = [0xfb, HLT, 0xc3, HLT];

    fn at(offset: u64) -> CodeAddress {
        CodeAddress(CODE.as_ptr().expose_provenance() as u64 + offset)
    }

    /// Where the kernel is about to halt.
    pub(in crate::sampler) fn at_halt() -> CodeAddress {
        at(1)
    }

    /// A kernel with that text.
    pub(in crate::sampler) struct Kernel;

    // SAFETY: it names no stack, and its text is a static.
    unsafe impl Target for Kernel {
        fn stack_of(&self, _: u32, _: StackAddress) -> Option<StackBounds> {
            None
        }

        fn text(&self) -> CodeRange {
            CodeRange {
                start: at(0),
                end: at(3),
            }
        }

        fn rule(&self, _: CodeAddress) -> Rule {
            Rule::FramePointer
        }

        fn is_called_by_stub(&self, _: CodeAddress) -> bool {
            false
        }
    }

    #[test]
    fn a_halt_of_the_kernel_is_seen_and_nothing_else_is_read() {
        // privilege, offset of the interrupted instruction, is it a halt?
        for (privilege, offset, is_halt) in [
            (0, 0, false),
            (0, 1, true),
            (0, 2, false),
            (0, 3, false),
            (3, 1, false),
        ] {
            let mut interrupted = Interrupted::new(at(offset).0, 0, 0, 0x202);
            interrupted.privilege = privilege;
            assert_eq!(
                is_at(&Kernel, &interrupted),
                is_halt,
                "privilege {privilege}, offset {offset}"
            );
        }
        // Nothing is mapped there.
        let nowhere = Interrupted::new(0xdead_0000, 0, 0, 0x202);
        assert!(!is_at(&Kernel, &nowhere));
    }
}
