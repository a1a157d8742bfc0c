//! The fast handler of timers: the usual overflow, from its interrupt to its record, in as few
//! instructions as can be.
//!
//! It asks first whether all is usual, one word for most of it ([`OverflowState`]). What is not is
//! left to the handler that can do everything ([`Context`](super::Context)): as it was, or with an
//! overflow that is claimed.
//!
//! | | |
//! |---|---|
//! | nothing is changed | the phase, what is armed, another handler at work, an aim, a skipped `hlt` before: the word |
//! | | the source has not fired |
//! | the overflow is claimed | the core's last sample; code about to halt |
//! | | code or a stack pointer that [`crate::unwind::fast`] does not take |
//! | | a write is under way in the ring, or it is nearly full |
//! | | a field of the record that is narrower than its value |
//! | | a chain that ends where none should: neither at a root nor at the depth limit |
//! | | an interrupt that has written meanwhile |
//!
//! A chain that is more than frames of compiled code up to a root (it crosses an interrupt, say) is
//! walked once more by the walk over all, which takes from [`crate::unwind::fast`] what is ordinary.
//! So is the stack of a program that was interrupted.
//!
//! Sources of samples by counters have a handler of their own. What both share is [`Ordinary`].
//!
//! [`OverflowState`]: crate::sampler::per_core::overflow::OverflowState

// Fields are cut to their widths where that was asked for before.
#![allow(clippy::cast_possible_truncation)]

use core::sync::atomic::Ordering::Relaxed;

use crate::address::{CodeAddress, StackAddress};
use crate::entry::fast::{FastPath, Unusual};
use crate::entry::{TrapFrame, end_of_call, returns, vector};
use crate::format::ring::Base;
use crate::format::sample::compact::{self, Width, at};
use crate::format::table::{self, TASK_AT};
use crate::format::{ChainEnd, Delivery, State};
use crate::hw::apic::{self, Register, Registers};
use crate::hw::control::INTERRUPT_FLAG;
use crate::sampler::engine::Engine;
use crate::sampler::halt::HLT;
use crate::sampler::per_core::fast::Place;
use crate::sampler::per_core::overflow::{ARMED, ARMED_AND_REQUESTED};
use crate::sampler::per_core::{Core, Output};
use crate::sampler::run::Run;
use crate::sampler::source::Source;
use crate::sampler::target::Target;
use crate::unwind::fast::{self, CompactChain, CompiledCode, Frames, ROUNDS};
use crate::unwind::{self, Rule, user};

use super::record::StackView;

#[inline(always)]
pub(super) fn output_of(core: &Core) -> &'static Output {
    // SAFETY: `prepare` has set it before there was a fast handler.
    unsafe { core.fast.at(Place::Output) }
}

#[inline(always)]
fn run_of(core: &Core) -> &'static Run {
    // SAFETY: likewise.
    unsafe { core.fast.at(Place::Run) }
}

fn engine_of(core: &Core) -> &'static Engine {
    // SAFETY: likewise.
    unsafe { core.fast.at(Place::Engine) }
}

/// For [`super::xapic`]: 1 if the place at this distance from the text's start, whose saved frame
/// pointer is zero, is a root; 2 if it is no address, and that is the root; else 0.
#[unsafe(link_section = ".pmiscope.calls")]
pub(super) unsafe extern "C" fn is_root_at<T: Target>(
    core: &'static Core,
    _: &TrapFrame,
    offset: u64,
) -> u64 {
    // SAFETY: set with the handler.
    let target: &T = unsafe { core.fast.at(Place::Target) };
    let is_root = is_root_of(core, target, offset);
    let answer = match (is_root, offset >> 24) {
        (false, _) => 0,
        (true, 0) => 1,
        (true, _) => 2,
    };
    end_of_call();
    answer
}

/// A chain that is written.
#[repr(C)]
pub(super) struct Walked {
    /// The place behind it; null if it does not fit.
    end: *mut u8,
    /// How it ends, where the first unit of a record has it.
    head: u64,
}

/// For [`super::xapic`]: walks the whole chain of the record that begins at `start`.
#[unsafe(link_section = ".pmiscope.calls")]
pub(super) unsafe extern "C" fn walk_from<T: Target>(
    core: &'static Core,
    frame: &TrapFrame,
    start: u64,
) -> Walked {
    let place = output_of(core).writer.bytes_at(start);
    let sp = StackAddress(frame.rsp);
    // SAFETY: an extent may be written there.
    unsafe { walked_at::<T>(core, frame, place, Some(sp)) }
}

