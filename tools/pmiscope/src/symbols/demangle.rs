//! Names as people write them.

/// The name without mangling, of Rust or C++, and without a hash.
pub(super) fn demangle(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    // All that is mangled begins so; another name may happen to be that of a type.
    let is_mangled = name.starts_with("_Z");
    let cpp = is_mangled.then(|| cpp_demangle::Symbol::new(name).ok()?.demangle().ok());
    cpp.flatten().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::demangle;

    #[test]
    fn names_are_read_in_both_languages_and_left_in_others() {
        for (name, read) in [
            (
                "_RNvNtNtCs1234_6kernel8workload4hash3run",
                "kernel::workload::hash::run",
            ),
            (
                "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
                "core::fmt::Write::write_fmt",
            ),
            (
                "_ZN4kern3runERNS_5QueueIiEEi",
                "kern::run(kern::Queue<int>&, int)",
            ),
            ("_ZN4kern", "_ZN4kern"),
            ("memcpy", "memcpy"),
            ("i", "i"),
            ("$x", "$x"),
        ] {
            assert_eq!(demangle(name), read);
        }
    }
}
