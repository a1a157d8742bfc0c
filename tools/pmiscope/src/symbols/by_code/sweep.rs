//! A look at all code: what is called, and what is jumped to from elsewhere.

use std::collections::HashSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::super::code::Code;
use super::super::names::SymbolTable;
use super::super::slide::LinkAddress;

/// What direct calls and jumps lead to.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    called: HashSet<LinkAddress>,
    /// Jumps out of the code of a symbol: target and source, in order.
    jumps: Vec<(LinkAddress, LinkAddress)>,
}

impl Sweep {
    /// Decodes each section, anew from each symbol on: there may be data between.
    pub(super) fn new(code: &Code, table: &SymbolTable) -> Self {
        let mut sweep = Self::default();
        let mut starts = table.all().iter().map(|symbol| symbol.start).peekable();
        let mut sections: Vec<_> = code.sections().collect();
        sections.sort_unstable_by_key(|&(start, _)| start);
        for (start, bytes) in sections {
            let end = start.0.saturating_add(bytes.len() as u64);
            let mut from = start;
            while from.0 < end {
                while starts.next_if(|&next| next <= from).is_some() {}
                let to = starts.peek().map_or(end, |next| next.0.min(end));
                if let Some(bytes) = code.at(from) {
                    let length = usize::try_from(to - from.0).unwrap_or(bytes.len());
                    sweep.add(&bytes[..length.min(bytes.len())], from, LinkAddress(to));
                }
                from = LinkAddress(to);
            }
        }
        sweep.jumps.sort_unstable();
        sweep
    }

    fn add(&mut self, bytes: &[u8], start: LinkAddress, end: LinkAddress) {
        for instruction in Decoder::with_ip(64, bytes, start.0, DecoderOptions::NONE) {
            let target = LinkAddress(instruction.near_branch_target());
            match instruction.flow_control() {
                // A call of what is behind it only asks where it is, unless another function
                // is there.
                FlowControl::Call if target.0 != instruction.next_ip() || target == end => {
                    self.called.insert(target);
                }
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
                    if !(start..end).contains(&target) =>
                {
                    self.jumps.push((target, LinkAddress(instruction.ip())));
                }
                _ => {}
            }
        }
    }

    pub(super) fn is_called(&self, address: LinkAddress) -> bool {
        self.called.contains(&address)
    }

    /// The jumps to what is behind `first`, up to `last`: target and source.
    pub(super) fn jumps_behind(
        &self,
        first: LinkAddress,
        last: LinkAddress,
    ) -> &[(LinkAddress, LinkAddress)] {
        let index = |address| self.jumps.partition_point(|&(target, _)| target <= address);
        &self.jumps[index(first)..index(last).max(index(first))]
    }
}
