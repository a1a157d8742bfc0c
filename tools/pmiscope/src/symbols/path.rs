//! Names of source files, as short as they can be and still be told apart.

use std::path::{Path, PathBuf};

/// The name of a file out of the directory that it was compiled in, its own
/// directory and its name, each relative to the one before if it is not
/// absolute.
///
/// A package from a registry begins with the package's folder, a part of the
/// standard library with its name (`core/`), and a file below the directory that it was compiled
/// in (the kernel's workspace) is relative to that.
pub(super) fn shorten(parts: [Option<&str>; 3]) -> String {
    let path = parts
        .iter()
        .flatten()
        .fold(PathBuf::new(), |path, part| path.join(part));
    let text = path.to_string_lossy();
    if let Some((_, package)) = text.split_once("/registry/src/")
        && let Some((_registry, rest)) = package.split_once('/')
    {
        return rest.to_owned();
    }
    for root in ["/rustc/", "/lib/rustlib/src/rust/", "/rust-src-"] {
        if let Some((_, rest)) = text.split_once(root)
            && let Some((_version, file)) = rest.split_once("library/")
        {
            return file.to_owned();
        }
    }
    let compiled_in = Path::new(parts[0].unwrap_or_default());
    let relative = path.strip_prefix(compiled_in).unwrap_or(&path);
    relative.to_string_lossy().into_owned()
}

/// Names of files that would be the same if they were shortened: without the folders that all of
/// them are in.
pub(super) fn lengthen(paths: &[&Path]) -> Vec<String> {
    let Some(first) = paths.first().and_then(|first| first.parent()) else {
        return Vec::new();
    };
    let is_common = |folder: &&Path| paths.iter().all(|path| path.starts_with(folder));
    let common = first.ancestors().find(is_common).unwrap_or(Path::new(""));
    let longer = paths
        .iter()
        .map(|path| path.strip_prefix(common).unwrap_or(path));
    longer
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{lengthen, shorten};

    #[test]
    fn names_that_are_the_same_have_the_folders_that_differ() {
        for (paths, expected) in [
            (
                ["/src/net/init.c", "/src/disk/init.c"],
                ["net/init.c", "disk/init.c"],
            ),
            (
                ["/src/init.c", "/src/disk/init.c"],
                ["init.c", "disk/init.c"],
            ),
            (["init.c", "/src/init.c"], ["init.c", "/src/init.c"]),
            (["/src/init.c", "/src/init.c"], ["init.c", "init.c"]),
        ] {
            assert_eq!(lengthen(&paths.map(Path::new)), expected);
        }
        assert!(lengthen(&[]).is_empty());
    }

    #[test]
    fn names_keep_what_tells_them_apart() {
        for (parts, name) in [
            (
                [
                    Some("/home/me/pmiscope"),
                    Some("kernel/src/cpu"),
                    Some("gdt.rs"),
                ],
                "kernel/src/cpu/gdt.rs",
            ),
            (
                [
                    Some("/home/me/pmiscope"),
                    Some("/home/me/pmiscope/kernel/src"),
                    Some("main.rs"),
                ],
                "kernel/src/main.rs",
            ),
            (
                [
                    Some("/home/me/.cargo/registry/src/registry-0123456789abcdef/spin-0.12.0"),
                    Some("src"),
                    Some("once.rs"),
                ],
                "spin-0.12.0/src/once.rs",
            ),
            (
                [
                    Some("/x"),
                    Some("/rustc/0123abcd/library/core/src/num"),
                    Some("mod.rs"),
                ],
                "core/src/num/mod.rs",
            ),
            (
                [
                    Some("/root/.rustup/toolchains/1.95.0/lib/rustlib/src/rust/library"),
                    Some("core/src/iter"),
                    Some("range.rs"),
                ],
                "core/src/iter/range.rs",
            ),
            (
                [
                    Some("/root/.cache/pmiscope/rust-src-1.95.0/library"),
                    Some("alloc/src"),
                    Some("lib.rs"),
                ],
                "alloc/src/lib.rs",
            ),
            ([Some("/x"), Some("/y"), Some("z.rs")], "/y/z.rs"),
            ([None, None, Some("z.rs")], "z.rs"),
        ] {
            assert_eq!(shorten(parts), name);
        }
    }
}
