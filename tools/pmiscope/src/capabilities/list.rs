//! Capabilities for people: what can be counted, and what can interrupt.

use profiler::contract::capabilities::Pmu;
use profiler::pmu::counters::Counters;
use profiler::pmu::event::Named;

use super::{Capabilities, OfCores, counters, name, numbers, pmu};
use crate::report::text::{WIDTH, wrap};

/// Columns of a name.
const NAME: usize = 26;

/// The list of `pmiscope list`, 100 columns.
#[must_use]
pub fn text(capabilities: &Capabilities) -> String {
    let mut list = List::default();
    list.machine(capabilities);
    list.events(capabilities);
    list.sources(capabilities);
    list.0
}

#[derive(Default)]
struct List(String);

impl List {
    fn line(&mut self, text: &str) {
        self.0 += text.trim_end();
        self.0 += "\n";
    }

    /// A name and its description, wrapped beside it.
    fn row(&mut self, name: &str, text: &str) {
        let mut name = name;
        if name.len() >= NAME {
            self.line(name);
            name = "";
        }
        for line in wrap(text, WIDTH - NAME) {
            self.line(&format!("{name:<NAME$}{line}"));
            name = "";
        }
    }

    fn machine(&mut self, capabilities: &Capabilities) {
        if let Some((identity, called)) = capabilities.processor() {
            let mut said = format!(
                "{}, {} family {:#x} model {:#x}",
                called.as_str(),
                name(identity.vendor),
                identity.family,
                identity.model
            );
            if let Some(hypervisor) = identity.hypervisor {
                said += &format!(", under {}", name(hypervisor));
            }
            self.row("processor", &said);
        }
        if let Some(clock) = capabilities.clock() {
            self.row("clock", &clock.to_string());
        }
        for OfCores { cores, outcome } in capabilities.pmus() {
            let said = match outcome {
                Ok(found) => format!("{}; {}", pmu(&found), state(&found)),
                Err(why) => format!("none: {}", why.as_str()),
            };
            self.row(&format!("PMU of {}", of_cores(&cores)), &said);
        }
    }

    fn events(&mut self, capabilities: &Capabilities) {
        self.line("");
        self.row("events, for --event", "counters");
        for event in Named::ALL {
            let groups = capabilities.event(event);
            if groups.is_empty() {
                self.row(event.name(), "not here: no PMU");
            }
            let is_same = groups.len() == 1;
            for (place, OfCores { cores, outcome }) in groups.iter().enumerate() {
                let said = match outcome {
                    Ok(able) => counters(*able),
                    Err(why) => format!("not here: {}", why.as_str()),
                };
                let said = if is_same {
                    said
                } else {
                    format!("{}: {said}", of_cores(cores))
                };
                self.row(if place == 0 { event.name() } else { "" }, &said);
            }
            self.row("", event.description());
            if let [_, others @ ..] = event.names()
                && !others.is_empty()
            {
                self.row("", &format!("also {}", others.join(", ")));
            }
        }
        self.ibs(capabilities);
        self.numbered(capabilities);
    }

    /// AMD's sampling of ops.
    fn ibs(&mut self, capabilities: &Capabilities) {
        let groups = capabilities.ibs();
        let is_same = groups.len() == 1;
        for (place, OfCores { cores, outcome }) in groups.iter().enumerate() {
            let said = match outcome {
                Ok(()) => "a counter for cycles or ops, and IBS".into(),
                Err(why) => format!("not here: {}", why.as_str()),
            };
            let said = if is_same {
                said
            } else {
                format!("{}: {said}", of_cores(cores))
            };
            self.row(if place == 0 { "ibs_op" } else { "" }, &said);
        }
        if groups.iter().any(|group| group.outcome.is_ok()) {
            self.row(
                "",
                "cycles (cnt_ctl=1: ops); each sample has the exact address of an op",
            );
        }
    }

    /// Events by their number.
    fn numbered(&mut self, capabilities: &Capabilities) {
        let pmus = capabilities.pmus();
        let is_same = pmus.len() == 1;
        let mut name = "cpu/event=N,umask=N/";
        for OfCores { cores, outcome } in &pmus {
            let free = |pmu: &Pmu| pmu.free().general;
            let said = match outcome {
                Ok(pmu) if free(pmu) != 0 => {
                    let (event, unit_mask) = number_bits(pmu.raw);
                    let any = counters(Counters {
                        general: free(pmu),
                        fixed: 0,
                    });
                    format!("{any}; event up to {event:#x}, umask up to {unit_mask:#x}")
                }
                Ok(_) => "not here: no general counter is free and works".into(),
                Err(_) => "not here: no PMU".into(),
            };
            let said = if is_same {
                said
            } else {
                format!("{}: {said}", of_cores(cores))
            };
            self.row(name, &said);
            name = "";
        }
        self.row(
            "",
            "an event of the maker's tables, by its number; also rUUEE, in hexadecimal",
        );
    }

    fn sources(&mut self, capabilities: &Capabilities) {
        self.line("");
        self.line("sources, for --source, in the order in which auto tries them");
        for attempt in capabilities.attempts() {
            let is_taken = capabilities.auto(attempt.delivery).source() == Some(attempt.source);
            let said = match attempt.works {
                Ok(()) if is_taken => "works; auto takes it".into(),
                Ok(()) => "works".into(),
                Err(why) => format!("not here: {}", why.as_str()),
            };
            let delivery = attempt.delivery.name().to_uppercase();
            self.row(&format!("{} as {delivery}", attempt.source), &said);
            if attempt.works.is_ok()
                && let Some(addresses) = capabilities.addresses(attempt.source)
            {
                self.row("", &format!("an address is {addresses}"));
            }
        }
    }
}

