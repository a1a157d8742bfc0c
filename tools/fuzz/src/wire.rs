//! A region that leaves its machine by a line that damages bytes.

use pmiscope::internals::collect::Mapping;
use pmiscope::internals::import::{Arrived, Image};
use profiler::format::region::Region;
use profiler::format::sample::MAX_WORDS;
use profiler::format::wire::{Port, Sender};

use crate::input::Input;
use crate::region::edited;

/// The same memory as that of [`crate::region`], sent as it is, and with bytes changed.
///
/// # Panics
///
/// What arrives is not what is read there, or what arrives damaged is none of that.
pub fn wire(data: &[u8]) {
    let (memory, copy) = (
        Mapping::private(edited(data)),
        Mapping::private(edited(data)),
    );
    let (Ok((region, _)), Ok((other, _))) = (memory.open(0), copy.open(0)) else {
        return;
    };
    let mut wire = Wire(Vec::new());
    let sent = Sender::new().send(&region, &mut wire);
    assert!(!sent.is_confirmed);
    let expected = records(&other);
    let found = imported(&wire.0).expect("all has arrived");
    assert_eq!(found, expected);

    let mut damaged = wire.0;
    let mut input = Input(data);
    while !input.is_empty() {
        let at = input.below(damaged.len());
        damaged[at] ^= input.u8();
    }
    let Some(found) = imported(&damaged) else {
        return;
    };
    for (found, expected) in found.iter().zip(&expected) {
        let mut rest = expected.iter();
        assert!(found.iter().all(|record| rest.any(|it| it == record)));
    }
}

struct Wire(Vec<u8>);

impl Port for Wire {
    fn send(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn receive(&mut self) -> Option<u8> {
        None
    }
}

/// The records that come of these bytes, if a region does.
fn imported(bytes: &[u8]) -> Option<Vec<Vec<Vec<u64>>>> {
    let mut arrived = Arrived::default();
    arrived.add(bytes);
    let image = Image::new(arrived.kept()?).ok()?;
    let (region, _) = image.memory.open(0).ok()?;
    Some(records(&region))
}

/// The records of each ring, up to where it is corrupt.
fn records(region: &Region<'_>) -> Vec<Vec<Vec<u64>>> {
    let of_core = |core| {
        let mut reader = region.reader(core);
        let mut record = [0; MAX_WORDS];
        let mut records = Vec::new();
        while let Ok(Some(words)) = reader.read(&mut record) {
            records.push(record[..words].to_vec());
        }
        records
    };
    (0..region.cores()).map(of_core).collect()
}
