//! Command lines that are taken, and those that are refused.

use super::*;
use crate::format::Source;
use crate::pmu::event::tests::lists;
use proptest::prelude::*;

#[test]
fn an_empty_line_gives_the_defaults() {
    assert_eq!(Settings::parse(" \t "), Ok(Settings::default()));
}

#[test]
fn every_word_is_taken() {
    let line = "source=pmu delivery=irq period=100 event=cycles:k,slots take=counts jitter=10 seed=7 workload=hash samples=5 units=6 per=process ring=65536 keep=samples send=serial aim=0x12:3 test=hang";
    let settings = Settings {
        source: SourceChoice::Only(Source::Pmu),
        delivery: Delivery::Irq,
        period: Some(100),
        events: EventList::parse("cycles:k,slots").ok(),
        kind: RunKind::Counts,
        jitter: 10,
        seed: 7,
        workload: "hash",
        samples: 5,
        units: 6,
        by_process: true,
        ring_bytes: 65536,
        keep: Keep::Samples,
        table_bytes: 1 << 20,
        send: SendTo::Serial,
        aim: Some(Aim {
            address: CodeAddress(0x12),
            first: 3,
            end: 4,
        }),
        test: Some("hang"),
    };
    assert_eq!(Settings::parse(line), Ok(settings));
    let settings = Settings {
        keep: Keep::Chains,
        table_bytes: 65536,
        ..Settings::default()
    };
    assert_eq!(Settings::parse("table=65536 keep=chains"), Ok(settings));
    assert_eq!(settings.bytes_per_core(), settings.ring_bytes + 65536);
    assert_eq!(Settings::default().bytes_per_core(), 8 << 20);
}

#[test]
fn a_bad_word_is_named_with_what_would_be_right() {
    for (line, word, says) in [
        (
            "samples=5 frequency=3",
            "frequency=3",
            "no such setting; there are source=",
        ),
        ("nmi", "nmi", "no such setting"),
        ("take=counts per=core", "per=core", "must be one of process"),
        (
            "per=process",
            "per=process",
            "only take=counts counts units",
        ),
        ("period=0", "period=0", "a number from 1 to 1000000000"),
        ("period=-1", "period=-1", "a number from 1"),
        ("period=many", "period=many", "a number from 1"),
        (
            "samples=99999999999999999999",
            "samples=99999999999999999999",
            "a number from",
        ),
        (
            "source=rdtsc",
            "source=rdtsc",
            "one of auto, pmu, apic-timer",
        ),
        ("delivery=smi", "delivery=smi", "one of nmi, irq"),
        ("send=com1", "send=com1", "one of nowhere, serial"),
        ("ring=100000", "ring=100000", "a power of two"),
        ("ring=4096", "ring=4096", "a number from 65536"),
        ("aim=start:5", "aim=start:5", "must be ADDRESS:N or"),
        ("aim=0x10:5..5", "aim=0x10:5..5", "must be ADDRESS:N or"),
        (
            "aim=0x10:4294967295",
            "aim=0x10:4294967295",
            "at most 1000000",
        ),
        ("workload=", "workload=", "needs a value"),
        ("jitter=51", "jitter=51", "a number from 0 to 50"),
        ("seed=-1", "seed=-1", "a number from 0"),
        ("take=all", "take=all", "one of samples, counts, survey"),
        ("event=", "event=", "needs a value"),
        (
            "event=slots,cycels:k",
            "cycels",
            "event=: `cycels`: no such event; did you mean `cycles`?",
        ),
        (
            "event=slots,,cycles",
            "",
            "event=: nothing at byte 6 of the events",
        ),
        ("event=cycles:p", "p", "event=: `p`: precise samples"),
        (
            "event=cycles jitter=1 source=hpet",
            "event=cycles",
            "only source=pmu counts events",
        ),
        ("source=step jitter=1", "jitter=1", "only source=pmu"),
        ("seed=1 source=ipi", "seed=1", "only source=pmu"),
        (
            "take=counts source=apic-timer",
            "take=counts",
            "only source=pmu",
        ),
        ("take=counts units=0", "units=0", "a number from 1 to"),
        ("units=5", "units=5", "only take=counts counts units"),
        ("keep=all", "keep=all", "one of samples, chains"),
        ("table=65536", "table=65536", "only keep=chains has tables"),
        (
            "keep=chains table=8192",
            "table=8192",
            "a number from 16384",
        ),
        ("keep=chains table=20000", "table=20000", "a power of two"),
        (
            "keep=chains take=counts",
            "keep=chains",
            "only take=samples has chains",
        ),
        ("period=5 period=5", "period=5", "set before"),
    ] {
        let bad = Settings::parse(line).unwrap_err();
        assert_eq!(bad.word, word, "{line}");
        assert!(bad.to_string().contains(says), "{line}: {bad}");
    }
}

proptest! {
    #[test]
    fn what_is_displayed_is_parsed(
        source in 0..6_usize,
        irq in any::<bool>(),
        period in proptest::option::of(Settings::PERIODS),
        counting in proptest::option::of((lists(), any::<bool>(), Settings::JITTER, any::<u64>())),
        samples in Settings::SAMPLES,
        units in Settings::UNITS,
        ring in 16..=30_u32,
        table in proptest::option::of(14..=30_u32),
        workload in "[a-z-]{1,12}",
        aim in proptest::option::of((any::<u64>(), 0..1000_u32, 1..1000_u32)),
        test in proptest::option::of("[a-z-]{1,12}"),
    ) {
        let names: Vec<_> = SourceChoice::NAMES.split(", ").collect();
        // The first two may be a performance counter.
        let source = if counting.is_some() { source % 2 } else { source };
        let kind = match counting {
            Some((_, true, ..)) => RunKind::Counts,
            _ => RunKind::Samples,
        };
        let settings = Settings {
            source: names[source].parse().unwrap(),
            delivery: if irq { Delivery::Irq } else { Delivery::Nmi },
            period,
            events: counting.map(|(events, ..)| events),
            kind,
            jitter: counting.map_or(0, |(_, _, jitter, _)| jitter),
            seed: counting.map_or(0, |(.., seed)| seed),
            workload: &workload,
            samples,
            units: match kind {
                RunKind::Counts => units,
                _ => Settings::DEFAULT_UNITS,
            },
            by_process: irq && kind == RunKind::Counts,
            ring_bytes: 1 << ring,
            keep: match table {
                Some(_) if kind == RunKind::Samples => Keep::Chains,
                _ => Keep::Samples,
            },
            table_bytes: match table {
                Some(table) if kind == RunKind::Samples => 1 << table,
                _ => Settings::default().table_bytes,
            },
            send: if irq { SendTo::Serial } else { SendTo::Nowhere },
            aim: aim.map(|(address, first, count)| Aim {
                address: CodeAddress(address),
                first,
                end: first + count,
            }),
            test: test.as_deref(),
        };
        let line = settings.to_string();
        prop_assert_eq!(Settings::parse(&line), Ok(settings));
    }

    #[test]
    fn any_line_is_taken_or_refused(line in ".*") {
        let _ = Settings::parse(&line);
    }
}
