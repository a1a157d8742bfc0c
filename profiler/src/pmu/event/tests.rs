//! Lists that are taken, what they mean, and those that are refused, with the
//! place.

use proptest::prelude::*;

use super::*;
use crate::pmu::detect::CoreKind;

fn named(named: Named) -> Event {
    Event::new(What::Named(named))
}

fn raw(event: u16, unit_mask: u16) -> Event {
    Event::new(What::Raw { event, unit_mask })
}

fn ibs(count: IbsCount) -> Event {
    Event::new(What::IbsOp(count))
}

fn user(event: Event) -> Event {
    Event {
        kernel: false,
        ..event
    }
}

fn kernel(event: Event) -> Event {
    Event {
        user: false,
        ..event
    }
}

#[test]
fn what_perf_takes_is_taken() {
    let cycles = named(Named::Cycles);
    let every_1000 = Event {
        period: Some(1000),
        ..cycles
    };
    let all = Event {
        edge: true,
        invert: true,
        counter_mask: 2,
        ..raw(0x3c, 0x1)
    };
    for (text, event, shown) in [
        ("cycles", cycles, "cycles"),
        ("cpu-cycles:k", kernel(cycles), "cycles:k"),
        ("cycles:u", user(cycles), "cycles:u"),
        ("cycles:uk", cycles, "cycles"),
        ("cycles:ku", cycles, "cycles"),
        ("cycles//", cycles, "cycles"),
        ("ibs_op", ibs(IbsCount::Cycles), "ibs_op"),
        ("ibs_op//", ibs(IbsCount::Cycles), "ibs_op"),
        ("ibs_op/cnt_ctl=0/", ibs(IbsCount::Cycles), "ibs_op"),
        ("ibs_op/cnt_ctl=1/", ibs(IbsCount::Ops), "ibs_op/cnt_ctl=1/"),
        ("ibs_op/cnt_ctl/", ibs(IbsCount::Ops), "ibs_op/cnt_ctl=1/"),
        ("cycles//k", kernel(cycles), "cycles:k"),
        ("cpu/cycles/", cycles, "cycles"),
        ("cycles/period=1000/", every_1000, "cycles/period=1000/"),
        (
            "cpu/cpu-cycles,period=0x3e8/k",
            kernel(every_1000),
            "cycles/period=1000/k",
        ),
        (
            "cpu/period=1000,cycles/:u",
            user(every_1000),
            "cycles/period=1000/u",
        ),
        ("branch-instructions", named(Named::Branches), "branches"),
        ("topdown.slots", named(Named::Slots), "slots"),
        (
            "idle-cycles-backend",
            named(Named::StalledBackend),
            "stalled-cycles-backend",
        ),
        ("r1a8", raw(0xa8, 0x1), "cpu/event=0xa8,umask=0x1/"),
        ("r0", raw(0, 0), "cpu/event=0x0/"),
        (
            "r0x20C4:u",
            user(raw(0xc4, 0x20)),
            "cpu/event=0xc4,umask=0x20/u",
        ),
        ("r1000000c1", raw(0x1c1, 0), "cpu/event=0x1c1/"),
        (
            "r8000000ffff",
            raw(0xff, 0x8ff),
            "cpu/event=0xff,umask=0x8ff/",
        ),
        (
            "r284013c",
            all,
            "cpu/event=0x3c,umask=0x1,edge,inv,cmask=2/",
        ),
        (
            "cpu/event=0x3c,umask=1,edge,inv=1,cmask=0x2/",
            all,
            "cpu/event=0x3c,umask=0x1,edge,inv,cmask=2/",
        ),
        (
            "cpu/event=0xc4,edge=0,inv=0/",
            raw(0xc4, 0),
            "cpu/event=0xc4/",
        ),
        (
            "cpu_core/cycles,period=7/k",
            Event {
                period: Some(7),
                cores: Some(CoreKind::Core),
                ..kernel(named(Named::Cycles))
            },
            "cpu_core/cycles,period=7/k",
        ),
        (
            "cpu_atom/umask=0x20,event=0xc4/",
            Event {
                cores: Some(CoreKind::Atom),
                ..raw(0xc4, 0x20)
            },
            "cpu_atom/event=0xc4,umask=0x20/",
        ),
        (
            "r0148/period=7,cmask=1,counters=0x4/k",
            Event {
                counter_mask: 1,
                period: Some(7),
                counters: Some(4),
                ..kernel(raw(0x48, 1))
            },
            "cpu/event=0x48,umask=0x1,cmask=1,period=7,counters=0x4/k",
        ),
    ] {
        assert_eq!(Event::parse(text), Ok(event), "{text}");
        assert_eq!(event.to_string(), shown, "{text}");
    }
}

