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
//!                of a border the vector, 111110ts, ff; the program's number; if t, the words on top
//!                of the stack; the program counter; s: by SYSCALL, so there is no vector
//! ```
//!
//! Behind a border all addresses are the program's ([`ProgramPart`]). Each takes two fields: its bits
//! from 24 on, and those below.
//!
//! Where a program was interrupted itself, what is said of its code is its border, at the start of the
//! chain. The field of the program counter then has the stack pointer's bits from 35 on below 1111, ff,
//! that of the stack pointer those from 3 on, and the words on top of the stack are ff ff ff.
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

use super::{
    BORDER_SYSCALL, CROSSING_WORDS, ChainEnd, MAX_CHAIN, MAX_WORDS, Sample, State, border_vector,
    border_word, crossing_of, crossing_word, is_border,
};
use crate::address::{CodeAddress, CodeRange, StackAddress, USER_END, UserAddress};
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

/// How many fields are a crossing's: a vector, and above it two bits. As many are a border's.
const CROSSINGS: u32 = 1 << 10;

/// How many fields are no offsets, the borders' and crossings' the last of them. As that of a program
/// counter they have the high bits of a program's stack pointer.
const SPECIALS: u32 = 1 << 12;

/// In a crossing's field: the caller is known.
pub(crate) const CALLER_KNOWN: u32 = 1 << 8;

/// In a crossing's field: the words on top of the stack follow, as one of them is in the text.
pub(crate) const HAS_TOP: u32 = 1 << 9;

/// In a border's field, in which [`HAS_TOP`] is too: there is no vector.
const BY_SYSCALL: u32 = 1 << 8;
const _: () = assert!(BY_SYSCALL as u64 == BORDER_SYSCALL);

/// The bits of a program's address that its second field has.
const LOW_BITS: u32 = 24;

/// The most fields of a border, and those of each address behind it.
const BORDER_FIELDS: usize = 8;
const ADDRESS_FIELDS: usize = 2;

/// So far below the last wide sample's stack pointer may the next one lie. The field has words
/// of 8 bytes from there.
pub(crate) const SP_BELOW: u64 = (1 << 31) * 8;

/// Offsets into the text before the chain.
const OFFSETS: usize = 3;

/// The most bytes of a chain, that of a program which was interrupted itself, with its border.
pub(crate) const MOST_CHAIN_BYTES: usize =
    (BORDER_FIELDS + ADDRESS_FIELDS * MAX_CHAIN) * Width::Bits24.bytes();

/// The most units that a compact sample, and the store behind its last field, take.
pub(crate) const SAMPLE_UNITS: usize = (Width::Bits24.chain() + MOST_CHAIN_BYTES + 4).div_ceil(4);
const _: () =
    assert!(Width::Bits32.chain() + MAX_CHAIN * Width::Bits32.bytes() + 4 <= 4 * SAMPLE_UNITS);

/// The most samples of other events that are behind it, each in a unit.
const MOST_FURTHER: usize = 16;

/// The most units of all that.
pub(crate) const EXTENT_UNITS: usize = SAMPLE_UNITS + MOST_FURTHER;
const _: () = assert!(EXTENT_UNITS < 256);

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

    /// The first field that is no offset. A text is no longer.
    pub(crate) const fn first_special(self) -> u32 {
        self.no_text() - (SPECIALS - 1)
    }

    /// The first field of a chain that is a border.
    pub(crate) const fn first_border(self) -> u32 {
        self.first_crossing() - CROSSINGS
    }

    /// The first field of a chain that is a crossing.
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
                .find(|width| length <= width.first_special().into()),
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

/// A stack pointer in words of 8 bytes. What is no multiple of 8 has its low bits at the top then.
#[inline(always)]
pub(crate) const fn in_words(sp: u64) -> u64 {
    sp.rotate_right(3)
}

/// Writes what stands in place of offsets where a program was interrupted, up to its border. A key has
/// no stack pointer, and then none is given. `None` if it does not fit: it is not aligned.
///
/// # Safety
///
/// [`SAMPLE_UNITS`] units from `place` on are valid for writes.
#[inline]
#[allow(clippy::cast_possible_truncation)] // the low half is a field, and the high one is small
pub(crate) unsafe fn put_program(place: *mut u8, sp: Option<StackAddress>) -> Option<()> {
    let width = Width::Bits24;
    let put = |at: usize, value| {
        // SAFETY: within the units (the caller's condition).
        unsafe { put(place.wrapping_add(at), value) };
    };
    let mut high = 0;
    if let Some(sp) = sp {
        let sp = in_words(sp.0);
        high = sp >> u32::BITS;
        put(at::SP, sp as u32);
    }
    if high >= SPECIALS.into() {
        return None;
    }
    put(at::PC, width.first_special() | high as u32);
    for top in 1..OFFSETS {
        put(at::PC + top * width.bytes(), width.no_text());
    }
    Some(())
}

