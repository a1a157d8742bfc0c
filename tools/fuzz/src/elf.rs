//! ELF files: what kernels, and people who give another file, hand to the tool.

use pmiscope::internals::entry_of;
use pmiscope::symbols::{Symbols, build_id};
use profiler::address::{CodeAddress, CodeRange};

use crate::run::text;

/// Addresses that are looked up.
const LOOKED_UP: u64 = 48;
/// The distance between them.
const STEP: u64 = 5;

/// An ELF file.
///
/// # Panics
///
/// An address has no frame, or a name cannot be one.
pub fn elf(data: &[u8]) {
    let _ = build_id(data);
    let _ = entry_of(data, "main");
    look_up(data, text(1 << 20));
}

/// Looks up addresses from the beginning of the kernel's text on.
pub(crate) fn look_up(elf: &[u8], text: CodeRange) {
    let Ok(mut symbols) = Symbols::new(elf) else {
        return;
    };
    let addresses = (0..LOOKED_UP).map(|index| CodeAddress(text.start.0 + STEP * index));
    symbols.resolve(addresses.clone());
    for address in addresses {
        let frames = symbols.frames(address);
        assert!(!frames.is_empty(), "no frame at {address:?}");
        let (outermost, inlined) = frames.split_last().expect("a frame");
        assert!(!outermost.inlined && inlined.iter().all(|frame| frame.inlined));
        for frame in frames {
            assert!(!symbols.function(frame.function).name.is_empty());
        }
        let callers = symbols.callers();
        let _ = callers.of(address);
        let _ = callers.is_root(address);
        let _ = callers.entry(address);
        let _ = callers.by_code(address);
    }
}
