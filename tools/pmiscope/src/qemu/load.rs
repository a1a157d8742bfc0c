//! What the loader is given beside the kernel and its command line: through QEMU's
//! configuration device, by the names that the loader knows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use loader::fw_cfg::{Name, Part};

use super::machine::property;

/// A file that the loader hands to the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Where it is.
    pub file: PathBuf,
    /// Its command line; empty if it has none.
    pub command_line: String,
}

/// What the loader is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Where a relocatable kernel is moved to.
    pub seed: Option<u64>,
    /// Files, in the order in which the kernel gets them.
    pub modules: Vec<Module>,
}

/// Files that QEMU's device has room for by default, of which the firmware takes half.
const DEFAULT_FILES: usize = 32;

impl Module {
    /// Its path as the kernel sees it: in the root of the volume.
    #[must_use]
    pub fn path(&self) -> String {
        let name = self.file.file_name().unwrap_or_default();
        format!("/{}", name.to_string_lossy())
    }
}

impl Load {
    /// QEMU's arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut add = |name: Name, what: &str, value: &Path| {
            words.push("-fw_cfg".into());
            words.push(property(&format!("name={name},{what}="), value));
        };
        if let Some(seed) = self.seed {
            add(Name::Seed, "string", Path::new(&seed.to_string()));
        }
        for (number, module) in self.modules.iter().enumerate() {
            let name = |part| Name::Module(number, part);
            add(name(Part::Content), "file", &module.file);
            add(name(Part::Path), "string", Path::new(&module.path()));
            // QEMU takes no empty string.
            if !module.command_line.is_empty() {
                let line = Path::new(&module.command_line);
                add(name(Part::CommandLine), "string", line);
            }
        }
        if !self.modules.is_empty() {
            let files = DEFAULT_FILES + 3 * self.modules.len();
            words.push("-global".into());
            words.push(format!("fw_cfg_io.x-file-slots={files}").into());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn what_is_not_given_takes_no_words() {
        assert!(Load::default().arguments().is_empty());
    }

    #[test]
    fn a_file_has_the_name_that_it_has() {
        let file = OsStr::from_bytes(b"/a:b/\xff,c");
        let load = Load {
            seed: None,
            modules: vec![Module {
                file: file.into(),
                command_line: String::new(),
            }],
        };
        let expected = b"name=opt/pmiscope/module0,file=/a:b/\xff,,c";
        assert_eq!(load.arguments()[1].as_bytes(), expected);
    }

    #[test]
    fn the_loader_is_given_files_by_their_numbers() {
        let module = |file: &str, line: &str| Module {
            file: file.into(),
            command_line: line.into(),
        };
        let load = Load {
            seed: Some(7),
            modules: vec![module("a/b.img", "x=1,2"), module("c,d", "")],
        };
        let expected = "-fw_cfg name=opt/pmiscope/kaslr,string=7 \
            -fw_cfg name=opt/pmiscope/module0,file=a/b.img \
            -fw_cfg name=opt/pmiscope/module0/path,string=/b.img \
            -fw_cfg name=opt/pmiscope/module0/line,string=x=1,,2 \
            -fw_cfg name=opt/pmiscope/module1,file=c,,d \
            -fw_cfg name=opt/pmiscope/module1/path,string=/c,,d \
            -global fw_cfg_io.x-file-slots=38";
        let words: Vec<_> = load.arguments();
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words.join(" "), expected);
    }
}
