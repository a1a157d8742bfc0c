use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::monitor::line::LINE_BYTES;

const PROMPT: &str = "> ";

/// Names to complete.
struct Names(&'static [&'static str]);

impl Completions for Names {
    fn each(&self, before: &str, each: &mut dyn FnMut(&str)) {
        if before.is_empty() {
            self.0.iter().for_each(|name| each(name));
        }
    }
}

const NAMES: Names = Names(&["resume", "reboot", "regs", "help", "helpful"]);

/// What was written to a terminal.
#[derive(Default)]
struct Terminal {
    all: String,
}

impl Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.all.push_str(text);
        Ok(())
    }
}

/// The row of a terminal that the cursor is in, as far as the editor uses it.
#[derive(Default)]
struct Row {
    row: Vec<u8>,
    column: usize,
}

impl Row {
    fn byte(&mut self, byte: u8, rest: &mut impl Iterator<Item = u8>) {
        match byte {
            b'\r' => self.column = 0,
            b'\n' => *self = Self::default(),
            0x07 => {}
            0x1b => self.sequence(rest),
            byte => {
                self.row.resize(self.row.len().max(self.column + 1), b' ');
                self.row[self.column] = byte;
                self.column += 1;
            }
        }
    }

    fn sequence(&mut self, rest: &mut impl Iterator<Item = u8>) {
        assert_eq!(rest.next(), Some(b'['));
        let mut number = 0;
        for byte in rest {
            match byte {
                b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
                b'K' => return self.row.truncate(self.column),
                b'D' => {
                    self.column -= number;
                    return;
                }
                b'J' | b'H' => {
                    *self = Self::default();
                    return;
                }
                other => panic!("a sequence with {other:#x}"),
            }
        }
    }
}

impl Terminal {
    fn shown(&self) -> Row {
        let mut row = Row::default();
        let mut bytes = self.all.bytes();
        while let Some(byte) = bytes.next() {
            row.byte(byte, &mut bytes);
        }
        row
    }

    fn row(&self) -> String {
        String::from_utf8(self.shown().row).unwrap()
    }
}

/// An editor with the bytes typed; what it shows; what the last byte has led to.
fn typed(bytes: &[u8]) -> (Editor, Terminal, Edit) {
    let mut editor = Editor::new(PROMPT);
    let mut terminal = Terminal::default();
    editor.begin(&mut terminal).unwrap();
    let mut last = Edit::Pending;
    for &byte in bytes {
        last = editor.byte(byte, &NAMES, &mut terminal).unwrap();
        if last != Edit::Pending {
            let line = editor.line().to_owned();
            editor.begin(&mut terminal).unwrap();
            assert!(line.len() <= LINE_BYTES);
        }
    }
    (editor, terminal, last)
}

#[track_caller]
fn line_of(bytes: &[u8], expected: &str) {
    let (editor, terminal, _) = typed(bytes);
    assert_eq!(editor.line(), expected);
    assert_eq!(
        terminal.row().trim_end(),
        format!("{PROMPT}{expected}").trim_end()
    );
}

#[test]
fn keys_edit_the_line() {
    line_of(b"help", "help");
    line_of(b"helq\x08p", "help");
    line_of(b"helq\x7fp", "help");
    line_of(b"elp\x01h", "help");
    line_of(b"elp\x1b[Hh\x1b[F me", "help me");
    line_of(b"elp\x1bOHh\x1b[4~ me", "help me");
    line_of(b"hlp\x1b[D\x1b[De", "help");
    line_of(b"hlp\x02\x02e\x06\x06 me", "help me");
    line_of(b"hxelp\x01\x06\x1b[3~", "help");
    line_of(b"hxelp\x01\x06\x04", "help");
    line_of(b"one two\x01\x0b", "");
    line_of(b"one two\x15x", "x");
    line_of(b"one two  \x17x", "one x");
    line_of(b"one\x0c", "one");
    // Of keys that are not known nothing stays.
    line_of(b"a\x1b[1;5Cb\x1b[200~c\x1bOPd\x1bxe", "abcde");
    line_of(b"a\xc3\xa4\x00\x1fb", "ab");
}

#[test]
fn lines_end_once_whatever_ends_them() {
    let mut editor = Editor::new(PROMPT);
    let mut terminal = Terminal::default();
    let ends = b"a\rb\nc\r\n\rd\r\n".iter().filter_map(|&byte| {
        let edit = editor.byte(byte, &NAMES, &mut terminal).unwrap();
        let line = editor.line().to_owned();
        (edit == Edit::Line).then(|| {
            editor.begin(&mut terminal).unwrap();
            line
        })
    });
    assert_eq!(ends.collect::<Vec<_>>(), ["a", "b", "c", "", "d"]);
}

