//! A regular expression that names of functions are matched against.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, escape};

/// What a user has asked for, and how it is matched.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
    /// Why it is no expression, and can be a whole name alone.
    problem: Option<String>,
}

impl Pattern {
    /// A function's name, or an expression that names match. Names have brackets and braces: what is no
    /// expression may be a whole name, which is known later, see [`Self::problem`].
    ///
    /// # Errors
    ///
    /// It is empty.
    pub fn of_function(text: &str) -> Result<Self, String> {
        let as_it_stands = |problem| {
            let name: Self = escape(text).parse()?;
            Ok(Self {
                text: text.to_owned(),
                problem: Some(problem),
                ..name
            })
        };
        text.parse().or_else(as_it_stands)
    }

    /// Why it is no expression, and so of use as a whole name alone.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Returns true if the name has a match.
    #[must_use]
    pub fn is_in(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// Returns true if it is what stands among frames and is no function, such as `[interrupt 0x40]`
    /// where something was crossed: one pair of brackets around all.
    #[must_use]
    pub fn is_mark(&self) -> bool {
        let within = self.text.strip_prefix('[');
        let within = within.and_then(|rest| rest.strip_suffix(']'));
        within.is_some_and(|within| !within.contains(['[', ']']))
    }

    /// Returns true if it is the whole name.
    #[must_use]
    pub fn is_name(&self, name: &str) -> bool {
        self.text == name
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        let regex = Regex::new(text).map_err(|error| {
            // The last of its lines says what, those before it where.
            let said = error.to_string();
            let said = said.lines().last().unwrap_or_default().trim().to_owned();
            format!(
                "no regular expression: {}",
                said.trim_start_matches("error: ")
            )
        })?;
        Ok(Self {
            text: text.to_owned(),
            regex,
            problem: None,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_expressions_or_as_they_stand() {
        let any: Pattern = "ha.h$".parse().unwrap();
        assert!(any.is_in("kernel::hash") && !any.is_in("kernel::hash::round"));
        let bad = "a(b".parse::<Pattern>().unwrap_err();
        assert_eq!(bad, "no regular expression: unclosed group");
        assert!("".parse::<Pattern>().is_err());
        let name = "<[u8; 4] as Hash>::{closure#0}";
        let function = Pattern::of_function(name).unwrap();
        assert!(function.is_name(name) && function.is_in(&format!("x{name}")));
        assert_eq!(function.to_string(), name);
        assert!(function.problem().is_some(), "a whole name or nothing");
        let closed = Pattern::of_function("f(").unwrap();
        let problem = closed.problem();
        assert_eq!(problem, Some("no regular expression: unclosed group"));
        assert_eq!(Pattern::of_function("f.*").unwrap().problem(), None);
        assert!(Pattern::of_function("").is_err());
    }

    #[test]
    fn marks_are_told_from_expressions() {
        for (text, is_mark) in [
            ("[interrupt 0x40]", true),
            ("[cut: depth limit]", true),
            ("[hm].*[0-9]", false),
            ("<[u8]>::sort", false),
            ("[", false),
        ] {
            let pattern = Pattern::of_function(text).unwrap();
            assert_eq!(pattern.is_mark(), is_mark, "{text}");
        }
    }
}
