//! How control comes in and goes out: QEMU's entry, the other cores', the kernel's.
//!
//! All cores enter long mode by the same steps, in one go: page tables, PAE, LME,
//! then protection and paging by one write to cr0 (SDM vol. 3, 10.8.5; protection
//! may be on before, and need not). They then have exactly the bits of cr0, cr4
//! and EFER set that a kernel finds set under Limine.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::SegmentSelector;
use x86_64::{PhysAddr, PrivilegeLevel, VirtAddr};

use super::cores::{STACKS, other_core};
use crate::first_core;

unsafe extern "C" {
    /// The first address of the loader's image, and the first past it.
    static loader_start: u8;
    static loader_end: u8;
    /// What another core runs first, in real mode, and where that ends.
    static trampoline: u8;
    static trampoline_end: u8;
    /// The lowest byte of the loader's stack.
    static boot_stack: u8;
    /// The low half of the descriptor of the task register's segment.
    static gdt_task: AtomicU64;
    /// Enters the kernel; see [`enter_kernel`].
    fn kernel_entry(stack_top: u64, entry: u64, page_tables: u64, argument: u64) -> !;
}

/// Returns true if the loader's stack has never been full: its lowest page is as empty as it
/// was loaded.
pub fn is_stack_large_enough() -> bool {
    const LEFT: usize = 4096;
    // SAFETY: the stack's lower end; nobody writes it while this reads.
    let end = unsafe { core::slice::from_raw_parts((&raw const boot_stack).cast::<u8>(), LEFT) };
    end.iter().all(|&byte| byte == 0)
}

/// Loads the task register of the core that this runs on with a segment of nothing, in
/// place of what the reset left there.
pub fn load_task_register() {
    const TASK: SegmentSelector = SegmentSelector::new(7, PrivilegeLevel::Ring0);
    const AVAILABLE: u64 = 0x89 << 40;
    static LOCK: Mutex<()> = Mutex::new(());
    // Loading it marks the descriptor, which all cores share, as one in use, and one in
    // use cannot be loaded.
    let _lock = LOCK.lock();
    // SAFETY: the assembly below has the descriptor, in memory that may be written.
    let descriptor = unsafe { &gdt_task };
    descriptor.store(AVAILABLE, Ordering::SeqCst);
    // SAFETY: the descriptor is one of an available 64-bit task; nothing uses the segment,
    // as there is no IDT and no other privilege level.
    unsafe { load_tss(TASK) };
}

/// Where the loader's image begins and ends.
pub fn image() -> core::ops::Range<PhysAddr> {
    let address = |symbol: &u8| PhysAddr::new(VirtAddr::from_ptr(symbol).as_u64());
    // SAFETY: the linker script defines the symbol; only its address is used.
    let start = unsafe { &loader_start };
    // SAFETY: as before.
    let end = unsafe { &loader_end };
    address(start)..address(end)
}

/// The code to be copied to a page below 1 MiB, for other cores to start at.
pub fn trampoline_code() -> &'static [u8] {
    let start = &raw const trampoline;
    let size = (&raw const trampoline_end).addr() - start.addr();
    // SAFETY: the two symbols enclose code, which is never written.
    unsafe { core::slice::from_raw_parts(start, size) }
}

/// Enters the kernel as the protocol says: on `page_tables`, with `argument` in
/// rdi and zero in all other general registers, and below `stack_top` a return
/// address of zero.
///
/// # Safety
///
/// 1. `page_tables` map the loader's image into the direct map, and what the kernel
///    needs; if they forbid execution anywhere, it has been
///    [enabled](super::Features::enable) on this core.
/// 2. `stack_top` is where a stack in the direct map ends that nobody else uses.
/// 3. `entry` is where the kernel wants to be entered.
pub unsafe fn enter_kernel(
    stack_top: VirtAddr,
    entry: u64,
    page_tables: PhysAddr,
    argument: u64,
) -> ! {
    let (stack_top, page_tables) = (stack_top.as_u64(), page_tables.as_u64());
    // SAFETY: by this function's conditions, and the code that continues in the
    // direct map is the loader's.
    unsafe { kernel_entry(stack_top, entry, page_tables, argument) }
}

