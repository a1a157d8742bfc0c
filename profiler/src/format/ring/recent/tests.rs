//! What is read beside the reader, whatever that has read, and while records are written.

use super::*;
use crate::format::Sample;
use crate::format::ring::tests::{Interrupts, Ring, TEXT, WAYS, Way, chain, record, sample};
use proptest::prelude::*;

/// The numbers of the samples that are there, and the units that were skipped.
fn read(recent: &mut Recent<'_>) -> (Vec<u32>, u64) {
    let (mut numbers, mut skipped) = (Vec::new(), 0);
    let mut words = [0; MAX_WORDS];
    loop {
        match recent.read(&mut words) {
            Ok(None) => return (numbers, skipped),
            Ok(Some(len)) => {
                let number = Sample::decode(&words[..len]).unwrap().sequence;
                assert_eq!(words[..len], record(number), "sample {number} is torn");
                numbers.push(number);
            }
            Err(gap) => skipped += gap.units,
        }
    }
}

/// Samples with these numbers, of which a reader has all but some.
fn write(ring: &Ring, writer: &Writer<'_>, numbers: std::ops::Range<u32>, unread: u32) {
    let end = numbers.end;
    for number in numbers {
        writer
            .write_sample(&sample(number), &mut chain(number))
            .unwrap();
        if number + unread < end {
            ring.read_all();
        }
    }
}

#[test]
fn all_is_there_until_it_is_written_over_whatever_was_read() {
    for unread in [0, 1, 5] {
        let ring = Ring::new(4096);
        let writer = ring.writer();
        assert_eq!(read(&mut Recent::new(&writer, TEXT)), (vec![], 0));
        write(&ring, &writer, 0..100, unread);
        let before = ring.control.unread();
        let mut recent = Recent::new(&writer, TEXT);
        let mut again = recent.clone();
        assert_eq!(read(&mut recent).0, (0..100).collect::<Vec<_>>());
        assert_eq!(read(&mut again).0, (0..100).collect::<Vec<_>>());
        assert_eq!(ring.control.unread(), before, "the reader's are its own");
    }
}

#[test]
fn of_a_ring_that_was_filled_often_nearly_all_units_are_read() {
    let ring = Ring::new(4096);
    let writer = ring.writer();
    for lap in 0..30 {
        write(&ring, &writer, lap * 100..lap * 100 + 100, 0);
        // Some ten units each.
        if lap > 5 {
            let (numbers, skipped) = read(&mut Recent::new(&writer, TEXT));
            let end = lap * 100 + 100;
            let first = end - u32::try_from(numbers.len()).unwrap();
            assert_eq!((numbers, skipped), ((first..end).collect(), 0));
            let units = writer.reserved.load(Ordering::Relaxed);
            let oldest = Recent::new(&writer, TEXT).position;
            assert!(units - oldest > 4096 * 6 / 8, "{} units", units - oldest);
            assert!(units + EXTENT - oldest <= 4096);
        }
    }
}

#[test]
fn what_is_written_over_meanwhile_is_skipped_and_said() {
    let ring = Ring::new(4096);
    let writer = ring.writer();
    write(&ring, &writer, 0..400, 0);
    let mut recent = Recent::new(&writer, TEXT);
    let mut words = [0; MAX_WORDS];
    assert!(recent.read(&mut words).unwrap().is_some());
    let (position, end) = (recent.position, recent.end);
    // Half a lap, and then more than one.
    write(&ring, &writer, 400..530, 0);
    let (numbers, skipped) = read(&mut recent.clone());
    assert_eq!(numbers.last(), Some(&399));
    let first = 400 - u32::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (first..400).collect::<Vec<_>>());
    assert!(skipped > 0 && first > 1);
    write(&ring, &writer, 530..1100, 0);
    assert_eq!(read(&mut recent), (vec![], end - position));
}

#[test]
fn memory_that_lies_is_skipped_up_to_the_next_record_that_is_known() {
    let ring = Ring::new(4096);
    let writer = ring.writer();
    write(&ring, &writer, 0..300, 0);
    let second = writer.marks.first_from(1).unwrap().0;
    for unit in [0, u32::MAX, 8, 250 | 1 << 8, 99 << 8 | 16] {
        let place = usize::try_from(second).unwrap();
        let before = ring.data[place].swap(unit, Ordering::Relaxed);
        let (numbers, skipped) = read(&mut Recent::new(&writer, TEXT));
        let third = writer.marks.first_from(second + 1).unwrap().0;
        assert_eq!(skipped, third - second, "{unit:x}");
        let there = numbers.len();
        assert!(numbers.is_sorted() && there < 300 && numbers[there - 1] == 299);
        ring.data[place].store(before, Ordering::Relaxed);
    }
}

#[test]
fn while_another_thread_writes_no_torn_record_is_read() {
    const RECORDS: u32 = if cfg!(miri) { 300 } else { 100_000 };
    let ring = Ring::new(1024);
    let writer = ring.writer();
    std::thread::scope(|scope| {
        let writes = scope.spawn(|| write(&ring, &writer, 0..RECORDS, 0));
        // Also over if it fails.
        while !writes.is_finished() {
            // It checks each of them.
            let (numbers, _) = read(&mut Recent::new(&writer, TEXT));
            assert!(numbers.is_sorted());
        }
    });
}

fn ways() -> impl Strategy<Value = Way> {
    prop::sample::select(WAYS.to_vec())
}

proptest! {
    #[test]
    fn whatever_nests_what_is_there_is_what_was_written_last(
        units in prop::sample::select(vec![256_usize, 512, 4096]),
        written in prop::collection::vec(ways(), 1..60),
        nested in prop::collection::vec((0..1500_u32, ways()), 0..40),
        reads_at in prop::collection::vec(0..1500_u32, 0..60),
    ) {
        let ring = Ring::new(units);
        let writer = ring.writer();
        let mut interrupts = Interrupts::new(&ring, &writer, &nested);
        interrupts.reads_at = &reads_at;
        written.into_iter().for_each(|way| interrupts.write(way));
        let (recent, skipped) = read(&mut Recent::new(&writer, TEXT));
        let all = interrupts.read_rest();
        prop_assert_eq!(skipped, 0);
        prop_assert_eq!(&recent[..], &all[all.len() - recent.len()..]);
        let there = writer.reserved.load(Ordering::Relaxed) + EXTENT <= units as u64;
        prop_assert!(!there || recent.len() == all.len());
    }
}