/// For [`super::xapic`]: walks the whole chain of the key that is made.
#[unsafe(link_section = ".pmiscope.calls")]
pub(super) unsafe extern "C" fn walk_key<T: Target>(
    core: &'static Core,
    frame: &TrapFrame,
) -> Walked {
    // SAFETY: there is room for a key, and so for the longest chain.
    unsafe { walked_at::<T>(core, frame, core.fast.scratch.record(), None) }
}

/// Walks the chain of the record that begins at `place`, at the end of a handler's call.
///
/// # Safety
///
/// As for [`walk_all`].
#[inline(always)]
unsafe fn walked_at<T: Target>(
    core: &'static Core,
    frame: &TrapFrame,
    place: *mut u8,
    sp: Option<StackAddress>,
) -> Walked {
    // SAFETY: set with the handler.
    let target: &T = unsafe { core.fast.at(Place::Target) };
    let registers = unwind::Registers {
        pc: CodeAddress(frame.rip),
        sp: StackAddress(frame.rsp),
        fp: StackAddress(frame.rbp),
    };
    let walked = if is_of_program(frame) {
        // SAFETY: the caller's condition.
        unsafe { walk_program(core, target, registers, place, sp) }
    } else {
        // SAFETY: likewise.
        unsafe { walk_all(core, target, registers, place) }
    };
    let (end, state) = walked.unwrap_or((core::ptr::null_mut(), 0));
    let walked = Walked {
        end,
        head: u64::from(state) << 16,
    };
    end_of_call();
    walked
}

/// Walks a chain that is not ordinary, and writes it to the record at `place`. Returns the place
/// behind it, and how it ends as a bit of the state; `None` if it does not fit a compact record.
///
/// # Safety
///
/// From there on there is room for the chain of a compact record.
#[cold]
unsafe fn walk_all<T: Target>(
    core: &Core,
    target: &T,
    registers: unwind::Registers,
    place: *mut u8,
) -> Option<(*mut u8, u8)> {
    // SAFETY: the caller's condition.
    let mut chain = unsafe { chain_at(core, place) };
    let end = unwind::walk_to(&mut chain, registers.into(), &view_of(core, target));
    ended(chain, end)
}

/// The same of a program that was interrupted, with what else the record has of its code; and of its
/// stack pointer, if it is no key.
///
/// # Safety
///
/// From there on there is room for a compact record.
#[inline]
unsafe fn walk_program<T: Target>(
    core: &Core,
    target: &T,
    registers: unwind::Registers,
    place: *mut u8,
    sp: Option<StackAddress>,
) -> Option<(*mut u8, u8)> {
    // SAFETY: the caller's condition.
    unsafe { compact::put_program(place, sp) }?;
    // SAFETY: likewise.
    let mut chain = unsafe { chain_at(core, place) }.with_border();
    let end = user::walk_to_border(registers, &view_of(core, target), &mut chain);
    ended(chain, end)
}

#[inline(always)]
fn view_of<'a, T>(core: &Core, target: &'a T) -> StackView<'a, T> {
    StackView {
        target,
        engine: engine_of(core),
        core: core.index,
    }
}

/// The empty chain of the record at `place`.
///
/// # Safety
///
/// From there on there is room for a compact record.
#[inline(always)]
unsafe fn chain_at(core: &Core, place: *mut u8) -> CompactChain {
    let text_len = core.fast.text_len.load(Relaxed);
    let place = place.wrapping_add(Width::Bits24.chain());
    // SAFETY: an extent has room for the longest chain; what `stack_of` returns may be read by its
    // address (`Target`, condition 1).
    unsafe { CompactChain::new(core.fast.code(), text_len, place) }
}

#[inline(always)]
fn ended(chain: CompactChain, end: ChainEnd) -> Option<(*mut u8, u8)> {
    let state = match end {
        ChainEnd::Complete => 0,
        ChainEnd::DepthLimit => compact::DEPTH_LIMIT,
        _ => return None,
    };
    Some((chain.end()?, state))
}

/// Returns true if a program of the user's was interrupted.
#[inline(always)]
fn is_of_program(frame: &TrapFrame) -> bool {
    frame.cs & u64::from(State::RING) != 0
}

