//! Memory: frames, page tables, the heap, stacks with guard pages, and what processes have.
//!
//! | addresses from          | what                                             | rights |
//! |-------------------------|--------------------------------------------------|--------|
//! | `0x1_0000`             | a process's own: its program, memory, stacks ([`space`]) | by its mappings; the user's |
//! | the boot loader's offset (`0xffff_8000_0000_0000` under our loader) | the direct map of all RAM: heap, page tables, the region | write; the image's text and constants read only |
//! | `0xffff_fd00_0000_0000` | device registers, a page each, uncached          | write  |
//! | `0xffff_fd80_0000_0000` | the screen: the boot loader's framebuffer, write-combining where the boot loader has set up that | write |
//! | `0xffff_fe00_0000_0000` | stacks of cores: 1 MiB of addresses a core, 128 KiB a slot | write; holes below |
//! | `0xffff_fe01_0000_0000` | stacks of tasks, 128 KiB a slot                  | write; holes below |
//! | `0xffff_ffff_8000_0000` | the kernel's image: text, constants, data        | by the ELF's segments |

pub mod direct;
pub mod frames;
pub mod heap;
pub mod image;
pub mod paging;
pub mod space;
pub mod stacks;

use crate::boot::BootInfo;
use crate::cpu::features::Features;
use crate::memory::frames::{Block, Reserved};

/// Finds the free frames, but for those that `look` keeps, and moves the first core to the kernel's own page
/// tables. The heap works from here on.
///
/// # Panics
///
/// If there is too little memory, or what page tables allow is not what was
/// meant.
pub fn start(
    boot: &'static BootInfo,
    features: &Features,
    look: impl FnOnce(&mut dyn Iterator<Item = Block>) -> Reserved,
) {
    direct::start(boot.direct_map);
    frames::start(boot, look);
    paging::start(boot, features);
}
