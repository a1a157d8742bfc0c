//! The tables of `docs/region.md`, and the tests that compare those of descriptions and
//! records with the code. Those of pages are beside the pages.

use super::count::Reading;
use super::description::{AimDescription, DESCRIPTION_BYTES, MAX_EVENTS, MAX_TASKS};
use super::event::{EVENT_WORDS, NewEvent};
use super::expand::{GAP_UNITS, MAX_UNITS, further};
use super::sample::compact::{self, Context, EXTENT_UNITS, Offsets, Width};
use super::sample::{Chain, FIXED_WORDS, MAX_CHAIN, MAX_WORDS};
use super::{
    ChainEnd, ChainEntry, Clock, ClockReference, Count, Delivery, Description, EventDescription,
    RecordHead, Sample, Source, State, Text, VERSION, count, kind,
};
use crate::address::{CodeAddress, CodeRange, StackAddress, UserAddress};
use crate::contract::mailbox::{Answer, Mailbox, Request};
use crate::contract::settings::Settings;
use crate::format::region::{MailboxWords, PAGE, Region, RegionLayout, RunState};
use crate::hw::exit;
use crate::pmu::event::EventList;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

const PAGE_TEXT: &str = include_str!("../../../docs/region.md");

/// The rows of a table: of the section with this heading, the table whose first column has
/// this name.
fn table(heading: &str, first_column: &str) -> Vec<Vec<&'static str>> {
    let mut lines = PAGE_TEXT.lines();
    let heading = format!("# {heading}");
    let is_heading =
        |line: &str| line.starts_with('#') && line.trim_start_matches('#') == &heading[1..];
    lines.find(|line| is_heading(line)).expect(&heading);
    let cells = |line: &'static str| -> Vec<_> {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().trim_matches('`')).collect()
    };
    let rows = lines
        .take_while(|line| !line.starts_with('#'))
        .map(cells)
        .skip_while(|row| row[0] != first_column);
    let rows: Vec<_> = rows.skip(2).take_while(|row| row.len() > 1).collect();
    assert!(!rows.is_empty(), "{heading} has no table by {first_column}");
    rows
}

/// The rows of a table of fields: offset, bytes, name.
pub(super) fn fields(heading: &str) -> Vec<(usize, usize, &'static str)> {
    let rows = table(heading, "offset").into_iter();
    rows.map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap(), row[2]))
        .collect()
}

/// The rows of a table of numbers and names.
fn numbers(heading: &str) -> Vec<(u8, String)> {
    let rows = table(heading, "number").into_iter();
    rows.map(|row| (row[0].parse().unwrap(), row[1].to_owned()))
        .collect()
}

/// The record that a table of words and bits makes of these values of its fields, which
/// stand in its order, and of `words` words.
fn record<const N: usize>(heading: &str, values: &[(&str, u64)]) -> [u64; N] {
    let rows = table(heading, "word");
    let mut record = [0; N];
    let mut next = (0, 0);
    assert_eq!(
        rows.iter().map(|row| row[2]).collect::<Vec<_>>(),
        values.iter().map(|value| value.0).collect::<Vec<_>>(),
    );
    for (row, (name, value)) in rows.iter().zip(values) {
        let word: usize = row[0].parse().unwrap();
        let (from, to) = row[1].split_once("..").unwrap();
        let (from, to): (u32, u32) = (from.parse().unwrap(), to.parse().unwrap());
        assert_eq!((word, from), next, "{heading}: {name}");
        next = if to == 64 { (word + 1, 0) } else { (word, to) };
        assert!(value.checked_shr(to - from).unwrap_or(0) == 0, "{name}");
        record[word] |= value << from;
    }
    assert_eq!(next.1, 0, "{heading}: the last word has an end");
    record
}

/// The bytes of a text as the page describes them.
fn text<const N: usize>(text: &Text<N>) -> Vec<u8> {
    let text = text.as_str().as_bytes();
    let mut bytes = u16::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend(text);
    bytes.resize(2 + N, 0);
    bytes
}

/// Writes values where a table of fields says, which has to be without gaps.
fn place(heading: &str, values: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let fields = fields(heading);
    let mut bytes = Vec::new();
    assert_eq!(fields.len(), values.len());
    for ((offset, length, name), (expected, value)) in fields.iter().zip(values) {
        assert_eq!((name, *offset), (expected, bytes.len()), "{heading}");
        assert_eq!(*length, value.len(), "{heading}: {name}");
        bytes.extend(value);
    }
    bytes
}

fn event(number: u64) -> EventDescription {
    EventDescription {
        name: Text::formatted(format_args!("event-{number}")),
        requested_period: number << 40,
        period: number << 20,
        floor: number,
    }
}

fn event_bytes(event: &EventDescription) -> Vec<u8> {
    let values = [
        ("name", text(&event.name)),
        (
            "requested_period",
            event.requested_period.to_le_bytes().into(),
        ),
        ("period", event.period.to_le_bytes().into()),
        ("floor", event.floor.to_le_bytes().into()),
    ];
    place("Event", &values)
}

fn description() -> Description {
    Description {
        build_id: core::array::from_fn(|at| 100 + u8::try_from(at).unwrap()),
        cores: 0x0102_0304,
        ring_words: 1 << 33,
        source: Source::Ipi,
        delivery: Delivery::Irq,
        clock: Clock::Instructions,
        turns: true,
        period: 0x1111_0000_0000_0001,
        period_floor: 0x2222_0000_0000_0002,
        overhead: 0x3333_0000_0000_0003,
        samples: 0x4444_0000_0000_0004,
        text: CodeRange {
            start: CodeAddress(0xffff_5555_0000_0005),
            end: CodeAddress(0xffff_6666_0000_0006),
        },
        stack_slot: 1 << 17,
        reason: Text::new("a reason"),
        bootloader: Text::new("a boot loader"),
        workload: Text::new("a workload"),
        command_line: Text::new("a command line"),
        tasks: core::array::from_fn(|at| Text::formatted(format_args!("task {at}"))),
        event_table: core::array::from_fn(|at| event(at as u64)),
        event_count: 16,
        aim: AimDescription {
            address: CodeAddress(0xffff_7777_0000_0007),
            first: 0x0808_0808,
            end: 0x0909_0909,
        },
        seed: 0x0a0a_0000_0000_000a,
        jitter: 11,
        clock_reference: ClockReference::PmTimer,
        clock_within: 0x0b0b_000b,
        tsc_difference: 0x0c0c_0000_0000_000c,
        tsc_within: 0x0d0d_000d,
        table_bytes: 1 << 20,
    }
}

#[test]
fn the_description_is_as_the_page_has_it() {
    let d = description();
    let values = [
        ("build_id", d.build_id.to_vec()),
        ("cores", d.cores.to_le_bytes().into()),
        ("source", vec![d.source as u8]),
        ("delivery", vec![d.delivery as u8]),
        ("clock", vec![d.clock as u8]),
        ("turns", vec![1]),
        ("ring_words", d.ring_words.to_le_bytes().into()),
        ("period", d.period.to_le_bytes().into()),
        ("period_floor", d.period_floor.to_le_bytes().into()),
        ("overhead", d.overhead.to_le_bytes().into()),
        ("samples", d.samples.to_le_bytes().into()),
        ("text.start", d.text.start.0.to_le_bytes().into()),
        ("text.end", d.text.end.0.to_le_bytes().into()),
        ("stack_slot", d.stack_slot.to_le_bytes().into()),
        ("reason", text(&d.reason)),
        ("bootloader", text(&d.bootloader)),
        ("workload", text(&d.workload)),
        ("command_line", text(&d.command_line)),
        ("tasks", d.tasks.iter().flat_map(text).collect()),
        (
            "event_table",
            d.event_table.iter().flat_map(event_bytes).collect(),
        ),
        ("event_count", vec![d.event_count]),
        ("aim.address", d.aim.address.0.to_le_bytes().into()),
        ("aim.first", d.aim.first.to_le_bytes().into()),
        ("aim.end", d.aim.end.to_le_bytes().into()),
        ("seed", d.seed.to_le_bytes().into()),
        ("jitter", vec![d.jitter]),
        ("clock_reference", vec![d.clock_reference as u8]),
        ("clock_within", d.clock_within.to_le_bytes().into()),
        ("tsc_difference", d.tsc_difference.to_le_bytes().into()),
        ("tsc_within", d.tsc_within.to_le_bytes().into()),
        ("table", vec![20]),
    ];
    assert_eq!(place("Description", &values), d.encode());
    assert_eq!(d.encode().len(), DESCRIPTION_BYTES);
    assert_eq!((MAX_TASKS, MAX_EVENTS), (32, 16));
}

#[test]
fn numbers_have_the_names_that_the_page_has() {
    macro_rules! assert_table {
        ($heading:literal, $type:ident) => {
            let all = $type::ALL.map(|value| (value as u8, value.name().to_owned()));
            assert_eq!(numbers($heading), all);
        };
    }
    assert_table!("States", RunState);
    assert_table!("Sources", Source);
    assert_table!("Deliveries", Delivery);
    assert_table!("Clocks", Clock);
    assert_table!("Clock references", ClockReference);
    assert_table!("Chain ends", ChainEnd);
}

#[test]
fn the_page_names_the_version_the_ring_sizes_and_the_layout() {
    assert!(PAGE_TEXT.contains(&format!("format, version {VERSION}, for")));
    let sizes = Settings::RING_BYTES;
    let sizes = format!("`ring=` takes {} to {} bytes", sizes.start(), sizes.end());
    assert!(PAGE_TEXT.contains(&sizes));
    let bytes = |cores, ring_words| RegionLayout { cores, ring_words }.bytes();
    for (words, data) in [(1, PAGE), (512, PAGE), (1024, 2 * PAGE)] {
        assert_eq!(bytes(3, words), Some(PAGE + 3 * (PAGE + data)));
    }
    let sizes = Settings::TABLE_BYTES;
    let sizes = format!("`table=` takes {} to {} bytes", sizes.start(), sizes.end());
    assert!(PAGE_TEXT.contains(&sizes));
}

#[test]
fn the_sample_is_as_the_page_has_it() {
    let sample = Sample {
        sequence: 0x8000_0001,
        handler_cost: 0x9000_0002,
        event: 0xa5,
        task: 0xb0c1,
        state: State(0xd9),
        time: 3,
        period: 4,
        sp: StackAddress(5),
        stack_top: [6, 7],
        pc: CodeAddress(8),
        exact: Some(CodeAddress(9)),
        end: ChainEnd::InterruptedOutsideText,
        chain_words: &[],
    };
    let values = [
        ("units", 18),
        ("kind", 1),
        ("end", 8),
        ("state", 0xd9),
        ("event", 0xa5),
        ("zero", 0),
        ("task", 0xb0c1),
        ("sequence", 0x8000_0001),
        ("handler_cost", 0x9000_0002),
        ("time", 3),
        ("period", 4),
        ("sp", 5),
        ("stack_top[0]", 6),
        ("stack_top[1]", 7),
        ("pc", 8),
    ];
    let mut words = [0; MAX_WORDS];
    assert_eq!(sample.encode(&mut words), FIXED_WORDS + 1);
    assert_eq!(words[FIXED_WORDS], 9, "the exact address is the last word");
    assert_eq!(
        words[..FIXED_WORDS],
        record::<FIXED_WORDS>("Sample", &values)
    );
    assert_eq!(Sample::AIMED, 255);
}

#[test]
fn the_crossing_is_as_the_page_has_it() {
    let mut chain = Chain::new();
    let crossing = ChainEntry::Crossing {
        vector: 0xfe,
        pc: CodeAddress(1),
        caller_known: true,
        stack_top: [2, 3],
    };
    chain.push(crossing).unwrap();
    let values = [
        ("vector", 0xfe),
        ("caller_known", 1),
        ("marker", 0x0100_c055_0000_0000 >> 9),
        ("pc", 1),
        ("stack_top[0]", 2),
        ("stack_top[1]", 3),
    ];
    assert_eq!(chain.words(), record::<4>("Crossing", &values));
    let marker = table("Crossing", "word")[2][3];
    assert!(marker.starts_with("0x0100c05500000000 >> 9"), "{marker}");
}

#[test]
fn the_border_is_as_the_page_has_it() {
    for (vector, number, syscall) in [(Some(0xfe), 0xfe, 0), (None, 0, 1)] {
        let mut chain = Chain::new();
        let border = ChainEntry::Border {
            vector,
            pc: CodeAddress(1),
            stack_top: [2, 3],
        };
        chain.push(border).unwrap();
        let values = [
            ("vector", number),
            ("syscall", syscall),
            ("marker", 0x0100_c056_0000_0000 >> 9),
            ("pc", 1),
            ("stack_top[0]", 2),
            ("stack_top[1]", 3),
        ];
        assert_eq!(chain.words(), record::<4>("Border", &values));
    }
    let marker = table("Border", "word")[2][3];
    assert!(marker.starts_with("0x0100c05600000000 >> 9"), "{marker}");
}

#[test]
fn counts_and_events_are_as_the_page_has_them() {
    let reading = Reading {
        count: 7,
        enabled: 9,
        running: 8,
    };
    let count = Count {
        event: 0xa5,
        is_supported: false,
        process: Some(0xa5a6),
        reading,
    };
    let values = [
        ("units", 8),
        ("kind", 2),
        ("not_supported", 1),
        ("of_process", 1),
        ("zero", 0),
        ("event", 0xa5),
        ("process", 0xa5a6),
        ("zero", 0),
        ("count", 7),
        ("enabled", 9),
        ("running", 8),
    ];
    assert_eq!(count.encode(), record::<4>("Count", &values));

    let event = event(9);
    let values = [
        ("units", 24),
        ("kind", 3),
        ("number", 0xa5),
        ("zero", 0),
        ("requested_period", event.requested_period),
        ("period", event.period),
        ("floor", event.floor),
        ("name", u64::from_le_bytes(*b"event-9\0")),
    ];
    let new = NewEvent {
        number: 0xa5,
        event,
    };
    assert_eq!(new.encode(), record::<EVENT_WORDS>("Event record", &values));
}

#[test]
fn records_have_the_kinds_and_lengths_that_the_page_has() {
    let range = |from: usize, to: usize| format!("{from} to {to}");
    let compact = |width: Width| {
        let units = |chain: usize| (width.chain() + chain * width.bytes()).div_ceil(4);
        range(units(0), units(MAX_CHAIN))
    };
    let most = (Width::Bits24.chain() + compact::MOST_CHAIN_BYTES).div_ceil(4);
    let expected = [
        (
            kind::SAMPLE,
            "sample",
            range(2 * FIXED_WORDS, 2 * MAX_WORDS),
        ),
        (kind::COUNT, "count", (2 * count::WORDS).to_string()),
        (kind::EVENT, "event", (2 * EVENT_WORDS).to_string()),
        (kind::FILLER, "filler", range(1, MAX_UNITS)),
        (kind::COMPACT, "compact sample", range(7, most)),
        (
            kind::COMPACT_32,
            "compact sample, wide offsets",
            compact(Width::Bits32),
        ),
        (kind::GAP, "gap", GAP_UNITS.to_string()),
    ];
    let rows = table("Record head", "kind");
    let expected = expected.map(|(kind, name, units)| [kind.to_string(), name.into(), units]);
    assert_eq!(rows, expected);
    let rows = table("Record head", "word");
    assert_eq!(rows[0][1..3], ["0..8", "units"]);
    assert_eq!(rows[1][1..3], ["8..16", "kind"]);
    let head = RecordHead {
        kind: 0xfe,
        units: 0xdc,
    };
    assert_eq!(RecordHead::from_unit(0xabab_fedc), head);
}

#[test]
fn samples_beyond_the_first_are_as_the_page_has_them() {
    let rows = table("Compact sample", "bits");
    let rows: Vec<_> = rows.iter().map(|row| [row[0], row[1]]).collect();
    assert_eq!(rows, [["0..24", "period"], ["24..32", "event"]]);
    assert_eq!(further::PERIOD, (1 << 24) - 1);
    assert_eq!(further::count(5 << 8 | 3 << 12), 3);
}

#[test]
fn the_compact_sample_is_as_the_page_has_it() {
    let start = 0xffff_ffff_8000_0000;
    let context = Context {
        time: 1000,
        sp: 0x10_0000_0000,
        next: 7,
    };
    let sample = Sample {
        sequence: 7,
        handler_cost: 0xc1c0,
        event: 0xe0,
        task: 0x7a,
        state: State(0x98),
        time: 1000 + 0x7473_7271,
        period: 0xb2_b1b0,
        sp: StackAddress(context.sp - 17_179_869_184 + 0x5352_5150 * 8),
        stack_top: [start + 0x01_0203, 0],
        pc: CodeAddress(start + 0x04_0506),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[start + 0x07_0809],
    };
    for (column, width, text_bytes) in [(0, Width::Bits24, 1 << 20), (1, Width::Bits32, 1 << 24)] {
        let text = CodeRange {
            start: CodeAddress(start),
            end: CodeAddress(start + text_bytes),
        };
        let mut units = [0_u32; EXTENT_UNITS];
        // SAFETY: of that length.
        let len = unsafe {
            compact::encode(
                &sample,
                context,
                Offsets::new(text),
                units.as_mut_ptr().cast(),
            )
        };
        let len = len.unwrap();
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let values = [
            ("units", u64::from(len)),
            ("kind", width.kind().into()),
            ("state", 0x98),
            ("event", 0xe0),
            ("time", 0x7473_7271),
            ("task", 0x7a),
            ("handler_cost", 0xc1c0),
            ("period", 0xb2_b1b0),
            ("sp", 0x5352_5150),
            ("pc", 0x04_0506),
            ("stack_top[0]", 0x01_0203),
            ("stack_top[1]", width.no_text().into()),
            ("chain", 0x07_0809),
        ];
        let rows = table("Compact sample", "byte");
        let mut end = 0;
        assert_eq!(rows.len(), values.len());
        for (row, (name, value)) in rows.iter().zip(values) {
            let at: usize = row[column].parse().unwrap();
            let size = row[2].parse().unwrap_or(width.bytes());
            assert_eq!((row[3], at), (name, end));
            end = at + size;
            let mut field = [0; 8];
            field[..size].copy_from_slice(&bytes[at..end]);
            assert_eq!(u64::from_le_bytes(field), value, "{name}");
        }
        assert!(bytes[end..4 * len as usize].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_crossing_in_a_compact_sample_is_as_the_page_has_it() {
    for width in [Width::Bits24, Width::Bits32] {
        let ones = u64::from(width.no_text());
        let rows = table("Crossing", "bits");
        assert_eq!(
            rows.iter().map(|row| row[0]).collect::<Vec<_>>(),
            ["0..8", "8", "9"]
        );
        let without = [
            ("vector", width.crossing(0, true, true), 0xff),
            ("caller_known", width.crossing(0xff, false, true), 1 << 8),
            ("has_top", width.crossing(0xff, true, false), 1 << 9),
        ];
        for (row, (name, crossing, mask)) in rows.iter().zip(without) {
            assert_eq!((row[1], u64::from(crossing)), (name, ones - mask));
        }
        assert_eq!(u64::from(width.crossing(0xff, true, true)), ones);
    }
    let longest = format!("at most {} bytes", Width::Bits24.first_special());
    assert!(PAGE_TEXT.contains(&longest), "{longest}");
}

#[test]
fn a_border_in_a_compact_sample_is_as_the_page_has_it() {
    let start = 0xffff_ffff_8000_0000;
    let text = CodeRange {
        start: CodeAddress(start),
        end: CodeAddress(start + (1 << 20)),
    };
    let code = |address| {
        let program = 0x0302;
        UserAddress { program, address }.code()
    };
    let chain = [code(0x0011_2233_4455).0];
    let sample = Sample {
        sequence: 0,
        handler_cost: 0,
        event: 0,
        task: 0,
        state: State(3),
        time: 0,
        period: 0,
        sp: StackAddress(0x7654_3210_fed8),
        stack_top: [code(0x0022_3344_5566).0, 0],
        pc: code(0x0033_4455_6677),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &chain,
    };
    let mut units = [0_u32; EXTENT_UNITS];
    let place = units.as_mut_ptr().cast();
    // SAFETY: of that length.
    let len = unsafe { compact::encode(&sample, Context::default(), Offsets::new(text), place) };
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, &it| sum << 8 | u64::from(it))
    };
    assert_eq!(number(&bytes[14..18]), sample.sp.0 >> 3 & 0xffff_ffff);
    let fields: Vec<_> = bytes[18..4 * len.unwrap() as usize]
        .chunks_exact(3)
        .map(number)
        .collect();
    let [first, none] = [Width::Bits24.first_special(), Width::Bits24.no_text()].map(u64::from);
    let border = Width::Bits24.first_border();
    assert_eq!(table("Border", "bits").len(), 3);
    let expected = [
        first + (sample.sp.0 >> 35),
        none,
        none,
        u64::from(border) + (1 << 8) + (1 << 9),
        0x0302,
        0x0000_2233,
        0x44_5566,
        0,
        0,
        0x0000_3344,
        0x55_6677,
        0x0000_1122,
        0x33_4455,
        0,
    ];
    assert_eq!(fields, expected);
    for number in [first, none, border.into()] {
        assert!(PAGE_TEXT.contains(&number.to_string()), "{number}");
    }
}

#[test]
fn the_bits_of_a_state_are_as_the_page_has_them() {
    let bits: Vec<_> = table("State bits", "bits")
        .iter()
        .map(|row| row[0])
        .collect();
    assert_eq!(bits, ["0..2", "2", "3", "4", "5", "6"]);
    assert_eq!(State::RING, 0b11);
    let single = [
        State::INTERRUPTS_ON,
        State::NMI,
        State::IDLE,
        State::CALLER_KNOWN,
        State::EXACT,
    ];
    assert_eq!(single, [1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6]);
}

#[test]
fn commands_have_the_numbers_that_the_page_has() {
    let events = EventList::parse("cycles").unwrap();
    let requests = [
        ("start", Request::Start),
        ("stop", Request::Stop),
        ("set the period", Request::Period(100)),
        ("set the events", Request::Events(events)),
    ];
    let rows = table("Mailbox", "command");
    assert_eq!(rows.len(), requests.len());
    for (row, (name, request)) in rows.iter().zip(requests) {
        let words = MailboxWords::default();
        Mailbox::new(&words).request(&request).unwrap();
        let number = words.command.load(Ordering::Relaxed).to_string();
        assert_eq!(row[..], [&number, name]);
    }
}

#[test]
fn the_exit_port_and_its_bytes_are_those_of_the_page() {
    let port = format!("one byte to I/O port {:#x} ", exit::PORT);
    assert!(PAGE_TEXT.contains(&port));
    let rows = table("The end", "byte");
    let byte = |meaning| {
        let row = rows.iter().find(|row| row[2] == meaning).unwrap();
        let byte = u8::from_str_radix(row[0].trim_start_matches("0x"), 16).unwrap();
        assert_eq!(row[1], (2 * u32::from(byte) + 1).to_string());
        byte
    };
    assert_eq!(byte("done"), exit::SUCCESS);
    let bad = byte("the command line cannot be taken");
    assert_eq!(bad, exit::BAD_COMMAND_LINE);
    assert_eq!(byte("sampling is not possible"), exit::UNAVAILABLE);
}

/// The bytes of a region that has nothing but what the page's example has, in its order.
fn example_region() -> Vec<[u64; PAGE / 8]> {
    let mut pages = vec![[0_u64; PAGE / 8]; 3];
    for row in table("Example: a whole region", "at") {
        let at: usize = row[0].parse().unwrap();
        for (at, byte) in (at..).zip(row[1].split(' ')) {
            let byte = u64::from_str_radix(byte, 16).unwrap();
            pages[at / PAGE][at % PAGE / 8] |= byte << (at % 8 * 8);
        }
    }
    pages
}

#[test]
fn the_example_is_a_region_with_the_sample_that_the_page_tells_of() {
    #[repr(align(4096))]
    struct Memory([[u64; PAGE / 8]; 3]);
    let mut memory = Box::new(Memory(example_region().try_into().unwrap()));
    let start = NonNull::from(&mut memory.0).cast::<u8>();
    let bytes = NonNull::slice_from_raw_parts(start, size_of::<Memory>());
    // SAFETY: aligned, alive to the end, and accessed through the region alone.
    let (region, found) = unsafe { Region::open(bytes) }.unwrap();

    let text = CodeRange {
        start: CodeAddress(0xffff_ffff_8000_0000),
        end: CodeAddress(0xffff_ffff_8010_0000),
    };
    let build_id = core::array::from_fn(|at| 1 + u8::try_from(at).unwrap());
    let expected = Description {
        clock: Clock::Instructions,
        period: 1000,
        samples: 1,
        workload: Text::new("demo"),
        ..Description::new(build_id, text, 1, 512)
    };
    assert_eq!(found, expected);
    assert_eq!(region.state(), RunState::Finished);
    let count = |counter: &core::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counters = region.counters(0);
    assert_eq!((count(&counters.taken), count(&counters.stored)), (1, 1));
    let request = Mailbox::new(region.mailbox())
        .request(&Request::Stop)
        .unwrap();
    let answer = Mailbox::new(region.mailbox()).answer(request);
    assert!(matches!(answer, Some(Answer::Refused(_))));

    let mut record = [0; MAX_WORDS];
    let mut reader = region.reader(0);
    let words = reader.read(&mut record).unwrap().unwrap();
    let expected = Sample {
        sequence: 0,
        handler_cost: 0,
        event: 0,
        task: 0,
        state: State(State::NMI | State::INTERRUPTS_ON),
        time: 1000,
        period: 1000,
        sp: StackAddress(0xffff_ffff_8002_1fd0),
        stack_top: [0; 2],
        pc: CodeAddress(0xffff_ffff_8000_0040),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[0xffff_ffff_8000_0105],
    };
    assert_eq!(Sample::decode(&record[..words]), Ok(expected));
    assert_eq!(reader.read(&mut record), Ok(None));
}