/// For [`super::xapic`]: ends its write, which began at `start`.
#[unsafe(link_section = ".pmiscope.calls")]
pub(super) unsafe extern "C" fn abandon(core: &'static Core, _: &TrapFrame, start: u64) {
    output_of(core).writer.abandon_at(start);
    end_of_call();
}

/// For [`super::xapic`]: publishes what has nested in the end of its write, or waits for the core's
/// turn.
#[unsafe(link_section = ".pmiscope.calls")]
pub(super) unsafe extern "C" fn wait_or_publish(
    core: &'static Core,
    frame: &TrapFrame,
    publishes: u64,
) {
    if publishes != 0 {
        output_of(core).writer.publish_nested();
    } else {
        let is_nmi = frame.vector == u64::from(vector::NMI);
        let delivery = if is_nmi { Delivery::Nmi } else { Delivery::Irq };
        super::timer::pass_turn(engine_of(core), core, run_of(core), delivery);
    }
    end_of_call();
}

/// Which source a fast handler is for.
mod source {
    pub(super) const XAPIC: u8 = 0;
    pub(super) const X2APIC: u8 = 1;
    pub(super) const HPET: u8 = 2;
    pub(super) const IPI: u8 = 3;
}

/// What a fast handler returns: see [`crate::entry::fast`].
#[repr(C)]
pub(super) struct FastExit {
    rearm: u64,
    path_or_tsc: u64,
}

impl FastExit {
    /// What the source of `core` is armed with, or why not.
    #[inline(always)]
    pub(super) fn of(core: &'static Core, entry_tsc: u64, outcome: Result<u64, Unusual>) -> Self {
        match outcome {
            Ok(rearm) => Self {
                rearm,
                path_or_tsc: core::ptr::from_ref(core).addr() as u64,
            },
            Err(unusual) => Self {
                rearm: unusual.bits(),
                path_or_tsc: entry_tsc,
            },
        }
    }
}

/// What was interrupted, if it is ordinary.
#[derive(Clone, Copy)]
pub(super) struct Ordinary {
    registers: unwind::Registers,
    state: u8,
    whose: Whose,
}

/// Whose code was interrupted.
#[derive(Clone, Copy)]
pub(super) enum Whose {
    /// The kernel's, on a stack of its own.
    Kernel(KernelCode),
    /// A program's of the user.
    Program,
}

/// Code of the kernel that was interrupted.
#[derive(Clone, Copy)]
pub(super) struct KernelCode {
    code: CompiledCode,
    frames: Frames,
    /// The program counter, as a distance from the text's start.
    pub pc_offset: u64,
    /// The lowest address of the stack.
    low: u64,
    /// It may keep its caller otherwise than by a frame pointer.
    pub is_ruled: bool,
}

impl KernelCode {
    /// The highest place of a pair on the stack, and how far below a stack pointer may be.
    pub(super) const fn stack(&self) -> (u64, u64) {
        (self.frames.top(), self.frames.top() - self.low)
    }
}

impl Ordinary {
    pub(super) const fn state(&self) -> u8 {
        self.state
    }

    pub(super) const fn whose(&self) -> Whose {
        self.whose
    }

    /// Looks at what was interrupted. Nothing is changed.
    #[inline(always)]
    pub(super) fn look<T: Target>(core: &Core, target: &T, frame: &TrapFrame) -> Option<Self> {
        let registers = unwind::Registers {
            pc: CodeAddress(frame.rip),
            sp: StackAddress(frame.rsp),
            fp: StackAddress(frame.rbp),
        };
        // One bit to another place.
        let mut state = (frame.rflags >> (INTERRUPT_FLAG.ilog2() - State::INTERRUPTS_ON.ilog2()))
            as u8
            & State::INTERRUPTS_ON;
        if is_of_program(frame) {
            return Some(Self {
                registers,
                state: state | frame.cs as u8 & State::RING,
                whose: Whose::Program,
            });
        }
        let code = core.fast.code();
        let pc = registers.pc;
        let pc_offset = pc.0.wrapping_sub(code.start.0);
        let is_compiled = pc_offset < code.len;
        if !is_compiled && pc_offset >= core.fast.text_len.load(Relaxed) {
            return None;
        }
        // SAFETY: in the text, which is mapped (`Target`, condition 1); code is readable.
        if unsafe { (frame.rip as *const u8).read_volatile() } == HLT {
            return None;
        }
        let stack = target.stack_of(core.index, registers.sp)?;
        let frames = Frames::above(registers.sp, stack)?;
        if target.is_halted_at(pc) {
            state |= State::IDLE;
        }
        let is_known = !is_compiled && target.rule(pc) != Rule::FramePointer;
        if is_known {
            state |= State::CALLER_KNOWN;
        }
        let kernel = KernelCode {
            code,
            frames,
            pc_offset,
            low: stack.low,
            is_ruled: is_known || !is_compiled && target.is_called_by_stub(pc),
        };
        Some(Self {
            registers,
            state,
            whose: Whose::Kernel(kernel),
        })
    }
}

