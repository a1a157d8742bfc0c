//! Isolated processes: user mode has page tables without the kernel (`kpti=on`).

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_core::process::Rights;
use x86_64::VirtAddr;

use super::one::Process;
use crate::cpu::stack::StackKind;
use crate::cpu::{self, CoreBlock};
use crate::memory::frames::FRAME;
use crate::memory::image;
use crate::memory::space::isolation::{self, Part};
use crate::memory::{space, space::Space, stacks};
use crate::task;
use crate::trap;

/// It was asked for.
static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// What each thread has in user mode is looked at when it begins.
static LOOKS_ALWAYS: AtomicBool = AtomicBool::new(false);

/// From now on the page tables of each thread are looked at when it begins, and not only those of a
/// space without any.
pub fn look_always() {
    LOOKS_ALWAYS.store(true, Ordering::Relaxed);
}

/// Processes are isolated, if there will be any.
pub fn isolate() {
    IS_WANTED.store(true, Ordering::Relaxed);
}

/// Before the first core gets ready for processes.
pub(super) fn begin() {
    if IS_WANTED.load(Ordering::Relaxed) {
        isolation::ask();
        trap::isolation::start();
    }
}

/// When the first core is ready: its gates are there.
pub(super) fn start() {
    if !isolation::is_on() {
        return;
    }
    let page = |start| start..start + FRAME;
    let part = |pages: Range<VirtAddr>, rights| Part { pages, rights };
    let mut parts: Vec<Part> = Vec::new();
    parts.push(part(image::border(), Rights::Execute));
    parts.push(part(trap::user::gates(), Rights::Read));
    for core in cpu::cores() {
        parts.push(part(page(core.this), Rights::Write));
        parts.push(part(page(core.descriptors.page()), Rights::Read));
        for kind in StackKind::SWITCHED
            .into_iter()
            .chain([StackKind::Nmi, StackKind::NmiHandler])
        {
            let stack = core.stack(kind);
            parts.push(part(stack.low..stack.high, Rights::Write));
        }
    }
    let pages = isolation::start(parts);
    let space = Space::new().expect("there is memory for page tables");
    space.assert_isolated();
    log::info!(
        "processes are isolated: in user mode {pages} pages of the kernel are mapped, and one a thread"
    );
}

/// A page fault in user mode with this error code should not have been, or not again, by the process's
/// mappings. No mapping that can be executed comes while a process runs: a fetch from a page that was
/// there is refused by the kernel's root alone.
///
/// # Panics
///
/// If user mode had the kernel's root.
pub(super) fn assert_users_root(error_code: u64) {
    const PRESENT_AND_FETCH: u64 = 1 | 1 << 4;
    assert!(
        !isolation::is_on() || error_code & PRESENT_AND_FETCH != PRESENT_AND_FETCH,
        "user mode had the kernel's page tables"
    );
}

const _: () = assert!(size_of::<CoreBlock>() as u64 == FRAME);

/// Free bytes of a thread's page when it begins: more than what enters user mode takes, and its frame.
const ROOM: u64 = 2048;

/// Runs `action`, in which the running task runs a thread of `process` in user mode. Returns false, without
/// running it, if there is no memory for that.
pub(super) fn with_stack(process: &Process, action: impl FnOnce()) -> bool {
    let number = task::running_on(cpu::current()).filter(|_| isolation::is_on());
    let Some(number) = number else {
        action();
        return true;
    };
    let page = stacks::top_page_of_task(number);
    let here = VirtAddr::from_ptr(ptr::from_ref(&number));
    assert!(here > page + ROOM, "a thread begins too deep on its stack");
    if process.space.show_stack(page).is_err() {
        return false;
    }
    if LOOKS_ALWAYS.load(Ordering::Relaxed) {
        process.space.assert_isolated();
    }
    action();
    // Before the page is another process's.
    space::leave();
    process.space.hide_stack(page);
    true
}
