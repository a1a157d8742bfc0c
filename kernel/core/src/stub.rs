//! The entry stubs of interrupts: 256 pieces of assembly that are alike, one after the other.

use profiler::unwind::Rule;

/// The bytes of a stub.
pub const STUB_BYTES: u64 = 16;

/// Bytes of `pushq $0`.
const PUSH_ZERO_BYTES: u64 = 2;

/// How a stub keeps what it interrupts, by the distance of the instruction from the first stub:
/// a table would say the same 256 times. `None` if it is of no stub.
#[must_use]
#[inline]
pub fn rule(offset: u64) -> Option<Rule> {
    let vector = u8::try_from(offset / STUB_BYTES).ok()?;
    let first = u64::from(has_error_code(vector));
    let words = match offset % STUB_BYTES {
        0 => first,
        PUSH_ZERO_BYTES if first == 0 => 1,
        _ => 2,
    };
    let vector = Some(vector.into());
    Some(Rule::Interrupted { words, vector })
}

/// Exceptions that push an error code (SDM vol. 3, table 7-1; 28 to 30 are AMD's).
const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instruction_of_a_stub_has_more_or_less_on_the_stack() {
        let rule_at = |vector: u8, byte| rule(u64::from(vector) * STUB_BYTES + byte);
        let interrupted = |words, vector| {
            let vector = Some(vector);
            Some(Rule::Interrupted { words, vector })
        };
        // `pushq $0`, `pushq $vector`, `jmp`.
        assert_eq!(rule_at(64, 0), interrupted(0, 64));
        assert_eq!(rule_at(64, 2), interrupted(1, 64));
        assert_eq!(rule_at(64, 7), interrupted(2, 64));
        // The processor has pushed an error code.
        assert_eq!(rule_at(14, 0), interrupted(1, 14));
        assert_eq!(rule_at(14, 5), interrupted(2, 14));
        assert_eq!(rule(256 * STUB_BYTES), None);
    }
}
