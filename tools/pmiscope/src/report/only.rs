//! Which cores, or which events, are asked for.

use std::fmt::Write as _;
use std::rc::Rc;

/// Numbers of cores or events: all, or some.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Only<N> {
    #[default]
    All,
    /// In ascending order, each once.
    These(Rc<[N]>),
}

impl<N: Copy + Ord> Only<N> {
    /// Returns true if this one is asked for.
    #[inline]
    pub fn has(&self, number: N) -> bool {
        match self {
            Self::All => true,
            Self::These(numbers) => numbers.contains(&number),
        }
    }

    /// Those that are asked for, if not all are.
    #[must_use]
    pub fn these(&self) -> Option<&[N]> {
        match self {
            Self::All => None,
            Self::These(numbers) => Some(numbers),
        }
    }

    /// The one that is asked for, if it is one.
    #[must_use]
    pub fn single(&self) -> Option<N> {
        match self.these()? {
            &[number] => Some(number),
            _ => None,
        }
    }

    /// Those that are asked for, if they are several.
    #[must_use]
    pub fn several(&self) -> Option<&[N]> {
        self.these().filter(|numbers| numbers.len() > 1)
    }
}

impl<N: Copy + Ord> FromIterator<N> for Only<N> {
    /// All, if there are none.
    fn from_iter<I: IntoIterator<Item = N>>(numbers: I) -> Self {
        let mut numbers: Vec<_> = numbers.into_iter().collect();
        if numbers.is_empty() {
            return Self::All;
        }
        numbers.sort_unstable();
        numbers.dedup();
        Self::These(numbers.into())
    }
}

impl<N: Copy + Ord> From<N> for Only<N> {
    fn from(number: N) -> Self {
        Self::from_iter([number])
    }
}

/// Cores for people, as `--core` takes them: "core 1", "cores 0,2-5".
pub(super) fn cores(numbers: &[u32]) -> String {
    let mut text = String::from(if numbers.len() == 1 {
        "core "
    } else {
        "cores "
    });
    let runs = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    for (place, run) in runs.enumerate() {
        text += if place == 0 { "" } else { "," };
        let _ = match run {
            [first, .., last] => write!(text, "{first}-{last}"),
            [only] => write!(text, "{only}"),
            [] => Ok(()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_said_as_they_are_asked_for() {
        for (numbers, expected) in [
            (&[3][..], "core 3"),
            (&[0, 2, 3, 4, 5], "cores 0,2-5"),
            (&[0, 1], "cores 0-1"),
            (&[1, 3], "cores 1,3"),
        ] {
            assert_eq!(cores(numbers), expected);
        }
    }

    #[test]
    fn numbers_are_there_once_and_none_are_all() {
        let some: Only<u32> = [5, 1, 5].into_iter().collect();
        assert_eq!(some.these(), Some(&[1, 5][..]));
        assert!(some.has(5) && !some.has(2));
        assert_eq!((some.single(), some.several()), (None, some.these()));
        assert_eq!(Only::from(7_u8).single(), Some(7));
        assert_eq!(Only::<u8>::from_iter([]), Only::All);
    }
}