#[test]
fn a_comma_between_slashes_separates_terms() {
    let list = "cycles:k,cpu/event=0xc4,umask=0x20/u,instructions";
    let parsed = EventList::parse(list).unwrap();
    assert_eq!(
        parsed.as_slice(),
        [
            kernel(named(Named::Cycles)),
            user(raw(0xc4, 0x20)),
            named(Named::Instructions)
        ]
    );
    assert_eq!(parsed.to_string(), list);
    let twice = EventList::parse("cycles,cycles").unwrap();
    assert_eq!(twice.iter().count(), 2);
}

#[test]
fn every_name_is_that_of_one_event() {
    for event in Named::ALL {
        for name in event.names() {
            assert_eq!(Named::from_name(name), Some(event));
        }
        assert_eq!(event.to_string(), event.name());
        assert!(!event.description().is_empty());
    }
    let names = Named::ALL.into_iter().flat_map(Named::names);
    let different: std::collections::BTreeSet<_> = names.clone().collect();
    assert_eq!(different.len(), names.count());
}

#[test]
fn a_bad_part_is_named_with_its_place_and_what_would_be_right() {
    use EventProblem as P;
    let many = "cycles,".repeat(MAX_EVENTS) + "slots";
    for (list, word, at, problem, says) in [
        ("", "", 0, P::Missing, "nothing at byte 0 of the events"),
        ("cycles,,slots", "", 7, P::Missing, "nothing at byte 7"),
        ("cycles,", "", 7, P::Missing, "nothing at byte 7"),
        ("cpu/event=1,/", "", 12, P::Missing, "nothing at byte 12"),
        (&many, "slots", 112, P::TooMany, "at most 16 events"),
        (
            "slots,cycels:k",
            "cycels",
            6,
            P::NoSuchEvent,
            "no such event; did you mean `cycles`? (`pmiscope list` shows",
        ),
        (
            "branch-mises",
            "branch-mises",
            0,
            P::NoSuchEvent,
            "did you mean `branch-misses`?",
        ),
        (
            "page-faults",
            "page-faults",
            0,
            P::NoSuchEvent,
            "no such event (`pmiscope list` shows those there are, rUUEE is a raw one)",
        ),
        ("Cycles", "Cycles", 0, P::NoSuchEvent, "mean `cycles`?"),
        ("sched:switch", "sched", 0, P::NoSuchEvent, "no such event"),
        ("r", "r", 0, P::NoSuchEvent, "no such event"),
        ("r0x", "r0x", 0, P::NoSuchEvent, "no such event"),
        ("r+1", "r+1", 0, P::NoSuchEvent, "no such event"),
        ("{cycles,slots}", "{cycles", 0, P::Group, "leave out { }"),
        ("r1103c", "r1103c", 0, P::RawBit(16), "bit 16 counts user"),
        ("r2003c", "r2003c", 0, P::RawBit(17), "say :k instead"),
        ("r8003c", "r8003c", 0, P::RawBit(19), "bit 19 drives a pin"),
        (
            "r10003c",
            "r10003c",
            0,
            P::RawBit(20),
            "lets the counter int",
        ),
        ("r20003c", "r20003c", 0, P::RawBit(21), "other threads"),
        ("r41003c", "r41003c", 0, P::RawBit(16), "bit 16"),
        ("r40003c", "r40003c", 0, P::RawBit(22), "bit 22 lets"),
        ("r100000003c:u", "r100000003c", 0, P::RawBit(36), "bit 36"),
        (
            "r8000000000000000",
            "r8000000000000000",
            0,
            P::RawBit(63),
            "bit 63 means nothing",
        ),
        (
            "r10000000000000000",
            "r10000000000000000",
            0,
            P::RawTooLong,
            "16 digits",
        ),
        ("cpu", "cpu", 0, P::NoEvent, "needs event="),
        ("slots,cpu//", "cpu//", 6, P::NoEvent, "needs event="),
        (
            "cpu/umask=1/",
            "cpu/umask=1/",
            0,
            P::NoEvent,
            "needs event=",
        ),
        (
            "cpu/event=1,slots",
            "cpu/event=1,slots",
            0,
            P::NotClosed,
            "needs a second /",
        ),
        (
            "cpu/event=1,unask=2/",
            "unask",
            12,
            P::NoSuchTerm,
            "no such term; did you mean `umask`? (there are event=, umask=",
        ),
        ("cpu/cycels/", "cycels", 4, P::NoSuchTerm, "mean `cycles`?"),
        ("cpu/cycles=1/", "cycles", 4, P::NoSuchTerm, "no such term"),
        ("cpu/any=1/", "any", 4, P::NoSuchTerm, "no such term ("),
        (
            "cpu/event=1,event=2/",
            "event=2",
            12,
            P::TermTwice,
            "say it once",
        ),
        ("r10400c4/edge/", "edge", 9, P::TermTwice, "say it once"),
        ("cpu/cycles,slots/", "slots", 11, P::EventTwice, "one name"),
        ("cpu/umask=1,slots/", "slots", 12, P::EventTwice, "one name"),
        ("cycles/umask=1/", "umask=1", 7, P::EventTwice, "one name"),
        ("r3c/umask=1/", "umask=1", 4, P::EventTwice, "one name"),
        ("r3c/event=1/", "event=1", 4, P::EventTwice, "one name"),
        ("r3c/slots/", "slots", 4, P::EventTwice, "one name"),
        ("cycles/period/", "period", 7, P::NoValue, "needs a value"),
        ("cycles/period=/", "period=", 7, P::NoValue, "needs a value"),
        ("cycles/edge=/", "edge=", 7, P::NoValue, "needs a value"),
        (
            "cycles/edge=2/",
            "edge=2",
            7,
            P::NotInRange(0, 1),
            "from 0 to 1",
        ),
        (
            "cycles/period=0/",
            "period=0",
            7,
            P::NotInRange(1, 1_000_000_000),
            "must be a number from 1 to 1000000000, decimal or with 0x",
        ),
        (
            "slots/cmask=256/",
            "cmask=256",
            6,
            P::NotInRange(0, 255),
            "",
        ),
        ("slots/cmask=+1/", "cmask=+1", 6, P::NotInRange(0, 255), ""),
        ("slots/cmask=0x/", "cmask=0x", 6, P::NotInRange(0, 255), ""),
        ("slots/cmask=ff/", "cmask=ff", 6, P::NotInRange(0, 255), ""),
        (
            "cpu/event=0x1000/",
            "event=0x1000",
            4,
            P::NotInRange(0, 4095),
            "",
        ),
        (
            "slots/counters=0/",
            "counters=0",
            6,
            P::NotInRange(1, 0xffff_ffff),
            "",
        ),
        ("cycles:", "cycles:", 0, P::NoModifier, "behind the colon"),
        ("cycles//:", "cycles//:", 0, P::NoModifier, "u (user code)"),
        ("cycles:kp", "p", 8, P::Modifier('p'), "precise samples"),
        ("cycles:H", "H", 7, P::Modifier('H'), "guest and host"),
        ("cycles:x", "x", 7, P::Modifier('x'), "no such modifier"),
        ("cycles:kä", "ä", 8, P::Modifier('ä'), "no such modifier"),
        ("cycles//I", "I", 8, P::Modifier('I'), "idle cores"),
        (
            "cycles:k/period=1/",
            "/",
            8,
            P::Modifier('/'),
            "terms stand before",
        ),
        ("cycles:kk", "k", 8, P::ModifierTwice, "say it once"),
        (
            "ibs_op:k",
            "k",
            7,
            P::NotOfIbs,
            "user code and the kernel alike",
        ),
        (
            "ibs_op/edge/",
            "edge",
            7,
            P::NotOfIbs,
            "cnt_ctl= and period=",
        ),
        ("ibs_op/cycles/", "cycles", 7, P::NotOfIbs, ""),
        ("ibs_op/cnt_ctl=2/", "cnt_ctl=2", 7, P::NotInRange(0, 1), ""),
        (
            "cycles/cnt_ctl=1/",
            "cnt_ctl=1",
            7,
            P::OfIbs,
            "ibs_op alone",
        ),
        (
            "ibs_ops",
            "ibs_ops",
            0,
            P::NoSuchEvent,
            "did you mean `ibs_op`?",
        ),
    ] {
        let bad = EventList::parse(list).unwrap_err();
        let expected = BadEvent { word, at, problem };
        assert_eq!(bad, expected, "{list}");
        assert_eq!(&list[at..at + word.len()], word);
        let said = bad.to_string();
        assert!(
            said.contains(says) && !said.contains('\n'),
            "{list}: {said}"
        );
    }
    let two = Event::parse("cycles,slots").unwrap_err();
    assert_eq!(two.word, "cycles,slots");
}

