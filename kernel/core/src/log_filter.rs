//! Which messages of the log are made: by their level and their module, as `log=` says.
//!
//! `log=warn,task=debug`: warnings and errors of all modules, and from `task` and the modules in
//! it also what is as important as `debug`.

/// How important a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Importance {
    /// None is made.
    Off,
    /// What ends the run.
    Error,
    /// What is not as it was asked for.
    Warn,
    /// What happens.
    Info,
    /// Details.
    Debug,
    /// All details.
    Trace,
}

/// Their names, as a message lists them.
const LEVELS: &str =
    "must be LEVEL or MODULE=LEVEL between commas; levels are off, error, warn, info, debug, trace";

/// The most modules that have a level of their own.
pub const MAX_MODULES: usize = 8;

/// Which messages are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogFilter<'a> {
    /// Of all modules that are not named.
    others: Importance,
    modules: [Option<(&'a str, Importance)>; MAX_MODULES],
}

impl Default for LogFilter<'_> {
    fn default() -> Self {
        Self {
            others: Importance::Debug,
            modules: [None; MAX_MODULES],
        }
    }
}

impl<'a> LogFilter<'a> {
    /// The filter that a value of `log=` describes.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(value: &'a str) -> Result<Self, &'static str> {
        let mut filter = Self::default();
        let mut others = None;
        for part in value.split(',') {
            let is_again = match part.split_once('=') {
                None => others.replace(level(part).ok_or(LEVELS)?).is_some(),
                Some((module, name)) => {
                    if module.is_empty() {
                        return Err(LEVELS);
                    }
                    filter.add(module, level(name).ok_or(LEVELS)?)?
                }
            };
            if is_again {
                return Err("a level is said twice");
            }
        }
        filter.others = others.unwrap_or(filter.others);
        Ok(filter)
    }

    /// Returns true if the module has a level already.
    fn add(&mut self, module: &'a str, level: Importance) -> Result<bool, &'static str> {
        if self
            .modules
            .iter()
            .flatten()
            .any(|(name, _)| *name == module)
        {
            return Ok(true);
        }
        let free = self.modules.iter_mut().find(|module| module.is_none());
        *free.ok_or("at most 8 modules can be named")? = Some((module, level));
        Ok(false)
    }

    /// The least important messages that a module may make. Its path is as Rust has it, with the
    /// crate first; of several names that it lies in, the longest counts.
    #[must_use]
    pub fn of_module(&self, path: &str) -> Importance {
        let in_crate = path.split_once("::").map_or("", |(_, rest)| rest);
        let named = self.modules.iter().flatten();
        let named = named.filter(|(name, _)| lies_in(path, name) || lies_in(in_crate, name));
        let longest = named.max_by_key(|(name, _)| name.len());
        longest.map_or(self.others, |(_, level)| *level)
    }

    /// The least important messages that any module may make.
    #[must_use]
    pub fn least(&self) -> Importance {
        let named = self.modules.iter().flatten().map(|(_, level)| *level);
        named.fold(self.others, Importance::max)
    }
}

/// Returns true if a path is that of the module or of one in it.
fn lies_in(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn level(name: &str) -> Option<Importance> {
    match name {
        "off" => Some(Importance::Off),
        "error" => Some(Importance::Error),
        "warn" => Some(Importance::Warn),
        "info" => Some(Importance::Info),
        "debug" => Some(Importance::Debug),
        "trace" => Some(Importance::Trace),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Importance::{Debug, Error, Info, Off, Trace, Warn};
    use super::*;

    #[test]
    fn the_longest_name_that_a_module_lies_in_counts() {
        let filter = LogFilter::parse("warn,task=debug,task::idle=off,memory::heap=trace");
        let filter = filter.unwrap();
        for (path, level) in [
            ("kernel", Warn),
            ("kernel::smp", Warn),
            ("kernel::task", Debug),
            ("kernel::task::table", Debug),
            ("kernel::task::idle", Off),
            ("kernel::tasks", Warn),
            ("kernel::memory", Warn),
            ("kernel::memory::heap::large", Trace),
            ("task", Debug),
            ("", Warn),
        ] {
            assert_eq!(filter.of_module(path), level, "{path}");
        }
        assert_eq!(filter.least(), Trace);
    }

    #[test]
    fn without_a_word_there_is_what_there_always_was() {
        let filter = LogFilter::default();
        assert_eq!(filter.of_module("kernel::smp"), Debug);
        assert_eq!(filter.least(), Debug);
        assert_eq!(
            LogFilter::parse("kernel=error")
                .unwrap()
                .of_module("kernel::smp"),
            Error
        );
        assert_eq!(
            LogFilter::parse("smp=info")
                .unwrap()
                .of_module("kernel::smp"),
            Info
        );
        assert_eq!(
            LogFilter::parse("smp=info")
                .unwrap()
                .of_module("kernel::task"),
            Debug
        );
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for value in [
            "",
            "loud",
            "warn,",
            "=warn",
            "task=",
            "task=WARN",
            "task",
            "a=b=warn",
            "1",
        ] {
            assert_eq!(LogFilter::parse(value), Err(LEVELS), "{value}");
        }
        for value in ["warn,info", "task=warn,task=info", "a=off,warn,b=off,warn"] {
            assert_eq!(
                LogFilter::parse(value),
                Err("a level is said twice"),
                "{value}"
            );
        }
        let eight = "a=off,b=off,c=off,d=off,e=off,f=off,g=off,h=off";
        assert!(LogFilter::parse(eight).is_ok());
        let nine = std::format!("{eight},i=off");
        let said = LogFilter::parse(&nine);
        assert_eq!(said, Err("at most 8 modules can be named"));
    }
}
