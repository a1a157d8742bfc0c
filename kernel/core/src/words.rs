//! The words of the command line that are the kernel's own: what its log has and where it goes,
//! what becomes of the machine when the run has ended, and of what a run before has left, what
//! leads to the monitor, what the kernel watches of itself, and whether programs are isolated. All others are the sampler's.

use alloc::string::String;
use core::fmt;
use core::num::NonZeroU32;

use crate::log_filter::LogFilter;
use crate::uart::Speed;

/// What the kernel is told beside the run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Words<'a> {
    /// `log=`: which messages are made.
    pub log: LogFilter<'a>,
    /// `serial=`: where the log goes.
    pub serial: Port,
    /// `at-end=`: what becomes of the machine.
    pub at_end: AtEnd,
    /// `kept=`: what becomes of what a run before a reset has left in memory.
    pub kept: KeptRuns,
    /// `monitor=`: what leads to the monitor.
    pub monitor: MonitorEntry,
    /// `watchdog=`: after how many milliseconds with interrupts off a core is said to hang. `None`:
    /// nobody looks.
    pub watchdog: Option<NonZeroU32>,
    /// `accounting=`: what each core spends its time on is counted.
    pub accounting: bool,
    /// `locks=`: samples of a core that holds a lock say which.
    pub locks: bool,
    /// `lines=`: backtraces have files and lines.
    pub lines: bool,
    /// `kpti=`: programs run on page tables without the kernel.
    pub kpti: bool,
}

/// Where the log goes, and how fast.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Port {
    /// The port.
    pub name: PortName,
    /// Its speed, behind a comma. `None`: the usual one, or the one that firmware has set.
    pub speed: Option<Speed>,
}

/// What leads to the monitor.
///
/// | | a panic, an unexpected trap | `^C` on the serial port | the start of the run |
/// |---|---|---|---|
/// | `off` | | | |
/// | `panic` | yes | | |
/// | `key` | | yes | |
/// | `on` | yes | yes | |
/// | `start` | yes | yes | yes |
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(missing_docs, reason = "the table has them")]
pub enum MonitorEntry {
    #[default]
    Off,
    Panic,
    Key,
    On,
    Start,
}

impl MonitorEntry {
    /// Returns true if a failure does.
    #[must_use]
    pub const fn is_by_failure(self) -> bool {
        matches!(self, Self::Panic | Self::On | Self::Start)
    }

    /// Returns true if the key does.
    #[must_use]
    pub const fn is_by_key(self) -> bool {
        matches!(self, Self::Key | Self::On | Self::Start)
    }

    /// Returns true if the start of the run does.
    #[must_use]
    pub const fn is_at_start(self) -> bool {
        matches!(self, Self::Start)
    }
}

/// What becomes of samples that a run before a reset has left in memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum KeptRuns {
    /// They stay until they have been sent, and a new run has other memory.
    #[default]
    Keep,
    /// They are sent, and no new run begins; without any the run is as always.
    Send,
    /// They are forgotten.
    Drop,
}

/// A serial port, as `serial=` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortName {
    /// A 16550 at this I/O port: `com1` to `com4`, or a number.
    Io(u16),
    /// The first PCI device that is one.
    Pci,
    /// What ACPI's table SPCR says.
    Spcr,
    /// None.
    None,
}

impl Default for PortName {
    fn default() -> Self {
        Self::Io(COM[0])
    }
}

/// Where PCs have their serial ports.
const COM: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];

/// What becomes of the machine when the run has ended, well or not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum AtEnd {
    /// QEMU's exit device gets a status; without it the machine stays.
    #[default]
    Exit,
    /// It stays as it is.
    Stay,
    /// It starts again.
    Reboot,
    /// It is switched off.
    Off,
}

/// An own word that is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadWord<'a> {
    word: &'a str,
    problem: &'static str,
}

impl fmt::Display for BadWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.word, self.problem)
    }
}

impl core::error::Error for BadWord<'_> {}

const SERIAL: &str = "serial";
const AT_END: &str = "at-end";
const KEPT: &str = "kept";
const MONITOR: &str = "monitor";
const LOG: &str = "log";
const WATCHDOG: &str = "watchdog";
const ACCOUNTING: &str = "accounting";
const LOCKS: &str = "locks";
const LINES: &str = "lines";
const KPTI: &str = "kpti";

/// Those that are on or off.
const SWITCHES: [&str; 4] = [ACCOUNTING, LOCKS, LINES, KPTI];

/// All of them.
const OWN: [&str; 10] = [
    SERIAL, AT_END, KEPT, MONITOR, LOG, WATCHDOG, ACCOUNTING, LOCKS, LINES, KPTI,
];

