//! The ring with writes nested at every point, a reader beside it, and memory
//! that lies.
//!
//! The same scenarios run in two ways: as plain tests, one thread, every point
//! of interruption in turn; and under loom (`--cfg loom`), where a concurrent
//! reader meets every interleaving and every value that the memory model allows.

use super::*;
use std::cell::Cell;

/// Records are `[length, tag, tag, …]`.
fn record(tag: u64, words: u64) -> Vec<u64> {
    let mut record = vec![tag; usize::try_from(words).unwrap()];
    record[0] = words;
    record
}

#[allow(clippy::cast_possible_truncation)]
fn length_of(word: u64) -> usize {
    word as usize
}

fn data(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

/// Reads one record; checks that it is whole and gives its tag.
fn read_tag(reader: &mut Reader<'_>) -> Option<u64> {
    let mut buffer = [0; 16];
    let words = reader.read(&mut buffer, length_of).expect("a sound ring")?;
    let tag = buffer[1];
    assert_eq!(buffer[..words], record(tag, words as u64), "torn record");
    Some(tag)
}

/// Writes nested records at chosen points: at the `at`-th point, and, within
/// that write, at its `inner`-th, one more.
struct Nmi<'a> {
    writer: Writer<'a>,
    at: Cell<Option<u32>>,
    inner: Option<u32>,
    tag: u64,
    written: &'a Cell<u64>,
}

impl InterruptPoint for Nmi<'_> {
    fn here(&self) {
        match self.at.get() {
            Some(0) => {
                self.at.set(None);
                let nested = Nmi {
                    writer: self.writer,
                    at: Cell::new(self.inner),
                    inner: None,
                    tag: self.tag + 1,
                    written: self.written,
                };
                let outcome = self
                    .writer
                    .write_interruptible(&record(self.tag, 2), &nested);
                self.written
                    .set(self.written.get() + u64::from(outcome.is_ok()));
            }
            Some(points) => self.at.set(Some(points - 1)),
            None => {}
        }
    }
}

/// Writes two records with nested ones in the first; gives how many were stored.
fn write_with_nmis(writer: Writer<'_>, at: u32, inner: Option<u32>) -> u64 {
    let written = Cell::new(0);
    let nmi = Nmi {
        writer,
        at: Cell::new(Some(at)),
        inner,
        tag: 100,
        written: &written,
    };
    for tag in [1, 2] {
        let outcome = writer.write_interruptible(&record(tag, 3), &nmi);
        written.set(written.get() + u64::from(outcome.is_ok()));
    }
    written.get()
}

#[cfg(not(loom))]
mod one_thread {
    use super::*;

    /// More points than one write has, retries included.
    const POINTS: u32 = 40;

    #[test]
    fn a_write_nested_at_any_point_neither_tears_nor_loses_a_record() {
        for words in [8, 16, 64] {
            for at in 0..POINTS {
                for inner in std::iter::once(None).chain((0..POINTS).map(Some)) {
                    let (control, data) = (Control::new(), data(words));
                    let stored = write_with_nmis(Writer::new(&control, &data), at, inner);
                    assert_eq!(control.writer.writing.load(Ordering::Relaxed), 0);
                    let mut reader = Reader::new(&control, &data);
                    let tags: Vec<_> = std::iter::from_fn(|| read_tag(&mut reader)).collect();
                    // All that was stored is visible now, once each.
                    assert_eq!(tags.len() as u64, stored, "at {at}, inner {inner:?}");
                    let mut unique = tags.clone();
                    unique.sort_unstable();
                    unique.dedup();
                    assert_eq!(unique.len(), tags.len(), "{tags:?}");
                    let attempts = stored + control.lost();
                    assert!((2..=4).contains(&attempts), "{attempts} at {at}");
                    assert!(words < 64 || control.lost() == 0);
                }
            }
        }
    }

    #[test]
    fn a_full_ring_counts_each_loss_and_keeps_what_it_has() {
        let (control, data) = (Control::new(), data(16));
        let writer = Writer::new(&control, &data);
        let mut reader = Reader::new(&control, &data);
        for lap in 0..50 {
            for tag in 0..5 {
                assert_eq!(writer.write(&record(tag, 3)), Ok(()));
            }
            for losses in 1..=3 {
                assert_eq!(writer.write(&record(9, 3)), Err(Lost));
                assert_eq!(control.lost(), 3 * lap + losses);
            }
            assert_eq!(control.unread(), 15);
            for tag in 0..5 {
                assert_eq!(read_tag(&mut reader), Some(tag));
            }
            assert_eq!(read_tag(&mut reader), None);
        }
    }

    #[test]
    fn a_ring_can_be_filled_to_its_last_word() {
        let (control, data) = (Control::new(), data(16));
        let writer = Writer::new(&control, &data);
        for tag in 0..4 {
            writer.write(&record(tag, 4)).unwrap();
        }
        assert_eq!(control.unread(), 16);
        assert_eq!(writer.write(&record(4, 4)), Err(Lost));
        let mut reader = Reader::new(&control, &data);
        for tag in 0..4 {
            assert_eq!(read_tag(&mut reader), Some(tag));
        }
        assert_eq!(read_tag(&mut reader), None);
    }

