//! The screen, as QEMU photographs it: every pixel is to be what the same text is by the host's
//! renderer.

use std::fs;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use kernel_core::screen::{self, Channel, Cursor, Layout, Mode, Surface};
use serde_json::json;

use crate::fixture::run;
use crate::folder::folder;
use crate::real::{Real, of_kernel};

const WIDTH: usize = 1280;
const HEIGHT: usize = 800;

/// The pixels of a framebuffer as the loader's is, and OVMF's, so many in a row.
pub struct Picture(Vec<u8>, usize);

impl Surface for Picture {
    fn put(&mut self, offset: usize, pixel: &[u8]) {
        self.0[offset..offset + pixel.len()].copy_from_slice(pixel);
    }

    fn zero(&mut self, bytes: Range<usize>) {
        self.0[bytes].fill(0);
    }
}

impl Picture {
    /// What this log and this status are.
    fn of(log: &str, status: &str) -> Self {
        Self::sized([WIDTH, HEIGHT], log, status)
    }

    /// The same of another size.
    pub fn sized([width, height]: [usize; 2], log: &str, status: &str) -> Self {
        let colour = |shift| Channel { bits: 8, shift };
        let layout = Layout::new(&Mode {
            width: width as u64,
            height: height as u64,
            pitch: 4 * width as u64,
            pixel_bits: 32,
            is_rgb: true,
            colours: [colour(16), colour(8), colour(0)],
        })
        .unwrap();
        let mut picture = Self(vec![0; layout.bytes()], width);
        screen::write(&layout, &mut picture, Cursor::default(), log);
        screen::write_status(&layout, &mut picture, status);
        picture
    }

    /// As QEMU writes it: portable, of red, green and blue.
    pub fn portable(&self) -> Vec<u8> {
        let pixels = self
            .0
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]);
        let (width, height) = (self.1, self.0.len() / 4 / self.1);
        let head = format!("P6\n{width} {height}\n255\n");
        head.into_bytes().into_iter().chain(pixels).collect()
    }
}

