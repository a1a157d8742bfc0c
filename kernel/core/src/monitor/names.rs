//! How well a name fits what somebody typed of it.

use core::fmt::Display;

use profiler::format::Text;

/// How much of a name was typed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fit {
    /// A part of it.
    Part,
    /// Its last parts, as `scheduler::yield_now` of `kernel::task::scheduler::yield_now`.
    Tail,
    /// All.
    Whole,
}

/// How a name fits what was typed; `None` if that is no part of it. Of a name longer than the
/// longest of a table only the beginning counts.
#[must_use]
pub fn fit(name: &dyn Display, typed: &str) -> Option<Fit> {
    let name = Text::<404>::of(name);
    let name = name.as_str();
    if typed.is_empty() || !name.contains(typed) {
        return None;
    }
    let before = name.strip_suffix(typed);
    Some(match before {
        Some("") => Fit::Whole,
        Some(path) if path.ends_with("::") => Fit::Tail,
        _ => Fit::Part,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_a_name_fits_better() {
        let name = "kernel::task::scheduler::yield_now";
        for (typed, how) in [
            (name, Some(Fit::Whole)),
            ("yield_now", Some(Fit::Tail)),
            ("scheduler::yield_now", Some(Fit::Tail)),
            ("eld_now", Some(Fit::Part)),
            ("task::sched", Some(Fit::Part)),
            ("", None),
            ("yield_never", None),
            ("a::kernel::task::scheduler::yield_now", None),
        ] {
            assert_eq!(fit(&name, typed), how, "{typed}");
        }
        assert!(Fit::Whole > Fit::Tail && Fit::Tail > Fit::Part);
    }
}
