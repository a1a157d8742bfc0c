//! Memory: frames, page tables, the heap, and stacks with guard pages.
//!
//! | addresses from          | what                                             |
//! |-------------------------|--------------------------------------------------|
//! | the boot loader's offset| the direct map: all RAM, written but not executed |
//! | `0xffff_fd00_0000_0000` | device registers, uncached                       |
//! | `0xffff_fe00_0000_0000` | stacks, by core and kind, holes between them     |
//! | `0xffff_ffff_8000_0000` | the kernel's image, by the ELF's permissions     |

pub mod direct;
pub mod frames;
pub mod heap;
pub mod image;
pub mod paging;
pub mod stacks;

use crate::boot::BootInfo;
use crate::cpu::features::Features;

/// Finds the free frames and moves the first core to the kernel's own page
/// tables. The heap works from here on.
///
/// # Panics
///
/// If there is too little memory, or what page tables allow is not what was
/// meant.
pub fn start(boot: &'static BootInfo, features: &Features) {
    direct::start(boot.direct_map);
    frames::start(boot);
    paging::start(boot, features);
}
