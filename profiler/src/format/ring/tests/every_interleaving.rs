//! A reader on another core, and every order of memory accesses.

use super::*;
use loom::sync::Arc;

/// More points than what is written has.
const POINTS: u32 = 80;

/// The writing core, with writes nested at these points, against a reader on another core.
fn check(units: usize, ways: &'static [Way], nested: Vec<(u32, Way)>) {
    loom::model(move || {
        let ring = Arc::new(Ring::new(units));
        let writing = {
            let ring = Arc::clone(&ring);
            let nested = nested.clone();
            loom::thread::spawn(move || {
                let writer = ring.writer();
                let interrupts = Interrupts::new(&ring, &writer, &nested);
                for &way in ways {
                    interrupts.write(way);
                }
                assert_eq!(interrupts.log.lost.get(), ring.control.lost());
                interrupts.log.written.borrow().len()
            })
        };
        let mut seen = 0;
        for _ in 0..2 {
            seen += usize::from(ring.read().is_some());
        }
        let written = writing.join().unwrap();
        seen += ring.read_all().len();
        assert_eq!(seen, written);
    });
}

#[test]
fn a_nested_write_at_any_point_beside_a_reader() {
    for at in 0..POINTS {
        check(64, &[Way::Exact], vec![(at, Way::Exact)]);
    }
}

#[test]
fn a_write_nested_in_one_in_place_beside_a_reader() {
    for nested in WAYS {
        for at in 0..POINTS {
            check(128, &[Way::Exact, Way::Fast], vec![(at, nested)]);
        }
    }
}

#[test]
fn a_write_nested_in_one_that_is_given_up_beside_a_reader() {
    for at in 0..POINTS {
        check(128, &[Way::Exact, Way::Abandoned], vec![(at, Way::Exact)]);
    }
}

#[test]
fn a_write_nested_in_a_nested_write_beside_a_reader() {
    for at in (40..POINTS).step_by(3) {
        for apart in [1, 4, 20, 37] {
            let nested = vec![(at, Way::Exact), (at + apart, Way::Exact)];
            check(128, &[Way::Exact, Way::Fast], nested);
        }
    }
}

#[test]
fn a_ring_that_is_full_while_the_reader_reads() {
    // Room for two wide ones, or one and an extent.
    check(32, &[Way::Exact; 4], vec![]);
    check(32, &[Way::Exact, Way::Fast, Way::Fast, Way::Fast], vec![]);
    for at in (0..POINTS).step_by(5) {
        check(32, &[Way::Exact, Way::Fast], vec![(at, Way::Exact)]);
    }
}