/// What a fast sample says beside what was interrupted.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub sequence: u32,
    pub event: u8,
    /// Bits of [`State`] beside those that [`Ordinary::look`] finds.
    pub state: u8,
    pub time: u64,
    pub cost: u64,
    pub period: u64,
}

impl Fields {
    /// Those of sample `sequence` of the running core, `core`, whose handler was entered at
    /// `entry_tsc`. Returns `None` if the time stamp counter did not go on from the sample before.
    #[inline(always)]
    fn of(core: &Core, entry_tsc: u64, sequence: u32, state: u8) -> Option<Self> {
        let timing = &core.timing;
        let armed_tsc = timing.armed_tsc.load(Relaxed);
        let overhead = core.fast.overhead.load(Relaxed);
        let since = entry_tsc.wrapping_sub(core.fast.origin.load(Relaxed));
        let period = entry_tsc.wrapping_sub(armed_tsc).wrapping_sub(overhead);
        let before = timing.entry_tsc.load(Relaxed) + timing.turn_wait_ticks.load(Relaxed);
        let cost = armed_tsc.wrapping_sub(before).wrapping_add(overhead);
        // None of these is less than 0.
        if (since | period | cost).cast_signed() < 0 {
            return None;
        }
        let clock = &run_of(core).timing.clock;
        Some(Self {
            sequence,
            event: 0,
            state,
            time: clock.ticks(since),
            cost: clock.ticks(cost),
            period: clock.ticks(period),
        })
    }
}

impl Ordinary {
    /// Walks the stack and writes the sample of the running core, `core`. Returns false if it is
    /// not a compact one; then nothing is written.
    #[inline(always)]
    pub(super) fn record<T: Target>(self, core: &Core, target: &T, fields: Fields) -> bool {
        let output = output_of(core);
        let Some(in_place) = output.writer.begin() else {
            return false;
        };
        let place = in_place.bytes();
        // SAFETY: an extent may be written there.
        let Some(units) = (unsafe { self.encode(core, target, fields, in_place.base(), place) })
        else {
            return false;
        };
        if in_place
            .finish(units, fields.sequence.wrapping_add(1))
            .is_err()
        {
            return false;
        }
        output.writer.count_fast();
        true
    }

    /// Walks the stack and counts the chain, of this event and with these bits of the state beside
    /// those that were found. Returns false if it is not in the table yet, or no compact one; then
    /// nothing is counted.
    #[inline(always)]
    pub(super) fn count<T: Target>(self, core: &Core, target: &T, event: u8, state: u8) -> bool {
        let output = output_of(core);
        let task = u8::try_from(target.task(core.index));
        let (Some(table), Ok(task)) = (output.table, task) else {
            return false;
        };
        let place = core.fast.scratch.record();
        // SAFETY: within the room for a key, of which the handler is the only user.
        let put = |at: usize, value| unsafe { compact::put(place.wrapping_add(at), value) };
        put(TASK_AT, task.into());
        let walked = match self.whose {
            // SAFETY: likewise; it has room for the longest chain.
            Whose::Kernel(code) => unsafe { self.put_code(code, core, target, place) },
            // SAFETY: likewise. A key has no stack pointer.
            Whose::Program => unsafe { walk_program(core, target, self.registers, place, None) },
        };
        let Some((end, chain_end)) = walked else {
            return false;
        };
        let state = self.state | state | chain_end;
        let head = compact::head(0, Width::Bits24, state, event);
        // SAFETY: likewise.
        let key = unsafe { table::finish(place, end, head) };
        let is_known = table.count_known(key);
        if is_known {
            output.writer.count_fast();
        }
        is_known
    }

