//! What an exception has pushed, as words.

use core::fmt::{self, Display};

/// The flags that are set, by the letters of the manual (SDM vol. 1, figure 3-8).
#[derive(Clone, Copy, Debug)]
pub struct Flags(pub u64);

const FLAGS: [(u32, &str); 15] = [
    (0, "CF"),
    (2, "PF"),
    (4, "AF"),
    (6, "ZF"),
    (7, "SF"),
    (8, "TF"),
    (9, "IF"),
    (10, "DF"),
    (11, "OF"),
    (14, "NT"),
    (16, "RF"),
    (17, "VM"),
    (18, "AC"),
    (19, "VIF"),
    (20, "VIP"),
];

impl Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = FLAGS.iter().filter(|(bit, _)| self.0 >> bit & 1 != 0);
        for (_, name) in set {
            write!(f, "{name} ")?;
        }
        write!(f, "IOPL={}", self.0 >> 12 & 3)
    }
}

/// What a page fault was about, by its error code (SDM vol. 3, figure 5-12).
#[derive(Clone, Copy, Debug)]
pub struct PageFault(pub u64);

impl Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |bit: u32| self.0 >> bit & 1 != 0;
        let access = match (has(4), has(1)) {
            (true, _) => "executing",
            (false, true) => "writing",
            (false, false) => "reading",
        };
        let cause = if has(0) { "not allowed" } else { "not mapped" };
        write!(f, "{access}, {cause}")?;
        for (bit, says) in [
            (2, "by a user"),
            (3, "a reserved bit is set in a table"),
            (5, "protection key"),
            (6, "shadow stack"),
            (15, "SGX"),
        ] {
            if has(bit) {
                write!(f, ", {says}")?;
            }
        }
        Ok(())
    }
}

/// The segment or gate that an exception was about, by its error code (SDM vol. 3, 7.13).
#[derive(Clone, Copy, Debug)]
pub struct Selector(pub u64);

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.0 >> 3 & 0x1fff;
        match self.0 >> 1 & 3 {
            _ if self.0 & !1 == 0 => f.write_str("no segment")?,
            0 => write!(f, "entry {index} of the GDT")?,
            2 => write!(f, "entry {index} of the LDT")?,
            _ => write!(f, "gate of vector {index}")?,
        }
        if self.0 & 1 != 0 {
            f.write_str(", while an event was delivered")?;
        }
        Ok(())
    }
}

/// Why shadow stacks or branch tracking have refused a jump, by the error code (SDM vol. 3,
/// table 7-9).
#[derive(Clone, Copy, Debug)]
pub struct ControlProtection(pub u64);

impl Display for ControlProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 & 0x7fff {
            1 => "near return",
            2 => "far return or iret",
            3 => "no endbranch",
            4 => "rstorssp",
            5 => "setssbsy",
            _ => "unknown cause",
        })
    }
}

/// What the error code of an exception means; nothing where it has none, or it is always 0.
#[derive(Clone, Copy, Debug)]
pub struct ErrorCode {
    /// Which exception it was.
    pub vector: u8,
    /// What the processor has pushed.
    pub code: u64,
}

impl ErrorCode {
    /// Returns true if there is something to say of it.
    #[must_use]
    pub const fn has_meaning(&self) -> bool {
        matches!(self.vector, 10..=14 | 21)
    }
}

impl Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vector {
            14 => PageFault(self.code).fmt(f),
            21 => ControlProtection(self.code).fmt(f),
            10..=13 => Selector(self.code).fmt(f),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, Flags};
    use alloc::string::ToString as _;

    #[test]
    fn flags_are_shown_by_their_letters() {
        for (flags, shown) in [
            (0x2, "IOPL=0"),
            (0x246, "PF ZF IF IOPL=0"),
            (0x1_0a97, "CF PF AF SF IF OF RF IOPL=0"),
            (0x7500, "TF DF NT IOPL=3"),
            (0x1e_0002, "VM AC VIF VIP IOPL=0"),
            (0x20_0002, "IOPL=0"),
        ] {
            assert_eq!(Flags(flags).to_string(), shown, "{flags:#x}");
        }
    }

    #[test]
    fn error_codes_are_decoded_by_their_vector() {
        for (vector, code, shown) in [
            (14, 0, "reading, not mapped"),
            (14, 2, "writing, not mapped"),
            (14, 3, "writing, not allowed"),
            (14, 0x11, "executing, not allowed"),
            (
                14,
                0x0d,
                "reading, not allowed, by a user, a reserved bit is set in a table",
            ),
            (
                14,
                0x8061,
                "reading, not allowed, protection key, shadow stack, SGX",
            ),
            (13, 0, "no segment"),
            (13, 1, "no segment, while an event was delivered"),
            (13, 0x28, "entry 5 of the GDT"),
            (11, 0x2c, "entry 5 of the LDT"),
            (13, 0x18a, "gate of vector 49"),
            (10, 0x18b, "gate of vector 49, while an event was delivered"),
            (
                12,
                0xffff,
                "gate of vector 8191, while an event was delivered",
            ),
            (21, 3, "no endbranch"),
            (21, 0x8001, "near return"),
            (21, 0, "unknown cause"),
            (8, 0, ""),
            (3, 7, ""),
        ] {
            let error = ErrorCode { vector, code };
            assert_eq!(error.to_string(), shown, "{error:x?}");
            assert_eq!(error.has_meaning(), !shown.is_empty(), "{error:x?}");
        }
    }
}
