//! An entry for each vector that an interrupt can have, which counts it.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::window;
use crate::{code, machine};

const FIRST: u8 = 32;

unsafe extern "C" {
    /// The entry of vector [`FIRST`]; the others are 16 bytes apart.
    static strict_entries: [u8; 16];
}

static ARRIVED: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
static TABLE: Once<InterruptDescriptorTable> = Once::new();

/// Gives this core the entries.
pub fn load() {
    TABLE
        .call_once(|| {
            let mut table = InterruptDescriptorTable::new();
            for vector in FIRST..=255 {
                let entry = (&raw const strict_entries).wrapping_add(usize::from(vector - FIRST));
                // SAFETY: an entry in assembly, which returns by IRETQ.
                unsafe { table[vector].set_handler_addr(VirtAddr::from_ptr(entry)) };
            }
            let protection = VirtAddr::from_ptr(code::protection_entry as *const ());
            // SAFETY: as above; it comes back from the accesses that may fault.
            unsafe { table.general_protection_fault.set_handler_addr(protection) };
            let nmi = VirtAddr::from_ptr(window::nmi_entry as *const ());
            // SAFETY: as the first.
            unsafe { table.non_maskable_interrupt.set_handler_addr(nmi) };
            table
        })
        .load();
}

/// How many interrupts came by `vector` since the last call, on all cores. Lets them
/// come for some instructions.
pub fn arrived(vector: u8) -> u32 {
    machine::enable_interrupts(true);
    for _ in 0..8 {
        core::hint::spin_loop();
    }
    machine::enable_interrupts(false);
    ARRIVED[usize::from(vector)].swap(0, Ordering::Relaxed)
}

/// How many interrupts came, by any vector, since they were asked for.
pub fn arrived_by_any() -> u32 {
    (FIRST..=255).map(arrived).sum()
}

#[unsafe(no_mangle)]
extern "C" fn strict_arrived(vector: u64) {
    if let Some(count) = usize::try_from(vector).ok().and_then(|n| ARRIVED.get(n)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    machine::end_interrupt();
}

global_asm!(
    r"
    .balign 16
    .global strict_entries
strict_entries:
    .set vector, {first}
    .rept 256 - {first}
    .balign 16
    push vector
    jmp strict_common
    .set vector, vector + 1
    .endr

strict_common:
    cld
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    mov rdi, [rsp + 72]
    push rbx
    mov rbx, rsp
    and rsp, -16
    call strict_arrived
    mov rsp, rbx
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    add rsp, 8
    iretq
    ",
    first = const FIRST,
);
