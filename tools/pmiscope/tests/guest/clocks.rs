//! What time is measured by, where it is time.

use profiler::format::{Clock, ClockReference, Source};

use crate::fixture::{sample, tool};

/// Samples by every source that a machine without an HPET has, by ACPI's timer.
#[test]
fn without_an_hpet_every_other_source_samples() {
    for (name, source) in [
        ("auto", Source::ApicTimer),
        ("apic-timer", Source::ApicTimer),
        ("ipi", Source::Ipi),
    ] {
        let arguments =
            format!("--mode realtime --source {name} --smp 2 --samples 200 -- -machine hpet=off");
        let samples = sample(&arguments);
        assert_eq!(samples.description.source, source);
        assert_eq!(samples.description.clock, Clock::Time);
        let reference = samples.description.clock_reference;
        assert_eq!(reference, ClockReference::PmTimer, "{arguments}");
        assert!(samples.description.clock_within > 0);
    }
}

#[test]
fn a_doctor_says_what_the_clock_was_measured_by() {
    for (machine, by) in [("on", "the HPET"), ("off", "the ACPI PM timer")] {
        let arguments = format!("--smp 1 --mode realtime -- -machine hpet={machine}");
        let (status, said) = tool("doctor", &arguments);
        assert_eq!(status, Some(0), "{said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let measured = format!("in nanoseconds, measured by {by}, to within");
        assert!(said.contains(&measured), "{said}");
    }
}
