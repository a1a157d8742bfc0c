//! What a machine has to sample by, as `list` and `doctor` say it. QEMU's emulated
//! processor has no counters.

use profiler::pmu::event::Named;
use serde_json::Value;

use crate::fixture::tool;

#[track_caller]
fn said(command: &str, arguments: &str) -> String {
    let (status, said) = tool(command, arguments);
    assert_eq!(status, Some(0), "pmiscope {command} {arguments}:\n{said}");
    said
}

#[track_caller]
fn says(said: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            said.lines().any(|said| said == *line),
            "`{line}` is no line of:\n{said}"
        );
    }
}

/// What came of each source and way to interrupt.
fn sources(list: &Value) -> Vec<String> {
    let tried = list["sources"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tried
        .map(|tried| {
            format!(
                "{} {} {}{}",
                text(&tried["name"]),
                text(&tried["delivery"]),
                tried["works"],
                text(&tried["why"])
            )
        })
        .collect()
}

const NO_COUNTER: &str = "no counter keeps what is written to it (counters 0-3)";

#[test]
fn a_list_says_why_no_event_can_be_counted() {
    let list = said("list", "");
    says(
        &list,
        &[
            "PMU of cores 0-3          AMD, four counters, counters 0-3 of 48 bits; none works: they do not keep",
            "cycles                    not here: the counters that could do not keep what is written to them",
            "slots                     not here: this processor does not have the event",
            "cpu/event=N,umask=N/      not here: no general counter is free and works",
            "apic-timer as NMI         works; auto takes it",
            "hpet as IRQ               works",
            "ipi as IRQ                not here: it delivers NMIs only",
        ],
    );
    for event in Named::ALL {
        let here = format!("{:<26}not here: ", event.name());
        assert!(list.lines().any(|line| line.starts_with(&here)), "{list}");
    }
    assert_eq!(said("list", ""), list, "two surveys of the same machine");
}

#[test]
fn every_source_is_tried_both_ways_in_one_boot() {
    for mode in ["deterministic", "realtime"] {
        let list = said("list", &format!("--json --smp 2 --mode {mode}"));
        let list: Value = serde_json::from_str(&list).unwrap();
        let step = "its traps cannot be masked: leave out delivery=irq";
        let expected = [
            format!("pmu nmi false{NO_COUNTER}"),
            "apic-timer nmi true".into(),
            "hpet nmi true".into(),
            "ipi nmi true".into(),
            "step nmi true".into(),
            format!("pmu irq false{NO_COUNTER}"),
            "apic-timer irq true".into(),
            "hpet irq true".into(),
            "ipi irq falseit delivers NMIs only".into(),
            format!("step irq false{step}"),
        ];
        assert_eq!(sources(&list), expected, "{mode}");
        let clock = match mode {
            "deterministic" => "instructions",
            _ => "time",
        };
        assert_eq!(list["clock"]["found"], clock);
        assert_eq!(list["cores"], 2);
        assert_eq!(list["pmus"][0]["cores"].as_array().unwrap().len(), 2);
        assert_eq!(list["hpet"]["found"]["messages"], 3);
        assert_eq!(list["processor"]["hypervisor"], "TCGTCGTCGTCG");
    }
}

#[test]
fn a_doctor_says_what_auto_takes() {
    says(
        &said("doctor", ""),
        &[
            "ok       kernel      the kernel boots, 4 cores, --mode deterministic",
            "ok       apic        xAPIC: interrupts are controlled by memory",
            "ok       clock       instructions are counted: a run repeats exactly",
            "ok       hpet        4 timers, 4 with messages to cores; 4 cores",
            "ok       source      hpet works as NMI and as IRQ",
            "ok       auto        takes apic-timer as NMI; with --delivery irq it takes apic-timer",
            "                     -> `make qemu-pmu` builds a QEMU that emulates counters",
            "sampling is possible; the notes say what could be better",
        ],
    );
}

#[test]
fn a_doctor_says_what_to_change() {
    says(
        &said("doctor", "--smp 25"),
        &[
            "note     hpet        24 timers, 24 with messages to cores; 25 cores",
            "                     -> QEMU's HPET has 24 timers that can be reached: --smp 24 or less, for the",
            "note     source      hpet does not work: it can serve 24 cores and there are 25",
            "ok       source      ipi works as NMI; not as IRQ: it delivers NMIs only",
        ],
    );
    let alone = said("doctor", "--smp 1 --mode realtime");
    says(
        &alone,
        &[
            "                     -> --mode deterministic counts instructions, and a run repeats exactly",
            "ok       hpet        3 timers, 3 with messages to cores; 1 core",
            "                     -> --smp 2 or more, for the source ipi",
        ],
    );
    let reason = "ipi does not work as NMI: a single core has nobody to interrupt it;";
    assert!(alone.contains(reason), "{alone}");
}
