//! The fields of a key, one by one.

use core::fmt;

use super::MAX_KEY_WORDS;
use super::key::{Key, OFFSETS, TASK, UNIT};
use crate::format::kind;
use crate::format::sample::compact::{SAMPLE_UNITS, Width, at};

/// More callers than a key has room for; and the same where offsets have four bytes.
pub(super) const MAX_CALLERS: usize = callers_of(Width::Bits24);
pub(super) const MAX_WIDE_CALLERS: usize = callers_of(Width::Bits32);

const fn callers_of(width: Width) -> usize {
    (SAMPLE_UNITS * UNIT - at::PC) / width.bytes()
}

/// What a key says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) width: Width,
    state: u8,
    event: u8,
    task: u8,
    /// All as in the key: offsets into the text, or fields of crossings.
    pub(super) pc: u32,
    pub(super) stack_top: [u32; 2],
    /// The outermost first; zeros behind `len`.
    callers: [u32; MAX_CALLERS],
    len: usize,
}

impl Default for Chain {
    fn default() -> Self {
        let width = Width::Bits24;
        Self {
            width,
            state: 0,
            event: 0,
            task: 0,
            pc: 0,
            stack_top: [width.no_text(); 2],
            callers: [0; MAX_CALLERS],
            len: 0,
        }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, callers) = (self.head(), self.callers());
        write!(
            f,
            "{head:?} {:x} {:x?} {callers:x?}",
            self.pc, self.stack_top
        )
    }
}

impl Chain {
    /// That of a key; `None` if it is no key that a handler makes.
    #[inline(never)]
    pub(super) fn of(key: &Key) -> Option<Self> {
        let bytes = key.bytes();
        let [units, kind, state, event] = *bytes.first_chunk()?;
        let mut chain = Self::default();
        chain.set_head([kind, state, event, bytes[TASK]])?;
        let width = chain.width.bytes();
        let fields = (usize::from(units) * UNIT).checked_sub(at::PC)? / width;
        let field = |number: usize| {
            let from = &bytes[OFFSETS + number * width..][..width];
            let mut field = [0; 4];
            field[..width].copy_from_slice(from);
            u32::from_le_bytes(field)
        };
        chain.pc = field(0);
        chain.stack_top = [field(1), field(2)];
        // The rest of the last unit is zeros.
        for number in (3..fields).rev() {
            let caller = field(number);
            if chain.len > 0 || caller != 0 {
                chain.push(caller)?;
            }
        }
        (chain.made()? == *key).then_some(chain)
    }

    /// Its key; `None` if there is none of which it is the chain.
    pub(super) fn key(&self) -> Option<Key> {
        let key = self.made()?;
        (Self::of(&key)? == *self).then_some(key)
    }

    /// What may be its key.
    #[inline(never)]
    fn made(&self) -> Option<Key> {
        let mut bytes = [0; MAX_KEY_WORDS * 8];
        let offsets = [self.pc, self.stack_top[0], self.stack_top[1]];
        let fields = offsets.iter().chain(self.callers().iter().rev());
        let width = self.width.bytes();
        let mut end = OFFSETS;
        for field in fields {
            let place = bytes.get_mut(end..)?.get_mut(..width)?;
            place.copy_from_slice(&field.to_le_bytes()[..width]);
            end += width;
        }
        let units = (at::PC + end - OFFSETS).div_ceil(UNIT);
        let [kind, state, event, task] = self.head();
        let units = u8::try_from(units).ok()?;
        bytes[..UNIT].copy_from_slice(&[units, kind, state, event]);
        bytes[TASK] = task;
        Key::of_bytes(&bytes)
    }

    /// Kind of the record, state, event and task.
    pub(super) fn head(&self) -> [u8; 4] {
        [self.width.kind(), self.state, self.event, self.task]
    }

    pub(super) fn set_head(&mut self, [kind, state, event, task]: [u8; 4]) -> Option<()> {
        self.width = match kind {
            kind::COMPACT => Width::Bits24,
            kind::COMPACT_32 => Width::Bits32,
            _ => return None,
        };
        (self.state, self.event, self.task) = (state, event, task);
        Some(())
    }

    /// The outermost first.
    pub(super) fn callers(&self) -> &[u32] {
        &self.callers[..self.len]
    }

    /// Only the outermost ones stay.
    pub(super) fn truncate(&mut self, len: usize) {
        self.callers[len..].fill(0);
        self.len = len;
    }

    /// Adds one inside of all others; `None` if there is no room.
    pub(super) fn push(&mut self, caller: u32) -> Option<()> {
        *self.callers.get_mut(self.len)? = caller;
        self.len += 1;
        Some(())
    }
}
