//! The compact sample: what most samples are in a ring.
//!
//! Its fields are as narrow as the usual values need, and some are relative to the last wide
//! sample of the same ring. What does not fit is written as a wide one ([`super`]), which any value
//! fits.
//!
//! ```text
//! unit 0   0..8 length in units   8..16 kind   16..24 state, whose bit 6 is the chain's end
//!          24..32 event
//! unit 1   time since the last wide sample's
//! bytes    8 task        9..11 cost of the handler before
//!         11..14 period
//!         14..18 stack pointer above (the last wide sample's - 16 GiB), in words of 8 bytes
//!         18..21 the program counter as an offset from the start of the kernel's text
//!         21..24 the word on top of the stack, likewise; ff ff ff: not in the text
//!         24..27 the word below it, likewise
//!         27…    the chain, then zeros to the next unit: return addresses, likewise; of a crossing
//!                its vector, 111111tk, ff; the program counter; if t, the words on top of the stack;
//!                k: the caller is known
//! ```
//!
//! The sequence number is that of the sample before it in the ring and one more. The chain is
//! complete, or ends at the depth limit ([`DEPTH_LIMIT`]), and its last return address is no offset of
//! 0: three zeros are none. Kind `COMPACT_32` is for kernels with a larger text: offsets from byte 18
//! on have four bytes.
//!
//! The samples of one handler may be one record, of which all but the first are a unit each behind it:
//! see `further` in `format/expand.rs`.
//!
//! Each field of three bytes can be written by a store of four before the one behind it is, so the
//! fast handler needs an instruction for each, and room of [`EXTENT_UNITS`].

use super::{ChainEnd, MAX_CHAIN, MAX_WORDS, Sample, State, crossing_of, crossing_word};
use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::format::{RecordHead, kind};

/// Where the fields begin, in bytes.
pub(crate) mod at {
    pub(crate) const TIME: usize = 4;
    pub(crate) const TASK: usize = 8;
    pub(crate) const COST: usize = 9;
    pub(crate) const PERIOD: usize = 11;
    pub(crate) const SP: usize = 14;
    /// The first of the offsets into the text.
    pub(crate) const PC: usize = 18;
}

/// The first number that a field of three bytes does not hold.
pub(crate) const END_24: u64 = 1 << 24;

/// In the state of a compact sample, which has no exact address: the chain is not complete, and ends
/// at the depth limit.
pub(crate) const DEPTH_LIMIT: u8 = State::EXACT;

/// How many fields are a crossing's: a vector, and above it two bits.
const CROSSINGS: u32 = 1 << 10;

/// In a crossing's field: the caller is known.
pub(crate) const CALLER_KNOWN: u32 = 1 << 8;

/// In a crossing's field: the words on top of the stack follow, as one of them is in the text.
pub(crate) const HAS_TOP: u32 = 1 << 9;

/// So far below the last wide sample's stack pointer may the next one lie. The field has words
/// of 8 bytes from there.
pub(crate) const SP_BELOW: u64 = (1 << 31) * 8;

/// Offsets into the text before the chain.
const OFFSETS: usize = 3;

/// The most units that a compact sample, and the store behind its last field, take.
pub(crate) const EXTENT_UNITS: usize =
    (at::PC + (OFFSETS + MAX_CHAIN) * Width::Bits32.bytes() + 4).div_ceil(4);

/// How wide the offsets into the text are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    Bits24,
    Bits32,
}

