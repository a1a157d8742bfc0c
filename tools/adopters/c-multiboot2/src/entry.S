/* How the boot loader enters the kernel by Multiboot 2: in 32-bit protected mode without
 * paging, where it lies in memory. From there to 64 bits, and to the topmost 2 GiB. */

#define OFFSET 0xffffffff80000000
#define MAGIC 0xe85250d6

        .intel_syntax noprefix

        .section .multiboot, "a"
        .balign 8
header: .long MAGIC, 0, header_end - header, -(MAGIC + 0 + (header_end - header))
        /* The entry's physical address. */
        .short 3, 0
        .long 12, entry - OFFSET, 0
        /* No more tags. */
        .short 0, 0
        .long 8
header_end:

        /* The first GiB, where it lies and in the topmost 2 GiB, and behind it there the fourth
         * one, which has the devices: pages of 2 MiB, present, writable, and the latter's not
         * cached. */
        .section .data
        .balign 4096
level4: .quad level3 - OFFSET + 3
        .fill 510, 8, 0
        .quad level3 - OFFSET + 3
level3: .quad memory - OFFSET + 3
        .fill 509, 8, 0
        .quad memory - OFFSET + 3, devices - OFFSET + 3
memory: .set page, 0
        .rept 512
        .quad page * 0x200000 + 0x83
        .set page, page + 1
        .endr
devices: .set page, 0
        .rept 512
        .quad page * 0x200000 + 0xc000009b
        .set page, page + 1
        .endr

        .section .rodata
        .balign 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
pointer: .short . - gdt - 1
        .long gdt - OFFSET

        .bss
        .balign 16
        .global stack
stack:  .skip 64 << 10
stack_end:

        .text
        .code32
        .global entry
        .type entry, @function
entry:  cld
        lgdt [pointer - OFFSET]
        mov ecx, 0xc0000080 /* EFER: long mode */
        mov eax, 1 << 8
        xor edx, edx
        wrmsr
        mov eax, 1 << 5 /* PAE */
        mov cr4, eax
        mov eax, offset level4 - OFFSET
        mov cr3, eax
        mov eax, 0x80010011 /* paging, write protection, protection */
        mov cr0, eax
        .byte 0xea /* ljmp */
        .long 1f - OFFSET
        .short 8

        .code64
1:      mov eax, 16
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov edi, ebx
        lea rax, [rip + 2f]
        mov rdx, OFFSET
        or rax, rdx
        jmp rax
2:      lea rsp, [rip + stack_end]
        /* With no frame and no return address at the bottom. */
        xor ebp, ebp
        push 0
        jmp kmain
        .size entry, . - entry

        .section .note.GNU-stack, "", @progbits
