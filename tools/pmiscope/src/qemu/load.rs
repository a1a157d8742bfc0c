//! What the loader is given beside the kernel and its command line: through QEMU's
//! configuration device, by the names that the loader knows.

use std::path::{Path, PathBuf};

use loader::fw_cfg::{Name, Part};

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
    pub fn arguments(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: Name, what: &str, value: &str| {
            words.push("-fw_cfg".to_owned());
            words.push(format!("name={name},{what}={}", value.replace(',', ",,")));
        };
        if let Some(seed) = self.seed {
            add(Name::Seed, "string", &seed.to_string());
        }
        for (number, module) in self.modules.iter().enumerate() {
            let name = |part| Name::Module(number, part);
            add(name(Part::Content), "file", &text(&module.file));
            add(name(Part::Path), "string", &module.path());
            // QEMU takes no empty string.
            if !module.command_line.is_empty() {
                add(name(Part::CommandLine), "string", &module.command_line);
            }
        }
        if !self.modules.is_empty() {
            let files = DEFAULT_FILES + 3 * self.modules.len();
            words.push("-global".to_owned());
            words.push(format!("fw_cfg_io.x-file-slots={files}"));
        }
        words
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_takes_no_words() {
        assert_eq!(Load::default().arguments(), [""; 0]);
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
        assert_eq!(load.arguments().join(" "), expected);
    }
}
