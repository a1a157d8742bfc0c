//! Files that the boot loader has brought beside the kernel.

use core::ffi::{CStr, c_char};
use core::{ptr, slice};

use limine::file::File;

use super::requests;

/// A file.
#[derive(Clone, Copy)]
pub struct Module {
    /// The last part of its path. One that is no UTF-8 is cut there.
    pub name: &'static str,
    /// What the boot loader was told to say of it, likewise.
    pub command_line: &'static str,
    /// What is in it.
    pub content: &'static [u8],
}

/// How the protocol's structure begins. The crate's accessors panic where a path is no UTF-8.
#[repr(C)]
struct Start {
    revision: u64,
    address: *const u8,
    bytes: u64,
    path: *const c_char,
    command_line: *const c_char,
}

impl Module {
    fn new(file: &'static File) -> Self {
        // SAFETY: the protocol's structure, which is longer, and as aligned.
        let start: &Start = unsafe { &*ptr::from_ref(file).cast() };
        // SAFETY: the protocol promises strings, which stay where they are.
        let path = text(unsafe { CStr::from_ptr(start.path) });
        let name = path.rsplit('/').next().unwrap_or(path);
        // SAFETY: likewise.
        let command_line = text(unsafe { CStr::from_ptr(start.command_line) });
        let bytes = usize::try_from(start.bytes).unwrap_or(0);
        // SAFETY: the file is there, in memory that nothing else has and that both the boot
        // loader's direct map and the kernel's have at the same place; nothing writes to it.
        let content = unsafe { slice::from_raw_parts(start.address, bytes) };
        Self {
            name,
            command_line,
            content,
        }
    }
}

/// As much of a string as is UTF-8.
fn text(string: &'static CStr) -> &'static str {
    let mut chunks = string.to_bytes().utf8_chunks();
    chunks.next().map_or("", |chunk| chunk.valid())
}

/// All of them, in the boot loader's order.
pub(super) fn all() -> impl Iterator<Item = Module> {
    let response = requests::MODULES.response();
    let files = response.map_or(&[][..], |response| response.modules());
    files.iter().map(|&file| Module::new(file))
}