impl Width {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Bits24 => 3,
            Self::Bits32 => 4,
        }
    }

    /// The offset that says that a word is not in the text.
    pub(crate) const fn no_text(self) -> u32 {
        match self {
            Self::Bits24 => 0xff_ffff,
            Self::Bits32 => 0xffff_ffff,
        }
    }

    /// The first field of the chain that is no offset: a crossing. A text is no longer.
    pub(crate) const fn first_crossing(self) -> u32 {
        self.no_text() - (CROSSINGS - 1)
    }

    /// The first field of a crossing.
    #[inline]
    pub(crate) const fn crossing(self, vector: u8, caller_known: bool, has_top: bool) -> u32 {
        let caller_known = if caller_known { CALLER_KNOWN } else { 0 };
        let has_top = if has_top { HAS_TOP } else { 0 };
        self.first_crossing() | vector as u32 | caller_known | has_top
    }

    /// Pushes the fields of a crossing, by the offsets that are in the text.
    #[inline]
    pub(crate) fn push_crossing(
        self,
        (vector, caller_known): (u8, bool),
        pc: u32,
        stack_top: [Option<u32>; 2],
        mut push: impl FnMut(u32),
    ) {
        let has_top = stack_top != [None; 2];
        push(self.crossing(vector, caller_known, has_top));
        push(pc);
        if has_top {
            for offset in stack_top {
                push(offset.unwrap_or(self.no_text()));
            }
        }
    }

    pub(crate) const fn kind(self) -> u8 {
        match self {
            Self::Bits24 => kind::COMPACT,
            Self::Bits32 => kind::COMPACT_32,
        }
    }

    /// Where the chain begins, in bytes.
    pub(crate) const fn chain(self) -> usize {
        at::PC + OFFSETS * self.bytes()
    }
}

/// Makes offsets of addresses in a kernel's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offsets {
    start: u64,
    length: u64,
    /// The narrowest that the offsets fit; `None` if none does.
    width: Option<Width>,
}

impl Offsets {
    pub(crate) fn new(text: CodeRange) -> Self {
        let length = text.end.0.saturating_sub(text.start.0);
        let widths = [Width::Bits24, Width::Bits32];
        Self {
            start: text.start.0,
            length,
            width: widths
                .into_iter()
                .find(|width| length <= width.first_crossing().into()),
        }
    }

    /// The offset of an address; `None` if it is not in the text.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // no text is longer
    fn of(self, address: u64) -> Option<u32> {
        let offset = address.wrapping_sub(self.start);
        (offset < self.length).then_some(offset as u32)
    }
}

/// What a compact sample is relative to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Context {
    /// The time of the last wide sample.
    pub time: u64,
    /// The stack pointer of the last wide sample.
    pub sp: u64,
    /// The sequence number of the next sample, if it is the last one's successor.
    pub next: u32,
}

impl Context {
    /// The context behind this record; `None` if it is no wide sample.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the field is cut out
    pub(crate) fn of_sample(record: &[u64]) -> Option<Self> {
        let &[first, sequence, time, _, sp, ..] = record else {
            return None;
        };
        (RecordHead::from_word(first).kind == kind::SAMPLE).then_some(Self {
            time,
            sp,
            next: (sequence as u32).wrapping_add(1),
        })
    }
}

/// The first unit of a compact sample of so many units.
#[inline(always)]
pub(crate) const fn head(units: u32, width: Width, state: u8, event: u8) -> u32 {
    units | (width.kind() as u32) << 8 | (state as u32) << 16 | (event as u32) << 24
}

/// Writes a field of three bytes, and anything behind it: the next field is written next.
///
/// # Safety
///
/// Four bytes from there on are valid for writes.
#[inline(always)]
pub(crate) unsafe fn put(place: *mut u8, value: u32) {
    // SAFETY: the caller's condition; it need not be aligned.
    unsafe { place.cast::<u32>().write_unaligned(value.to_le()) }
}

/// What was to be compact is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DoesNotFit;

/// Writes `sample` to `place`. Returns its length in units. This is what the fast handler's
/// stores, in whatever order they come, are to make.
///
/// # Errors
///
/// [`DoesNotFit`] if a value needs a wide sample. Anything may then have been written.
///
/// # Safety
///
/// [`EXTENT_UNITS`] units from `place` on are valid for writes.
#[inline]
pub(crate) unsafe fn encode(
    sample: &Sample<'_>,
    context: Context,
    text: Offsets,
    place: *mut u8,
) -> Result<u32, DoesNotFit> {
    let is_plain = matches!(sample.end, ChainEnd::Complete | ChainEnd::DepthLimit)
        && sample.exact.is_none()
        && !sample.state.has(State::RING)
        && sample.sequence == context.next
        && sample.chain_words.len() <= MAX_CHAIN;
    match text.width {
        // SAFETY: the caller's condition.
        Some(Width::Bits24) if is_plain => unsafe { encode_as::<3>(sample, context, text, place) },
        // SAFETY: likewise.
        Some(Width::Bits32) if is_plain => unsafe { encode_as::<4>(sample, context, text, place) },
        _ => Err(DoesNotFit),
    }
}

