//! The chain of a sample: whose code its addresses are, and what of it was not recorded.

use linux_perf_data::linux_perf_event_reader::{CpuMode, SampleRecord};
use profiler::format::ChainEnd;

/// From here on a word of a chain says whose code the next ones are (`PERF_CONTEXT_MAX`).
const CONTEXTS: u64 = 0xffff_ffff_ffff_f001;
const KERNEL_CONTEXT: u64 = 0xffff_ffff_ffff_ff80;
const USER_CONTEXT: u64 = 0xffff_ffff_ffff_fe00;
/// Of the registers of x86 (`PERF_REG_X86_IP`).
const IP: u64 = 8;

/// A place of a chain: an address, and whether it is user code; `None`: that was not recorded.
pub(super) type Place = (bool, Option<u64>);

/// A chain, innermost first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Recorded {
    pub(super) places: Vec<Place>,
    pub(super) end: ChainEnd,
}

/// What perf has recorded of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Known {
    /// What was interrupted, and whether it is user code.
    is_user: bool,
    interrupted: Option<u64>,
    /// A chain was asked for.
    has_chain: bool,
    /// The program's stack was copied, to be unwound later, and where the program was.
    has_copy: bool,
    user_ip: Option<u64>,
    /// Of a user's process, not a thread of the kernel's.
    is_of_process: bool,
}

impl Recorded {
    /// That of a sample. Addresses are `exact` where callers are within their calls already; a sample
    /// `is_of_process` if a program is mapped there.
    pub(super) fn new(sample: &SampleRecord<'_>, is_exact: bool, is_of_process: bool) -> Self {
        let chain = sample.callchain.as_ref();
        let words = chain
            .into_iter()
            .flat_map(|it| (0..it.len()).filter_map(|at| it.get(at)));
        let known = Known {
            is_user: !matches!(sample.cpu_mode, CpuMode::Kernel | CpuMode::GuestKernel),
            interrupted: sample.ip,
            has_chain: chain.is_some(),
            has_copy: sample.user_stack.is_some(),
            user_ip: sample.user_regs.as_ref().and_then(|it| it.get(IP)),
            is_of_process,
        };
        Self::of(words, is_exact, known)
    }

    fn of(words: impl Iterator<Item = u64>, is_exact: bool, known: Known) -> Self {
        let mut places = places(words, is_exact, known.is_user);
        // Of a chain that may not have the kernel's part it is the only one there.
        let is_missing = places.first().is_none_or(|it| it.0 != known.is_user);
        if is_missing && let Some(address) = known.interrupted {
            places.insert(0, (known.is_user, Some(address)));
        }
        let is_left_out = !known.is_user
            && known.is_of_process
            && !places.is_empty()
            && places.iter().all(|(is_user, _)| !is_user);
        if is_left_out {
            places.push((true, known.user_ip));
        }
        let end = match known {
            Known {
                has_chain: false, ..
            } => ChainEnd::UnknownStack,
            Known { has_copy: true, .. } => ChainEnd::UserUnknown,
            _ if is_left_out => ChainEnd::UserUnknown,
            _ => ChainEnd::Complete,
        };
        Self { places, end }
    }
}

