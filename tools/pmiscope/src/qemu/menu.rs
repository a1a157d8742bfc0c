//! The boot menu of Limine on a disc image, found without its file system: files of text lie
//! there in one piece, as they are.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use memchr::memmem;

/// Bytes that are searched at a time.
const WINDOW: usize = 4 << 20;
/// The longest configuration that is found wherever it lies.
const OVERLAP: usize = 64 << 10;
/// Seconds that Limine waits if nothing is said.
const DEFAULT_SECONDS: u64 = 5;

/// How long a boot menu waits until it boots its first entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    Seconds(u64),
    /// Until somebody chooses.
    ForEver,
}

/// The menu of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Menu {
    pub wait: Wait,
    /// The line that says so, if one does.
    line: Option<String>,
}

impl fmt::Display for Menu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.line, self.wait) {
            (Some(line), _) => write!(f, "`{line}`"),
            (None, Wait::Seconds(seconds)) => write!(f, "no `timeout`, so {seconds} s"),
            (None, Wait::ForEver) => f.write_str("no `timeout`"),
        }
    }
}

impl Menu {
    /// One that waits so; no line says it.
    #[cfg(test)]
    pub const fn new(wait: Wait) -> Self {
        Self { wait, line: None }
    }

    /// The menu of the first configuration on a disc image.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn find(image: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(image)?;
        let mut window = Vec::new();
        loop {
            let read = (&mut file).take(WINDOW as u64).read_to_end(&mut window)?;
            if let Some(menu) = configuration(&window).map(Self::of_configuration) {
                return Ok(Some(menu));
            }
            if read == 0 {
                return Ok(None);
            }
            window.drain(..window.len().saturating_sub(OVERLAP));
        }
    }

    fn of_configuration(text: &str) -> Self {
        let is_timeout =
            |line: &&str| key(line).is_some_and(|it| it.eq_ignore_ascii_case("timeout"));
        let line = text.lines().map(str::trim).find(is_timeout);
        let value = line.and_then(|line| line.split_once([':', '=']));
        let wait = match value.map(|(_, value)| value.trim()) {
            Some(no) if no.eq_ignore_ascii_case("no") => Wait::ForEver,
            Some(number) => Wait::Seconds(number.parse().unwrap_or(DEFAULT_SECONDS)),
            None => Wait::Seconds(DEFAULT_SECONDS),
        };
        Self {
            wait,
            line: line.map(str::to_owned),
        }
    }
}

/// The key of a line `key: value` or `KEY=value`.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.trim_start().split_once([':', '='])?;
    let key = key.trim_end();
    let is_key = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_key.then_some(key)
}

/// The first text in `bytes` that has a line with the key `protocol`, as each entry has.
fn configuration(bytes: &[u8]) -> Option<&str> {
    let small = memmem::find_iter(bytes, "protocol");
    let large = memmem::find_iter(bytes, "PROTOCOL");
    small.chain(large).find_map(|at| {
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
        let before = bytes[..at]
            .iter()
            .rev()
            .take(OVERLAP)
            .take_while(|it| is_text(it));
        let behind = bytes[at..]
            .iter()
            .take(OVERLAP)
            .take_while(|it| is_text(it));
        let around = &bytes[at - before.count()..at + behind.count()];
        let text = std::str::from_utf8(around).ok()?;
        let has_protocol = |line| key(line).is_some_and(|it| it.eq_ignore_ascii_case("protocol"));
        text.lines().any(has_protocol).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const ENTRY: &str = "/kernel\n    protocol: limine\n    path: boot():/kernel\n";

    /// The menu of an image that has these texts, each `at` an offset.
    fn menu(texts: &[(usize, &str)]) -> Option<Menu> {
        let mut image = vec![0; 9 << 20];
        for &(at, text) in texts {
            image[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&image).unwrap();
        Menu::find(file.path()).unwrap()
    }

    #[test]
    fn a_menu_is_as_its_configuration_says() {
        for (head, wait, shown) in [
            ("timeout: 3\n", Wait::Seconds(3), "`timeout: 3`"),
            ("# a menu\nTIMEOUT=0\r\n", Wait::Seconds(0), "`TIMEOUT=0`"),
            ("  timeout : no\n", Wait::ForEver, "`timeout : no`"),
            ("", Wait::Seconds(5), "no `timeout`, so 5 s"),
        ] {
            let menu = menu(&[(2048, &format!("{head}{ENTRY}"))]).expect("a menu");
            assert_eq!((menu.wait, &*menu.to_string()), (wait, shown));
        }
    }

    #[test]
    fn it_is_found_wherever_it_lies() {
        let text = format!("timeout: 7\n{ENTRY}");
        for at in [
            0,
            WINDOW - 20,
            WINDOW,
            2 * WINDOW - 1,
            (9 << 20) - text.len(),
        ] {
            let menu = menu(&[(at, &text)]).expect("a menu");
            assert_eq!(menu.wait, Wait::Seconds(7), "at {at}");
        }
    }

    #[test]
    fn other_texts_are_no_menus() {
        for text in [
            "",
            "timeout: 3\n",
            "PROTOCOL\0TIMEOUT\0",
            "the protocol is: none",
        ] {
            assert_eq!(menu(&[(4096, text)]), None, "{text}");
        }
        let own = format!("timeout: 2\n{ENTRY}");
        let found = menu(&[(0, "this protocol, and another: x"), (8192, &own)]);
        assert_eq!(found.expect("a menu").wait, Wait::Seconds(2));
    }
}