/// The same, of a sample of at most [`MAX_CHAIN`] words, with offsets of `WIDTH` bytes.
///
/// # Safety
///
/// As above.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // what is no less than its field is refused
unsafe fn encode_as<const WIDTH: usize>(
    sample: &Sample<'_>,
    context: Context,
    text: Offsets,
    place: *mut u8,
) -> Result<u32, DoesNotFit> {
    let width = if WIDTH == 3 {
        Width::Bits24
    } else {
        Width::Bits32
    };
    let time = sample.time.wrapping_sub(context.time);
    let sp = sample.sp.0.wrapping_sub(context.sp).wrapping_add(SP_BELOW);
    // What is no multiple of 8 has its low bits at the top then.
    let sp = sp.rotate_right(3);
    let (task, cost) = (u32::from(sample.task), sample.handler_cost);
    let fits = time < 1 << 32 && task < 1 << 8 && cost < 1 << 16;
    if !fits || sample.period >= END_24 || sp >= 1 << 32 {
        return Err(DoesNotFit);
    }
    let mut len = at::TIME;
    let mut push = |value: u32, bytes: usize| {
        // SAFETY: `len` is below the bytes of the longest compact sample, and so are the
        // bytes of the store within the extent (the caller's condition).
        unsafe { put(place.wrapping_add(len), value) };
        len += bytes;
    };
    push(time as u32, 4);
    push(task | cost << 8, 3);
    push(sample.period as u32, 3);
    push(sp as u32, 4);
    push(text.of(sample.pc.0).ok_or(DoesNotFit)?, WIDTH);
    for word in sample.stack_top {
        push(text.of(word).unwrap_or(width.no_text()), WIDTH);
    }
    // SAFETY: as above; the chain has no more words than fit.
    let end =
        unsafe { put_chain::<WIDTH>(sample.chain_words, width, text, place.wrapping_add(len)) }?;
    let units = (end.addr() - place.addr()).div_ceil(4) as u32;
    let end = if sample.end == ChainEnd::DepthLimit {
        DEPTH_LIMIT
    } else {
        0
    };
    let state = sample.state.0 & !State::EXACT | end;
    // SAFETY: as above.
    unsafe { put(place, head(units, width, state, sample.event)) };
    Ok(units)
}

/// Writes a chain to `place`, and zeros behind. Returns the place behind it.
///
/// # Safety
///
/// There is room for a field for each of its words, and for another store.
#[inline(always)]
unsafe fn put_chain<const WIDTH: usize>(
    mut words: &[u64],
    width: Width,
    text: Offsets,
    mut place: *mut u8,
) -> Result<*mut u8, DoesNotFit> {
    let mut push = |value: u32| {
        // SAFETY: the caller's condition.
        unsafe { put(place, value) };
        place = place.wrapping_add(WIDTH);
    };
    while let [word, rest @ ..] = words {
        words = rest;
        let Some((vector, caller_known)) = crossing_of(*word) else {
            // As the last one, an offset of 0 would be none.
            let offset = text.of(*word).filter(|&offset| offset != 0);
            push(offset.ok_or(DoesNotFit)?);
            continue;
        };
        let [pc, top, below, rest @ ..] = words else {
            return Err(DoesNotFit);
        };
        words = rest;
        let pc = text.of(*pc).ok_or(DoesNotFit)?;
        let stack_top = [text.of(*top), text.of(*below)];
        width.push_crossing((vector, caller_known), pc, stack_top, &mut push);
    }
    // SAFETY: likewise.
    unsafe { put(place, 0) };
    Ok(place)
}