/// Boots with this command line until the log has a line with `last`, and asserts that the screen
/// shows the log, and this below.
#[track_caller]
fn check_screen(command_line: &str, last: &str, status: &str) -> String {
    let line = format!("{command_line} at-end=stay");
    let mut guest = Real::boot(&line, &["-device", "ramfb"]);
    let log = guest.log.clone();
    let log = of_kernel(&guest.wait_for(&log, last));
    // What the other cores were doing is on the port alone.
    let others = log.find("\ncore ").map_or(log.len(), |end| end + 1);
    let log = log[..others].to_owned();
    let expected = Picture::of(&log, status).portable();
    let photograph = folder().join("screen.ppm");
    let start = Instant::now();
    // A line is on the port before it is on the screen.
    loop {
        guest.ask("screendump", json!({ "filename": photograph }));
        let seen = fs::read(&photograph).unwrap();
        if seen == expected {
            return log;
        }
        if start.elapsed() > Duration::from_secs(10) {
            let differ = expected.iter().zip(&seen).position(|(a, b)| a != b);
            let pixel = differ.map(|byte| byte.saturating_sub(16) / 3);
            fs::write(folder().join("expected.ppm"), &expected).unwrap();
            panic!(
                "{command_line}: {} bytes of {}; the first pixel that differs is {:?}; see {}",
                seen.len(),
                expected.len(),
                pixel.map(|pixel| (pixel % WIDTH, pixel / WIDTH)),
                photograph.display()
            );
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn shows_the_log_and_how_far_the_run_was_pixel_for_pixel() {
    let log = check_screen(
        "samples=2001",
        "sampling: done",
        "2001 of 2001 samples, 0 lost",
    );
    let says = "[INFO core0] screen: 1280 x 800 pixels of 32 bits, 49 lines of 182 letters\n";
    assert!(log.contains(says), "{log}");
}

#[test]
fn counts_up_while_the_kernel_samples() {
    let mut guest = Real::boot("period=100000 samples=100000000", &["-device", "ramfb"]);
    let photograph = folder().join("screen.ppm");
    let start = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        guest.ask("screendump", json!({ "filename": photograph }));
        let status = status_of(&fs::read(&photograph).unwrap());
        let taken = status.split_once(" of 100000000 samples, ");
        let taken: Option<u64> = taken.and_then(|(taken, _)| taken.parse().ok());
        seen.extend(taken.filter(|taken| seen.last() != Some(taken)));
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{seen:?}, then `{status}`"
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert!(seen.is_sorted() && seen[0] > 0, "{seen:?}");
}

#[test]
fn costs_no_sample() {
    // More than a second of the guest's time, in which it is drawn. By a workload that never
    // halts: stock QEMU may skip too much time in one of so many halts (docs/limits.md).
    run("--smp 1 --samples 120000 --period 10000 --workload arithmetic --display none")
        .ended_with(0)
        .samples()
        .assert_exact(10_000);
}

#[test]
fn says_how_many_samples_are_lost() {
    // Nobody reads the rings, which are full soon.
    let line = "samples=40000 ring=65536 at-end=stay";
    let mut guest = Real::boot(line, &["-device", "ramfb"]);
    let log = guest.log.clone();
    guest.wait_for(&log, "sampling: done");
    let photograph = folder().join("screen.ppm");
    guest.ask("screendump", json!({ "filename": photograph }));
    let status = status_of(&fs::read(&photograph).unwrap());
    let lost = status.strip_prefix("40000 of 40000 samples, ");
    let lost = lost.and_then(|lost| lost.strip_suffix(" lost")?.parse().ok());
    // Records have 8 bytes at the least, and few hundreds.
    let kept = 40_000 - lost.unwrap_or(0);
    assert!((256..2 * 65536 / 8).contains(&kept), "{status}");
}

/// The last line of a photograph, letter by letter.
fn status_of(photograph: &[u8]) -> String {
    const LETTER: usize = 7;
    let cell = |picture: &[u8], column: usize| -> Vec<u8> {
        let rows = picture[picture.len() - 3 * 16 * WIDTH..].chunks_exact(3 * WIDTH);
        let cells = rows.map(|row| &row[3 * LETTER * column..][..3 * LETTER]);
        cells.flatten().copied().collect()
    };
    let all: String = (' '..='~').collect();
    let alphabet = Picture::of("", &all).portable();
    let letters = (0..WIDTH / LETTER).map(|column| {
        let seen = cell(photograph, column);
        let known = (0..all.len()).find(|&known| cell(&alphabet, known) == seen);
        known.map_or('?', |known| char::from(all.as_bytes()[known]))
    });
    letters.collect::<String>().trim_end().to_owned()
}

#[test]
fn shows_a_panic_and_a_trap_to_their_last_lines() {
    const CHAIN: &str = "-- chain: complete --";
    let log = check_screen("test=panic", CHAIN, "");
    assert!(
        log.contains("\n[ERROR core0] panicked at kernel/src/selftest.rs:"),
        "{log}"
    );
    check_screen("test=page-fault", CHAIN, "");
    check_screen("test=panic-in-panic", CHAIN, "");
}

#[test]
fn goes_on_at_the_top_below_the_last_line() {
    let log = check_screen("take=survey", "sampling: done", "");
    assert!(log.lines().count() > 49, "{log}");
}

#[test]
fn is_there_where_the_log_has_no_port() {
    let mut guest = Real::boot("samples=300 serial=none at-end=stay", &["-device", "ramfb"]);
    let photograph = folder().join("screen.ppm");
    let start = Instant::now();
    let status = Picture::of("", "300 of 300 samples, 0 lost").portable();
    // The last row of letters, which tells that the run is over.
    let from = status.len() - 3 * 16 * WIDTH;
    loop {
        guest.ask("screendump", json!({ "filename": photograph }));
        let seen = fs::read(&photograph).unwrap();
        if seen.len() == status.len() && seen[from..] == status[from..] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no status");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn is_there_by_the_tool_only_if_it_is_to_be_shown() {
    let says_no = "no screen: the boot loader gives no framebuffer";
    let run_without = run("--smp 1 --samples 100 --verbose")
        .ended_with(0)
        .saying(&[says_no]);
    let said = run_without.said();
    assert!(!said.contains("ramfb"), "{said}");
    let shown = ["-device ramfb", "screen: 1280 x 800 pixels of 32 bits"];
    run("--smp 1 --samples 100 --verbose --display none")
        .ended_with(0)
        .saying(&shown)
        .samples()
        .assert_whole(1, 100);
}
