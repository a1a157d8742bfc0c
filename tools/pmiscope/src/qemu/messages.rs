//! What QEMU itself prints: why it ends.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::log::plain;

/// Lines that are shown of the beginning and of the end: the reason comes first and a hint
/// behind it, or warnings come first and the reason last.
const FIRST: usize = 3;
const LAST: usize = 5;
/// Characters that are shown of a line.
const WIDTH: usize = 400;
/// Bytes that are read of each end.
const PART: usize = 16 << 10;

/// The lines that a program has printed to a file, behind each other; empty if there is none.
pub fn said(file: &File) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let read = |from: u64, bytes: usize| {
        let mut part = vec![0; bytes];
        let mut filled = 0;
        while let Ok(count @ 1..) = file.read_at(&mut part[filled..], from + filled as u64) {
            filled += count;
        }
        part.truncate(filled);
        part
    };
    let mut printed = read(0, 2 * PART);
    if let Some(behind) = length.checked_sub(2 * PART as u64) {
        printed.truncate(PART);
        printed.push(b'\n');
        printed.extend(read(behind + PART as u64, PART));
    }
    joined(&printed)
}

/// The lines of what was printed, behind each other.
pub fn joined(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let mut lines = Vec::new();
    for line in text.split(['\n', '\r']) {
        let line = plain(line);
        let line = line.trim();
        // It warns of each core in the same words.
        if line.contains(char::is_alphanumeric) && !lines.iter().any(|other| other == line) {
            lines.push(line.to_owned());
        }
    }
    if lines.len() > FIRST + LAST {
        lines.splice(FIRST..lines.len() - LAST, ["…".to_owned()]);
    }
    let lines = lines
        .iter()
        .map(|line| match line.char_indices().nth(WIDTH) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.clone(),
        });
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_reason_is_there_wherever_it_is() {
        let many: String = (0..20).map(|number| format!("line {number}\n")).collect();
        let wide = "w".repeat(500);
        for (printed, expected) in [
            ("", ""),
            ("\n \n", ""),
            (
                "qemu: unsupported machine type\nUse -machine help\n",
                "qemu: unsupported machine type; Use -machine help",
            ),
            (
                "**\nERROR:a.c:1:f: assertion failed: (x)\nBail out! ERROR:a.c:1:f: assertion failed: (x)",
                "ERROR:a.c:1:f: assertion failed: (x); Bail out! ERROR:a.c:1:f: assertion failed: (x)",
            ),
            ("\x1b[31mno\x1b[0m\r\nno\nw\nno\n", "no; w"),
            (
                &many,
                "line 0; line 1; line 2; …; line 15; line 16; line 17; line 18; line 19",
            ),
            (&wide, &format!("{}…", &wide[..WIDTH])),
        ] {
            assert_eq!(joined(printed.as_bytes()), expected, "{printed:?}");
        }
    }

    #[test]
    fn of_a_flood_both_ends_are_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"the reason\n").unwrap();
        for _ in 0..100 {
            file.write_all(&[b'x'; 1023]).unwrap();
            file.write_all(b"\n").unwrap();
        }
        file.write_all(b"the hint").unwrap();
        let said = said(&file);
        assert!(said.starts_with("the reason; x"), "{said}");
        assert!(said.ends_with("; the hint"), "{said}");
    }
}
