//! Why a guest has not been sampled: what its kernel and its disc say before it starts, and
//! its log when it has ended.

use profiler::format::region::MAGIC;

use crate::profile::Mode;
use crate::qemu::{Heard, Menu, Wait};

/// What is known of a boot before the guest starts.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Boot {
    /// Whether the kernel's ELF contains the magic that a region starts with.
    pub(in crate::commands) has_sampler: bool,
    /// Whether it boots from a disc, and not by the loader.
    pub(in crate::commands) is_disc: bool,
    /// The boot menu on the disc, if one is found.
    pub(in crate::commands) menu: Option<Menu>,
    pub(in crate::commands) mode: Mode,
}

/// Returns true if a kernel may make a region: the magic is in its ELF, as constant or in the
/// instructions that write it, a word each. The linker leaves the library out of a kernel that
/// does not call it.
pub(in crate::commands) fn has_sampler(elf: &[u8]) -> bool {
    memchr::memmem::find(elf, &MAGIC[..8]).is_some()
}

const LINK: &str =
    "link the library and call its start (docs/adopt.md), or write a region (docs/region.md)";
const SET: &str = "set `timeout: 0` in limine.conf (`TIMEOUT=0` in limine.cfg)";
const SET_OR_REALTIME: &str =
    "set `timeout: 0` in limine.conf (`TIMEOUT=0` in limine.cfg), or take --mode realtime";

impl Boot {
    /// That the disc's menu hardly ever ends, if so.
    fn endless_menu(&self) -> Option<String> {
        let menu = self.menu.as_ref()?;
        match (menu.wait, self.mode) {
            (Wait::ForEver, _) => Some(format!(
                "the boot menu on the disc waits until somebody chooses ({menu}): {SET}"
            )),
            (Wait::Seconds(1..), Mode::Deterministic) => Some(format!(
                "the boot menu on the disc waits ({menu}), by a clock that hardly goes on where instructions are counted: {SET_OR_REALTIME}"
            )),
            _ => None,
        }
    }

    /// What makes it unlikely that there will be samples.
    pub(super) fn warnings(&self) -> Vec<String> {
        let no_sampler = (!self.has_sampler).then(|| {
            format!(
                "the kernel's ELF does not contain the sampler, there may be no samples: {LINK}"
            )
        });
        no_sampler.into_iter().chain(self.endless_menu()).collect()
    }

    /// What to do about a boot menu.
    const fn advice(&self) -> &'static str {
        match self.mode {
            Mode::Deterministic => SET_OR_REALTIME,
            Mode::Realtime | Mode::Kvm => SET,
        }
    }

    /// Returns true if samples are likely, as far as is known before the guest starts.
    pub(super) fn is_likely(&self) -> bool {
        self.has_sampler && self.endless_menu().is_none()
    }

    /// Why there were no samples of a guest whose log is of this origin.
    pub(in crate::commands) fn reason(&self, heard: Heard) -> String {
        let has_booted = !self.is_disc || heard == Heard::Kernel;
        if let Some(menu) = self.endless_menu().filter(|_| !has_booted) {
            return menu;
        }
        match (heard, self.has_sampler) {
            (Heard::Menu, _) => format!("a boot menu waits on the disc: {}", self.advice()),
            (_, false) => format!("its ELF does not contain the sampler: {LINK}"),
            (Heard::Nothing, true) if self.is_disc => {
                format!(
                    "nothing was logged to the first serial port: if a boot menu waits on the disc, {}",
                    self.advice()
                )
            }
            (Heard::Nothing, true) => {
                format!(
                    "it contains the sampler and has not started it, and logged nothing to the first serial port: see that it comes to {START}"
                )
            }
            (Heard::Kernel, true) => {
                format!(
                    "it contains the sampler and has not started it: see that it comes to {START}; its log says how far it came"
                )
            }
        }
    }
}

const START: &str = "`start` (in C `pmiscope_start`) on its first core";

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Boot = Boot {
        has_sampler: true,
        is_disc: false,
        menu: None,
        mode: Mode::Deterministic,
    };

    fn disc(wait: Option<Wait>, mode: Mode) -> Boot {
        Boot {
            is_disc: true,
            menu: wait.map(Menu::new),
            mode,
            ..HERE
        }
    }

    #[test]
    fn each_case_has_its_reason() {
        let without = Boot {
            has_sampler: false,
            ..HERE
        };
        let seconds = Some(Wait::Seconds(3));
        use Heard::{Kernel, Menu, Nothing};
        for (boot, heard, says) in [
            (
                &without,
                Kernel,
                "does not contain the sampler: link the library",
            ),
            (
                &without,
                Nothing,
                "does not contain the sampler: link the library",
            ),
            (
                &HERE,
                Kernel,
                "has not started it: see that it comes to `start`",
            ),
            (
                &HERE,
                Nothing,
                "logged nothing to the first serial port: see that",
            ),
            (
                &disc(seconds, Mode::Deterministic),
                Nothing,
                "or take --mode realtime",
            ),
            (&disc(seconds, Mode::Deterministic), Menu, "hardly goes on"),
            (
                &disc(seconds, Mode::Deterministic),
                Kernel,
                "has not started it",
            ),
            (
                &disc(seconds, Mode::Realtime),
                Nothing,
                "if a boot menu waits",
            ),
            (
                &disc(Some(Wait::ForEver), Mode::Realtime),
                Nothing,
                "until somebody chooses",
            ),
            (
                &disc(Some(Wait::Seconds(0)), Mode::Deterministic),
                Nothing,
                "if a boot menu waits",
            ),
            (
                &disc(None, Mode::Deterministic),
                Nothing,
                "if a boot menu waits",
            ),
            // It is heard, though it was not found.
            (
                &disc(None, Mode::Deterministic),
                Menu,
                "a boot menu waits on the disc: set",
            ),
        ] {
            let reason = boot.reason(heard);
            assert!(reason.contains(says), "{boot:?}, {heard:?}: {reason}");
        }
    }

    #[test]
    fn what_is_unlikely_to_be_sampled_is_said_before_it_starts() {
        let count = |boot: &Boot| {
            let warnings = boot.warnings();
            assert_eq!(boot.is_likely(), warnings.is_empty(), "{warnings:?}");
            warnings.len()
        };
        assert_eq!(count(&HERE), 0);
        assert_eq!(count(&disc(Some(Wait::Seconds(3)), Mode::Realtime)), 0);
        assert_eq!(count(&disc(Some(Wait::Seconds(0)), Mode::Deterministic)), 0);
        assert_eq!(count(&disc(None, Mode::Deterministic)), 0);
        assert_eq!(count(&disc(Some(Wait::ForEver), Mode::Realtime)), 1);
        let both = Boot {
            has_sampler: false,
            ..disc(Some(Wait::Seconds(3)), Mode::Deterministic)
        };
        let said = both.warnings();
        assert!(said[0].contains("does not contain the sampler"), "{said:?}");
        assert!(
            said[1].contains("the boot menu on the disc waits"),
            "{said:?}"
        );
    }

    #[test]
    fn the_magic_is_the_samplers_sign() {
        assert!(has_sampler(&[&b"text"[..], &MAGIC].concat()));
        assert!(!has_sampler(b"text of a kernel; pmiscope rings"));
    }
}
