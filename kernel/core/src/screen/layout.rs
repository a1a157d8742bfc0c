//! Where on the screen text can be.

use core::fmt;

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster_width};

use super::format::{Channel, PixelFormat};

pub(super) const WEIGHT: FontWeight = FontWeight::Regular;
pub(super) const HEIGHT: RasterHeight = RasterHeight::Size16;
/// A letter's pixels, in its smallest size.
pub(super) const LETTER: [usize; 2] = [get_raster_width(WEIGHT, HEIGHT), HEIGHT.val()];

/// A framebuffer, as the boot loader describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    /// Pixels of a row.
    pub width: u64,
    /// Rows.
    pub height: u64,
    /// Bytes from a row to the next.
    pub pitch: u64,
    /// Bits of a pixel.
    pub pixel_bits: u16,
    /// A pixel is red, green and blue.
    pub is_rgb: bool,
    /// Where these are in it.
    pub colours: [Channel; 3],
}

/// Why nothing can be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// The boot loader gives no framebuffer.
    None,
    /// Pixels of another kind than are known here.
    Pixels(u16),
    /// A size at which a line of text has no room, or that no screen has; or rows that overlap.
    Size(Mode),
    /// It does not lie where the boot loader maps it, or there is other memory.
    Place(u64),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("the boot loader gives no framebuffer"),
            Self::Pixels(bits) => write!(f, "its pixels, of {bits} bits, are of no known format"),
            Self::Size(mode) => write!(
                f,
                "{} x {} pixels, {} bytes from row to row, cannot be used",
                mode.width, mode.height, mode.pitch
            ),
            Self::Place(address) => write!(f, "it cannot lie at {address:#x}"),
        }
    }
}

/// A screen that text is shown on: rows of letters, of which the last is the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub(super) format: PixelFormat,
    pub(super) width: usize,
    height: usize,
    pub(super) pitch: usize,
    /// How often each pixel of a letter is repeated, in both directions.
    pub(super) scale: usize,
}

impl Layout {
    /// The most pixels of a row, and rows.
    const MOST: u64 = 16384;
    /// The most bytes: beyond are no screens, and too many page tables.
    const MOST_BYTES: u64 = 512 << 20;
    /// From so many pixels a row on, letters of 16 rows are too small to be read.
    const WIDE: usize = 2560;
    /// The fewest letters of a line, and lines.
    const FEWEST: [usize; 2] = [20, 4];

    /// The layout of this framebuffer.
    ///
    /// # Errors
    ///
    /// It is not what text can be shown on.
    pub fn new(mode: &Mode) -> Result<Self, Unusable> {
        let format = PixelFormat::new(mode.pixel_bits, mode.colours);
        let format = format.filter(|_| mode.is_rgb);
        let format = format.ok_or(Unusable::Pixels(mode.pixel_bits))?;
        let size = Unusable::Size(*mode);
        let is_sane = mode.width <= Self::MOST
            && mode.height <= Self::MOST
            && mode.pitch <= Self::MOST_BYTES
            && mode.pitch >= mode.width * format.bytes as u64
            && mode.pitch * mode.height <= Self::MOST_BYTES;
        if !is_sane {
            return Err(size);
        }
        let small = |value: u64| usize::try_from(value).map_err(|_| size);
        let width = small(mode.width)?;
        let layout = Self {
            format,
            width,
            height: small(mode.height)?,
            pitch: small(mode.pitch)?,
            scale: if width < Self::WIDE { 1 } else { 2 },
        };
        let [columns, rows] = Self::FEWEST;
        let has_room = layout.columns() >= columns && layout.rows() >= rows;
        has_room.then_some(layout).ok_or(size)
    }

    /// Letters of a line.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.width / (LETTER[0] * self.scale)
    }

    /// Lines, without the status.
    #[must_use]
    pub fn rows(&self) -> usize {
        (self.height / self.row_height()).saturating_sub(1)
    }

    /// Bytes from the first pixel to behind the last.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pitch * (self.height - 1) + self.row_bytes()
    }

    /// Rows of pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    pub(super) fn row_height(&self) -> usize {
        LETTER[1] * self.scale
    }

    /// Bytes of the pixels of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.width * self.format.bytes
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (columns, rows) = (self.columns(), self.rows());
        let bits = 8 * self.format.bytes;
        write!(
            f,
            "{} x {} pixels of {bits} bits, {rows} lines of {columns} letters",
            self.width, self.height
        )
    }
}
