//! Compares a reported chain with the true one.

use profiler::format::sample::MAX_CHAIN;
use profiler::format::{ChainEnd, Sample};

use super::difference::{Difference, Kind, Verdict};
use super::place::{Mode, Place, Stack};
use super::replay::Replay;
use super::shadow::{Bottom, Chain};
use crate::chain::Link;
use crate::symbols::callframe::Callers;

/// Words of a record's chain for a link.
const RETURN_WORDS: usize = 1;
const CROSSING_WORDS: usize = 4;

impl Replay<'_> {
    /// The true chain.
    fn truth(&self, sample: &Sample<'_>, mode: Mode) -> Chain<'_> {
        match (mode, self.place(mode, sample.sp)) {
            (Mode::Border(thread, link), _) => {
                let user = Place::somewhere(Stack::User(thread));
                self.shadow.chain(Some(link), user)
            }
            (_, place) => {
                let place = place.unwrap_or_else(|| self.shadow.kernel(sample.sp));
                self.shadow.chain(None, place)
            }
        }
    }

    /// Compares the reported chain with the true one.
    pub(super) fn compare(&mut self, sample: &Sample<'_>, mode: Mode) -> Verdict {
        let end = self.repaired.end;
        if self.setup.callers.is_root_at(sample.pc) {
            return match (self.reported.is_empty(), end) {
                (true, ChainEnd::Complete) => Verdict::Exact,
                (true, _) => Verdict::Different(Kind::End),
                (false, _) => Verdict::Different(Kind::Additional),
            };
        }
        let mut truth = self.truth(sample, mode);
        let mut at_root = false;
        for (index, &reported) in self.reported.iter().enumerate() {
            let expected = if at_root { None } else { truth.next() };
            match expected {
                Some(expected) if expected == reported => {
                    at_root = is_root(self.setup.callers, expected);
                }
                Some(expected) => {
                    return Verdict::Different(mismatch(expected, reported, truth.next()));
                }
                None if !at_root && truth.bottom == Bottom::Cut => {
                    return match end {
                        ChainEnd::Complete | ChainEnd::DepthLimit => Verdict::Cut,
                        _ => Verdict::Different(Kind::Incomplete),
                    };
                }
                None => {
                    let is_last = index + 1 == self.reported.len();
                    let is_root = is_root(self.setup.callers, reported);
                    if at_root || !is_last || !is_root || end != ChainEnd::Complete {
                        return Verdict::Different(Kind::Additional);
                    }
                    let stack = truth.stack;
                    self.shadow.add_outermost(stack, reported);
                    self.assumed.roots += 1;
                    return Verdict::Exact;
                }
            }
        }
        let next = if at_root { None } else { truth.next() };
        let (bottom, stack) = (truth.bottom, truth.stack);
        self.compare_end(sample, (next, bottom, stack), at_root)
    }

    /// Compares the end of a chain whose links are right, where the true one goes on with
    /// `next`.
    fn compare_end(
        &mut self,
        sample: &Sample<'_>,
        (next, bottom, stack): (Option<Link>, Bottom, Stack),
        at_root: bool,
    ) -> Verdict {
        let has_roots = self.has_roots(sample);
        match (next, self.repaired.end) {
            (None, ChainEnd::Complete) if at_root => Verdict::Exact,
            // The outermost caller was assumed, and no code says where roots are.
            (None, ChainEnd::Complete) if bottom == Bottom::Empty && !has_roots => Verdict::Exact,
            (None, end) if !at_root && bottom == Bottom::Cut => match end {
                ChainEnd::DepthLimit => Verdict::Cut,
                // What was assumed did not reach the root, and this does.
                ChainEnd::Complete if !has_roots => {
                    self.shadow.drop_cut(stack);
                    self.assumed.roots += 1;
                    Verdict::Exact
                }
                ChainEnd::Complete => Verdict::Different(Kind::End),
                _ => Verdict::Different(Kind::Incomplete),
            },
            (None, ChainEnd::FrameNull) if !at_root && !has_roots => {
                Verdict::Different(Kind::Incomplete)
            }
            (None, _) => Verdict::Different(Kind::End),
            (Some(link), ChainEnd::DepthLimit) if has_no_room(sample, link) => Verdict::Cut,
            (Some(_), ChainEnd::DepthLimit) => Verdict::Different(Kind::End),
            (Some(_), end) if end != ChainEnd::Complete => Verdict::Different(Kind::Incomplete),
            (Some(Link::Return(_) | Link::UserReturn(_)), _) => {
                Verdict::Different(Kind::CallerMissing)
            }
            (Some(Link::Interrupted { .. } | Link::Border { .. }), _) => {
                Verdict::Different(Kind::InterruptMissing)
            }
        }
    }

    /// Returns true if the code says where the stack has its root to which the reported chain leads.
    fn has_roots(&self, sample: &Sample<'_>) -> bool {
        let outermost = match self.reported.last() {
            Some(
                &(Link::Return(pc)
                | Link::UserReturn(pc)
                | Link::Interrupted { pc, .. }
                | Link::Border { pc, .. }),
            ) => pc,
            None => sample.pc,
        };
        self.roots.are_known_at(outermost)
    }

    /// How the chain of the record that was replayed last, `sample`, differs.
    pub(super) fn difference(&self, kind: Kind, sample: &Sample<'_>, mode: Mode) -> Difference {
        // Somewhat more than was reported: a recursion may be thousands deep.
        const MORE: usize = 4;
        let most = self.reported.len() + MORE;
        let truth = self.truth(sample, mode).take(most);
        let root = self.setup.callers.is_root_at(sample.pc);
        Difference {
            kind,
            sequence: sample.sequence,
            pc: sample.pc,
            before: self.came_from,
            expected: truth.take(if root { 0 } else { most }).collect(),
            reported: self.reported.clone(),
            end: self.repaired.end,
        }
    }
}

/// The kind of a link that is not the expected one, in front of `next`.
fn mismatch(expected: Link, reported: Link, next: Option<Link>) -> Kind {
    match (expected, reported) {
        // Only a missing caller leaves the chains the same further out.
        (Link::Return(_) | Link::UserReturn(_), _) if next == Some(reported) => Kind::CallerMissing,
        (Link::Return(_) | Link::UserReturn(_), _) => Kind::OtherLink,
        (_, Link::Interrupted { .. } | Link::Border { .. }) => Kind::OtherInterrupt,
        (_, Link::Return(_) | Link::UserReturn(_)) => Kind::InterruptMissing,
    }
}

/// Returns true if a chain ends with this link.
fn is_root(callers: &Callers, link: Link) -> bool {
    match link {
        Link::Return(address) | Link::UserReturn(address) => callers.is_root(address),
        Link::Interrupted { pc, .. } | Link::Border { pc, .. } => callers.is_root_at(pc),
    }
}

/// Returns true if the record has no room for one more link.
fn has_no_room(sample: &Sample<'_>, link: Link) -> bool {
    let words = match link {
        Link::Return(_) | Link::UserReturn(_) => RETURN_WORDS,
        Link::Interrupted { .. } | Link::Border { .. } => CROSSING_WORDS,
    };
    sample.chain_words.len() + words > MAX_CHAIN
}
