//! What it means how QEMU's process has ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::ending::Exited;
use super::status;

/// What there is of a guest when its QEMU has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trace {
    /// Nothing: its memory was never written to, which firmware does first.
    Nothing,
    /// Something ran. It has logged nothing and made no region.
    Silent,
    /// A log, or a region.
    Heard,
}

/// What is known of a QEMU that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Remains<'a> {
    pub status: ExitStatus,
    /// What it has printed.
    pub said: &'a str,
    /// Whether it is a script, whose status says of a program in it by which signal it was
    /// killed.
    pub is_script: bool,
    /// Whether a QEMU was left behind it.
    pub has_left_qemu: bool,
    /// What there is of its guest.
    pub trace: Trace,
    /// What is to be said of the guest's memory if it was killed by SIGBUS.
    pub memory: &'a str,
}

/// What QEMU says of a kernel that does not fit.
const TOO_LARGE: &str = "initrd is too large";

/// What a shell says by its status of a program that it could not start (POSIX, Shell Command
/// Language, 2.8.2).
const NOT_STARTED: [(i32, &str); 2] = [
    (126, "the shell's, of a program that cannot be executed"),
    (127, "the shell's, of a program that is not found"),
];

/// The signal by which Linux says that there is no memory behind an address.
const SIGBUS: i32 = 7;

/// Signals that kill a QEMU, and what that means (signal(7)).
const SIGNALS: [(i32, &str); 9] = [
    (1, "somebody ended it"),
    (2, "somebody ended it"),
    (4, "it has an instruction that this processor does not know"),
    (6, "it found an error in itself"),
    (
        9,
        "somebody killed it, or the system was out of memory: dmesg says so",
    ),
    (11, "a segmentation fault, an error in QEMU"),
    (15, "somebody ended it"),
    (
        24,
        "it took more of the processor's time than `ulimit -t` allows",
    ),
    (
        25,
        "a file grew beyond `ulimit -f`: the guest's log, or an image",
    ),
];