/// The places that the words of a chain say.
fn places(words: impl Iterator<Item = u64>, is_exact: bool, is_user: bool) -> Vec<Place> {
    let mut is_user_now = is_user;
    let mut places = Vec::new();
    // Behind each change is code that was interrupted, or has entered the kernel.
    let mut is_first = true;
    for word in words {
        match word {
            KERNEL_CONTEXT | USER_CONTEXT => {
                is_user_now = word == USER_CONTEXT;
                is_first = true;
            }
            CONTEXTS.. => {}
            address => {
                // A call is before what it returns to.
                let is_return = !is_first && !is_exact;
                let address = address.wrapping_sub(u64::from(is_return));
                places.push((is_user_now, Some(address)));
                is_first = false;
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: u64 = 0xffff_ffff_8100_0000;
    const IN_PROGRAM: Known = Known {
        is_user: true,
        interrupted: Some(7),
        has_chain: true,
        has_copy: false,
        user_ip: None,
        is_of_process: true,
    };
    const IN_KERNEL: Known = Known {
        is_user: false,
        interrupted: Some(KERNEL),
        ..IN_PROGRAM
    };

    fn of(chain: &[u64], known: Known) -> (Vec<Place>, ChainEnd) {
        let Recorded { places, end } = Recorded::of(chain.iter().copied(), false, known);
        (places, end)
    }

    fn places_of<const N: usize>(places: [(bool, u64); N]) -> Vec<Place> {
        let places = places.map(|(is_user, address)| (is_user, Some(address)));
        places.into()
    }

    #[test]
    fn a_chain_says_whose_code_its_addresses_are() {
        let chain = [
            KERNEL_CONTEXT,
            KERNEL,
            KERNEL + 9,
            USER_CONTEXT,
            0x1000,
            0x2000,
        ];
        let expected = places_of([
            (false, KERNEL),
            (false, KERNEL + 8),
            // Where the program entered the kernel, and what called that.
            (true, 0x1000),
            (true, 0x1fff),
        ]);
        assert_eq!(of(&chain, IN_KERNEL), (expected, ChainEnd::Complete));
        // Our own have the calls.
        let exact = Recorded::of(chain.into_iter(), true, IN_KERNEL).places;
        assert_eq!([exact[1].1, exact[3].1], [Some(KERNEL + 9), Some(0x2000)]);
        let plain = places_of([(true, 0x1000)]);
        assert_eq!(of(&[0x1000], IN_PROGRAM), (plain, ChainEnd::Complete));
        // Of a hypervisor (PERF_CONTEXT_HV) nothing is known.
        let only = places_of([(true, 7)]);
        assert_eq!(of(&[0xffff_ffff_ffff_ffe0], IN_PROGRAM).0, only);
        let nothing = Known {
            interrupted: None,
            ..IN_KERNEL
        };
        assert_eq!(of(&[], nothing).0, []);
    }

    #[test]
    fn what_was_not_recorded_makes_no_complete_chain() {
        let without = |known: Known| Known {
            has_chain: false,
            ..known
        };
        let user = places_of([(true, 7)]);
        let unknown = ChainEnd::UnknownStack;
        assert_eq!(of(&[], without(IN_PROGRAM)), (user.clone(), unknown));
        // The process has entered the kernel, nobody knows where.
        let kernel = vec![(false, Some(KERNEL)), (true, None)];
        assert_eq!(of(&[], without(IN_KERNEL)), (kernel.clone(), unknown));
        let chain = [KERNEL_CONTEXT, KERNEL];
        let left_out = (kernel, ChainEnd::UserUnknown);
        assert_eq!(of(&chain, IN_KERNEL), left_out);
        // A thread of the kernel's has no program.
        let of_kernel = Known {
            is_of_process: false,
            ..IN_KERNEL
        };
        let whole = (places_of([(false, KERNEL)]), ChainEnd::Complete);
        assert_eq!(of(&chain, of_kernel), whole);
        // Copies of the program's stack: its registers say where it was.
        let copied = |known: Known| Known {
            has_copy: true,
            user_ip: Some(0x3000),
            ..known
        };
        let entered = places_of([(false, KERNEL), (true, 0x3000)]);
        let cut = ChainEnd::UserUnknown;
        assert_eq!(of(&chain, copied(IN_KERNEL)), (entered, cut));
        assert_eq!(of(&[], copied(IN_PROGRAM)), (user, cut));
        // The chain of the program alone.
        let chain = [USER_CONTEXT, 0x1000];
        let both = places_of([(false, KERNEL), (true, 0x1000)]);
        assert_eq!(of(&chain, IN_KERNEL), (both, ChainEnd::Complete));
    }
}