/// The kernel's own words, as a message lists those that there are.
pub const LISTED: &str =
    "serial=, at-end=, kept=, monitor=, log=, watchdog=, accounting=, locks=, lines=, kpti=";

/// The longest time of `watchdog=`: an hour.
const LONGEST_WATCH: u32 = 3_600_000;

impl<'a> Words<'a> {
    /// The kernel's own words of a command line.
    ///
    /// # Errors
    ///
    /// The first that is not understood, or is there twice.
    pub fn parse(command_line: &'a str) -> Result<Self, BadWord<'a>> {
        let (mut serial, mut at_end, mut kept) = (None, None, None);
        let (mut monitor, mut log, mut watchdog) = (None, None, None);
        let mut switches = [None; SWITCHES.len()];
        for word in command_line.split_ascii_whitespace() {
            let bad = |problem| BadWord { word, problem };
            let is_again = match word.split_once('=') {
                Some((SERIAL, value)) => {
                    let port = port_and_speed(value).map_err(bad)?;
                    serial.replace(port).is_some()
                }
                Some((AT_END, value)) => {
                    let end = end(value).ok_or(bad("must be one of exit, stay, reboot, off"))?;
                    at_end.replace(end).is_some()
                }
                Some((KEPT, value)) => {
                    let runs = kept_runs(value).ok_or(bad("must be one of keep, send, drop"))?;
                    kept.replace(runs).is_some()
                }
                Some((MONITOR, value)) => {
                    let problem = "must be one of off, panic, key, on, start";
                    let entry = monitor_entry(value).ok_or(bad(problem))?;
                    monitor.replace(entry).is_some()
                }
                Some((LOG, value)) => {
                    let filter = LogFilter::parse(value).map_err(bad)?;
                    log.replace(filter).is_some()
                }
                Some((WATCHDOG, value)) => watchdog
                    .replace(milliseconds(value).map_err(bad)?)
                    .is_some(),
                Some((key, value)) => match SWITCHES.iter().position(|it| *it == key) {
                    Some(place) => switches[place]
                        .replace(switch(value).map_err(bad)?)
                        .is_some(),
                    None => false,
                },
                None => false,
            };
            if is_again {
                return Err(bad("set before; say it once"));
            }
        }
        let [accounting, locks, lines, kpti] = switches.map(Option::unwrap_or_default);
        Ok(Self {
            log: log.unwrap_or_default(),
            serial: serial.unwrap_or_default(),
            at_end: at_end.unwrap_or_default(),
            kept: kept.unwrap_or_default(),
            monitor: monitor.unwrap_or_default(),
            watchdog,
            accounting,
            locks,
            lines,
            kpti,
        })
    }
}

fn is_own(word: &str) -> bool {
    let key = word.split_once('=').map(|(key, _)| key);
    key.is_some_and(|key| OWN.contains(&key))
}

/// Returns true if the command line has any of the kernel's own words.
#[must_use]
pub fn has_own(command_line: &str) -> bool {
    command_line.split_ascii_whitespace().any(is_own)
}

/// The command line without the kernel's own words.
#[must_use]
pub fn without_own(command_line: &str) -> String {
    let mut others = String::new();
    for word in command_line
        .split_ascii_whitespace()
        .filter(|word| !is_own(word))
    {
        if !others.is_empty() {
            others.push(' ');
        }
        others.push_str(word);
    }
    others
}

fn port_and_speed(value: &str) -> Result<Port, &'static str> {
    let (name, speed) = match value.split_once(',') {
        Some((name, speed)) => (name, Some(speed)),
        None => (value, None),
    };
    let name =
        port(name).ok_or("must be com1 to com4, pci, spcr, none, or an I/O port such as 0x3f8")?;
    let Some(speed) = speed else {
        return Ok(Port { name, speed: None });
    };
    if name == PortName::None {
        return Err("no port has no speed");
    }
    let speed = speed.parse().ok().and_then(Speed::new);
    let speed = speed.ok_or("the speed must be 115200 or a divisor of it, 300 at the least")?;
    Ok(Port {
        name,
        speed: Some(speed),
    })
}

fn port(value: &str) -> Option<PortName> {
    if let Some(digits) = value.strip_prefix("0x") {
        // Its registers are eight ports.
        let port = u16::from_str_radix(digits, 16).ok();
        let port = port.filter(|port| (1..=u16::MAX - 7).contains(port));
        return port.map(PortName::Io);
    }
    match value {
        "com1" => Some(PortName::Io(COM[0])),
        "com2" => Some(PortName::Io(COM[1])),
        "com3" => Some(PortName::Io(COM[2])),
        "com4" => Some(PortName::Io(COM[3])),
        "pci" => Some(PortName::Pci),
        "spcr" => Some(PortName::Spcr),
        "none" => Some(PortName::None),
        _ => None,
    }
}

