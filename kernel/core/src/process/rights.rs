use core::fmt;

/// What a process may do with a page besides reading it. No page is both written and executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Nothing else.
    Read,
    /// Write to it.
    Write,
    /// Execute it.
    Execute,
}

impl Rights {
    /// Returns true if pages with these rights may be used like that.
    ///
    /// ```
    /// use kernel_core::process::Rights;
    ///
    /// assert!(Rights::Write.allow(Rights::Read) && Rights::Write.allow(Rights::Write));
    /// assert!(!Rights::Write.allow(Rights::Execute));
    /// ```
    #[must_use]
    pub const fn allow(self, wanted: Self) -> bool {
        matches!(
            (self, wanted),
            (_, Self::Read) | (Self::Write, Self::Write) | (Self::Execute, Self::Execute)
        )
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r--",
            Self::Write => "rw-",
            Self::Execute => "r-x",
        })
    }
}
