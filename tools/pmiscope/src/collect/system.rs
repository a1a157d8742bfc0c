//! What needs `unsafe`: shared memory, and the moment between fork and exec.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr::NonNull;

use memmap2::{MmapMut, MmapOptions, MmapRaw};
use profiler::format::Description;
use profiler::format::region::{Region, RegionError};
use rustix::io::FdFlags;

use super::guard::Guard;

/// The guest's memory, as the tool sees it.
///
/// The guest writes to it at any time. So there is never a reference to its
/// bytes: it is read through [`Region`] only, whose every access is atomic.
pub struct Mapping {
    /// If anybody else can shorten the file. Before the memory, which it must not outlive.
    _guard: Option<Guard>,
    memory: MmapRaw,
}

impl Mapping {
    /// Maps `bytes` bytes of a file without a name, which must have that length and keep it.
    ///
    /// # Errors
    ///
    /// Those of mapping a file.
    pub fn new(file: &File, bytes: usize) -> io::Result<Self> {
        Ok(Self {
            _guard: None,
            memory: MmapOptions::new().len(bytes).map_raw(file)?,
        })
    }

    /// Maps `bytes` bytes of somebody else's file, which may be shortened at any time:
    /// [`super::guard::is_lost`] then says so.
    ///
    /// # Errors
    ///
    /// Those of mapping a file, or another file is mapped so already.
    pub fn foreign(file: &File, bytes: usize) -> io::Result<Self> {
        let memory = MmapOptions::new().len(bytes).map_raw(file)?;
        let start = NonNull::new(memory.as_mut_ptr()).expect("a mapping is not at address 0");
        // SAFETY: the mapping lives longer than the guard, which is dropped before it, and is
        // read through `Region` only, whose every access is atomic and takes any value.
        let guard = unsafe { Guard::new(start, bytes) }?;
        Ok(Self {
            _guard: Some(guard),
            memory,
        })
    }

    /// Memory of this process's own, such as a copy of a dead guest's.
    #[must_use]
    pub fn private(memory: MmapMut) -> Self {
        Self {
            _guard: None,
            memory: memory.into(),
        }
    }

    /// The region at `offset`.
    ///
    /// # Errors
    ///
    /// [`RegionError`] if there is none.
    ///
    /// # Panics
    ///
    /// If the offset is no multiple of a page, or not within the memory.
    pub fn open(&self, offset: usize) -> Result<(Region<'_>, Description), RegionError> {
        // SAFETY: condition 1: the bytes lie in the mapping, which is readable and
        // writable and lives as long as `self`, so as long as what is returned. A load
        // or store can fault only if the file is shortened. By `new` it has no name, so
        // that nobody but this tool and its QEMU can do that, and neither does; by
        // `foreign` the guard then puts other memory there; `private` memory has no file.
        // Condition 2: this module gives out no reference to the bytes other than this.
        unsafe { Region::open(self.from(offset)) }
    }

    /// Why the kernel refuses the run, if it says so in a region at `offset`.
    ///
    /// # Panics
    ///
    /// As [`Self::open`].
    pub fn refusal(&self, offset: usize) -> Option<String> {
        // SAFETY: as in `open`.
        let reason = unsafe { Region::refusal_in(self.from(offset)) };
        reason.map(|reason| reason.as_str().to_owned())
    }

    /// The bytes from `offset` on.
    fn from(&self, offset: usize) -> NonNull<[u8]> {
        let rest = self
            .memory
            .len()
            .checked_sub(offset)
            .expect("offset in memory");
        let start = self.memory.as_mut_ptr().wrapping_add(offset);
        let start = NonNull::new(start).expect("a mapping is not at address 0");
        NonNull::slice_from_raw_parts(start, rest)
    }
}

/// Binds the command's process to this one: Linux kills it when the thread that starts it
/// ends, and it inherits the file of this number, which must stay open until it is started.
pub fn bind_to_parent(command: &mut Command, inherited: RawFd) {
    let set = move || {
        let kill = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(kill)?;
        // SAFETY: the file is open in the parent until the command is started, so it is here.
        let file = unsafe { BorrowedFd::borrow_raw(inherited) };
        rustix::io::fcntl_setfd(file, FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be
    // called: this one makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(set) };
}