/// A program's part of a chain: its border is written, and the addresses behind it are to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProgramPart {
    program: u16,
}

impl ProgramPart {
    /// Pushes the fields of a border; `None` if there are none for it.
    #[inline]
    pub(crate) fn begin(
        vector: Option<u8>,
        pc: CodeAddress,
        stack_top: [u64; 2],
        mut push: impl FnMut(u32),
    ) -> Option<Self> {
        let pc = UserAddress::of(pc)?;
        let part = Self {
            program: pc.program,
        };
        let has_top = stack_top != [0; 2];
        let kind = vector.map_or(BY_SYSCALL, u32::from) | if has_top { HAS_TOP } else { 0 };
        push(Width::Bits24.first_border() | kind);
        push(part.program.into());
        if has_top {
            for word in stack_top {
                push_address(part.top(word)?, &mut push);
            }
        }
        part.push(pc, push)?;
        Some(part)
    }

    /// Pushes the fields of an address; `None` if there are none for it.
    #[inline]
    pub(crate) fn push(self, code: UserAddress, mut push: impl FnMut(u32)) -> Option<()> {
        let UserAddress { program, address } = code;
        // As the last one, a field of 0 would be none.
        if program != self.program || address % (1 << LOW_BITS) == 0 {
            return None;
        }
        push_address(address, &mut push);
        Some(())
    }