    /// The two words on top of the stack, as a record has them.
    #[inline(always)]
    fn stack_top(&self, code: CompiledCode, core: &Core) -> [u64; 2] {
        let start = code.start.0;
        let text_len = core.fast.text_len.load(Relaxed);
        [0, 1].map(|word| {
            let top = (self.registers.sp.0 as *const u64).wrapping_add(word);
            // SAFETY: `Frames::above` has proven that two words of the stack lie there.
            let offset = unsafe { top.read_volatile() }.wrapping_sub(start);
            if offset < text_len {
                offset
            } else {
                Width::Bits24.no_text().into()
            }
        })
    }

    /// Writes the record to `place`. Returns its length in units; `None` if it does not fit a
    /// compact one. Each field is written as soon as it is known, so that registers suffice.
    ///
    /// # Safety
    ///
    /// An extent may be written there.
    #[inline(always)]
    pub(super) unsafe fn encode<T: Target>(
        self,
        core: &Core,
        target: &T,
        fields: Fields,
        base: &Base,
        place: *mut u8,
    ) -> Option<u32> {
        let put = |at: usize, value: u64| {
            // SAFETY: within the extent.
            unsafe { compact::put(place.wrapping_add(at), value as u32) };
        };
        let time = fields.time.wrapping_sub(base.time.load(Relaxed));
        if fields.sequence != base.next.load(Relaxed) || time >> 32 != 0 {
            return None;
        }
        put(at::TIME, time);
        let task = u64::from(target.task(core.index));
        if task >= 1 << 8 || fields.cost >= 1 << 16 {
            return None;
        }
        put(at::TASK, task | fields.cost << 8);
        if fields.period >= compact::END_24 {
            return None;
        }
        put(at::PERIOD, fields.period);
        let sp = self.registers.sp;
        let walked = match self.whose {
            Whose::Kernel(code) => {
                let sp = compact::in_words(sp.0.wrapping_sub(base.lowest_sp.load(Relaxed)));
                if sp >> 32 != 0 {
                    return None;
                }
                put(at::SP, sp);
                // SAFETY: the caller's condition.
                unsafe { self.put_code(code, core, target, place) }
            }
            // SAFETY: likewise.
            Whose::Program => unsafe {
                walk_program(core, target, self.registers, place, Some(sp))
            },
        };
        let (end, chain_end) = walked?;
        let units = (end.addr() - place.addr()).div_ceil(4) as u32;
        let state = self.state | fields.state | chain_end;
        put(
            0,
            compact::head(units, Width::Bits24, state, fields.event).into(),
        );
        Some(units)
    }

    /// Writes the offsets of kernel code to the record at `place`, and the chain: walks the stack.
    /// Returns what [`walk_all`] does.
    ///
    /// # Safety
    ///
    /// An extent may be written there.
    #[inline(always)]
    unsafe fn put_code<T: Target>(
        self,
        kernel: KernelCode,
        core: &Core,
        target: &T,
        place: *mut u8,
    ) -> Option<(*mut u8, u8)> {
        let put = |at: usize, value: u64| {
            // SAFETY: within the extent.
            unsafe { compact::put(place.wrapping_add(at), value as u32) };
        };
        put(at::PC, kernel.pc_offset);
        for (word, offset) in self.stack_top(kernel.code, core).into_iter().enumerate() {
            put(at::PC + 3 + 3 * word, offset);
        }
        let chain = place.wrapping_add(Width::Bits24.chain());
        let walk = || {
            let fp = self.registers.fp.0;
            // SAFETY: what `stack_of` returns may be read (`Target`, condition 1); an extent has
            // room for the longest chain.
            unsafe { fast::walk(fp, kernel.frames, kernel.code, chain, ROUNDS) }
        };
        let reached = if kernel.is_ruled { None } else { walk() };
        let reached = reached.filter(|reached| {
            // SAFETY: of the same stack.
            let fp = unsafe { reached.fp() };
            let is_last = || reached.offset == core.fast.root_offset.load(Relaxed);
            fp == 0 && (is_last() || is_root_of(core, target, reached.offset))
        });
        let Some(reached) = reached.filter(|reached| reached.offset >> 24 == 0) else {
            // SAFETY: the caller's condition.
            return unsafe { walk_all(core, target, self.registers, place) };
        };
        let end = reached.end.wrapping_add(3);
        // SAFETY: an extent has room for the longest chain.
        unsafe { compact::put(reached.end, reached.offset as u32) };
        // SAFETY: and for a store behind it.
        unsafe { compact::put(end, 0) };
        Some((end, 0))
    }
}

