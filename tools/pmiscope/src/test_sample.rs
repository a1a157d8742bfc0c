//! A sample with a chain, for tests.

use profiler::address::{CodeAddress, StackAddress};
use profiler::format::sample::Chain;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

/// Calls `with` with a sample of this program counter, state and chain, of which the rest is nothing.
pub(crate) fn with_sample<T>(
    (pc, state): (u64, u8),
    chain: &[ChainEntry],
    with: impl FnOnce(Sample<'_>) -> T,
) -> T {
    let mut words = Chain::new();
    chain.iter().for_each(|&entry| words.push(entry).unwrap());
    with(Sample {
        sequence: 0,
        handler_cost: 0,
        event: 0,
        task: 0,
        state: State(state),
        time: 0,
        period: 1,
        sp: StackAddress(0),
        stack_top: [0; 2],
        pc: CodeAddress(pc),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: words.words(),
    })
}
