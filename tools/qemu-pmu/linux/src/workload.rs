//! Workloads of pmiscope's kernel, from its own source, so that the same code is
//! sampled here by perf as there by the kernel.

#[path = "../../../../kernel/src/workload/arithmetic.rs"]
pub mod arithmetic;
#[path = "../../../../kernel/src/workload/recursion.rs"]
pub mod recursion;

/// The unit of work of a workload.
pub fn find(name: &str) -> Option<fn(&mut Scratch)> {
    match name {
        "arithmetic" => Some(arithmetic::unit),
        "recursion" => Some(recursion::unit),
        _ => None,
    }
}

/// What these workloads need of the kernel's `Scratch`: that of the first core.
pub struct Scratch {
    /// How many rounds are done.
    pub round: u64,
    /// Input.
    pub source: [u8; 4096],
}

impl Scratch {
    /// What it is at first.
    pub fn new() -> Self {
        let mut source = [0; 4096];
        let mut state = scramble(0);
        for word in source.chunks_exact_mut(8) {
            word.copy_from_slice(&state.to_le_bytes());
            state = scramble(state);
        }
        Self { round: 0, source }
    }

    /// A number that is another in each round.
    pub fn seed(&self) -> u64 {
        scramble(self.round)
    }
}

/// As the kernel's.
fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