/// Looks whether a walk has reached the root, and notes the root's address for the next one.
#[cold]
fn is_root_of<T: Target>(core: &Core, target: &T, offset: u64) -> bool {
    let is_root = fast::is_root(offset, core.fast.code(), &view_of(core, target));
    if is_root && offset >> 24 == 0 {
        core.fast.root_offset.store(offset, Relaxed);
    }
    is_root
}

/// Returns true if the source of the running core, `core`, has fired.
#[inline(always)]
fn has_fired<const SOURCE: u8>(core: &Core) -> bool {
    match SOURCE {
        source::XAPIC => {
            let page = apic::REGISTERS.load(Relaxed);
            Registers::XApic(page).read(Register::TimerCurrentCount) == 0
        }
        source::X2APIC => Registers::X2Apic.read(Register::TimerCurrentCount) == 0,
        source::HPET => match &run_of(core).source {
            Source::Hpet(timers) => timers.has_fired(core),
            _ => false,
        },
        // The state says so.
        _ => true,
    }
}

/// Handles the interrupt, if it is the usual overflow. Chains are counted, if `CHAINS`.
#[inline(always)]
fn sample<T: Target, const SOURCE: u8, const NMI: bool, const CHAINS: bool>(
    core: &'static Core,
    frame: &TrapFrame,
    entry_tsc: u64,
) -> Result<u64, Unusual> {
    let is_usual = if SOURCE == source::IPI {
        core.overflow.is::<ARMED_AND_REQUESTED>()
    } else {
        core.overflow.is::<ARMED>()
    };
    if !is_usual || !has_fired::<SOURCE>(core) {
        return Err(Unusual::Untouched);
    }
    core.overflow.claim_fast();
    if SOURCE == source::IPI {
        core.overflow.take_ipi_request();
    }
    let sequence = core.share.take_fast();
    let number = sequence as u32;
    let claimed = Err(Unusual::Claimed(number));
    if sequence >= core.fast.last.load(Relaxed) {
        return claimed;
    }
    // SAFETY: `prepare` has set it, with this handler.
    let target: &'static T = unsafe { core.fast.at(Place::Target) };
    let Some(ordinary) = Ordinary::look(core, target, frame) else {
        return claimed;
    };
    if !NMI && leaves_turn_to_exact(core, frame) {
        return claimed;
    }
    let state = if NMI { State::NMI } else { 0 };
    let Some(fields) = Fields::of(core, entry_tsc, number, state) else {
        return claimed;
    };
    let is_done = if CHAINS {
        ordinary.count(core, target, fields.event, fields.state)
    } else {
        ordinary.record(core, target, fields)
    };
    if !is_done {
        return claimed;
    }
    core.timing.entry_tsc.store(entry_tsc, Relaxed);
    if !NMI {
        apic::registers().end_of_interrupt();
    }
    if core.fast.has_turns.load(Relaxed) {
        wait_for_turn::<NMI>(core);
    }
    Ok(core.fast.count.load(Relaxed))
}

/// Returns true if a program was interrupted that is to wait for the core's turn: by maskable
/// interrupts the wait lets others in. The kernel's handlers of these know by the code segment that
/// they have not come from the program, and count on it that its GS base has been changed for theirs,
/// which the exact path's handler does.
fn leaves_turn_to_exact(core: &Core, frame: &TrapFrame) -> bool {
    is_of_program(frame) && core.fast.has_turns.load(Relaxed)
}

/// Waits for the core's turn.
#[inline(never)]
fn wait_for_turn<const NMI: bool>(core: &'static Core) {
    let delivery = if NMI { Delivery::Nmi } else { Delivery::Irq };
    super::timer::wait_for_turn(engine_of(core), core, run_of(core), delivery);
}

/// The handler.
#[unsafe(link_section = ".pmiscope.calls")]
unsafe extern "C" fn on_interrupt<
    T: Target,
    const SOURCE: u8,
    const NMI: bool,
    const CHAINS: bool,
>(
    core: &'static Core,
    frame: &TrapFrame,
    entry_tsc: u64,
) -> FastExit {
    let outcome = sample::<T, SOURCE, NMI, CHAINS>(core, frame, entry_tsc);
    let exit = FastExit::of(core, entry_tsc, outcome);
    end_of_call();
    exit
}

