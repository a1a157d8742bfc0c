//! Screens in a vector, with every byte outside the pixels watched.

use noto_sans_mono_bitmap::get_raster;

use super::layout::{HEIGHT, LETTER, WEIGHT};
use super::*;

/// The pixels of a screen. What was never written has a value that no pixel gets.
struct Picture(Vec<u8>);

const UNTOUCHED: u8 = 0xa5;

impl Surface for Picture {
    fn put(&mut self, offset: usize, pixel: &[u8]) {
        self.0[offset..offset + pixel.len()].copy_from_slice(pixel);
    }

    fn zero(&mut self, bytes: core::ops::Range<usize>) {
        self.0[bytes].fill(0);
    }
}

const fn channel(bits: u8, shift: u8) -> Channel {
    Channel { bits, shift }
}

/// As QEMU's ramfb has it.
const XRGB: Mode = Mode {
    width: 320,
    height: 100,
    pitch: 320 * 4 + 12,
    pixel_bits: 32,
    is_rgb: true,
    colours: [channel(8, 16), channel(8, 8), channel(8, 0)],
};

fn blank(layout: &Layout) -> Picture {
    let mut picture = Picture(vec![UNTOUCHED; layout.bytes()]);
    clear(layout, &mut picture);
    picture
}

/// What a cell shows: the letter whose pixels are there, if the format has 8 bits of each colour
/// in 32.
fn letter_at(layout: &Layout, picture: &Picture, row: usize, column: usize) -> Option<char> {
    let [width, height] = LETTER;
    let cell: Vec<u8> = (0..width * height)
        .map(|at| {
            let (x, y) = (column * width + at % width, row * height + at / width);
            picture.0[y * layout.pitch + x * 4]
        })
        .collect();
    (' '..='~').find(|&letter| {
        let raster = get_raster(letter, WEIGHT, HEIGHT).unwrap();
        raster.pixels() == cell
    })
}

fn line(layout: &Layout, picture: &Picture, row: usize) -> String {
    let letters = (0..layout.columns()).map(|column| letter_at(layout, picture, row, column));
    let line: Option<String> = letters.collect();
    line.expect("letters only").trim_end().into()
}

fn lines(layout: &Layout, picture: &Picture) -> Vec<String> {
    (0..=layout.rows())
        .map(|row| line(layout, picture, row))
        .collect()
}

#[test]
fn the_letters_have_the_size_that_tables_in_documents_say() {
    assert_eq!(LETTER, [7, 16]);
}

#[test]
fn lines_come_below_each_other_and_the_status_stays_last() {
    let layout = Layout::new(&XRGB).unwrap();
    assert_eq!((layout.columns(), layout.rows()), (45, 5));
    let mut picture = blank(&layout);
    let mut cursor = write(&layout, &mut picture, Cursor::default(), "a line\nand an");
    write_status(&layout, &mut picture, "7 of 9 samples");
    cursor = write(&layout, &mut picture, cursor, "other ~\tone\u{e9}");
    let expected = ["a line", "and another ~ one?", "", "", "", "7 of 9 samples"];
    assert_eq!(lines(&layout, &picture), expected);
    assert_eq!(cursor, Cursor::from_bits(1 << 16 | 18));
    write_status(&layout, &mut picture, "done");
    assert_eq!(line(&layout, &picture, 5), "done");
}

#[test]
fn long_lines_go_on_in_the_next_and_full_ones_do_not() {
    let layout = Layout::new(&XRGB).unwrap();
    let mut picture = blank(&layout);
    let full = "x".repeat(45);
    let text = format!("{full}\n{full}yz\n");
    let cursor = write(&layout, &mut picture, Cursor::default(), &text);
    assert_eq!(lines(&layout, &picture), [&full, &full, "yz", "", "", ""]);
    assert_eq!(cursor, Cursor::from_bits(3 << 16));
}

#[test]
fn behind_the_last_line_comes_the_first_and_below_the_current_one_is_a_blank_one() {
    let layout = Layout::new(&XRGB).unwrap();
    let mut picture = blank(&layout);
    write_status(&layout, &mut picture, "status");
    let mut cursor = Cursor::default();
    for number in 0..7 {
        cursor = write(&layout, &mut picture, cursor, &format!("line {number}\n"));
    }
    // The next goes to row 2, which is blank as is the one below.
    let expected = ["line 5", "line 6", "", "", "line 4", "status"];
    assert_eq!(lines(&layout, &picture), expected);
    assert_eq!(cursor, Cursor::from_bits(2 << 16));
}

#[test]
fn a_cursor_that_is_nowhere_writes_nowhere_else() {
    let layout = Layout::new(&XRGB).unwrap();
    let mut picture = blank(&layout);
    for bits in [5 << 16, u32::MAX] {
        let cursor = Cursor::from_bits(bits);
        assert_eq!(cursor.to_bits(), bits);
        write(&layout, &mut picture, cursor, "here");
        assert_eq!(line(&layout, &picture, 0), "here");
    }
}

