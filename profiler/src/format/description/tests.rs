//! Descriptions, whole, full and senseless.

use super::*;
use core::fmt::Write as _;
use proptest::prelude::*;

pub(crate) fn example() -> Description {
    let mut event_table = [EventDescription::EMPTY; MAX_EVENTS];
    event_table[0] = EventDescription {
        name: Text::new("cycles:k"),
        requested_period: 100,
        period: 250,
        floor: 250,
    };
    let mut tasks = [Text::EMPTY; MAX_TASKS];
    tasks[1] = Text::new("hash");
    Description {
        build_id: [7; 20],
        cores: 4,
        ring_words: 1 << 10,
        source: Source::ApicTimer,
        delivery: Delivery::Nmi,
        clock: Clock::Time,
        turns: true,
        period: 1000,
        period_floor: 1,
        overhead: 60,
        samples: 100_000,
        text: CodeRange {
            start: CodeAddress(0xffff_ffff_8000_0000),
            end: CodeAddress(0xffff_ffff_8010_0000),
        },
        stack_slot: 128 << 10,
        reason: Text::new("no PMU here"),
        bootloader: Text::new("Limine 8.2.0"),
        workload: Text::new("mix"),
        command_line: Text::new("period=1000"),
        tasks,
        event_table,
        event_count: 1,
        aim: AimDescription {
            address: CodeAddress(0xffff_ffff_8000_1000),
            first: 3,
            end: 20,
        },
        seed: 9,
        jitter: 10,
        clock_reference: ClockReference::Hpet,
        clock_within: 12,
        tsc_difference: 5000,
        tsc_within: 40,
        table_bytes: 0,
    }
}

#[test]
fn what_was_encoded_is_decoded() {
    assert_eq!(Description::decode(&example().encode()), Ok(example()));
    assert_eq!(example().events().len(), 1);
}

#[test]
fn a_full_description_is_decoded() {
    let event = EventDescription {
        name: Text::new(&"e".repeat(64)),
        requested_period: 1,
        period: u64::MAX,
        floor: 3,
    };
    let full = Description {
        tasks: [Text::new(&"t".repeat(32)); MAX_TASKS],
        event_table: [event; MAX_EVENTS],
        event_count: 16,
        table_bytes: 1 << 30,
        ..example()
    };
    assert_eq!(Description::decode(&full.encode()), Ok(full.clone()));
    assert_eq!(full.events(), [event; MAX_EVENTS]);
}

#[test]
fn impossible_fields_are_named() {
    for (spoil, field) in [
        ((|d| d.cores = 0) as fn(&mut Description), "number of cores"),
        (|d| d.ring_words = 1000, "ring size"),
        (|d| d.event_count = 17, "number of events"),
        (|d| d.stack_slot = 0, "size of a stack's slot"),
        (|d| d.table_bytes = 1 << 13, "size of a table"),
        (|d| d.table_bytes = 1 << 31, "size of a table"),
        (|d| d.clock = Clock::Ticks, "reference for its clock"),
        (|d| d.clock = Clock::Instructions, "reference for its clock"),
    ] {
        let mut description = example();
        spoil(&mut description);
        let decoded = Description::decode(&description.encode());
        assert_eq!(decoded, Err(DescriptionError(field)));
    }
    let mut bytes = example().encode();
    bytes[24] = 99;
    assert_eq!(Description::decode(&bytes), Err(DescriptionError("source")));
}

#[test]
fn items_are_separated_and_nothing_ends_with_a_separator() {
    let mut text = Text::<10>::EMPTY;
    for (item, so_far) in [
        (1, "1"),
        (22, "1; 22"),
        (333, "1; 22; 333"),
        (4, "1; 22; 333"),
    ] {
        text.append_item("; ", format_args!("{item}"));
        assert_eq!(text.as_str(), so_far);
    }
}

#[test]
fn a_text_is_cut_at_a_character() {
    let mut text = Text::<5>::new("äöü");
    assert_eq!(text.as_str(), "äö");
    write!(text, "xyz").unwrap();
    assert_eq!(text.as_str(), "äöx");
}

proptest! {
    #[test]
    fn any_bytes_decode_or_say_why_not(seed in prop::collection::vec(any::<u8>(), DESCRIPTION_BYTES)) {
        let bytes: [u8; DESCRIPTION_BYTES] = seed.try_into().unwrap();
        if let Ok(description) = Description::decode(&bytes) {
            prop_assert!(description.cores > 0);
            prop_assert!(description.events().len() <= MAX_EVENTS);
        }
    }
}