    #[test]
    fn a_record_longer_than_the_ring_is_lost_not_wrapped_onto_itself() {
        let (control, data) = (Control::new(), data(8));
        let writer = Writer::new(&control, &data);
        assert_eq!(writer.write(&record(1, 9)), Err(Lost));
        assert_eq!((control.lost(), control.unread()), (1, 0));
    }

    #[test]
    fn what_a_killed_reader_did_not_finish_the_next_one_reads() {
        let (control, data) = (Control::new(), data(16));
        let writer = Writer::new(&control, &data);
        writer.write(&record(1, 3)).unwrap();
        writer.write(&record(2, 3)).unwrap();
        assert_eq!(read_tag(&mut Reader::new(&control, &data)), Some(1));
        // The second reader starts where the first has got to.
        assert_eq!(read_tag(&mut Reader::new(&control, &data)), Some(2));
    }

    #[test]
    fn impossible_positions_and_lengths_are_refused_and_change_nothing() {
        let mut buffer = [0; 4];
        for (head, tail, first) in [
            (17, 0, 1),       // more than the ring holds
            (0, 1, 1),        // the tail before the head
            (u64::MAX, 2, 1), // both wild
            (4, 0, 0),        // a record without a word
            (4, 0, 5),        // longer than what is whole
            (12, 0, 9),       // longer than the buffer
            (4, 0, u64::MAX), // absurd
        ] {
            let (control, data) = (Control::new(), data(16));
            control.writer.head.store(head, Ordering::Relaxed);
            control.reader.tail.store(tail, Ordering::Relaxed);
            let place = usize::try_from(tail % 16).unwrap();
            data[place].store(first, Ordering::Relaxed);
            let outcome = Reader::new(&control, &data).read(&mut buffer, length_of);
            assert_eq!(
                outcome,
                Err(Corrupt { position: tail }),
                "{head} {tail} {first}"
            );
            assert_eq!(control.reader.tail.load(Ordering::Relaxed), tail);
        }
    }

    #[test]
    fn a_reader_on_another_thread_sees_every_record_whole_and_in_order() {
        const RECORDS: u64 = if cfg!(miri) { 500 } else { 200_000 };
        let (control, data) = (Control::new(), data(64));
        let lost = std::thread::scope(|scope| {
            let writer = Writer::new(&control, &data);
            let writing = scope.spawn(move || {
                let mut tag = 1;
                let mut lost = 0;
                while tag <= RECORDS {
                    match writer.write(&record(tag, 2 + tag % 7)) {
                        Ok(()) => tag += 1,
                        Err(Lost) => {
                            lost += 1;
                            std::thread::yield_now();
                        }
                    }
                }
                lost
            });
            let mut reader = Reader::new(&control, &data);
            let mut next = 1;
            while next <= RECORDS {
                match read_tag(&mut reader) {
                    Some(tag) => {
                        assert_eq!(tag, next);
                        next += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
            writing.join().unwrap()
        });
        assert_eq!(control.lost(), lost);
        assert_eq!(control.unread(), 0);
    }
}

#[cfg(loom)]
mod every_interleaving {
    use super::*;
    use loom::sync::Arc;

    struct Ring {
        control: Control,
        data: Vec<AtomicU64>,
    }

    /// The writing core, with a write nested at point `at`, against a reader on
    /// another core.
    fn check(at: u32, inner: Option<u32>, words: usize) {
        loom::model(move || {
            let ring = Arc::new(Ring {
                control: Control::new(),
                data: data(words),
            });
            let writing = {
                let ring = Arc::clone(&ring);
                loom::thread::spawn(move || {
                    write_with_nmis(Writer::new(&ring.control, &ring.data), at, inner)
                })
            };
            let mut reader = Reader::new(&ring.control, &ring.data);
            let mut seen = 0;
            for _ in 0..2 {
                seen += u64::from(read_tag(&mut reader).is_some());
            }
            let stored = writing.join().unwrap();
            while read_tag(&mut reader).is_some() {
                seen += 1;
            }
            assert_eq!(seen, stored);
        });
    }

    #[test]
    fn a_nested_write_at_any_point_beside_a_reader() {
        for at in 0..20 {
            check(at, None, 8);
        }
    }

    #[test]
    fn a_write_nested_in_a_nested_write_beside_a_reader() {
        for (at, inner) in [(1, 4), (3, 1), (6, 6), (9, 2), (10, 9)] {
            check(at, Some(inner), 16);
        }
    }

    #[test]
    fn a_ring_that_is_full_while_the_reader_reads() {
        for at in [0, 5, 9] {
            check(at, None, 4);
        }
    }
}
