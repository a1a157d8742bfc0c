//! `x-nmi-window`: an NMI in the handler of an NMI, at an instruction whose address is
//! the image's first, so that a command line can name it.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use super::Words;
use crate::machine;
use crate::report::equal;

unsafe extern "C" {
    /// Counts how deep NMIs are, with [`strict_window`] in the middle.
    pub unsafe fn nmi_entry();
    unsafe fn strict_window();
}

#[unsafe(no_mangle)]
static NMI_DEPTH: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static NMI_DEEPEST: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static NMI_COUNT: AtomicU32 = AtomicU32::new(0);

pub fn judge(words: &Words<'_>) {
    let window = strict_window as *const () as u64;
    equal(
        format_args!("the window's address"),
        window,
        0xffff_ffff_8000_0000,
    );
    let pass = if words.is_on() {
        words.number("pass")
    } else {
        0
    };
    for n in 1..=4 {
        // Not blocked: this is no pass.
        // SAFETY: it returns at once.
        unsafe { strict_window() };
        machine::write_command(0, 0x4_4400);
        let deepest = NMI_DEEPEST.swap(0, Ordering::Relaxed);
        let nested = u32::from(n == pass);
        equal(format_args!("NMI {n}: depth"), deepest, 1 + nested);
        let count = NMI_COUNT.swap(0, Ordering::Relaxed);
        equal(format_args!("NMI {n}: NMIs"), count, 1 + nested);
    }
    equal(
        format_args!("depth in the end"),
        NMI_DEPTH.load(Ordering::Relaxed),
        0,
    );
}

global_asm!(
    r#"
    .pushsection .text.first, "ax"
    .global strict_window
strict_window:
    ret
    .popsection

    .global nmi_entry
nmi_entry:
    push rax
    inc dword ptr [rip + NMI_COUNT]
    inc dword ptr [rip + NMI_DEPTH]
    mov eax, dword ptr [rip + NMI_DEPTH]
    cmp eax, dword ptr [rip + NMI_DEEPEST]
    jbe 2f
    mov dword ptr [rip + NMI_DEEPEST], eax
2:  call strict_window
    dec dword ptr [rip + NMI_DEPTH]
    pop rax
    iretq
    "#
);
