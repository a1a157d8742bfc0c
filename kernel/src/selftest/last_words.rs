//! Failures deep in calls, in NMIs, and on all cores at once, for the tests of what the kernel
//! says then.

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};

use profiler::entry::nmi;
use profiler::hw::debug;
use spin::Once;
use x86_64::instructions::interrupts;

use super::Test;
use crate::cpu;
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::stop::{self, Request};
use crate::smp;
use crate::trap::{self, vector};

pub(super) const TESTS: &[Test] = &[
    ("fault-deep", fault_deep),
    ("spin-deep", spin_deep),
    ("panic-everywhere", panic_everywhere),
    ("panic-in-all-nmis", panic_in_all_nmis),
    ("panic-among-busy", panic_among_busy),
    ("panic-in-nmi", || log::info!("{PanicsInNmiWhenShown}")),
    ("panic-beside-deaf", panic_beside_deaf),
    ("panic-behind-success", panic_behind_success),
];

/// Faults in a function whose callers are known, each once.
fn fault_deep() {
    outer(black_box(1));
}

#[inline(never)]
fn outer(value: u64) -> u64 {
    black_box(middle(value)) + 1
}

#[inline(never)]
fn middle(value: u64) -> u64 {
    black_box(inner(value)) + 1
}

#[inline(never)]
fn inner(value: u64) -> u64 {
    super::page_fault();
    black_box(value)
}

/// Loops for ever in a function whose callers are known, as core 1 does in others.
fn spin_deep() {
    smp::give_others(busy);
    wait_for(cpu::count() - 1);
    log::info!("self-test: all cores loop");
    black_box(spin_outer());
}

#[inline(never)]
fn spin_outer() -> u32 {
    black_box(spin_inner()) + 3
}

#[inline(never)]
fn spin_inner() -> u32 {
    black_box(spin_for_ever()) + 2
}

/// Cores that are where they are to be.
static ARRIVED: AtomicU32 = AtomicU32::new(0);

fn arrive() {
    ARRIVED.fetch_add(1, Ordering::AcqRel);
}

/// Waits until so many cores have arrived.
fn wait_for(cores: u32) {
    while ARRIVED.load(Ordering::Acquire) < cores {
        core::hint::spin_loop();
    }
}

/// All cores panic, as soon as all are about to.
fn panic_everywhere() {
    smp::give_others(panic_with_all);
    panic_with_all();
}

#[inline(never)]
fn panic_with_all() {
    arrive();
    wait_for(cpu::count());
    let core = cpu::current_index();
    panic!("this panic of core {core} was asked for");
}

/// The same in handlers of NMIs: no core is stopped by one.
fn panic_in_all_nmis() {
    fn panic() {
        in_nmi(panic_with_all)
    }
    smp::give_others(panic);
    panic();
}

/// This core panics while another one loops with interrupts off, deep in calls, and all others
/// loop as they are.
fn panic_among_busy() {
    smp::give_others(busy);
    wait_for(cpu::count() - 1);
    panic!("this panic was asked for");
}

fn busy() {
    if cpu::current_index() == 1 {
        interrupts::disable();
        black_box(busy_without_interrupts());
    }
    black_box(busy_with_interrupts());
}

#[inline(never)]
fn busy_without_interrupts() -> u32 {
    // What is the same twice is compiled once.
    black_box(spin_for_ever()) + 1
}

#[inline(never)]
fn busy_with_interrupts() -> u32 {
    black_box(spin_for_ever())
}

#[inline(never)]
fn spin_for_ever() -> u32 {
    arrive();
    wait_for(u32::MAX);
    black_box(1)
}

/// Runs `action` in the handler of a debug exception in that of an NMI, in which further NMIs
/// are blocked. On all cores it is the same.
fn in_nmi(action: fn()) -> ! {
    static ACTION: Once<fn()> = Once::new();
    ACTION.call_once(|| {
        trap::register(vector::DEBUG, |_| {
            if let Some(action) = ACTION.get() {
                action();
            }
        });
        action
    });
    debug::set_breakpoint(nmi::call());
    let this = Destination::Core(cpu::current().apic_id);
    // SAFETY: there is a gate for it, whose handler is not come back from.
    unsafe { apic::registers().send(Message::Nmi, this) };
    loop {
        core::hint::spin_loop();
    }
}

struct PanicsInNmiWhenShown;

/// The NMI comes while this core holds the log.
impl core::fmt::Display for PanicsInNmiWhenShown {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        in_nmi(|| panic!("this panic in an NMI was asked for"))
    }
}

/// The last core never hears an NMI, as it is in the handler of one.
fn panic_beside_deaf() {
    let last = cpu::cores().last().expect("there is a first core");
    smp::give(last, || {
        in_nmi(|| {
            arrive();
            wait_for(u32::MAX);
        })
    });
    wait_for(1);
    panic!("this panic was asked for");
}

struct LetsNmisIn;

/// The NMI to stop has come meanwhile, and is taken as any trap returns.
impl core::fmt::Display for LetsNmisIn {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const VECTOR: u8 = 0x51;
        trap::register(VECTOR, |_| {});
        // SAFETY: its handler does nothing.
        unsafe { asm!("int {}", const VECTOR) };
        Ok(())
    }
}

/// The last core panics when another one has begun to end a run in which nothing failed.
fn panic_behind_success() {
    let last = cpu::cores().last().expect("there is a first core");
    smp::give(last, || {
        in_nmi(|| {
            arrive();
            while stop::request() == Request::None {
                core::hint::spin_loop();
            }
            panic!("this panic at the end was {LetsNmisIn}asked for");
        })
    });
    wait_for(1);
}
