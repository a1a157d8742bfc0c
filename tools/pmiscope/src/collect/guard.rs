//! What keeps this process alive if a mapped file is shortened by somebody else.
//!
//! A load from a page that the file no longer has is SIGBUS, which by default ends the
//! process. Copies by `pread` would not fault, but the rings are read and freed while the
//! guest writes them, by loads and stores of whole words: a copy promises no such thing, and
//! a position that is torn is a profile that is wrong. So the file is mapped, and a handler
//! of SIGBUS puts zeros in the place of the whole mapping, at the same addresses. The load
//! then goes on and gives zero; [`is_lost`] is true from before it does, so whoever has read
//! something asks afterwards whether it was the guest's.

use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use signal_hook::consts::SIGBUS;
use signal_hook::low_level::emulate_default_handler;

/// Where the guarded mapping begins.
static START: AtomicUsize = AtomicUsize::new(0);
/// The bytes of the guarded mapping; 0 if there is none.
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// Whether zeros have taken its place.
static LOST: AtomicBool = AtomicBool::new(false);
/// Whether there is a guard.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The guard of a mapping, as long as it lives. There is one at a time.
pub struct Guard(());

impl Guard {
    /// Guards the `bytes` bytes that are mapped at `start`.
    ///
    /// # Errors
    ///
    /// Another mapping is guarded, or the handler cannot be installed.
    ///
    /// # Safety
    ///
    /// They are a whole mapping, readable and writable, that lives longer than the guard,
    /// and nothing refers to them but what takes any value at any time.
    pub unsafe fn new(start: NonNull<u8>, bytes: usize) -> io::Result<Self> {
        install()?;
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other("another file is mapped already"));
        }
        LOST.store(false, Ordering::SeqCst);
        START.store(start.addr().get(), Ordering::SeqCst);
        BYTES.store(bytes, Ordering::SeqCst);
        Ok(Self(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        BYTES.store(0, Ordering::SeqCst);
        TAKEN.store(false, Ordering::SeqCst);
    }
}

/// Returns true if what was read before may be zeros of ours in place of the file's bytes.
#[must_use]
pub fn is_lost() -> bool {
    // The loads before are done, and their fault was handled.
    fence(Ordering::SeqCst);
    LOST.load(Ordering::SeqCst)
}

/// Installs the handler, once. It works for one loss: the standard library's own handler,
/// which is called first, then takes all handlers of SIGBUS away.
fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        #[allow(
            clippy::multiple_unsafe_ops_per_block,
            reason = "the second is in a closure"
        )]
        // SAFETY: the handler is async-signal-safe: it loads and stores atomics and makes a
        // system call, by rustix, which is the instruction alone and touches no `errno`.
        // And SIGBUS comes with an address.
        let registered = unsafe {
            signal_hook_registry::register_sigaction(SIGBUS, |info| {
                on_bus_error(info.si_addr().addr());
            })
        };
        registered.map(|_| ()).map_err(|error| error.kind())
    });
    Ok((*installed)?)
}

/// Puts zeros in place of the guarded mapping if the fault is in it. Any other fault ends
/// the process, as it would without this.
fn on_bus_error(fault: usize) {
    let (start, bytes) = (START.load(Ordering::SeqCst), BYTES.load(Ordering::SeqCst));
    if fault.wrapping_sub(start) >= bytes {
        // If it fails, the fault comes again: the standard library's handler, which was
        // called before, has set the default action.
        let _ = emulate_default_handler(SIGBUS);
        return;
    }
    LOST.store(true, Ordering::SeqCst);
    // The whole mapping at once: no later load can fault.
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: these addresses are the guarded mapping's (`Guard::new`): nothing else lies
    // there, and what refers to it takes any value. If the call fails, nothing is changed.
    let mapped = unsafe {
        mmap_anonymous(
            std::ptr::without_provenance_mut(start),
            bytes,
            access,
            flags,
        )
    };
    if mapped.is_err() {
        // The load would fault for ever.
        let _ = emulate_default_handler(SIGBUS);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::is_lost;
    use crate::collect::Mapping;
    use profiler::format::region::{MAGIC, PAGE, RegionError};

    /// One test: of a process's losses only the first is survived.
    #[test]
    fn a_file_that_is_shortened_reads_as_zeros_and_that_is_known() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0; PAGE]).unwrap();
        file.write_all(&MAGIC).unwrap();
        file.set_len(4 * PAGE as u64).unwrap();
        let memory = Mapping::foreign(&file, 4 * PAGE).unwrap();
        let is_page_of_region = |page| match memory.open(page * PAGE) {
            Err(RegionError::Version(0)) => true,
            Err(RegionError::Magic) => false,
            _ => panic!("neither"),
        };
        assert!(is_page_of_region(1) && !is_page_of_region(2) && !is_lost());
        assert!(Mapping::foreign(&file, PAGE).is_err(), "two at a time");
        file.set_len(2 * PAGE as u64).unwrap();
        assert!(
            is_page_of_region(1) && !is_lost(),
            "this page is still there"
        );
        assert!(!is_page_of_region(3), "a page that is no longer there");
        assert!(is_lost());
        assert!(!is_page_of_region(1), "the whole mapping is zeros");
        drop(memory);
        Mapping::foreign(&file, PAGE).expect("the place is free");
        assert!(!is_lost(), "of a new mapping");
    }
}
