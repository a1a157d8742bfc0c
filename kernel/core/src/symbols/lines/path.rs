//! The path of a source file, as people read it.

/// A path without what tells nothing: the folder of Rust's own source, that of its packages, or the
/// one in which all was compiled.
#[must_use]
pub fn short_path<'a>(file: &'a str, folder: Option<&str>) -> &'a str {
    let behind = |folder: &str| file.split_once(folder).map(|(_, rest)| rest);
    let of_package = || behind("/registry/src/")?.split_once('/');
    let within = || file.strip_prefix(folder?)?.strip_prefix('/');
    behind("/lib/rustlib/src/rust/")
        .or_else(|| of_package().map(|(_, rest)| rest))
        .or_else(within)
        .unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::short_path;

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
            assert_eq!(short_path(path, folder), shown);
        }
        assert_eq!(short_path("/a/b.rs", None), "/a/b.rs");
    }
}
