//! The framebuffer, if the boot loader gives one that can be used.

use core::ops::Range;

use kernel_core::screen::{Channel, Layout, Mode, Unusable};
use limine::framebuffer::{FRAMEBUFFER_RGB, Framebuffer};
use x86_64::{PhysAddr, VirtAddr};

use super::firmware::Tables;
use super::{RegionKind, requests};

/// A framebuffer.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// What can be shown on it.
    pub layout: Layout,
    /// Where the boot loader maps it.
    pub pixels: VirtAddr,
    /// Where it is.
    pub physical: PhysAddr,
}

impl Screen {
    /// The pages that it lies in.
    #[must_use]
    pub fn pages(&self) -> Range<PhysAddr> {
        let page = 4096_u64;
        let end = self.physical + self.layout.bytes() as u64;
        self.physical.align_down(page)..end.align_up(page)
    }
}

/// The first framebuffer, while the boot loader's page tables are in use.
pub(super) fn find(direct_map: VirtAddr, tables: &Tables) -> Result<Screen, Unusable> {
    let response = requests::FRAMEBUFFER.response();
    let framebuffers = response.map_or(&[][..], |response| response.framebuffers());
    let framebuffer = framebuffers.first().ok_or(Unusable::None)?;
    let layout = Layout::new(&mode(framebuffer))?;
    let address = framebuffer.address().addr() as u64;
    let misplaced = Unusable::Place(address);
    let start = address.checked_sub(direct_map.as_u64()).ok_or(misplaced)?;
    let end = start.checked_add(layout.bytes() as u64).ok_or(misplaced)?;
    let screen = Screen {
        layout,
        pixels: VirtAddr::try_new(address).map_err(|_| misplaced)?,
        physical: PhysAddr::try_new(start).map_err(|_| misplaced)?,
    };
    let is_there = start != 0 && PhysAddr::try_new(end).is_ok() && tables.is_mapped(start, end);
    if !is_there {
        return Err(misplaced);
    }
    // Its pages are not to be seen under another caching, nor to be anything else.
    let pages = screen.pages();
    let is_shared = tables.regions().any(|region| {
        region.kind != RegionKind::Other && region.start < pages.end && pages.start < region.end
    });
    (!is_shared).then_some(screen).ok_or(misplaced)
}

fn mode(framebuffer: &Framebuffer) -> Mode {
    let colour = |bits, shift| Channel { bits, shift };
    Mode {
        width: framebuffer.width,
        height: framebuffer.height,
        pitch: framebuffer.pitch,
        pixel_bits: framebuffer.bpp,
        is_rgb: framebuffer.memory_model == FRAMEBUFFER_RGB,
        colours: [
            colour(framebuffer.red_mask_size, framebuffer.red_mask_shift),
            colour(framebuffer.green_mask_size, framebuffer.green_mask_shift),
            colour(framebuffer.blue_mask_size, framebuffer.blue_mask_shift),
        ],
    }
}
