//! What users add to QEMU's command line, behind `--`.
//!
//! All is passed on, but for what pmiscope sets itself and has an option for, and what would
//! take the guest out of its sight. QEMU judges the rest.

use std::ffi::OsString;

use thiserror::Error;

/// What a word of the command line is refused for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{word}: {why}")]
pub struct RefusedArgument {
    /// The word, with its value if that is what is wrong.
    word: String,
    /// What to do in its place.
    why: &'static str,
}

/// Options, without their dashes, that are never passed on, and what to do in their place.
const REFUSED: [(&[&str], &str); 13] = [
    (
        &["m", "mem-path"],
        "pmiscope makes the machine's memory: say --memory SIZE",
    ),
    (&["smp"], "pmiscope sets the cores: say --smp N"),
    (
        &["cpu"],
        "pmiscope chooses the processor, by --mode and --pmu",
    ),
    (
        &["accel", "enable-kvm", "icount", "no-kvm"],
        "pmiscope sets how time runs: say --mode deterministic, realtime or kvm",
    ),
    (
        &["kernel", "initrd"],
        "pmiscope boots its loader with the kernel: say --kernel ELF, and --loader ELF for another loader",
    ),
    (
        &["append"],
        "the kernel's command line is made of pmiscope's own options, such as --period and --workload",
    ),
    (
        &[
            "display",
            "nographic",
            "curses",
            "sdl",
            "gtk",
            "vnc",
            "spice",
        ],
        "pmiscope sets the display: say --display TYPE, such as gtk, sdl or vnc=:1 (none by default)",
    ),
    (
        &["readconfig"],
        "a file may set anything: say its options one by one",
    ),
    (
        &["loadvm", "incoming"],
        "a run begins by a boot: start such a guest by QEMU, and say pmiscope attach",
    ),
    (
        &["daemonize"],
        "QEMU has to stay the tool's: start it so by itself, and say pmiscope attach",
    ),
    (&["no-shutdown"], "QEMU has to end with the guest"),
    (
        &["chroot", "runas", "run-with"],
        "QEMU has to reach the guest's memory, a file of pmiscope's",
    ),
    (&["h", "help", "version"], "ask qemu-system-x86_64 itself"),
];

/// Keys of `-machine` that are refused, and what to do in their place. The others are added to
/// pmiscope's own, as QEMU adds what is said twice.
const REFUSED_OF_MACHINE: [(&[&str], &str); 4] = [
    (&["type"], "the machine is q35"),
    (
        &["memory-backend", "memory-encryption"],
        "pmiscope makes the machine's memory, which it has to see: say --memory SIZE",
    ),
    (
        &["accel"],
        "pmiscope sets how time runs: say --mode deterministic, realtime or kvm",
    ),
    (
        &["kernel", "initrd", "append", "firmware", "smp", "memory"],
        "pmiscope sets that itself, by its own options",
    ),
];

/// Options and the beginnings of their values through which the world outside reaches the
/// guest: what it does then is not a matter of counted instructions.
const OUTSIDE: [(&str, &str); 12] = [
    ("netdev", ""),
    ("nic", ""),
    ("net", ""),
    ("chardev", "socket"),
    ("chardev", "udp"),
    ("chardev", "pty"),
    ("serial", "tcp"),
    ("serial", "telnet"),
    ("serial", "pty"),
    ("object", "rng-"),
    ("device", "vfio-"),
    ("device", "usb-host"),
];

