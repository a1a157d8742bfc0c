//! Every point of interruption in turn, and random ones.

use super::*;
use crate::format::ring::writer::EXTENT;
use crate::sync::Ordering;
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;

/// More points than three samples have, retries included.
const POINTS: u32 = 110;

/// Writes three samples with others nested in them; checks that all are there, in order.
fn check(units: usize, ways: &[Way], nested: &[(u32, Way)], reads_at: &[u32]) -> u32 {
    let ring = Ring::new(units);
    let writer = ring.writer();
    let interrupts = Interrupts {
        reads_at,
        ..Interrupts::new(&ring, &writer, nested)
    };
    for &way in ways {
        interrupts.write(way);
    }
    assert_eq!(writer.writing.load(Ordering::Relaxed), 0);
    let read = interrupts.read_rest();
    let log = &interrupts.log;
    let written = log.written.borrow();
    let place = |sequence| read.iter().position(|&it| it == sequence).unwrap();
    assert_eq!(read.len(), written.len(), "{read:?} of {written:?}");
    for &(sequence, begun, ended) in &*written {
        for &(other, other_begun, _) in &*written {
            let is_before = ended < other_begun;
            assert!(
                !is_before || place(sequence) < place(other),
                "{read:?}: {sequence} ({begun} to {ended}) was written before {other}"
            );
        }
    }
    assert_eq!(ring.control.lost(), log.lost.get());
    assert_eq!(
        u64::from(log.claimed.get()),
        written.len() as u64 + log.lost.get()
    );
    log.compact.get()
}

#[test]
fn a_write_nested_at_any_point_neither_tears_nor_loses_a_record() {
    for way in WAYS {
        for (nested, at) in WAYS
            .into_iter()
            .flat_map(|way| (0..POINTS).map(move |at| (way, at)))
        {
            for units in [128, 256, 1024] {
                check(
                    units,
                    &[Way::Exact, way, Way::Fast, Way::Fast],
                    &[(at, nested)],
                    &[],
                );
            }
        }
    }
}

#[test]
fn a_write_nested_in_a_nested_write_neither_tears_nor_loses_a_record() {
    for way in [Way::Fast, Way::Exact] {
        for at in 0..POINTS {
            for apart in 1..40 {
                let nested = [(at, Way::Exact), (at + apart, way)];
                check(1024, &[Way::Exact, Way::Fast, Way::Fast], &nested, &[]);
            }
        }
    }
}

#[test]
fn without_an_interrupt_all_but_the_first_are_written_in_place() {
    assert_eq!(check(1024, &[Way::Fast; 20], &[], &[]), 19);
    // One that has to be exact, or was given up, is no base less.
    let ways = [Way::Fast, Way::Abandoned, Way::Fast, Way::Exact, Way::Fast];
    assert_eq!(check(1024, &ways, &[], &[]), 2);
}

#[test]
fn a_nested_write_in_place_is_refused() {
    let ring = Ring::new(1024);
    let writer = ring.writer();
    writer.write(&record(0)).unwrap();
    let in_place = writer.begin().unwrap();
    assert!(writer.begin().is_none());
    drop(in_place);
    assert!(writer.begin().is_some());
    assert_eq!(ring.control.unread(), record(0).len() as u64 * 2);
}

#[test]
fn a_write_nested_in_one_in_place_lies_behind_a_filler() {
    let ring = Ring::new(1024);
    let writer = ring.writer();
    writer.write(&record(0)).unwrap();
    let start = ring.control.unread();
    let in_place = writer.begin().unwrap();
    in_place.set_unit(0, u32::MAX);
    writer.write(&record(1)).unwrap();
    assert_eq!(ring.control.unread(), start, "the outer one publishes it");
    assert_eq!(in_place.finish(7, 3), Err(Interrupted));
    assert_eq!(
        ring.control.unread(),
        start + EXTENT + 2 * record(1).len() as u64
    );
    let head = ring.data[usize::try_from(start).unwrap()].load(Ordering::Relaxed);
    assert_eq!(head, u32::try_from(EXTENT).unwrap() | 4 << 8);
    assert_eq!(ring.read_all(), [0, 1]);
}

#[test]
fn a_full_ring_counts_each_loss_and_keeps_what_it_has() {
    let ring = Ring::new(256);
    let writer = ring.writer();
    for lap in 0..50 {
        let first = lap * 1000;
        let write = |number: u32| writer.write(&record(first + number));
        let stored = (0..).find(|&number| write(number).is_err()).unwrap();
        for losses in 2..=4 {
            assert_eq!(write(stored), Err(Lost));
            assert_eq!(ring.control.lost(), u64::from(4 * lap + losses));
        }
        assert!(stored > 8);
        assert_eq!(ring.read_all(), (first..first + stored).collect::<Vec<_>>());
    }
}

#[test]
fn a_ring_can_be_filled_to_its_last_unit() {
    let ring = Ring::new(64);
    let writer = ring.writer();
    // Those with numbers that 7 divides have no chain.
    for number in [0, 7, 14, 21] {
        writer.write(&record(number)).unwrap();
    }
    assert_eq!(ring.control.unread(), 64);
    assert_eq!(writer.write(&record(28)), Err(Lost));
    assert_eq!(ring.read_all(), [0, 7, 14, 21]);
}

