//! How cores come from the boot loader's stacks and page tables onto our own.
//!
//! What a core runs first on a stack of ours is called from here with a zero frame
//! pointer: there every walk ends (`RULE ROOT`), and the call-frame information
//! says so as well (`.cfi_undefined rip`). The frame pointer is zeroed before the stack
//! pointer moves, interrupts off, so that no instant exists at which one belongs
//! to the new stack and the other to the old.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use limine::mp::MpInfo;
use x86_64::VirtAddr;
use x86_64::structures::paging::PhysFrame;

use super::BootInfo;
use crate::cpu::CoreBlock;
use profiler::assembly;

/// The page tables that other cores load: a physical address.
static ROOT: AtomicU64 = AtomicU64::new(0);

/// What a core runs first on its own stack, interrupts off.
pub type CoreMain = extern "C" fn(&'static CoreBlock) -> !;

/// What the other cores run; written before they are started.
static OTHER_CORE_MAIN: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    /// Where the boot loader's code jumps on another core. `MpInfo` is in `rdi`.
    unsafe fn other_core_entry(info: &MpInfo) -> !;
    /// Continues in `main` at the top of another stack.
    /// `core` is the address of a block, which `main` gets.
    fn enter_stack(core: u64, stack_top: u64, main: CoreMain) -> !;
}

assembly!(
    r#"
    .global enter_stack
    .type enter_stack, @function
enter_stack:
    .cfi_startproc
    RULE FRAME
    cli
    xor ebp, ebp
    .cfi_undefined rip
    RULE ROOT
    mov rsp, rsi
    call rdx
    ud2
    .cfi_endproc
    .size enter_stack, . - enter_stack

    # On the boot loader's stack and page tables. Both know the image, so the
    # code continues at the same addresses after cr3 is written. Pages that do not
    # execute are marked by a bit that is reserved unless EFER.NXE is set: first
    # that (SDM vol. 3, 5.6), then the page tables.
    .global other_core_entry
    .type other_core_entry, @function
other_core_entry:
    .cfi_startproc
    .cfi_undefined rip
    RULE ROOT
    mov rdi, [rdi + {extra_argument}]
    mov ecx, {efer}
    rdmsr
    or eax, {no_execute_enable}
    wrmsr
    mov rax, [rip + {root}]
    mov rdx, [rip + {main}]
    xor ebp, ebp
    mov cr3, rax
    mov rsp, [rdi + {entry_stack}]
    call rdx
    ud2
    .cfi_endproc
    .size other_core_entry, . - other_core_entry
    "#,
    // The protocol's `extra_argument`; the crate keeps the field to itself.
    extra_argument = const 24,
    efer = const 0xc000_0080_u32,
    no_execute_enable = const 1 << 11,
    root = sym ROOT,
    main = sym OTHER_CORE_MAIN,
    entry_stack = const offset_of!(CoreBlock, entry_stack),
);

/// Leaves the boot loader's stack for the first core's own.
///
/// Interrupts must be off; they are since the boot loader.
pub fn enter_first_core(core: &'static CoreBlock, main: CoreMain) -> ! {
    restart_stack(core, main)
}

/// Throws the running stack away, wherever it is, and runs `main` at the top of
/// the core's own.
pub fn restart_stack(core: &'static CoreBlock, main: CoreMain) -> ! {
    // SAFETY: the stack is mapped and this core's, and nothing runs on it any more.
    unsafe { enter_stack(core.this.as_u64(), core.entry_stack.as_u64(), main) }
}

/// Lets another core run `main` on its own stack, under the page tables whose root
/// `page_tables` is.
///
/// # Panics
///
/// If the boot loader knows no such core.
pub fn start_core(
    boot: &BootInfo,
    core: &'static CoreBlock,
    page_tables: PhysFrame,
    main: CoreMain,
) {
    let info = boot.core(core.apic_id);
    let info = info.unwrap_or_else(|| panic!("no core has APIC id {}", core.apic_id));
    ROOT.store(page_tables.start_address().as_u64(), Ordering::Relaxed);
    OTHER_CORE_MAIN.store(
        VirtAddr::from_ptr(main as *const ()).as_u64(),
        Ordering::Relaxed,
    );
    // Releases the stores above together with what the core will read of `core`.
    info.bootstrap(other_core_entry, VirtAddr::from_ptr(core).as_u64());
}
