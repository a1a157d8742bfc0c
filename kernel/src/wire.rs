//! What was sampled leaves by the serial port when the run has ended, `send=serial`, or at the next
//! start, if that was a reset.

use core::sync::atomic::{AtomicBool, Ordering};

use profiler::contract::settings::SendTo;
use profiler::format::region::Region;
use profiler::format::wire::{Port, Sender};
use profiler::hw::tsc::Deadline;
use spin::Once;
use x86_64::VirtAddr;

use crate::cpu::stack::StackKind;
use crate::memory::frames::Block;
use crate::memory::stacks::{self, Owner};
use crate::sync::{Lock, lock_class};
use crate::{exit, serial};

/// What has the region, once there is one.
static REGION: Once<fn() -> Option<Region<'static>>> = Once::new();
static SENDER: Lock<Sender> = Lock::new(lock_class!("serial wire"), Sender::new());
/// The other side has an answer on its way by then: a byte takes 87 µs, a frame 67 ms. 0.1 to 0.5
/// seconds.
const ANSWER_TICKS: u64 = 1 << 29;

/// Says that nothing is sent, where the run makes no region.
pub fn log_unused(send: SendTo) {
    if send != SendTo::Nowhere {
        log::info!("wire: nothing is sent: take=survey has no samples, the lines below are all");
    }
}

/// Sends the region at the end of the run, if there is one by then.
pub fn send_at_end(region: fn() -> Option<Region<'static>>) {
    REGION.call_once(|| region);
    exit::on_end(send);
}

struct SerialPort;

impl Port for SerialPort {
    fn send(&mut self, bytes: &[u8]) {
        serial::send(bytes);
    }

    fn receive(&mut self) -> Option<u8> {
        let byte = core::cell::Cell::new(None);
        let has_come = || {
            byte.set(serial::receive());
            byte.get().is_some()
        };
        // Its result is that of `byte`.
        let _ = Deadline::after(ANSWER_TICKS).wait_for(has_come);
        byte.get()
    }
}

fn send() {
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    // In a panic in this, it is not tried again.
    let region = REGION.get().and_then(|region| region());
    let Some(region) = region.filter(|_| !HAS_BEGUN.swap(true, Ordering::Relaxed)) else {
        return;
    };
    if is_on_small_stack() {
        log::error!("wire: nothing is sent: the run has ended on a stack that is too small");
        return;
    }
    if send_region(&region) {
        // It stays a region: a reader on the host may be at it.
        region.set_left();
    }
}

/// Sends the region in this memory, which a run before has left. Returns true if all has arrived:
/// it is a region no more.
pub fn send_now(block: Block) -> bool {
    // SAFETY: the memory is there for ever, and the region in it is used through `Region` alone.
    let Ok((region, _)) = (unsafe { Region::open(block.bytes()) }) else {
        return false;
    };
    let has_arrived = send_region(&region);
    if has_arrived {
        region.forget();
    }
    has_arrived
}

/// Returns true if the other side has all.
fn send_region(region: &Region<'_>) -> bool {
    let sent = SENDER.with(|sender| sender.send(region, &mut SerialPort));
    let end = if sent.is_confirmed {
        "all has arrived"
    } else {
        "nobody says what has arrived"
    };
    log::info!(
        "wire: {} blocks sent, {} again; {end}",
        sent.blocks,
        sent.again
    );
    sent.is_confirmed
}

/// Returns true on the stacks of exceptions that may come anywhere: sending takes some 10 KiB.
fn is_on_small_stack() -> bool {
    let here = 0_u8;
    let place = stacks::locate(VirtAddr::from_ptr(&raw const here));
    let owner = place.map(|place| place.owner);
    matches!(owner, Some(Owner::Core(_, kind)) if kind.bytes() < StackKind::NmiHandler.bytes())
}
