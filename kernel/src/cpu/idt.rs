//! The interrupt descriptor table: one for all cores, an entry stub per vector.
//!
//! Every gate is an interrupt gate: the processor clears the interrupt flag on
//! the way in, so that a stub's first instructions are not interrupted.

use core::mem::size_of;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables;
use x86_64::registers::segmentation::{CS, Segment};
use x86_64::structures::DescriptorTablePointer;

use super::descriptors::InterruptStack;
use crate::sampling::turns;
use crate::trap::{debug, entry, nmi, vector};

/// An interrupt gate of long mode (SDM vol. 3, figure 7-8).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Gate {
    offset_low: u16,
    selector: u16,
    stack: u8,
    kind: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

const PRESENT_INTERRUPT_GATE: u8 = 0x8e;

const _: () = assert!(size_of::<Gate>() == 16);

type Table = [Gate; 256];

/// Gates to the stubs of all vectors, on the stacks that `stack` says.
fn table(stack: impl Fn(u8) -> Option<InterruptStack>) -> Table {
    let selector = CS::get_reg().0;
    let mut vector = 0;
    [(); 256].map(|()| {
        let stub = match vector {
            vector::NMI if stack(vector).is_some() => nmi::entry(),
            vector::TURN => turns::entry(),
            _ => stack(vector)
                .and_then(|_| debug::entry(vector))
                .unwrap_or_else(|| entry::stub(vector)),
        };
        let bytes = stub.as_u64().to_le_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        let gate = Gate {
            offset_low: u16::from_le_bytes([a, b]),
            selector,
            stack: stack(vector).map_or(0, |stack| stack as u8),
            kind: PRESENT_INTERRUPT_GATE,
            offset_middle: u16::from_le_bytes([c, d]),
            offset_high: u32::from_le_bytes([e, f, g, h]),
            reserved: 0,
        };
        vector = vector.wrapping_add(1);
        gate
    })
}

fn load_table(table: &'static Table) {
    let pointer = DescriptorTablePointer {
        limit: 256 * 16 - 1,
        base: VirtAddr::from_ptr(table),
    };
    // SAFETY: the table lives for ever, and each of its gates leads to a stub that
    // follows the processor's convention for that vector.
    unsafe { tables::lidt(&pointer) };
}

/// Loads a table for the time before the first core has its own segments and
/// stacks: a trap then uses what the boot loader left, but it is reported.
pub fn load_early() {
    static EARLY: Once<Table> = Once::new();
    load_table(EARLY.call_once(|| table(|_| None)));
}

/// Loads the table that all cores share. Each must have its segments by then.
pub(super) fn load() {
    static TABLE: Once<Table> = Once::new();
    load_table(TABLE.call_once(|| {
        table(|vector| match vector {
            vector::NMI => Some(InterruptStack::Nmi),
            vector::DOUBLE_FAULT => Some(InterruptStack::DoubleFault),
            vector::DEBUG => Some(InterruptStack::Debug),
            vector::MACHINE_CHECK => Some(InterruptStack::MachineCheck),
            _ => None,
        })
    }));
}