/// Checks what users add.
///
/// # Errors
///
/// The first word that is refused.
pub fn check(arguments: &[OsString]) -> Result<(), RefusedArgument> {
    for (option, value) in options(arguments) {
        let name = option.trim_start_matches('-');
        if let Some(why) = find(&REFUSED, name) {
            return Err(RefusedArgument { word: option, why });
        }
        let refused = |word: String, why| Err(RefusedArgument { word, why });
        match name {
            "machine" | "M" => check_machine(&option, &value)?,
            "action" if value.contains("reboot=reset") || value.contains("shutdown=pause") => {
                let why = "QEMU has to end with the guest, and a reboot would be another run";
                return refused(format!("{option} {value}"), why);
            }
            "object" if has_id(&value, "ram") => {
                return refused(
                    format!("{option} {value}"),
                    "ram is the id of the machine's own memory: name another",
                );
            }
            "chardev" if has_id(&value, "serial") => {
                return refused(
                    format!("{option} {value}"),
                    "serial is the id of the guest's log: name another",
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_machine(option: &str, value: &str) -> Result<(), RefusedArgument> {
    for (place, part) in value.split(',').enumerate() {
        let (key, setting) = match part.split_once('=') {
            Some(pair) => pair,
            // The first word without a key is the type; later ones switch something on.
            None if place == 0 => ("type", part),
            None => (part, "on"),
        };
        if (key, setting) == ("type", "q35") {
            continue;
        }
        // Options of other groups are written with a dot behind the group.
        let group = key.split('.').next().unwrap_or(key);
        if let Some(why) = find(&REFUSED_OF_MACHINE, group) {
            let word = format!("{option} {part}");
            return Err(RefusedArgument { word, why });
        }
    }
    Ok(())
}

/// What lets the world outside reach the guest, of these words.
#[must_use]
pub fn from_outside(arguments: &[OsString]) -> Vec<String> {
    let is_outside = |(option, value): &(String, String)| {
        let name = option.trim_start_matches('-');
        let is_none = value == "none";
        let mut known = OUTSIDE.iter();
        !is_none && known.any(|(other, start)| *other == name && value.starts_with(start))
    };
    let found = options(arguments).filter(is_outside);
    found
        .map(|(option, value)| format!("{option} {value}"))
        .collect()
}

fn find(table: &[(&[&str], &'static str)], name: &str) -> Option<&'static str> {
    let mut rows = table.iter();
    rows.find(|(names, _)| names.contains(&name))
        .map(|(_, why)| *why)
}

/// The options, each with the word behind it, which may be its value.
fn options(arguments: &[OsString]) -> impl Iterator<Item = (String, String)> {
    let text = |word: Option<&OsString>| {
        word.map_or_else(String::new, |word| word.to_string_lossy().into())
    };
    let words = arguments.iter().enumerate();
    let options = words.filter(|(_, word)| word.to_string_lossy().starts_with('-'));
    options.map(move |(at, word)| (text(Some(word)), text(arguments.get(at + 1))))
}

fn has_id(value: &str, id: &str) -> bool {
    value
        .split(',')
        .any(|part| part.strip_prefix("id=") == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn what_pmiscope_sets_itself_is_refused_with_the_option_to_use() {
        for (line, word, why) in [
            ("-m 1G", "-m", "--memory"),
            ("--m 1G", "--m", "--memory"),
            ("-name x -smp 8", "-smp", "--smp"),
            ("-kernel x", "-kernel", "--kernel"),
            ("-initrd x", "-initrd", "--kernel"),
            ("-append x", "-append", "--period"),
            ("-accel kvm", "-accel", "--mode"),
            ("-enable-kvm", "-enable-kvm", "--mode"),
            ("-icount shift=1", "-icount", "--mode"),
            ("-cpu host", "-cpu", "--pmu"),
            ("-display gtk", "-display", "--display"),
            ("-nographic", "-nographic", "--display"),
            ("-mem-path x", "-mem-path", "--memory"),
            ("-daemonize", "-daemonize", "attach"),
            ("-loadvm x", "-loadvm", "attach"),
            ("-machine pc", "-machine pc", "q35"),
            ("-M type=microvm", "-M type=microvm", "q35"),
            (
                "-machine q35,smm=off,accel=kvm",
                "-machine accel=kvm",
                "--mode",
            ),
            (
                "-machine memory-backend=x",
                "-machine memory-backend=x",
                "--memory",
            ),
            ("-machine smp.cpus=2", "-machine smp.cpus=2", "itself"),
            (
                "-action reboot=reset",
                "-action reboot=reset",
                "another run",
            ),
            (
                "-object memory-backend-ram,id=ram,size=1M",
                "-object memory-backend-ram,id=ram,size=1M",
                "another",
            ),
            (
                "-chardev null,id=serial",
                "-chardev null,id=serial",
                "another",
            ),
        ] {
            let refused = check(&words(line)).expect_err(line);
            assert_eq!(refused.word, word, "{line}");
            assert!(refused.why.contains(why), "{line}: {}", refused.why);
        }
    }

    #[test]
    fn what_does_no_harm_is_passed_on() {
        for line in [
            "",
            "-device virtio-net-pci,netdev=n -netdev user,id=n",
            "-drive file=x,if=none,id=d,format=raw -device virtio-blk-pci,drive=d",
            "-serial null -parallel none -vga std",
            "-machine q35,smm=off -M type=q35,vmport=off -machine usb=on",
            "-qmp unix:x,server=on,wait=off -monitor none -s -S",
            "-global hpet.msi=off -rtc base=localtime -name kernel -no-reboot",
            "-object rng-random,id=ram0,filename=x -chardev null,id=serial1",
            "-bios x -hda y -cdrom z",
            "-action panic=none -snapshot -smbios type=0",
        ] {
            assert_eq!(check(&words(line)), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_found() {
        let line = "-netdev user,id=n -device e1000,netdev=n -nic none -chardev socket,id=a,path=x \
                    -chardev null,id=b -serial pty -object rng-random,id=r";
        let expected = [
            "-netdev user,id=n",
            "-chardev socket,id=a,path=x",
            "-serial pty",
            "-object rng-random,id=r",
        ];
        assert_eq!(from_outside(&words(line)), expected);
        assert!(from_outside(&words("-drive file=net -name netdev -vga std")).is_empty());
    }
}
