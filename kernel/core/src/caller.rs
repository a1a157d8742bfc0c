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

/// The bytes of the longest instruction (SDM vol. 2, 2.3.11).
pub const LONGEST: usize = 15;

/// The most instructions that are looked at.
const MOST: usize = 2000;

/// Targets of jumps that are kept, the oldest of which are forgotten.
const TARGETS: usize = 32;

/// What a function has on its stack at an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Its frame: the frame pointer leads to the caller.
    Set,
    /// No frame: the frame pointer is the caller's, and the return address lies behind so many words.
    Missing(u64),
}

/// What one instruction does to that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Words are pushed, or popped where the number is below zero.
    Push(i64),
    Set,
    /// The frame pointer is the caller's again, and the return address is on top.
    Unset,
    /// To another instruction, by this distance from the next one; or, if it does not, to that.
    Branch(i64),
    Jump(i64),
    /// Elsewhere.
    End,
    Other,
}

/// What a function has on its stack when the instruction `at` so many bytes behind its start is about
/// to execute; `None` if that is not known, as where no jump leads to it. `fetch` has the code from an
/// offset on, and `length` the length of the instruction at its start.
#[must_use]
pub fn frame_at(
    at: u64,
    fetch: impl Fn(u64) -> [u8; LONGEST],
    length: impl Fn(&[u8; LONGEST]) -> Option<u64>,
) -> Option<Frame> {
    let mut now = Some(Frame::Missing(0));
    let mut targets = [(u64::MAX, Frame::Set); TARGETS];
    let mut next_target = 0;
    let mut offset = 0;
    for _ in 0..MOST {
        let target = targets.iter().find(|(target, _)| *target == offset);
        now = now.or(target.map(|(_, frame)| *frame));
        if offset >= at {
            return now.filter(|_| offset == at);
        }
        let code = fetch(offset);
        let next = offset.checked_add(length(&code)?)?;
        let step = step(&code, next - offset);
        if let (Step::Branch(distance) | Step::Jump(distance), Some(frame)) = (step, now)
            && distance > 0
        {
            targets[next_target % TARGETS] = (next.wrapping_add_signed(distance), frame);
            next_target += 1;
        }
        now = match (step, now) {
            (Step::Jump(_) | Step::End, _) | (_, None) => None,
            (Step::Set, _) => Some(Frame::Set),
            (Step::Unset, _) => Some(Frame::Missing(0)),
            (Step::Push(words), Some(Frame::Missing(before))) => {
                Some(Frame::Missing(before.checked_add_signed(words)?))
            }
            (_, same) => same,
        };
        offset = next;
    }
    None
}

/// What an instruction of so many bytes does.
fn step(code: &[u8; LONGEST], length: u64) -> Step {
    let rest = |from: usize| match length - from as u64 {
        1 => i64::from(code[from].cast_signed()),
        _ => {
            let [a, b, c, d] = [from, from + 1, from + 2, from + 3].map(|at| code[at]);
            i64::from(i32::from_le_bytes([a, b, c, d]))
        }
    };
    match *code {
        [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..] => Step::Push(1),
        [0x5d | 0xc9, ..] => Step::Unset,
        [0x58..=0x5f, ..] | [0x41, 0x58..=0x5f, ..] => Step::Push(-1),
        // mov rbp, rsp; lea rbp, [rsp]
        [0x48, 0x89, 0xe5, ..] | [0x48, 0x8b, 0xec, ..] | [0x48, 0x8d, 0x6c, 0x24, ..] => Step::Set,
        // sub rsp, N; add rsp, N
        [0x48, 0x83 | 0x81, 0xec, ..] => Step::Push(rest(3) / 8),
        [0x48, 0x83 | 0x81, 0xc4, ..] => Step::Push(-(rest(3) / 8)),
        [0x70..=0x7f, ..] => Step::Branch(rest(1)),
        [0x0f, 0x80..=0x8f, ..] => Step::Branch(rest(2)),
        [0xeb | 0xe9, ..] => Step::Jump(rest(1)),
        // ret; iret; ud2; an indirect jump
        [0xc2 | 0xc3 | 0xcf, ..] | [0x0f, 0x0b, ..] => Step::End,
        [0xff, modrm, ..] | [0x41, 0xff, modrm, ..] if modrm >> 3 & 7 == 4 => Step::End,
        _ => Step::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Interrupted, LONGEST, frame_at};

    /// What there is at each instruction of this code, whose instructions are of these bytes.
    fn frames(instructions: &[&[u8]]) -> Vec<Option<Frame>> {
        let code = instructions.concat();
        let starts = |count: usize| instructions[..count].concat().len() as u64;
        let fetch = |offset: u64| {
            let mut bytes = [0xcc; LONGEST];
            let from = &code[usize::try_from(offset).unwrap()..];
            let length = from.len().min(LONGEST);
            bytes[..length].copy_from_slice(&from[..length]);
            bytes
        };
        let length = |code: &[u8; LONGEST]| {
            let found = instructions.iter().find(|it| code.starts_with(it));
            found.map(|it| it.len() as u64)
        };
        let all = (0..instructions.len()).map(|number| frame_at(starts(number), fetch, length));
        all.collect()
    }

    #[test]
    fn a_frame_is_followed_through_pushes_and_jumps() {
        use Frame::{Missing, Set};
        // What the compiler makes of `n == 0 || is_odd(n - 1)`.
        let found = frames(&[
            &[0x48, 0x85, 0xff],       // test rdi, rdi
            &[0x74, 0x0a],             // je to the end
            &[0x55],                   // push rbp
            &[0x48, 0x89, 0xe5],       // mov rbp, rsp
            &[0x48, 0x83, 0xec, 0x10], // sub rsp, 16
            &[0x5d],                   // pop rbp
            &[0xc3],                   // ret
            &[0xb0, 0x01],             // mov al, 1
            &[0xc3],
        ]);
        let [none, pushed] = [Some(Missing(0)), Some(Missing(1))];
        let set = Some(Set);
        assert_eq!(
            found,
            [none, none, none, pushed, set, set, none, none, none]
        );
        // No frame at all, and room on the stack.
        let found = frames(&[
            &[0x41, 0x57],
            &[0x48, 0x81, 0xec, 0x80, 0, 0, 0],
            &[0x48, 0x81, 0xc4, 0x80, 0, 0, 0],
            &[0x41, 0x5f],
            &[0xe9, 0, 1, 0, 0],
            &[0x90],
        ]);
        let missing = [0, 1, 17, 1, 0].map(|words| Some(Missing(words)));
        assert_eq!(found[..5], missing);
        assert_eq!(found[5], None, "nothing leads there");
        // Nor is it known in the middle of an instruction, or behind what cannot be read.
        assert_eq!(frame_at(1, |_| [0x90; LONGEST], |_| Some(2)), None);
        assert_eq!(frame_at(1, |_| [0x90; LONGEST], |_| None), None);
        assert_eq!(frame_at(9000, |_| [0x90; LONGEST], |_| Some(1)), None);
        // More is popped than was pushed.
        assert_eq!(frames(&[&[0x58], &[0x90]]), [none, None]);
    }

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