fn events() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        (0..Named::ALL.len()).prop_map(|index| What::Named(Named::ALL[index])),
        (0..=Event::MAX_NUMBER, any::<u16>())
            .prop_map(|(event, unit_mask)| What::Raw { event, unit_mask }),
    ];
    (
        (what, any::<[bool; 2]>(), any::<u8>(), 1..=3_u8),
        proptest::option::of(Event::PERIODS),
        proptest::option::of(1..=u32::MAX),
        prop_oneof![
            Just(None),
            Just(Some(CoreKind::Core)),
            Just(Some(CoreKind::Atom))
        ],
    )
        .prop_map(
            |((what, [edge, invert], counter_mask, levels), period, counters, cores)| Event {
                what,
                edge,
                invert,
                counter_mask,
                user: levels & 1 != 0,
                kernel: levels & 2 != 0,
                period,
                counters,
                cores,
            },
        )
}

pub(crate) fn lists() -> impl Strategy<Value = EventList> {
    prop::collection::vec(events(), 1..=MAX_EVENTS).prop_map(|events| {
        let mut rest = events[1..].iter();
        let list = rest.try_fold(EventList::of(events[0]), |list, &event| list.and(event));
        let list = list.unwrap();
        assert_eq!(list.as_slice(), events);
        assert_eq!(list.and(events[0]).is_none(), events.len() == MAX_EVENTS);
        list
    })
}

