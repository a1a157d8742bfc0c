//! Who has made a processor, as far as that decides what it has.

use super::cpuid::{self, Leaf};

/// The makers whose processors differ in what the sampler asks of them.
///
/// ```
/// use profiler::hw::vendor::Vendor;
///
/// assert_eq!(Vendor::named(b"HygonGenuine"), Vendor::Amd);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD, and Hygon, whose processors are AMD's but for the name.
    Amd,
    /// Somebody else.
    Other,
}

impl Vendor {
    /// The maker that calls itself so in CPUID's leaf 0.
    #[must_use]
    pub const fn named(name: &[u8; 12]) -> Self {
        match name {
            b"GenuineIntel" => Self::Intel,
            b"AuthenticAMD" | b"HygonGenuine" => Self::Amd,
            _ => Self::Other,
        }
    }

    /// The maker of the running core.
    #[must_use]
    pub fn of_this_core() -> Self {
        Self::of_leaf(cpuid::leaf(0, 0))
    }

    /// The maker whose processor has this leaf 0.
    pub(crate) fn of_leaf([_, first, third, second]: Leaf) -> Self {
        Self::named(&cpuid::signature([first, second, third]))
    }
}

#[cfg(test)]
mod tests {
    use super::Vendor;

    #[test]
    fn makers_are_known_by_their_names() {
        for (name, vendor) in [
            (b"GenuineIntel", Vendor::Intel),
            (b"AuthenticAMD", Vendor::Amd),
            (b"HygonGenuine", Vendor::Amd),
            (b"CentaurHauls", Vendor::Other),
            (b"GenuineHygon", Vendor::Other),
        ] {
            assert_eq!(Vendor::named(name), vendor);
        }
    }

    #[test]
    fn a_name_is_in_ebx_edx_and_ecx() {
        let leaf = [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];
        assert_eq!(Vendor::of_leaf(leaf), Vendor::Intel);
    }
}