impl Remains<'_> {
    /// How it ended.
    pub fn exited(&self) -> Exited {
        let how = match (self.status.code(), self.status.signal()) {
            (Some(0), _) if self.has_left_qemu => {
                "its program ended and left a QEMU running: --qemu has to be QEMU, or a script that ends with it (`exec qemu-system-x86_64 \"$@\"`)".into()
            }
            // -no-reboot: the guest reset the machine, as a triple fault does.
            (Some(0), _) if self.trace != Trace::Nothing => return Exited::Reset,
            (Some(code), _) => match self.written(code) {
                Some(value) => return Exited::Value(value),
                None => self.of_its_own(code),
            },
            (None, Some(signal)) => self.killed(signal),
            (None, None) => self.status.to_string(),
        };
        Exited::Failed(match self.said {
            "" => how,
            said if said.contains(TOO_LARGE) => format!(
                "{how}; {said}: the kernel's file does not fit the machine's memory, raise --memory or strip the file"
            ),
            said => format!("{how}; {said}"),
        })
    }

    /// What the guest wrote to the exit port, if that is what this status says. It may also be
    /// one of QEMU's own, or of the script that starts it.
    fn written(&self, code: i32) -> Option<u8> {
        let value = status::value(code)?;
        let is_known = status::MEANT.contains(&value);
        let is_of_shell = self.is_script && self.of_shell(code).is_some();
        match self.trace {
            Trace::Nothing => return None,
            Trace::Silent if is_of_shell || (!is_known && !self.said.is_empty()) => return None,
            Trace::Silent | Trace::Heard => {}
        }
        // It is QEMU's own status for an error, too.
        let is_error = value == 0 && !self.said.is_empty();
        let is_signal = self.is_script && self.meaning(code - 128).is_some();
        (!is_error && !is_signal).then_some(value)
    }

    /// What it means that QEMU ended with this status, and not by its guest.
    fn of_its_own(&self, code: i32) -> String {
        let how = format!("exit status {code}");
        let signal = code - 128;
        if self.is_script && self.meaning(signal).is_some() {
            return format!("{how}, {}", self.killed(signal));
        }
        // What it says, says more.
        match (self.said, self.of_shell(code), self.trace) {
            ("", Some(meaning), _) if self.is_script => format!("{how} ({meaning})"),
            ("", _, Trace::Nothing) => {
                format!("{how} before any guest ran, and not a word why")
            }
            _ => how,
        }
    }

    fn of_shell(&self, code: i32) -> Option<&'static str> {
        let mut known = NOT_STARTED.iter();
        known
            .find(|(number, _)| *number == code)
            .map(|(_, meaning)| *meaning)
    }

    fn killed(&self, signal: i32) -> String {
        match self.meaning(signal) {
            Some(meaning) => format!("killed by signal {signal} ({meaning})"),
            None => format!("killed by signal {signal}"),
        }
    }

    fn meaning(&self, signal: i32) -> Option<&str> {
        if signal == SIGBUS {
            return Some(self.memory);
        }
        let mut known = SIGNALS.iter();
        known
            .find(|(number, _)| *number == signal)
            .map(|(_, meaning)| *meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that has ended so.
    fn remains(status: i32) -> Remains<'static> {
        Remains {
            status: ExitStatus::from_raw(status),
            said: "",
            is_script: false,
            has_left_qemu: false,
            trace: Trace::Heard,
            memory: "/m is full",
        }
    }

    #[test]
    fn an_odd_status_is_the_guests_only_if_one_was_there() {
        use Trace::{Heard, Nothing, Silent};
        let failed = |how: &str| Exited::Failed(how.into());
        let none = "before any guest ran, and not a word why";
        for (code, said, trace, expected) in [
            (
                127,
                "sh: q: not found",
                Nothing,
                failed("exit status 127; sh: q: not found"),
            ),
            (
                127,
                "sh: q: not found",
                Silent,
                failed("exit status 127; sh: q: not found"),
            ),
            (127, "a warning", Heard, Exited::Value(0x3f)),
            (
                127,
                "",
                Silent,
                failed("exit status 127 (the shell's, of a program that is not found)"),
            ),
            (
                126,
                "",
                Nothing,
                failed("exit status 126 (the shell's, of a program that cannot be executed)"),
            ),
            (3, "no", Nothing, failed("exit status 3; no")),
            (3, "no", Silent, failed("exit status 3; no")),
            (3, "no", Heard, Exited::Value(1)),
            (3, "", Silent, Exited::Value(1)),
            (1, "", Nothing, failed(&format!("exit status 1 {none}"))),
            (1, "", Silent, Exited::Value(0)),
            (33, "no room", Nothing, failed("exit status 33; no room")),
            (33, "a warning", Silent, Exited::Value(0x10)),
            (33, "", Nothing, failed(&format!("exit status 33 {none}"))),
            (0, "", Nothing, failed(&format!("exit status 0 {none}"))),
            (0, "bye", Nothing, failed("exit status 0; bye")),
            (0, "", Silent, Exited::Reset),
        ] {
            let remains = Remains {
                said,
                trace,
                is_script: true,
                ..remains(code << 8)
            };
            assert_eq!(remains.exited(), expected, "{code} {said} {trace:?}");
        }
    }

    #[test]
    fn the_guests_statuses_are_told_from_qemus_own() {
        let exited = |code: i32, said: &str, is_script| {
            let remains = Remains {
                said,
                is_script,
                ..remains(code << 8)
            };
            remains.exited()
        };
        let failed = |how: &str| Exited::Failed(how.into());
        for (code, said, is_script, expected) in [
            (33, "", false, Exited::Value(0x10)),
            (33, "", true, Exited::Value(0x10)),
            (65, "a warning", false, Exited::Value(0x20)),
            (255, "", true, Exited::Value(0x7f)),
            (1, "", false, Exited::Value(0)),
            (1, "no; such", false, failed("exit status 1; no; such")),
            (2, "", true, failed("exit status 2")),
            (0, "", false, Exited::Reset),
            // A guest may have written that.
            (135, "", false, Exited::Value(0x43)),
            (
                135,
                "Bus error",
                true,
                failed("exit status 135, killed by signal 7 (/m is full); Bus error"),
            ),
            (133, "", true, Exited::Value(0x42)),
        ] {
            assert_eq!(exited(code, said, is_script), expected, "{code} {said}");
        }
        let left = Remains {
            has_left_qemu: true,
            ..remains(0)
        };
        assert!(
            matches!(left.exited(), Exited::Failed(how) if how.contains("left a QEMU running"))
        );
    }

    #[test]
    fn signals_are_said_by_what_they_mean() {
        for (signal, expected) in [
            (7, "killed by signal 7 (/m is full); last words"),
            (
                9,
                "killed by signal 9 (somebody killed it, or the system was out of memory: dmesg says so); last words",
            ),
            (64, "killed by signal 64; last words"),
        ] {
            let remains = Remains {
                said: "last words",
                ..remains(signal)
            };
            assert_eq!(remains.exited(), Exited::Failed(expected.into()));
        }
    }
}