proptest! {
    #[test]
    fn what_is_displayed_is_parsed(list in lists()) {
        let text = list.to_string();
        prop_assert_eq!(EventList::parse(&text), Ok(list));
    }

    #[test]
    fn what_is_counted_is_a_short_text(event in events()) {
        prop_assert!(event.counted().to_string().len() <= 64);
    }

    #[test]
    fn a_raw_event_is_the_bits_of_the_select(
        event in 0..=Event::MAX_NUMBER,
        unit_mask in any::<u16>(),
        flags in any::<[bool; 2]>(),
        counter_mask in any::<u8>(),
    ) {
        use crate::pmu::registers::select::{EDGE, EVENT, INVERT, UNIT_MASK};
        let (event_bits, mask_bits) = (u64::from(event), u64::from(unit_mask));
        let [edge, invert] = flags;
        let text = format!(
            "r{:x}",
            (event_bits & EVENT)
                | (event_bits >> 8) << 32
                | (mask_bits << 8 & UNIT_MASK)
                | (mask_bits >> 8) << 40
                | (u64::from(edge) * EDGE)
                | (u64::from(invert) * INVERT)
                | u64::from(counter_mask) << 24
        );
        let expected = Event { edge, invert, counter_mask, ..raw(event, unit_mask) };
        prop_assert_eq!(Event::parse(&text), Ok(expected), "{}", text);
    }

    #[test]
    fn any_text_is_taken_or_refused_with_its_place(text in "(cpu|cycles|r3c|[a-z0-9=,:/{} ä]){0,12}") {
        if let Err(bad) = EventList::parse(&text) {
            prop_assert_eq!(&text[bad.at..bad.at + bad.word.len()], bad.word);
            let _ = bad.to_string();
        }
    }

    #[test]
    fn any_text_at_all_is_taken_or_refused(text in ".*") {
        let _ = EventList::parse(&text).map_err(|bad| bad.to_string());
    }
}
