//! What a page fault says of the access that was refused.

use super::Rights;

/// Bits of the error code (SDM vol. 3, 5.7, "Page-Fault Exceptions").
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const FETCH: u64 = 1 << 4;
/// Present or not, and who has done what: all that mapped pages can be the answer to.
const USUAL: u64 = 1 | WRITE | USER | FETCH;

/// What user code wanted that has met with a page fault of this error code. `None` if it was not
/// user code, or if it failed for another reason than what is mapped, for instance a reserved bit.
#[must_use]
pub const fn wanted(error_code: u64) -> Option<Rights> {
    if error_code & USER == 0 || error_code & !USUAL != 0 {
        return None;
    }
    Some(if error_code & FETCH != 0 {
        Rights::Execute
    } else if error_code & WRITE != 0 {
        Rights::Write
    } else {
        Rights::Read
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_say_what_was_wanted() {
        for (code, expected) in [
            (0b0_0100, Some(Rights::Read)),
            (0b0_0101, Some(Rights::Read)),
            (0b0_0110, Some(Rights::Write)),
            (0b0_0111, Some(Rights::Write)),
            (0b1_0100, Some(Rights::Execute)),
            (0b1_0101, Some(Rights::Execute)),
            // The kernel's, or with a reserved bit, a protection key, a shadow stack, an enclave.
            (0b0_0010, None),
            (0b0_1101, None),
            (0b10_0101, None),
            (0b100_0111, None),
            (0x8005, None),
        ] {
            assert_eq!(wanted(code), expected, "{code:#b}");
        }
    }
}
