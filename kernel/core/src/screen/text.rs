//! Text as pixels.
//!
//! Lines do not scroll, which would move all pixels of what may be slow memory: behind the
//! last comes the first again, and the line below the current one is blank.

use core::ops::Range;

use noto_sans_mono_bitmap::get_raster;

use super::layout::{HEIGHT, LETTER, Layout, WEIGHT};

/// Where pixels go.
pub trait Surface {
    /// Writes a pixel's bytes at this offset.
    fn put(&mut self, offset: usize, pixel: &[u8]);
    /// Makes all these bytes zero.
    fn zero(&mut self, bytes: Range<usize>);
}

/// Where the next letter goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cursor {
    column: u16,
    row: u16,
}

impl Cursor {
    /// As a number, to be kept in an atomic.
    #[must_use]
    pub fn to_bits(self) -> u32 {
        u32::from(self.row) << 16 | u32::from(self.column)
    }

    /// From [`Self::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        let [a, b, c, d] = bits.to_le_bytes();
        Self {
            column: u16::from_le_bytes([a, b]),
            row: u16::from_le_bytes([c, d]),
        }
    }

    /// The beginning of the next line; the one below it becomes blank.
    fn next_line(self, layout: &Layout, surface: &mut impl Surface) -> Self {
        let below = |row: u16| match usize::from(row) + 1 < layout.rows() {
            true => row + 1,
            false => 0,
        };
        let row = below(self.row);
        clear_row(layout, surface, below(row).into());
        Self { column: 0, row }
    }
}

/// Makes all black.
pub fn clear(layout: &Layout, surface: &mut impl Surface) {
    clear_pixels(layout, surface, 0..layout.height());
}

/// Writes `text` from `cursor` on, and returns where it ends. Lines that are too long are
/// continued in the next one.
pub fn write(
    layout: &Layout,
    surface: &mut impl Surface,
    mut cursor: Cursor,
    text: &str,
) -> Cursor {
    if usize::from(cursor.row) >= layout.rows() {
        cursor = Cursor::default();
    }
    for letter in text.chars() {
        if letter == '\n' || usize::from(cursor.column) >= layout.columns() {
            cursor = cursor.next_line(layout, surface);
        }
        if letter != '\n' {
            let (row, column) = (cursor.row.into(), cursor.column.into());
            draw(layout, surface, [row, column], letter);
            cursor.column += 1;
        }
    }
    cursor
}

/// Makes `text`, or so much of it as there is room for, the status.
pub fn write_status(layout: &Layout, surface: &mut impl Surface, text: &str) {
    let letters = text.chars().chain(core::iter::repeat(' '));
    for (column, letter) in letters.take(layout.columns()).enumerate() {
        draw(layout, surface, [layout.rows(), column], letter);
    }
}

fn clear_row(layout: &Layout, surface: &mut impl Surface, row: usize) {
    let first = row * layout.row_height();
    clear_pixels(layout, surface, first..first + layout.row_height());
}

fn clear_pixels(layout: &Layout, surface: &mut impl Surface, rows: Range<usize>) {
    for row in rows {
        let start = row * layout.pitch;
        surface.zero(start..start + layout.row_bytes());
    }
}

/// Draws a letter over whatever is there.
fn draw(layout: &Layout, surface: &mut impl Surface, [row, column]: [usize; 2], letter: char) {
    let letter = if letter == '\t' { ' ' } else { letter };
    let raster = get_raster(letter, WEIGHT, HEIGHT).or_else(|| get_raster('?', WEIGHT, HEIGHT));
    let Some(raster) = raster else { return };
    let (scale, bytes) = (layout.scale, layout.format.bytes);
    let start = row * layout.row_height() * layout.pitch + column * LETTER[0] * scale * bytes;
    let lines = raster
        .rows()
        .flat_map(|line| core::iter::repeat_n(line, scale));
    for (y, line) in lines.enumerate() {
        let pixels = line
            .iter()
            .flat_map(|pixel| core::iter::repeat_n(pixel, scale));
        for (x, &intensity) in pixels.enumerate() {
            let pixel = layout.format.grey(intensity);
            surface.put(start + y * layout.pitch + x * bytes, &pixel[..bytes]);
        }
    }
}
