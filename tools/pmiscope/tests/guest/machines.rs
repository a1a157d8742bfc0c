//! `list`, `doctor`, `stat` and `run`, by every source and both ways to interrupt, on machines
//! that are not as QEMU's are: what `list` says works does, and what does not is refused for
//! the reason that it gives.

use serde_json::Value;

use crate::fixture::{run, stat, tool};
use crate::pmu::{is_skipped, lab_with};

const SAMPLES: u64 = 100;

/// A source, and a way to interrupt.
type Attempt = (&'static str, &'static str);

/// What works on no machine.
const NEVER: [Attempt; 2] = [("ipi", "irq"), ("step", "irq")];

/// A machine, by options of the tool and words for QEMU.
struct Machine {
    options: String,
    words: &'static str,
    /// What does not work on it, beside counters.
    not: &'static [Attempt],
    has_counters: bool,
}

const BY_INSTRUCTIONS: &str = "--pmu intel-v5 --smp 2";
const BY_TIME: &str = "--qemu lab --mode realtime --smp 2";

const NO_HPET: [Attempt; 2] = [("hpet", "nmi"), ("hpet", "irq")];
/// The timer's entry has no delivery mode.
const STRICT_TIMER: [Attempt; 1] = [("apic-timer", "nmi")];

impl Machine {
    fn arguments(&self, more: &str) -> String {
        format!("{} {more} -- {}", self.options, self.words)
    }

    fn works(&self, source: &str, delivery: &str) -> bool {
        let tried = (source, delivery);
        let is_missing = source == "pmu" && !self.has_counters;
        !is_missing && !NEVER.contains(&tried) && !self.not.contains(&tried)
    }

    /// Tries all that there is.
    #[track_caller]
    fn check(&self) {
        let (status, doctor) = tool("doctor", &self.arguments(""));
        assert_eq!(status, Some(0), "doctor {}: {doctor}", self.arguments(""));
        let (status, list) = tool("list", &self.arguments("--json"));
        assert_eq!(status, Some(0), "list {}: {list}", self.arguments(""));
        let list: Value = serde_json::from_str(&list).unwrap();
        let sources = list["sources"].as_array().unwrap();
        assert_eq!(sources.len(), 10, "{list:#}");
        for source in sources {
            self.check_source(source, &doctor);
        }
        self.check_stat();
    }

    /// Samples by a source that was tried, as `list` has it.
    #[track_caller]
    fn check_source(&self, tried: &Value, doctor: &str) {
        let [name, delivery] = ["name", "delivery"].map(|key| tried[key].as_str().unwrap());
        let arguments = self.arguments(&format!(
            "--source {name} --delivery {delivery} --samples {SAMPLES}{}",
            self.period(name)
        ));
        let works = self.works(name, delivery);
        assert_eq!(tried["works"], works, "list: {arguments}: {tried}");
        if !works {
            let why = tried["why"].as_str().unwrap();
            run(&arguments).ended_with(5).saying(&[why]);
            return;
        }
        let is_found = doctor.contains(&format!("{name} works"));
        assert!(is_found, "{arguments}: {doctor}");
        let report = run(&arguments).ended_with(0).report();
        assert_eq!(report["source"], name, "{arguments}");
        assert_eq!(report["samples"], SAMPLES, "{arguments}: {report:#}");
        assert_eq!(report["lost"], 0, "{arguments}: {report:#}");
    }

    /// One that every source that counts can keep.
    fn period(&self, source: &str) -> &'static str {
        if source == "step" || self.options == BY_TIME {
            ""
        } else {
            " --period 20000"
        }
    }

    #[track_caller]
    fn check_stat(&self) {
        let arguments = self.arguments("--event instructions --units 3");
        let counted = stat(&arguments);
        if !self.has_counters {
            counted
                .ended_with(5)
                .saying(&["it needs performance counters"]);
            return;
        }
        let report = counted.ended_with(0).report();
        let count = report["events"][0]["count"].as_u64();
        assert!(count > Some(1000), "{arguments}: {report:#}");
    }
}

#[test]
#[ignore = "a part of make lab: it takes a minute"]
fn without_an_hpet() {
    if is_skipped() {
        return;
    }
    for (options, words) in [
        (BY_INSTRUCTIONS, "-machine hpet=off"),
        (BY_TIME, "-global hpet.x-absent=on"),
    ] {
        let machine = Machine {
            options: options.into(),
            words,
            not: &NO_HPET,
            has_counters: options == BY_INSTRUCTIONS,
        };
        machine.check();
    }
}

#[test]
#[ignore = "a part of make lab: it takes a minute"]
fn with_a_strict_hpet() {
    if is_skipped() {
        return;
    }
    for options in [BY_INSTRUCTIONS, BY_TIME] {
        let machine = Machine {
            options: options.into(),
            words: "-global hpet.x-delay=10",
            not: &[],
            has_counters: options == BY_INSTRUCTIONS,
        };
        machine.check();
    }
}

#[test]
fn with_all_of_it_at_once() {
    if is_skipped() {
        return;
    }
    for options in [BY_INSTRUCTIONS, BY_TIME] {
        let machine = Machine {
            options: options.into(),
            words: "-global apic.x-strict=on -global apic.x-pending=240 \
                    -global apic.x-thermal-smi=on -global apic.x-no-arat=on \
                    -global max-x86_64-cpu.x-msr-strict=on \
                    -global max-x86_64-cpu.x-tsc-skew=1000000 -global hpet.x-delay=10 \
                    -global hpet.x-32-bit=on -global hpet.x-start=0xfff00000",
            not: &STRICT_TIMER,
            has_counters: options == BY_INSTRUCTIONS,
        };
        machine.check();
    }
}

#[test]
#[ignore = "a part of make lab: it takes a minute"]
fn with_strict_apics() {
    if is_skipped() {
        return;
    }
    let x2apic = lab_with("machine-x2apic", "-cpu max,x-pmu=intel-v5");
    for options in [BY_INSTRUCTIONS, &format!("--qemu {x2apic} --smp 2")] {
        let machine = Machine {
            options: options.into(),
            words: "-global apic.x-strict=on -global apic.x-pending=49 \
                    -global apic.x-thermal-smi=on -global max-x86_64-cpu.x-msr-strict=on",
            not: &STRICT_TIMER,
            has_counters: true,
        };
        machine.check();
    }
}
