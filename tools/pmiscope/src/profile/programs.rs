//! The user's programs in a profile: boot modules that are ELF files, embedded as debug files are, by
//! names that no debug file has.

use super::read::Profile;

/// A program that a run has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmbeddedProgram {
    /// As records have it: the place of its module among all, from 1 on.
    pub number: u16,
    /// The file's name, without folders.
    pub name: String,
    /// The file.
    pub elf: Vec<u8>,
}

const PREFIX: &str = "module ";

/// The name by which a program is embedded.
#[must_use]
pub fn embedded_name(number: u16, name: &str) -> String {
    format!("{PREFIX}{number}: {name}")
}

/// The number and the name of a program that is embedded by this one.
#[must_use]
pub(crate) fn parse(name: &str) -> Option<(u16, &str)> {
    let (number, name) = name.strip_prefix(PREFIX)?.split_once(": ")?;
    Some((number.parse().ok().filter(|&it| it > 0)?, name))
}

impl Profile {
    /// Takes the programs out of the profile's debug files.
    pub fn take_programs(&mut self) -> Vec<EmbeddedProgram> {
        let mut programs = Vec::new();
        self.debug_files.retain_mut(|(file, elf)| {
            let Some((number, name)) = parse(file) else {
                return true;
            };
            programs.push(EmbeddedProgram {
                number,
                name: name.to_owned(),
                elf: std::mem::take(elf),
            });
            false
        });
        programs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_are_told_from_those_of_debug_files() {
        assert_eq!(parse(&embedded_name(3, "a: b")), Some((3, "a: b")));
        for other in [
            "kernel.debug",
            "module",
            "module x: y",
            "module 0: y",
            "module 70000: y",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