fn end(value: &str) -> Option<AtEnd> {
    match value {
        "exit" => Some(AtEnd::Exit),
        "stay" => Some(AtEnd::Stay),
        "reboot" => Some(AtEnd::Reboot),
        "off" => Some(AtEnd::Off),
        _ => None,
    }
}

fn kept_runs(value: &str) -> Option<KeptRuns> {
    match value {
        "keep" => Some(KeptRuns::Keep),
        "send" => Some(KeptRuns::Send),
        "drop" => Some(KeptRuns::Drop),
        _ => None,
    }
}

fn monitor_entry(value: &str) -> Option<MonitorEntry> {
    match value {
        "off" => Some(MonitorEntry::Off),
        "panic" => Some(MonitorEntry::Panic),
        "key" => Some(MonitorEntry::Key),
        "on" => Some(MonitorEntry::On),
        "start" => Some(MonitorEntry::Start),
        _ => None,
    }
}

fn milliseconds(value: &str) -> Result<NonZeroU32, &'static str> {
    let number = value.parse().ok();
    let number = number.filter(|number: &NonZeroU32| number.get() <= LONGEST_WATCH);
    number.ok_or("must be milliseconds, 1 to 3600000")
}

fn switch(value: &str) -> Result<bool, &'static str> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(value: &str) -> Option<PortName> {
        let line = std::format!("period=7 serial={value}");
        Words::parse(&line).ok().map(|words| words.serial.name)
    }

    #[test]
    fn ports_have_names_or_are_numbers() {
        assert_eq!(Words::parse("").unwrap().serial.name, PortName::Io(0x3f8));
        for (value, port) in [
            ("com1", PortName::Io(0x3f8)),
            ("com2", PortName::Io(0x2f8)),
            ("com3", PortName::Io(0x3e8)),
            ("com4", PortName::Io(0x2e8)),
            ("0x2F8", PortName::Io(0x2f8)),
            ("0x1", PortName::Io(1)),
            ("0xfff8", PortName::Io(0xfff8)),
            ("pci", PortName::Pci),
            ("spcr", PortName::Spcr),
            ("none", PortName::None),
        ] {
            assert_eq!(serial(value), Some(port), "{value}");
        }
        for value in [
            "", "com0", "com5", "COM1", "0x", "0x0", "0xfff9", "0x10000", "0x-1", "3f8",
        ] {
            assert_eq!(serial(value), None, "{value}");
        }
    }

    #[test]
    fn a_port_may_have_a_speed() {
        let divisor = |line| {
            let words = Words::parse(line).unwrap();
            (words.serial.name, words.serial.speed.map(Speed::divisor))
        };
        let com = |number: usize| PortName::Io(COM[number - 1]);
        assert_eq!(divisor("serial=com1"), (com(1), None));
        assert_eq!(divisor("serial=com1,115200"), (com(1), Some(1)));
        assert_eq!(divisor("serial=0x2f8,9600"), (com(2), Some(12)));
        assert_eq!(divisor("serial=pci,38400"), (PortName::Pci, Some(3)));
        assert_eq!(divisor("serial=spcr,300"), (PortName::Spcr, Some(384)));
        for speed in [
            "", "0", "299", "150", "9601", "230400", "9600n8", "-9600", "9600,1",
        ] {
            let line = std::format!("serial=com1,{speed}");
            let said = Words::parse(&line).unwrap_err().to_string();
            let says = "the speed must be 115200 or a divisor of it, 300 at the least";
            assert_eq!(said, std::format!("`{line}`: {says}"));
        }
        let said = Words::parse("serial=none,9600").unwrap_err().to_string();
        assert_eq!(said, "`serial=none,9600`: no port has no speed");
    }

    #[test]
    fn an_end_has_a_name() {
        let at_end = |line| Words::parse(line).map(|words| words.at_end);
        assert_eq!(at_end("samples=3"), Ok(AtEnd::Exit));
        assert_eq!(at_end("at-end=exit"), Ok(AtEnd::Exit));
        assert_eq!(at_end("at-end=stay serial=com2"), Ok(AtEnd::Stay));
        assert_eq!(at_end("at-end=reboot"), Ok(AtEnd::Reboot));
        assert_eq!(at_end("x at-end=off"), Ok(AtEnd::Off));
    }

    #[test]
    fn what_a_reset_has_left_has_a_fate() {
        let kept = |line| Words::parse(line).map(|words| words.kept);
        assert_eq!(kept("keep=kept"), Ok(KeptRuns::Keep));
        assert_eq!(kept("kept=keep"), Ok(KeptRuns::Keep));
        assert_eq!(kept("send=serial kept=send"), Ok(KeptRuns::Send));
        assert_eq!(kept("kept=drop at-end=off"), Ok(KeptRuns::Drop));
    }

    #[test]
    fn the_monitor_has_ways_in() {
        let ways = |value: &str| {
            let line = std::format!("monitor={value} period=7");
            let entry = Words::parse(&line).unwrap().monitor;
            [
                entry.is_by_failure(),
                entry.is_by_key(),
                entry.is_at_start(),
            ]
        };
        assert_eq!(Words::default().monitor, MonitorEntry::Off);
        assert_eq!(ways("off"), [false, false, false]);
        assert_eq!(ways("panic"), [true, false, false]);
        assert_eq!(ways("key"), [false, true, false]);
        assert_eq!(ways("on"), [true, true, false]);
        assert_eq!(ways("start"), [true, true, true]);
    }

    #[test]
    fn the_log_is_filtered_by_level_and_module() {
        let filter = |line| Words::parse(line).map(|words| words.log);
        assert_eq!(filter("samples=3"), Ok(LogFilter::default()));
        let asked = LogFilter::parse("warn,task=debug").unwrap();
        assert_eq!(filter("samples=3 log=warn,task=debug"), Ok(asked));
        let said = filter("log=loud").unwrap_err().to_string();
        assert!(
            said.starts_with("`log=loud`: must be LEVEL or MODULE=LEVEL"),
            "{said}"
        );
        let said = filter("log=warn log=info").unwrap_err().to_string();
        assert_eq!(said, "`log=info`: set before; say it once");
    }

    #[test]
    fn the_kernel_watches_itself_when_asked() {
        let words = |line| Words::parse(line).unwrap();
        let watchdog = |line| words(line).watchdog.map_or(0, NonZeroU32::get);
        assert_eq!(words(""), Words::default());
        assert_eq!(watchdog("locks=on"), 0);
        assert_eq!(watchdog("watchdog=1"), 1);
        assert_eq!(watchdog("watchdog=3600000"), 3_600_000);
        assert!(words("accounting=on").accounting && words("locks=on").locks);
        assert!(words("lines=on").lines && words("kpti=on").kpti);
        let off = words("accounting=off locks=off lines=off kpti=off");
        assert_eq!(off, Words::default());
        for value in ["", "0", "-1", "3600001", "off", "1s"] {
            let line = std::format!("watchdog={value}");
            let said = Words::parse(&line).unwrap_err().to_string();
            let says = "must be milliseconds, 1 to 3600000";
            assert_eq!(said, std::format!("`{line}`: {says}"));
        }
        for line in ["accounting=yes", "locks=", "lines=1", "kpti=auto"] {
            let said = Words::parse(line).unwrap_err().to_string();
            assert_eq!(said, std::format!("`{line}`: must be on or off"));
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let said = |line| Words::parse(line).unwrap_err().to_string();
        assert_eq!(
            said("at-end=halt"),
            "`at-end=halt`: must be one of exit, stay, reboot, off"
        );
        assert_eq!(
            said("serial=ttyS0"),
            "`serial=ttyS0`: must be com1 to com4, pci, spcr, none, or an I/O port such as 0x3f8"
        );
        assert_eq!(said("kept="), "`kept=`: must be one of keep, send, drop");
        assert_eq!(
            said("monitor=yes"),
            "`monitor=yes`: must be one of off, panic, key, on, start"
        );
        assert_eq!(
            said("kept=drop kept=keep"),
            "`kept=keep`: set before; say it once"
        );
        assert_eq!(
            said("serial=pci serial=com1"),
            "`serial=com1`: set before; say it once"
        );
        assert_eq!(
            said("at-end=off at-end=off"),
            "`at-end=off`: set before; say it once"
        );
    }

    #[test]
    fn all_own_words_are_listed() {
        let own = OWN.map(|key| std::format!("{key}="));
        assert_eq!(LISTED, own.join(", "));
        assert!(LISTED.split(", ").all(has_own));
    }

    #[test]
    fn the_others_stay_in_their_order() {
        let line = "  period=5\tserial=com2 serially=x at-end=off kept=drop workload=mix at-end serial kept ";
        assert_eq!(
            without_own(line),
            "period=5 serially=x workload=mix at-end serial kept"
        );
        assert_eq!(without_own("serial=pci"), "");
        assert!(has_own(line) && !has_own("serially=x at-end serial"));
    }
}
