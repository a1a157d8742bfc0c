//! Which process's page tables each core has loaded.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

use super::inner::Inner;
use crate::cpu;
use crate::cpu::per_core::per_core;
use crate::memory::paging;

per_core! {
    /// Whose page tables each core has loaded; null: the kernel's own.
    static CURRENT: AtomicPtr<Inner> = AtomicPtr::new(ptr::null_mut());
}

/// Whose page tables the running core has loaded. Interrupts are off.
pub(super) fn current() -> *const Inner {
    CURRENT.current().load(Ordering::Relaxed)
}

/// Loads the page tables of a process on the running core.
///
/// # Safety
///
/// `root` is theirs, and they are not freed before the core has left them.
pub(super) unsafe fn enter(space: &'static Inner, root: PhysFrame) {
    // SAFETY: the kernel's half is the same in all page tables.
    exchange(Some(space), || unsafe {
        Cr3::write(root, Cr3Flags::empty())
    });
}

/// Loads the kernel's own page tables on the running core, if it has those of a process.
pub fn leave() {
    let root = paging::root();
    // SAFETY: as before.
    exchange(None, || unsafe { Cr3::write(root, Cr3Flags::empty()) });
}

/// A core is in the set of a process's cores from before it loads the page tables until behind its
/// loading others.
fn exchange(space: Option<&'static Inner>, load: impl FnOnce()) {
    interrupts::without_interrupts(|| {
        let new = space.map_or(ptr::null_mut(), |it| ptr::from_ref(it).cast_mut());
        let old = CURRENT.current().swap(new, Ordering::Relaxed);
        if old == new {
            return;
        }
        let me = cpu::current_index();
        if let Some(space) = space {
            space.cores.insert(me);
        }
        load();
        // SAFETY: null, or one that lives for ever.
        if let Some(old) = unsafe { old.as_ref() } {
            old.cores.remove(me);
        }
    });
}