    /// A word on top of the stack, without the program's number; 0: it is no return address.
    #[inline]
    fn top(self, word: u64) -> Option<u64> {
        if word == 0 {
            return Some(0);
        }
        let UserAddress { program, address } = UserAddress::of(CodeAddress(word))?;
        (program == self.program && address != 0).then_some(address)
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // cut in two
fn push_address(address: u64, push: &mut impl FnMut(u32)) {
    push((address >> LOW_BITS) as u32);
    push((address % (1 << LOW_BITS)) as u32);
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
/// [`SAMPLE_UNITS`] units from `place` on are valid for writes.
#[inline]
pub(crate) unsafe fn encode(
    sample: &Sample<'_>,
    context: Context,
    text: Offsets,
    place: *mut u8,
) -> Result<u32, DoesNotFit> {
    let is_plain = matches!(sample.end, ChainEnd::Complete | ChainEnd::DepthLimit)
        && sample.exact.is_none()
        && sample.sequence == context.next
        && sample.chain_words.len() <= MAX_CHAIN;
    match text.width {
        // SAFETY: the caller's condition.
        Some(Width::Bits24) if is_plain => unsafe { encode_as::<3>(sample, context, text, place) },
        // SAFETY: likewise.
        Some(Width::Bits32) if is_plain && !is_of_program(sample.state) => unsafe {
            encode_as::<4>(sample, context, text, place)
        },
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
    let (task, cost) = (u32::from(sample.task), sample.handler_cost);
    let fits = time < 1 << 32 && task < 1 << 8 && cost < 1 << 16;
    if !fits || sample.period >= END_24 {
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
    let chain = place.wrapping_add(width.chain());
    let end = if is_of_program(sample.state) {
        // SAFETY: the caller's condition.
        unsafe { put_program(place, Some(sample.sp)) }.ok_or(DoesNotFit)?;
        let [top, below] = sample.stack_top;
        let border = [border_word(None), sample.pc.0, top, below];
        // SAFETY: as above; the chain has no more words than fit behind its border.
        unsafe { put_program_part(border, sample.chain_words, chain) }?
    } else {
        let sp = sample.sp.0.wrapping_sub(context.sp).wrapping_add(SP_BELOW);
        let sp = u32::try_from(in_words(sp)).map_err(|_| DoesNotFit)?;
        push(sp, 4);
        push(text.of(sample.pc.0).ok_or(DoesNotFit)?, WIDTH);
        for word in sample.stack_top {
            push(text.of(word).unwrap_or(width.no_text()), WIDTH);
        }
        // SAFETY: as above; the chain has no more words than fit.
        unsafe { put_chain::<WIDTH>(sample.chain_words, width, text, chain) }?
    };
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

/// Returns true if what was interrupted is a program of the user's.
#[inline]
const fn is_of_program(state: State) -> bool {
    state.0 & State::RING != 0
}

/// Writes a chain to `place`, and zeros behind. Returns the place behind it.
///
/// # Safety
///
/// There is room for a field for each of its words, for two where they are three bytes wide, and for
/// another store.
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
        if let (true, Width::Bits24, &[pc, top, below, ref rest @ ..]) =
            (is_border(*word), width, words)
        {
            // SAFETY: the caller's condition.
            return unsafe { put_program_part([*word, pc, top, below], rest, place) };
        }
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

/// Writes a border and the program's addresses behind it to `place`, and zeros behind. Returns the place
/// behind it.
///
/// # Safety
///
/// There is room for two fields for each word, and for another store.
unsafe fn put_program_part(
    [marker, pc, top, below]: [u64; CROSSING_WORDS],
    addresses: &[u64],
    mut place: *mut u8,
) -> Result<*mut u8, DoesNotFit> {
    let mut push = |value: u32| {
        // SAFETY: the caller's condition.
        unsafe { put(place, value) };
        place = place.wrapping_add(Width::Bits24.bytes());
    };
    let vector = border_vector(marker);
    let part = ProgramPart::begin(vector, CodeAddress(pc), [top, below], &mut push);
    let part = part.ok_or(DoesNotFit)?;
    for &address in addresses {
        let code = UserAddress::of(CodeAddress(address));
        let pushed = code.and_then(|code| part.push(code, &mut push));
        pushed.ok_or(DoesNotFit)?;
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
    let mut copy = [0; SAMPLE_UNITS * 4];
    let bytes = copy.get_mut(..units.len() * 4)?;
    for (bytes, unit) in bytes.as_chunks_mut().0.iter_mut().zip(units) {
        *bytes = unit.to_le_bytes();
    }
    if bytes.len() < width.chain() {
        return None;
    }
    let field = |at: usize, size: usize| number(&bytes[at..at + size]);
    let mut words = Words::default();
    decode_chain(&bytes[width.chain()..], width, text, &mut words)?;
    let [_, _, state_and_end, event] = units[0].to_le_bytes();
    let state = State(state_and_end & !DEPTH_LIMIT);
    let offsets = [0, 1, 2].map(|place| field(at::PC + place * width.bytes(), width.bytes()));
    let sp = u64::from(field(at::SP, 4)) * 8;
    let (sp, [pc, top, below], chain_words) = if is_of_program(state) {
        let (above, code, rest) = program_of(offsets, width, words.get())?;
        (sp | above, code, rest)
    } else {
        let lowest = context.sp.wrapping_sub(SP_BELOW);
        let code = code_of(offsets, text)?;
        (lowest.wrapping_add(sp), code, words.get())
    };
    let end = if state_and_end & DEPTH_LIMIT == 0 {
        ChainEnd::Complete
    } else {
        ChainEnd::DepthLimit
    };
    let sample = Sample {
        sequence: context.next,
        handler_cost: field(at::COST, 2),
        event,
        task: bytes[at::TASK].into(),
        state,
        time: context.time.wrapping_add(units[1].into()),
        period: field(at::PERIOD, 3).into(),
        sp: StackAddress(sp),
        stack_top: [top, below],
        pc: CodeAddress(pc),
        exact: None,
        end,
        chain_words: (chain_words.len() <= MAX_CHAIN).then_some(chain_words)?,
    };
    let next = context.next.wrapping_add(1);
    Some((sample.encode(record), Context { next, ..context }))
}

/// The program counter of kernel code, and the words on top of its stack, 0 where these are not in the
/// text.
fn code_of(offsets: [u32; OFFSETS], text: CodeRange) -> Option<[u64; OFFSETS]> {
    let [pc, top, below] = offsets.map(|offset| {
        let address = text.start.0.wrapping_add(offset.into());
        text.contains(CodeAddress(address)).then_some(address)
    });
    Some([pc?, top.unwrap_or(0), below.unwrap_or(0)])
}

/// The same of a program that was interrupted, and before them the stack pointer's bits that the offsets'
/// fields have; behind them the words of its chain, of all that are in the record.
fn program_of(
    [first, ..]: [u32; OFFSETS],
    width: Width,
    words: &[u64],
) -> Option<(u64, [u64; OFFSETS], &[u64])> {
    let high = u64::from(first.checked_sub(width.first_special())?);
    let (&[marker, code @ ..], chain) = words.split_first_chunk::<CROSSING_WORDS>()?;
    let is_own = marker == border_word(None);
    is_own.then_some((high << 35, code, chain))
}

/// The words of a chain that is read, and room for the border of a program that was interrupted itself.
struct Words {
    words: [u64; MAX_CHAIN + CROSSING_WORDS],
    len: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            words: [0; MAX_CHAIN + CROSSING_WORDS],
            len: 0,
        }
    }
}

impl Words {
    fn push(&mut self, word: u64) -> Option<()> {
        *self.words.get_mut(self.len)? = word;
        self.len += 1;
        Some(())
    }

    fn get(&self) -> &[u64] {
        &self.words[..self.len]
    }
}

/// Reads the chain in `bytes`, all that is left of a record. `None` if no writer has made them.
fn decode_chain(bytes: &[u8], width: Width, text: CodeRange, chain: &mut Words) -> Option<()> {
    let in_text = |offset: u32| {
        let address = text.start.0.wrapping_add(offset.into());
        text.contains(CodeAddress(address)).then_some(address)
    };
    let mut fields = bytes.chunks_exact(width.bytes()).map(number);
    let most = fields.len();
    let mut used = 0;
    while let Some(field) = fields.next() {
        if let Some(crossing) = field.checked_sub(width.first_crossing()) {
            let [vector, ..] = crossing.to_le_bytes();
            chain.push(crossing_word(vector, crossing & CALLER_KNOWN != 0))?;
            chain.push(in_text(fields.next()?)?)?;
            for _ in 0..2 {
                let has_top = crossing & HAS_TOP != 0;
                let word = if has_top {
                    in_text(fields.next()?)
                } else {
                    None
                };
                chain.push(word.unwrap_or(0))?;
            }
        } else if let Some(border) = field.checked_sub(width.first_border()) {
            decode_program_part(border, width, &mut fields, chain)?;
        } else if field == 0 && fields.len() == 0 {
            // Zeros up to the next unit.
            break;
        } else {
            chain.push(in_text(field)?)?;
        }
        used = most - fields.len();
    }
    let rest = bytes.get(used * width.bytes()..)?;
    let is_padding = rest.len() < 4 && rest.iter().all(|&byte| byte == 0);
    is_padding.then_some(())
}

/// Reads a border and the addresses behind it, up to the last field that is one of two. What it is, the
/// border's field says.
fn decode_program_part(
    border: u32,
    width: Width,
    fields: &mut impl ExactSizeIterator<Item = u32>,
    chain: &mut Words,
) -> Option<()> {
    let [vector, ..] = border.to_le_bytes();
    let vector = if border & BY_SYSCALL == 0 {
        Some(vector)
    } else {
        (vector == 0).then_some(None)?
    };
    let program = (width == Width::Bits24).then(|| u16::try_from(fields.next()?).ok())??;
    let mut stack_top = [0; 2];
    if border & HAS_TOP != 0 {
        for word in &mut stack_top {
            let address = next_address(fields)?;
            if address != 0 {
                *word = UserAddress { program, address }.code().0;
            }
        }
    }
    let next_code = |fields: &mut _| {
        let address = next_address(fields)?;
        Some(UserAddress { program, address }.code().0)
    };
    let pc = next_code(fields)?;
    chain.push(border_word(vector))?;
    chain.push(pc)?;
    for word in stack_top {
        chain.push(word)?;
    }
    while fields.len() >= ADDRESS_FIELDS {
        chain.push(next_code(fields)?)?;
    }
    Some(())
}

/// Reads an address of a program's.
fn next_address(fields: &mut impl Iterator<Item = u32>) -> Option<u64> {
    let [high, low] = [fields.next()?, fields.next()?];
    let address = u64::from(high) << LOW_BITS | u64::from(low);
    (address < USER_END).then_some(address)
}

/// The little-endian number in at most four bytes.
fn number(bytes: &[u8]) -> u32 {
    let digits = bytes.iter().rev();
    digits.fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(all(test, not(loom)))]
mod tests;
