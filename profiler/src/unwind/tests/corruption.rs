//! The walk over stacks that were right until single words were overwritten.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

/// A word that a walk over a whole stack depends on, in the order in which it gets
/// to them.
#[derive(Clone, Copy, Debug)]
struct Link {
    what: What,
    /// Where the word is.
    at: u64,
    /// The stack that the frame pointer is of, and below what nothing is its frame.
    low: u64,
    floor: u64,
    /// Entries of the chain that were appended before the word can matter.
    before: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// A return address.
    Return,
    /// The program counter in a trap frame.
    Interrupted,
    /// A frame pointer, saved in a pair or in a trap frame.
    Fp,
}

/// What a word is overwritten by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bad {
    Null,
    Odd,
    NotCanonical,
    Guard,
    OtherStack,
    Top,
    LastWord,
    BelowPointer,
    LowerFrame,
    Itself,
    UserHalf,
    Device,
    Random(u64),
}

impl Bad {
    const DETERMINED: [Self; 12] = [
        Self::Null,
        Self::Odd,
        Self::NotCanonical,
        Self::Guard,
        Self::OtherStack,
        Self::Top,
        Self::LastWord,
        Self::BelowPointer,
        Self::LowerFrame,
        Self::Itself,
        Self::UserHalf,
        Self::Device,
    ];

    /// The value at `link`, where frames up to there lie at `frames`.
    fn value(self, link: &Link, good: u64, frames: &[u64], which: Index) -> u64 {
        let word = which.index(WORDS) as u64;
        let high = link.low + 8 * WORDS as u64;
        match self {
            Self::Null => 0,
            Self::Odd => good.wrapping_add(1 + word % 7),
            Self::NotCanonical => 0x8000_0000_0000_0000 | (8 * word),
            Self::Guard => link.low - 8 * (word + 1),
            Self::OtherStack => other(link.low) + 8 * word,
            Self::Top => high,
            Self::LastWord => high - 8,
            // The words between the stack's low end and what is in use.
            Self::BelowPointer => link.floor - 8 * (1 + word % ((link.floor - link.low) / 8)),
            Self::LowerFrame => {
                let is_lower = |frame: &&u64| (link.low..link.floor).contains(frame);
                let lower: Vec<_> = frames.iter().filter(is_lower).collect();
                match lower.len() {
                    0 => link.low,
                    count => *lower[which.index(count)],
                }
            }
            Self::Itself if (link.low..high).contains(&link.at) => link.at,
            Self::Itself => link.low,
            Self::UserHalf => 0x7fff_f000 + 8 * word,
            Self::Device => 0xfee0_0000 + 8 * word,
            Self::Random(value) => value,
        }
    }

    /// How a walk ends that has come to this frame pointer; None if that depends.
    fn end(self, link: &Link) -> Option<ChainEnd> {
        Some(match self {
            Self::Null => ChainEnd::FrameNull,
            Self::Odd => ChainEnd::FrameMisaligned,
            Self::OtherStack if other(link.low) > link.low => ChainEnd::FrameAbove,
            // Right above a frame that ends at the top there is no last word.
            Self::LastWord if link.floor == link.low + 8 * WORDS as u64 => ChainEnd::FrameBelow,
            Self::Top | Self::LastWord => ChainEnd::FrameAbove,
            Self::Random(_) => return None,
            _ => ChainEnd::FrameBelow,
        })
    }
}

fn other(low: u64) -> u64 {
    if low == TASK { NMI } else { TASK }
}

/// A stack with a chain of calls that an interrupt handler on the other stack has
/// interrupted, itself some calls deep.
struct Whole {
    machine: Machine,
    pc: u64,
    sp: u64,
    fp: u64,
    chain: Vec<ChainEntry>,
    links: Vec<Link>,
    frames: Vec<u64>,
}

impl Whole {
    /// `gaps` are the words between frames, outermost first, of the interrupted code
    /// and of the handler.
    fn new(interrupted: u64, gaps: &[Vec<u64>; 2]) -> Self {
        let mut whole = Self {
            machine: Machine::new(),
            pc: code(0x80),
            sp: 0,
            fp: 0,
            chain: vec![],
            links: vec![],
            frames: vec![],
        };
        let handler = other(interrupted);
        let at = interrupted + 8 * WORDS as u64;
        whole.calls(interrupted, at, ROOT, 0, &gaps[0], 0x100);
        let (sp, fp, pc) = (whole.sp, whole.fp, code(0x300));
        whole.prepend(ChainEntry::Crossing {
            vector: 0x40,
            pc: CodeAddress(pc),
            caller_known: false,
            stack_top: [0; 2],
        });
        let frame = handler + 8 * (WORDS as u64 - LAYOUT.words);
        whole.machine.set(frame, &[fp, sp, pc, 0x40]);
        whole.frames.push(frame);
        let link = Link {
            what: What::Fp,
            at: frame + 8 * LAYOUT.fp,
            low: interrupted,
            floor: sp,
            before: 1,
        };
        whole.links.insert(0, link);
        let (what, at, before) = (What::Interrupted, frame + 8 * LAYOUT.pc, 0);
        whole.links.insert(
            0,
            Link {
                what,
                at,
                before,
                ..link
            },
        );
        whole.calls(handler, frame, TRAP_RETURN, frame, &gaps[1], 0x200);
        whole
    }

