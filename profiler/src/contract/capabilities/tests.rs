//! Lines that are written are read; others are refused; and surveys of processors.

use super::*;
use crate::pmu::detect::{CoreKind, detect};
use crate::pmu_model::{AmdInterface, Core, Event as Happening, Id, Model};
use proptest::prelude::*;
use proptest::strategy::Union;

fn why() -> impl Strategy<Value = Reason> {
    // What a log keeps of a text.
    "\\PC{0,60}".prop_map(|text| Reason::new(&text))
}

fn or_why<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Result<T, Reason>> {
    prop_oneof![value.prop_map(Ok), why().prop_map(Err)].boxed()
}

fn counters() -> impl Strategy<Value = Counters> {
    (any::<u32>(), any::<u32>()).prop_map(|(general, fixed)| Counters { general, fixed })
}

fn sources() -> impl Strategy<Value = Source> {
    let names: Vec<_> = Source::NAMES.split(", ").collect();
    proptest::sample::select(names).prop_map(|name| name.parse::<Source>().unwrap())
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    proptest::sample::select(vec![Delivery::Nmi, Delivery::Irq])
}

fn pmus() -> impl Strategy<Value = Pmu> {
    let interface = prop_oneof![
        any::<u8>().prop_map(Interface::Intel),
        Just(Interface::AmdLegacy),
        Just(Interface::AmdCore),
        Just(Interface::AmdV2),
    ];
    let kind = proptest::option::of(any::<u8>());
    (
        interface,
        [counters(), counters(), counters()],
        any::<(u8, u8)>(),
        any::<u64>(),
        kind,
    )
        .prop_map(
            |(interface, [counters, busy, dead], (general_bits, fixed_bits), raw, kind)| Pmu {
                interface,
                counters,
                busy,
                dead,
                general_bits,
                fixed_bits,
                raw,
                kind: kind.map(CoreKind::from_number),
            },
        )
}

