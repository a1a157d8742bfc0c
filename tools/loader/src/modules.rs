//! Which of the files that came with the kernel are which modules.
//!
//! A kernel may name files itself, by paths relative to its own place; they come first,
//! under the path and with the string that it names them by. A file that was given is
//! one of them if it has the same name, whatever folder the kernel has in mind. All
//! others follow, as they were given.

use arrayvec::ArrayVec;

use crate::requests::Requests;
use crate::text::Text;
use crate::{Error, Result, answers::File, answers::id};

/// The most modules.
pub const MAX_MODULES: usize = 32;

/// In a named module's flags: the kernel cannot do without it.
const REQUIRED: u64 = 1 << 0;
/// In a named module's flags: the boot loader is to decompress it.
const COMPRESSED: u64 = 1 << 1;

/// A module that the kernel names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// Which of the given files it is.
    pub file: usize,
    /// Where in the image its path is.
    pub path: u64,
    /// Where in the image its string is.
    pub string: u64,
}

/// What the kernel gets of the given files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Modules {
    /// Those that it names, in its order.
    pub named: ArrayVec<Named, MAX_MODULES>,
    /// The others, by their numbers.
    pub others: ArrayVec<usize, MAX_MODULES>,
    /// What it names, can do without, and does not get.
    pub missing: ArrayVec<Text, MAX_MODULES>,
}

impl Modules {
    /// Finds the modules that the kernel names among these files.
    ///
    /// # Errors
    ///
    /// [`Error::ModuleMissing`], [`Error::ModuleCompressed`], [`Error::TooManyModules`],
    /// [`Error::ModuleList`].
    pub fn find(requests: &Requests<'_>, files: &[File<'_>]) -> Result<Self> {
        let mut modules = Self::default();
        // Revision 1 added names.
        let count = match requests.revision(id::MODULES) {
            Some(revision) if revision >= 1 => requests.member(id::MODULES, 0).unwrap_or(0),
            _ => 0,
        };
        if count > MAX_MODULES as u64 {
            return Err(Error::TooManyModules);
        }
        let list = requests.member(id::MODULES, 1).unwrap_or(0);
        for number in 0..count {
            modules.add_named(requests, files, list.wrapping_add(number * 8))?;
        }
        let is_named = |file: usize| modules.named.iter().any(|named| named.file == file);
        modules.others = (0..files.len()).filter(|&file| !is_named(file)).collect();
        Ok(modules)
    }

    /// Adds the one whose address the word at `place` is.
    fn add_named(&mut self, requests: &Requests<'_>, files: &[File<'_>], place: u64) -> Result<()> {
        let word = |address| requests.word(address).ok_or(Error::ModuleList);
        let module = word(place)?;
        let [path, string, flags] = [0, 8, 16].map(|offset| word(module.wrapping_add(offset)));
        let (path, string, flags) = (path?, string?, flags?);
        let wanted = requests.string(path).ok_or(Error::ModuleList)?;
        if flags & COMPRESSED != 0 {
            return Err(Error::ModuleCompressed(Text::new(wanted)));
        }
        let is_it = |file: &File<'_>| file_name(file.path) == file_name(wanted);
        match files.iter().position(is_it) {
            Some(file) => self.named.push(Named { file, path, string }),
            None if flags & REQUIRED != 0 => {
                return Err(Error::ModuleMissing(Text::new(wanted)));
            }
            None => self.missing.push(Text::new(wanted)),
        }
        Ok(())
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.others.is_empty()
    }
}

/// What is behind a path's last slash.
fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// A path relative to the kernel's place, which is the root, without what leads nowhere
/// in front: behind a slash it is absolute.
#[must_use]
pub fn without_lead(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"/").or_else(|| path.strip_prefix(b"./")) {
        path = rest;
    }
    path
}

#[cfg(test)]
mod tests {
    use x86_64::{PhysAddr, VirtAddr};

    use super::*;
    use crate::pvh::Block;
    use crate::requests::Image;

    const AT: u64 = 0xffff_ffff_8000_0000;
    const STRINGS: u64 = AT + 8 * 200;

    fn file(path: &'static [u8]) -> File<'static> {
        File {
            content: Block {
                start: PhysAddr::new(0x1000),
                size: 1,
            },
            path,
            command_line: b"",
        }
    }

    /// Modules by their paths and flags; each has the string "s".
    fn find(revision: u64, wanted: &[(&str, u64)], given: &[File<'_>]) -> Result<Modules> {
        let mut strings = b"s\0".to_vec();
        let list = AT + 8 * 8;
        let count = wanted.len() as u64;
        let magic = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];
        let request = [revision, 0, count, list];
        let mut words = [&magic[..], &id::MODULES, &request].concat();
        let first = list + 8 * count;
        words.extend((0..count).map(|number| first + 24 * number));
        for (path, flags) in wanted {
            words.extend([STRINGS + strings.len() as u64, STRINGS, *flags]);
            strings.extend(path.bytes().chain([0]));
        }
        words.resize(200, 0);
        let mut image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        image.extend(strings);
        let from_file = image.len();
        let requests = Requests::scan(Image {
            bytes: &mut image,
            start: VirtAddr::new(AT),
            from_file,
            list: None,
        });
        Modules::find(&requests.unwrap(), given)
    }

    #[test]
    fn what_the_kernel_names_comes_first() {
        let given = [file(b"/a"), file(b"/b.img"), file(b"/c")];
        let wanted = [("boot/c", REQUIRED), ("./b.img", 0), ("d", 0)];
        let found = find(1, &wanted, &given).unwrap();
        let expected = [
            Named {
                file: 2,
                path: STRINGS + 2,
                string: STRINGS,
            },
            Named {
                file: 1,
                path: STRINGS + 9,
                string: STRINGS,
            },
        ];
        assert_eq!(found.named[..], expected);
        assert_eq!(found.others[..], [0]);
        assert_eq!(found.missing[..], [Text::new(b"d")]);
        assert!(!found.is_empty());
    }

    #[test]
    fn revision_0_names_none() {
        let found = find(0, &[("c", REQUIRED)], &[file(b"/c")]).unwrap();
        assert_eq!((found.named.len(), &found.others[..]), (0, &[0][..]));
        assert!(find(0, &[], &[]).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let missing = find(1, &[("boot/init.img", REQUIRED)], &[]).unwrap_err();
        let says = missing.to_string();
        assert!(
            says.contains("requires the module boot/init.img: give it by --module"),
            "{says}"
        );
        let compressed = find(1, &[("a.gz", COMPRESSED)], &[file(b"/a.gz")]).unwrap_err();
        assert!(compressed.to_string().contains("a.gz decompressed"));
        let many = [("a", 0); MAX_MODULES + 1];
        assert_eq!(find(1, &many, &[]), Err(Error::TooManyModules));
    }

    #[test]
    fn paths_begin_at_the_root() {
        for (path, behind) in [
            (&b"a"[..], &b"a"[..]),
            (b"/a", b"a"),
            (b"././/x/./a", b"x/./a"),
            (b"../a", b"../a"),
        ] {
            assert_eq!(without_lead(path), behind);
        }
    }
}
