//! The return address of code that has no frame yet, or none any more: the walk over frame
//! pointers does not see it.

/// `push rbp`
const PUSH: u8 = 0x55;
/// `ret`
const RETURN: u8 = 0xc3;

/// Code that was interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    /// Bytes from its function's start to the instruction that was about to execute; `None` if
    /// that is not known.
    pub into: Option<u64>,
    /// The byte before that instruction.
    pub before: u8,
    /// That instruction's first byte.
    pub first: u8,
}

impl Interrupted {
    /// The words between the stack pointer and the return address, where the frame pointer is
    /// the caller's. `None` where there is a frame, or it is not known that there is none.
    #[must_use]
    pub fn words_to_return_address(&self) -> Option<usize> {
        match (self.into, self.before, self.first) {
            (Some(0), ..) | (_, _, RETURN) => Some(0),
            (Some(1), PUSH, _) => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Interrupted;

    #[test]
    fn a_frame_is_missing_in_the_first_and_last_instructions_alone() {
        // push rbp; mov rbp, rsp; …; pop rbp; ret
        for (into, before, first, words) in [
            (Some(0), 0xcc, 0x55, Some(0)),
            (Some(0), 0xc3, 0x48, Some(0)),
            (Some(1), 0x55, 0x48, Some(1)),
            (Some(1), 0x50, 0x48, None),
            (Some(4), 0xe5, 0x41, None),
            (Some(7), 0x55, 0x48, None),
            (None, 0x55, 0x48, None),
            (Some(90), 0x5b, 0x5d, None),
            (Some(91), 0x5d, 0xc3, Some(0)),
            (None, 0x5d, 0xc3, Some(0)),
        ] {
            let code = Interrupted {
                into,
                before,
                first,
            };
            assert_eq!(code.words_to_return_address(), words, "{code:x?}");
        }
    }
}
