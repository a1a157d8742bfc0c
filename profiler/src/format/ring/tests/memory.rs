//! Readers that are killed, and memory that lies.

use super::*;
use crate::sync::Ordering;

#[test]
fn what_a_killed_reader_did_not_finish_the_next_one_reads() {
    let ring = Ring::new(1024);
    let writer = ring.writer();
    for number in 0..4 {
        writer
            .write_sample(&sample(number), &mut chain(number))
            .unwrap();
    }
    // Each of these is another reader.
    assert_eq!(ring.read(), Some(0));
    assert_eq!(ring.read(), Some(1));
    let tail = ring.control.reader.tail.load(Ordering::Relaxed);
    assert_eq!(ring.read(), Some(2));
    // It was killed before its last step, the store to `tail`.
    ring.control.reader.tail.store(tail, Ordering::Relaxed);
    assert_eq!(ring.read(), Some(2));
    // In the middle of a slot: that is never the one that `tail` needs.
    let tail = ring.control.reader.tail.load(Ordering::Relaxed);
    let slots = &ring.control.contexts.slots;
    let other = slots
        .iter()
        .find(|slot| slot.position.load(Ordering::Relaxed) != tail);
    other.unwrap().time.store(12345, Ordering::Relaxed);
    assert_eq!(ring.read(), Some(3));
    assert_eq!(ring.read(), None);
}

#[test]
fn a_reader_without_a_context_reads_on_at_a_wide_sample_only() {
    let ring = Ring::new(1024);
    let writer = ring.writer();
    for number in 0..3 {
        writer
            .write_sample(&sample(number), &mut chain(number))
            .unwrap();
    }
    assert_eq!(ring.read(), Some(0));
    let position = ring.control.reader.tail.load(Ordering::Relaxed);
    for slot in &ring.control.contexts.slots {
        slot.position.store(u64::MAX, Ordering::Relaxed);
    }
    let mut words = [0; MAX_WORDS];
    let read = |words| Reader::new(&ring.control, &ring.data, TEXT).read(words);
    assert_eq!(read(&mut words), Err(Corrupt { position }));
    // A wide one needs none, and is one for those behind it.
    ring.control.reader.tail.store(0, Ordering::Relaxed);
    assert_eq!(ring.read_all(), [0, 1, 2]);
}

#[test]
fn impossible_positions_and_lengths_are_refused_and_change_nothing() {
    let sample = 16 | 1 << 8;
    for (head, tail, first) in [
        (65, 0, sample),       // more than the ring holds
        (0, 1, sample),        // the tail before the head
        (u64::MAX, 2, sample), // both wild
        (16, 0, 1 << 8),       // a record without a unit
        (16, 0, 17 | 1 << 8),  // longer than what is whole, and no words
        (16, 0, 18 | 1 << 8),  // longer than what is whole
        (64, 0, 17 | 1 << 8),  // half a word too long
        (64, 0, 14 | 1 << 8),  // too short for a sample
        (64, 0, 16),           // of no kind
        (64, 0, 16 | 99 << 8), // of another kind
        (64, 0, 10 | 2 << 8),  // no count's length
        (64, 0, 8 | 5 << 8),   // compact, before there was a wide one
        (64, 0, u32::MAX),     // absurd
    ] {
        let ring = Ring::new(64);
        ring.control.writer.head.store(head, Ordering::Relaxed);
        ring.control.reader.tail.store(tail, Ordering::Relaxed);
        let place = usize::try_from(tail % 64).unwrap();
        ring.data[place].store(first, Ordering::Relaxed);
        let outcome = Reader::new(&ring.control, &ring.data, TEXT).read(&mut [0; MAX_WORDS]);
        let corrupt = Corrupt { position: tail };
        assert_eq!(outcome, Err(corrupt), "{head} {tail} {first}");
        assert_eq!(ring.control.reader.tail.load(Ordering::Relaxed), tail);
    }
}

#[test]
fn a_ring_that_begins_anew_has_no_context() {
    let ring = Ring::new(1024);
    ring.writer().write(&record(5)).unwrap();
    assert_eq!(ring.read_all(), [5]);
    // Another writer knows of no base, whatever the one before has written.
    let writer = ring.writer();
    assert!(writer.base().context().is_none());
    assert!(!Interrupts::new(&ring, &writer, &[]).write_in_place(6, Way::Fast));
}
