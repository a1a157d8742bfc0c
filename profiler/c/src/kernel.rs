//! The kernel as the sampler sees it: by the caller's functions.

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use profiler::address::{CodeAddress, StackAddress};
use profiler::contract::capabilities::Line;
use profiler::entry::stacks::TrapStacks;
use profiler::format::{Clock, Source};
use profiler::hw::exit;
use profiler::sampler::{Interrupted, Sampler, Target};
use profiler::unwind::StackBounds;

use crate::text;
use crate::types::{Callbacks, MAX_CORES, Registers, Stack};

pub static SAMPLER: Sampler<CKernel> = Sampler::new(CKernel);
pub static STACKS: TrapStacks<{ MAX_CORES as usize }> = TrapStacks::new();
profiler::sampler_gates!(SAMPLER, STACKS);

static CALLBACKS: AtomicPtr<Callbacks> = AtomicPtr::new(ptr::null_mut());

/// Uses these callbacks from now on, if there are none yet.
pub fn set_callbacks(callbacks: &'static Callbacks) {
    let callbacks = ptr::from_ref(callbacks).cast_mut();
    // The first ones stay: interrupts may be using them.
    let _ = CALLBACKS.compare_exchange(
        ptr::null_mut(),
        callbacks,
        Ordering::Release,
        Ordering::Relaxed,
    );
}

fn callbacks() -> Option<&'static Callbacks> {
    // SAFETY: null, or what `set_callbacks` has taken.
    unsafe { CALLBACKS.load(Ordering::Acquire).as_ref() }
}

/// The caller's name of what cores work on.
pub fn task_name(task: u16) -> &'static str {
    let Some(name) = callbacks().and_then(|it| it.task_name) else {
        return "";
    };
    // SAFETY: the function is the caller's.
    let name = unsafe { name(task) };
    // SAFETY: NULL or a string, as the header asks for.
    unsafe { text::read(name) }.unwrap_or_default()
}

/// The kernel that the library is linked into.
pub struct CKernel;

// SAFETY: the header asks of the caller's functions what the trait asks for; all else is
// loads from statics.
unsafe impl Target for CKernel {
    fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
        STACKS.stack_of(core, sp).or_else(|| {
            let find = callbacks()?.stack_of?;
            let mut stack = Stack { low: 0, high: 0 };
            // The pointer of an empty stack equals the stack's end.
            // SAFETY: the function is the caller's.
            let is_found = unsafe { find(core, sp.0.wrapping_sub(1), &raw mut stack) };
            is_found.then_some(StackBounds {
                low: stack.low,
                high: stack.high,
            })
        })
    }

    fn task(&self, core: u32) -> u16 {
        match callbacks().and_then(|it| it.task) {
            // SAFETY: the function is the caller's.
            Some(task) => unsafe { task(core) },
            None => 0,
        }
    }

    fn is_halted_at(&self, pc: CodeAddress) -> bool {
        match callbacks().and_then(|it| it.is_halted_at) {
            // SAFETY: the function is the caller's.
            Some(is_halted_at) => unsafe { is_halted_at(pc.0) },
            None => false,
        }
    }

    fn begin(&self, core: u32, source: Source, clock: Clock) {
        if let Some(begin) = callbacks().and_then(|it| it.begin) {
            // SAFETY: the function is the caller's.
            unsafe { begin(core, source.into(), clock == Clock::Instructions) };
        }
    }

    fn set_paused(&self, is_paused: bool) {
        if let Some(set_paused) = callbacks().and_then(|it| it.set_paused) {
            // SAFETY: the function is the caller's.
            unsafe { set_paused(is_paused) };
        }
    }

    fn unclaimed_nmis(&self, core: u32) -> u64 {
        STACKS.without_room(core)
    }

    fn other_nmi(&self, core: u32, interrupted: &mut Interrupted) {
        pass_on(callbacks().and_then(|it| it.other_nmi), core, interrupted);
    }

    fn other_debug(&self, core: u32, interrupted: &mut Interrupted) {
        pass_on(callbacks().and_then(|it| it.other_debug), core, interrupted);
    }

    fn failed(&self, problem: &dyn fmt::Display) {
        match callbacks().and_then(|it| it.failed) {
            // SAFETY: the function is the caller's, the string lives as long as the call.
            Some(failed) => text::with_c_string(problem, |problem| unsafe { failed(problem) }),
            None => exit::exit_qemu(exit::UNAVAILABLE),
        }
    }

    fn show(&self, line: &Line) {
        if let Some(show) = callbacks().and_then(|it| it.show) {
            // SAFETY: the function is the caller's, the string lives as long as the call.
            text::with_c_string(line, |line| unsafe { show(line) });
        }
    }

    fn finished(&self) {
        match callbacks().and_then(|it| it.finished) {
            // SAFETY: the function is the caller's.
            Some(finished) => unsafe { finished() },
            None => exit::exit_qemu(exit::SUCCESS),
        }
    }
}

/// Lets the caller's function, if there is one, look at an interrupt that is not the sampler's.
fn pass_on(
    to: Option<unsafe extern "C" fn(u32, *mut Registers)>,
    core: u32,
    interrupted: &mut Interrupted,
) {
    if let Some(to) = to {
        let mut registers = Registers::from(&*interrupted);
        // SAFETY: the function is the caller's.
        unsafe { to(core, &raw mut registers) };
        interrupted.registers.pc.0 = registers.pc;
        interrupted.flags = registers.flags;
    }
}

/// Ends the run, and halts the running core.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    SAMPLER.fail();
    SAMPLER.target().failed(info);
    loop {
        // SAFETY: with interrupts off nothing but NMIs comes here any more.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
