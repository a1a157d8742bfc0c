//! How QEMU enters the kernel: by the PVH protocol, in 32-bit protected mode without paging.
//! From there to 64 bits, on page tables that map 4 GiB where they lie.

use core::arch::global_asm;
use core::ffi::CStr;

use crate::stack::{STACK, STACK_BYTES};

/// What QEMU hands over (Xen's `hvm_start_info`), as far as this kernel needs it.
#[repr(C)]
pub struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
}

impl StartInfo {
    const MAGIC: u32 = 0x336e_c578;

    /// The kernel's command line.
    pub fn command_line(&self) -> &str {
        assert_eq!(self.magic, Self::MAGIC, "not entered by PVH");
        let text = self.command_line as *const core::ffi::c_char;
        // SAFETY: QEMU has put a text there that a zero ends, or no address.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.map_or("", |text| text.to_str().expect("UTF-8"))
    }
}

global_asm!(
    r#"
    # Where QEMU is to enter: XEN_ELFNOTE_PHYS32_ENTRY.
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_entry

    # Page tables: 4 GiB in pages of 2 MiB, present and writable.
    .section .data.page_tables, "aw", @progbits
    .balign 4096
level4:
    .quad level3 + 3
    .fill 511, 8, 0
level3:
    .quad level2 + 0x0003, level2 + 0x1003, level2 + 0x2003, level2 + 0x3003
    .fill 508, 8, 0
level2:
    .set page, 0
    .rept 4 * 512
    .quad page * 0x200000 + 0x83
    .set page, page + 1
    .endr

    .section .rodata.gdt, "a", @progbits
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .section .text.entry, "ax", @progbits
    .code32
    .global pvh_entry
    .type pvh_entry, @function
pvh_entry:
    cld
    lgdt [gdt_pointer]
    mov eax, 1 << 5 # PAE
    mov cr4, eax
    mov eax, offset level4
    mov cr3, eax
    mov ecx, 0xc0000080 # EFER: long mode
    mov eax, 1 << 8
    xor edx, edx
    wrmsr
    mov eax, 0x80010011 # paging, write protection, protection
    mov cr0, eax
    .byte 0xea # ljmp
    .long 2f
    .word 8
    .code64
2:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov edi, ebx
    lea rsp, [rip + {stack} + {stack_bytes}]
    # With no frame and no return address at the bottom.
    xor ebp, ebp
    push 0
    jmp {kmain}
    .size pvh_entry, . - pvh_entry
    .text
    "#,
    stack = sym STACK,
    stack_bytes = const STACK_BYTES,
    kmain = sym crate::kmain,
);
