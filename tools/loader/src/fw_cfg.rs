//! What QEMU's configuration device has for the loader: files, each with a name and a
//! key to select it by (QEMU, docs/specs/fw_cfg). The host tool names them by the same
//! type.

use core::fmt;

use arrayvec::ArrayVec;

use crate::bytes::{string_at, u16_be_at, u32_be_at};
use crate::modules::MAX_MODULES;

/// Bytes of an entry of the directory.
pub const ENTRY_SIZE: usize = 64;

/// A file that the loader knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// The seed for KASLR, in decimal digits.
    Seed,
    /// The configuration of the display that is memory, to be written.
    Display,
    /// A part of the module with this number.
    Module(usize, Part),
}

/// What there is of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The file.
    Content,
    /// Its path, with a leading slash.
    Path,
    /// Its command line, if it has one.
    CommandLine,
}

const SEED: &str = "opt/pmiscope/kaslr";
const DISPLAY: &str = "etc/ramfb";
const MODULE: &str = "opt/pmiscope/module";
const PARTS: [(Part, &str); 3] = [
    (Part::Content, ""),
    (Part::Path, "/path"),
    (Part::CommandLine, "/line"),
];

impl Name {
    /// Knows a name again.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            SEED => return Some(Self::Seed),
            DISPLAY => return Some(Self::Display),
            _ => {}
        }
        let rest = name.strip_prefix(MODULE)?;
        let digits = rest.find('/').unwrap_or(rest.len());
        let (number, part) = rest.split_at(digits);
        let &(part, _) = PARTS.iter().find(|&&(_, suffix)| suffix == part)?;
        let number = number.parse().ok().filter(|&number| number < MAX_MODULES);
        Some(Self::Module(number?, part))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed => f.write_str(SEED),
            Self::Display => f.write_str(DISPLAY),
            Self::Module(number, part) => {
                let of_part = PARTS.iter().find(|(known, _)| known == part);
                let suffix = of_part.map_or("", |(_, suffix)| suffix);
                write!(f, "{MODULE}{number}{suffix}")
            }
        }
    }
}

/// A file that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// What it is selected by.
    pub key: u16,
    /// In bytes.
    pub size: usize,
}

/// The parts of a module that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModuleItems {
    /// The file.
    pub content: Option<Item>,
    /// Its path.
    pub path: Option<Item>,
    /// Its command line.
    pub command_line: Option<Item>,
}

/// All files that the loader knows and that are there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Items {
    /// The seed for KASLR.
    pub seed: Option<Item>,
    /// The display's configuration.
    pub display: Option<Item>,
    /// The modules.
    pub modules: ArrayVec<ModuleItems, MAX_MODULES>,
}

impl Items {
    /// Takes note of an entry of the directory, if the loader knows its name.
    pub fn note(&mut self, entry: &[u8; ENTRY_SIZE]) {
        let item = || {
            let size = usize::try_from(u32_be_at(entry, 0)?).ok()?;
            let key = u16_be_at(entry, 4)?;
            Some(Item { key, size })
        };
        let name = string_at(entry, 8).and_then(|name| core::str::from_utf8(name).ok());
        let (Some(name), Some(item)) = (name.and_then(Name::parse), item()) else {
            return;
        };
        match name {
            Name::Seed => self.seed = Some(item),
            Name::Display => self.display = Some(item),
            Name::Module(number, part) => {
                while self.modules.len() <= number {
                    self.modules.push(ModuleItems::default());
                }
                let module = &mut self.modules[number];
                match part {
                    Part::Content => module.content = Some(item),
                    Part::Path => module.path = Some(item),
                    Part::CommandLine => module.command_line = Some(item),
                }
            }
        }
    }
}

/// The seed in its file's content; none if that is no number.
#[must_use]
pub fn seed(content: &[u8]) -> Option<u64> {
    core::str::from_utf8(content).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: u32, key: u16, name: &str) -> [u8; ENTRY_SIZE] {
        let mut entry = [0; ENTRY_SIZE];
        entry[..4].copy_from_slice(&size.to_be_bytes());
        entry[4..6].copy_from_slice(&key.to_be_bytes());
        entry[8..8 + name.len()].copy_from_slice(name.as_bytes());
        entry
    }

    #[test]
    fn names_are_known_again() {
        for (name, text) in [
            (Name::Seed, "opt/pmiscope/kaslr"),
            (Name::Display, "etc/ramfb"),
            (Name::Module(0, Part::Content), "opt/pmiscope/module0"),
            (Name::Module(31, Part::Path), "opt/pmiscope/module31/path"),
            (
                Name::Module(7, Part::CommandLine),
                "opt/pmiscope/module7/line",
            ),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(Name::parse(text), Some(name));
            assert!(text.len() < 56, "what QEMU takes");
        }
        for text in [
            "opt/pmiscope/module",
            "opt/pmiscope/module32",
            "opt/pmiscope/module1/x",
            "opt/pmiscope/modules",
            "etc/e820",
            "",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_directory_is_read() {
        let mut items = Items::default();
        for (size, key, name) in [
            (9, 0x20, "etc/e820"),
            (28, 0x21, "etc/ramfb"),
            (5, 0x22, "opt/pmiscope/module1/line"),
            (0x1234_5678, 0x23, "opt/pmiscope/module1"),
            (2, 0x24, "opt/pmiscope/kaslr"),
        ] {
            items.note(&entry(size, key, name));
        }
        let item = |key, size| Some(Item { key, size });
        assert_eq!(items.seed, item(0x24, 2));
        assert_eq!(items.display, item(0x21, 28));
        let second = ModuleItems {
            content: item(0x23, 0x1234_5678),
            path: None,
            command_line: item(0x22, 5),
        };
        assert_eq!(items.modules[..], [ModuleItems::default(), second]);
    }

    #[test]
    fn seeds_are_numbers() {
        assert_eq!(seed(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(seed(b"1\n"), None);
        assert_eq!(seed(b""), None);
    }
}
