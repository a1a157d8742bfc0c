//! A block made by one side and opened by the other, and memory that is none.

use super::*;
use crate::contract::mailbox::{Answer, Mailbox, Request};
use crate::format::description::tests::example;
use crate::format::ring::Lost;
use crate::format::sample::MAX_WORDS;
use crate::pmu::event::EventList;

/// Zeroed, page-aligned memory.
struct Memory(Vec<[u8; PAGE]>, usize);

impl Memory {
    fn new(bytes: usize) -> Self {
        let mut pages = vec![[0_u8; PAGE]; bytes.div_ceil(PAGE) + 1];
        let skip = pages.as_mut_ptr().cast::<u8>().align_offset(PAGE);
        Self(pages, skip)
    }

    fn bytes(&mut self, len: usize) -> NonNull<[u8]> {
        let start = self.0.as_mut_ptr().cast::<u8>().wrapping_add(self.1);
        NonNull::slice_from_raw_parts(NonNull::new(start).unwrap(), len)
    }
}

fn layout_bytes() -> usize {
    let Description {
        cores, ring_words, ..
    } = example();
    RegionLayout { cores, ring_words }.bytes().unwrap()
}

#[test]
fn what_a_kernel_wrote_the_host_reads() {
    let mut memory = Memory::new(layout_bytes());
    let bytes = memory.bytes(layout_bytes());
    // SAFETY: zeroed, aligned, and alive until the test ends.
    let kernel = unsafe { Region::create(bytes, &example()) };
    // SAFETY: as above; both sides go through `Region`.
    let (host, description) = unsafe { Region::open(bytes) }.unwrap();
    assert_eq!(description, example());
    assert_eq!(host.state(), RunState::Starting);
    for core in 0..4 {
        // SAFETY: one thread.
        let writer = unsafe { kernel.writer(core) };
        let tag = u64::from(core);
        while writer.write(&[0x0208, tag, tag, tag]) != Err(Lost) {
            kernel
                .counters(core)
                .stored
                .fetch_add(1, PlainOrdering::Relaxed);
        }
    }
    kernel.set_state(RunState::Finished);
    assert_eq!(host.state(), RunState::Finished);
    for core in 0..4 {
        let mut reader = host.reader(core);
        let mut record = [0; MAX_WORDS];
        let mut read = 0;
        let tag = u64::from(core);
        while let Some(words) = reader.read(&mut record).unwrap() {
            assert_eq!(record[..words], [0x0208, tag, tag, tag]);
            read += 1;
        }
        assert_eq!(read, example().ring_words / 4);
        let stored = host.counters(core).stored.load(PlainOrdering::Relaxed);
        assert_eq!(stored, read);
        assert_eq!(host.control(core).lost(), 1);
    }
}

#[test]
fn memory_that_is_no_block_says_why() {
    let mut memory = Memory::new(layout_bytes());
    let whole = memory.bytes(layout_bytes());
    // SAFETY: aligned and alive; nothing else refers to it, here and below.
    let open = |bytes| unsafe { Region::open(bytes) }.map(|_| ()).unwrap_err();
    assert_eq!(open(whole), RegionError::Magic);
    // SAFETY: as above, and zeroed.
    let _ = unsafe { Region::create(whole, &example()) };
    let short = memory.bytes(layout_bytes() - PAGE);
    assert_eq!(open(short), RegionError::Truncated(layout_bytes()));
    let less_than_a_page = memory.bytes(100);
    assert_eq!(open(less_than_a_page), RegionError::Truncated(PAGE));
    let page = memory.1 / PAGE;
    let at = memory.1 % PAGE;
    let mut spoil = |offset: usize, byte: u8| {
        let offset = at + offset;
        std::mem::replace(&mut memory.0[page + offset / PAGE][offset % PAGE], byte)
    };
    let version = spoil(16, 77);
    assert_eq!(open(whole), RegionError::Version(77));
    spoil(16, version);
    let source = spoil(24 + 24, 99);
    assert_eq!(
        open(whole),
        RegionError::Description(DescriptionError("source"))
    );
    spoil(24 + 24, source);
    spoil(15, b'?');
    assert_eq!(open(whole), RegionError::Magic);
}

#[test]
fn a_layout_too_large_for_the_machine_is_refused() {
    let huge = RegionLayout {
        cores: u32::MAX,
        ring_words: 1 << 60,
    };
    assert_eq!(huge.bytes(), None);
}

#[test]
fn a_refusal_has_its_reason_before_and_after_the_region_is_made() {
    let mut memory = Memory::new(layout_bytes());
    let whole = memory.bytes(layout_bytes());
    let page = memory.bytes(PAGE);
    // SAFETY: aligned and alive; only `Region` refers to it, here and below.
    let refusal = || unsafe { Region::refusal_in(page) };
    assert_eq!(refusal(), None);
    // SAFETY: as above.
    unsafe { Region::create_refused(page, "period 5 is below 20") };
    assert_eq!(refusal().unwrap().as_str(), "period 5 is below 20");
    // SAFETY: as above.
    let opened = unsafe { Region::open(whole) }.map(|_| ());
    assert_eq!(opened, Err(RegionError::Refused));

    // SAFETY: as above.
    let kernel = unsafe { Region::create(whole, &example()) };
    // SAFETY: as above.
    let (host, _) = unsafe { Region::open(whole) }.unwrap();
    assert_eq!((host.refusal(), refusal()), (None, None));
    let mailbox = Mailbox::new(host.mailbox());
    let number = mailbox.request(&Request::Stop).unwrap();
    let long = "no source: ".repeat(100);
    kernel.refuse(&long);
    assert_eq!(host.state(), RunState::Refused);
    let reason = host.refusal().unwrap();
    assert_eq!(reason.as_str(), &long[..REFUSAL_BYTES]);
    // No request changes it, and none is answered.
    let events = EventList::parse("cycles").unwrap();
    mailbox.request(&Request::Events(events)).unwrap();
    assert!(matches!(mailbox.answer(number), Some(Answer::Refused(_))));
    assert_eq!((host.refusal(), refusal()), (Some(reason), Some(reason)));
}
