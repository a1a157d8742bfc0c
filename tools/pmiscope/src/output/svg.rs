//! Text in a picture.
//!
//! The picture is drawn by inferno from folded stacks, whose form would cost names some of
//! their characters ([`super::folded`]). Here these pass through it in disguise: as control
//! characters, which names do not have any more once they are one line.

use super::terminal::{one_line, push_code};

/// What a character goes through inferno as. XML has no need to escape any of them.
const DISGUISED: [(u8, u8); 4] = [(b';', 1), (b' ', 2), (b']', 3), (b'#', 4)];

/// A text of the picture. Markup is escaped where it is written, by inferno.
pub(crate) fn text(text: &str) -> String {
    one_line(text).into_owned()
}

/// A name as the picture shows it. Blanks that are none of ASCII's, which inferno strips,
/// are shown as their codes.
pub(crate) fn shown(name: &str) -> String {
    if name.is_empty() {
        return "\\u{}".into();
    }
    let mut shown = String::with_capacity(name.len());
    for c in text(name).chars() {
        if c.is_whitespace() && c != ' ' {
            push_code(&mut shown, c);
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A name, as a frame of the stacks that are drawn.
pub(crate) fn frame(name: &str) -> String {
    let mut frame = shown(name);
    for (real, disguise) in DISGUISED {
        frame = frame.replace(char::from(real), &char::from(disguise).to_string());
    }
    frame
}

/// The picture of such stacks with the names' own characters.
pub(crate) fn reveal(picture: &mut [u8]) {
    for byte in picture {
        for (real, disguise) in DISGUISED {
            if *byte == disguise {
                *byte = real;
            }
        }
    }
}