/// A fast handler.
pub(super) type Handler = unsafe extern "C" fn(&'static Core, &TrapFrame, u64) -> FastExit;

/// Which fast handler a run has.
#[derive(Clone, Copy)]
enum Chosen {
    /// None: all samples are taken by the other one.
    None,
    /// That of [`super::xapic`].
    Assembly,
    Rust(Handler),
}

fn handler_of<T: Target, const CHAINS: bool>(run: &Run) -> Chosen {
    use source::{HPET, IPI, X2APIC, XAPIC};
    let is_scaled = !run.timing.clock.is_the_counter();
    let is_x2apic = apic::registers() == Registers::X2Apic;
    let is_nmi = run.delivery == Delivery::Nmi;
    Chosen::Rust(match (&run.source, is_nmi, is_x2apic) {
        (Source::ApicTimer(_), _, false) if !is_scaled && !returns::are_set() => {
            return Chosen::Assembly;
        }
        (Source::ApicTimer(_), true, false) => on_interrupt::<T, XAPIC, true, CHAINS>,
        (Source::ApicTimer(_), false, false) => on_interrupt::<T, XAPIC, false, CHAINS>,
        (Source::ApicTimer(_), true, true) => on_interrupt::<T, X2APIC, true, CHAINS>,
        (Source::ApicTimer(_), false, true) => on_interrupt::<T, X2APIC, false, CHAINS>,
        (Source::Hpet(_), true, _) => on_interrupt::<T, HPET, true, CHAINS>,
        (Source::Hpet(_), false, _) => on_interrupt::<T, HPET, false, CHAINS>,
        (Source::Ipi(_), true, _) => on_interrupt::<T, IPI, true, CHAINS>,
        (Source::Ipi(_), false, _) | (Source::Pmu(_) | Source::Step, ..) => return Chosen::None,
    })
}

/// Lets the running core, `core`, take its usual samples fast, before its source is armed.
pub(in crate::sampler) fn prepare<T: Target>(
    engine: &'static Engine,
    target: &'static T,
    core: &'static Core,
    run: &'static Run,
    output: &'static Output,
) {
    core.fast.last.store(0, Relaxed);
    let handler = match output.table {
        None => handler_of::<T, false>(run),
        // What is aimed may come in a handler, which only a write in the ring notices.
        Some(_) if run.aimed.is_some() => return,
        Some(_) => handler_of::<T, true>(run),
    };
    let (text, compiled) = (target.text(), target.compiled_code());
    // What is larger has records of another kind.
    let len = text.end.0.saturating_sub(text.start.0);
    if len > Width::Bits24.first_special().into() {
        return;
    }
    let fast = &core.fast;
    if !fast.set_code(text, compiled) {
        return;
    }
    let start_tsc = run.timing.start_tsc.load(Relaxed);
    fast.origin
        .store(start_tsc.wrapping_sub(core.clock.as_first(0)), Relaxed);
    fast.count.store(run.arming.count.into(), Relaxed);
    fast.overhead.store(run.timing.overhead.ticks, Relaxed);
    fast.has_turns
        .store(super::timer::has_turns(engine, run), Relaxed);
    fast.set_place(Place::Engine, engine);
    fast.set_place(Place::Target, target);
    fast.set_place(Place::Run, run);
    fast.set_place(Place::Output, output);
    fast.set_requests(run.words_of_requests(core));
    let writer = core::ptr::from_ref(&output.writer).cast_mut();
    fast.writer.store(writer, Relaxed);
    let interrupts = core::ptr::from_ref(&output.counters.taken).cast_mut();
    fast.interrupts.store(interrupts, Relaxed);
    if let Some(table) = output.table {
        fast.table.store(table.start().cast_mut(), Relaxed);
        fast.table_mask.store(table.mask(), Relaxed);
    }
    super::xapic::prepare(core, target, run.delivery);
    fast.is_prepared.store(true, Relaxed);
    match handler {
        // Counters have theirs from their start on, and say themselves which samples are fast.
        Chosen::None => return,
        Chosen::Assembly => super::xapic::choose(core, run.delivery, output.table.is_some()),
        Chosen::Rust(handler) => {
            let handler = (handler as *const ()).cast_mut();
            core.path.set_rust(run.delivery, handler);
        }
    }
    fast.last.store(core.share.last(), Relaxed);
}

const _: () = assert!(core::mem::offset_of!(Core, path) == 0 && size_of::<FastPath>() > 0);
