//! Variables of which each core has its own, declared where they are used:
//!
//! ```ignore
//! per_core! {
//!     /// Balls that came back.
//!     static RETURNED: AtomicU64 = AtomicU64::new(0);
//! }
//! RETURNED.get(core).load(Relaxed)
//! ```
//!
//! The linker collects them in one section, a template that is never used itself. Each
//! core has a copy of it, made with its block. A variable is as far from its place in
//! the template as the core's copy is from the template, a distance that stands in the
//! block: an access is a load and an addition, in an NMI's handler as well.

use alloc::alloc::{Layout, alloc, handle_alloc_error};
use core::ptr;

use super::block::CoreBlock;
use super::msr::gs;

/// The alignment of the section, and the largest of a variable.
const ALIGN: usize = 64;

/// A variable of which each core has its own. Made by `per_core!`.
#[repr(transparent)]
pub struct PerCore<T>(T);

/// Declares a [`PerCore`] variable. The initial value is that of each core's.
macro_rules! per_core {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr;) => {
        $(#[$attribute])*
        #[unsafe(link_section = ".per_core")]
        $visibility static $name: $crate::cpu::per_core::PerCore<$type> = {
            let value: $type = $value;
            // SAFETY: it is in the section, and what a constant expression gives owns
            // nothing that two could not have.
            unsafe { $crate::cpu::per_core::PerCore::new(value) }
        };
    };
}

pub(crate) use per_core;

impl<T: Sync> PerCore<T> {
    /// A variable with this initial value.
    ///
    /// # Safety
    ///
    /// 1. It is a static in the section `.per_core`.
    /// 2. Copies of `value`, byte for byte, are values of their own.
    pub const unsafe fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= ALIGN) };
        Self(value)
    }

    /// The variable of `core`.
    #[must_use]
    #[inline]
    pub fn get(&'static self, core: &CoreBlock) -> &'static T {
        let address = ptr::from_ref(&self.0).addr();
        let own = ptr::with_exposed_provenance(address.wrapping_add(core.per_core_distance));
        // SAFETY: the core's copy of the template has a `T` at this place (conditions 1
        // and 2 of `new`), which lives for ever; what of it changes, it changes itself.
        unsafe { &*own }
    }

    /// Its address in the template, from which each core's copy is as far as the template's copy
    /// ([`CoreBlock`]).
    #[must_use]
    pub fn in_template(&'static self) -> u64 {
        ptr::from_ref(&self.0).addr() as u64
    }

    /// The variable of the running core.
    #[must_use]
    #[inline]
    pub fn current(&'static self) -> &'static T {
        self.get(gs::block())
    }
}

unsafe extern "C" {
    static __per_core_start: u8;
    static __per_core_end: u8;
}

/// Makes a core's copy of the template, for ever. Returns how far it is from it.
pub(super) fn create_copy() -> usize {
    let template = &raw const __per_core_start;
    let bytes = (&raw const __per_core_end).addr() - template.addr();
    if bytes == 0 {
        return 0;
    }
    let layout = Layout::from_size_align(bytes, ALIGN).expect("a section has an end");
    // SAFETY: not empty.
    let copy = unsafe { alloc(layout) };
    if copy.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: the linker script puts both symbols around the section, whose variables
    // are never written; the copy is as large.
    unsafe { copy.copy_from_nonoverlapping(template, bytes) };
    copy.expose_provenance().wrapping_sub(template.addr())
}
