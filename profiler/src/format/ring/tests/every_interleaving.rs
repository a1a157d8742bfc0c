//! A reader on another core, and every order of memory accesses.

use super::*;
use loom::sync::Arc;

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
    for at in 0..40 {
        check(64, &[Way::Exact], vec![(at, Way::Exact)]);
    }
}

#[test]
fn a_write_in_place_beside_a_reader() {
    check(64, &[Way::Exact, Way::Fast], vec![]);
}

#[test]
fn a_write_nested_in_one_in_place_beside_a_reader() {
    for at in 40..65 {
        check(128, &[Way::Exact, Way::Fast], vec![(at, Way::Exact)]);
    }
}
