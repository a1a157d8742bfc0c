//! Names as people write them.

use std::fmt::{self, Write};

/// The longest name that is read, in bytes: one of a hundred can say twice what it has said, and
/// that again, until the memory is full. Real ones have some thousand.
const LONGEST: usize = 32 << 10;

/// As much of a text as may be.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The name without mangling, of Rust or C++, and without a hash.
#[must_use]
pub fn demangle(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        let mut read = Bounded::default();
        let is_whole = write!(read, "{rust:#}").is_ok();
        return if is_whole { read.0 } else { name.to_owned() };
    }
    demangle_cpp(name).unwrap_or_else(|| name.to_owned())
}

/// That of C++. What a compiler has made of a function has dots behind its name, and is shown as
/// binutils do.
fn demangle_cpp(name: &str) -> Option<String> {
    // All that is mangled begins so; another name may happen to be that of a type.
    name.strip_prefix("_Z")?;
    let (plain, suffixes) = name.split_at(name.find('.').unwrap_or(name.len()));
    let (kind, plain) = thunk(plain).unwrap_or_else(|| ("", plain.to_owned()));
    let symbol = cpp_demangle::Symbol::new(plain).ok()?;
    let mut name = Bounded::default();
    let options = cpp_demangle::DemangleOptions::default();
    symbol.structured_demangle(&mut name, &options).ok()?;
    let mut read = kind.to_owned() + &name.0;
    let mut clone = String::new();
    for word in suffixes.split('.').skip(1) {
        // Numbers belong to the word before.
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number && !clone.is_empty() {
            read += &format!(" [clone {clone}]");
            clone.clear();
        }
        clone += &format!(".{word}");
    }
    if !clone.is_empty() {
        read += &format!(" [clone {clone}]");
    }
    Some(read)
}

/// What a thunk is and leads to: `h`, or `v`, offsets that end with a line, and a name.
fn thunk(name: &str) -> Option<(&'static str, String)> {
    let (kind, offsets, rest) = if let Some(rest) = name.strip_prefix("_ZTh") {
        ("non-virtual thunk to ", 1, rest)
    } else {
        ("virtual thunk to ", 2, name.strip_prefix("_ZTv")?)
    };
    let to = rest.splitn(offsets + 1, '_').nth(offsets)?;
    Some((kind, format!("_Z{to}")))
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
            (
                "_ZN4kern3runEv.part.0.cold",
                "kern::run() [clone .part.0] [clone .cold]",
            ),
            (
                "_ZN4kern3runEv.constprop.0.isra.1",
                "kern::run() [clone .constprop.0] [clone .isra.1]",
            ),
            ("_ZN4kernL3runEv.llvm.123", "kern::run() [clone .llvm.123]"),
            (
                "_ZN12_GLOBAL__N_16hiddenEi",
                "(anonymous namespace)::hidden(int)",
            ),
            (
                "_ZThn8_N4kern5QueueD1Ev",
                "non-virtual thunk to kern::Queue::~Queue()",
            ),
            (
                "_ZTv0_n24_N4kern5QueueD0Ev",
                "virtual thunk to kern::Queue::~Queue()",
            ),
            (
                "_ZN4kernplERKNS_1AES2_",
                "kern::operator+(kern::A const&, kern::A const&)",
            ),
            (
                "_RNvNtNtCs1234_6kernel8workload4hash3run.llvm.123",
                "kernel::workload::hash::run",
            ),
            (
                "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE.llvm.123",
                "core::fmt::Write::write_fmt",
            ),
            (
                "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE.cold",
                "core::fmt::Write::write_fmt.cold",
            ),
            ("run.constprop.0", "run.constprop.0"),
            ("_ZN4kern", "_ZN4kern"),
            ("memcpy", "memcpy"),
            ("i", "i"),
            ("$x", "$x"),
        ] {
            assert_eq!(demangle(name), read);
        }
    }

    #[test]
    fn a_name_that_doubles_itself_stays_as_it_is() {
        // Each type has three of the one before.
        let name = "_Z1f1aIiES_IS0_S0_S0_ES_IS1_S1_S1_ES_IS2_S2_S2_ES_IS3_S3_S3_ES_IS4_S4_S4_E\
            S_IS5_S5_S5_ES_IS6_S6_S6_ES_IS7_S7_S7_ES_IS8_S8_S8_ES_IS9_S9_S9_E";
        let (shorter, _) = name.split_once("S_IS2").unwrap();
        assert!(demangle(shorter).starts_with("f(a<int>, a<a<int>, a<int>, a<int> >, "));
        assert_eq!(demangle(name), name);
    }
}