/// Writes the compact sample in `units` to `record` as the words of a wide one. Returns how many,
/// and the context behind it; `None` if no writer has made it.
pub(crate) fn decode(
    units: &[u32],
    width: Width,
    context: Context,
    text: CodeRange,
    record: &mut [u64; MAX_WORDS],
) -> Option<(usize, Context)> {
    let mut copy = [0; EXTENT_UNITS * 4];
    let bytes = copy.get_mut(..units.len() * 4)?;
    for (bytes, unit) in bytes.as_chunks_mut().0.iter_mut().zip(units) {
        *bytes = unit.to_le_bytes();
    }
    if bytes.len() < width.chain() {
        return None;
    }
    let field = |at: usize, size: usize| number(&bytes[at..at + size]);
    let address = |offset: u32| text.start.0.wrapping_add(offset.into());
    let is_text = |&address: &u64| text.contains(CodeAddress(address));
    let [pc, top, below] = core::array::from_fn(|place| {
        let at = at::PC + place * width.bytes();
        Some(address(field(at, width.bytes()))).filter(is_text)
    });
    let mut chain = [0; MAX_CHAIN];
    let len = decode_chain(&bytes[width.chain()..], width, text, &mut chain)?;
    let [_, _, state, event] = units[0].to_le_bytes();
    let end = if state & DEPTH_LIMIT == 0 {
        ChainEnd::Complete
    } else {
        ChainEnd::DepthLimit
    };
    let lowest_sp = context.sp.wrapping_sub(SP_BELOW);
    let sample = Sample {
        sequence: context.next,
        handler_cost: field(at::COST, 2),
        event,
        task: bytes[at::TASK].into(),
        state: State(state & !DEPTH_LIMIT),
        time: context.time.wrapping_add(units[1].into()),
        period: field(at::PERIOD, 3).into(),
        sp: StackAddress(lowest_sp.wrapping_add(u64::from(field(at::SP, 4)) * 8)),
        stack_top: [top.unwrap_or(0), below.unwrap_or(0)],
        pc: CodeAddress(pc?),
        exact: None,
        end,
        chain_words: &chain[..len],
    };
    let next = context.next.wrapping_add(1);
    Some((sample.encode(record), Context { next, ..context }))
}

/// Writes the words of the chain in `bytes`, all that is left of a record, to `chain`. Returns how
/// many; `None` if no writer has made them.
fn decode_chain(
    bytes: &[u8],
    width: Width,
    text: CodeRange,
    chain: &mut [u64; MAX_CHAIN],
) -> Option<usize> {
    let in_text = |offset: u32| {
        let address = text.start.0.wrapping_add(offset.into());
        text.contains(CodeAddress(address)).then_some(address)
    };
    let mut fields = bytes.chunks_exact(width.bytes()).map(number);
    let most = fields.len();
    let mut used = 0;
    let mut len = 0;
    let mut push = |word: u64| {
        *chain.get_mut(len)? = word;
        len += 1;
        Some(())
    };
    while let Some(field) = fields.next() {
        if let Some(crossing) = field.checked_sub(width.first_crossing()) {
            let [vector, ..] = crossing.to_le_bytes();
            push(crossing_word(vector, crossing & CALLER_KNOWN != 0))?;
            push(in_text(fields.next()?)?)?;
            for _ in 0..2 {
                let has_top = crossing & HAS_TOP != 0;
                let word = if has_top {
                    in_text(fields.next()?)
                } else {
                    None
                };
                push(word.unwrap_or(0))?;
            }
        } else if field == 0 && fields.len() == 0 {
            // Zeros up to the next unit.
            break;
        } else {
            push(in_text(field)?)?;
        }
        used = most - fields.len();
    }
    let rest = bytes.get(used * width.bytes()..)?;
    let is_padding = rest.len() < 4 && rest.iter().all(|&byte| byte == 0);
    is_padding.then_some(len)
}

/// The little-endian number in at most four bytes.
fn number(bytes: &[u8]) -> u32 {
    let digits = bytes.iter().rev();
    digits.fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(all(test, not(loom)))]
mod tests;