global_asm!(
    r#"
    .set CODE32, 0x18
    .set CODE64, 0x28
    .set DATA64, 0x30
    .set EFER, 0xc0000080
    .set LONG_MODE_ENABLE, 1 << 8
    .set PAE, 1 << 5
    .set PAGING, 1 << 31
    .set WRITE_PROTECT, 1 << 16
    .set EXTENSION_TYPE, 1 << 4
    .set PROTECTION, 1

    # Tells QEMU where to enter: XEN_ELFNOTE_PHYS32_ENTRY.
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_entry

    # The page tables of the loader: 4 GiB in pages of 2 MiB, seen from 0 and in
    # the direct map. Present, writable; the pages large.
    .section .data.page_tables, "aw", @progbits
    .balign 4096
boot_level4:
    .quad boot_level3 + 3
    .fill 255, 8, 0
    .quad boot_level3 + 3
    .fill 255, 8, 0
boot_level3:
    .quad boot_level2 + 0x0003, boot_level2 + 0x1003
    .quad boot_level2 + 0x2003, boot_level2 + 0x3003
    .fill 508, 8, 0
boot_level2:
    .set page, 0
    .rept 4 * 512
    .quad page * 0x200000 + 0x83
    .set page, page + 1
    .endr

    # The descriptors that the protocol prescribes, accessed bits set: null; code
    # and data of 16, 32 and 64 bits.
    .section .data.gdt, "aw", @progbits
    .balign 8
gdt:
    .quad 0
    .quad 0x00009b000000ffff
    .quad 0x000093000000ffff
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00209b0000000000
    .quad 0x0000930000000000
    # A task state segment of nothing: base and limit 0.
    .global gdt_task
gdt_task:
    .quad 0x0000890000000000, 0
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
    .balign 8
direct_gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt + {direct_map}
    # No handlers: a fault ends in a reset, not in somebody's code.
no_idt:
    .word 0
    .quad 0

    .macro enter_long_mode
    mov eax, PAE
    mov cr4, eax
    mov eax, offset boot_level4
    mov cr3, eax
    mov ecx, EFER
    mov eax, LONG_MODE_ENABLE
    xor edx, edx
    wrmsr
    mov eax, PAGING | WRITE_PROTECT | EXTENSION_TYPE | PROTECTION
    mov cr0, eax
    .endm

    .macro load_data_segments
    mov eax, DATA64
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    xor eax, eax
    lldt ax
    .endm

    # QEMU enters here: 32-bit protected mode, no paging, interrupts off, the
    # start information's address in ebx.
    .section .text.entry, "ax", @progbits
    .code32
    .global pvh_entry
pvh_entry:
    cld
    lidt [no_idt]
    lgdt [gdt_pointer]
    enter_long_mode
    # A far jump with 32-bit offset, spelled out for want of a mnemonic.
    .byte 0xea
    .long first_core_entry
    .word CODE64

    .code64
first_core_entry:
    load_data_segments
    mov edi, ebx
    lea rsp, [rip + boot_stack_top]
    xor ebp, ebp
    call {first_core}

    # Another core enters here after its SIPI: in real mode, at offset 0 of a
    # segment that begins with a copy of this. What it refers to lies where it was
    # linked, above 1 MiB, and its operands are of 32 bits.
    .code16
    .global trampoline
trampoline:
    cli
    cld
    mov ax, cs
    mov ds, ax
    lidtd [no_idt_offset]
    lgdtd [gdt_offset]
    enter_long_mode
    .byte 0x66, 0xea
    .long other_core_entry
    .word CODE64
1:
    .word gdt_end - gdt - 1
    .long gdt
2:
    .word 0
    .long 0
    .set gdt_offset, 1b - trampoline
    .set no_idt_offset, 2b - trampoline
    .global trampoline_end
trampoline_end:

    # The other cores come here at the same time; each draws a number, and has the
    # stack of that number.
    .code64
other_core_entry:
    load_data_segments
    mov eax, 1
    lock xadd [rip + {stacks} + 16], rax
    inc rax
    imul rax, [rip + {stacks} + 8]
    add rax, [rip + {stacks}]
    mov rsp, rax
    mov rdi, rax
    xor ebp, ebp
    call {other_core}

    # rdi: stack top, rsi: entry, rdx: page tables, rcx: argument. The kernel's page
    # tables may have nothing here, so this goes on in the direct map.
    .global kernel_entry
kernel_entry:
    movabs rax, {direct_map}
    lea rbx, [rip + 2f]
    add rbx, rax
    jmp rbx
2:
    mov cr3, rdx
    lgdt [rip + direct_gdt_pointer]
    mov rsp, rdi
    push 0
    push rsi
    push 2
    mov rdi, rcx
    xor eax, eax
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor ebp, ebp
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    xor r12d, r12d
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
    popfq
    ret

    .section .bss.stack, "aw", @nobits
    .balign 16
    .global boot_stack
boot_stack:
    .skip 0x40000
boot_stack_top:
    .text
    "#,
    direct_map = const loader::DIRECT_MAP.as_u64(),
    first_core = sym first_core,
    other_core = sym other_core,
    stacks = sym STACKS,
);
