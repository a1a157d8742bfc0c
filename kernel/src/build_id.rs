//! The kernel's own build-id: what a profile names the kernel by.

use core::fmt;

use kernel_core::note;

use crate::memory::image;

/// The hash that the linker made of the whole file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BuildId(pub &'static [u8]);

/// This kernel's build-id.
///
/// # Panics
///
/// If the linker was not told to make one.
#[must_use]
pub fn build_id() -> BuildId {
    BuildId(note::build_id(image::build_id_notes()).expect("the kernel has no build-id"))
}

impl BuildId {
    /// The first 20 bytes: all of it, as SHA-1 makes them.
    #[must_use]
    pub fn bytes(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes
            .iter_mut()
            .zip(self.0)
            .for_each(|(to, from)| *to = *from);
        bytes
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
