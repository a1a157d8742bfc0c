//! Rings in a guest's memory, which may write anything to them.

use std::ptr::NonNull;
use std::sync::OnceLock;

use memmap2::MmapMut;
use pmiscope::internals::Profile;
use pmiscope::internals::collect::{Collector, Mapping};
use profiler::contract::mailbox::Mailbox;
use profiler::format::kept;
use profiler::format::region::{PAGE, Region, RegionLayout};

use crate::input::Input;
use crate::run::{CORES, RING_WORDS, description, end, writer};

/// More than the region has: it may claim to be larger.
const MEMORY: usize = 16 * PAGE;

/// A region of a kernel in which words are changed: pairs of a place and a value.
///
/// # Panics
///
/// Records that were taken are not in the profile, or there is no end of them.
pub fn region(data: &[u8]) {
    kept(edited(data));
    let mapping = Mapping::private(edited(data));
    let reason = mapping.refusal(0);
    let Ok((region, description)) = mapping.open(0) else {
        return;
    };
    assert_eq!(reason, None, "a refused run is open");
    let mailbox = Mailbox::new(region.mailbox());
    let _ = (region.state(), mailbox.answer(1), mailbox.take());
    let mut collector = Collector::new(region);
    let mut profile = writer(&description, &[]);
    let mut taken = 0;
    loop {
        let more = collector
            .drain(&mut profile)
            .expect("a vector takes everything");
        taken += more;
        assert!(taken <= (MEMORY / 8) as u64, "more than the memory has");
        if more == 0 {
            break;
        }
    }
    collector
        .flush(&mut profile)
        .expect("a vector takes everything");
    let end = end(std::iter::repeat_n(
        (0, Vec::new()),
        description.cores as usize,
    ));
    let profile = profile.finish(&end).expect("a vector takes everything");
    let profile = Profile::read(profile).expect("the profile that was written");
    assert_eq!(profile.records(), taken);
}

/// What the next boot makes of that memory.
fn kept(mut memory: MmapMut) {
    let start = NonNull::new(memory.as_mut_ptr()).expect("a mapping is not at address 0");
    let bytes = NonNull::slice_from_raw_parts(start, MEMORY);
    // SAFETY: the mapping is page-aligned, readable and writable, and outlives what is found.
    for found in unsafe { kept::find(bytes, PAGE) }.flatten() {
        found.mark_cut();
        let readable = found.readable();
        // The shortest record with a sample has some units.
        assert!(readable.samples < (MEMORY / 4) as u64);
        assert!(readable.damaged_rings <= found.region.cores());
        if !found.is_wanted() {
            let is_empty = (readable.samples, readable.damaged_rings) == (0, 0);
            assert!(is_empty || found.region.has_left());
        }
        assert!(found.offset + found.region.bytes() <= MEMORY);
        found.region.forget();
    }
}

/// The memory of a kernel in which words are changed: pairs of a place and a value.
pub(crate) fn edited(data: &[u8]) -> MmapMut {
    let mut memory = memory();
    memory.copy_from_slice(untouched());
    let mut input = Input(data);
    while !input.is_empty() {
        let at = input.below(MEMORY / 8) * 8;
        let value = input.u64();
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    memory
}

fn memory() -> MmapMut {
    MmapMut::map_anon(MEMORY).expect("memory")
}

/// The memory of a kernel that has just begun.
fn untouched() -> &'static [u8] {
    static UNTOUCHED: OnceLock<MmapMut> = OnceLock::new();
    UNTOUCHED.get_or_init(|| {
        let mut memory = memory();
        let layout = RegionLayout {
            cores: CORES,
            ring_words: RING_WORDS,
        };
        assert!(layout.bytes().expect("a small region") <= MEMORY);
        let start = NonNull::new(memory.as_mut_ptr()).expect("a mapping is not at address 0");
        let bytes = NonNull::slice_from_raw_parts(start, MEMORY);
        // SAFETY: the mapping is page-aligned, readable and writable, and outlives the
        // region, which is dropped in this statement; nothing else uses it meanwhile.
        let _ = unsafe { Region::create(bytes, &description()) };
        memory
    })
}
