//! What cores forget of a process's pages when these go, or the process does.
//!
//! A core keeps translations of the process that it runs. Who unmaps takes the pages out of the
//! tables first, then asks all cores that are in the set of the process's cores, and gives the
//! frames back when all have answered:
//!
//! | core                                   | what it does                                     |
//! |----------------------------------------|--------------------------------------------------|
//! | in the set when that is read           | drops its translations when it is asked          |
//! | comes into the set later               | loads the tables then, which have the pages no more |
//! | has left the set                       | has loaded other tables, which drops everything  |
//!
//! Who asks holds no lock, and waits with interrupts as they were: on if it can be. If they are off
//! it looks itself for what it is asked by others, so that two can wait for each other.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use core::{hint, ptr};

use kernel_core::core_set::CoreSet;
use kernel_core::process::PAGE;
use x86_64::VirtAddr;
use x86_64::instructions::{interrupts, tlb};

use super::active;
use super::inner::Inner;
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::per_core::per_core;
use crate::cpu::{self};
use crate::sync;

/// The vector by which a core is asked. Its handler is [`on_interrupt`].
pub const VECTOR: u8 = 0x48;

/// More pages than these are forgotten with all others.
const MOST_SINGLE_PAGES: u64 = 32;

/// What is asked for at once: one bit each in a word.
const REQUESTS: usize = 64;

/// What cores are asked for.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// To drop what they know of these pages.
    Forget(Range<u64>),
    /// To leave the process's page tables.
    Leave,
}

/// What some cores are asked for, and who of them has not answered.
struct Request {
    space: AtomicPtr<Inner>,
    leave: AtomicBool,
    start: AtomicU64,
    end: AtomicU64,
    unanswered: CoreSet,
}

static ALL: [Request; REQUESTS] = [const { Request::new() }; REQUESTS];

/// Requests that are in use, a bit each.
static IN_USE: AtomicU64 = AtomicU64::new(0);

per_core! {
    /// Requests that each core has not looked at, a bit each.
    static PENDING: AtomicU64 = AtomicU64::new(0);
}

impl Request {
    const fn new() -> Self {
        Self {
            space: AtomicPtr::new(ptr::null_mut()),
            leave: AtomicBool::new(false),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            unanswered: CoreSet::new(),
        }
    }

    /// Does what is asked for on the running core. Interrupts are off.
    fn answer(&self) {
        let space = self.space.load(Ordering::Acquire);
        if ptr::eq(active::current(), space) {
            if self.leave.load(Ordering::Relaxed) {
                active::leave();
            } else {
                let start = self.start.load(Ordering::Relaxed);
                forget(start..self.end.load(Ordering::Relaxed));
            }
        }
        self.unanswered.remove(cpu::current_index());
    }
}

fn forget(range: Range<u64>) {
    if (range.end - range.start) / PAGE > MOST_SINGLE_PAGES {
        tlb::flush_all();
    } else {
        for page in range.step_by(PAGE as usize) {
            tlb::flush(VirtAddr::new_truncate(page));
        }
    }
}

/// Takes a request that is not in use; waits for one if need be.
fn take() -> (u64, &'static Request) {
    loop {
        let in_use = IN_USE.load(Ordering::Relaxed);
        let free = in_use.trailing_ones();
        if let Some(request) = ALL.get(free as usize) {
            let bit = 1 << free;
            if IN_USE.fetch_or(bit, Ordering::Acquire) & bit == 0 {
                return (bit, request);
            }
        } else {
            wait_a_little();
        }
    }
}

/// One turn of a loop that waits for other cores.
fn wait_a_little() {
    if !interrupts::are_enabled() {
        answer_pending();
    }
    hint::spin_loop();
}

/// Asks all cores that have the page tables of `space`, the running one as well, and returns when
/// they have done it.
///
/// # Panics
///
/// If the running core holds a lock: another one may wait for that, and never answer.
pub(super) fn ask(space: &'static Inner, what: &What) {
    assert!(
        sync::held_by(cpu::current()).next().is_none(),
        "pages are unmapped by who holds a lock"
    );
    if space.cores.is_empty() {
        return;
    }
    let (bit, request) = take();
    interrupts::without_interrupts(|| {
        let range = match what {
            What::Forget(range) => range.clone(),
            What::Leave => 0..0,
        };
        request.start.store(range.start, Ordering::Relaxed);
        request.end.store(range.end, Ordering::Relaxed);
        let leaves = matches!(what, What::Leave);
        request.leave.store(leaves, Ordering::Relaxed);
        let pointer = ptr::from_ref(space).cast_mut();
        request.space.store(pointer, Ordering::Release);
        // Each is among those who have not answered before it is asked.
        for core in space.cores.iter() {
            request.unanswered.insert(core);
        }
        let me = cpu::current_index();
        for index in request.unanswered.iter().filter(|&index| index != me) {
            let core = cpu::core(index);
            PENDING.get(core).fetch_or(bit, Ordering::SeqCst);
            // SAFETY: the vector has a handler, by the condition of the first space.
            unsafe {
                apic::registers().send(Message::Fixed(VECTOR), Destination::Core(core.apic_id))
            };
        }
        if request.unanswered.contains(me) {
            request.answer();
        }
    });
    while !request.unanswered.is_empty() {
        wait_a_little();
    }
    IN_USE.fetch_and(!bit, Ordering::Release);
}

/// Does all that the running core is asked for. Interrupts are off.
fn answer_pending() {
    let mut pending = PENDING.current().swap(0, Ordering::SeqCst);
    while pending != 0 {
        ALL[pending.trailing_zeros() as usize].answer();
        pending &= pending - 1;
    }
}

/// What the handler of [`VECTOR`] does. What was asked for may be done already.
pub fn on_interrupt() {
    apic::registers().end_of_interrupt();
    answer_pending();
}