/// `core 0`, `cores 0-3`.
pub(crate) fn of_cores(cores: &[u32]) -> String {
    match cores {
        [only] => format!("core {only}"),
        _ => format!("cores {}", numbers(cores)),
    }
}

/// Which of a PMU's counters can be used.
pub(crate) fn state(pmu: &Pmu) -> String {
    let mut said = match pmu.free() {
        free if free == pmu.counters => return "all free".into(),
        _ if pmu.dead == pmu.counters => {
            return "none works: they do not keep what is written to them".into();
        }
        free => format!("free: {}", counters(free)),
    };
    if !pmu.busy.is_empty() {
        said += &format!(
            "; in use by firmware or a hypervisor: {}",
            counters(pmu.busy)
        );
    }
    if !pmu.dead.is_empty() {
        said += &format!(
            "; do not keep what is written to them: {}",
            counters(pmu.dead)
        );
    }
    said
}

/// The greatest event and unit mask whose bits an event select has.
fn number_bits(raw: u64) -> (u64, u64) {
    let byte = |shift: u32| raw >> shift & 0xff;
    let event = byte(0) | byte(32) << 8 & 0xf00;
    (event, byte(8) | byte(40) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hybrid processor, with a PMU on the first core of which firmware has a counter.
    fn hybrid() -> Capabilities {
        let mut capabilities = Capabilities::default();
        for line in [
            "processor vendor=GenuineIntel family=6 model=151: Intel",
            "clock tick=time reference=pm-timer within=40",
            "pmu core=0 interface=intel-5 counters=0xff+0xf busy=0x1+0x0 dead=0x0+0x0 bits=48+48 raw=0xffff kind=64",
            "event core=0 name=cycles counters=0xfe+0x2",
            "event core=0 name=slots counters=0xfe+0x8",
            "pmu core=1 interface=intel-5 counters=0x3f+0x7 busy=0x0+0x0 dead=0x0+0x0 bits=48+48 raw=0xffff kind=32",
            "event core=1 name=cycles counters=0x3f+0x2",
            "event core=1 name=slots none: this processor does not have the event",
            "source name=pmu delivery=nmi works",
            "source name=ipi delivery=irq none: it delivers NMIs only",
            "auto delivery=nmi source=pmu",
        ] {
            capabilities.read(&format!("[INFO core0] survey: {line}"));
        }
        assert_eq!(capabilities.lines.len(), 11);
        capabilities
    }

    #[test]
    fn cores_that_differ_are_listed_apart() {
        let text = text(&hybrid());
        for line in [
            "processor                 Intel, GenuineIntel family 0x6 model 0x97",
            "clock                     the time stamp counter, in nanoseconds, measured by the ACPI PM timer, to",
            "                          within 40 ppm",
            "PMU of core 0             Intel version 5, counters 0-7 of 48 bits, fixed 0-3 of 48 bits, on a",
            "                          performance core; free: 1-7, fixed 0-3; in use by firmware or a",
            "cycles                    core 0: 1-7, fixed 1",
            "                          core 1: 0-5, fixed 1",
            "                          also cpu-cycles",
            "slots                     core 0: 1-7, fixed 3",
            "                          core 1: not here: this processor does not have the event",
            "branches                  not here: no PMU",
            "cpu/event=N,umask=N/      core 0: 1-7; event up to 0xff, umask up to 0xff",
            "pmu as NMI                works; auto takes it",
            "                          an address is behind the event (skid): some tens of instructions, and more",
            "ipi as IRQ                not here: it delivers NMIs only",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }

    /// What a sample of it has is said where there can be any.
    #[test]
    fn ops_are_told_of_where_they_can_be_sampled() {
        let what_it_has = "each sample has the exact address of an op";
        for (line, is_said) in [
            ("ibs core=0 works", true),
            ("ibs core=0 none: this processor does not sample ops", false),
        ] {
            let mut capabilities = hybrid();
            capabilities.read(&format!("[INFO core0] survey: {line}"));
            assert_eq!(capabilities.lines.len(), 12, "{line}");
            let text = text(&capabilities);
            assert!(text.contains("\nibs_op "), "{text}");
            assert_eq!(text.contains(what_it_has), is_said, "{text}");
        }
    }

    #[test]
    fn the_bits_of_raw_events_are_said_as_numbers() {
        assert_eq!(number_bits(0xffff), (0xff, 0xff));
        assert_eq!(number_bits(0xf_0000_ffff), (0xfff, 0xff));
        assert_eq!(number_bits(0xff00_0000_ffff), (0xff, 0xffff));
    }

    #[test]
    fn what_programs_read_has_the_same() {
        let json = serde_json::to_value(super::super::json::Document::from(&hybrid())).unwrap();
        assert_eq!(json["events"][0]["name"], "cycles");
        assert_eq!(json["events"][0]["aliases"][0], "cpu-cycles");
        let slots = json["events"].as_array().unwrap();
        let slots = slots.iter().find(|event| event["name"] == "slots").unwrap();
        assert_eq!(slots["is_here"], true);
        assert_eq!(slots["counters"][0]["found"]["fixed"][0], 3);
        assert_eq!(slots["counters"][1]["found"], serde_json::Value::Null);
        assert_eq!(json["pmus"][1]["found"]["core_kind"], 32);
        assert_eq!(json["auto"]["nmi"], "pmu");
        assert_eq!(json["auto"]["irq"], serde_json::Value::Null);
        assert_eq!(json["incomplete"], "the survey has no end");
    }
}