#[test]
fn a_write_in_place_has_room_in_one_piece() {
    let ring = Ring::new(256);
    let writer = ring.writer();
    let extent = usize::try_from(EXTENT).unwrap();
    let mut begun = 0;
    for number in (0..).step_by(7).take(80) {
        writer.write(&record(number)).unwrap();
        let is_free = |places: std::ops::Range<usize>| places.end <= 256;
        let start = usize::try_from(writer.reserved.load(Ordering::Relaxed) % 256).unwrap();
        let in_place = writer.begin();
        assert_eq!(
            in_place.is_some(),
            is_free(start..start + extent),
            "{start}"
        );
        if let Some(in_place) = in_place {
            let offset = in_place.bytes().addr() - ring.data.as_ptr().addr();
            assert_eq!(offset, 4 * start);
            begun += 1;
        }
        assert_eq!(ring.read_all(), [number]);
    }
    assert!(begun > 10);
    // Nor does it lie on what is not read yet.
    for number in [0, 7, 14, 21] {
        writer.write(&record(number)).unwrap();
        assert_eq!(ring.read_all(), [number]);
    }
    for number in (0..).step_by(7).take(9) {
        writer.write(&record(number)).unwrap();
    }
    assert_eq!(ring.control.unread(), 144);
    assert!(writer.begin().is_none());
}

#[test]
fn where_the_reader_is_does_not_change_what_a_write_costs() {
    let rooms_of = |reads_each: u32| {
        let ring = Ring::new(4096);
        let writer = ring.writer();
        let rooms = (1..1000).map(|number| {
            let sample = sample(number);
            writer.write_sample(&sample, &mut chain(number)).unwrap();
            if number % reads_each == 0 {
                ring.read_all();
            }
            writer.in_place_end.load(Ordering::Relaxed)
        });
        rooms.collect::<Vec<_>>()
    };
    let rooms = rooms_of(1);
    assert!(rooms.iter().max() > Some(&8000), "more than a lap");
    assert_eq!(rooms, rooms_of(200));
}

#[test]
fn what_nests_may_have_a_lower_number() {
    /// Writes a record at a point.
    struct At<'a>(&'a Writer<'a>, Cell<u32>);
    impl InterruptPoint for At<'_> {
        fn here(&self) {
            self.1.set(self.1.get().wrapping_sub(1));
            if self.1.get() == 0 {
                self.0.write(&record(7)).unwrap();
            }
        }
    }
    for at in 1..POINTS {
        let ring = Ring::new(1024);
        let writer = ring.writer();
        let outer = writer.write_interruptible(&record(8), &At(&writer, Cell::new(at)));
        outer.unwrap();
        writer.write_sample(&sample(9), &mut chain(9)).unwrap();
        let mut read = ring.read_all();
        assert_eq!(read.pop(), Some(9));
        read.sort_unstable();
        assert!(read == [7, 8] || read == [8], "{read:?} at {at}");
    }
}

#[test]
fn a_record_longer_than_the_ring_is_lost_not_wrapped_onto_itself() {
    let ring = Ring::new(8);
    assert_eq!(ring.writer().write(&record(0)), Err(Lost));
    assert_eq!((ring.control.lost(), ring.control.unread()), (1, 0));
}

#[test]
fn a_reader_on_another_thread_sees_every_record_whole_and_in_order() {
    const RECORDS: u32 = if cfg!(miri) { 300 } else { 200_000 };
    let ring = Ring::new(256);
    /// Lets the writer end when the reader does, as it may by an assertion.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ring, is_over) = (&ring, &is_over);
        let _ends = Ends(is_over);
        let writes = scope.spawn(move || {
            let writer = ring.writer();
            for number in 0..RECORDS {
                let sample = sample(number);
                while writer.write_sample(&sample, &mut chain(number)).is_err() {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < RECORDS {
            match ring.read() {
                Some(number) => {
                    assert_eq!(number, next);
                    next += 1;
                }
                None => {
                    let is_last = writes.is_finished() && ring.control.unread() == 0;
                    assert!(!is_last, "sample {next} was never written");
                    std::thread::yield_now();
                }
            }
        }
    });
    assert_eq!(ring.control.unread(), 0);
}

fn ways() -> impl Strategy<Value = Way> {
    prop_oneof![1 => Just(Way::Exact), 4 => Just(Way::Fast), 1 => Just(Way::Abandoned)]
}

proptest! {
    #[test]
    fn whatever_nests_and_whenever_it_is_read_nothing_is_lost_in_silence(
        units in prop::sample::select(vec![128_usize, 256, 512, 4096]),
        written in prop::collection::vec(ways(), 1..40),
        nested in prop::collection::vec((0..1500_u32, ways()), 0..40),
        reads_at in prop::collection::vec(0..1500_u32, 0..60),
    ) {
        check(units, &written, &nested, &reads_at);
    }
}