#[test]
fn lines_before_come_back_and_what_was_typed_too() {
    line_of(b"one\rtwo\rthr\x1b[A", "two");
    line_of(b"one\rtwo\rthr\x1b[A\x1b[A\x1b[A", "one");
    line_of(b"one\rtwo\rthr\x1b[A\x1b[A\x1b[B", "two");
    line_of(b"one\rtwo\rthr\x10\x10\x0e\x0e", "thr");
    line_of(b"one\rone\r  \rtwo\r\x10\x10\x10", "one");
    // Sixteen are kept.
    let mut many: Vec<u8> = (0..20)
        .flat_map(|n| format!("line{n}\r").into_bytes())
        .collect();
    many.extend([CONTROL_P; 30]);
    line_of(&many, "line4");
}

#[test]
fn words_are_completed_as_far_as_they_agree() {
    line_of(b"res\t", "resume ");
    line_of(b"r\t", "re");
    line_of(b"help\t", "help");
    line_of(b"x\t", "x");
    line_of(b"help res\t", "help res");
    let (_, terminal, _) = typed(b"re\t");
    assert!(
        terminal.all.contains("resume  reboot  regs  \n"),
        "{:?}",
        terminal.all
    );
    assert_eq!(terminal.row(), "> re");
}

#[test]
fn a_line_is_given_up_and_ended() {
    assert_eq!(typed(b"half\x03").2, Edit::Cancelled);
    assert_eq!(typed(b"half\x1b[\x03").2, Edit::Cancelled);
    assert_eq!(typed(b"\x04").2, Edit::End);
    assert_eq!(typed(b"a\x04").2, Edit::Pending);
}

#[test]
fn of_a_long_line_the_part_around_the_cursor_is_shown() {
    let long: Vec<u8> = (0..200_u8).map(|n| b'a' + n % 26).collect();
    let (editor, terminal, _) = typed(&long);
    assert_eq!(editor.line().len(), LINE_BYTES);
    assert_eq!(
        terminal.row(),
        format!("> {}", &editor.line()[LINE_BYTES + 1 - COLUMNS..])
    );
    let mut bytes = long.clone();
    bytes.push(CONTROL_A);
    let (editor, terminal, _) = typed(&bytes);
    assert_eq!(terminal.row(), format!("> {}", &editor.line()[..COLUMNS]));
    assert_eq!(terminal.shown().column, PROMPT.len());
}

/// A byte that is likely to mean something.
fn key() -> impl Strategy<Value = u8> {
    // So many letters that lines become full.
    prop_oneof![
        1 => any::<u8>(),
        1 => 0..32_u8,
        16 => b' '..=b'~',
        1 => Just(0x1b),
        1 => Just(b'['),
        1 => Just(b'\t'),
    ]
}

proptest! {
    /// Whatever is typed: nothing panics, the line fits, the terminal shows it or a part of it with the
    /// cursor where it is, and `^C` then gives an empty line.
    #[test]
    fn any_bytes_are_a_line_and_a_way_out_of_it(bytes in vec(key(), 0..400)) {
        let (mut editor, mut terminal, _) = typed(&bytes);
        prop_assert!(Line::can_be(editor.line()));
        prop_assert!(editor.cursor <= editor.line.len());
        let row = terminal.row();
        let shown = row.strip_prefix(PROMPT);
        prop_assert!(shown.is_some_and(|it| editor.line().contains(it)), "{row:?}: {:?}", editor.line());
        let column = PROMPT.len() + editor.cursor - editor.first_shown;
        prop_assert_eq!(terminal.shown().column, column);

        let edit = editor.byte(CONTROL_C, &NAMES, &mut terminal).unwrap();
        prop_assert_eq!(edit, Edit::Cancelled);
        editor.begin(&mut terminal).unwrap();
        prop_assert_eq!(terminal.row(), PROMPT);
        prop_assert_eq!(editor.line(), "");
        for &byte in b"help\r" {
            let edit = editor.byte(byte, &NAMES, &mut terminal).unwrap();
            prop_assert_eq!(edit == Edit::Line, byte == b'\r');
        }
        prop_assert_eq!(editor.line(), "help");
    }
}