    /// An entry before all that there are.
    fn prepend(&mut self, entry: ChainEntry) {
        self.chain.insert(0, entry);
        for link in &mut self.links {
            link.before += 1;
        }
    }

    /// Frames below `at`, the first of which returns to `root` with frame pointer
    /// `fp`.
    fn calls(&mut self, low: u64, at: u64, root: u64, fp: u64, gaps: &[u64], name: u64) {
        let (mut at, mut fp, mut back) = (at, fp, root);
        for (index, gap) in (1..).zip(gaps) {
            let frame = at - 16 - 8 * gap;
            self.machine.set(frame, &[fp, back]);
            self.frames.push(frame);
            let link = Link {
                what: What::Fp,
                at: frame,
                low,
                floor: frame + 16,
                before: 0,
            };
            self.prepend(ChainEntry::Return(CodeAddress(back)));
            let fp_link = Link { before: 1, ..link };
            let (what, at_return) = (What::Return, frame + 8);
            let links = [
                Link {
                    what,
                    at: at_return,
                    ..link
                },
                fp_link,
            ];
            self.links.splice(0..0, links);
            (at, fp, back) = (frame, frame, code(name + 8 * index));
        }
        // Two words of the innermost function's own, so that no overwritten word is
        // on top of the stack.
        (self.sp, self.fp) = (at - 16, fp);
    }

    fn word(&self, at: u64) -> u64 {
        let loads = self.machine.loads.get();
        let word = self.machine.load(Slot(at));
        self.machine.loads.set(loads);
        word
    }

    fn walk(&self) -> (ChainEnd, Vec<ChainEntry>) {
        self.machine.walk(self.pc, self.sp, self.fp)
    }
}

fn bad() -> impl Strategy<Value = Bad> {
    prop_oneof![
        12 => prop::sample::select(&Bad::DETERMINED[..]),
        1 => super::random::stack_word().prop_map(Bad::Random),
    ]
}

fn gaps() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0..3_u64, 1..7)
}

/// The good value of a saved frame pointer that a null is no damage to: the root's.
fn is_root(whole: &Whole, link: &Link) -> bool {
    link.what == What::Fp && whole.word(link.at) == 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 20 } else { 4000 }))]

    #[test]
    fn what_lies_before_the_first_overwritten_word_is_told_and_no_bad_word_is_followed(
        on_nmi in any::<bool>(),
        gaps in [gaps(), gaps()],
        damage in prop::collection::vec((any::<Index>(), bad(), any::<Index>()), 1..4),
    ) {
        let mut whole = Whole::new(if on_nmi { NMI } else { TASK }, &gaps);
        let good = (ChainEnd::Complete, whole.chain.clone());
        prop_assert_eq!(whole.walk(), good.clone());

        // The last of several for the same word counts.
        let mut overwritten = std::collections::BTreeMap::new();
        for (index, bad, which) in damage {
            let place = index.index(whole.links.len());
            let link = whole.links[place];
            if bad == Bad::Null && is_root(&whole, &link) {
                continue;
            }
            let value = bad.value(&link, whole.word(link.at), &whole.frames, which);
            overwritten.insert(place, (bad, value));
        }
        for (&place, &(_, value)) in &overwritten {
            whole.machine.set(whole.links[place].at, &[value]);
        }
        let Some((&first, &(bad, value))) = overwritten.iter().next() else {
            prop_assert_eq!(whole.walk(), good);
            return Ok(());
        };
        let link = whole.links[first];
        let is_code = TEXT.contains(CodeAddress(value));
        let end = match link.what {
            What::Fp => bad.end(&link),
            What::Return => (!is_code).then_some(ChainEnd::ReturnOutsideText),
            What::Interrupted => (!is_code).then_some(ChainEnd::InterruptedOutsideText),
        };
        // `Machine::load` panics at any load outside the two stacks.
        whole.machine.loads.set(0);
        let (found, chain) = whole.walk();
        let what = format!("{value:#x}, {bad:?} in {link:x?}");
        prop_assert!(chain.starts_with(&good.1[..link.before]), "{}: {:x?}", what, chain);
        if let Some(end) = end {
            prop_assert_eq!(found, end, "{}: {:x?}", what, chain);
            prop_assert_eq!(chain.len(), link.before, "{}: {:x?}", what, chain);
        }
    }
}