#[test]
fn a_pixel_has_its_colours_where_the_masks_say() {
    let of = |pixel_bits, colours: [(u8, u8); 3], bytes: &[u8], grey: u8| {
        let colours = colours.map(|(bits, shift)| channel(bits, shift));
        let format = format::PixelFormat::new(pixel_bits, colours).unwrap();
        assert_eq!(format.grey(grey)[..format.bytes], *bytes, "{format:?}");
        assert_eq!(format.grey(0), [0; 4], "{format:?}");
    };
    of(32, [(8, 16), (8, 8), (8, 0)], &[0x40, 0x40, 0x40, 0], 0x40);
    of(32, [(8, 8), (8, 16), (8, 24)], &[0, 0x40, 0x40, 0x40], 0x40);
    of(24, [(8, 0), (8, 8), (8, 16)], &[0xfe, 0xfe, 0xfe], 0xfe);
    // Half, rounded down: 15, 31 and 15 of 31, 63 and 31.
    of(16, [(5, 11), (6, 5), (5, 0)], &[0xef, 0x7b], 0x80);
    of(15, [(5, 10), (5, 5), (5, 0)], &[0xff, 0x7f], 0xff);
    // Ten bits of each: 1023 is all of them.
    of(
        32,
        [(10, 20), (10, 10), (10, 0)],
        &[0xff, 0xff, 0xff, 0x3f],
        0xff,
    );
}

#[test]
fn only_pixels_are_written_whatever_the_pitch() {
    for (pixel_bits, bytes) in [(16, 2), (24, 3), (32, 4)] {
        let colours = [channel(5, 10), channel(5, 5), channel(5, 0)];
        let mode = Mode {
            pixel_bits,
            pitch: 1400,
            width: 319,
            height: 101,
            colours,
            ..XRGB
        };
        let layout = Layout::new(&mode).unwrap();
        let mut picture = blank(&layout);
        assert_eq!(picture.0.len(), 1400 * 100 + 319 * bytes);
        let text = "W".repeat(500);
        write(&layout, &mut picture, Cursor::default(), &text);
        write_status(&layout, &mut picture, &text);
        for (row, pixels) in picture.0.chunks(1400).enumerate() {
            let beyond = pixels.get(319 * bytes..).unwrap_or_default();
            assert!(
                beyond.iter().all(|&byte| byte == UNTOUCHED),
                "row {row}, {pixel_bits}"
            );
        }
    }
}

#[test]
fn a_wide_screen_has_letters_twice_as_large() {
    let mode = Mode {
        width: 2560,
        pitch: 2560 * 4,
        height: 1440,
        ..XRGB
    };
    let layout = Layout::new(&mode).unwrap();
    assert_eq!((layout.columns(), layout.rows()), (182, 44));
    let mut picture = blank(&layout);
    write(&layout, &mut picture, Cursor::default(), "\nA");
    let raster = get_raster('A', WEIGHT, HEIGHT).unwrap();
    for (y, pixels) in raster.rows().enumerate() {
        for (x, &intensity) in pixels.iter().enumerate() {
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let (x, y) = (2 * x + dx, 32 + 2 * y + dy);
                assert_eq!(picture.0[y * 2560 * 4 + x * 4], intensity, "{x}, {y}");
            }
        }
    }
}

#[test]
fn what_no_text_can_be_shown_on_is_refused() {
    let refused = |change: &dyn Fn(&mut Mode)| {
        let mut mode = XRGB;
        change(&mut mode);
        (Layout::new(&mode).unwrap_err(), mode)
    };
    for bits in [0, 1, 4, 8, 31, 64, u16::MAX] {
        let (problem, _) = refused(&|mode| mode.pixel_bits = bits);
        assert_eq!(problem, Unusable::Pixels(bits));
    }
    for colour in [
        channel(0, 0),
        channel(8, 25),
        channel(255, 255),
        channel(17, 0),
    ] {
        let (problem, _) = refused(&|mode| mode.colours[1] = colour);
        assert_eq!(problem, Unusable::Pixels(32), "{colour:?}");
    }
    assert_eq!(refused(&|mode| mode.is_rgb = false).0, Unusable::Pixels(32));
    let sizes: [(u64, u64, u64); 9] = [
        (0, 0, 0),
        (139, 100, 1292), // 19 letters
        (320, 79, 1292),  // 3 lines and the status
        (320, 100, 1279), // overlapping rows
        (u64::MAX, 100, 1292),
        (320, u64::MAX, 1292),
        (320, 100, u64::MAX),
        (u64::MAX / 4 + 2, 100, 1292), // whose bytes are 4, in 64 bits
        (16384, 16384, 65536),         // a GiB
    ];
    for (width, height, pitch) in sizes {
        let (problem, mode) = refused(&|mode| {
            (mode.width, mode.height, mode.pitch) = (width, height, pitch);
        });
        assert_eq!(problem, Unusable::Size(mode));
    }
    assert!(
        Layout::new(&Mode {
            width: 140,
            height: 80,
            ..XRGB
        })
        .is_ok()
    );
}

#[test]
fn a_refusal_says_what_is_wrong() {
    assert_eq!(
        Unusable::Size(XRGB).to_string(),
        "320 x 100 pixels, 1292 bytes from row to row, cannot be used"
    );
    assert_eq!(
        Unusable::Pixels(8).to_string(),
        "its pixels, of 8 bits, are of no known format"
    );
    assert_eq!(
        Unusable::Place(0x1000).to_string(),
        "it cannot lie at 0x1000"
    );
}
