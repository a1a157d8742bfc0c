//! An NMI between `sti` and `hlt` must not be slept on.
//!
//! A kernel that waits has interrupts off while it looks for what it waits for, and then
//! executes `sti` and `hlt`: no maskable interrupt is recognized between them, so one that
//! comes after the look ends the halt. But an NMI may come there, and ends the shadow of
//! `sti` (SDM vol. 2, STI: NMIs *may* be inhibited). What becomes pending while it is
//! handled is then taken before `hlt`, and the core halts though it was woken.
//!
//! So the sampler resumes behind a `hlt` at which its NMI came. That is where an NMI
//! returns to that came one instruction later, whatever led to the `hlt`: no kernel can
//! tell, and none has to name its own.

use super::target::{Interrupted, Target};
use crate::address::CodeAddress;
use crate::format::Delivery;

/// The instruction `hlt` (SDM vol. 2, HLT).
const HLT: u8 = 0xf4;

/// The bytes of it.
pub(super) const HLT_BYTES: u64 = 1;

/// Returns true if the interrupted code was about to execute `hlt`, and is to resume behind it.
#[inline]
pub(super) fn is_at_halt<T: Target>(target: &T, interrupted: &Interrupted) -> bool {
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

/// Where the interrupted code resumes after an interrupt that came by `delivery`.
pub(super) fn resumes_at<T: Target>(
    target: &T,
    interrupted: &Interrupted,
    delivery: Delivery,
) -> CodeAddress {
    let is_behind = delivery == Delivery::Nmi && is_at_halt(target, interrupted);
    let CodeAddress(pc) = interrupted.registers.pc;
    CodeAddress(pc + HLT_BYTES * u64::from(is_behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{CodeRange, StackAddress};
    use crate::unwind::StackBounds;

    /// `sti`, `hlt`, `ret`, and a `hlt` that is not of the text.
    static CODE: [u8; 4] = [0xfb, HLT, 0xc3, HLT];

    fn at(offset: u64) -> CodeAddress {
        CodeAddress(CODE.as_ptr().expose_provenance() as u64 + offset)
    }

    struct Kernel;

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
                is_at_halt(&Kernel, &interrupted),
                is_halt,
                "privilege {privilege}, offset {offset}"
            );
        }
        // Nothing is mapped there.
        let nowhere = Interrupted::new(0xdead_0000, 0, 0, 0x202);
        assert!(!is_at_halt(&Kernel, &nowhere));
    }
    #[test]
    fn code_resumes_behind_the_halt_that_an_nmi_came_at() {
        for (delivery, offset, resumes) in [
            (Delivery::Nmi, 0, 0),
            (Delivery::Nmi, 1, 2),
            (Delivery::Nmi, 3, 3),
            // It comes before `hlt` where no `sti` is right before it, or after it.
            (Delivery::Irq, 1, 1),
        ] {
            let interrupted = Interrupted::new(at(offset).0, 0, 0, 0x202);
            let found = resumes_at(&Kernel, &interrupted, delivery);
            assert_eq!(found, at(resumes), "{delivery} at {offset}");
        }
    }
}
