//! Where code is in its source, by the line programs of DWARF.
//!
//! [`super::Symbols`] reads debug information without them. Few addresses are asked for here, so
//! what cannot be read costs no more than their lines.

use addr2line::{Context, LookupContinuation, LookupResult};
use gimli::Dwarf;

use super::files::Chosen;
use super::{Bytes, LinkAddress, SymbolFiles, dwarf};

/// A place in a source file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceLine {
    /// The file, as [`short`] has it.
    pub file: String,
    pub line: u32,
}

/// The line programs of a kernel.
#[derive(Default)]
pub struct Lines {
    context: Option<Context<Bytes>>,
}

impl Lines {
    /// Those of these files, if they have any.
    #[must_use]
    pub fn of_files(files: &SymbolFiles) -> Self {
        let parts = files.parts();
        let part = Chosen::new(&parts).debug_info();
        let dwarf: Option<Dwarf<Bytes>> =
            part.map(|part| dwarf::load((&part.elf, &part.file.bytes), |id| id.name()));
        Self {
            context: dwarf.and_then(|dwarf| Context::from_dwarf(dwarf).ok()),
        }
    }

    /// Where the code at an address is, in each of the functions that were inlined there, innermost
    /// first; nothing if that is not known.
    #[must_use]
    pub fn at(&self, address: LinkAddress) -> Vec<Option<SourceLine>> {
        let Some(context) = &self.context else {
            return Vec::new();
        };
        let folder = loaded(context.find_dwarf_and_unit(address.0))
            .and_then(|unit| unit.comp_dir.as_ref().map(super::text));
        let mut lines = Vec::new();
        let Ok(mut frames) = loaded(context.find_frames(address.0)) else {
            return lines;
        };
        while let Ok(Some(frame)) = frames.next() {
            let line = frame.location.and_then(|place| {
                let file = place.file?;
                Some(SourceLine {
                    file: short(file, folder.as_deref()).to_owned(),
                    line: place.line?,
                })
            });
            lines.push(line);
        }
        lines
    }
}

/// A path without what tells nothing: the folder of Rust's own source, that of its packages, or the
/// one in which all was compiled.
fn short<'a>(file: &'a str, folder: Option<&str>) -> &'a str {
    let behind = |folder: &str| file.split_once(folder).map(|(_, rest)| rest);
    let of_package = || behind("/registry/src/")?.split_once('/');
    let within = || file.strip_prefix(folder?)?.strip_prefix('/');
    behind("/lib/rustlib/src/rust/")
        .or_else(|| of_package().map(|(_, rest)| rest))
        .or_else(within)
        .unwrap_or(file)
}

/// The result of a look-up. Units that are split off are not looked for.
fn loaded<L: LookupContinuation<Buf = Bytes>>(mut result: LookupResult<L>) -> L::Output {
    loop {
        match result {
            LookupResult::Output(output) => return output,
            LookupResult::Load { continuation, .. } => result = continuation.resume(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_path_begins_where_it_tells_something() {
        let folder = Some("/home/me/kernel");
        for (path, shown) in [
            ("/home/me/kernel/src/main.rs", "src/main.rs"),
            (
                "/home/me/kernels/src/main.rs",
                "/home/me/kernels/src/main.rs",
            ),
            ("src/main.c", "src/main.c"),
            (
                "/opt/rust/lib/rustlib/src/rust/library/core/src/panicking.rs",
                "library/core/src/panicking.rs",
            ),
            (
                "/home/me/.cargo/registry/src/index-1/spin-0.9/src/once.rs",
                "spin-0.9/src/once.rs",
            ),
        ] {
            assert_eq!(short(path, folder), shown);
        }
        assert_eq!(short("/a/b.rs", None), "/a/b.rs");
    }
}
