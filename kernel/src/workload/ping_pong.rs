//! Ping-pong: pairs of cores that interrupt each other, and halt meanwhile.
//!
//! A core [`serve`]s a ball by interrupting its partner, whose handler returns
//! it by an interrupt back. Cores 0 and 1 are a pair, 2 and 3, and so on; one
//! that has no partner plays against itself and hardly halts.
//!
//! A profile of pairs that take turns shows about 60 % in [`swing`], half of that
//! below [`return_ball`] in the handler, and the rest halted in [`await_return`].
//! Where cores run in parallel they do almost nothing but halt and send. A chain
//! of `return_ball` begins in the handler and continues across the trap frame into
//! whatever was interrupted: the partner's own `serve` or `await_return`, in the
//! mix anything.
//!
//! The partner may have stopped for good, or have interrupts off for long, so a
//! core waits for a few interrupts of any kind, then continues without the ball.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::instructions::interrupts;

use super::scratch::{Scratch, scramble};
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::per_core::per_core;
use crate::cpu::{self, CoreBlock};
use crate::trap::{self, TrapFrame};

/// Balls that a unit serves.
const BALLS: u32 = 8;

/// How many halts to wait for a ball before giving up. Each ends with an
/// interrupt, the core's next sample at the latest.
const TIMEOUT_HALTS: u32 = 16;

struct Player {
    /// A ball was served to this core, which has not returned it.
    served: AtomicBool,
    /// How many balls that this core served came back.
    returned: AtomicU64,
}

per_core! {
    static PLAYER: Player = Player {
        served: AtomicBool::new(false),
        returned: AtomicU64::new(0),
    };
}

fn partner_of(core: &'static CoreBlock) -> &'static CoreBlock {
    cpu::cores()
        .get(core.index as usize ^ 1)
        .copied()
        .unwrap_or(core)
}

/// The vector of a ball.
const VECTOR: u8 = 0x41;

/// Registers what handles it.
pub(super) fn start() {
    trap::register(VECTOR, on_ping);
}

/// A unit of work. It ends early if a ball is lost.
pub fn unit(scratch: &mut Scratch) {
    let core = cpu::current();
    let mut spin = scratch.seed();
    for _ in 0..BALLS {
        let returned = PLAYER.get(core).returned.load(Ordering::Acquire);
        spin = serve(partner_of(core), spin);
        if !await_return(core, returned) {
            return;
        }
    }
}

/// Serves a ball to `partner`.
#[inline(never)]
fn serve(partner: &CoreBlock, spin: u64) -> u64 {
    let spin = swing(spin);
    PLAYER.get(partner).served.store(true, Ordering::Release);
    hit(partner);
    spin
}

/// Halts until a ball came back: until `core` has more than `returned`. Whether
/// one did.
#[inline(never)]
fn await_return(core: &CoreBlock, returned: u64) -> bool {
    let is_back = || PLAYER.get(core).returned.load(Ordering::Acquire) != returned;
    for _ in 0..TIMEOUT_HALTS {
        // Off, so that a ball after the look does not end a halt that has not begun.
        interrupts::disable();
        if is_back() {
            break;
        }
        cpu::idle::wait();
    }
    interrupts::enable();
    is_back()
}

/// The handler of [`VECTOR`].
fn on_ping(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
    let core = cpu::current();
    // If not, it is one that this core served, and the count says that it is back.
    if PLAYER.get(core).served.swap(false, Ordering::AcqRel) {
        return_ball(core);
    }
}

/// In the handler: returns a ball.
#[inline(never)]
fn return_ball(core: &'static CoreBlock) {
    let partner = partner_of(core);
    let returned = &PLAYER.get(partner).returned;
    black_box(swing(returned.load(Ordering::Acquire)));
    returned.fetch_add(1, Ordering::AcqRel);
    hit(partner);
}

/// What it takes to play a ball: some two periods of 1000 instructions, never
/// the same, so that some samples come in the middle of it. A core that halts is
/// always halted when its sample comes.
#[inline(never)]
fn swing(spin: u64) -> u64 {
    // Unlike any other loop here: the compiler makes one of two functions whose
    // code is the same, with one of the two names.
    (0..100 + spin % 256).fold(spin, |spin, turn| black_box(scramble(spin) ^ turn))
}

/// Interrupts `core`.
fn hit(core: &CoreBlock) {
    // SAFETY: `start` registered the vector before any core was started.
    unsafe { apic::registers().send(Message::Fixed(VECTOR), Destination::Core(core.apic_id)) };
}
