//! Names of source files: as short as they can be, and different for different files. The kernel and a
//! program, or two programs, may have a `src/main.rs` each.

use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use super::path::lengthen;

/// The files that lines are of.
#[derive(Default)]
pub(super) struct SourceNames {
    all: Vec<Source>,
    /// Files by what tells them apart: their paths; of Rust's own source and of packages, which each
    /// compiler may have elsewhere, their short names.
    numbers: HashMap<String, usize>,
    by_name: HashMap<String, usize>,
}

struct Source {
    /// As the compiler names it.
    path: PathBuf,
    short: String,
    /// As it is shown.
    name: String,
}

impl SourceNames {
    /// The number of a file, whose path ends with a short name; `folder` is where it was compiled.
    pub(super) fn number(&mut self, path: &str, short: &str, folder: Option<&str>) -> usize {
        let behind = folder.and_then(|folder| path.strip_prefix(folder)?.strip_prefix('/'));
        let key = if behind == Some(short) { path } else { short };
        if let Some(&known) = self.numbers.get(key) {
            return known;
        }
        let number = self.all.len();
        self.numbers.insert(key.to_owned(), number);
        self.all.push(Source {
            path: path.into(),
            short: short.to_owned(),
            name: String::new(),
        });
        self.call(number, short.to_owned());
        number
    }

    /// The name of a file, by its number.
    pub(super) fn name(&self, number: usize) -> &str {
        &self.all[number].name
    }

    /// The file of this name; it may be on another machine.
    pub(super) fn path(&self, name: &str) -> Option<&Path> {
        let number = self.by_name.get(name)?;
        Some(&self.all[*number].path)
    }

    /// The name of the file with this path, if it is a longer one than its short name.
    pub(super) fn longer(&self, path: &Path) -> Option<&str> {
        let found = &self.all[*self.numbers.get(path.to_str()?)?];
        (found.name != found.short).then_some(&*found.name)
    }

    /// Names all files anew, so that of those with one short name each has the folders that differ.
    pub(super) fn tell_apart(&mut self) {
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, source) in self.all.iter().enumerate() {
            groups.entry(&source.short).or_default().push(number);
        }
        let groups = groups.into_values().filter(|group| group.len() > 1);
        let mut groups: Vec<_> = groups.collect();
        groups.sort_unstable();
        for number in groups.iter().flatten() {
            self.by_name.remove(&self.all[*number].name);
        }
        for group in groups {
            let paths: Vec<_> = group.iter().map(|&it| &*self.all[it].path).collect();
            for (number, name) in group.iter().copied().zip(lengthen(&paths)) {
                self.call(number, name);
            }
        }
    }

    /// Gives a file this name, or if another one has it, its path.
    fn call(&mut self, number: usize, name: String) {
        let path = self.all[number].path.to_string_lossy().into_owned();
        let is_free = !self.by_name.contains_key(&name);
        let name = if is_free { name } else { path };
        self.by_name.insert(name.clone(), number);
        self.all[number].name = name;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_short_name_have_the_folders_that_differ() {
        let mut names = SourceNames::default();
        let files = [
            (
                "/home/kernel/src/main.rs",
                "src/main.rs",
                Some("/home/kernel"),
            ),
            (
                "/home/shell/src/main.rs",
                "src/main.rs",
                Some("/home/shell"),
            ),
            (
                "/home/shell/src/line.rs",
                "src/line.rs",
                Some("/home/shell"),
            ),
            // Wherever each compiler has it.
            (
                "/one/lib/rustlib/src/rust/library/core/src/str.rs",
                "library/core/src/str.rs",
                Some("/home/kernel"),
            ),
            (
                "/two/lib/rustlib/src/rust/library/core/src/str.rs",
                "library/core/src/str.rs",
                Some("/home/shell"),
            ),
            (
                "/home/shell/src/main.rs",
                "src/main.rs",
                Some("/home/shell"),
            ),
        ];
        let numbers = files.map(|(path, short, folder)| names.number(path, short, folder));
        assert_eq!(numbers, [0, 1, 2, 3, 3, 1]);
        // The first is called so until it is known that there is another.
        assert_eq!(
            [0, 1].map(|it| names.name(it)),
            ["src/main.rs", "/home/shell/src/main.rs"]
        );
        names.tell_apart();
        let expected = [
            "kernel/src/main.rs",
            "shell/src/main.rs",
            "src/line.rs",
            "library/core/src/str.rs",
        ];
        assert_eq!([0, 1, 2, 3].map(|it| names.name(it)), expected);
        assert_eq!(
            names.path("shell/src/main.rs"),
            Some(Path::new("/home/shell/src/main.rs"))
        );
        assert_eq!(names.path("src/main.rs"), None);
        assert_eq!(
            names.longer(Path::new("/home/kernel/src/main.rs")),
            Some("kernel/src/main.rs")
        );
        assert_eq!(names.longer(Path::new("/home/shell/src/line.rs")), None);
    }
}
