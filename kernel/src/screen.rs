//! The screen: the framebuffer that the boot loader gives, as a second place for the log.
//!
//! Like the serial port it has no lock, and nothing here allocates: a panic draws from wherever
//! it is. What is kept is two words.

use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kernel_core::screen::{self, Cursor, Layout, Surface};
use profiler::format::Text;
use spin::Once;
use x86_64::VirtAddr;

use crate::cpu;

static LAYOUT: Once<Layout> = Once::new();
/// Where its pixels are mapped; 0: nowhere.
static PIXELS: AtomicU64 = AtomicU64::new(0);
/// Where the next letter goes.
static CURSOR: AtomicU32 = AtomicU32::new(0);

const NOBODY: u32 = u32::MAX;
/// The core that draws, if any.
static DRAWS: AtomicU32 = AtomicU32::new(NOBODY);
/// How often a core wanted to draw while it did.
static NESTED: AtomicU32 = AtomicU32::new(0);
/// Drawing that faults would say so by drawing, without end; what interrupts it may draw.
const MOST_NESTED: u32 = 4;

/// Draws from now on, on pixels that are mapped at `pixels`, and makes them black.
///
/// # Safety
///
/// `pixels` is where [`Layout::bytes`] bytes can be written that nobody else uses, until
/// [`move_to`] says otherwise.
pub unsafe fn start(layout: Layout, pixels: VirtAddr) {
    LAYOUT.call_once(|| layout);
    PIXELS.store(pixels.as_u64(), Ordering::Release);
    draw(screen::clear);
}

/// The pixels are mapped at another place from now on.
///
/// # Safety
///
/// As of [`start`].
pub unsafe fn move_to(pixels: VirtAddr) {
    PIXELS.store(pixels.as_u64(), Ordering::Release);
}

/// Returns true if there is a screen.
#[must_use]
pub fn is_on() -> bool {
    PIXELS.load(Ordering::Acquire) != 0
}

/// Writes behind what was written last.
pub fn write(text: &str) {
    draw(|layout, pixels| {
        let cursor = Cursor::from_bits(CURSOR.load(Ordering::Relaxed));
        let cursor = screen::write(layout, pixels, cursor, text);
        CURSOR.store(cursor.to_bits(), Ordering::Relaxed);
    });
}

/// Shows this below the log.
pub fn write_status(status: fmt::Arguments<'_>) {
    let line = Text::<120>::formatted(status);
    draw(|layout, pixels| screen::write_status(layout, pixels, line.as_str()));
}

fn draw(action: impl FnOnce(&Layout, &mut Pixels)) {
    let start = PIXELS.load(Ordering::Acquire);
    let Some(layout) = LAYOUT.get().filter(|_| start != 0) else {
        return;
    };
    let me = cpu::current_index();
    let is_nested = DRAWS.swap(me, Ordering::Relaxed) == me;
    if is_nested && NESTED.fetch_add(1, Ordering::Relaxed) >= MOST_NESTED {
        return;
    }
    let mut pixels = Pixels {
        start: VirtAddr::new_truncate(start).as_mut_ptr(),
        bytes: layout.bytes(),
    };
    action(layout, &mut pixels);
    DRAWS.store(NOBODY, Ordering::Relaxed);
}

/// The bytes of the framebuffer.
struct Pixels {
    start: *mut u8,
    bytes: usize,
}

impl Pixels {
    /// Where a `T` at this offset is, if it is within the framebuffer and aligned.
    #[inline]
    fn place<T>(&self, offset: usize) -> Option<*mut T> {
        let fits = offset + size_of::<T>() <= self.bytes;
        let place = self.start.wrapping_add(offset).cast::<T>();
        (fits && place.is_aligned()).then_some(place)
    }

    #[inline]
    fn put_byte(&self, offset: usize, byte: u8) {
        if let Some(place) = self.place::<u8>(offset) {
            // SAFETY: within the framebuffer.
            unsafe { place.write_volatile(byte) };
        }
    }
}

impl Surface for Pixels {
    #[inline]
    fn put(&mut self, offset: usize, pixel: &[u8]) {
        let word = <[u8; 4]>::try_from(pixel).ok();
        if let Some((place, word)) = self.place::<u32>(offset).zip(word) {
            // SAFETY: within the framebuffer, and aligned.
            unsafe { place.write_volatile(u32::from_le_bytes(word)) };
            return;
        }
        for (at, &byte) in (offset..).zip(pixel) {
            self.put_byte(at, byte);
        }
    }

    fn zero(&mut self, bytes: Range<usize>) {
        let mut at = bytes.start;
        while at < bytes.end {
            let place = self.place::<u64>(at).filter(|_| at + 8 <= bytes.end);
            if let Some(place) = place {
                // SAFETY: within the framebuffer, and aligned.
                unsafe { place.write_volatile(0) };
                at += 8;
            } else {
                self.put_byte(at, 0);
                at += 1;
            }
        }
    }
}