fn lines() -> impl Strategy<Value = Line> {
    let identity = (
        any::<[u8; 12]>(),
        any::<u32>(),
        any::<u32>(),
        proptest::option::of(any::<[u8; 12]>()),
    );
    let clocks = proptest::sample::select(vec![Clock::Instructions, Clock::Time, Clock::Ticks]);
    let events = proptest::sample::select(Named::ALL.to_vec());
    Union::new([
        (identity, "\\PC{0,16}")
            .prop_map(
                |((vendor, family, model, hypervisor), name)| Line::Processor {
                    identity: Identity {
                        vendor,
                        family,
                        model,
                        hypervisor,
                    },
                    name: Text::new(&name),
                },
            )
            .boxed(),
        any::<(u32, bool, bool)>()
            .prop_map(|(cores, is_x2apic, has_invariant_tsc)| {
                Line::Machine(Machine {
                    cores,
                    is_x2apic,
                    has_invariant_tsc,
                })
            })
            .boxed(),
        (clocks, 0..=8_u8, any::<u32>(), "\\PC{0,16}")
            .prop_map(|(tick, reference, within, why)| Line::Clock {
                tick,
                reference: reference.try_into().unwrap(),
                within: if reference == 0 { 0 } else { within },
                why: Text::new(&why),
            })
            .boxed(),
        or_why(
            any::<(u32, u32, u64)>().prop_map(|(timers, messages, period)| Hpet {
                timers,
                messages,
                period,
            }),
        )
        .prop_map(Line::Hpet)
        .boxed(),
        (any::<u32>(), or_why(pmus()))
            .prop_map(|(core, pmu)| Line::Pmu { core, pmu })
            .boxed(),
        (any::<u32>(), events, or_why(counters()))
            .prop_map(|(core, event, counters)| Line::Event {
                core,
                event,
                counters,
            })
            .boxed(),
        (any::<u32>(), or_why(Just(())))
            .prop_map(|(core, works)| Line::Ibs { core, works })
            .boxed(),
        (sources(), deliveries(), or_why(Just(())))
            .prop_map(|(source, delivery, works)| Line::Source {
                source,
                delivery,
                works,
            })
            .boxed(),
        (deliveries(), proptest::option::of(sources()))
            .prop_map(|(delivery, source)| Line::Auto { delivery, source })
            .boxed(),
        Just(Line::End).boxed(),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_displayed_is_parsed(line in lines()) {
        let text = line.to_string();
        prop_assert!(!text.contains('\n'), "{}", text);
        prop_assert_eq!(Line::parse(&text), Some(line), "{}", text);
    }

    /// What is read is written the same: a line has one text.
    #[test]
    fn any_text_is_refused_or_displayed_as_it_was(
        line in lines(),
        at in any::<proptest::sample::Index>(),
        cut in 0..3_usize,
        put in "[ -~]{0,2}",
    ) {
        let mut characters: Vec<_> = line.to_string().chars().collect();
        let start = at.index(characters.len());
        let end = (start + cut).min(characters.len());
        characters.splice(start..end, put.chars());
        let text: String = characters.into_iter().collect();
        if let Some(line) = Line::parse(&text) {
            prop_assert_eq!(line.to_string(), text);
        }
    }

    #[test]
    fn any_text_can_be_parsed(text in "(survey: )?.*") {
        let _ = Line::parse(&text);
    }
}

#[test]
fn lines_are_written_as_documented() {
    let identity = Identity {
        vendor: *b"AuthenticAMD",
        family: 15,
        model: 107,
        hypervisor: Some(*b"Microsoft Hv"),
    };
    let set = |general, fixed| Counters { general, fixed };
    let pmu = Pmu {
        interface: Interface::Intel(5),
        counters: set(0xff, 0xf),
        busy: set(1, 0),
        dead: set(0, 8),
        general_bits: 48,
        fixed_bits: 48,
        raw: 0xffff,
        kind: Some(CoreKind::Atom),
    };
    assert_eq!(pmu.free(), set(0xfe, 7));
    for (line, text) in [
        (
            Line::Processor {
                identity,
                name: Text::new("QEMU TCG CPU version 2.5+"),
            },
            "survey: processor vendor=AuthenticAMD family=15 model=107 hypervisor=Microsoft%20Hv: QEMU TCG CPU version 2.5+",
        ),
        (
            Line::Processor {
                identity: Identity {
                    hypervisor: None,
                    ..identity
                },
                name: Text::EMPTY,
            },
            "survey: processor vendor=AuthenticAMD family=15 model=107",
        ),
        (
            Line::Machine(Machine {
                cores: 4,
                is_x2apic: false,
                has_invariant_tsc: true,
            }),
            "survey: machine cores=4 apic=xapic tsc=invariant",
        ),
        (
            Line::Clock {
                tick: Clock::Instructions,
                reference: ClockReference::None,
                within: 0,
                why: Text::EMPTY,
            },
            "survey: clock tick=instructions",
        ),
        (
            Line::Clock {
                tick: Clock::Time,
                reference: ClockReference::PmTimer,
                within: 12,
                why: Text::EMPTY,
            },
            "survey: clock tick=time reference=pm-timer within=12",
        ),
        (
            Line::Clock {
                tick: Clock::Ticks,
                reference: ClockReference::None,
                within: 0,
                why: Text::new("pit stands still"),
            },
            "survey: clock tick=ticks: pit stands still",
        ),
        (
            Line::Hpet(Err(Reason::new("no table"))),
            "survey: hpet none: no table",
        ),
        (
            Line::Hpet(Ok(Hpet {
                timers: 4,
                messages: 3,
                period: 10_000_000,
            })),
            "survey: hpet timers=4 messages=3 period=10000000",
        ),
        (
            Line::Pmu {
                core: 2,
                pmu: Ok(pmu),
            },
            "survey: pmu core=2 interface=intel-5 counters=0xff+0xf busy=0x1+0x0 dead=0x0+0x8 bits=48+48 raw=0xffff kind=32",
        ),
        (
            Line::Pmu {
                core: 0,
                pmu: Err(Reason::new("CPUID announces no counters")),
            },
            "survey: pmu core=0 none: CPUID announces no counters",
        ),
        (
            Line::Event {
                core: 0,
                event: Named::Cycles,
                counters: Ok(set(0xf, 2)),
            },
            "survey: event core=0 name=cycles counters=0xf+0x2",
        ),
        (
            Line::Source {
                source: Source::Hpet,
                delivery: Delivery::Irq,
                works: Ok(()),
            },
            "survey: source name=hpet delivery=irq works",
        ),
        (
            Line::Auto {
                delivery: Delivery::Nmi,
                source: None,
            },
            "survey: auto delivery=nmi none",
        ),
        (Line::End, "survey: end"),
    ] {
        assert_eq!(line.to_string(), text);
        assert_eq!(Line::parse(text), Some(line), "{text}");
    }
}

#[test]
fn lines_that_are_none_are_refused() {
    for text in [
        "",
        "survey:",
        "survey: ",
        "sampling: done",
        "survey: begin",
        "survey: end ",
        "survey: end: of it",
        "survey: auto delivery=nmi none: for no reason",
        "survey: clock none: no reference",
        "survey: clock tick=time reference=hpet",
        "survey: clock tick=time reference=none within=0",
        "survey: machine cores=4 apic=xapic",
        "survey: machine apic=xapic cores=4 tsc=invariant",
        "survey: machine cores=4 apic=xapic tsc=invariant more=1",
        "survey: machine cores=04 apic=xapic tsc=invariant",
        "survey: machine cores=4294967296 apic=xapic tsc=invariant",
        "survey: event core=0 name=cpu-cycles counters=0xf+0x2",
        "survey: event core=0 name=cycles counters=0xF+0x2",
        "survey: source name=hpet delivery=irq",
        "survey: source name=hpet delivery=smi works",
        "survey: pmu core=0 interface=intel-256 counters=0x0+0x0 busy=0x0+0x0 dead=0x0+0x0 bits=0+0 raw=0x0",
        "survey: processor vendor=AuthenticAMD+ family=15 model=107",
        "survey: processor vendor=%4a family=15 model=107",
    ] {
        assert_eq!(Line::parse(text), None, "{text}");
    }
}

fn look(core: &Core) -> PmuState {
    let capabilities = detect(|leaf, subleaf| core.model().cpuid(leaf, subleaf));
    PmuState::probe(core, &capabilities.unwrap()).unwrap()
}

fn counters_for(event: Named, found: &PmuState) -> Result<Counters, String> {
    match Line::event(3, event, found) {
        Line::Event {
            core: 3,
            event: same,
            counters,
        } if same == event => counters.map_err(|why| why.as_str().to_owned()),
        other => panic!("{other}"),
    }
}

#[test]
fn a_survey_says_which_counters_count_an_event() {
    let core = Core::new(Model::intel(5));
    // Firmware counts cycles on the first general counter and on its fixed one.
    for counter in [Id::General(0), Id::Fixed(1)] {
        core.firmware_owns(counter, Happening::Cycles, 0, false);
    }
    let found = look(&core);
    let pmu = Pmu::new(&found);
    let set = |general, fixed| Counters { general, fixed };
    assert_eq!((pmu.busy, pmu.dead), (set(1, 0b10), Counters::NONE));
    assert_eq!((pmu.general_bits, pmu.fixed_bits), (48, 48));
    assert_eq!(pmu.raw, 0xffff);
    let on = |event| counters_for(event, &found);
    assert_eq!(on(Named::Cycles), Ok(set(0xfe, 0)));
    assert_eq!(on(Named::Instructions), Ok(set(0xfe, 0b1)));
    assert_eq!(on(Named::ReferenceCycles), Ok(set(0, 0b100)));
    let says = "this processor does not have the event";
    assert_eq!(on(Named::StalledFrontend), Err(says.into()));
}

#[test]
fn a_survey_says_why_no_counter_counts_an_event() {
    let core = Core::new(Model::intel(4));
    core.firmware_owns(Id::Fixed(2), Happening::TscCycles, 0, false);
    let why = counters_for(Named::ReferenceCycles, &look(&core)).unwrap_err();
    assert!(why.contains("in use by firmware"), "{why}");

    let mut found = look(&Core::new(Model::amd(AmdInterface::Core)));
    found.dead = found.free;
    let why = counters_for(Named::Cycles, &found).unwrap_err();
    assert!(why.contains("do not keep"), "{why}");
    assert_eq!(Pmu::new(&found).raw, 0xf_0000_ffff);
}
